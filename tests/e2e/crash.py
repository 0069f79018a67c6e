"""Kill the pipeline and the broker again and again, and see whether an event is lost or out of order.

The long form is a command, since it takes minutes: ``python -m tests.e2e.crash`` prints what it found. A test runs a
short one.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.events.consumer import EventConsumer
from pipeline.events.event import Event
from tests.e2e.emitter import emitted_count, emitted_in, log_of, started
from tests.e2e.topic import records_of
from tests.services.kafka import KafkaBroker

PATIENCE_S = 120.0
"""How long nothing may happen before the run has failed."""


CONSUMERS = 4
"""How often the consumer is begun: each but the last is closed in the middle of its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of the events.

    Attributes:
        emitted: Events that the pipeline said were safe, before it was killed or not.
        records: Records in the topic.
        delivered: Different events in the topic.
        lost: Emitted, and not in the topic.
        unnoted: In the topic, but killed between being stored and being noted: neither lost nor wrong.
        cameras_out_of_order: Cameras whose events first arrive in another order than they were emitted in.
        kills: How often the pipeline was killed.
        broker_kills: How often the broker was killed.
        handled: Different events that a consumer's handler was given.
        handled_again: How often it was given one that it had been given before.
        seconds: How long it took.
    """

    emitted: int
    records: int
    delivered: int
    lost: tuple[str, ...]
    unnoted: int
    cameras_out_of_order: tuple[str, ...]
    kills: int
    broker_kills: int
    handled: int
    handled_again: int
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, and a consumer handled each event once."""
        return not (self.lost or self.cameras_out_of_order or self.handled_again or self.handled != self.delivered)

    @property
    def duplicates(self) -> int:
        """Records that repeat an event: a consumer drops them by (source, id)."""
        return self.records - self.delivered

    def __str__(self) -> str:
        return (
            f"{self.emitted} events emitted, {self.kills} kills of the pipeline and {self.broker_kills} of the broker, "
            f"{self.seconds:.0f} s: {len(self.lost)} lost, {len(self.cameras_out_of_order)} cameras out of order, "
            f"{self.duplicates} duplicates among {self.records} records, {self.unnoted} stored but "
            f"not yet noted when killed; a consumer, begun {CONSUMERS} times, handled {self.handled} events, "
            f"{self.handled_again} of them again"
        )


