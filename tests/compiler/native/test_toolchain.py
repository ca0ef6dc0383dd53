"""Finding a C compiler: what is asked first, what is remembered, and what is said when it fails."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minidl.compiler.native import toolchain
from minidl.compiler.native.toolchain import Compiler, CompilerError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without a compiler: an empty PATH, no ziglang, no MINIDL_CC. Gives the PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("MINIDL_CC", raising=False)
    monkeypatch.setattr(toolchain, "find_spec", lambda name: None)
    return path


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return path


def counting(path: Path, compiler: Compiler, count: Path) -> Path:
    """A compiler that notes each of its runs in a file."""
    return script(path, f'echo run >> {count}\nexec {" ".join(compiler.command)} "$@"')


def test_without_a_compiler_the_error_says_how_to_get_one(bare: Path) -> None:
    with pytest.raises(CompilerError) as caught:
        toolchain.find()
    message = str(caught.value)
    assert "want a C compiler, got no cc, gcc or clang on the PATH, and no ziglang" in message
    assert "pip install '.[native]'" in message and "MINIDL_CC" in message


@pytest.mark.parametrize("chosen", ["no-such-compiler", "/no/such/compiler -x", "'unbalanced", " "])
def test_minidl_cc_that_is_no_program(
    chosen: str, monkeypatch: pytest.MonkeyPatch, compiler: Compiler
) -> None:
    monkeypatch.setenv("MINIDL_CC", chosen)
    with pytest.raises(CompilerError, match="MINIDL_CC: want"):
        toolchain.find()  # although there is another that works


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo the licence has run out; exit 3", "the licence has run out"),
        ("exit 0", "it made none"),
        ('while [ "$1" != -o ]; do shift; done; echo junk > "$2"', "want a library that can be"),
    ],
    ids=["fails", "makes nothing", "makes junk"],
)
def test_a_compiler_that_fails_is_quoted(
    text: str, words: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{bare}:/usr/bin:/bin")
    answer = 'case "$1" in --version) echo made up; exit 0;; esac\n'
    monkeypatch.setenv("MINIDL_CC", str(script(bare / "mycc", answer + text)))
    with pytest.raises(CompilerError, match="MINIDL_CC: want a C compiler that works") as caught:
        toolchain.find()
    assert words in str(caught.value)


def test_a_program_that_computes_wrong_is_no_compiler(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDL_CC", f"{compiler.command[0]} -Dsin=cos")
    with pytest.raises(CompilerError, match="computes wrong"):
        toolchain.find()


def test_the_next_one_is_taken_where_the_first_fails(compiler: Compiler, bare: Path) -> None:
    script(bare / "cc", "echo run >> ${0%/*}/runs; exit 1")
    script(bare / "gcc", f'PATH=/usr/bin:/bin exec {compiler.command[0]} "$@"')
    for _ in range(3):
        assert toolchain.find().command == (str(bare / "gcc"),)
    assert (bare / "runs").read_text() == "run\n"  # once, not at every call


def test_what_failed_is_quoted_when_nothing_else_is_left(
    compiler: Compiler, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = script(bare / "cc", "echo out of order; exit 1")
    working = script(bare / "gcc", f'PATH=/usr/bin:/bin exec {compiler.command[0]} "$@"')
    toolchain.find()
    working.unlink()
    with pytest.raises(CompilerError, match="out of order"):
        toolchain.find()
    monkeypatch.setenv("MINIDL_CC", str(broken))
    with pytest.raises(CompilerError, match=r"MINIDL_CC: (?s:.*)out of order"):
        toolchain.find()


def test_one_that_was_repaired_is_tried_again(compiler: Compiler, bare: Path) -> None:
    script(bare / "cc", "exit 1")
    with pytest.raises(CompilerError):
        toolchain.find()
    script(bare / "gcc", f'PATH=/usr/bin:/bin exec {compiler.command[0]} "$@"')
    assert toolchain.find().command == (str(bare / "gcc"),)
    script(bare / "cc", f'PATH=/usr/bin:/bin exec {compiler.command[0]} "$@"')
    assert toolchain.find().command == (str(bare / "cc"),)


def test_all_that_fail_are_quoted(bare: Path) -> None:
    script(bare / "cc", "echo first; exit 1")
    script(bare / "clang", "echo second; exit 1")
    with pytest.raises(CompilerError, match=r"(?s)first.*second.*\[native\]"):
        toolchain.find()


def test_minidl_cc_goes_before_all_others(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = counting(tmp_path / "my cc", compiler, tmp_path / "runs")  # a name with a space
    monkeypatch.setenv("MINIDL_CC", str(mine))
    assert toolchain.find().command == (str(mine),)
    monkeypatch.setenv("MINIDL_CC", f"'{mine}' -DX=1")
    assert toolchain.find().command == (str(mine), "-DX=1")


def test_a_compiler_is_run_once_and_again_when_it_is_replaced(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    mine = counting(tmp_path / "mycc", compiler, runs)
    monkeypatch.setenv("MINIDL_CC", str(mine))
    first = toolchain.find()
    tried = len(runs.read_text().splitlines())
    assert toolchain.find() == first and len(runs.read_text().splitlines()) == tried >= 2
    counting(mine, compiler, runs)
    mine.write_text(mine.read_text() + "# another\n")
    assert toolchain.find() == first and len(runs.read_text().splitlines()) > tried


def test_flags_for_this_processor_that_a_compiler_does_not_know(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = 'case "$*" in *=native*) echo unknown; exit 1;; esac\n'
    text = refuse + f'exec {" ".join(compiler.command)} "$@"'
    monkeypatch.setenv("MINIDL_CC", str(script(tmp_path / "mycc", text)))
    assert "native" not in " ".join(toolchain.find().flags)


def test_no_flag_changes_numbers(compiler: Compiler) -> None:
    flags = " ".join(compiler.flags)
    assert "-ffp-contract=off" in flags
    assert not any(
        word in flags for word in ("fast-math", "Ofast", "unsafe", "finite", "reciprocal")
    )


def test_zig_is_the_last_resort(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = bare / "ziglang"
    package.mkdir()
    script(package / "zig", "echo zig was asked; exit 1")
    spec = SimpleNamespace(origin=str(package / "__init__.py"))
    monkeypatch.setattr(toolchain, "find_spec", lambda name: spec)
    with pytest.raises(CompilerError, match="zig was asked"):
        toolchain.find()


def test_zig_itself() -> None:
    pytest.importorskip("ziglang", reason="ziglang is not installed")
    (command,) = [c for c in toolchain._candidates() if c[-1] == "cc" and len(c) == 2]
    assert "clang" in toolchain._try(command).version


@pytest.mark.parametrize("word", ["nonsense", "nonsense()"])
def test_errors_of_a_source_have_the_compilers_words(
    word: str, compiler: Compiler, tmp_path: Path
) -> None:
    with pytest.raises(CompilerError, match="nonsense"):
        compiler.build(f"int f(void) {{ return {word}; }}", tmp_path / f"x{toolchain.SUFFIX}")
    assert not (tmp_path / "x.c").exists()


def test_nothing_is_tried_at_import(bare: Path) -> None:
    code = "import sys, minidl; sys.exit(any('compiler.native' in m for m in sys.modules))"
    environment: dict[str, Any] = {
        "PATH": str(bare),
        "PYTHONPATH": ":".join(p for p in sys.path if p),
    }
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
