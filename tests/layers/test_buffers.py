"""Buffers of layers: where they travel, and when a call may write them."""

import copy
import pickle
from typing import ClassVar

import numpy as np
import pytest

import minidl
from minidl import Parameter, Trainer, Variable, optim
from minidl import functions as F
from minidl.layers import Layer, Linear, Sequential
from minidl.layers.tree import walk


class Centred(Layer):
    """A user's layer: the running mean of what it saw is taken off, and its calls are counted."""

    buffers: ClassVar = ("mean", "calls")

    def __init__(self, n=3):
        self.mean = np.zeros(n, np.float32)
        self.calls = np.array(0)

    def forward(self, x):
        now = x.mean(0)
        self.update_buffers(mean=0.5 * self.mean + 0.5 * now, calls=self.calls + 1)
        return x - self.mean


def model():
    return Sequential(Linear(3, 3), Centred(), Linear(3, 1))


X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
T = X.sum(1, keepdims=True)


def used():
    net = model()
    net(X)
    return net


# ---- in the state --------------------------------------------------------------------------------


def test_they_are_in_the_state_beside_the_parameters():
    net = used()
    state = net.state_dict()
    assert sorted(state) == [
        *("layers.0.b", "layers.0.w", "layers.1.calls"),
        *("layers.1.mean", "layers.2.b", "layers.2.w"),
    ]
    assert all(type(value) is np.ndarray for value in state.values())
    assert len(net.parameters()) == 4 and len(net.named_parameters()) == 4
    state["layers.1.mean"][:] = 7
    assert not (net[1].mean == 7).any()  # a copy


def test_a_state_goes_back_and_nothing_is_shared():
    net, other = used(), model()
    state = net.state_dict()
    assert other.load_state_dict(state) == []
    np.testing.assert_array_equal(other[1].mean, net[1].mean)
    assert other[1].calls == 1 and other[1].mean is not state["layers.1.mean"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"layers.1.mean": None}, r"missing: layers\.1\.mean"),
        ({"layers.1.var": np.ones(3)}, r"unknown: layers\.1\.var"),
        (
            {"layers.1.mean": np.ones(4)},
            r"layers\.1\.mean: want float32 \(3,\), got float64 \(4,\)",
        ),
        ({"layers.1.mean": np.ones(3, int)}, r"layers\.1\.mean: want float32 \(3,\), got int64"),
        ({"layers.1.calls": np.float64(2)}, r"layers\.1\.calls: want int64 \(\), got float64 \(\)"),
        ({"layers.1.mean": np.full(3, 1e300)}, r"layers\.1\.mean: float64 values beyond the range"),
        ({"layers.0.w": np.ones((2, 2))}, r"layers\.0\.w: want float32 \(3, 3\)"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_nothing_is_loaded_when_something_is_wrong(change, complaint, strict):
    net = used()
    before = net.state_dict()
    state = {name: value + 1 for name, value in before.items()} | change
    state = {name: value for name, value in state.items() if value is not None}
    if strict or "want" in complaint or "beyond" in complaint:
        with pytest.raises(ValueError, match=complaint):
            net.load_state_dict(state, strict)
        for name, value in net.state_dict().items():
            np.testing.assert_array_equal(value, before[name])
    else:
        (said,) = net.load_state_dict(state, strict=False)
        assert said == complaint.replace("\\", "")
        np.testing.assert_array_equal(net[0].b.data, before["layers.0.b"] + 1)


def test_nothing_in_common_is_an_error_even_if_not_strict():
    net = used()
    with pytest.raises(ValueError, match=r"nothing was changed; missing: layers\.0\.w"):
        net.load_state_dict({"w": np.ones(3)}, strict=False)


@pytest.mark.parametrize("strict", ["no", 0, None])
def test_strict_is_a_flag(strict, tmp_path):
    net = used()
    net.save(tmp_path / "model.npz")
    before = net.state_dict()
    net[0].w.data = net[0].w.data + 1
    for load in (net.load, net.load_state_dict):
        source = before if load == net.load_state_dict else tmp_path / "model.npz"
        with pytest.raises(TypeError, match="strict: want True or False, got"):
            load(source, strict)
    np.testing.assert_array_equal(net[0].w.data, before["layers.0.w"] + 1)


def test_one_without_data():
    class Late(Layer):
        buffers: ClassVar = ("seen",)
        seen = None

        def forward(self, x):
            return x

    late = Late()
    with pytest.raises(RuntimeError, match="buffer 'seen' of Late has no data yet"):
        late.state_dict()
    late.load_state_dict({"seen": np.arange(3)})
    assert late.seen.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="seen: want numbers"):
        Late().load_state_dict({"seen": np.array(["a"])})


