"""What every row of the catalogue buys: values, gradients, dtypes, shapes, memory layouts, refusals."""

import inspect
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, gradcheck
from minidl import functions as F
from minidl.autograd import Function
from minidl.autograd.operators import TABLE
from minidl.autograd.protocols import REGISTRY
from tests.functions.catalogue import (
    NAMESAKES,
    PAIRS,
    PLAIN,
    ROWS,
    Row,
    as_variables,
    away,
    outputs,
    positive,
)

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.name}-{r.label}")
DERIVED = [r for r in ROWS if r.derived]
every_rule = pytest.mark.parametrize("row", DERIVED, ids=lambda r: f"{r.name}-{r.label}")
TYPICAL = [r for r in DERIVED if not r.brief]
typical = pytest.mark.parametrize("row", TYPICAL, ids=lambda r: f"{r.name}-{r.label}")
WIDENING = (F.astype, F.float_power)  # what they give need not be float32
ELEMENTWISE = {
    r.function: r for r in ROWS if r.elementwise and len(r.places) == len(r.samples) and r.samples
}


def weights(y: Any, seed: int = 0) -> Any:
    """Random factors, so that a mistake in one element is not made up for by another."""
    w = np.asarray(np.random.default_rng(seed).uniform(0.5, 1.5, np.shape(y)))
    return w.astype(y.dtype)


def total(y: Any) -> Any:
    """A weighted sum over all outputs that can be differentiated: what losses are to the catalogue's rows."""
    result = None
    for i, o in enumerate(outputs(y)):
        part = (o * weights(o, i)).sum()
        result = part if result is None else result + part
    return result


def gradients_of(
    row: Row, samples: list[Any], *, create_graph: bool = False
) -> tuple[Any, list[Any]]:
    """The total and its gradients, by ``backward``."""
    xs = [Variable(s) for s in samples]
    loss = total(row(*xs))
    if loss.requires_grad:
        loss.backward(create_graph=create_graph)
    return loss, [np.zeros_like(x.data) if x.grad is None else x.grad.data for x in xs]


# ---- the catalogue is complete ----------------------------------------------------------------------------------


def test_every_public_function_has_a_row() -> None:
    assert set(F.__all__) - {r.name for r in ROWS} - {"abs"} == set()
    assert {id(getattr(F, name)) for name in F.__all__} <= {id(r.function) for r in ROWS}


def test_every_registered_function_of_numpy_has_a_row() -> None:
    covered = {r.function for r in ROWS}
    plain = {f for f, _ in PLAIN} | {f for f, _, _ in NAMESAKES}
    assert [k for k, ours in REGISTRY.items() if ours not in covered and k not in plain] == []


@pytest.mark.parametrize(("original", "args", "settings"), NAMESAKES)
def test_functions_that_numpy_has_twice(original: Any, args: Any, settings: Any) -> None:
    y = original(*map(Variable, args), **settings)
    np.testing.assert_allclose(y.data, original(*args, **settings), rtol=1e-12)
    assert gradcheck(lambda *xs: original(*xs, **settings), *args)


def test_every_method_of_variable_has_a_function() -> None:
    missing = {original for original, _ in TABLE.values() if original not in REGISTRY}
    assert {f for f in missing if f.__name__ in F.__all__} == set()


def test_every_rule_has_a_differentiated_row() -> None:
    rules = {f for name in F.__all__ if isinstance(f := getattr(F, name), Function) and f.derived}
    assert rules - {r.function for r in DERIVED} == set()


# ---- values -----------------------------------------------------------------------------------------------------


def assert_same(got: Any, want: Any, rtol: float = 1e-12) -> None:
    got, want = outputs(got), outputs(want)
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.shape == np.shape(w) and g.dtype == np.asarray(w).dtype
        np.testing.assert_allclose(g, w, rtol=rtol, atol=1e-14)


def assert_variables(ys: Any, row: Row) -> None:
    assert all(type(y) is Variable for y in ys)
    assert all(y.requires_grad == bool(row.samples) for y in ys)


