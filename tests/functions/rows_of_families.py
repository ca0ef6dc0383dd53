"""Rows of the families that share a mechanism: running sums, rearrangements, joins, order, statistics, differences.

The catalogue's other rows, and what a row is, are in catalogue.py.
"""

from collections import Counter
from typing import Any

import numpy as np

from minidl import functions as F
from minidl.autograd.protocols import REGISTRY
from tests.functions.catalogue import MASK, away, normal, positive, row

rows_so_far: Counter[Any] = Counter()


def family(function: Any, *args: Any, **settings: Any) -> None:
    """A row that NumPy's arrays only are for; after two of a function the others are brief."""
    rows_so_far[function] += 1
    row(function, *args, foreign=False, brief=rows_so_far[function] > 2, **settings)


def joined(function: Any, *arrays: Any, label: str = "", **settings: Any) -> None:
    """A row of a function that takes its arrays in one list."""
    shapes = ",".join(str(a.shape).replace(" ", "") for a in arrays)
    family(
        function,
        *arrays,
        via=lambda f, *given: f(list(given), **settings),
        label=label or f"{shapes}{settings or ''}",
    )


def via(function: Any, x: Any, label: str, call: Any, **settings: Any) -> None:
    """A row whose call needs words of its own."""
    family(function, x, via=call, label=label, **settings)


# ---- running sums, products, extrema ----------------------------------------------------------------------------

for shape, axis in [((2, 3), 0), ((2, 3), -1), ((2, 3), None), ((3,), 0), ((), None), ((0, 2), 1)]:
    family(F.cumsum, normal(*shape), axis)
    family(F.cumprod, away(*shape), axis, order=3)
    family(F.prod, away(*shape), axis, order=3)
family(F.cumsum, normal(2, 2, 2), axis=1)
zeros = np.array([[0.0, 2.0, 3.0, 0.5], [1.5, 0.0, 0.0, 2.0], [-1.0, 2.0, 0.5, 0.0]])
family(F.cumprod, zeros, 1, order=3, label="factors of 0")
family(F.prod, zeros, 1, order=3, label="factors of 0")
family(F.prod, away(2, 3, 2), (0, -1), keepdims=True)
family(F.prod, away(3, 4), axis=1, where=MASK)
family(F.prod, away(2, 3), axis=0, initial=1.5)
family(F.prod, normal(2, 0), axis=1)
holes = np.array([[1.0, np.nan, -0.5, 2.0], [0.7, 1.1, 1.3, np.nan], [np.nan, 0.3, -2.0, 0.9]])


def with_holes(function: Any, *args: Any, **settings: Any) -> None:
    """A row in which some elements are NaN: put in by the call, for differences of NaN check nothing."""
    where = np.isnan(holes)

    def call(f: Any, x: Any) -> Any:
        return f(np.where(where, np.nan, x), *args, **settings)

    label = f"with NaN {args or ''}{settings or ''}"
    family(function, np.where(where, 1.0, holes), via=call, label=label)


for f in (F.nansum, F.nanmean, F.nanvar, F.nanstd, F.nanmax, F.nanmin, F.nanprod, F.nanmedian):
    family(f, away(3, 4))
    with_holes(f)
    with_holes(f, axis=1)
    with_holes(f, axis=0, keepdims=True)
for f in (F.nancumsum, F.nancumprod):
    with_holes(f)
    with_holes(f, 1)
with_holes(F.nanvar, axis=1, ddof=1)
with_holes(F.nanquantile, [0.2, 0.7], axis=1)
with_holes(F.nanpercentile, 30, axis=0, keepdims=True)
for axis in (None, 0, (0, 1)):
    family(F.ptp, normal(3, 4), axis, keepdims=True)
    family(F.count_nonzero, np.round(normal(3, 4)), axis, derived=False)