def test_what_is_no_array_or_no_name():
    class Wrong(Layer):
        buffers: ClassVar = ("w",)

    wrong = Wrong()
    wrong.w = Parameter(np.ones(3))
    with pytest.raises(TypeError, match="buffer 'w' of Wrong: want an array, got a Parameter"):
        wrong.state_dict()

    wrong.w = [1.0, 2.0]
    with pytest.raises(TypeError, match="buffer 'w' of Wrong: want an array, got a list"):
        wrong.state_dict()

    class Letters(Layer):
        buffers = "mean"

    with pytest.raises(
        TypeError, match=r"Letters\.buffers: want a tuple of names such as \('mean',"
    ):
        Letters().state_dict()
    with pytest.raises(
        AttributeError, match=r"Centred\.buffers: want one of mean, calls, got 'var'"
    ):
        Centred().update_buffers(var=np.ones(3))


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_files(tmp_path, suffix):
    pytest.importorskip("safetensors") if suffix == "safetensors" else None
    net, other = used(), model()
    net.save(tmp_path / f"model.{suffix}")
    assert other.load(tmp_path / f"model.{suffix}") == []
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)
    before = other.state_dict()
    with pytest.raises(
        ValueError, match=rf"model\.{suffix}: load_state_dict of Linear; nothing was"
    ):
        other[0].load(tmp_path / f"model.{suffix}")
    left = Sequential(Linear(3, 3), Centred()).load(tmp_path / f"model.{suffix}", strict=False)
    assert sorted(left) == ["unknown: layers.2.b", "unknown: layers.2.w"]
    np.testing.assert_array_equal(other.state_dict()["layers.0.w"], before["layers.0.w"])


def test_a_parameter_called_checkpoint(tmp_path):
    class Odd(Layer):
        def __init__(self):
            self.checkpoint = Parameter(np.ones(2))

    odd = Odd()
    odd.load_state_dict({"checkpoint": np.zeros(2)})
    odd.save(tmp_path / "odd.npz")
    assert Odd().load(tmp_path / "odd.npz") == [] and not odd.checkpoint.data.any()


# ---- in whatever is done to a layer --------------------------------------------------------------


def test_to_and_reset_state():
    net = used()
    mean = net[1].mean.copy()
    net.reset_state()
    np.testing.assert_array_equal(net[1].mean, mean)
    net.to(dtype=np.float64)
    assert net[1].mean.dtype == np.float64 and net[1].calls.dtype.kind == "i"
    np.testing.assert_array_equal(net[1].mean, mean)
    assert net.to("cpu")[1].calls == 1


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies(duplicate):
    net = used()
    twin = duplicate(net)
    twin(X)
    assert (net[1].calls, twin[1].calls) == (1, 2)


def test_a_shallow_copy_is_not_written_with_its_original():
    net = used()
    twin = copy.copy(net[1])
    before = net[1].mean.copy()
    twin(X)
    np.testing.assert_array_equal(net[1].mean, before)


def test_the_summary_counts_them_apart():
    net = used()
    last = net.summary(X).splitlines()[-1]
    assert last == "16 parameters, 16 of them trained; 4 numbers in buffers"
    assert net[1].calls == 1  # a copy ran
    assert "buffers" not in Linear(3, 2).summary() and "4 numbers in buffers" in net._repr_html_()


def test_a_rebound_buffer_does_not_make_the_parameters_be_looked_for_again():
    net = used()
    net.parameters()
    found = net._latest
    net(X)
    net.parameters()
    assert net._latest is found
    net[1].extra = Parameter(np.ones(1))
    assert len(net.parameters()) == 5


# ---- when they are written -----------------------------------------------------------------------


def calls_after(run):
    net = model()
    run(net)
    return int(net[1].calls)


def test_they_are_written_while_training_only():
    def under(*modes):
        def run(net):
            for mode in modes:
                with mode():
                    net(X)

        return run

    assert calls_after(lambda net: net(X)) == 1
    assert calls_after(under(minidl.test_mode, minidl.no_grad)) == 0
    assert calls_after(lambda net: Trainer(net, optim.SGD(net, lr=0.0), F.mean_squared_error)) == 0


