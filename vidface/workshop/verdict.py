"""The candidates of an optimisation, judged on pictures that nobody has seen; the best that meets the goal is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidface.evaluation.agreement import Agreement
from vidface.workshop.goal import BASELINE, Candidate, Goal
from vidface.workshop.judge import Exam, Judge
from vidface.workshop.network import registered
from weights.local import LocalModel
from weights.manifest import Measurement, ModelSpec

ROUNDS = 100
"""Turns in which the candidates are timed."""


def verdict(
    judge: Judge, candidates: Sequence[Candidate], exam: Exam, goal: Goal, *, full: ModelSpec, name: str, origin: Path
) -> dict[str, Any]:
    """Judge the candidates, and register the one that agrees most of those that meet the goal.

    Args:
        judge: Opens and times them.
        candidates: What was made.
        exam: Pictures that neither learning nor choosing has seen.
        goal: What is asked for.
        full: The model that they were made from.
        name: What the best will be called.
        origin: Where the pictures come from.

    Returns:
        ``candidates`` and ``timings``; ``kept``, ``registered`` and ``path``, which are None where none meets the goal.
    """
    detectors = {each.name: judge.open(each.path, each.spec) for each in candidates}
    timings = judge.times({**judge.full_detectors, **detectors}, exam, rounds=ROUNDS)
    lines, best = [], None
    for candidate in candidates:
        agreed = judge.agreement(detectors[candidate.name], exam)
        median_ms = timings[candidate.name].median_ms
        speedup = timings[BASELINE].median_ms / median_ms
        met = {
            "speedup": speedup >= goal.speedup,
            "keep": agreed.f1 >= goal.keep,
            "small": agreed.small_recall >= 1 - goal.small_loss,
        }
        lines.append(
            {
                "name": candidate.name,
                "speedup": speedup,
                "speedup_over_openvino": timings["openvino f32"].median_ms / median_ms,
                "agreement": agreed.as_json(),
                "size_bytes": candidate.path.stat().st_size,
                "met": met,
            }
        )
        if all(met.values()) and (best is None or agreed.f1 > best[1].f1):
            best = candidate, agreed, speedup
    made = _registered(*best, goal=goal, full=full, name=name, origin=origin) if best is not None else None
    return {
        "registered": made.spec.name if made else None,
        "path": str(made.path) if made else None,
        "kept": best[0].name if best else None,
        "candidates": lines,
        "timings": {each: timing.as_json() for each, timing in timings.items()},
    }


def _registered(
    candidate: Candidate, agreed: Agreement, speedup: float, *, goal: Goal, full: ModelSpec, name: str, origin: Path
) -> LocalModel:
    on = f"{origin.name}: pictures that it has not learnt from"
    return registered(
        candidate.path,
        candidate.spec,
        name=name,
        based_on=full,
        how=candidate.name,
        accuracy=(
            Measurement(dataset=on, metric="F1 against the full model at score 0.5", value=agreed.f1, note=""),
            Measurement(dataset=on, metric="recall of faces under 30 px", value=agreed.small_recall, note=""),
            Measurement(
                dataset=f"{goal.canvas.width}x{goal.canvas.height}, one picture",
                metric="times as fast as the full model in ONNX Runtime, float32",
                value=speedup,
                note="on the machine that made it",
            ),
        ),
    )
