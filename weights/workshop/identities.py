"""Pictures of people for the embedder: a folder a person, aligned faces in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from weights.errors import BadTrainingData
from weights.workshop.pictures import SUFFIXES, U8Picture, read_picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """A set of pictures by person.

    Attributes:
        names: Of the people, by their number.
        paths: Of the pictures, by person and file name.
        people: For each picture the number of its person; row-aligned with `paths`.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    people: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)


def read_identities(folder: Path) -> Identities:
    """Find the pictures of a folder of folders; a folder's name is the person's, and names are sorted.

    What begins with a dot, and files that are no pictures, are passed over. No picture is opened yet.

    Raises:
        BadTrainingData: There is no such folder, a person without pictures, or fewer than two people.
    """
    if not folder.is_dir():
        raise BadTrainingData(f"{folder}: no such folder; one with a folder of aligned faces a person is wanted")
    names: list[str] = []
    paths: list[Path] = []
    people: list[int] = []
    for person in sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")):
        pictures = sorted(
            each
            for each in person.iterdir()
            if each.suffix.lower() in SUFFIXES and not each.name.startswith(".") and each.is_file()
        )
        if not pictures:
            raise BadTrainingData(
                f"{person}: no picture in it ({', '.join(sorted(SUFFIXES))}); add one, or remove the folder"
            )
        paths += pictures
        people += [len(names)] * len(pictures)
        names.append(person.name)
    if len(names) < 2:
        raise BadTrainingData(f"{folder}: {len(names)} people in it; at least two are needed, a folder each")
    return Identities(names=tuple(names), paths=tuple(paths), people=tuple(people))


def read_face(path: Path, size_px: int, rng: Generator | None = None, *, flip: float = 0.5) -> U8Picture:
    """A face as the embedder is shown it.

    Args:
        path: Picture of an aligned face; brought to the size if it has another.
        size_px: Side of the network's input.
        rng: Where the chance of mirroring comes from; None for the picture as it is.
        flip: Probability of mirroring.

    Returns:
        ``(size_px, size_px, 3)`` uint8 BGR.

    Raises:
        BadTrainingData: It can't be read.
    """
    face = read_picture(path)
    if face.shape[:2] != (size_px, size_px):
        shrinks = face.shape[0] > size_px
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        face = np.asarray(cv2.resize(face, (size_px, size_px), interpolation=how), np.uint8)
    if rng is not None and rng.random() < flip:
        face = face[:, ::-1]
    return np.ascontiguousarray(face)
