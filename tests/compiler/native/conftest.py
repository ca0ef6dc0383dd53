"""Every test here has a cache of its own, and those that need a C compiler are skipped without one."""

from pathlib import Path

import pytest

from minidl.compiler.native import toolchain


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's folder, which is not there yet."""
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path))
    return tmp_path / "native"


@pytest.fixture
def compiler(folder: Path) -> toolchain.Compiler:
    try:
        return toolchain.find()
    except toolchain.CompilerError as error:
        pytest.skip(str(error))