for name, args, settings in [
    ("add.reduce", (), {}),
    ("add.reduce", ((0, 1),), {"keepdims": True}),
    ("multiply.reduce", (None,), {}),
    ("maximum.reduce", (), {"axis": 1}),
    ("minimum.reduce", (), {"initial": 0.5}),
    ("add.accumulate", (1,), {}),
    ("multiply.accumulate", (), {}),
    ("maximum.accumulate", (), {}),
    ("maximum.accumulate", (-1,), {}),
    ("minimum.accumulate", (1,), {}),
    ("logaddexp.reduce", (), {}),
    ("logaddexp.reduce", (1,), {"keepdims": True}),
    ("logaddexp.accumulate", (), {}),
    ("logaddexp.accumulate", (-1,), {}),
    ("fmax.reduce", (), {"axis": 1}),
    ("fmin.reduce", (), {}),
]:
    family(REGISTRY[name], away(3, 4), *args, **settings, label=f"{name}{args}{settings or ''}")
family(REGISTRY["compress"], normal(2, 3), [True, False, True], 1, label="compress, the method")

# ---- rearrangements ---------------------------------------------------------------------------------------------

for axis in (None, 0, -1, (0, 2)):
    family(F.flip, normal(2, 3, 2), axis)
family(F.flip, normal())
family(F.flipud, normal(3, 2))
family(F.fliplr, normal(3, 2))
for shift, axis in [(1, None), (-2, 1), ((1, 2), (0, 1)), (5, 0)]:
    family(F.roll, normal(2, 3), shift, axis)
family(F.roll, normal(0, 3), 1)
for k in (0, 1, 2, -1):
    family(F.rot90, normal(2, 3), k)
family(F.rot90, normal(2, 3, 2), axes=(1, 2))
for reps in (2, (2, 1), (2, 1, 3), 0):
    family(F.tile, normal(2, 3), reps)
family(F.tile, normal(), 3)
for repeats, axis in [(2, None), (3, 1), ([1, 0, 2], -1), (0, 0)]:
    family(F.repeat, normal(2, 3), repeats, axis)
for k in (0, 1, -1):
    family(F.diag, normal(3), k)
    family(F.diag, normal(3, 4), k)
    family(F.diagflat, normal(2, 2), k)
    family(F.tril, normal(3, 4), k)
    family(F.triu, normal(2, 3, 3), k)
    family(F.diagonal, normal(3, 4), k)
family(F.diagonal, normal(2, 3, 4), 1, 0, 2)
family(F.resize, normal(2, 3), (4, 2))
for obj, axis in [(1, None), ([0, 2], 1), (slice(0, 2), 1), (np.array([True, False, True]), 1)]:
    family(F.delete, normal(2, 3), obj, axis)
for obj, axis, shape in [
    (1, None, ()),
    (1, 0, (3,)),
    ([1, 2], 1, (2, 2)),
    (-1, 1, (2,)),
    (slice(0, 2), 1, (2, 2)),
]:
    family(F.insert, normal(2, 3), obj, normal(*shape), axis)
for width in (1, (1, 2), ((0, 2), (1, 0))):
    family(F.pad, normal(2, 3), width)
MODES = "edge reflect symmetric wrap linear_ramp mean maximum minimum median"
for mode in MODES.split():
    family(F.pad, normal(4), 2, mode)
    family(F.pad, normal(3, 3), ((1, 2), (0, 2)), mode)
family(F.pad, normal(2, 3), 1, constant_values=1.5)
family(F.pad, normal(4), 2, "linear_ramp", end_values=0.5)
family(F.pad, normal(3, 4), 2, "reflect", reflect_type="odd")
family(F.pad, normal(4), 1, "mean", stat_length=2)
family(F.pad, normal(3, 4), 1, "maximum", stat_length=((1, 2), (2, 3)))
family(F.pad, normal(4), (1, 2), "linear_ramp", end_values=(0.5, 2.0))
family(F.pad, normal(2, 3), ((1, 2), (0, 1)), constant_values=((1.0, 2.0), (3.0, 4.0)))


def like_pad(x: Any, widths: Any) -> Any:
    """Older NumPy takes no dict."""
    if isinstance(widths, dict) and widths:
        places = {axis % x.ndim: width for axis, width in widths.items()}
        widths = [np.broadcast_to(places.get(axis, 0), (2,)) for axis in range(x.ndim)]
    return np.pad(x, widths)


