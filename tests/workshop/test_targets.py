from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline import anchors as served
from pipeline.retinaface import anchor_spec
from tests.workshop.drawn_faces import labels
from weights.errors import WorkshopError
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, load_manifest
from weights.workshop.labels import LabelledFaces
from weights.workshop.targets import (
    AnchorLayout,
    decode_boxes,
    decode_landmarks,
    encode_boxes,
    encode_landmarks,
    lay_anchors,
    match,
    targets_of,
)

SPEC = load_manifest().model(DEFAULT_DETECTOR)
LAYOUT = AnchorLayout.of(SPEC)


def faces_of(*, boxes: list[tuple[float, float, float, float]]) -> torch.Tensor:
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


@pytest.mark.parametrize("size_wh", [(64, 64), (640, 384), (96, 32), (100, 70)])
def test_anchors_lie_where_the_pipeline_has_them(size_wh: tuple[int, int]) -> None:
    ours = lay_anchors(LAYOUT, size_wh).numpy()
    np.testing.assert_array_equal(ours, served.lay_anchors(anchor_spec(SPEC), size_wh))


def test_an_embedder_has_no_anchors() -> None:
    with pytest.raises(WorkshopError, match=r"mobilefacenet-192: .*a detector is wanted"):
        AnchorLayout.of(load_manifest().model(DEFAULT_EMBEDDER))


@given(
    arrays.arrays(np.float32, (7, 2), elements=st.floats(-100, 300, width=32)),
    arrays.arrays(np.float32, (7, 2), elements=st.floats(2, 500, width=32)),
    arrays.arrays(np.float32, (7, 5, 2), elements=st.floats(-100, 600, width=32)),
    st.integers(0, 120),
)
def test_the_pipeline_decodes_what_is_encoded(
    low: np.ndarray, sides: np.ndarray, points: np.ndarray, first: int
) -> None:
    boxes = np.concatenate([low, low + sides], axis=1)
    own = lay_anchors(LAYOUT, (96, 96))[first : first + 7]
    codes = encode_boxes(torch.from_numpy(boxes), own, LAYOUT.variances)
    point_codes = encode_landmarks(torch.from_numpy(points), own, LAYOUT.variances)
    np.testing.assert_allclose(
        served.decode_boxes(codes.numpy(), own.numpy(), LAYOUT.variances), boxes, atol=0.01, rtol=1e-4
    )
    np.testing.assert_allclose(
        served.decode_landmarks(point_codes.numpy(), own.numpy(), LAYOUT.variances), points, atol=0.01, rtol=1e-4
    )
    np.testing.assert_allclose(decode_boxes(codes, own, LAYOUT.variances), boxes, atol=0.01, rtol=1e-4)
    np.testing.assert_allclose(decode_landmarks(point_codes, own, LAYOUT.variances), points, atol=0.01, rtol=1e-4)


def test_an_anchor_of_the_face_itself_stands_for_it() -> None:
    anchors = lay_anchors(LAYOUT, (64, 64))
    own = 2 * (3 * 8 + 4) + 1  # the large one of the fine level's cell in row 3, column 4
    half = anchors[own, 2:] / 2
    box = torch.cat([anchors[own, :2] - half, anchors[own, :2] + half])[None]
    face = match(box, anchors)
    assert face[own] == 0
    # A neighbour one cell on shares 24 of 32 columns: 0.6. One two cells on 16 of 32: a third.
    assert face[own + 2] == 0
    assert face[own + 4] == -1


def test_below_the_overlap_is_background_but_each_face_has_its_best() -> None:
    anchors = lay_anchors(LAYOUT, (64, 64))
    tiny = faces_of(boxes=[(21, 21, 25, 25)])  # 16 of the 256 pixels of the least anchor
    assert (match(tiny, anchors) == 0).sum() == 1
    assert (match(faces_of(boxes=[]), anchors) == -1).all()


