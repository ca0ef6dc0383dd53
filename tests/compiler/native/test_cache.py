"""The cache on disk: what is made once, what is not trusted and made anew, and who may share it."""

import os
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from minidl.compiler.native import cache, library
from minidl.compiler.native.toolchain import SUFFIX, Compiler

SOURCE = "int twice(int x) { return 2 * x; }"


class Maker:
    """Writes the same file at every call, and counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        path.write_bytes(b"content")


@pytest.fixture
def make() -> Maker:
    return Maker()


def test_an_entry_is_made_once(folder: Path, make: Maker) -> None:
    path = cache.entry("key", ".bin", make)
    assert cache.entry("key", ".bin", make) == path == folder / "key.bin"
    assert path.read_bytes() == b"content" and make.calls == 1
    cache.entry("other", ".bin", make)
    assert make.calls == 2


def test_only_the_user_may_read_and_write(folder: Path, make: Maker) -> None:
    old = os.umask(0o002)  # as many systems have it: files that the group may write
    try:
        path = cache.entry("key", ".bin", make)
        cache.entry("key", ".bin", make)
    finally:
        os.umask(old)
    assert make.calls == 1
    assert [stat.S_IMODE(p.stat().st_mode) for p in (folder, path)] == [0o700, 0o700]


def test_nothing_is_left_beside_the_entries(folder: Path, make: Maker) -> None:
    cache.entry("key", ".bin", make)
    assert sorted(p.name for p in folder.iterdir()) == ["key.bin", "key.bin.sha256"]


def test_what_fails_leaves_nothing(folder: Path, make: Maker) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise ValueError

    with pytest.raises(ValueError):
        cache.entry("key", ".bin", fail)
    assert list(folder.iterdir()) == []
    cache.entry("key", ".bin", make)


def by_link(path: Path) -> None:
    """A link to a file of the right content."""
    target = path.with_name("elsewhere")
    os.replace(path, target)
    path.symlink_to(target)


def by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, 3),
    "empty": lambda path: os.truncate(path, 0),
    "another content": lambda path: path.write_bytes(b"c0ntent"),
    "longer": lambda path: path.write_bytes(b"content and more"),
    "gone": lambda path: path.unlink(),
    "link": by_link,
    "dangling link": lambda path: (path.unlink(), path.symlink_to("/nowhere/at/all")),
    "pipe": by_pipe,
    "folder": by_folder,
    "others may write": lambda path: path.chmod(0o722),
    "group may write": lambda path: path.chmod(0o720),
    "hash gone": lambda path: path.with_name("key.bin.sha256").unlink(),
    "hash empty": lambda path: os.truncate(path.with_name("key.bin.sha256"), 0),
    "hash is bytes": lambda path: path.with_name("key.bin.sha256").write_bytes(b"\xff\x00" * 32),
    "hash of others": lambda path: path.with_name("key.bin.sha256").chmod(0o666),
    "hash linked": lambda path: by_link(path.with_name("key.bin.sha256")),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_made_anew(damage: Callable[[Path], object], make: Maker) -> None:
    path = cache.entry("key", ".bin", make)
    damage(path)
    assert cache.entry("key", ".bin", make) == path
    assert make.calls == 2
    assert path.read_bytes() == b"content" and not path.is_symlink()
    cache.entry("key", ".bin", make)
    assert make.calls == 2


def test_an_entry_of_another_user_is_made_anew(make: Maker) -> None:
    path = cache.entry("key", ".bin", make)
    try:
        os.chown(path, 12345, -1)
    except PermissionError:
        pytest.skip("only root can give files to others")
    cache.entry("key", ".bin", make)
    assert make.calls == 2 and path.stat().st_uid == os.getuid()


@pytest.fixture(autouse=True)
def _forget_private_folders() -> None:
    cache._private.cache_clear()


def private(make: Maker, why: str) -> Path:
    """The entry, made in a folder of this process's own, with a warning that says why."""
    with pytest.warns(UserWarning, match=f"(?s)cache of compiled programs is not used: .*{why}"):
        path = cache.entry("key", ".bin", make)
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    calls = make.calls
    assert cache.entry("key", ".bin", make) == path and make.calls == calls  # and no second warning
    return path


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_can_write_is_not_used(mode: int, folder: Path, make: Maker) -> None:
    path = cache.entry("key", ".bin", make)
    folder.chmod(mode)
    assert private(make, "can be written by others").parent != path.parent


def test_a_folder_that_others_can_replace_is_not_used(folder: Path, make: Maker) -> None:
    folder.parent.chmod(0o777)
    assert private(make, "could be replaced by others").parent != folder
    folder.parent.chmod(0o1777)  # as /tmp is
    assert cache.entry("key", ".bin", make).parent == folder


