"""Other frameworks' words, and what minidl offers instead: named in errors, never added as aliases.

Only the words and the errors live here. Classes inherit ``HintsMixin``; modules and functions call
``missing`` and ``unexpected`` themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

# Each is a whole sentence, without its full stop, about the word it stands beside.
_TRAIN = "a model trains unless told otherwise; evaluate it inside `with minidl.test_mode():`"
_TEST = "evaluate a model inside `with minidl.test_mode():`"

VARIABLE_WORDS: Mapping[str, str] = {
    "step": "update() belongs to the optimizer",
    "zero_grad": "clear the gradient with x.cleargrad()",
    "zero_grads": "clear the gradient with x.cleargrad()",
    "clear_grad": "clear the gradient with x.cleargrad()",
    "numpy": "its array is x.data",
    "value": "its array is x.data",
    "values": "its array is x.data",
    "to_numpy": "its array is x.data",
    "cpu": "a Variable computes where its array is, and that is x.data",
    "cuda": "arrays on a GPU are CuPy's: make the Variable of one, or call layer.to('cuda')",
    "device": "a Variable computes where its array is, and that is x.data",
    "to": "another dtype is x.astype(dtype)",
    "type": "another dtype is x.astype(dtype)",
    "float": "write x.astype(np.float32)",
    "half": "write x.astype(np.float16)",
    "double": "write x.astype(np.float64)",
    "long": "write x.astype(np.int64)",
    "int": "write x.astype(np.int32)",
    "bool": "write x.astype(bool)",
    "type_as": "write x.astype(other.dtype)",
    "dim": "the number of axes is x.ndim",
    "numel": "the number of elements is x.size",
    "nelement": "the number of elements is x.size",
    "tolist": "write x.data.tolist()",
    "clone": "x + 0 is a copy with a graph, x.data.copy() one of the array without",
    "copy": "x + 0 is a copy with a graph, x.data.copy() one of the array without",
    "copy_": "a leaf gets a new value by x.data = ..",
    "fill_": "a leaf gets a new value by x.data[...] = ..",
    "zero_": "a leaf gets a new value by x.data[...] = 0",
    "add_": "write x = x + other, or x.data += other to update a leaf",
    "sub_": "write x = x - other, or x.data -= other to update a leaf",
    "mul_": "write x = x * other, or x.data *= other to update a leaf",
    "div_": "write x = x / other, or x.data /= other to update a leaf",
    "clamp_": "write x = x.clip(low, high)",
    "detach_": "write x = x.detach(), or x.unchain() to cut the graph in place",
    "requires_grad_": "assign x.requires_grad = True or False",
    "retain_grad": "call backward(retain_grad=True)",
    "grad_fn": "the application that made it is x.creator",
    "is_leaf": "a leaf is a Variable whose x.creator is None",
    "register_hook": "there are no hooks of Variables: wrap the step in minidl.differentiable",
    "view": "write x.reshape(..)",
    "view_as": "write x.reshape(other.shape)",
    "resize": "write x.reshape(..)",
    "permute": "write x.transpose(..)",
    "t": "write x.T",
    "mT": "write x.swapaxes(-1, -2)",
    "unsqueeze": "write np.expand_dims(x, axis)",
    "expand": "write np.broadcast_to(x, shape)",
    "expand_as": "write np.broadcast_to(x, other.shape)",
    "contiguous": "memory is laid out as needed; leave it out",
    "mul": "write x * other",
    "add": "write x + other",
    "sub": "write x - other",
    "div": "write x / other",
    "true_divide": "write x / other",
    "pow": "write x ** other",
    "neg": "write -x",
    "abs": "write abs(x)",
    "matmul": "write x @ other",
    "mm": "write x @ other",
    "bmm": "write x @ other",
    "mv": "write x @ other",
    "eq": "write x == other",
    "ne": "write x != other",
    "lt": "write x < other",
    "le": "write x <= other",
    "gt": "write x > other",
    "ge": "write x >= other",
    "exp": "write np.exp(x)",
    "log": "write np.log(x)",
    "sqrt": "write np.sqrt(x)",
    "square": "write x * x",
    "tanh": "write np.tanh(x)",
    "sin": "write np.sin(x)",
    "cos": "write np.cos(x)",
    "relu": "write minidl.functions.relu(x)",
    "sigmoid": "write minidl.functions.sigmoid(x)",
    "softmax": "write minidl.functions.softmax(x)",
    "log_softmax": "write minidl.functions.log_softmax(x)",
    "norm": "write np.sqrt((x * x).sum())",
    "clamp": "write x.clip(low, high)",
    "where": "write np.where(condition, x, other)",
    "masked_fill": "write minidl.functions.mask_fill(x, mask, value)",
    "gather": "write x[rows, columns]",
    "index_select": "write x.take(indices, axis)",
    "chunk": "write np.split(x, parts, axis)",
    "split": "write np.split(x, parts, axis)",
    "stack": "write np.stack([..])",
    "cat": "write np.concatenate([..], axis)",
}

LAYER_WORDS: Mapping[str, str] = {
    "zero_grad": "clear the gradients with cleargrads()",
    "cleargrad": "clear the gradients with cleargrads()",
    "zero_grads": "clear the gradients with cleargrads()",
    "train": _TRAIN,
    "eval": _TEST,
    "training": _TEST,
    "call": "write the layer's forward(), and call the layer itself",
    "params": "its parameters are parameters()",
    "weights": "its parameters are parameters()",
    "trainable_variables": "its parameters are parameters()",
    "weight": "the weight is called w",
    "kernel": "the weight is called w",
    "bias": "the bias is called b",
    "requires_grad_": "call freeze() or unfreeze()",
    "cpu": "call to('cpu')",
    "cuda": "call to('cuda')",
    "astype": "write layer.to(dtype=..), which changes the layer",
    "fit": "training is minidl.Trainer(model, optimizer, loss).fit(x, t, epochs=..)",
    "compile": "training is minidl.Trainer(model, optimizer, loss).fit(x, t, epochs=..)",
}

OPTIMIZER_WORDS: Mapping[str, str] = {
    "step": "one step is update()",
    "minimize": "one step is update()",
    "apply_gradients": "one step is update()",
    "zero_grad": "clear the gradients with cleargrads()",
    "cleargrad": "clear the gradients with cleargrads()",
    "zero_grads": "clear the gradients with cleargrads()",
    "param_groups": "its parameters are params",
    "parameters": "its parameters are params",
    "learning_rate": "the rate is called lr",
    "get_last_lr": "the rate of the next step is current_lr",
}

KEYWORDS: Mapping[str, str] = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "keep_dims": "keepdims",
    "unbiased": "ddof",
    "correction": "ddof",
    "learning_rate": "lr",
    "p": "rate",
    "in_channels": "in_features",
    "out_channels": "out_features",
    "min_val": "a_min",
    "max_val": "a_max",
}


def missing(owner: object, name: str, words: Mapping[str, str]) -> AttributeError:
    """The error for a name that ``owner`` (an object, a module's name) has not, with the hint for it.

    A module raises it in its ``__getattr__``; a sentence in ``words`` says what to write instead.

    >>> raise missing("minidl.layers", "ReLU", {"ReLU": "activations are functions: write F.relu"})
    Traceback (most recent call last):
    AttributeError: minidl.layers has no 'ReLU': activations are functions: write F.relu
    """
    if isinstance(owner, str):
        text = f"{owner} has no {name!r}"
    else:
        text = f"{type(owner).__name__} has no attribute {name!r}"
    if name in words:
        return AttributeError(f"{text}: {words[name]}")
    if isinstance(owner, str):
        return AttributeError(text)
    return AttributeError(text, name=name, obj=owner)  # so that Python looks for a similar name


def unexpected(function: str, name: str, takes: Mapping[str, Any] | tuple[str, ...]) -> TypeError:
    """The error for a keyword that ``function`` does not take; ``takes`` are the names it does.

    >>> raise unexpected("sum", "dim", ("axis", "keepdims"))
    Traceback (most recent call last):
    TypeError: sum: got an unexpected keyword 'dim'; here it is called 'axis'
    """
    ours = KEYWORDS.get(name)
    if ours in takes:
        hint = f"here it is called {ours!r}"
    else:
        hint = f"want one of: {', '.join(takes)}" if takes else "it takes no keywords"
    return TypeError(f"{function}: got an unexpected keyword {name!r}; {hint}")


class HintsMixin:
    """A base class: a missing attribute that another framework has says what to write instead."""

    __slots__ = ()
    _words: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

        def __getattr__(self, name: str) -> Any:
            raise missing(self, name, self._words)
