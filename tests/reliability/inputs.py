"""Bad inputs to every public function: a right answer, equal to NumPy's or to that of a clean copy, or a clear error.

Every row of tests/functions/catalogue.py is called with one of its arguments spoiled, plain and as a Variable, and
counted; tests (test_inputs.py) and the script (measure_functions.py) both use it.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minidl import Variable
from tests.functions.catalogue import Row, erf, is_floating, outputs

RIGHT, REFUSED, WRONG, UNCLEAR = "right", "refused", "SILENTLY WRONG", "an unclear error"
CLEAR = (
    TypeError,
    ValueError,
    IndexError,
    ZeroDivisionError,
    MemoryError,
    OverflowError,
    RuntimeError,
    Warning,
)

# ---- ways to spoil an array: values, layouts, dtypes, shapes ------------------------------------------------------


def put(*values: float) -> Callable[[Any], Any]:
    """Some numbers at the array's beginning."""

    def spoil(a: Any) -> Any:
        spoiled = a.copy()
        flat = spoiled.reshape(-1)
        flat[: len(values)] = values[: flat.size]
        return spoiled

    return spoil


def read_only(a: Any) -> Any:
    a = a.copy()
    a.setflags(write=False)
    return a


def strided(a: Any) -> Any:
    wide = np.zeros((*a.shape, 2), a.dtype)
    wide[..., 0] = a
    return wide[..., 0]


def reversed_strides(a: Any) -> Any:
    return np.ascontiguousarray(np.flip(a))[(slice(None, None, -1),) * a.ndim]


def misaligned(a: Any) -> Any:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    found = raw[1:].view(a.dtype).reshape(a.shape)
    found[...] = a
    return found


def overlapping(a: Any) -> Any:
    """All rows the same memory, and each element of a row half of the one before it."""
    return (
        np.lib.stride_tricks.as_strided(a.reshape(-1).copy(), a.shape, (0,) * a.ndim)
        if a.size
        else a
    )


def objects(a: Any) -> Any:
    return a.astype(object)


MADE_OF = {
    "dot": ("matmul", "multiply"),
    "stack": ("concatenate",),
    "where": ("nonzero",),
}  # whose errors name these

VALUES: dict[str, Callable[[Any], Any]] = {
    "NaN": put(np.nan),
    "inf": put(np.inf),
    "-inf": put(-np.inf),
    "NaN and infs": put(np.nan, np.inf, -np.inf),
    "all NaN": lambda a: np.full_like(a, np.nan),
    "large": put(1e4, -1e4),
    "tiny": put(1e-310, -1e-310, 0, -0.0),
}
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "read-only": read_only,
    "not contiguous": strided,
    "negative strides": reversed_strides,
    "misaligned": misaligned,
    "Fortran order": lambda a: a.copy("F"),
    "overlapping": overlapping,
    "byte-swapped": lambda a: a.astype(">f8"),
    "a list": lambda a: a.tolist(),
    "a matrix": lambda a: np.matrix(a),
    "masked": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) % 2 == 0),
    "memmap-like subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}
