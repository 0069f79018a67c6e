"""What can go wrong between a fact and the systems that want to hear it.

    EventsError
    ├── EventMalformed       not an event of ours, or one that cannot be written   (ValueError)
    ├── OutboxError          the outbox file cannot be used                        (OSError)
    │   ├── OutboxLocked     another process has it open
    │   ├── OutboxFull       no room left on the disk
    │   │   └── OutboxAtLimit    it holds as much, or for as long, as it may
    │   └── OutboxCorrupt    the file is damaged
    │       └── NotAnOutbox      another program's database
    ├── OutboxClosed         used after close()                                    (RuntimeError)
    ├── NothingKept          no event is kept that could be sent again             (LookupError)
    ├── UnknownSink          a name that the outbox was not opened with            (LookupError)
    ├── SinkError            a sink could not take events now; try again           (OSError)
    │   └── EventRefused     a sink will never take this event                     (ValueError)
    ├── FeedError            events cannot be read where a consumer looks for them  (OSError)
    ├── LedgerError          what a consumer remembers cannot be used              (OSError)
    ├── HandlerFailed        a consumer's handler raised                           (RuntimeError)
    ├── SinkPackageMissing   the package that a sink needs is not installed        (ImportError)
    │   ├── KafkaMissing     ... the one that talks to Kafka
    │   └── MqttMissing      ... the one that talks MQTT
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


class OutboxAtLimit(OutboxFull):
    """The outbox holds as much, or for as long, as its operator allows; nothing was stored, and nothing is lost."""


class OutboxCorrupt(OutboxError):
    """The file is damaged. One that is found so when it is opened is set aside, and a fresh one begun.

    Attributes:
        detail: What is wrong with it.
    """

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail or message


class NotAnOutbox(OutboxCorrupt):
    """A database of another program; it is left alone."""


class NothingKept(EventsError, LookupError):
    """No event is kept that could be sent again."""


class OutboxClosed(EventsError, RuntimeError):
    """The outbox was used after it was closed."""


class UnknownSink(EventsError, LookupError):
    """A sink's name that the outbox was not opened with."""


class SinkError(EventsError, OSError):
    """A sink could not take events now, and may later.

    Attributes:
        delivered: How many events, counted from the first of the batch, were certainly delivered all the same.
        retry_after_s: How long the other side asked to be left alone, in seconds; None if it did not say.
        retryable: Whether sending the first undelivered event again can help.
    """

    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, delivered: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.delivered = delivered
        self.retry_after_s = retry_after_s


class EventRefused(SinkError, ValueError):
    """A sink will never take the event at position ``delivered`` of the batch, however often it is sent."""

    retryable: ClassVar[bool] = False


class FeedError(EventsError, OSError):
    """Events cannot be read: the brokers are away or refuse, or the file is not there."""


class LedgerError(EventsError, OSError):
    """The file in which a consumer remembers what it handled cannot be used; without it nothing may be handled."""


class HandlerFailed(EventsError, RuntimeError):
    """A consumer's handler raised; the cause is chained. The event is not committed, and comes again.

    Attributes:
        event_id: The event's id.
        attempts: How often the handler was called for it.
    """

    def __init__(self, event_id: str, place: str, attempts: int, cause: BaseException) -> None:
        super().__init__(
            f"handling event {event_id} ({place}) failed in attempt {attempts}: {type(cause).__name__}: {cause}; "
            "it is not committed, and comes again"
        )
        self.event_id = event_id
        self.attempts = attempts
        self.__cause__ = cause


class SinkPackageMissing(EventsError, ImportError):
    """The package that a sink needs is not installed; the message names what to install."""


class KafkaMissing(SinkPackageMissing):
    """The package that talks to Kafka is not installed."""


class MqttMissing(SinkPackageMissing):
    """The package that talks MQTT is not installed."""


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