def test_the_threshold_is_inclusive_of_what_reaches_it() -> None:
    anchors = torch.tensor([[8.0, 8, 16, 16], [28.0, 8, 16, 16], [100.0, 100, 16, 16]])
    # Over the first anchor by 1, over the second by half of its columns: 8 of 24.
    boxes = faces_of(boxes=[(0, 0, 16, 16), (28, 0, 44, 16)])
    assert match(boxes, anchors, 0.3).tolist() == [0, 1, -1]
    alone = faces_of(boxes=[(0, 0, 16, 16)])
    near = torch.tensor([[8.0, 8, 16, 16], [16.0, 8, 16, 16]])
    assert match(alone, near, 1 / 3 - 1e-6).tolist() == [0, 0]
    assert match(alone, near, 0.34).tolist() == [0, -1]


def test_two_faces_of_one_anchor_leave_it_to_the_nearer_whatever_their_order() -> None:
    anchors = torch.tensor([[8.0, 8, 16, 16]])
    exact, off = (0.0, 0.0, 16.0, 16.0), (4.0, 0.0, 20.0, 16.0)
    assert match(faces_of(boxes=[exact, off]), anchors).tolist() == [0]
    assert match(faces_of(boxes=[off, exact]), anchors).tolist() == [1]


def test_many_faces_are_matched_as_few_are() -> None:
    rng = np.random.default_rng(5)
    low = rng.uniform(0, 200, (150, 2))
    boxes = torch.tensor(np.concatenate([low, low + rng.uniform(8, 60, (150, 1))], axis=1), dtype=torch.float32)
    anchors = lay_anchors(LAYOUT, (256, 256))
    half = anchors[:, 2:] / 2
    corners = torch.cat([anchors[:, :2] - half, anchors[:, :2] + half], dim=1)
    shared = (
        (torch.minimum(boxes[:, None, 2:], corners[:, 2:]) - torch.maximum(boxes[:, None, :2], corners[:, :2]))
        .clamp(min=0)
        .prod(-1)
    )
    areas = [(each[:, 2:] - each[:, :2]).prod(-1) for each in (boxes, corners)]
    overlaps = shared / (areas[0][:, None] + areas[1] - shared)
    face = match(boxes, anchors)
    sure = (overlaps.max(0).values >= 0.35) & (face == overlaps.argmax(0))
    own = torch.zeros(len(anchors), dtype=torch.bool)
    own[overlaps.argmax(1)] = True
    assert (face >= 0).sum() > 150
    # Whatever stands for a face either overlaps it most, or is that face's best anchor.
    assert ((face < 0) | sure | own).all()
    assert ((overlaps.max(0).values < 0.35) | (face >= 0)).all()


def test_targets_of_a_picture() -> None:
    faces = labels((10, 10, 42, 42), (60, 60, 76, 76))
    faces = LabelledFaces(
        boxes_xyxy=faces.boxes_xyxy, landmarks_xy=faces.landmarks_xy, has_landmarks=np.array([True, False])
    )
    anchors = lay_anchors(LAYOUT, (96, 96))
    made = targets_of(faces, anchors, LAYOUT)
    face = match(torch.from_numpy(faces.boxes_xyxy), anchors)
    assert set(face.tolist()) == {-1, 0, 1}
    assert torch.equal(made["labels"], (face >= 0).long())
    assert torch.equal(made["has_landmarks"], face == 0)
    assert torch.all(made["landmarks"][face != 0] == 0)
    assert torch.all(made["boxes"][face < 0] == 0)
    decoded = decode_boxes(made["boxes"], anchors, LAYOUT.variances)[face == 1]
    assert torch.allclose(decoded, torch.tensor([60.0, 60, 76, 76]), atol=1e-3)
    points = decode_landmarks(made["landmarks"], anchors, LAYOUT.variances)[face == 0]
    assert torch.allclose(points, torch.from_numpy(faces.landmarks_xy[0]), atol=1e-3)


def test_targets_of_a_picture_without_faces() -> None:
    made = targets_of(LabelledFaces.empty(), lay_anchors(LAYOUT, (32, 32)), LAYOUT)
    assert made["labels"].sum() == 0
    assert not made["has_landmarks"].any()
    assert made["boxes"].shape == (42, 4)
    assert made["landmarks"].shape == (42, 10)
