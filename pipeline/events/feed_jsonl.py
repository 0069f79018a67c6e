"""Files of events as a feed: no broker, no group. For tests of what consumes events, and for replays."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from pipeline.events.errors import EventMalformed, FeedError
from pipeline.events.event import Event
from pipeline.events.feed import Delivery, Start


class JsonlFeed:
    """Reads files of JSON lines, one after the other, to the last whole line of the last one.

    A lane is a file, and a record's number the byte at which its line begins. Commits are kept in memory, where a
    test can see them; across restarts the consumer's ledger tells what was handled.
    """

    def __init__(self, paths: Sequence[Path], *, as_recorded: bool = False, batch: int = 100) -> None:
        """Name the files; they are opened when their turn comes.

        Args:
            paths: The files, oldest first.
            as_recorded: Whether each event is judged as of its own time: a replay. Otherwise as of now.
            batch: Records of one :meth:`poll` at most.
        """
        self._paths = [Path(path) for path in paths]
        self._as_recorded = as_recorded
        self._batch = batch
        self._turn = 0
        self._file: BinaryIO | None = None
        self._begun: dict[str, Start] = {}
        self._closed = False
        self._committed: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The files' paths."""
        return "files " + ", ".join(str(path.absolute()) for path in self._paths)

    @property
    def committed(self) -> Mapping[str, int]:
        """The byte up to which each file was done with."""
        return dict(self._committed)

    def poll(self, timeout_s: float) -> Sequence[Delivery] | None:
        """Return the next lines; None at the end. Never waits.

        Raises:
            FeedError: A file cannot be read.
        """
        del timeout_s  # what is there is there at once
        found: list[Delivery] = []
        while not found and not self._closed and self._turn < len(self._paths):
            found = self._read()
        return found or None

    def begun(self) -> Mapping[str, Start]:
        """Return the files that were opened since the last call."""
        begun, self._begun = self._begun, {}
        return begun

    def hold(self, timeout_s: float) -> None:
        """Wait: there is no group to stay in."""
        time.sleep(timeout_s)

    def owns(self, lane: str) -> bool:
        """Return True: files are not shared out."""
        return bool(lane)

    def commit(self, nexts: Mapping[str, int]) -> bool:
        """Remember how far it was done with, while this feed lasts."""
        self._committed.update(nexts)
        return True

    def rewind(self, nexts: Mapping[str, int]) -> None:
        """Go back in the file that is being read."""
        lanes = [str(path) for path in self._paths]
        places = sorted((lanes.index(lane), offset) for lane, offset in nexts.items())
        if places:
            self._leave_file()
            self._turn, offset = places[0]
            self._open().seek(offset)

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        self._leave_file()

    def _open(self) -> BinaryIO:
        if self._file is None:
            path = self._paths[self._turn]
            try:
                self._file = path.open("rb")
            except OSError as error:
                raise FeedError(
                    f"cannot read events from {path}: {error.strerror}; name a file that is there"
                ) from error
            if str(path) not in self._committed:
                self._begun[str(path)] = Start(committed=None, skipped=False)
        return self._file

    def _read(self) -> list[Delivery]:
        file, path = self._open(), self._paths[self._turn]
        found: list[Delivery] = []
        while len(found) < self._batch:
            offset = file.tell()
            line = file.readline()
            if not line.endswith(b"\n"):  # the end, or half a line that its writer has not finished
                self._leave_file()
                self._turn += 1
                break
            found.append(self._delivery(path, offset, line))
        return found

    def _delivery(self, path: Path, offset: int, line: bytes) -> Delivery:
        bare = Delivery(
            lane=str(path),
            offset=offset,
            next_offset=offset + len(line),
            place=f"{path}, line at byte {offset}",
            event=None,
            value=line,
        )
        try:
            event = Event.from_json(line)
        except EventMalformed as error:
            return replace(bare, fault=str(error))
        return replace(bare, event=event, now_ns=event.time_ns if self._as_recorded else None)

    def _leave_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
