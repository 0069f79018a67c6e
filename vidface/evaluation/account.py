"""Where a run's processor time went: rows that sum to what the whole process took. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.metrics import StageTime
from vidface.evaluation import system

STAGE_THREADS: Final[Mapping[str, str]] = dict.fromkeys(("scale", "compare", "detect", "detect parts"), system.DETECT)
"""The kind of thread that a stage runs in, of those that don't run in the analysis thread."""

NESTED: Final[Mapping[str, str]] = {"outbox": "events"}
"""Stages that run inside another one, whose time holds theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One part of the processor time.

    Attributes:
        part: Its name: a stage, or what its threads are for.
        thread: The kind of thread that spent it.
        cpu_s: Seconds.
    """

    part: str
    thread: str
    cpu_s: float


def account(cpu_s: Mapping[str, float], stages: Mapping[str, StageTime]) -> list[Row]:
    """Split a process's processor time.

    A stage has the time of its own thread; what the engines' threads do for detection, refining and embedding is one
    row of its own, since an engine doesn't say for whom it works.

    Args:
        cpu_s: Seconds by kind of thread, and `total`; see `system.CpuAccount.seconds`.
        stages: The stages of the same time.

    Returns:
        Rows that sum to `total`. What belongs to nobody known is `other`; that is where errors of sampling are.
    """
    own = {stage: time.cpu_s for stage, time in stages.items()}
    for inner, outer in NESTED.items():
        if inner in own and outer in own:
            own[outer] = max(0.0, own[outer] - own[inner])
    rows = [Row(part="decode", thread=system.DECODE, cpu_s=cpu_s.get(system.DECODE, 0.0))]
    rows.append(Row(part="inference", thread=system.INFERENCE, cpu_s=cpu_s.get(system.INFERENCE, 0.0)))
    for thread in (system.DETECT, system.ANALYSIS):
        mine = {s: seconds for s, seconds in own.items() if STAGE_THREADS.get(s, system.ANALYSIS) == thread}
        rows += [Row(part=stage, thread=thread, cpu_s=seconds) for stage, seconds in mine.items()]
        rest_s = cpu_s.get(thread, 0.0) - sum(mine.values())
        rows.append(Row(part=f"rest of {thread}", thread=thread, cpu_s=max(0.0, rest_s)))
    rows.append(Row(part="sinks", thread=system.SINKS, cpu_s=cpu_s.get(system.SINKS, 0.0)))
    rows.append(Row(part="bench itself", thread=system.BENCH, cpu_s=cpu_s.get(system.BENCH, 0.0)))
    other_s = cpu_s.get("total", 0.0) - sum(row.cpu_s for row in rows)
    return [*rows, Row(part="other", thread="", cpu_s=other_s)]


def stages_between(before: Mapping[str, StageTime], after: Mapping[str, StageTime]) -> dict[str, StageTime]:
    """What each stage did between two snapshots."""
    none = StageTime(calls=0, items=0, wall_s=0.0)
    answer = {}
    for stage, now in after.items():
        was = before.get(stage, none)
        answer[stage] = StageTime(
            calls=now.calls - was.calls,
            items=now.items - was.items,
            wall_s=now.wall_s - was.wall_s,
            cpu_s=now.cpu_s - was.cpu_s,
        )
    return answer
