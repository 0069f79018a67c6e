"""Reads a file of events, and follows it as it grows, the way ``tail -f`` follows a log."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event
from pipeline.events.rotation import number_of, numbered_aside, set_aside

_BLOCK: Final = 64 * 1024


def tail(
    path: Path,
    *,
    from_start: bool = True,
    wait: Callable[[], bool] | None = None,
    on_malformed: Callable[[EventMalformed], None] | None = None,
) -> Iterator[Event]:
    """Yield the events of a file of JSON lines.

    Half a line at the end is not looked at until its newline is there, or never, if the writer takes it back. A file
    that is not there yet is waited for when following; one that was renamed away (rotated) is read to its end, then
    those that were set aside after it, then the new one from its start; one that was cut is read on from its new end,
    or from its start if less is left.

    Args:
        path: The file.
        from_start: Whether to begin with its first event, or with the first that is added from now on.
        wait: Called whenever there is nothing more to read: blocks for a while and returns whether to go on. None
            reads what is there and ends.
        on_malformed: Called with what is wrong with a line that is no event, which is then passed over; None raises it.

    Raises:
        FileNotFoundError: The file is absent, and ``wait`` is None.
        EventMalformed: A line is no event, and ``on_malformed`` is None; the message names the file and the place.
    """
    file = _open(path, wait)
    if file is None:
        return
    try:
        if not from_start:
            file.seek(_end_of_whole_lines(file))
        while True:
            yield from _whole_lines(file, path, on_malformed)
            if wait is None or not wait():
                return
            while _replaced(file, path):
                yield from _whole_lines(file, path, on_malformed)  # what came between the last look and the renaming
                fresh = _following(file, path, wait)
                if fresh is None:
                    return
                file.close()
                file = fresh
                yield from _whole_lines(file, path, on_malformed)
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


def _whole_lines(file: BinaryIO, path: Path, on_malformed: Callable[[EventMalformed], None] | None) -> Iterator[Event]:
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
            event = Event.from_json(line)
        except EventMalformed as error:
            told = EventMalformed(f"{path}, line at byte {start}: {error}")
            if on_malformed is None:
                raise told from error
            on_malformed(told)
            continue
        yield event


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


def _following(file: BinaryIO, path: Path, wait: Callable[[], bool]) -> BinaryIO | None:
    """Open what came after a file that is no longer the path's: the next that was set aside, or the path's own.

    A follower that looks away while the file is rotated more than once must not miss those between.
    """
    fresh = _open(path, wait)
    # Looked for only now, so that whatever was between the two files is there to be found.
    for each in _set_aside_after(file, path):
        try:
            next_one = each.open("rb")
        except FileNotFoundError:
            continue  # removed since, as the oldest
        if fresh is not None:
            fresh.close()
        return next_one
    return fresh


def _set_aside_after(file: BinaryIO, path: Path) -> Iterator[Path]:
    """Yield where the files that followed may be, in their order.

    All numbers are tried up to the last that was seen, and not only those that were seen: a folder that is read
    while files are renamed in it may show the second of two new names and not the first.
    """
    former = set_aside(path)
    before = _number_of_held(file, former)
    if before is not None and former:
        yield from (numbered_aside(path, number) for number in range(before + 1, number_of(former[-1]) + 1))


def _number_of_held(file: BinaryIO, former: Sequence[Path]) -> int | None:
    """The number of the file that is held, or the one below those that came after it; None if it has none."""
    held = os.fstat(file.fileno())
    for each in former:
        if _is_file(each, held):
            return number_of(each)
    if os.fstat(file.fileno()).st_nlink:
        return None  # somebody else rotates, and names files as he likes
    later = [each for each in former if _written_ns(each) >= held.st_mtime_ns]  # it was removed, as the oldest
    return number_of(later[0]) - 1 if later else None


def _written_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _is_file(path: Path, held: os.stat_result) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)


def _replaced(file: BinaryIO, path: Path) -> bool:
    if not path.exists():
        return False  # renamed away, and the new one is not there yet
    return not _is_file(path, os.fstat(file.fileno()))
