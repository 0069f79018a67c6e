"""The outbox seen from outside: how it stands, what waits in it, and setting a sink's place back.

Looking is reading only, in a transaction for each look, and goes on while another process serves. Setting back needs
the lock: a running process has its sinks' places in memory.
"""

import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pipeline.events.errors import EventMalformed, NotAnOutbox, NothingKept, OutboxError, UnknownSink
from pipeline.events.event import Event
from pipeline.events.outbox_file import LAYOUT, checksum, connect, damaged, is_outbox, last_seq, take_lock, translated

_BATCH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkPlace:
    """How far a sink is.

    Attributes:
        sink: Its name.
        pending: Events that it has not acknowledged.
        oldest_ms: When the first of them was stored, Unix; None where nothing is pending.
        dropped: Events that it will never get, since the outbox was made.
    """

    sink: str
    pending: int
    oldest_ms: int | None
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """How an outbox stands.

    Attributes:
        sinks: The sinks that it was last opened for, by name.
        last_seq: The number of the last event ever stored.
        held: Events in the file.
        kept: Those of them that every sink has.
        used_bytes: What they take up in the file.
        file_bytes: The file's size, free room included.
        log_bytes: The size of the log beside it.
    """

    sinks: tuple[SinkPlace, ...]
    last_seq: int
    held: int
    kept: int
    used_bytes: int
    file_bytes: int
    log_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A sink whose place was set back.

    Attributes:
        sink: Its name.
        events: How many events it gets again; 0 where it was not that far.
        pending: How many wait for it now.
        first_seq: The number of the first that it gets next.
    """

    sink: str
    events: int
    pending: int
    first_seq: int


class OutboxView:
    """Reads an outbox that another process may have open. A context manager; one thread uses it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an outbox for reading.

        Raises:
            OutboxError: It is not there, is of another version, or cannot be read.
            NotAnOutbox: A database of another program.
            OutboxCorrupt: The file is damaged.
        """
        _require(path)
        with translated(path, "read"):
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        view = cls(path, connection)
        try:
            with translated(path, "read"):
                connection.execute("PRAGMA busy_timeout = 5000")
                _require_layout(connection, path)
        except BaseException:
            connection.close()
            raise
        return view

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def state(self) -> OutboxState:
        """Return how it stands at this moment.

        Raises:
            OutboxError: It cannot be read.
        """
        with translated(self._path, "read"), _moment(self._connection) as read:
            last = last_seq(read)
            dropped = dict(read.execute("SELECT sink, total FROM dropped").fetchall())
            cursors = read.execute("SELECT sink, seq FROM cursors ORDER BY sink").fetchall()
            first = read.execute("SELECT min(seq) FROM events").fetchone()[0]
            page_bytes = read.execute("PRAGMA page_size").fetchone()[0]
            pages = read.execute("PRAGMA page_count").fetchone()[0]
            free = read.execute("PRAGMA freelist_count").fetchone()[0]
            sinks = tuple(
                SinkPlace(
                    sink=sink,
                    pending=last - seq,
                    oldest_ms=_stored_after(read, seq),
                    dropped=dropped.get(sink, 0),
                )
                for sink, seq in cursors
            )
        held = 0 if first is None else last - first + 1
        return OutboxState(
            sinks=sinks,
            last_seq=last,
            held=held,
            kept=held - max((sink.pending for sink in sinks), default=0),
            used_bytes=(pages - free) * page_bytes,
            file_bytes=_size(self._path),
            log_bytes=_size(self._path.with_name(self._path.name + "-wal")),
        )

    def pending(self, sink: str | None = None) -> Generator[Event, None, None]:
        """Yield, in order, what a sink, or at least one sink, has not acknowledged.

        What is acknowledged or stored while this goes on may be in it or not.

        Raises:
            UnknownSink: There is no such sink.
            OutboxCorrupt: An event is not what was stored.
            OutboxError: It cannot be read.
        """
        with translated(self._path, "read"):
            cursors = dict(self._connection.execute("SELECT sink, seq FROM cursors").fetchall())
            last = last_seq(self._connection)
        _require_sinks(self._path, cursors, () if sink is None else (sink,))
        after = min(cursors.values(), default=0) if sink is None else cursors[sink]
        query = "SELECT seq, CAST(body AS BLOB), checksum FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        while True:
            # A batch a look: a long one would keep the log from being cut.
            with translated(self._path, "read"):
                rows = self._connection.execute(query, (after, last, _BATCH)).fetchall()
            for seq, body, expected in rows:
                after = seq
                try:
                    event = Event.from_json(body)
                except EventMalformed as error:
                    raise damaged(self._path, f"event {seq}: {error}") from error
                if checksum(seq, body) != expected:
                    raise damaged(self._path, f"event {seq} is not what was stored")
                yield event
            if len(rows) < _BATCH:
                return


def replay(
    path: Path, *, sinks: Sequence[str] = (), from_seq: int | None = None, from_ms: int | None = None
) -> tuple[Replayed, ...]:
    """Set sinks' places back, so that they get events again that are still kept. No process may have it open.

    A place is never set forward: a sink that is not yet that far keeps its own.

    Args:
        path: The outbox.
        sinks: Which; all where none is named.
        from_seq: The number of the first event to send again; or
        from_ms: the Unix time since which they were stored.

    Raises:
        ValueError: Not one of from_seq and from_ms.
        OutboxLocked: A process has it open.
        UnknownSink: There is no such sink.
        NothingKept: No event from then on is kept.
        OutboxError: It is not there or cannot be written.
    """
    if (from_seq is None) == (from_ms is None):
        raise ValueError("replay from a number or from a time, and not from both")
    _require(path)
    lock_descriptor = take_lock(path)
    made: list[sqlite3.Connection] = []
    try:
        with translated(path, "replay from"):
            writer = connect(path, made)
            _require_layout(writer, path)
            writer.execute("PRAGMA synchronous = FULL")
            cursors = dict(writer.execute("SELECT sink, seq FROM cursors ORDER BY sink").fetchall())
            _require_sinks(path, cursors, sinks)
            column, least = ("seq", from_seq) if from_ms is None else ("stored_ms", from_ms)
            first = writer.execute(f"SELECT min(seq) FROM events WHERE {column} >= ?", (least,)).fetchone()[0]
            if first is None:
                raise NothingKept(
                    f"outbox {path} keeps no event from then on; outbox.keep_h, 0 by default, says how long events are "
                    "kept that every sink has; it counts for those that come after it was set"
                )
            chosen = {sink: seq for sink, seq in cursors.items() if not sinks or sink in sinks}
            back = [(first - 1, sink) for sink, seq in chosen.items() if seq >= first]
            writer.execute("BEGIN IMMEDIATE")
            writer.executemany("UPDATE cursors SET seq = ? WHERE sink = ?", back)
            writer.execute("COMMIT")
            last = last_seq(writer)
        return tuple(
            Replayed(
                sink=sink,
                events=max(0, seq - first + 1),
                pending=last - min(seq, first - 1),
                first_seq=min(seq, first - 1) + 1,
            )
            for sink, seq in chosen.items()
        )
    finally:
        for connection in made:
            connection.close()
        os.close(lock_descriptor)


@contextmanager
def _moment(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Read the file as it is at one moment."""
    connection.execute("BEGIN")
    try:
        yield connection
    finally:
        connection.execute("ROLLBACK")


def _stored_after(connection: sqlite3.Connection, seq: int) -> int | None:
    query = "SELECT stored_ms FROM events WHERE seq > ? ORDER BY seq LIMIT 1"
    row = connection.execute(query, (seq,)).fetchone()
    return None if row is None else int(row[0])


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _require(path: Path) -> None:
    if not path.exists():
        raise OutboxError(f"there is no outbox {path}; 'vidface serve' makes it, so name the data folder that it uses")


def _require_layout(connection: sqlite3.Connection, path: Path) -> None:
    if not is_outbox(connection):
        raise NotAnOutbox(f"{path} is a database of another program, not an outbox; name another folder")
    layout = connection.execute("PRAGMA user_version").fetchone()[0]
    if layout != LAYOUT:
        raise OutboxError(
            f"outbox {path} has layout {layout}, this version of vidface reads {LAYOUT}; 'vidface serve' brings an "
            "older one up to date"
        )


def _require_sinks(path: Path, known: Sequence[str] | dict[str, int], wanted: Sequence[str]) -> None:
    for sink in wanted:
        if sink not in known:
            raise UnknownSink(f"outbox {path} has no sink {sink!r}; it has: {', '.join(sorted(known)) or 'none'}")
