"""What happens to a damaged outbox: it is set aside, and what can still be trusted in it goes on in a fresh one.

An event is taken over only if its checksum is right: a damaged name or score would be a false match. The sinks'
places have no such proof, and one that is too high would lose events; so every sink gets again whatever is left.
Consumers know repeats by (source, id).

The fresh file's epochs begin with the time, in Unix seconds, or above the highest epoch that can be read, whichever is
more. A camera's epochs grow by less than one a second over any longer time, so none comes twice: (source, id) would
not tell two events apart.

The order of things is such that the process may die between any two: the fresh file is made whole under another name,
then the damaged one is renamed, and then the fresh one takes its place, which the next start does if this one can't.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event
from pipeline.events.outbox_file import LAYOUT, checksum, connect, make_tables, translated
from pipeline.events.payload_dropped import OUTBOX_DROPPED_TYPE

_log = logging.getLogger(__name__)

_COMPANIONS: Final = ("-wal", "-shm")
_PLAUSIBLE_EPOCH: Final = 1 << 40
_CLOSE_LOOK: Final = 256
_FURTHEST: Final = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What became of a damaged outbox.

    Attributes:
        aside: Where it is now; its ``-wal`` and ``-shm`` files are beside it.
        detail: What was wrong with it.
        recovered: How many events go on in the fresh file.
    """

    aside: Path
    detail: str
    recovered: int

    def describe(self, path: Path) -> str:
        """Say it in one line."""
        return (
            f"outbox {path} was damaged ({self.detail}) and is set aside as {self.aside}; {self.recovered} of its "
            "events could be read and go to every sink again; check the disk, and for what is missing try "
            f"`sqlite3 {self.aside.name} .recover`"
        )


def first_epoch_by_time(now_ns: int) -> int:
    """Return an epoch that no outbox has reached that was begun before now."""
    return max(1, now_ns // 1_000_000_000)


def repair(path: Path, detail: str, *, now_ns: int) -> Repair:
    """Set a damaged file aside and put a fresh one in its place. The caller holds the lock, and nothing else.

    Raises:
        OutboxFull: There is no room for the fresh file; the damaged one is where it was.
        OutboxError: A file cannot be made or renamed.
    """
    fresh = _fresh(path)
    with translated(path, "repair"):
        for leftover in (fresh, *_companions(fresh)):
            leftover.unlink(missing_ok=True)
        recovered = _recover(path, fresh, now_ns=now_ns)
        _sync(fresh)
        aside = _aside(path, now_ns)
        path.rename(aside)
        _move_companions(path, aside)
        fresh.rename(path)
        _sync(path.parent)
    return Repair(aside=aside, detail=detail, recovered=recovered)


def finish_repair(path: Path, *, now_ns: int) -> None:
    """Finish what a process that died in the middle of `repair` had begun."""
    fresh = _fresh(path)
    if path.exists() or not fresh.exists():
        return
    with translated(path, "repair"):
        _move_companions(path, _aside(path, now_ns))
        fresh.rename(path)
        _sync(path.parent)
    _log.error(
        "outbox %s was damaged; it is set aside beside it, and a fresh one goes on with what could be read", path
    )


def _fresh(path: Path) -> Path:
    return path.with_name(path.name + ".fresh")


def _companions(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in _COMPANIONS]


def _move_companions(path: Path, to: Path) -> None:
    # SQLite would take a stranger's log for the fresh file's own; beside the damaged file it may still be of use.
    for companion, name in zip(_companions(path), _companions(to), strict=True):
        with contextlib.suppress(FileNotFoundError):
            companion.rename(name)


def _aside(path: Path, now_ns: int) -> Path:
    """Return a free name that says when: ``outbox.db.damaged-20260131T120000Z``."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_ns // 1_000_000_000))
    name = f"{path.name}.damaged-{moment}"
    free = path.with_name(name)
    number = 1
    while any(each.exists() for each in (free, *_companions(free))):
        number += 1
        free = path.with_name(f"{name}-{number}")
    return free


def _recover(path: Path, fresh: Path, *, now_ns: int) -> int:
    """Make the fresh file whole; return how many events it took over."""
    made: list[sqlite3.Connection] = []
    try:
        writer = connect(fresh, made)
        writer.execute("PRAGMA auto_vacuum = 2")
        # Not the damaged file itself is opened for writing: it stays as it was found.
        source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        made.append(source)
        make_tables(writer, first_epoch=max(first_epoch_by_time(now_ns), _highest_epoch(source) + 1))
        writer.execute("BEGIN IMMEDIATE")
        count = 0
        for count, (body, stored_ms) in enumerate(_sound_events(source), 1):
            writer.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?)", (count, body.decode(), stored_ms, checksum(count, body))
            )
            if f'"type":"{OUTBOX_DROPPED_TYPE}"'.encode() in body[:80]:
                writer.execute("INSERT INTO notices VALUES (?)", (count,))
        writer.execute("COMMIT")
        return count
    finally:
        for connection in made:
            connection.close()


def _highest_epoch(source: sqlite3.Connection) -> int:
    with contextlib.suppress(sqlite3.Error):
        query = "SELECT max(epoch) FROM epochs WHERE typeof(epoch) = 'integer' AND epoch < ?"
        return int(source.execute(query, (_PLAUSIBLE_EPOCH,)).fetchone()[0] or 0)
    return 0


def _sound_events(source: sqlite3.Connection) -> Iterator[tuple[bytes, int]]:
    """Yield the body and the time of storing of each event that is what was stored, in order."""
    try:
        if source.execute("PRAGMA user_version").fetchone()[0] != LAYOUT:
            return  # layout 1 had no checksums
    except sqlite3.Error:
        return
    query = "SELECT seq, CAST(body AS BLOB), stored_ms, checksum FROM events WHERE seq > ? ORDER BY seq"
    after: int | None = 0
    while after is not None:
        try:
            for seq, body, stored_ms, expected in source.execute(query, (after,)):
                if not isinstance(seq, int) or seq <= after:
                    break  # their order is lost here: look behind it
                after = seq
                if _is_sound(seq, body, stored_ms, expected):
                    yield body, stored_ms
            else:
                return
        except sqlite3.Error:
            pass
        after = _behind_damage(source, after)


def _behind_damage(source: sqlite3.Connection, after: int) -> int | None:
    """Return the next number behind which events can be read again; None where there is none.

    One by one at first, because damage is most often a page of a few events; then in leaps, and back by halves.
    """
    for step in range(1, _CLOSE_LOOK):
        if _can_read(source, after + step):
            return after + step
    failing, step = after + _CLOSE_LOOK - 1, _CLOSE_LOOK
    while not _can_read(source, after + step):
        failing, step = after + step, step * 2
        if step > _FURTHEST:
            return None
    readable = after + step
    while readable - failing > 1:
        middle = (failing + readable) // 2
        if _can_read(source, middle):
            readable = middle
        else:
            failing = middle
    return readable


def _can_read(source: sqlite3.Connection, after: int) -> bool:
    try:
        row = source.execute("SELECT seq, body FROM events WHERE seq > ? ORDER BY seq LIMIT 1", (after,)).fetchone()
    except sqlite3.Error:
        return False
    return row is None or (isinstance(row[0], int) and row[0] > after)


def _is_sound(seq: int, body: object, stored_ms: object, expected: object) -> bool:
    if not isinstance(body, bytes) or not isinstance(stored_ms, int) or checksum(seq, body) != expected:
        return False
    try:
        Event.from_json(body)
    except EventMalformed:
        return False
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
