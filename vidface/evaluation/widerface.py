"""WIDER FACE's own protocol: average precision on its easy, medium and hard validation subsets.

Yang et al., "WIDER FACE: A Face Detection Benchmark", 2016, by what its evaluation code does:

- scores are stretched to 0..1 over the whole data set;
- each subset lists which labelled faces of a picture count. A found face that overlaps another label most counts
  neither for nor against; a second one on a label that counts is wrong;
- overlaps are of whole pixels: a box from 1 to 3 is 3 wide;
- precision and recall are taken at 1000 thresholds, 0.999 to 0, not at every score;
- faces found in a picture without any label are not counted at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import F32, Faces
from vidface.errors import BadInput
from vidface.evaluation.agreement import SAME_IOU
from vidface.evaluation.average_precision import F64, average_precision

SUBSETS: Final = ("easy", "medium", "hard")
THRESHOLDS: Final = 1000
BOX_FILE: Final = "wider_face_val_bbx_gt.txt"
_ALL_BOXES: Final = "wider_face_val.mat"


@dataclass(frozen=True, slots=True, kw_only=True)
class WiderFolder:
    """Where the parts of the validation set lie.

    Attributes:
        images: The folder with ``0--Parade/...jpg``.
        labels: ``wider_face_val_bbx_gt.txt``; None if it is not there.
        subsets: ``wider_NAME_val.mat`` by name; empty if they are not there.
    """

    images: Path
    labels: Path | None
    subsets: Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SubsetPicture:
    """What a subset says of one picture.

    Attributes:
        name: Such as ``0--Parade/0_Parade_marchingband_1_849``, without a suffix.
        boxes_xywh: ``(N, 4)`` all labelled faces: left, top, width, height.
        counted: ``(N,)`` bool: those of the subset.
    """

    name: str
    boxes_xywh: F64
    counted: NDArray[np.bool_]


def find_wider(folder: Path) -> WiderFolder | None:
    """The validation set in a folder, or with its pictures in it; None where there is no ``WIDER_val/images``."""
    for root in (folder, *list(folder.absolute().parents)[:2]):
        images = root / "WIDER_val" / "images"
        if images.is_dir() and folder.absolute() in {root.absolute(), images.parent.absolute(), images.absolute()}:
            places = [root / part for part in (".", "wider_face_split", "ground_truth", "eval_tools/ground_truth")]
            labels = next((place / BOX_FILE for place in places if (place / BOX_FILE).is_file()), None)
            return WiderFolder(images=images, labels=labels, subsets=_subsets_in(places))
    return None


def _subsets_in(places: Iterable[Path]) -> dict[str, Path]:
    for place in places:
        files = {name: place / f"wider_{name}_val.mat" for name in SUBSETS}
        if all(file.is_file() for file in files.values()):
            return files
    return {}


def read_subset(path: Path) -> tuple[SubsetPicture, ...]:
    """Read a subset's file.

    Args:
        path: ``wider_easy_val.mat`` or one like it. Where it has no boxes, those of ``wider_face_val.mat`` beside it
            are taken.

    Raises:
        BadInput: It is no such file.
    """
    from scipy.io import loadmat  # type: ignore[import-untyped]
    from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

    try:
        subset = loadmat(path)
        boxes = subset if "face_bbx_list" in subset else loadmat(path.with_name(_ALL_BOXES))
        pictures = [
            SubsetPicture(name=f"{_text(event)}/{_text(name)}", boxes_xywh=box, counted=_rows(kept, len(box)))
            for event, names, in_event, kept_in_event in zip(
                _cells(boxes["event_list"]),
                _cells(boxes["file_list"]),
                _cells(boxes["face_bbx_list"]),
                _cells(subset["gt_list"]),
                strict=True,
            )
            for name, raw, kept in zip(_cells(names), _cells(in_event), _cells(kept_in_event), strict=True)
            for box in (np.asarray(raw, np.float64).reshape(-1, 4),)
        ]
    except (OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, MatReadError) as error:
        what = f"{type(error).__name__}: {error}"
        raise BadInput(f"{path}: not a subset of WIDER FACE's evaluation tools ({what})") from error
    return tuple(pictures)


def _cells(array: Any) -> list[Any]:
    """The cells of MATLAB's cell array, which is a column; a cell within a cell is that cell."""
    cells = np.asarray(array).ravel(order="F")
    return list(cells) if cells.dtype == object else [array]


