"""The MQTT 5 sink, on the connections of :mod:`~pipeline.events.mqtt_line`.

Messages
    A CloudEvent in the binary mode of CloudEvents' MQTT binding: the attributes are user properties, the payload is
    the data as JSON, the content type says so. The topic is ``{prefix}/{camera}/{type}``, the type without its
    ``vidface.`` and with slashes for dots: ``vidface/lobby/sighting/identified``, ``vidface/lobby/camera/state``. So
    ``vidface/+/sighting/#`` is every sighting and ``vidface/lobby/#`` is one camera. A camera's state is retained:
    whoever subscribes learns at once how each camera is.

Order
    Quality of service 1. A camera's event is sent when the broker has acknowledged the one before it; events of
    different cameras may be under way together. After a failure the connection is dropped, with all it might still
    have sent, and the next one begins a new session: nothing is left for the client to send again behind our back.
    Events may repeat, a camera's never change places.

What an acknowledgement means
    The broker has the message. Whether it survives the broker's own crash, and whether a subscriber that is away
    gets it later, is the broker's and the subscriber's business (persistence, a session that is kept).
"""

import threading
from collections.abc import Iterator, Sequence

from pipeline.events.errors import EventRefused, SinkError
from pipeline.events.event import Event
from pipeline.events.mqtt_line import AT_ONCE, MqttLine, Suspects, client_module
from pipeline.events.mqtt_options import MqttOptions


class MqttSink:
    """Publishes events to a broker and waits for each acknowledgement. Connects with the first delivery."""

    def __init__(self, options: MqttOptions, *, name: str = "mqtt") -> None:
        """Describe the broker; nothing is connected.

        Args:
            options: Which broker, and how.
            name: The sink's name in the outbox.

        Raises:
            MqttMissing: The client is not installed.
        """
        client_module()
        self._options = options
        self._name = name
        self._delivering = threading.Lock()  # held during a delivery: its end is when the line may be dropped
        self._lock = threading.Lock()  # guards the two below; never held while waiting for a broker
        self._line: MqttLine | None = None
        self._closed = False
        self._one_by_one = False  # the delivering thread's own

    @property
    def name(self) -> str:
        """The sink's name in the outbox."""
        return self._name

    def __repr__(self) -> str:
        return f"MqttSink({self._options.server}, prefix={self._options.prefix!r})"

    def deliver(self, events: Sequence[Event]) -> None:
        """Publish the events and wait until the broker has acknowledged all of them. Blocks.

        Raises:
            SinkError: The broker is away, slow or does not let us in. ``delivered`` counts from the first event.
            EventRefused: The broker will not take an event: it is larger than it allows.
        """
        delivered = 0
        with self._delivering:
            try:
                for run in _runs(events, 1 if self._one_by_one else AT_ONCE):
                    self._connected().publish(run)
                    delivered += len(run)
                self._one_by_one = False
            except EventRefused as error:
                self._one_by_one = False
                raise EventRefused(self._words(error), delivered=delivered + error.delivered) from error
            except (OSError, ValueError) as error:  # ValueError: the client's own, of what it cannot send
                self._drop()
                self._one_by_one = self._one_by_one or isinstance(error, Suspects)
                certain = error.delivered if isinstance(error, SinkError) else 0
                raise SinkError(self._words(error), delivered=delivered + certain) from error

    def close(self) -> None:
        """Say goodbye and disconnect; a delivery that is under way fails, at once or within ``connect_timeout_s``."""
        with self._lock:
            self._closed = True
            line = self._line
        if line is not None:
            line.interrupt("the sink was closed")
        with self._delivering:
            self._drop(goodbye=True)

    def _connected(self) -> MqttLine:
        with self._lock:
            if self._closed:
                raise SinkError("the sink is closed")
            line = self._line
        if line is not None and line.trouble is None:
            return line
        self._drop()
        line = MqttLine(self._options)
        if not self._keep(line):
            raise SinkError("the sink was closed while it connected")
        line.open()
        return line

    def _keep(self, line: MqttLine) -> bool:
        with self._lock:
            if not self._closed:
                self._line = line
            return not self._closed

    def _drop(self, *, goodbye: bool = False) -> None:
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.close(goodbye=goodbye)

    def _words(self, error: Exception) -> str:
        reason = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(
            error
        ).__name__
        return self._options.scrub(f"MQTT broker at {self._options.server}: {reason}")


def _runs(events: Sequence[Event], most: int) -> Iterator[list[Event]]:
    """Cut events, in their order, into runs in which no camera comes twice."""
    run: list[Event] = []
    cameras: set[str] = set()
    for event in events:
        if event.camera in cameras or len(run) == most:
            yield run
            run, cameras = [], set()
        run.append(event)
        cameras.add(event.camera)
    if run:
        yield run