@dataclass
class CrashRun:
    """One run. Everything is in a folder of its own.

    Args:
        folder: An empty folder.
        broker: Running; it is killed and started again.
        topic: An empty topic of that broker.
        seed: Of the moments at which it is killed.
    """

    folder: Path
    broker: KafkaBroker
    topic: str
    seed: int = 1
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def run(self, *, events: int, kills: int, broker_kills: int) -> Verdict:
        """Emit so many events or a few more, kill at random moments on the way, let it end in order, and look.

        Raises:
            TimeoutError: Nothing was emitted for long, or the end took too long.
        """
        began_s = time.monotonic()
        chance = random.Random(self.seed)
        moments = sorted(
            [(chance.uniform(0.02, 0.98) * events, "pipeline") for _ in range(kills)]
            + [(chance.uniform(0.02, 0.98) * events, "broker") for _ in range(broker_kills)]
        )
        try:
            self._start()
            for moment, victim in moments:
                self._wait_for(moment)
                if victim == "pipeline":
                    self._kill()
                    self._start()
                else:
                    self.broker.kill()
                    time.sleep(chance.uniform(0.0, 2.0))  # an outage, short or none
                    self.broker.start()
            self._wait_for(events)
            self._end()
        finally:
            self._kill()
        return self._verdict(kills, broker_kills, time.monotonic() - began_s)

    def _start(self) -> None:
        self._process = started(self.folder, self.broker.bootstrap, self.topic)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def _end(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the pipeline did not end: {log_of(self.folder)}") from None
        if status != 0:
            raise RuntimeError(f"the pipeline ended with {status}: {log_of(self.folder)}")

    def _wait_for(self, events: float) -> None:
        """Wait until so many were emitted."""
        last, since_s = -1, time.monotonic()
        while (emitted := emitted_count(self.folder)) < events:
            if emitted != last:
                last, since_s = emitted, time.monotonic()
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() - since_s > PATIENCE_S:
                raise TimeoutError(f"after {emitted} of {events:.0f} events nothing came: {log_of(self.folder)}")
            time.sleep(0.02)  # another process's progress: there is nothing to wait on

    def _verdict(self, kills: int, broker_kills: int, seconds: float) -> Verdict:
        emitted: dict[str, list[str]] = defaultdict(list)
        for camera, event_id in emitted_in(self.folder):
            emitted[camera].append(event_id)
        arrived: dict[str, list[str]] = defaultdict(list)
        records = records_of(self.broker, self.topic)
        for record in records:
            event = Event.from_kafka(record.value, record.headers)
            arrived[event.camera].append(event.id)
        firsts = {camera: list(dict.fromkeys(ids)) for camera, ids in arrived.items()}
        known = {camera: set(ids) for camera, ids in emitted.items()}
        lost = [event_id for camera, ids in emitted.items() for event_id in set(ids) - set(firsts.get(camera, []))]
        out_of_order = []
        for camera, ids in emitted.items():
            if [event_id for event_id in firsts.get(camera, []) if event_id in known[camera]] != [
                event_id for event_id in ids if event_id not in lost
            ]:
                out_of_order.append(camera)
        delivered = sum(len(ids) for ids in firsts.values())
        handled = self._handled(len(records))
        return Verdict(
            emitted=sum(len(ids) for ids in emitted.values()),
            records=len(records),
            delivered=delivered,
            lost=tuple(sorted(lost)),
            unnoted=sum(len(set(ids) - known.get(camera, set())) for camera, ids in firsts.items()),
            cameras_out_of_order=tuple(sorted(out_of_order)),
            kills=kills,
            broker_kills=broker_kills,
            handled=len(handled),
            handled_again=handled.total() - len(handled),
            seconds=seconds,
        )

    def _handled(self, records: int) -> Counter[tuple[str, str]]:
        """How often each event is handled by a consumer that is closed and begun again on its way through the topic."""
        handled: Counter[tuple[str, str]] = Counter()
        seen = 0
        for begun in range(1, CONSUMERS + 1):
            consumer = EventConsumer.from_kafka(
                [self.broker.bootstrap],
                self.topic,
                group="crash",
                ledger=self.folder / "handled.db",
                max_age_s=None,
                recordings=True,
            )
            with consumer:
                thread = threading.Thread(
                    target=consumer.run, args=(lambda each: handled.update([(each.event.source, each.event.id)]),)
                )
                thread.start()
                deadline_s = time.monotonic() + PATIENCE_S
                while (now := seen + _looked_at(consumer)) < records * begun / CONSUMERS:
                    if time.monotonic() > deadline_s or not thread.is_alive():
                        raise TimeoutError(f"the consumer stopped at {now} of {records} records")
                    time.sleep(0.02)
                consumer.stop()
                thread.join()
                seen += _looked_at(consumer)
        return handled


def _looked_at(consumer: EventConsumer) -> int:
    """Records that a consumer is done with."""
    statistics = consumer.statistics
    return statistics.handled + statistics.duplicates


@contextmanager
def own_broker() -> Iterator[tuple[KafkaBroker, Path]]:
    """A broker, and a folder, that go with the block."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "broker").mkdir()
        (place / "run").mkdir()
        with KafkaBroker(place / "broker") as broker:
            yield broker, place / "run"


def main() -> int:
    """Run the long form, or what the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--broker-kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with own_broker() as (broker, folder):
        topic = f"crash-{uuid.uuid4().hex[:8]}"
        broker.create_topic(topic, partitions=3)
        run = CrashRun(folder=folder, broker=broker, topic=topic, seed=options.seed)
        verdict = run.run(events=options.events, kills=options.kills, broker_kills=options.broker_kills)
    sys.stdout.write(f"{verdict}\n")
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