family(F.pad, normal(2, 3), {-1: (1, 2), 0: 1}, like=like_pad)

# ---- axes, joins, cuts ------------------------------------------------------------------------------------------

for source, destination in [(0, -1), ((0, 1), (-1, 0)), (2, 0), ([2, 0], [0, 1])]:
    family(F.moveaxis, normal(2, 3, 4), source, destination)
for axis, start in [(2, 0), (0, 3), (1, 1), (-1, -2)]:
    family(F.rollaxis, normal(2, 3, 4), axis, start)
family(F.matrix_transpose, normal(2, 3, 4))
for shape in ((2, 3), (), (0, 2)):
    family(F.copy, normal(*shape))
    via(F.full_like, normal(*shape), str(shape), lambda f, x: f(np.zeros_like(x), x))
via(F.copy, normal(2, 3), "in Fortran's order", lambda f, x: f(x, order="F"))
via(F.full_like, normal(3), "broadcast", lambda f, x: f(np.zeros_like(np.stack([x, x])), x))
family(F.full_like, np.arange(3), normal(2, 1), np.float64, shape=(2, 2))
for f in (F.atleast_1d, F.atleast_2d, F.atleast_3d):
    for shape in ((), (2,), (2, 3), (2, 0, 1, 2)):
        family(f, normal(*shape))
    family(f, normal(2), normal())
for f in (F.vstack, F.hstack, F.dstack, F.column_stack):
    joined(f, normal(2), normal(2))
    joined(f, normal(2, 3), normal(2, 3))
joined(F.vstack, normal(2), normal(3, 2))
joined(F.hstack, normal(2, 1), normal(2, 3))
joined(F.hstack, normal(), normal(3))
joined(F.dstack, normal(2, 3, 2), normal(2, 3))
joined(F.column_stack, normal(2), normal(2, 3))
for shape, more, axis in [((3,), (2,), None), ((2, 3), (1, 3), 0), ((2, 3), (), None)]:
    family(F.append, normal(*shape), normal(*more), axis)
via(F.block, normal(2, 2), "2 by 2", lambda f, x: f([[x, x], [x[:1] * 0, x[:1] * 2]]))
via(F.block, normal(2), "vectors", lambda f, x: f([x, x * 2]))
via(F.block, normal(2), "rows", lambda f, x: f([[x], [x * 2]]))
via(F.block, normal(2), "no list", lambda f, x: f(x))
for sections, axis in [(2, 0), (3, 1), ([1, 2], 0), (4, -1)]:
    family(F.array_split, normal(5, 4), sections, axis)
for f, shape in [(F.hsplit, (2, 4)), (F.hsplit, (4,)), (F.vsplit, (4, 2)), (F.dsplit, (1, 2, 4))]:
    family(f, normal(*shape), 2)
    family(f, normal(*shape), [1, 3])
family(F.unstack, normal(2, 3), like=lambda x: tuple(x))
family(F.unstack, normal(2, 3), axis=1, like=lambda x, axis: tuple(np.moveaxis(x, axis, 0)))
family(F.broadcast_arrays, normal(2, 1), normal(3))
family(F.broadcast_arrays, normal(), normal(2, 2))
for settings in ({}, {"indexing": "ij"}, {"sparse": True}):
    family(F.meshgrid, normal(2), normal(3), **settings)
family(F.meshgrid, normal(2), normal(1), normal(3))

# ---- by index ---------------------------------------------------------------------------------------------------

for shape, indices, axis in [
    ((2, 3), np.array([[0, 2, 2], [1, 1, 0]]), 1),
    ((2, 3), np.array([[0, 1, 0]]), 0),
    ((2, 3), np.array([[-1], [0]]), -1),
    ((2, 3), np.array([5, 5, 0]), None),
]:
    family(F.take_along_axis, normal(*shape), indices, axis)
for condition, axis in [([True, False, True], 1), ([False, True], 0), ([True, False, True], None)]:
    family(F.compress, condition, normal(2, 3), axis)
