"""What an event costs the pipeline: how long appending takes while a backlog is delivered and its room given back.

The run is checked before it is believed: every event must have arrived once and in order, and the file be small again.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import Durability, OutboxOptions
from pipeline.events.payload import Answer, FrameRef, IdentityRef, RunnerUp, SightingPayload, SightingStage
from pipeline.events.publisher import Publisher
from vidface.errors import BadInput
from vidface.service import rare_collections

SINK = "bench"
_FILL = 1000
_SMALL_BYTES = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How long one append took, in microseconds of the wall's clock.

    Attributes:
        count: How many were timed.
        p50_us: The median.
        p90_us: Nine in ten were quicker.
        p99_us: So were 99 in a hundred.
        max_us: The longest.
        cpu_p50_us: The median of the processor time of the appending thread: what other threads and programs delay is
            not in it.
        cpu_p99_us: The same for 99 in a hundred.
    """

    count: int
    p50_us: float
    p90_us: float
    p99_us: float
    max_us: float
    cpu_p50_us: float
    cpu_p99_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxFigures:
    """What was measured.

    Attributes:
        durability: With which.
        backlog: Events that waited when the sink came back.
        event_bytes: One event's size as JSON.
        alone: Appending while nothing else happens.
        draining: Appending while the backlog is delivered.
        compacting: Appending while the file shrinks.
        drained_per_s: Events delivered a second until the backlog was gone; what was appended meanwhile counts.
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
    """Fill an outbox, let a sink come back, and append all the while at a steady pace.

    Args:
        path: The file to make; it must not be there.
        backlog: Events that wait when the sink comes back.
        per_s: Events appended a second while it drains.
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
        alone = []
        for _ in range(min(2000, backlog)):
            sent += 1
            alone.append(_timed(outbox, sent, period_ns))
        full_bytes = path.stat().st_size
        publisher = Publisher(outbox, [sink])
        publisher.start()
        draining, compacting = [], []
        started = time.perf_counter()
        while outbox.pending(SINK) > 256:
            sent += 1
            draining.append(_timed(outbox, sent, period_ns))
        drained_per_s = sink.taken / (time.perf_counter() - started)
        deadline = time.monotonic() + 60
        while path.stat().st_size > _SMALL_BYTES and time.monotonic() < deadline:
            sent += 1
            compacting.append(_timed(outbox, sent, period_ns))
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
        alone=_spread(alone),
        draining=_spread(draining),
        compacting=_spread(compacting) if compacting else None,
        drained_per_s=drained_per_s,
        full_bytes=full_bytes,
        left_bytes=left_bytes,
    )


_Times: TypeAlias = tuple[int, int]


def _timed(outbox: Outbox, number: int, period_ns: int) -> _Times:
    """Append one event and wait for the rest of its period; wall and processor time of appending in nanoseconds."""
    event = _event(number)
    cpu_before, before = time.thread_time_ns(), time.perf_counter_ns()
    outbox.append([event])
    took, cpu = time.perf_counter_ns() - before, time.thread_time_ns() - cpu_before
    time.sleep(max(0, period_ns - took) / 1e9)
    return took, cpu


def _spread(times_ns: Sequence[_Times]) -> Spread:
    walls, cpus = (_cuts([pair[place] for pair in times_ns]) for place in (0, 1))
    return Spread(
        count=len(times_ns),
        p50_us=walls[49],
        p90_us=walls[89],
        p99_us=walls[98],
        max_us=round(max(wall for wall, _ in times_ns) / 1000, 1),
        cpu_p50_us=cpus[49],
        cpu_p99_us=cpus[98],
    )


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