DTYPES: dict[str, Callable[[Any], Any]] = {
    "integers": lambda a: (3 * a).astype(np.int64),
    "small integers": lambda a: np.abs(3 * a).astype(np.uint8),
    "bools": lambda a: a > 0,
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "long double": lambda a: a.astype(np.longdouble),
    "complex": lambda a: a + 1j,
    "objects": objects,
    "text": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S"),
    "dates": lambda a: (9 * a).astype("M8[s]"),
    "records": lambda a: a.astype([("x", float)]),
    "None": lambda a: None,
    "a word": lambda a: "three",
    "a dict": lambda a: {"x": 1},
    "an object": lambda a: object(),
    "Variables in an object array": lambda a: np.array([Variable(1.0)] * 2 + [None])[:2],
    "ragged lists": lambda a: [[1.0], [2.0, 3.0]],
}
SHAPES: dict[str, Callable[[Any], Any]] = {
    "empty": lambda a: a[:0] if a.ndim else np.zeros(0, a.dtype),
    "0-d": lambda a: a.sum(),
    "an axis more": lambda a: a[None].repeat(3, 0),
    "an axis at the end": lambda a: a[..., None],
    "an axis less": lambda a: a.reshape(-1),
    "longer": lambda a: np.concatenate([a, a, a]) if a.ndim else a[None],
    "longer at the end": lambda a: (
        np.concatenate([a, a[..., :1]], -1) if a.ndim and a.shape[-1] else a[None]
    ),
    "transposed": lambda a: a.T,
    "70 axes": lambda a: np.broadcast_to(a.reshape(-1)[:1], (1,) * 60 + (1,)),
}
KINDS = {"values": VALUES, "layouts": LAYOUTS, "dtypes": DTYPES, "shapes": SHAPES}
SETTINGS: list[Any] = [
    "x",
    1.5,
    None,
    True,
    -1,
    7,
    10**30,
    -(10**30),
    float("nan"),
    1j,
    [],
    (0, 0),
    {},
    object(),
    np.array([0.5]),
    np.array(["a"]),
    np.int8(1),
    Variable(1.0),
    Variable([1, 0]),
]

# ---- formulas, for what NumPy has not: as the catalogue's, but right for any value and shape ---------------------


def softmax(x: Any, axis: Any = -1) -> Any:
    m = np.max(x, axis, keepdims=True)
    e = np.exp(x - np.where(m == -np.inf, 0, m))
    return np.where(m == -np.inf, 0, e / e.sum(axis, keepdims=True))


def log_softmax(x: Any, axis: Any = -1) -> Any:
    m = np.max(x, axis, keepdims=True)
    return np.where(m == -np.inf, -np.inf, x - m - np.log(np.exp(x - m).sum(axis, keepdims=True)))


def cross_entropy(
    x: Any,
    t: Any,
    ignore_index: int = -100,
    class_weight: Any = None,
    label_smoothing: float = 0,
    logarithm: Any = log_softmax,
    **options: Any,
) -> Any:
    classes = x.shape[-1]
    by_class = np.ones(classes) if class_weight is None else np.asarray(class_weight)
    losses, counts = [], []
    for r, k in zip(x.reshape(-1, classes), np.ravel(t), strict=True):
        one = (np.arange(classes) == k) * (1 - label_smoothing) + label_smoothing / classes
        target = by_class * one * (k != ignore_index)
        losses.append(-sum([v * p for v, p in zip(target, logarithm(r)) if v]))
        counts.append(0 if k == ignore_index else by_class[k])
    return reduced(
        np.reshape(losses, np.shape(t)), counts=np.reshape(counts, np.shape(t)), **options
    )


def f1(x: Any, t: Any, average: Any = "macro") -> Any:
    guess = x.argmax(-1)
    both = np.array([(guess == k).sum() + (t == k).sum() for k in range(x.shape[-1])])
    hits = np.array([((guess == k) & (t == k)).sum() for k in range(x.shape[-1])])
    if average == "micro":
        return np.float64(2 * hits.sum() / both.sum())
    scores = 2 * hits / np.maximum(both, 1)
    return scores if average is None else scores[both > 0].mean()


def attention(q: Any, k: Any, v: Any, mask: Any = True, causal: bool = False) -> Any:
    """Of what is not finite in a key or value that a query does not see, 0 times that remains."""
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    seen = np.tri(*scores.shape[-2:], dtype=bool) if causal else True
    bias = np.where(seen & np.asarray(True if mask is None else mask), 0, -np.inf)
    return softmax(scores + bias) @ v


def wide(value: Any) -> Any:
    """Narrow floats, and integers beyond all dtypes, in double precision."""
    if getattr(value, "dtype", None) in (np.float16, np.float32):
        return value.astype(float)
    return float(value) if isinstance(value, int) and abs(value) > 2**63 else value


