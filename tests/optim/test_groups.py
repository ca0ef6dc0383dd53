"""Parameter groups: settings of their own, rates in proportion, states, and what is refused."""

import copy
import pickle

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl import functions as F
from minidl.optim import schedules
from tests.optim.test_optimizers import give, new_params

SETTINGS = {
    "SGD": ({}, {"lr": 0.3}),
    "Momentum": ({"momentum": 0.8}, {"momentum": 0.5, "nesterov": True}),
    "Adam": ({"eps": 1e-6}, {"betas": (0.7, 0.8), "eps": 1e-3, "lr": 0.02}),
    "AdamW": ({"weight_decay": 0.1}, {"weight_decay": 0.0}),
    "RMSprop": ({"momentum": 0.5}, {"momentum": 0.0, "centered": True, "alpha": 0.8}),
    "Adagrad": ({"lr_decay": 0.1}, {"initial_accumulator_value": 0.2, "lr_decay": 0.0}),
    "Lion": ({"weight_decay": 0.1}, {"betas": (0.5, 0.6), "lr": 0.2}),
}
each_optimizer = pytest.mark.parametrize("name", SETTINGS)


def pair(name, lr=0.1, hooks=()):
    """An optimizer with two groups, and for each group one that has its settings for all."""
    kind = getattr(optim, name)
    own, other = SETTINGS[name]
    params = new_params((3,), (2, 2), (4,), ())
    twins = [Parameter(p.data.copy()) for p in params]
    groups = [{"params": params[:2]}, {"params": params[2:], **other}]
    both = kind(groups, lr=lr, hooks=hooks, **own)
    first = kind(twins[:2], lr=lr, hooks=hooks, **own)
    second = kind(twins[2:], **{"lr": lr, **own, **other}, hooks=hooks)
    return both, [first, second], params, twins


def equal(params, twins):
    return all(np.array_equal(p.data, q.data) for p, q in zip(params, twins, strict=True))


@each_optimizer
def test_groups_are_as_optimizers_of_their_own(name):
    both, alone, params, twins = pair(name)
    for missing in [(), (1,), (0, 1), (), (2,)]:
        for q, g in zip(twins, give(params, missing), strict=True):
            q.grad = g
        both.update()
        for optimizer in alone:
            if any(p.grad is not None for p in optimizer.params):
                optimizer.update()
        assert equal(params, twins)


@each_optimizer
def test_a_state_of_groups_goes_on_bit_for_bit(name, tmp_path):
    both, _, params, _ = pair(name)
    for missing in [(), (1,), (2,)]:
        give(params, missing)
        both.update()
    minidl.save(both, tmp_path / "state.npz")
    own, other = SETTINGS[name]
    others = [Parameter(p.data.copy()) for p in params]
    again = getattr(optim, name)(
        [{"params": others[:2]}, {"params": others[2:], **other}], lr=0.1, **own
    )
    again.load_state_dict(minidl.load(tmp_path / "state.npz"))
    for made in (again, pickle.loads(pickle.dumps(both)), copy.deepcopy(both)):
        twins = made.params
        before = [p.data.copy() for p in params]
        kept = copy.deepcopy(both)
        for p, q, r, g in zip(params, twins, kept.params, give(params), strict=True):
            p.grad = None
            q.grad = r.grad = g
        made.update()
        kept.update()
        assert equal(kept.params, twins) and made.t == 4
        assert all(np.array_equal(p.data, b) for p, b in zip(params, before, strict=True))


def test_another_beta_of_a_group_is_told():
    p, q = new_params((2,), (2,))
    first = optim.Adam([{"params": [p]}, {"params": [q], "betas": (0.5, 0.6)}])
    give([p, q])
    first.update()
    state = first.state_dict()
    assert state["groups.1.betas"].tolist() == [0.5, 0.6]
    with pytest.raises(ValueError, match=r"groups\.1\.betas: got \[0\.5, 0\.6\], want none"):
        optim.Adam([{"params": [p]}, {"params": [q]}]).load_state_dict(state)


def rates(lr, own, steps):
    """The rates of a group with its own and of one without, by the steps that they make."""
    a, b = Parameter(0.0), Parameter(0.0)
    optimizer = optim.SGD([{"params": a, "lr": own}, {"params": b}], lr=lr)
    found = []
    for _ in range(steps):
        a.data, b.data = np.zeros(()), np.zeros(())
        a.grad = b.grad = -np.ones(())
        optimizer.update()
        found.append((a.item(), b.item()))
    return found


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.constant(0.1),
        schedules.step(0.1, every=2),
        schedules.cosine(0.1, steps=6, final=0.01),
        schedules.warmup(4, 0.1),
        schedules.warmup(3, schedules.one_cycle(0.1, steps=5)),
        schedules.one_cycle(0.1, steps=8),
        lambda t: 0.1 / (1 + t),
    ],
)
def test_a_schedule_scales_all_groups(schedule):
    found = rates(schedule, 0.02, 8)
    np.testing.assert_allclose([b for _, b in found], [schedule(t) for t in range(8)], rtol=1e-14)
    np.testing.assert_allclose([a / b for a, b in found], 0.2, rtol=1e-12)


