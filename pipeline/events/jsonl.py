"""The default sink: a file with one CloudEvent a line, so that events have somewhere to go without a broker."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.events.errors import SinkError
from pipeline.events.event import Event
from pipeline.events.line_file import LineFile
from pipeline.events.rotation import Rotation, next_aside, set_aside


class JsonlSink:
    """Appends each event as a line of JSON in the CloudEvents format.

    Only whole lines are ever in the file: half a line that a crash left is cut when the file is opened, and the
    outbox sends that event again. A crash between writing and acknowledging repeats the last lines; (source, id)
    tells. The file may be rotated by renaming it, and rotates itself where it is told when.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str = "jsonl",
        sync: bool = True,
        rotation: Rotation | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Open or make the file, and its folders.

        Args:
            path: The file.
            name: The sink's name in the outbox.
            sync: Whether a delivery also waits for the disk. Without it a power cut may take lines that the outbox
                has already forgotten.
            rotation: When the file is set aside for a new one; never where None. A delivery is in one file.
            now_ns: The wall clock, Unix nanoseconds.

        Raises:
            SinkError: The file cannot be opened for writing.
        """
        self._name = name
        self._path = path
        self._rotation = rotation
        self._now_ns = now_ns
        self._lock = threading.Lock()
        try:
            self._file = LineFile(path, sync=sync)
        except OSError as error:
            raise SinkError(f"cannot write events to {path}: {_reason(error)}") from error

    @property
    def name(self) -> str:
        """The sink's name in the outbox."""
        return self._name

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def deliver(self, events: Sequence[Event]) -> None:
        """Append the events; all of them or, if it raises, none. Blocks for the disk.

        Raises:
            SinkError: The disk is full, the folder is gone, or the sink is closed.
        """
        lines = "".join(f"{event.to_json()}\n" for event in events).encode()
        with self._lock:
            try:
                self._rotate(len(lines))
                self._file.append(lines)
            except OSError as error:
                raise SinkError(
                    f"cannot write events to {self._path}: {_reason(error)}; they are kept and tried again"
                ) from error

    def _rotate(self, adding: int) -> None:
        rotation = self._rotation
        if rotation is None:
            return
        size, written_ns = self._file.state()
        if not rotation.is_due(size=size, adding=adding, written_ns=written_ns, now_ns=self._now_ns()):
            return
        self._file.set_aside(next_aside(self._path))
        if rotation.keep is not None:
            former = set_aside(self._path)
            for old in former[: len(former) - rotation.keep]:
                old.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
