"""The modes: nesting, decorators, threads and tasks; and what anomaly detection catches.

What layers do in test mode is tested with the layers.
"""

import asyncio
import threading

import numpy as np
import pytest

import minidl
from minidl import Variable, detect_anomaly, no_grad
from minidl import functions as F
from minidl import test_mode as testing


def recording():
    return (Variable(1.0) * 2).requires_grad


def dropping():
    return float(np.asarray(F.dropout(np.ones(1000), 0.5)).min()) == 0.0


def test_nesting():
    with no_grad():
        assert not recording() and dropping()
        with testing():
            assert not recording() and not dropping()
            with no_grad():
                assert not recording()
            assert not recording()
        assert dropping()
    assert recording()
    switch = no_grad()
    with switch, switch:
        assert not recording()
    assert recording()


def test_left_by_an_exception():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert recording()


def test_decorators():
    @no_grad()
    def quiet(depth=0):
        """Doc."""
        return recording() if depth == 3 else quiet(depth + 1)

    assert not quiet() and quiet.__name__ == "quiet" and quiet.__doc__ == "Doc." and recording()

    @testing()
    async def later():
        await asyncio.sleep(0)
        return dropping()

    assert asyncio.run(later()) is False and dropping()
    with pytest.raises(TypeError, match="generator"):

        @no_grad()
        def items():
            yield 1


def test_threads_have_modes_of_their_own():
    inside, seen = threading.Barrier(2, timeout=10), {}

    def other():
        inside.wait()
        seen["other"] = recording()
        inside.wait()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.wait()
        inside.wait()
        seen["here"] = recording()
    thread.join()
    assert seen == {"other": True, "here": False}


def test_tasks_have_modes_of_their_own():
    async def quiet(started, looked):
        with no_grad():
            started.set()
            await looked.wait()
            return recording()

    async def loud(started, looked):
        await started.wait()
        result = recording()
        looked.set()
        return result

    async def both():
        started, looked = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(quiet(started, looked), loud(started, looked))

    assert asyncio.run(both()) == [False, True]


def test_anomaly_names_the_function_and_the_line():
    x = Variable([-1.0, 1.0])
    with detect_anomaly(), np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match=r"log .*test_modes\.py:\d+"):
            np.log(x)
        y = F.sqrt(abs(x * 0.0))
        with pytest.raises(FloatingPointError, match=r"derivative of sqrt .*test_modes\.py:\d+"):
            y.sum().backward()
    assert x.grad is None


def test_anomaly_lets_masks_pass():
    x = Variable([1.0, 2.0])
    with detect_anomaly():
        y = F.softmax(F.mask_fill(x, np.array([True, False]), -np.inf))
        y.sum().backward()
    assert y.data.tolist() == [0.0, 1.0]


def test_anomaly_catches_arrays_changed_by_hand():
    """Without the mode this gives 2 * 5 * 3, a mixture of old and new values."""
    x, data = Variable([2.0]), np.array([3.0])
    for change in (data, x.data):
        with detect_anomaly():
            y = (x * x * data).sum()
            change += 2
            with pytest.raises(RuntimeError, match=r"multiply.*test_modes\.py:\d+.*in place"):
                y.backward()
        assert x.grad is None


def test_anomaly_agrees_when_all_is_well():
    x = np.array([[0.3, 0.7]])
    with detect_anomaly():
        assert minidl.gradcheck(lambda x: F.softmax(x)[:, 0], x)
        a, b = np.split(Variable(x[0]), 2)
        (a * b).backward()