def polyfit(x: Any, y: Any, deg: int, **settings: Any) -> Any:
    """By the coefficients that unit vectors get: NumPy's knows no infinite limits."""
    return np.polyfit(x.astype(float), np.eye(len(x)), deg, **settings) @ y


def cosine_distance(y: Any, t: Any) -> Any:
    """In long doubles, which hold the squares of the smallest doubles."""
    y, t = np.asarray(y, np.longdouble), np.asarray(t, np.longdouble)
    return 1 - ((y * t).sum(-1) / np.sqrt((y * y).sum(-1) * (t * t).sum(-1))).mean()


def interp(x: Any, xp: Any, fp: Any, *more: Any, **settings: Any) -> Any:
    """NumPy's takes no long doubles."""
    return np.interp(*[np.asarray(a, np.float64) for a in (x, xp, fp)], *more, **settings)


def gelu(x: Any, approximate: Any = False) -> Any:
    inner = (
        np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        if approximate
        else erf(x / math.sqrt(2))
    )
    return np.where(np.isneginf(x), 0, x * (1 + inner) / 2)


def reduced(losses: Any, reduction: str = "mean", weight: Any = None, counts: Any = 1) -> Any:
    """By a loss's options. A weight of None is legal: it is the default."""
    w = np.ones(losses.shape[:1]) if weight is None else np.asarray(weight, float)
    w = np.broadcast_to(w.reshape(w.shape + (1,) * (losses.ndim - w.ndim)), losses.shape)
    total = losses * w if reduction == "none" else (losses * w).sum()
    return total / ((counts * w).sum() or 1) if reduction == "mean" else total


def binary_cross_entropy(y: Any, t: Any, eps: float = 1e-12, **options: Any) -> Any:
    y = np.where(y < eps, eps, np.where(y > 1 - eps, 1 - eps, y))
    return reduced(-(t * np.log(y) + (1 - t) * np.log1p(-y)), **options)


def binary_cross_entropy_with_logits(x: Any, t: Any, **options: Any) -> Any:
    losses = np.where(x > 0, 1 - t, t) * np.abs(x) + np.log1p(np.exp(-np.abs(x)))
    return reduced(losses, **options)


FORMULAS: dict[str, Callable[..., Any]] = {
    "softmax": softmax,
    "log_softmax": log_softmax,
    "cross_entropy": cross_entropy,
    "gelu": gelu,
    "binary_cross_entropy": binary_cross_entropy,
    "relu": lambda x: np.where(x > 0, x, np.where(x <= 0, 0, x)),
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * np.asarray(x)),
    "linear": lambda x, w, b=None: np.matmul(x, w) + (0 if b is None else b),
    "mask_fill": lambda x, mask, value: np.where(mask, value, x),
    "binary_cross_entropy_with_logits": binary_cross_entropy_with_logits,
    "polymul": np.convolve,  # leading zeros stay
    "polyder": lambda p, m=1: np.polyder(p, min(m, p.size)),  # NumPy's own recursion has an end
    "polyfit": polyfit,
    "gradient": lambda f, *steps, **settings: np.gradient(*map(wide, (f, *steps)), **settings),
    "ediff1d": lambda a, **ends: np.ediff1d(a, **{k: wide(end) for k, end in ends.items()}),
    "cosine_distance": cosine_distance,
    "negative_log_likelihood": lambda x, t, **options: cross_entropy(
        x, t, logarithm=np.asarray, **options
    ),
    "accuracy": lambda x, t, weight=None: reduced((x.argmax(-1) == t) * 1.0, weight=weight),
    "f1": f1,
    "attention": attention,
    "embedding": lambda w, indices: w[np.asarray(indices)],
    "take_along_axis": lambda x, indices, axis: np.take_along_axis(x, np.asarray(indices), axis),
    "interp": interp,
}

# ---- calls --------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Variables inside as their arrays."""
    if isinstance(value, Variable):
        return value.data
    return type(value)(map(plain, value)) if type(value) in (tuple, list) else value


