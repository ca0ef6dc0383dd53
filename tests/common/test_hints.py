"""Hints for other frameworks' words: whole, about what exists, for nothing that exists here."""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import Variable, layers, optim
from minidl import functions as F
from minidl.common import hints, words

OWNERS = [
    (Variable([1.0]), hints.VARIABLE_WORDS),
    (layers.Layer(), hints.LAYER_WORDS),
    (optim.SGD([Variable([1.0])]), hints.OPTIMIZER_WORDS),
]


@pytest.mark.parametrize(("owner", "words"), OWNERS)
def test_every_word_answers_with_its_sentence(owner: object, words: Mapping[str, str]) -> None:
    for word, sentence in words.items():
        assert not hasattr(type(owner), word), f"a hint for {word!r}, which exists"
        with pytest.raises(AttributeError) as caught:
            getattr(owner, word)
        kind = type(owner).__name__
        assert str(caught.value) == f"{kind} has no attribute {word!r}: {sentence}"
        assert len(sentence.split()) > 1


def test_unknown_words_are_pythons_affair() -> None:
    with pytest.raises(AttributeError, match=r"^Variable has no attribute 'nonsense'$") as caught:
        Variable(1.0).nonsense  # type: ignore[attr-defined]  # what is tested
    assert caught.value.name == "nonsense"  # Python suggests a similar name from it


def test_a_module_and_a_keyword() -> None:
    error = hints.missing("minidl.functions", "mse_loss", {"mse_loss": "write F.x"})
    assert str(error) == "minidl.functions has no 'mse_loss': write F.x"
    assert "want one of: axis" in str(hints.unexpected("sum", "colour", ("axis",)))
    assert "called 'axis'" in str(hints.unexpected("sum", "dim", ("axis",)))


# ---- names of modules and of arguments, and the code in all of these sentences -------------------------------

