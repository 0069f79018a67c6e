"""One sink's own connection to the outbox, so that reading a backlog does not hold up appending."""

import sqlite3
import threading
from pathlib import Path

from pipeline.events.errors import EventMalformed, OutboxClosed
from pipeline.events.event import Event
from pipeline.events.outbox_file import checksum, damaged, translated


class OutboxReader:
    """Reads events and makes checkpoints. One thread at a time; closing waits for a read."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """Take over a connection; the path is for messages."""
        self._connection = connection
        self._path = path
        self._lock = threading.Lock()
        self._closed = False

    def events(self, after: int, limit: int) -> list[tuple[int, Event]]:
        """Return the first events behind a number, with their numbers.

        Raises:
            OutboxCorrupt: An event is not what was stored.
            OutboxClosed: After :meth:`close`.
        """
        query = "SELECT seq, CAST(body AS BLOB), checksum FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        found = []
        with self._lock:
            if self._closed:
                raise OutboxClosed(f"outbox {self._path} is closed")
            with translated(self._path, "read"):
                # Row by row: each fetch lets go of the interpreter, so an appending thread waits for one event to be
                # parsed and not for the batch.
                for seq, body, expected in self._connection.execute(query, (after, limit)):
                    if checksum(seq, body) != expected:
                        raise damaged(self._path, f"event {seq} is not what was stored")
                    try:
                        found.append((seq, Event.from_stored(body)))
                    except EventMalformed as error:
                        raise damaged(self._path, f"event {seq}: {error}") from error
        return found

    def checkpoint(self) -> None:
        """Move the log into the database, as far as that is possible without waiting for anybody."""
        with self._lock:
            if not self._closed:
                with translated(self._path, "checkpoint"):
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close the connection. May be called twice."""
        with self._lock:
            self._closed = True
            self._connection.close()
