"""The backward walk: accumulation, retaining, freeing, cutting, staleness, scale and memory.

What single functions give is tested in tests/functions.
"""

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

import minidl
from minidl import Variable
from minidl import functions as F


def test_gradients_accumulate_until_cleared():
    x = Variable([1.0, 2.0])
    for times in (1, 2, 3):
        (x * x).sum().backward()
        np.testing.assert_array_equal(x.grad.data, times * 2 * x.data)
    x.cleargrad()
    assert x.grad is None


def test_a_second_backward_adds_again():
    x = Variable(3.0)
    y = x * x
    y.backward()
    y.backward()
    assert x.grad.item() == 12.0


def test_intermediate_gradients_only_on_request():
    x = Variable(2.0)
    h = x * 3
    y = h * h
    y.backward()
    assert h.grad is None and y.grad is None
    y.backward(retain_grad=True)
    assert h.grad.item() == 12.0 and y.grad.item() == 1.0 and x.grad.item() == 72.0


def test_retained_gradients_of_split_outputs():
    x = Variable(np.arange(4.0))
    a, b = np.split(x, 2)
    (a * b).sum().backward(retain_grad=True)
    np.testing.assert_array_equal(a.grad.data, b.data)
    np.testing.assert_array_equal(x.grad.data, [2.0, 3.0, 0.0, 1.0])


def test_seed_gradients():
    x = Variable([1.0, 2.0])
    y = x * x
    y.backward([1.0, 10.0])
    np.testing.assert_array_equal(x.grad.data, [2.0, 40.0])
    x.cleargrad()
    y.backward(Variable([0.0, 1.0], requires_grad=False))
    np.testing.assert_array_equal(x.grad.data, [0.0, 4.0])
    for bad in ([1.0], 1.0, np.ones((2, 1))):
        with pytest.raises(ValueError, match=r"want \(2,\)"):
            y.backward(bad)


def test_the_seed_is_not_aliased():
    x, seed = Variable([1.0, 2.0]), np.array([1.0, 1.0])
    (x + 0).backward(seed)
    x.grad.data[0] = 7
    x.backward(seed)
    assert seed.tolist() == [1.0, 1.0] and x.grad.data.tolist() == [8.0, 2.0]


def test_a_leaf_is_its_own_root():
    x = Variable([1.0, 2.0])
    x.backward()
    assert x.grad.data.tolist() == [1.0, 1.0]


def test_backward_without_a_graph():
    for y in (
        Variable([1]),
        Variable([1.0], requires_grad=False),
        Variable(1.0) > 0,
        Variable(1.0).detach(),
    ):
        with pytest.raises(ValueError, match="graph"):
            y.backward()
    with minidl.no_grad():
        y = Variable(1.0) * 2
    with pytest.raises(ValueError, match="graph"):
        y.backward()


def test_gradients_are_never_aliased():
    """add returns the same g twice: writing into one gradient must not reach another, nor the graph."""
    a, b, c = Variable([1.0, 2.0]), Variable([3.0, 4.0]), Variable([5.0, 6.0])
    y = (a + b) + c
    y.backward(np.array([1.0, 1.0]), retain_grad=True)
    arrays = [v.grad.data for v in (a, b, c, y)]
    assert not any(np.shares_memory(p, q) for i, p in enumerate(arrays) for q in arrays[:i])
    arrays[0][:] = 100
    assert b.grad.data.tolist() == [1.0, 1.0]


def test_gradients_do_not_alias_arguments():
    w = np.array([1.0, 2.0])
    take_w = minidl.differentiable(lambda x, w: x @ w, lambda g, y, x, w: w)
    x = Variable([3.0, 4.0])
    take_w(x, w).backward()
    x.grad.data[0] = 50
    assert w.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("create_graph", [False, True])
def test_accumulation_does_not_write_into_what_others_hold(create_graph):
    """Three uses: the naive engine adds the third gradient in place into the first, which is shared."""
    a, b = Variable([1.0, 1.0]), Variable([2.0, 2.0])
    s = a + b
    y = s + a + a + a
    y.backward(create_graph=create_graph)
    assert a.grad.data.tolist() == [4.0, 4.0] and b.grad.data.tolist() == [1.0, 1.0]


