"""The consumer against a real Apache Kafka."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.consumer import EventConsumer, Retry
from pipeline.events.errors import FeedError, HandlerFailed, KafkaMissing
from pipeline.events.event import Event
from pipeline.events.kafka import KafkaSink, client_module
from pipeline.events.kafka_feed import KafkaFeed
from pipeline.events.kafka_security import KafkaSecurity
from pipeline.events.publisher import Backoff
from pipeline.events.received import Gap, Malformed, Received, Refused
from tests.conftest import REPOSITORY
from tests.pipeline.events import consuming
from tests.pipeline.events.examples import sighting
from tests.schemas import assert_valid
from tests.services.kafka import KafkaBroker

# The client leaves the sockets of failed connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <(ssl|socket):ResourceWarning")

CAMERAS = ("lobby", "gate", "dock", "yard")
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect those sockets here, and not in a test that knows nothing of them."""
    yield
    gc.collect()


def told(numbers: Sequence[int], cameras: Sequence[str] = CAMERAS, **changes: Any) -> list[Event]:
    """Sighting events of some cameras in turn, numbered so."""
    events = [
        sighting(camera=camera, epoch=1, track=number, camera_sequence=number, **changes).to_event()
        for number in numbers
        for camera in cameras
    ]
    for event in events:
        assert_valid(event)
    return events


def fresh(number: int, age_s: float = 0.0, **changes: Any) -> Event:
    """A live sighting that was captured so long ago."""
    captured_ns = time.time_ns() - round(age_s * 1e9)
    times: dict[str, Any] = {"captured_ns": captured_ns, "decided_ns": captured_ns + 10**6}
    return sighting(camera="lobby", epoch=1, track=number, camera_sequence=number, **times, **changes).to_event()


def publish(broker: KafkaBroker, topic: str, events: Sequence[Event]) -> None:
    sink = KafkaSink([broker.bootstrap], topic)
    try:
        sink.deliver(events)
    finally:
        sink.close()


def committed(broker: KafkaBroker, topic: str) -> int:
    """The sum of what the group of this test has committed, over all partitions."""
    kafka = client_module()
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=broker.bootstrap, group_id=f"doors-{topic}", enable_auto_commit=False
    )
    try:
        numbers = consumer.partitions_for_topic(topic)
        return sum(consumer.committed(kafka.TopicPartition(topic, number)) or 0 for number in numbers)
    finally:
        consumer.close()


