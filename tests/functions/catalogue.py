"""The one catalogue that drives every function test: a row is a function, sample arguments, settings.

To add a function, add one row (``row(F.name, *arguments, **settings)``). Floating arrays among the arguments are
differentiated; everything else is passed on as it is. What a row buys is in test_catalogue.py and test_rules.py.
"""

import math
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from minidl import Variable, random
from minidl import functions as F
from minidl.autograd.protocols import REGISTRY


@dataclass(frozen=True)
class Row:
    """One function on one set of arguments; see ``row``."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    settings: dict[str, Any]
    like: Callable[..., Any] | None
    via: Callable[..., Any] | None
    fixed: frozenset[int]
    order: int
    label: str
    derived: bool
    elementwise: bool
    foreign: bool
    brief: bool
    originals: tuple[Any, ...]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def places(self) -> list[int]:
        """Which arguments are differentiated."""
        return (
            [i for i, a in enumerate(self.args) if is_floating(a) and i not in self.fixed]
            if self.derived
            else []
        )

    @property
    def samples(self) -> list[Any]:
        """The arguments that are differentiated."""
        return [self.args[i] for i in self.places]

    def another(self) -> list[Any]:
        """A second batch: other values, on the same side of every kink."""
        return [np.asarray(a * 0.97) for a in self.samples]

    def narrowed(self) -> "Row":
        """The same row in float32, integer arrays in int16 (int64 beside float32 makes float64 in NumPy)."""

        def narrow(a: Any) -> Any:
            small = (
                {"f": np.float32, "i": np.int16}.get(a.dtype.kind)
                if isinstance(a, np.ndarray)
                else None
            )
            return a.astype(small) if small else a

        settings = {k: narrow(a) for k, a in self.settings.items()}
        return replace(self, args=tuple(map(narrow, self.args)), settings=settings)

    def apply(self, function: Callable[..., Any], args: Any) -> Any:
        """The function, or one that stands for it, on these arguments."""
        return self.via(function, *args) if self.via else function(*args, **self.settings)

    def __call__(self, *samples: Any, function: Callable[..., Any] | None = None) -> Any:
        """The function with new values for the arguments that are differentiated."""
        args = list(self.args)
        for i, x in zip(self.places, samples, strict=True):
            args[i] = x
        return self.apply(function or self.function, args)

    def expected(self, *samples: Any) -> Any:
        """What NumPy, or the row's own formula, gives for the same."""
        args = list(self.args)
        for i, x in zip(self.places, samples, strict=True):
            args[i] = x
        if self.like is not None:
            return self.like(*args, **self.settings)
        return self.apply(self.originals[0], args)


def is_floating(a: Any) -> bool:
    return isinstance(a, (np.ndarray, np.floating)) and a.dtype.kind == "f"


def name_of(value: Any) -> str:
    """For the name of a test: its repr on one line, without the address that each process has anew."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value)).replace("\n", "")


def outputs(y: Any) -> list[Any]:
    """All outputs of a function, as a list."""
    return list(y) if isinstance(y, (tuple, list)) else [y]


METHODS_ONLY = {
    "getitem": lambda x, index: x[index],
    "astype": lambda x, dtype: x.astype(dtype),
    "compress": lambda x, condition, axis=None: x.compress(condition, axis),
}
ROWS: list[Row] = []


def original_of(key: Any) -> Any:
    """What is registered: a function of NumPy's, a method that has none, or a method of a ufunc by its name."""
    if isinstance(key, str) and key not in METHODS_ONLY:
        return attrgetter(key)(np)
    return METHODS_ONLY.get(key, key)


def row(
    function: Callable[..., Any],
    *args: Any,
    like: Callable[..., Any] | None = None,
    via: Callable[..., Any] | None = None,
    fixed: tuple[int, ...] = (),
    order: int = 2,
    label: str = "",
    derived: bool = True,
    elementwise: bool = False,
    foreign: bool = True,
    brief: bool = False,
    **settings: Any,
) -> None:
    """Add a row.

    Args:
        function: of minidl.functions.
        args: sample arguments; the floating arrays are differentiated.
        like: the value it must have, independently computed; default the function of NumPy it stands for.
        via: how it is called, ``via(function, *args)``, where that is not ``function(*args, **settings)``.
        fixed: places of floating arrays that are constants.
        order: up to which derivative gradcheck goes.
        label: for the test's name; default the shapes and settings.
        derived: False for a function without a derivative.
        elementwise: its arguments broadcast, and their shapes are nothing to it.
        foreign: False where it makes arrays of NumPy's on the way, which other libraries' cannot stand beside.
        brief: values and gradients are enough; for memory, dtypes and compiled code other rows of its kind stand.
    """
    args = tuple(np.asarray(a) if isinstance(a, np.floating) else a for a in args)
    originals = tuple(original_of(k) for k, ours in REGISTRY.items() if ours is function)
    shapes = ",".join(
        str(np.shape(a)).replace(" ", "") if isinstance(a, np.ndarray) else name_of(a)[:30]
        for a in args
    )
    label = label or f"{shapes}{settings or ''}"
    assert like is not None or originals, f"{function.__name__} is not NumPy's: its row needs like="
    ROWS.append(
        Row(
            function,
            args,
            settings,
            like,
            via,
            frozenset(fixed),
            order,
            label,
            derived,
            elementwise,
            foreign,
            brief,
            originals,
        )
    )


rng = np.random.default_rng(7)


def normal(*shape: int) -> Any:
    return np.asarray(rng.standard_normal(shape))


def positive(*shape: int) -> Any:
    return np.asarray(rng.uniform(0.4, 2.0, shape))


def away(*shape: int) -> Any:
    """Of both signs, none nearer to 0 than 0.2."""
    return np.asarray(rng.uniform(0.2, 1.5, shape) * rng.choice([-1.0, 1.0], shape))


def integers(high: int, *shape: int) -> Any:
    return rng.integers(0, high, shape)


# ---- elementwise, one argument ----------------------------------------------------------------------------------

SHAPES = [(2, 3), (), (0, 2)]
erf = np.vectorize(math.erf, otypes=[float])


def softplus(x: Any) -> Any:
    return np.logaddexp(0, x)


for unary in (
    F.positive,
    F.negative,
    F.square,
    F.exp,
    F.expm1,
    F.sin,
    F.cos,
    F.tan,
    F.arctan,
    F.sinh,
    F.cosh,
    F.tanh,
):
    for shape in SHAPES:
        row(unary, normal(*shape) * 0.7, elementwise=True, order=3)
for unary in (
    F.exp2,
    F.conjugate,
    F.real,
    F.real_if_close,
    F.arcsinh,
    F.deg2rad,
    F.rad2deg,
    F.degrees,
    F.radians,
    F.sinc,
):
    for shape in SHAPES:
        row(unary, normal(*shape), elementwise=True, order=3)
for unary in (F.cbrt, F.reciprocal):
    for shape in SHAPES:
        row(unary, away(*shape), elementwise=True, order=3)
for unary in (F.arcsin, F.arccos, F.arctanh):
    for shape in SHAPES:
        row(unary, rng.uniform(-0.8, 0.8, shape), elementwise=True, order=3)
for shape in SHAPES:
    row(F.arccosh, 1.2 + positive(*shape), elementwise=True, order=3)
    row(F.fabs, away(*shape), elementwise=True)
    row(F.nan_to_num, normal(*shape), elementwise=True)
    row(F.modf, 3.3 + away(*shape) / 9)
    row(F.frexp, 3.3 + away(*shape) / 9, via=lambda f, x: f(x)[0])
    row(
        F.frexp,
        3.3 + away(*shape) / 9,
        via=lambda f, x: f(x)[1],
        derived=False,
        label=f"{shape}, exponent",
    )
    row(F.ldexp, normal(*shape), 3)
    row(
        F.elu,
        away(*shape),
        like=lambda x: np.where(x > 0, x, np.expm1(x)),
        elementwise=True,
        order=3,
    )
    row(
        F.selu,
        away(*shape),
        like=lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
        elementwise=True,
    )
    row(
        F.silu,
        normal(*shape) * 3,
        like=lambda x: np.maximum(x, -999) / (1 + np.exp(-x)),
        elementwise=True,
        order=3,
    )
    row(
        F.mish,
        normal(*shape) * 3,
        like=lambda x: np.maximum(x, -999) * np.tanh(np.logaddexp(0, x)),
        elementwise=True,
        order=3,
    )
    row(
        F.softsign,
        away(*shape),
        like=lambda x: np.sign(x) * (1 - 1 / (1 + abs(x))),
        elementwise=True,
        order=3,
    )
    row(
        F.log_sigmoid,
        normal(*shape) * 3,
        like=lambda x: -np.logaddexp(0, -x),
        elementwise=True,
        order=3,
    )
    row(
        F.hard_sigmoid,
        normal(*shape) * 5,
        like=lambda x: np.clip(x / 6 + 0.5, 0, 1),
        elementwise=True,
    )
    row(F.hard_tanh, normal(*shape) * 2, like=lambda x: np.clip(x, -1, 1), elementwise=True)
