"""Where an event is before anybody hears of it, so that none is lost.

An event counts as emitted when :meth:`Outbox.append` has returned. It leaves the file when every sink has
acknowledged it: a sink that is away, or a process that dies, delays events and loses none.

What a crash and a power cut can take
    Each append is one transaction in SQLite's write-ahead log, handed to the operating system before it returns. The
    death of the process, by SIGKILL or an error, therefore takes nothing. The log is not forced to the disk at each
    append (``synchronous=NORMAL``): that would cost milliseconds and wear flash. So a power cut or a crash of the
    kernel can take the appends since the last checkpoint or flush of the page cache, typically those of the last
    seconds; never part of one, and the file stays sound. A camera's epoch is forced to the disk, because an epoch
    used twice would give two events one id, and whoever deduplicates would drop the second.

What costs what
    Appending is on the way of a decision, so it must not wait for disks or sinks: it is one insert under a lock that
    others hold for as short a time. Sequence numbers are counted here and recovered from the events and the cursors
    together: SQLite's AUTOINCREMENT would write a second page each time, and doubles the cost. Checkpoints, which do
    wait for the disk, are made by the sinks' threads. Only when no sink has acknowledged anything for long does the
    appending thread make one, every 32 MB.

Threads: any may append and ask for an epoch; each sink's thread reads and acknowledges for its own sink. Waiting is
on a condition, not by polling.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from pipeline.events.errors import EventMalformed, OutboxClosed, OutboxCorrupt, UnknownSink
from pipeline.events.event import Event
from pipeline.events.outbox_file import connect, last_seq, prepare, register, take_lock, translated

_CHECKPOINT_EVENTS: Final = 512
_WRITER_CHECKPOINT_PAGES: Final = 8192  # of 4 KiB


class Outbox:
    """A durable queue with one place (cursor) a sink. Made by :meth:`open`."""

    def __init__(
        self, path: Path, lock_descriptor: int, writer: sqlite3.Connection, readers: dict[str, "_Reader"]
    ) -> None:
        self._path = path
        self._lock_descriptor = lock_descriptor
        self._writer = writer
        self._readers = readers
        self._changed = threading.Condition()  # guards everything below, and the writer
        self._cursors = {str(sink): int(seq) for sink, seq in writer.execute("SELECT sink, seq FROM cursors")}
        self._last_seq = last_seq(writer)
        self._held_from = min(self._cursors.values())  # all up to here are deleted
        self._since_checkpoint = 0
        self._closed = False

    @classmethod
    def open(cls, path: Path, sinks: Sequence[str]) -> Self:
        """Open the outbox, made with its folders where it is absent, for exactly these sinks.

        A sink that is new begins with the oldest event still held: what others are waiting for, it gets as well. A
        sink that is no longer named gives up its place: what only it was waiting for is deleted.

        Args:
            path: The database; its lock file is beside it.
            sinks: The sinks' names, at least one.

        Raises:
            ValueError: No sinks, or one twice.
            OutboxLocked: Another process has it open.
            OutboxCorrupt: The file is damaged, or no outbox.
            OutboxError: The file cannot be made or opened.
        """
        if not sinks or len(set(sinks)) != len(sinks):
            raise ValueError(f"an outbox needs at least one sink and each once; got {list(sinks)}")
        lock_descriptor = take_lock(path)
        connections: list[sqlite3.Connection] = []
        try:
            with translated(path, "open"):
                writer = connect(path, connections)
                prepare(writer, path)
                register(writer, sinks)
                writer.execute(f"PRAGMA wal_autocheckpoint = {_WRITER_CHECKPOINT_PAGES}")
                readers = {sink: _Reader(connect(path, connections)) for sink in sinks}
                return cls(path, lock_descriptor, writer, readers)
        except BaseException:
            for connection in connections:
                connection.close()
            os.close(lock_descriptor)
            raise

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    @property
    def sinks(self) -> tuple[str, ...]:
        """The names it was opened with."""
        return tuple(self._readers)

    def append(self, events: Sequence[Event]) -> int:
        """Store events, all or none, in their order; they are emitted when this returns. Any thread.

        Returns:
            The last event's sequence number.

        Raises:
            EventMalformed: An event cannot be written as JSON; nothing was stored.
            OutboxFull: The disk is full; nothing was stored.
            OutboxError: The file cannot be written; nothing was stored.
            OutboxClosed: After :meth:`close`.
        """
        bodies = [event.to_json() for event in events]
        with self._changed:
            self._require_open()
            if bodies:
                first = self._last_seq + 1
                with self._transaction("append to"):
                    self._writer.executemany("INSERT INTO events VALUES (?, ?)", enumerate(bodies, first))
                self._last_seq += len(bodies)
                self._since_checkpoint += len(bodies)
                self._changed.notify_all()
            return self._last_seq

    def read(self, sink: str, limit: int) -> list[tuple[int, Event]]:
        """Return the first events that the sink has not acknowledged, with their sequence numbers.

        Only the sink's own thread calls this. It does not hold up appending.

        Raises:
            OutboxCorrupt: The file is damaged.
            OutboxClosed: After :meth:`close`.
        """
        with self._changed:
            self._require_open()
            cursor = self._cursor(sink)
            if cursor >= self._last_seq:
                return []
        rows = self._readers[sink].rows(cursor, limit, self._path)
        try:
            return [(seq, Event.from_json(body)) for seq, body in rows]
        except EventMalformed as error:
            raise OutboxCorrupt(f"outbox {self._path} holds something that is no event: {error}") from error

    def acknowledge(self, sink: str, seq: int) -> None:
        """Note that the sink has everything up to ``seq``, and delete what every sink has.

        Acknowledging what was acknowledged before does nothing.

        Raises:
            ValueError: Nothing with so high a number was ever appended.
            OutboxError: The file cannot be written.
            OutboxClosed: After :meth:`close`.
        """
        with self._changed:
            self._require_open()
            if seq > self._last_seq:
                raise ValueError(f"sink {sink!r} acknowledges event {seq}, but the last one is {self._last_seq}")
            if seq <= self._cursor(sink):
                return
            held_from = min([seq, *(other for name, other in self._cursors.items() if name != sink)])
            with self._transaction("acknowledge in"):
                self._writer.execute("UPDATE cursors SET seq = ? WHERE sink = ?", (seq, sink))
                if held_from > self._held_from:
                    self._writer.execute("DELETE FROM events WHERE seq <= ?", (held_from,))
            self._cursors[sink] = seq
            self._held_from = held_from
            due = self._since_checkpoint >= _CHECKPOINT_EVENTS
            if due:
                self._since_checkpoint = 0
        if due:
            self._readers[sink].checkpoint(self._path)

    def wait(self, sink: str, timeout_s: float | None = None, *, until: Callable[[], bool] | None = None) -> bool:
        """Block until the sink has something to read.

        Args:
            sink: The sink's name.
            timeout_s: How long at most; None for ever.
            until: A further reason to return, looked at now and after each :meth:`wake`.

        Returns:
            True when there is something to read or the outbox is closed; False at the timeout or by ``until``.
        """
        with self._changed:
            self._cursor(sink)
            self._changed.wait_for(lambda: self._ready(sink) or (until is not None and until()), timeout_s)
            return self._ready(sink)

    def wake(self) -> None:
        """Make every :meth:`wait` look at its ``until`` again."""
        with self._changed:
            self._changed.notify_all()

    def pending(self, sink: str) -> int:
        """Return how many events the sink has not acknowledged. Also after :meth:`close`."""
        with self._changed:
            return self._last_seq - self._cursor(sink)

    def next_epoch(self, camera: str) -> int:
        """Return the camera's next epoch, from 1, never the same twice: not after a restart or a power cut either.

        Blocks for the disk. Any thread.

        Raises:
            OutboxError: The file cannot be written.
            OutboxClosed: After :meth:`close`.
        """
        return self._next_number(camera)

    def next_state_number(self, camera: str) -> int:
        """Return the number of the camera's next state event; unique and raised as :meth:`next_epoch` is."""
        return self._next_number(f"{camera}/state")  # no camera's id holds a slash

    def _next_number(self, key: str) -> int:
        with self._changed:
            self._require_open()
            with translated(self._path, "keep a number in"):
                self._writer.execute("PRAGMA synchronous = FULL")
            try:
                with self._transaction("keep a number in"):
                    row = self._writer.execute(
                        "INSERT INTO epochs (camera, epoch) VALUES (?, 1)"
                        " ON CONFLICT (camera) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
                        (key,),
                    ).fetchall()
            finally:
                with translated(self._path, "keep a number in"):
                    self._writer.execute("PRAGMA synchronous = NORMAL")
            return int(row[0][0])

    def close(self) -> None:
        """Wake all who wait and close the file. What is not acknowledged stays in it. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            for reader in self._readers.values():
                reader.close()
            self._writer.close()
            os.close(self._lock_descriptor)  # and with it the lock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise OutboxClosed(f"outbox {self._path} is closed")

    def _cursor(self, sink: str) -> int:
        try:
            return self._cursors[sink]
        except KeyError:
            known = ", ".join(sorted(self._cursors))
            raise UnknownSink(f"outbox {self._path} was not opened for the sink {sink!r}, only for {known}") from None

    def _ready(self, sink: str) -> bool:
        return self._closed or self._cursors[sink] < self._last_seq

    @contextlib.contextmanager
    def _transaction(self, doing: str) -> Iterator[None]:
        with translated(self._path, doing):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._writer.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back by itself
                    self._writer.execute("ROLLBACK")
                raise


class _Reader:
    """One sink's own connection, so that reading a backlog does not hold up appending."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()  # closing waits for a read
        self._closed = False

    def rows(self, after: int, limit: int, path: Path) -> list[tuple[int, str]]:
        with self._lock:
            if self._closed:
                raise OutboxClosed(f"outbox {path} is closed")
            with translated(path, "read"):
                return self._connection.execute(
                    "SELECT seq, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
                ).fetchall()

    def checkpoint(self, path: Path) -> None:
        # PASSIVE moves what it can and waits for nobody; what is left is moved the next time.
        with self._lock:
            if not self._closed:
                with translated(path, "checkpoint"):
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._connection.close()
