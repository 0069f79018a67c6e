"""`vidface serve` into a real Kafka broker: there, away for a while, and away altogether."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby, cut
from tests.e2e.story import assert_sound, epochs, names, runs, sightings
from tests.e2e.topic import assert_records_are, records_of
from tests.services.kafka import KafkaBroker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # The client leaves the sockets of failed connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

OUTAGE_S = 20.0


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect those sockets here, and not in a test that knows nothing of them."""
    yield
    gc.collect()


@pytest.fixture
def broker(kafka_broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """The broker; running again for the next test, whatever this one did."""
    yield kafka_broker
    kafka_broker.start()


def sink(broker: KafkaBroker, topic: str) -> str:
    return f'type: kafka, bootstrap_servers: ["{broker.bootstrap}"], topic: {topic}'


def test_every_event_arrives_and_can_be_tailed(
    installed: Installation, lobby: Lobby, broker: KafkaBroker, kafka_topic: str
) -> None:
    installed.configure(
        *(f"id: {camera}, source: {lobby.clip}, detect_every: 4" for camera in ("lobby", "copy")),
        sinks=[sink(broker, kafka_topic)],
    )
    done = installed.run("serve", "--config", installed.config, "--json")
    assert done.status == 0, done.err
    events = installed.events()
    assert_sound(events)
    assert names(events) == lobby.enrolled
    records = records_of(broker, kafka_topic)
    assert len(records) == len(events) == done.json["sinks"]["kafka"]["delivered"]
    assert_records_are(records, events)

    tail = ("events", "tail", "--config", installed.config, "--from-start", "--limit", str(len(events)))
    told = installed.run(*tail, "--sink", "kafka", "--json")
    assert told.status == 0, told.err
    lines = set(told.out.splitlines())
    assert {event.id for event in events} == {line.split('"id": "')[1].split('"')[0] for line in lines}
    for_people = installed.run(*tail, "--sink", "kafka")
    assert for_people.status == 0, for_people.err
    assert len(for_people.out.splitlines()) == len(events)
    assert all(name in for_people.out for name in lobby.enrolled)


def test_a_broker_that_is_away_in_the_middle_loses_nothing(
    installed: Installation, lobby: Lobby, broker: KafkaBroker, kafka_topic: str
) -> None:
    installed.configure(
        f"id: lobby, source: {lobby.clip}, real_time: true, detect_fps: 6", sinks=[sink(broker, kafka_topic)]
    )
    with installed.serve("--json") as serving:
        serving.until(lambda events: sightings(events) or None)
        broker.stop()
        time.sleep(OUTAGE_S)  # the outage itself
        assert installed.outbox_rows() > 0
        assert serving.running()
        broker.start()
        done = serving.wait()
    assert done.status == 0, done.err
    events = installed.events()
    assert_sound(events)
    assert len(names(events)) >= 8
    assert done.json["sinks"]["kafka"]["pending"] == 0
    assert done.json["sinks"]["jsonl"]["delivered"] == len(events)
    assert_records_are(records_of(broker, kafka_topic), events)
    assert installed.outbox_rows() == 0


def test_without_a_broker_events_are_kept_for_the_next_start(
    installed: Installation, lobby: Lobby, broker: KafkaBroker, kafka_topic: str, tmp_path: Path
) -> None:
    clip, _ = cut(lobby.clip, tmp_path / "part.mp4", from_s=19.7)
    installed.configure(f"id: lobby, source: {clip}, detect_every: 5", sinks=[sink(broker, kafka_topic)])
    broker.stop()
    done = installed.run("serve", "--config", installed.config)
    assert done.status == 0, done.err
    first = installed.events()
    assert_sound(first)
    assert "stopping: up to 10 s for kafka to take what waits" in done.err
    assert f"kafka: 0 events delivered, {len(first)} kept for the next start" in done.out
    assert f"jsonl: {len(first)} events delivered" in done.out
    assert "warning: kafka: Kafka at" in done.err
    assert f"no server can be reached ({broker.bootstrap}: Connection refused)" in done.err
    assert installed.outbox_rows() == len(first)

    broker.start()
    done = installed.run("serve", "--config", installed.config, "--json")
    assert done.status == 0, done.err
    events = installed.events()
    assert events[: len(first)] == first
    before, after = runs(events, "lobby")
    assert (epochs(before), epochs(after)) == ({1}, {2})
    assert done.json["sinks"]["kafka"]["pending"] == 0
    assert_records_are(records_of(broker, kafka_topic), events)  # in this order: those of the first run before
    assert installed.outbox_rows() == 0
