"""The sink against a real Apache Kafka; what needs no broker is at the end."""

import gc
import itertools
import logging
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.errors import EventMalformed, EventRefused, KafkaMissing, SinkError
from pipeline.events.event import Event
from pipeline.events.kafka import KafkaSink, client_module, tail_topic
from pipeline.events.kafka_security import KafkaSecurity
from pipeline.events.kafka_topic import NewTopic
from pipeline.events.outbox import Outbox
from pipeline.events.publisher import Backoff, Publisher
from tests.pipeline.events.examples import camera_state, numbered, sighting
from tests.schemas import assert_valid
from tests.services.kafka import PASSWORD, USER, KafkaBroker

# The client leaves the sockets of failed connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <(ssl|socket):ResourceWarning")

CAMERAS = ("lobby", "gate", "dock")
QUICK = Backoff(initial_s=0.05, max_s=0.2)


def interleaved(each: int, first: int = 1) -> list[Event]:
    """Return events of three cameras in turn: states of each, with a sighting now and then."""
    events = []
    for number in range(first, first + each):
        for camera in CAMERAS:
            if number % 5:
                events.append(camera_state(number, camera).to_event())
            else:
                events.append(sighting(camera=camera, sequence=number).to_event())
    return events


def records_of(broker: KafkaBroker, topic: str) -> list[Any]:
    """Read a topic to its end with the plain client."""
    kafka = client_module()
    consumer = kafka.KafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=None)
    try:
        partitions = [kafka.TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        records: list[Any] = []
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            for batch in consumer.poll(timeout_ms=500).values():
                records += batch
        return records
    finally:
        consumer.close()


def events_of(broker: KafkaBroker, topic: str) -> list[Event]:
    events = [Event.from_kafka(record.value, record.headers) for record in records_of(broker, topic)]
    for event in events:
        assert_valid(event)
    return events


def of_camera(events: list[Event], camera: str) -> list[Event]:
    return [event for event in events if event.camera == camera]


def without_repeats(events: list[Event]) -> list[Event]:
    return list({(event.source, event.id): event for event in events}.values())


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db", ["kafka"]) as opened:
        yield opened


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect those sockets here, and not in a test that knows nothing of them."""
    yield
    gc.collect()


@pytest.fixture
def shown() -> Iterator[list[logging.LogRecord]]:
    """What a log would show: caplog also sees what loggers keep to themselves."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[assignment] # shorter than a class for it
    logging.getLogger().addHandler(handler)
    yield records
    logging.getLogger().removeHandler(handler)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_every_event_arrives_with_its_headers_and_key_in_its_cameras_order(
    kafka_broker: KafkaBroker, kafka_topic: str, outbox: Outbox
) -> None:
    events = [*interleaved(67), sighting().to_event()]
    publisher = Publisher(outbox, [KafkaSink([kafka_broker.bootstrap], kafka_topic)], backoff=QUICK)
    publisher.start()
    for start in range(0, len(events), 9):
        outbox.append(events[start : start + 9])
    assert publisher.stop(drain_timeout_s=60) == {"kafka": 0}

    records = records_of(kafka_broker, kafka_topic)
    assert len(records) == len(events) == 202
    by_id = {event.id: event for event in events}
    for record in records:
        headers = dict(record.headers)
        event = by_id[headers["ce_id"].decode()]
        assert_valid(event)
        assert record.key == event.camera.encode()
        assert headers["content-type"] == b"application/json"
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_dataschema"] == f"urn:vidface:schema:{event.type}:1".encode()
        assert (record.key, record.value, record.headers) == event.to_kafka()
        assert Event.from_kafka(record.value, record.headers) == event
    for camera in CAMERAS:
        partitions = {record.partition for record in records if record.key == camera.encode()}
        assert len(partitions) == 1
        arrived = [Event.from_kafka(record.value, record.headers) for record in records]
        assert of_camera(arrived, camera) == of_camera(events, camera)


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_broker_that_goes_and_comes_back_loses_and_swaps_nothing(
    kafka_broker: KafkaBroker, kafka_topic: str, outbox: Outbox, end: str, shown: list[logging.LogRecord]
) -> None:
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic, connect_timeout_s=1.0, delivery_timeout_s=2.0)
    publisher = Publisher(outbox, [sink], batch_size=16, backoff=QUICK)
    publisher.start()
    before, during, after = interleaved(20), interleaved(20, 21), interleaved(20, 41)
    try:
        outbox.append(before)
        seen = tail_topic([kafka_broker.bootstrap], kafka_topic, stop=lambda: False)
        next(seen)  # it is flowing
        seen.close()  # type: ignore[attr-defined] # a generator is more than the Iterator it is declared as
        getattr(kafka_broker, end)()
        for event in during:
            outbox.append([event])  # emitting does not wait for the broker
        retries = publisher.statistics()[0].retries
        waiting = threading.Event()
        while publisher.statistics()[0].retries == retries:
            waiting.wait(0.05)
        figures = publisher.statistics()[0]
        assert figures.failing
        assert figures.pending >= len(during)
        assert kafka_topic in str(figures.last_error)
    finally:
        kafka_broker.start()
        outbox.append(after)
        left = publisher.stop(drain_timeout_s=60)
    assert left == {"kafka": 0}
    assert publisher.failure is None
    assert [record.name for record in shown] == ["pipeline.events.publisher"]  # and not the client's hundreds

    arrived = events_of(kafka_broker, kafka_topic)
    for camera in CAMERAS:
        assert without_repeats(of_camera(arrived, camera)) == of_camera(before + during + after, camera)


