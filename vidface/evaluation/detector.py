"""A detector on single pictures as detectors are tested: at several scales, mirrored, at the pictures' own size.

What the passes over one picture find is put together by suppression alone, or by box voting: a kept box becomes the
mean of all boxes that overlap it, weighted by their scores (Gidaris and Komodakis, "Object detection via a multi-region
& semantic segmentation-aware CNN model", 2015); its landmarks likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pipeline.canvas import CANVAS_STEP_PX, Canvas
from pipeline.faces import Faces, U8Image
from pipeline.nms import iou_matrix, suppress
from pipeline.photo import load_photo
from pipeline.retinaface import Detector
from streams.picture import ArrayPicture
from vidface.draw import FOUND, PERSON, STRANGER, Mark, draw_faces
from vidface.errors import BadInput
from vidface.evaluation.average_precision import judge
from vidface.evaluation.face_labels import LabelledPicture

FREE_STEP_PX: Final = 4 * CANVAS_STEP_PX
"""Canvases for pictures of any size are multiples of this: an engine is compiled anew for each size that comes."""

MIRRORED: Final = (1, 0, 2, 4, 3)
"""Which landmark of a mirrored face is which of the face's."""

DRAWN_SCORE: Final = 0.5
"""Fainter faces are not drawn: at the thresholds of an evaluation a picture is covered with them."""


class Merge(StrEnum):
    """How the faces of several passes become one list."""

    NMS = "nms"
    VOTE = "vote"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassOptions:
    """What each picture goes through.

    Attributes:
        original_size: Pictures keep their size, times the scale, instead of being scaled to the detector's canvas.
        scales: A pass each: factors on the canvas, or on the picture's own size.
        flip: Each pass is made of the mirrored picture as well.
        merge: How the passes are put together.
        nms_iou: Boxes that overlap more than this are the same face.
    """

    original_size: bool = False
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    merge: Merge = Merge.VOTE
    nms_iou: float = 0.4


