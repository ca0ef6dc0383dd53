"""Optimizers, groups and schedules against PyTorch, step by step, where it is installed."""

import numpy as np
import pytest

from minidl import Parameter, optim
from minidl.optim import schedules

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(3)
STEPS = 40
# minidl's class and settings; PyTorch's, where they are others.
ROWS = [
    ("SGD", {"lr": 0.1}, None),
    ("Momentum", {"lr": 0.1, "momentum": 0.8}, "SGD"),
    ("Momentum", {"lr": 0.1, "momentum": 0.8, "nesterov": True}, "SGD"),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-4}, None),
    ("AdamW", {"lr": 0.1}, None),
    ("RMSprop", {}, None),
    ("RMSprop", {"lr": 0.02, "alpha": 0.8, "eps": 1e-3}, None),
    ("RMSprop", {"momentum": 0.9}, None),
    ("RMSprop", {"centered": True}, None),
    ("RMSprop", {"momentum": 0.7, "centered": True, "alpha": 0.5}, None),
    ("Adagrad", {}, None),
    ("Adagrad", {"lr": 0.5, "lr_decay": 0.1, "initial_accumulator_value": 0.3}, None),
    ("Adagrad", {"eps": 1e-2}, None),
]


def both(ours, theirs, arrays, schedule=None):
    """Let two optimizers follow the same gradients, and compare them after each step."""
    for step in range(STEPS):
        gradients = [RNG.standard_normal(p.shape) * 10 ** RNG.uniform(-3, 1) for p in arrays]
        for (p, q), g in zip(arrays.items(), gradients, strict=True):
            p.grad = g if step % 5 or p.ndim else None
            q.grad = None if p.grad is None else torch.tensor(g)
        ours.update()
        theirs.step()
        if schedule is not None:
            schedule.step()
        for p, q in arrays.items():
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-12, atol=1e-13)


def new(*shapes):
    values = [RNG.standard_normal(shape) for shape in shapes]
    return {Parameter(v): torch.tensor(v, requires_grad=True) for v in values}


@pytest.mark.parametrize(("name", "settings", "theirs"), ROWS)
def test_trajectory(name, settings, theirs):
    arrays = new((3, 2), (4,), ())
    ours = getattr(optim, name)(list(arrays), **settings)
    other = getattr(torch.optim, theirs or name)(list(arrays.values()), **settings)
    both(ours, other, arrays)


GROUPS = [
    ("SGD", [{}, {"lr": 0.01}]),
    ("Adam", [{"betas": (0.5, 0.9)}, {"eps": 1e-2, "lr": 0.3}]),
    ("AdamW", [{"weight_decay": 0.0}, {"weight_decay": 0.3}]),
    ("RMSprop", [{"centered": True, "momentum": 0.5}, {"alpha": 0.9, "lr": 0.2}]),
    (
        "Adagrad",
        [{"lr_decay": 0.2}, {"lr": 0.2, "eps": 1e-3}],
    ),  # it ignores a group's initial value
]
SCHEDULES = {
    "none": (lambda: 0.1, None),
    "step": (
        lambda: schedules.step(0.1, every=7, factor=0.5),
        lambda o: torch.optim.lr_scheduler.StepLR(o, 7, 0.5),
    ),
    "cosine": (
        lambda: schedules.cosine(0.1, STEPS),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS),
    ),
    "warmup": (
        lambda: schedules.warmup(5, 0.1),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: min(1, (t + 1) / 5)),
    ),
}


@pytest.mark.parametrize("rate", SCHEDULES)
@pytest.mark.parametrize(("name", "settings"), GROUPS)
def test_groups(name, settings, rate):
    arrays = new((3,), (2, 2), ())
    p, q = list(arrays.items()), [slice(0, 1), slice(1, 3)]
    make, make_theirs = SCHEDULES[rate]
    ours, theirs = (
        [{"params": [pair[i] for pair in p[part]], **own} for part, own in zip(q, settings)]
        for i in (0, 1)
    )
    other = getattr(torch.optim, name)(theirs, lr=0.1)
    schedule = make_theirs and make_theirs(other)
    both(getattr(optim, name)(ours, lr=make()), other, arrays, schedule)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7, 10, 33, 1000])
def test_one_cycle(steps):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.3, total_steps=steps, cycle_momentum=False
    )
    ours = schedules.one_cycle(0.3, steps)
    for t in range(steps):
        assert ours(t) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12, abs=0)
        optimizer.step()
        if t < steps - 1:
            theirs.step()
    assert ours(steps) == ours(steps + 1000) == ours(steps - 1)


def test_clip_value():
    arrays = new((5,))
    [(p, q)] = arrays.items()
    g = np.array([3.0, -0.5, 0.1, -7.0, 1.0])
    p.grad, q.grad = g, torch.tensor(g)
    torch.nn.utils.clip_grad_value_([q], 0.7)
    before = p.data.copy()
    optim.SGD([p], lr=1.0, hooks=optim.hooks.ClipValue(0.7)).update()
    np.testing.assert_allclose(before - p.data, q.grad.numpy(), rtol=1e-12)
    assert p.grad.data.tolist() == g.tolist()