def test_the_trainer_writes_once_a_batch_and_not_to_evaluate():
    net = model()
    trainer = Trainer(net, optim.SGD(net, lr=0.0), F.mean_squared_error)
    trainer.fit(X, T, epochs=2, batch_size=4, validation=(X, T), verbose=0)
    assert net[1].calls == 4
    trainer.evaluate(X, T)
    trainer.predict(X)
    assert net[1].calls == 4


@pytest.mark.parametrize("form", ["layer", "closure", "list", "dict", "method"])
def test_recomputation_writes_once_and_gives_the_same(form):
    plain, net = model(), model()
    net.load_state_dict(plain.state_dict())
    blocks = list(net.layers)

    def of_list(x):
        for block in blocks:
            x = block(x)
        return x

    named = dict(enumerate(blocks))
    forms = {
        "layer": net,
        "dict": lambda x: named[2](named[1](named[0](x))),
        "closure": lambda x: net(x),
        "list": of_list,
        "method": net.forward,
    }
    expected = plain(X)
    expected.sum().backward()
    minidl.recompute(forms[form])(X).sum().backward()
    assert net[1].calls == 1
    np.testing.assert_array_equal(net[1].mean, plain[1].mean)
    np.testing.assert_array_equal(net[0].w.grad.data, plain[0].w.grad.data)


def test_diagnosis_writes_nothing():
    class Bad(Layer):
        def forward(self, x):
            return x * np.inf

    net = Sequential(*model().layers, Bad())
    trainer = Trainer(net, optim.SGD(net, lr=0.0), F.mean_squared_error)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="the loss is"):
        trainer.train_step(X, T)
    assert net[1].calls == 0  # what the bad batch wrote is taken back, too


def test_a_layer_that_writes_as_it_likes_is_put_back_by_recomputation():
    class Direct(Centred):
        def forward(self, x):
            self.calls = self.calls + 1
            return x * float(self.calls)

    net = Direct()
    x = Variable(X)
    minidl.recompute(net)(x).sum().backward()
    assert net.calls == 1
    np.testing.assert_array_equal(x.grad.data, np.ones_like(X))


def test_values_of_variables_are_taken():
    layer = Centred()
    x = Variable(X)
    layer.update_buffers(mean=(x * 2).mean(0))
    assert type(layer.mean) is np.ndarray


# ---- checkpoints ---------------------------------------------------------------------------------


def trainer_of(net):
    return Trainer(net, optim.Adam(net, lr=0.01), F.mean_squared_error)


def test_a_checkpoint_has_them_once_and_they_come_back(tmp_path):
    net = model()
    trainer = trainer_of(net)
    trainer.fit(X, T, epochs=2, batch_size=4, verbose=0)
    trainer.save(tmp_path / "run.npz")
    arrays = minidl.load(tmp_path / "run.npz")
    assert [name for name in arrays if "mean" in name] == ["model.parameters.layers.1.mean"]
    other = model()
    trainer_of(other).load(tmp_path / "run.npz")
    weights = model()
    assert weights.load(tmp_path / "run.npz") == []
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)
        np.testing.assert_array_equal(weights.state_dict()[name], value)


def test_resume_is_exact(tmp_path):
    net, half = model(), model()
    half.load_state_dict(net.state_dict())
    trainer_of(net).fit(X, T, epochs=4, batch_size=4, shuffle=False, verbose=0)
    first = trainer_of(half)
    first.fit(X, T, epochs=2, batch_size=4, shuffle=False, verbose=0)
    first.save(tmp_path / "run.npz")
    again = model()
    second = trainer_of(again)
    second.fit(X, T, epochs=4, batch_size=4, shuffle=False, verbose=0, resume=tmp_path / "run.npz")
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)


def test_the_walk_names_them():
    assert [name for name, _, _ in walk(model()).buffers] == ["layers.1.mean", "layers.1.calls"]


def test_two_of_one_name_are_refused():
    class Holder(Layer):
        def __init__(self):
            self.parts = {1: Centred(), "1": Centred()}

    with pytest.raises(ValueError, match=r"Holder: more than one buffer is named parts\.1\.mean"):
        Holder().state_dict()


def test_they_are_broadcast():
    class World:
        """What two processes say to each other, one after the other."""

        said = None

        def bcast(self, value):
            self.said = value if self.said is None else self.said
            return self.said

    world = World()
    first, second = used(), model()
    for net in (first, second):
        minidl.distributed.broadcast(net, world)
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], value)
    world.said = None
    third = model()
    for net in (first, third):
        minidl.distributed.broadcast(net.parameters(), world)
    np.testing.assert_array_equal(third[0].w.data, first[0].w.data)
    assert third[1].calls == 0
