"""The benchmarks' own promises: minidl follows the hand-written trajectories, what is wrong or missing is said.

Nothing is timed here in earnest; the figures are what `make bench` gives.
"""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import cold, growth, report, run, scaling, tables
from benchmarks.peers import minidl_compiled, minidl_eager, numpy_by_hand
from benchmarks.worker import Bench, Worker, import_peer
from benchmarks.workloads import BATCHES, WORKLOADS, deviation, probe, turns


def trajectories(module, workload, steps):
    data = workload.data()
    if workload.name == "W6":  # fewer time steps: it is the slowest by far
        data.batches = [(x[:, :10].copy(), t) for x, t in data.batches]
        data.x = data.batches[0][0]
    made = getattr(module, workload.name.lower())(data)
    for name, step in ({"": made} if callable(made) else made).items():
        yield name, [probe(step()) for _ in range(steps)]


@pytest.mark.parametrize("name", WORKLOADS)
def test_minidl_follows_the_hand_written_trajectory(name):
    workload = WORKLOADS[name]
    steps = min(workload.checks, 3 if name in ("W4", "W5", "W6") else 10)
    compiled = [minidl_compiled] if name in ("W2", "W3", "W5", "W7", "W8", "W9", "W11") else []
    found = {
        label: way
        for module in (numpy_by_hand, minidl_eager, *compiled)
        for label, way in (
            (f"{module.__name__} {variant}", way)
            for variant, way in trajectories(module, workload, steps)
        )
    }
    truth = next(iter(found.values()))
    assert len(found) > 1
    assert {
        label: far
        for label, way in found.items()
        if not (far := deviation(way, truth)) <= workload.rtol
    } == {}
    assert (
        steps == 1 or deviation(truth[1:], truth[:1] * (steps - 1)) > workload.rtol
    )  # it does train


def test_steps_take_batches_in_turns_and_the_first_calls_are_timed():
    seen, made = [], []

    def w3(data):
        made.append(turns(data))
        return lambda: seen.append(next(made[-1])[0]) or 0.0

    bench = Bench(type("Peer", (), {"w3": staticmethod(w3)}))
    bench.check("W3")
    assert len({id(x) for x in seen}) == BATCHES and seen[0] is seen[BATCHES]
    assert not np.array_equal(seen[0], seen[1])
    bench.tune([""], 1e-3)
    before = len(seen)
    found = bench.begin(calls=100, seconds=10)
    assert found["calls"] == 100 == len(seen) - before and len(made) == 2
    assert bench.begin(calls=10**9, seconds=1e-3)["calls"] < 10**6


def test_a_peer_gets_data_of_its_own():
    first, second = WORKLOADS["W3"].data(), WORKLOADS["W3"].data()
    first.weights[0][:] = 0
    assert second.weights[0].all()
    labels = {tuple(x): set() for x in second.x}
    for x, t in zip(second.x, second.t):
        labels[tuple(x)].add(int(t))
    assert [len(found) for found in labels.values()] == [
        10,
        10,
    ]  # so no label can be learned by heart


def test_deviation():
    truth = [probe(x) for x in (1.0, (2.0, np.arange(100.0)))]
    assert deviation(truth, truth) == 0
    assert deviation([probe(1.0), probe((2.0, np.arange(100.0) * 1.01))], truth) == pytest.approx(
        0.01
    )
    for wrong in (
        [probe(1.0)],
        [probe(1.0), probe(2.0)],
        [probe(1.0), probe((np.nan, np.arange(100.0)))],
    ):
        assert deviation(wrong, truth) == np.inf


class Fake:
    """A worker in this process; its library is a module of one function."""

    error, version = "", "1.0"

    def __init__(self, **functions):
        self.bench = Bench(
            type("Peer", (), {name: staticmethod(f) for name, f in functions.items()})
        )

    def ask(self, do, **request):
        return getattr(self.bench, do)(**request)


def descent(factor):
    """W1's w1, with a learning rate that is wrong by a factor."""

    def w1(data):
        data.lr *= factor
        return numpy_by_hand.w1(data)

    return w1


def broken(data):
    raise ArithmeticError("no luck")


def test_who_deviates_is_refused_and_not_timed():
    workers = {
        run.TRUTH: Fake(w1=descent(1)),
        "same": Fake(w1=descent(1)),
        "other": Fake(w1=descent(1 + 1e-6)),
        "half": Fake(w1=lambda data: {"good": numpy_by_hand.w1(data), "bad": lambda: 0.0}),
        "dead": Fake(w1=lambda data: lambda: broken(data)),
        "without": Fake(),
    }
    row = run.measure(replace(WORKLOADS["W1"], checks=5), workers, rounds=2, seconds=0.001)
    assert {peer: len(times) for peer, times in row.times.items()} == {
        run.TRUTH: 2,
        "same": 2,
        "half": 2,
    }
    assert set(row.wrong) == {"other", "half bad", "dead"} and row.variant["half"] == "good"
    assert "deviates by" in row.wrong["other"] and row.wrong["dead"] == "ArithmeticError: no luck"
    text = run.markdown(
        {"W1": row}, dict.fromkeys(workers, "1.0"), {"gone": "missing: gone"}, "here"
    )
    assert (
        "- W1, other: deviates by" in text
        and "- gone: missing: gone" in text
        and "- W1, half: good" in text
    )