row(F.elu, away(4), alpha=0.3, like=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)))
row(F.i0, np.array([-9.0, -0.6, 0.0, 1.0, 30.0]), order=3, foreign=False)
row(F.sinc, np.array([-2.0, -0.6, 1e-9, 0.0, 0.1, 1.0, 3.7]), order=3, label="range")
row(F.nan_to_num, np.array([1.0, -2.0]), nan=3.0, posinf=1.0)
row(F.ldexp, normal(3), np.array([0, 2, -1]))
for shape, axis in (((4,), -1), ((2, 6), 1), ((2, 3), 0)):
    row(
        F.glu,
        normal(*shape),
        axis,
        like=lambda x, axis: np.split(x, 2, axis)[0] / (1 + np.exp(-np.split(x, 2, axis)[1])),
    )
for unary in (F.sqrt, F.log, F.log1p, F.log2, F.log10):
    for shape in SHAPES:
        row(unary, positive(*shape), elementwise=True, order=3)
for shape in SHAPES:
    row(F.abs, away(*shape), elementwise=True)
    row(F.erf, normal(*shape) * 2, like=erf, elementwise=True, order=3)
    row(F.erfc, normal(*shape) * 2, like=lambda x: 1 - erf(x), elementwise=True, order=3)
    row(F.relu, away(*shape), like=lambda x: x * (x > 0), elementwise=True)
    row(F.leaky_relu, away(*shape), like=lambda x: x * ((x > 0) + 0.01 * (x < 0)), elementwise=True)
    row(
        F.leaky_relu,
        away(*shape),
        0.3,
        like=lambda x, s: x * ((x > 0) + s * (x < 0)),
        elementwise=True,
    )
    row(
        F.sigmoid,
        normal(*shape) * 3,
        like=lambda x: 1 / (1 + np.exp(-x)),
        elementwise=True,
        order=3,
    )
    row(F.softplus, normal(*shape) * 3, like=softplus, elementwise=True, order=3)
    row(
        F.gelu,
        normal(*shape) * 2,
        like=lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        elementwise=True,
        order=3,
    )
    row(
        F.gelu,
        normal(*shape),
        approximate=True,
        elementwise=True,
        order=3,
        like=lambda x, approximate: (
            x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        ),
    )
    row(F.astype, normal(*shape), np.float64)
    row(F.astype, normal(*shape), np.int64, derived=False)
row(F.leaky_relu, away(4), slope=-0.5, like=lambda x, slope: np.where(x > 0, x, slope * x))
row(
    F.erf,
    np.array([-8.0, -3.0, -0.4, -1e-3, 1e-3, 0.5, 2.0, 5.5, 7.0]),
    like=erf,
    elementwise=True,
    label="range",
)

# ---- elementwise, several arguments -----------------------------------------------------------------------------

PAIRS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((2, 3), (2, 3)),
    ((2, 3), (3,)),
    ((3,), (2, 3)),
    ((2, 1), (1, 3)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((), ()),
    ((0, 3), (3,)),
    ((0, 3), (1, 1)),
    ((4, 1, 3), (2, 1)),
    ((1,), (2, 2)),
]
for a, b in PAIRS:
    for binary in (F.add, F.subtract, F.multiply):
        row(binary, normal(*a), normal(*b), elementwise=True)
    row(F.divide, normal(*a), away(*b), elementwise=True, order=3)
    row(F.hypot, normal(*a), away(*b), elementwise=True, order=3)
    row(F.arctan2, normal(*a), away(*b), elementwise=True, order=3)
    row(F.float_power, positive(*a), normal(*b), elementwise=True, order=3)
    row(F.heaviside, normal(*a), normal(*b), elementwise=True, fixed=(0,))
    row(F.copysign, away(*a), away(*b), elementwise=True, fixed=(1,))
    for binary in (F.logaddexp, F.logaddexp2):
        row(binary, normal(*a), normal(*b), elementwise=True, order=3)
    for binary in (F.fmax, F.fmin):
        row(binary, normal(*a), normal(*b), elementwise=True)
    for remainder in (F.mod, F.fmod):
        row(remainder, 7.3 + 0.1 * positive(*a), 2.9 + 0.05 * positive(*b), elementwise=True)
    row(F.power, positive(*a), normal(*b), elementwise=True, order=3)
    for binary in (F.maximum, F.minimum):
        row(binary, normal(*a), normal(*b), elementwise=True)
    row(F.where, integers(2, *a) > 0, normal(*a), normal(*b), elementwise=True)
    if a != b:
        row(F.where, integers(2, *b) > 0, normal(*a), normal(*b), elementwise=True)
    row(F.clip, normal(*a), normal(*b) - 0.7, 0.7 + positive(*b), elementwise=True)
for binary in (F.add, F.subtract, F.multiply, F.divide, F.power, F.maximum, F.minimum):
    row(binary, positive(2, 2), 3)
    row(binary, 3, positive(2, 2))
    row(binary, positive(2, 2), 0.7)
    row(binary, 0.7, positive(2, 2))
    row(binary, positive(2, 2), integers(4, 2, 2) + 1)
for p in (0, 1, 2, 3, -1, -2, 0.5, 2.5, -1.5):
    row(F.power, positive(3), p, order=3)
for p in (0, 1, 2, 3, -1, -2):
    row(F.power, away(3), p, order=3, label=f"negative base, {p}")
row(F.power, away(4), np.array([0, 1, 2, 3]), order=3, label="negative base, integer array")
for binary in (
    F.maximum,
    F.minimum,
):  # at ties, differences to both sides average to the halves that are documented
    row(binary, np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.0, 3.0]), order=1, label="ties")
for reduction in (F.max, F.min):
    row(
        reduction,
        np.array([[1.0, 1.0, 2.0, 2.0], [0.0, 3.0, 3.0, 0.0]]),
        axis=1,
        order=1,
        label="ties",
    )
for a, b in ((-7.3, 2.9), (7.3, -2.9), (-7.3, -2.9), (1e-3, 2.0)):
    for remainder in (F.mod, F.fmod):
        row(remainder, np.array(a), np.array(b))
row(F.mod, normal(3), 2)
row(F.mod, 7, 1 + positive(3) / 10)
row(F.divmod, 7.3 + normal(3) / 10, 2.9)
row(F.divmod, 7.3 + normal(3) / 10, np.array(2.9), via=lambda f, a, b: f(a, b)[1])
row(F.hypot, np.array([0.0, 3.0]), 4.0)
row(F.heaviside, normal(0, 2), normal(0, 2), elementwise=True, fixed=(0,))
row(F.heaviside, np.array([0.0, 1.0]), 0.5 + positive(2), fixed=(0,), label="at 0")
row(F.nextafter, normal(3), 2.0)
row(F.fmax, np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.0, 3.0]), order=1, label="ties")
row(F.abs, np.array([0.0, 1.0]), order=1, label="at 0")
row(F.power, positive(4), np.array([0.0, 1.0, 2.0, -1.0]), order=3, label="exponents 0 and 1")
row(F.power, 0, positive(3), label="base 0")
row(F.power, np.array([0.0, 2.0]), positive(2) + 1, fixed=(0,), label="base with a 0")
row(F.where, integers(2, 2, 3) > 0, normal(2, 3), 0)
row(F.where, np.array([0, 1, 2]), normal(3), 1.5, label="integers as the condition")
row(F.where, np.array(True), normal(2), normal(2, 1), label="0-d condition")
row(F.clip, normal(3, 4), -0.5, 0.5)
row(F.clip, normal(3, 4), None, 0.5)
row(F.clip, normal(3, 4), -0.5, None)
row(F.clip, normal(3, 4), None, normal(4))
row(F.clip, normal(3, 4), normal(4), None)
row(F.clip, normal(3, 4), a_min=-0.5, a_max=0.5)
row(F.clip, normal(3, 4), a_max=normal(4), a_min=None)
row(F.clip, normal(), -0.1, None)
row(F.mask_fill, normal(2, 3), integers(2, 2, 3) > 0, -1.5, like=lambda x, m, v: np.where(m, v, x))
row(
    F.mask_fill,
    normal(2, 3),
    np.array([True, False, True]),
    0,
    like=lambda x, m, v: np.where(m, v, x),
)
row(
    F.mask_fill,
    normal(2, 3),
    np.array([[True], [False]]),
    value=3,
    like=lambda x, m, value: np.where(m, value, x),
)
row(F.mask_fill, normal(), np.array(False), 3.0, like=lambda x, m, v: x)
row(F.mask_fill, normal(0, 3), np.array(True), 3.0, like=lambda x, m, v: x)


def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    """By the full matrix that is meant."""
    a = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        np.einsum("...ii->...i", a)[...] = 1
    return np.linalg.solve(a.swapaxes(-1, -2) if trans else a, b)


