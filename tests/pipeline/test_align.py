from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.align import ALIGNED_PX, TEMPLATE_XY, align_faces, inside_fractions, similarity_transforms, stack_aligned
from pipeline.errors import ShapeError
from pipeline.faces import F32, U8Image
from streams.picture import ArrayPicture


def by_least_squares(points: F32, template: F32) -> F32:
    """The same transform, as a linear system in (a, b, tx, ty) that numpy solves."""
    rows, wanted = [], []
    for (x, y), (u, v) in zip(points.astype(float), template.astype(float), strict=True):
        rows += [[x, -y, 1.0, 0.0], [y, x, 0.0, 1.0]]
        wanted += [u, v]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
    return np.array([[a, -b, tx], [b, a, ty]], np.float32)


def moved(turn_deg: float, scale: float, shift_xy: tuple[float, float]) -> F32:
    """The template's points as they lie in a picture: turned, scaled and shifted. (2, 3), aligned to picture."""
    c, s = scale * np.cos(np.radians(turn_deg)), scale * np.sin(np.radians(turn_deg))
    return np.array([[c, -s, shift_xy[0]], [s, c, shift_xy[1]]], np.float32)


def through(matrix: F32, points: F32) -> F32:
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_the_closed_form_is_the_least_squares_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1920, (3, 5, 2)).astype(np.float32)
    found = similarity_transforms(points)
    expected = np.stack([by_least_squares(each, TEMPLATE_XY) for each in points])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    ("turn_deg", "scale", "shift_xy"),
    [
        pytest.param(0, 1, (0, 0), id="as-it-is"),
        pytest.param(30, 1.5, (400, 200), id="turned"),
        pytest.param(-75, 0.4, (40, 300), id="far-turned-and-small"),
        pytest.param(180, 6, (1500, 1000), id="upside-down-and-large"),
    ],
)
def test_a_moved_template_comes_back(turn_deg: float, scale: float, shift_xy: tuple[float, float]) -> None:
    points = through(moved(turn_deg, scale, shift_xy), TEMPLATE_XY)
    matrix = similarity_transforms(points[None])[0]
    np.testing.assert_allclose(through(matrix, points), TEMPLATE_XY, atol=0.01)
    assert np.linalg.det(matrix[:, :2]) > 0  # turned, never mirrored


def test_points_that_coincide_are_no_face() -> None:
    points = np.full((1, 5, 2), 50, np.float32)
    matrix = similarity_transforms(points)[0]
    np.testing.assert_array_equal(matrix[:, :2], 0)
    picture = ArrayPicture(np.full((100, 100, 3), 255, np.uint8))
    assert align_faces(picture, points).max() == 0


def test_landmarks_of_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match="landmarks_xy"):
        similarity_transforms(np.zeros((5, 2), np.float32))


def picture_with_dots(matrix: F32, size_wh: tuple[int, int]) -> tuple[U8Image, F32]:
    """A dark picture with a bright dot of its own colour at each landmark of a template moved by `matrix`."""
    points = through(matrix, TEMPLATE_XY)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    y, x = np.mgrid[: size_wh[1], : size_wh[0]]
    picture = np.zeros((size_wh[1], size_wh[0], 3))
    for colour, (px, py) in zip(DOTS_BGR, points, strict=True):
        dot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2.5 * scale) ** 2))
        picture += dot[..., None] * np.array(colour)
    return np.asarray(picture.clip(0, 255), np.uint8), points


DOTS_BGR = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0), (0, 255, 0))


def dot_near(channel: F32, x: float, y: float) -> tuple[float, float]:
    """The centre of brightness around a point."""
    rows, columns = np.mgrid[: channel.shape[0], : channel.shape[1]]
    weights = channel.astype(float) * ((columns - x) ** 2 + (rows - y) ** 2 < 9**2)
    return float((weights * columns).sum() / weights.sum()), float((weights * rows).sum() / weights.sum())


@pytest.mark.parametrize(
    ("turn_deg", "scale", "shift_xy", "size_wh"),
    [
        pytest.param(0, 1, (60, 20), (320, 200), id="native-size"),
        pytest.param(25, 1.3, (150, 40), (400, 300), id="turned"),
        pytest.param(-40, 0.5, (100, 150), (300, 240), id="small"),
        pytest.param(10, 2.7, (200, 60), (640, 480), id="large-averaged-down"),
        pytest.param(-15, 5.3, (120, 260), (900, 900), id="very-large-averaged-down"),
    ],
)
def test_the_pixels_of_the_landmarks_land_on_the_template(
    turn_deg: float, scale: float, shift_xy: tuple[float, float], size_wh: tuple[int, int]
) -> None:
    picture, points = picture_with_dots(moved(turn_deg, scale, shift_xy), size_wh)
    aligned = align_faces(ArrayPicture(picture), points[None])[0]
    for colour, (x, y) in zip(DOTS_BGR, TEMPLATE_XY, strict=True):
        found = dot_near(aligned[..., colour.index(255)].astype(np.float32), x, y)
        assert found == pytest.approx((x, y), abs=0.35)


def test_the_colour_order_stays() -> None:
    picture = np.empty((112, 112, 3), np.uint8)
    picture[:] = (10, 120, 230)
    assert align_faces(ArrayPicture(picture), TEMPLATE_XY[None])[0, 56, 56].tolist() == [10, 120, 230]


