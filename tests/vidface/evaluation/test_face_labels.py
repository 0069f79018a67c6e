from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidface.errors import BadInput
from vidface.evaluation.face_labels import read_labels

POINTS = "1 2 0.0 3 4 0.0 5 6 1.0 7 8 0.0 9 10 0.0 0.82"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "0--Parade").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "0--Parade" / name).touch()
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "label.txt"
    path.write_text(text)
    return path


def test_labels_with_landmarks(images: Path) -> None:
    absent = " ".join(["-1"] * 15) + " 0.3"
    text = f"# 0--Parade/a.jpg\n10 20 30 40 {POINTS}\n1 2 3 4 {absent}\n5 5 0 9\n# 0--Parade/b.jpg\n"
    first, second = read_labels(written(images, text), images)
    assert first.path == images / "0--Parade" / "a.jpg"
    assert first.boxes_xyxy.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6], [5, 5, 5, 14]]
    assert first.landmarks_xy[0].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    assert np.isnan(first.landmarks_xy[1:]).all()
    assert first.ignored.tolist() == [False, False, True]  # a box without area can't be found
    assert (first.counted, len(second.boxes_xyxy)) == (2, 0)


def test_labels_of_the_set_itself(images: Path) -> None:
    text = "0--Parade/a.jpg\n2\n10 20 30 40 2 0 0 0 0 0\n1 2 3 4 0 0 0 1 0 0\n0--Parade/b.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    first, second = read_labels(written(images, text), images)
    assert first.boxes_xyxy.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert first.ignored.tolist() == [False, True]  # the second is marked invalid
    assert (second.name, second.counted) == ("0--Parade/b.jpg", 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "there are no labels", id="empty"),
        pytest.param("# 0--Parade/a.jpg\n1 2 3\n", r"label\.txt:2: 3 numbers", id="three-numbers"),
        pytest.param("# 0--Parade/a.jpg\n1 2 3 x\n", r"label\.txt:2: not numbers", id="no-number"),
        pytest.param("# 0--Parade/z.jpg\n1 2 3 4\n", r"not there: .*z\.jpg", id="no-picture"),
        pytest.param("# 0--Parade/a.jpg\n", "no face that counts", id="no-face"),
        pytest.param("0--Parade/a.jpg\nmany\n", r"label\.txt:2: the number of faces", id="no-count"),
        pytest.param("0--Parade/a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n", "2 faces .* announced, 1 lines", id="too-few-lines"),
        pytest.param("0--Parade/a.jpg\n1\n1 2 3 4\n", r"label\.txt:3: 4 numbers", id="too-few-numbers"),
    ],
)
def test_what_is_wrong_with_labels_is_said(images: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        read_labels(written(images, text), images)
