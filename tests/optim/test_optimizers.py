"""The optimizers: their formulas, who takes part in a step, hooks and schedules.

Trajectories against other systems are in tests/test_references.py and test_against_pytorch.py here;
groups with settings of their own in test_groups.py.
"""

import copy
import gc
import pickle
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F
from minidl.optim.buffer import BLOCK, SMALL

RNG = np.random.default_rng(0)


def plain_sgd(p, g, t, s, lr=0.1):
    return p - lr * g


def plain_momentum(p, g, t, s, lr=0.1, mu=0.8, nesterov=False):
    s["v"] = mu * s.get("v", 0) - lr * g
    return p + (mu * s["v"] - lr * g if nesterov else s["v"])


def plain_adam(p, g, t, s, lr=0.1, b1=0.8, b2=0.9, eps=1e-6, decay=0.0):
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    p = p - lr * decay * p
    return p - lr * (s["m"] / (1 - b1**t)) / (np.sqrt(s["v"] / (1 - b2**t)) + eps)


def plain_rmsprop(p, g, t, s, lr=0.1, alpha=0.9, eps=1e-6, mu=0.0, centered=False):
    s["v"] = alpha * s.get("v", 0) + (1 - alpha) * g * g
    s["m"] = alpha * s.get("m", 0) + (1 - alpha) * g
    root = np.sqrt(s["v"] - s["m"] ** 2 * centered) + eps
    s["u"] = mu * s.get("u", 0) + g / root
    return p - lr * s["u"]


def plain_adagrad(p, g, t, s, lr=0.5, decay=0.01, initial=0.1, eps=1e-6):
    s["s"] = s.get("s", initial) + g * g
    return p - lr / (1 + (t - 1) * decay) * g / (np.sqrt(s["s"]) + eps)


def plain_lion(p, g, t, s, lr=0.1, b1=0.8, b2=0.9, decay=0.05):
    m = s.get("m", np.zeros_like(g))
    s["m"] = b2 * m + (1 - b2) * g
    return p - lr * (np.sign(b1 * m + (1 - b1) * g) + decay * p)


