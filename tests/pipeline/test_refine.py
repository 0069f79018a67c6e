from __future__ import annotations

import numpy as np
import pytest

from pipeline.canvas import Canvas
from pipeline.faces import Faces, U8Image
from pipeline.fake import FakeDetector, draw_fake_face
from pipeline.refine import refine_faces
from streams.picture import ArrayPicture
from tests.pipeline.conftest import DetectorOf, PhotoOf
from tests.pipeline.made import Box, faces_of, square

CLOSE_UP = Canvas(width=160, height=160)


def picture_of(*boxes_xywh: tuple[int, int, int, int], size_wh: tuple[int, int] = (640, 360)) -> U8Image:
    picture = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for person, box in enumerate(boxes_xywh):
        draw_fake_face(picture, box, person)
    return picture


def off_by(box_xywh: tuple[int, int, int, int], pixels: float) -> Box:
    x, y, width, height = box_xywh
    return (x + pixels, y - pixels, x + width + pixels, y + height - pixels)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((300, 150, 60, 60), id="small"),
        pytest.param((200, 80, 220, 220), id="larger-than-the-close-up"),
        pytest.param((250, 100, 40, 70), id="narrow"),
        pytest.param((0, 0, 60, 60), id="at-the-corner"),
        pytest.param((580, 300, 60, 60), id="at-the-other-corner"),
    ],
)
def test_a_rough_box_becomes_an_exact_one(box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    rough = faces_of(off_by(box, 5), scores=[0.77])
    refined = refine_faces(FakeDetector(CLOSE_UP), [(ArrayPicture(picture_of(box)), rough)])[0]
    exact = faces_of((x, y, x + width, y + height))
    tolerance = max(1.0, max(width, height) * 1.6 / 160) + 0.5
    np.testing.assert_allclose(refined.boxes_xyxy, exact.boxes_xyxy, atol=tolerance)
    np.testing.assert_allclose(refined.landmarks_xy, exact.landmarks_xy, atol=tolerance)
    assert refined.scores.tolist() == pytest.approx([0.77]), "the score that it was followed by stays"


def test_rows_and_pictures_keep_their_order_in_one_batch() -> None:
    one, two, three = (50, 50, 60, 60), (300, 100, 60, 60), (480, 250, 60, 60)
    detector = FakeDetector(CLOSE_UP)
    refined = refine_faces(
        detector,
        [
            (ArrayPicture(picture_of(one, two)), faces_of(off_by(two, 4), off_by(one, 4))),
            (ArrayPicture(picture_of()), Faces.empty()),
            (ArrayPicture(picture_of(three)), faces_of(off_by(three, 4))),
        ],
    )
    assert detector.batches == [3]
    assert [len(faces) for faces in refined] == [2, 0, 1]
    lefts = [faces.boxes_xyxy[:, 0].tolist() for faces in refined]
    np.testing.assert_allclose(lefts[0] + lefts[2], [300, 50, 480], atol=1.5)


def test_a_face_that_is_not_found_again_stays_as_it_was() -> None:
    rough = faces_of(square(300, 150, 60))
    refined = refine_faces(FakeDetector(CLOSE_UP), [(ArrayPicture(picture_of()), rough)])[0]
    np.testing.assert_array_equal(refined.landmarks_xy, rough.landmarks_xy)


def test_a_neighbour_is_not_taken_for_it() -> None:
    rough = faces_of(square(300, 150, 60))
    beside = ArrayPicture(picture_of((350, 160, 40, 40)))
    refined = refine_faces(FakeDetector(CLOSE_UP), [(beside, rough)])[0]
    np.testing.assert_array_equal(refined.boxes_xyxy, rough.boxes_xyxy)


def test_a_box_beside_the_picture_is_no_error() -> None:
    outside = faces_of(square(-200, -300), square(900, 500), (100, 100, 100, 100))
    refined = refine_faces(FakeDetector(CLOSE_UP), [(ArrayPicture(picture_of()), outside)])[0]
    np.testing.assert_array_equal(refined.boxes_xyxy, outside.boxes_xyxy)


def test_nobody_costs_nothing() -> None:
    detector = FakeDetector(CLOSE_UP)
    assert [len(faces) for faces in refine_faces(detector, [(ArrayPicture(picture_of()), Faces.empty())])] == [0]
    assert refine_faces(detector, []) == []
    assert detector.batches == []


def test_real_landmarks_come_nearer(detector_of: DetectorOf, photo_of: PhotoOf) -> None:
    """Detected on a coarse canvas and refined, they lie where a fine canvas finds them."""
    photo = ArrayPicture(photo_of("t1.jpg"))

    def found(canvas: Canvas) -> Faces:
        detector = detector_of(canvas=canvas)
        batch = canvas.blank_batch(1, detector.fill_bgr)
        width, height = canvas.scaled_size_wh(photo.size_wh)
        batch[0, :height, :width] = photo.scaled_bgr((width, height))
        faces = canvas.to_picture(detector.detect(batch)[0], photo.size_wh)
        return faces[np.argsort(faces.boxes_xyxy[:, 0])]

    coarse, fine = found(Canvas(width=320, height=320)), found(Canvas(width=1280, height=896))
    refined = refine_faces(detector_of(canvas=CLOSE_UP), [(photo, coarse)])[0]
    before = np.abs(coarse.landmarks_xy - fine.landmarks_xy).mean()
    after = np.abs(refined.landmarks_xy - fine.landmarks_xy).mean()
    assert after < 0.7 * before
