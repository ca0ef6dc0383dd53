"""Layer: the base of everything that owns parameters: its calls, dtype, device and state.

How parameters are found is in tree.py, the table of them in summary.py. What a layer computes is in
its own file; weights whose input size is learned at first use are in weighted.py.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from reprlib import recursive_repr
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from minidl.autograd import Variable
from minidl.autograd.modes import current
from minidl.autograd.transforms import as_plain
from minidl.common.arrays import as_array, home, is_foreign, to_kind_of
from minidl.common.checks import flag
from minidl.layers.summary import html_table, nested_repr, text_table
from minidl.layers.tree import Tree, walk
from minidl.layers.values import Shape, buffers_of, held_by, load_values


class Layer(Tree):
    """A function with parameters: ``__init__`` makes them, ``forward`` uses them.

    Parameters and layers are found in its attributes, also in lists, tuples and dicts, in the order
    in which they were assigned. ``super().__init__()`` is not needed. The class attribute
    ``carried`` names the attributes that a call leaves for the next one, with their values after
    ``reset_state()``; ``buffers`` names arrays that belong to the layer without being trained: see
    ``update_buffers``.

    >>> from minidl import functions as F, layers
    >>> class Net(Layer):
    ...     def __init__(self):
    ...         self.hidden, self.out = layers.Linear(16), layers.Linear(1)
    ...     def forward(self, x):
    ...         return self.out(F.relu(self.hidden(x)))
    >>> net = Net()
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.w', 'hidden.b', 'out.w', 'out.b']
    """

    __slots__ = ()
    dtype: np.dtype[Any]  # of the weights that _lazy_shapes names

    @property
    def _lazy_shapes(self) -> Mapping[str, Shape]:
        """The shapes of the weights that may be lazy, by attribute."""
        return {}

    def forward(self, *inputs: Any) -> Any:
        """What the layer computes; written by each layer, run by calling the layer."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(self, *inputs)")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return self.forward(*inputs, **settings)

    def _as_floating(self, x: Any, dtype: npt.DTypeLike) -> Any:
        """The input in the dtype that a layer computes in; TypeError for what is not floating."""
        x = as_array(x, self)
        if x.dtype.kind != "f":
            hint = "; write x.astype(np.float32)" if x.dtype.kind in "iub" else ""
            raise TypeError(f"{self!r}: want floating input, got {x.dtype} {x.shape}{hint}")
        if x.dtype == dtype:
            return x
        return x.astype(dtype)

    def cleargrads(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            p.cleargrad()

    def reset_state(self) -> None:
        """Forget what recurrent layers carry from call to call."""
        for layer in self.sublayers():
            if layer is self or type(layer).reset_state is Layer.reset_state:
                vars(layer).update(layer.carried)
            else:
                layer.reset_state()

    def freeze(self) -> None:
        """Train none of the parameters: they require no gradient, and have none."""
        for p in self.parameters():
            p.requires_grad = False
            p.cleargrad()

    def unfreeze(self) -> None:
        """Train all of the parameters, except those of integers."""
        for p in self.parameters():
            p.requires_grad = p.lazy or p.dtype.kind == "f"

    def to(self, device: Any = None, dtype: npt.DTypeLike | None = None) -> Self:
        """Compute elsewhere or in another floating dtype from now on: in place; returns the layer.

        ``device`` is "cpu", "cuda" (CuPy's arrays, on its current GPU), or an array, for where that
        is. Drops gradients and carried state. Parameters without data yet go where their first
        input is.
        Raises ValueError for another name, ImportError without CuPy, TypeError for a dtype that is
        not floating.

        >>> from minidl import layers
        >>> layers.Linear(3, 2).to("cpu", dtype=np.float64).w.dtype
        dtype('float64')
        """
        name = f"{type(self).__name__}.to"
        wanted = None if dtype is None else floating_dtype(dtype, name)
        like = None if device is None else _place(device, name)
        self.reset_state()
        self.cleargrads()
        if wanted is not None:
            self._cast(wanted)
        if like is not None:
            for held in held_by(self).values():
                if not held.lazy:
                    held.data = to_kind_of(held.data, like)
        return self

    def _cast(self, dtype: np.dtype[Any]) -> None:
        for layer in self.sublayers():
            if layer._lazy_shapes:
                layer.dtype = dtype
        for p in self.parameters():
            if not p.lazy and p.dtype.kind == "f":
                p._raw = p._raw.astype(dtype)  # not .data, which rightly keeps the dtype
                p._stamp()
        for buffer in buffers_of(self).values():
            if not buffer.lazy and buffer.data.dtype.kind == "f":
                buffer.data = buffer.data.astype(dtype)

    def update_buffers(self, **values: Any) -> None:
        """Give buffers new values, by name, where a call may: while the layer is trained.

        Does nothing under ``test_mode`` and ``no_grad``. Of Variables the values are taken. What is
        written while training looks for a fault, or in the second run of ``recompute``, is taken
        back afterwards. AttributeError for what is no buffer of the layer.

        >>> class Count(Layer):
        ...     buffers = ("calls",)
        ...     calls = np.array(0)
        ...     def forward(self, x):
        ...         self.update_buffers(calls=self.calls + 1)
        ...         return x
        >>> count = Count()
        >>> count(1.0), count.state_dict()
        (1.0, {'calls': array(1)})
        """
        mode = current()
        if mode.testing or not mode.recording:
            return
        for name, value in values.items():
            if name not in self.buffers:
                want = f"one of {', '.join(self.buffers)}" if self.buffers else "none"
                raise AttributeError(f"{type(self).__name__}.buffers: want {want}, got {name!r}")
            value = as_plain(value)
            if not isinstance(value, Variable):
                value = as_array(value, self)
                value = to_kind_of(value, value)  # no NumPy scalar
            elif value.ndim == 0:  # compile's, which stands for one
                value = np.copy(value)
            setattr(self, name, value)

    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """A copy of the value of each parameter and each buffer under its dotted name.

        Raises RuntimeError while one has no value yet.
        """
        return {name: held.data.copy() for name, held in held_by(self).items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> list[str]:
        """Copy in the values that ``state_dict`` gave; what is lazy gets its shape from them.

        Floating values are cast to the dtype of the parameter or buffer. Of what ``minidl.load``
        gives of a checkpoint, the model's weights are taken. If not ``strict``, names that only one
        of the two has are passed over, and returned as ``["missing: w", "unknown: v"]``.

        Raises TypeError if ``state`` is no mapping; ValueError if values are of another shape or
        kind, names are missing or unknown, or, if not ``strict``, all are: it lists all, and
        nothing has been changed.

        >>> from minidl import layers
        >>> layer = layers.Linear(2)
        >>> layer.load_state_dict({"w": np.ones((3, 2)), "b": np.zeros(2)})
        []
        >>> layer
        Linear(3→2)
        """
        if not isinstance(state, Mapping):
            want = "a dict of names and arrays"
            got = type(state).__name__
            raise TypeError(f"load_state_dict: want {want}, got {got}")
        strict = flag("load_state_dict: strict", strict)
        from minidl.files.state import weights_in

        return load_values(self, weights_in(state), strict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``state_dict()`` to a file, as ``minidl.save`` does, and raise what it raises."""
        from minidl.files.state import save

        save(self, path)

    def load(self, path: str | os.PathLike[str], strict: bool = True) -> list[str]:
        """Take the values that ``save`` wrote, or that are in a checkpoint of ``Trainer.save``.

        If not ``strict``, names that only the file or only the model has are passed over, and
        returned. Raises what ``minidl.load`` and ``load_state_dict`` raise, and then nothing has
        been changed.

        >>> import tempfile
        >>> from minidl import layers
        >>> first, second = layers.Linear(3, 2), layers.Linear(3, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first.save(f"{folder}/model.npz")
        ...     second.load(f"{folder}/model.npz")
        []
        >>> np.array_equal(first.w.data, second.w.data)
        True
        """
        from minidl.files.state import load

        state = load(path)
        try:
            return self.load_state_dict(state, strict)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None

    def summary(self, *inputs: Any) -> str:
        """A table of the layers, their output shapes and how many parameters each has; print it.

        With inputs, a copy of the layer is run on them once, as for evaluation: nothing is changed,
        no random numbers are used up, and lazy parameters stay lazy.

        >>> from minidl import layers
        >>> print(layers.MLP([16, 1], in_features=3).summary(np.ones((5, 3))))
        name      layer         output   parameters
        -------------------------------------------
                  MLP(3→16→1)   (5, 1)
        layers.0  Linear(3→16)  (5, 16)          64
        layers.1  Linear(16→1)  (5, 1)           17
        -------------------------------------------
        81 parameters, 81 of them trained
        """
        return text_table(self, inputs)

    @recursive_repr("...")
    def __repr__(self) -> str:
        parts = []
        for name, owner, value in walk(self).entries:
            if owner is self and value is not self:
                parts.append((name, value))
        return nested_repr(self, parts)

    def _repr_html_(self) -> str:
        """What a notebook shows: the table of ``summary()``."""
        return html_table(self)

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: everything, but recorded results without their graph."""
        return {name: detach(value) for name, value in vars(self).items()}


def detach(value: Any) -> Any:
    """A result, or each of a tuple of them, cut off from its graph; anything else as it is."""
    if isinstance(value, Variable) and value.creator is not None:
        return value.detach()
    if type(value) is tuple:
        return tuple([detach(part) for part in value])
    return value


def _place(device: Any, where: str) -> Any:
    """An array that stands for a device, which may be an array itself."""
    if isinstance(device, str | np.ndarray) or is_foreign(device):
        try:
            return home(device)
        except ValueError as error:
            raise ValueError(f"{where}: {error}; a dtype is dtype=..") from None
    got = f"got {device!r}; a dtype is dtype=.."
    raise TypeError(f"{where}: want the device 'cpu', 'cuda' or an array, {got}")


def floating_dtype(dtype: npt.DTypeLike, where: str) -> np.dtype[Any]:
    """The dtype, if it is a floating one; TypeError, which begins with ``where``, if not."""
    try:
        if dtype is None:  # which NumPy takes for float64
            raise TypeError
        wanted = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{where}: want a floating dtype, got {dtype!r}") from None
    if wanted.kind != "f":
        raise TypeError(f"{where}: want a floating dtype, got {wanted}")
    return wanted
