"""Other frameworks' words, and what ours are: raised as AttributeError hints, never aliases.

Only the words live here; the classes that use them inherit ``WordsOfOthers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

WORDS = {
    "zero_grad": "cleargrad() on a Variable, cleargrads() on a layer or an optimizer",
    "zero_grads": "cleargrads()",
    "step": "update()",
    "param_groups": "params",
    "learning_rate": "lr",
    "train": "nothing: training is the default; evaluation is the context `with minidl.test_mode():`",
    "eval": "the context `with minidl.test_mode():`",
    "call": "forward()",
    "numpy": ".data",
    "value": ".data",
    "values": ".data",
    "dim": ".ndim",
    "detach_": "unchain()",
    "requires_grad_": "requires_grad = True",
    "retain_grad": "backward(retain_grad=True)",
    "grad_fn": ".creator",
    "is_leaf": "creator is None",
    "params": "parameters()",
    "weight": "w",
    "bias": "b",
    "view": "reshape()",
    "permute": "transpose()",
    "unsqueeze": "np.expand_dims(x, axis)",
    "mul": "*, or np.multiply",
    "add": "+, or np.add",
    "matmul": "@, or np.matmul",
    "float": "astype(np.float32)",
    "double": "astype(np.float64)",
    "to": "astype()",
}


class WordsOfOthers:
    """A base whose missing attributes, if another framework's word, say which word is ours."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

        def __getattr__(self, name: str) -> Any:
            ours = f"; in minidl the word is {WORDS[name]}" if name in WORDS else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{ours}")
