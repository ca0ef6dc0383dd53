"""What a layer finds in its attributes, and the warnings about what it would miss.

The order of what is found, tied parameters and cycles are tested in test_layer.py.
"""

import collections
import dataclasses
import functools
import types
import warnings
from typing import ClassVar

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers, optim
from minidl.layers import Layer, Linear, Sequential


class Holder(Layer):
    def __init__(self, held=None):
        self.first = Linear(2, 2)
        self.held = held

    def forward(self, x):
        return self.first(x)


@dataclasses.dataclass
class Config:
    head: Layer


@dataclasses.dataclass(slots=True)
class Slotted:
    head: Layer


class Plain:
    def __init__(self, **attributes):
        vars(self).update(attributes)


def closed_over(layer):
    return lambda x: layer(x)


HIDDEN = {
    "set": lambda layer: {layer},
    "frozenset": lambda layer: frozenset([layer]),
    "deque": lambda layer: collections.deque([layer]),
    "dataclass": Config,
    "dataclass with slots": Slotted,
    "plain object": lambda layer: Plain(inner=layer),
    "nested objects": lambda layer: Plain(inner=[Plain(blocks={"a": layer})]),
    "SimpleNamespace": lambda layer: types.SimpleNamespace(head=layer),
    "UserList": lambda layer: collections.UserList([layer]),
    "UserDict": lambda layer: collections.UserDict(head=layer),
    "mappingproxy": lambda layer: types.MappingProxyType({"head": layer}),
    "array of objects": lambda layer: np.array([layer, None], dtype=object),
    "list of sets": lambda layer: [{layer}],
    "closure": closed_over,
    "default": lambda layer: lambda x, layer=layer: layer(x),
    "partial": lambda layer: functools.partial(layer.forward),
    "bound method": lambda layer: layer.forward,
    "Variable": lambda layer: Variable(1.0),
    "Variable in a list": lambda layer: [Variable(1.0)],
    "Variable in an object": lambda layer: Plain(scale=Variable(1.0)),
    "Parameter in a set": lambda layer: {Parameter(1.0)},
}


@pytest.mark.parametrize("make", HIDDEN.values(), ids=HIDDEN)
def test_what_is_not_found_is_told(make):
    holder = Holder(make(Linear(3)))
    for use in (
        lambda: holder.parameters(),
        lambda: Holder(make(Linear(3))).state_dict(),
        lambda: Sequential(Holder(make(Linear(3)))).cleargrads(),
        lambda: optim.SGD(Holder(make(Linear(3))), lr=0.1).cleargrads(),
    ):
        with pytest.warns(UserWarning, match="'.*held.*not trained, saved or cleared") as seen:
            use()
        assert len(seen) == 1 and seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        holder.parameters()  # once is enough


def test_the_message_says_what_to_write():
    text = (
        "Holder: 'held' is a Variable, which is not trained, saved or cleared with the layer: "
        "make it a minidl.Parameter, or pass requires_grad=False if it is constant"
    )
    with pytest.warns(UserWarning, match=f"^{text}$"):
        Holder(Variable(1.0)).parameters()
    with pytest.warns(UserWarning, match=r"Holder: 'held' \(set\) holds a Linear that is not"):
        Holder({Linear(3)}).parameters()
    fixed = Holder(Parameter(1.0))
    assert len(fixed.parameters()) == 3


@pytest.mark.parametrize("make", [Parameter, Variable])
def test_a_result_of_what_nobody_holds_is_told(make):
    with pytest.warns(UserWarning, match="'held' is a Variable, which is not trained"):
        Holder(np.exp(make(1.0) * 0.1)).parameters()


