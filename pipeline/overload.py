"""Which live cameras are looked at less often than wanted because the machine cannot keep up. Pure.

Looked at once a second: what a camera got in the last few seconds is held against what it wanted. Too little counts as
overload only where frames were there and were left out, since a camera that sends little is no fault of the machine.
Two bounds and a patience keep a rate near the bound from telling both by turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

OVERLOADED_UNDER: Final = 0.8
"""Less than this part of the wanted rate is overload."""

RECOVERED_FROM: Final = 0.95
"""From this part on the camera keeps up again."""

WINDOW_S: Final = 5.0
"""Rates are taken over so many seconds."""

LEFT_OUT: Final = frozenset({"superseded", "expired", "skipped_unreferenced", "skipped_late"})
"""What becomes of frames that the machine has no time for; see `metrics.FrameCounts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraLoad:
    """How a camera with a wanted rate fares.

    Attributes:
        wanted_fps: Detections a second that are asked for.
        granted_fps: Those that it got, over the last `WINDOW_S`.
        left_out_fps: Frames a second that the machine had no time for.
        overloaded: Whether it is told as overloaded.
    """

    wanted_fps: float
    granted_fps: float
    left_out_fps: float
    overloaded: bool


@dataclass(slots=True)
class _Seen:
    samples: deque[tuple[float, int, int]] = field(default_factory=deque)
    overloaded: bool = False


class LoadWatch:
    """Watches the live cameras that have a wanted rate. One thread uses it.

    Args:
        wanted_fps: By camera, its wanted detections a second.
    """

    def __init__(self, wanted_fps: Mapping[str, float]) -> None:
        self._wanted_fps = dict(wanted_fps)
        self._seen: dict[str, _Seen] = {camera: _Seen() for camera in wanted_fps}

    def look(
        self, now_s: float, counts: Mapping[str, Mapping[str, int]], live: frozenset[str]
    ) -> tuple[Mapping[str, CameraLoad], tuple[str, ...]]:
        """Take a sample.

        Args:
            now_s: Monotonic seconds.
            counts: By camera and outcome, all frames so far.
            live: The cameras that are connected; the others want nothing, and begin anew when they are back.

        Returns:
            How each connected camera fares, once there is a whole window of it, and the cameras for which `overloaded`
            has just changed.
        """
        loads: dict[str, CameraLoad] = {}
        changed = []
        for camera, seen in self._seen.items():
            if camera not in live:
                self._seen[camera] = _Seen()
                continue
            load = self._load(camera, seen, now_s, counts.get(camera, {}))
            if load is None:
                continue
            loads[camera] = load
            if load.overloaded != seen.overloaded:
                seen.overloaded = load.overloaded
                changed.append(camera)
        return loads, tuple(changed)

    def _load(self, camera: str, seen: _Seen, now_s: float, counts: Mapping[str, int]) -> CameraLoad | None:
        detected = counts.get("detected", 0)
        left_out = sum(counts.get(outcome, 0) for outcome in LEFT_OUT)
        seen.samples.append((now_s, detected, left_out))
        while len(seen.samples) > 2 and seen.samples[1][0] <= now_s - WINDOW_S:
            seen.samples.popleft()
        began_s, detected_before, left_out_before = seen.samples[0]
        if now_s - began_s < WINDOW_S:
            return None
        wanted_fps = self._wanted_fps[camera]
        granted_fps = (detected - detected_before) / (now_s - began_s)
        left_out_fps = (left_out - left_out_before) / (now_s - began_s)
        part = granted_fps / wanted_fps
        if seen.overloaded:
            overloaded = part < RECOVERED_FROM and left_out_fps > 0
        else:
            overloaded = part < OVERLOADED_UNDER and left_out_fps > 0
        return CameraLoad(
            wanted_fps=wanted_fps, granted_fps=granted_fps, left_out_fps=left_out_fps, overloaded=overloaded
        )
