"""Pages of the site that are made of other files: functions by family, the examples; and docstrings.

conf.py calls this; what is written here (reference/functions, _examples) is not kept in git.
"""

import importlib
import pkgutil
import pydoc
import re
import shutil
from functools import cache
from pathlib import Path
from pydoc import locate
from typing import Any

import numpy as np
from sphinx_gallery.scrapers import figure_rst

import minidl
from minidl import functions as F
from minidl.autograd.function import Function
from minidl.autograd.operators import TABLE

HERE = Path(__file__).parent
ROOT = HERE.parent

# The gallery: its sections, a folder each, and the titles of the examples in each.
GALLERY = {
    "derivatives": {
        "gradient_descent": "Gradient descent by hand",
        "newton": "Newton's method",
        "higher_order": "Derivatives of derivatives",
        "fit_curve": "A curve fitted, with its errors",
        "gaussian_process": "A Gaussian process",
    },
    "networks": {
        "mlp_digits": "Handwritten digits",
        "cnn_digits": "Handwritten digits, by convolution",
        "sklearn_table": "A table, in a scikit-learn search",
        "vae_digits": "A variational autoencoder",
    },
    "sequences": {
        "lstm_sine": "An LSTM learns a sine",
        "lstm_sunspots": "Sunspots, a year ahead",
        "seq2seq_dates": "Dates in words, translated",
        "char_transformer": "A small GPT",
    },
    "research": {
        "maml": "Meta-learning (MAML)",
        "neural_ode": "A neural ODE",
    },
}
SHORT = {"char_transformer"}  # run in their short form: the full one takes half a minute or more
NOTE = "What is shown on this page was written and drawn by ``python examples/{name}.py{options}``."

FIRST_CELL = """\
# In a notebook there is no command line: these are the example's options, here the short form.
import sys
sys.argv = ["example", "--short"]
"""
LAST_CELL = """\
from pathlib import Path
from IPython.display import Image, display
for picture in sorted(Path("out").glob("*.png")):
    display(Image(str(picture)))
"""


# --- functions ------------------------------------------------------------------------------------


def families() -> dict[str, list[str]]:
    """The sections of docs/coverage.md, and the lines of their tables."""
    text = (HERE / "coverage.md").read_text(encoding="utf-8")
    sections = [section.partition("\n") for section in text.split("\n## ")[1:]]
    tables = {
        title: [line for line in body.splitlines() if line.startswith("|")]
        for title, _, body in sections
    }
    return {title: rows for title, rows in tables.items() if rows and "NumPy" in rows[0]}


def function_page(title: str, rows: list[str], names: list[str]) -> str:
    """A page of the reference: what of each function is tested, then each by itself."""
    link = r"| {py:obj}`~minidl.functions.\1` |"
    lines = [f"# {title}", "", *(re.sub(r"^\| `(\w+)` \|", link, row) for row in rows)]
    lines += ["", "The columns are explained on [the page of them all](../../coverage.md).", ""]
    lines += ["```{eval-rst}"]
    lines += [f".. autofunction:: minidl.functions.{name}\n" for name in names]
    return "\n".join([*lines, "```", ""])


def write_function_pages() -> None:
    """Write reference/functions, a page for each family; an error if a function is on none."""
    folder = HERE / "reference" / "functions"
    shutil.rmtree(folder, ignore_errors=True)
    listed: list[str] = []
    for title, rows in families().items():
        names = [row.split("`")[1] for row in rows[2:]]
        slug = re.sub(r"\W+", "_", title.lower()).strip("_")
        write(folder / f"{slug}.md", function_page(title, rows, names))
        listed += names
    if sorted(listed) != sorted(F.__all__):
        raise ValueError(f"coverage.md: want every function once: {set(listed) ^ set(F.__all__)}")


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


# --- the gallery ----------------------------------------------------------------------------------


def write_examples() -> None:
    """Write _examples: the examples in sections, their docstrings with a title, as the gallery wants."""
    shutil.rmtree(HERE / "_examples", ignore_errors=True)
    files = {file.stem: file for file in (ROOT / "examples").glob("*.py")}
    listed = [name for section in GALLERY.values() for name in section]
    if sorted(listed) != sorted(files):
        raise ValueError(f"GALLERY: want every example once, got {set(listed) ^ set(files)}")
    head = "Every example is one short file, run to build this page. Each page has it as a notebook, too."
    write(HERE / "_examples" / "GALLERY_HEADER.rst", f"{underlined('Gallery')}\n{head}\n")
    for section, titles in GALLERY.items():
        folder = HERE / "_examples" / section
        write(folder / "GALLERY_HEADER.rst", underlined(section.capitalize(), "-"))
        for name, title in titles.items():
            write(
                folder / f"{name}.py",
                with_title(files[name].read_text(encoding="utf-8"), name, title),
            )
    shutil.copy(ROOT / "examples" / "alice.txt", HERE / "_examples" / "sequences")