def test_held_gradients_stay_as_they_were():
    x = Variable([1.0])
    (x * 2).backward()
    held = x.grad
    (x * 3).backward()
    assert held.data.tolist() == [2.0] and x.grad.data.tolist() == [5.0]


def test_a_failing_backward_leaves_no_trace():
    def broken(g, y, x):
        raise FloatingPointError("no")

    bad = minidl.differentiable(lambda x: x * 1.0, broken, name="bad")
    x, w = Variable([1.0]), Variable([2.0])
    w.grad = np.array([5.0])
    y = (bad(x) * w).sum()
    for _ in range(2):
        with pytest.raises(FloatingPointError) as caught:
            y.backward()
        assert "bad" in caught.value.__notes__[0]
    assert x.grad is None and w.grad.data.tolist() == [5.0]
    z = w * w
    z.backward()
    assert w.grad.data.tolist() == [9.0]


def test_a_walk_inside_a_walk():
    """Gradients in flight belong to one walk: a rule that runs a backward of its own disturbs nothing."""
    inner = Variable(2.0)

    def rule(g, y, x):
        (inner * inner).backward()
        return g * 3

    triple = minidl.differentiable(lambda x: x * 3, rule, name="triple")
    x = Variable(1.0)
    (triple(x) * triple(x)).backward()
    assert x.grad.item() == 18.0 and inner.grad.item() == 8.0


def test_bad_rules_are_named():
    x = Variable([1.0, 2.0])
    for rule, error in [
        (lambda g, y, x: None, TypeError),
        (lambda g, y, x: np.ones(3), ValueError),
    ]:
        f = minidl.differentiable(lambda x: x * 1.0, rule, name="wrong")
        with pytest.raises(error) as caught:
            f(x).backward()
        assert "wrong" in str(caught.value) + "".join(caught.value.__notes__)


def test_leaf_gradients_have_the_leafs_dtype():
    x, w = Variable(np.ones(3, np.float32)), Variable(np.ones(3))
    y = (x * w).sum()
    assert y.dtype == np.float64
    y.backward(create_graph=True)
    assert x.grad.dtype == np.float32 and w.grad.dtype == np.float64
    half = Variable(np.ones(3, np.float16))
    (half.astype(np.float64) * 2).sum().backward()
    assert half.grad.dtype == np.float16


def test_empty_and_0d():
    x = Variable(np.zeros((0, 3)))
    (x * 2).sum().backward()
    assert x.grad.shape == (0, 3)
    z = Variable(np.float32(2.0))
    z.sum().backward()
    assert z.grad.shape == () and z.grad.dtype == np.float32


def test_freed_graphs():
    x = Variable([1.0, 2.0])
    h = x * x
    y = h.sum()
    y.backward(retain_graph=False)
    np.testing.assert_array_equal(x.grad.data, [2.0, 4.0])
    for again in (y, h, h * 2):
        with pytest.raises(RuntimeError, match="freed"):
            again.backward()
    assert h.data.tolist() == [1.0, 4.0]
    with pytest.raises(ValueError, match="retain_graph"):
        (x * x).sum().backward(create_graph=True, retain_graph=False)


def test_freeing_lets_go_of_arrays_while_walking():
    x = Variable(np.zeros(1000))
    alive = []

    def watch(g, y, x):
        alive.append(sum(r() is not None for r in results))
        return g

    watched = minidl.differentiable(lambda x: x + 0.0, watch, name="watched")
    y, results = x, []
    for _ in range(10):
        y = watched(y)
        results.append(weakref.ref(y.data))
    y.sum().backward(retain_graph=False)
    assert alive == sorted(alive, reverse=True) and alive[-1] <= 2


# ---- create_graph ------------------------------------------------------------------------------------


def test_gradients_of_gradients():
    x = Variable(0.7)
    y = np.sin(x)
    y.backward(create_graph=True)
    want = [
        np.cos,
        lambda v: -np.sin(v),
        lambda v: -np.cos(v),
        np.sin,
        np.cos,
        lambda v: -np.sin(v),
    ]
    for derivative in want:
        assert x.grad.item() == pytest.approx(derivative(0.7), abs=1e-14)
        g = x.grad
        x.cleargrad()
        g.backward(create_graph=True)


