"""Mutation of the derivative rules: a sign, a factor, a missing sum, swapped arguments; does a test notice?

`python -m tests.reliability.mutants [--sample N] [--seed N]` changes every rule of minidl/functions in one place at a
time, in a copy of the repository, and runs the tests of functions there; survivors are listed. Without --sample: all.
"""

import argparse
import ast
import copy
import inspect
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minidl import functions

FOLDER = Path(inspect.getfile(functions)).parent
RULE_NAMES = (
    "_rule",
    "_joint",
    "_to_extremes",
    "_matmul_a",
    "_matmul_b",
    "_less_one",
    "_log_base",
    "_normal",
    "_density",
)


def is_rule(node: ast.AST) -> bool:
    """A lambda or a function that is given ``g``, a gradient, first; or one that helps such a rule."""
    if isinstance(node, ast.FunctionDef) and node.name in RULE_NAMES:
        return True
    arguments = node.args.args if isinstance(node, (ast.Lambda, ast.FunctionDef)) else []
    return bool(arguments) and arguments[0].arg in ("g", "gs")


def changes(node: ast.AST) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """What can be done to one node of a rule."""

    def swapped(kind: Any) -> Callable[[Any], Any]:
        return lambda n: ast.BinOp(n.left, kind(), n.right)

    if isinstance(node, ast.BinOp):
        others: dict[type, list[type]] = {
            ast.Add: [ast.Sub],
            ast.Sub: [ast.Add],
            ast.Mult: [ast.Div],
            ast.Div: [ast.Mult],
            ast.Pow: [ast.Mult],
            ast.MatMult: [],
            ast.Mod: [],
            ast.BitAnd: [ast.BitOr],
            ast.BitOr: [ast.BitAnd],
        }
        for kind in others.get(type(node.op), []):
            yield f"{type(node.op).__name__} for {kind.__name__}", swapped(kind)
        if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult, ast.Pow)):
            yield "operands swapped", lambda n: ast.BinOp(n.right, n.op, n.left)
        if isinstance(node.op, (ast.Mult, ast.Div, ast.Add, ast.Sub)):
            yield "left operand alone", lambda n: n.left
            yield "right operand alone", lambda n: n.right
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign dropped", lambda n: n.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "number + 1", lambda n: ast.Constant(n.value + 1)
        yield "number doubled", lambda n: ast.Constant(n.value * 2 if n.value else 2)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        flips: dict[type, type] = {
            ast.Lt: ast.GtE,
            ast.Gt: ast.LtE,
            ast.LtE: ast.Gt,
            ast.GtE: ast.Lt,
            ast.Eq: ast.NotEq,
            ast.NotEq: ast.Eq,
        }
        if type(node.ops[0]) in flips:
            yield (
                "comparison turned",
                lambda n: ast.Compare(n.left, [flips[type(n.ops[0])]()], n.comparators),
            )
    elif isinstance(node, ast.Call):
        method = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) != "np"
        if method and node.func.attr in ("sum", "swapaxes", "reshape", "transpose"):  # type: ignore[attr-defined]
            yield f"{node.func.attr} dropped", lambda n: n.func.value
        if len(node.args) >= 2 and not node.keywords:
            yield (
                "arguments swapped",
                lambda n: ast.Call(n.func, [n.args[1], n.args[0], *n.args[2:]], []),
            )
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield "not transposed", lambda n: n.value
    elif isinstance(node, ast.IfExp):
        yield "first branch", lambda n: n.body
        yield "second branch", lambda n: n.orelse
    elif isinstance(node, ast.Lambda):
        yield "negated", lambda n: ast.Lambda(n.args, ast.UnaryOp(ast.USub(), n.body))
        yield (
            "halved",
            lambda n: ast.Lambda(n.args, ast.BinOp(ast.Constant(0.5), ast.Mult(), n.body)),
        )


def places(tree: ast.Module) -> list[tuple[int, int, str]]:
    """(node's number, number of the change, what it is) for every change of every rule in a module."""
    inside: set[int] = set()
    for rule in filter(is_rule, ast.walk(tree)):
        bodies = [rule] if isinstance(rule, ast.Lambda) else rule.body  # type: ignore[attr-defined]
        inside |= {id(n) for part in bodies for n in ast.walk(part)}
    return [
        (i, k, f"{what} in line {getattr(n, 'lineno', 0)}: {ast.unparse(n)[:70]}")
        for i, n in enumerate(ast.walk(tree))
        if id(n) in inside
        for k, (what, _) in enumerate(changes(n))
    ]


def mutated(tree: ast.Module, number: int, k: int) -> str:
    """The module's text with one change."""
    new = copy.deepcopy(tree)
    target = list(ast.walk(new))[number]
    changed = list(changes(target))[k][1](target)
    for parent in ast.walk(new):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, changed)
            elif isinstance(value, list):
                value[:] = [changed if v is target else v for v in value]
        if parent is changed:
            break  # what follows is the target, inside of what is in its place
    return ast.unparse(ast.fix_missing_locations(new))


def tests_of(name: str) -> list[str]:
    """The tests that know the rules of a module: SciPy's functions have a file of their own."""
    special = "tests/functions/test_special.py"
    if name == "special.py":
        return [special]
    others = ("rules", "catalogue", "recurrent", "stability", "decompositions", "loops")
    others += ("order", "reduction", "shape")
    return [f"tests/functions/test_{other}.py" for other in others]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    trees = {file: ast.parse(file.read_text()) for file in sorted(FOLDER.glob("*.py"))}
    found = [(file, *place) for file, tree in trees.items() for place in places(tree)]
    chosen = random.Random(given.seed).sample(found, given.sample) if given.sample else found
    root = Path(tempfile.mkdtemp()) / "copy"
    survivors: list[str] = []
    shutil.copytree(
        FOLDER.parents[1], root, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__")
    )
    for n, (file, number, k, what) in enumerate(chosen, 1):
        path = root / file.relative_to(FOLDER.parents[1])
        path.write_text(mutated(trees[file], number, k))
        command = [sys.executable, "-B", "-m", "pytest", "-xq", "-p", "no:cacheprovider"]
        command += tests_of(file.name)
        if subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0:
            survivors.append(what)
            print(f"survives: {file.name}, {what}", flush=True)
        path.write_text(file.read_text())
        print(f"{n - len(survivors)} of {n} killed ({len(found)} possible)", flush=True)


if __name__ == "__main__":
    main()
