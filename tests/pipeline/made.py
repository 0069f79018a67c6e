"""Made-up frames, faces and shots: the smallest thing of each kind that a room takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.evidence import Candidate, Shot
from pipeline.faces import F32, Faces
from pipeline.fake import LANDMARKS_IN_BOX
from streams.frame import FrameMeta

MS = 1_000_000
SECOND = 1_000_000_000
RECORDED_AT_NS = 1_700_000_000 * SECOND

Box = tuple[float, float, float, float]


def meta_of(
    camera: str = "door",
    index: int = 0,
    *,
    epoch: int = 1,
    pts_ns: int | None = None,
    arrived_ns: int = 0,
    size_wh: tuple[int, int] = (640, 480),
) -> FrameMeta:
    """The metadata of a frame; without `pts_ns` 25 frames a second."""
    pts_ns = index * 40 * MS if pts_ns is None else pts_ns
    return FrameMeta(
        camera=camera,
        epoch=epoch,
        index=index,
        pts_ns=pts_ns,
        captured_ns=RECORDED_AT_NS + pts_ns,
        received_ns=arrived_ns,
        arrived_ns=arrived_ns,
        size_wh=size_wh,
    )


def faces_of(*boxes_xyxy: Box, scores: Sequence[float] | None = None) -> Faces:
    """Frontal faces in these boxes."""
    boxes = np.array(boxes_xyxy, np.float32).reshape(-1, 4)
    sizes = boxes[:, None, 2:] - boxes[:, None, :2]
    return Faces(
        boxes_xyxy=boxes,
        scores=np.array(scores if scores is not None else [0.99] * len(boxes), np.float32),
        landmarks_xy=np.asarray(boxes[:, None, :2] + LANDMARKS_IN_BOX * sizes, np.float32),
    )


def square(x: float, y: float, side: float = 100.0) -> Box:
    return (x, y, x + side, y + side)


def unit(*values: float) -> F32:
    vector = np.array(values, np.float64)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def axis(number: int, dim: int = 8) -> F32:
    """A unit vector that is at right angles to every other number's."""
    vector = np.zeros(dim, np.float32)
    vector[number] = 1.0
    return vector


def candidate(name: str, score: float) -> Candidate:
    return Candidate(id=f"id-{name}", name=name, score=score)


def shot_of(template: F32, pts_ns: int = 0, *, quality: float = 0.8, best: Candidate | None = None) -> Shot:
    return Shot(template=template, quality=quality, pts_ns=pts_ns, best=best)
