"""What can go wrong between a fact and the systems that want to hear it.

    EventsError
    ├── EventMalformed       not an event of ours, or one that cannot be written   (ValueError)
    ├── OutboxError          the outbox file cannot be used                        (OSError)
    │   ├── OutboxLocked     another process has it open
    │   ├── OutboxFull       no room left on the disk
    │   └── OutboxCorrupt    the file is damaged, or is no outbox
    ├── OutboxClosed         used after close()                                    (RuntimeError)
    ├── UnknownSink          a name that the outbox was not opened with            (LookupError)
    ├── SinkError            a sink could not take events now; try again           (OSError)
    │   └── EventRefused     a sink will never take this event                     (ValueError)
    ├── KafkaMissing         the package that talks to Kafka is not installed      (ImportError)
    └── PublisherFailed      a sink's thread ended by an error of its own          (RuntimeError)

Each also inherits the builtin named beside it, so callers who know nothing of vidface can catch it.
No message holds a password: sinks clean what they quote.
"""

from typing import ClassVar


class EventsError(Exception):
    """The root of this package's errors."""


class EventMalformed(EventsError, ValueError):
    """A text that is no event of ours, or an event whose data JSON cannot express."""


class OutboxError(EventsError, OSError):
    """The outbox file cannot be opened, read or written."""


class OutboxLocked(OutboxError):
    """Another process has the outbox open; two would deliver each other's events."""


class OutboxFull(OutboxError):
    """The disk has no room for another event; nothing was stored."""


class OutboxCorrupt(OutboxError):
    """The file is damaged, or is not an outbox."""


class OutboxClosed(EventsError, RuntimeError):
    """The outbox was used after it was closed."""


class UnknownSink(EventsError, LookupError):
    """A sink's name that the outbox was not opened with."""


class SinkError(EventsError, OSError):
    """A sink could not take events now, and may later.

    Attributes:
        delivered: How many events, counted from the first of the batch, were certainly delivered all the same.
        retryable: Whether sending the first undelivered event again can help.
    """

    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, delivered: int = 0) -> None:
        super().__init__(message)
        self.delivered = delivered


class EventRefused(SinkError, ValueError):
    """A sink will never take the event at position ``delivered`` of the batch, however often it is sent."""

    retryable: ClassVar[bool] = False


class KafkaMissing(EventsError, ImportError):
    """The package that talks to Kafka is not installed."""


class PublisherFailed(EventsError, RuntimeError):
    """A sink's thread ended by an error that is no :class:`SinkError`; the cause is chained.

    Attributes:
        sink: The sink's name.
    """

    def __init__(self, sink: str, cause: BaseException) -> None:
        super().__init__(
            f"publishing to the sink {sink!r} failed: {type(cause).__name__}: {cause}; "
            "its events stay in the outbox and are sent at the next start"
        )
        self.sink = sink
        self.__cause__ = cause
