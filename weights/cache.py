"""The folder where weights lie, shared by every process of a user.

```
CACHE/artifacts/ARTIFACT/FILE     members as they were published, checked against the manifest
CACHE/models/MODEL/MODEL.onnx     what the engines load
CACHE/models/MODEL/stamp.json     from what, by which converter, and the sha256 of the result
CACHE/partial/                    downloads that may be resumed
CACHE/locks/NAME.lock             empty; held (flock) by the process that is writing NAME
```

A file appears under its name whole or not at all: it is written beside it, flushed to the disk, and renamed.
Readers therefore take no lock. `flock` ends with its process, so a killed one leaves nothing locked; what it left
half-written is swept by the next holder of the same lock.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import platformdirs

from weights.errors import CacheError

CACHE_DIR_VARIABLE: Final = "VIDFACE_CACHE_DIR"

_HALF_WRITTEN: Final = ".half-"
_CHUNK_BYTES: Final = 1 << 20


def default_cache_dir() -> Path:
    """`VIDFACE_CACHE_DIR` if it is set and not empty, else the user's cache folder for `vidface`."""
    named = os.environ.get(CACHE_DIR_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("vidface"))


def sha256_of(path: Path) -> str | None:
    """Hexadecimal sha256 of a file; None where there is no such file. Blocks for as long as reading it takes.

    Raises:
        CacheError: It is there and cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CacheError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    return digest.hexdigest()


class Cache:
    """Paths in the cache, and the two operations on it that must be right: lock and write. Any thread may call."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def artifact_dir(self, artifact: str) -> Path:
        """Where the members of an artifact lie."""
        return self.root / "artifacts" / artifact

    def model_dir(self, model: str) -> Path:
        """Where a model's ONNX file and its stamp lie."""
        return self.root / "models" / model

    def partial(self, key: str) -> Path:
        """Where a download that may be resumed is kept; the folder is made if need be."""
        folder = self._made(self.root / "partial")
        return folder / hashlib.sha256(key.encode()).hexdigest()[:32]

    @contextlib.contextmanager
    def locked(self, name: str, folder: Path) -> Iterator[None]:
        """Hold the lock of `name`, and with it the right to write in `folder`, which is made if need be.

        Blocks until every other holder, in this process or another, is done. Not reentrant.

        Raises:
            CacheError: The folder cannot be made, or the lock not be taken.
        """
        self._made(folder)
        path = self._made(self.root / "locks") / f"{name}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._unwritable(path, error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                raise CacheError(
                    f"{path}: cannot be locked: {error.strerror}; set {CACHE_DIR_VARIABLE} to a folder on a "
                    "file system with locks"
                ) from error
            for leftover in folder.glob(f"{_HALF_WRITTEN}*"):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            os.close(descriptor)

    def write(self, path: Path, data: bytes) -> None:
        """Make `path` hold `data`, at once or not at all; its folder's lock must be held.

        Raises:
            CacheError: The disk is full, or the folder not writable.
        """
        half: str | None = None
        try:
            descriptor, half = tempfile.mkstemp(prefix=_HALF_WRITTEN, dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
            Path(half).replace(path)
            half = None
        except OSError as error:
            raise self._unwritable(path, error) from error
        finally:
            if half is not None:
                Path(half).unlink(missing_ok=True)

    def _made(self, folder: Path) -> Path:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(folder, error) from error
        return folder

    def _unwritable(self, path: Path, error: OSError) -> CacheError:
        return CacheError(
            f"{path}: cannot be written: {error.strerror}; free space or fix the permissions of {self.root}, "
            f"or set {CACHE_DIR_VARIABLE} to another folder"
        )
