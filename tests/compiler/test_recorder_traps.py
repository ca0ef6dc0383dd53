"""The traps that recorders are known for: tinygrad lists those of its own (test_jit_footguns.py).

There each gives another result than without the recorder, or an error from the second call on. Here
each is as eagerly at every call, compiled where "NumPy" is said, else eager with a warning.
"""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable
from minidl import functions as F
from minidl.compiler.agreement import same

Trap = tuple[Callable[..., Any], Callable[[int], tuple[Any, ...]]]


def trap(make: Callable[[], Trap], expected: str) -> Any:
    return pytest.param(make, expected, id=make.__name__)


def ones(value: float, *shape: int) -> Any:
    return np.full(shape, value, np.float32)


def output_buffer_reuse() -> Trap:
    return (lambda x: x.sum(keepdims=True)), (lambda i: (ones(i, 2),))


def several_results_of_one_intermediate() -> Trap:
    def f(buffer: Any, frame: Any) -> Any:
        new = np.concatenate([buffer[1:], frame])
        return new, new[:1]

    return f, (lambda i: (ones(i, 3, 1), ones(10 + i, 1, 1)))


def tensors_in_containers() -> Trap:
    return (lambda a, rest: a + rest[0]), (lambda i: (ones(1, 3), [ones(i, 3)]))


def one_array_passed_twice() -> Trap:
    def arguments(i: int) -> tuple[Any, ...]:
        x = ones(i, 3)
        return (x, x) if i % 3 else (x, ones(2 * i, 3))

    return (lambda a, b: a * 2 + b), arguments


def nested_compiled_functions() -> Trap:
    inner = minidl.compile(lambda t: t + 1)
    return (lambda t: inner(t) * 3), (lambda i: (ones(i, 2),))


def implicit_inputs() -> Trap:
    x = Variable(ones(0, 2))

    def arguments(i: int) -> tuple[Any, ...]:
        x.data = ones(i, 2)
        return ()

    return (lambda: (x * 2).sum()), arguments


def views_at_other_offsets() -> Trap:
    base = np.arange(100.0).reshape(10, 10)
    return (lambda a: a + 1), (lambda i: (base[:, i % 8 : i % 8 + 2],))


