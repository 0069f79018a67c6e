"""What a consumer has handled, and where each camera's events are, in a small SQLite file: a restart forgets nothing.

What it is for
    Repeats. An event is remembered by (source, id) for ``keep_s``. That must be longer than an event can be late: the
    outbox's age and the topic's retention, whichever may send it again.

    Gaps. The number of each camera's latest sighting event is kept, with its epoch. Only who saw everything before an
    event can call what is missing lost. Where another member of the group has read a lane in the meantime, the
    cameras' numbers are unknown, and counting begins anew with each camera's next event. Members on one machine may
    share one ledger, and then know what the others did.

What a crash and a power cut can take
    A record is written when it was handled, in one transaction, and given to the operating system: the death of the
    process takes nothing. A power cut may take the last seconds, and then what was handled in them may be handled
    again if the brokers lost it as well or the producer sends it again.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

from pipeline.events.errors import LedgerError
from pipeline.events.event import Event
from pipeline.events.feed import Delivery, Start
from pipeline.events.payload import SightingPayload
from pipeline.events.read import Payload

KEEP_S: Final = 7 * 86_400.0

_APPLICATION_ID: Final = 0x56464C47  # "VFLG", so that another program's database is not taken for ours
_LAYOUT: Final = 1
_PURGE_EVERY: Final = 10_000
_TABLES: Final = (
    "CREATE TABLE owner (feed TEXT NOT NULL)",
    "CREATE TABLE seen (source TEXT, id TEXT, at_s INTEGER NOT NULL, PRIMARY KEY (source, id)) WITHOUT ROWID",
    "CREATE INDEX seen_at ON seen (at_s)",
    "CREATE TABLE lanes (lane TEXT PRIMARY KEY, next INTEGER NOT NULL, whole INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE cameras (source TEXT PRIMARY KEY, lane TEXT, epoch INTEGER, number INTEGER) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_LAYOUT}",
)


class Ledger:
    """Made by :meth:`open`. One thread at a time uses it; other processes may have the same file open."""

    def __init__(self, path: Path | None, connection: sqlite3.Connection, keep_s: float, now_s: Callable[[], float]):
        self._path = path
        self._connection = connection
        self._keep_s = keep_s
        self._now_s = now_s
        self._until_purge = 0

    @classmethod
    def open(
        cls, path: Path | None, feed: str, *, keep_s: float = KEEP_S, now_s: Callable[[], float] = time.time
    ) -> Self:
        """Open the ledger of a feed, made with its folder where it is absent.

        Args:
            path: The file; None keeps everything in memory, for replays.
            feed: The feed's name. One group's memory would make another one drop what it never had.
            keep_s: How long an event is remembered.
            now_s: The wall clock, Unix seconds.

        Raises:
            LedgerError: The file is damaged, another program's or another feed's, or cannot be written.
        """
        if not keep_s > 0:
            raise ValueError(f"keep_s is {keep_s}; it must be positive")
        with _translated(path):
            if path is not None and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)  # ids name cameras, and when somebody passed them
            connection = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, path, feed)
            except BaseException:
                connection.close()
                raise
        return cls(path, connection, keep_s, now_s)

    def begin(self, lane: str, start: Start) -> None:
        """Note that reading a lane begins, and forget its cameras' numbers if others read it in the meantime.

        Raises:
            LedgerError: The file cannot be written.
        """
        with self._transaction() as database:
            row = database.execute("SELECT next FROM lanes WHERE lane = ?", (lane,)).fetchone()
            if start.committed is None:  # what we had not committed then comes again, or is lost
                whole = not start.skipped or row is not None
            else:
                whole = row is not None and start.committed <= row[0]
            if whole:
                database.execute("INSERT OR IGNORE INTO lanes VALUES (?, 0, 1)", (lane,))
            else:
                database.execute("REPLACE INTO lanes VALUES (?, ?, 0)", (lane, start.committed or 0))
                database.execute("DELETE FROM cameras WHERE lane = ?", (lane,))

    def knows(self, event: Event) -> bool:
        """Return whether the event was noted.

        Raises:
            LedgerError: The file cannot be read.
        """
        with _translated(self._path):
            found = self._connection.execute(
                "SELECT 1 FROM seen WHERE source = ? AND id = ?", (event.source, event.id)
            ).fetchone()
        return found is not None

    def expected(self, delivery: Delivery, event: Event, payload: SightingPayload) -> int | None:
        """Return the ``camera_sequence`` that this event should have had, if some before it are missing.

        Raises:
            LedgerError: The file cannot be read.
        """
        with _translated(self._path):
            row = self._connection.execute(
                "SELECT epoch, number FROM cameras WHERE source = ?", (event.source,)
            ).fetchone()
            if row is None:
                lane = self._connection.execute("SELECT whole FROM lanes WHERE lane = ?", (delivery.lane,)).fetchone()
                if lane is not None and not lane[0]:
                    return None  # what came before was another member's
        epoch, number = row or (payload.epoch, 0)
        if payload.epoch < epoch:
            return None  # an earlier connection's, sent again
        expected = int(number) + 1 if payload.epoch == epoch else 1
        return expected if payload.camera_sequence > expected else None

    def note(self, delivery: Delivery, event: Event | None = None, payload: Payload | None = None) -> None:
        """Remember that a record is done with; and, where they are given, the event and its camera's number.

        Raises:
            LedgerError: The file cannot be written.
        """
        with self._transaction() as database:
            if event is not None:
                database.execute(
                    "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (event.source, event.id, int(self._now_s()))
                )
                if isinstance(payload, SightingPayload):
                    database.execute(
                        "INSERT INTO cameras VALUES (?, ?, ?, ?) ON CONFLICT (source) DO UPDATE SET "
                        "lane = excluded.lane, epoch = excluded.epoch, number = excluded.number "
                        "WHERE (excluded.epoch, excluded.number) > (cameras.epoch, cameras.number)",
                        (event.source, delivery.lane, payload.epoch, payload.camera_sequence),
                    )
            database.execute(
                "INSERT INTO lanes VALUES (?, ?, 1) ON CONFLICT (lane) DO UPDATE SET next = max(next, excluded.next)",
                (delivery.lane, delivery.next_offset),
            )
            self._until_purge -= 1
            if self._until_purge < 0:
                self._until_purge = _PURGE_EVERY
                database.execute("DELETE FROM seen WHERE at_s < ?", (int(self._now_s() - self._keep_s),))

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _prepare(connection: sqlite3.Connection, path: Path | None, feed: str) -> None:
    connection.execute("PRAGMA busy_timeout = 5000")  # another member's transaction takes far less
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO owner VALUES (?)", (feed,))
        connection.execute("COMMIT")
        return
    connection.execute("COMMIT")
    marks = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if marks[0] != _APPLICATION_ID:
        raise LedgerError(f"{path} is a database of another program, not a ledger; name another file")
    if marks[1] != _LAYOUT:
        raise LedgerError(f"ledger {path} has layout {marks[1]}, this version of vidface reads {_LAYOUT}; upgrade it")
    verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise LedgerError(_damaged(path, verdict))
    owner = connection.execute("SELECT feed FROM owner").fetchone()[0]
    if owner != feed:
        raise LedgerError(
            f"ledger {path} belongs to {owner}, not to {feed}: each group needs a file of its own, or it would drop "
            "events that only another one had"
        )


@contextlib.contextmanager
def _translated(path: Path | None) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the path and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                reason = f"ledger {path}: the disk is full; free some space"
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                reason = _damaged(path, str(error))
            case _:
                reason = f"ledger {path}: {error}; check the disk and the permissions of its folder"
        raise LedgerError(reason) from error
    except OSError as error:
        if isinstance(error, LedgerError):
            raise
        raise LedgerError(f"ledger {path}: {error.strerror}; use a folder that can be written") from error


def _damaged(path: Path | None, detail: str) -> str:
    return (
        f"ledger {path} is damaged ({detail}), or is none; move it away with its -wal and -shm files to start afresh: "
        "events that come again will then be handled again"
    )
