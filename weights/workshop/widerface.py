"""Labelled pictures in the form in which WIDER FACE comes with landmarks.

Yang et al., "WIDER FACE: A Face Detection Benchmark", 2016; landmarks and this form are those of the public RetinaFace
release (``label.txt`` beside a folder ``images``)::

    # 0--Parade/0_Parade_marchingband_1_849.jpg
    449 330 122 149 488.9 373.6 0.0 542.1 376.4 0.0 515.0 412.8 0.0 485.2 425.9 0.0 538.4 431.5 0.0 0.82

A line of a picture, then one of each face: left, top, width, height; five times x, y and visibility; blur. All in
pixels. A face without landmarks has -1 in their place, or only its four first numbers. A picture without faces has only
its own line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from weights.errors import BadTrainingData
from weights.workshop.labels import LabelledFaces, LabelledPicture

_BOX, _WHOLE = 4, 20
_ABSENT = -1.0


def read_widerface(labels: Path, images: Path | None = None) -> list[LabelledPicture]:
    """All pictures of a label file, in its order.

    Faces without width or height are left out: WIDER FACE has some, and its own evaluation leaves them out too.

    Args:
        labels: The label file.
        images: Folder that the pictures' paths start from; by default ``images`` beside the label file.

    Raises:
        BadTrainingData: It can't be read, breaks the form above, or names a picture that is not there; with the line.
    """
    images = images if images is not None else labels.parent / "images"
    try:
        lines = labels.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTrainingData(f"{labels}: the labels can't be read ({error})") from error
    found = [
        LabelledPicture(path=_existing(images / name, f"{labels}:{number}"), faces=_faces(rows))
        for name, number, rows in _blocks(lines, labels)
    ]
    if not found:
        raise BadTrainingData(f"{labels}: names no picture; a picture's line is '# ' and its path")
    return found


def write_widerface(labels: Path, pictures: Sequence[LabelledPicture], images: Path | None = None) -> None:
    """Write labels that `read_widerface` reads back, whole or not at all; coordinates to a thousandth of a pixel.

    Args:
        labels: The label file; what is there is replaced.
        pictures: What to write; the picture files are not touched.
        images: As in `read_widerface`.

    Raises:
        BadTrainingData: A picture is not below `images`.
    """
    images = images if images is not None else labels.parent / "images"
    lines = []
    for picture in pictures:
        try:
            name = picture.path.resolve().relative_to(images.resolve())
        except ValueError as error:
            raise BadTrainingData(f"{picture.path}: not in {images}, which the labels' paths start from") from error
        lines.append(f"# {name.as_posix()}")
        lines.extend(_line(picture.faces, row) for row in range(len(picture.faces)))
    half = labels.with_name(f".half-{labels.name}")
    half.write_text("\n".join(lines) + "\n", encoding="utf-8")
    half.replace(labels)


def _blocks(lines: Sequence[str], labels: Path) -> Iterator[tuple[str, int, list[list[float]]]]:
    """Path of each picture, its line's number from 1, and the numbers of its faces."""
    name, where = "", 0
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text.startswith("#"):
            if where:
                yield name, where, rows
            name, where, rows = text.removeprefix("#").strip(), number, []
            if not name:
                raise BadTrainingData(f"{labels}:{number}: '#' without the path of a picture")
        elif text:
            if not where:
                raise BadTrainingData(f"{labels}:{number}: a face before the first picture ('# ' and its path)")
            rows.append(_numbers(text, f"{labels}:{number}"))
    if where:
        yield name, where, rows


def _numbers(text: str, where: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError as error:
        raise BadTrainingData(f"{where}: {text[:60]!r} is not a line of numbers") from error
    if len(numbers) not in (_BOX, _WHOLE):
        raise BadTrainingData(
            f"{where}: {len(numbers)} numbers; a face has 20 (x y w h, five times x y visible, blur), or the first 4"
        )
    if not all(map(math.isfinite, numbers)):
        raise BadTrainingData(f"{where}: every number must be finite")
    if numbers[2] < 0 or numbers[3] < 0:
        raise BadTrainingData(f"{where}: width {numbers[2]:g} and height {numbers[3]:g} must not be below 0")
    return numbers


def _existing(path: Path, where: str) -> Path:
    if not path.is_file():
        raise BadTrainingData(f"{where}: no picture {path}; name the folder that the labels' paths start from")
    return path


def _faces(rows: Sequence[Sequence[float]]) -> LabelledFaces:
    rows = [row for row in rows if row[2] > 0 and row[3] > 0]
    if not rows:
        return LabelledFaces.empty()
    boxes = np.array([row[:_BOX] for row in rows], np.float32)
    boxes[:, 2:] += boxes[:, :2]
    triples = [row[_BOX:-1] if len(row) == _WHOLE else [_ABSENT] * 15 for row in rows]
    points = np.array(triples, np.float32).reshape(-1, 5, 3)[..., :2]
    # One lone -1 may be the coordinate of a point beside the picture; a point of two is none.
    known = ~np.any(np.all(points == _ABSENT, axis=2), axis=1)
    return LabelledFaces(boxes_xyxy=boxes, landmarks_xy=points, has_landmarks=known)


def _line(faces: LabelledFaces, row: int) -> str:
    left, top, right, bottom = (float(value) for value in faces.boxes_xyxy[row])
    numbers = [left, top, right - left, bottom - top]
    for x, y in faces.landmarks_xy[row] if faces.has_landmarks[row] else [(_ABSENT, _ABSENT)] * 5:
        numbers += [float(x), float(y), 0.0 if faces.has_landmarks[row] else _ABSENT]
    return " ".join(f"{value:.3f}" for value in (*numbers, 0.0))
