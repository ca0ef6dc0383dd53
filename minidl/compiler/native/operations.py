"""The operations of a C program: each is a loop over a domain, on strided arrays.

What a step of a recorded program becomes of these is in lowering.py; which share a loop in loops.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minidl.compiler.native.arrays import Array, Shape, row_major
from minidl.compiler.program import Step

Operand: TypeAlias = Any  # an Array over the domain, or a number


class Pick(NamedTuple):
    """An axis of an array along which an operand says the place: ``stride`` elements apart."""

    array: int  # which operand is picked from; -1: it is the result
    operand: int  # which operand is the place
    length: int  # of the axis
    stride: int
    checked: bool = False  # else the places are known to be inside
    wraps: bool = False  # places below 0 are counted from the end


class Operation:
    """One operation: ``text`` of the operands at each place of the domain.

    All arrays have the domain's axes, with a stride of 0 where they stand still. ``origin`` names
    the function that it came from. In the text ``{0}`` is the first operand, ``{x0}`` the place on
    the first axis of the domain; ``cast`` is the dtype that operands are turned into.
    """

    def __init__(
        self,
        domain: Shape,
        out: Array,
        operands: Sequence[Operand],
        text: str,
        cast: Any = None,
        picks: Sequence[Pick] = (),
    ) -> None:
        self.out = out
        self.operands = list(operands)
        self.text = text
        self.cast = None if cast is None else np.dtype(cast)
        self.picks = list(picks)
        self.origin = ""
        self.axes = tuple(range(len(domain)))  # which of the domain's first axes are left
        self.domain = domain
        self._drop([i for i, n in enumerate(domain) if n == 1])

    def _drop(self, axes: Sequence[int]) -> None:
        """Leave out axes with a single place."""
        self.map_arrays(lambda array: array.without(axes))
        left = [i for i in range(len(self.domain)) if i not in axes]
        self.axes = tuple([self.axes[i] for i in left])
        self.domain = tuple([self.domain[i] for i in left])

    def join(self, axis: int) -> None:
        """Make one axis of two that lie in memory as one."""
        n = self.domain[axis + 1]
        self.domain = (*self.domain[:axis], self.domain[axis] * n, *self.domain[axis + 2 :])
        self.axes = (*self.axes[: axis + 1], *self.axes[axis + 2 :])

        def join(array: Array) -> Array:
            strides = (*array.strides[:axis], *array.strides[axis + 1 :])
            return array.view(self.domain, strides)

        self.map_arrays(join)

    def map_arrays(self, change: Any) -> None:
        """Put other views in place of the arrays."""
        self.out = change(self.out)
        self.operands = [change(x) if isinstance(x, Array) else x for x in self.operands]

    @property
    def reads(self) -> list[Array]:
        """The arrays among the operands."""
        return [x for x in self.operands if isinstance(x, Array)]

    @property
    def writes(self) -> list[Array]:
        """The arrays that it gives values."""
        return [self.out]

    def spans(self, array: Array, first: int) -> int:
        """How far an array's elements lie apart at most, where the axes before ``first`` stand."""
        steps = [abs(s) * (n - 1) for n, s in zip(self.domain, array.strides)]
        more = [p.stride * (p.length - 1) for p in self.picks if self.picked(p) is array]
        return sum(steps[first:]) + sum(more)

    def picked(self, pick: Pick) -> Any:
        """The array that a pick is of."""
        return self.out if pick.array < 0 else self.operands[pick.array]


class Map(Operation):
    """Each element of the result from those at its place."""


class Reduce(Operation):
    """The text's values, put together in the elements of the result that stand still.

    ``kind``: "sum", "prod", "max", "min", "any", "all", or "add_at" for sums at places that are
    picked.
    """

    def __init__(
        self,
        kind: str,
        domain: Shape,
        out: Array,
        operands: Sequence[Operand],
        text: str = "{0}",
        cast: Any = None,
        picks: Sequence[Pick] = (),
    ) -> None:
        self.kind = kind
        super().__init__(domain, out, operands, text, cast, picks)
        self.scatters = any(p.array < 0 for p in self.picks)
        still = [i for i, s in enumerate(self.out.strides) if s == 0]
        # The first axis along which it reduces, and whether that and all behind it are reduced.
        # Later strides may become 0 for another reason.
        self.outermost = 0 if self.scatters else min(still, default=len(self.domain))
        self.is_inner = len(still) == len(self.domain) - self.outermost and not self.scatters

    @property
    def reduces(self) -> bool:
        """Whether there is more than one value for an element of the result."""
        return self.scatters or self.outermost < len(self.domain)

    def join(self, axis: int) -> None:
        """Make one axis of two that lie in memory as one."""
        super().join(axis)
        if self.outermost > axis:
            self.outermost -= 1


class Product:
    """A product of matrices, ``out[b, m, n] = sum(a[b, m, k] * c[b, k, n])``, of many axes each.

    ``sizes``: the lengths of the axes b, m, n and k, in four tuples; the arrays have the axes that
    they depend on in this order.
    """

    def __init__(self, out: Array, a: Array, c: Array, sizes: Sequence[Shape]) -> None:
        self.out = out
        self.a = a
        self.c = c
        self.sizes = sizes
        self.origin = ""

    @property
    def reads(self) -> list[Array]:
        """The factors."""
        return [self.a, self.c]

    @property
    def writes(self) -> list[Array]:
        """The product."""
        return [self.out]


class Scan:
    """A body of operations, done ``length`` times; ``carry`` pairs: (state, its next value).

    Arrays of the body that ``move`` go on with each time. ``backwards``: the last time first.
    """

    def __init__(
        self,
        length: int,
        body: list[Any],
        carry: Sequence[tuple[Array, Array]],
        backwards: bool = False,
    ) -> None:
        self.length = length
        self.body = body
        self.carry = list(carry)
        self.backwards = backwards
        self.origin = "scan"


class Call:
    """A step that NumPy computes: ``outs`` are arrays of the program that get its results."""

    def __init__(self, outs: list[Array], operands: list[Any], step: Step) -> None:
        self.outs = outs
        self.operands = operands
        self.step = step
        self.origin = ""

    @property
    def name(self) -> str:
        """What is printed."""
        return self.step.name

    @property
    def reads(self) -> list[Array]:
        """The arrays among the operands, in tuples too."""
        return list(arrays_in(self.operands))

    @property
    def writes(self) -> list[Array]:
        """The results."""
        return self.outs


class Dot(Call):
    """A product of two matrices that NumPy computes, where it is large."""

    def __init__(self, out: Array, a: Array, c: Array) -> None:
        self.outs = [out]
        self.operands = [a, c]
        self.origin = ""

    @property
    def name(self) -> str:
        """What is printed."""
        return "matmul"


def arrays_in(operands: Sequence[Any]) -> Iterator[Array]:
    """The arrays among operands."""
    for x in operands:
        if isinstance(x, Array):
            yield x
        elif isinstance(x, tuple):
            yield from arrays_in(x)


def copy_of(array: Array, out: Array) -> Map:
    """The operation that writes an array's elements into another."""
    return Map(out.shape, out, [array], "{0}")


def is_row_major(array: Array) -> bool:
    """Whether its elements lie one after the other."""
    steps = zip(array.shape, array.strides, row_major(array.shape), strict=True)
    return all(s == r for n, s, r in steps if n != 1)
