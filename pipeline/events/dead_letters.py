"""Where an event goes that a sink will never take, so that it neither blocks the others nor vanishes."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.events.event import Event, rfc3339
from pipeline.events.line_file import LineFile


class DeadLetters:
    """A file of JSON lines: ``sink``, ``reason``, ``refused_at`` and the ``event``. Any thread may add.

    The file is made with its first letter, so its being there means that somebody should look.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Name the file; ``now_ns`` is the wall clock."""
        self._path = path
        self._now_ns = now_ns
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def add(self, sink: str, event: Event, reason: str) -> None:
        """Write the event down; it is on the disk when this returns.

        Raises:
            OSError: It could not be written.
        """
        letter = {
            "sink": sink,
            "reason": reason,
            "refused_at": rfc3339(self._now_ns()),
            "event": event.to_cloudevent(),
        }
        line = json.dumps(letter, ensure_ascii=False, separators=(",", ":")) + "\n"
        with self._lock, LineFile(self._path) as file:
            file.append(line.encode())
