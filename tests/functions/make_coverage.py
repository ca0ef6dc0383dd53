"""Write docs/coverage.md: what of NumPy can be differentiated, from the catalogue's rows.

Run ``python -m tests.functions.make_coverage`` after adding a function; a test fails where the page is stale.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minidl import functions as F
from minidl import grad
from minidl.autograd.operators import TABLE
from minidl.autograd.protocols import full_name
from minidl.functions import special
from tests.functions.catalogue import ROWS, Row

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
HEAD = """# What can be differentiated

Every function below is called as `minidl.functions.f(..)`, and by the names of NumPy's or SciPy's that
stand beside it, with their own arguments. This page is written by
`python -m tests.functions.make_coverage` from the rows that drive the tests; each mark is tested.

- **value**: values that agree with NumPy's, or with a formula written another way.
- **gradient**, **second**: derivatives that agree with finite differences along random directions, of order
  one and of order two; "none" is for functions that have no derivative, or one that is zero everywhere.
  Rules are made of functions that have rules, so higher orders come of themselves.
- **float32**: float32 in gives float32 out, gradients too.
- **broadcasting**: arguments of different shapes are broadcast, and their gradients summed back.

Complex arrays and `np.fft` are refused with a TypeError, and so is every function without a rule, by its
full name.
"""

# The families of functions, as users look for them, and the files of minidl/functions they are in. Each is
# a page of the site's reference, too.
FAMILIES = {
    "Arithmetic and elementary functions": "elementwise ufuncs error_function",
    "Sums, means and other reductions": "reduction cumulative statistics",
    "Shapes and arrangement": "shape joining rearrangement",
    "Picking, sorting, searching": "indexing order",
    "Products of matrices and arrays": "linalg products",
    "Linear algebra: numpy.linalg": "decompositions",
    "Differences, integrals, polynomials": "differences polynomials",
    "Activations, dropout, masks": "activation",
    "What layers are made of": "convolution pooling normalization dot_attention "
    "recurrent_rnn recurrent_lstm recurrent_gru",
    "Loops": "loops",
    "Losses": "loss regression classification probabilities",
    "Metrics": "metrics",
    "Comparisons, signs, positions": "comparison",
}

SCIPY = """\
Called on Variables by SciPy's own names, `scipy.special.gammaln(x)`, where SciPy is there. Arguments by which no
derivative is known in closed form, such as the orders of Bessel functions, are refused if they require a gradient."""

# Where a function has a kink: what is chosen there, and a call that shows it.
_nought = np.zeros(2)
CHOICES: list[tuple[str, str, Callable[[], Any], Any]] = [
    ("abs, relu", "0 at 0", lambda: grad(lambda x: abs(x) + F.relu(x))(0.0), 0.0),
    (
        "maximum, minimum",
        "half to each of two that are equal",
        lambda: grad(np.maximum, (0, 1))(2.0, 2.0),
        (0.5, 0.5),
    ),
    (
        "max, min",
        "equal shares to all that tie",
        lambda: grad(np.max)([3.0, 3.0, 1.0]),
        [0.5, 0.5, 0.0],
    ),
    ("clip", "1 inside and at a bound", lambda: grad(lambda x: np.clip(x, 0, 1))(1.0), 1.0),
    ("linalg.norm", "0 at 0, of every order", lambda: grad(np.linalg.norm)(_nought), [0.0, 0.0]),
    (
        "linalg.norm of order 2, -2, nuc",
        "0 where the singular value is 0; where values coincide none of second order (LinAlgError)",
        lambda: grad(lambda x: np.linalg.norm(x, "nuc"))(np.diag([3.0, 0.0])),
        np.diag([1.0, 0.0]),
    ),
    ("std", "0 of constants", lambda: grad(np.std)(np.ones(2)), [0.0, 0.0]),
    (
        "linalg.cholesky, eigh, eigvalsh",
        "the symmetric gradient, right for changes that keep the matrix symmetric, as PyTorch's",
        lambda: grad(lambda x: np.linalg.eigvalsh(x)[1])(np.diag([1.0, 2.0])),
        np.diag([0.0, 1.0]),
    ),
    (
        "linalg.eigvalsh, svdvals",
        "where values coincide, the gradient that their vectors, as computed, give",
        lambda: grad(lambda x: np.linalg.eigvalsh(x).sum())(np.eye(2)),
        np.eye(2),
    ),
    (
        "linalg.eigh, svd",
        "the vectors have no derivative where values coincide: LinAlgError in the backward",
        lambda: _refused(lambda: grad(lambda x: np.linalg.eigh(x)[1].sum())(np.eye(2))),
        "LinAlgError",
    ),
    (
        "linalg.det",
        "the cofactors, also of singular matrices",
        lambda: grad(np.linalg.det)(np.diag([0.0, 2.0])),
        np.diag([2.0, 0.0]),
    ),
    (
        "linalg.pinv, lstsq",
        "that at constant rank",
        lambda: grad(lambda x: np.linalg.pinv(x).sum())(np.zeros((1, 2))),
        np.zeros((1, 2)),
    ),
]


def _refused(call: Callable[[], Any]) -> str:
    try:
        call()
    except Exception as error:
        return type(error).__name__
    return "nothing"


def rows_of(name: str) -> list[Row]:
    function = getattr(F, name)
    return [row for row in ROWS if row.function is function]


def marks_of(rows: list[Row]) -> list[str]:
    """The cells of one function, beside its names."""
    orders = [row.order for row in rows if row.samples]
    shapes = [{a.shape for a in row.args if isinstance(a, np.ndarray)} for row in rows]
    broadcasts = any(row.elementwise and len(s) > 1 for row, s in zip(rows, shapes, strict=True))
    narrow = any(row.samples and not row.brief for row in rows)
    return [
        "yes" if rows else "",
        "yes" if orders else "none",
        "yes" if max(orders, default=0) > 1 else "",
        "yes" if narrow else "",
        "yes" if broadcasts else "",
    ]


def names_of(modules: str) -> list[str]:
    """The public names of some files of minidl/functions."""
    loaded = [importlib.import_module(f"minidl.functions.{module}") for module in modules.split()]
    return sorted(name for module in loaded for name in module.__all__)


def table(names: list[str]) -> list[str]:
    lines = ["| function | NumPy, SciPy | value | gradient | second | float32 | broadcasting |"]
    lines.append("|---|---|---|---|---|---|---|")
    methods = {original: f"x.{name}" for name, (original, how) in TABLE.items() if how == "method"}
    for name in names:
        rows = rows_of(name)
        originals = [o for o in rows[0].originals if callable(o) and o.__name__ != "<lambda>"]
        others = [full_name(o) for o in originals]
        others += [methods[o] for o in originals if o in methods]
        cells = [f"`{name}`", " ".join(f"`{o}`" for o in dict.fromkeys(others)), *marks_of(rows)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def scipy_names() -> list[str]:
    """The ufuncs of scipy.special that have rules."""
    import scipy.special

    named = vars(scipy.special).items()
    ufuncs = [name for name, f in named if isinstance(f, np.ufunc) and special.find(f)]
    return sorted(f"`{name}`" for name in ufuncs)


def page() -> str:
    """The whole of docs/coverage.md."""
    lines = [HEAD, "## Choices at kinks", "", "| function | gradient |", "|---|---|"]
    lines += [f"| {functions} | {words} |" for functions, words, _, _ in CHOICES]
    for title, modules in FAMILIES.items():
        lines += ["", f"## {title}", "", *table(names_of(modules))]
    lines += ["", "## SciPy's special functions", "", SCIPY, "", ", ".join(scipy_names())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
