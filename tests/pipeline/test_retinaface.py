from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import retinaface
from pipeline.anchors import lay_anchors
from pipeline.canvas import DEFAULT_CANVAS, Canvas
from pipeline.engine import Backend
from pipeline.errors import ModelMismatch, ShapeError
from pipeline.faces import Faces, U8Image
from pipeline.retinaface import DetectorOptions, RetinaFace, anchor_spec
from streams.picture import ArrayPicture
from tests.pipeline.conftest import DetectorOf, PhotoOf
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, Colour, load_manifest

CANVASES = {
    "320x320": Canvas(width=320, height=320),
    "640x384": DEFAULT_CANVAS,
    "1920x1088": Canvas(width=1920, height=1088),
}
canvases = pytest.mark.parametrize("canvas", [pytest.param(value, id=key) for key, value in CANVASES.items()])
FACES_ON = {"t1.jpg": 6, "astronaut.png": 1, "obama.jpg": 1, "biden.jpg": 1}
SPEC = load_manifest().model(DEFAULT_DETECTOR)
SMALL = Canvas(width=64, height=32)


def letterboxed(detector: RetinaFace, photos: list[U8Image]) -> NDArray[np.uint8]:
    canvas = detector.canvas
    batch = canvas.blank_batch(len(photos), detector.fill_bgr)
    for place, photo in enumerate(photos):
        width, height = canvas.scaled_size_wh((photo.shape[1], photo.shape[0]))
        batch[place, :height, :width] = ArrayPicture(photo).scaled_bgr((width, height))
    return batch


def in_photo(detector: RetinaFace, photo: U8Image) -> Faces:
    found = detector.detect(letterboxed(detector, [photo]))[0]
    return detector.canvas.to_picture(found, (photo.shape[1], photo.shape[0]))


@canvases
@pytest.mark.parametrize("name", list(FACES_ON))
def test_the_faces_of_real_photos_are_found(
    detector_of: DetectorOf, photo_of: PhotoOf, name: str, canvas: Canvas
) -> None:
    photo = photo_of(name)
    faces = in_photo(detector_of(canvas=canvas), photo)
    assert len(faces) == FACES_ON[name]
    assert faces.scores.tolist() == sorted(faces.scores.tolist(), reverse=True)
    for box, points in zip(faces.boxes_xyxy, faces.landmarks_xy, strict=True):
        left_eye, right_eye, nose, left_mouth, right_mouth = points
        assert (points > box[:2]).all()
        assert (points < box[2:]).all()
        assert left_eye[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize("name", ["t1.jpg", "astronaut.png"])
def test_canvases_agree_where_the_faces_are(detector_of: DetectorOf, photo_of: PhotoOf, name: str) -> None:
    photo = photo_of(name)
    found = [in_photo(detector_of(canvas=canvas), photo) for canvas in CANVASES.values()]
    by_place = [faces[np.argsort(faces.boxes_xyxy[:, 0])] for faces in found]
    for faces in by_place[:-1]:
        off = np.abs(faces.landmarks_xy - by_place[-1].landmarks_xy).max(axis=(1, 2))
        assert (off < 0.12 * faces.sizes_px).all()


@pytest.mark.parametrize("name", list(FACES_ON))
def test_engines_agree(detector_of: DetectorOf, photo_of: PhotoOf, name: str) -> None:
    mine, theirs = (
        in_photo(detector_of(backend), photo_of(name)) for backend in (Backend.OPENVINO, Backend.ONNXRUNTIME)
    )
    assert len(mine) == len(theirs)
    assert np.abs(mine.boxes_xyxy - theirs.boxes_xyxy).max() < 1
    assert np.abs(mine.landmarks_xy - theirs.landmarks_xy).max() < 1
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-3)


@pytest.mark.parametrize("backend", [Backend.OPENVINO, Backend.ONNXRUNTIME])
def test_a_batch_of_different_pictures_equals_one_by_one(
    detector_of: DetectorOf, photo_of: PhotoOf, backend: Backend
) -> None:
    detector = detector_of(backend)
    photos = [photo_of(name) for name in ("biden.jpg", "t1.jpg", "astronaut.png")]
    together = detector.detect(letterboxed(detector, photos))
    for faces, photo in zip(together, photos, strict=True):
        alone = detector.detect(letterboxed(detector, [photo]))[0]
        assert len(faces) == len(alone)
        np.testing.assert_allclose(faces.boxes_xyxy, alone.boxes_xyxy, atol=0.05)
        np.testing.assert_allclose(faces.landmarks_xy, alone.landmarks_xy, atol=0.05)
        np.testing.assert_allclose(faces.scores, alone.scores, atol=1e-4)


def test_swapped_colours_are_worse(detector_of: DetectorOf, photo_of: PhotoOf) -> None:
    detector, photo = detector_of(canvas=CANVASES["320x320"]), photo_of("t1.jpg")
    right, swapped = in_photo(detector, photo), in_photo(detector, np.ascontiguousarray(photo[..., ::-1]))
    assert len(swapped) < len(right) == 6