def shapes_that_change() -> Trap:
    return (lambda a, b: a @ b), (lambda i: (ones(i, i // 5 + 1, 4), ones(1, 4, i // 7 + 1)))


def python_constants() -> Trap:
    factor = 1.0

    def arguments(i: int) -> tuple[Any, ...]:
        nonlocal factor
        factor = i // 10 + 1.0
        return (ones(10, 2),)

    return (lambda x: x * factor), arguments


def constants_as_arguments() -> Trap:
    return (lambda a, b: a * b), (lambda i: (ones(i, 3), Variable(2.0)))


def conditional_branches() -> Trap:
    return (lambda x, square: x * x if square else x * 2), (lambda i: (ones(3, 2), i % 3 == 0))


def by_place_and_by_name() -> Trap:
    def f(pair: tuple[Any, Any], by_name: bool) -> Any:
        return div(first=pair[0], second=pair[1]) if by_name else div(*pair)

    div = minidl.compile(lambda first, second: first / second)
    return f, (lambda i: ((ones(i, 2), ones(4, 2)), bool(i % 2)))


def nothing_computed() -> Trap:
    return (lambda a, b: None), (lambda i: (ones(i, 1), ones(2, 1)))


def plain_values_among_results() -> Trap:
    return (lambda x, k: (x * 2, k * 10)), (lambda i: (ones(i, 1), i // 10))


def a_value_as_a_shape() -> Trap:
    return (lambda x: np.zeros(int(x.sum()))), (lambda i: (ones(i, 1),))


def a_mask_as_an_index() -> Trap:
    return (lambda x, mask: x[mask]), (lambda i: (np.arange(4.0), np.arange(4) % 3 == i % 3))


def values_as_a_list() -> Trap:
    return (lambda x: np.array(x.tolist())), (lambda i: (ones(i, 3),))


def random_numbers() -> Trap:
    return (lambda x: F.dropout(x, 0.5)), (lambda i: (ones(i, 50),))


def a_slice_that_moves() -> Trap:
    return (lambda x, at: x[at : at + 1] * 2), (lambda i: (np.arange(4.0), i // 5))


def an_argument_written_into() -> Trap:
    def f(x: Any) -> Any:
        x += 1
        return x

    return f, (lambda i: (ones(i, 2),))


def a_slice_written_into() -> Trap:
    cache = np.zeros((4, 4), np.float32)

    def f(at: int) -> Any:
        cache[at : at + 1] = 1
        return cache.sum()

    return f, (lambda i: (i % 4,))


def a_padded_view() -> Trap:
    def arguments(i: int) -> tuple[Any, ...]:
        return (np.arange(30.0).reshape(3, 10)[:, : i // 6 + 1],)

    return (lambda a: np.pad(a + 1, ((0, 0), (0, 10 - a.shape[1])))), arguments


TRAPS = [
    trap(output_buffer_reuse, "NumPy"),
    trap(several_results_of_one_intermediate, "NumPy"),
    trap(tensors_in_containers, "NumPy"),
    trap(one_array_passed_twice, "NumPy"),
    trap(nested_compiled_functions, "NumPy"),
    trap(implicit_inputs, "NumPy"),
    trap(views_at_other_offsets, "NumPy"),
    trap(shapes_that_change, "NumPy"),
    trap(python_constants, "NumPy"),
    trap(constants_as_arguments, "NumPy"),
    trap(conditional_branches, "NumPy"),
    trap(by_place_and_by_name, "NumPy"),
    trap(nothing_computed, "NumPy"),
    trap(plain_values_among_results, "NumPy"),
    trap(random_numbers, "NumPy"),
    trap(a_slice_that_moves, "NumPy"),
    trap(a_padded_view, "NumPy"),
    trap(a_value_as_a_shape, "eager"),
    trap(a_mask_as_an_index, "eager"),
    trap(values_as_a_list, "eager"),
    trap(an_argument_written_into, "eager"),
    trap(a_slice_written_into, "NumPy"),
]


def calls(make: Callable[[], Trap], compile: bool) -> tuple[list[Any], list[Any], Any]:
    """What 20 calls gave, looked at after the last of them; what became of the arguments."""
    minidl.seed(0)
    f, arguments = make()
    f = minidl.compile(f) if compile else f
    given = [arguments(i) for i in range(1)]
    results = [f(*given[0])]
    for i in range(1, 20):
        given.append(arguments(i))
        results.append(f(*given[-1]))
    return results, given, f


@pytest.mark.parametrize(("make", "expected"), TRAPS)
def test_it_is_as_eagerly(make: Callable[[], Trap], expected: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results, given, f = calls(make, compile=True)
    want, want_given, _ = calls(make, compile=False)
    assert all(map(same, results, want)), f.status()
    assert all(map(same, given, want_given)), f.status()
    assert expected in f.status()
    assert len(caught) == (expected == "eager")


def test_an_output_that_is_the_next_input() -> None:
    step = minidl.compile(lambda x: (x + 1) * 2)
    step(ones(10, 1))
    x = step(ones(20, 1))
    for _ in range(3):
        x = step(x)
    y = ones(100, 1)
    for _ in range(3):
        y = step(y)
    assert x == 350 and y == 814


def test_python_in_the_function_runs_when_it_is_recorded_or_checked() -> None:
    counter = itertools.count()
    f = minidl.compile(lambda x: (counter.__next__(), x * 2)[1], check="never")
    with pytest.warns(UserWarning, match="eagerly"):
        results = [f(ones(i, 1)) for i in range(5)]
    assert [r.item() for r in results] == [0, 2, 4, 6, 8]
    assert next(counter) == 5  # it counts, so the function is not compiled