class Running:
    """A consumer that runs in a thread, and what it handled."""

    def __init__(self, consumer: EventConsumer, handle: Callable[[Received], None] | None = None) -> None:
        self.consumer = consumer
        self.received: list[Received] = []
        self.error: BaseException | None = None
        self._handle = handle
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._main)

    def __enter__(self) -> Running:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    @property
    def events(self) -> list[Event]:
        return [each.event for each in self.received]

    def until(self, done: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        with self._changed:
            while not done():
                assert self.error is None, self.error
                assert time.monotonic() < deadline_s, self.consumer.statistics
                self._changed.wait(0.02)  # figures change without a word

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(PATIENCE_S)

    def _main(self) -> None:
        try:
            self.consumer.run(self._take)
        except Exception as error:
            self.error = error

    def _take(self, received: Received) -> None:
        if self._handle is not None:
            self._handle(received)
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()


@pytest.fixture
def make(kafka_broker: KafkaBroker, kafka_topic: str, tmp_path: Path) -> Callable[..., EventConsumer]:
    def consumer(ledger: str = "ledger.db", **options: Any) -> EventConsumer:
        options = {"group": f"doors-{kafka_topic}", "max_age_s": None, "session_timeout_s": 6.0, **options}
        return EventConsumer.from_kafka([kafka_broker.bootstrap], kafka_topic, ledger=tmp_path / ledger, **options)

    return consumer


def number_of(event: Event) -> int:
    number = event.data["camera_sequence"]
    assert isinstance(number, int)
    return number


def of_camera(events: Sequence[Event], camera: str) -> list[Event]:
    return [event for event in events if event.camera == camera]


def test_every_event_is_handled_in_its_cameras_order_and_committed(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    events = told(range(1, 61))
    publish(kafka_broker, kafka_topic, events)
    with Running(make()) as running:
        running.until(lambda: len(running.received) >= len(events))
    for camera in CAMERAS:
        assert of_camera(running.events, camera) == of_camera(events, camera)
    figures = running.consumer.statistics
    assert (figures.handled, figures.gaps, figures.duplicates, figures.uncommitted) == (len(events), 0, 0, 0)
    assert committed(kafka_broker, kafka_topic) == len(events)
    assert "partition" in running.received[0].place


def test_repeats_in_the_topic_are_dropped_also_after_a_restart(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    events = told(range(1, 6))
    publish(kafka_broker, kafka_topic, [*events, *events[:8], *events])
    with Running(make()) as first:
        first.until(lambda: first.consumer.statistics.duplicates >= 28)
    publish(kafka_broker, kafka_topic, [*events, *told([6], ["lobby"])])
    with Running(make()) as second:
        second.until(lambda: len(second.received) == 1)
        second.until(lambda: second.consumer.statistics.handled == 1)
    assert first.consumer.statistics.duplicates == 28
    assert second.events == told([6], ["lobby"])
    assert (first.consumer.statistics.gaps, second.consumer.statistics.gaps) == (0, 0)


def test_stale_ones_poison_and_gaps(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer], caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[Refused] = []
    malformed: list[Malformed] = []
    gaps: list[Gap] = []
    publish(kafka_broker, kafka_topic, [fresh(1), fresh(2, age_s=120.0), fresh(3, live=False)])
    producer = client_module().KafkaProducer(bootstrap_servers=kafka_broker.bootstrap)
    _, value, headers = fresh(9).to_kafka()
    poison: list[tuple[bytes | None, list[Any]]] = [
        (b"hello", []),
        (None, headers),  # a tombstone
        (value, [(name, b"") for name, _ in headers]),
        (b"[" * 100_000, headers),
        (value.replace(b'"quality":0.83', b'"quality":NaN'), headers),
        (value, [(name, b"lobby/1/8/3" if name == "ce_id" else text) for name, text in headers]),
    ]
    for data, attributes in poison:
        producer.send(kafka_topic, key=b"lobby", value=data, headers=attributes).get(timeout=30)
    producer.close()
    publish(kafka_broker, kafka_topic, [fresh(4), fresh(7)])
    consumer = make(max_age_s=60.0, on_refused=refused.append, on_malformed=malformed.append, on_gap=gaps.append)
    with Running(consumer) as running:
        running.until(lambda: len(running.received) == 3)
    numbers = [each.event.data["camera_sequence"] for each in running.received]
    assert numbers == [1, 4, 7]
    assert all(each.age_s is not None and 0 <= each.age_s < 60 for each in running.received)
    assert ["captured 1" in refused[0].reason, "recording" in refused[1].reason, len(refused)] == [True, True, 2]
    assert len(malformed) == len(poison)
    assert malformed[0].place in caplog.text
    assert [(gap.expected, gap.found) for gap in gaps] == [(5, 7)]
    figures = running.consumer.statistics
    assert (figures.handled, figures.stale, figures.malformed, figures.missing) == (3, 2, 6, 2)
    assert committed(kafka_broker, kafka_topic) == 5 + len(poison)


def test_a_handler_that_raises_stops_without_committing_and_the_event_comes_again(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    events = told(range(1, 6), ["lobby"])
    publish(kafka_broker, kafka_topic, events)

    def refuse_the_third(received: Received) -> None:
        if received.event == events[2]:
            raise RuntimeError("the door does not answer")

    with Running(make(), refuse_the_third) as running:
        running.join()
        assert isinstance(running.error, HandlerFailed)
        assert "the door does not answer" in str(running.error)
        assert running.events == events[:2]
        # The same member goes on with what it did not commit.
        again = Running(running.consumer, lambda _received: running.consumer.stop())
        again.start()
        again.join()
    assert (again.events, again.error) == (events[2:3], None)
    with Running(make()) as later:
        later.until(lambda: len(later.received) == 2)
    assert later.events == events[3:]


def test_a_handler_that_is_tried_again_for_long_stays_in_the_group(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    """It pauses for longer than the session lasts, and keeps its partitions and its place all the same."""
    events = told(range(1, 4), ["lobby"])
    publish(kafka_broker, kafka_topic, events)
    attempts: list[str] = []

    def fail_at_first(received: Received) -> None:
        attempts.append(received.event.id)
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    retry = Retry(attempts=3, backoff=Backoff(initial_s=8.0, max_s=8.0))
    with Running(make(retry=retry), fail_at_first) as running:
        running.until(lambda: len(running.received) == 3)
    assert attempts == [events[0].id, *[event.id for event in events]]
    assert running.consumer.statistics.uncommitted == 0


def test_a_rebalance_while_a_handler_is_tried_again_loses_nothing(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    """Records are polled and not handled when partitions are given out anew; the client would go on behind them."""
    events = told(range(1, 21))
    publish(kafka_broker, kafka_topic, events)
    other = Running(make("other.db"))
    attempts: list[str] = []

    def fail_while_another_comes(received: Received) -> None:
        attempts.append(received.event.id)
        if len(attempts) == 1:
            raise RuntimeError("not yet")

    retry = Retry(attempts=None, backoff=Backoff(initial_s=4.0, max_s=4.0))
    with Running(make("one.db", retry=retry), fail_while_another_comes) as running:
        running.until(lambda: len(attempts) == 1)
        with other:
            running.until(lambda: len(running.received) + len(other.received) == len(events))
    handled = Counter(event.id for event in [*running.events, *other.events])
    assert handled == Counter(event.id for event in events)
    assert running.consumer.statistics.gaps == other.consumer.statistics.gaps == 0


@pytest.mark.slow
def test_two_members_share_the_work_and_each_event_is_handled_once(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    """A second member comes while events flow, and the first one leaves: each rebalance in mid-stream."""
    events = told(range(1, 301))
    slow = threading.Event()

    def take_a_moment(_received: Received) -> None:
        slow.wait(0.002)  # so that rebalances fall into the work

    def publish_slowly() -> None:
        sink = KafkaSink([kafka_broker.bootstrap], kafka_topic)
        for start in range(0, len(events), 40):
            sink.deliver(events[start : start + 40])
            slow.wait(0.1)
        sink.close()

    def both() -> int:
        return len(first.received) + len(second.received)

    producer = threading.Thread(target=publish_slowly)
    first, second = Running(make("first.db"), take_a_moment), Running(make("second.db"), take_a_moment)
    producer.start()
    with contextlib.ExitStack() as stack:
        stack.enter_context(second)
        with first:
            second.until(lambda: len(second.received) >= 100 or both() >= len(events))
            first.until(lambda: first.consumer.statistics.handled >= 50 or both() >= len(events))
        producer.join(PATIENCE_S)
        second.until(lambda: both() >= len(events))
    handled = Counter((event.source, event.id) for event in [*first.events, *second.events])
    assert set(handled) == {(event.source, event.id) for event in events}
    assert max(handled.values()) == 1, "a clean rebalance repeats nothing: what was handled is committed before it"
    for running in (first, second):
        assert running.error is None
        assert running.consumer.statistics.gaps == 0, "what the other member had is not lost"
        for camera in CAMERAS:
            numbers = [number_of(event) for event in of_camera(running.events, camera)]
            assert numbers == sorted(numbers)


@pytest.mark.slow
@pytest.mark.parametrize("commits", ["yes", "no"])
def test_a_consumer_that_is_killed_in_mid_stream_handles_each_event_once(
    kafka_broker: KafkaBroker, kafka_topic: str, tmp_path: Path, commits: str
) -> None:
    """SIGKILL at three places; with commits withheld every start reads everything again, and the ledger drops it."""
    events = told(range(1, 251))
    publish(kafka_broker, kafka_topic, events)
    out = tmp_path / "handled.txt"
    out.touch()
    command = [sys.executable, consuming.__file__, kafka_broker.bootstrap, kafka_topic, f"doors-{kafka_topic}"]
    command += [str(tmp_path / "ledger.db"), str(out), commits]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for goal in (100, 400, 700, len(events)):
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        deadline_s = time.monotonic() + PATIENCE_S
        while len(out.read_text().splitlines()) < goal:
            assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.01)  # another process writes the file: there is nothing to wait on
        process.send_signal(signal.SIGKILL if goal < len(events) else signal.SIGTERM)
        assert process.wait(PATIENCE_S) == (-signal.SIGKILL if goal < len(events) else 0)
    handled = Counter(out.read_text().splitlines())
    assert set(handled) == {f"{event.source} {event.id}" for event in events}
    # Between a handler's return and the ledger's line lies the one moment that a kill may hit: once a kill at most.
    assert sum(handled.values()) - len(events) <= 3
    for camera in CAMERAS:
        lines = [line for line in handled if f"/{camera} " in line]
        assert lines == [f"{event.source} {event.id}" for event in of_camera(events, camera)]


@pytest.mark.slow
def test_a_broker_that_goes_and_comes_back_is_waited_for(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    before, after = told(range(1, 11)), told(range(11, 21))
    publish(kafka_broker, kafka_topic, before)
    with Running(make()) as running:
        running.until(lambda: len(running.received) == len(before))
        kafka_broker.kill()
        try:
            away = threading.Event()
            away.wait(3.0)  # an outage takes its time
            assert running.error is None
        finally:
            kafka_broker.start()
        publish(kafka_broker, kafka_topic, after)
        running.until(lambda: len(running.received) == len(before) + len(after))
    for camera in CAMERAS:
        assert of_camera(running.events, camera) == of_camera([*before, *after], camera)
    assert running.consumer.statistics.gaps == 0


def test_a_broker_that_does_not_answer_at_the_beginning_of_a_partition_skips_nothing(
    kafka_broker: KafkaBroker,
    kafka_topic: str,
    make: Callable[..., EventConsumer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client had handed out records by then, and would go on behind them."""
    events = told(range(1, 11))
    publish(kafka_broker, kafka_topic, events)
    client = client_module().KafkaConsumer
    ask, asked = client.committed, []

    def slow_at_first(self: object, *arguments: object, **options: object) -> object:
        asked.append(arguments)
        if len(asked) <= 4:
            raise client_module().errors.KafkaTimeoutError("no answer")
        return ask(self, *arguments, **options)

    monkeypatch.setattr(client, "committed", slow_at_first)
    with Running(make()) as running:
        running.until(lambda: len(running.received) == len(events))
    assert "no answer; trying again" in caplog.text
    for camera in CAMERAS:
        assert of_camera(running.events, camera) == of_camera(events, camera)


@pytest.mark.slow
def test_a_member_that_hears_nothing_from_its_group_joins_it_anew(
    kafka_broker: KafkaBroker,
    kafka_topic: str,
    make: Callable[..., EventConsumer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As after an outage that the client did not get over: it is there, and nothing comes of it."""
    before, after = told(range(1, 4)), told(range(4, 7))
    publish(kafka_broker, kafka_topic, before)
    with Running(make()) as running:
        running.until(lambda: running.consumer.statistics.handled == len(before))
        client = running.consumer._feed._consumer  # type: ignore[attr-defined] # the Kafka one

        def no_word(*_: object, **__: object) -> None:
            raise client_module().errors.KafkaTimeoutError("no word")

        def nothing(*, timeout_ms: int, **_: object) -> dict[object, object]:
            quiet.wait(timeout_ms / 1000)
            return {}

        quiet = threading.Event()
        monkeypatch.setattr(client, "commit", no_word)
        monkeypatch.setattr(client, "poll", nothing)
        publish(kafka_broker, kafka_topic, after)
        running.until(lambda: len(running.received) == len(before) + len(after))
    assert "joining it anew" in caplog.text
    for camera in CAMERAS:
        assert of_camera(running.events, camera) == of_camera([*before, *after], camera)
    assert running.consumer.statistics.gaps == 0


def test_a_group_may_begin_with_what_is_new(
    kafka_broker: KafkaBroker, kafka_topic: str, make: Callable[..., EventConsumer]
) -> None:
    publish(kafka_broker, kafka_topic, told(range(1, 4), ["lobby"]))
    new: list[Event] = []
    with Running(make(start="newest")) as running:
        deadline_s = time.monotonic() + PATIENCE_S
        while not running.received:  # when it has its partitions is the brokers' to say
            assert time.monotonic() < deadline_s
            new += (event := told([len(new) + 4], ["lobby"]))
            publish(kafka_broker, kafka_topic, event)
    assert running.events[0] in new
    assert running.consumer.statistics.gaps == 0  # what it chose to skip is not lost


def test_a_topic_that_is_not_there_is_named(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    with (
        EventConsumer.from_kafka(
            [kafka_broker.bootstrap], "nowhere", group="doors", ledger=tmp_path / "l.db", max_age_s=1.0
        ) as consumer,
        pytest.raises(FeedError, match="topic nowhere, group doors: there is no such topic"),
    ):
        consumer.run(lambda _received: None)


def test_a_broker_that_is_not_there_is_an_error_and_no_password_is_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    security = KafkaSecurity(
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="vidface",
        sasl_plain_password="hunter2-secret",
    )
    feed = KafkaFeed([f"127.0.0.1:{port}"], "events", "doors", security=security, connect_timeout_s=0.3)
    with caplog.at_level(logging.DEBUG), pytest.raises(FeedError, match=f"Kafka at 127.0.0.1:{port}") as caught:
        feed.poll(0.1)
    feed.close()
    assert "hunter2" not in str(caught.value) + repr(feed) + caplog.text


@pytest.mark.parametrize(
    ("servers", "topic", "group", "said"),
    [
        pytest.param([], "events", "doors", "bootstrap_servers", id="no-servers"),
        pytest.param(["localhost:9092"], "a/b", "doors", "is no topic", id="no-topic"),
        pytest.param(["localhost:9092"], "events", "", "group is empty", id="no-group"),
    ],
)
def test_an_address_that_cannot_be_is_refused(servers: list[str], topic: str, group: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        KafkaFeed(servers, topic, group)


def test_a_client_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kafka", None)
    with pytest.raises(KafkaMissing, match="pip install 'kafka-python"):
        KafkaFeed(["localhost:9092"], "events", "doors")
