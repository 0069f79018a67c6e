"""What an event costs the pipeline: how long emitting takes while a backlog is delivered and its room given back.

Emitting is handing over to the thread that stores; how long after that the event is stored is measured as well.

The run is checked before it is believed: every event must have arrived once and in order, and the file be small again.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import Durability, OutboxOptions
from pipeline.events.outbox_writer import OutboxWriter
from pipeline.events.payload import Answer, FrameRef, IdentityRef, RunnerUp, SightingPayload, SightingStage
from pipeline.events.publisher import Publisher
from vidface.errors import BadInput
from vidface.service import rare_collections

SINK = "bench"
_FILL = 1000
_SMALL_BYTES = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How long emitting one event took, in microseconds of the wall's clock.

    Attributes:
        count: How many were timed.
        p50_us: The median.
        p90_us: Nine in ten were quicker.
        p99_us: So were 99 in a hundred.
        max_us: The longest.
        cpu_p50_us: The median of the processor time of the emitting thread: what other threads and programs delay is
            not in it.
        cpu_p99_us: The same for 99 in a hundred.
        stored_p50_us: The median of the time until the event was stored.
        stored_p99_us: The same for 99 in a hundred.
    """

    count: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    cpu_p50_us: float
    cpu_p99_us: float
    stored_p50_us: float
    stored_p99_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxFigures:
    """What was measured.

    Attributes:
        durability: With which.
        backlog: Events that waited when the sink came back.
        event_bytes: One event's size as JSON.
        alone: Emitting while nothing else happens.
        draining: Emitting while the backlog is delivered.
        compacting: Emitting while the file shrinks.
        drained_per_s: Events delivered a second until the backlog was gone; what was emitted meanwhile counts.
        full_bytes: The file with the backlog in it.
        left_bytes: The file at the end.
    """

    durability: Durability
    backlog: int
    event_bytes: int
    alone: Spread
    draining: Spread
    compacting: Spread | None
    drained_per_s: float
    full_bytes: int
    left_bytes: int


class _CheckingSink:
    """Takes events and sees that none is missing, repeated or out of order."""

    name = SINK

    def __init__(self) -> None:
        self.taken = 0
        self.fault: str | None = None

    def deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            self.taken += 1
            if event.id != f"bench/1/1/{self.taken}":
                self.fault = self.fault or f"event {self.taken} came as {event.id}"

    def close(self) -> None:
        """Nothing is held."""