def dropout(shape: tuple[int, ...], rate: float) -> None:
    """The same numbers drawn at each call: from a generator of its own, and from minidl's."""
    kept = np.random.default_rng(3).random(shape, dtype=np.float32) >= rate

    def seeded(f: Any, x: Any) -> Any:
        random.seed(3)
        return f(x, rate)

    row(
        F.dropout,
        normal(*shape),
        via=lambda f, x: f(x, rate, rng=np.random.default_rng(3)),
        like=lambda x: x * kept / (1 - rate),
        label=f"{shape}, {rate}",
    )
    row(
        F.dropout,
        normal(*shape),
        via=seeded,
        like=lambda x: x * kept / (1 - rate),
        label=f"{shape}, {rate}, seeded",
    )


for shape in ((20,), (3, 4), (), (0, 2)):
    dropout(shape, 0.4)
dropout((3,), 0)

# ---- reductions -------------------------------------------------------------------------------------------------

AXES: list[tuple[tuple[int, ...], Any]] = [
    ((2, 3, 4), None),
    ((2, 3, 4), 0),
    ((2, 3, 4), 1),
    ((2, 3, 4), -1),
    ((2, 3, 4), (0, 2)),
    ((2, 3, 4), (-1, 0)),
    ((2, 3, 4), (0, 1, 2)),
    ((2, 3, 4), ()),
    ((3,), None),
    ((3,), 0),
    ((3,), (0,)),
    ((), None),
    ((), ()),
    ((1, 3), 0),
    ((3, 1), -1),
    ((2, 3), np.int64(1)),
]
for shape, axis in AXES:
    for keepdims in (False, True):
        for reduction in (F.sum, F.mean, F.var, F.max, F.min):
            brief = keepdims and isinstance(axis, int)
            row(reduction, normal(*shape), axis=axis, keepdims=keepdims, brief=brief)
for reduction in (F.sum, F.mean, F.var, F.max, F.min):
    row(reduction, normal(2, 3))
    row(reduction, normal(2, 3), 1)
    row(reduction, normal(0, 3), 1)
    row(reduction, normal(2, 3), -2, keepdims=True)
for reduction in (F.std, F.var):
    row(reduction, normal(3, 4), axis=(0, -1), ddof=1, keepdims=True)
    row(reduction, normal(3, 4), via=lambda f, x: f(x, 0, correction=1.5), label="correction")
    row(reduction, normal(2, 3), axis=1, mean=normal(2, 1), foreign=False)
row(F.std, normal(2, 3), order=3)
row(F.std, np.array([1.0]), order=1, label="no axis left")
MASK = np.array([[True, False, True, True], [False, True, True, True], [True, True, False, True]])
for reduction in (F.sum, F.mean, F.var, F.std):
    for where, axis in ((MASK, 1), (MASK[0], -1), (MASK[:, :1], 0)):
        row(reduction, normal(3, 4), axis=axis, where=where)
    row(reduction, normal(3, 4), where=MASK, keepdims=True)
row(F.sum, normal(3, 4), axis=0, initial=1.5, foreign=False)
row(F.sum, normal(2, 0), via=lambda f, x: f(x, 1, initial=1.5), label="none", foreign=False)
for reduction in (F.max, F.min):
    row(reduction, normal(3, 4), axis=(0, 1), initial=0.3, keepdims=True, foreign=False)
    row(reduction, normal(3, 4), axis=1, initial=0.3, where=MASK, foreign=False)
    row(reduction, normal(3, 0), via=lambda f, x: f(x, 1, initial=0.3), label="none", foreign=False)
row(F.sum, normal(0, 3))
row(F.sum, normal(0, 3), axis=0)
row(F.max, normal(3, 0), axis=0)
row(F.sum, normal(2, 3), axis=1, like=np.sum, label="again", order=3)
row(F.var, normal(2, 3), ddof=1)
row(F.var, normal(3, 4), axis=1, ddof=2, keepdims=True, order=3)
row(F.var, normal(3, 4), (0, 1), ddof=1)

# ---- shapes -----------------------------------------------------------------------------------------------------

for shape, new in [
    ((2, 3), (3, 2)),
    ((2, 3), 6),
    ((2, 3), -1),
    ((2, 3), (1, -1, 2)),
    ((), (1, 1)),
    ((1,), ()),
    ((0, 3), (3, 0)),
    ((2, 3), [3, 2]),
]:
    row(F.reshape, normal(*shape), new)
for shape, axes in [
    ((2, 3), None),
    ((2, 3, 4), (1, 2, 0)),
    ((2, 3, 4), (2, 0, 1)),
    ((2, 3, 4), (0, -1, 1)),
    ((), None),
    ((3,), (0,)),
    ((0, 2), (1, 0)),
    ((2, 3, 4, 2), [3, 1, 0, 2]),
]:
    row(F.transpose, normal(*shape), axes)
row(F.reshape, normal(2, 3, 2), via=lambda f, x: f(x, (4, -1), order="F"), label="in F's order")
row(F.reshape, normal(2, 3), via=lambda f, x: f(x, -1, "F"), label="flat, in F's order")
row(F.transpose, normal(3), 0)
row(F.transpose, normal(2, 3))
row(F.transpose, normal(2, 3, 4), axes=(1, 2, 0))
for axes in ((0, 1), (-1, 0), (1, 1), (2, 0)):
    row(F.swapaxes, normal(2, 3, 4), *axes)
row(F.swapaxes, normal(2, 3), axis1=0, axis2=-1)
for shape, axis in [
    ((2, 3), 0),
    ((2, 3), 1),
    ((2, 3), -1),
    ((2, 3), (0, 2)),
    ((), 0),
    ((0,), 1),
    ((2, 3), (-1, 0)),
]:
    row(F.expand_dims, normal(*shape), axis)
row(F.expand_dims, normal(2, 3), [0, 2])
row(F.expand_dims, normal(2, 3), axis=1)
for shape, axis in [
    ((1, 3, 1), None),
    ((1, 3, 1), 0),
    ((1, 3, 1), -1),
    ((1, 3, 1), (0, 2)),
    ((), None),
    ((1, 0), 0),
]:
    row(F.squeeze, normal(*shape), axis)
row(F.squeeze, normal(1, 2), axis=0)
for shape in ((2, 3), (), (0, 2), (4,)):
    row(F.ravel, normal(*shape))
row(F.ravel, normal(2, 3), via=lambda f, x: f(x, "F"), label="in F's order")
for shape, to in [
    ((3,), (2, 3)),
    ((2, 1), (2, 3)),
    ((1, 3), (4, 2, 3)),
    ((), (2, 2)),
    ((2, 3), (2, 3)),
    ((1,), (0,)),
    ((1,), 3),
    ((2, 1, 1), [3, 2, 2, 1]),
    ((), ()),
]:
    row(F.broadcast_to, normal(*shape), to)


def sum_to(x: Any, shape: Any) -> Any:
    """By counting: every element of x is added where its index, broadcast, comes from."""
    result = np.zeros(shape)
    origin = np.broadcast_to(np.arange(result.size).reshape(shape), x.shape)
    np.add.at(result.reshape(-1), origin.reshape(-1), x.reshape(-1))
    return result


for shape, to in [
    ((2, 3), (3,)),
    ((2, 3), (2, 1)),
    ((4, 2, 3), (1, 3)),
    ((2, 2), ()),
    ((2, 3), (2, 3)),
    ((0, 3), (3,)),
    ((3, 2, 2, 1), (2, 1, 1)),
    ((), ()),
    ((2, 3), [1, 1]),
]:
    row(F.sum_to, normal(*shape), to, like=sum_to)

for shapes, axis in [
    (((2, 3), (1, 3)), 0),
    (((2, 3), (2, 1), (2, 2)), 1),
    (((2, 3), (2, 1)), -1),
    (((3,), (0,)), 0),
    (((2, 2), (3,), ()), None),
    (((2, 3),), 0),
    (((0, 2), (0, 2)), 0),
]:
    row(
        F.concatenate,
        *(normal(*s) for s in shapes),
        via=lambda f, *arrays, axis=axis: f(arrays, axis=axis),
        label=f"{shapes} axis={axis}",
    )
row(
    F.concatenate,
    normal(2),
    normal(3),
    via=lambda f, *arrays: f(list(arrays)),
    label="default axis",
)
row(
    F.concatenate,
    normal(2),
    np.array([1, 2]),
    via=lambda f, *arrays: f(arrays),
    label="with integers",
)
for shape, axis in [
    ((2, 3), 0),
    ((2, 3), 1),
    ((2, 3), 2),
    ((2, 3), -1),
    ((), 0),
    ((0, 2), 1),
    ((2,), -2),
]:
    row(
        F.stack,
        *(normal(*shape) for _ in range(3)),
        via=lambda f, *arrays, axis=axis: f(arrays, axis),
        label=f"{shape} axis={axis}",
    )
