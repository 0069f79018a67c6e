"""What the outbox holds: events, the sinks' places, numbers; kept within its bounds and its room given back.

No thread and no lock is known here: :class:`~pipeline.events.outbox.Outbox` calls this with its lock held. Whatever
happens at its own pace (deleting, compacting) is a step of a few rows or pages: the lock is never held for long.
"""

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Final

from pipeline.events.errors import OutboxAtLimit, OutboxFull
from pipeline.events.outbox_bounds import Bounds
from pipeline.events.outbox_drops import Drops
from pipeline.events.outbox_file import checksum, fact, last_seq, translated
from pipeline.events.outbox_options import Durability, OutboxOptions, WhenFull
from pipeline.events.payload_dropped import DropReason

_log = logging.getLogger(__name__)

_CHECKPOINT_EVENTS: Final = 512
_DELETE_ROWS: Final = 16
_DROP_ROWS: Final = 512
_DROP_SHARE: Final = 16  # of what waits, at most one part in so many is dropped at a time
_TIDY_ROWS: Final = 10_000
# Free pages (of 4 KiB) from which on room is given back, down to which, and how many in a step.
_COMPACT_FROM_PAGES: Final = 4096
_COMPACT_TO_PAGES: Final = 1024
_COMPACT_STEP: Final = 8
_MIN_PAUSE_S: Final = 0.05
_RETRY_S: Final = 5.0