def test_a_schedule_of_a_groups_own_is_followed():
    own = schedules.step(1.0, every=1, factor=0.5)
    assert rates(0.1, own, 3) == [(1.0, 0.1), (0.5, 0.1), (0.25, 0.1)]
    assert rates(schedules.cosine(0.1, 2), own, 3) == [(1.0, 0.1), (0.5, 0.05), (0.25, 0.0)]


def test_a_rate_that_is_assigned_scales_all_groups():
    a, b = Parameter(0.0), Parameter(0.0)
    optimizer = optim.SGD([{"params": a, "lr": 0.5}, {"params": b}], lr=0.25)
    for rate, want in [(0.25, (0.5, 0.25)), (0.125, (0.25, 0.125)), (lambda t: 1.0, (2.0, 1.0))]:
        optimizer.lr = rate
        a.data, b.data = np.zeros(()), np.zeros(())
        a.grad = b.grad = -np.ones(())
        optimizer.update()
        assert (a.item(), b.item()) == want


def test_a_group_alone_can_have_a_rate():
    assert rates(0.0, 0.5, 2) == [(0.5, 0.0), (0.5, 0.0)]
    assert rates(0.5, 0.0, 2) == [(0.0, 0.5), (0.0, 0.5)]


def test_a_setting_that_is_assigned_reaches_the_groups_without_their_own():
    a, b = Parameter([1.0]), Parameter([1.0])
    optimizer = optim.AdamW([{"params": a, "weight_decay": 0.0}, {"params": b}], lr=0.1)
    for decay in (0.5, 0.25):
        optimizer.weight_decay = decay
        a.data, b.data = np.ones(1), np.ones(1)
        a.grad = b.grad = np.zeros(1)
        optimizer.update()
        assert (a.data, b.data) == ([1.0], [1 - 0.1 * decay])
    with pytest.raises(ValueError, match="AdamW: weight_decay"):
        optimizer.weight_decay = -1
    assert optimizer.weight_decay == 0.25


def test_hooks_see_all_groups_in_one_call():
    seen = []
    both, _, params, _ = pair("SGD", hooks=[lambda g: seen.append(len(g.params))])
    clip = optim.hooks.ClipGrad(1.0)
    both.hooks.append(clip)
    gradients = give(params)
    both.update()
    assert seen == [4]
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    assert clip.last_norm == pytest.approx(norm, rel=1e-12)


def test_params_may_be_layers_parameters_and_lists_of_them():
    first, second = layers.Linear(3, 2), layers.Linear(2)  # the second is lazy
    scale, shift = Parameter(np.ones(2, np.float32)), Variable(np.ones(2, np.float32))
    optimizer = optim.SGD(
        [
            {"params": [first, scale]},
            {"params": second, "lr": 0.0},
            {"params": shift},
        ]
    )
    assert optimizer.params[:2] == first.parameters() and optimizer.params[-1] is shift
    second(scale * first(np.ones((1, 3), np.float32)) + shift).sum().backward()
    before = [p.data.copy() for p in optimizer.params]
    optimizer.update()
    moved = [not np.array_equal(p.data, b) for p, b in zip(optimizer.params, before, strict=True)]
    assert moved == [True, True, True, False, False, True]
    assert optim.SGD([first, second, scale]).params == [
        *first.parameters(),
        *second.parameters(),
        scale,
    ]
    assert optim.SGD({"params": scale}).params == [scale]
    assert optim.SGD(iter([{"params": iter([scale])}])).params == [scale]


