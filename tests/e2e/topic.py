"""What a Kafka topic holds, read with the plain client."""

from __future__ import annotations

from typing import Any

from pipeline.events.event import Event
from pipeline.events.kafka import client_module
from tests.schemas import assert_valid
from tests.services.kafka import KafkaBroker


def records_of(broker: KafkaBroker, topic: str) -> list[Any]:
    """All records, each partition's in their order."""
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


def assert_records_are(records: list[Any], events: list[Event]) -> None:
    """Check that a topic tells what a file of events tells, and in the same order for each camera.

    Records may repeat, since delivery is at least once; what comes again must be the same.
    """
    by_key = {(event.source, event.id): event for event in events}
    assert len(by_key) == len(events)
    places: dict[bytes, set[int]] = {}
    arrived: dict[str, dict[tuple[str, str], Event]] = {}
    for record in records:
        event = Event.from_kafka(record.value, record.headers)
        assert_valid(event)
        assert by_key[event.source, event.id] == event
        headers = dict(record.headers)
        assert headers["content-type"] == b"application/json"
        assert headers["ce_specversion"] == b"1.0"
        assert headers["ce_id"] == event.id.encode()
        assert headers["ce_source"] == f"/vidface/cameras/{event.camera}".encode()
        assert headers["ce_type"] == event.type.encode()
        assert headers["ce_subject"] == event.camera.encode()
        assert headers["ce_dataschema"] == f"urn:vidface:schema:{event.type}:1".encode()
        assert headers["ce_time"].endswith(b"Z")
        assert record.key == event.camera.encode()
        places.setdefault(record.key, set()).add(record.partition)
        arrived.setdefault(event.camera, {})[event.source, event.id] = event
    assert all(len(partitions) == 1 for partitions in places.values()), "a camera is spread over partitions"
    for camera in {event.camera for event in events}:
        assert list(arrived[camera].values()) == [event for event in events if event.camera == camera]
