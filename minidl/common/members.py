"""What functions and classes hold where it is easily overlooked: closed-over variables, slots.

What is looked for in them is said by those who ask.
"""

from types import CellType, FunctionType

_EMPTY = CellType()


def cells_of(function: FunctionType) -> list[tuple[str, CellType]]:
    """The names of the outer variables that have a value by now, and the cells that hold them.

    >>> def outer():
    ...     def inner():
    ...         return x, late
    ...     x = 1.0
    ...     return inner
    ...     late = 2.0
    >>> [(name, cell.cell_contents) for name, cell in cells_of(outer())]
    [('x', 1.0)]
    """
    pairs = zip(function.__code__.co_freevars, function.__closure__ or ())
    return [(name, cell) for name, cell in pairs if cell != _EMPTY]


def slots_of(cls: type) -> list[str]:
    """The names of the slots that a class itself adds to those of its bases.

    >>> class Point:
    ...     __slots__ = ("x", "y", "__weakref__")
    >>> slots_of(Point)
    ['x', 'y']
    """
    names = vars(cls).get("__slots__", ())
    if isinstance(names, str):
        names = [names]
    return [name for name in names if not name.startswith("__")]
