"""F.scan in a program: one step whatever the length, and every bit as the loop gives it."""

import gc
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Parameter, optim
from minidl import functions as F
from minidl.compiler.scan import ScanStep


class Case:
    """A loss with a scan in it, its parameters and its argument."""

    def __init__(self, n: int, dtype: Any) -> None:
        rng = np.random.default_rng(n)

        def array(*shape: int) -> Any:
            return (0.5 * rng.standard_normal(shape)).astype(dtype)

        self.n = n
        self.w = Parameter(array(4, 4))
        self.u = Parameter(array(4, 4))
        self.b = Parameter(array(4))
        self.h0 = Parameter(array(2, 4))
        self.x = Parameter(array(n, 2, 4))
        self.zeros = np.zeros((2, 4), dtype)

    @property
    def params(self) -> list[Any]:
        return [self.w, self.u, self.b, self.h0, self.x]

    def cell(self, h: Any, x: Any) -> Any:
        return np.tanh(x @ self.w + h @ self.u + self.b)

    # ---- losses that become one step ---------------------------------------------------------

    def last_state(self, x: Any) -> Any:
        h, _ = F.scan(lambda h, x: (self.cell(h, x), None), self.zeros, x)
        return (h * h).sum()

    def outputs_are_states(self, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = self.cell(h, x)
            return h, h

        h, ys = F.scan(step, self.h0, x)
        return (ys * ys).sum() + (h**3).sum()

    def captured_is_used_elsewhere(self, x: Any) -> Any:
        _, ys = F.scan(lambda h, x: (self.cell(h, x), h * x), np.tanh(self.h0), x)
        decay = (self.w**2).sum() + (self.u**2).sum() + (self.h0**2).sum()
        return (ys * ys).sum() + 0.1 * decay + (x.sum(0) @ self.w).sum()

    def trees(self, x: Any) -> Any:
        def step(s: Any, x: Any) -> Any:
            c = s["c"] * F.sigmoid(x[0] @ self.w) + np.tanh(s["h"] @ self.u)
            h = np.tanh(c) * x[1]
            return {"h": h, "c": c}, (h, [None, c * 2])

        s, ys = F.scan(step, {"h": self.zeros, "c": self.h0}, (x, x * 3))
        return (s["c"] * s["h"]).sum() + (ys[0] * ys[1][1]).sum()

    def gru(self, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            r = F.sigmoid(x @ self.w + h @ self.u)
            z = F.sigmoid(h @ self.w + self.b)
            n = np.tanh(x + r * (h @ self.u))
            h = n + z * (h - n)
            return h, h

        return (F.scan(step, self.zeros, x)[1] ** 2).sum()

    def runge_kutta(self, x: Any) -> Any:
        def slope(y: Any) -> Any:
            return F.linear(np.tanh(F.linear(y, self.w, self.b)), self.u)

        def step(y: Any, dt: Any) -> Any:
            a = slope(y)
            b = slope(y + dt / 2 * a)
            c = slope(y + dt / 2 * b)
            return y + dt / 6 * (a + 2 * b + 2 * c + slope(y + dt * c)), None

        times = np.linspace(0.1, 0.2, self.n).astype(self.zeros.dtype)
        return (F.scan(step, self.h0, times)[0] ** 2).sum() + x.sum()

    def nested(self, x: Any) -> Any:
        def inner(h: Any, x: Any) -> Any:
            h = np.tanh(h * self.b + x @ self.w)
            return h, h

        def outer(h: Any, x: Any) -> Any:
            rows = np.stack([x, x * 2, x + h])
            h, ys = F.scan(inner, h, rows)
            return h * 0.5, ys.mean()

        h, ys = F.scan(outer, self.zeros, x)
        return (h * h).sum() + (ys * ys).sum()

    def shift_register(self, x: Any) -> Any:
        def step(s: Any, x: Any) -> Any:
            a, b = s
            return (self.cell(b, x), a), None

        (a, b), _ = F.scan(step, (self.zeros, self.zeros), x)
        return (a * b).sum() + a.sum()

    def earlier_slices(self, x: Any) -> Any:
        def step(s: Any, x: Any) -> Any:
            h = self.cell(s[0], x) + s[1]
            return (h, x), h

        (h, before), ys = F.scan(step, (self.zeros, self.zeros), x)
        return (h * before).sum() + (ys * ys).sum()

    def attention(self, x: Any) -> Any:
        def step(h: Any, row: Any) -> Any:
            a = F.softmax((x * h).sum(-1), axis=0)
            h = np.tanh(h @ self.u + row + (a[..., None] * x).sum(0))
            return h, h.mean()

        h, ys = F.scan(step, self.zeros, x)
        return (ys * ys).sum() + h.sum()

    def dropout(self, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = F.dropout(self.cell(h, x), 0.3)
            return h, h

        return (F.scan(step, self.zeros, x)[1] ** 2).sum()

    def scans_in_a_row(self, x: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = self.cell(h, x)
            return h, h

        h, ys = F.scan(step, self.zeros, x)
        return (F.scan(step, h, ys)[1] ** 2).sum()

    def state_before(self, x: Any) -> Any:
        _, ys = F.scan(lambda h, x: (self.cell(h, x), h), self.h0, x)
        return (ys * ys).sum()

    # ---- and those that do not ---------------------------------------------------------------

    def counted(self, x: Any) -> Any:
        turns = []

        def step(h: Any, x: Any) -> Any:
            turns.append(1)
            return self.cell(h, x) * len(turns), None

        return (F.scan(step, self.zeros, x)[0] ** 2).sum()

    def leaking(self, x: Any) -> Any:
        seen = []

        def step(h: Any, x: Any) -> Any:
            seen.append(self.cell(h, x))
            return seen[-1], None

        return (F.scan(step, self.zeros, x)[0] ** 2).sum() + (seen[0] ** 3).sum()

    def carried_weights(self, x: Any) -> Any:
        def step(s: Any, x: Any) -> Any:
            return (np.tanh(s[0] @ s[1] + x), s[1]), None

        return (F.scan(step, (self.h0, self.u), x)[0][0] ** 2).sum()

    def weights_given_out(self, x: Any) -> Any:
        """The gradient of what a turn gives on reaches the weights themselves."""
        h, ys = F.scan(lambda h, x: (self.cell(h, x), self.u), self.h0, x)
        return (h * h).sum() + (ys[1:] * self.u).sum()


LOOPS = [
    Case.last_state, Case.outputs_are_states, Case.captured_is_used_elsewhere, Case.trees, Case.gru,
    Case.runge_kutta, Case.nested, Case.shift_register, Case.earlier_slices, Case.attention,
    Case.dropout, Case.scans_in_a_row, Case.state_before,
]  # fmt: skip
UNROLLED = [Case.counted, Case.leaking, Case.carried_weights, Case.weights_given_out]


def bits(f: Callable[[Any], Any], case: Case) -> list[Any]:
    """The loss and all gradients, with how they lie in memory."""
    minidl.seed(7)
    for p in case.params:
        p.cleargrad()
    y = f(case.x)
    y.backward()
    grads = [None if p.grad is None else p.grad.data for p in case.params]
    return [y.data.tobytes(), *[g if g is None else (g.tobytes(), g.strides) for g in grads]]


def scans(f: Any) -> list[ScanStep]:
    return [step for step in f.programs[0].program.steps if isinstance(step, ScanStep)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOOPS, ids=lambda loss: loss.__name__)
def test_every_bit_of_the_loop(loss: Any, dtype: Any) -> None:
    for n in (1, 2, 3, 50):
        case = Case(n, dtype)
        eagerly = getattr(case, loss.__name__)
        f = minidl.compile(eagerly, check="never")
        eager = bits(eagerly, case)
        for _ in range(3):
            assert bits(f, case) == eager
        assert n < 3 or scans(f)


@pytest.mark.parametrize("loss", UNROLLED, ids=lambda loss: loss.__name__)
def test_turns_that_are_no_one_program(loss: Any) -> None:
    case = Case(4, np.float32)
    f = minidl.compile(lambda x: loss(case, x), check="never")
    eager = bits(lambda x: loss(case, x), case)
    for _ in range(3):
        assert bits(f, case) == eager
    assert not scans(f)


def test_programs_do_not_grow_with_the_length() -> None:
    sizes = set()
    for n in (5, 50):
        case = Case(n, np.float32)
        f = minidl.compile(case.runge_kutta)
        f(case.x)
        forward, backward = scans(f)
        assert forward.loop.count == n and backward.backward is not None
        sizes.add(len(str(f.programs[0].program).splitlines()))
    assert len(sizes) == 1


def test_a_program_shows_the_body() -> None:
    case = Case(5, np.float32)
    f = minidl.compile(case.last_state)
    text = str(f.program(case.x))
    forward, backward = text.split("backward of")
    assert "5 times" in forward and "tanh" in forward and "d_scan" in backward


def test_numbers_as_state() -> None:
    a = Parameter(np.float64(0.9))

    def total(xs: Any) -> Any:
        s, ys = F.scan(lambda s, x: (a * s + x, s * x), 0.0, xs)
        return s * ys.sum()

    xs = np.random.default_rng(0).standard_normal(9)
    f = minidl.compile(total, check="raise")
    for _ in range(3):
        a.cleargrad()
        y = f(xs)
        y.backward()
        assert a.grad is not None
        found = y.item(), a.grad.item()
        a.cleargrad()
        y = total(xs)
        y.backward()
        assert found == (y.item(), a.grad.item())
    assert scans(f)[0].loop.count == 8  # the first turn stands apart, as it begins with a number


def test_whole_steps() -> None:
    def train(compiled: bool) -> list[Any]:
        case = Case(6, np.float32)
        optimizer = optim.Adam(case.params[:4], lr=0.01)

        def step(x: Any) -> Any:
            optimizer.cleargrads()
            loss = case.captured_is_used_elsewhere(x) + case.dropout(x)
            loss.backward()
            optimizer.update()
            return loss

        f = minidl.compile(step, check="raise") if compiled else step
        minidl.seed(0)
        losses = [f(case.x.data * k).item() for k in range(1, 8)]
        assert not compiled or len(scans(f)) == 4
        return [*losses, *[p.data.tolist() for p in case.params]]

    assert train(True) == train(False)


def test_gradients_inside() -> None:
    def loss(x: Any) -> Any:
        return (F.scan(lambda h, x: (np.tanh(h * x), h * x), np.ones(3), x)[1] ** 2).sum()

    x = np.random.default_rng(0).standard_normal((5, 3))
    f = minidl.compile(minidl.grad(loss), check="raise")
    for k in (1, 2, 3):
        np.testing.assert_array_equal(f(k * x), minidl.grad(loss)(k * x))
    assert scans(f)


def test_second_derivatives() -> None:
    case = Case(5, np.float64)

    def gradient(f: Any) -> Any:
        y = f(case.x)
        (g,) = minidl.gradients(y, [case.u], create_graph=True)
        return minidl.gradients((g * g).sum(), [case.u, case.w])

    f = minidl.compile(case.last_state, check="never")
    want = gradient(case.last_state)
    for _ in range(3):
        for g, w in zip(gradient(f), want, strict=True):
            np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=1e-12)


def test_a_second_derivative_inside_is_unrolled() -> None:
    def loss(x: Any) -> Any:
        return F.scan(lambda h, x: (np.sin(h * x), None), np.ones(3), x)[0].sum()

    x = np.random.default_rng(0).standard_normal((4, 3))
    v = np.ones((4, 3))
    f = minidl.compile(lambda x: minidl.hvp(loss)(x, v), check="never")
    for k in (1, 2, 3):
        np.testing.assert_array_equal(f(k * x), minidl.hvp(loss)(k * x, v))


def test_functions_of_arrays() -> None:
    def moving(xs: Any) -> Any:
        return F.scan(lambda m, x: (0.9 * m + 0.1 * x, m), np.zeros(3), xs)

    xs = np.random.default_rng(0).standard_normal((8, 3))
    f = minidl.compile(moving, check="raise")
    for k in (1, 2, 3):
        for found, want in zip(f(k * xs), moving(k * xs), strict=True):
            assert type(found) is type(want)
            np.testing.assert_array_equal(found, want)
    assert scans(f)


def test_what_is_read_in_a_turn_sends_the_function_on_eagerly() -> None:
    def until(x: Any) -> Any:
        return F.scan(lambda h, x: (h + x if h < 2 else h, None), 0.0, x)[0]

    f = minidl.compile(until)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert f(np.ones(5)) == 2.0
    assert f.status().startswith("eager")


def test_an_error_in_a_turn_is_the_eager_one() -> None:
    def step(h: Any, x: Any) -> Any:
        raise ValueError("no")

    f = minidl.compile(lambda x: F.scan(step, np.ones(2), x)[0])
    with pytest.raises(ValueError, match="no"):
        f(np.ones((3, 2)))


def test_turns_that_are_not_noted_are_checked_by_what_they_give() -> None:
    case = Case(60, np.float32)

    def late(x: Any) -> Any:
        turns = []

        def step(h: Any, x: Any) -> Any:
            turns.append(1)
            return case.cell(h, x) * (2 if len(turns) > 50 else 1), h * x

        h, ys = F.scan(step, case.zeros, x)
        return (h * h).sum() + ys.mean()

    f = minidl.compile(late, check="never")
    eager = bits(late, case)
    for _ in range(3):
        assert bits(f, case) == eager
    assert not scans(f)


def test_a_late_difference_in_a_whole_step() -> None:
    def train(compiled: bool) -> list[Any]:
        case = Case(60, np.float32)
        optimizer = optim.SGD(case.params[:4], lr=0.01)

        def step(x: Any) -> Any:
            turns = []

            def turn(h: Any, x: Any) -> Any:
                turns.append(1)
                return case.cell(h, x) * (2 if len(turns) > 50 else 1), None

            optimizer.cleargrads()
            loss = (F.scan(turn, case.zeros, x)[0] ** 2).sum()
            loss.backward()
            optimizer.update()
            return loss

        f = minidl.compile(step, check="never") if compiled else step
        return [f(case.x.data * k).item() for k in (1, 2, 3, 4)]

    assert train(True) == train(False)


def test_a_forward_alone_keeps_its_buffers() -> None:
    case = Case(40, np.float32)
    f = minidl.compile(case.runge_kutta, check="never")
    with minidl.no_grad():
        want = case.runge_kutta(case.x).item()
        assert [f(case.x).item() for _ in range(4)] == [want] * 4
    (step,) = [step for step in f.programs[0].program.steps if isinstance(step, ScanStep)]
    assert len(step.loop.sweep.pool) == 1


def test_numbers_that_change_from_call_to_call() -> None:
    case = Case(40, np.float32)

    def loss(x: Any, dt: float) -> Any:
        h, _ = F.scan(lambda h, x: (h + dt / 2 * case.cell(h, x), None), case.zeros, x)
        return (h * h).sum()

    f = minidl.compile(loss, check="raise")
    for k in range(1, 6):
        assert f(case.x, 0.1 * k).item() == loss(case.x, 0.1 * k).item()
    assert "a number" in f.status() and all(
        step.loop.count == 40
        for spec in f.programs
        for step in spec.program.steps
        if isinstance(step, ScanStep)
    )


def test_programs_with_loops_end_without_the_collector() -> None:
    case = Case(40, np.float32)
    f = minidl.compile(case.outputs_are_states)
    bits(f, case)
    loops = [weakref.ref(step.loop) for step in scans(f)]
    gc.collect()
    gc.disable()
    try:
        del f
        assert loops and not any(loop() for loop in loops)
    finally:
        gc.enable()


def test_threads_share_a_loop() -> None:
    case = Case(20, np.float32)
    f = minidl.compile(case.runge_kutta, check="never")
    want = [f(k * case.x).item() for k in range(4)]
    want = [f(k * case.x).item() for k in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: f(i % 4 * case.x).item(), range(40)))
    assert found == want * 10
