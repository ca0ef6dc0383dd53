"""Every snippet of README.md, docs/ and docs/guide/ runs, in order, the files' snippets each in one namespace.

A snippet is a fence marked ``python``; one with ``>>>`` is a doctest, any other is run as it stands. What
the text around the snippets claims is for readers to check.
"""

import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidl.autograd.protocols import REGISTRY

ROOT = Path(__file__).parent.parent
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *GUIDE]
EXTRAS = {"onnx", "onnxruntime", "scipy", "sklearn"}  # pages that use them are skipped without
FENCE = re.compile(r"^```python[ ]*\n(.*?)^```[ ]*$", re.M | re.S)
LOOSE = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """Pages define functions of their own, for NumPy's too; other tests must not meet these."""
    saved = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(saved)


def snippets(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number of lines above, source) of every snippet."""
    for found in FENCE.finditer(text):
        yield text.count("\n", 0, found.start(1)), found[1]


def run_page(page: Path) -> int:
    """Run a page's snippets; fail with the page and the line of the first that does not work."""
    names: dict[str, Any] = {"__name__": "__main__"}
    count = 0
    for above, source in snippets(page.read_text(encoding="utf-8")):
        count += 1
        if re.search(r"^\s*>>> ", source, re.M):
            test = doctest.DocTestParser().get_doctest(source, names, page.name, str(page), above)
            report: list[str] = []
            doctest.DocTestRunner(verbose=False, optionflags=LOOSE).run(
                test, out=report.append, clear_globs=False
            )
            if report:
                pytest.fail("".join(report), pytrace=False)
            names.update(test.globs)
            continue
        try:
            exec(compile("\n" * above + source, str(page), "exec"), names)
        except Exception as error:
            if isinstance(error, ImportError) and error.name in EXTRAS:
                pytest.skip(f"{page.name} wants {error.name}")
            line, trace = above + 1, error.__traceback__
            while trace is not None:  # the last line of the page on the way to the error
                line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(page) else line
                trace = trace.tb_next
            line = (
                error.lineno or line
                if isinstance(error, SyntaxError) and error.filename == str(page)
                else line
            )
            pytest.fail(f"{page}:{line}: {type(error).__name__}: {error}", pytrace=False)
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert run_page(page) or page.parent != ROOT, "the README has no snippet that runs"


@pytest.mark.parametrize(
    ("snippet", "message"),
    [
        ("y = 1\nassert y == 2\n", r"page.md:6: AssertionError"),
        ("def f():\n    raise ValueError('no')\nf()\n", r"page.md:6: ValueError: no"),
        ("import json\njson.loads('{')\n", r"page.md:6: JSONDecodeError"),
        ("x = = 1\n", r"page.md:5: SyntaxError"),
        (">>> x\n3\n>>> x + 1\n5\n", r"(?s)page.md\", line 7.*Expected:\s+5\s+Got:\s+4"),
    ],
)
def test_a_broken_snippet_fails_with_its_line(snippet: str, message: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```python\nx = 3\n```\n```python\n{snippet}```\n")
    with pytest.raises(pytest.fail.Exception, match=message):
        run_page(page)


def test_a_page_without_its_library_is_skipped_by_name(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nraise ImportError(name='onnx')\n```\n")
    with pytest.raises(pytest.skip.Exception, match=r"page\.md wants onnx"):
        run_page(page)


def test_only_python_is_run_and_names_go_from_snippet_to_snippet(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nx = 3\n```\n```sh\nmake\n```\n```python\n>>> x\n3\n>>> y = 4\n```\n"
        "```python\nassert x + y == 7\n```\n"
    )
    assert run_page(page) == 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert [
        link for link in missing if not link.startswith("docs/pictures/")
    ] == []  # the examples draw those


TABLES = ROOT / "docs" / "guide" / "coming_from.md"
NOT_RUN = {"forward", "__init__", "f", 'fit(.., resume="auto")'}  # in backquotes, and no programs
NOT_RUN |= {"minidl.set_num_threads(1)"}  # which would hold for the tests that follow


def code_of_tables() -> list[str]:
    """The code in the right-hand columns of the tables of coming_from.md."""
    lines = TABLES.read_text(encoding="utf-8").splitlines()
    cells = [line.split(" | ", 1)[1] for line in lines if line.startswith("| ")]
    return sorted({code for cell in cells for code in re.findall(r"`([^`]+)`", cell)} - NOT_RUN)


@pytest.mark.parametrize("code", code_of_tables())
def test_what_the_tables_say_to_write(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX" if "TensorBoard" in code else "sklearn")
    monkeypatch.chdir(tmp_path)
    for part in ("scipy.optimize", "scipy.special"):
        pytest.importorskip(part)
    names: dict[str, Any] = {"scipy": pytest.importorskip("scipy")}
    for _, source in snippets(TABLES.read_text(encoding="utf-8")):
        exec(source, names)
    if "(0, 1)" in code:
        names["f"] = names["f2"]
    exec(compile(code, TABLES.name, "exec"), names)


def test_the_tables_are_long_enough_to_be_of_use() -> None:
    assert len(code_of_tables()) > 90


def test_the_page_on_compile_lists_every_file() -> None:
    page = (ROOT / "docs" / "compile_internals.md").read_text(encoding="utf-8")
    table = page[page.index("## 8. The files") :]
    listed = set(re.findall(r"`([a-z_]+\.py)`", table))
    files = {file.name for file in (ROOT / "minidl" / "compiler").glob("*.py")}
    assert listed == files - {"__init__.py"}
