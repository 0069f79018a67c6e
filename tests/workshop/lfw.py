"""The faces of Labeled Faces in the Wild, as the service finds and aligns them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.align import align_faces
from pipeline.photo import load_photo
from streams.picture import ArrayPicture
from vidface.assemble import photo_reader
from vidface.evaluation.lfw import BATCH, Pair, central_face, read_pairs


class Lfw:
    """The pairs that are here, and the faces of their photos ``(112, 112, 3)`` BGR."""

    def __init__(self, folder: Path) -> None:
        self.folds = read_pairs(folder / "pairs.txt", folder / "images")
        self.faces = aligned(photos_of(self.folds))


def photos_of(folds: Sequence[Sequence[Pair]]) -> list[Path]:
    return sorted({photo for fold in folds for pair in fold for photo in (pair.first, pair.second)})


def aligned(paths: Sequence[Path]) -> dict[Path, NDArray[np.uint8]]:
    """Of each photo the face nearest to its middle; photos without a face are left out."""
    reader = photo_reader()
    found = {}
    for start in range(0, len(paths), BATCH):
        batch = paths[start : start + BATCH]
        photos = [load_photo(path) for path in batch]
        for path, photo, faces in zip(batch, photos, reader.detect(photos), strict=True):
            if len(faces):
                row = central_face(faces, (photo.shape[1], photo.shape[0]))
                found[path] = align_faces(ArrayPicture(photo), faces.landmarks_xy[[row]])[0]
    return found
