from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.workshop.drawn_faces import labels
from weights.errors import BadTrainingData
from weights.workshop.labels import LabelledFaces, LabelledPicture
from weights.workshop.widerface import read_widerface, write_widerface

PUBLISHED = """\
# 0--Parade/a.jpg
449 330 122 149 488.906 373.643 0.0 542.089 376.442 0.0 515.031 412.83 0.0 485.174 425.893 0.0 538.357 431.491 0.0 0.82
10 20 5 6 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 0.3
3 4 0 7 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 -1.0 0.3

# 0--Parade/empty.jpg
# b.jpg
1 2 3 4
"""


def prepare(folder: Path, text: str, *pictures: str) -> Path:
    for name in pictures:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    path = folder / "label.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_published_form(folder: Path) -> None:
    path = prepare(folder, PUBLISHED, "0--Parade/a.jpg", "0--Parade/empty.jpg", "b.jpg")
    parade, empty, b = read_widerface(path)
    assert parade.path == folder / "images" / "0--Parade" / "a.jpg"
    np.testing.assert_array_equal(parade.faces.boxes_xyxy, [[449, 330, 571, 479], [10, 20, 15, 26]])
    assert parade.faces.has_landmarks.tolist() == [True, False]
    np.testing.assert_allclose(parade.faces.landmarks_xy[0, 2], [515.031, 412.83])
    assert len(empty.faces) == 0
    assert b.faces.has_landmarks.tolist() == [False]
    np.testing.assert_array_equal(b.faces.boxes_xyxy, [[1, 2, 4, 6]])


def test_pictures_elsewhere(folder: Path) -> None:
    path = prepare(folder, "# x.png\n")
    (folder / "x.png").write_bytes(b"")
    assert [each.path for each in read_widerface(path, folder)] == [folder / "x.png"]


def test_a_coordinate_of_minus_one_is_still_a_coordinate(folder: Path) -> None:
    points = "-1 5 0 " + "3 5 0 " * 4
    path = prepare(folder, f"# x.png\n0 0 9 9 {points}0\n", "x.png")
    assert read_widerface(path)[0].faces.has_landmarks.tolist() == [True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no picture"),
        ("\n\n", "names no picture"),
        ("1 2 3 4\n", r"label\.txt:1: a face before the first picture"),
        ("# x.png\n1 2 3\n", r"label\.txt:2: 3 numbers; a face has 20"),
        ("# x.png\n\n1 2 three 4\n", r"label\.txt:3: '1 2 three 4' is not a line of numbers"),
        ("# x.png\n1 2 nan 4\n", r"label\.txt:2: every number must be finite"),
        ("# x.png\n1 2 -3 4\n", r"label\.txt:2: width -3 and height 4 must not be below 0"),
        ("# x.png\n# \n", r"label\.txt:2: '#' without the path"),
        ("# x.png\n# gone.png\n", r"label\.txt:2: no picture .*gone\.png"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, text: str, said: str) -> None:
    path = prepare(folder, text, "x.png")
    with pytest.raises(BadTrainingData, match=said):
        read_widerface(path)


def test_no_such_file(folder: Path) -> None:
    with pytest.raises(BadTrainingData, match=r"gone\.txt: the labels can't be read"):
        read_widerface(folder / "gone.txt")


def test_no_text(folder: Path) -> None:
    (folder / "label.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadTrainingData, match=r"label\.txt: the labels can't be read"):
        read_widerface(folder / "label.txt")


def test_what_is_written_is_read_back(folder: Path) -> None:
    both = labels((1.25, 2.5, 30, 40.125), (5, 6, 7, 8))
    faces = LabelledFaces(
        boxes_xyxy=both.boxes_xyxy, landmarks_xy=both.landmarks_xy, has_landmarks=np.array([True, False])
    )
    images = folder / "images"
    (images / "in").mkdir(parents=True)
    paths = [images / "in" / "a b.png", images / "c.png"]
    for path in paths:
        assert cv2.imwrite(str(path), np.zeros((50, 50, 3), np.uint8))
    written = [
        LabelledPicture(path=paths[0], faces=faces),
        LabelledPicture(path=paths[1], faces=LabelledFaces.empty()),
    ]
    write_widerface(folder / "label.txt", written)
    lines = (folder / "label.txt").read_text(encoding="utf-8").splitlines()
    assert [len(line.split()) for line in lines if not line.startswith("#")] == [20, 20]
    first, second = read_widerface(folder / "label.txt")
    assert (first.path, second.path) == (paths[0], paths[1])
    np.testing.assert_allclose(first.faces.boxes_xyxy, faces.boxes_xyxy, atol=2e-3)
    np.testing.assert_allclose(first.faces.landmarks_xy[0], faces.landmarks_xy[0], atol=2e-3)
    assert first.faces.has_landmarks.tolist() == [True, False]
    assert len(second.faces) == 0
    assert [each.name for each in folder.iterdir() if each.name.startswith(".")] == []


def test_pictures_outside_the_folder_cannot_be_named(folder: Path) -> None:
    outside = LabelledPicture(path=folder / "x.png", faces=LabelledFaces.empty())
    with pytest.raises(BadTrainingData, match=r"x\.png: not in .*images"):
        write_widerface(folder / "label.txt", [outside])
    assert not (folder / "label.txt").exists()
