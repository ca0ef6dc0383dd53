"""The DataLoader: every sample once an epoch, reproducible orders, resumable state, and bad input."""

import copy
import json

import numpy as np
import pytest

import minidl
from minidl.autograd.variable import Variable
from minidl.data import DataLoader, datasets


def order(loader: DataLoader) -> list[int]:
    return np.concatenate([batch[0] for batch in loader]).tolist()


def test_in_order() -> None:
    x, t = np.arange(20.0).reshape(10, 2), np.arange(10)
    loader = DataLoader(x, t, batch_size=4, shuffle=False)
    batches = list(loader)
    assert len(loader) == len(batches) == 3 and loader.size == 10 and loader.batch_size == 4
    assert [len(bt) for _, bt in batches] == [4, 4, 2]  # the incomplete one is kept
    assert all(isinstance(batch, tuple) and np.shares_memory(batch[0], x) for batch in batches)
    assert np.array_equal(np.concatenate([bx for bx, _ in batches]), x)
    assert order(DataLoader(t, shuffle=False)) == list(range(10))


@pytest.mark.parametrize(
    ("size", "batch_size", "drop_last", "lengths"),
    [
        (10, 4, False, [4, 4, 2]),
        (10, 4, True, [4, 4]),
        (8, 4, False, [4, 4]),
        (8, 4, True, [4, 4]),
        (3, 4, False, [3]),
        (4, 4, True, [4]),
        (1, 1, False, [1]),
    ],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_lengths(
    size: int, batch_size: int, drop_last: bool, lengths: list[int], shuffle: bool
) -> None:
    loader = DataLoader(
        np.arange(size), batch_size=batch_size, drop_last=drop_last, shuffle=shuffle, seed=0
    )
    assert [len(x) for (x,) in loader] == lengths
    assert len(loader) == len(lengths)


def test_shuffled_arrays_stay_together_and_nothing_is_lost() -> None:
    x = np.arange(50, dtype=np.float32)[:, None] * [1, 10]
    loader = DataLoader(x, np.arange(50), batch_size=7, seed=0)
    seen = []
    for bx, bt in loader:
        assert np.array_equal(bx[:, 0], bt) and np.array_equal(bx[:, 1], 10 * bt)
        assert not np.shares_memory(bx, x)
        seen += bt.tolist()
    assert sorted(seen) == list(range(50)) and seen != list(range(50))


def test_every_epoch_has_its_own_order_and_the_seed_decides_all() -> None:
    first, again, other = (DataLoader(range(100), seed=seed) for seed in (1, 1, 2))
    epochs = [order(first) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert [order(again) for _ in range(3)] == epochs
    assert order(other) != epochs[0]


def test_an_epoch_left_early_counts_as_one() -> None:
    left, whole = DataLoader(range(100), seed=1), DataLoader(range(100), seed=1)
    next(iter(left))
    order(whole)
    assert order(left) == order(whole)


def test_an_epoch_goes_on_where_its_state_was_taken() -> None:
    for shuffle in (True, False):
        loader = DataLoader(range(10), batch_size=3, shuffle=shuffle, seed=1)
        for done in range(5):
            twin = DataLoader(range(10), batch_size=3, shuffle=shuffle, seed=2)
            batches = iter(loader)
            for _ in range(done):
                next(batches, None)
            state = json.loads(json.dumps(loader.state_dict()))
            twin.load_state_dict(state)
            rest = [x.tolist() for (x,) in batches]
            assert [x.tolist() for (x,) in twin] == rest and len(rest) == 4 - done
            assert order(twin) == order(loader)  # and so do the epochs after it


def test_a_state_between_epochs() -> None:
    loader, twin = DataLoader(range(10), seed=1), DataLoader(range(10), seed=2)
    order(loader)
    twin.load_state_dict(loader.state_dict())
    assert order(twin) == order(loader)


def test_copies_have_generators_of_their_own() -> None:
    loader = DataLoader(range(10), seed=1)
    twin = copy.copy(loader)
    assert [order(twin), order(twin)] == [order(loader), order(loader)]
    next(iter(loader))
    loader.load_state_dict(loader.state_dict())
    assert order(loader.in_order()) == list(range(10))  # from its beginning


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4}, "batch_size: got 4, want 3"),
        ({"size": 9}, "size: got 9, want 10"),
        ({"given": 9}, "given=9, of 4"),
        ({"arrays": []}, "arrays: got "),
        ({"given": -1}, "given must be at least 0, got -1"),
        ({"before": {}}, "got no state of a generator"),
        ({"generator": 3}, "got no state of a generator"),
    ],
)
def test_states_of_others(change, message: str) -> None:
    loader, twin = (
        DataLoader(range(10), batch_size=3, seed=1),
        DataLoader(range(10), batch_size=3, seed=1),
    )
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(loader.state_dict() | change)
    assert order(loader) == order(twin)
    with pytest.raises(ValueError, match="size: got none"):
        loader.load_state_dict({})
    with pytest.raises(TypeError, match="want a dict, got list"):
        loader.load_state_dict([])


