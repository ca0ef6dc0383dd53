"""The layout of the package, held by machine: which file may import which, and how long files may be.

Only source text is looked at, nothing of minidl is imported; what the code computes is tested elsewhere.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "minidl"

# What each part of minidl (a folder) may import besides itself. A file at the top is a door, a table of
# public names, and no part: it may import all, and none may import it.
LOW = {"common", "autograd"}
FUNCTIONS = LOW | {"functions", "files"}
HOUSE = FUNCTIONS | {"layers", "optim", "data"}
MAY_IMPORT = {
    "common": set(),
    "autograd": {"common"},
    "files": LOW,
    "functions": LOW,
    "layers": FUNCTIONS,
    "optim": FUNCTIONS,
    "data": FUNCTIONS,
    "compiler": FUNCTIONS | {"optim"},  # an update is a step of a program
    "distributed": FUNCTIONS
    | {"optim"},  # below training: it knows gradients and values, not epochs
    "checkpoints": HOUSE | {"distributed"},  # what a trainer is, it is told by a Protocol
    "training": HOUSE | {"compiler", "distributed", "checkpoints"},
    "interop": HOUSE | {"training"},
}
AT_IMPORT = {
    "numpy",
    "minidl",
    *sys.stdlib_module_names,
}  # tqdm and matplotlib are imported where used


def part_of(module: str) -> str:
    """Return "layers" for "minidl.layers.linear", and "" for "minidl" itself."""
    return module.partition(".")[2].partition(".")[0]


def imports(
    tree: ast.Module, module: str, is_package: bool
) -> Iterator[tuple[int, str, list[str]]]:
    """Yield (line, absolute module, names taken from it) of every import, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[
                    : len(above) + is_package - node.level
                ]  # one dot is the package itself
                source = ".".join([*above, source]).rstrip(".")
            names = [alias.name for alias in node.names]
            if (
                source == "minidl"
            ):  # `from minidl import layers, Variable`: a part, or a public name
                yield from (
                    (node.lineno, f"minidl.{n}" if n in MAY_IMPORT else "minidl", [n])
                    for n in names
                )
            else:
                yield node.lineno, source, names


def violations(path: str, source: str) -> list[str]:
    """Return what is wrong with one file, `path` being relative to minidl/, as "path:line: what" strings."""
    if "/" not in path:
        return []
    parts = Path(path).with_suffix("").parts
    part = parts[0]
    if part not in MAY_IMPORT:
        return [f"{path}:1: {part} is no part of the design; say in MAY_IMPORT what it may import"]
    tree = ast.parse(source)
    is_package = parts[-1] == "__init__"
    module = ".".join(["minidl", *(parts[:-1] if is_package else parts)])
    wrong = []
    if not (source.startswith("#") or ast.get_docstring(tree)):
        wrong.append((1, "opens without the lines that say what lives here"))
    for line, imported, names in imports(tree, module, is_package):
        wrong += [(line, what) for what in complaints(part, imported, names)]
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for line, imported, _ in imports(ast.Module([statement], []), module, is_package):
                if imported.partition(".")[0] not in AT_IMPORT:
                    wrong.append((line, f"imports {imported} when minidl is imported"))
    return [f"{path}:{line}: {what}" for line, what in wrong]


def complaints(part: str, imported: str, names: list[str]) -> Iterator[str]:
    """Yield what is wrong with one import, wherever it stands."""
    target = part_of(imported)
    if imported == "minidl":
        yield "imports minidl itself, so all of it; wanted the module of the name"
    elif imported.startswith("minidl.") and target != part and target not in MAY_IMPORT[part]:
        yield f"{part} imports {target}"
    if part == "functions" and {"Variable", "variable"} & {*names, *imported.split(".")}:
        yield "a rule file knows Variable"


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_file(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert violations(file.relative_to(ROOT).as_posix(), source) == []


def test_the_parts_form_no_cycle() -> None:
    """Nobody may import a part that may import it, and only training and above know the compiler."""
    for part, allowed in MAY_IMPORT.items():
        assert all(part not in MAY_IMPORT[other] for other in allowed)
    know_the_compiler = {part for part, allowed in MAY_IMPORT.items() if "compiler" in allowed}
    assert know_the_compiler == {"training"}  # and what knows training


@pytest.mark.parametrize(
    ("path", "line", "complaint"),
    [
        (
            "autograd/engine.py",
            "from minidl.functions.shape import reshape",
            "autograd imports functions",
        ),
        ("autograd/engine.py", "from minidl import functions as F", "autograd imports functions"),
        ("autograd/engine.py", "from ..functions import shape", "autograd imports functions"),
        ("autograd/__init__.py", "from ..functions import shape", "autograd imports functions"),
        ("autograd/engine.py", "from .. import functions", "autograd imports functions"),
        (
            "autograd/engine.py",
            "import minidl.layers.mlp",
            "autograd imports layers",
        ),
        ("layers/linear.py", "import minidl.optim.adam as adam", "layers imports optim"),
        ("optim/adam.py", "def f():\n    from minidl.layers import Layer", "optim imports layers"),
        (
            "optim/adam.py",
            "if TYPE_CHECKING:\n    from minidl.layers import Layer",
            "optim imports layers",
        ),
        ("layers/mlp.py", "from minidl import compiler", "layers imports compiler"),
        ("functions/loss.py", "import minidl.compiler", "functions imports compiler"),
        ("layers/mlp.py", "from minidl import Variable", "imports minidl itself"),
        ("layers/mlp.py", "import minidl", "imports minidl itself"),
        ("common/random.py", "from minidl.functions import exp", "common imports functions"),
        ("data/loader.py", "from ..training import trainer", "data imports training"),
        ("functions/loss.py", "from minidl.autograd import Variable", "knows Variable"),
        ("functions/loss.py", "import minidl.autograd.variable", "knows Variable"),
        ("functions/loss.py", "from minidl.autograd import variable", "knows Variable"),
        ("training/trainer.py", "import tqdm", "imports tqdm when"),
        ("helpers/misc.py", "import numpy", "no part of the design"),
    ],
)
def test_the_checker_sees_violations(path: str, line: str, complaint: str) -> None:
    assert any(complaint in found for found in violations(path, f'"""Made up."""\n{line}\n'))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (
            "autograd/engine.py",
            "import numpy as np\nfrom . import modes\nfrom .function import rule",
        ),
        (
            "functions/loss.py",
            "from minidl.autograd import differentiable\nfrom minidl.common import random",
        ),
        (
            "functions/__init__.py",
            "from .loss import cross_entropy\nfrom minidl.functions import shape",
        ),
        (
            "layers/linear.py",
            "from minidl import functions as F\nfrom minidl.autograd import Parameter",
        ),
        ("training/trainer.py", "from minidl import compiler, layers\ndef f():\n    import tqdm"),
        ("__init__.py", "from minidl.training import Trainer"),
    ],
)
def test_the_checker_accepts_the_design(path: str, line: str) -> None:
    assert violations(path, f'"""Made up."""\n{line}\n') == []


def test_the_checker_wants_an_opening() -> None:
    (found,) = violations("common/random.py", "import numpy\n")
    assert found.startswith("common/random.py:1: opens without")
    assert violations("common/random.py", "# The generator.\nimport numpy\n") == []
