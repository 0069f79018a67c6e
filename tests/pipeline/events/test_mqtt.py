"""The sink against Debian's mosquitto; what needs no broker is at the end."""

import gc
import json
import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

from pipeline.events.errors import EventRefused, MqttMissing, SinkError
from pipeline.events.event import Event
from pipeline.events.mqtt import MqttSink, _runs
from pipeline.events.mqtt_options import MqttOptions, topic_of
from pipeline.events.outbox import Outbox
from pipeline.events.publisher import Backoff, Publisher
from tests.pipeline.events.examples import camera_state, numbered, sighting
from tests.schemas import assert_valid
from tests.services.certificates import make_certificates
from tests.services.mqtt import MakeBroker, Subscriber, properties_of

# The client leaves the sockets of failed connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <(ssl|socket):ResourceWarning")

CAMERAS = ("lobby", "gate", "dock")
QUICK = Backoff(initial_s=0.02, max_s=0.1)
Make = Callable[..., MqttSink]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[MqttSink] = []

    def make_it(server: str, **options: Any) -> MqttSink:
        made.append(MqttSink(MqttOptions(server=server, **options)))
        return made[-1]

    yield make_it
    for sink in made:
        sink.close()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect those sockets here, and not in a test that knows nothing of them."""
    yield
    gc.collect()


def event_of(message: mqtt.MQTTMessage) -> Event:
    """Read a message as CloudEvents' MQTT binding says."""
    event = Event.from_cloudevent({**properties_of(message), "data": json.loads(message.payload)})
    assert_valid(event)
    return event


def interleaved(each: int) -> list[Event]:
    return [event for group in zip(*(numbered(each, camera) for camera in CAMERAS), strict=True) for event in group]


def of_camera(events: list[Event], camera: str) -> list[Event]:
    return [event for event in events if event.camera == camera]


def delivering(sink: MqttSink, events: list[Event], errors: list[SinkError]) -> threading.Thread:
    def deliver() -> None:
        try:
            sink.deliver(events)
        except SinkError as error:
            errors.append(error)

    thread = threading.Thread(target=deliver)
    thread.start()
    return thread


def test_an_event_is_a_cloudevent_in_binary_mode_on_its_cameras_topic(mqtt_broker: MakeBroker, make: Make) -> None:
    broker = mqtt_broker()
    seen, state = sighting().to_event(), camera_state().to_event()
    with Subscriber(broker) as subscriber:
        make(broker.server, prefix="site/hq").deliver([seen, state])
        first, second = subscriber.take(2)
    assert [first.topic, second.topic] == ["site/hq/lobby/sighting/identified", "site/hq/lobby/camera/state"]
    assert [event_of(first), event_of(second)] == [seen, state]
    properties: Any = first.properties
    assert (properties.ContentType, properties.PayloadFormatIndicator) == ("application/json", 1)
    assert properties_of(first)["specversion"] == "1.0"
    assert properties_of(first)["dataschema"] == f"urn:vidface:schema:{seen.type}:1"


def test_a_newcomer_learns_each_cameras_state_and_no_old_sighting(mqtt_broker: MakeBroker, make: Make) -> None:
    broker = mqtt_broker()
    make(broker.server).deliver([*interleaved(3), sighting().to_event()])
    with Subscriber(broker) as subscriber:
        messages = subscriber.take(3)
        assert subscriber.rest() == []
    assert all(message.retain for message in messages)
    assert {event_of(message).id for message in messages} == {numbered(1, each, 3)[0].id for each in CAMERAS}


