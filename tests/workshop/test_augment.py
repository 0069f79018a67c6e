from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.workshop.drawn_faces import draw, labels
from weights.errors import WorkshopError
from weights.workshop.augment import NONE, Augmentation, augment, crop, degrade, distort, flip, pad_to_square, resize
from weights.workshop.labels import LabelledFaces

FILL = (104, 117, 123)
FACES = labels((20, 30, 60, 90), (100, 10, 130, 40))
PICTURE = draw((160, 120), FACES)
ALL = Augmentation(blur=0.5, darken=0.5, noise=0.5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_same_generator_gives_the_same_picture() -> None:
    made = [augment(PICTURE, FACES, rng(4), options=ALL, size_px=96, fill_bgr=FILL) for _ in range(2)]
    np.testing.assert_array_equal(made[0][0], made[1][0])
    np.testing.assert_array_equal(made[0][1].boxes_xyxy, made[1][1].boxes_xyxy)
    np.testing.assert_array_equal(made[0][1].landmarks_xy, made[1][1].landmarks_xy)
    other, _ = augment(PICTURE, FACES, rng(5), options=ALL, size_px=96, fill_bgr=FILL)
    assert not np.array_equal(made[0][0], other)


def test_neither_picture_nor_labels_are_changed() -> None:
    picture, boxes = PICTURE.copy(), FACES.boxes_xyxy.copy()
    for seed in range(20):
        made, faces = augment(picture, FACES, rng(seed), options=ALL, size_px=64, fill_bgr=FILL)
        assert made.shape == (64, 64, 3)
        assert made.dtype == np.uint8
        assert made.flags.c_contiguous
        assert faces.boxes_xyxy.dtype == faces.landmarks_xy.dtype == np.float32
    np.testing.assert_array_equal(picture, PICTURE)
    np.testing.assert_array_equal(boxes, FACES.boxes_xyxy)


def dark_spots(picture: np.ndarray, faces: LabelledFaces) -> list[float]:
    """How bright the picture is at each landmark that is inside of it."""
    height, width = picture.shape[:2]
    inside = [
        (int(x), int(y)) for x, y in faces.landmarks_xy.reshape(-1, 2) if 0 <= int(x) < width and 0 <= int(y) < height
    ]
    return [float(picture[y, x].mean()) for x, y in inside]


def test_landmarks_stay_on_what_they_mark() -> None:
    options = replace(NONE, crop_scales=(0.6, 0.8, 1.0), flip=0.5)
    seen = 0
    for seed in range(40):
        picture, faces = augment(PICTURE, FACES, rng(seed), options=options, size_px=200, fill_bgr=FILL)
        spots = dark_spots(picture, faces)
        seen += len(spots)
        assert all(spot < 60 for spot in spots), seed
    assert seen > 200


def test_crops_keep_a_whole_face_and_only_faces_whose_centre_is_inside() -> None:
    counts = set()
    for seed in range(60):
        part, faces = crop(PICTURE, FACES, rng(seed), (0.5, 0.8, 1.0))
        assert part.shape[0] == part.shape[1]
        side = part.shape[0]
        counts.add(len(faces))
        assert len(faces) >= 1
        assert (faces.boxes_xyxy >= 0).all()
        assert (faces.boxes_xyxy <= side).all()
        sides = faces.boxes_xyxy[:, 2:] - faces.boxes_xyxy[:, :2]
        assert any(np.allclose(each, (40, 60)) or np.allclose(each, (30, 30)) for each in sides)
        # Of a face whose centre is inside no less than a quarter is.
        assert (sides.prod(axis=1) >= 30 * 30 / 4 - 1).all()
    assert counts == {1, 2}


def test_a_face_that_fits_no_crop_leaves_the_picture_whole() -> None:
    part, faces = crop(PICTURE, labels((0, 0, 160, 120)), rng(), (0.3,))
    assert part.shape == PICTURE.shape
    assert len(faces) == 1


def test_a_picture_without_faces_is_cropped_too() -> None:
    part, faces = crop(PICTURE, LabelledFaces.empty(), rng(), (0.5,))
    assert part.shape == (60, 60, 3)
    assert len(faces) == 0
    made, none = augment(PICTURE, LabelledFaces.empty(), rng(), options=ALL, size_px=64, fill_bgr=FILL)
    assert made.shape == (64, 64, 3)
    assert len(none) == 0


def test_mirroring_swaps_what_is_left_and_right() -> None:
    picture, faces = flip(PICTURE, FACES)
    np.testing.assert_array_equal(picture, PICTURE[:, ::-1])
    np.testing.assert_array_equal(faces.boxes_xyxy[0], [100, 30, 140, 90])
    # The eye on the left of the picture is still the first one, and so is the mouth's corner.
    points = faces.landmarks_xy
    assert (points[:, 0, 0] < points[:, 1, 0]).all()
    assert (points[:, 3, 0] < points[:, 4, 0]).all()
    np.testing.assert_allclose(points[0, 0], [160 - FACES.landmarks_xy[0, 1, 0], FACES.landmarks_xy[0, 1, 1]])
    again, same = flip(picture, faces)
    np.testing.assert_array_equal(again, PICTURE)
    np.testing.assert_allclose(same.landmarks_xy, FACES.landmarks_xy)


def test_padding_and_size() -> None:
    square = pad_to_square(PICTURE, FILL)
    assert square.shape == (160, 160, 3)
    np.testing.assert_array_equal(square[:120], PICTURE)
    assert (square[120:] == FILL).all()
    made, faces = resize(square, FACES, 80)
    assert made.shape == (80, 80, 3)
    np.testing.assert_allclose(faces.boxes_xyxy, FACES.boxes_xyxy / 2)
    np.testing.assert_allclose(faces.landmarks_xy, FACES.landmarks_xy / 2)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (NONE, False),
        (replace(NONE, brightness=32.0), True),
        (replace(NONE, contrast=0.5), True),
        (replace(NONE, saturation=0.5), True),
        (replace(NONE, hue_deg=36.0), True),
    ],
    ids=["none", "brightness", "contrast", "saturation", "hue"],
)
def test_each_kind_of_light_changes_about_half_of_the_pictures(options: Augmentation, changes: bool) -> None:
    changed = sum(not np.array_equal(distort(PICTURE, rng(seed), options), PICTURE) for seed in range(40))
    assert 8 <= changed <= 32 if changes else changed == 0


