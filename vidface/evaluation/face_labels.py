"""Labelled faces: which pictures there are, where their faces lie, and their five landmarks where somebody marked them.

Two forms of WIDER FACE (Yang et al., "WIDER FACE: A Face Detection Benchmark", 2016) are read, told apart by their
first line: ``label.txt`` as RetinaFace's authors gave it out with landmarks, and the set's own
``wider_face_val_bbx_gt.txt``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.faces import F32, require_shape
from vidface.errors import BadInput

_BOX, _BOX_AND_POINTS = 4, 4 + 15
_SPLIT_FIELDS = 10
"""x, y, w, h, blur, expression, illumination, invalid, occlusion, pose."""
_INVALID = 7


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledPicture:
    """The true faces of one picture, in its pixels.

    Attributes:
        name: As the labels have it, with ``/`` between folders.
        path: Its file.
        boxes_xyxy: ``(N, 4)`` float32: left, top, right, bottom.
        ignored: ``(N,)`` bool: finding such a face counts neither for nor against.
        landmarks_xy: ``(N, 5, 2)`` float32 in the order of `Faces.landmarks_xy`; NaN where nobody marked them.
    """

    name: str
    path: Path
    boxes_xyxy: F32
    ignored: NDArray[np.bool_]
    landmarks_xy: F32

    def __post_init__(self) -> None:
        count = len(self.boxes_xyxy)
        require_shape("boxes_xyxy", self.boxes_xyxy, (None, 4))
        require_shape("ignored", self.ignored, (count,))
        require_shape("landmarks_xy", self.landmarks_xy, (count, 5, 2))

    @property
    def counted(self) -> int:
        """How many faces are to be found."""
        return int((~self.ignored).sum())


def read_labels(path: Path, images: Path) -> tuple[LabelledPicture, ...]:
    """Read a file of labels.

    Args:
        path: The file. Either ``# NAME`` and for each face ``x y w h`` and, where there are landmarks, five times ``x y
            flag`` (-1 for none) and what may follow; or ``NAME``, a count, and so many lines of ten numbers.
        images: The folder that the names are below, or the one whose ``images`` they are below.

    Returns:
        The pictures in the file's order.

    Raises:
        BadInput: The file can't be read or is neither, or a picture is missing; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: the labels can't be read ({error})") from error
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise BadInput(f"{path}: there are no labels in it")
    read = _with_landmarks if first.startswith("#") else _of_the_set
    pictures = tuple(_picture(name, faces, images, path) for name, faces in read(lines, path))
    if not any(picture.counted for picture in pictures):
        raise BadInput(f"{path}: no face that counts is labelled in it, so there is nothing to find")
    return pictures


@dataclass(slots=True)
class _Face:
    box: tuple[float, ...]
    ignored: bool
    points: tuple[float, ...] | None


def _with_landmarks(lines: Sequence[str], path: Path) -> Iterator[tuple[str, list[_Face]]]:
    name: str | None = None
    faces: list[_Face] = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("#"):
            if name is not None:
                yield name, faces
            name, faces = line[1:].strip(), []
        elif line.strip():
            values = _numbers(line, path, number)
            if len(values) != _BOX and len(values) < _BOX_AND_POINTS:
                wanted = f"{_BOX} numbers (x y w h), or {_BOX_AND_POINTS} and more with landmarks"
                raise BadInput(f"{path}:{number}: {len(values)} numbers, but a face has {wanted}")
            points = values[_BOX:_BOX_AND_POINTS] if len(values) >= _BOX_AND_POINTS else None
            faces.append(_Face(values[:_BOX], min(values[2:_BOX]) <= 0, points))
    if name is not None:
        yield name, faces


def _of_the_set(lines: Sequence[str], path: Path) -> Iterator[tuple[str, list[_Face]]]:
    place = 0
    while place < len(lines):
        name = lines[place].strip()
        if not name:
            place += 1
            continue
        try:
            count = int(lines[place + 1])
        except (IndexError, ValueError) as error:
            raise BadInput(f"{path}:{place + 2}: the number of faces of {name} is missing") from error
        listed = max(1, count)  # a picture without faces has one line of zeros
        rows = lines[place + 2 : place + 2 + listed]
        if len(rows) < listed:
            raise BadInput(f"{path}:{place + 2}: {count} faces of {name} are announced, {len(rows)} lines follow")
        faces = []
        for number, row in enumerate(rows[:count], start=place + 3):
            values = _numbers(row, path, number)
            if len(values) != _SPLIT_FIELDS:
                raise BadInput(f"{path}:{number}: {len(values)} numbers, but a face has {_SPLIT_FIELDS}")
            faces.append(_Face(values[:_BOX], values[_INVALID] == 1 or min(values[2:_BOX]) <= 0, None))
        yield name, faces
        place += 2 + listed


def _numbers(line: str, path: Path, number: int) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in line.split())
    except ValueError as error:
        raise BadInput(f"{path}:{number}: not numbers: {line[:60]!r}") from error


def _picture(name: str, faces: Sequence[_Face], images: Path, labels: Path) -> LabelledPicture:
    places = (images / name, images / "images" / name)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise BadInput(f"{labels} names a picture that is not there: {places[0]}; give the folder that it is below")
    boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    points = np.full((len(faces), 5, 3), np.nan, np.float32)
    for row, face in enumerate(faces):
        if face.points is not None:
            points[row] = np.array(face.points, np.float32).reshape(5, 3)
    landmarks = points[..., :2].copy()
    landmarks[(landmarks < 0).all(axis=2)] = np.nan
    ignored = np.array([face.ignored for face in faces], bool)
    return LabelledPicture(name=name, path=path, boxes_xyxy=boxes, ignored=ignored, landmarks_xy=landmarks)
