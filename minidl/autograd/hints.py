"""Other frameworks' words, and what ours are: raised as AttributeError hints, never aliases.

Only the words live here; the classes that use them inherit ``WordsOfOthers``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

WORDS = {
    "zero_grad": "cleargrad() on a Variable, cleargrads() on a layer or an optimizer",
    "zero_grads": "cleargrads()",
    "clear_grad": "cleargrad()",
    "step": "update()",
    "train": "nothing: training is the default; evaluation is the context `with minidl.test_mode():`",
    "eval": "the context `with minidl.test_mode():`",
    "numpy": ".data",
    "values": ".data",
    "value": ".data",
    "detach_": "unchain()",
    "requires_grad_": "requires_grad = True",
    "view": "reshape()",
    "permute": "transpose()",
    "unsqueeze": "np.expand_dims(x, axis)",
    "mul": "*, or np.multiply",
    "add": "+, or np.add",
    "matmul": "@, or np.matmul",
    "dim": ".ndim",
    "grad_fn": ".creator",
    "is_leaf": "creator is None",
    "retain_grad": "backward(retain_grad=True)",
    "cpu": "nothing: arrays are NumPy's",
    "to": "astype()",
    "float": "astype(np.float32)",
    "double": "astype(np.float64)",
    "half": "astype(np.float16)",
    "long": "astype(np.int64)",
    "params": "parameters()",
    "weight": "w",
    "bias": "b",
    "param_groups": "params",
    "learning_rate": "lr",
    "call": "forward()",
}


class WordsOfOthers:
    """A base whose missing attributes, if another framework's word, say which word is ours."""

    __slots__ = ()

    if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

        def __getattr__(self, name: str) -> Any:
            kind = type(self).__name__
            if name in WORDS:
                raise AttributeError(f"{kind} has no attribute {name!r}; in minidl the word is {WORDS[name]}")
            raise AttributeError(f"{kind} has no attribute {name!r}")
