"""The modes: nesting, decorators, threads and tasks; and what anomaly detection catches.

What layers do in test mode is tested with the layers.
"""

import asyncio
import contextlib
import gc
import itertools
import signal
import sys
import threading

import numpy as np
import pytest

import minidl
from minidl import Variable, detect_anomaly, no_grad
from minidl import functions as F
from minidl import test_mode as testing
from minidl.autograd import modes


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


# ---- leaving, whoever leaves and whatever interrupts --------------------------------------------------------------


def clean():
    """Whether no mode is on."""
    return recording() and dropping() and modes.MODE.get().blocks == ()


def test_a_generator_keeps_its_modes_to_itself():
    def items():
        for _ in range(2):
            with no_grad(), detect_anomaly():
                assert not recording()
                yield
                assert not recording()
        assert recording()

    for _ in items():
        assert clean.__call__ and recording() and not modes.current().anomaly
        with testing():
            assert recording() and not dropping()
    assert clean()


def test_a_generator_does_not_cancel_its_consumers_modes():
    def items(outer):
        with no_grad():
            yield 1
            assert not recording() and dropping() is not outer
            yield 2

    for outer in (True, False):
        with testing() if outer else contextlib.nullcontext():
            for _ in items(outer):
                assert recording() and dropping() is not outer
            rest = items(outer)
            next(rest)
        assert clean.__call__() is False or not outer  # `rest` sleeps inside its block
        assert recording() and dropping()
        rest.close()
        assert clean()


def test_a_generator_that_is_dropped_or_left_early_leaves_nothing():
    def items():
        with no_grad(), testing():
            yield from inner()

    def inner():
        with detect_anomaly():
            yield 1
            yield 2

    for _ in items():
        break
    gc.collect()
    assert clean()
    with testing(), contextlib.suppress(KeyError):
        for _ in items():
            assert recording() and not modes.current().anomaly and not dropping()
            raise KeyError
    gc.collect()
    assert clean()


def test_one_switch_shared_with_a_generator():
    quiet = no_grad()

    def items():
        with quiet:
            yield 1
            yield 2

    with quiet:
        rest = items()
        next(rest)
        assert not recording()
    assert recording()
    next(rest)
    assert recording()
    with quiet:
        rest.close()
        assert not recording()
    assert clean()


def test_context_managers_written_as_generators_act_on_their_block():
    @contextlib.contextmanager
    def evaluating():
        with no_grad(), testing():
            yield

    @contextlib.contextmanager
    def wrapped():
        with evaluating():
            yield

    with wrapped():
        assert not recording() and not dropping()
    assert clean()

    @contextlib.asynccontextmanager
    async def later():
        with no_grad():
            yield

    async def main():
        async with later():
            await asyncio.sleep(0)
            assert not recording()
        return recording()

    assert asyncio.run(main()) and clean()


@pytest.fixture
def quietly():
    with no_grad():
        yield


@pytest.mark.usefixtures("quietly")
def test_a_fixture_acts_on_its_test():
    assert not recording()


def test_an_exit_stack():
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_grad())
        stack.enter_context(testing())
        assert not recording() and not dropping()
        later = stack.pop_all()
    assert not recording()
    later.close()
    assert clean()

    def items():
        with contextlib.ExitStack() as stack:
            stack.enter_context(no_grad())
            yield recording()

    for inside in items():
        assert recording() and not inside
    assert clean()


def test_left_in_another_order_than_entered():
    for order in itertools.permutations(range(3)):
        switches = [no_grad(), testing(), detect_anomaly()]
        for switch in switches:
            switch.__enter__()
        on = {0, 1, 2}
        for i in order:
            switches[i].__exit__(None, None, None)
            on.discard(i)
            mode = modes.current()
            assert (not mode.recording, mode.testing, mode.anomaly) == tuple(
                i in on for i in range(3)
            )
        assert clean()
        no_grad().__exit__(None, None, None)  # one that was never entered
        assert clean()


def test_an_async_generator_keeps_its_modes_to_itself():
    async def items():
        with no_grad():
            await asyncio.sleep(0)
            yield recording()
            yield recording()

    async def main():
        async for inside in items():
            await asyncio.sleep(0)
            assert recording() and not inside

    asyncio.run(main())
    assert clean()


def block(switches):
    with switches[0], switches[1]:
        return recording()


def generator_block(switches):
    def items():
        with switches[0], switches[1]:
            yield recording()

    return list(items())


@pytest.mark.parametrize("use", [block, generator_block])
def test_an_interrupt_at_any_moment_leaves_nothing_on(use):
    """KeyboardInterrupt at each event of entering, running and leaving; the first moment of a call included."""
    moments = 0
    for moment in itertools.count():
        left = moment

        def interrupt(frame, event, argument):
            nonlocal left
            if frame.f_code.co_filename != modes.__file__:
                return interrupt if frame.f_code.co_filename == __file__ else None
            if left == 0:
                left -= 1
                raise KeyboardInterrupt
            left -= 1
            return interrupt

        previous = sys.gettrace()
        try:
            sys.settrace(interrupt)
            use([no_grad(), testing()])
        except KeyboardInterrupt:
            moments += 1
        finally:
            sys.settrace(previous)
        assert clean(), moment
        if left >= 0:
            break
    assert moments > 20


def test_signals_leave_nothing_on():
    """The real thing: a timer interrupts loops of blocks at random moments."""
    if (
        not hasattr(signal, "setitimer")
        or threading.current_thread() is not threading.main_thread()
    ):
        pytest.skip("no timer here")

    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + 1e-6 * i)
                while True:
                    with no_grad(), testing():
                        pass
            except KeyboardInterrupt:
                pass
            assert clean(), i
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# ---- anomalies that are none, and whose they are -----------------------------------------------------------------


def test_given_infinities_pass():
    x = Variable([1.0, 2.0])
    mask = np.array([0.0, -np.inf])
    with detect_anomaly():
        for masked in (x + mask, x + Variable(mask), np.where(mask < 0, mask, x), x * 1.0 + mask):
            F.softmax(masked).sum().backward()
        np.maximum(x, -np.inf).sum().backward()
        assert (x - np.inf).data.tolist() == [-np.inf, -np.inf]


def test_a_nan_is_its_own_functions():
    x = Variable([0.0, 2.0])
    mask = np.array([-np.inf, 0.0])
    with detect_anomaly(), np.errstate(all="ignore"):
        masked = x + mask
        with pytest.raises(
            FloatingPointError, match=r"^subtract gave a NaN at .*test_modes\.py:\d+"
        ):
            masked - masked
        with pytest.raises(FloatingPointError, match=r"^multiply gave a NaN"):
            masked * x
        with pytest.raises(FloatingPointError, match=r"^log gave an infinity"):
            np.log(x)
        with pytest.raises(FloatingPointError, match=r"^add was given a NaN"):
            x + np.array([np.nan, 1.0])
        with pytest.raises(FloatingPointError, match=r"derivative of sqrt .* gave an infinity"):
            np.sqrt(x).sum().backward()
    assert x.grad is None


@pytest.mark.parametrize("mode", [minidl.no_grad, minidl.test_mode, minidl.detect_anomaly])
def test_a_decorator_without_parentheses_is_refused_in_words(mode):
    with pytest.raises(TypeError, match=rf"as a decorator it is `@{mode.__name__}\(\)`"):

        @mode
        def f():
            return 1