def test_brightness_goes_no_further_than_said() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    options = replace(NONE, brightness=20.0)
    shifts = [int(distort(grey, rng(seed), options)[0, 0, 0]) - 128 for seed in range(60)]
    assert max(map(abs, shifts)) <= 20
    assert min(shifts) < -5
    assert max(shifts) > 5


def test_hue_keeps_brightness_and_grey() -> None:
    grey = np.full((8, 8, 3), 90, np.uint8)
    for seed in range(20):
        np.testing.assert_array_equal(distort(grey, rng(seed), replace(NONE, hue_deg=90.0)), grey)


def test_a_worse_camera() -> None:
    dark = degrade(PICTURE, rng(), replace(NONE, darken=1.0, darken_gain=(0.2, 0.2)))
    assert dark.mean() == pytest.approx(PICTURE.mean() * 0.2, abs=1)
    blurred = degrade(PICTURE, rng(), replace(NONE, blur=1.0, blur_sigma_px=(2.0, 2.0)))
    assert cv2.Laplacian(blurred, cv2.CV_64F).var() < cv2.Laplacian(PICTURE, cv2.CV_64F).var() / 10
    noisy = degrade(np.full((64, 64, 3), 128, np.uint8), rng(), replace(NONE, noise=1.0, noise_sigma=(5.0, 5.0)))
    assert noisy.std() == pytest.approx(5, abs=0.3)
    np.testing.assert_array_equal(degrade(PICTURE, rng(), NONE), PICTURE)


def test_nothing_at_all() -> None:
    made, faces = augment(PICTURE, FACES, rng(), options=NONE, size_px=160, fill_bgr=FILL)
    np.testing.assert_array_equal(made[:120], PICTURE)
    np.testing.assert_allclose(faces.boxes_xyxy, FACES.boxes_xyxy)


def test_options_that_cannot_be() -> None:
    with pytest.raises(WorkshopError, match=r"blur=1\.5: a probability"):
        Augmentation(blur=1.5)
    with pytest.raises(WorkshopError, match="crop_scales"):
        Augmentation(crop_scales=(0.0,))
