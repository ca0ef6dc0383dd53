"""minidl: a small deep-learning framework on NumPy, fast on small models and made to be read.

Read in this order the kernel:

    autograd/node.py  autograd/function.py  autograd/engine.py  autograd/variable.py
    functions/elementwise.py  functions/linalg.py  functions/loss.py
    layers/linear.py  optim/sgd.py  optim/adam.py

then the rest of the six folders that most users need: autograd, functions, layers, optim, data,
training. What stands around them, checkpoints, compiler, distributed, interop and files, is
optional.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minidl import functions, layers, optim
from minidl.autograd import (
    Parameter,
    Variable,
    detect_anomaly,
    differentiable,
    grad,
    gradcheck,
    gradients,
    hessian,
    hvp,
    jacobian,
    jvp,
    no_grad,
    recompute,
    test_mode,
    value_and_grad,
    vjp,
)
from minidl.common.memory import keep_freed_memory
from minidl.random import seed

if TYPE_CHECKING:
    from minidl import (  # noqa: F401  # not all of them are for `import *`
        callbacks,
        data,
        datasets,
        distributed,
        graph,
        initializers,
        onnx,
        sklearn,
        training,
    )
    from minidl.common.threads import set_num_threads
    from minidl.compiler import compile
    from minidl.compiler.native.export import export_c
    from minidl.data import DataLoader
    from minidl.files.state import load, save
    from minidl.interop.dlpack import from_dlpack
    from minidl.interop.torch import load_torch_state_dict, torch_state_dict
    from minidl.training import History, Trainer

__version__ = "0.1.0"  # the one place; pyproject.toml reads it here

__all__ = [
    "DataLoader",
    "History",
    "Parameter",
    "Trainer",
    "Variable",
    "callbacks",
    "compile",
    "datasets",
    "detect_anomaly",
    "differentiable",
    "distributed",
    "export_c",
    "from_dlpack",
    "functions",
    "grad",
    "gradcheck",
    "gradients",
    "graph",
    "hessian",
    "hvp",
    "initializers",
    "jacobian",
    "jvp",
    "keep_freed_memory",
    "layers",
    "load",
    "load_torch_state_dict",
    "no_grad",
    "onnx",
    "optim",
    "recompute",
    "save",
    "seed",
    "set_num_threads",
    "test_mode",
    "torch_state_dict",
    "value_and_grad",
    "vjp",
]

# What many programs do without is imported when it is asked for: these modules, and the names of
# others. A script with a loop of its own starts in two thirds of the time.
_MODULES = (
    *("callbacks", "data", "datasets", "distributed", "graph", "initializers", "onnx"),
    *("sklearn", "training"),
)
_HOMES = {
    "DataLoader": "minidl.data",
    "History": "minidl.training",
    "Trainer": "minidl.training",
    "compile": "minidl.compiler",
    "export_c": "minidl.compiler.native.export",
    "from_dlpack": "minidl.interop.dlpack",
    "load": "minidl.files.state",
    "load_torch_state_dict": "minidl.interop.torch",
    "save": "minidl.files.state",
    "set_num_threads": "minidl.common.threads",
    "torch_state_dict": "minidl.interop.torch",
}


def __dir__() -> list[str]:
    """What completion shows: the public names. `import *` does without scikit-learn's second."""
    return [*__all__, "sklearn", "__version__"]


if not TYPE_CHECKING:  # a checker would take __getattr__ for leave to use any name

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return import_module(f"minidl.{name}")
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        from minidl.common import hints, words

        raise hints.missing("minidl", name, words.MINIDL)
