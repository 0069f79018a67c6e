"""Sinks for tests: one that remembers, and one that fails as told."""

import threading
from collections.abc import Iterable, Sequence

from pipeline.events.errors import SinkError
from pipeline.events.event import Event
from pipeline.events.sink import Sink


class MemorySink:
    """Remembers what it was given. Any thread may look."""

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._closed = False

    @property
    def name(self) -> str:
        """The sink's name in the outbox."""
        return self._name

    @property
    def events(self) -> list[Event]:
        """A copy of what was delivered, in order."""
        with self._changed:
            return list(self._events)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        with self._changed:
            return self._closed

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Event]:
        """Block until that many events are here, and return all of them.

        Raises:
            TimeoutError: They did not come.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._events) >= count, timeout_s):
                raise TimeoutError(f"{len(self._events)} of {count} events after {timeout_s} s")
            return list(self._events)

    def deliver(self, events: Sequence[Event]) -> None:
        """Remember the events.

        Raises:
            SinkError: The sink is closed.
        """
        with self._changed:
            if self._closed:
                raise SinkError(f"the sink {self._name} is closed")
            self._events.extend(events)
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse deliveries from now on."""
        with self._changed:
            self._closed = True


class FailingSink:
    """Raises what the script says, delivery by delivery, and then passes events on.

    Before it raises a :class:`SinkError` it passes on as many events as the error calls delivered.
    """

    def __init__(self, inner: Sink, script: Iterable[BaseException | None]) -> None:
        self._inner = inner
        self._script = iter(script)

    @property
    def name(self) -> str:
        """The inner sink's name."""
        return self._inner.name

    def deliver(self, events: Sequence[Event]) -> None:
        """Raise the script's next error, or pass the events on where it says None or is at its end."""
        error = next(self._script, None)
        if error is None:
            self._inner.deliver(events)
            return
        if isinstance(error, SinkError) and error.delivered:
            self._inner.deliver(events[: error.delivered])
        raise error

    def close(self) -> None:
        """Close the inner sink."""
        self._inner.close()