def test_an_empty_picture_has_no_faces(detector_of: DetectorOf) -> None:
    detector = detector_of()
    assert [len(faces) for faces in detector.detect(detector.canvas.blank_batch(2, detector.fill_bgr))] == [0, 0]


class ScriptedEngine:
    """Answers what it was given, and remembers what it was asked."""

    description = "scripted"
    parallel = 1

    def __init__(self, loc: NDArray[Any], conf: NDArray[Any], landmarks: NDArray[Any]) -> None:
        self.outputs = {"loc": loc, "conf": conf, "landmarks": landmarks}
        self.seen: list[NDArray[Any]] = []

    def submit(self, inputs: Mapping[str, NDArray[Any]]) -> Callable[[], dict[str, NDArray[Any]]]:
        return lambda: self.run(inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.seen.append(inputs[SPEC.input_name])
        return self.outputs


def scripted(scores: Mapping[int, float], pictures: int = 1) -> ScriptedEngine:
    """An engine that sees, in the last picture, faces at these anchors, each as its anchor lies."""
    anchors = len(lay_anchors(anchor_spec(SPEC), (SMALL.width, SMALL.height)))
    conf = np.zeros((pictures, anchors, 2), np.float32)
    for row, score in scores.items():
        conf[-1, row, 1] = score
    conf[..., 0] = 1 - conf[..., 1]
    return ScriptedEngine(
        np.zeros((pictures, anchors, 4), np.float32), conf, np.zeros((pictures, anchors, 10), np.float32)
    )


def test_faces_are_thresholded_suppressed_and_sorted() -> None:
    # Anchors 0 and 2 are neighbours of 16 pixels, 8 apart (an overlap of a third); 1 is the larger one around 0.
    engine = scripted({0: 0.7, 2: 0.9, 1: 0.59, 12: 0.6})
    detector = RetinaFace(engine, SPEC, DetectorOptions(canvas=SMALL, score_threshold=0.6, nms_iou=0.3))
    faces = detector.detect(SMALL.blank_batch(1, (0, 0, 0)))[0]
    np.testing.assert_allclose(faces.scores, [0.9, 0.6])
    np.testing.assert_allclose(faces.boxes_xyxy, [[4, -4, 20, 12], [44, -4, 60, 12]])
    np.testing.assert_allclose(faces.landmarks_xy[0], np.tile([12, 4], (5, 1)))


def test_of_very_many_candidates_the_best_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retinaface, "CANDIDATES", 2)
    detector = RetinaFace(scripted({0: 0.7, 6: 0.9, 12: 0.8}), SPEC, DetectorOptions(canvas=SMALL))
    np.testing.assert_allclose(detector.detect(SMALL.blank_batch(1, (0, 0, 0)))[0].scores, [0.9, 0.8])


def test_each_picture_gets_its_own_faces() -> None:
    detector = RetinaFace(scripted({0: 0.9}, pictures=2), SPEC, DetectorOptions(canvas=SMALL))
    assert [len(faces) for faces in detector.detect(SMALL.blank_batch(2, (0, 0, 0)))] == [0, 1]


@pytest.mark.parametrize(
    ("colour", "seen", "fill"),
    [
        pytest.param(Colour.BGR, [10, 20, 30], (104, 117, 123), id="bgr"),
        pytest.param(Colour.RGB, [30, 20, 10], (123, 117, 104), id="rgb"),
    ],
)
def test_the_manifests_colour_order_reaches_the_engine(
    colour: Colour, seen: list[int], fill: tuple[int, int, int]
) -> None:
    engine = scripted({})
    detector = RetinaFace(engine, replace(SPEC, colour=colour), DetectorOptions(canvas=SMALL))
    detector.detect(SMALL.blank_batch(1, (10, 20, 30)))
    assert engine.seen[0][0, 5, 7].tolist() == seen
    assert engine.seen[0].flags.c_contiguous
    assert detector.fill_bgr == fill


def test_a_batch_of_another_size_is_refused() -> None:
    detector = RetinaFace(scripted({}), SPEC, DetectorOptions(canvas=SMALL))
    with pytest.raises(ShapeError, match=r"detector batch: expected shape \(any, 32, 64, 3\), got \(1, 64, 32, 3\)"):
        detector.detect(np.zeros((1, 64, 32, 3), np.uint8))


def test_outputs_of_another_size_are_refused() -> None:
    engine = scripted({})
    engine.outputs["loc"] = engine.outputs["loc"][:, :-1]
    detector = RetinaFace(engine, SPEC, DetectorOptions(canvas=SMALL))
    with pytest.raises(ShapeError, match="detector output loc"):
        detector.detect(SMALL.blank_batch(1, (0, 0, 0)))


def test_an_embedder_is_no_detector() -> None:
    with pytest.raises(ModelMismatch, match="a detector is wanted"):
        anchor_spec(load_manifest().model(DEFAULT_EMBEDDER))
