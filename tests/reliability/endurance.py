"""What lasts: many threads in different modes, chains of 100,000 functions, memory over 10,000 steps.

Each function gives figures; tests (test_endurance.py) and the script (measure_functions.py) both use them.
"""

import copy
import gc
import hashlib
import pickle
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import minidl
from minidl import Variable, layers, optim
from minidl import functions as F

# ---- threads ------------------------------------------------------------------------------------------------------


def digest(*arrays: Any) -> str:
    found = hashlib.sha256()
    for a in arrays:
        found.update(np.ascontiguousarray(a).tobytes())
    return found.hexdigest()


def net(seed: int, *middle: Any) -> layers.Sequential:
    rng = np.random.default_rng(seed)
    return layers.Sequential(
        layers.Linear(5, 16, rng=rng), np.tanh, *middle, layers.Linear(16, 3, rng=rng)
    )


def batch(seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((12, 5)).astype(np.float32), rng.integers(0, 3, 12)


def training(seed: int, steps: int) -> str:
    """A model with dropout, of its own generator, evaluated now and then under ``test_mode`` and ``no_grad``."""
    model = net(seed, layers.Dropout(0.3, np.random.default_rng(seed)))
    (x, t), optimizer, seen = batch(seed), optim.Adam(model, lr=0.01), []
    for step in range(steps):
        model.cleargrads()
        F.cross_entropy(model(x), t).backward()
        optimizer.update()
        if step % 5 == 0:
            with minidl.test_mode(), minidl.no_grad():
                y = model(x)
                assert not y.requires_grad
                seen.append(y.data.copy())
    return digest(*seen, *(p.data for p in model.parameters()))


def recurrent(seed: int, steps: int) -> str:
    rng = np.random.default_rng(seed)
    cell, x = layers.LSTM(3, 6, rng=rng), rng.standard_normal((4, 7, 3)).astype(np.float32)
    optimizer = optim.Momentum(cell, lr=0.01)
    for _ in range(steps):
        cell.cleargrads()
        (cell(x) ** 2).mean().backward()
        optimizer.update()
    return digest(*(p.data for p in cell.parameters()))


def recording_off(seed: int, steps: int) -> str:
    x, seen = Variable(np.linspace(-1, 1, 7) + seed % 5), []
    for _ in range(steps):
        with minidl.no_grad():
            y = np.exp(x) * 2
            assert not y.requires_grad
            seen.append(y.data)
        z = np.exp(x).sum()
        z.backward()
        assert x.grad is not None
        seen.append(x.grad.data.copy())
        x.cleargrad()
    return digest(*seen)


def evaluating(seed: int, steps: int) -> str:
    x, rng, seen = np.ones(50), np.random.default_rng(seed), []
    for _ in range(steps):
        with minidl.test_mode():
            seen.append(F.dropout(x, 0.5, rng=rng))
            assert (seen[-1] == 1).all()
        seen.append(F.dropout(x, 0.5, rng=rng))
    return digest(*seen)


def careful(seed: int, steps: int) -> str:
    """Under ``detect_anomaly``: an error where there is one, in this thread and no other."""
    seen = []
    for step in range(steps):
        x = Variable(np.linspace(0.0 if step % 3 == 0 else 0.5, 1, 5) + 0.0 * seed)
        with minidl.detect_anomaly(), np.errstate(divide="ignore"):
            try:
                np.log(x).sum().backward()
                seen.append(x.grad.data)  # type: ignore[union-attr]  # given just now
            except FloatingPointError:
                seen.append(np.array([step]))
        with np.errstate(divide="ignore"):
            assert not np.isfinite(np.log(Variable(0.0)).data)
    return digest(*seen)


def transforming(seed: int, steps: int) -> str:
    x, seen = np.linspace(-1, 1, 4) + 0.1 * (seed % 5), []

    def f(x: Any) -> Any:
        return (np.sin(x) * x[::-1]).sum()

    for _ in range(steps):
        seen += [np.asarray(minidl.grad(f)(x)), np.asarray(minidl.hessian(f)(x))]
    return digest(*seen)


def compiled(seed: int, steps: int) -> str:
    model = net(seed)
    (x, t), optimizer = batch(seed), optim.SGD(model, lr=0.05)
    loss = minidl.compile(lambda x, t: F.cross_entropy(model(x), t))
    for _ in range(steps):
        model.cleargrads()
        loss(x, t).backward()
        optimizer.update()
    return digest(*(p.data for p in model.parameters()))


WORK: list[Callable[[int, int], str]] = [
    training,
    recurrent,
    recording_off,
    evaluating,
    careful,
    transforming,
    compiled,
    training,
]


def threads(number: int, steps: int, seed: int = 0) -> tuple[int, list[str]]:
    """How many threads ended with the bits they have alone, and what went wrong in the others."""
    jobs = [(WORK[i % len(WORK)], seed + i) for i in range(number)]
    alone = [work(k, steps) for work, k in jobs]
    together: list[Any] = [None] * number
    start, interval = threading.Barrier(number), sys.getswitchinterval()

    def run(i: int) -> None:
        work, k = jobs[i]
        start.wait()
        try:
            together[i] = work(k, steps)
        except BaseException as error:  # shown by whoever asked
            together[i] = f"{type(error).__name__}: {error}"

    sys.setswitchinterval(1e-5)  # as often as it can be
    try:
        workers = [threading.Thread(target=run, args=(i,)) for i in range(number)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    wrong = [
        f"{jobs[i][0].__name__}: {b}" for i, (a, b) in enumerate(zip(alone, together)) if a != b
    ]
    return number - len(wrong), wrong


# ---- chains -------------------------------------------------------------------------------------------------------


def chain(length: int, seed: int = 0) -> tuple[Variable, Variable, float]:
    """x, the end of a chain of as many functions of ``x * x``, and the product of what they multiply by."""
    rng = np.random.default_rng(seed)
    x = Variable(1.5)
    y, slope, made = x * x, 1.0, 1
    for kind, c in zip(
        rng.integers(0, 4, length).tolist(), rng.uniform(-0.01, 0.01, length).tolist()
    ):
        if made >= length:
            break
        if kind == 0:
            y = y + c
        elif kind == 1:
            y, slope = y * (1 + c), slope * (1 + c)
        elif kind == 2:
            y, slope = -y, -slope
        else:  # two ways that meet again
            y, made = y * 0.25 + y * 0.75, made + 2
        made += 1
    return x, y, slope


def chain_figures(length: int, seed: int = 0) -> dict[str, str]:
    """What is done with a chain of functions, and what comes of it."""
    found: dict[str, str] = {}

    def do(what: str, work: Callable[[], str]) -> None:
        begin = time.perf_counter()
        try:
            found[what] = f"{work()}, {time.perf_counter() - begin:.1f} s"
        except RecursionError:
            found[what] = "RECURSION ERROR"

    made: list[Any] = []
    do("built", lambda: made.extend(chain(length, seed)) or "done")  # type: ignore[func-returns-value]
    x, y, slope = made

    def differentiated(**how: Any) -> str:
        x.cleargrad()
        y.backward(**how)
        error = abs(float(x.grad.data) / (3 * slope) - 1)
        return "right" if error < 1e-9 else f"WRONG by {error:.1e}"

    def refused(work: Callable[[], Any]) -> str:
        try:
            copied = work()
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, RecursionError):
                raise
            return f"refused ({type(error).__name__}: {error})"
        return "right" if float(copied.data) == float(y.data) else "WRONG"

    do("differentiated", differentiated)
    do("differentiated once more", differentiated)
    do("differentiated with a graph of the gradient", lambda: differentiated(create_graph=True))

    def second() -> str:
        g = x.grad
        x.cleargrad()
        g.backward()
        return "right" if abs(float(x.grad.data) / (2 * slope) - 1) < 1e-9 else "WRONG"

    do("that gradient differentiated", second)
    x.cleargrad()
    do("shown as text", lambda: "done" if repr(y) and str(y) else "")
    do("deep-copied", lambda: refused(lambda: copy.deepcopy(y)))
    do("copied", lambda: refused(lambda: copy.copy(y)))
    do("pickled", lambda: refused(lambda: pickle.loads(pickle.dumps(y))))
    do("unchained", lambda: y.unchain_backward() or "done")  # type: ignore[func-returns-value]
    made.clear()
    x, y, slope = chain(length, seed)

    def freed() -> str:
        nonlocal y
        del y
        return "done"

    do("freed", freed)
    x, y, slope = chain(length, seed)
    do("freed while differentiated", lambda: differentiated(retain_graph=False))
    return found


# ---- memory -------------------------------------------------------------------------------------------------------


def memory_slope(steps: int, *, compile: bool = False, kind: str = "mlp", seed: int = 0) -> float:
    """KB per step by which Python's and NumPy's memory grows over a training, the garbage collector off."""
    rng = np.random.default_rng(seed)
    model: Any
    if kind == "mlp":
        model = net(seed, layers.Dropout(0.1, rng))
        x, t = batch(seed)
        of: Callable[..., Any] = lambda x, t: F.cross_entropy(model(x), t)
    else:
        model = layers.LSTM(3, 6, rng=rng, stateful=kind == "stateful LSTM")
        x, t = rng.standard_normal((4, 7, 3)).astype(np.float32), None
        of = lambda x, t: (model(x) ** 2).mean()
    loss, optimizer = (minidl.compile(of) if compile else of), optim.Adam(model)

    def train(number: int) -> None:
        for _ in range(number):
            model.cleargrads()
            loss(x, t).backward()
            optimizer.update()

    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    tracemalloc.start()
    try:
        train(max(steps // 10, 20))
        points = []
        for part in range(11):
            points.append((part * (steps // 10), tracemalloc.get_traced_memory()[0] / 1024))
            train(steps // 10 if part < 10 else 0)
        where, used = np.transpose(points)
        return float(np.polyfit(where, used, 1)[0])
    finally:
        tracemalloc.stop()
        if enabled:
            gc.enable()