def _text(cell: Any) -> str:
    while isinstance(cell, np.ndarray):
        cell = cell.ravel()[0]
    return str(cell)


def _rows(kept: Any, count: int) -> NDArray[np.bool_]:
    counted = np.zeros(count, bool)
    rows = np.asarray(kept, np.intp).ravel() - 1  # MATLAB counts from one
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        raise ValueError(f"a face number is out of 1..{count}")
    counted[rows] = True
    return counted


def subset_average_precision(pictures: Sequence[SubsetPicture], found: Mapping[str, Faces]) -> float:
    """Average precision on one subset.

    Args:
        pictures: See `read_subset`.
        found: The faces of each picture in its pixels, by the picture's name without suffix; missing means none.

    Returns:
        0..1.
    """
    low, high = score_range(found.values())
    tally = np.zeros((THRESHOLDS, 2))  # found, and right, down to each threshold
    faces = 0
    for picture in pictures:
        faces += int(picture.counted.sum())
        given = found.get(picture.name)
        if given is None or not len(given) or not len(picture.boxes_xywh):
            continue
        order = np.argsort(-given.scores, kind="stable")
        scores = (given.scores[order].astype(np.float64) - low) / (high - low if high > low else 1.0)
        tally += _picture_tally(given.boxes_xyxy[order], scores, picture)
    precision = tally[:, 1] / np.maximum(tally[:, 0], 1.0)
    return average_precision(precision, tally[:, 1] / max(faces, 1))


def score_range(found: Iterable[Faces]) -> tuple[float, float]:
    """The least and the largest score of the whole data set; 0 and 1 where nothing was found."""
    scores = [faces.scores for faces in found if len(faces)]
    if not scores:
        return 0.0, 1.0
    return float(min(each.min() for each in scores)), float(max(each.max() for each in scores))


def _picture_tally(boxes_xyxy: F32, scores: F64, picture: SubsetPicture) -> F64:
    """``(1000, 2)``: faces that count and labels that are found, of those whose score reaches each threshold."""
    labels = picture.boxes_xywh.copy()
    labels[:, 2:] += labels[:, :2]
    overlaps = _pixel_overlaps(boxes_xyxy.astype(np.float64), labels)
    best = overlaps.argmax(axis=1)
    hits = overlaps[np.arange(len(best)), best] >= SAME_IOU
    counts = ~(hits & ~picture.counted[best])
    is_first = np.zeros(len(best), bool)
    taken: set[int] = set()
    for row in np.flatnonzero(hits & counts):
        is_first[row] = best[row] not in taken
        taken.add(int(best[row]))
    tally = np.stack([np.cumsum(counts), np.cumsum(is_first)], axis=1).astype(np.float64)
    thresholds = 1.0 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    reached = np.searchsorted(-scores, -thresholds, side="right")  # how many have at least that score
    return np.concatenate([np.zeros((1, 2)), tally])[reached]


def _pixel_overlaps(found: F64, labels: F64) -> F64:
    """``(N, M)`` intersection over union where a box has both its edges' pixels."""
    sides = np.minimum(found[:, None, 2:], labels[:, 2:]) - np.maximum(found[:, None, :2], labels[:, :2]) + 1
    inside = np.where((sides > 0).all(axis=2), sides.prod(axis=2), 0.0)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (found, labels)]
    return np.asarray(inside / (areas[0][:, None] + areas[1] - inside), np.float64)
