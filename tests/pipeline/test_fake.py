"""The stand-ins tell what was drawn, or every test that leans on them would be in vain."""

import numpy as np

from pipeline.align import align_faces
from pipeline.canvas import Canvas
from pipeline.fake import FakeDetector, FakeEmbedder, draw_fake_face
from streams.picture import ArrayPicture

CANVAS = Canvas(width=640, height=384)


def test_drawn_faces_are_found_and_told_apart() -> None:
    picture = np.zeros((384, 640, 3), np.uint8)
    for person in range(15):
        draw_fake_face(picture, (10 + 120 * (person % 5), 10 + 120 * (person // 5), 90, 100), person)
    embedder, detector = FakeEmbedder(), FakeDetector(CANVAS)
    faces = detector.detect(picture[None])[0]
    assert len(faces) == 15
    templates = embedder.embed(align_faces(ArrayPicture(picture), faces.landmarks_xy))
    people = np.concatenate([embedder.template_of(person) for person in range(15)])
    similar = templates @ people.T
    assert sorted(similar.argmax(axis=1).tolist()) == list(range(15))
    assert np.sort(similar, axis=1)[:, -2].max() < 0.25, "strangers to each other"
    np.testing.assert_allclose(similar.max(axis=1), 1, atol=1e-5)


def test_an_empty_picture_has_no_faces() -> None:
    assert len(FakeDetector(CANVAS).detect(np.zeros((1, 384, 640, 3), np.uint8))[0]) == 0


def test_a_submitted_batch_is_the_detected_one() -> None:
    picture = np.zeros((1, 384, 640, 3), np.uint8)
    draw_fake_face(picture[0], (50, 60, 70, 80), 3)
    detector = FakeDetector(CANVAS)
    np.testing.assert_array_equal(detector.submit(picture)()[0].boxes_xyxy, [[50, 60, 120, 140]])
