"""Following faces from frame to frame: our seam over the `trackers` library, one tracker a camera.

ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", 2022) with buffered
overlap (Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by
Buffering the Matching Space", 2023): a face is small, and between two detections at 5 a second it can move by more
than its own width, where plain overlap is zero.

The library counts its ids in each instance, so nothing about them is shared between cameras; a test holds that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import Faces

UNCONFIRMED = -1
"""The track of a face that is not confirmed yet."""

LIBRARY_FPS = 30.0
"""The rate in which `trackers` counts its lost-track buffer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackOptions:
    """How faces are followed.

    Attributes:
        lost_s: A face that has not been seen for so long is gone.
        min_hits: Detections in a row before a face is confirmed.
        min_iou: Least buffered overlap of a track's predicted box and a detection.
        buffer_ratio: By how much of its width and height a box is widened on each side before overlaps are taken.
        new_track_score: Least detection score that may begin a track.
        nominal_fps: The rate at which the motion model's noise was tuned; real intervals are measured.
    """

    lost_s: float = 1.0
    min_hits: int = 2
    min_iou: float = 0.1
    buffer_ratio: float = 0.6
    new_track_score: float = 0.7
    nominal_fps: float = 25.0


class Tracker(Protocol):
    """The seam of tracking: one instance follows one epoch of one camera."""

    def update(self, faces: Faces, time_s: float) -> NDArray[np.int64]:
        """Match the faces of the next frame.

        Args:
            faces: N detections.
            time_s: The frame's media time in seconds, never before the last call's.

        Returns:
            ``(N,)`` int64 track ids from 1, row by row; `UNCONFIRMED` where there is none yet.
        """
        ...


class ByteTracker:
    """ByteTrack with buffered overlap, from the `trackers` library."""

    def __init__(self, options: TrackOptions | None = None) -> None:
        from trackers import ByteTrackTracker
        from trackers.utils.iou import BIoU

        options = options or TrackOptions()
        self._tracker = ByteTrackTracker(
            lost_track_buffer=max(1, round(options.lost_s * LIBRARY_FPS)),
            frame_rate=options.nominal_fps,
            track_activation_threshold=options.new_track_score,
            minimum_consecutive_frames=options.min_hits,
            minimum_iou_threshold=options.min_iou,
            high_conf_det_threshold=min(0.6, options.new_track_score),
            iou=BIoU(buffer_ratio=options.buffer_ratio),
        )
        self._time_s: float | None = None

    def update(self, faces: Faces, time_s: float) -> NDArray[np.int64]:
        """See `Tracker.update`. A time that is not after the last one counts as a millisecond later."""
        import supervision

        if self._time_s is not None and time_s <= self._time_s:
            time_s = self._time_s + 1e-3
        self._time_s = time_s
        rows = np.arange(len(faces))
        detections = supervision.Detections(
            xyxy=faces.boxes_xyxy.astype(np.float64), confidence=faces.scores, data={"row": rows}
        )
        tracked = self._tracker.update(detections, timestamp=time_s)
        answer = np.full(len(faces), UNCONFIRMED, np.int64)
        if len(tracked):
            library_ids = np.asarray(tracked.tracker_id)
            confirmed = library_ids >= 0
            answer[np.asarray(tracked.data["row"])[confirmed]] = library_ids[confirmed] + 1
        return answer
