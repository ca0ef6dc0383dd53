"""The base class Layer: what it finds in its attributes and what it does to all of it.
What single layers compute is tested in their own files."""

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest

import minidl
from minidl import Parameter, Variable, layers
from minidl import functions as F
from minidl.layers import MLP, Dropout, Layer, Linear, Sequential


class Net(Layer):
    def __init__(self):
        self.scale = Parameter(2.0, name="scale")
        self.hidden = Linear(3, 4)
        self.blocks = [Linear(4, 4), {"a": Linear(4, 4), "b": (F.relu, Parameter([1.0, 2.0]))}]
        self.rate = 0.5
        self.out = Linear(4, 1)

    def forward(self, x):
        return self.out(self.blocks[1]["a"](self.blocks[0](self.hidden(x)))) * self.scale


NAMES = [
    "scale",
    "hidden.w",
    "hidden.b",
    "blocks.0.w",
    "blocks.0.b",
    "blocks.1.a.w",
    "blocks.1.a.b",
    "blocks.1.b.1",
    "out.w",
    "out.b",
]


# ---- what it is made of --------------------------------------------------------------------------------------


def test_parameters_are_found_in_order_of_definition_also_in_containers():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [p is q for p, (_, q) in zip(net.parameters(), net.named_parameters(), strict=True)] == [
        True
    ] * 10
    assert net.sublayers() == [net, net.hidden, net.blocks[0], net.blocks[1]["a"], net.out]


def test_constants_and_arrays_are_not_collected():
    net = Net()
    net.extra, net.table = Variable([1.0], requires_grad=False), np.ones(3)
    assert len(net.parameters()) == 10


def test_tied_parameters_and_layers_come_once():
    class Tied(Layer):
        def __init__(self):
            self.first = Linear(3, 3)
            self.again = self.first
            self.head = Linear(3, 3)
            self.head.w = self.first.w

    net = Tied()
    assert [name for name, _ in net.named_parameters()] == ["first.w", "first.b", "head.b"]
    assert net.sublayers() == [net, net.first, net.head]
    assert list(net.state_dict()) == ["first.w", "first.b", "head.b"]
    net.load_state_dict({"first.w": np.eye(3), "first.b": np.zeros(3), "head.b": np.ones(3)})
    np.testing.assert_array_equal(net.head.w.data, np.eye(3))


def test_a_cycle_does_not_loop():
    parent, child = Net(), Linear(2, 2)
    parent.child, child.parent = child, parent
    parent.children = [child, parent]
    parent.children.append(parent.children)
    assert [name for name, _ in parent.named_parameters()][-2:] == ["child.w", "child.b"]
    assert len(parent.sublayers()) == 6
    assert len(child.parameters()) == 12
    parent.reset_state()


class Holder(Layer):
    def __init__(self, held):
        self.held = held


def test_layers_that_compare_equal_are_still_two():
    class Equal(Linear):
        __hash__ = None

        def __eq__(self, other):
            return True

    assert len(Sequential(Equal(1, 1), Equal(1, 1)).parameters()) == 4


def test_two_parameters_of_one_name_are_refused():  # one of them would be lost in a state_dict
    holder = Holder({1: Parameter(1.0), "1": Parameter(2.0)})
    with pytest.raises(ValueError, match=r"Holder.*held\.1"):
        holder.named_parameters()


def test_a_layer_without_forward():
    with pytest.raises(NotImplementedError, match="Holder has no forward"):
        Holder(1)(2)


@pytest.mark.parametrize(
    ("word", "ours"), [("zero_grad", "cleargrads"), ("train", "test_mode"), ("weight", "w")]
)
def test_words_of_other_frameworks(word, ours):
    with pytest.raises(AttributeError, match=ours):
        getattr(Linear(3, 2), word)


def test_keywords_reach_forward():
    class Scaled(Layer):
        def forward(self, x, *, by):
            return x * by

    assert Scaled()(3, by=2) == 6


# ---- what is done to all of it -------------------------------------------------------------------------------


def test_cleargrads():
    net = Net()
    net(np.ones((2, 3))).backward()
    assert net.hidden.w.grad is not None
    net.cleargrads()
    assert all(p.grad is None for p in net.parameters())


def test_freeze_and_unfreeze_also_lazy_parameters():
    net = Sequential(Linear(4), F.relu, Linear(4, 2))
    net[2](np.ones((1, 4))).backward()
    net.freeze()
    assert net[2].w.grad is None  # or an optimizer would go on with it
    y = net(np.ones((5, 3)))
    assert not y.requires_grad and not any(p.requires_grad for p in net.parameters())
    net.unfreeze()
    net(np.ones((5, 3))).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_unfreeze_leaves_integer_parameters_as_they_are():
    holder = Holder([Parameter([1.0]), Parameter([1, 2], requires_grad=False)])
    holder.freeze()
    holder.unfreeze()
    assert [p.requires_grad for p in holder.parameters()] == [True, False]


