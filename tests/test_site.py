"""The site that `make docs` builds, where it has been built: every name, every link, the search.

What the pages say is tested by test_docs.py, which runs their snippets.
"""

import importlib
import json
import re
import shutil
import subprocess
import zlib
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.test_doors import PUBLIC

SITE = Path(__file__).parent.parent / "docs" / "_build" / "html"
pytestmark = pytest.mark.skipif(not (SITE / "objects.inv").exists(), reason="make docs builds it")
BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def inventory() -> dict[str, str]:
    """Where each name of Python's is described: page#anchor, from Sphinx's objects.inv."""
    head, _, body = (SITE / "objects.inv").read_bytes().partition(b"zlib.\n")
    assert head.startswith(b"# Sphinx inventory version 2")
    places = {}
    for line in zlib.decompress(body).decode().splitlines():
        name, kind, _, place, _ = line.split(maxsplit=4)
        if kind.startswith("py:"):
            places[name] = place.removesuffix("$") + (name if place.endswith("$") else "")
    return places


class Page(HTMLParser):
    """A page's anchors, and what it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.anchors.update(value for name, value in attrs if name == "id" and value)
        self.links += [value for name, value in attrs if name in ("href", "src") and value]


@cache
def page(file: Path) -> Page:
    return Page(file.read_text(encoding="utf-8"))


def leads_somewhere(start: Path, link: str) -> bool:
    """Whether a link is to another site, or to a file of this one that has the anchor."""
    if re.match(r"[a-z]+:|//", link):
        return True
    path, _, anchor = link.partition("#")
    file = start.parent / unquote(path.partition("?")[0]) if path else start
    if not file.is_file():
        return False
    return not anchor or file.suffix != ".html" or unquote(anchor) in page(file.resolve()).anchors


def test_every_public_name_is_described():
    names = {f"{module}.{n}" for module in PUBLIC for n in importlib.import_module(module).__all__}
    places = inventory()
    assert sorted((names | set(PUBLIC)) - set(places)) == []
    assert [n for n in sorted(names) if not leads_somewhere(SITE / "index.html", places[n])] == []


def test_a_notebook_runs(tmp_path, monkeypatch):
    """As downloaded, but for its last cell, which shows the picture by Jupyter's means."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["a notebook's own", "-f", "kernel.json"])
    (file,) = (SITE / "_downloads").rglob("newton.ipynb")
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    *code, last = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    names = {"__name__": "__main__"}
    for source in code:
        exec(source, names)
    assert "IPython" in last and (tmp_path / "out" / "newton.png").stat().st_size > 1000


def test_signatures_are_to_be_read():
    """With defaults as they stand in the code, not as the objects they became."""
    pages = [file.read_text(encoding="utf-8") for file in (SITE / "reference").rglob("*.html")]
    assert len(pages) > 20 and "init=normal_over_sqrt_in" in re.sub("<[^>]*>", "", "".join(pages))
    assert [text for text in pages if re.search(r"&lt;(function|class|object) | at 0x", text)] == []


def test_every_link_leads_somewhere():
    files = sorted(SITE.rglob("*.html"))
    assert len(files) > 100
    broken = [
        f"{file.relative_to(SITE)}: {link}"
        for file in files
        for link in page(file).links
        if not leads_somewhere(file, link)
    ]
    assert broken == []


def test_every_example_has_a_page_with_a_notebook_and_a_picture():
    examples = {file.stem for file in (SITE.parents[2] / "examples").glob("*.py")}
    pages = {file.stem: page(file).links for file in (SITE / "gallery").glob("*/*.html")}
    assert examples <= set(pages)
    for name in examples:
        links = " ".join(pages[name])
        assert f"{name}.ipynb" in links and f"sphx_glr_{name}_001" in links, name


@pytest.mark.parametrize("name", ["cross_entropy", "LSTM", "with_state", "EarlyStopping", "hvp"])
def test_the_search_index_leads_to_a_name(name):
    text = (SITE / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    entries = [
        (module, entry)
        for module, found in index["objects"].items()
        for entry in found
        if entry[4] == name
    ]
    assert entries
    for module, (page_number, _, _, anchor, last) in entries:
        full = f"{module}.{last}"
        target = full if anchor == "" else anchor
        assert target in page(SITE / f"{index['docnames'][page_number]}.html").anchors


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to search with")
@pytest.mark.parametrize("words", ["cross_entropy", "EarlyStopping", "hessian"])
def test_a_search_in_a_browser_leads_to_the_page(words, tmp_path):
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000"]
    command += ["--allow-file-access-from-files", f"{(SITE / 'search.html').as_uri()}?q={words}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    results = re.search(r'<ul[^>]* class="search".*', shown, re.S)
    assert results, "the search shows no list of results"
    links = re.findall(r'href="([^"]+)"', results[0])
    places = inventory()
    wanted = [places[n] for n in places if n.rpartition(".")[2] == words]
    assert any(link.partition("?")[0] in w or w in link for link in links[:5] for w in wanted)
    assert leads_somewhere(SITE / "search.html", links[0])
