"""The pictures that models are compared on: frames of a clip with their labels, folders, and LFW's pairs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.canvas import Canvas
from vidface.errors import BadInput
from vidface.evaluation.models_data import find_pairs, read_pictures

CANVAS = Canvas(width=64, height=64)
FILL = (104, 117, 123)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames of 128x96, each of one grey: 20 times its number."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (128, 96))
    for number in range(10):
        writer.write(np.full((96, 128, 3), 20 * number, np.uint8))
    writer.release()
    return path


def test_frames_are_spread_over_a_clip(clip: Path) -> None:
    pictures, photos = read_pictures(clip, None, CANVAS, FILL, 5)
    assert [round(photo.mean() / 20) for photo in photos] == [0, 2, 4, 6, 8]
    assert pictures.batch.shape == (5, 64, 64, 3)
    assert pictures.batch[2, :48].mean() == pytest.approx(80, abs=3)  # 128x96 is 64x48 on this canvas
    assert pictures.batch[2, 48:].reshape(-1, 3).mean(axis=0).tolist() == list(FILL)
    assert (pictures.sizes_wh[0], pictures.labels) == ((128, 96), None)


def test_frames_with_labels_are_those_that_have_some(clip: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.json"
    tracks = [
        {"name": "Ada", "enrolled": True, "frames": {"3": [1, 2, 3, 4], "7": [5, 6, 7, 8]}},
        {"name": "Bob", "enrolled": False, "frames": {"7": [50, 60, 70, 80]}},
    ]
    truth.write_text(json.dumps({"fps": 25, "tracks": tracks}))
    pictures, photos = read_pictures(clip, truth, CANVAS, FILL, 64)
    assert [round(photo.mean() / 20) for photo in photos] == [3, 7]
    assert pictures.labels is not None
    assert [label.boxes_xyxy.tolist() for label in pictures.labels] == [
        [[1, 2, 3, 4]],
        [[5, 6, 7, 8], [50, 60, 70, 80]],
    ]


def test_labels_need_their_pictures(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="give --data FOLDER"):
        read_pictures(None, tmp_path / "label.txt", CANVAS, FILL, 5)


def test_pairs_are_found_beside_the_photos_or_in_their_folder(tmp_path: Path) -> None:
    images = tmp_path / "lfw" / "images"
    (images / "Ada").mkdir(parents=True)
    (images / "Ada" / "Ada_0001.jpg").touch()
    assert find_pairs(images) is None
    (tmp_path / "lfw" / "pairs.txt").touch()
    found = (tmp_path / "lfw" / "pairs.txt", images)
    assert find_pairs(tmp_path / "lfw") == find_pairs(tmp_path) == find_pairs(images) == found
    assert find_pairs(None) is None
