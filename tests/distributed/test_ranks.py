"""Ranks train what one process trains: with threads behind a communicator's methods, and under mpiexec where it is.

The threads' communicator is in ranks.py, what runs under mpiexec in rank_program.py; the loader's shards are here too.
"""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import DataLoader, Trainer, Variable, callbacks, distributed, layers, optim
from minidl import functions as F
from minidl.common import threads
from minidl.distributed import AllReduce, mpi
from tests.common.foreign import foreign, inner
from tests.distributed.ranks import World

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).standard_normal((50, 6))
T = np.random.default_rng(1).integers(0, 3, 50)
SEQUENCES = np.random.default_rng(2).standard_normal((26, 7, 2))
SUMS = SEQUENCES.sum((1, 2))[:, None] / 10
W = np.random.default_rng(4).integers(0, 3, 50).astype(float)
FIT = {"epochs": 3, "batch_size": 8, "verbose": 0}


def rng():
    return np.random.default_rng(3)


def mlp(comm, loss=F.cross_entropy, **settings):
    model = layers.MLP([7, 3], in_features=6, dtype=np.float64, rng=rng())
    optimizer = optim.Adam(model, lr=0.05, hooks=[optim.hooks.ClipGrad(0.3)])
    return Trainer(model, optimizer, loss, metrics=[F.accuracy], distributed=comm, **settings)


def grouped(comm):
    model = layers.MLP([7, 3], in_features=6, dtype=np.float64, rng=rng())
    groups = [{"params": model[0], "lr": 0.02}, {"params": model[-1], "momentum": 0.9}]
    optimizer = optim.RMSprop(groups, lr=0.01, hooks=[optim.hooks.ClipGrad(0.3)])
    given = [
        callbacks.ReduceOnPlateau("loss", factor=0.5, patience=0),
        callbacks.MovingAverage(0.9, evaluate=True),
    ]
    return Trainer(model, optimizer, F.cross_entropy, callbacks=given, distributed=comm)


def lstm(comm, stateful=False, **settings):
    generator = rng()
    model = layers.Sequential(
        layers.LSTM(
            2, 5, return_sequences=stateful, stateful=stateful, dtype=np.float64, rng=generator
        ),
        layers.Linear(5, 1, dtype=np.float64, rng=generator),
    )
    optimizer = optim.Momentum(
        model, lr=0.1, hooks=[optim.hooks.ClipGrad(0.1), optim.hooks.WeightDecay(1e-3)]
    )
    return Trainer(model, optimizer, F.mean_squared_error, distributed=comm, **settings)


def weights(trainer):
    return np.concatenate([p.data.ravel() for p in trainer.model.parameters()])


def loader(*arrays, **settings):
    """Whose order is that of a process, which threads have in common."""
    return DataLoader(*arrays, **{"batch_size": 8, "seed": 5} | settings)


# ---- the same as one process -----------------------------------------------------------------------------