@pytest.mark.parametrize("form", ["method", "function", "partial"])
def test_a_normalization_out_of_sight_is_warned_of(form):
    """It would be lost in a file: it is in no state_dict()."""
    hidden = layers.Normalization().adapt(np.ones((2, 3)))
    step = {
        "method": hidden.inverse,
        "function": lambda y: hidden.inverse(y),
        "partial": functools.partial(layers.Normalization.inverse, hidden),
    }[form]
    model = layers.Sequential(layers.Linear(3, 3), step)
    with pytest.warns(UserWarning, match="holds a Normalization that is not .* dicts there$"):
        model.parameters()
    seen = layers.Sequential(hidden, layers.Linear(3, 3), step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen.parameters()


@pytest.mark.parametrize("name", ["trainable", "requires_grad", "training"])
def test_assignments_that_would_change_nothing_are_refused(name):
    with pytest.raises(AttributeError, match=f"Linear: assigning '{name}' would change nothing"):
        setattr(Linear(2), name, False)


def test_a_layer_of_the_users_may_be_called_training_and_a_class_may_say_anything():
    class Own(Layer):
        trainable = True

        def __init__(self):
            self.training = True
            self.trainable = False

    assert Own().training and not Own().trainable


def test_attributes_beside_the_instance_dict_are_told():
    class Shared(Layer):
        head = Linear(3)

    class Slots(Layer):
        __slots__ = ("head",)

        def __init__(self):
            self.head = Linear(3)

    for layer in Shared(), Slots():
        with pytest.warns(UserWarning, match="'head'"):
            layer.parameters()


GLOBAL = Linear(2, 2)


def test_globals_of_functions_are_told():
    class Net(Layer):
        def __init__(self):
            self.held = Linear(2, 2)

        def forward(self, x):
            return GLOBAL(self.held(x))

    with pytest.warns(UserWarning, match=r"Net: 'forward' \(function\) holds a Linear that is not"):
        Net().parameters()
    with pytest.warns(UserWarning, match="Sequential: 'layers.0'"):
        Sequential(lambda x: GLOBAL(x), Linear(2)).parameters()
    assert len(Sequential(GLOBAL, lambda x: GLOBAL(x)).parameters()) == 2


def test_attributes_with_a_globals_name_are_not_told():
    class Net(Layer):
        def __init__(self):
            self.GLOBAL = Linear(2, 2)

        def forward(self, x):
            return self.GLOBAL(x)

    assert len(Net().parameters()) == 2


HELD = Variable(1.0)

QUIET = {
    "frozen layer": lambda: Plain(teacher=frozen()),
    "layer without parameters": lambda: {layers.Dropout(0.5)},
    "constant": lambda: Variable(1.0, requires_grad=False),
    "integers": lambda: Variable([1, 2]),
    "result": lambda: HELD * 2,
    "functions": lambda: [np.tanh, minidl.functions.relu, len, lambda x: x],
    "objects": lambda: [Plain(a=1, b="c"), np.random.default_rng(0), object(), {1, 2}, Plain],
    "a cycle": lambda: cyclic(),
}


def frozen():
    layer = Linear(3, 3)
    layer.freeze()
    return layer


def cyclic():
    thing = Plain(items=[])
    thing.items.append(thing)
    return thing


@pytest.mark.parametrize("make", QUIET.values(), ids=QUIET)
def test_what_need_not_be_found_is_not_told(make):
    assert len(Holder(make()).parameters()) == 2  # warnings are errors


def test_what_is_found_elsewhere_is_not_told():
    holder = Holder()
    holder.held = Plain(again=holder.first, me=holder, w=holder.first.w)
    holder.method = holder.first.forward
    assert len(holder.parameters()) == 2


def test_a_carried_state_may_be_a_variable():
    class Counter(Layer):
        carried: ClassVar = {"total": None}

        def __init__(self):
            self.first = Linear(2, 2)
            self.reset_state()

    counter = Counter()
    counter.total = Variable([1.0])
    assert len(counter.parameters()) == 2


def test_what_is_added_later_is_found_or_told():
    holder = Holder([Linear(3, 3)])
    assert len(holder.parameters()) == 4
    holder.held.append(Linear(3, 3))
    assert len(holder.parameters()) == 6
    holder.held.pop()
    assert len(holder.parameters()) == 4
    holder.extra = {Linear(3)}
    with pytest.warns(UserWarning, match="extra"):
        holder.parameters()


def test_names_follow_renamed_keys():
    holder = Holder({"a": Linear(2, 2)})
    assert [name for name, _ in holder.named_parameters()][-1] == "held.a.b"
    holder.held["b"] = holder.held.pop("a")
    assert [name for name, _ in holder.named_parameters()][-1] == "held.b.b"