def test_a_frozen_part_passes_gradients_on():
    net = Sequential(Linear(3, 4), Linear(4, 2))
    net[1].freeze()
    net(np.ones((5, 3))).backward()
    assert net[0].w.grad is not None and net[1].w.grad is None


def test_to_another_dtype():
    net = Sequential(Linear(3, 4), Linear(2), layers.LSTM(3))
    parameters = net.parameters()
    net[0](np.ones((1, 3))).backward()
    net[2](np.ones((1, 2)))
    assert net.to(dtype=np.float64) is net
    assert all(
        p is q for p, q in zip(net.parameters(), parameters, strict=True)
    )  # optimizers hold them
    assert net[0].w.grad is None and net[2].state is None
    y = net(np.ones((5, 3)))
    assert y.dtype == np.float64 and all(p.dtype == np.float64 for p in net.parameters())
    y.backward()
    assert all(p.grad.dtype == np.float64 for p in net.parameters())
    with pytest.raises(TypeError, match="floating dtype, got int64"):
        net.to(dtype=np.int64)


def test_to_another_dtype_ends_graphs_over_the_old_values():
    layer = Linear(3, 2)
    y = layer(np.ones((1, 3)))
    layer.to(dtype=np.float64)
    with pytest.raises(RuntimeError, match="older value"):
        y.backward()


@pytest.mark.parametrize("device", [np.float64, np.dtype(float), 3, None.__class__, object()])
def test_to_wants_a_device_or_a_dtype(device):
    with pytest.raises(TypeError, match=r"Linear\.to: want the device .*; a dtype is dtype=\.\."):
        Linear(3, 2).to(device)
    with pytest.raises(
        ValueError, match=r"Linear\.to: want 'cpu', 'cuda' or an array, got 'float64'"
    ):
        Linear(3, 2).to("float64")


def test_to_takes_both():
    layer = Linear(3, 2)
    layer(np.ones((1, 3))).backward()
    assert layer.to("cpu", np.float64) is layer
    assert layer.w.dtype == np.float64 and layer.w.grad is None


class Counter(Layer):
    carried: ClassVar = {"count": 0}
    count = 0

    def forward(self, x):
        self.count += 1
        return x


class OwnReset(Layer):
    state = None

    def forward(self, x):
        self.state = x
        return x

    def reset_state(self):
        self.state = None


def test_reset_state_reaches_every_layer():
    net = Sequential(Counter(), Sequential(OwnReset(), layers.RNN(2)))
    net(np.ones((1, 3)))
    assert net[0].count == 1 and net[1][0].state is not None and net[1][1].state is not None
    net.reset_state()
    assert net[0].count == 0 and net[1][0].state is None and net[1][1].state is None


# ---- its values ----------------------------------------------------------------------------------------------


def test_state_dict_is_a_copy_and_goes_back():
    a, b = Net(), Net()
    state = a.state_dict()
    assert list(state) == NAMES and all(type(value) is np.ndarray for value in state.values())
    state["hidden.w"][:] = 0
    assert a.hidden.w.data.all()
    parameters, state = b.parameters(), a.state_dict()
    b.load_state_dict(state)
    for name, p in b.named_parameters():
        np.testing.assert_array_equal(p.data, state[name])
        assert p.data is not state[name]
    assert all(p is q for p, q in zip(b.parameters(), parameters, strict=True))


def test_loading_gives_lazy_parameters_their_shape():
    trained, fresh = MLP([4, 2], in_features=3, dtype=np.float64), MLP([4, 2])
    fresh.load_state_dict(trained.state_dict())
    assert repr(fresh) == "MLP(3→4→2)" and fresh[0].w.dtype == np.float32 and fresh[0].w.name == "w"
    x = np.ones((5, 3))
    np.testing.assert_allclose(fresh(x).data, trained(x).data, rtol=1e-5)


