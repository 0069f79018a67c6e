from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from weights.errors import BadTrainingData
from weights.workshop.identities import read_face, read_identities


def put(path: Path, size_wh: tuple[int, int] = (112, 112)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 250, size_wh[0]).astype(np.uint8)
    assert cv2.imwrite(str(path), np.tile(ramp[None, :, None], (size_wh[1], 1, 3)))
    return path


def test_a_folder_is_a_person(folder: Path) -> None:
    paths = [put(folder / "bo" / "2.png"), put(folder / "bo" / "10.JPG"), put(folder / "al" / "x.jpeg")]
    (folder / "notes.txt").write_text("no person")
    (folder / "al" / "notes.txt").write_text("no picture")
    (folder / ".hidden").mkdir()
    found = read_identities(folder)
    assert found.names == ("al", "bo")
    assert found.paths == (paths[2], paths[1], paths[0])
    assert found.people == (0, 1, 1)
    assert len(found) == 3


def test_what_cannot_be_learnt_from(folder: Path) -> None:
    with pytest.raises(BadTrainingData, match="gone: no such folder"):
        read_identities(folder / "gone")
    with pytest.raises(BadTrainingData, match="0 people in it; at least two"):
        read_identities(folder)
    put(folder / "al" / "x.png")
    with pytest.raises(BadTrainingData, match="1 people in it; at least two"):
        read_identities(folder)
    (folder / "bo").mkdir()
    with pytest.raises(BadTrainingData, match="bo: no picture in it"):
        read_identities(folder)


def test_a_face_is_brought_to_the_size(folder: Path) -> None:
    for size_wh in ((112, 112), (250, 250), (40, 60)):
        face = read_face(put(folder / "x.png", size_wh), 112)
        assert face.shape == (112, 112, 3)
        assert face[50, 5].mean() < 30
        assert face[50, -5].mean() > 220


def test_mirroring(folder: Path) -> None:
    path = put(folder / "x.png")
    plain = read_face(path, 112)
    always = read_face(path, 112, np.random.default_rng(0), flip=1.0)
    np.testing.assert_array_equal(always, plain[:, ::-1])
    np.testing.assert_array_equal(read_face(path, 112, np.random.default_rng(0), flip=0.0), plain)
    faces = [read_face(path, 112, np.random.default_rng(seed)) for seed in range(40)]
    mirrored = sum(bool(np.array_equal(face, always)) for face in faces)
    assert 8 <= mirrored <= 32
    assert always.flags.c_contiguous


def test_a_picture_that_is_none(folder: Path) -> None:
    (folder / "x.png").write_bytes(b"no picture")
    with pytest.raises(BadTrainingData, match=r"x\.png: not a picture, or damaged"):
        read_face(folder / "x.png", 112)
    with pytest.raises(BadTrainingData, match=r"gone\.png: the picture can't be read"):
        read_face(folder / "gone.png", 112)
