"""How Sphinx builds the site: `make docs`. Pages that are made of other files are in make_pages.py."""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import make_pages  # noqa: E402  # it lies in this folder, which is looked through from here on

import minidl  # noqa: E402  # below make_pages, where the formatter puts it

project = "minidl"
author = copyright = "minidl authors"
version = release = minidl.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "_examples",
    "gallery/sg_execution_times.rst",
    "sg_execution_times.rst",
]
nitpicky = True
default_role = "literal"  # a single backtick in a docstring is code, as in Markdown
highlight_language = "python"
pygments_dark_style = "github-dark"
maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath", "colon_fence"]

autodoc_typehints = "none"  # signatures to be read: types are said in words, and checked by mypy
autodoc_preserve_defaults = True  # as they stand in the code: init=normal_over_sqrt_in
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # attributes in a docstring are described once, there
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"minidl {version}"
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#a3341f", "color-brand-content": "#a3341f"},
    "dark_css_variables": {"color-brand-primary": "#ff9d80", "color-brand-content": "#ff9d80"},
}
suppress_warnings = ["config.cache"]  # the gallery's settings hold functions

sphinx_gallery_conf = {
    "examples_dirs": "_examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "subsection_order": [f"_examples/{name}" for name in make_pages.GALLERY],
    "within_subsection_order": "make_pages.GalleryOrder",
    "image_scrapers": ("make_pages.scrape",),
    "reset_argv": "make_pages.options",
    "first_notebook_cell": make_pages.FIRST_CELL,
    "last_notebook_cell": make_pages.LAST_CELL,
    "abort_on_example_error": True,
    "min_reported_time": 1e9,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "default_thumb_file": None,
}

# Files and folders of the checkout that pages link to, and where they are on the site.
LINKS = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "minidl/functions": "reference/functions.md",
    "minidl/optim": "reference/optim.md",
    "examples": "gallery/index.rst",
}

make_pages.write_function_pages()
make_pages.write_examples()


def link_sources(app: Sphinx, page: str, source: list[str]) -> None:
    """Links of the Markdown to files of the checkout lead to pages of the site."""
    up = "../" * page.count("/")
    text = source[0]
    text = re.sub(
        r"\[([^\]]+)\]\((?:\.\./)+(minidl/[\w/]+)\.py\)",
        rf'<a href="{up}_modules/\2.html">\1</a>',
        text,
    )
    text = re.sub(
        r"\]\((?:\.\./)+examples/(\w+)\.py\)",
        lambda found: f"]({up}gallery/{make_pages.section_of(found[1])}/{found[1]}.rst)",
        text,
    )
    for there, here in LINKS.items():
        text = re.sub(rf"\]\((?:\.\./)+{there}\)", f"]({up}{here})", text)
    source[0] = text


def note_short_names(app: Sphinx, doctree: nodes.document) -> None:
    """Anchors that viewcode's links back go to, of names whose file has names of `minidl` too."""
    for sign in doctree.findall(addnodes.desc_signature):
        if sign.get("module") in {"minidl.autograd", "minidl.compiler"}:
            sign["ids"].append(f"minidl.{sign['fullname']}")


def show_every_module(app: Sphinx, env: object) -> None:
    """Have viewcode make a page of every file of minidl, not only of those with public names."""
    root = Path(minidl.__file__).parent
    for file in sorted(root.rglob("*.py")):
        parts = file.relative_to(root.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        analyzer = ModuleAnalyzer.for_module(name)
        analyzer.find_tags()
        app.env._viewcode_modules.setdefault(name, (analyzer.code, analyzer.tags, {}, ""))


def setup(app: Sphinx) -> None:
    app.connect("source-read", link_sources)
    app.connect("doctree-read", note_short_names)
    app.connect("autodoc-process-signature", make_pages.signature)
    app.connect("autodoc-process-docstring", make_pages.docstring, priority=400)
    app.connect("env-updated", make_pages.note_every_name)
    app.connect("env-updated", show_every_module)
