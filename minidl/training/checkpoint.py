"""Checkpoints: all that a training run depends on, taken from a Trainer, put back, and kept in an .npz file.

When one is written is decided in `trainer.py` and `callbacks.py`; how a file is written safely, in `serialization.py`.
"""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minidl.autograd.variable import Parameter, Variable
from minidl.common import random
from minidl.common.arrays import host, is_foreign, to_kind_of
from minidl.distributed import AllReduce
from minidl.files.npz import load_npz, located, save_npz
from minidl.layers.layer import Layer, detached

if TYPE_CHECKING:
    from minidl.data.loader import DataLoader
    from minidl.training.run import Run
    from minidl.training.states import States
    from minidl.training.trainer import Trainer

Array = npt.NDArray[Any]

FORMAT = "minidl checkpoint 1"


# ---- files ---------------------------------------------------------------------------------------------


def save(tree: dict[str, Any], path: Path, aside: Any = None) -> None:
    """Write what ``capture`` gave; ``aside`` is called when the file is whole, before it takes its place."""
    arrays: dict[str, Array] = {}
    text = json.dumps({"format": FORMAT, "tree": pack(tree, "", arrays)})
    arrays["checkpoint"] = np.frombuffer(text.encode(), np.uint8)
    save_npz(arrays, path, "Trainer.save", aside)


def read(path: Path, where: str) -> dict[str, Any]:
    """What ``capture`` gave; ValueError for a file that is no checkpoint, or damaged."""
    problem = "no checkpoint as Trainer.save writes it, or damaged"
    arrays = load_npz(path, where, problem, signed=True)[0]
    try:
        content = json.loads(arrays["checkpoint"].tobytes())
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, wanted {FORMAT!r}")
        tree: dict[str, Any] = unpack(content["tree"], arrays)
    except Exception as error:
        why = (
            "it holds arrays only"
            if "checkpoint" not in arrays
            else str(error) or type(error).__name__
        )
        raise ValueError(f"{where}: {path} is {problem}: {why}") from error
    return tree


def found(resume: Any, files: list[Path], where: str) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint to go on from: a file, or for "auto" the newest of ``files``; None for none."""
    if resume is None or (resume == "auto" and files):
        return None if resume is None else newest(files, where)
    if resume == "auto":
        raise ValueError(
            f'{where}="auto" goes on from what a callbacks.Checkpoint wrote; there is none in callbacks'
        )
    path = located(resume, where, ".npz")
    if (result := newest([path], where)) is None:
        raise FileNotFoundError(errno.ENOENT, f"{where}: there is no file {path}")
    return result


def newest(paths: Iterable[Path], where: str) -> tuple[Path, dict[str, Any]] | None:
    """The first of the files that is there and whole; None if none is there, ValueError if none is whole."""
    broken: list[str] = []
    for path in (path for path in paths if path.exists()):
        try:
            whole = path, read(path, where)
        except ValueError as error:
            broken.append(str(error))
            continue
        if broken:
            print(f"{'; '.join(broken)}; going on from {path}", file=sys.stderr)
        return whole
    if broken:
        raise ValueError("; ".join(broken))
    return None


def pack(value: Any, name: str, arrays: dict[str, Array]) -> Any:
    """The value in JSON's terms, its arrays in ``arrays`` under the names of their places."""
    if isinstance(value, np.ndarray | np.generic | Variable) or is_foreign(value):
        kind = (
            "scalar"
            if isinstance(value, np.generic)
            else "variable"
            if isinstance(value, Variable)
            else "array"
        )
        while name in arrays:
            name += "'"
        arrays[name] = np.asarray(host(value))
        if arrays[name].dtype.kind in "OV":
            raise TypeError(f"Trainer.save: {name} is an array of objects, wanted numbers")
        return {kind: name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    start = f"{name}." if name else ""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"dict": {key: pack(part, f"{start}{key}", arrays) for key, part in value.items()}}
    if isinstance(value, list | tuple):
        parts = [pack(part, f"{start}{i}", arrays) for i, part in enumerate(value)]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    wanted = "numbers, text, arrays, and lists, tuples and dicts of these"
    raise TypeError(f"Trainer.save: {name} is a {type(value).__name__}, wanted {wanted}")