row(F.stack, normal(2), via=lambda f, x: f([x]), label="one array, default axis")
for shape, sections, axis in [
    ((6, 2), 3, 0),
    ((6, 2), 2, 1),
    ((2, 6), [1, 4], 1),
    ((2, 6), (2, 2, 5), -1),
    ((3,), 1, 0),
    ((4,), [], 0),
    ((0, 3), 3, 1),
    ((5,), [2, 9], 0),
    ((4, 1), np.array([1, 3]), -2),
]:
    row(F.split, normal(*shape), sections, axis)
row(F.split, normal(4), 2)
row(F.split, normal(2, 4), indices_or_sections=2, axis=1)

# ---- indexing ---------------------------------------------------------------------------------------------------

cube = normal(3, 4, 5)
mask = cube[:, :, 0] > 0
INDICES: list[Any] = [
    1,
    -1,
    np.int64(2),
    slice(None),
    slice(1, None),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(3, 0, -2),
    slice(2, 2),
    None,
    ...,
    (),
    (1, 2),
    (0, -1, 3),
    (slice(None), 2),
    (..., 1),
    (1, ...),
    (..., None, slice(0, 2)),
    (slice(None), None, slice(1, 3)),
    (None, 1, ..., -1),
    (0, slice(1, 3), slice(None, None, 2)),
    cube > 0,
    mask,
    mask[:, 0],
    (mask[:, 0], 1),
    (slice(None), cube[0, :, 0] > 0),
    (mask, 2),
    cube > 100,
    np.zeros((3, 4), bool),
    np.True_,
    True,
    (..., cube[0, 0] > 0),
    np.array(1),
    np.array([2, 0]),
    np.array([0, 0, 1, 0]),
    np.array([-1, 2, 2]),
    [0, 0, 2],
    [True, False, True],
    [],
    np.array([], int),
    np.array([[0, 1], [1, 1]]),
    np.array([0, 1], np.uint8),
    ((0, 0),),
    ((0, 0, 1), (1, 1, 2)),
    ([0, 0], [1, 1]),
    ([0, 0], slice(None), [1, 1]),
    (np.array([0, 2, 0]), np.array([1, 1, 1])),
    (np.array([0, 0]), slice(1, 3)),
    (slice(1, 3), np.array([0, 0])),
    (slice(None), np.array([1, 1]), slice(None, None, 2)),
    (np.array([[0], [0]]), np.array([1, 1, 3])),
    (np.array([0, 0]), 1),
    (1, np.array([3, 3])),
    (np.array([1, 1]), slice(None), 2),
    (mask[:, 0], np.array([1])),
    (np.array([0, 0]), np.array([False, True, False, False])),
    (None, np.array([0, 0])),
    (np.array([0, 0]), ..., np.array([4, 4])),
    (np.array(1), slice(None), np.array([2, 2])),
    (range(2), 0),
    (array("q", [0, 0]), 1),
]
for n, index in enumerate(INDICES):
    label = f"{n}:{index!r}".replace("\n", "")[:60]
    row(F.getitem, cube, index, label=label, brief=n % 5 != 0)
for index in ((), ..., None, (None, ...), True, False, np.array(True)):
    row(F.getitem, normal(), index, label=f"0-d[{index!r}]", brief=index is not ...)
row(F.getitem, normal(0, 3), slice(0, 0))
row(F.getitem, normal(0, 3), (..., 1))
row(F.getitem, normal(0, 3), np.array([], int))
for shape, indices, axis in [
    ((3, 4), 1, None),
    ((3, 4), 2, 0),
    ((3, 4), -1, -1),
    ((3, 4), [0, 0, 5], None),
    ((3, 4), [1, 1, -1], 1),
    ((3, 4), np.array([[0, 1], [2, 2]]), 0),
    ((3, 4), np.array([[0, 1], [2, 2]]), None),
    ((2, 3, 4), [0, 0], 1),
    ((3, 4), (0, 0, 2), -2),
    ((3,), np.array([], int), 0),
    ((3, 4), np.array(2), 1),
    ((), 0, None),
    ((0, 3), [1, 1], 1),
]:
    row(F.take, normal(*shape), indices, axis)
row(F.take, normal(4), [3, 3, 0])
row(F.take, normal(3, 2), np.array([-4, 1, 7]), 0, mode="wrap")
row(F.take, normal(3, 2), [[-4, 1, 7]], mode="clip", foreign=False)
row(F.take, normal(3, 4), indices=[0, 0], axis=1)

for shape in [(), (3,), (2, 3), (0,)]:
    indices = np.array([4, 0, 0, 2, 4, 1])[: math.prod(shape)].reshape(shape)
    row(F.embedding, normal(5, 2), indices, like=lambda w, indices: w[indices])
row(F.embedding, normal(5, 2), [1, 1], like=lambda w, indices: w[indices], label="list")

# ---- normalization ----------------------------------------------------------------------------------------------


def normalized(x: Any, w: Any, b: Any, over: Any, eps: float) -> Any:
    """By NumPy's own mean and variance."""
    mean = x.mean(over, keepdims=True)
    return (x - mean) / np.sqrt(x.var(over, keepdims=True) + eps) * w + b


for shape in [(3,), (4, 3), (2, 4, 3), (2, 1, 2, 3), (0, 3)]:
    for eps in (1e-5, 0.1):
        row(
            F.layer_norm,
            normal(*shape),
            normal(3),
            normal(3),
            like=lambda x, w, b, eps: normalized(x, w, b, -1, eps),
            eps=eps,
        )
for shape in [(4, 3), (2, 4, 3), (3, 1, 2, 1), (5, 1)]:
    row(
        F.batch_norm,
        normal(*shape),
        normal(shape[-1]),
        normal(shape[-1]),
        like=lambda x, w, b: normalized(x, w, b, tuple(range(x.ndim - 1)), 1e-5),
    )

# ---- products ---------------------------------------------------------------------------------------------------

for a, b in [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (5, 3, 2)),
    ((5, 2, 3), (3, 2)),
    ((2, 3), (5, 3, 2)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((1, 2, 3), (5, 3, 1)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 2)),
    ((2, 0), (0, 3)),
    ((0, 3), (3, 2)),
    ((0,), (0,)),
    ((0, 2, 3), (3, 2)),
    ((1, 1), (1, 1)),
    ((2, 5, 2, 3), (3,)),
    ((3,), (2, 1, 3, 2)),
]:
    row(F.matmul, normal(*a), normal(*b), order=2)
row(F.matmul, normal(2, 3), integers(5, 3, 2))
row(F.matmul, integers(5, 2, 3), normal(3))
for a, b in [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((), ()),
    ((4, 2, 3), (3,)),
    ((4, 2, 3), (3, 5)),
    ((3,), (4, 3, 2)),
    ((2, 3), (4, 3, 2)),
    ((2, 1, 3), (5, 4, 3, 2)),
    ((2, 0), (4, 0, 2)),
]:
    row(F.dot, normal(*a), normal(*b))
row(F.dot, normal(2, 3), 3)
for lead in ((2,), (), (4, 2), (0,), (1,), (2, 0)):
    row(
        F.linear,
        normal(*lead, 3),
        normal(3, 2),
        normal(2),
        order=3,
        like=lambda x, w, b: np.einsum("...i,io->...o", x, w) + b,
    )
    row(
        F.linear, normal(*lead, 3), normal(3, 2), like=lambda x, w: np.einsum("...i,io->...o", x, w)
    )
for x, w in [((2, 0), (0, 3)), ((2, 3), (3, 0)), ((0, 0), (0, 0)), ((2, 4, 0), (0, 1))]:
    row(
        F.linear,
        normal(*x),
        normal(*w),
        normal(w[1]),
        like=lambda x, w, b: np.einsum("...i,io->...o", x, w) + b,
    )
row(
    F.linear,
    normal(2, 3),
    normal(3, 2),
    None,
    like=lambda x, w, b: np.einsum("...i,io->...o", x, w),
)
row(
    F.linear,
    normal(2, 3),
    normal(3, 2),
    b=normal(2),
    like=lambda x, w, b: np.einsum("...i,io->...o", x, w) + b,
)
row(
    F.linear,
    normal(2, 3),
    normal(3, 2),
    np.array([1, 2]),
    like=lambda x, w, b: np.einsum("bi,io->bo", x, w) + b,
)

numpys = partial(row, foreign=False)  # what other libraries need not have

for subscripts, *shapes in [
    ("ij,jk->ik", (2, 3), (3, 2)),
    ("ij,jk", (2, 3), (3, 2)),
    ("ba", (2, 3)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iji->j", (2, 3, 2)),
    ("iijj->ij", (2, 2, 3, 3)),
    ("ij->", (2, 3)),
    ("ij->i", (2, 3)),
    ("i,j", (2,), (3,)),
    (" , i -> i ", (), (3,)),
    ("ij,ij->ij", (1, 3), (2, 3)),
    ("i,i->", (3,), (1,)),
    ("...i,...i->...", (4, 1, 3), (2, 3)),
    ("...i,...i", (2, 3), (2, 3)),
    ("a...b,b...->a...", (2, 4, 3), (3, 4)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)),
    ("ij,jk->ik", (0, 3), (3, 2)),
]:
    for optimize in (False, True):
        numpys(
            F.einsum,
            *(normal(*s) for s in shapes),
            via=lambda f, *a, s=subscripts, o=optimize, **more: f(s, *a, optimize=o, **more),
            label=f"{subscripts} {shapes} {optimize}",
        )
