"""`vidface access` on a topic of a real Kafka broker, killed and started again."""

from __future__ import annotations

import gc
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.events.event import Event
from pipeline.events.kafka import KafkaSink, client_module
from tests.e2e.guarding import Guarding, live, reasons
from tests.services.kafka import KafkaBroker
from tests.vidface.access.made import BOB, seen

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # The client leaves the sockets of failed connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

DOORS = """
events: {type: kafka, bootstrap_servers: ["%s"], topic: %s, group: doors}
doors:
  - id: main
    cameras: [lobby]
    rules: [{name: staff, people: [Alice]}]
    action: {type: command, command: [/bin/sh, -c, "cat >> opened.jsonl; echo >> opened.jsonl"]}
"""


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect those sockets here, and not in a test that knows nothing of them."""
    yield
    gc.collect()


def test_a_topic(tmp_path: Path, kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    doors = tmp_path / "doors.yaml"
    doors.write_text(DOORS % (kafka_broker.bootstrap, kafka_topic), encoding="utf-8")
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic)

    def send(*events: Event) -> None:
        sink.deliver(events)

    try:
        with Guarding(doors, send) as guarding:
            first = guarding.repeat(lambda: live(seen(), time.time_ns()))
            guarding.until(lambda audit: any(entry["kind"] == "action" for entry in audit))
            guarding.end(signal.SIGKILL)
        before = len(guarding.audit())
        # While nobody reads: the group goes on from where it was, and finds what is too old by then.
        send(first, live(seen(track=8), time.time_ns(), age_s=30))
        _poison(kafka_broker, kafka_topic)
        with Guarding(doors, send) as guarding:
            guarding.until(lambda audit: {"stale", "malformed"} <= set(reasons(audit[before:])))
            send(live(seen(BOB, track=9), time.time_ns()))
            guarding.until(lambda audit: reasons(audit)[-1] == "not_permitted")
            status, _ = guarding.end(signal.SIGTERM)
    finally:
        sink.close()
    assert status == 0
    assert set(reasons(guarding.audit()[before:])) == {"duplicate", "stale", "malformed", "not_permitted"}
    opened = (tmp_path / "opened.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"]["id"] for line in opened if line] == [first.id]


def _poison(broker: KafkaBroker, topic: str) -> None:
    producer = client_module().KafkaProducer(bootstrap_servers=broker.bootstrap)
    try:
        producer.send(topic, b"garbage", key=b"lobby").get(timeout=30)
    finally:
        producer.close()
