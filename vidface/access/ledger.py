"""What was handled, in a SQLite file, so that neither a repeated event nor a restart opens a door twice.

An opening is written here, on the disk, before its action runs. After a crash between the two the action has not run
and never will: a door that stays shut is the lesser harm. Rows are forgotten after `KEPT_NS`, which is far more than
any picture may be old.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from pipeline.events.event import Event
from pipeline.events.payload import SightingPayload
from vidface.access.errors import LedgerError, LedgerLocked
from vidface.access.past import Past, Person, Waiting
from vidface.access.reason import Reason
from vidface.access.rules import Decision, takes_back

KEPT_NS: Final = 7 * 86_400 * 1_000_000_000
"""How long rows are kept."""

_PRUNE_EVERY: Final = 1000
_APPLICATION_ID: Final = 0x76666163  # "vfac"
_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE handled (source TEXT, id TEXT, at_ns INTEGER, PRIMARY KEY (source, id)) WITHOUT ROWID;
CREATE TABLE sightings (
    source TEXT, sighting TEXT, sequence INTEGER, taken_back INTEGER, at_ns INTEGER, PRIMARY KEY (source, sighting)
) WITHOUT ROWID;
CREATE TABLE openings (
    door TEXT, person TEXT, at_ns INTEGER, source TEXT, id TEXT, PRIMARY KEY (door, person)
) WITHOUT ROWID;
CREATE TABLE waiting (
    door TEXT, person TEXT, name TEXT, source TEXT, sighting TEXT, captured_ns INTEGER, at_ns INTEGER,
    PRIMARY KEY (door, person)
) WITHOUT ROWID;
CREATE TABLE actions (
    source TEXT, id TEXT, door TEXT, at_ns INTEGER, outcome TEXT, PRIMARY KEY (source, id, door)
) WITHOUT ROWID;
CREATE TABLE clock (only INTEGER PRIMARY KEY CHECK (only = 1), latest_ns INTEGER);
INSERT INTO clock VALUES (1, 0);
"""


class Outcome(StrEnum):
    """What became of an action."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    NOT_BEGUN = "not_begun"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An action whose outcome nobody wrote down: the process ended while it ran."""

    source: str
    id: str
    door: str
    at_ns: int