def test_a_folder_of_another_user_is_not_used(folder: Path, make: Maker) -> None:
    folder.mkdir(mode=0o700)
    try:
        os.chown(folder, 12345, -1)
    except PermissionError:
        pytest.skip("only root can give folders to others")
    assert private(make, "belongs to another user").parent != folder


def test_a_link_to_a_folder_of_others_is_not_used(
    tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o777)
    (tmp_path / "mine").mkdir(mode=0o700)
    (tmp_path / "mine" / "native").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "mine"))
    private(make, "can be written by others")


def test_a_place_that_is_no_folder(folder: Path, make: Maker) -> None:
    folder.write_text("a file")
    private(make, "File exists")


def test_without_a_home(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MINIDL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", home)
    private(make, "home directory")


@pytest.mark.parametrize(
    ("platform", "variables", "place"),
    [
        ("linux", {}, "HOME/.cache/minidl/native"),
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/minidl/native"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "HOME/.cache/minidl/native"),
        ("darwin", {}, "HOME/Library/Caches/minidl/native"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/minidl/native"),
        ("win32", {}, "HOME/AppData/Local/minidl/native"),
        ("linux", {"MINIDL_CACHE": "~/here"}, "HOME/here/native"),
        ("darwin", {"MINIDL_CACHE": "/here"}, "/here/native"),
    ],
)
def test_places(
    platform: str, variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MINIDL_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/users/ada")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert str(cache._place()) == place.replace("HOME", "/users/ada")


def test_the_least_recently_used_go(
    folder: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LIMIT", 2)
    first = cache.entry("first", ".bin", make)
    second = cache.entry("second", ".bin", make)
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    cache.entry("first", ".bin", make)  # used
    cache.entry("third", ".bin", make)
    assert sorted(p.stem for p in folder.glob("*.bin")) == ["first", "third"]
    assert len(list(folder.iterdir())) == 4


def test_what_a_process_that_died_left_is_deleted(folder: Path, make: Maker) -> None:
    cache.entry("key", ".bin", make)
    old = folder / "unfinished-old"
    new = folder / "unfinished-new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (1, 1))
    cache.entry("other", ".bin", make)
    assert not old.exists() and new.exists()


def test_a_library_is_compiled_once(
    compiler: Compiler, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert library.load(SOURCE).twice(21) == 42
    builds: list[str] = []
    monkeypatch.setattr(Compiler, "build", lambda self, source, path: builds.append(source))
    assert library.load(SOURCE).twice(4) == 8
    assert builds == []


def test_another_source_or_version_is_another_library(
    compiler: Compiler, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.load(SOURCE)
    library.load(SOURCE + "\n")
    monkeypatch.setattr("minidl.__version__", "another")
    library.load(SOURCE)
    monkeypatch.setattr("minidl.compiler.native.processor.describe", lambda: "another")
    library.load(SOURCE)
    assert len(list(folder.glob(f"*{SUFFIX}"))) == 4


def test_a_damaged_library_is_compiled_anew(compiler: Compiler, folder: Path) -> None:
    library.load(SOURCE)
    (path,) = folder.glob(f"*{SUFFIX}")
    # As a new file: what is mapped already must not be touched.
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:100])
    path.chmod(0o700)
    assert library.load(SOURCE).twice(3) == 6
    assert path.read_bytes() == whole


def test_many_threads(compiler: Compiler) -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(library.load(SOURCE).twice(5)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [10] * 6


PROCESS = f"""
import minidl
from minidl.compiler.native import library
assert library.load({SOURCE!r}).twice(21) == 42
"""


def test_two_processes_at_once(compiler: Compiler, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS], env=environment) for _ in "abc"]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert list(folder.glob("unfinished-*")) == []
    assert library.load(SOURCE).twice(3) == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("loaded_before", [True, False])
def test_in_a_forked_process(compiler: Compiler, loaded_before: bool) -> None:
    if loaded_before:
        library.load(SOURCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the test runner has threads
        child = os.fork()
    if child == 0:
        right = library.load(SOURCE).twice(4) == 8
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert library.load(SOURCE).twice(4) == 8


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore")
import minidl
from minidl.compiler.native import cache
make = lambda path: path.write_bytes(b"content")
path = cache.entry("key", ".bin", make)
child = os.fork()
if child == 0:
    sys.exit(0)  # runs what is registered for the end
os.waitpid(child, 0)
assert path.exists()
print(path.parent)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_private_folder_lives_as_long_as_its_process(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    run = subprocess.run(
        [sys.executable, "-c", FORKED],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert "minidl-" in run.stdout and not Path(run.stdout.strip()).exists()