def test_two_epochs_at_once_do_not_disturb_each_other() -> None:
    loader = DataLoader(range(6), batch_size=1, seed=0)
    pairs = [(a.item(), b.item()) for (a,) in loader for (b,) in loader]
    assert sorted(pairs) == [(a, b) for a in range(6) for b in range(6)]


def test_the_default_seed_comes_from_minidl() -> None:
    minidl.seed(5)
    a, b = DataLoader(range(100)), DataLoader(range(100))
    minidl.seed(5)
    again = DataLoader(range(100))
    assert order(a) == order(again) != order(b)


def test_numpys_global_state_is_untouched() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - this is the state that must not change
    order(DataLoader(range(100)))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002 - as above


def test_a_loader_in_order_draws_nothing() -> None:
    minidl.seed(5)
    DataLoader(range(3), shuffle=False)
    with_it = DataLoader(range(100))
    minidl.seed(5)
    assert order(with_it) == order(DataLoader(range(100)))


def test_lists_and_other_dtypes() -> None:
    words, numbers = next(iter(DataLoader(["a", "b"], [1, 2], shuffle=False)))
    assert words.tolist() == ["a", "b"] and numbers.dtype == np.int64
    (x,) = next(iter(DataLoader(np.ones((2, 3), np.float32), batch_size=np.int64(2))))
    assert x.dtype == np.float32 and x.shape == (2, 3)


def test_repr() -> None:
    text = repr(DataLoader(range(5), batch_size=2, shuffle=False))
    assert text == "DataLoader(5 samples, batch_size=2, shuffle=False, drop_last=False)"


