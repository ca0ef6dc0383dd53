"""BLAS threads: chosen by the size of products, restored, and the user's own number left alone."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import minidl
from minidl import Trainer, callbacks, layers, optim
from minidl import functions as F
from minidl.common import threads
from minidl.common.threads import LARGE_PRODUCT, threads_for


class Library:
    """What threadpoolctl gives for a BLAS library."""

    def __init__(self, number):
        self.num_threads = number

    def set_num_threads(self, number):
        self.num_threads = number


@pytest.fixture
def blas(monkeypatch):
    """A BLAS with 4 threads on a machine of 4 cores, about which nobody has said anything."""
    library = Library(4)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_choice", threads._Choice())
    monkeypatch.setattr(threads, "_blas_libraries", lambda: [library])
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    return library


def test_one_thread_for_small_products_and_the_usual_for_large(blas):
    with threads_for(LARGE_PRODUCT - 1):
        assert blas.num_threads == 1
        with threads_for(LARGE_PRODUCT):
            assert blas.num_threads == 1
    assert blas.num_threads == 4
    with threads_for(LARGE_PRODUCT):
        assert blas.num_threads == 4
    with pytest.raises(KeyError), threads_for(1):
        raise KeyError
    assert blas.num_threads == 4


def test_overlapping_choices_are_restored_by_the_last(blas):
    first, second = threads_for(1), threads_for(1)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert blas.num_threads == 1
    second.__exit__(None, None, None)
    assert blas.num_threads == 4


@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_number_of_the_environment_is_left_alone(blas, monkeypatch, name):
    monkeypatch.setenv(name, "4")
    with threads_for(1):
        assert blas.num_threads == 4


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_a_number_that_others_have_set_is_left_alone(blas, number):
    blas.num_threads = number
    with threads_for(1):
        assert blas.num_threads == number
    assert blas.num_threads == number


def test_a_number_that_others_set_meanwhile_stays(blas):
    with threads_for(1):
        blas.num_threads = 3
    assert blas.num_threads == 3


def test_set_num_threads_holds_from_now_on(blas):
    with threads_for(1):
        minidl.set_num_threads(4)
        assert blas.num_threads == 4
    assert blas.num_threads == 4
    with threads_for(1):
        assert blas.num_threads == 4
    minidl.set_num_threads(2)
    assert blas.num_threads == threads.elementwise_threads() == 2
    minidl.set_num_threads(100)
    assert blas.num_threads == 4
    for wrong in (0, -1, True, 1.5, "2", None):
        with pytest.raises(ValueError, match="set_num_threads: want a positive integer"):
            minidl.set_num_threads(wrong)


def test_a_share_of_the_cores_is_the_usual_number(blas):
    threads.set_usual_threads(2)
    with threads_for(1):
        assert blas.num_threads == 1
    assert blas.num_threads == 2


class Seen(callbacks.Callback):
    """Notes the number of threads at every batch."""

    def __init__(self, library):
        self.library, self.numbers = library, []

    def on_batch_begin(self, batch):
        self.numbers.append(self.library.num_threads)


def trainer(model, seen):
    return Trainer(model, optim.SGD(model), F.mean_squared_error, callbacks=[seen])


X, T = np.ones((64, 2), np.float32), np.ones((64, 1), np.float32)


def test_a_fit_of_a_small_model_has_one_thread(blas):
    small = trainer(layers.MLP([8, 1]), seen := Seen(blas))
    small.fit(X, T, epochs=2, verbose=0, validation=(X, T))
    assert seen.numbers == [1] * 4
    assert blas.num_threads == 4
    small.evaluate(X, T)
    small.predict(X)
    small.find_lr(X, T, steps=3)
    assert blas.num_threads == 4


@pytest.mark.parametrize("features", [2, None])
def test_a_fit_of_a_large_model_has_all(blas, features, monkeypatch):
    monkeypatch.setattr("minidl.training.threads.LARGE_PRODUCT", 2**25)  # which takes no minute
    model = layers.MLP([2**15, 32, 1], in_features=features)
    large = trainer(model, seen := Seen(blas))
    large.fit(X, T, epochs=2, verbose=0, batch_size=32)
    first = 4 if features else 1  # an update on one thread gives the weights their shape
    assert seen.numbers == [first, 4, 4, 4]
    assert blas.num_threads == 4


def test_a_fit_that_fails_restores_the_number(blas):
    class Fails(callbacks.Callback):
        def on_batch_end(self, batch, logs):
            raise KeyError

    failing = trainer(layers.MLP([8, 1]), Seen(blas))
    failing.callbacks.append(Fails())
    with pytest.raises(KeyError):
        failing.fit(X, T, epochs=1, verbose=0)
    assert blas.num_threads == 4


def test_fits_in_threads_restore_the_number(blas):
    barrier = threading.Barrier(3)

    class Waits(Seen):
        def on_train_begin(self):
            barrier.wait()

    seen = [Waits(blas) for _ in range(3)]
    fits = [trainer(layers.MLP([8, 1]), each) for each in seen]
    workers = [
        threading.Thread(target=fit.fit, args=(X, T), kwargs={"epochs": 3 + i, "verbose": 0})
        for i, fit in enumerate(fits)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {n for each in seen for n in each.numbers} == {1}
    assert blas.num_threads == 4


def test_the_real_library_follows():
    """In a process of its own, as the tests' own number may be set by the environment."""
    program = """
import minidl, sys
assert "threadpoolctl" not in sys.modules
from minidl.common import threads
usual = threads.blas_threads()
with threads.threads_for(1):
    inside = threads.blas_threads()
print(usual, inside, threads.blas_threads())
"""
    environment = {k: v for k, v in os.environ.items() if k not in threads.VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert not done.stderr
    usual, inside, after = done.stdout.split()
    if usual == "None":
        pytest.skip("threadpoolctl does not know this BLAS")
    assert (inside, after) == ("1", usual)


def test_without_threadpoolctl_nothing_is_chosen(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    threads._blas_libraries.cache_clear()
    try:
        assert threads.blas_threads() is None
        with threads_for(1):
            pass
    finally:
        threads._blas_libraries.cache_clear()


def test_the_library_of_numpy_comes_first(monkeypatch):
    found = [SimpleNamespace(filepath=name) for name in ("/scipy.libs/b.so", "/numpy.libs/b.so")]
    controller = SimpleNamespace(select=lambda user_api: SimpleNamespace(lib_controllers=found))
    fake = SimpleNamespace(ThreadpoolController=lambda: controller)
    monkeypatch.setitem(sys.modules, "threadpoolctl", fake)
    threads._blas_libraries.cache_clear()
    try:
        assert threads._blas_libraries() == found[::-1]
    finally:
        threads._blas_libraries.cache_clear()