class PictureDetector:
    """Finds faces by several passes. One thread uses it."""

    def __init__(self, detector: Detector, options: PassOptions | None = None) -> None:
        self._detector = detector
        self._options = options or PassOptions()
        self._sized: dict[Canvas, Detector] = {detector.canvas: detector}

    def find(self, photo: U8Image) -> Faces:
        """The faces of a ``(H, W, 3)`` uint8 BGR photo in its own pixels, best score first."""
        found = [
            faces
            for scale in self._options.scales
            for mirrored in ((False, True) if self._options.flip else (False,))
            for faces in (self._pass(photo, scale, mirrored=mirrored),)
        ]
        return found[0] if len(found) == 1 else merged(found, self._options.nms_iou, self._options.merge)

    def _pass(self, photo: U8Image, scale: float, *, mirrored: bool) -> Faces:
        size_wh = (photo.shape[1], photo.shape[0])
        canvas, (width, height) = self._place(size_wh, scale)
        if canvas not in self._sized:
            self._sized[canvas] = self._detector.on(canvas)
        detector = self._sized[canvas]
        small = ArrayPicture(photo).scaled_bgr((width, height))
        if mirrored:
            small = np.ascontiguousarray(small[:, ::-1])
        (faces,) = detector.detect(canvas.letterbox([small], detector.fill_bgr))
        if mirrored:
            faces = unmirrored(faces, width)
        factors = np.array([size_wh[0] / width, size_wh[1] / height] * 2, np.float32)
        return Faces(
            boxes_xyxy=faces.boxes_xyxy * factors,
            scores=faces.scores,
            landmarks_xy=faces.landmarks_xy * factors[:2],
        )

    def _place(self, size_wh: tuple[int, int], scale: float) -> tuple[Canvas, tuple[int, int]]:
        """The canvas of a pass, and the size that the picture has on it."""
        if self._options.original_size:
            width, height = (max(1, round(side * scale)) for side in size_wh)
            sides = (-(-side // FREE_STEP_PX) * FREE_STEP_PX for side in (width, height))
            return Canvas(width=next(sides), height=next(sides)), (width, height)
        base = self._detector.canvas
        whole = (max(1, round(side * scale / CANVAS_STEP_PX)) * CANVAS_STEP_PX for side in (base.width, base.height))
        canvas = Canvas(width=next(whole), height=next(whole))
        return canvas, canvas.scaled_size_wh(size_wh)


def unmirrored(faces: Faces, width_px: int) -> Faces:
    """Faces of a mirrored picture of this width, where they are in the picture itself."""
    boxes = faces.boxes_xyxy.copy()
    boxes[:, [0, 2]] = width_px - faces.boxes_xyxy[:, [2, 0]]
    landmarks = faces.landmarks_xy[:, MIRRORED, :].copy()
    landmarks[..., 0] = width_px - landmarks[..., 0]
    return Faces(boxes_xyxy=boxes, scores=faces.scores, landmarks_xy=landmarks)


def merged(passes: Sequence[Faces], nms_iou: float, merge: Merge) -> Faces:
    """The faces of several passes over one picture as one list, best score first."""
    boxes = np.concatenate([faces.boxes_xyxy for faces in passes])
    scores = np.concatenate([faces.scores for faces in passes])
    landmarks = np.concatenate([faces.landmarks_xy for faces in passes])
    kept = suppress(boxes, scores, nms_iou)
    if merge is Merge.NMS or not len(kept):
        return Faces(boxes_xyxy=boxes[kept], scores=scores[kept], landmarks_xy=landmarks[kept])
    # A box that overlaps itself has an overlap of one, so each row has a weight.
    weights = (iou_matrix(boxes[kept], boxes) > nms_iou) * scores
    weights = np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)
    return Faces(
        boxes_xyxy=weights @ boxes,
        scores=scores[kept],
        landmarks_xy=(weights @ landmarks.reshape(-1, 10)).reshape(-1, 5, 2),
    )


def find_all(
    detector: PictureDetector, pictures: Sequence[LabelledPicture], on_picture: Callable[[LabelledPicture, Faces], None]
) -> list[Faces]:
    """The faces of each picture; each is told as it is done. Raises `PhotoRefused` for a file that is no picture."""
    found = []
    for picture in pictures:
        faces = detector.find(load_photo(picture.path))
        found.append(faces)
        on_picture(picture, faces)
    return found


def draw_verdict(picture: LabelledPicture, found: Faces) -> U8Image:
    """The picture with what was found of it: right faces green, wrong ones orange, missed labels blue."""
    shown = found[found.scores >= DRAWN_SCORE]
    verdict = judge(shown, picture)
    marks = [
        Mark(text=f"{score:.2f}", colour_bgr=PERSON if label >= 0 or not counted else STRANGER)
        for score, label, counted in zip(shown.scores, verdict.labels, verdict.counted, strict=True)
    ]
    missed = np.setdiff1d(np.flatnonzero(~picture.ignored), verdict.labels)
    boxes = picture.boxes_xyxy[missed]
    corners = np.repeat(boxes[:, None, :2], 5, axis=1)  # a label needs no landmarks: they are drawn on its corner
    together = Faces(
        boxes_xyxy=np.concatenate([shown.boxes_xyxy, boxes]),
        scores=np.concatenate([shown.scores, np.zeros(len(missed), np.float32)]),
        landmarks_xy=np.concatenate([shown.landmarks_xy, corners]),
    )
    return draw_faces(
        load_photo(picture.path), together, [*marks, *[Mark(text="missed", colour_bgr=FOUND)] * len(missed)]
    )


def save_verdict(picture: LabelledPicture, found: Faces, folder: Path) -> Path:
    """Write `draw_verdict` as a JPEG into a folder.

    Raises:
        BadInput: It can't be written.
    """
    path = folder / (picture.name.rpartition(".")[0].replace("/", "__") + ".jpg")
    if not cv2.imwrite(str(path), draw_verdict(picture, found)):
        raise BadInput(f"{path} can't be written")
    return path