for lists in [
    ([0, 1], [1, 2], [0, 2]),
    ([0, 1], [1, 2]),
    ([30, 1], [1, 2]),
    ([..., 1], [1, 2], [..., 2]),
]:
    numpys(
        F.einsum,
        normal(2, 3),
        normal(3, 2),
        via=lambda f, a, b, n=lists, **more: f(a, n[0], b, *n[1:], **more),
        label=f"lists {lists}",
    )
numpys(F.einsum, normal(2, 3), via=lambda f, a, **more: f(a, [30, 1], **more), label="one list")
numpys(F.einsum, normal(2), integers(3, 2), via=lambda f, *a: f("i,i", *a), label="integers")
numpys(
    F.einsum,
    normal(2, 3),
    normal(3),
    via=lambda f, *a: f("ij,j", *a, optimize=["einsum_path", (0, 1)]),
)
for axes in (0, 1, 2, (1, 0), ([0, 1], [0, 1]), ([-1], [-2]), (-1, 0)):
    numpys(F.tensordot, normal(2, 2, 2), normal(2, 2, 2), axes=axes)
numpys(F.tensordot, normal(2, 3, 4), normal(3, 4, 2))
for a, b in [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 2, 3)), ((), (3,)), ((), ())]:
    numpys(F.inner, normal(*a), normal(*b))
for a, b in [((3,), (2,)), ((2, 3), (2,)), ((), (3,)), ((0,), (2,))]:
    numpys(F.outer, normal(*a), normal(*b))
for a, b in [((3,), (3,)), ((2, 3), (2, 3)), ((2, 3), (3, 2)), ((), ())]:
    numpys(F.vdot, normal(*a), normal(*b))
for a, b in [((3,), (2,)), ((2, 3), (2,)), ((), (3,)), ((2, 3), (2, 2)), ((2, 2), (1, 2, 3))]:
    numpys(F.kron, normal(*a), normal(*b))
for a, b in [((3,), (3,)), ((2, 3), (3,)), ((4, 1, 3), (2, 3)), ((0, 3), (3,))]:
    numpys(F.vecdot, normal(*a), normal(*b))
numpys(F.vecdot, normal(2, 3), normal(2, 3), axis=0)
numpys(F.vecdot, normal(2, 3), normal(4, 2, 1), axis=-2)
for a, b in [((2, 3), (3,)), ((2, 3), (4, 3)), ((4, 1, 2, 3), (2, 3))]:
    numpys(F.matvec, normal(*a), normal(*b), like=lambda a, b: np.einsum("...ij,...j->...i", a, b))
for a, b in [((3,), (3, 2)), ((4, 3), (3, 2)), ((4, 1, 3), (2, 3, 2))]:
    numpys(F.vecmat, normal(*a), normal(*b), like=lambda a, b: np.einsum("...i,...ij->...j", a, b))
for a, b, axes in [
    ((3,), (3,), {}),
    ((2, 3), (3,), {}),
    ((4, 1, 3), (2, 3), {}),
    ((3, 2), (3, 2), {"axis": 0}),
    ((3, 2), (2, 3), {"axisa": 0, "axisb": 1, "axisc": 0}),
]:
    numpys(F.cross, normal(*a), normal(*b), **axes)
for shape, settings in [
    ((3, 3), {}),
    ((2, 4), {"offset": 1}),
    ((2, 3, 4), {"offset": -1}),
    ((2, 3, 4), {"axis1": 2, "axis2": 0}),
]:
    numpys(F.trace, normal(*shape), **settings)
numpys(F.trace, normal(3, 3), 1, 1, 0)
for m, n in [(5, 3), (3, 5), (4, 4), (5, 2), (2, 5), (1, 1), (6, 4)]:
    for mode in ("full", "same", "valid"):
        numpys(F.convolve, normal(m), normal(n), mode=mode)
        numpys(F.correlate, normal(m), normal(n), mode=mode)
numpys(F.convolve, normal(4), normal(2))
numpys(F.correlate, normal(4), normal(2), "same")
for x, axis in [(normal(3), None), (normal(2, 3), 0), (normal(2, 3), -1)]:
    for initial in (False, True):
        for f, like in ((F.cumulative_sum, np.cumsum), (F.cumulative_prod, np.cumprod)):
            first = float(f is F.cumulative_prod)

            def running(
                x: Any, axis: Any, include_initial: bool, f: Any = like, first: float = first
            ) -> Any:
                y = f(x, axis)
                start = np.full_like(np.take(y, [0], axis or 0), first)
                return np.concatenate([start, y], axis or 0) if include_initial else y

            numpys(f, x, axis=axis, include_initial=initial, like=running)
numpys(F.bincount, [0, 2, 2, 1], normal(4))
numpys(F.bincount, np.array([1, 1, 0]), normal(3), 6)
for settings in ({}, {"num": 3, "endpoint": False}, {"base": 2.0, "num": 4}):
    numpys(F.logspace, normal(), normal(), **settings)
numpys(F.logspace, normal(2), normal(2), 3, axis=-1)
for start, stop in ((1.0, 3.0), (-2.0, -0.5), (4.0, 0.1)):
    numpys(F.geomspace, np.asarray(start), np.asarray(stop), 4)
numpys(F.geomspace, positive(2), positive(2), num=3, endpoint=False, axis=1)
numpys(F.unwrap, np.array([0.0, 2.0, 4.5, -1.0, 1.0, 8.0]))
numpys(F.unwrap, np.array([[0.0, 2.0], [1.5, -1.0]]), axis=0, period=2.5)
for axis in (0, 1, -1):
    numpys(F.apply_along_axis, lambda x: x[1:] * x[0], axis, normal(2, 3, 2))
    numpys(F.apply_along_axis, lambda x: (x * x).sum(), axis, normal(2, 3))
numpys(F.apply_along_axis, lambda x: x[:, None] * x, 1, normal(2, 3, 2))
numpys(F.apply_over_axes, np.sum, normal(2, 3, 4), [0, 2])

# ---- matrices -----------------------------------------------------------------------------------


def regular(*shape: int) -> Any:
    """Square matrices far from singular, eigenvalues and singular values apart."""
    return normal(*shape) * 0.4 + np.eye(*shape[-2:]) * np.arange(1.0, shape[-1] + 1)


def definite(*shape: int) -> Any:
    x = regular(*shape)
    return x @ x.swapaxes(-1, -2)


def symmetric(f: Any, x: Any, **settings: Any) -> Any:
    """Of the symmetric part: by changes that keep symmetry, the derivative is what both triangles say."""
    return f((x + x.swapaxes(-1, -2)) * 0.5, **settings)


def part(k: int) -> Any:
    return lambda f, *args, **settings: f(*args, **settings)[k]


for shape in ((3, 3), (2, 3, 3), (1, 1), (2, 1, 2, 2)):
    for f in (F.inv, F.det, F.slogdet, F.pinv, F.cond):
        numpys(f, regular(*shape))
    for f in (F.eigh, F.eigvalsh):
        numpys(f, definite(*shape), via=symmetric)
        numpys(f, definite(*shape), via=symmetric, UPLO="U")
    numpys(F.cholesky, definite(*shape), via=symmetric)
    numpys(F.cholesky, definite(*shape), via=symmetric, upper=True)
    for n in (-2, -1, 1, 2, 3):
        numpys(F.matrix_power, regular(*shape), n)
    numpys(F.matrix_rank, regular(*shape), derived=False)
numpys(F.slogdet, -regular(3, 3), label="negative")
for a, b in [
    ((3, 3), (3,)),
    ((3, 3), (3, 2)),
    ((2, 3, 3), (3,)),
    ((2, 3, 3), (3, 2)),
    ((3, 3), (2, 3, 2)),
    ((2, 1, 3, 3), (4, 3, 1)),
]:
    numpys(F.solve, regular(*a), normal(*b))
numpys(F.tensorsolve, regular(6, 6).reshape(2, 3, 6), normal(2, 3))
numpys(F.tensorsolve, regular(6, 6).reshape(2, 3, 6).swapaxes(1, 2), normal(2, 3), axes=(1,))
numpys(F.tensorinv, regular(6, 6).reshape(2, 3, 6))
numpys(F.tensorinv, regular(6, 6).reshape(6, 2, 3), ind=1)
for shape in ((4, 3), (3, 4), (2, 3, 3), (2, 4, 2), (2, 2, 4)):
    x = normal(*shape) + np.eye(*shape[-2:]) * np.arange(2.0, 2 + shape[-1])
    numpys(F.pinv, x)
    numpys(F.svd, x, full_matrices=False)
    numpys(F.svd, x, compute_uv=False)
    numpys(F.svdvals, x)
    numpys(F.qr, x)
    numpys(F.qr, x, "r")
