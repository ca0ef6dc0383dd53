"""What the graph is made of: leaves, recorded applications, and single outputs of an application.

Making them lives in function.py, walking over them in engine.py. They refer to each other and to
arrays, and only weakly to Variables, so that a graph holds no reference cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

if TYPE_CHECKING:
    from minidl.autograd.anomaly import Trace
    from minidl.autograd.function import Function
    from minidl.autograd.variable import Variable

Func: TypeAlias = Callable[..., Any]  # a function of arrays, or of Variables
Inputs: TypeAlias = tuple[Any, ...]  # what a function is called with, by place
Settings: TypeAlias = dict[str, Any]  # and by keyword
Owner: TypeAlias = "Callable[[], Variable | None]"  # a weak reference, or nobody
# Creation numbers: every application has a larger one than its inputs.
next_number = count().__next__


def nobody() -> None:
    """Stands for a weak reference where there is no Variable."""


class Leaf:
    """Stands for a Variable at the graph's edge as long as its value stays.

    A new value, a new Leaf.
    """

    __slots__ = ("number", "owner", "stale")
    inputs: ClassVar[tuple[()]] = ()

    def __init__(self, owner: Owner, number: int | None = None) -> None:
        self.owner = owner
        self.number = next_number() if number is None else number
        self.stale = False  # True once the owner has a new value: graphs over this leaf are dead


class Application:
    """One recorded application of a function.

    ``inputs`` holds a node or None for every argument; it is ``()`` once the application was cut
    from what lies behind it, None once it was freed. ``constants`` holds the leaves of Variables
    that were used as constants.
    """

    __slots__ = (
        "args",
        "constants",
        "function",
        "inputs",
        "number",
        "output",
        "owner",
        "saved",
        "settings",
        "trace",
    )
    function: Function
    inputs: tuple[Node | None, ...] | None
    args: Inputs
    constants: tuple[Leaf, ...]
    settings: Settings
    output: Any
    saved: Any
    number: int
    owner: Owner
    trace: Trace | None  # where it was recorded, under detect_anomaly()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.name

    def __repr__(self) -> str:
        return f"<application of {self.name}>"


class Output:
    """One of the outputs of an application that has several."""

    __slots__ = ("index", "inputs", "number", "output", "owner")
    constants: ClassVar[tuple[()]] = ()

    def __init__(self, application: Application, index: int, output: Any) -> None:
        self.inputs: tuple[Node | None, ...] | None = (application,)
        self.index = index
        self.output = output
        self.number = next_number()
        self.owner: Owner = nobody

    @property
    def name(self) -> str:
        """The function's name, and which output this is."""
        application: Any = self.inputs[0] if self.inputs else None
        return f"{application.name if application else 'output'}[{self.index}]"


Node: TypeAlias = Leaf | Application | Output


def cut(node: Application | Output, inputs: tuple[()] | None = ()) -> None:
    """Drop everything behind a node, in place: it is gone from every path through the node."""
    node.inputs = inputs
    node.output = None
    if isinstance(node, Application):
        node.args = ()
        node.constants = ()
        node.settings = {}
        node.saved = None
    owner = node.owner()
    if owner is not None and inputs is not None and owner._node is node:
        owner._node = None
