"""The outbox's file: its lock, its tables, its sinks' places, and what SQLite's errors mean for whoever runs it."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pipeline.events.errors import OutboxCorrupt, OutboxError, OutboxFull, OutboxLocked

_APPLICATION_ID: Final = 0x56464F42  # "VFOB", so that another program's database is not taken for ours
_LAYOUT: Final = 1
_VACUUM_PAGES: Final = 16384  # of 4 KiB
_TABLES: Final = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE cursors (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE epochs (camera TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
    f"PRAGMA application_id = {_APPLICATION_ID}",
    f"PRAGMA user_version = {_LAYOUT}",
)


def take_lock(path: Path) -> int:
    """Take the lock file beside the database; the returned descriptor holds the lock until it is closed."""
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
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


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


def prepare(writer: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a new file, or check that those of an old one are ours and sound."""
    if writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
        _use_wal(writer, path)
        writer.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            writer.execute(statement)
        writer.execute("COMMIT")
        return
    application = writer.execute("PRAGMA application_id").fetchone()[0]
    layout = writer.execute("PRAGMA user_version").fetchone()[0]
    if application != _APPLICATION_ID:
        raise OutboxCorrupt(f"{path} is a database of another program, not an outbox; name another file")
    if layout != _LAYOUT:
        raise OutboxError(f"outbox {path} has layout {layout}, this version of vidface reads {_LAYOUT}; upgrade it")
    verdict = writer.execute("PRAGMA quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise OutboxCorrupt(_damaged(path, verdict))
    _use_wal(writer, path)
    free_pages = writer.execute("PRAGMA freelist_count").fetchone()[0]
    if free_pages >= _VACUUM_PAGES:  # a long outage had filled the file, and is over
        writer.execute("VACUUM")


def _use_wal(writer: sqlite3.Connection, path: Path) -> None:
    mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise OutboxError(f"outbox {path}: this file system cannot share memory between connections; use a local disk")


def register(writer: sqlite3.Connection, sinks: Sequence[str]) -> None:
    """Give each sink its place, take it from all others, and delete what nobody waits for any more."""
    writer.execute("BEGIN IMMEDIATE")
    oldest = writer.execute("SELECT min(seq) FROM events").fetchone()[0]
    start = last_seq(writer) if oldest is None else oldest - 1  # looked up before any cursor goes
    marks = ",".join("?" * len(sinks))
    writer.execute(f"DELETE FROM cursors WHERE sink NOT IN ({marks})", tuple(sinks))
    writer.executemany("INSERT OR IGNORE INTO cursors VALUES (?, ?)", [(sink, start) for sink in sinks])
    writer.execute("DELETE FROM events WHERE seq <= (SELECT min(seq) FROM cursors)")
    writer.execute("COMMIT")


def last_seq(writer: sqlite3.Connection) -> int:
    """Return the highest number ever given: an event's that is held, or one that a sink has acknowledged."""
    row = writer.execute("SELECT max(seq) FROM (SELECT seq FROM events UNION ALL SELECT seq FROM cursors)").fetchone()
    return row[0] or 0


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
                raise OutboxCorrupt(_damaged(path, str(error))) from error
            case _:
                raise OutboxError(
                    f"cannot {doing} outbox {path}: {error}; check the disk and the permissions of its folder"
                ) from error
    except OSError as error:
        if isinstance(error, OutboxError):
            raise
        raise OutboxError(f"cannot {doing} outbox {path}: {error.strerror}") from error


def _damaged(path: Path, detail: str) -> str:
    return (
        f"outbox {path} is damaged ({detail}); move it away with its -wal and -shm files to start afresh: "
        "`sqlite3 FILE .recover` may still get its events out"
    )