def same(got: Any, want: Any, rtol: float = 1e-9) -> bool:
    if isinstance(want, (tuple, list)) or isinstance(got, (tuple, list)):
        if type(want) not in (tuple, list) or type(got) not in (tuple, list):
            return False
        return len(got) == len(want) and all(
            same(g, w, rtol) for g, w in zip(got, want, strict=True)
        )
    got, want = np.asarray(plain(got)), np.asarray(plain(want))
    if want.dtype.kind == "O" and got.tolist() == want.tolist():
        return True
    real = got.dtype.kind in "fiub" and want.dtype.kind in "fiub"
    if got.shape != want.shape or not (real or got.dtype.kind == want.dtype.kind):
        return False
    if want.dtype.kind not in "fc" or got.dtype.kind not in "fciub":
        return bool(np.array_equal(got, want)) or repr(got.tolist()) == repr(want.tolist())
    precision = 64 * max(float(np.finfo(a.dtype).eps) for a in (got, want) if a.dtype.kind in "fc")
    precision = max(precision, 1e-11)  # sums in another order, divided by a deviation of 0
    kind = np.clongdouble if want.dtype.kind == "c" or got.dtype.kind == "c" else np.longdouble
    return np.allclose(
        got.astype(kind), want.astype(kind), max(rtol, precision), precision, equal_nan=True
    )