def with_title(source: str, name: str, title: str) -> str:
    """An example whose docstring begins with a title, and ends with how it was run."""
    text, _, program = source.removeprefix('"""').partition('"""')
    program = program.replace(
        "Path(__file__).with_name", "Path"
    )  # run in its folder, as a notebook is
    note = NOTE.format(name=name, options=" --short" if name in SHORT else "")
    if "alice.txt" in program:
        note += " It reads :download:`alice.txt </_examples/sequences/alice.txt>`, beside it."
    return f'"""\n{underlined(title)}\n{text.strip()}\n\n{note}\n"""{program}'


def underlined(title: str, by: str = "=") -> str:
    return f"{title}\n{by * len(title)}\n"


def section_of(name: str) -> str:
    """The folder of an example in the gallery."""
    return next(section for section, titles in GALLERY.items() if name in titles)


class GalleryOrder:
    """The order of the examples in a section: that of GALLERY."""

    def __init__(self, folder: str) -> None:
        self.names = [name for section in GALLERY.values() for name in section]

    def __call__(self, file: str) -> int:
        return self.names.index(Path(file).stem)


def options(conf: Any, variables: dict[str, Any]) -> list[str]:
    """The options that an example is run with: its short form where the full one takes long."""
    return ["--short"] if Path(variables["src_file"]).stem in SHORT else []


def scrape(block: Any, variables: dict[str, Any], conf: dict[str, Any]) -> str:
    """The picture that an example has drawn into out/, for its page."""
    example = Path(variables["src_file"])
    picture = example.parent / "out" / f"{example.stem}.png"
    if not picture.exists():
        return ""
    place = next(variables["image_path_iterator"])
    shutil.copy(picture, place)
    title = GALLERY[section_of(example.stem)][example.stem]
    return figure_rst([place], conf["src_dir"], title)


# --- docstrings -----------------------------------------------------------------------------------


@cache
def originals() -> dict[str, str]:
    """NumPy's names, such as np.linalg.det, of the functions that have one."""
    rows = [row for table in families().values() for row in table[2:]]
    cells = [row.split("|")[1:3] for row in rows]
    found = {name.strip(" `"): re.search(r"np\.[\w.]+", names) for name, names in cells}
    return {name: match[0] for name, match in found.items() if match}


def signature(app: Any, what: str, name: str, obj: Any, *rest: Any) -> tuple[str, str] | None:
    """A ufunc's arguments without NumPy's own settings, most of which Variables do not take."""
    if isinstance(obj, Function) and isinstance(obj.forward, np.ufunc):
        names = ["x"] if obj.forward.nin == 1 else [f"x{i + 1}" for i in range(obj.forward.nin)]
        return f"({', '.join(names)})", ""
    return None


def docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Of functions that are NumPy's, its first sentence and a link; a module's text is for readers."""
    if what == "module":
        lines.clear()
    if obj is minidl.Variable:
        lines += ["", f"It has NumPy's operators, and these methods of arrays: {methods()}.", ""]
    module, _, last = name.rpartition(".")
    if module != "minidl.functions" or last not in originals():
        return
    original = originals()[last].replace("np", "numpy", 1)
    if lines[0].endswith("recorded on Variables."):
        text = pydoc.getdoc(locate(original))
        text = re.sub(r"\A\w+\([^\n]*\)\n\n", "", text)  # a ufunc's begins with its signature
        lines[0] = " ".join(text.partition("\n\n")[0].split())
    link = f"https://numpy.org/doc/stable/reference/generated/{original}.html"
    lines += ["", f"NumPy's page: `{original} <{link}>`__", ""]


def methods() -> str:
    """The methods that Variables have of NumPy's functions, each linked to its function."""
    names = sorted(name for name, (_, how) in TABLE.items() if how == "method")
    return ", ".join(f":py:obj:`{n} <minidl.functions.{n}>`" for n in names if hasattr(F, n))


def note_every_name(app: Any, env: Any) -> None:
    """Have links and the inventory know every public name, where one object has several."""
    objects = env.domains.python_domain.objects
    homes = {
        id(locate(name)): name
        for name, entry in objects.items()
        if entry.objtype in {"function", "class"} and not entry.aliased
    }
    for module in map(importlib.import_module, public_modules()):
        for last in module.__all__:
            name = f"{module.__name__}.{last}"
            home = homes.get(id(getattr(module, last)))
            if name not in objects and home is not None:
                objects[name] = objects[home]._replace(aliased=True)


def public_modules() -> list[str]:
    """The modules of minidl with public names."""
    found = pkgutil.walk_packages(minidl.__path__, "minidl.")
    names = ["minidl", *(module.name for module in found)]
    return [name for name in names if hasattr(importlib.import_module(name), "__all__")]
