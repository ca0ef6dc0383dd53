"""How the code is measured: by what a reader has to hold in mind. Complexity is ruff's affair (pyproject.toml).

Only source text is looked at. Which file may import which is in test_layering.py.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MINIDL = ROOT / "minidl"
SIX = ("autograd", "functions", "layers", "optim", "data", "training")
AROUND = {"checkpoints", "compiler", "distributed", "files", "interop"}
PACKAGES = sorted(p.name for p in MINIDL.iterdir() if (p / "__init__.py").exists())
FILES = sorted(MINIDL.rglob("*.py"))

# Syntax nodes of the six: of the functions, which grow with what can be differentiated, and of
# the rest.
NODES_OF_FUNCTIONS = 58_600  # moments are operands of batch_norm, so that programs see them
NODES_OF_THE_REST = 70_100  # .data and .grad tell compile; the Trainer's cycle can be compiled
NODES_A_LINE = dict.fromkeys(PACKAGES, 10.0)
NODES_A_LINE["functions"] = 14.0  # it has the tables of rules
UNMEASURED = {"compiler"}  # 11.2 nodes a line, where 10 are wanted
SCREEN = 50  # lines of a function, its docstring apart
KERNEL_LINES = 1_200

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def docstring_of(node: ast.AST) -> ast.Expr | None:
    if (
        isinstance(node, ast.Module | ast.ClassDef | Function)
        and ast.get_docstring(node) is not None
    ):
        return node.body[0]  # type: ignore[return-value]  # that is what a docstring is
    return None


def lines_of(node: ast.stmt | ast.expr | None) -> set[int]:
    return set() if node is None else set(range(node.lineno, (node.end_lineno or 0) + 1))


def code_lines(file: Path) -> int:
    """Lines with code on them: no blanks, no comments, no docstrings."""
    empty = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    source = file.read_text(encoding="utf-8")
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in empty | {tokenize.ENDMARKER}:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        lines -= lines_of(docstring_of(node))
    return len(lines)


def nodes(file: Path) -> int:
    return sum(1 for _ in ast.walk(tree_of(file)))


def functions(file: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree_of(file)) if isinstance(node, Function))


def package_of(file: Path) -> str:
    return file.relative_to(MINIDL).parts[0]


def measured() -> list[Path]:
    return [file for file in FILES if package_of(file) not in UNMEASURED]


def test_the_six_stay_small() -> None:
    sizes = dict.fromkeys(SIX, 0)
    for file in FILES:
        if package_of(file) in sizes:
            sizes[package_of(file)] += nodes(file)
    assert sizes.pop("functions") <= NODES_OF_FUNCTIONS
    assert sum(sizes.values()) <= NODES_OF_THE_REST


@pytest.mark.parametrize("package", [p for p in PACKAGES if p not in UNMEASURED])
def test_lines_are_not_packed(package: str) -> None:
    files = sorted((MINIDL / package).glob("*.py"))
    density = sum(map(nodes, files)) / sum(map(code_lines, files))
    assert round(density, 1) <= NODES_A_LINE[package]


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{file.relative_to(ROOT)}: {f.name}, {length} lines"
        for file in measured()
        for f in functions(file)
        if (length := len(lines_of(f)) - len(lines_of(docstring_of(f)))) > SCREEN
        and f.name != "_rules"  # a table, made when SciPy is there
    ]
    assert long == []


def pairs_assigned(tree: ast.Module) -> list[int]:
    """The lines of ``a, b = x, y``, but for swaps, whose two sides are the same names."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            for target in node.targets:
                if isinstance(target, ast.Tuple):
                    left = {ast.unparse(part) for part in target.elts}
                    right = {ast.unparse(part) for part in node.value.elts}
                    if left != right:
                        found.append(node.lineno)
    return found


def test_one_assignment_a_line() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in measured()
        for line in pairs_assigned(tree_of(file))
    ]
    assert found == []


def test_pairs_are_seen_and_swaps_are_not() -> None:
    source = "a, b = b, a\nx, y = f()\na, b = 1, 2\nself.p, q = x, (y, z)\n"
    assert pairs_assigned(ast.parse(source)) == [3, 4]


def imports_at_the_top(file: Path) -> Iterator[str]:
    for node in tree_of(file).body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_house_stands_without_what_is_around_it() -> None:
    found = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in FILES
        if package_of(file) in SIX
        for name in imports_at_the_top(file)
        if name.split(".")[0] == "minidl" and name.split(".")[1] in AROUND
    ]
    assert found == []


def kernel(page: str) -> list[str]:
    """The files that a page lists as the kernel, in its order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    part = re.search(r"kernel:?\s*\n(.*?)(?:\nthen|\n##)", text, re.S | re.I)
    assert part is not None, f"{page} lists no kernel"
    return re.findall(r"\b[a-z]+/[a-z]+\.py\b", part[1])


def test_the_kernel_is_an_afternoon() -> None:
    files = kernel("README.md")
    assert 10 <= len(files) <= 14 and len(set(files)) == len(files)
    assert sum(code_lines(MINIDL / file) for file in files) <= KERNEL_LINES
    assert kernel("minidl/__init__.py") == kernel("CONTRIBUTING.md") == files