@every_row
@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated")  # since NumPy 2.5
def test_values(row: Row) -> None:
    """Of arrays, of Variables, and of Variables through NumPy's own name."""
    want = row.expected(*row.samples)
    y = row(*row.samples)
    assert all(isinstance(o, (np.ndarray, np.generic)) for o in outputs(y))
    assert_same(y, want)
    args = wrapped(row)
    for function in (row.function, *row.originals):
        if any(isinstance(a, Variable) for a in args) or function is row.function:
            ys = outputs(row.apply(function, args))
            assert_variables(ys, row)
            assert_same([o.data for o in ys], want)


def wrapped(row: Row) -> list[Any]:
    """All arrays among the arguments as Variables, those of integers and bools inside indices too."""
    return [
        Variable(a) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else as_variables(a)
        for a in row.args
    ]


@pytest.mark.parametrize(("original", "args"), PLAIN)
def test_plain_questions(original: Any, args: Any) -> None:
    want = original(*args)
    wrapped = [Variable(a) if isinstance(a, np.ndarray) else a for a in args]
    for given in (args, wrapped, [wrapped[0], *args[1:]]):
        got = original(*given)
        assert got == want and type(got) is type(want)


def test_operators_and_methods_are_numpys() -> None:
    a, b = away(3, 4), positive(3, 4)
    for name, (original, how) in TABLE.items():
        if original not in REGISTRY:
            continue
        logical = name.strip("_").lstrip("ri") in ("and", "or", "xor", "nvert")
        x, y = (a > 0, b > 1) if logical else (b, b + 1) if "pow" in name else (a, b)
        if name == "__divmod__":  # two results
            assert_same([v.data for v in divmod(Variable(x), y)], divmod(x, y))
            continue
        if "matmul" in name:
            y = b.T
        if "shift" in name:
            x, y = np.arange(12).reshape(3, 4), np.ones((3, 4), int)
        if how in ("binary", "reflected"):
            got, want = getattr(Variable(x), name)(Variable(y)), getattr(x, name)(y)
            assert_same([o.data for o in outputs(getattr(Variable(x), name)(y))], want)
        elif how == "in place":  # a new result, for results; leaves refuse (see tests/autograd)
            start = Variable(x) if logical else Variable(x) + 0
            got, want = getattr(start, name)(Variable(y)), getattr(x, name.replace("__i", "__"))(y)
        elif how == "unary":
            got, want = getattr(Variable(x), name)(), getattr(x, name)()
        elif how == "property":
            got, want = Variable(x).T, x.T
        else:
            args: Any = {
                "swapaxes": (0, 1),
                "clip": (-0.5, 0.5),
                "take": ([1, 1], 0),
                "__getitem__": ((1, slice(2)),),
                "astype": (np.float32,),
                "reshape": (2, 6),
                "transpose": (1, 0),
                "dot": (b.T,),
                "argpartition": (2,),
                "searchsorted": (b,),
                "repeat": (2,),
                "choose": ([b, b + 1],),
                "compress": ([True, False, True],),
            }.get(name, ())
            x = {"choose": np.array([[0], [1], [0]]), "searchsorted": np.arange(3.0)}.get(name, x)
            theirs = name.strip("_") if name == "__round__" else name
            got, want = getattr(Variable(x), name)(*args), getattr(x, theirs)(*args)
        assert all(type(o) is Variable for o in outputs(got))
        assert_same([o.data for o in outputs(got)], want)
    assert Variable(a).reshape((2, -1)).shape == Variable(a).reshape([2, -1]).shape == (2, 6)
    assert Variable(a).reshape(-1).shape == (12,) and Variable(a).transpose((1, 0)).shape == (4, 3)
    assert Variable(a).transpose().shape == Variable(a).transpose(None).shape == (4, 3)


@pytest.mark.parametrize("method", [np.subtract.outer, np.power.outer])
def test_outer(method: Any) -> None:
    a, b = positive(3, 2), positive(2)
    assert_same(method(Variable(a), b).data, method(a, b))
    assert_same(method(a, Variable(b)).data, method(a, b))
    assert gradcheck(method, a, b, order=2)


def test_methods_of_ufuncs_without_a_rule_are_refused() -> None:
    for call in (np.subtract.reduce, np.hypot.accumulate, np.add.reduceat):
        with pytest.raises(TypeError, match=r"np\.\w+\.\w+ .*no rule"):
            call(Variable(positive(3)), *([[0, 1]] if "at" in call.__name__ else []))


