"""How far two detectors agree, on cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.faces import Faces
from vidface.evaluation.agreement import agreement, match


def faces(
    *boxes: tuple[float, float, float, float], scores: tuple[float, ...] | None = None, shift: float = 0
) -> Faces:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    middles = (array[:, :2] + array[:, 2:]) / 2 + shift
    return Faces(
        boxes_xyxy=array,
        scores=np.array(scores or [0.9] * len(boxes), np.float32),
        landmarks_xy=np.repeat(middles[:, None], 5, axis=1).astype(np.float32),
    )


LARGE = (0.0, 0.0, 100.0, 100.0)
SMALL = (200.0, 0.0, 220.0, 20.0)
OTHER = (300.0, 300.0, 340.0, 340.0)


def test_the_same_faces_agree() -> None:
    same = agreement([faces(LARGE, SMALL)], [faces(SMALL, LARGE)])
    assert (same.f1, same.precision, same.recall, same.small_recall) == (1, 1, 1, 1)
    assert (same.reference, same.found, same.matched, same.small, same.small_matched) == (2, 2, 2, 1, 1)
    assert same.landmark_error_px == 0


def test_a_missed_and_a_false_one_count_apart() -> None:
    # Of LARGE and SMALL only LARGE is found, and OTHER beside it: 1 of 2 found, 1 of 2 right.
    both = agreement([faces(LARGE, SMALL)], [faces(LARGE, OTHER)])
    assert (both.recall, both.precision, both.f1, both.small_recall) == (0.5, 0.5, 0.5, 0)


def test_pictures_are_counted_together_and_not_across() -> None:
    apart = agreement([faces(LARGE), faces()], [faces(), faces(LARGE)])
    assert (apart.matched, apart.f1) == (0, 0)


def test_nothing_to_find_and_nothing_found() -> None:
    empty = agreement([faces()], [faces()])
    assert (empty.f1, empty.precision, empty.recall, empty.small_recall) == (1, 1, 1, 1)


def test_overlap_of_half_is_the_same_face() -> None:
    # Shifted by a third of the side: the overlap is (2/3) / (4/3) = 0.5; by more it is less.
    assert len(match(faces((0, 0, 90, 90)), faces((30, 0, 120, 90)))) == 1
    assert len(match(faces((0, 0, 90, 90)), faces((33, 0, 123, 90)))) == 0


def test_each_face_is_found_once_and_the_surest_comes_first() -> None:
    given = faces(LARGE, (2.0, 2.0, 102.0, 102.0), scores=(0.6, 0.9))
    np.testing.assert_array_equal(match(faces(LARGE), given), [[0, 1]])
    assert agreement([faces(LARGE)], [given]).precision == 0.5


def test_landmarks_are_compared_in_pixels_and_in_sizes() -> None:
    # Three pixels right and three down: 3 * sqrt(2) away, of a box whose side is 100.
    off = agreement([faces(LARGE)], [faces(LARGE, shift=3.0)])
    assert off.landmark_error_px == pytest.approx(3 * 2**0.5)
    assert off.landmark_error == pytest.approx(3 * 2**0.5 / 100)
    assert off.as_json()["landmark_error_px"] == pytest.approx(3 * 2**0.5)
