"""Average precision and landmarks' error on cases worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.faces import Faces
from vidface.evaluation.average_precision import average_precision, judge, precision_and_recall, score_detector
from vidface.evaluation.face_labels import LabelledPicture

Box = tuple[float, float, float, float]


def faces(*scored: tuple[float, Box]) -> Faces:
    count = len(scored)
    return Faces(
        boxes_xyxy=np.array([box for _, box in scored], np.float32).reshape(-1, 4),
        scores=np.array([score for score, _ in scored], np.float32),
        landmarks_xy=np.zeros((count, 5, 2), np.float32),
    )


def picture(*boxes: Box, ignored: tuple[int, ...] = ()) -> LabelledPicture:
    return LabelledPicture(
        name="a.jpg",
        path=Path("a.jpg"),
        boxes_xyxy=np.array(boxes, np.float32).reshape(-1, 4),
        ignored=np.array([row in ignored for row in range(len(boxes))], bool),
        landmarks_xy=np.full((len(boxes), 5, 2), np.nan, np.float32),
    )


A: Box = (0, 0, 10, 10)
B: Box = (100, 0, 110, 10)
NOWHERE: Box = (500, 500, 510, 510)


def test_three_found_of_which_the_second_is_wrong() -> None:
    # By score: right, wrong, right. Precision 1, 1/2, 2/3; recall 1/2, 1/2, 1.
    # From recall 0 to 1/2 the best precision is 1, from 1/2 to 1 it is 2/3: 1/2 + 1/3 = 5/6.
    score = score_detector([faces((0.9, A), (0.8, NOWHERE), (0.7, B))], [picture(A, B)])
    assert score.average_precision == pytest.approx(5 / 6)
    assert (score.faces, score.found, score.right) == (2, 3, 2)


def test_what_is_never_found_costs_its_part() -> None:
    # One of two faces, with precision 1: the area is 1/2.
    assert score_detector([faces((0.9, A))], [picture(A, B)]).average_precision == pytest.approx(0.5)


def test_nothing_found_is_zero() -> None:
    score = score_detector([Faces.empty()], [picture(A)])
    assert (score.average_precision, score.recall, score.nme) == (0.0, 0.0, None)


def test_scores_of_different_pictures_are_in_one_list() -> None:
    # 0.9 wrong in the second picture comes before 0.8 right in the first: precision 0, 1/2; recall 0, 1.
    score = score_detector([faces((0.8, A)), faces((0.9, NOWHERE))], [picture(A), picture()])
    assert score.average_precision == pytest.approx(0.5)


def test_the_second_on_one_face_is_wrong() -> None:
    # Right, wrong: precision 1, 1/2; recall 1, 1. The area is 1, but two are counted as found.
    score = score_detector([faces((0.9, A), (0.8, (0, 0, 10, 9)))], [picture(A)])
    assert (score.average_precision, score.found, score.right) == (1.0, 2, 1)


def test_the_surest_takes_the_face_whatever_the_order_of_rows() -> None:
    verdict = judge(faces((0.7, A), (0.9, (0, 0, 10, 9))), picture(A))
    assert verdict.labels.tolist() == [-1, 0]


def test_an_ignored_face_counts_neither_for_nor_against() -> None:
    score = score_detector([faces((0.9, B), (0.8, A))], [picture(A, B, ignored=(1,))])
    assert (score.average_precision, score.faces, score.found, score.right) == (1.0, 1, 1, 1)


@pytest.mark.parametrize(
    ("box", "is_right"),
    [
        pytest.param((0, 0, 10, 5), True, id="half"),  # 50 of 100
        pytest.param((0, 0, 10, 4.9), False, id="less-than-half"),
    ],
)
def test_half_an_overlap_is_enough(box: Box, is_right: bool) -> None:
    assert judge(faces((0.9, box)), picture(A)).labels.tolist() == [0 if is_right else -1]


def test_landmarks_are_measured_against_the_box() -> None:
    # Each point is 3 right and 4 below: 5 px away. The box is 40 x 10: the root of 400 is 20. 5 / 20.
    label = picture((0, 0, 40, 10))
    marked = LabelledPicture(
        name=label.name,
        path=label.path,
        boxes_xyxy=label.boxes_xyxy,
        ignored=label.ignored,
        landmarks_xy=np.zeros((1, 5, 2), np.float32),
    )
    found = Faces(
        boxes_xyxy=label.boxes_xyxy,
        scores=np.ones(1, np.float32),
        landmarks_xy=np.tile(np.array([3, 4], np.float32), (1, 5, 1)),
    )
    score = score_detector([found, found], [marked, label])
    assert score.nme == pytest.approx(0.25)
    assert score.landmark_faces == 1  # the other picture's face has no landmarks


def test_precision_counts_for_every_lower_recall() -> None:
    precision, recall = precision_and_recall(np.array([False, True, True]), 4)
    assert precision.tolist() == pytest.approx([0, 1 / 2, 2 / 3])
    assert recall.tolist() == pytest.approx([0, 1 / 4, 2 / 4])
    # Up to recall 1/2 the best precision is 2/3; beyond it nothing is found: 1/3.
    assert math.isclose(average_precision(precision, recall), 1 / 3)
