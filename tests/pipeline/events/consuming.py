"""A consumer in a process of its own, to be killed: reads a topic and appends what it handles to a file.

``python consuming.py SERVERS TOPIC GROUP LEDGER OUT COMMITS``. With COMMITS ``no`` it never gets to commit: each
commit is as if the process had died before it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.events.consumer import EventConsumer, stopped_by
from pipeline.events.kafka_feed import KafkaFeed
from pipeline.events.received import Received


def never(self: KafkaFeed, nexts: Mapping[str, int]) -> bool:
    return True


def main(arguments: list[str]) -> None:
    servers, topic, group, ledger, out, commits = arguments
    if commits == "no":
        KafkaFeed.commit = never  # type: ignore[method-assign] # on purpose
    with (
        Path(out).open("a", encoding="utf-8", buffering=1) as file,
        EventConsumer.from_kafka(
            [servers], topic, group=group, ledger=Path(ledger), max_age_s=None, session_timeout_s=6.0
        ) as consumer,
        stopped_by(consumer, signal.SIGTERM),
    ):

        def handle(received: Received) -> None:
            file.write(f"{received.event.source} {received.event.id}\n")

        consumer.run(handle)


if __name__ == "__main__":
    main(sys.argv[1:])