# ---- gradients --------------------------------------------------------------------------------------------------


@every_rule
def test_gradients_to_second_order_and_beyond(row: Row) -> None:
    def f(*xs: Any) -> Any:
        return row(*xs)

    assert row.samples, "a row with a derivative has something to differentiate"
    gradcheck(f, *row.samples, order=row.order, eps=3e-6, rtol=1e-6, atol=2e-8, directions=1)


@typical
def test_create_graph_on_and_off_agree(row: Row) -> None:
    loss, off = gradients_of(row, row.samples)
    again, on = gradients_of(row, row.samples, create_graph=True)
    assert loss.data == again.data
    for a, b in zip(off, on, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@typical
def test_float32_stays(row: Row) -> None:
    small = row.narrowed()
    if row.function not in WIDENING:
        for y in (small(*small.samples), small(*map(Variable, small.samples))):
            assert {o.dtype for o in outputs(y)} == {np.dtype(np.float32)}
    _, got = gradients_of(small, small.samples)
    _, on = gradients_of(small, small.samples, create_graph=True)
    _, want = gradients_of(row, row.samples)
    for g, h, w in zip(got, on, want, strict=True):
        assert g.dtype == h.dtype == np.float32
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(h, w, rtol=1e-4, atol=1e-4)


@typical
def test_memory_layout_does_not_matter(row: Row) -> None:
    def strided(a: Any) -> Any:
        """The same values, every second element of a larger array, axes in reverse order, backwards."""
        big = np.full(tuple(2 * n for n in reversed(a.shape)), np.nan)
        view = big[(..., *(slice(None, None, -2) for _ in a.shape))].T
        view[...] = a
        return view

    _, want = gradients_of(row, row.samples)
    loss, got = gradients_of(row, [strided(s) for s in row.samples])
    assert_same(row(*(strided(s) for s in row.samples)), row.expected(*row.samples))
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-14)


def assert_compiled(row: Row, function: Any) -> None:
    """A program gives the same as the function eagerly, on the first batch and on a second."""
    program = minidl.compile(lambda *xs: total(row(*xs, function=function)))
    for samples in (row.samples, row.another(), row.samples):
        want = total([np.asarray(y) for y in outputs(row.expected(*samples))])
        xs = [Variable(s) for s in samples]
        loss = program(*xs)
        loss.backward()
        np.testing.assert_allclose(loss.data, want, rtol=1e-11, atol=1e-13)
        for x, g in zip(xs, gradients_of(row, samples)[1], strict=True):
            np.testing.assert_allclose(x.grad.data, g, rtol=1e-12, atol=1e-14)


# Dropout makes its generator, or seeds minidl's, inside the function, which a program does once; the shapes of the
# others depend on values, which a program refuses.
NOT_COMPILED = {"dropout", "piecewise", "unique"}
REPEATABLE = [r for r in TYPICAL if r.name not in NOT_COMPILED]
repeatable = pytest.mark.parametrize("row", REPEATABLE, ids=lambda r: f"{r.name}-{r.label}")


@repeatable
def test_compiled_agrees_on_a_second_batch(row: Row) -> None:
    assert_compiled(row, row.function)


# Other names, all of functions that a compiler knows, each for the rows of one function.
FUNCTIONS = list({r.function: None for r in DERIVED if isinstance(r.function, Function)})
NAMES = {f: FUNCTIONS[i - 7].name for i, f in enumerate(FUNCTIONS)}
NAMED = [r for r in REPEATABLE if r.function in NAMES]


@pytest.mark.parametrize("row", NAMED, ids=lambda r: f"{r.name}-{r.label}")
def test_compiled_under_the_name_of_another_function(row: Row) -> None:
    """What a function is, is decided by the object: a user's may bear the name of any built-in."""
    function = object.__new__(type(row.function))  # a copy, as copy() gives the function itself
    vars(function).update(vars(row.function), name=NAMES[row.function])
    assert function.name != row.name
    assert_compiled(row, function)


SEVERAL_OUTPUTS = [r for r in DERIVED if isinstance(r(*r.samples), (tuple, list))]


