from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.faces import F32, Faces, U8Image
from pipeline.quality import (
    NOSE_DEPTH,
    full_quality,
    geometric_quality,
    geometry,
    sharpness,
    visible_fraction,
)
from tests.pipeline.made import faces_of, square

SIZE_WH = (640, 480)


def turned_face(yaw_deg: float, roll_deg: float = 0.0, side: float = 100.0) -> Faces:
    """A head of eyes, nose and mouth in space, turned, tilted and seen from afar, in the middle of the picture."""
    apart = 0.4 * side
    head = np.array(
        [
            [-apart / 2, -10, 0],
            [apart / 2, -10, 0],
            [0, 10, NOSE_DEPTH * apart],
            [-0.4 * apart, 30, 0],
            [0.4 * apart, 30, 0],
        ]
    )
    yaw, roll = np.radians(yaw_deg), np.radians(roll_deg)
    x = head[:, 0] * np.cos(yaw) + head[:, 2] * np.sin(yaw)
    y = head[:, 1]
    points = np.stack([x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)], axis=1)
    face = faces_of(square(270, 190, side))
    return Faces(
        boxes_xyxy=face.boxes_xyxy,
        scores=face.scores,
        landmarks_xy=np.asarray(points[None] + [320, 240], np.float32),
    )


@pytest.mark.parametrize("yaw_deg", [-50.0, -30.0, -10.0, 0.0, 15.0, 40.0])
@pytest.mark.parametrize("roll_deg", [-30.0, 0.0, 20.0])
def test_yaw_and_roll_of_a_turned_head(yaw_deg: float, roll_deg: float) -> None:
    found = geometry(turned_face(yaw_deg, roll_deg))
    assert found.yaw_deg[0] == pytest.approx(yaw_deg, abs=0.1)
    assert found.roll_deg[0] == pytest.approx(roll_deg, abs=0.1)


def test_yaw_is_positive_towards_the_pictures_right() -> None:
    face = turned_face(0)
    face.landmarks_xy[0, 2, 0] += 10
    assert geometry(face).yaw_deg[0] > 0


def quality(faces: Faces, size_wh: tuple[int, int] = SIZE_WH) -> float:
    return float(geometric_quality(faces, size_wh)[0])


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param(turned_face(0), turned_face(25), id="turned"),
        pytest.param(turned_face(-25), turned_face(-45), id="turned-further"),
        pytest.param(faces_of(square(270, 190, 60)), faces_of(square(270, 190, 30)), id="smaller"),
        pytest.param(faces_of(square(0, 0)), faces_of(square(-30, 0)), id="cut-by-the-left"),
        pytest.param(faces_of(square(540, 0)), faces_of(square(570, 0)), id="cut-by-the-right"),
        pytest.param(faces_of(square(0, 380)), faces_of(square(0, 410)), id="cut-by-the-bottom"),
        pytest.param(faces_of(square(9, 9), scores=[0.95]), faces_of(square(9, 9), scores=[0.65]), id="less-sure"),
    ],
)
def test_what_lowers_the_quality(better: Faces, worse: Faces) -> None:
    assert 0 <= quality(worse) < quality(better) <= 1


def test_a_large_frontal_sure_face_is_perfect() -> None:
    assert quality(faces_of(square(270, 190), scores=[1.0])) == pytest.approx(1.0)


@pytest.mark.parametrize("yaw_deg", [60.5, -70.0])
def test_a_profile_is_worth_nothing(yaw_deg: float) -> None:
    assert quality(turned_face(yaw_deg)) == 0


@pytest.mark.parametrize(
    ("box", "visible"),
    [
        pytest.param(square(10, 10), 1.0, id="inside"),
        pytest.param(square(-50, 10), 0.5, id="half"),
        pytest.param(square(-50, -50), 0.25, id="corner"),
        pytest.param(square(590, 430), 0.25, id="other-corner"),
        pytest.param(square(700, 10), 0.0, id="outside"),
        pytest.param((5, 5, 5, 5), 0.0, id="no-area"),
    ],
)
def test_the_visible_part(box: tuple[float, float, float, float], visible: float) -> None:
    assert visible_fraction(faces_of(box), SIZE_WH)[0] == pytest.approx(visible)


def test_width_and_height_are_not_interchangeable() -> None:
    at_the_right = faces_of(square(500, 100))
    assert visible_fraction(at_the_right, (640, 480))[0] == 1
    assert visible_fraction(at_the_right, (480, 640))[0] == 0


def textured(seed: int = 0) -> U8Image:
    return np.random.default_rng(seed).integers(0, 256, (1, 112, 112, 3), np.uint8)


def blurred(face: U8Image, sigma: float) -> U8Image:
    return np.asarray(cv2.GaussianBlur(face[0], (0, 0), sigma), np.uint8)[None]


def test_blur_lowers_sharpness_and_quality() -> None:
    faces = [textured(), blurred(textured(), 1.5), blurred(textured(), 4)]
    sharp = [float(sharpness(face)[0]) for face in faces]
    assert sharp[0] > sharp[1] > sharp[2] > 0
    qualities = [float(full_quality(np.ones(1, np.float32), np.array([value], np.float32))[0]) for value in sharp]
    assert qualities[0] >= qualities[1] > qualities[2] >= 0.5


def test_sharpness_is_each_faces_own_and_keeps_the_order() -> None:
    faces = np.concatenate([textured(1), blurred(textured(2), 3), textured(3)])
    together = sharpness(faces)
    np.testing.assert_array_equal(together, [sharpness(faces[row : row + 1])[0] for row in range(3)])
    assert sharpness(np.empty((0, 112, 112, 3), np.uint8)).shape == (0,)


def test_a_flat_face_has_no_sharpness_and_half_its_quality() -> None:
    flat: F32 = sharpness(np.full((1, 112, 112, 3), 90, np.uint8))
    assert flat[0] == 0
    assert full_quality(np.array([0.8], np.float32), flat)[0] == pytest.approx(0.4)


def test_full_quality_never_exceeds_the_geometric_one() -> None:
    geometric = np.array([0.2, 0.9], np.float32)
    np.testing.assert_allclose(full_quality(geometric, np.array([1e6, 1e6], np.float32)), geometric)


def test_no_faces() -> None:
    assert geometric_quality(Faces.empty(), SIZE_WH).shape == (0,)
    assert geometry(Faces.empty()).yaw_deg.shape == (0,)