MODULES = {
    "minidl.functions": words.FUNCTIONS,
    "minidl.layers": words.LAYERS,
    "minidl.optim": words.OPTIMIZERS,
    "minidl": words.MINIDL,
    "minidl.callbacks": words.CALLBACKS,
    "minidl.datasets": words.DATASETS,
    "minidl.optim.hooks": words.HOOKS,
    "minidl.optim.schedules": words.SCHEDULES,
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_to_write(name: str) -> None:
    module = importlib.import_module(name)
    for word, sentence in MODULES[name].items():
        if word in module.__all__:  # it exists by now: the hint may go
            continue
        with pytest.raises(AttributeError) as caught:
            getattr(module, word)
        assert str(caught.value) == f"{name} has no {word!r}: {sentence}"
    with pytest.raises(AttributeError, match=rf"^{name} has no 'nonsense'$"):
        module.nonsense  # what is tested


def namespace() -> dict[str, Any]:
    """What the code in the sentences is tried with."""
    model = layers.Linear(3, 10)
    labels = np.array([1, 0, 2, 1])
    x = np.full((4, 3), 0.5, np.float32)
    model(x).sum().backward()
    return {
        "np": np,
        "minidl": minidl,
        "F": F,
        "layers": layers,
        "optim": optim,
        "model": model,
        "layer": layers.Linear(3, 2),
        "optimizer": optim.SGD(model, lr=0.1),
        "loss": F.cross_entropy,
        "state": model.state_dict(),
        "f": lambda x: (x * x).sum(),
        "x": Variable(x),
        "y": Variable(x * 2),
        "w": Variable(np.ones((3, 3), np.float32)),
        "p": Variable(x),
        "t": x,
        "mask": x > 1,
        "images": np.ones((2, 8, 8, 3)),
        "series": np.ones((2, 8, 3)),
        "kernels": np.ones((3, 3, 3, 5)),
        "labels_01": np.ones((4, 3)),
        "labels": labels,
        "logits": Variable(np.ones((4, 10))),
        "log_p": Variable(np.log(np.full((4, 10), 0.1))),
        "log_q": Variable(np.log(np.full((4, 3), 0.1))),
    }


SENTENCES = sorted(
    {
        sentence
        for table in (
            hints.LAYER_WORDS,
            hints.OPTIMIZER_WORDS,
            words.ARGUMENTS,
            words.INSTEAD,
            *MODULES.values(),
        )
        for sentence in table.values()
    }
)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_code_in_a_sentence_works(sentence: str) -> None:
    assert len(sentence.split()) > 1 and sentence[0] == sentence[0].lower()
    assert sentence.count("`") % 2 == 0
    for code in sentence.split("`")[1::2]:
        names = namespace()
        if "Trainer" in code or "DataLoader" in code:
            names |= {"x": np.ones((4, 3), np.float32), "t": names["labels"]}
        if "cuda" in code:  # says what is missing where there is no GPU
            with contextlib.suppress(ImportError):
                exec(code, names)
        elif code.startswith("with "):
            exec(f"{code} pass", names)
        else:
            exec(code, names)
            made = eval(code, names) if is_expression(code) else None
            if isinstance(made, layers.Layer) and "LSTM" not in code and "RNN" not in code:
                of_sequences = "1d" in code or "Global" in code
                made(names["images" if "2d" in code else "series" if of_sequences else "x"])


def is_expression(code: str) -> bool:
    try:
        compile(code, "hint", "eval")
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (
            lambda m: optim.SGD(m, learning_rate=0.1),
            "SGD: .*'learning_rate'; here it is called 'lr'",
        ),
        (lambda m: optim.Adam(m, learning_rate=0.1), "Adam: .*here it is called 'lr'"),
        (lambda m: optim.SGD(m, momentum=0.9), r"SGD: .*'momentum'; write `optim\.Momentum"),
        (lambda m: optim.Adam(m, weight_decay=0.1), r"Adam: .*write `optim\.AdamW"),
        (lambda m: optim.Adam(params=m), "here it is called 'target'"),
        (lambda m: optim.AdamW(m, epsilon=1e-8), "here it is called 'eps'"),
        (lambda m: layers.Dropout(p=0.5), "Dropout: .*'p'; here it is called 'rate'"),
        (lambda m: layers.Linear(3, use_bias=False), "here it is called 'bias'"),
        (lambda m: layers.Linear(units=3), "here it is called 'out_features'"),
        (lambda m: layers.Linear(3, activation="relu"), "put it after the layer"),
        (lambda m: layers.LSTM(input_size=3, hidden_size=4), "here it is called 'in_features'"),
        (lambda m: layers.LSTM(4, batch_first=True), "leave it out"),
        (lambda m: layers.LSTM(4, colour=3), "want one of: in_features, out_features, return_seq"),
        (lambda m: layers.MLP(hidden_sizes=[3]), "here it is called 'sizes'"),
        (lambda m: minidl.DataLoader([1.0], num_workers=4), "DataLoader: .*leave it out"),
    ],
)
def test_arguments_of_other_libraries(call: Callable[[Any], Any], answer: str) -> None:
    with pytest.raises(TypeError, match=answer):
        call(layers.Linear(2, 2))


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (
            lambda t: t.fit([[1.0]], [[1.0]], epochs=1, validation_data=None),
            "called 'validation'",
        ),
        (lambda t: t.fit([[1.0]], [[1.0]], epochs=1, callbacks=[]), "they are the Trainer's"),
        (lambda t: t.fit([[1.0]], [[1.0]], epochs=1, lr=0.1), "the rate is the optimizer's"),
        (lambda t: t.fit([[1.0]], [[1.0]], num_epochs=1), "fit: .*here it is called 'epochs'"),
        (lambda t: minidl.Trainer(t.model, t.optimizer, t.loss, epochs=3), "Trainer: .*epochs=1"),
    ],
)
def test_arguments_of_other_trainers(call: Callable[[Any], Any], answer: str) -> None:
    model = layers.Linear(1, 1)
    trainer = minidl.Trainer(model, optim.SGD(model), F.mean_squared_error)
    with pytest.raises(TypeError, match=answer):
        call(trainer)


def test_an_optimizers_rate_has_one_name() -> None:
    optimizer = optim.SGD(layers.Linear(1, 1))
    with pytest.raises(AttributeError, match="assigning 'learning_rate' would change nothing"):
        optimizer.learning_rate = 0.1  # what is tested
    assert optimizer.lr == 0.01


@pytest.mark.parametrize("name", ["momentum", "weight_decay", "betas"])
def test_settings_that_another_optimizer_has(name: str) -> None:
    class Own(optim.SGD):
        pass

    for kind in (optim.SGD, optim.Momentum, optim.Adam, optim.AdamW, optim.RMSprop, optim.Lion):
        optimizer = kind(layers.Linear(1, 1))
        value = (0.5, 0.6) if name == "betas" else 0.5
        if name in kind.settings:
            setattr(optimizer, name, value)
            assert getattr(optimizer, name) == value
        else:
            with pytest.raises(AttributeError, match=f"assigning '{name}' would change nothing"):
                setattr(optimizer, name, value)
    setattr(Own(layers.Linear(1, 1)), name, 0.5)  # the user's own affair


def test_what_is_decorated_keeps_its_signature() -> None:
    assert list(inspect.signature(layers.Dropout).parameters) == ["rate", "rng"]
    assert list(inspect.signature(optim.Momentum).parameters)[:3] == ["target", "lr", "momentum"]