def test_each_cameras_order_holds(mqtt_broker: MakeBroker, make: Make) -> None:
    broker = mqtt_broker()
    events = interleaved(100)
    with Subscriber(broker) as subscriber:
        sink = make(broker.server)
        for start in range(0, len(events), 64):
            sink.deliver(events[start : start + 64])
        arrived = [event_of(message) for message in subscriber.take(len(events))]
        assert subscriber.rest() == []
    for camera in CAMERAS:
        assert of_camera(arrived, camera) == of_camera(events, camera)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_broker_that_ends_in_mid_delivery(mqtt_broker: MakeBroker, make: Make, how: str) -> None:
    broker = mqtt_broker()
    events = numbered(20_000)
    errors: list[SinkError] = []
    with Subscriber(broker) as subscriber:
        sink = make(broker.server, timeout_s=20.0)
        thread = delivering(sink, events, errors)
        before = subscriber.take(50)
        getattr(broker, how)()
        thread.join(30)
        assert not thread.is_alive()
        subscriber.wait_for_the_end()
        before += subscriber.rest()
    (error,) = errors
    assert error.retryable
    assert not isinstance(error, EventRefused)
    assert 49 <= error.delivered < len(events)
    # Nothing that counts as delivered is missing, and nothing came out of turn.
    assert [event_of(message) for message in before] == events[: len(before)]
    assert len(before) >= error.delivered

    with pytest.raises(SinkError, match=rf"MQTT broker at {broker.server}: Connection refused") as caught:
        sink.deliver(events[error.delivered :])
    assert caught.value.delivered == 0
    broker.start()
    rest = events[error.delivered : error.delivered + 100]
    with Subscriber(broker, "vidface/+/camera/state") as subscriber:
        sink.deliver(rest)
        assert [event_of(message) for message in subscriber.take(len(rest))] == rest


def test_through_the_publisher_a_broker_that_comes_back_gets_everything(
    mqtt_broker: MakeBroker, make: Make, tmp_path: Path
) -> None:
    broker = mqtt_broker()
    sink = make(broker.server)
    with Outbox.open(tmp_path / "outbox.db", ["mqtt"]) as outbox:
        publisher = Publisher(outbox, [sink], backoff=QUICK)
        publisher.start()
        outbox.append(numbered(10))
        while publisher.statistics()[0].delivered < 10:
            threading.Event().wait(0.01)
        broker.kill()
        outbox.append(numbered(10, first=11))
        while not publisher.statistics()[0].retries:
            threading.Event().wait(0.01)
        broker.start()
        assert publisher.stop(drain_timeout_s=30) == {"mqtt": 0}
        (figures,) = publisher.statistics()
        assert (figures.delivered, figures.refused, figures.failing) == (20, 0, False)
    with Subscriber(broker) as subscriber:
        (last,) = subscriber.take(1)
    assert event_of(last) == numbered(1, first=20)[0]


def test_a_broker_that_takes_and_never_answers(mqtt_broker: MakeBroker, make: Make) -> None:
    broker = mqtt_broker()
    sink = make(broker.server, timeout_s=0.3, connect_timeout_s=0.3)
    sink.deliver(numbered(2))
    broker.send(signal.SIGSTOP)
    with pytest.raises(SinkError, match=r"did not acknowledge within 0\.3 s") as caught:
        sink.deliver(numbered(2, first=3))
    assert caught.value.delivered == 0
    with pytest.raises(SinkError, match=r"did not answer within 0\.3 s of connecting"):
        sink.deliver(numbered(2, first=3))
    broker.send(signal.SIGCONT)
    sink.deliver(numbered(2, first=3))


def test_closing_cuts_a_delivery_short(mqtt_broker: MakeBroker, make: Make) -> None:
    broker = mqtt_broker()
    sink = make(broker.server, timeout_s=60.0)
    sink.deliver(numbered(1))
    broker.send(signal.SIGSTOP)
    errors: list[SinkError] = []
    thread = delivering(sink, numbered(1, first=2), errors)
    while not sink._delivering.locked():
        threading.Event().wait(0.01)
    sink.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [str(error) for error in errors] == [f"MQTT broker at {broker.server}: the sink was closed"]
    with pytest.raises(SinkError, match="closed"):
        sink.deliver(numbered(1))