numpys(F.svd, regular(3, 3))
numpys(F.qr, regular(2, 3), mode="complete")
numpys(F.pinv, normal(4, 3), rcond=1e-10)
for a, b in [((4, 3), (4,)), ((4, 3), (4, 2)), ((3, 4), (3,)), ((3, 3), (3, 2))]:
    a, b = normal(*a), normal(*b)
    for k in (0, 3):
        numpys(
            F.lstsq, a, b, via=part(k), fixed=(1,) if k else (), label=f"{a.shape} {b.shape}[{k}]"
        )
numpys(F.lstsq, normal(4, 2), normal(4, 3), None, via=part(1), label="residuals")
for shapes in [
    ((2, 3), (3, 4)),
    ((2, 3), (3, 4), (4, 2)),
    ((3,), (3, 4), (4, 2)),
    ((2, 3), (3, 4), (4,)),
    ((3,), (3,)),
    ((2, 3), (3, 4), (4, 2), (2, 5)),
]:
    numpys(
        F.multi_dot,
        *(normal(*s) for s in shapes),
        via=lambda f, *arrays, **more: f(arrays, **more),
        label=f"{shapes}",
    )
for b in ((3,), (3, 2)):
    for lower in (False, True):
        for trans in (0, "T"):
            for unit in (False, True):
                numpys(
                    F.solve_triangular,
                    regular(3, 3),
                    normal(*b),
                    trans,
                    lower,
                    unit,
                    like=solve_triangular,
                )
for b in ((3,), (3, 2)):
    for lower in (False, True):
        numpys(
            F.cho_solve,
            regular(3, 3),
            normal(*b),
            via=lambda f, c, b, low=lower, **more: f((c, low), b, **more),
            like=lambda c, b, low=lower: np.linalg.solve(
                np.tril(c) @ np.tril(c).T if low else np.triu(c).T @ np.triu(c), b
            ),
            label=f"{b} {lower}",
        )
numpys(F.solve_triangular, regular(2, 3, 3), normal(2, 3, 2), lower=True, like=solve_triangular)
for p in (3, None, 0, 1, 2, -1, -2, 0.5, 2.5, np.inf, -np.inf):
    for keepdims in (False, True):
        order = {"derived": False} if p == 0 else {}
        numpys(F.norm, away(4), p, keepdims=keepdims, **order)
        numpys(F.norm, away(4, 3), p, 1, keepdims=keepdims, **order)
        if p is not None:
            numpys(F.vector_norm, away(4, 3), ord=p, keepdims=keepdims, **order)
            numpys(F.vector_norm, away(2, 3, 2), ord=p, axis=(0, 2), keepdims=keepdims, **order)
for p in (None, "fro", "nuc", 1, 2, -1, -2, np.inf, -np.inf):
    for keepdims in (False, True):
        numpys(F.norm, regular(3, 3), p, keepdims=keepdims)
        numpys(F.norm, away(3, 2, 4), p, (2, 0), keepdims=keepdims)
        if p is not None:
            numpys(F.matrix_norm, away(2, 3, 4), ord=p, keepdims=keepdims)
numpys(F.norm, normal(2, 3, 2))
numpys(F.norm, normal())
for p in (2, -2, 1, -1, np.inf, -np.inf, "fro"):
    numpys(F.cond, regular(3, 3), p)

# ---- normalized along an axis, and losses -----------------------------------------------------------------------


def logsumexp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    y = np.asarray(a) + 0.0
    shape = y.sum(axis, keepdims=keepdims).shape
    for k in range(y.ndim) if axis is None else np.atleast_1d(axis):
        y = np.logaddexp.reduce(y, k, keepdims=True)
    return y.reshape(shape)[()]


def softmax(x: Any, axis: Any = -1) -> Any:
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


for shape, axis in [
    ((2, 3), -1),
    ((2, 3), 0),
    ((2, 3, 2), 1),
    ((2, 3, 2), (0, 2)),
    ((2, 3), None),
    ((3,), 0),
    ((0, 3), 1),
    ((2, 1), -1),
]:
    row(F.softmax, normal(*shape), axis, like=softmax, order=3)
    row(F.log_softmax, normal(*shape), axis, like=lambda x, axis: np.log(softmax(x, axis)), order=3)
for shape, axis in [
    ((2, 3), None),
    ((2, 3), 1),
    ((2, 3, 2), (0, -1)),
    ((3,), 0),
    ((), None),
    ((0, 3), 1),
]:
    for keepdims in (False, True):
        row(
            F.logsumexp,
            normal(*shape),
            axis=axis,
            keepdims=keepdims,
            like=logsumexp,
            order=3,
        )
row(F.logsumexp, normal(2, 3), 0, like=logsumexp)
row(F.softmax, normal(), like=lambda x: np.ones(()))
row(F.log_softmax, normal(), like=lambda x: np.zeros(()))
row(F.softmax, normal(2, 3), like=softmax)
row(F.softmax, normal(2, 3), axis=0, like=softmax)
row(F.log_softmax, normal(2, 3), axis=0, like=lambda x, axis: np.log(softmax(x, axis)))
row(F.log_softmax, normal(2, 3), like=lambda x: np.log(softmax(x)))


def cross_entropy(x: Any, t: Any, ignore_index: int = -100) -> Any:
    """Row by row."""
    rows = [
        (r, k)
        for r, k in zip(x.reshape(-1, x.shape[-1]), np.ravel(t), strict=True)
        if k != ignore_index
    ]
    return np.float64(
        sum(math.log(sum(math.exp(v) for v in r)) - r[k] for r, k in rows) / max(len(rows), 1)
    )


for shape in ((4, 3), (2, 2, 3), (3,), (0, 3), (1, 1)):
    row(
        F.cross_entropy,
        normal(*shape),
        integers(shape[-1], *shape[:-1]),
        like=cross_entropy,
        order=3,
    )
row(
    F.cross_entropy,
    normal(4, 3),
    np.array([0, -100, 2, -100]),
    like=cross_entropy,
    label="some ignored",
)
row(F.cross_entropy, normal(4, 3), np.array([1, 1, 2, 0]), ignore_index=1, like=cross_entropy)
row(F.cross_entropy, normal(2, 2, 3), np.array([[1, 7], [7, 0]]), 7, like=cross_entropy)
row(F.cross_entropy, normal(2, 3), np.array([-100, -100]), like=cross_entropy)
row(F.cross_entropy, normal(2, 3), np.array([2, 0], np.uint8), like=cross_entropy)
row(
    F.accuracy,
    np.array([[0.1, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 2.0]]),
    np.array([1, 2, 2]),
    like=lambda x, t: np.float64(2 / 3),
    derived=False,
)
row(
    F.accuracy, normal(4), np.array(2), like=lambda x, t: np.float64(x.argmax() == t), derived=False
)
row(
    F.accuracy,
    normal(2, 2, 3),
    integers(3, 2, 2),
    like=lambda x, t: (x.argmax(-1) == t).mean(),
    derived=False,
)


def bce(y: Any, t: Any) -> Any:
    return -(t * np.log(y) + (1 - t) * np.log(1 - y)).mean()


def huber(y: Any, t: Any, delta: float = 1.0) -> Any:
    d = np.abs(y - t)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2)).mean()


for shape in ((2, 3), (4, 1), (5,), ()):
    row(
        F.mean_squared_error,
        normal(*shape),
        normal(*shape),
        like=lambda y, t: ((y - t) ** 2).mean(),
        order=3,
    )
    row(F.binary_cross_entropy, rng.uniform(0.1, 0.9, shape), rng.uniform(0, 1, shape), like=bce)
    row(
        F.binary_cross_entropy_with_logits,
        normal(*shape) * 2,
        rng.uniform(0, 1, shape),
        like=lambda x, t: bce(1 / (1 + np.exp(-x)), t),
    )
    row(F.huber, normal(*shape) * 2, normal(*shape), like=huber)
    row(F.huber, normal(*shape) * 2, normal(*shape), 0.4, like=huber)
row(F.mean_squared_error, normal(0, 3), normal(0, 3), like=lambda y, t: np.float64(0))
row(
    F.binary_cross_entropy,
    np.array([0.2, 0.9]),
    np.array([0.0, 1.0]),
    eps=0.01,
    fixed=(1,),
    like=lambda y, t, eps: bce(y, t),
)

WEIGHTS = np.array([0.5, 2.0, 0.0, 1.5])
CLASS_WEIGHTS = np.array([0.3, 2.0, 1.0])
LABELS = np.array([0, -100, 2, 1])


