"""Where an event is before anybody hears of it, so that none is lost.

An event counts as emitted when :meth:`Outbox.append` has returned. It leaves the file when every sink has
acknowledged it: a sink that is away, or a process that dies, delays events and loses none.

What a crash and a power cut can take
    Each append is one transaction in SQLite's write-ahead log, handed to the operating system before it returns. The
    death of the process, by SIGKILL or an error, therefore takes nothing. With ``Durability.PROCESS`` the log is not
    forced to the disk at each append (``synchronous=NORMAL``): that would cost milliseconds and wear flash. So a power
    cut or a crash of the kernel can take the appends since the last checkpoint or flush of the page cache, typically
    those of the last seconds; never part of one, and the file stays sound. With ``Durability.POWER`` each append waits
    until the log is on the disk (``synchronous=FULL``), and a power cut takes nothing either, as far as the disk keeps
    its word. A camera's epoch is forced to the disk always, because an epoch used twice would give two events one id,
    and whoever deduplicates would drop the second.

A full disk
    :meth:`Outbox.append` raises `OutboxFull`, and what is stored stays; the pipeline then ends with that message, for a
    decision that can't be kept must not be made, and one that waits for room is stale. Appending works again as soon as
    there is room. A sink's acknowledgement that finds no room is remembered and written with the next one; if the
    process ends before, the sink gets those events twice.

What costs what
    Appending must not wait for disks or sinks, or a decision is told late: it is one insert under a lock that others
    hold for as short a time (and :mod:`pipeline.events.outbox_writer` spares the pipeline even that). Sequence numbers
    are counted here and recovered from the events and the cursors together: SQLite's AUTOINCREMENT would write a second
    page each time, and doubles the cost. Checkpoints, which do wait for the disk, are made by the sinks' threads. Only
    when no sink has acknowledged anything for long does the appending thread make one, every 32 MB. Deleting what every
    sink has, and giving the room of a drained backlog back to the file system, are the sinks' threads' as well, in
    steps that hold the lock for less than an append takes. Dropping at a bound is the appending thread's: so many
    events at once that it seldom happens.

Threads: any may append and ask for an epoch; each sink's thread reads and acknowledges for its own sink. Waiting is
on a condition, not by polling.
"""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from pipeline.events.errors import NotAnOutbox, OutboxClosed, OutboxCorrupt, UnknownSink
from pipeline.events.event import Event
from pipeline.events.outbox_file import connect, prepare, register, sign_lock, take_lock, translated
from pipeline.events.outbox_options import OutboxOptions
from pipeline.events.outbox_reader import OutboxReader
from pipeline.events.outbox_repair import Repair, finish_repair, first_epoch_by_time, repair
from pipeline.events.outbox_store import OutboxStore

_log = logging.getLogger(__name__)

_WRITER_CHECKPOINT_PAGES: Final = 8192  # of 4 KiB
_BREATH_S: Final = 0.0002  # between two steps of what can wait, so that whoever wants the lock gets it