@pytest.mark.slow
def test_closing_ends_a_delivery_to_a_broker_that_is_gone(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic, connect_timeout_s=60.0, delivery_timeout_s=120.0)
    sink.deliver(numbered(1))
    kafka_broker.kill()
    errors: list[Exception] = []

    def deliver() -> None:
        try:
            sink.deliver(numbered(1, first=2))
        except SinkError as error:
            errors.append(error)

    try:
        thread = threading.Thread(target=deliver)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
        sink.close()
        thread.join(30)
        assert not thread.is_alive()
        assert len(errors) == 1
    finally:
        kafka_broker.start()


def test_events_larger_than_the_topic_takes_are_refused_alone(
    kafka_broker: KafkaBroker, outbox: Outbox, tmp_path: Path
) -> None:
    topic = f"vidface-small-{uuid.uuid4().hex[:8]}"
    kafka_broker.create_topic(topic, config={"max.message.bytes": "20000"})
    by_broker = camera_state(3, detail="x" * 30_000).to_event()
    by_client = camera_state(5, detail="x" * 2_000_000).to_event()
    outbox.append([*numbered(2), by_broker, *numbered(1, first=4), by_client, *numbered(1, first=6)])
    publisher = Publisher(outbox, [KafkaSink([kafka_broker.bootstrap], topic)], backoff=QUICK)
    publisher.start()
    assert publisher.stop(drain_timeout_s=60) == {"kafka": 0}
    assert publisher.statistics()[0].refused == 2
    arrived = events_of(kafka_broker, topic)
    expected = [*numbered(2), *numbered(1, first=4), *numbered(1, first=6)]
    assert without_repeats(arrived) == expected
    letters = (tmp_path / "dead-letters.jsonl").read_text().splitlines()
    assert [by_broker.id in letters[0], by_client.id in letters[1], len(letters)] == [True, True, 2]


def secured(broker: KafkaBroker, mechanism: str = "SCRAM-SHA-256", **changes: Any) -> KafkaSecurity:
    options: dict[str, Any] = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": USER,
        "sasl_plain_password": PASSWORD,
        "ssl_cafile": broker.certificates.authority,
    }
    return KafkaSecurity(**(options | changes))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_tls_and_a_login_by_scram(kafka_broker: KafkaBroker, kafka_topic: str, mechanism: str) -> None:
    events = interleaved(10)
    security = secured(kafka_broker, mechanism)
    sink = KafkaSink([kafka_broker.secure_bootstrap], kafka_topic, security=security)
    sink.deliver(events)
    sink.close()
    reading = tail_topic([kafka_broker.secure_bootstrap], kafka_topic, stop=lambda: False, security=security)
    seen = list(itertools.islice(reading, len(events)))
    reading.close()  # type: ignore[attr-defined] # a generator is more than the Iterator it is declared as
    for camera in CAMERAS:
        assert of_camera(seen, camera) == of_camera(events, camera)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"sasl_plain_password": "wr0ng-s3cret"}, "[Aa]uthentication", id="another-password"),
        pytest.param({"ssl_cafile": None}, "certificate verify failed|CERTIFICATE_VERIFY_FAILED", id="not-trusted"),
    ],
)
def test_who_is_not_let_in_is_told_why_and_loses_nothing(
    kafka_broker: KafkaBroker, kafka_topic: str, changes: dict[str, Any], reason: str
) -> None:
    security = secured(kafka_broker, **changes)
    sink = KafkaSink([kafka_broker.secure_bootstrap], kafka_topic, security=security, connect_timeout_s=3.0)
    with pytest.raises(SinkError, match=reason) as caught:
        sink.deliver(numbered(2))
    sink.close()
    assert caught.value.retryable
    assert caught.value.delivered == 0
    assert "s3cret" not in str(caught.value)
    assert records_of(kafka_broker, kafka_topic) == []


