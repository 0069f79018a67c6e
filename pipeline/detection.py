"""Frames to faces: scale into one batch, detect, and bring the faces back to full-frame pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.analysis import DetectedFrame
from pipeline.metrics import StageTimes
from pipeline.retinaface import Detector
from streams.frame import Frame


def detect_frames(
    detector: Detector, frames: Sequence[Frame], times: StageTimes, *, min_face_px: float = 0.0
) -> list[DetectedFrame]:
    """Detect the faces of some frames as one batch, and wait for them; see `begin_detection`."""
    return begin_detection(detector, frames, times, min_face_px=min_face_px)()


def begin_detection(
    detector: Detector, frames: Sequence[Frame], times: StageTimes, *, min_face_px: float = 0.0
) -> Callable[[], list[DetectedFrame]]:
    """Scale some frames into one batch and begin to detect their faces.

    Only the small picture of each frame is converted, straight from the decoder's planes.

    Args:
        detector: Its canvas and fill colour are used.
        frames: Of any sizes; none is fine.
        times: Where the time of the stages ``scale`` and ``detect`` is summed; the latter is the time that `detect`
            was waited for.
        min_face_px: Faces whose shorter side is smaller, in full-frame pixels, are left out.

    Returns:
        What waits for the faces and returns them, in the order of `frames`. Called once, in the same thread.
    """
    if not frames:
        return list
    canvas = detector.canvas
    with times.measure("scale", len(frames)):
        batch = canvas.blank_batch(len(frames), detector.fill_bgr)
        for place, frame in enumerate(frames):
            width, height = canvas.scaled_size_wh(frame.meta.size_wh)
            batch[place, :height, :width] = frame.picture.scaled_bgr((width, height))
    finish = detector.submit(batch)

    def detected() -> list[DetectedFrame]:
        with times.measure("detect", len(frames)):
            found = finish()
        answer = []
        for frame, faces in zip(frames, found, strict=True):
            in_picture = canvas.to_picture(faces, frame.meta.size_wh)
            answer.append(DetectedFrame(frame=frame, faces=in_picture[in_picture.sizes_px >= min_face_px]))
        return answer

    return detected