def unpack(value: Any, arrays: Mapping[str, Array]) -> Any:
    """What ``pack`` was given."""
    if isinstance(value, list):
        return [unpack(part, arrays) for part in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {key: unpack(part, arrays) for key, part in content.items()}
    if kind == "tuple":
        return tuple(unpack(part, arrays) for part in content)
    array = arrays[content]
    return (
        Variable(array, requires_grad=False)
        if kind == "variable"
        else array[()]
        if kind == "scalar"
        else array
    )


# ---- a model -------------------------------------------------------------------------------------------


def model_state(trainer: Trainer) -> dict[str, Any]:
    """The parameters of the model and of the optimizer, which of them are frozen, and what the layers keep besides."""
    model = trainer.model
    parameters = model.state_dict() if hasattr(model, "state_dict") else {}
    return {
        "parameters": parameters,
        "others": [p.data.copy() for p in _others(trainer)],
        "trained": [p.requires_grad for p in _parameters(trainer)],
        "layers": [
            {"type": type(layer).__name__, "state": _kept(layer)} for layer in _layers(model)
        ],
    }


def load_model_state(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Put back what ``model_state`` gave; ValueError, and nothing is changed, if it is of another model."""
    others, model = _others(trainer), trainer.model
    layers = _layers(model)
    got = (
        [(a.shape, a.dtype) for a in state["others"]],
        [layer["type"] for layer in state["layers"]],
    )
    want = [(p.shape, p.dtype) for p in others], [type(layer).__name__ for layer in layers]
    if got != want:
        raise ValueError(f"the parameters or layers are others: got {got}, want {want}")
    for layer, found in zip(layers, state["layers"]):
        for name in found["state"]:
            if callable(old := getattr(layer, name, None)) or isinstance(old, Parameter):
                raise ValueError(
                    f"{type(layer).__name__}.{name} is {type(old).__name__}, and no array or number"
                )
    if hasattr(model, "load_state_dict"):
        model.load_state_dict(state["parameters"])
    for p, value in zip(others, state["others"]):
        p.data = to_kind_of(value.copy(), p)
    for p, trained in zip(_parameters(trainer), state["trained"], strict=True):
        if p.requires_grad != trained:
            p.requires_grad = trained
    for layer, found in zip(layers, state["layers"]):
        for name, value in found["state"].items():
            old = vars(layer).get(name)
            if isinstance(old, np.ndarray) and (old.shape, old.dtype) == (
                np.shape(value),
                np.asarray(value).dtype,
            ):
                old[...] = value  # in place, as others may hold it
            else:
                setattr(
                    layer,
                    name,
                    _beside(value.copy() if isinstance(value, np.ndarray) else value, model),
                )


def _beside(value: Any, model: Any) -> Any:
    """What a layer carries, as arrays of the kind of the model's parameters; numbers as they are."""
    if isinstance(value, tuple):
        return tuple([_beside(part, model) for part in value])
    like = next(filter(is_foreign, [p for p in _layers(model)[0].parameters() if not p.lazy]), None)
    found = isinstance(value, Variable) and like is not None
    return Variable(to_kind_of(value, like), requires_grad=False) if found else value


def _layers(model: Any) -> list[Layer]:
    return model.sublayers() if hasattr(model, "sublayers") else []


def _kept(layer: Layer) -> dict[str, Any]:
    """What a layer carries from call to call, and its arrays and numbers."""
    plain = {
        n: v
        for n, v in vars(layer).items()
        if isinstance(v, np.ndarray | np.generic | bool | int | float)
    }
    carried = {name: detached(getattr(layer, name)) for name in layer.carried}
    return {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in plain.items()} | carried


def _parameters(trainer: Trainer) -> list[Variable]:
    """The model's parameters and those that only the optimizer knows."""
    model = trainer.model
    own = model.parameters() if hasattr(model, "parameters") else []
    return list(dict.fromkeys([*own, *trainer.optimizer.params]))


def _others(trainer: Trainer) -> list[Variable]:
    model = trainer.model
    own = (
        set(model.parameters())
        if hasattr(model, "parameters") and hasattr(model, "state_dict")
        else set()
    )
    return [p for p in _parameters(trainer) if p not in own]


# ---- a trainer -----------------------------------------------------------------------------------------


def capture(trainer: Trainer) -> dict[str, Any]:
    """All that the next batches depend on; copies. RuntimeError while a parameter has no data yet."""
    run, optimizer = trainer.run, trainer.optimizer
    rate = {"value": None if callable(optimizer.lr) else optimizer.lr, "next": optimizer.current_lr}
    rows, cut = (
        trainer.history.rows if run is not None else [],
        run.cut if run is not None else None,
    )
    return {
        "model": model_state(trainer),
        "optimizer": {
            "type": type(optimizer).__name__,
            "state": optimizer.state_dict(),
            "rate": rate,
        },
        "parts": {name: part.state_dict() for name, part in _parts(trainer)},
        "generators": {
            name: generator.bit_generator.state for name, generator in _generators(trainer)
        },
        "callbacks": callback_states(trainer) if cut is None else cut["callbacks"],
        "history": [dict(row) for row in rows] if cut is None else cut["history"],
        "run": None if run is None else run.state_dict(),
    }


def callback_states(trainer: Trainer) -> list[dict[str, Any]]:
    """The states of those callbacks that have one."""
    states = [(type(callback).__name__, callback.state_dict()) for callback in trainer.callbacks]
    return [{"type": name, "state": state} for name, state in states if state]


def restore(trainer: Trainer, tree: Mapping[str, Any], where: str) -> None:
    """Put back what ``capture`` gave, but the history and the callbacks' states.

    ValueError, and nothing is changed, if the checkpoint is of another model, optimizer or data, or makes no sense.
    """
    optimizer, generators = trainer.optimizer, dict(_generators(trainer))
    weights = [
        (p, None if _lazy(p) else p.data.copy(), p.requires_grad) for p in _parameters(trainer)
    ]
    kept = [(layer, _kept(layer)) for layer in _layers(trainer.model)]
    before = (
        optimizer.state_dict(),
        optimizer.lr,
        {name: g.bit_generator.state for name, g in generators.items()},
    )
    try:
        _check(trainer, tree, generators)
        load_model_state(trainer, tree["model"])
        optimizer.load_state_dict(tree["optimizer"]["state"])
        rate = tree["optimizer"]["rate"]
        if rate["value"] is not None:
            optimizer.lr = rate["value"]
        for name, part in _parts(trainer):
            part.load_state_dict(tree["parts"][name])
        if optimizer.current_lr != rate["next"]:
            got = f"got {rate['next']}, want {optimizer.current_lr}"
            raise ValueError(f"the schedule's rate for update {optimizer.t}: {got}")
        for name, generator in generators.items():
            generator.bit_generator.state = tree["generators"][name]
        if trainer.run is not None and tree["run"] is not None:
            trainer.run.load_state_dict(tree["run"])
    except Exception as error:
        for p, value, trained in weights:
            p._raw = value  # as it was, without data too
            if p.requires_grad != trained:
                p.requires_grad = trained
        for layer, state in kept:
            vars(layer).update(state)
        optimizer.load_state_dict(before[0])
        optimizer.lr = before[1]
        for name, generator in generators.items():
            generator.bit_generator.state = before[2][name]
        why = str(error) if isinstance(error, ValueError) else f"it makes no sense: {error!r}"
        raise ValueError(f"{where}: it is of another trainer: {why}") from error


def _check(trainer: Trainer, tree: Mapping[str, Any], generators: Mapping[str, Any]) -> None:
    """Raise if a checkpoint is of another trainer."""
    kinds = {
        name: generator.bit_generator.state["bit_generator"]
        for name, generator in generators.items()
    }
    optimizer = trainer.optimizer
    for what, got, want in (
        ("the optimizer", tree["optimizer"]["type"], type(optimizer).__name__),
        (
            "the random generators",
            {name: state["bit_generator"] for name, state in tree["generators"].items()},
            kinds,
        ),
        (
            "the schedule or hooks with a state",
            list(tree["parts"]),
            [name for name, _ in _parts(trainer)],
        ),
        (
            "whether the rate is a schedule",
            tree["optimizer"]["rate"]["value"] is None,
            callable(optimizer.lr),
        ),
        (
            "whether every row of the history is one",
            all(isinstance(row, dict) for row in tree["history"]),
            True,
        ),
    ):
        if got != want:
            raise ValueError(f"{what}: got {got}, want {want}")
    if trainer.run is not None:  # a fit is to go on from it
        _matched(trainer, tree["callbacks"])
    if trainer.run is not None and tree["run"] is not None:
        trainer.run.check(tree["run"])


@contextmanager
def untouched(trainer: Trainer, states: States, loader: DataLoader, drawn: Any) -> Iterator[None]:
    """Put everything back at the end, minidl's generator to ``drawn``; parameters without data are without it again."""
    lazy, run = materialized(trainer, states, loader), trainer.run
    before = capture(trainer)
    before["generators"]["minidl"] = drawn
    try:
        yield
    finally:
        trainer.run = None
        restore(trainer, before, "fit")
        trainer.run = run
        for p, name in lazy:
            p._raw, p.name = None, name


def materialized(
    trainer: Trainer, states: States, loader: DataLoader
) -> list[tuple[Any, str | None]]:
    """Give parameters without data theirs, by a batch; return them with their names until then."""
    lazy = [(p, p.name) for p in _parameters(trainer) if _lazy(p)]
    if lazy:
        with states.evaluation("fit", loader.in_order()):
            states.forward(loader.arrays[0][: loader.batch_size], "fit: ")
    return lazy


def alike(trainer: Trainer, states: States, run: Run) -> None:
    """Let a distributed run go on in every rank from the state of the first, with random numbers of its own."""
    if not run.distributed:
        return
    if states.stateful and not run.fresh:
        raise ValueError(
            "fit: resume: within an epoch, the states that a stateful model carried are one rank's only"
        )
    materialized(trainer, states, run.loader)
    restore(trainer, trainer.ranks.share(lambda: capture(trainer)), "fit")
    for name, generator in _generators(
        trainer
    ):  # in the first rank they stay those of a single process
        bits: Any = generator.bit_generator
        if trainer.ranks.rank and name.startswith(("minidl", "model")) and hasattr(bits, "jumped"):
            bits.state = bits.jumped(trainer.ranks.rank).state
    trainer.ranks.begin(run)


def _lazy(p: Variable) -> bool:
    return isinstance(p, Parameter) and p.lazy


def load_callback_states(trainer: Trainer, tree: Mapping[str, Any]) -> None:
    """Give each callback the state of the one of its type in the same place among these."""
    for callback, state in _matched(trainer, tree["callbacks"]):
        callback.load_state_dict(state)


def _matched(trainer: Trainer, states: list[dict[str, Any]]) -> list[tuple[Any, dict[str, Any]]]:
    pairs, left = [], list(trainer.callbacks)
    for state in states:
        callback = next((c for c in left if type(c).__name__ == state["type"]), None)
        if callback is None:
            raise ValueError(
                f"it has the state of a callback {state['type']}, which is not among this one's"
            )
        left.remove(callback)
        pairs.append((callback, state["state"]))
    return pairs


def _parts(trainer: Trainer) -> Iterator[tuple[str, Any]]:
    """The schedule and the hooks that have a state of their own, which they tell as layers do."""
    hooks = [(f"hooks.{i}", hook) for i, hook in enumerate(_hooks(trainer))]
    for name, part in [("schedule", trainer.optimizer.lr), *hooks]:
        if hasattr(part, "state_dict") and hasattr(part, "load_state_dict"):
            yield name, part


def _hooks(trainer: Trainer) -> list[Any]:
    """The optimizer's hooks without the one that only distributed trainers have."""
    return [
        hook for hook in getattr(trainer.optimizer, "hooks", []) if not isinstance(hook, AllReduce)
    ]


# ---- random numbers ------------------------------------------------------------------------------------


def _generators(trainer: Trainer) -> Iterator[tuple[str, np.random.Generator]]:
    """minidl's generator, and all that the parts of the trainer hold, by their place."""
    yield "minidl", random.generator()
    roots = {"model": trainer.model, "loss": trainer.loss, "metrics": trainer.metrics}
    roots |= {"schedule": trainer.optimizer.lr, "hooks": _hooks(trainer)}
    roots |= {f"callbacks.{i}": callback for i, callback in enumerate(trainer.callbacks)}
    stack, seen = (
        [(name, root, 3) for name, root in reversed(roots.items())],
        {id(random.generator())},
    )
    while stack:
        name, value, depth = stack.pop()
        if id(value) in seen or isinstance(value, np.ndarray | Variable | str) or value is trainer:
            continue
        seen.add(id(value))
        if isinstance(value, np.random.Generator):
            yield name, value
            continue
        parts: Any = ()
        if isinstance(value, dict):
            parts = value.items()
        elif isinstance(value, list | tuple):
            parts = enumerate(value)
        elif isinstance(value, Layer):
            parts = vars(value).items()
        elif getattr(value, "__closure__", None):  # a function that uses what is around it
            parts, depth = (
                zip(value.__code__.co_freevars, map(_content, value.__closure__)),
                depth - 1,
            )
        elif depth == 3 and hasattr(value, "__dict__"):
            parts, depth = vars(value).items(), depth - 1
        if depth:
            stack += [(f"{name}.{key}", part, depth) for key, part in reversed(list(parts))]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it has none yet
        return None