def settings_of(broker: KafkaBroker, topic: str) -> dict[str, str]:
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        (description,) = admin.describe_topics([topic])
        configs = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        admin.close()
    return {"partitions": str(len(description["partitions"])), "configs": str(configs)}


def test_a_topic_is_made_with_its_settings_if_asked_for(kafka_broker: KafkaBroker) -> None:
    topic = f"vidface-made-{uuid.uuid4().hex[:8]}"
    wanted = NewTopic(partitions=5, replication_factor=1, retention_h=0.5)
    for _ in range(2):  # the second finds it there
        sink = KafkaSink([kafka_broker.bootstrap], topic, create_topic=wanted)
        sink.deliver(numbered(1))
        sink.close()
    assert len(records_of(kafka_broker, topic)) == 2
    found = settings_of(kafka_broker, topic)
    assert found["partitions"] == "5"
    assert "1800000" in found["configs"]


def test_a_topic_that_is_there_is_left_as_it_is(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic, create_topic=NewTopic(partitions=7, replication_factor=1))
    sink.deliver(numbered(1))
    sink.close()
    assert settings_of(kafka_broker, kafka_topic)["partitions"] == "3"


def test_a_topic_that_cannot_be_made_is_tried_again(kafka_broker: KafkaBroker) -> None:
    topic = f"vidface-never-{uuid.uuid4().hex[:8]}"
    sink = KafkaSink([kafka_broker.bootstrap], topic, create_topic=NewTopic(replication_factor=3))
    with pytest.raises(SinkError, match=r"[Rr]eplication") as caught:
        sink.deliver(numbered(1))
    sink.close()
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("factor", "least"),
    [pytest.param(1, "1", id="one"), pytest.param(2, "1", id="two"), pytest.param(3, "2", id="three")],
)
def test_a_topics_settings(factor: int, least: str) -> None:
    assert NewTopic(replication_factor=factor, retention_h=24).settings() == {
        "cleanup.policy": "delete",
        "retention.ms": "86400000",
        "min.insync.replicas": least,
    }


def test_compressed_events_are_the_same_and_smaller(kafka_broker: KafkaBroker) -> None:
    events = interleaved(100)
    sizes = {}
    for compression in ("none", "gzip"):
        topic = f"vidface-{compression}-{uuid.uuid4().hex[:8]}"
        kafka_broker.create_topic(topic)
        sink = KafkaSink([kafka_broker.bootstrap], topic, compression=compression)
        sink.deliver(events)
        sink.close()
        assert events_of(kafka_broker, topic) == events
        logs = (kafka_broker.folder / "data" / f"{topic}-0").glob("*.log")
        sizes[compression] = sum(len(log.read_bytes().rstrip(b"\0")) for log in logs)
    assert sizes["gzip"] < sizes["none"] / 4


def test_a_delivery_larger_than_a_batch_keeps_its_order(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    events = [camera_state(number, detail="x" * 20_000).to_event() for number in range(1, 61)]
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic)
    sink.deliver(events)
    sink.close()
    assert events_of(kafka_broker, kafka_topic) == events


def test_a_topic_is_read_from_its_start(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    events = interleaved(5)
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic)
    sink.deliver(events)
    sink.close()
    seen: list[Event] = []
    for event in tail_topic([kafka_broker.bootstrap], kafka_topic, stop=lambda: len(seen) == len(events)):
        assert_valid(event)
        seen.append(event)
    for camera in CAMERAS:
        assert of_camera(seen, camera) == of_camera(events, camera)


