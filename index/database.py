"""One connection to the gallery's SQLite file: creation, pragmas, transactions, erasure, errors.

The file holds what identifies people, so it is made readable by its owner alone before a byte is written to it, and
what is deleted is overwritten. SQLite's `secure_delete` zeroes the cells that are deleted, but not the copies of a cell
that may stay behind in a page when its B-tree is rebalanced: after random insertions, renamings and removals, and with
the write-ahead log emptied, 6 of 17,000 deleted names and templates were still in the file. `VACUUM` writes every page
anew, and left none. `scrub` does that and empties the log.

Several processes may hold the file open: SQLite's write-ahead log lets them read while one writes.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from index.errors import (
    ErasureIncomplete,
    GalleryReplaced,
    GalleryTooNew,
    GalleryUnreachable,
    NotAGallery,
    StorageError,
    storage_error,
)

BUSY_TIMEOUT_S: Final = 10.0
"""How long to wait for another process's write: longer than rewriting a gallery of some 100,000 templates takes."""

APPLICATION_ID: Final = 0x76664731
"""``vfG1``, in the file's header: tells a gallery from any other SQLite file."""


class Database:
    """A connection, its transactions and its errors. For one thread at a time, and not across a fork.

    Args:
        path: The file; made, with its folder, if it is absent.
        schema_version: The newest schema this code knows; raised whenever older code must not touch the file.
        create_schema: Fills an empty file, inside a transaction, given this object.

    Raises:
        GalleryUnreachable: The file or its folder cannot be made, opened or written.
        NotAGallery: The file is something else.
        GalleryTooNew: Its schema is newer than this code.
        StorageError: Anything else SQLite says.
    """

    def __init__(self, path: Path, *, schema_version: int, create_schema: Callable[[Database], None]) -> None:
        self.path = path.absolute()
        try:
            with _creation_lock(self.path):
                self._connection = self._connect()
        except StorageError:
            raise
        except OSError as error:
            raise _unreachable(self.path, error) from error
        try:
            self._file = self._file_on_disk()
            _make_private(self.path)
            self._claim(schema_version, create_schema)
        except BaseException:
            self._connection.close()
            raise

    def execute(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement to its end and return its rows.

        To its end, because a statement that is only half read keeps a read transaction open, and that would
        keep the write-ahead log from being emptied.
        """
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error

    def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row."""
        try:
            self._connection.executemany(sql, rows)
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A transaction whose statements all see the same state of the file."""
        yield from self._transaction("BEGIN DEFERRED")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction that no other process can write beside; durable once it is left, undone by an exception.

        Raises:
            GalleryBusy: Another process is still writing after ten seconds.
            GalleryReplaced: The file at the path is no longer the one that was opened.
        """
        self.require_same_file()
        yield from self._transaction("BEGIN IMMEDIATE")

    def data_version(self) -> int:
        """A number that differs from the last call's if another connection has changed the file; microseconds."""
        return int(self.execute("PRAGMA data_version")[0][0])

    def require_same_file(self) -> None:
        """Raise if the path no longer leads to the file that was opened; a microsecond.

        Raises:
            GalleryReplaced: It was deleted, moved or replaced. Writing to it would be lost, and reading it
                would keep people known whom the operator believes gone.
        """
        if self._file_on_disk() != self._file:
            raise GalleryReplaced(self.path, "the file was deleted or replaced while it was open; restart what uses it")

    def size_bytes(self) -> int:
        """The size of the file and its write-ahead log."""
        return sum(part.stat().st_size for part in _parts(self.path) if part.exists())

    def scrub(self) -> None:
        """Write every page anew and empty the log, so that nothing deleted is left in either.

        Blocks, for a time linear in the size. Not inside a transaction. Needs free space for a copy of the file, and
        memory for another.

        Raises:
            ErasureIncomplete: Another process was in the way for ten seconds, or there is no space.
        """
        self.require_same_file()
        try:
            self._connection.execute("VACUUM").fetchall()
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        except sqlite3.Error as error:
            raise ErasureIncomplete(self.path, _INCOMPLETE.format(cause=error)) from error
        if busy:
            cause = "another process is reading the log"
            raise ErasureIncomplete(self.path, _INCOMPLETE.format(cause=cause))

    def close(self) -> None:
        """Close the connection; the last one to close folds the log into the file."""
        self._connection.close()

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(
                f"{self.path.as_uri()}?mode=rw",  # never creates: creation is _creation_lock's
                uri=True,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,  # transactions are written out here, none is implied
                check_same_thread=False,  # a handle may move to the thread that uses it
            )
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error
        try:
            for pragma in _PRAGMAS:
                connection.execute(pragma).fetchall()
            # Before anything is written: another program's database is not even to become a write-ahead one.
            _refuse_strangers(connection, self.path)
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        except sqlite3.Error as error:
            connection.close()
            raise storage_error(self.path, error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _claim(self, schema_version: int, create_schema: Callable[[Database], None]) -> None:
        """Make the schema in an empty file, or check that the one there is known."""
        if self._is_empty():
            with self.writing():
                if self._is_empty():  # asked again now that nobody else can be making it
                    create_schema(self)
                    self.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    self.execute(f"PRAGMA user_version = {schema_version}")
        found = self.execute("PRAGMA user_version")[0][0]
        if found > schema_version:
            raise GalleryTooNew(
                self.path,
                f"its schema has version {found}, and this vidface knows versions up to {schema_version}; "
                "upgrade vidface, or restore the gallery from before its upgrade",
            )

    def _is_empty(self) -> bool:
        return not self.execute("SELECT 1 FROM sqlite_schema LIMIT 1")

    def _file_on_disk(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)  # noqa: PTH116 - called for every batch; Path.stat costs twice as much
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreachable(self.path, error) from error
        return status.st_dev, status.st_ino

    def _transaction(self, begin: str) -> Iterator[None]:
        self.execute(begin)
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # A full disk makes SQLite roll back by itself. Whatever goes wrong here, the first error is the
            # one to tell.
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise


_PRAGMAS = (
    "PRAGMA synchronous = FULL",  # an enrolment that was reported survives a power cut
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",  # VACUUM's copy of everyone's face does not go to the system's temporary folder
)

_INCOMPLETE = (
    "the removal is done and nothing matches it any more, but old bytes may still be in the file ({cause}); "
    "it is tried again when the gallery is next opened or someone is removed, or call finish_erasure"
)


def _unreachable(path: Path, error: OSError) -> GalleryUnreachable:
    return GalleryUnreachable(
        path, f"{error.strerror or error}; choose a data folder that this user can read and write"
    )


def _refuse_strangers(connection: sqlite3.Connection, path: Path) -> None:
    ours = connection.execute("PRAGMA application_id").fetchall()[0][0] == APPLICATION_ID
    if not ours and connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()[0][0]:
        raise NotAGallery(path, "it is a database of something else; move it away, or choose another data folder")


@contextmanager
def _creation_lock(path: Path) -> Iterator[None]:
    """Make sure that the file exists, private, and that one process at a time turns a new one into a database.

    Turning on the write-ahead log is the one step that SQLite does not order between processes. The lock is
    on the folder: it leaves no file behind, and closing it cannot drop SQLite's own locks on the database.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > 0:
        yield
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        yield
    finally:
        os.close(folder)


def _make_private(path: Path) -> None:
    """Take the file from group and others, where it is ours; SQLite makes the log with the file's own mode."""
    for part in _parts(path):
        try:
            status = part.stat()
            if status.st_mode & 0o077 and status.st_uid == os.geteuid():
                part.chmod(status.st_mode & 0o700)
        except FileNotFoundError:
            continue  # the log may be folded in by another process at any moment
        except OSError as error:
            raise _unreachable(path, error) from error


def _parts(path: Path) -> tuple[Path, Path, Path]:
    return path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
