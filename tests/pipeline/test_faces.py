import numpy as np
import pytest

from pipeline.errors import ShapeError
from pipeline.faces import Faces, require_shape
from tests.pipeline.made import faces_of, square


def three() -> Faces:
    return faces_of(square(0, 0, 10), (5, 5, 45, 25), square(90, 20, 30), scores=[0.9, 0.8, 0.7])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(np.array([True, False, True]), [0, 2], id="mask"),
        pytest.param(np.array([2, 0]), [2, 0], id="row-numbers-in-their-order"),
        pytest.param([1], [1], id="list"),
        pytest.param(slice(1, None), [1, 2], id="slice"),
        pytest.param(np.zeros(3, bool), [], id="none"),
    ],
)
def test_indexing_keeps_the_columns_together(
    rows: np.ndarray[tuple[int], np.dtype[np.bool_]] | slice | list[int], expected: list[int]
) -> None:
    faces = three()
    chosen = faces[rows]
    assert len(chosen) == len(expected)
    np.testing.assert_array_equal(chosen.boxes_xyxy, faces.boxes_xyxy[expected])
    np.testing.assert_array_equal(chosen.scores, faces.scores[expected])
    np.testing.assert_array_equal(chosen.landmarks_xy, faces.landmarks_xy[expected])


def test_iterating_gives_faces_of_one_row() -> None:
    assert [len(face) for face in three()] == [1, 1, 1]
    assert [float(face.scores[0]) for face in three()] == pytest.approx([0.9, 0.8, 0.7])


def test_size_is_the_shorter_side() -> None:
    np.testing.assert_array_equal(three().sizes_px, [10, 20, 30])


def test_empty_has_no_rows_and_all_columns() -> None:
    empty = Faces.empty()
    assert len(empty) == 0
    assert empty.landmarks_xy.shape == (0, 5, 2)
    assert list(empty) == []


def test_columns_of_different_length_are_refused_with_both_shapes() -> None:
    faces = three()
    with pytest.raises(ShapeError, match=r"landmarks_xy: expected shape \(3, 5, 2\), got \(2, 5, 2\)"):
        Faces(boxes_xyxy=faces.boxes_xyxy, scores=faces.scores, landmarks_xy=faces.landmarks_xy[:2])


@pytest.mark.parametrize(
    ("shape", "expected", "fits"),
    [
        pytest.param((2, 3), (2, 3), True, id="same"),
        pytest.param((7, 3), (None, 3), True, id="any-length"),
        pytest.param((3, 2), (2, 3), False, id="turned-round"),
        pytest.param((2, 3, 1), (2, 3), False, id="one-more-dimension"),
        pytest.param((2,), (2, 3), False, id="one-less"),
    ],
)
def test_require_shape(shape: tuple[int, ...], expected: tuple[int | None, ...], *, fits: bool) -> None:
    if fits:
        require_shape("array", np.zeros(shape), expected)
    else:
        with pytest.raises(ShapeError, match="array: expected shape"):
            require_shape("array", np.zeros(shape), expected)