def test_plain_gradients_are_constants():
    x = Variable(2.0)
    (x**3).backward()
    assert not x.grad.requires_grad
    with pytest.raises(ValueError, match="graph"):
        x.grad.backward()


def test_accumulating_onto_a_gradient_with_a_graph_keeps_it():
    x = Variable(2.0)
    (x**3).backward(create_graph=True)
    (x * 5).backward()
    g = x.grad
    assert g.item() == 17.0
    x.cleargrad()
    g.backward()
    assert x.grad.item() == 12.0


def test_create_graph_inside_no_grad():
    x = Variable(2.0)
    y = x * x
    with minidl.no_grad(), pytest.raises(RuntimeError, match="no_grad"):
        y.backward(create_graph=True)
    with minidl.no_grad():
        y.backward()
    assert x.grad.item() == 4.0


def test_an_argument_that_feeds_another_is_counted_once():
    """The composition behind a fused function must stop at its own arguments."""
    x = Variable(np.array([[0.3, -0.2], [0.1, 0.5]]))
    t = np.array([0, 1])

    def loss(x):
        return F.cross_entropy(x + np.tanh(x), t)

    assert minidl.gradcheck(loss, x.data, order=3)


def test_second_order_penalty():
    """The gradient penalty of a small network, against finite differences."""
    rng = np.random.default_rng(0)
    a, w = rng.standard_normal((4, 3)), rng.standard_normal((3, 2))

    def penalty(w):
        g = minidl.grad(lambda x: (np.tanh(x @ w) ** 2).sum())(Variable(a))
        return (g * g).sum()

    assert minidl.gradcheck(penalty, w)


# ---- stale values ------------------------------------------------------------------------------------


def test_a_new_value_ends_graphs_over_the_old_one():
    x, w = Variable(2.0), Variable(3.0)
    y = x * w * w
    w.data = 5.0
    for backward in (
        y.backward,
        lambda: y.backward(create_graph=True),
        lambda: minidl.gradients(y, [x]),
    ):
        with pytest.raises(RuntimeError, match="older value"):
            backward()
    assert x.grad is None and w.grad is None
    (x * w * w).backward()
    assert w.grad.item() == 20.0


def test_in_place_through_data_is_seen():
    x = Variable([2.0])
    y = x * x
    x.data += 1
    with pytest.raises(RuntimeError, match="older value"):
        y.backward()


def test_gradients_with_a_graph_go_stale_too():
    x = Variable(2.0, name="x")
    (x**3).backward(create_graph=True)
    g = x.grad
    x.data = 1.0
    with pytest.raises(RuntimeError, match="'x'"):
        g.backward()


# ---- cutting -----------------------------------------------------------------------------------------


def test_unchain_cuts_every_path():
    x = Variable(2.0)
    h = x * 3
    y, z = h * h, h + 1
    h.unchain()
    assert h.creator is None and not h.requires_grad
    (y + z + x).backward()
    assert x.grad.item() == 1.0


def test_unchain_backward_cuts_carried_states():
    """The state that lives on is a result behind the loss; both its own graph and the loss's must end."""
    w, h = Variable(0.5), Variable(1.0, requires_grad=False)
    for _ in range(3):
        h = np.tanh(w * h)
    loss = h * h
    loss.backward()
    first = w.grad.item()
    loss.unchain_backward()
    assert not h.requires_grad and not loss.requires_grad
    w.cleargrad()
    state = h.item()
    np.tanh(w * h).backward()
    assert w.grad.item() == pytest.approx((1 - np.tanh(0.5 * state) ** 2) * state)
    assert w.grad.item() != first


def test_unchain_backward_frees_what_lies_behind():
    x = Variable(np.ones(10))
    h = x * 2
    array = weakref.ref(h.data)
    y = (h * h).sum()
    del h
    assert array() is not None
    y.unchain_backward()
    assert array() is None and y.item() == 40.0


def test_unchain_of_leaves_and_constants_does_nothing():
    x = Variable(1.0)
    x.unchain()
    x.unchain_backward()
    assert x.requires_grad
    Variable(1.0, requires_grad=False).unchain_backward()


def test_owner_gone():
    y = Variable(2.0) * 3
    y.backward()
    assert y.item() == 6.0


# ---- scale -------------------------------------------------------------------------------------------