def test_late_frozen_and_tied_parameters_of_groups():
    model = layers.Sequential(layers.Linear(2, 2), layers.Linear(2, 2))
    tied = model[0].w
    optimizer = optim.Momentum([{"params": model[0]}, {"params": model[1], "momentum": 0.0}])
    model[0].b.requires_grad = False
    model[0].again = tied
    model[1].late = Parameter(np.ones(2, np.float32))
    for p in optimizer.params:
        p.grad = np.ones_like(p.data)
    frozen = model[0].b.data.copy()
    late = model[1].late.data.copy()
    w = tied.data.copy()
    optimizer.update()
    optimizer.update()
    assert np.array_equal(model[0].b.data, frozen)
    np.testing.assert_allclose(model[1].late.data, late - 2 * 0.01, rtol=1e-6)
    np.testing.assert_allclose(tied.data, w - 0.01 - 0.019, rtol=1e-5)
    model[1].stolen = tied
    with pytest.raises(ValueError, match=r"Momentum: groups\[1\]: .* is in groups\[0\] too"):
        optimizer.update()


def test_a_parameter_that_changes_its_group_keeps_its_state():
    one, two = layers.Sequential(layers.Linear(2, 2)), layers.Sequential(layers.Linear(2, 2))
    optimizer = optim.Momentum([{"params": one}, {"params": two, "lr": 0.0}], lr=0.1)
    moving = Parameter(np.zeros(1, np.float32))
    one.p = moving
    moving.grad = np.ones(1, np.float32)
    optimizer.update()
    two.p = moving
    del one.p
    optimizer.update()  # v is 0.9 * -0.1 now
    np.testing.assert_allclose(moving.data, [-0.1 - 0.09], rtol=1e-6)


def test_groups_are_shown_and_only_read():
    p, q = Parameter([1.0]), Parameter([1.0, 2.0])
    optimizer = optim.AdamW(
        [{"params": p}, {"params": q, "weight_decay": 0.0, "lr": schedules.cosine(1.0, 5)}]
    )
    assert repr(optimizer).endswith(
        "weight_decay=0.01; groups: [(parameters: 1), (weight_decay=0.0, lr=cosine, parameters: 1)],"
        " parameters: 2, updates: 0)"
    )
    group = optimizer.groups[1]
    assert group.params == [q] and group.settings["weight_decay"] == 0.0
    with pytest.raises(TypeError):
        group.settings["weight_decay"] = 0.1
    with pytest.raises(AttributeError):
        group.lr = 0.1
    with pytest.raises(AttributeError, match="groups"):
        optimizer.param_groups


P, Q = Parameter([1.0]), Parameter([2.0])


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        (
            [{"params": P}, {"params": P}],
            ValueError,
            r"AdamW: groups\[1\]: .*\(1,\).*groups\[0\] too",
        ),
        ([{"params": [P, Q]}, {"params": [Q]}], ValueError, r"groups\[1\]: .* groups\[0\] too"),
        ([{"params": P, "wd": 0.0}], TypeError, "'wd'"),
        ([{"params": P, "wd": 0.0}], TypeError, "lr, betas, eps, weight_decay"),
        ([{"params": P, "hooks": []}], TypeError, "'hooks'"),
        ([{"params": P, 3: 0.0}], TypeError, "unknown setting 3"),
        ([{"param": P}], ValueError, r"AdamW: groups\[0\]: .*params"),
        ([{}], ValueError, r"groups\[0\]: .*params"),
        ([{"params": P}, {"params": []}], ValueError, r"groups\[1\]: got an empty list"),
        ([], ValueError, "empty"),
        (
            [{"params": P}, Q],
            TypeError,
            r"groups\[1\]: want a dict, as the others, got Variable|Para",
        ),
        ([{"params": None}], TypeError, r"groups\[0\]: want a model"),
        ([{"params": {P, Q}}], TypeError, r"groups\[0\]: want a model or a list"),
        ([{"params": "w"}], TypeError, r"groups\[0\]: want a model or Variables, got str"),
        ([{"params": layers.Linear}], TypeError, "class Linear"),
        ([{"params": [P * 2]}], TypeError, "recorded result"),
        ([{"params": P, "lr": -1}], ValueError, r"groups\[0\]: lr"),
        ([{"params": P, "lr": None}], TypeError, r"groups\[0\]: lr"),
        ([{"params": P, "betas": (0.9, 1)}], ValueError, r"groups\[0\]: betas\[1\]"),
        ([{"params": P, "betas": 0.9}], TypeError, r"groups\[0\]: betas"),
        ([{"params": P, "eps": 0}], ValueError, r"groups\[0\]: eps"),
        ([{"params": P, "weight_decay": -0.1}], ValueError, r"groups\[0\]: weight_decay"),
        ([{"params": P, "weight_decay": np.nan}], ValueError, r"groups\[0\]: weight_decay"),
    ],
)
def test_refused(groups, error, message):
    with pytest.raises(error, match=message):
        optim.AdamW(groups)


