"""A file of JSON lines that only ever holds whole lines.

A crash in the middle of a write leaves half a line at the end. Who reads the file would choke on it, and what is
written next would be glued to it. So opening repairs the end, a failed write is taken back, and one process at a
time may write.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Final, Self

_BLOCK: Final = 64 * 1024


class LineFile:
    """Appends lines to a file, all or nothing. For one thread at a time.

    Follows log rotation: where the path no longer names the open file, the next append starts a new one.
    """

    def __init__(self, path: Path, *, sync: bool = True) -> None:
        """Open the file, made with its folders where it is absent, and repair its end.

        Args:
            path: The file.
            sync: Whether an append also waits for the disk, so that a power cut does not take it back.

        Raises:
            OSError: The file cannot be made, opened or repaired, or another process writes it; the message names
                the path.
        """
        self.path = path
        self._sync = sync
        self._descriptor = _open(path, sync=sync)

    def append(self, lines: bytes) -> None:
        """Write lines, each ending in a newline, and return when the file has them.

        Raises:
            OSError: Nothing was written.
        """
        if self._descriptor < 0:
            raise OSError(f"{self.path} is closed")
        self._follow_rotation()
        start = os.fstat(self._descriptor).st_size
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            if self._sync:
                os.fdatasync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, start)
            raise

    def state(self) -> tuple[int, int]:
        """Return (size in bytes, time of the last write in Unix nanoseconds) of what the next append would add to.

        Raises:
            OSError: It is closed, or cannot be opened anew.
        """
        if self._descriptor < 0:
            raise OSError(f"{self.path} is closed")
        self._follow_rotation()
        held = os.fstat(self._descriptor)
        return held.st_size, held.st_mtime_ns

    def set_aside(self, where: Path) -> None:
        """Give the file another name, at which nothing may be; the next append begins a new one.

        Raises:
            OSError: It could not be renamed, and is still the one that is appended to.
        """
        self.path.rename(where)
        if self._sync:
            _sync_folder(self.path)

    def close(self) -> None:
        """Close the file; appending fails from then on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow_rotation(self) -> None:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            named = None
        held = os.fstat(self._descriptor)
        if named is not None and (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
            return
        fresh = _open(self.path, sync=self._sync)
        os.close(self._descriptor)
        self._descriptor = fresh


def _open(path: Path, *, sync: bool) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)  # who was where and when
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{path} is being written by another process; give each its own file") from None
        _repair(descriptor, path)
        if sync and os.fstat(descriptor).st_size == 0:
            _sync_folder(path)  # else a power cut may take the name of a new file, and with it all of its lines
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _repair(descriptor: int, path: Path) -> None:
    """Make the file end with a whole line: finish a last line that lacks only its newline, or cut half a line."""
    size = os.fstat(descriptor).st_size
    tail = b""
    start = size
    while start > 0 and b"\n" not in tail:
        step = min(_BLOCK, start)
        start -= step
        tail = os.pread(descriptor, step, start) + tail
    tail = tail[tail.rfind(b"\n") + 1 :]
    if not tail:
        return
    # Half a line of ours begins as an object does. Anything else is somebody's file, and not ours to cut.
    if not tail.startswith(b"{"):
        raise OSError(f"{path} does not end in a line of JSON; name a file of events, or a new one")
    try:
        json.loads(tail)
    except ValueError:
        os.ftruncate(descriptor, size - len(tail))
    else:
        os.write(descriptor, b"\n")