KINDS = {
    "SGD": (lambda ps, **k: optim.SGD(ps, lr=0.1, **k), plain_sgd),
    "Momentum": (lambda ps, **k: optim.Momentum(ps, lr=0.1, momentum=0.8, **k), plain_momentum),
    "Nesterov": (
        lambda ps, **k: optim.Momentum(ps, lr=0.1, momentum=0.8, nesterov=True, **k),
        lambda *a: plain_momentum(*a, nesterov=True),
    ),
    "Adam": (lambda ps, **k: optim.Adam(ps, lr=0.1, betas=(0.8, 0.9), eps=1e-6, **k), plain_adam),
    "AdamW": (
        lambda ps, **k: optim.AdamW(ps, lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.05, **k),
        lambda *a: plain_adam(*a, decay=0.05),
    ),
    "RMSprop": (lambda ps, **k: optim.RMSprop(ps, lr=0.1, alpha=0.9, eps=1e-6, **k), plain_rmsprop),
    "RMSprop centered": (
        lambda ps, **k: optim.RMSprop(
            ps, lr=0.1, alpha=0.9, eps=1e-6, momentum=0.7, centered=True, **k
        ),
        lambda *a: plain_rmsprop(*a, mu=0.7, centered=True),
    ),
    "Adagrad": (
        lambda ps, **k: optim.Adagrad(
            ps, lr=0.5, lr_decay=0.01, initial_accumulator_value=0.1, eps=1e-6, **k
        ),
        plain_adagrad,
    ),
    "Lion": (
        lambda ps, **k: optim.Lion(ps, lr=0.1, betas=(0.8, 0.9), weight_decay=0.05, **k),
        plain_lion,
    ),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


class Plain:
    """The formula applied to each parameter by itself, the reference of every test here."""

    def __init__(self, kind, params):
        self.formula = KINDS[kind][1]
        self.values = [p.data.copy() for p in params]
        self.states = [{} for _ in params]
        self.times = [0] * len(params)

    def update(self, gradients):
        for i, g in enumerate(gradients):
            if g is not None:
                self.times[i] += 1
                self.values[i] = self.formula(self.values[i], g, self.times[i], self.states[i])

    def check(self, params):
        for p, value in zip(params, self.values, strict=True):
            np.testing.assert_allclose(p.data, value, rtol=1e-12, atol=1e-13)


def give(params, missing=()):
    """Random gradients, None for the missing ones."""
    gradients = [
        None if i in missing else RNG.standard_normal(p.shape) for i, p in enumerate(params)
    ]
    for p, g in zip(params, gradients, strict=True):
        p.grad = g
    return gradients


def new_params(*shapes):
    return [Parameter(RNG.standard_normal(shape)) for shape in shapes]


@each_kind
def test_formula(kind):
    params = new_params((3, 2), (2,), (), (0, 4))
    optimizer, plain = KINDS[kind][0](params), Plain(kind, params)
    for _ in range(10):
        gradients = give(params)
        kept = [p.grad.data.copy() for p in params]
        optimizer.update()
        plain.update(gradients)
        for p, g in zip(params, kept, strict=True):
            np.testing.assert_array_equal(p.grad.data, g)
    plain.check(params)
    assert (
        params[2].data.shape == () and isinstance(params[2].data, np.ndarray) and optimizer.t == 10
    )


@each_kind
def test_sizes_around_the_blocks(kind):
    params = new_params(
        (SMALL,), (SMALL + 1,), (2 * BLOCK + 7,), (5,), *[(SMALL - 1,)] * 5, (BLOCK,)
    )
    optimizer, plain = KINDS[kind][0](params), Plain(kind, params)
    for _ in range(3):
        plain.update(give(params))
        optimizer.update()
    plain.check(params)


@each_kind
def test_parameters_without_a_gradient_are_skipped(kind):
    params = new_params((3,), (4,), (5,))
    optimizer, plain = KINDS[kind][0](params), Plain(kind, params)
    for missing in [(), (1,), (1,), (0, 2), (), (0, 1, 2), (0,), (0, 1, 2), ()]:
        plain.update(give(params, missing))
        idle = len(missing) == 3 and not optimizer._idle  # which is told once
        with pytest.warns(UserWarning, match="no parameter has a grad") if idle else nullcontext():
            optimizer.update()
        plain.check(params)


def test_parameters_that_take_turns_are_copied_once():
    params = new_params((3,), (4,), (5,), (SMALL + 1,))
    optimizer = optim.Adam(params)
    views = []
    for turn in range(8):
        give(params, (0, 3) if turn % 2 else (1,))
        optimizer.update()
        views.append([p._raw for p in params])
    assert all(a is b for a, b in zip(views[2], views[-1], strict=True))


@each_kind
def test_frozen_and_thawed(kind):
    params = new_params((3,), (4,))
    optimizer, plain = KINDS[kind][0](params), Plain(kind, params)
    for frozen in (False, True, True, False):
        params[0].requires_grad = not frozen
        gradients = give(params)
        plain.update([None if frozen else gradients[0], gradients[1]])
        optimizer.update()
        plain.check(params)


@each_kind
def test_late_and_lazy_parameters_start_their_own_count(kind):
    class Model:
        def __init__(self):
            self.all = [*new_params((3,)), Parameter(None)]

        def parameters(self):
            return self.all

    model = Model()
    optimizer = KINDS[kind][0](model)
    plain = Plain(kind, model.all[:1])
    plain.update(give(model.all[:1]))
    optimizer.update()
    model.all[1].data = RNG.standard_normal(2)
    model.all += new_params((4,))
    for p in model.all[1:]:
        plain.values.append(p.data.copy())
        plain.states.append({})
        plain.times.append(0)
    for _ in range(3):
        plain.update(give(model.all))
        optimizer.update()
    plain.check(model.all)


@each_kind
def test_values_given_by_the_user_are_respected(kind):
    params = new_params((3,), (4,))
    optimizer, plain = KINDS[kind][0](params), Plain(kind, params)
    for i in range(4):
        plain.update(give(params))
        optimizer.update()
        params[i % 2].data = plain.values[i % 2] = np.full(3 + i % 2, float(i))
        params[1].data[0] = plain.values[1][0] = -i
    plain.check(params)
    params[0].cleargrad()
    params[0].data = np.ones((2, 2))
    plain.values[0], plain.states[0], plain.times[0] = np.ones((2, 2)), {}, 0
    for _ in range(2):
        plain.update(give(params))
        optimizer.update()
    plain.check(params)


@each_kind
def test_tied_parameters_are_updated_once(kind):
    [p] = new_params((3,))
    optimizer, plain = KINDS[kind][0]([p, p]), Plain(kind, [p])
    plain.update(give([p]))
    optimizer.update()
    plain.check([p])


@each_kind
def test_mixed_dtypes(kind):
    a, b = Parameter(np.ones(3, np.float32)), Parameter(np.ones(3))
    optimizer = KINDS[kind][0]([a, b], hooks=[optim.hooks.ClipGrad(100.0)])
    for _ in range(3):
        a.grad, b.grad = np.full(3, 0.5, np.float32), np.full(3, 0.5)
        optimizer.update()
    assert a.dtype == np.float32 and b.dtype == np.float64
    np.testing.assert_allclose(a.data, b.data, rtol=1e-5)


def test_float32_state_stays_float32():
    p = Parameter(np.ones(3, np.float32))
    optimizer = optim.AdamW([p])
    p.grad = np.ones(3, np.float32)
    optimizer.update()
    state = optimizer.state_dict()
    assert p.dtype == state["0.m"].dtype == state["0.v"].dtype == np.float32


@each_kind
def test_two_optimizers_of_the_same_parameters(kind):
    params = new_params((3,), (2,))
    one, two, plain = KINDS[kind][0](params), optim.SGD(params, lr=0.1), Plain(kind, params)
    for _ in range(3):
        plain.update(give(params))
        one.update()
        two.update()
        plain.values = [v - 0.1 * p.grad.data for v, p in zip(plain.values, params, strict=True)]
    plain.check(params)


@each_kind
def test_state_goes_on_bit_for_bit(kind, tmp_path):
    params = new_params((3,), (4,), (2,))
    optimizer = KINDS[kind][0](params)
    for missing in [(), (1,), (2,)]:
        give(params, missing)
        optimizer.update()
    minidl.save(optimizer, tmp_path / "state.npz")
    others = [Parameter(p.data.copy()) for p in params]
    other = KINDS[kind][0](others)
    other.load_state_dict(minidl.load(tmp_path / "state.npz"))
    for _ in range(3):
        for q, g in zip(others, give(params), strict=True):
            q.grad = g
        optimizer.update()
        other.update()
    assert (
        all((p.data == q.data).all() for p, q in zip(params, others, strict=True))
        and other.t == optimizer.t == 6
    )


def test_a_state_that_does_not_fit_changes_nothing():
    params = new_params((3,), (4,))
    optimizer = optim.Adam(params)
    give(params)
    optimizer.update()
    good = optimizer.state_dict()
    for change, message in [
        (lambda s: s.pop("0.m"), r"0\.m: got none, want \(3,\)"),
        (lambda s: s.update(extra=1), "extra: .* want none"),
        (lambda s: s.pop("t"), "t: got none"),
        (lambda s: [s.pop(k) for k in ("1.t", "1.m", "1.v")], "1.t: got none"),
        (
            lambda s: s.update(betas=np.array([0.5, 0.5])),
            r"betas: got \[0\.5, 0\.5\], want \[0\.9, 0\.999\]",
        ),
        (lambda s: s.update({"2.t": 0}), "2.t: .* want none"),
        (lambda s: s.update({"1.v": np.ones(3)}), r"1\.v: got \(3,\), want \(4,\)"),
    ]:
        bad = dict(good)
        change(bad)
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(bad)
    with pytest.raises(ValueError, match=r"betas: .* want none"):
        optim.Momentum(params).load_state_dict(good)
    after = optimizer.state_dict()
    assert after.keys() == good.keys() and all(np.array_equal(after[k], good[k]) for k in good)


def test_a_saved_state_is_no_view_and_a_resized_parameter_is_saved_as_new():
    params = new_params((3,), (4,))
    optimizer = optim.Adam(params)
    give(params)
    optimizer.update()
    saved = optimizer.state_dict()
    kept = saved["0.m"].copy()
    optimizer.update()
    np.testing.assert_array_equal(saved["0.m"], kept)
    params[1].cleargrad()
    params[1].data = np.ones(2)
    saved = optimizer.state_dict()
    assert saved["1.t"] == 0 and "1.m" not in saved
    optim.Adam(params).load_state_dict(saved)


@each_kind
def test_gradients_that_share_memory_with_parameters(kind):
    """Each is pulled by the other's value before the step, also where gradients are read in place."""
    params = new_params((SMALL + 5,), (SMALL + 5,), (3,), (3,))
    optimizer, plain = KINDS[kind][0](params), Plain(kind, params)
    for _ in range(3):
        for p, q in zip(params, [params[1], params[0], params[3], params[2]], strict=True):
            p.grad = Variable(q.data, requires_grad=False)
        plain.update([p.grad.data.copy() for p in params])
        optimizer.update()
        plain.check(params)


@each_kind
def test_gradients_in_any_memory_order(kind):
    params = new_params((300, 500), (7, 5))
    optimizer, plain = KINDS[kind][0](params), Plain(kind, params)
    for _ in range(2):
        for p in params:
            p.grad = np.asfortranarray(RNG.standard_normal(p.shape))
        plain.update([p.grad.data for p in params])
        optimizer.update()
    plain.check(params)


def test_pickled_optimizers_go_on():
    params = new_params((3,), (2,))
    optimizer = optim.Adam(params, lr=0.1)
    for missing in [(), (1,)]:
        give(params, missing)
        optimizer.update()
    other = pickle.loads(pickle.dumps(optimizer))
    for p, q, g in zip(params, other.params, give(params), strict=True):
        q.grad = g
        assert q is not p
    optimizer.update()
    other.update()
    assert all((p.data == q.data).all() for p, q in zip(params, other.params, strict=True))


def test_a_resized_parameter_is_pickled_as_new():
    params = new_params((3,), (2,))
    optimizer = optim.Adam(params, lr=0.1)
    give(params)
    optimizer.update()
    params[1].cleargrad()
    params[1].data = np.ones(5)
    other = pickle.loads(pickle.dumps(optimizer))
    assert (
        other.state_dict().keys() == optimizer.state_dict().keys()
        and other.params[1].data.tolist() == [1.0] * 5
    )


def test_copies_are_independent():
    params = new_params((3,), (2,))
    optimizer = optim.Adam(params, lr=0.1)
    give(params)
    optimizer.update()
    params2, optimizer2 = copy.deepcopy((params, optimizer))
    before = [p.data.copy() for p in params]
    optimizer2.update()
    assert all((p.data == b).all() for p, b in zip(params, before, strict=True))
    optimizer.update()
    assert all((p.data == q.data).all() for p, q in zip(params, params2, strict=True))


def test_graphs_over_old_values_go_stale():
    x, w = Variable([1.0, 2.0]), Variable([3.0, 4.0])
    loss = (x * w).sum()
    loss.backward()
    optim.SGD([w]).update()
    with pytest.raises(RuntimeError, match="older value"):
        loss.backward()
    assert x.grad.data.tolist() == [3.0, 4.0]


def test_an_update_of_what_had_no_gradient_leaves_graphs_alone():
    x, w = Variable([1.0]), Variable([3.0])
    optimizer = optim.SGD([x, w])
    loss = (w * w).sum()
    x.grad = np.ones(1)
    optimizer.update()
    loss.backward()
    assert w.grad.data == [6.0]


def test_training_converges():
    x = RNG.standard_normal((50, 3))
    t = x @ np.array([[1.0], [-2.0], [0.5]])
    for kind, (make, _) in KINDS.items():
        w = Parameter(np.zeros((3, 1)))
        optimizer = make([w])
        for _ in range(200):
            optimizer.cleargrads()
            loss = F.mean_squared_error(F.linear(x, w), t)
            loss.backward()
            optimizer.update()
        assert loss.item() < 0.05, kind


def test_memory_is_flat():
    params = new_params((50, 50), (50,))
    optimizer = optim.Adam(params, hooks=[optim.hooks.ClipGrad(1.0)])

    def step():
        optimizer.cleargrads()
        F.linear(np.ones((4, 50)), *params).sum().backward()
        optimizer.update()

    for _ in range(3):
        step()
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(50):
            step()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(400):
            step()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000  # 50 bytes a step
    finally:
        tracemalloc.stop()
        gc.enable()


def test_refused():
    p = Parameter([1.0])
    for make, error, message in [
        (lambda: optim.SGD([]), ValueError, "empty"),
        (lambda: optim.SGD([np.ones(2)]), TypeError, "ndarray"),
        (lambda: optim.SGD([p * 2]), TypeError, "recorded result"),
        (lambda: optim.SGD([p], lr=-1), ValueError, "lr"),
        (lambda: optim.SGD([p, Variable(1.0, requires_grad=False)]), TypeError, "does not require"),
        (lambda: optim.SGD([p], lr=True), TypeError, "lr"),
        (lambda: optim.SGD([p], lr="fast"), TypeError, "lr"),
        (lambda: optim.SGD([p], lr=np.nan), ValueError, "lr"),
        (lambda: optim.Adam([p], betas=(1.0, 0.9)), ValueError, "beta"),
        (lambda: optim.Adam([p], eps=0), ValueError, "eps"),
        (lambda: optim.Momentum([p], momentum=1), ValueError, "momentum"),
        (lambda: optim.AdamW([p], weight_decay=-1), ValueError, "weight_decay"),
        (lambda: optim.SGD([p], hooks=[3]), TypeError, "callable"),
        (lambda: optim.RMSprop([p], alpha=1), ValueError, "alpha"),
        (lambda: optim.RMSprop([p], eps=0), ValueError, "eps"),
        (lambda: optim.RMSprop([p], momentum=-0.1), ValueError, "momentum"),
        (lambda: optim.RMSprop([p], centered=1), TypeError, "centered: want True or False, got 1"),
        (lambda: optim.Momentum([p], nesterov="no"), TypeError, "nesterov: want True or False"),
        (lambda: optim.Adagrad([p], lr_decay=-1), ValueError, "lr_decay"),
        (lambda: optim.Adagrad([p], initial_accumulator_value=np.inf), ValueError, "initial_acc"),
        (lambda: optim.Lion([p], betas=(0.9, 1.0)), ValueError, r"betas\[1\]"),
        (lambda: optim.Lion([p], weight_decay="1"), TypeError, "weight_decay"),
        (lambda: optim.Lion([p], momentum=0.9), TypeError, "Lion: got an unexpected keyword"),
        (lambda: optim.hooks.ClipGrad(0), ValueError, "max_norm"),
        (lambda: optim.hooks.ClipValue(0), ValueError, "limit"),
        (lambda: optim.hooks.ClipValue(None), TypeError, "limit"),
        (lambda: optim.schedules.one_cycle(0.1, 0), ValueError, "steps"),
        (lambda: optim.schedules.one_cycle(-0.1, 10), ValueError, "lr"),
        (lambda: optim.hooks.WeightDecay(-1), ValueError, "rate"),
        (lambda: optim.schedules.step(0.1, 0), ValueError, "every"),
        (lambda: optim.schedules.cosine(0.1, 1.5), TypeError, "steps"),
    ]:
        with pytest.raises(error, match=message):
            make()

    class Model:
        def __init__(self, *found):
            self.found = found

        def parameters(self):
            return self.found

    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD(Model()).update()
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD(minidl.layers.Sequential()).update()  # its len() is 0, but it is a model
    with pytest.raises(TypeError, match="ndarray"):
        optim.SGD(Model(p, np.ones(2))).update()
    for word, ours in (("step", "update"), ("zero_grad", "cleargrad")):
        with pytest.raises(AttributeError, match=ours):
            getattr(optim.SGD([p]), word)


# ---- hooks and schedules -----------------------------------------------------------------------------


def test_hooks_are_exact_when_gradients_are_shared():
    """y = a + b gives both leaves the same gradient: decaying one must not reach the other, nor its .grad."""
    a, b = Variable([1.0, 2.0]), Variable([10.0, 20.0])
    optimizer = optim.SGD(
        [a, b], lr=1.0, hooks=[optim.hooks.WeightDecay(0.5), optim.hooks.ClipGrad(1.0)]
    )
    (a + b).sum().backward()
    g = np.array([1.0, 1.0, 1.0, 1.0]) + 0.5 * np.array([1.0, 2.0, 10.0, 20.0])
    optimizer.update()
    want = np.array([1.0, 2.0, 10.0, 20.0]) - g / np.linalg.norm(g)
    np.testing.assert_allclose(np.concatenate([a.data, b.data]), want)
    assert a.grad.data.tolist() == b.grad.data.tolist() == [1.0, 1.0]
    assert optimizer.hooks[1].last_norm == pytest.approx(np.linalg.norm(g))


def test_clipping_leaves_small_gradients_alone_and_survives_large_ones():
    p = Variable(np.zeros(3, np.float32))
    clip = optim.hooks.ClipGrad(5.0)
    optimizer = optim.SGD([p], lr=1.0, hooks=clip)
    p.grad = np.array([1, 2, 2], np.float32)
    optimizer.update()
    assert p.data.tolist() == [-1, -2, -2] and clip.last_norm == pytest.approx(3.0)
    for scale in (3e30, 3e-30):
        clip.max_norm = min(scale, 5.0)
        p.grad = np.array([3 * scale, 0, 4 * scale], np.float32)
        p.data = np.zeros(3, np.float32)
        optimizer.update()
        np.testing.assert_allclose(p.data / clip.max_norm, [-0.6, 0, -0.8], rtol=1e-6)
        assert clip.last_norm == pytest.approx(5 * scale)


def test_clipping_where_the_norm_itself_overflows():
    p = Variable(np.zeros(4))
    p.grad = np.full(4, 1.5e308)
    optim.SGD([p], lr=1.0, hooks=optim.hooks.ClipGrad(1.0)).update()
    np.testing.assert_allclose(p.data, -0.5)


def test_the_norm_of_many_float32_gradients_is_exact():
    p, q = Variable(np.zeros(3 * BLOCK, np.float32)), Variable(np.zeros(1, np.float32))
    clip = optim.hooks.ClipGrad(1e9)
    p.grad = RNG.standard_normal(p.shape).astype(np.float32)
    q.grad = np.ones(1, np.float32)
    optim.SGD([p, q], hooks=clip).update()
    assert clip.last_norm == pytest.approx(
        np.sqrt((p.grad.data.astype(float) ** 2).sum() + 1), rel=1e-12
    )


def test_values_that_a_hook_gives_are_kept():
    p = Parameter([5.0, 5.0])

    def bound(gradients):
        for q in gradients.params:
            q.data = np.minimum(q.data, 1.0)

    optimizer = optim.SGD([p], lr=0.5, hooks=bound)
    for _ in range(2):
        p.grad = np.array([1.0, -1.0])
        optimizer.update()
    assert p.data.tolist() == [0.0, 1.5]


def test_a_hook_that_raises_changes_nothing():
    p, q = Parameter([1.0], name="weight"), Parameter([2.0])
    optimizer = optim.Adam([q, p], hooks=[optim.hooks.ClipGrad(1.0)])
    p.grad, q.grad = np.array([np.nan]), np.array([1.0])
    with pytest.raises(FloatingPointError, match="weight"):
        optimizer.update()
    assert p.data == [1.0] and q.data == [2.0] and optimizer.t == 0
    p.grad = np.array([1.0])
    optimizer.update()
    assert optimizer.state_dict()["0.t"] == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_refuses_what_is_not_finite(bad, dtype):
    p = Parameter(np.zeros(2, dtype))
    p.grad = np.array([1, bad], dtype)
    with pytest.raises(FloatingPointError, match=r"parameter 0, \(2,\), is not finite"):
        optim.SGD([p], hooks=optim.hooks.ClipGrad(1.0)).update()
    assert p.data.tolist() == [0, 0]


def test_a_hook_sees_views_of_one_buffer():
    params = new_params((2, 2), (3,))
    seen = []

    def hook(gradients):
        seen.append([p is q for p, q in zip(gradients.params, params, strict=True)])
        assert all(np.shares_memory(g, gradients.flat) for g in gradients.grads)
        gradients.flat[:] = 1.0

    optimizer = optim.SGD(params, lr=1.0, hooks=[hook])
    before = [p.data.copy() for p in params]
    give(params)
    optimizer.update()
    assert seen == [[True, True]]
    assert all(np.allclose(p.data, b - 1) for p, b in zip(params, before, strict=True))


def test_schedules_drive_the_rate():
    p = Parameter([0.0])
    optimizer = optim.SGD([p], lr=optim.schedules.step(1.0, every=2, factor=0.5))
    rates = []
    for _ in range(5):
        p.grad = np.ones(1)
        rates.append(optimizer.current_lr)
        optimizer.update()
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25] and p.data == [-3.25]
    optimizer.lr = 0.125
    assert optimizer.current_lr == 0.125
    optimizer.lr = lambda t: -1.0
    with pytest.raises(ValueError, match="schedule"):
        optimizer.update()
    assert p.data == [-3.25] and optimizer.t == 5
    warm = optim.schedules.warmup(2, 0.1)
    assert [warm(t) for t in range(4)] == pytest.approx([0.05, 0.1, 0.1, 0.1])
    cosine = optim.schedules.cosine(1.0, 4, final=0.2)
    assert [cosine(t) for t in (0, 2, 4, 9)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_a_state_that_is_no_dict():
    with pytest.raises(TypeError, match="NoneType"):
        optim.Adam([Parameter([1.0])]).load_state_dict(None)


# ---- float16 ------------------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("size", [3, SMALL + 1, BLOCK + 1])
@pytest.mark.parametrize(
    "hooks", [(), optim.hooks.ClipGrad(1e-3), optim.hooks.WeightDecay(0.01)], ids=str
)
def test_float16_is_updated_as_float32_is_and_rounded(kind, size, hooks):
    p = Parameter(np.full(size, 2.0, np.float16))
    wide = Parameter(np.full(size, 2.0, np.float32))
    pair = [KINDS[kind][0]([q], hooks=hooks) for q in (p, wide)]
    for g in (0, 8, 300, 60_000, 1e-4, 0):  # 300 squared is beyond float16, 1e-4 squared below it
        p.grad = np.full(size, g, np.float16)
        wide.grad = p.grad.data.astype(np.float32)
        wide.data[...] = p.data  # so that roundings do not add up
        for optimizer in pair:
            optimizer.update()
        assert p.dtype == np.float16
        assert np.array_equal(p.data, wide.data.astype(np.float16))
    states = [optimizer.state_dict() for optimizer in pair]
    for key, value in states[0].items():
        assert np.array_equal(value, states[1][key])
        assert np.asarray(value).dtype == np.asarray(states[1][key]).dtype


def test_adam_leaves_float16_unchanged_at_a_zero_gradient():
    p = Parameter(np.array([1.0, -2.0], np.float16))
    optimizer = optim.Adam([p])
    p.grad = np.zeros(2, np.float16)
    optimizer.update()
    assert p.data.tolist() == [1.0, -2.0]


@each_kind
def test_a_float16_state_goes_on_where_it_was(kind):
    both = [Parameter(np.ones(4, np.float16)) for _ in range(2)]
    first, second = (KINDS[kind][0]([p]) for p in both)
    for step in range(4):
        if step == 2:
            both[1].data = both[0].data.copy()
            second.load_state_dict(first.state_dict())
        for p, optimizer in list(zip(both, (first, second)))[: 1 + (step >= 2)]:
            p.grad = np.full(4, 7.0 + step, np.float16)
            optimizer.update()
    assert np.array_equal(both[0].data, both[1].data)


# ---- repr ---------------------------------------------------------------------------------------------


def test_optimizers_show_their_settings():
    p = Parameter([1.0])
    assert repr(optim.SGD([p])) == "SGD(lr=0.01; parameters: 1, updates: 0)"
    adam = optim.AdamW([p], hooks=optim.hooks.ClipGrad(1.0))
    p.grad = np.ones(1)
    adam.update()
    assert repr(adam) == (
        "AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01, hooks=[ClipGrad(1.0)]; "
        "parameters: 1, updates: 1)"
    )
    momentum = optim.Momentum([p], lr=optim.schedules.cosine(0.1, 10), nesterov=True)
    assert repr(momentum).startswith("Momentum(lr=cosine, momentum=0.9, nesterov=True;")


@pytest.mark.parametrize("betas", [0.9, (0.9,), None])
def test_betas_are_two(betas):
    with pytest.raises(TypeError, match=r"Adam: betas must be two numbers, got"):
        optim.Adam([Variable(1.0)], betas=betas)


def test_a_class_is_no_model():
    with pytest.raises(TypeError, match=r"SGD: want a model, as MLP\(..\), or Variables"):
        optim.SGD(layers.MLP)
