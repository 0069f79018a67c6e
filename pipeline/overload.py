"""Which live cameras are looked at less often than wanted because the machine cannot keep up. Pure.

Looked at once a second: what a camera got in the last few seconds is held against what it wanted. Too little counts as
overload only where frames were there and were left out, since a camera that sends little is no fault of the machine.
Two bounds and a patience keep a rate near the bound from telling both by turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.scheduler import Policy, Share
from streams.shed import Skipped

OVERLOADED_UNDER: Final = 0.8
"""Less than this part of the wanted rate is overload."""

RECOVERED_FROM: Final = 0.95
"""From this part on the camera keeps up again."""

WINDOW_S: Final = 5.0
"""Rates are taken over so many seconds."""

PASSED_OVER: Final = frozenset({"superseded", "expired"})
"""What becomes of frames that were due and that the machine had no time for; see `metrics.FrameCounts`."""

SKIPPED: Final = tuple(why.value for why in Skipped)
"""Likewise of frames, due or not, that were not even decoded."""

LEFT_OUT: Final = PASSED_OVER.union(SKIPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraLoad:
    """How a camera fares.

    Attributes:
        wanted_fps: Detections a second that are asked for; of a camera that wants all frames, those that there were.
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
    samples: deque[tuple[float, int, int, int]] = field(default_factory=deque)
    overloaded: bool = False


class LoadWatch:
    """Watches the live cameras. One thread uses it.

    Args:
        shares: What each camera asks for; recordings want nothing in time, and are passed over.
    """

    def __init__(self, shares: Iterable[Share]) -> None:
        self._shares = {share.camera: share for share in shares if share.policy is Policy.LIVE}
        self._seen: dict[str, _Seen] = {camera: _Seen() for camera in self._shares}

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
        passed_over = sum(counts.get(outcome, 0) for outcome in PASSED_OVER)
        skipped = sum(counts.get(outcome, 0) for outcome in SKIPPED)
        seen.samples.append((now_s, detected, passed_over, skipped))
        while len(seen.samples) > 2 and seen.samples[1][0] <= now_s - WINDOW_S:
            seen.samples.popleft()
        began_s, detected_before, passed_over_before, skipped_before = seen.samples[0]
        over_s = now_s - began_s
        if over_s < WINDOW_S:
            return None
        granted_fps = (detected - detected_before) / over_s
        passed_over_fps = (passed_over - passed_over_before) / over_s
        skipped_fps = (skipped - skipped_before) / over_s
        left_out_fps = passed_over_fps + skipped_fps
        share = self._shares[camera]
        wanted_fps = share.fps or granted_fps + passed_over_fps + skipped_fps / share.every
        part = granted_fps / wanted_fps if wanted_fps else 1.0
        if seen.overloaded:
            overloaded = part < RECOVERED_FROM and left_out_fps > 0
        else:
            overloaded = part < OVERLOADED_UNDER and left_out_fps > 0
        return CameraLoad(
            wanted_fps=wanted_fps, granted_fps=granted_fps, left_out_fps=left_out_fps, overloaded=overloaded
        )
