"""Labeled Faces in the Wild: the 10-fold verification protocol, through the product's own detect, align and embed.

Huang et al., "Labeled Faces in the Wild: A Database for Studying Face Recognition in Unconstrained Environments",
2007, view 2: for each fold the threshold is chosen on the other folds and the accuracy taken on this one; reported
are the mean and the standard deviation over folds. A pairs file may hold fewer folds than ten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import F32, Faces
from pipeline.photo import PhotoReader, load_photo
from vidface.errors import BadInput

MISSED = -1.0
"""The similarity of a pair of which one photo showed no face: the lowest there is."""

BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two photos, by name and number, and whether they show the same person."""

    first: Path
    second: Path
    same: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LfwResult:
    """The protocol's figures.

    Attributes:
        accuracy: Mean over folds, 0..1.
        std: Standard deviation over folds.
        folds: How many there were.
        pairs: How many pairs were compared.
        threshold: Mean over folds of the chosen cosine threshold.
        tar_at_far: True accept rate by false accept rate.
        photos: How many photos were read.
        faces_missed: How many of them showed no face to the detector.
        fold_accuracies: One an fold.
    """

    accuracy: float
    std: float
    folds: int
    pairs: int
    threshold: float
    tar_at_far: dict[str, float]
    photos: int
    faces_missed: int
    fold_accuracies: tuple[float, ...]


def read_pairs(path: Path, images: Path) -> list[list[Pair]]:
    """Read a pairs file in LFW's own format.

    Args:
        path: Its first line is the number of folds and of pairs of each kind a fold; then for each fold the lines
            ``name i j`` (same person) and ``name i name j`` (different ones).
        images: The folder with ``name/name_0001.jpg``.

    Returns:
        The folds.

    Raises:
        BadInput: The file is not such a file, or names a photo that is not there.
    """
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: the pairs file can't be read ({error})") from error
    try:
        fold_count, per_kind = (int(value) for value in lines[0])
        if fold_count < 2:
            raise ValueError("at least two folds are needed: the threshold for one is chosen on the others")
        if len(lines) - 1 != fold_count * per_kind * 2:
            raise ValueError(
                f"{fold_count} folds of 2 x {per_kind} pairs were announced, {len(lines) - 1} lines follow"
            )
        pairs = [_pair(fields, images) for fields in lines[1:]]
    except (ValueError, IndexError) as error:
        raise BadInput(f"{path}: not a pairs file in LFW's format ({error})") from error
    missing = next((photo for pair in pairs for photo in (pair.first, pair.second) if not photo.is_file()), None)
    if missing is not None:
        raise BadInput(f"{path} names a photo that is not there: {missing}")
    return [pairs[start : start + 2 * per_kind] for start in range(0, len(pairs), 2 * per_kind)]


def _pair(fields: Sequence[str], images: Path) -> Pair:
    if len(fields) == 3:
        name, first, second = fields
        return Pair(first=_photo(images, name, first), second=_photo(images, name, second), same=True)
    if len(fields) == 4:
        name, first, other, second = fields
        return Pair(first=_photo(images, name, first), second=_photo(images, other, second), same=False)
    raise ValueError(f"a line has {len(fields)} fields: {' '.join(fields)}")


def _photo(images: Path, name: str, number: str) -> Path:
    return images / name / f"{name}_{int(number):04d}.jpg"


def describe_photos(
    reader: PhotoReader, paths: Sequence[Path], on_progress: Callable[[int], None] | None = None
) -> dict[Path, F32]:
    """The template of the face nearest to each photo's middle, where LFW centres its subject.

    Returns:
        ``(D,)`` templates by path; photos without a face are left out.

    Raises:
        PhotoRefused: A photo can't be read.
    """
    templates: dict[Path, F32] = {}
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        photos = [load_photo(path) for path in batch]
        found = reader.detect(photos)
        chosen = [
            faces[[central_face(faces, (photo.shape[1], photo.shape[0]))]] if len(faces) else faces
            for faces, photo in zip(found, photos, strict=True)
        ]
        for path, described in zip(batch, reader.describe(photos, chosen), strict=True):
            if len(described.faces):
                templates[path] = described.templates[0]
        if on_progress is not None:
            on_progress(len(batch))
    return templates


