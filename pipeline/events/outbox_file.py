"""The outbox's file: its lock, its tables, its sinks' places, and what SQLite's errors mean for whoever runs it."""

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline.events.errors import EventMalformed, NotAnOutbox, OutboxCorrupt, OutboxError, OutboxFull, OutboxLocked
from pipeline.events.event import Event

_log = logging.getLogger(__name__)

_APPLICATION_ID: Final = 0x56464F42  # "VFOB", so that another program's database is not taken for ours
LAYOUT: Final = 2
_INCREMENTAL: Final = 2
# What layout 2 has over layout 1: when an event was stored, its checksum, what was dropped, and who this outbox is.
_ADDED: Final = (
    "CREATE TABLE notices (seq INTEGER PRIMARY KEY)",
    """CREATE TABLE dropped (
        sink TEXT PRIMARY KEY, total INTEGER NOT NULL, untold INTEGER NOT NULL, first_seq INTEGER NOT NULL,
        last_seq INTEGER NOT NULL, first_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, told_seq INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE TABLE about (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
)
_TABLES: Final = (
    """CREATE TABLE events (
        seq INTEGER PRIMARY KEY, body TEXT NOT NULL, stored_ms INTEGER NOT NULL, checksum INTEGER NOT NULL
    )""",
    "CREATE TABLE cursors (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE epochs (camera TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
    *_ADDED,
    f"PRAGMA application_id = {_APPLICATION_ID}",
)


def checksum(seq: int, body: bytes) -> int:
    """Return what is stored beside an event, so that a damaged or misplaced one is never taken for a fact."""
    return zlib.crc32(body, seq & 0xFFFFFFFF)


def take_lock(path: Path) -> int:
    """Take the lock file beside the database; the returned descriptor holds the lock until it is closed.

    The lock file stays when the lock goes: that an outbox was here before shows even where its database is gone.
    """
    lock_path = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise OutboxError(f"cannot make {lock_path}: {error.strerror}; use a folder that can be written") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise OutboxLocked(
            f"outbox {path} is in use by process {holder} (lock {lock_path}); stop it, or use another data folder"
        ) from None
    return descriptor


def sign_lock(descriptor: int) -> None:
    """Write into the lock file who holds it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def connect(path: Path, made: list[sqlite3.Connection]) -> sqlite3.Connection:
    """Open a connection that any thread may use, one at a time, and add it to ``made`` at once, to be closed."""
    # Autocommit: transactions are begun and ended by name. The threads are kept apart by our own locks.
    if not path.exists():
        # Events name people; SQLite gives its other files the same mode. Only a new file may be touched: closing
        # any descriptor of an open database would drop SQLite's own locks on it.
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    made.append(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 5000")  # someone may look with the sqlite3 shell
    return connection


def prepare(writer: sqlite3.Connection, path: Path, *, first_epoch: int = 1) -> None:
    """Make the tables in a new file, or check that those of an old one are ours and sound, and bring them up to date.

    Args:
        writer: The connection.
        path: For messages.
        first_epoch: What the epochs of a new file begin with.

    Raises:
        NotAnOutbox: A database of another program.
        OutboxCorrupt: The file is damaged.
        OutboxError: The file is of a later version.
    """
    if writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        writer.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        _use_wal(writer, path)
        make_tables(writer, first_epoch=first_epoch)
        return
    layout = writer.execute("PRAGMA user_version").fetchone()[0]
    if not is_outbox(writer):
        raise NotAnOutbox(f"{path} is a database of another program, not an outbox; name another file")
    if layout not in {1, LAYOUT}:
        raise OutboxError(f"outbox {path} has layout {layout}, this version of vidface reads {LAYOUT}; upgrade it")
    verdict = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise damaged(path, verdict.removeprefix("*** in database main ***\n"))
    _use_wal(writer, path)
    if layout == 1:
        _migrate(writer)
    _check_events(writer, path)
    _let_shrink(writer, path)


def is_outbox(connection: sqlite3.Connection) -> bool:
    """Whether a database is an outbox, of whatever layout."""
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID)


def make_tables(writer: sqlite3.Connection, *, first_epoch: int) -> None:
    """Make the tables of a new file, all or none."""
    writer.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        writer.execute(statement)
    _introduce(writer, first_epoch=first_epoch)
    writer.execute(f"PRAGMA user_version = {LAYOUT}")
    writer.execute("COMMIT")


def _introduce(writer: sqlite3.Connection, *, first_epoch: int) -> None:
    facts = (("id", secrets.token_hex(6)), ("first_epoch", first_epoch), ("openings", 0))
    writer.executemany("INSERT INTO about VALUES (?, ?)", facts)


def _migrate(writer: sqlite3.Connection) -> None:
    """Turn layout 1 into layout 2, in place, all or nothing. An event counts as stored at its own time."""
    writer.create_function("time_ms_of", 1, lambda body: Event.from_json(body).time_ns // 1_000_000)
    writer.create_function("checksum_of", 2, lambda seq, body: checksum(seq, body.encode()))
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("ALTER TABLE events ADD COLUMN stored_ms INTEGER NOT NULL DEFAULT 0")
    writer.execute("ALTER TABLE events ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    writer.execute("UPDATE events SET stored_ms = time_ms_of(body), checksum = checksum_of(seq, body)")
    for statement in _ADDED:
        writer.execute(statement)
    _introduce(writer, first_epoch=1)
    writer.execute(f"PRAGMA user_version = {LAYOUT}")
    writer.execute("COMMIT")


def _check_events(writer: sqlite3.Connection, path: Path) -> None:
    """Compare each event with its checksum: SQLite checks how pages hang together, not what they say."""
    for seq, body, expected in writer.execute("SELECT seq, CAST(body AS BLOB), checksum FROM events"):
        if checksum(seq, body) != expected:
            raise damaged(path, f"event {seq} is not what was stored")


def _let_shrink(writer: sqlite3.Connection, path: Path) -> None:
    """Let a file of layout 1 give its room back in small steps from now on; that takes one rewriting."""
    if writer.execute("PRAGMA auto_vacuum").fetchone()[0] == _INCREMENTAL:
        return
    try:
        writer.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        writer.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
            raise
        _log.warning("outbox %s can't be rewritten, because the disk is full; it will not shrink in this run", path)


def _use_wal(writer: sqlite3.Connection, path: Path) -> None:
    mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise OutboxError(f"outbox {path}: this file system cannot share memory between connections; use a local disk")


def register(writer: sqlite3.Connection, sinks: Sequence[str]) -> None:
    """Give each sink its place, and take it from all others.

    A new sink gets what any other is waiting for; of what is kept beyond that it gets nothing.
    """
    writer.execute("BEGIN IMMEDIATE")
    start = writer.execute("SELECT min(seq) FROM cursors").fetchone()[0]  # looked up before any cursor goes
    if start is None:
        oldest = writer.execute("SELECT min(seq) FROM events").fetchone()[0]
        start = last_seq(writer) if oldest is None else oldest - 1
    marks = ",".join("?" * len(sinks))
    for table in ("cursors", "dropped"):
        writer.execute(f"DELETE FROM {table} WHERE sink NOT IN ({marks})", tuple(sinks))
    writer.executemany("INSERT OR IGNORE INTO cursors VALUES (?, ?)", [(sink, start) for sink in sinks])
    writer.execute("UPDATE about SET value = value + 1 WHERE name = 'openings'")
    writer.execute("COMMIT")


def fact(connection: sqlite3.Connection, name: str) -> str | int:
    """Return what the file says about itself: ``id``, ``first_epoch`` or ``openings``."""
    value: str | int = connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()[0]
    return value


def last_seq(writer: sqlite3.Connection) -> int:
    """Return the highest number ever given: an event's that is held, or one that a sink has acknowledged."""
    # Each maximum is one look into an index; over the two together SQLite would read every event.
    row = writer.execute("SELECT (SELECT max(seq) FROM events), (SELECT max(seq) FROM cursors)").fetchone()
    return max(row[0] or 0, row[1] or 0)


@contextlib.contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the path and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the kind; the rest says more of it. Errors of the module itself have no code.
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_FULL:
                raise OutboxFull(
                    f"cannot {doing} outbox {path}: the disk is full; free some space, nothing stored is lost"
                ) from error
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                raise damaged(path, str(error)) from error
            case _:
                raise OutboxError(
                    f"cannot {doing} outbox {path}: {error}; check the disk and the permissions of its folder"
                ) from error
    except EventMalformed as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        if isinstance(error, OutboxError):
            raise
        raise OutboxError(f"cannot {doing} outbox {path}: {error.strerror}") from error


def damaged(path: Path, detail: str) -> OutboxCorrupt:
    """Return the error to raise for a damaged outbox."""
    message = (
        f"outbox {path} is damaged ({detail}); check the disk; at the next start it is set aside, and what can be read "
        "of it goes on in a fresh one"
    )
    return OutboxCorrupt(message, detail=detail)