@pytest.mark.parametrize("scale", [3.0, 6.0, 9.0])
def test_large_faces_are_averaged(scale: float) -> None:
    # Averaging n x n pixels of noise leaves an n-th of its spread; sampling them would leave all of it.
    side = round(ALIGNED_PX * scale)
    noise = np.random.default_rng(5).integers(0, 256, (side, side, 3), np.uint8)
    aligned = align_faces(ArrayPicture(noise), TEMPLATE_XY[None] * scale)[0, 10:-10, 10:-10]
    assert aligned.std() < 1.3 * noise.std() / scale
    assert aligned.mean() == pytest.approx(noise.mean(), abs=1)


def test_what_is_outside_the_picture_is_black() -> None:
    picture = np.full((200, 200, 3), 200, np.uint8)
    at_the_corner = TEMPLATE_XY[None] - 56  # the face's middle lies on the picture's corner
    aligned = align_faces(ArrayPicture(picture), at_the_corner)[0]
    assert aligned[:50, :50].max() == 0
    assert aligned[:50, 62:].max() == 0
    assert aligned[62:110, 62:110].min() == 200


@pytest.mark.parametrize("shift", [(-500, 0), (0, 900), (3000, 3000)])
def test_a_face_wholly_outside_is_black(shift: tuple[float, float]) -> None:
    picture = ArrayPicture(np.full((200, 300, 3), 200, np.uint8))
    assert align_faces(picture, TEMPLATE_XY[None] + np.array(shift, np.float32)).max() == 0


class CroppedPicture(ArrayPicture):
    """Remembers which rectangles were asked for."""

    def __init__(self, bgr: U8Image) -> None:
        super().__init__(bgr)
        self.crops: list[tuple[int, int, int, int]] = []

    def bgr(self) -> U8Image:
        raise AssertionError("the whole picture was converted")

    def crop_bgr(self, x0: int, y0: int, x1: int, y1: int) -> U8Image:
        self.crops.append((x0, y0, x1, y1))
        return super().crop_bgr(x0, y0, x1, y1)


def test_only_the_faces_own_rectangle_is_read() -> None:
    picture = CroppedPicture(np.zeros((1080, 1920, 3), np.uint8))
    align_faces(picture, TEMPLATE_XY[None] + np.array([600, 300], np.float32))
    [(x0, y0, x1, y1)] = picture.crops
    assert (600 - 4, 300 - 4) <= (x0, y0) <= (600, 300)
    assert x1 - x0 <= ALIGNED_PX + 8
    assert y1 - y0 <= ALIGNED_PX + 8


def test_the_warp_is_the_plain_one() -> None:
    # Against OpenCV over the whole picture, for a face that is not averaged down.
    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (300, 400, 3), np.uint8), (0, 0), 2)
    points = through(moved(20, 1.2, (150, 60)), TEMPLATE_XY)
    plain = cv2.warpAffine(picture, similarity_transforms(points[None])[0], (ALIGNED_PX, ALIGNED_PX))
    aligned = align_faces(ArrayPicture(np.asarray(picture, np.uint8)), points[None])[0]
    assert np.abs(aligned.astype(int) - plain.astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("shift_xy", "inside"),
    [
        pytest.param((0.0, 0.0), 1.0, id="fills-the-picture"),
        pytest.param((-56.0, 0.0), 0.5, id="left-half-outside"),
        pytest.param((0.0, 28.0), 0.75, id="bottom-quarter-outside"),
        pytest.param((56.0, 56.0), 0.25, id="a-corner-inside"),
        pytest.param((500.0, 0.0), 0.0, id="wholly-outside"),
    ],
)
def test_the_part_of_a_face_that_is_inside(shift_xy: tuple[float, float], inside: float) -> None:
    landmarks = (TEMPLATE_XY + np.array(shift_xy, np.float32))[None]
    doubled = np.concatenate([landmarks, landmarks * 2])
    assert inside_fractions(doubled[:1], (112, 112)) == pytest.approx(inside, abs=0.01)
    assert inside_fractions(doubled[1:], (224, 224)) == pytest.approx(inside, abs=0.01)


def test_a_turned_face_is_inside_where_its_own_corners_are() -> None:
    """A quarter turn about the middle brings the square onto itself: a wrong inverse would not."""
    middle = np.array([56.0, 56.0], np.float32)
    turned = (TEMPLATE_XY - middle) @ np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32) + middle
    shifted = (turned + np.array([0.0, 28.0], np.float32))[None].astype(np.float32)
    assert inside_fractions(shifted, (112, 112)) == pytest.approx(0.75, abs=0.01)


def test_coinciding_landmarks_are_nowhere_inside() -> None:
    assert inside_fractions(np.full((1, 5, 2), 50.0, np.float32), (112, 112)) == pytest.approx(0.0)


def test_no_faces_are_an_empty_batch() -> None:
    picture = ArrayPicture(np.zeros((10, 10, 3), np.uint8))
    none = align_faces(picture, np.empty((0, 5, 2), np.float32))
    assert none.shape == stack_aligned([]).shape == (0, 112, 112, 3)
    assert stack_aligned([none, none]).shape == (0, 112, 112, 3)


def test_stacking_keeps_the_order() -> None:
    parts = [np.full((count, 112, 112, 3), value, np.uint8) for count, value in ((1, 5), (0, 0), (2, 9))]
    assert stack_aligned(parts)[:, 0, 0, 0].tolist() == [5, 9, 9]
