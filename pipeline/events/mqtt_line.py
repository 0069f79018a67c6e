"""One connection to an MQTT broker and its session: the only file that knows the MQTT client."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Sequence
from typing import Any, Final

from pipeline.events.errors import EventRefused, MqttMissing, SinkError
from pipeline.events.event import CONTENT_TYPE, Event
from pipeline.events.mqtt_options import MqttOptions, topic_of
from pipeline.events.payload import CAMERA_STATE_TYPE

_KEEPALIVE_S: Final = 30
AT_ONCE: Final = 16
"""Most events under way together; brokers take 20 and more unless they say otherwise."""
_PACKET_OVERHEAD_BYTES: Final = 32  # fixed header, lengths, packet identifier, payload format
_PROPERTY_OVERHEAD_BYTES: Final = 5

# MQTT 5, section 3.4.2.1: reasons of a PUBACK that are about the message and will not pass. "Not authorized" is not
# among them: rights are given later, and until then nothing is lost.
_REFUSED: Final = {0x90: "topic name invalid", 0x95: "packet too large", 0x99: "payload format invalid"}
_WITH_WILL: Final = 0x04

# A broker that finds an event too large may hang up in place of answering, and does so each time it is sent. Mosquitto
# (message_size_limit) gives a reason that MQTT 5 does not have in this place, whereupon the client hangs up.
_HUNG_UP_OVER_EVENT: Final = {0x95: "packet too large", 0x82: "protocol error"}


class Suspects(SinkError):
    """One of several events is why the broker hung up; sent one by one they will tell which."""


class MqttLine:
    """One connection and its session, never used again once there was trouble. The client's thread calls back."""

    def __init__(self, options: MqttOptions) -> None:
        mqtt = client_module()
        self._options = options
        self._changed = threading.Condition()
        self._welcome = False
        self._trouble: str | None = None
        self._hung_up_over: str | None = None
        self._acknowledged: dict[int, int] = {}
        self._largest_bytes: int | None = None
        self._at_once = AT_ONCE
        self._client: Any = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=options.client_id or "",  # the broker's choice
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.connect_timeout = options.connect_timeout_s
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        if options.username is not None or options.password is not None:
            self._client.username_pw_set(options.username, options.password)
        if options.tls:
            self._client.tls_set_context(_trust(options))
        if options.status_topic is not None:
            self._client.will_set(options.status_topic, "offline", qos=1, retain=True)

    @property
    def trouble(self) -> str | None:
        """Why the line is of no use any more; None while it is."""
        with self._changed:
            return self._trouble

    def open(self) -> None:
        """Connect, and return when the broker has let us in.

        Raises:
            OSError: There is no way to it.
            SinkError: It does not let us in, or does not answer.
        """
        options = self._options
        self._client.connect(options.host, options.port, keepalive=_KEEPALIVE_S, clean_start=True)
        # Else the second of two small packets waits, up to 40 ms, for the acknowledgement of the first.
        self._client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.loop_start()
        with self._changed:
            done = self._changed.wait_for(lambda: self._welcome or self._trouble, options.connect_timeout_s)
            if self._trouble is not None:
                raise SinkError(self._trouble)
            if not done:
                raise SinkError(f"did not answer within {options.connect_timeout_s:g} s of connecting")
        if options.status_topic is not None:
            self._client.publish(options.status_topic, "online", qos=1, retain=True)

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events, no two of them of one camera, and wait for all acknowledgements.

        Raises:
            SinkError: Not all were acknowledged.
            EventRefused: One will never be.
        """
        for start in range(0, len(events), self._at_once):
            try:
                self._publish(events[start : start + self._at_once])
            except SinkError as error:
                error.delivered += start
                raise

    def _publish(self, events: Sequence[Event]) -> None:
        sent: list[int] = []
        refusal: str | None = None
        for event in events:
            try:
                sent.append(self._send(event))
            except EventRefused as error:
                refusal = str(error)
                break
        timeout_s = self._options.timeout_s
        with self._changed:
            self._changed.wait_for(lambda: self._trouble or self._acknowledged.keys() >= set(sent), timeout_s)
            trouble, hung_up_over = self._trouble, self._hung_up_over
            reasons = [self._acknowledged.pop(number, None) for number in sent]
        for position, (event, reason) in enumerate(zip(events, reasons, strict=False)):
            if reason is None and hung_up_over is not None:
                if reasons.count(None) > 1:
                    raise Suspects(f"hung up over one of {reasons.count(None)} events", delivered=position)
                raise EventRefused(f"hung up over event {event.id}: {hung_up_over}", delivered=position)
            if reason is None:
                raise SinkError(trouble or f"did not acknowledge within {timeout_s:g} s", delivered=position)
            if reason in _REFUSED:
                raise EventRefused(f"does not take event {event.id}: {_REFUSED[reason]}", delivered=position)
            if reason >= 0x80:
                raise SinkError(f"did not take event {event.id}: {_reason(reason)}", delivered=position)
        if refusal is not None:
            raise EventRefused(refusal, delivered=len(sent))

    def _send(self, event: Event) -> int:
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        attributes, payload = event.to_binary()
        topic = topic_of(self._options.prefix, event)
        self._require_fitting(event, topic, attributes, payload)
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # as it comes
        properties.PayloadFormatIndicator = 1  # UTF-8
        properties.ContentType = CONTENT_TYPE
        properties.UserProperty = list(attributes.items())
        retain = event.type == CAMERA_STATE_TYPE
        info = self._client.publish(topic, payload, qos=1, retain=retain, properties=properties)
        return int(info.mid)

    def _require_fitting(self, event: Event, topic: str, attributes: dict[str, str], payload: bytes) -> None:
        """A broker hangs up on a packet larger than it said that it takes: such a one must not be sent."""
        with self._changed:
            largest = self._largest_bytes
        if largest is None:
            return
        size = _PACKET_OVERHEAD_BYTES + len(topic.encode()) + len(payload) + len(CONTENT_TYPE)
        size += sum(_PROPERTY_OVERHEAD_BYTES + len(name) + len(text.encode()) for name, text in attributes.items())
        if size > largest:
            raise EventRefused(f"takes packets of {largest} bytes, and event {event.id} makes one of {size}")

    def interrupt(self, why: str) -> None:
        """End every wait. Any thread."""
        with self._changed:
            self._trouble = self._trouble or why
            self._changed.notify_all()

    def close(self, *, goodbye: bool) -> None:
        """Disconnect and join the client's thread. Without a goodbye the broker publishes the last will."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.reasoncodes import ReasonCode

        if goodbye and self._welcome:
            if self._options.status_topic is not None:
                self._client.publish(self._options.status_topic, "offline", qos=0, retain=True)
            self._client.disconnect()
        else:
            self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=_WITH_WILL))
        self._client.loop_stop()
        held = self._client.socket()
        if held is not None:  # its thread never ran, or ended in the middle
            with contextlib.suppress(OSError):
                held.close()

    def _on_connect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if reason.is_failure:
                self._trouble = self._trouble or f"does not let us in: {reason}"
            self._welcome = not reason.is_failure
            self._largest_bytes = getattr(properties, "MaximumPacketSize", None)
            self._at_once = max(1, min(AT_ONCE, getattr(properties, "ReceiveMaximum", AT_ONCE)))
            self._changed.notify_all()

    def _on_disconnect(self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._hung_up_over = _HUNG_UP_OVER_EVENT.get(int(reason.value))
        said = str(reason)
        self.interrupt("hung up" + ("" if said in {"Unspecified error", "Success"} else f": {said}"))

    def _on_publish(self, _client: Any, _userdata: Any, number: int, reason: Any, _properties: Any) -> None:
        held = self._client.socket()
        if held is not None:
            # Brokers (mosquitto, as it comes) hold the next small packet back until this one is acknowledged by TCP,
            # which the kernel delays by up to 40 ms: measured, 157 events/s of three cameras, and 600 and more so.
            held.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        with self._changed:
            self._acknowledged[number] = int(reason.value)
            self._changed.notify_all()


def _reason(code: int) -> str:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.reasoncodes import ReasonCode

    return str(ReasonCode(PacketTypes.PUBACK, identifier=code))


def _trust(options: MqttOptions) -> ssl.SSLContext:
    """Read anew for each connection, so that renewed certificates count without a restart."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file is not None:
            context.load_cert_chain(options.cert_file, options.key_file)
    except OSError as error:
        files = ", ".join(str(each) for each in (options.ca_file, options.cert_file, options.key_file) if each)
        raise SinkError(f"{files} cannot be used: {error.strerror or error}") from error
    return context


def client_module() -> Any:
    """Return the client's module.

    Raises:
        MqttMissing: It is not installed.
    """
    try:
        import paho.mqtt.client
    except ImportError as error:
        raise MqttMissing("the MQTT sink needs the package paho-mqtt: pip install 'vidface[mqtt]'") from error
    return paho.mqtt.client