family(F.extract, MASK, normal(3, 4))
choices = lambda f, x, **settings: f(
    np.array([[0, 1, 1], [2, 0, 1]]), [x, x[0] * 2, x[:, :1]], **settings
)
via(F.choose, normal(2, 3), "three", choices)
via(
    F.choose,
    normal(2, 3),
    "wrap",
    lambda f, x: f(np.array([-1, 2, 4]), [x, x * 2], mode="wrap"),
)
via(F.choose, normal(2, 3), "clip", lambda f, x: f(np.array([-1, 2, 4]), [x, x * 2], mode="clip"))
via(F.select, away(2, 3), "two", lambda f, x: f([x > 0.5, x < 0], [x * 2, x * x], 1.5))
via(F.select, away(3), "no default", lambda f, x: f([x > 0.5], [np.exp(x)]))
via(
    F.piecewise,
    away(2, 3),
    "functions and a number",
    lambda f, x: f(x, [x > 0.5, x < 0], [lambda v: v * v, 2.0, lambda v: v * 3]),
)
via(F.piecewise, away(3), "arguments", lambda f, x: f(x, [x > 0], [lambda v, k: v * k], 4.0))


def added(x: Any, index: Any, values: Any) -> Any:
    """By the numbers of the places: np.add.at itself crashes on some indices that do not fit."""
    y = x.copy()
    places = np.arange(x.size).reshape(x.shape)[index]
    for place, value in zip(places.reshape(-1), np.broadcast_to(values, places.shape).reshape(-1)):
        y.reshape(-1)[place] += value
    return y


def replaced(x: Any, index: Any, values: Any) -> Any:
    x = x.copy()
    x[index] = values
    return x


for index, shape in [
    (1, (3,)),
    ((slice(None), 0), ()),
    (slice(0, 2), (2, 3)),
    (np.array([0, 1, 0]), (3, 3)),
    (np.array([[True, False, True], [False, True, False]]), (3,)),
    ((np.array([0, 1, 0]), np.array([2, 2, 2])), ()),
    (([0, 0], [1, 1]), (2,)),
    (..., (3,)),
]:
    family(F.index_add, normal(2, 3), index, normal(*shape), like=added)
    family(F.index_set, normal(2, 3), index, normal(*shape), like=replaced)
family(F.index_add, normal(2, 3), 0, 1.5, like=added)
family(F.index_set, normal(2, 3), 0, 1.5, like=replaced)

# ---- order ------------------------------------------------------------------------------------------------------

for axis in (-1, 0, None):
    family(F.sort, normal(3, 4), axis)
    family(F.argpartition, normal(5), 2, derived=False)
    family(F.partition, np.array([3.0, 1.0, 2.0]), 1, axis)
family(F.sort, normal(0))
family(F.argwhere, np.round(normal(3, 4)), derived=False)
family(F.flatnonzero, np.round(normal(3, 4)), derived=False)
family(F.searchsorted, np.sort(normal(4)), normal(2, 3), derived=False)
family(F.searchsorted, np.sort(normal(4)), normal(3), side="right", derived=False)
family(F.isin, np.arange(6.0).reshape(2, 3), [0.0, 4.0], derived=False)
family(F.isin, np.arange(3.0), np.array([1.0]), invert=True, derived=False)
family(F.digitize, normal(5), np.array([-1.0, 0.0, 1.0]), derived=False)
family(F.isclose, np.array([1.0, 2.0]), np.array([1.0 + 1e-9, 2.1]), derived=False)
via(F.lexsort, np.round(normal(6)), "two keys", lambda f, x: f((x, x * 0)), derived=False)
family(F.unique, away(2, 3))
grid = np.array([-1.0, 0.0, 0.5, 2.0])
family(F.interp, normal(2, 5), grid, normal(4), order=2)
family(F.interp, np.array(0.3), grid, normal(4))
family(F.interp, normal(6) * 2, grid, normal(4), left=-1.0, right=3.0)
family(F.interp, normal(6), np.array([0.3]), normal(1), fixed=(0, 1))
family(F.interp, normal(6) * 3, np.array([0.1, 0.9, 1.7]), normal(3), period=2.5)

# ---- statistics -------------------------------------------------------------------------------------------------