def test_a_topic_is_read_from_its_end(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic)
    sink.deliver(numbered(3))
    new = numbered(2, first=4)
    seen: list[Event] = []
    for event in tail_topic(
        [kafka_broker.bootstrap],
        kafka_topic,
        from_start=False,
        ready=lambda: sink.deliver(new),
        stop=lambda: len(seen) == len(new),
    ):
        assert_valid(event)
        seen.append(event)
    sink.close()
    assert seen == new


def test_a_record_that_is_no_event_is_named(kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    producer = client_module().KafkaProducer(bootstrap_servers=kafka_broker.bootstrap)
    producer.send(kafka_topic, value=b"hello", partition=1).get(timeout=30)
    producer.close()
    with pytest.raises(EventMalformed, match=f"topic {kafka_topic}, partition 1, offset 0: not JSON"):
        next(tail_topic([kafka_broker.bootstrap], kafka_topic, stop=lambda: False))


def test_a_topic_that_is_not_there_is_named(kafka_broker: KafkaBroker) -> None:
    with pytest.raises(SinkError, match="topic nowhere: there is no such topic"):
        next(tail_topic([kafka_broker.bootstrap], "nowhere", stop=lambda: False))


def test_a_broker_that_was_never_there_is_an_error_of_the_delivery_alone(shown: list[logging.LogRecord]) -> None:
    port = closed_port()
    sink = KafkaSink([f"127.0.0.1:{port}"], "events", connect_timeout_s=0.3)
    for _ in range(2):
        with pytest.raises(
            SinkError, match=rf"topic events: no server .* \(127.0.0.1:{port}: Connection refused\)"
        ) as caught:
            sink.deliver(numbered(2))
        assert caught.value.retryable
        assert not isinstance(caught.value, EventRefused)
        assert caught.value.delivered == 0
    sink.close()
    assert shown == []
    with pytest.raises(SinkError, match="closed"):
        sink.deliver(numbered(1))


def test_reading_from_a_broker_that_is_not_there() -> None:
    with pytest.raises(SinkError, match=r"topic events: .*"):
        next(tail_topic([f"127.0.0.1:{closed_port()}"], "events", stop=lambda: False, timeout_s=0.3))


def test_no_password_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    security = KafkaSecurity(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="vidface",
        sasl_plain_password="hunter2-secret",
    )
    sink = KafkaSink([f"127.0.0.1:{closed_port()}"], "events", security=security, connect_timeout_s=0.3)
    with caplog.at_level(logging.DEBUG), pytest.raises(SinkError) as caught:
        sink.deliver(numbered(1))
    sink.close()
    shown = [repr(security), str(security), repr(sink), str(caught.value), caplog.text]
    assert not [text for text in shown if "hunter2" in text]
    assert security.options()["sasl_plain_password"] == "hunter2-secret"
    assert security.scrub("login hunter2-secret failed") == "login *** failed"


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"security_protocol": "SASL_SSL"}, id="sasl-without-mechanism"),
        pytest.param({"sasl_mechanism": "PLAIN"}, id="mechanism-without-sasl"),
        pytest.param({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}, id="no-password"),
    ],
)
def test_security_that_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="sasl_mechanism"):
        KafkaSecurity(**options)


@pytest.mark.parametrize("topic", ["", ".", "a b", "a/b", "x" * 250])
def test_what_cannot_be_a_topic_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match="is no topic"):
        KafkaSink(["localhost:9092"], topic)


@pytest.mark.parametrize("servers", [[], ["localhost"], ["a:1", "user:password@b:2"], ["a:1,b:2"]])
def test_servers_are_host_and_port(servers: list[str]) -> None:
    with pytest.raises(ValueError, match=r"needs host:port, such as localhost:9092"):
        KafkaSink(servers, "events")


def test_a_client_that_is_not_installed_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kafka", None)
    with pytest.raises(KafkaMissing, match="pip install 'kafka-python"):
        KafkaSink(["localhost:9092"], "events")


def test_importing_the_sink_does_not_import_the_client() -> None:
    code = "import sys, pipeline.events.kafka; sys.exit('kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode == 0


def test_the_client_computes_checksums_in_c() -> None:
    client_module()
    from kafka.record import util

    data = bytes(range(256)) * 100
    assert util._crc32c is not util.crc32c_py
    assert util.calc_crc32c(memoryview(data)) == util.crc32c_py(data)
