"""Pictures with drawn faces, and their labels: what a network can learn in seconds, without a photo."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from weights.workshop.labels import LabelledFaces, LabelledPicture
from weights.workshop.pictures import U8Picture

POINTS = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]], np.float32)
"""Eyes, nose, mouth corners within a face's box."""


def labels(*boxes: tuple[float, float, float, float]) -> LabelledFaces:
    """Faces of these left, top, right, bottom, with their landmarks."""
    array = np.array(boxes, np.float32).reshape(-1, 4)
    sides = array[:, 2:] - array[:, :2]
    return LabelledFaces(
        boxes_xyxy=array,
        landmarks_xy=array[:, None, :2] + POINTS * sides[:, None],
        has_landmarks=np.ones(len(array), np.bool_),
    )


def draw(size_wh: tuple[int, int], faces: LabelledFaces, seed: int = 0) -> U8Picture:
    """Bright ovals with dark spots, over noise."""
    rng = np.random.default_rng(seed)
    picture = rng.integers(60, 120, (size_wh[1], size_wh[0], 3)).astype(np.uint8)
    for box, points in zip(faces.boxes_xyxy, faces.landmarks_xy, strict=True):
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        cv2.ellipse(picture, tuple(map(int, centre)), tuple(map(int, half)), 0, 0, 360, (150, 190, 240), -1)
        for point in points:
            cv2.circle(picture, tuple(map(int, point)), max(1, int(half[0] / 6)), (20, 20, 20), -1)
    return picture


def drawn_set(folder: Path, count: int, *, size_px: int = 64, seed: int = 0) -> list[LabelledPicture]:
    """So many square pictures in a folder, one face in each."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        side = rng.uniform(size_px / 4, size_px / 2)
        left, top = rng.uniform(0, size_px - side, 2)
        faces = labels((left, top, left + side, top + side))
        path = folder / f"{number}.png"
        assert cv2.imwrite(str(path), draw((size_px, size_px), faces, seed=number))
        made.append(LabelledPicture(path=path, faces=faces))
    return made
