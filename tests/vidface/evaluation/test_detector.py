"""Several passes over a picture: where they look, and how what they find is put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.canvas import Canvas
from pipeline.faces import Faces
from pipeline.photo import load_photo
from tests.vidface.evaluation.test_average_precision import picture
from vidface.evaluation.detector import (
    MIRRORED,
    Merge,
    PassOptions,
    PictureDetector,
    draw_verdict,
    merged,
    save_verdict,
    unmirrored,
)
from vidface.evaluation.face_labels import LabelledPicture

SMALL = Canvas(width=64, height=64)


@dataclass
class BrightSpot:
    """Finds the one bright rectangle on a dark canvas, as any detector would find a face; remembers its canvases."""

    canvas: Canvas = SMALL
    seen: list[Canvas] = field(default_factory=list)
    name: str = "spot"
    description: str = "fake"
    fill_bgr: tuple[int, int, int] = (0, 0, 0)
    parallel: int = 1

    def on(self, canvas: Canvas) -> BrightSpot:
        return BrightSpot(canvas=canvas, seen=self.seen)

    def submit(self, batch: NDArray[np.uint8]) -> Callable[[], list[Faces]]:
        return lambda: self.detect(batch)

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        self.seen.append(self.canvas)
        assert batch.shape[1:3] == (self.canvas.height, self.canvas.width)
        found = []
        for each in batch:
            rows, columns = np.nonzero(each[..., 0] > 127)
            box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
            left, top, right, bottom = box[0]
            nose = ((left + right) / 2, (top + bottom) / 2)
            points = np.array([[(left, top), (right, top), nose, (left, bottom), (right, bottom)]], np.float32)
            found.append(Faces(boxes_xyxy=box, scores=np.full(1, 0.9, np.float32), landmarks_xy=points))
        return found


def spot(size_wh: tuple[int, int], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    photo = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    left, top, right, bottom = box
    photo[top:bottom, left:right] = 255
    return photo


@pytest.mark.parametrize(
    ("options", "canvases"),
    [
        pytest.param(PassOptions(), [(64, 64)], id="once"),
        pytest.param(PassOptions(scales=(0.5, 1, 2)), [(32, 32), (64, 64), (128, 128)], id="three-scales"),
        pytest.param(PassOptions(flip=True), [(64, 64), (64, 64)], id="mirrored"),
        pytest.param(PassOptions(original_size=True), [(256, 128)], id="own-size"),
        pytest.param(PassOptions(original_size=True, scales=(2,)), [(512, 256)], id="own-size-twice"),
        pytest.param(
            PassOptions(scales=(1, 2), flip=True, merge=Merge.NMS), [(64, 64)] * 2 + [(128, 128)] * 2, id="all"
        ),
    ],
)
def test_a_face_is_found_where_it_is_whatever_the_passes(options: PassOptions, canvases: list[tuple[int, int]]) -> None:
    fake = BrightSpot()
    faces = PictureDetector(fake, options).find(spot((200, 100), (40, 20, 80, 60)))
    assert [(canvas.width, canvas.height) for canvas in fake.seen] == canvases
    assert len(faces) == 1
    # A pixel of the smallest canvas is 200 / 32 of the picture's.
    assert faces.boxes_xyxy[0] == pytest.approx([40, 20, 80, 60], abs=7)
    points = np.array([[40, 20], [80, 20], [60, 40], [40, 60], [80, 60]])
    assert faces.landmarks_xy[0] == pytest.approx(points, abs=7)


def test_a_mirrored_face_has_its_eyes_and_corners_where_they_belong() -> None:
    # Mirrored in 100 px: x becomes 100 - x. The mirrored left eye is the right one, and so the mouth's corners.
    points = np.array([[[10, 1], [20, 2], [15, 3], [11, 4], [19, 5]]], np.float32)
    faces = Faces(boxes_xyxy=np.array([[5, 0, 25, 10]], np.float32), scores=np.ones(1, np.float32), landmarks_xy=points)
    back = unmirrored(faces, 100)
    assert back.boxes_xyxy.tolist() == [[75, 0, 95, 10]]
    assert back.landmarks_xy[0].tolist() == [[80, 2], [90, 1], [85, 3], [81, 5], [89, 4]]
    assert unmirrored(back, 100).landmarks_xy.tolist() == points.tolist()
    assert [MIRRORED[row] for row in MIRRORED] == list(range(5))


def of(*scored: tuple[float, tuple[float, float, float, float]]) -> Faces:
    boxes = np.array([box for _, box in scored], np.float32)
    return Faces(
        boxes_xyxy=boxes,
        scores=np.array([score for score, _ in scored], np.float32),
        landmarks_xy=np.repeat(boxes[:, None, :2], 5, axis=1),
    )


def test_voting_takes_the_mean_by_score() -> None:
    # 0.75 : 0.25 of boxes from 0 and from 4: the left edge is at 1, the right one at 41; so are the landmarks.
    passes = [of((0.75, (0, 0, 40, 40))), of((0.25, (4, 0, 44, 40)), (0.5, (200, 0, 240, 40)))]
    voted = merged(passes, 0.4, Merge.VOTE)
    assert voted.boxes_xyxy.tolist() == [[1, 0, 41, 40], [200, 0, 240, 40]]
    assert voted.landmarks_xy[0].tolist() == [[1, 0]] * 5
    assert voted.scores.tolist() == [0.75, 0.5]
    kept = merged(passes, 0.4, Merge.NMS)
    assert kept.boxes_xyxy.tolist() == [[0, 0, 40, 40], [200, 0, 240, 40]]
    assert len(merged([Faces.empty(), Faces.empty()], 0.4, Merge.VOTE)) == 0


def test_verdicts_are_drawn_in_their_colours(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    cv2.imwrite(str(path), np.zeros((200, 400, 3), np.uint8))
    base = picture((20, 100, 80, 180), (120, 100, 180, 180))
    label = LabelledPicture(
        name="folder/p.png",
        path=path,
        boxes_xyxy=base.boxes_xyxy,
        ignored=base.ignored,
        landmarks_xy=base.landmarks_xy,
    )
    found = of((0.9, (20, 100, 80, 180)), (0.8, (320, 100, 380, 180)), (0.1, (220, 100, 280, 180)))
    drawn: NDArray[Any] = draw_verdict(label, found)
    bottom = drawn[180]
    blue, green, red = (int(value) for value in bottom[50])
    assert green > max(blue, red)  # right
    blue, green, red = (int(value) for value in bottom[350])
    assert red > max(blue, green)  # wrong
    blue, green, red = (int(value) for value in bottom[150])
    assert blue > max(green, red)  # missed
    assert not bottom[250].any()  # too faint to be drawn
    saved = save_verdict(label, found, tmp_path)
    assert saved == tmp_path / "folder__p.jpg"
    assert load_photo(saved).shape == (200, 400, 3)