def test_ratios_are_of_rounds_and_to_the_fastest_library():
    times = {
        run.TRUTH: [1.0, 2.0],
        "minidl_eager": [2.0, 8.0],
        "torch_eager": [4.0, 8.0],
        "slow": [9.0, 9.0],
    }
    row = run.Row(times=times)
    assert run.fastest(row) == "torch_eager"
    found = run.ratios(row, "torch_eager")["minidl_eager"]
    assert (found["median"], found["min"], found["max"]) == (0.75, 0.5, 1.0)
    assert (
        run.show(found) == "0.75 (0.62-0.88)"
        and run.show(dict.fromkeys(found, 0.00123)) == "0.0012 (0.0012-0.0012)"
    )
    assert run.ratios(row, "missing") == {} and run.fastest(run.Row()) is None
    assert (
        json.loads(json.dumps(run.as_data({"W1": row})))["workloads"]["W1"]["fastest_library"]
        == "torch_eager"
    )


def test_the_tables_of_the_documentation(tmp_path, capsys):
    times = {"torch_eager": [4.0, 8.0], "minidl_compiled": [1.0, 2.0], run.TRUTH: [2.0, 4.0]}
    begun = {"torch_eager": [4.0, 4.0], "minidl_compiled": [3.0, 3.0]}
    row = run.Row(times=times, begun=begun, first={"minidl_compiled": 0.5})
    data = run.as_data({"W1": row}, settings="here")
    (tmp_path / "found.json").write_text(json.dumps(data))
    tables.main([str(tmp_path / "found.json")])
    text = capsys.readouterr().out
    assert "| 0.50 (0.50-0.50) | 0.25 (0.25-0.25) |" in text and "| 0.75 (0.75-0.75) |" in text
    assert "microseconds: W1 6.00" in text and "| W1 | 0.500 |" in text


def test_the_table(tmp_path, capsys):
    text = report.table(["", "a"], [["W1", report.number(1234.5)], ["x|y", report.number(None)]])
    assert text.splitlines() == ["|  | a |", "| --- | --- |", "| W1 | 1,234 |", "| x/y |  |"]
    assert [report.number(v) for v in (0, 0.2345, 2.345, 23.45, 234.5)] == [
        "0",
        "0.234",
        "2.35",
        "23.4",
        "234",
    ]
    report.save(tmp_path / "new" / "name", text, {"a": 1})
    assert (
        tmp_path / "new" / "name.md"
    ).read_text() == text + "\n" and text in capsys.readouterr().out
    assert json.loads((tmp_path / "new" / "name.json").read_text()) == {"a": 1}
    with pytest.raises(AssertionError, match="longer or shorter"):
        report.table(["a"], [["b", "c"]])


def test_a_missing_library_is_named_and_a_broken_one_is_not_called_missing(monkeypatch):
    def fails(error):
        def import_module(name):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(importlib, "import_module", import_module)
            return import_peer("torch_eager")

    assert fails(ModuleNotFoundError("", name="torch")) == (None, "missing: torch is not installed")
    assert fails(ModuleNotFoundError("", name="minidl.x"))[1].startswith("failed: ")
    assert fails(OSError("no such library")) == (None, "failed: OSError: no such library")


def test_a_process_answers_and_says_when_it_cannot():
    worker = Worker("numpy_by_hand", threads=1)
    assert worker.version.startswith("NumPy ")
    assert set(worker.ask("check", workload="W1")["variants"][""]) == {"probes", "first"}
    assert worker.ask("tune", variants=[""], seconds=0.001)["n"] > 1
    assert worker.ask("time")["us"] > 0
    assert worker.ask("nonsense") == {
        "error": "AttributeError: 'Bench' object has no attribute 'nonsense'"
    }
    worker.close()
    absent = Worker("no_such_peer", threads=1)
    assert absent.error.startswith("failed: ") and absent.ask("time") == {"error": absent.error}
    absent.close()


def test_the_chain_of_growth_has_the_right_slope():
    for n in (1, 10, 1_000):
        assert growth.minidl_chain(n)().data[-1] == pytest.approx(growth.slope(n), rel=1e-9)


def test_more_ranks_are_predicted_by_the_model_of_the_documentation():
    fixed, work, nbytes, latency, bandwidth = 1e-3, 8e-3, 1_000_000, 1e-5, 1e9
    times = [
        scaling.predicted(ranks, fixed, work, nbytes, latency, bandwidth)
        for ranks in (1, 2, 4, 1000)
    ]
    assert times[0] == pytest.approx(9e-3)
    assert times[1] == pytest.approx(1e-3 + 4e-3 + 1e-5 + 1e-3)  # one message each way
    assert times[2] == pytest.approx(1e-3 + 2e-3 + 4e-5 + 1.5e-3)  # halves, then quarters, and back
    assert times[3] == pytest.approx(1e-3 + 8e-6 + 2e-4 + 1.998e-3)


def test_the_cold_run_trains_and_says_what_fails(tmp_path, monkeypatch, capsys):
    seconds, used, printed = cold.cold("with_minidl")
    epochs, accuracy = printed.split()
    assert seconds > 0 and used > 0 and 1 < int(epochs) < 30 and float(accuracy) >= 0.97
    monkeypatch.setitem(cold.SCRIPTS, "another", "with_another")
    scripts = ["NumPy alone, its import", "minidl", "another"]
    cold.main(["--rounds", "1", "--only", *scripts, "--out", str(tmp_path / "cold")])
    text = capsys.readouterr().out
    assert "| minidl | " in text and "Not here: another (" in text
    data = json.loads((tmp_path / "cold.json").read_text(encoding="utf-8"))
    assert {name: len(found) for name, found in data["seconds"].items()} == dict.fromkeys(
        scripts[:2], 1
    )
