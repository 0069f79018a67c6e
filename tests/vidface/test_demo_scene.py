"""The demo's clip and its ground truth; cut out of synthetic photos here, of the real ones where faces matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.faces import F32, U8Image
from pipeline.nms import iou_matrix
from pipeline.photo import PhotoReader
from vidface.assemble import photo_reader
from vidface.demo.cast import ENROLLED, KNOWN_ROLES, STRANGER_ROLES, Portrait, Role, cut_out, portraits
from vidface.demo.scene import FPS, SIZE_WH, Scene, cast_walks

BOX: F32 = np.array([150, 100, 250, 230], np.float32)


def synthetic_portraits() -> dict[Role, Portrait]:
    """A white face on a coloured photo, for each role."""
    cast = {}
    for number, role in enumerate((*KNOWN_ROLES, *STRANGER_ROLES)):
        photo = np.full((400, 400, 3), (20 * number, 60, 120), np.uint8)
        photo[100:230, 150:250] = 255
        cast[role] = cut_out(photo, BOX)
    return cast


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(synthetic_portraits(), seconds=14, seed=3)


def whiteness(frame: U8Image, box: list[float]) -> float:
    x1, y1, x2, y2 = (round(value) for value in box)
    inner = frame[y1 + 12 : y2 - 12, x1 + 12 : x2 - 12]
    return float((inner > 240).all(axis=2).mean())


def test_the_portrait_holds_the_face_and_fades_at_its_edge() -> None:
    portrait = cut_out(np.full((400, 400, 3), 200, np.uint8), BOX)
    height, width = portrait.bgr.shape[:2]
    x1, y1, x2, y2 = portrait.box_xyxy
    assert 0 < x1 < x2 < width
    assert 0 < y1 < y2 < height
    assert portrait.face_wh[1] == pytest.approx(200, abs=0.01)
    assert portrait.face_wh[0] / portrait.face_wh[1] == pytest.approx(100 / 130, abs=0.001)
    assert portrait.alpha[round(float(y1)) : round(float(y2)), round(float(x1)) : round(float(x2))].min() == 1
    assert portrait.alpha[0].max() < 0.1
    assert portrait.alpha[:, 0].max() < 0.1
    assert np.allclose(portrait.bgr, 200 * portrait.alpha, atol=1)


def test_a_face_at_the_photos_edge_is_cut_out_all_the_same() -> None:
    portrait = cut_out(np.full((120, 90, 3), 200, np.uint8), np.array([2, 1, 80, 118], np.float32))
    assert np.isfinite(portrait.bgr).all()
    assert portrait.bgr[portrait.bgr.shape[0] // 2, portrait.bgr.shape[1] // 2].min() > 190


def test_the_same_seed_gives_the_same_pictures(scene: Scene) -> None:
    again = Scene(synthetic_portraits(), seconds=14, seed=3)
    other = Scene(synthetic_portraits(), seconds=14, seed=4)
    assert again.truth() == scene.truth()
    assert other.truth() != scene.truth()
    for index in (0, 71, 150):
        assert np.array_equal(again.frame(index), scene.frame(index))
    assert not np.array_equal(other.frame(71), scene.frame(71))


def test_truth_boxes_are_on_the_faces(scene: Scene) -> None:
    truth = scene.truth()
    for index in range(10, scene.frame_count, 40):
        frame = scene.frame(index)
        boxes = [track["frames"][str(index)] for track in truth["tracks"] if str(index) in track["frames"]]
        for box in boxes:
            assert whiteness(frame, box) > 0.97


def test_the_truth_has_the_form_that_eval_scene_reads(scene: Scene) -> None:
    truth = json.loads(json.dumps(scene.truth()))
    assert (truth["fps"], truth["width"], truth["height"], truth["frames"]) == (FPS, *SIZE_WH, 14 * FPS)
    for track in truth["tracks"]:
        assert track["enrolled"] == (track["name"] in ENROLLED)
        indices = [int(index) for index in track["frames"]]
        assert indices == list(range(indices[0], indices[-1] + 1))
        assert 0 <= indices[0] < indices[-1] < truth["frames"]
        boxes = np.array(list(track["frames"].values()))
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= SIZE_WH[0]).all()
        assert (boxes[:, 3] <= SIZE_WH[1]).all()
        heights = boxes[:, 3] - boxes[:, 1]
        assert heights.min() > 90
        assert heights.max() < 200
        assert np.abs(np.diff(boxes, axis=0)).max() < 25  # paths are smooth


@pytest.mark.parametrize("seed", range(12))
def test_who_plays(seed: int) -> None:
    walks = cast_walks(14, seed)
    known = sorted((walk for walk in walks if walk.role.enrolled), key=lambda walk: walk.start_s)
    strangers = {walk.role for walk in walks if not walk.role.enrolled}
    assert {walk.role for walk in known} == set(KNOWN_ROLES)
    assert len(strangers) >= 4
    assert len(walks) == len(known) + len(strangers)
    assert known[0].end_s < known[1].start_s  # nobody meets himself
    enrolled_photos = {photo for photos in ENROLLED.values() for photo in photos}
    assert not enrolled_photos & {walk.role.photo for walk in walks}
    assert all(0 <= walk.start_s < walk.end_s <= 14 for walk in walks)


def test_faces_never_cover_each_other() -> None:
    for seed in range(5):
        truth = Scene(synthetic_portraits(), seconds=14, seed=seed).truth()
        for index in map(str, range(truth["frames"])):
            boxes = [track["frames"][index] for track in truth["tracks"] if index in track["frames"]]
            if len(boxes) > 1:
                overlaps = iou_matrix(np.array(boxes, np.float32), np.array(boxes, np.float32))
                assert (overlaps - np.eye(len(boxes))).max() < 0.01


def test_the_clip(tmp_path: Path) -> None:
    short = Scene(synthetic_portraits(), seconds=1, seed=3)
    frames = []
    short.render(tmp_path / "scene.mp4", on_frame=lambda: frames.append(1))
    with av.open(str(tmp_path / "scene.mp4")) as container:
        decoded = [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in container.decode(video=0)]
    assert len(decoded) == len(frames) == short.frame_count == FPS
    assert decoded[0].shape == (SIZE_WH[1], SIZE_WH[0], 3)
    assert np.abs(decoded[12].astype(int) - short.frame(12)).mean() < 4


# ------------------------------------------------------------------------------------------------ real faces


@pytest.fixture(scope="module")
def reader(model_paths: Mapping[str, Path]) -> PhotoReader:
    assert model_paths
    return photo_reader()


def test_real_faces_are_found_where_the_truth_says(reader: PhotoReader, photos: Mapping[str, Path]) -> None:
    cast = portraits(reader, photos)
    scene = Scene(cast, seconds=14, seed=7)
    truth = scene.truth()
    checked = 0
    for index in range(30, scene.frame_count, 40):
        boxes = [track["frames"][str(index)] for track in truth["tracks"] if str(index) in track["frames"]]
        faces = reader.detect([scene.frame(index)])[0]
        overlaps = iou_matrix(np.array(boxes, np.float32), faces.boxes_xyxy)
        assert overlaps.max(axis=1).min() > 0.6, f"frame {index}: a face of the truth was not found"
        checked += len(boxes)
    assert checked > 15


def test_known_people_look_like_their_enrolled_photos(reader: PhotoReader, photos: Mapping[str, Path]) -> None:
    from pipeline.photo import load_photo

    for role in KNOWN_ROLES:
        enrolled = reader.read(load_photo(photos[ENROLLED[role.name][0]])).templates[0]
        shown = reader.read(load_photo(photos[role.photo])).templates[role.place]
        assert float(enrolled @ shown) > 0.7
