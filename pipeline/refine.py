"""Landmarks a second time, close up: what recognition of small faces stands and falls with.

On the canvas a 1080p face of 60 pixels is 20 wide, and a landmark that is one canvas pixel off is three off in the
picture: enough to turn and shift the aligned face so that its template is somebody else's. So before a face is
embedded, its surroundings are cut from the full resolution, scaled to a small canvas, and detected once more. It costs
a tenth of a frame's detection, and only the few faces that are embedded pay it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipeline.faces import F32, Faces
from pipeline.nms import iou_matrix
from pipeline.retinaface import Detector
from streams.frame import Picture

MARGIN = 0.8
"""Half the side of what is cut out, in larger sides of the face's box: the face with a good third around it."""

SAME_IOU = 0.3
"""A face found close up is the same one if it overlaps the first box by this."""


def refine_faces(detector: Detector, pictures: Sequence[tuple[Picture, Faces]]) -> list[Faces]:
    """Find given faces again, close up, all of them as one batch.

    Args:
        detector: With a small canvas, such as 160x160.
        pictures: Full-resolution pictures, each with the faces to refine, in its pixels.

    Returns:
        For each picture its faces, row by row with refined boxes and landmarks and the first scores; a face that is
        not found again stays as it was.
    """
    canvas = detector.canvas
    windows = [_windows(faces, picture.size_wh) for picture, faces in pictures]
    if not any(windows):
        return [faces for _picture, faces in pictures]
    scaled = []
    for (picture, _faces), each in zip(pictures, windows, strict=True):
        for x0, y0, x1, y1 in each:
            size_wh = canvas.scaled_size_wh((x1 - x0, y1 - y0))
            shrinks = size_wh[0] < x1 - x0
            window = cv2.resize(
                picture.crop_bgr(x0, y0, x1, y1),
                size_wh,
                interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
            )
            scaled.append(np.asarray(window, np.uint8))
    found = detector.detect(canvas.letterbox(scaled, detector.fill_bgr))
    refined, place = [], 0
    for (_picture, faces), each in zip(pictures, windows, strict=True):
        boxes, points = faces.boxes_xyxy.copy(), faces.landmarks_xy.copy()
        for row, (x0, y0, x1, y1) in enumerate(each):
            closer = canvas.to_picture(found[place], (x1 - x0, y1 - y0))
            corner = np.array([x0, y0], np.float32)
            place += 1
            candidates = closer.boxes_xyxy + np.tile(corner, 2)
            if not len(candidates):
                continue
            overlaps = iou_matrix(faces.boxes_xyxy[row : row + 1], np.asarray(candidates, np.float32))[0]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= SAME_IOU:
                boxes[row], points[row] = candidates[best], closer.landmarks_xy[best] + corner
        refined.append(Faces(boxes_xyxy=boxes, scores=faces.scores, landmarks_xy=points))
    return refined


def _windows(faces: Faces, size_wh: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The rectangle around each face, inside the picture and never empty."""
    limits: F32 = np.array(size_wh, np.float32)
    centres = (faces.boxes_xyxy[:, :2] + faces.boxes_xyxy[:, 2:]) / 2
    half = np.max(faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2], axis=1, keepdims=True) * MARGIN
    low = np.clip(np.floor(centres - half), 0, limits - 2).astype(int)
    high = np.clip(np.ceil(centres + half), low + 2, limits).astype(int)
    return [(int(x0), int(y0), int(x1), int(y1)) for (x0, y0), (x1, y1) in zip(low, high, strict=True)]