def test_loading_casts_between_floating_dtypes_and_takes_lists_and_variables():
    layer = Linear(2, 1)
    layer.load_state_dict({"w": [[1.0], [2.0]], "b": Variable([3.0])})
    assert layer.w.dtype == np.float32 and layer([[1.0, 1.0]]).item() == 6.0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"out.b": None}, r"missing: out\.b"),
        ({"other": np.ones(1)}, "unknown: other"),
        ({"hidden.w": np.ones((4, 3))}, r"hidden\.w: want float32 \(3, 4\), got float64 \(4, 3\)"),
        ({"scale": np.ones(1)}, r"scale: want float64 \(\), got float64 \(1,\)"),
        ({"hidden.b": np.ones(4, int)}, r"hidden\.b: want float32 \(4,\), got int64 \(4,\)"),
        ({"hidden.b": np.ones(4, complex)}, r"hidden\.b: want float32 \(4,\), got complex128"),
        (
            {"hidden.b": np.ones(3), "more": 1.0, "out.w": None},
            r"missing: out\.w; unknown: more; hidden\.b: want",
        ),
    ],
)
def test_nothing_is_loaded_when_something_is_wrong(change, complaint):
    net = Net()
    before = net.state_dict()
    state = {name: value + 1 for name, value in before.items()} | change
    with pytest.raises(ValueError, match=complaint):
        net.load_state_dict({name: value for name, value in state.items() if value is not None})
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_lazy_parameter_is_loaded_with_what_is_known_of_it():
    layer = Linear(2)
    with pytest.raises(ValueError, match=r"w: want float32 \(\?, 2\), got float64 \(3, 4\)"):
        layer.load_state_dict({"w": np.ones((3, 4)), "b": np.ones(2)})
    with pytest.raises(ValueError, match=r"w: want float32 \(\?, 2\), got int64"):
        layer.load_state_dict({"w": np.ones((3, 2), int), "b": np.ones(2)})
    assert layer.w.lazy and not layer.b.data.any()


@pytest.mark.parametrize(
    "value", [np.array([1, 2]), np.array(["a"]), np.array([None]), np.array([1j])]
)
def test_a_lazy_parameter_of_ones_own_takes_floating_values_only(value):
    holder = Holder([Parameter(1.0), Parameter(None)])
    with pytest.raises(ValueError, match=r"held\.1: want"):
        holder.load_state_dict({"held.0": 3.0, "held.1": value})
    assert holder.held[0].item() == 1.0 and holder.held[1].lazy  # nothing was changed
    holder.load_state_dict({"held.0": 3.0, "held.1": np.ones(4, np.float32)})
    assert (
        holder.held[1].shape == (4,)
        and holder.held[1].dtype == np.float32
        and holder.held[1].name == "1"
    )


def test_attributes_may_have_any_name():
    holder = Holder(Linear(2))
    holder.dtype, holder.shapes, holder.own = "float32", [1], Parameter(None)
    holder.to(dtype=np.float64)
    holder.load_state_dict({"held.w": np.ones((3, 2)), "held.b": np.ones(2), "own": np.ones(1)})
    assert holder.dtype == "float32" and holder.held.w.dtype == np.float64


def test_loading_wants_a_mapping():
    with pytest.raises(TypeError, match="want a dict of names and arrays, got list"):
        Net().load_state_dict([1])


def test_a_lazy_layer_has_no_state_yet():
    with pytest.raises(RuntimeError, match=r"w of Linear\(\?→3\) has no data yet"):
        Sequential(Linear(3)).state_dict()


# ---- copies --------------------------------------------------------------------------------------------------


