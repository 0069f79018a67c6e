"""Reads a file of events, and follows it as it grows, the way ``tail -f`` follows a log."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event

_BLOCK: Final = 64 * 1024


def tail(path: Path, *, from_start: bool = True, wait: Callable[[], bool] | None = None) -> Iterator[Event]:
    """Yield the events of a file of JSON lines.

    Half a line at the end is not looked at until its newline is there, or never, if the writer takes it back. A file
    that is not there yet is waited for when following; one that was renamed away (rotated) is read to its end, and
    then the new one from its start; one that was cut is read on from its new end, or from its start if less is left.

    Args:
        path: The file.
        from_start: Whether to begin with its first event, or with the first that is added from now on.
        wait: Called whenever there is nothing more to read: blocks for a while and returns whether to go on. None
            reads what is there and ends.

    Raises:
        FileNotFoundError: The file is absent, and ``wait`` is None.
        EventMalformed: A line is no event; the message names the file and the place.
    """
    file = _open(path, wait)
    if file is None:
        return
    try:
        if not from_start:
            file.seek(_end_of_whole_lines(file))
        while True:
            yield from _whole_lines(file, path)
            if wait is None or not wait():
                return
            if _replaced(file, path):
                yield from _whole_lines(file, path)  # what came between the last look and the renaming
                file.close()
                fresh = _open(path, wait)
                if fresh is None:
                    return
                file = fresh
    finally:
        file.close()


def _open(path: Path, wait: Callable[[], bool] | None) -> BinaryIO | None:
    while True:
        try:
            return path.open("rb")
        except FileNotFoundError:
            if wait is None:
                raise
        if not wait():
            return None


def _whole_lines(file: BinaryIO, path: Path) -> Iterator[Event]:
    """Yield the events from the file's position on, and leave the position after the last whole line."""
    if os.fstat(file.fileno()).st_size < file.tell():
        file.seek(0)
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        try:
            yield Event.from_json(line)
        except EventMalformed as error:
            raise EventMalformed(f"{path}, line at byte {start}: {error}") from error


def _end_of_whole_lines(file: BinaryIO) -> int:
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _replaced(file: BinaryIO, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False  # renamed away, and the new one is not there yet
    held = os.fstat(file.fileno())
    return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)