class OutboxStore:
    """The outbox's contents, through its one writing connection."""

    def __init__(
        self, path: Path, writer: sqlite3.Connection, options: OutboxOptions, now_ns: Callable[[], int]
    ) -> None:
        """Read where things stand; the file was opened and its sinks registered."""
        self._path = path
        self._writer = writer
        self._options = options
        self._now_ns = now_ns
        self._synchronous = "FULL" if options.durability is Durability.POWER else "NORMAL"
        self._cursors = {str(sink): int(seq) for sink, seq in writer.execute("SELECT sink, seq FROM cursors")}
        self._saved = dict(self._cursors)  # as they stand in the file
        self._last_seq = last_seq(writer)
        oldest = writer.execute("SELECT min(seq) FROM events").fetchone()[0]
        self._deleted = self._floor if oldest is None else int(oldest) - 1  # all up to here are gone
        self._first_epoch = int(fact(writer, "first_epoch"))
        self._bounds = Bounds(writer, options, opened_ms=self._now_ms())
        self._drops = Drops(writer, options.site)
        self._since_checkpoint = 0
        self._is_compacting = True  # until it is seen that there is nothing to do
        self._was_compacted = False

    @property
    def cursors(self) -> Mapping[str, int]:
        """How far each sink is."""
        return self._cursors

    @property
    def last_seq(self) -> int:
        """The number of the last event ever stored."""
        return self._last_seq

    @property
    def totals_dropped(self) -> Mapping[str, int]:
        """How many events each sink will never get, of the sinks that miss any."""
        return self._drops.totals

    def append(self, bodies: Sequence[str]) -> None:
        """Store events, all or none; see `Outbox.append`."""
        now_ms = self._now_ms()
        size = sum(map(len, bodies))
        with translated(self._path, "append to"):
            self._make_room(size, now_ms)
            if len(bodies) == 1:  # a single statement is a transaction by itself, and costs a third less
                self._insert(bodies, self._last_seq + 1, now_ms)
        if len(bodies) > 1:
            with self._transaction("append to"):
                self._insert(bodies, self._last_seq + 1, now_ms)
        self._last_seq += len(bodies)
        self._bounds.add(size)
        self._since_checkpoint += len(bodies)

    def acknowledge(self, sink: str, seq: int) -> None:
        """Note that a sink has everything up to a number. A full disk only delays the writing down."""
        self._cursors[sink] = seq
        self._save_cursors()

    def delete_step(self) -> bool:
        """Delete a few events that every sink has and nothing keeps. Whether there are more."""
        return self._delete_forgettable(_DELETE_ROWS) and self._forgettable(1) is not None

    def takes_checkpoint(self) -> bool:
        """Whether a checkpoint is due; asking counts as making it."""
        if self._since_checkpoint < _CHECKPOINT_EVENTS:
            return False
        self._since_checkpoint = 0
        return True

    def keep_order(self) -> float | None:
        """Make one small step of what is to be done.

        Returns:
            In how many seconds there is more; 0 for at once, None for never.
        """
        try:
            with translated(self._path, "keep order in"):
                return self._keep_order()
        except OutboxFull:
            return _RETRY_S

    def next_number(self, key: str) -> int:
        """Return a number that was never given for this key before; it is on the disk. See `Outbox.next_epoch`."""
        with translated(self._path, "keep a number in"):
            self._writer.execute("PRAGMA synchronous = FULL")
        try:
            with self._transaction("keep a number in"):
                row = self._writer.execute(
                    "INSERT INTO epochs (camera, epoch) VALUES (?, ?)"
                    " ON CONFLICT (camera) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
                    (key, self._first_epoch),
                ).fetchall()
        finally:
            with translated(self._path, "keep a number in"):
                self._writer.execute(f"PRAGMA synchronous = {self._synchronous}")
        return int(row[0][0])

    def tidy(self) -> None:
        """Bring the file that was just opened within its bounds; nobody waits yet, so the steps are large."""
        while self._delete_forgettable(_TIDY_ROWS):
            pass
        now_ms = self._now_ms()
        if self._options.when_full is WhenFull.DROP_OLDEST:
            while (excess := self._bounds.excess()) > 0:
                if not self._drop(DropReason.SIZE, now_ms, rows=ceil(excess * self._waiting)):
                    break
            while self._bounds.is_too_old(self._floor, now_ms):
                if not self._drop(DropReason.AGE, now_ms, rows=_TIDY_ROWS):
                    break
        self._writer.execute(f"PRAGMA synchronous = {self._synchronous}")

    @property
    def _floor(self) -> int:
        """Every sink has all up to here, and the file says so."""
        return min(self._saved.values())

    @property
    def _waiting(self) -> int:
        """How many events wait for at least one sink."""
        return self._last_seq - self._floor

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _keep_order(self) -> float | None:
        if self._delete_forgettable(_DELETE_ROWS):
            return 0.0
        now_ms = self._now_ms()
        dues = []
        if self._options.when_full is WhenFull.DROP_OLDEST:
            if self._bounds.is_too_old(self._floor, now_ms) and self._drop(DropReason.AGE, now_ms, rows=_DROP_ROWS):
                return 0.0
            dues.append(self._bounds.too_old_at_ms(self._floor))
        if self._is_compacting and self._compact():
            return 0.0
        if self._deleted < self._floor:
            dues.append(self._bounds.kept_until_ms(self._deleted))
        times = [due for due in dues if due is not None]
        # A little later than due, and never at once: the clock may stand still, or have been set.
        return min(max((due + 1 - now_ms) / 1000, _MIN_PAUSE_S) for due in times) if times else None

    def _insert(self, bodies: Sequence[str], first: int, now_ms: int) -> None:
        for seq, body in enumerate(bodies, first):
            row = (seq, body, now_ms, checksum(seq, body.encode()))
            self._writer.execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)

    def _save_cursors(self) -> None:
        changed = [(seq, sink) for sink, seq in self._cursors.items() if self._saved[sink] != seq]
        try:
            with self._transaction("acknowledge in"):
                self._writer.executemany("UPDATE cursors SET seq = ? WHERE sink = ?", changed)
        except OutboxFull:  # told to whoever appends; here the next acknowledgement will do
            return
        self._saved = dict(self._cursors)

    def _make_room(self, adding: int, now_ms: int) -> None:
        """Drop what the bounds demand, or refuse; most often there is nothing to do."""
        while self._bounds.is_too_large(adding):
            if self._deleted < self._floor:
                self._delete(min(self._floor, self._deleted + _DROP_ROWS))  # every sink has these
            elif self._options.when_full is WhenFull.STOP:
                raise OutboxAtLimit(self._refusal(f"holds {self._bounds.used_bytes() / 1e6:.1f} MB", "max_mb"))
            elif not self._drop(DropReason.SIZE, now_ms, rows=min(_DROP_ROWS, self._waiting // _DROP_SHARE)):
                break
        if self._bounds.is_too_old(self._floor, now_ms):
            if self._options.when_full is WhenFull.STOP:
                raise OutboxAtLimit(self._refusal("holds an event that waits too long", "max_age_h"))
            self._drop(DropReason.AGE, now_ms, rows=_DROP_ROWS)

    def _refusal(self, state: str, bound: str) -> str:
        late = [name for name, seq in self._cursors.items() if seq == min(self._cursors.values())]
        waiting = self._last_seq - min(self._cursors.values())
        return (
            f"outbox {self._path} {state}: {waiting} events wait for {', '.join(sorted(late))}. Nothing more is stored "
            f"and nothing stored is lost; see to the sink, raise outbox.{bound}, or choose when_full: drop_oldest"
        )

    def _drop(self, reason: DropReason, now_ms: int, *, rows: int) -> bool:
        """Drop the oldest events that a sink waits for, and store the event that says so. Whether any could be."""
        if reason is DropReason.SIZE and self._waiting == self._drops.notices_behind(self._floor):
            return False  # what is left only says what was dropped
        while self._deleted < self._floor:
            self._delete(min(self._floor, self._deleted + _DROP_ROWS))
        upto = self._bounds.last_to_drop(reason, self._floor, max(rows, 2), now_ms)
        if upto is None:
            return False
        seq = self._last_seq + 1
        with self._transaction("drop events of"):
            recorded = self._drops.record(reason, self._cursors, upto, seq=seq, now_ns=now_ms * 1_000_000)
            body = recorded.event.to_json()
            self._insert([body], seq, now_ms)
            self._writer.execute("DELETE FROM events WHERE seq <= ?", (upto,))
            self._writer.execute("UPDATE cursors SET seq = ? WHERE seq < ?", (upto, upto))
        self._drops.commit(recorded)
        self._cursors = {sink: max(place, upto) for sink, place in self._cursors.items()}
        self._saved = {sink: max(place, upto) for sink, place in self._saved.items()}
        self._last_seq, self._deleted = seq, upto
        self._bounds.add(len(body))
        late = ", ".join(f"{sink} ({account.drop.dropped})" for sink, account in recorded.accounts.items())
        _log.warning(
            "outbox %s has reached its bound of %s: the oldest events were dropped for %s", self._path, reason, late
        )
        return True

    def _forgettable(self, rows: int) -> int | None:
        if self._deleted >= self._floor:
            return None
        if not self._options.keep_s:
            return min(self._floor, self._deleted + rows)
        until_ms = self._bounds.kept_until_ms(self._deleted)
        if until_ms is None or self._now_ms() <= until_ms:
            return None
        last = self._bounds.last_to_forget(self._deleted, rows, self._now_ms())
        return None if last is None else min(last, self._floor)

    def _delete_forgettable(self, rows: int) -> bool:
        upto = self._forgettable(rows)
        if upto is None:
            return False
        self._delete(upto)
        return True

    def _delete(self, upto: int) -> None:
        with self._transaction("delete events of"):
            self._writer.execute("DELETE FROM events WHERE seq <= ?", (upto,))
            self._drops.forget(upto)
        self._since_checkpoint += upto - self._deleted
        self._deleted = upto
        self._is_compacting = True

    def _compact(self) -> bool:
        """Give a little of the room of a drained backlog back to the file system. Whether there is more of it."""
        with translated(self._path, "shrink"):
            free = self._writer.execute("PRAGMA freelist_count").fetchone()[0]
            pages = self._writer.execute("PRAGMA page_count").fetchone()[0]
            # Only what is mostly empty is compacted: what is in use at the end of the file has to be moved.
            if free * 2 < pages or free < (_COMPACT_TO_PAGES if self._was_compacted else _COMPACT_FROM_PAGES):
                self._is_compacting = self._was_compacted = False
                return False
            # execute() would give back a single page: the statement yields a row without columns for each.
            self._writer.executescript(f"PRAGMA incremental_vacuum({_COMPACT_STEP})")
            self._was_compacted = self._writer.execute("PRAGMA freelist_count").fetchone()[0] < free
        self._since_checkpoint += _COMPACT_STEP
        return self._was_compacted

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
