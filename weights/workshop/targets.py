"""What the detector should have said: anchors, which of them stand for which face, and the codes of what they found.

The layout of anchors and the codes are those that `pipeline.anchors` decodes, once more in torch, since this package
imports nothing of the pipeline; a test holds the two together.

Formulas: Liu et al., "SSD: Single Shot MultiBox Detector", 2016 (codes with variances, matching), and Deng et al.,
"RetinaFace: Single-stage Dense Face Localisation in the Wild", 2019 (landmarks coded like box centres).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from weights.errors import WorkshopError
from weights.manifest import ModelSpec
from weights.workshop.labels import LabelledFaces

POSITIVE_IOU = 0.35
"""An anchor that overlaps a face by this stands for it: the published RetinaFace's training."""

_FACES_AT_ONCE = 64
"""A picture of WIDER FACE has up to 2,000 faces: their overlaps with all anchors at once would take gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorLayout:
    """How a detector lays its anchors and codes what it finds.

    Attributes:
        strides: Pixels a cell of each level, finest first.
        sizes_px: For each stride the sides of its square anchors in pixels.
        variances: The factors on centre offsets and on log sizes.
    """

    strides: tuple[int, ...]
    sizes_px: tuple[tuple[int, ...], ...]
    variances: tuple[float, float]

    @classmethod
    def of(cls, spec: ModelSpec) -> AnchorLayout:
        """The layout that a manifest entry names; `WorkshopError` where it is no detector's."""
        if not spec.strides or len(spec.variances) != 2:
            raise WorkshopError(f"{spec.name}: the manifest has no anchors for it; a detector is wanted")
        return cls(strides=spec.strides, sizes_px=spec.anchor_sizes, variances=(spec.variances[0], spec.variances[1]))