def test_a_number_has_no_proportion_to_nothing():
    def rising(t):
        return 0.1 * t

    with pytest.raises(ValueError, match=r"SGD: groups\[0\]: lr: want a schedule"):
        optim.SGD([{"params": P, "lr": 0.1}], lr=rising)
    optim.SGD([{"params": P, "lr": rising}, {"params": Q}], lr=rising)


def test_a_rate_that_is_refused_leaves_all_groups_alone():
    a, b = Parameter([1.0]), Parameter([1.0])
    optimizer = optim.SGD([{"params": a}, {"params": b, "lr": lambda t: -1.0}])
    a.grad = b.grad = np.ones(1)
    with pytest.raises(ValueError, match=r"SGD: groups\[1\]: the schedule's rate"):
        optimizer.update()
    assert a.data == b.data == [1.0] and optimizer.t == 0


def test_a_group_whose_model_has_no_parameters():
    p = Parameter([1.0])
    optimizer = optim.SGD([{"params": p}, {"params": layers.Sequential()}])
    p.grad = np.ones(1)
    with pytest.raises(ValueError, match=r"SGD: groups\[1\]: the model has no parameters"):
        optimizer.update()
    assert p.data == [1.0]


# ---- under a trainer ----------------------------------------------------------------------------

X = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)


def grouped_trainer(**settings):
    model = layers.MLP([4, 1], in_features=3, rng=np.random.default_rng(1))
    groups = [{"params": model[0], "lr": 0.02}, {"params": model[-1], "betas": (0.5, 0.6)}]
    optimizer = optim.Adam(groups, lr=0.1, hooks=[optim.hooks.ClipGrad(0.5)])
    return minidl.Trainer(model, optimizer, F.mean_squared_error, **settings)


def test_compiled_training_is_the_same():
    ends = []
    for compiled in (False, True):
        trainer = grouped_trainer(compile=compiled)
        trainer.fit(X, X[:, :1], epochs=3, batch_size=4, shuffle=False, verbose=0)
        ends.append([p.data for p in trainer.model.parameters()])
    assert all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_search_for_the_rate_moves_all_groups_and_puts_all_back(monkeypatch):
    trainer = grouped_trainer()
    before = [p.data.copy() for p in trainer.model.parameters()]
    seen = []
    apply = optim.Adam.apply

    def spy(self, *args, lr, **settings):
        seen.append(lr)
        apply(self, *args, lr=lr, **settings)

    monkeypatch.setattr(optim.Adam, "apply", spy)
    curve = trainer.find_lr(X, X[:, :1], start=1e-3, end=0.1, steps=5)
    pairs = np.array(seen).reshape(-1, 2)[: len(curve.rates)]
    np.testing.assert_allclose(pairs, np.outer(curve.rates, [0.2, 1.0]), rtol=1e-12)
    assert trainer.optimizer.lr == 0.1 and trainer.optimizer.t == 0
    assert all(
        np.array_equal(p.data, b) for p, b in zip(trainer.model.parameters(), before, strict=True)
    )


def test_other_settings_of_a_group_are_told(tmp_path):
    first = grouped_trainer()
    first.fit(X, X[:, :1], epochs=1, verbose=0)
    first.save(tmp_path / "run.npz")
    other = grouped_trainer()
    groups = [
        {"params": other.model[0], "lr": 0.03},
        {"params": other.model[-1], "betas": (0.5, 0.6)},
    ]
    other.optimizer = optim.Adam(groups, lr=0.1, hooks=[optim.hooks.ClipGrad(0.5)])
    with pytest.warns(
        UserWarning, match=r"optimizer\.groups\.0\.lr: 0\.03 here, 0\.02 when it was"
    ):
        other.fit(X, X[:, :1], epochs=2, verbose=0, resume=tmp_path / "run.npz")


class Restless:
    """A schedule that remembers its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, t):
        self.calls += 1
        return 0.1 / self.calls


def test_a_schedule_of_a_group_with_a_state_goes_on(tmp_path):
    def make():
        model = layers.Linear(3, 1, rng=np.random.default_rng(1))
        groups = [{"params": model.w, "lr": Restless()}, {"params": model.b}]
        return minidl.Trainer(model, optim.SGD(groups), F.mean_squared_error)

    whole, cut, again = make(), make(), make()
    settings = {"batch_size": 4, "shuffle": False, "verbose": 0}
    whole.fit(X, X[:, :1], epochs=2, **settings)
    cut.fit(X, X[:, :1], epochs=2, max_steps=4, **settings)
    cut.save(tmp_path / "run.npz")
    again.fit(X, X[:, :1], epochs=2, resume=tmp_path / "run.npz", **settings)
    assert np.array_equal(whole.model.w.data, again.model.w.data)
