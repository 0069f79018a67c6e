"""A real MQTT broker for tests: Debian's mosquitto on a free port.

Fixture: ``mqtt_broker``, a maker: ``mqtt_broker(*lines)`` starts one whose configuration has these lines besides.
"""

import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

PACKAGE: Final = "mosquitto"
_START_S: Final = 20.0

MakeBroker = Callable[..., "MqttBroker"]


def missing() -> str | None:
    """Why there can be no broker here; None if there can."""
    return None if _program() else f"there is no mosquitto; apt-get install {PACKAGE}"


def install() -> None:
    """Install Debian's package, where it is missing and this is root with apt-get.

    Raises:
        RuntimeError: It is missing and cannot be installed; says why.
    """
    if missing() is None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"needs root and apt-get: apt-get install {PACKAGE}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (("update", "-qq"), ("install", "-qq", "-y", "--no-install-recommends", PACKAGE)):
        done = subprocess.run(
            ["apt-get", *command], env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        if done.returncode:
            raise RuntimeError(f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}")


def _program() -> str | None:
    # Debian puts it where only root looks.
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class MqttBroker:
    """One broker whose port outlives its restarts. Its log is in ``folder/broker.log``."""

    def __init__(self, folder: Path, *lines: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.log = folder / "broker.log"
        self._configuration = folder / "mosquitto.conf"
        settings = [f"listener {self.port} 127.0.0.1", "persistence false", *lines]
        if os.geteuid() == 0:
            settings.append("user root")  # else it becomes a user who may not read the test's folder
        if "allow_anonymous false" not in lines:
            settings.append("allow_anonymous true")
        self._configuration.write_text("\n".join([*settings, ""]))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> str:
        """``host:port`` for clients."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the broker, and return when it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_dying_with_us(), str(_program()), "-c", str(self._configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    self.kill()
                    raise RuntimeError(f"mosquitto did not start: {self.log.read_text()[-800:]}") from None
            time.sleep(0.02)  # another program's port: there is nothing to wait on

    def stop(self) -> None:
        """Ask the broker to end (SIGTERM), and wait for it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker as a crash does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def send(self, how: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP: it then takes connections and answers nothing."""
        assert self._process is not None
        self._process.send_signal(how)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
            process.wait(20)


class Subscriber:
    """A plain client that keeps what it gets, in order."""

    def __init__(self, broker: MqttBroker, topic: str = "#", **login: str) -> None:
        self._messages: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._ready = threading.Event()
        self._over = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5, reconnect_on_failure=False)
        if login:
            self._client.username_pw_set(**login)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=0)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _userdata, message: self._messages.put(message)
        self._client.on_disconnect = lambda *_: self._over.set()
        self._broker = broker

    def take(self, count: int, timeout_s: float = 30.0) -> list[mqtt.MQTTMessage]:
        """The next so many messages; blocks until they are here."""
        return [self._messages.get(timeout=timeout_s) for _ in range(count)]

    def rest(self) -> list[mqtt.MQTTMessage]:
        """What has come and was not taken."""
        return [self._messages.get_nowait() for _ in range(self._messages.qsize())]

    def wait_for_the_end(self) -> None:
        """Block until the broker has hung up: what it sent before is here."""
        assert self._over.wait(30)

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._broker.port)
        self._client.loop_start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def properties_of(message: mqtt.MQTTMessage) -> dict[str, Any]:
    """A message's user properties."""
    return dict(getattr(message.properties, "UserProperty", []))


def _dying_with_us() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


@pytest.fixture
def mqtt_broker(tmp_path: Path) -> Iterator[MakeBroker]:
    """Starts brokers, and ends them."""
    reason = missing()
    if reason is not None:
        if os.environ.get("VIDFACE_REQUIRE_MQTT") == "1":
            pytest.fail(f"VIDFACE_REQUIRE_MQTT=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    started: list[MqttBroker] = []

    def start(*lines: str) -> MqttBroker:
        broker = MqttBroker(tmp_path / f"mosquitto-{len(started)}", *lines)
        started.append(broker)
        broker.start()
        return broker

    yield start
    for broker in started:
        broker.kill()