def measure(path: Path, *, backlog: int, per_s: float, durability: Durability) -> OutboxFigures:
    """Fill an outbox, let a sink come back, and emit all the while at a steady pace.

    Args:
        path: The file to make; it must not be there.
        backlog: Events that wait when the sink comes back.
        per_s: Events emitted a second while it drains.
        durability: What an append survives.

    Raises:
        BadInput: Events were lost, repeated or out of order, or the file did not shrink: nothing was measured.
        OutboxError: The file cannot be made or written.
    """
    sink = _CheckingSink()
    period_ns = round(1e9 / per_s)
    with Outbox.open(path, [SINK], OutboxOptions(durability=durability)) as outbox, rare_collections():
        sent = 0
        for first in range(0, backlog, _FILL):
            count = min(_FILL, backlog - first)
            outbox.append([_event(sent + number) for number in range(1, count + 1)])
            sent += count
        writer = _TimedWriter(outbox, sent, period_ns)
        alone = []
        for _ in range(min(2000, backlog)):
            sent += 1
            alone.append(writer.timed(sent))
        full_bytes = path.stat().st_size
        publisher = Publisher(outbox, [sink])
        publisher.start()
        draining, compacting = [], []
        started = time.perf_counter()
        while outbox.pending(SINK) > 256:
            sent += 1
            draining.append(writer.timed(sent))
        drained_per_s = sink.taken / (time.perf_counter() - started)
        deadline = time.monotonic() + 60
        while path.stat().st_size > _SMALL_BYTES and time.monotonic() < deadline:
            sent += 1
            compacting.append(writer.timed(sent))
        writer.stop()
        left = publisher.stop(drain_timeout_s=60)[SINK]
    left_bytes = path.stat().st_size
    if sink.fault or left or sink.taken != sent or left_bytes > _SMALL_BYTES:
        raise BadInput(
            f"the outbox failed its check: {sink.fault or 'in order'}; {sink.taken} of {sent} events came, {left} are "
            f"left, the file has {left_bytes} bytes; these figures would mean nothing"
        )
    return OutboxFigures(
        durability=durability,
        backlog=backlog,
        event_bytes=len(_event(1).to_json().encode()),
        alone=writer.spread(alone),
        draining=writer.spread(draining),
        compacting=writer.spread(compacting) if compacting else None,
        drained_per_s=drained_per_s,
        full_bytes=full_bytes,
        left_bytes=left_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Emitted:
    """One event: its place among those that were timed, when it was handed over, and what that took; nanoseconds."""

    place: int
    at_ns: int
    wall_ns: int
    cpu_ns: int


class _TimedWriter:
    """Emits events one by one at a steady pace, as the pipeline does, and takes their times."""

    def __init__(self, outbox: Outbox, first: int, period_ns: int) -> None:
        self._first = first
        self._period_ns = period_ns
        self._stored_ns: list[int] = []  # of the writer's thread, in the order of emitting
        self._writer = OutboxWriter(outbox, on_stored=self._note)
        self._writer.start()

    def timed(self, number: int) -> _Emitted:
        """Emit an event and wait for the rest of its period."""
        events = [_event(number)]
        cpu_before, before = time.thread_time_ns(), time.perf_counter_ns()
        self._writer.put(events)
        took, cpu = time.perf_counter_ns() - before, time.thread_time_ns() - cpu_before
        time.sleep(max(0, self._period_ns - took) / 1e9)
        return _Emitted(number - self._first - 1, before, took, cpu)

    def stop(self) -> None:
        self._writer.stop()

    def spread(self, emitted: Sequence[_Emitted]) -> Spread:
        """After `stop`."""
        walls, cpus = _cuts([each.wall_ns for each in emitted]), _cuts([each.cpu_ns for each in emitted])
        stored = _cuts([self._stored_ns[each.place] - each.at_ns for each in emitted])
        return Spread(
            count=len(emitted),
            p50_us=walls[49],
            p90_us=walls[89],
            p99_us=walls[98],
            max_us=round(max(each.wall_ns for each in emitted) / 1000, 1),
            cpu_p50_us=cpus[49],
            cpu_p99_us=cpus[98],
            stored_p50_us=stored[49],
            stored_p99_us=stored[98],
        )

    def _note(self, events: Sequence[Event]) -> None:
        self._stored_ns += [time.perf_counter_ns()] * len(events)


def _cuts(times_ns: Sequence[int]) -> list[float]:
    return [round(cut / 1000, 1) for cut in statistics.quantiles([*times_ns, times_ns[-1]], n=100, method="inclusive")]


def _event(number: int) -> Event:
    """A decision like any other."""
    now_ns = 1_769_860_800_000_000_000 + number * 1_000_000
    return SightingPayload(
        stage=SightingStage.IDENTIFIED,
        camera="bench",
        epoch=1,
        track=1,
        sequence=number,
        camera_sequence=number,
        captured_ns=now_ns,
        decided_ns=now_ns + 84_000_000,
        live=True,
        first_seen_ns=now_ns - 1_200_000_000,
        last_seen_ns=now_ns,
        frame=FrameRef(index=number, pts_ns=number * 40_000_000, size_wh=(1920, 1080)),
        box_xyxy=(100.12, 200.0, 180.5, 300.25),
        landmarks_xy=((120.0, 230.0), (160.0, 231.0), (140.0, 255.0), (125.0, 275.0), (156.0, 276.13)),
        detection_score=0.998,
        quality=0.83,
        answer=Answer.PERSON,
        reason="matched",
        identity=IdentityRef(id="5f0c2f0e-1c57-4a4e-9f6a-0c9b6f3f0d11", name="Ada Lovelace", score=0.71, margin=0.31),
        runner_up=RunnerUp(id="c0a801f2-7d3e-4b9f-8a36-5d0f2a1b6c77", name="Grace Hopper", score=0.4),
        shots=4,
        agreeing_shots=4,
        detector="retinaface-mobilenet0.25",
        embedder="mobilefacenet-192",
        gallery_version=12,
    ).to_event()