class Ledger:
    """The file. For one process; any thread."""

    def __init__(self, path: Path | None = None) -> None:
        """Open or make the file, and its folder.

        Args:
            path: The file; None keeps it in memory, for a replay or a dry run.

        Raises:
            LedgerError: It cannot be opened, or is something else.
            LedgerLocked: Another process has it open.
        """
        self._path = path
        self._lock = threading.Lock()
        self._until_prune = _PRUNE_EVERY
        with self._told():
            if path is not None:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        # Exclusive and never let go: the lock also tells a second process that there is a first.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN EXCLUSIVE")
        application, version = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        is_empty = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if is_empty:
            for statement in _TABLES.split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")
        elif (application, version) != (_APPLICATION_ID, _VERSION):
            raise LedgerError(self._path, "is no ledger of this version of vidface access; name another data_dir")
        self._connection.execute("COMMIT")

    def look(self, event: Event, said: SightingPayload, doors: Iterable[str]) -> Past:
        """What was before an event.

        Args:
            event: The event.
            said: What it says.
            doors: The ids of the doors it may open.

        Raises:
            LedgerError: The file cannot be read.
        """
        doors = tuple(doors)
        person = "" if said.identity is None else said.identity.id
        with self._told(), self._lock:
            ask = self._connection.execute
            handled = ask("SELECT 1 FROM handled WHERE source = ? AND id = ?", (event.source, event.id)).fetchone()
            sighting = ask(
                "SELECT sequence, taken_back FROM sightings WHERE source = ? AND sighting = ?",
                (event.source, said.sighting),
            ).fetchone() or (0, 0)
            opened = {
                door: row[0]
                for door in doors
                for row in ask("SELECT at_ns FROM openings WHERE door = ? AND person = ?", (door, person))
            }
            waiting = {
                door: tuple(
                    Waiting(person=Person(id=row[0], name=row[1]), sighting=(row[2], row[3]), captured_ns=row[4])
                    for row in ask(
                        "SELECT person, name, source, sighting, captured_ns FROM waiting WHERE door = ?", (door,)
                    )
                )
                for door in doors
            }
            (latest_ns,) = ask("SELECT latest_ns FROM clock").fetchone()
        return Past(
            is_handled=handled is not None,
            sequence=sighting[0],
            is_taken_back=bool(sighting[1]),
            latest_ns=latest_ns,
            opened_ns=opened,
            waiting=waiting,
        )

    def handled(self, event: Event, said: SightingPayload, decisions: Sequence[Decision], now_ns: int) -> None:
        """Write down what was decided on an event, all of it or nothing. Blocks for the disk.

        Raises:
            LedgerError: Nothing was written, so nothing may be opened; also where an opening is there already.
        """
        key = (event.source, event.id)
        with self._told(), self._lock, self._transaction() as tell:
            tell("INSERT OR IGNORE INTO handled VALUES (?, ?, ?)", (*key, now_ns))
            tell(
                "INSERT INTO sightings VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET at_ns = excluded.at_ns, "
                "sequence = max(sequence, excluded.sequence), taken_back = max(taken_back, excluded.taken_back)",
                (event.source, said.sighting, said.sequence, takes_back(said), now_ns),
            )
            if takes_back(said):
                tell("DELETE FROM waiting WHERE source = ? AND sighting = ?", (event.source, said.sighting))
            for decision in decisions:
                if decision.reason is Reason.FIRST_OF_TWO:
                    (person,) = decision.people
                    tell(
                        "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (decision.door, person.id, person.name, event.source, said.sighting, said.captured_ns, now_ns),
                    )
                if decision.opens:
                    tell("INSERT INTO actions VALUES (?, ?, ?, ?, NULL)", (*key, decision.door, now_ns))
                    tell("DELETE FROM waiting WHERE door = ?", (decision.door,))
                    for person in decision.people:
                        tell(
                            "INSERT OR REPLACE INTO openings VALUES (?, ?, ?, ?, ?)",
                            (decision.door, person.id, now_ns, *key),
                        )
            tell("UPDATE clock SET latest_ns = max(latest_ns, ?)", (now_ns,))
            self._until_prune -= 1
            if self._until_prune <= 0:
                self._until_prune = _PRUNE_EVERY
                for table in ("handled", "sightings", "openings", "waiting", "actions"):
                    tell(f"DELETE FROM {table} WHERE at_ns < ?", (now_ns - KEPT_NS,))

    def finished(self, event: Event, door: str, outcome: Outcome) -> None:
        """Write down what became of an opening; one that certainly did not happen is no reason to hold off.

        Raises:
            LedgerError: It could not be written.
        """
        with self._told(), self._lock, self._transaction() as tell:
            tell(
                "UPDATE actions SET outcome = ? WHERE source = ? AND id = ? AND door = ?",
                (outcome.value, event.source, event.id, door),
            )
            if outcome is Outcome.NOT_BEGUN:
                tell("DELETE FROM openings WHERE door = ? AND source = ? AND id = ?", (door, event.source, event.id))

    def take_unfinished(self) -> list[Unfinished]:
        """The actions that nobody wrote the outcome of, each told once; for the start.

        Raises:
            LedgerError: The file cannot be read or written.
        """
        with self._told(), self._lock, self._transaction() as tell:
            rows = tell(
                "SELECT source, id, door, at_ns FROM actions WHERE outcome IS NULL ORDER BY at_ns", ()
            ).fetchall()
            tell("UPDATE actions SET outcome = ? WHERE outcome IS NULL", (Outcome.UNKNOWN.value,))
        return [Unfinished(source=source, id=id_, door=door, at_ns=at_ns) for source, id_, door, at_ns in rows]

    def accept_clock(self, now_ns: int) -> None:
        """Forget later times than this one, because somebody says that the clock is right now.

        Raises:
            LedgerError: It could not be written.
        """
        with self._told(), self._lock, self._transaction() as tell:
            tell("UPDATE clock SET latest_ns = min(latest_ns, ?)", (now_ns,))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Callable[[str, Sequence[object]], sqlite3.Cursor]]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection.execute
        except BaseException:
            if self._connection.in_transaction:  # a full disk has rolled it back already
                self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                words = "another process decides for these doors; give each its own data_dir"
                raise LedgerLocked(self._path, words) from error
            raise LedgerError(self._path, str(error)) from error
        except sqlite3.Error as error:
            raise LedgerError(self._path, str(error)) from error
        except OSError as error:
            if isinstance(error, LedgerError):
                raise
            raise LedgerError(self._path, error.strerror or str(error)) from error