def weighted_mean(losses: Any, weight: Any) -> Any:
    if weight is None:
        return losses.mean()
    weight = np.broadcast_to(
        np.reshape(weight, np.shape(weight) + (1,) * (losses.ndim - 1)), losses.shape
    )
    return (losses * weight).sum() / weight.sum()


def cross_entropies(
    log_p: Any, t: Any, ignore_index: int = -100, class_weight: Any = None, smoothing: float = 0
) -> tuple[Any, Any]:
    """Row by row: the losses, and how much each counts."""
    classes = log_p.shape[-1]
    c = np.ones(classes) if class_weight is None else class_weight
    losses, counts = np.zeros(len(t)), np.zeros(len(t))
    for i, (row_, k) in enumerate(zip(log_p, t, strict=True)):
        if k != ignore_index:
            losses[i] = -(1 - smoothing) * c[k] * row_[k] - smoothing / classes * (c @ row_)
            counts[i] = c[k]
    return losses, counts


def like_cross_entropy(
    x: Any,
    t: Any,
    *,
    label_smoothing: float = 0,
    class_weight: Any = None,
    weight: Any = None,
    reduction: str = "mean",
) -> Any:
    losses, counts = cross_entropies(np.log(softmax(x)), t, -100, class_weight, label_smoothing)
    w = np.ones(len(t)) if weight is None else weight
    total = losses * w if reduction == "none" else (losses * w).sum()
    return total / (counts * w).sum() if reduction == "mean" else total


for options in (
    {"reduction": "sum"},
    {"reduction": "none", "class_weight": CLASS_WEIGHTS},
    {"weight": WEIGHTS},
    {"label_smoothing": 0.3},
    {"label_smoothing": 1.0, "class_weight": CLASS_WEIGHTS, "weight": WEIGHTS},
    {"reduction": "sum", "label_smoothing": 0.1, "class_weight": CLASS_WEIGHTS},
):
    row(F.cross_entropy, normal(4, 3), LABELS, like=like_cross_entropy, **options)
row(
    F.negative_log_likelihood,
    normal(4, 3),
    LABELS,
    class_weight=CLASS_WEIGHTS,
    like=lambda x, t, class_weight: np.divide(
        *map(np.sum, cross_entropies(x, t, -100, class_weight))
    ),
)
row(
    F.negative_log_likelihood,
    normal(2, 2, 3),
    integers(3, 2, 2),
    like=lambda x, t: -np.take_along_axis(x, t[..., None], -1).mean(),
)
row(
    F.mean_absolute_error,
    away(4, 2),
    away(4, 2) + 3,
    positive(4),
    via=lambda f, y, t, w: f(y, t, weight=w),
    like=lambda y, t, w: weighted_mean(abs(y - t), w),
    label="by weights",
)
for loss, formula in (
    (F.mean_squared_error, lambda y, t: (y - t) ** 2),
    (F.mean_absolute_error, lambda y, t: abs(y - t)),
    (F.huber, lambda y, t: np.where(abs(y - t) <= 1, (y - t) ** 2 / 2, abs(y - t) - 0.5)),
    (F.binary_cross_entropy_with_logits, lambda y, t: np.logaddexp(0, y) - t * y),
    (F.binary_cross_entropy, lambda y, t: -t * np.log(y) - (1 - t) * np.log(1 - y)),
):
    for shape in ((4, 2), (4,)):
        pair = rng.uniform(0.1, 0.4, shape), rng.uniform(0.6, 0.9, shape)
        row(
            loss,
            *pair,
            weight=WEIGHTS,
            like=lambda y, t, weight, f=formula: weighted_mean(f(y, t), weight),
        )
    row(loss, *pair, reduction="none", like=lambda y, t, reduction, f=formula: f(y, t))
for shape in ((2, 3), (0, 3), ()):
    row(
        F.mean_absolute_error,
        away(*shape),
        np.zeros(shape),
        fixed=(1,),
        like=lambda y, t: np.float64(abs(y - t).mean() if y.size else 0),
    )
for q in (0.2, np.array([0.1, 0.5, 0.9])):
    row(
        F.quantile_loss,
        normal(2, 3),
        normal(2, 3),
        fixed=(2,),
        via=lambda f, y, t, q=q: f(y, t, q),
        like=lambda y, t, q=q: np.where(t > y, q * (t - y), (1 - q) * (y - t)).mean(),
        label=f"q {q}",
    )
row(
    F.hinge,
    np.array([0.3, -2.0, 1.7]),
    np.array([1, 1, -1]),
    like=lambda y, t: np.maximum(1 - t * y, 0).mean(),
)
for shape in ((2, 3), (2, 2, 3)):
    probabilities = softmax(normal(*shape))
    row(
        F.kl_divergence,
        np.log(softmax(normal(*shape))),
        probabilities,
        order=3,
        like=lambda q, p: (p * (np.log(p) - q)).sum(-1).mean(),
    )
    row(
        F.cosine_distance,
        normal(*shape),
        normal(*shape),
        order=3,
        like=lambda y, t: 1 - ((y * t).sum(-1) / np.sqrt((y * y).sum(-1) * (t * t).sum(-1))).mean(),
    )
scores = np.array([[0.1, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 0.5]])
labels = np.array([1, 2, 2, 0])
row(
    F.accuracy,
    scores,
    labels,
    weight=WEIGHTS,
    derived=False,
    like=lambda x, t, weight: np.float64(0.5 / 4),
)
for average, want in (
    ("macro", np.float64((2 / 3 + 2 / 3) / 3)),
    ("micro", np.float64(0.5)),
    (None, np.array([0, 2 / 3, 2 / 3])),
):
    row(
        F.f1,
        scores,
        labels,
        average=average,
        derived=False,
        like=lambda x, t, average, want=want: want,
    )
row(
    F.r2,
    normal(5, 2),
    normal(5, 2),
    derived=False,
    like=lambda y, t: (1 - ((y - t) ** 2).sum(0) / ((t - t.mean(0)) ** 2).sum(0)).mean(),
)

# ---- attention --------------------------------------------------------------------------------------------------


def attention(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False) -> Any:
    """Query by query."""
    lead = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    y = np.zeros((*lead, q.shape[-2], v.shape[-1]))
    sees = np.broadcast_to(True if mask is None else mask, (*lead, q.shape[-2], k.shape[-2]))
    for place in np.ndindex(*lead, q.shape[-2]):
        *batch, i = place
        at = tuple(batch)
        keys, values = (np.broadcast_to(a, (*lead, *a.shape[-2:]))[at] for a in (k, v))
        row_ = np.broadcast_to(q, (*lead, *q.shape[-2:]))[at][i]
        some = sees[place] & ((np.arange(len(keys)) <= i) | (not causal))
        if some.any():
            y[place] = softmax(keys[some] @ row_ / math.sqrt(len(row_))) @ values[some]
    return y


SEES = np.array(
    [[True, False, True, True], [False, False, False, False], [True, True, False, False]]
)
for shapes, settings in (
    (((3, 2), (4, 2), (4, 3)), {}),
    (((2, 3, 2), (2, 4, 2), (2, 4, 3)), {"causal": True}),
    (((2, 3, 2), (2, 4, 2), (2, 4, 1)), {"mask": SEES}),
    (((2, 2, 3, 2), (2, 1, 4, 2), (4, 2)), {"mask": SEES[None, None, :1], "causal": True}),
):
    row(F.attention, *[normal(*shape) for shape in shapes], like=attention, **settings)
row(
    F.attention,
    9 * normal(3, 2),
    9 * normal(4, 2),
    normal(4, 2),
    label="scores far out",
    like=attention,
)

# ---- recurrent --------------------------------------------------------------------------------------------------


def lstm(x: Any, h: Any, c: Any, w_x: Any, w_h: Any, b: Any, return_sequences: bool = True) -> Any:
    """Step by step, by the definition."""
    hs = []
    for t in range(x.shape[1]):
        f, i, o, u = np.split(x[:, t] @ w_x + h @ w_h + b, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(u) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        hs.append(h)
    return (np.stack(hs, axis=1) if return_sequences else h), c


def rnn(x: Any, h: Any, w_x: Any, w_h: Any, b: Any, return_sequences: bool = True) -> Any:
    hs = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ w_x + h @ w_h + b)
        hs.append(h)
    return np.stack(hs, axis=1) if return_sequences else h


def gru(x: Any, h: Any, w_x: Any, w_h: Any, b: Any, b_h: Any, return_sequences: bool = True) -> Any:
    hs = []
    for t in range(x.shape[1]):
        x_r, x_z, x_n = np.split(x[:, t] @ w_x + b, 3, axis=1)
        h_r, h_z, h_n = np.split(h @ w_h, 3, axis=1)
        r, z = 1 / (1 + np.exp(-x_r - h_r)), 1 / (1 + np.exp(-x_z - h_z))
        h = (1 - z) * np.tanh(x_n + r * (h_n + b_h)) + z * h
        hs.append(h)
    return np.stack(hs, axis=1) if return_sequences else h