def lay_anchors(layout: AnchorLayout, size_wh: tuple[int, int]) -> Tensor:
    """Every anchor of a picture, in the order of the detector's outputs.

    Returns:
        ``(A, 4)`` float32: centre x, centre y, width, height in pixels; by stride, row, column, size.
    """
    width, height = size_wh
    levels = []
    for stride, sizes in zip(layout.strides, layout.sizes_px, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y = ((torch.arange(rows) + 0.5) * stride)[:, None, None].expand(rows, columns, len(sizes))
        x = ((torch.arange(columns) + 0.5) * stride)[None, :, None].expand(rows, columns, len(sizes))
        side = torch.tensor(sizes, dtype=torch.float32).expand(rows, columns, len(sizes))
        levels.append(torch.stack([x, y, side, side], dim=-1).reshape(-1, 4))
    return torch.cat(levels)


def match(boxes_xyxy: Tensor, anchors: Tensor, positive_iou: float = POSITIVE_IOU) -> Tensor:
    """Which face each anchor stands for.

    An anchor stands for the face that it overlaps most, if by `positive_iou`; and each face has the anchor that
    overlaps it most, however little that is. Where two faces share their best anchor, the one that it overlaps more has
    it.

    Args:
        boxes_xyxy: ``(N, 4)`` faces in pixels.
        anchors: ``(A, 4)`` from `lay_anchors`.
        positive_iou: See above.

    Returns:
        ``(A,)`` int64: row of the face, or -1 for background.
    """
    best = anchors.new_full((len(anchors),), -1.0)
    face = torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    tops, places = [], []
    for start in range(0, len(boxes_xyxy), _FACES_AT_ONCE):
        overlaps = _iou(boxes_xyxy[start : start + _FACES_AT_ONCE], anchors)
        most, row = overlaps.max(dim=0)
        better = most > best
        best = torch.where(better, most, best)
        face = torch.where(better, row + start, face)
        top, place = overlaps.max(dim=1)
        tops.append(top)
        places.append(place)
    face[best < positive_iou] = -1
    if tops:
        place = torch.cat(places).tolist()
        # The least overlap is written first, so that the largest stays.
        for row in torch.cat(tops).argsort(stable=True).tolist():
            face[place[row]] = row
    return face


def _iou(boxes_xyxy: Tensor, anchors: Tensor) -> Tensor:
    """``(N, A)`` intersection over union."""
    half = anchors[:, 2:] / 2
    low, high = anchors[:, :2] - half, anchors[:, :2] + half
    shared = torch.minimum(boxes_xyxy[:, None, 2:], high) - torch.maximum(boxes_xyxy[:, None, :2], low)
    both = shared.clamp(min=0).prod(dim=-1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(dim=-1)[:, None]
    return both / (areas + anchors[:, 2:].prod(dim=-1) - both).clamp(min=1e-9)


def encode_boxes(boxes_xyxy: Tensor, anchors: Tensor, variances: tuple[float, float]) -> Tensor:
    """Boxes as codes of their anchors; the inverse of `decode_boxes`.

    ``code_xy = (centre - anchor_centre) / (v0 * anchor_size)``, ``code_wh = log(size / anchor_size) / v1``.

    Args:
        boxes_xyxy: ``(N, 4)`` float32 in pixels, each with a width and a height above 0.
        anchors: ``(N, 4)`` of the same rows.
        variances: v0 and v1.

    Returns:
        ``(N, 4)`` float32.
    """
    centre, size = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2, boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    offset = (centre - anchors[:, :2]) / (variances[0] * anchors[:, 2:])
    return torch.cat([offset, torch.log(size / anchors[:, 2:]) / variances[1]], dim=1)


def decode_boxes(codes: Tensor, anchors: Tensor, variances: tuple[float, float]) -> Tensor:
    """``(..., A, 4)`` codes to ``(..., A, 4)`` left, top, right, bottom in pixels."""
    centre = anchors[:, :2] + codes[..., :2] * variances[0] * anchors[:, 2:]
    half = anchors[:, 2:] * torch.exp(codes[..., 2:] * variances[1]) / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def encode_landmarks(landmarks_xy: Tensor, anchors: Tensor, variances: tuple[float, float]) -> Tensor:
    """``(N, 5, 2)`` points in pixels to ``(N, 10)`` codes: ``(point - anchor_centre) / (v0 * anchor_size)``."""
    offset = landmarks_xy - anchors[:, None, :2]
    return (offset / (variances[0] * anchors[:, None, 2:])).flatten(1)


def decode_landmarks(codes: Tensor, anchors: Tensor, variances: tuple[float, float]) -> Tensor:
    """``(..., A, 10)`` codes to ``(..., A, 5, 2)`` points in pixels; the inverse of `encode_landmarks`."""
    points = codes.unflatten(-1, (-1, 2))
    return anchors[:, None, :2] + points * variances[0] * anchors[:, None, 2:]


def targets_of(
    faces: LabelledFaces, anchors: Tensor, layout: AnchorLayout, positive_iou: float = POSITIVE_IOU
) -> Mapping[str, Tensor]:
    """What the network should say about one picture.

    Returns:
        ``labels`` ``(A,)`` int64, 1 for a face and 0 for background; ``boxes`` ``(A, 4)`` and ``landmarks`` ``(A, 10)``
        float32 codes, zero where there is nothing to learn; ``has_landmarks`` ``(A,)`` bool.
    """
    boxes = torch.from_numpy(faces.boxes_xyxy)
    face = match(boxes, anchors, positive_iou)
    positive = (face >= 0).nonzero()[:, 0]
    rows, own = face[positive], anchors[positive]
    codes, points = anchors.new_zeros((len(anchors), 4)), anchors.new_zeros((len(anchors), 10))
    known = torch.zeros(len(anchors), dtype=torch.bool)
    codes[positive] = encode_boxes(boxes[rows], own, layout.variances)
    known[positive] = torch.from_numpy(faces.has_landmarks)[rows]
    points[positive] = encode_landmarks(torch.from_numpy(faces.landmarks_xy)[rows], own, layout.variances)
    points[~known] = 0.0
    return {"labels": (face >= 0).long(), "boxes": codes, "landmarks": points, "has_landmarks": known}
