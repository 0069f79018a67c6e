"""A door that listens to MQTT: one message in MQTT 5, QoS 1. The only file of this package that knows the client.

Never retained, since a retained message would open the door again whenever its controller reconnects; and with an
expiry, so that a broker does not hand it to a controller that comes back after the picture has grown old. Success is
that the broker has it: whether somebody listens, only the broker's answer "no subscribers" tells, and it is a failure.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from vidface.access.action import Opening
from vidface.access.errors import ActionFailed, ActionTimedOut

_NO_SUBSCRIBERS: Final = 0x10
_LOOP_S: Final = 0.05


class MqttAction:
    """Publishes to one topic, on a connection that is made for each opening. Makes no thread."""

    def __init__(
        self,
        host: str,
        port: int,
        topic: str,
        *,
        timeout_s: float,
        tls: bool = False,
        ca_file: Path | None = None,
        username: str | None = None,
        password: str | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Describe the broker; nothing is connected.

        Args:
            host: The broker.
            port: Its port.
            topic: Where to.
            timeout_s: For all of it, from connecting to the broker's receipt.
            tls: Whether to encrypt and to check the broker's name.
            ca_file: Certificates to check it against; the system's where None.
            username: The user, where there is one.
            password: Its password.
            now_ns: The clock of the message's expiry, Unix.

        Raises:
            ActionFailed: The client is not installed.
        """
        _client_module()
        self._host = host
        self._port = port
        self._topic = topic
        self._timeout_s = timeout_s
        self._tls = tls
        self._ca_file = ca_file
        self._login = (username, password)
        self._now_ns = now_ns

    @property
    def timeout_s(self) -> float:
        """For all of it."""
        return self._timeout_s

    def run(self, opening: Opening) -> None:
        """Publish it; see `Action`."""
        mqtt = _client_module()
        deadline_s = time.monotonic() + self._timeout_s
        place = f"the MQTT broker {self._host}:{self._port}"
        connected: list[Any] = []
        receipts: list[Any] = []
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        client.on_connect = lambda _client, _data, _flags, code, _properties: connected.append(code)
        client.on_publish = lambda _client, _data, _number, code, _properties: receipts.append(code)
        client.connect_timeout = self._timeout_s
        if self._login[0] is not None:
            client.username_pw_set(*self._login)
        try:
            if self._tls:
                client.tls_set_context(ssl.create_default_context(cafile=self._ca_file))
            client.connect(self._host, self._port, clean_start=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ActionFailed(f"{place} cannot be reached: {reason}", nothing_begun=True) from error
        try:
            if not _await(client, connected, deadline_s):
                raise ActionTimedOut(f"{place} did not let us in within {self._timeout_s:g} s", nothing_begun=True)
            if connected[0].is_failure:
                raise ActionFailed(f"{place} refuses us: {connected[0]}", nothing_begun=True)
            body = json.dumps(opening.to_json(), separators=(",", ":"))
            client.publish(self._topic, body, qos=1, retain=False, properties=self._expiry(opening))
            if not _await(client, receipts, deadline_s):
                raise ActionTimedOut(f"{place} did not take the message within {self._timeout_s:g} s")
            if receipts[0].is_failure:
                raise ActionFailed(f"{place} refuses the message: {receipts[0]}", nothing_begun=True)
            if receipts[0].value == _NO_SUBSCRIBERS:
                raise ActionFailed(f"nobody listens to {self._topic} at {place}", nothing_begun=True)
        finally:
            client.disconnect()

    def _expiry(self, opening: Opening) -> Any:
        from paho.mqtt import packettypes
        from paho.mqtt import properties as mqtt

        make: Any = mqtt.Properties  # it publishes types for most, and none for this
        properties = make(packettypes.PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = max(1, (opening.expires_ns - self._now_ns()) // 1_000_000_000)
        return properties


def _await(client: Any, answers: list[Any], deadline_s: float) -> bool:
    """Let the client work until there is an answer; False when there is none in time, or the connection is gone."""
    while not answers and time.monotonic() < deadline_s:
        if client.loop(_LOOP_S) != 0:
            return bool(answers)
    return bool(answers)


def _client_module() -> Any:
    try:
        import paho.mqtt.client
    except ImportError as error:
        words = "an MQTT action needs the package paho-mqtt; install vidface[mqtt]"
        raise ActionFailed(words, nothing_begun=True) from error
    return paho.mqtt.client
