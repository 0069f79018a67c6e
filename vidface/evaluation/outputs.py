"""What two runs said, held against each other: figures of a run that says something else mean nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.events.event import Event
from vidface.errors import VidfaceError

PX_TOLERANCE = 2.0
"""Boxes of two runs may differ by so much: batches of other sizes are computed by other kernels."""

SCORE_TOLERANCE = 0.02
"""Similarities likewise."""


class OutputsDiffer(VidfaceError, RuntimeError):
    """The measured run said something else than the same clip served alone: its figures mean nothing."""

    code = "outputs_differ"


def check_outputs(expected: Sequence[Event], measured: Sequence[Event], twins: Mapping[str, str]) -> None:
    """Check that each measured camera published what its reference did: the same sightings, answers and boxes.

    Args:
        expected: The reference run's events.
        measured: The measured run's events.
        twins: Reference camera by measured camera.

    Raises:
        OutputsDiffer: It names the first event that differs.
    """
    for camera, reference in twins.items():
        wanted = [event for event in expected if event.camera == reference]
        given = [event for event in measured if event.camera == camera]
        if len(wanted) != len(given):
            raise OutputsDiffer(f"{camera}: {len(given)} events were published where serve publishes {len(wanted)}")
        for want, got in zip(wanted, given, strict=True):
            difference = _difference(want, got)
            if difference:
                raise OutputsDiffer(f"{camera}: event {got.id} differs from serve's {want.id}: {difference}")


def _difference(want: Event, got: Event) -> str | None:
    if want.type != got.type:
        return f"{got.type} instead of {want.type}"
    a: Mapping[str, Any] = want.data
    b: Mapping[str, Any] = got.data
    if "track" not in a:
        return None if a["state"] == b["state"] else f"state {b['state']} instead of {a['state']}"
    for field in ("track", "sequence", "answer"):
        if a[field] != b[field]:
            return f"{field} {b[field]} instead of {a[field]}"
    if a["frame"] != b["frame"]:
        return f"frame {b['frame']['index']} instead of {a['frame']['index']}"
    if max(abs(p - q) for p, q in zip(a["box"], b["box"], strict=True)) > PX_TOLERANCE:
        return f"box {b['box']} instead of {a['box']}"
    mine, theirs = a["identity"], b["identity"]
    if (mine is None) != (theirs is None):
        return f"identity {theirs} instead of {mine}"
    if mine and (mine["name"] != theirs["name"] or abs(mine["score"] - theirs["score"]) > SCORE_TOLERANCE):
        return f"identity {theirs['name']} {theirs['score']} instead of {mine['name']} {mine['score']}"
    return None