def each_alone(function: Any) -> Any:
    """Of padded rows: each row run alone for its own length, and zeros beyond."""

    def run(x: Any, *more: Any, return_sequences: bool = True) -> Any:
        *args, lengths = more
        batch, time, states = len(x), x.shape[1], 2 if function is lstm else 1
        lengths = [time] * batch if lengths is None else lengths  # None is legal: it is the default
        found = []
        for i, n in enumerate(lengths):
            own = [s[i : i + 1] for s in args[:states]]
            y = function(x[i : i + 1, :n], *own, *args[states:], return_sequences=return_sequences)
            h, *last = y if isinstance(y, tuple) else (y,)
            if return_sequences:
                h = np.concatenate([h, np.zeros((1, time - n, h.shape[2]))], axis=1)
            found.append([h, *last])
        assert len(found) == batch
        parts = [np.concatenate(p) for p in zip(*found)]
        return tuple(parts) if function is lstm else parts[0]

    return run


def weights(gates: int, batch: int, hidden: int, features: int) -> list[Any]:
    """States before the first step, and weights: all arguments but x."""
    states, width = [normal(batch, hidden) for _ in range(2 if gates == 4 else 1)], gates * hidden
    more = [normal(hidden)] if gates == 3 else []
    return [*states, normal(features, width), normal(hidden, width) * 0.5, normal(width), *more]


for settings in ({}, {"return_sequences": False}):
    lengths, x = np.array([2, 4, 1]), normal(3, 4, 2)
    for f, gates, like in ((F.rnn, 1, rnn), (F.gru, 3, gru), (F.lstm, 4, lstm)):
        args = (x, *weights(gates, 3, 2, 2), lengths)
        row(
            f,
            *args,
            like=each_alone(like),
            fixed=(*range(1, 6), 6) if f is F.lstm else (len(args) - 1,),
            label=f"lengths{settings or ''}",
            **settings,
        )
for batch, time, hidden, features in ((2, 3, 2, 1), (1, 1, 3, 2), (0, 2, 2, 2)):
    for settings in ({}, {"return_sequences": False}):
        label, x = f"{batch},{time}{settings or ''}", normal(batch, time, features)
        row(F.rnn, x, *weights(1, batch, hidden, features), like=rnn, label=label, **settings)
        row(F.gru, x, *weights(3, batch, hidden, features), like=gru, label=label, **settings)
        args = (x, *weights(4, batch, hidden, features))
        row(
            F.lstm, *args, like=lstm, fixed=(1, 2, 3, 4, 5), label=label, **settings
        )  # both outputs by one argument
        for k in (0, 1):  # each output by every argument
            row(
                F.lstm,
                *args,
                like=lambda *a, k=k, **s: lstm(*a, **s)[k],
                via=lambda f, *a, k=k, s=settings, **more: f(*a, **s, **more)[k],
                label=f"{label}[{k}]",
                **settings,
            )


def loop(step: Any, state: Any, xs: Any) -> Any:
    outputs = []
    for x in xs:
        state, y = step(state, x)
        outputs.append(y)
    return state, np.stack(outputs)


for shape in ((3,), (2, 2), (1, 3)):
    for k in (0, 1):
        numpys(
            F.scan,
            lambda h, x: (np.sin(h) * x, h + x),
            normal(*shape[1:]),
            normal(*shape),
            like=lambda *args, k=k: loop(*args)[k],
            via=part(k),
            label=f"{shape}[{k}]",
        )

# ---- without a derivative ---------------------------------------------------------------------------------------

COMPARISONS = (F.equal, F.not_equal, F.less, F.less_equal, F.greater, F.greater_equal)
for comparison in (*COMPARISONS, F.logical_and, F.logical_or, F.logical_xor):
    for a, b in PAIRS[::3]:
        row(comparison, np.round(normal(*a)), np.round(normal(*b)), derived=False, elementwise=True)
    row(comparison, np.array([0, 1, 2]), 1, derived=False)
for bitwise in (F.bitwise_and, F.bitwise_or, F.bitwise_xor):
    row(bitwise, integers(2, 2, 3) > 0, integers(2, 3) > 0, derived=False)
    row(bitwise, integers(9, 3), 6, derived=False)
row(F.invert, integers(2, 3) > 0, derived=False)
row(F.bitwise_count, integers(9, 3), derived=False)
for f in (F.left_shift, F.right_shift, F.gcd, F.lcm):
    row(f, integers(9, 2, 3), integers(3, 3), derived=False)
special = np.array([-np.inf, -1.5, -0.0, 0.5, np.inf, np.nan])
for f in (
    F.isnan,
    F.isfinite,
    F.isinf,
    F.floor,
    F.ceil,
    F.rint,
    F.trunc,
    F.round,
    F.logical_not,
    F.signbit,
    F.spacing,
    F.zeros_like,
    F.ones_like,
):
    for x in (special, normal(), normal(0, 2)):
        row(f, x, derived=False)
row(F.sign, special[:5], derived=False)
for f in (F.isposinf, F.isneginf):
    row(f, special, derived=False, foreign=False)
for f in (F.nanargmax, F.nanargmin):
    row(f, special, derived=False, foreign=False)
    row(f, normal(2, 3), axis=1, derived=False, foreign=False)
for f in (F.imag, F.angle, F.isreal, F.iscomplex):
    row(f, away(2, 3), derived=False, foreign=False)
for f in (F.zeros_like, F.ones_like):
    row(f, normal(2), dtype=np.float32, derived=False)
for f in (F.argmax, F.argmin, F.argsort):
    row(f, normal(2, 3), derived=False)
    row(f, normal(2, 3), 0, derived=False)
    row(f, normal(2, 3), axis=-1, derived=False)
for f in (F.any, F.all):
    row(f, normal(2, 3) > 0, derived=False)
    row(f, normal(2, 3) > 0, axis=1, keepdims=True, derived=False)
row(F.nonzero, np.round(normal(3, 4)), derived=False)
row(F.where, np.round(normal(3, 4)) > 0, derived=False, label="condition alone")
row(F.round, normal(3), 2, derived=False)
row(F.round, normal(3), decimals=1, derived=False)
row(F.floor_divide, normal(2, 3) * 5, away(3), derived=False)
row(F.floor_divide, integers(9, 3), 2, derived=False)
row(F.clip, normal(3, 4), min=-0.5, max=0.5)
row(F.clip, normal(3, 4), max=normal(4))

# NumPy's questions whose answers are plain Python values, never Variables: (NumPy's function, arguments).
PLAIN: list[tuple[Any, tuple[Any, ...]]] = [
    (np.shape, (normal(2, 3),)),
    (np.ndim, (normal(2, 3),)),
    (np.isrealobj, (normal(2, 3),)),
    (np.iscomplexobj, (normal(2, 3),)),
    (np.size, (normal(2, 3),)),
    (np.size, (normal(2, 3), 1)),
    (np.allclose, (np.ones(2), np.ones(2) + 1e-9)),
    (np.allclose, (np.ones(2), np.zeros(2))),
    (np.array_equal, (np.ones(2), np.ones(2))),
    (np.array_equal, (np.ones(2), np.ones(3))),
    (np.array_equiv, (np.ones(2), np.ones((3, 2)))),
    (np.result_type, (np.ones(2, np.float32), np.float64)),
    (np.min_scalar_type, (np.ones(2),)),
    (np.shares_memory, (np.ones(2), np.ones(2))),
    (np.array_repr, (np.ones(2),)),
    (np.array_str, (np.ones(2),)),
    (np.array2string, (np.ones(2),)),
]


# Functions that NumPy has a second time, with other arguments: (NumPy's, arguments, settings).
NAMESAKES: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (np.linalg.cross, (normal(2, 3), normal(3)), {}),
    (np.linalg.cross, (normal(3, 2), normal(3, 2)), {"axis": 0}),
    (np.linalg.outer, (normal(2), normal(3)), {}),
    (np.linalg.trace, (normal(2, 3, 3),), {}),
    (np.linalg.trace, (normal(3, 4),), {"offset": 1}),
    (np.linalg.diagonal, (normal(2, 3, 4),), {}),
    (np.linalg.diagonal, (normal(2, 3, 4),), {"offset": -1}),
    (np.linalg.matrix_transpose, (normal(2, 3, 4),), {}),
    (np.linalg.vecdot, (normal(2, 3), normal(3)), {}),
    (np.linalg.vecdot, (normal(2, 3), normal(2, 3)), {"axis": 0}),
]


def as_variables(value: Any) -> Any:
    """Arrays of integers and bools inside an argument as Variables: they must index and mask just as well."""
    if isinstance(value, tuple):
        return tuple(as_variables(v) for v in value)
    return Variable(value) if isinstance(value, np.ndarray) and value.dtype.kind in "iub" else value


# Further rows, which need what is above.
from tests.functions import rows_of_families, rows_of_windows  # noqa: E402, F401
