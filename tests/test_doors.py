"""What a user can import, and what completion shows: public modules, their names and nothing besides."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import minidl

ROOT = Path(__file__).parent.parent
PUBLIC = [
    "minidl",
    "minidl.autograd",
    "minidl.callbacks",
    "minidl.compiler",
    "minidl.data",
    "minidl.datasets",
    "minidl.distributed",
    "minidl.files",
    "minidl.functions",
    "minidl.graph",
    "minidl.initializers",
    "minidl.layers",
    "minidl.onnx",
    "minidl.optim",
    "minidl.optim.hooks",
    "minidl.optim.schedules",
    "minidl.random",
    "minidl.sklearn",
    "minidl.training",
    "minidl.training.callbacks",
]
LAZY = [
    "minidl.checkpoints",
    "minidl.common.words",
    "minidl.compiler",
    "minidl.data",
    "minidl.distributed",
    "minidl.files",
    "minidl.interop.graph",
    "minidl.interop.onnx",
    "minidl.interop.sklearn",
    "minidl.interop.torch",
    "minidl.training",
    "matplotlib",
    "onnx",
    "scipy",
    "sklearn",
    "threadpoolctl",
    "torch",
    "tqdm",
]


def fresh(program: str) -> str:
    """Run a program in a Python of its own, from the checkout; return what it printed."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("name", PUBLIC)
def test_completion_shows_what_is_public(name):
    module = importlib.import_module(name)
    besides = {"sklearn"} if module is minidl else set()  # which `import *` had better not import
    assert {n for n in dir(module) if not n.startswith("__")} == {*module.__all__, *besides}
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        assert not public.startswith("_")
        getattr(module, public)


def test_all_public_names_of_minidl():
    own = {name.partition(".")[2] for name in PUBLIC if name.count(".") == 1}
    inner = {"autograd", "compiler", "data", "files", "random", "training"}
    assert own - inner <= set(dir(minidl))
    wanted = {"compile", "set_num_threads", "from_dlpack", "torch_state_dict", "__version__"}
    assert wanted <= set(dir(minidl))


def test_doors_open_from_outside():
    fresh("from minidl.datasets import digits\n" + "\n".join(f"import {name}" for name in PUBLIC))
    fresh(
        "import minidl; minidl.distributed.AllReduce; minidl.sklearn.MLPClassifier; minidl.onnx.export;"
        "minidl.graph.dot; minidl.initializers.normal_over_sqrt_in; minidl.optim.schedules.step;"
        "minidl.callbacks.Logger; minidl.datasets.digits; minidl.training.History; minidl.data.DataLoader"
    )
    fresh(
        "from minidl import *; import sys; compile, Trainer, onnx; assert 'sklearn' not in sys.modules"
    )


def test_importing_minidl_imports_no_more_than_it_needs():
    assert fresh(f"import minidl, sys; print(*(n for n in {LAZY} if n in sys.modules))") == "\n"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match=r"^minidl has no 'nonsense'$"):
        minidl.nonsense
    with pytest.raises(ImportError, match="cannot import name 'nonsense' from 'minidl'"):
        from minidl import nonsense  # noqa: F401


def test_the_version_is_said_once():
    assert minidl.__version__ == "0.1.0"
    assert "0.1.0" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