def test_a_chain_of_100000():
    x = Variable(1.0)
    y = x
    for _ in range(100_000):
        y = y + 0.0
    y.backward()
    assert x.grad.item() == 1.0
    x.cleargrad()
    y.backward(retain_graph=False)
    del y


def test_a_chain_of_gradients():
    x = Variable(1.0)
    y = x
    for _ in range(20_000):
        y = y * 1.0
    y.backward(create_graph=True)
    assert x.grad.item() == 1.0


def test_a_fan_of_10000():
    x = Variable(np.ones(3))
    h = x * 1.0
    terms = [h * float(i) for i in range(10_000)]
    total = np.concatenate([t.reshape(1, 3) for t in terms]).sum()
    total.backward()
    np.testing.assert_allclose(x.grad.data, sum(range(10_000)))


def test_diamonds_are_walked_once():
    """2^60 paths: an engine that walks paths instead of nodes never comes back."""
    x = Variable(1.0)
    y = x
    for _ in range(60):
        y = y + y
    y.backward()
    assert x.grad.item() == 2.0**60


@pytest.mark.parametrize("create_graph", [False, True])
def test_memory_is_flat_without_the_collector(create_graph):
    w = Variable(np.ones((50, 50)))
    x = np.ones((20, 50))

    def step():
        w.cleargrad()
        y = F.cross_entropy(np.tanh(F.linear(x, w)), np.zeros(20, int))
        y.backward(create_graph=create_graph, retain_grad=True)
        if create_graph:
            g = (w.grad * w.grad).sum()
            w.cleargrad()
            g.backward(retain_grad=True)
        w.data -= 0.01 * w.grad.data

    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            step()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(200):
            step()
        grown = tracemalloc.get_traced_memory()[0] - before
        assert gc.collect() < 100
    finally:
        tracemalloc.stop()
        gc.enable()
    assert grown < 100_000, f"{grown} bytes in 200 steps"


def test_constants_go_stale_too():
    """A constant view of what is trained, a constant, a frozen parameter: a new value is caught in each."""
    w, x, c, p = Variable([1.0, 1.0]), *(Variable([3.0, 4.0]) for _ in range(3))
    c.requires_grad = p.requires_grad = False
    for constant, changed in ((x.detach(), x), (c, c), (p, p), (c.detach(), c)):
        y = (w * constant).sum()
        changed.data -= 1
        with pytest.raises(RuntimeError, match="older value"):
            y.backward()
        (w * constant).sum().backward()
    view = x.detach()
    for _ in range(2):
        (w * view).sum().backward()
        x.data -= 1


def test_freezing_for_a_while_keeps_recorded_graphs():
    w = Variable([1.0, 2.0])
    y = (w * w).sum()
    w.requires_grad = False
    assert not (w * 2).requires_grad
    w.requires_grad = True
    y.backward()
    assert w.grad.data.tolist() == [2.0, 4.0]
    view = w.detach()
    view.requires_grad = True
    (view * 3).sum().backward()
    assert w.grad.data.tolist() == [2.0, 4.0] and view.grad.data.tolist() == [3.0, 3.0]
    z = (w * w).sum()
    w.requires_grad = False
    w.data -= 1
    w.requires_grad = True
    with pytest.raises(RuntimeError, match="older value"):
        z.backward()


# ---- half precision ----------------------------------------------------------------------------------


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_halves_are_added_up_in_more_digits(create_graph):
    x, w = Variable(np.float16(1)), Variable(np.ones(2, np.float16))
    terms = [x * np.float16(1) for _ in range(3000)]
    np.stack(terms).sum().backward(create_graph=create_graph)
    assert x.grad.dtype == np.float16 and x.grad.data == 3000
    loss = (w * 1).sum()
    for _ in range(2999):
        loss = loss + (w * 1).sum()
    loss.backward(create_graph=create_graph)
    assert w.grad.dtype == np.float16 and w.grad.data.tolist() == [3000, 3000]


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 3), ()])
def test_sums_of_halves_over_broadcast_axes(shape):
    b, m = Variable(np.zeros(shape, np.float16)), np.ones((30, 100, 3), np.float16)
    (b + m).backward()
    assert b.grad.dtype == np.float16 and b.grad.shape == shape
    assert (b.grad.data == (3000 if shape else 9000)).all()
