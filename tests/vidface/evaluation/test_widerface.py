"""WIDER FACE's own protocol on cases worked out by hand, and its files as MATLAB writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat  # type: ignore[import-untyped]

from pipeline.faces import Faces
from tests.vidface.evaluation.test_average_precision import Box, faces
from vidface.errors import BadInput
from vidface.evaluation.widerface import (
    SUBSETS,
    SubsetPicture,
    find_wider,
    read_subset,
    score_range,
    subset_average_precision,
)


def subset(name: str, *boxes_xywh: Box, counted: tuple[int, ...]) -> SubsetPicture:
    return SubsetPicture(
        name=name,
        boxes_xywh=np.array(boxes_xywh, np.float64).reshape(-1, 4),
        counted=np.array([row in counted for row in range(len(boxes_xywh))], bool),
    )


A: Box = (0, 0, 20, 20)
B: Box = (100, 0, 20, 20)
A_FOUND: Box = (0, 0, 20, 20)
B_FOUND: Box = (100, 0, 120, 20)
NOWHERE: Box = (500, 500, 520, 520)


def test_right_wrong_right() -> None:
    # Scores 0.9, 0.5, 0.1 are stretched to 1, 1/2, 0. At thresholds over 1/2: 1 found, 1 right. From 1/2 on: 2 found.
    # At 0: 3 found, 2 right. Precision 1, 1/2, 2/3 at recalls 1/2, 1/2, 1: 1/2 * 1 + 1/2 * 2/3 = 5/6.
    found = {"e/1": faces((0.9, A_FOUND), (0.5, NOWHERE), (0.1, B_FOUND))}
    assert subset_average_precision([subset("e/1", A, B, counted=(0, 1))], found) == pytest.approx(5 / 6)


def test_a_label_outside_the_subset_counts_neither_for_nor_against() -> None:
    # As above with B outside: 0.9 right, 0.5 wrong, 0.1 on B is nothing. Precision 1, 1/2 at recall 1, 1: 1.
    found = {"e/1": faces((0.5, NOWHERE), (0.9, A_FOUND), (0.1, B_FOUND))}
    assert subset_average_precision([subset("e/1", A, B, counted=(0,))], found) == pytest.approx(1.0)
    # Only B counts: 0.9 on A is nothing, 0.5 is wrong, 0.1 is right: precision 1/2 at recall 1.
    assert subset_average_precision([subset("e/1", A, B, counted=(1,))], found) == pytest.approx(0.5)


def test_a_second_face_on_a_label_is_wrong() -> None:
    # Both on A (1, and 1/2 after stretching), then B at 0: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1.
    found = {"e/1": faces((0.9, A_FOUND), (0.5, (0, 0, 20, 19)), (0.1, B_FOUND))}
    assert subset_average_precision([subset("e/1", A, B, counted=(0, 1))], found) == pytest.approx(5 / 6)


def test_scores_are_stretched_over_the_whole_data_set() -> None:
    # A picture whose scores are all low keeps them low: A at 0.30 is after the wrong one at 0.31 of another picture.
    found = {"e/1": faces((0.30, A_FOUND)), "e/2": faces((0.31, NOWHERE), (0.9, B_FOUND))}
    pictures = [subset("e/1", A, counted=(0,)), subset("e/2", B, counted=(0,))]
    assert list(score_range(found.values())) == pytest.approx([0.30, 0.9])
    # 0.9 right; 0.31 wrong; 0.30 right: as in the first case.
    assert subset_average_precision(pictures, found) == pytest.approx(5 / 6)


def test_scores_closer_than_the_grid_are_taken_together() -> None:
    # Score by score: wrong, right, right, precision 0, 1/2, 2/3. The grid's first threshold, 0.999, takes the first two
    # at once; at 0 precision is 2/3 at recall 1, which counts for all of it.
    # Right and wrong within one step are 1/2, not 1, up to recall 1/2; B is never found: 1/4.
    pictures = [subset("e/1", A, B, counted=(0, 1))]
    found = {"e/1": faces((1.0, NOWHERE), (0.9996, A_FOUND), (0.0, B_FOUND))}
    assert subset_average_precision(pictures, found) == pytest.approx(2 / 3)
    found = {"e/1": faces((1.0, A_FOUND), (0.9996, NOWHERE), (0.0, (700, 0, 720, 20)))}
    assert subset_average_precision(pictures, found) == pytest.approx(1 / 2 * 1 / 2)


def test_found_faces_of_a_picture_without_labels_are_left_out() -> None:
    found = {"e/1": faces((0.5, A_FOUND)), "e/2": faces((0.9, NOWHERE))}
    pictures = [subset("e/1", A, counted=(0,)), subset("e/2", counted=())]
    assert subset_average_precision(pictures, found) == pytest.approx(1.0)


def test_pictures_of_which_nothing_was_found_lower_recall() -> None:
    pictures = [subset("e/1", A, counted=(0,)), subset("e/2", B, counted=(0,))]
    assert subset_average_precision(pictures, {"e/1": faces((0.5, A_FOUND))}) == pytest.approx(0.5)
    assert subset_average_precision(pictures, {"e/1": Faces.empty()}) == 0.0


def test_boxes_have_both_their_edges_pixels() -> None:
    # 20 x 20 from 0 to 20 has 21 x 21 = 441 pixels; 0..20 x 0..10 has 21 x 11 = 231: 0.524, over a half.
    # Without the edges it would be 200 of 400, and 199 of 400 for a little less.
    just_under = faces((0.5, (0, 0, 20, 9.9)))  # 21 x 10.9 = 228.9 of 441: 0.519
    assert subset_average_precision([subset("e/1", A, counted=(0,))], {"e/1": just_under}) == pytest.approx(1.0)
    far_under = faces((0.5, (0, 0, 20, 9)))  # 210 of 441: 0.476
    assert subset_average_precision([subset("e/1", A, counted=(0,))], {"e/1": far_under}) == 0.0


def column(cells: list[Any]) -> np.ndarray[Any, Any]:
    array = np.empty((len(cells), 1), object)
    for row, cell in enumerate(cells):
        array[row, 0] = cell
    return array


def write_wider(folder: Path, *, own_boxes: bool = True) -> Path:
    """Two events of two pictures and one, as the evaluation tools have them."""
    boxes = {
        "event_list": column(["0--Parade", "1--Handshaking"]),
        "file_list": column([column(["a", "b"]), column(["c"])]),
        "face_bbx_list": column([column([np.array([A, B]), np.array([A])]), column([np.empty((0, 4))])]),
    }
    kept = column(
        [column([np.array([[2]], np.uint8), np.array([[1]], np.uint8)]), column([np.empty((0, 1), np.uint8)])]
    )
    for name in SUBSETS:
        savemat(folder / f"wider_{name}_val.mat", {"gt_list": kept, **(boxes if own_boxes else {})})
    savemat(folder / "wider_face_val.mat", boxes)
    return folder


@pytest.mark.parametrize("own_boxes", [True, False], ids=["boxes-in-the-file", "boxes-beside-it"])
def test_a_subset_is_read_as_matlab_writes_it(tmp_path: Path, own_boxes: bool) -> None:
    pictures = read_subset(write_wider(tmp_path, own_boxes=own_boxes) / "wider_hard_val.mat")
    assert [picture.name for picture in pictures] == ["0--Parade/a", "0--Parade/b", "1--Handshaking/c"]
    assert pictures[0].boxes_xywh.tolist() == [list(A), list(B)]
    assert [picture.counted.tolist() for picture in pictures] == [[False, True], [True], []]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wider_easy_val.mat"
    path.write_bytes(b"no matlab")
    with pytest.raises(BadInput, match=r"wider_easy_val\.mat: not a subset"):
        read_subset(path)


def test_the_set_is_found_by_its_folder_or_its_pictures(tmp_path: Path) -> None:
    images = tmp_path / "WIDER_val" / "images"
    images.mkdir(parents=True)
    assert find_wider(tmp_path / "WIDER_val") is not None
    tools = tmp_path / "eval_tools" / "ground_truth"
    tools.mkdir(parents=True)
    write_wider(tools)
    for folder in (tmp_path, images):
        found = find_wider(folder)
        assert found is not None
        assert (found.images, set(found.subsets), found.labels) == (images, set(SUBSETS), None)
    elsewhere = tmp_path / "eval_tools"
    assert find_wider(elsewhere) is None
