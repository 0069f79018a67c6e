import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import platformdirs
import pytest

from weights.cache import CACHE_DIR_VARIABLE, Cache, default_cache_dir, sha256_of
from weights.errors import CacheError


def test_the_environment_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_DIR_VARIABLE, str(tmp_path))
    assert default_cache_dir() == tmp_path
    monkeypatch.setenv(CACHE_DIR_VARIABLE, "")
    assert default_cache_dir() == Path(platformdirs.user_cache_dir("vidface"))


def test_sha256_of(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "gone") is None
    assert sha256_of(path / "below a file") is None
    with pytest.raises(CacheError, match="cannot be read"):
        sha256_of(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, path = Cache(tmp_path), tmp_path / "file"
    cache.write(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match=r"No space left.*VIDFACE_CACHE_DIR"):
        cache.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_lock_excludes_threads(tmp_path: Path) -> None:
    cache, folder = Cache(tmp_path), tmp_path / "folder"
    inside: list[str] = []
    second_begins = threading.Event()

    def second() -> None:
        second_begins.set()
        with cache.locked("net", folder):
            inside.append("second")

    thread = threading.Thread(target=second)
    with cache.locked("net", folder):
        thread.start()
        assert second_begins.wait(10)
        with cache.locked("other", folder):  # another name is another lock
            inside.append("first")
    thread.join(10)
    assert inside == ["first", "second"]


def test_a_killed_holder_leaves_no_lock_and_its_leftovers_are_swept(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    program = (
        "import os, pathlib, sys; from weights.cache import Cache\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "with Cache(root).locked('net', root / 'folder'):\n"
        "    (root / 'folder' / '.half-1').write_bytes(b'x'); os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert killed.returncode == -9
    assert (folder / ".half-1").exists()
    with Cache(tmp_path).locked("net", folder):
        assert list(folder.iterdir()) == []


def test_a_cache_that_cannot_be_made_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = Cache(tmp_path / "file")
    with (
        pytest.raises(CacheError, match=r"set VIDFACE_CACHE_DIR to another folder"),
        cache.locked("net", tmp_path / "file" / "models"),
    ):
        pass