def test_an_event_larger_than_the_broker_takes_is_refused_alone(
    mqtt_broker: MakeBroker, make: Make, tmp_path: Path
) -> None:
    broker = mqtt_broker("max_packet_size 20000")
    large = camera_state(3, detail="x" * 30_000).to_event()
    near = camera_state(4, detail="x" * 18_500).to_event()
    events = [*numbered(2), large, near, *numbered(1, first=5)]
    with Subscriber(broker) as subscriber, Outbox.open(tmp_path / "outbox.db", ["mqtt"]) as outbox:
        publisher = Publisher(outbox, [make(broker.server)], backoff=QUICK)
        outbox.append(events)
        publisher.start()
        assert publisher.stop(drain_timeout_s=30) == {"mqtt": 0}
        assert [event_of(message) for message in subscriber.take(4)] == [*numbered(2), near, *numbered(1, first=5)]
        assert (publisher.statistics()[0].refused, publisher.statistics()[0].retries) == (1, 0)
    (letter,) = (tmp_path / "dead-letters.jsonl").read_text().splitlines()
    assert "takes packets of 20000 bytes" in json.loads(letter)["reason"]
    assert Event.from_cloudevent(json.loads(letter)["event"]) == large


def test_an_event_that_the_broker_hangs_up_over_is_found_and_refused_alone(
    mqtt_broker: MakeBroker, make: Make, tmp_path: Path
) -> None:
    broker = mqtt_broker("message_size_limit 20000")  # unlike max_packet_size it is not told to clients
    large = camera_state(3, "gate", detail="x" * 30_000).to_event()
    events = [*numbered(2), large, *interleaved(3)]
    with Subscriber(broker) as subscriber, Outbox.open(tmp_path / "outbox.db", ["mqtt"]) as outbox:
        publisher = Publisher(outbox, [make(broker.server)], backoff=QUICK)
        outbox.append(events)
        publisher.start()
        assert publisher.stop(drain_timeout_s=30) == {"mqtt": 0}
        assert publisher.statistics()[0].refused == 1
        arrived = [event_of(message) for message in subscriber.take(11)]
        arrived += [event_of(message) for message in subscriber.rest()]
    for camera in CAMERAS:
        expected = [event.id for event in of_camera(events, camera) if event != large]
        assert list(dict.fromkeys(event.id for event in of_camera(arrived, camera))) == list(dict.fromkeys(expected))
    (letter,) = (tmp_path / "dead-letters.jsonl").read_text().splitlines()
    assert f"hung up over event {large.id}" in json.loads(letter)["reason"]
    assert Event.from_cloudevent(json.loads(letter)["event"]) == large


def test_the_status_topic_tells_whether_we_are_there(mqtt_broker: MakeBroker, make: Make) -> None:
    broker = mqtt_broker()
    options = {"status_topic": "vidface/status"}
    with Subscriber(broker, "vidface/status") as subscriber:
        sink = make(broker.server, **options)
        sink.deliver(numbered(1))
        sink.close()
        assert [message.payload for message in subscriber.take(2)] == [b"online", b"offline"]
        sink = make(broker.server, **options)
        sink.deliver(numbered(1))
        # As when the process vanishes: the socket ends without a word.
        sink._line._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
        assert [message.payload for message in subscriber.take(2)] == [b"online", b"offline"]
    with Subscriber(broker, "vidface/status") as newcomer:
        (message,) = newcomer.take(1)
        assert (message.payload, message.retain) == (b"offline", True)


def test_tls_user_and_password(mqtt_broker: MakeBroker, make: Make, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path / "tls")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "vidface", "hunter2-secret"], check=True)
    broker = mqtt_broker(
        "allow_anonymous false",
        f"password_file {passwords}",
        f"certfile {certificates.certificate}",
        f"keyfile {certificates.key}",
    )
    login = {"username": "vidface", "password": "hunter2-secret"}
    trusted = {"tls": True, "ca_file": certificates.authority}
    make(broker.server, **login, **trusted).deliver(numbered(5))
    for options, reason in (
        ({**login, "tls": True}, "certificate verify failed|CERTIFICATE_VERIFY_FAILED"),
        ({**trusted, "username": "vidface", "password": "wr0ng-secret"}, "does not let us in: Not authorized"),
        (trusted, "does not let us in: Not authorized"),
        ({**trusted, "ca_file": tmp_path / "gone.pem"}, r"gone\.pem cannot be used: No such file"),
    ):
        with pytest.raises(SinkError, match=reason) as caught:
            make(broker.server, **options, connect_timeout_s=3.0).deliver(numbered(1))
        assert caught.value.retryable
        assert "-secret" not in str(caught.value)