@pytest.mark.parametrize("row", SEVERAL_OUTPUTS, ids=lambda r: f"{r.name}-{r.label}")
def test_outputs_that_nobody_used(row: Row) -> None:
    """Each output of several on its own: the gradient is its share, the others count as zero."""
    count = len(outputs(row(*row.samples)))
    shares = []
    for create_graph in (False, True):
        for i in range(count):
            xs = [Variable(s) for s in row.samples]
            y = outputs(row(*xs))[i]
            (y * weights(y, i)).sum().backward(create_graph=create_graph)
            shares.append([np.zeros_like(x.data) if x.grad is None else x.grad.data for x in xs])
    _, whole = gradients_of(row, row.samples)
    for half in (shares[:count], shares[count:]):
        for parts, g in zip(zip(*half, strict=True), whole, strict=True):
            np.testing.assert_allclose(sum(parts), g, rtol=1e-12)


# ---- broadcasting and constants, for every elementwise function of several arguments ----------------------------

SEVERAL = [r for r in ELEMENTWISE.values() if len(r.samples) > 1]


@pytest.mark.parametrize("row", SEVERAL, ids=lambda r: r.name)
def test_every_argument_alone_against_constants(row: Row) -> None:
    """A constant beside a Variable, floating or integer, changes nothing for the Variable."""
    same = next(
        r
        for r in ROWS
        if r.function is row.function and r.elementwise and r.samples[0].shape == (2, 3)
    )
    whole = same.samples
    for integer in (False, True):
        arrays = [np.asarray(np.ceil(a) + 3 * i if integer else a) for i, a in enumerate(whole)]
        _, want = gradients_of(same, arrays)
        for i, a in enumerate(arrays):
            mixed: list[Any] = [b.astype(np.int64) if integer else b for b in arrays]
            mixed[i] = x = Variable(a)
            total(same(*mixed)).backward()
            np.testing.assert_allclose(x.grad.data, want[i], rtol=1e-12)
            assert x.grad.dtype == np.float64


def test_binary_rows_cover_broadcasting() -> None:
    assert {len(a) - len(b) for a, b in PAIRS} >= {-2, -1, 0, 1, 2} and any(
        0 in a for a, _ in PAIRS
    )


@pytest.mark.parametrize("function", ELEMENTWISE, ids=lambda f: f.__name__)
def test_elementwise_rows_cover_0d_and_empty(function: Any) -> None:
    shapes = {s.shape for r in ROWS if r.function is function for s in r.samples}
    assert () in shapes and any(0 in s for s in shapes)


# ---- settings ---------------------------------------------------------------------------------------------------

v = Variable(away(2, 3))
POSITIONAL: list[tuple[Any, Any]] = [
    (lambda f, x: f(x, 1), np.sum),
    (lambda f, x: f(x, (0, 1)), np.mean),
    (lambda f, x: f(x, -1), np.var),
    (lambda f, x: f(x, 0), np.max),
    (lambda f, x: f(x, 0), np.min),
    (lambda f, x: f(x, 1), np.amax),
    (lambda f, x: f(x, 1), np.amin),
    (lambda f, x: f(x, (3, 2)), np.reshape),
    (lambda f, x: f(x, (1, 0)), np.transpose),
    (lambda f, x: f(x, 0, 1), np.swapaxes),
    (lambda f, x: f(x, 1), np.expand_dims),
    (lambda f, x: f(x, None), np.squeeze),
    (lambda f, x: f(x, (4, 2, 3)), np.broadcast_to),
    (lambda f, x: f([x, x], 1), np.concatenate),
    (lambda f, x: f([x, x], 1), np.stack),
    (lambda f, x: f(x, [1], 1)[1], np.split),
    (lambda f, x: f(x, [0], 1), np.take),
    (lambda f, x: f(x, -0.5, 0.5), np.clip),
    (lambda f, x: f(x, 1), np.argmax),
    (lambda f, x: f(x, 1), np.argmin),
    (lambda f, x: f(x, 0), np.argsort),
    (lambda f, x: f(x, 0), np.any),
    (lambda f, x: f(x, 0), np.all),
]


