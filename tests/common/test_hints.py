"""Hints for other frameworks' words: whole, about what exists, for nothing that exists here."""

from collections.abc import Mapping

import pytest

from minidl import Variable, layers, optim
from minidl.common import hints

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