def used_model():
    model = Sequential(Linear(4), F.tanh, Dropout(0.1), MLP([4, 3]), layers.LSTM(2), Linear(1))
    model[:5](np.ones((2, 3)))  # so that the last is lazy still, and the state has a graph
    return model


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_are_equal_and_independent(how):
    model = used_model()
    other = how(model)
    assert (
        other[5].w.lazy and not other[4].state[0].requires_grad and model[4].state[0].requires_grad
    )
    assert other[1] is F.tanh
    for p, q in zip(model[:5].parameters(), other[:5].parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert type(q) is Parameter and q.requires_grad and not np.shares_memory(p.data, q.data)
    with minidl.test_mode():
        np.testing.assert_array_equal(
            model[:5](np.ones((2, 3))).data, other[:5](np.ones((2, 3))).data
        )
    other(np.ones((2, 3))).backward()
    assert other[0].w.grad is not None and model[0].w.grad is None


def test_a_copy_keeps_tied_parameters_tied_and_frozen_ones_frozen():
    model = Sequential(Linear(2, 2), Linear(2, 2))
    model[1].w = model[0].w
    model[0].freeze()
    other = copy.deepcopy(model)
    assert other[1].w is other[0].w and not other[0].w.requires_grad and other[1].b.requires_grad


# ---- how it looks --------------------------------------------------------------------------------------------


def test_repr_is_nested():
    assert repr(Net()).splitlines() == [
        "Net(",
        "  scale: Parameter ()",
        "  hidden: Linear(3→4)",
        "  blocks.0: Linear(4→4)",
        "  blocks.1.a: Linear(4→4)",
        "  blocks.1.b.1: Parameter (2,)",
        "  out: Linear(4→1)",
        ")",
    ]
    assert repr(Holder(Holder(Linear(2)))).splitlines() == [
        "Holder(",
        "  held: Holder(",
        "    held: Linear(?→2)",
        "  )",
        ")",
    ]
    assert repr(Holder(1)) == "Holder()"


def test_repr_of_a_cycle_ends():
    one, two = Holder(None), Holder(None)
    one.held, two.held = two, one
    assert repr(one).split() == ["Holder(", "held:", "Holder(", "held:", "...", ")", ")"]
    chain = Sequential(Holder(None))
    chain[0].held = chain
    assert repr(chain).split() == ["Sequential(", "0:", "Holder(", "held:", "...", ")", ")"]


def test_summary_changes_nothing():
    model = used_model()
    minidl.seed(3)
    expected = minidl.random.generator().random()
    minidl.seed(3)
    state, steps, dtype = model[4].state, model[4].steps, model[0].w.dtype
    table = model.summary(np.ones((7, 3)))  # of another batch size than the carried state
    assert (
        model[5].w.lazy
        and model[4].state is state
        and model[4].steps == steps
        and model[0].w.dtype == dtype
    )
    assert "forward" not in vars(model[0])
    assert minidl.random.generator().random() == expected
    assert [line.split() for line in table.splitlines()] == [
        ["name", "layer", "output", "parameters"],
        ["-" * len(table.splitlines()[1])],
        ["Sequential", "(7,", "1)"],
        ["layers.0", "Linear(3→4)", "(7,", "4)", "16"],
        ["layers.2", "Dropout(0.1)", "(7,", "4)"],
        ["layers.3", "MLP(4→4→3)", "(7,", "3)"],
        ["layers.3.layers.0", "Linear(4→4)", "(7,", "4)", "20"],
        ["layers.3.layers.1", "Linear(4→3)", "(7,", "3)", "15"],
        ["layers.4", "LSTM(3→2)", "(7,", "2)", "48"],
        ["layers.5", "Linear(2→1)", "(7,", "1)", "3"],
        ["-" * len(table.splitlines()[1])],
        ["102", "parameters,", "102", "of", "them", "trained"],
    ]


def test_summary_without_inputs_and_of_frozen_parts():
    model = Sequential(Linear(30, 50), Linear(2))
    model[0].freeze()
    table = model.summary()
    assert "output" not in table and "1,550" in table
    assert (
        table.splitlines()[-1] == "1,552 parameters, 2 of them trained; ? is learned at first use"
    )


def test_summary_when_forward_fails_leaves_the_generator():
    model = Sequential(Linear(3), Linear(5, 2))
    minidl.seed(3)
    expected = minidl.random.generator().random()
    minidl.seed(3)
    with pytest.raises(ValueError, match="want input of shape"):
        model.summary(np.ones((1, 4)))
    assert minidl.random.generator().random() == expected


# ---- with an optimizer ---------------------------------------------------------------------------------------


def test_an_optimizer_goes_on_after_first_use_to_and_loading():
    model = Sequential(Linear(4), F.tanh, Linear(1))
    optimizer = minidl.optim.SGD(model, lr=0.1)  # made before the first layer knows its size

    def train():
        before = model.state_dict() if not model[0].w.lazy else None
        optimizer.cleargrads()
        model(np.ones((5, 3))).sum().backward()
        optimizer.update()
        after = model.state_dict()
        for name, p in model.named_parameters():
            assert after[name].dtype == p.grad.dtype
            if before:
                expected = before[name] - p.dtype.type(0.1) * p.grad.data
                np.testing.assert_allclose(after[name], expected, rtol=1e-6)

    train()
    train()
    state = model.state_dict()
    model.to(dtype=np.float64)
    train()
    model.load_state_dict(state)
    np.testing.assert_array_equal(model[0].w.data, state["layers.0.w"])
    train()
    assert model[0].w.dtype == np.float64


def test_values_beyond_the_range_are_refused() -> None:
    layer = layers.Linear(2, 1)
    before = layer.w.data.copy()
    with pytest.raises(ValueError, match="w: float64 values beyond the range of float32"):
        layer.load_state_dict({"w": np.array([[1e300], [1.0]]), "b": np.zeros(1)})
    assert np.array_equal(layer.w.data, before)
    layer.load_state_dict({"w": np.array([[np.inf], [1.0]]), "b": np.zeros(1)})