class Outbox:
    """A durable queue with one place (cursor) a sink. Made by :meth:`open`."""

    def __init__(
        self,
        path: Path,
        lock_descriptor: int,
        writer: sqlite3.Connection,
        readers: Mapping[str, OutboxReader],
        *,
        options: OutboxOptions,
        now_ns: Callable[[], int],
        repaired: Repair | None,
    ) -> None:
        self._path = path
        self._lock_descriptor = lock_descriptor
        self._writer = writer
        self._readers = dict(readers)
        self._repaired = repaired
        self._changed = threading.Condition()  # guards everything below
        self._store = OutboxStore(path, writer, options, now_ns)
        self._store.tidy()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        sinks: Sequence[str],
        options: OutboxOptions | None = None,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> Self:
        """Open the outbox, made with its folders where it is absent, for exactly these sinks.

        A sink that is new begins with the oldest event that another is waiting for. A sink that is no longer named
        gives up its place: what only it was waiting for is deleted. A damaged file is set aside and logged, and what
        can be read of it goes on in a fresh one: see :mod:`pipeline.events.outbox_repair`.

        Args:
            path: The database; its lock file is beside it.
            sinks: The sinks' names, at least one.
            options: Bounds and durability; without any, there are no bounds.
            now_ns: The wall clock.

        Raises:
            ValueError: No sinks, or one twice.
            OutboxLocked: Another process has it open.
            NotAnOutbox: The file is another program's database.
            OutboxError: The file cannot be made or opened.
        """
        if not sinks or len(set(sinks)) != len(sinks):
            raise ValueError(f"an outbox needs at least one sink and each once; got {list(sinks)}")
        options = options or OutboxOptions()
        lock_descriptor = take_lock(path)
        try:
            finish_repair(path, now_ns=now_ns())
            # A lock file without a database: somebody took the database away, and its epochs must not come again.
            was_here = os.fstat(lock_descriptor).st_size > 0 and not path.exists()
            first_epoch = first_epoch_by_time(now_ns()) if was_here else 1
            repaired = None
            try:
                writer, readers = _connections(path, sinks, first_epoch)
            except NotAnOutbox:
                raise
            except OutboxCorrupt as error:
                repaired = repair(path, error.detail, now_ns=now_ns())
                _log.error("%s", repaired.describe(path))
                writer, readers = _connections(path, sinks, first_epoch)
            sign_lock(lock_descriptor)
            try:
                with translated(path, "open"):
                    return cls(
                        path, lock_descriptor, writer, readers, options=options, now_ns=now_ns, repaired=repaired
                    )
            except BaseException:
                _close_all(writer, readers)
                raise
        except BaseException:
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

    @property
    def repaired(self) -> Repair | None:
        """What became of the file that was found damaged when it was opened; None of a sound one."""
        return self._repaired

    def append(self, events: Sequence[Event]) -> int:
        """Store events, all or none, in their order; they are emitted when this returns. Any thread.

        Returns:
            The last event's sequence number.

        Raises:
            EventMalformed: An event cannot be written as JSON; nothing was stored.
            OutboxAtLimit: A bound is reached, and the oldest are not to be dropped; nothing was stored.
            OutboxFull: The disk is full; nothing was stored.
            OutboxError: The file cannot be written; nothing was stored.
            OutboxClosed: After :meth:`close`.
        """
        bodies = [event.to_json() for event in events]
        with self._changed:
            self._require_open()
            if bodies:
                self._store.append(bodies)
                self._changed.notify_all()
            return self._store.last_seq

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
            if cursor >= self._store.last_seq:
                return []
        return self._readers[sink].events(cursor, limit)

    def acknowledge(self, sink: str, seq: int) -> None:
        """Note that the sink has everything up to ``seq``, and delete what every sink has and nothing keeps.

        Acknowledging what was acknowledged before, or dropped meanwhile, does nothing.

        Raises:
            ValueError: Nothing with so high a number was ever appended.
            OutboxError: The file cannot be written; a full disk is no error here.
            OutboxClosed: After :meth:`close`.
        """
        with self._changed:
            self._require_open()
            if seq > self._store.last_seq:
                raise ValueError(f"sink {sink!r} acknowledges event {seq}, but the last one is {self._store.last_seq}")
            if seq <= self._cursor(sink):
                return
            self._store.acknowledge(sink, seq)
        while self._delete_step():
            time.sleep(_BREATH_S)
        with self._changed:
            is_due = self._store.takes_checkpoint()
        if is_due:
            self._readers[sink].checkpoint()

    def wait(self, sink: str, timeout_s: float | None = None, *, until: Callable[[], bool] | None = None) -> bool:
        """Block until the sink has something to read. Meanwhile the file is kept in order, in small steps.

        Args:
            sink: The sink's name.
            timeout_s: How long at most; None for ever.
            until: A further reason to return, looked at now and after each :meth:`wake`.

        Returns:
            True when there is something to read or the outbox is closed; False at the timeout or by ``until``.

        Raises:
            OutboxError: The file cannot be written.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            self._cursor(sink)
            while not self._ready(sink) and not (until is not None and until()):
                pauses = [] if deadline is None else [deadline - time.monotonic()]
                if pauses and pauses[0] <= 0:
                    return False
                last_seq = self._store.last_seq
                if (pause := self._store.keep_order()) is not None:
                    pauses.append(max(pause, _BREATH_S))
                if self._store.last_seq != last_seq:  # events were dropped, and one says so
                    self._changed.notify_all()
                    continue
                self._changed.wait(min(pauses) if pauses else None)
            return self._ready(sink)

    def wake(self) -> None:
        """Make every :meth:`wait` look at its ``until`` again."""
        with self._changed:
            self._changed.notify_all()

    def pending(self, sink: str) -> int:
        """Return how many events the sink has not acknowledged. Also after :meth:`close`."""
        with self._changed:
            return self._store.last_seq - self._cursor(sink)

    def dropped(self, sink: str) -> int:
        """Return how many events the sink will never get, since the outbox was made. Also after :meth:`close`.

        Raises:
            UnknownSink: It was not opened for this sink.
        """
        with self._changed:
            self._cursor(sink)
            return self._store.totals_dropped.get(sink, 0)

    def next_epoch(self, camera: str) -> int:
        """Return the camera's next epoch, never the same twice: not after a restart or a power cut either.

        From 1 in a first outbox. One that takes the place of a damaged or lost one begins with the time.

        Blocks for the disk. Any thread.

        Raises:
            OutboxError: The file cannot be written.
            OutboxClosed: After :meth:`close`.
        """
        with self._changed:
            self._require_open()
            return self._store.next_number(camera)

    def next_state_number(self, camera: str) -> int:
        """Return the number of the camera's next state event; unique and raised as :meth:`next_epoch` is."""
        with self._changed:
            self._require_open()
            return self._store.next_number(f"{camera}/state")  # no camera's id holds a slash

    def close(self) -> None:
        """Wake all who wait and close the file. What is not acknowledged stays in it. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
            _close_all(self._writer, self._readers)
            os.close(self._lock_descriptor)  # and with it the lock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._closed:
            raise OutboxClosed(f"outbox {self._path} is closed")

    def _delete_step(self) -> bool:
        with self._changed:
            return not self._closed and self._store.delete_step()

    def _cursor(self, sink: str) -> int:
        try:
            return self._store.cursors[sink]
        except KeyError:
            known = ", ".join(sorted(self._store.cursors))
            raise UnknownSink(f"outbox {self._path} was not opened for the sink {sink!r}, only for {known}") from None

    def _ready(self, sink: str) -> bool:
        return self._closed or self._store.cursors[sink] < self._store.last_seq


def _connections(
    path: Path, sinks: Sequence[str], first_epoch: int
) -> tuple[sqlite3.Connection, dict[str, OutboxReader]]:
    """Open the file: one connection that writes, and one a sink that reads."""
    made: list[sqlite3.Connection] = []
    try:
        with translated(path, "open"):
            writer = connect(path, made)
            # Until all is in order, every commit waits for the disk: an opening counted twice would repeat an id.
            writer.execute("PRAGMA synchronous = FULL")
            prepare(writer, path, first_epoch=first_epoch)
            register(writer, sinks)
            writer.execute(f"PRAGMA wal_autocheckpoint = {_WRITER_CHECKPOINT_PAGES}")
            return writer, {sink: OutboxReader(connect(path, made), path) for sink in sinks}
    except BaseException:
        for connection in made:
            connection.close()
        raise


def _close_all(writer: sqlite3.Connection, readers: Mapping[str, OutboxReader]) -> None:
    for reader in readers.values():
        reader.close()
    writer.close()