@pytest.mark.parametrize(("call", "original"), POSITIONAL, ids=lambda f: getattr(f, "__name__", ""))
def test_settings_come_in_numpys_order(call: Any, original: Any) -> None:
    want = call(original, v.data)
    assert_same(call(original, v).data, want)
    assert_same(call(REGISTRY[original], v).data, want)
    assert_same(call(REGISTRY[original], v.data), want)


@pytest.mark.parametrize(
    ("function", "original", "settings"),
    [
        (F.sum, np.sum, {"axis": 1, "keepdims": True}),
        (F.mean, np.mean, {"keepdims": True}),
        (F.var, np.var, {"ddof": 1}),
        (F.transpose, np.transpose, {"axes": (1, 0)}),
        (F.swapaxes, np.swapaxes, {"axis2": 1, "axis1": 0}),
        (F.expand_dims, np.expand_dims, {"axis": 1}),
        (F.squeeze, np.squeeze, {"axis": None}),
        (F.broadcast_to, np.broadcast_to, {"shape": (2, 2, 3)}),
        (F.take, np.take, {"axis": 1, "indices": 0}),
        (F.clip, np.clip, {"a_max": 0.1, "a_min": None}),
        (F.max, np.max, {"axis": 0, "keepdims": True}),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_settings_by_keyword_in_any_order(function: Any, original: Any, settings: Any) -> None:
    for f in (function, original):
        assert_same(f(v, **settings).data, original(v.data, **settings))
    assert gradcheck(lambda x: function(x, **settings), v.data, order=1)


def test_all_arguments_by_keyword() -> None:
    assert F.reshape(a=v, shape=(6,)).shape == (6,)
    assert F.linear(x=v, w=np.ones((3, 1)), b=np.ones(1)).shape == (2, 1)
    assert F.cross_entropy(x=v, t=np.array([0, 1]), ignore_index=0).shape == ()
    with pytest.raises(TypeError, match=r"linear: argument 'x' was given twice"):
        F.linear(v, x=v, w=v)
    with pytest.raises(TypeError, match=r"linear: argument 'w' is missing"):
        F.linear(v, b=np.ones(1))


REFUSED = {
    "dtype": np.float32,
    "out": np.zeros(6),
    "where": np.True_,
    "order": "F",
    "initial": 1.0,
    "casting": "no",
    "mode": "clip",
    "copy": True,
    "subok": True,
    "correction": 1,
    "mean": 0.0,
}


def refusals() -> list[Any]:
    """Every function of NumPy that has a rule, with every keyword that ours does not know."""
    found = []
    first = {o: r for r in reversed(DERIVED) for o in r.originals if o.__name__ != "<lambda>"}
    for original, row in first.items():
        if isinstance(original, np.ufunc):
            keywords = ["dtype", "out", "where", "order", "casting"]
        else:
            try:
                known = inspect.signature(original).parameters
            except (
                ValueError
            ):  # NumPy before 2.4 does not tell the signatures of what is written in C
                known = {"out": None, "dtype": None} if original is np.concatenate else {}
            ours = inspect.signature(inspect.unwrap(row.function)).parameters
            open_ended = any(p.kind is p.VAR_KEYWORD for p in ours.values())  # passed on
            keywords = [k for k in REFUSED if k in known and k not in ours and not open_ended]
        found += [pytest.param(original, row, k, id=f"{original.__name__}-{k}") for k in keywords]
    return found


@pytest.mark.parametrize(("original", "row", "keyword"), refusals())
def test_keywords_without_a_rule_are_refused_by_name(original: Any, row: Row, keyword: str) -> None:
    def with_keyword(*args: Any, **settings: Any) -> Any:
        return original(*args, **settings, **{keyword: REFUSED[keyword]})

    with pytest.raises(TypeError, match=f"{keyword}"):
        row(*map(Variable, row.samples), function=with_keyword)


@pytest.mark.parametrize(
    "name", [n for n in F.__all__ if any(r.name == n and r.derived for r in ROWS)]
)
def test_unknown_keywords_are_refused_by_name(name: str) -> None:
    row = next(r for r in DERIVED if r.name == name)
    with pytest.raises(TypeError, match="nonsense"):
        row(
            *map(Variable, row.samples),
            function=lambda *a, **k: getattr(F, name)(*a, **k, nonsense=1),
        )