for axis in (None, 0, (0, 1), -1):
    for f in (F.average, F.median):
        family(f, normal(3, 4), axis, keepdims=True)
    family(F.quantile, normal(3, 4), [0.1, 0.5, 1.0], axis)
family(F.average, normal(2, 3, 4), (2, 0), positive(4, 2))
family(F.average, normal(3, 4), weights=positive(3, 4))
family(F.average, normal(3, 4), axis=1, weights=positive(4))
family(F.average, normal(3, 4), 0, positive(3))
family(F.median, normal(4))
family(F.median, np.array([2.0]))
for method in (
    "lower",
    "higher",
    "nearest",
    "midpoint",
    "interpolated_inverted_cdf",
    "hazen",
    "weibull",
    "median_unbiased",
    "normal_unbiased",
):
    family(F.quantile, normal(5), [[0.13, 0.5], [0.77, 0.0]], method=method)
family(F.percentile, normal(3, 4), 30, axis=1)
family(F.percentile, normal(3, 4), [10, 90], (0, 1), keepdims=True)
for settings in ({}, {"rowvar": False}, {"bias": True}, {"ddof": 0}):
    family(F.cov, normal(3, 4), **settings)
family(F.cov, normal(4))
family(F.cov, normal(4), normal(4))
family(F.cov, normal(2, 5), fweights=[1, 2, 0, 1, 3])
family(F.cov, normal(2, 5), fweights=[1, 2, 0, 1, 3], aweights=[1.0, 0.5, 2.0, 1.0, 0.7], ddof=0)
family(F.cov, normal(2, 5), aweights=[1.0, 0.5, 2.0, 1.0, 0.7])
family(F.corrcoef, normal(3, 4))
family(F.corrcoef, normal(4), normal(4))
family(F.corrcoef, normal(4, 3), rowvar=False)

# ---- differences, grids, polynomials ----------------------------------------------------------------------------

for n, axis in [(1, -1), (2, 0), (0, 1), (4, 1)]:
    family(F.diff, normal(3, 4), n, axis)
family(F.diff, normal(3, 4), axis=0, prepend=0.5, append=normal(1, 4))
family(F.ediff1d, normal(2, 3))
family(F.ediff1d, normal(4), to_begin=0.5, to_end=normal(2))
family(F.gradient, normal(5))
family(F.gradient, normal(3, 4))
family(F.gradient, normal(5), 0.3, edge_order=2)
family(F.gradient, normal(3, 4), 0.3, np.array([0.0, 0.4, 1.0, 1.1]))
family(F.gradient, normal(3, 4), axis=1, edge_order=2)
family(F.gradient, normal(5), np.array([0.0, 0.4, 1.0, 1.1, 1.9]), edge_order=2)
family(F.trapezoid, normal(3, 4))
family(F.trapezoid, normal(3, 4), normal(3), axis=0)
family(F.trapezoid, normal(3, 4), normal(3, 4))
family(F.trapezoid, normal(3, 4), dx=0.3)
for settings in ({}, {"num": 5}, {"num": 4, "endpoint": False}, {"num": 1}, {"num": 0}):
    family(F.linspace, normal(), normal(), **settings)
family(F.linspace, normal(2), normal(3, 1), 4, axis=-1)
family(F.linspace, normal(2), 3.0, 3, retstep=True)
family(F.polyval, normal(4), normal(2, 3), order=3)
for m, n in ((4, 4), (4, 2), (1, 3)):
    for f in (F.polyadd, F.polysub, F.polymul):
        family(f, away(m), away(n))
for m in (0, 1, 2, 5):
    family(F.polyder, normal(4), m)
for m, k in ((0, None), (1, None), (1, 2.0), (2, [1.0, -1.0])):
    family(F.polyint, normal(3), m, k)
abscissae = np.array([-1.0, -0.2, 0.4, 0.9, 1.7])
family(F.polyfit, abscissae, normal(5), 2)
family(F.polyfit, abscissae, normal(5, 2), 1)
family(F.polyfit, abscissae, normal(5), 3, w=np.array([1.0, 2.0, 0.5, 1.0, 1.5]))
family(F.vander, away(3))
family(F.vander, away(3), 4, increasing=True)
family(F.vander, away(2), 2)