def test_what_we_may_not_publish_is_tried_again_until_we_may(
    mqtt_broker: MakeBroker, make: Make, tmp_path: Path
) -> None:
    rights = tmp_path / "rights"
    rights.write_text("topic read #\ntopic write vidface/lobby/#\n")
    broker = mqtt_broker(f"acl_file {rights}")
    with pytest.raises(SinkError, match=r"did not take event .*: Not authorized") as caught:
        make(broker.server).deliver([*numbered(1), *numbered(1, "gate")])
    assert caught.value.delivered == 1
    assert not isinstance(caught.value, EventRefused)


def test_a_broker_that_is_not_there(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    sink = make(f"127.0.0.1:{port}", username="u", password="hunter2-secret")
    with caplog.at_level(logging.DEBUG), pytest.raises(SinkError, match=rf"127\.0\.0\.1:{port}: Connection refused"):
        sink.deliver(numbered(1))
    options = MqttOptions(server="a:1", username="u", password="hunter2-secret")
    assert not [text for text in (caplog.text, repr(sink), repr(options)) if "hunter2" in text]
    assert options.scrub("login hunter2-secret failed") == "login *** failed"


@pytest.mark.parametrize(
    ("cameras", "runs"),
    [
        pytest.param("", [], id="none"),
        pytest.param("aaa", ["a", "a", "a"], id="one-camera-waits-for-itself"),
        pytest.param("abcab", ["abc", "ab"], id="in-turn"),
        pytest.param("abbca", ["ab", "bca"], id="in-no-order"),
        pytest.param("abcdef", ["abcd", "ef"], id="more-than-may-be-under-way"),
    ],
)
def test_no_camera_comes_twice_in_what_is_under_way(cameras: str, runs: list[str]) -> None:
    events = [camera_state(number, camera).to_event() for number, camera in enumerate(cameras, 1)]
    found = list(_runs(events, 4))
    assert ["".join(event.camera for event in run) for run in found] == runs
    assert [event for run in found for event in run] == events


@pytest.mark.parametrize(
    ("camera", "topic"),
    [
        ("lobby", "vidface/lobby/camera/state"),
        ("a/b", "vidface/a%2Fb/camera/state"),
        ("+", "vidface/%2B/camera/state"),
        ("#1", "vidface/%231/camera/state"),
        ("Tür 2", "vidface/T%C3%BCr%202/camera/state"),
    ],
)
def test_topics(camera: str, topic: str) -> None:
    assert topic_of("vidface", camera_state(camera=camera).to_event()) == topic


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param({"server": "broker"}, "host:port", id="no-port"),
        pytest.param({"server": "u:hunter2@broker:1883"}, "host:port", id="a-password-in-the-server"),
        pytest.param({"server": "broker:70000"}, "host:port", id="no-such-port"),
        pytest.param({"prefix": "a/+/b"}, "prefix", id="a-wildcard"),
        pytest.param({"prefix": "$SYS"}, "prefix", id="the-brokers-own"),
        pytest.param({"prefix": "a/"}, "prefix", id="a-slash-at-the-end"),
        pytest.param({"status_topic": "#"}, "status_topic", id="a-wildcard-as-status"),
        pytest.param({"ca_file": Path("a.pem")}, "without tls", id="trust-without-tls"),
        pytest.param({"tls": True, "cert_file": Path("a.pem")}, "together", id="no-key"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        MqttOptions(**{"server": "broker:1883", **options})
    assert "hunter2" not in str(caught.value)


def test_a_client_that_is_not_installed_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MqttMissing, match=r"pip install 'vidface\[mqtt\]'"):
        MqttSink(MqttOptions(server="broker:1883"))


def test_importing_the_sink_does_not_import_the_client() -> None:
    code = "import sys, pipeline.events.mqtt; sys.exit('paho' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0
