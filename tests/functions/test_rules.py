"""The discipline of rules, held by machine: pure, closed, one dtype, and nothing captured.

Every application that any row of the catalogue records, in the graphs of its gradients too, is looked at.
"""

import gc
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, gradients
from minidl import functions as F
from minidl.autograd import Function, engine
from minidl.autograd.node import Application
from tests.functions.catalogue import ROWS, Row, outputs

DERIVED = [r for r in ROWS if r.derived]
typical = pytest.mark.parametrize(
    "row", [r for r in DERIVED if not r.brief], ids=lambda r: f"{r.name}-{r.label}"
)
MODULES = [vars(m) for m in vars(minidl.functions).values() if isinstance(m, types.ModuleType)]
RULES = sorted(
    {
        f
        for f in gc.get_objects()
        if isinstance(f, Function) and f.derived and any(f in m.values() for m in MODULES)
    },
    key=lambda f: f.name,
)


def frozen(a: Any) -> Any:
    """The same memory, or a copy of a view's, that nobody can write to."""
    if isinstance(a, np.ndarray):
        a.flags.writeable = False
    if isinstance(a, tuple):
        return tuple(map(frozen, a))
    return a


def random_like(y: Any, rng: np.random.Generator) -> Any:
    return frozen(np.asarray(rng.standard_normal(y.shape)).astype(y.dtype))[
        () if y.ndim == 0 else ...
    ]


def applications(row: Row, create_graph: bool) -> list[Application]:
    """All that the row records on read-only arrays, and with ``create_graph`` what its gradients record."""
    xs = [Variable(frozen(np.array(s))) for s in row.samples]
    ys = outputs(row(*xs))
    found = list(ys)
    if create_graph:
        rng = np.random.default_rng(0)
        for y in ys:
            seed = Variable(
                random_like(y, rng)
            )  # requires a gradient, so that products with it are recorded
            found += [g for g in gradients(y, xs, seed, create_graph=True) if g.requires_grad]
    order, _ = engine.reach([y._node for y in found if y._node is not None])
    return [n for n in order if type(n) is Application]


def answers(node: Application, g: Any) -> list[Any]:
    """What the rules of one application give for the arguments that are differentiated."""
    function = node.function
    wanted = [n is not None for n in node.inputs or ()]
    if function.joint is not None:
        extra = (node.saved,) if function.saves else ()
        found = function.joint(g, node.output, *extra, wanted, *node.args, **node.settings)
        return [gx for gx, want in zip(found, wanted, strict=False) if want]
    pairs = zip(function.rules, wanted, strict=False)
    return [
        rule(g, node.output, *node.args, **node.settings)
        for rule, want in pairs
        if want and rule is not None
    ]


@typical
def test_rules_are_pure(row: Row) -> None:
    """Applied twice to arrays that cannot be written to, a rule gives the same twice, in the arguments' dtype."""
    rng = np.random.default_rng(1)
    for node in applications(row.narrowed(), create_graph=True):
        frozen((*node.args, node.output, node.saved))
        gs: Any = [random_like(y, rng) for y in outputs(node.output)]
        for g in [gs, [None, *gs[1:]]] if type(node.output) is tuple else gs:
            before = repr(g)
            first, second = answers(node, g), answers(node, g)
            assert repr(g) == before
            for a, b in zip(first, second, strict=True):
                np.testing.assert_array_equal(
                    a, b, err_msg=f"the rule of {node.name} gave two answers"
                )


@typical
def test_float32_never_becomes_float64_on_the_way(row: Row) -> None:
    """Not in the function, its rules, nor their rules: a float64 step in between costs twice and is cast back."""
    for node in applications(row.narrowed(), create_graph=True):
        if row.function in (F.astype, F.float_power):
            continue
        for y in outputs(node.output):
            assert y.dtype == np.float32, f"{node.name} gave {y.dtype}"
        g: Any = [random_like(y, np.random.default_rng(1)) for y in outputs(node.output)]
        for gx in answers(node, g if type(node.output) is tuple else g[0]):
            assert gx.dtype == np.float32, f"a rule of {node.name} gave {gx.dtype}"


def test_every_rule_is_met_by_some_row() -> None:
    """Those of helpers too, which have no public name (the scatter-add of indexing, the pieces of split)."""
    assert len(RULES) > 50
    met: set[Any] = set()
    typical = {r.function: r for r in reversed(DERIVED)}.values()
    # Another rule for other modes, or for arguments that the first row does not have.
    by_mode = [r for r in DERIVED if r.function in (F.pad, F.average, F.gradient)]
    for row in [*typical, *by_mode]:
        met |= {n.function for n in applications(row, create_graph=True)}
    refusing = ["full_svd"]  # its last output has no derivative: see test_decompositions.py
    assert [f.name for f in RULES if f not in met] == refusing


@typical
def test_gradients_are_recorded(row: Row) -> None:
    """Closed: with ``create_graph`` a gradient's dependence on the incoming one, which is linear, is in its graph."""
    xs = [Variable(s) for s in row.samples]
    rng = np.random.default_rng(2)
    for y in outputs(row(*xs)):
        seeds = [random_like(y, rng) for _ in range(2)]
        v = Variable(seeds[0])
        back = gradients(y, xs, v, create_graph=True)
        want = gradients(y, xs, Variable(seeds[1]))
        factors = [random_like(x, rng) for x in xs]
        pulled = [(g * f).sum() for g, f in zip(back, factors, strict=True) if g.requires_grad]
        if not pulled:  # an index that picks nothing, only constants
            assert all(not g.data.any() for g in want)
            continue
        [transposed] = gradients(sum(pulled[1:], pulled[0]), [v])
        np.testing.assert_allclose(
            (transposed.data * seeds[1]).sum(),
            sum((g.data * f).sum() for g, f in zip(want, factors, strict=True)),
            rtol=1e-9,
            atol=1e-12,
        )


# ---- by reading -------------------------------------------------------------------------------------------------

LEAVING = {
    "data",
    "_raw",
    "_node",
    "asarray",
    "array",
    "item",
    "tolist",
    "detach",
    "float32",
    "float64",
    "copyto",
}


def code_of(function: Any, seen: set[Any]) -> Iterator[types.FunctionType]:
    """A rule and the helpers it calls, as far as they are plain Python of minidl.functions."""
    if not isinstance(function, types.FunctionType) or function in seen:
        return
    if not function.__module__.startswith("minidl.functions"):
        return
    seen.add(function)
    yield function
    for name in function.__code__.co_names:
        yield from code_of(function.__globals__.get(name), seen)


def captured(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for name in function.__code__.co_names:
        if name in function.__globals__:
            yield function.__globals__[name]
    yield from function.__code__.co_consts


@pytest.mark.parametrize("function", RULES, ids=lambda f: f.name)
def test_rules_capture_no_arrays_and_do_not_leave_the_graph(function: Function) -> None:
    rules = [r for r in (*function.rules, function.joint, function.equals) if r is not None]
    assert rules
    for rule in rules:
        for code in code_of(rule, set()):
            for value in captured(code):
                assert not isinstance(value, (np.ndarray, np.generic, Variable)), (
                    f"{code.__name__} captured {value!r}"
                )
            assert not LEAVING & set(code.__code__.co_names), f"{code.__name__} leaves the graph"
