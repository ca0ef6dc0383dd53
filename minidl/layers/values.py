"""What a layer holds by name, its parameters and buffers: out as a dict of arrays, and in again.

Where they are found is in tree.py; the files that hold such dicts are those of files/state.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from minidl.autograd import Parameter, Variable
from minidl.common.arrays import as_array, host, to_kind_of
from minidl.layers.tree import refuse_doubles, walk

if TYPE_CHECKING:
    from minidl.layers.layer import Layer

Array = npt.NDArray[Any]
Shape: TypeAlias = tuple[int | None, ...]  # None is a length still unknown


class Buffer:
    """An attribute of a layer that its class names among its ``buffers``."""

    def __init__(self, owner: Layer, attribute: str) -> None:
        self.owner = owner
        self.attribute = attribute

    @property
    def lazy(self) -> bool:
        """Whether there is no array yet."""
        return getattr(self.owner, self.attribute, None) is None

    @property
    def data(self) -> Any:
        """The array; RuntimeError if there is none yet, TypeError for what is none."""
        what = f"buffer {self.attribute!r} of {type(self.owner).__name__}"
        if self.lazy:
            raise RuntimeError(f"{what} has no data yet")
        value = getattr(self.owner, self.attribute)
        if isinstance(value, Variable) or not hasattr(value, "dtype"):
            raise TypeError(f"{what}: want an array, got a {type(value).__name__}")
        array = as_array(value, what)
        return to_kind_of(array, array)  # no NumPy scalar

    @data.setter
    def data(self, value: Any) -> None:
        setattr(self.owner, self.attribute, value)


Held: TypeAlias = Parameter | Buffer


def buffers_of(layer: Layer) -> dict[str, Buffer]:
    """The buffers of a layer and of those in it, by dotted name; ValueError if two have one."""
    named = walk(layer).buffers
    refuse_doubles(f"{type(layer).__name__}: more than one buffer", named)
    return {name: Buffer(owner, attribute) for name, owner, attribute in named}


def held_by(layer: Layer) -> dict[str, Held]:
    """Parameters and buffers by dotted name."""
    return {**dict(layer.named_parameters()), **buffers_of(layer)}


def load_values(
    layer: Layer, state: Mapping[str, Any], strict: bool, optional: Collection[str] = ()
) -> list[str]:
    """Copy in values by name; what only one of the two has is returned, or an error if ``strict``.

    See ``Layer.load_state_dict``. Names that are ``optional`` may be missing.
    """
    own = held_by(layer)
    needed = [name for name in own if name not in optional]
    missing = [f"missing: {name}" for name in needed if name not in state]
    differing = missing + [f"unknown: {name}" for name in state if name not in own]
    wrong = []
    if strict or len(missing) == len(needed):
        wrong += differing
    owners = {name: owner for name, owner, _ in walk(layer).entries}
    new: dict[str, Array] = {}
    for name in filter(state.__contains__, own):
        shape, dtype = _wanted(name, own[name], owners)
        try:
            new[name] = _convert(state[name], shape, dtype)
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    if wrong:
        what = f"load_state_dict of {type(layer).__name__}; nothing was changed"
        raise ValueError("; ".join([what, *wrong]))
    for name, value in new.items():
        _put(name, own[name], value)
    return differing


def _wanted(
    name: str, held: Held, owners: Mapping[str, Layer]
) -> tuple[Shape | None, np.dtype[Any] | None]:
    """The shape and the dtype that a value must have, None where any will do."""
    if not held.lazy:
        data = held.data
        return data.shape, data.dtype
    owner = owners[name] if isinstance(held, Parameter) else held.owner
    shapes = owner._lazy_shapes
    if shapes:
        attribute = name.rpartition(".")[2]
        return shapes.get(attribute), owner.dtype
    if isinstance(held, Parameter):
        return None, np.dtype(np.float32)
    return None, None


def _convert(value: Any, shape: Shape | None, dtype: np.dtype[Any] | None) -> Array:
    """A copy of the value in the dtype wanted.

    ValueError for another shape, another kind or overflow.
    """
    if isinstance(value, Variable):
        value = value.data
    array = np.asarray(host(value))
    if dtype is None and array.dtype.kind in "fiub":
        dtype = array.dtype
    right_shape = shape is None or len(shape) == array.ndim
    for wanted, n in zip(shape or (), array.shape):
        right_shape = right_shape and wanted in (None, n)
    both_floating = dtype is not None and array.dtype.kind == dtype.kind == "f"
    if not right_shape or not (array.dtype == dtype or both_floating):
        want = str(shape).replace("None", "?")
        raise ValueError(f"want {dtype or 'numbers'} {want}, got {array.dtype} {array.shape}")
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if both_floating and (np.isinf(cast) & ~np.isinf(array)).any():
        raise ValueError(f"{array.dtype} values beyond the range of {dtype}")
    return cast


def _put(name: str, held: Held, value: Array) -> None:
    if not held.lazy:
        value = to_kind_of(value, held.data)
    elif isinstance(held, Parameter):
        held.name = name.rpartition(".")[2]
    held.data = value
