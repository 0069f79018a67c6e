"""Where events come from: a seam, and a file that is followed.

A feed calls `handle` with one event after the other, and takes its return for "handled": what it does with that, such
as committing an offset, is its own matter. If `handle` raises, the event is not handled, and the feed ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from pipeline.events.event import Event
from pipeline.events.tail import tail

POLL_S: Final = 0.02
"""How often a file is looked at for more: a person waits at the door."""


class Feed(Protocol):
    """Gives events in the order of each camera."""

    def run(self, handle: Callable[[Event], None], malformed: Callable[[str], None]) -> None:
        """Give events until stopped; blocks.

        Args:
            handle: Called with each event.
            malformed: Called with words about each record that is no event, which is then passed over.
        """

    def stop(self) -> None:
        """Let `run` return soon. Any thread, and signal handlers."""


class JsonlFeed:
    """Follows a file of events from its end. For one thread, but for `stop`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopping = threading.Event()

    def run(self, handle: Callable[[Event], None], malformed: Callable[[str], None]) -> None:
        """Give what is appended from now on; see `Feed`."""
        events = tail(
            self._path,
            from_start=False,
            wait=lambda: not self._stopping.wait(POLL_S),
            on_malformed=lambda error: malformed(str(error)),
        )
        for event in events:
            handle(event)
            if self._stopping.is_set():
                return

    def stop(self) -> None:
        """Let `run` return after the event at hand."""
        self._stopping.set()