def show(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        return f"what cannot be shown: {error}"


def snapshot(args: Any) -> list[Any]:
    """What must not change: the bytes of all arrays among the arguments."""
    found = list[Any]()
    for a in args.values() if isinstance(args, dict) else args:
        a = plain(a)
        found.append(a.tobytes() if isinstance(a, np.ndarray) and a.dtype != object else repr(a))
    return found


def call(row: Row, args: list[Any], settings: dict[str, Any]) -> Any:
    return row.via(row.function, *args) if row.via else row.function(*args, **settings)


def reference(row: Row, args: list[Any], settings: dict[str, Any]) -> Any:
    if row.like is not None:  # of small integers and narrow floats a formula is not right by itself
        args = [
            a.astype(float)
            if getattr(a, "dtype", object) in (np.float16, np.float32, np.uint8, bool)
            and is_floating(row.args[i])
            else a
            for i, a in enumerate(args)
        ]
    if row.name in FORMULAS:
        return FORMULAS[row.name](*args, **settings)
    if row.like is not None:
        return row.like(*args, **settings)
    return row.via(row.originals[0], *args) if row.via else row.originals[0](*args, **settings)


def gradients(row: Row, args: list[Any], settings: dict[str, Any]) -> list[Any] | None:
    """Of the sum of all outputs, each weighted by its place; None if there are none."""
    xs = [a for a in args if isinstance(a, Variable) and a.requires_grad]
    total: Any = 0
    for y in outputs(call(row, args, settings)):
        if isinstance(y, Variable) and y.requires_grad:
            total = total + (y * np.arange(1, y.size + 1, dtype=y.dtype).reshape(y.shape)).sum()
    if not isinstance(total, Variable) or not xs:
        return None
    total.backward()
    return [None if x.grad is None else x.grad.data for x in xs]


def tried(
    row: Row, args: list[Any], settings: dict[str, Any], clean: list[Any] | None
) -> tuple[str, str]:
    """What one call comes to, and what there is to say about it.

    ``clean`` are the arguments of the call that must give the same: copies in a plain layout. Without them NumPy's own
    function, or the row's formula, says what is right.
    """
    before = snapshot(args), snapshot(settings)
    names = {row.name, "masked array", "rows of one length", *MADE_OF.get(row.name, ())}
    names |= {getattr(f, "__name__", str(f)) for f in row.originals}
    try:
        got = call(row, args, settings)
        slopes = gradients(row, args, settings) if clean is not None else None
    except Exception as error:
        words = f"{type(error).__name__}: {error} {' '.join(getattr(error, '__notes__', []))}"
        named = any(name in words for name in names)
        return (REFUSED if isinstance(error, CLEAR) and named and str(error) else UNCLEAR), words
    if (snapshot(args), snapshot(settings)) != before:
        return WRONG, "an input was changed"
    if clean is not None:
        want = call(row, clean, settings)
        right = same(got, want) and same(slopes or [], gradients(row, clean, settings) or [])
        return (
            (RIGHT, "") if right else (WRONG, f"got {show(got)}, a clean copy gives {show(want)}")
        )
    narrow = [a for a in args if getattr(a, "dtype", None) in (np.float16, np.float32)]
    rtol = 1e-5 if narrow else 1e-9  # of steps in single precision
    try:
        want = reference(row, [plain(a) for a in args], {k: plain(s) for k, s in settings.items()})
    except Exception as error:
        return (
            WRONG,
            f"got {show(got)}, NumPy or the formula refuses: {type(error).__name__}: {error}",
        )
    right = same(got, want, rtol)
    return (RIGHT, "") if right else (WRONG, f"got {show(got)}, want {show(want)}")


def cases(row: Row) -> Iterator[tuple[str, str, list[Any], dict[str, Any], list[Any] | None]]:
    """(kind, what was done, arguments, settings, clean arguments) for one row, plain and as Variables."""
    for i, a in enumerate(row.args):
        if is_floating(a):
            for kind, ways in KINDS.items():
                if kind == "shapes" and row.name == "dropout":
                    continue  # what is dropped depends on the shape
                for what, spoil in ways.items():
                    try:
                        bad = spoil(a)
                    except Exception:  # not of this shape
                        continue
                    clean = None
                    if kind == "layouts":
                        clean = np.array(bad, np.float64)
                    for boxed in (False, True):
                        args, others = list(row.args), list(row.args)
                        args[i], others[i] = bad, clean
                        if boxed:
                            places = [k for k in row.places if k != i]
                            for k in places:
                                args[k] = Variable(args[k])
                                others[k] = Variable(others[k])
                        yield (
                            kind,
                            f"{row.name}-{row.label}, argument {i}: {what}{', others Variables' * boxed}",
                            args,
                            row.settings,
                            others if kind == "layouts" else None,
                        )
        elif row.via is None and not isinstance(a, type):
            for value in SETTINGS:
                args = list(row.args)
                args[i] = value
                yield (
                    "other arguments",
                    f"{row.name}-{row.label}, argument {i}: {value!r}",
                    args,
                    row.settings,
                    None,
                )
    for name in row.settings if row.via is None else ():
        for value in SETTINGS[: -2 if name == "dtype" else None]:  # a Variable has one
            yield (
                "other arguments",
                f"{row.name}-{row.label}, {name}={value!r}",
                list(row.args),
                row.settings | {name: value},
                None,
            )


def as_variable(row: Row) -> Iterator[tuple[str, str, list[Any], dict[str, Any], list[Any] | None]]:
    """The same, with the spoiled argument itself a Variable, where it can be one."""
    for kind, what, args, settings, clean in cases(row):
        boxed, others = list(args), None if clean is None else list(clean)
        for k in row.places:
            if isinstance(boxed[k], Variable):
                continue
            try:
                boxed[k] = Variable(boxed[k])
            except Exception:  # as the argument alone: see made
                continue
            if others is not None:
                others[k] = Variable(others[k])
        if any(b is not a for a, b in zip(args, boxed)):
            yield kind, what + ", as a Variable", boxed, settings, others


def count(rows: list[Row]) -> tuple[dict[str, Counter[str]], list[tuple[str, str, str]]]:
    """Outcomes by kind, and what is neither right nor refused."""
    found: dict[str, Counter[str]] = {}
    bad = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        for row in rows:
            for make in (cases, as_variable):
                for kind, what, args, settings, clean in make(row):
                    result, said = tried(row, args, settings, clean)
                    found.setdefault(kind, Counter())[result] += 1
                    if result in (WRONG, UNCLEAR):
                        bad.append((result, what, said))
    return found, bad