@pytest.mark.parametrize(
    ("arrays", "keywords", "error", "message"),
    [
        ((), {}, ValueError, "want at least one array"),
        (
            ([1, 2], [1, 2, 3]),
            {},
            ValueError,
            r"want arrays of one length of at least 1, got lengths \[2, 3\]",
        ),
        (([], []), {}, ValueError, r"of at least 1, got lengths \[0, 0\]"),
        ((3.0,), {}, ValueError, "array 0: want an axis of samples, got a float"),
        (([1], [[1], [2, 3]]), {}, ValueError, "array 1: want an array or a list of rows"),
        (([1], [None]), {}, TypeError, "array 1: .*None"),
        (([1], {"a": 1}), {}, ValueError, r"array 1\['a'\]: want an axis of samples, got a int"),
        (([1], {"a": [1], "b": [1, 2]}), {}, ValueError, r"one length .* got lengths \[1, 1, 2\]"),
        (([1], None), {}, TypeError, "array 1: want an array, got None"),
        (([1], {}), {}, TypeError, "array 1: want an array, got {}"),
        (([1, 2],), {"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        (([1, 2],), {"batch_size": -3}, ValueError, "batch_size must be at least 1, got -3"),
        (([1, 2],), {"batch_size": True}, TypeError, "batch_size must be an int, got True"),
        (([1, 2],), {"batch_size": 2.0}, TypeError, r"batch_size must be an int, got 2\.0"),
        (([1, 2],), {"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        (([1, 2],), {"seed": "x"}, TypeError, "seed must be an int, got 'x'"),
        (([1, 2],), {"shuffle": "no"}, TypeError, "shuffle must be True or False, got 'no'"),
        (([1, 2],), {"shard": 3}, TypeError, r"want shard=\(rank, size\), got 3"),
        (([1, 2],), {"shard": (0, 1, 2)}, TypeError, r"want shard=\(rank, size\)"),
        (([1, 2],), {"shard": (2, 2)}, ValueError, "with rank < size"),
        ((np.ma.masked_array([1, 2], [0, 1]),), {}, TypeError, "array 0: .*mask"),
        (({1, 2},), {}, TypeError, "array 0.*set"),
        ((np.array([1, None]),), {}, TypeError, "array 0.*object"),
        (
            ([1, 2],),
            {"batch_size": 3, "drop_last": True},
            ValueError,
            "got 2 samples and batch_size=3",
        ),
    ],
)
def test_bad_arguments(arrays, keywords, error, message: str) -> None:
    with pytest.raises(error, match=f"^DataLoader: .*{message}"):
        DataLoader(*arrays, **keywords)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_variables_are_refused(requires_grad: bool) -> None:
    x = Variable(np.ones((4, 2)), requires_grad=requires_grad)
    with pytest.raises(
        TypeError, match=r"array 0: want a plain array, .* pass its \.data, got a Variable"
    ):
        DataLoader(x, np.ones(4))


class Labelled:
    """A series of another library, which is indexed by labels."""

    dtype = np.dtype(float)
    shape = (3,)

    def __array__(self, dtype=None, copy=None):
        return np.array([1.0, 2.0, 3.0])

    def __len__(self):
        return 3

    def __getitem__(self, label):
        raise KeyError(label)


def test_series_of_other_libraries_are_taken_by_position() -> None:
    (x,) = next(iter(DataLoader(Labelled(), batch_size=2, shuffle=False)))
    assert type(x) is np.ndarray and x.tolist() == [1.0, 2.0]
    x, t = datasets.windows(Labelled(), 1)
    assert x.ravel().tolist() == [1.0, 2.0] and t.ravel().tolist() == [2.0, 3.0]


def test_tensors_are_taken_as_arrays() -> None:
    torch = pytest.importorskip("torch")
    (x,) = next(iter(DataLoader(torch.ones(3, 2), batch_size=2)))
    assert type(x) is np.ndarray and x.dtype == np.float32
    with pytest.raises(TypeError, match=r"DataLoader: array 0: .*requires grad"):
        DataLoader(torch.ones(3, requires_grad=True))


@pytest.mark.parametrize("value", ["a", None, 1.5, True])
def test_the_seed_is_an_int(value) -> None:
    with pytest.raises(TypeError, match="seed must be an int"):
        minidl.seed(value)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        minidl.seed(-1)


def test_trees_of_arrays_are_cut_as_they_are() -> None:
    x, t = np.arange(8.0).reshape(4, 2), np.arange(4)
    loader = DataLoader({"a": x, "b": t}, (x[:, 0], t), batch_size=3, seed=0)
    seen = 0
    for inputs, targets in loader:
        assert type(inputs) is dict and type(targets) is tuple
        first, second = targets
        assert np.array_equal(inputs["a"][:, 0], first) and np.array_equal(first, 2.0 * second)
        seen += len(first)
    assert seen == 4 and loader.size == 4


@pytest.mark.parametrize("arrays", [(np.ones((4, 3)), np.ones((4, 3))), (np.ones(4), np.ones(4))])
def test_a_tuple_of_arrays_is_not_taken_for_one_array(arrays):
    """It is one tree: the inputs; what wants targets as well says so."""
    ((part,), (rest,)) = DataLoader(arrays, batch_size=2)
    assert type(part) is type(rest) is tuple and len(part) == 2
    model = minidl.layers.Linear(1)
    trainer = minidl.Trainer(model, minidl.optim.SGD(model), minidl.functions.mean_squared_error)
    with pytest.raises(ValueError, match=r"want a DataLoader of \(inputs, targets\).* one of 1"):
        trainer.fit(DataLoader(arrays), epochs=1)