RUNS = {
    "mlp": lambda comm: (mlp(comm), {}, loader(X, T)),
    "groups": lambda comm: (grouped(comm), {}, loader(X, T)),
    "ragged, fewer than ranks": lambda comm: (mlp(comm), {}, loader(X[:33], T[:33])),
    "accumulated": lambda comm: (mlp(comm), {"accumulate": 4}, loader(X[:33], T[:33])),
    "batch of 1": lambda comm: (mlp(comm), {"accumulate": 3}, loader(X[:10], T[:10], batch_size=1)),
    "weighted": lambda comm: (mlp(comm), {}, loader(X[:33], T[:33], W[:33])),
    "weighted, some ranks by 0": lambda comm: (
        mlp(comm),
        {"accumulate": 3},
        loader(X[:33], T[:33], W[:33] // 2, batch_size=4, seed=7),
    ),
    "dropped": lambda comm: (mlp(comm), {}, loader(X, T, drop_last=True)),
    "compiled": lambda comm: (mlp(comm, compile=True), {}, loader(X[:33], T[:33])),
    "lstm": lambda comm: (lstm(comm), {}, loader(SEQUENCES, SUMS)),
    "stateful": lambda comm: (
        lstm(comm, True),
        {},
        loader(SEQUENCES[:24], SEQUENCES[:24, :, :1], batch_size=6, shuffle=False),
    ),
}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("run", RUNS)
def test_ranks_train_what_one_process_does(run, size):
    def program(comm):
        trainer, settings, data = RUNS[run](comm)
        held = tuple(array[:12] for array in data.arrays)
        history = trainer.fit(data, epochs=3, verbose=0, validation=held, **settings)
        return trainer, history, comm

    ((alone, truth, _),) = World(1).run(program)
    for trainer, history, comm in World(size).run(program):
        np.testing.assert_allclose(weights(trainer), weights(alone), rtol=1e-9, atol=1e-12)
        assert [list(row) for row in history.rows] == [list(row) for row in truth.rows]
        for name in truth:
            np.testing.assert_allclose(history[name], truth[name], rtol=1e-9)
        assert (
            trainer.steps == alone.steps and comm.sums == alone.steps + 3
        )  # one a step, one a validation


def test_one_rank_is_bit_equal_to_no_rank():
    for distributed_by in (World(1).run(lambda comm: comm)[0], False):
        minidl.seed(0)
        trainer = mlp(distributed_by)
        trainer.fit(X, T, **FIT)
        assert trainer.ranks.size == 1 and len(trainer.optimizer.hooks) == 1
        found = weights(trainer) if distributed_by else found  # noqa: F821  # of the round before
    np.testing.assert_array_equal(weights(trainer), found)


def test_parameters_are_those_of_the_first_rank_also_lazy_ones():
    def program(comm):
        model = layers.MLP([4, 3], rng=np.random.default_rng(comm.rank))
        trainer = Trainer(
            model, optim.Adam(model, lr=0.01 * (1 + comm.rank)), F.cross_entropy, distributed=comm
        )
        trainer.fit(loader(X, T, seed=comm.rank), epochs=2, verbose=0)
        return weights(trainer), trainer.optimizer.lr, trainer.history

    first, *others = World(3).run(program)
    for found in others:
        np.testing.assert_array_equal(found[0], first[0])
        assert found[1:] == first[1:]


def test_dropout_differs_by_rank():
    def program(comm):
        seen, model = [], layers.Sequential(layers.Linear(6, 3), layers.Dropout(0.5, rng=rng()))

        class Look(callbacks.Callback):
            def on_epoch_begin(self, epoch):
                seen.append(model[1].rng.random())

        Trainer(model, optim.SGD(model), F.cross_entropy, callbacks=[Look()], distributed=comm).fit(
            loader(X, T), epochs=1, verbose=0
        )
        return seen

    assert len({draw for (draw,) in World(3).run(program)}) == 3


# ---- checkpoints and callbacks ---------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
@pytest.mark.parametrize("steps", [7, 10])  # the end of an epoch, and within one
def test_a_checkpoint_resumes_on_another_number_of_ranks(before, after, steps, tmp_path):
    def program(comm, path=tmp_path / "state.npz", **settings):
        saved = [callbacks.Checkpoint(path)] if path else []
        trainer = mlp(comm, callbacks=[callbacks.EarlyStopping("loss", patience=9), *saved])
        trainer.fit(loader(X, T), epochs=3, verbose=0, **settings)
        return trainer

    (whole,) = World(1).run(lambda comm: program(comm, None))
    World(before).run(lambda comm: program(comm, max_steps=steps))
    for trainer in World(after).run(lambda comm: program(comm, resume="auto")):
        np.testing.assert_allclose(weights(trainer), weights(whole), rtol=1e-9, atol=1e-12)
        for name in ("loss", "accuracy"):
            np.testing.assert_allclose(trainer.history[name], whole.history[name], rtol=1e-9)


def test_the_first_rank_shows_and_writes(tmp_path, capsys):
    def program(comm):
        folder = tmp_path / str(comm.rank)
        folder.mkdir()
        kept = [
            callbacks.Logger(folder / "log.csv"),
            callbacks.Checkpoint(folder / "state.npz", every=3),
        ]
        trainer = mlp(comm, callbacks=kept)
        trainer.fit(loader(X, T), epochs=2, verbose=2)
        return sorted(path.name for path in folder.iterdir())

    assert World(3).run(program) == [["log.csv", "state.npz"], [], []]
    assert capsys.readouterr().out.count("epoch ") == 2


def test_only_arrays_are_shared_out():
    def program(comm):
        with pytest.raises(
            TypeError, match=r"fit: distributed: want arrays or a DataLoader.* a list"
        ):
            mlp(comm).fit([(X, T)], epochs=1)
        return True

    assert all(World(2).run(program))


def test_a_dry_run_and_the_rate_finder_leave_all_as_it_was():
    def program(comm):
        trainer = mlp(comm)
        before = weights(trainer)
        suggestions = trainer.find_lr(loader(X, T), steps=20, start=1e-4).rates
        trainer.fit(loader(X, T), epochs=2, verbose=0, fast_dev_run=True)
        np.testing.assert_array_equal(weights(trainer), before)
        return suggestions

    first, *others = World(2).run(program)
    assert others == [first]


@pytest.mark.parametrize("when", ["on_batch_end", "on_epoch_begin", "on_epoch_end"])
def test_a_rank_that_stops_stops_all(when):
    def program(comm):
        class Stop(callbacks.Callback):
            pass

        def stop(self, *_):
            self.trainer.stop |= comm.rank == 1 and self.trainer.steps >= 3

        setattr(Stop, when, stop)
        trainer = mlp(comm, callbacks=[Stop()])
        trainer.fit(loader(X, T), epochs=4, verbose=0)
        return trainer.steps

    (steps,) = set(World(3).run(program))
    assert steps == {"on_batch_end": 4, "on_epoch_begin": 7, "on_epoch_end": 7}[when]


def test_an_error_of_the_first_rank_is_everyones():
    def program(comm):
        with pytest.raises(FileNotFoundError, match="no file"):
            mlp(comm).fit(loader(X, T), epochs=1, resume="nowhere.npz")
        return True

    assert all(World(2).run(program))


def test_a_stateful_model_goes_on_from_epochs_only(tmp_path):
    data = SEQUENCES[:24], SEQUENCES[:24, :, :1]

    def program(comm, **settings):
        trainer = lstm(comm, True, callbacks=[callbacks.Checkpoint(tmp_path / "state.npz")])
        trainer.fit(loader(*data, batch_size=6, shuffle=False), epochs=2, verbose=0, **settings)

    World(2).run(lambda comm: program(comm, max_steps=2))
    with pytest.raises(ValueError, match="one rank's only"):
        World(2).run(lambda comm: program(comm, resume="auto"))


# ---- the hook --------------------------------------------------------------------------------------------


def step(comm, gradients, samples, **settings):
    """One update of three parameters, whose gradients in a rank are numbers or None."""
    params = [Variable(np.ones(2)) for _ in range(3)]
    reduce, clip = AllReduce(comm, **settings), optim.hooks.ClipGrad(100.0)
    optimizer = optim.SGD(params, lr=1.0, hooks=[reduce, clip])
    reduce.samples = samples[comm.rank]
    for p, g in zip(params, gradients[comm.rank]):
        if g is not None:
            (p * g).sum().backward()
    optimizer.update()
    return [float(p.data[0]) for p in params], clip.last_norm, optimizer.state_dict(), comm.bytes


def test_gradients_are_weighted_means_and_missing_ones_zero():
    cases = [(1.0, None, 4.0), (3.0, None, None)]
    for found, norm, state, sent in World(2).run(lambda comm: step(comm, cases, (1, 3))):
        assert found == [1 - 2.5, 1.0, 0.0]
        assert norm == pytest.approx(
            np.sqrt(2 * 2.5**2 + 2 * 1.0**2)
        )  # what stands behind it sees the means
        assert [state[f"{i}.t"] for i in range(3)] == [
            1,
            0,
            1,
        ]  # one that has none anywhere is skipped
        assert sent == 8 * (6 + 1 + 3)


def test_a_rank_without_samples_or_gradients_takes_part():
    for found, *_ in World(2).run(lambda comm: step(comm, [(1.0, 2.0, 4.0), (None,) * 3], (5, 0))):
        assert found == [0.0, -1.0, -3.0]


def test_half_precision_counts_samples_exactly():
    def program(comm):
        p, reduce = Variable(np.ones(2, np.float16)), AllReduce(comm)
        optimizer = optim.SGD([p], lr=1.0, hooks=[reduce])
        reduce.samples = 4099 + comm.rank
        (p * 0.5).sum().backward()
        optimizer.update()
        return p.data

    for data in World(2).run(program):
        assert data.dtype == np.float16 and data.tolist() == [0.5, 0.5]


def test_arrays_that_are_not_numpys_are_averaged_too():
    def program(comm):
        p = Variable(foreign(np.ones(3)))
        distributed.broadcast([p], comm)
        optimizer = optim.SGD([p], lr=1.0, hooks=[AllReduce(comm)])
        (p * (1.0 + comm.rank)).sum().backward()
        optimizer.update()
        return inner(p.data)

    for data in World(2).run(program):
        np.testing.assert_array_equal(data, np.full(3, -0.5))


def test_parameters_that_differ_are_an_error_that_names_the_update():
    def program(comm, at):
        p = Variable(np.ones(3))
        optimizer = optim.SGD([p], hooks=[AllReduce(comm, check=4)])
        for i in range(9):
            if i == at and comm.rank == 2:
                p.data = np.nextafter(p.data, 2)
            optimizer.cleargrads()
            (p * p).sum().backward()
            optimizer.update()

    for at, named in ((0, 1), (2, 5), (4, 5)):
        with pytest.raises(RuntimeError, match=rf"before update {named} .*ranks \[2\] differ"):
            World(3).run(lambda comm, at=at: program(comm, at))


def test_a_fit_that_drifts_ends_with_its_epoch():
    def program(comm):
        class Drift(callbacks.Callback):
            def on_batch_end(self, batch, logs):
                self.trainer.model.parameters()[0].data[...] += comm.rank

        mlp(comm, callbacks=[Drift()]).fit(loader(X, T), epochs=4, verbose=0)

    with pytest.raises(RuntimeError, match="after 7 updates"):
        World(2).run(program)


def test_broadcast_gives_the_first_ranks_values():
    def program(comm):
        model = layers.Linear(3, 2, rng=np.random.default_rng(comm.rank))
        distributed.broadcast(model.parameters(), comm)
        return weights(Trainer(model, optim.SGD(model), F.mean_squared_error))

    first, second = World(2).run(program)
    np.testing.assert_array_equal(first, second)


def test_train_step_weights_by_samples():
    def program(comm, cuts=(0, 5, 16)):
        trainer = mlp(comm)
        part = slice(cuts[comm.rank], cuts[comm.rank + 1])
        trainer.train_step(X[part], T[part])
        return weights(trainer)

    (whole,) = World(1).run(lambda comm: program(comm, (0, 16)))
    for found in World(2).run(program):
        np.testing.assert_allclose(found, whole, rtol=1e-12)


def test_bad_arguments():
    comm = World(2).run(lambda comm: comm)[0]
    own = type("Own", (), {"update": None, "cleargrads": None})()
    with pytest.raises(TypeError, match="hooks"):
        Trainer(lambda x: x, own, F.mean_squared_error, distributed=comm)
    with pytest.raises(ValueError, match="check"):
        AllReduce(comm, check=0)


# ---- the loader ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_shards_make_up_the_batches(ranks):
    settings = {"batch_size": 5, "seed": 4}
    whole = list(DataLoader(range(23), **settings))
    shards = [DataLoader(range(23), shard=(rank, ranks), **settings) for rank in range(ranks)]
    parts = [list(shard) for shard in shards]
    for i, (batch,) in enumerate(whole):
        own = [part[i][0][: shard.samples(i)] for part, shard in zip(parts, shards)]
        np.testing.assert_array_equal(np.concatenate(own), batch)
        assert max(map(len, own)) - min(map(len, own)) <= 1
        assert all(len(part[i][0]) == max(1, len(mine)) for part, mine in zip(parts, own))


def test_shards_are_checked():
    for shard, error in (
        ((2, 2), ValueError),
        ((-1, 2), ValueError),
        ((0, 0), ValueError),
        ((0.5, 2), TypeError),
    ):
        with pytest.raises(error, match="shard"):
            DataLoader(range(4), shard=shard)


# ---- starting --------------------------------------------------------------------------------------------


@pytest.fixture
def fresh():
    mpi.world.cache_clear()
    yield
    mpi.world.cache_clear()


def test_without_mpi_the_extra_is_named(monkeypatch, fresh):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[mpi\]'"):
        mlp(True)
    assert mlp(False).ranks.size == 1


@pytest.mark.parametrize(
    ("ranks", "said", "words"),
    [
        (
            4,
            {"OPENBLAS_NUM_THREADS": "2"},
            "4 ranks with . BLAS threads each .*OPENBLAS_NUM_THREADS",
        ),
        (10**4, {"OPENBLAS_NUM_THREADS": "1"}, "10000 ranks .*: start"),
        (1, {"OPENBLAS_NUM_THREADS": "1"}, None),
        (1, {}, None),
    ],
)
def test_ranks_and_threads_beyond_the_cores_are_warned_of(ranks, said, words, monkeypatch):
    state = [2]
    monkeypatch.setattr(mpi, "blas_threads", lambda: state[0])
    monkeypatch.setattr(mpi, "set_usual_threads", lambda n: state.__setitem__(0, n))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
        state[0] = int(value)

    class Node:
        Get_rank, Get_size, allgather = (
            (lambda self: 0),
            (lambda self: ranks),
            (lambda self, cores: [cores] * ranks),
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mpi.share_cores(Node())
    assert [bool(words)] == [len(caught) == 1]
    if words:
        with pytest.warns(UserWarning, match=words):
            mpi.share_cores(Node())
    if not said:
        assert state == [4 // ranks]


# ---- under mpiexec ---------------------------------------------------------------------------------------


def mpiexec():
    """The mpiexec of the MPI that mpi4py loads, or None."""
    try:
        import mpi4py  # noqa: F401
    except ImportError:
        return None
    beside = Path(sys.executable).with_name("mpiexec")
    return str(beside) if beside.exists() else shutil.which("mpiexec")


MPIEXEC = mpiexec()
needs_mpi = pytest.mark.skipif(MPIEXEC is None, reason="mpi4py or mpiexec is missing")


def launch(size, *arguments, module=True, folder=ROOT, seconds=120):
    """Run rank_program.py; its exit status and all that it said."""
    command = [MPIEXEC, "-n", str(size), sys.executable, *(["-m", "mpi4py"] if module else [])]
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "distributed" / "rank_program.py"), *map(str, arguments)],
        timeout=seconds,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    return done.returncode, done.stdout


@needs_mpi
@pytest.mark.parametrize("name", ["mlp_digits", "lstm_sunspots"])
def test_examples_give_the_same_weights_on_1_2_and_4_ranks(name, tmp_path):
    pytest.importorskip("matplotlib")
    found = {}
    for size in (1, 2, 4):
        status, said = launch(
            size, "example", name, "float64", tmp_path / f"{size}.npz", folder=tmp_path
        )
        assert status == 0, said
        assert said.count("wrote out") == 1
        with np.load(tmp_path / f"{size}.npz") as file:
            found[size] = dict(file)
    assert len(found[1]) > 5
    for size in (2, 4):
        assert list(found[size]) == list(found[1])
        for key, value in found[size].items():
            np.testing.assert_allclose(
                value, found[1][key], rtol=0, atol=1e-9, err_msg=f"{key} on {size} ranks"
            )


@needs_mpi
@pytest.mark.parametrize("module", [True, False], ids=["-m mpi4py", "alone"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "ValueError: a fault of this rank alone"),
        ("kill", ""),  # mpiexec's own words
        ("exit", "this rank leaves"),
        ("drift", "after 20 updates, the parameters of ranks [1] differ"),
    ],
)
def test_a_rank_that_fails_ends_the_job(how, words, module):
    status, said = launch(2, "fault", how, 1, module=module, seconds=60)
    assert status != 0 and words in said and "ended at" not in said


@needs_mpi
@pytest.mark.parametrize("how", ["stop", "term"])
def test_ranks_end_together(how):
    status, said = launch(4, "fault", how, 2, seconds=60)
    assert status == 0, said
    assert said.count("ended at 20 SIGTERM" if how == "term" else "ended at 20 None") == 4, said


def test_an_optimizer_that_is_assigned_is_averaged_too():
    def program(comm):
        trainer = mlp(comm)
        trainer.optimizer = optim.SGD(trainer.model, lr=0.1)
        trainer.fit(loader(X, T), epochs=2, verbose=0)
        return weights(trainer)

    ((alone,), (first, second)) = (World(size).run(program) for size in (1, 2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, rtol=1e-9, atol=1e-12)