def central_face(faces: Faces, size_wh: tuple[int, int]) -> int:
    """The row of the face whose middle is nearest to the photo's, in units of the face's own size."""
    centres = (faces.boxes_xyxy[:, :2] + faces.boxes_xyxy[:, 2:]) / 2
    away = np.linalg.norm(centres - np.array(size_wh, np.float32) / 2, axis=1)
    return int(np.argmin(away / np.maximum(faces.sizes_px, 1.0)))


def evaluate(folds: Sequence[Sequence[Pair]], templates: dict[Path, F32], photos: int) -> LfwResult:
    """The protocol, given the photos' templates."""
    scores = [np.array([_similarity(pair, templates) for pair in fold]) for fold in folds]
    same = [np.array([pair.same for pair in fold]) for fold in folds]
    accuracies, thresholds = [], []
    for held_out in range(len(folds)):
        others = [place for place in range(len(folds)) if place != held_out]
        threshold = best_threshold(
            np.concatenate([scores[place] for place in others]), np.concatenate([same[place] for place in others])
        )
        accuracies.append(float(np.mean((scores[held_out] >= threshold) == same[held_out])))
        thresholds.append(threshold)
    all_scores, all_same = np.concatenate(scores), np.concatenate(same)
    return LfwResult(
        accuracy=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        folds=len(folds),
        pairs=len(all_scores),
        threshold=float(np.mean(thresholds)),
        tar_at_far={
            label: true_accept_rate(all_scores[all_same], all_scores[~all_same], rate)
            for label, rate in (("1e-1", 1e-1), ("1e-2", 1e-2), ("1e-3", 1e-3))
        },
        photos=photos,
        faces_missed=photos - len(templates),
        fold_accuracies=tuple(accuracies),
    )


def _similarity(pair: Pair, templates: dict[Path, F32]) -> float:
    first, second = templates.get(pair.first), templates.get(pair.second)
    return MISSED if first is None or second is None else float(first @ second)


def best_threshold(scores: NDArray[np.float64], same: NDArray[np.bool_]) -> float:
    """The similarity that tells the pairs apart with the fewest errors; the middle of the best gap."""
    order = np.argsort(-scores, kind="stable")
    correct = np.cumsum(same[order]) + (~same).sum() - np.cumsum(~same[order])
    best = int(np.argmax(correct))
    below = scores[order[best + 1]] if best + 1 < len(order) else scores[order[best]]
    return float((scores[order[best]] + below) / 2)


def true_accept_rate(genuine: NDArray[np.float64], impostor: NDArray[np.float64], false_accept_rate: float) -> float:
    """The part of same pairs that score above all but `false_accept_rate` of the different ones."""
    allowed = int(np.floor(false_accept_rate * len(impostor)))
    threshold = np.sort(impostor)[::-1][min(allowed, len(impostor) - 1)]
    return float(np.mean(genuine > threshold))


def false_match_curve(templates: dict[Path, F32], rates: Sequence[float]) -> list[tuple[float, float]]:
    """The similarity that only so many of all pairs of photos of different people exceed.

    Args:
        templates: By path; the folder's name is the person.
        rates: False match rates, each at least one over the number of pairs.

    Returns:
        (rate, cosine similarity) for each rate that the number of pairs can show (ten pairs or more beyond it).
    """
    paths = sorted(templates)
    stacked = np.stack([templates[path] for path in paths])
    _names, person = np.unique([path.parent.name for path in paths], return_inverse=True)
    upper = [(stacked[row + 1 :] @ stacked[row])[person[row + 1 :] != person[row]] for row in range(len(stacked) - 1)]
    scores = np.sort(np.concatenate(upper))[::-1]
    return [(rate, float(scores[int(rate * len(scores))])) for rate in rates if rate * len(scores) >= 10]
