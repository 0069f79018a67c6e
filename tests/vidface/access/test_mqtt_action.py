"""Against Debian's mosquitto; skipped where it is not installed, unless VIDFACE_REQUIRE_MQTT=1."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.pipeline.events.examples import NOON_NS
from tests.vidface.access.made import SECOND_NS, opening
from vidface.access.errors import ActionFailed, ActionTimedOut
from vidface.access.mqtt_action import MqttAction

PATIENCE_S = 30.0
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def broker(folder: Path, *lines: str) -> Iterator[int]:
    """A broker of our own, on its port."""
    if MOSQUITTO is None:
        if os.environ.get("VIDFACE_REQUIRE_MQTT") == "1":
            pytest.fail("VIDFACE_REQUIRE_MQTT=1, but mosquitto is not installed")
        pytest.skip("mosquitto is not installed")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([f"listener {port} 127.0.0.1", *lines, ""]))
    with subprocess.Popen([MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            _await_port(port)
            yield port
        finally:
            run.terminate()


def _await_port(port: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline_s, "mosquitto does not listen"
            time.sleep(0.02)  # another process: there is nothing to wait on
        else:
            return


class Listener:
    """A controller that listens to a topic."""

    def __init__(self, port: int, topic: str) -> None:
        self.messages: list[Any] = []
        subscribed: list[int] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _client, _data, message: self.messages.append(message)
        self._client.on_subscribe = lambda _client, _data, number, _codes, _properties: subscribed.append(number)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.connect("127.0.0.1", port)
        self.until(subscribed)

    def until(self, list_of_something: list[Any]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not list_of_something:
            assert time.monotonic() < deadline_s
            self._client.loop(0.05)

    def close(self) -> None:
        self._client.disconnect()


def action(port: int, **changes: Any) -> MqttAction:
    values: dict[str, Any] = {"timeout_s": PATIENCE_S, "now_ns": lambda: NOON_NS}
    return MqttAction("127.0.0.1", port, "doors/main/open", **(values | changes))


def test_a_controller_that_listens_is_told_once(tmp_path: Path) -> None:
    with broker(tmp_path, "allow_anonymous true") as port, closing(Listener(port, "doors/+/open")) as listener:
        action(port).run(opening())
        listener.until(listener.messages)
        (message,) = listener.messages
        assert (message.topic, message.qos, message.retain) == ("doors/main/open", 1, False)
        assert json.loads(message.payload) == opening().to_json()
        assert message.properties.MessageExpiryInterval in {2, 3}
        # Whoever comes later is told nothing: it is not kept.
        with closing(Listener(port, "doors/#")) as late:
            action(port).run(opening(event_id="another"))
            late.until(late.messages)
            assert [json.loads(each.payload)["event"]["id"] for each in late.messages] == ["another"]


def test_nobody_listens(tmp_path: Path) -> None:
    with (
        broker(tmp_path, "allow_anonymous true") as port,
        pytest.raises(ActionFailed, match="nobody listens to doors/main/open") as caught,
    ):
        action(port).run(opening())
    assert caught.value.nothing_begun


def test_a_broker_that_refuses_us(tmp_path: Path) -> None:
    with broker(tmp_path, "allow_anonymous false") as port, pytest.raises(ActionFailed, match="refuses us") as caught:
        action(port, username="door", password="s3cr3t").run(opening())
    assert caught.value.nothing_begun
    assert "s3cr3t" not in str(caught.value)


def test_no_broker() -> None:
    with pytest.raises(ActionFailed, match=r"127\.0\.0\.1:1 cannot be reached: Connection refused") as caught:
        action(1).run(opening())
    assert caught.value.nothing_begun


def test_a_broker_that_never_answers() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        with pytest.raises(ActionTimedOut, match=r"did not let us in within 0\.5 s") as caught:
            action(server.getsockname()[1], timeout_s=0.5).run(opening())
        assert caught.value.nothing_begun


def test_an_opening_that_is_nearly_over_still_expires() -> None:
    late = action(1, now_ns=lambda: NOON_NS + 10 * SECOND_NS)
    assert late._expiry(opening()).MessageExpiryInterval == 1


def test_without_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(ActionFailed, match=r"install vidface\[mqtt\]"):
        action(1)
