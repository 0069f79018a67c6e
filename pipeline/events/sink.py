"""The seam to whatever wants the events. :mod:`pipeline.events.fake` has the doubles.

A sink of your own is a class with the three members of :class:`Sink`, whose constructor takes ``name`` and its options
by keyword. A distribution announces it under a type of its choice (in ``pyproject.toml``)::

    [project.entry-points."vidface.sinks"]
    lamp = "acme_lamp:LampSink"

    class LampSink:
        def __init__(self, *, name: str, port: Path, colour: Literal["red", "green"] = "red") -> None: ...

and where it is installed, a configuration may say::

    sinks:
      - {type: lamp, port: /dev/ttyUSB0, colour: green, retry: {max_s: 30}}

The annotations are the fields' types, the defaults their defaults; a relative :class:`~pathlib.Path` counts from the
configuration file's folder; what is annotated as pydantic's ``SecretStr``, or has password, secret, token or key in its
name, is not shown. ``type``, ``name`` and ``retry`` are every sink's and not for options. Making a sink must be quick
and connect to nothing. The publisher calls it from one thread, waits between attempts, counts what it took and
refused, and keeps the dead letters: the sink only delivers, or raises.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from pipeline.events.event import Event

ENTRY_POINTS: Final = "vidface.sinks"
"""The group of entry points that announce sinks."""


class Sink(Protocol):
    """Takes events and vouches for them.

    One thread, the publisher's for this sink, calls :meth:`deliver`; :meth:`close` may come from another and while
    a delivery is under way, which it then cuts short. Delivery is at least once: after a failure or a crash events
    come again, in their order, and (source, id) tells that they are the same.
    """

    @property
    def name(self) -> str:
        """The sink's name, unique in a process and the same after a restart: its place in the outbox hangs on it."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Deliver all, in their order, and return when the receiver has them for good. May block.

        Raises:
            SinkError: Not all could be delivered; worth another attempt. Its ``delivered`` says how many were.
            EventRefused: The event at ``delivered`` will never be taken; those before it were.
        """

    def close(self) -> None:
        """Let go of files and connections within a few seconds. Deliveries fail from then on. May be called twice."""
