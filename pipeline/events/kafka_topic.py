"""A topic that is made with the right settings, where an operator asks for that instead of making it himself."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTopic:
    """What the topic is to be like. One that is there is left as it is, whatever it is like.

    Attributes:
        partitions: How many; at least as many as consumers are to share the work. Never change it later: a camera's
            events would go to another partition, and their order would be lost at that moment.
        replication_factor: On how many brokers each event is kept. Of three, two must have an event before it counts
            as delivered.
        retention_h: How long events are kept. Hours.
    """

    partitions: int = 12
    replication_factor: int = 3
    retention_h: float = 168.0

    def __post_init__(self) -> None:
        if self.partitions < 1 or self.replication_factor < 1 or not self.retention_h > 0:
            raise ValueError("a topic needs a partition, a replica and a time to keep events")

    def settings(self) -> Mapping[str, str]:
        """The topic's configuration, in Kafka's names."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(round(self.retention_h * 3_600_000)),
            # With acks=all an event is on so many brokers before we forget it; one may be away meanwhile.
            "min.insync.replicas": str(max(1, self.replication_factor - 1)),
        }


def ensure_topic(
    admin_client: Callable[..., Any], servers: Sequence[str], name: str, topic: NewTopic, options: Mapping[str, Any]
) -> None:
    """Make the topic unless it is there, and return when it can be written to. Blocks.

    Args:
        admin_client: The client's ``KafkaAdminClient``.
        servers: ``host:port`` of some brokers.
        name: The topic's name.
        topic: What it is to be like.
        options: Keyword arguments for the client: how to be let in, timeouts.

    Raises:
        KafkaError: The brokers are away, do not let us, or have too few brokers for so many replicas.
    """
    from kafka.errors import TopicAlreadyExistsError

    admin = admin_client(bootstrap_servers=list(servers), client_id="vidface-topic", **options)
    try:
        if name in admin.list_topics():
            return  # not asked for again: we may be allowed to write to it and not to make it
        wanted = {
            "num_partitions": topic.partitions,
            "replication_factor": topic.replication_factor,
            "configs": dict(topic.settings()),
        }
        try:
            admin.create_topics({name: wanted}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return  # somebody was faster
        _log.info("made the Kafka topic %s: %d partitions, %s", name, topic.partitions, topic.settings())
    finally:
        admin.close()
