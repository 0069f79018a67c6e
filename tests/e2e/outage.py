"""The broker is away for a while: is anything lost, does the pipeline notice, and how fast is the backlog delivered?

``python -m tests.e2e.outage`` is away for five minutes; a test is for some seconds.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.events.outbox_view import OutboxView
from tests.e2e.crash import PATIENCE_S, own_broker
from tests.e2e.emitter import emitted_count, emitted_in, log_of, started
from tests.e2e.topic import records_of
from tests.services.kafka import KafkaBroker

FPS = 15.0
"""Frames a second of each of the eight cameras: what a busy site has, and far from what a machine can do."""

DRAINED = 200
"""So few events waiting are those that are under way anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was seen.

    Attributes:
        away_s: How long the broker was away.
        before_per_s: Events emitted a second before; each frame gives as many in the mean.
        during_per_s: While the broker was away.
        after_per_s: While the backlog was delivered, and a little longer.
        backlog: Events that waited when the broker was back.
        drain_per_s: Events delivered a second from the first delivery until hardly any waited.
        emitted: Events in all.
        lost: Of them, those that are not in the topic.
    """

    away_s: float
    before_per_s: float
    during_per_s: float
    after_per_s: float
    backlog: int
    drain_per_s: float
    emitted: int
    lost: int

    def __str__(self) -> str:
        return (
            f"broker away for {self.away_s:.0f} s: {self.lost} of {self.emitted} events lost; emitted a second "
            f"{self.before_per_s:.0f} before, {self.during_per_s:.0f} during, {self.after_per_s:.0f} after; "
            f"a backlog of {self.backlog} delivered at {self.drain_per_s:.0f} a second"
        )


@dataclass
class OutageRun:
    """One run, in an empty folder, with a broker that runs and an empty topic."""

    folder: Path
    broker: KafkaBroker
    topic: str

    def run(self, *, away_s: float, around_s: float) -> Outage:
        """Emit for a while, take the broker away, bring it back, and look.

        Args:
            away_s: How long the broker is away.
            around_s: How long the rate is measured before and after.
        """
        process = started(self.folder, self.broker.bootstrap, self.topic, FPS)
        try:
            self._until(lambda: emitted_count(self.folder) > 1000, process)
            before = self._rate(around_s)
            self.broker.kill()
            during = self._rate(away_s)
            self.broker.start()
            backlog, seconds, delivered = self._drained(process)
            after = self._rate(around_s)
            process.send_signal(signal.SIGTERM)
            if process.wait(PATIENCE_S) != 0:
                raise RuntimeError(log_of(self.folder))
        finally:
            process.kill()
            process.wait()
        emitted = set(emitted_in(self.folder))
        arrived = {
            (record.key.decode(), dict(record.headers)["ce_id"].decode())
            for record in records_of(self.broker, self.topic)
        }
        return Outage(
            away_s=away_s,
            before_per_s=before,
            during_per_s=during,
            after_per_s=after,
            backlog=backlog,
            drain_per_s=delivered / seconds,
            emitted=len(emitted),
            lost=len(emitted - arrived),
        )

    def _rate(self, seconds: float) -> float:
        """Events emitted a second, while nothing is done."""
        began, began_s = emitted_count(self.folder), time.monotonic()
        time.sleep(seconds)  # what is measured is another process
        return (emitted_count(self.folder) - began) / (time.monotonic() - began_s)

    def _pending(self) -> int:
        with OutboxView.open(self.folder / "outbox.db") as view:
            return view.state().sinks[0].pending

    def _drained(self, process: subprocess.Popen[bytes]) -> tuple[int, float, int]:
        """Wait until hardly any event waits: what waited, how long it took from the first delivery, how many went."""
        backlog = self._pending()
        while (waiting := self._pending()) >= backlog:
            backlog = waiting
            self._alive(process)
        began, began_s = emitted_count(self.folder), time.monotonic()
        self._until(lambda: self._pending() < DRAINED, process)
        return backlog, time.monotonic() - began_s, waiting + emitted_count(self.folder) - began

    def _until(self, done: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not done():
            self._alive(process)
            if time.monotonic() > deadline_s:
                raise TimeoutError(log_of(self.folder))
            time.sleep(0.02)

    def _alive(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is not None:
            raise RuntimeError(log_of(self.folder))


def main() -> None:
    """Run the long form, or what the options say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away-s", type=float, default=300.0)
    parser.add_argument("--around-s", type=float, default=20.0)
    options = parser.parse_args()
    with own_broker() as (broker, folder):
        topic = f"outage-{uuid.uuid4().hex[:8]}"
        broker.create_topic(topic, partitions=3)
        outage = OutageRun(folder=folder, broker=broker, topic=topic).run(
            away_s=options.away_s, around_s=options.around_s
        )
    sys.stdout.write(f"{outage}\n")


if __name__ == "__main__":
    main()
