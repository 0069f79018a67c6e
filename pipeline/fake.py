"""Stand-ins for the models, behind the same seams, for tests of everything around them.

A fake picture tells its own faces: `FakeDetector` reads them from the pixels' colours, so a scripted clip goes through
the real scheduler, tracker, decision and events without weights.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.canvas import Canvas
from pipeline.faces import F32, Faces, U8Image
from pipeline.mobilefacenet import unit_rows

LANDMARKS_IN_BOX: F32 = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
"""Where a frontal face's landmarks lie in its box, as fractions of its width and height."""


def draw_fake_face(picture: U8Image, box_xywh: tuple[int, int, int, int], person: int) -> None:
    """Draw a rectangle that `FakeDetector` finds and `FakeEmbedder` tells from other persons' (0..14)."""
    x, y, width, height = box_xywh
    picture[max(0, y) : y + height, max(0, x) : x + width] = (16 + person * 16, 255, 255)


class FakeDetector:
    """Finds the rectangles that `draw_fake_face` drew."""

    name = "fake-detector"
    description = "fake"
    fill_bgr = (0, 0, 0)
    parallel = 2

    def __init__(self, canvas: Canvas, score: float = 0.99) -> None:
        self.canvas = canvas
        self.score = score
        self.batches: list[int] = []

    def on(self, canvas: Canvas) -> FakeDetector:
        """See `retinaface.Detector.on`; both count their batches in one list."""
        other = FakeDetector(canvas, self.score)
        other.batches = self.batches
        return other

    def submit(self, batch: NDArray[np.uint8]) -> Callable[[], list[Faces]]:
        """See `retinaface.Detector.submit`."""
        return lambda: self.detect(batch)

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        """See `retinaface.Detector.detect`."""
        self.batches.append(len(batch))
        return [self._faces(picture) for picture in batch]

    def _faces(self, picture: NDArray[np.uint8]) -> Faces:
        mask = np.asarray((picture[..., 1] > 200) & (picture[..., 2] > 200), np.uint8)
        count, _labels, stats, _centres = cv2.connectedComponentsWithStats(mask)
        boxes = [
            (stats[i, 0], stats[i, 1], stats[i, 0] + stats[i, 2], stats[i, 1] + stats[i, 3]) for i in range(1, count)
        ]
        if not boxes:
            return Faces.empty()
        boxes_xyxy = np.array(boxes, np.float32)
        sizes = boxes_xyxy[:, None, 2:] - boxes_xyxy[:, None, :2]
        return Faces(
            boxes_xyxy=boxes_xyxy,
            scores=np.full(len(boxes), self.score, np.float32),
            landmarks_xy=np.asarray(boxes_xyxy[:, None, :2] + LANDMARKS_IN_BOX * sizes, np.float32),
        )


class FakeEmbedder:
    """Gives each person of `draw_fake_face` a direction of their own."""

    name = "fake-embedder"
    description = "fake"
    dim = 16

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, aligned_bgr: U8Image) -> F32:
        """See `mobilefacenet.Embedder.embed`."""
        self.batches.append(len(aligned_bgr))
        middle = aligned_bgr[:, 56, 56, 0].astype(int)
        templates = np.full((len(aligned_bgr), self.dim), 0.05, np.float32)
        templates[np.arange(len(aligned_bgr)), np.clip((middle - 8) // 16, 0, self.dim - 1)] = 1.0
        return unit_rows(templates)

    def template_of(self, person: int) -> F32:
        """``(1, dim)`` the template of a person, to enrol."""
        face = np.zeros((1, 112, 112, 3), np.uint8)
        face[..., 0] = 16 + person * 16
        return self.embed(face)
