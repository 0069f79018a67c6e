"""Against a second implementation: plain loops in float64, written from the papers."""

import math

import numpy as np
import pytest

from pipeline.anchors import AnchorSpec, decode_boxes, decode_landmarks, lay_anchors

SPEC = AnchorSpec(strides=(8, 16, 32), sizes_px=((16, 32), (64, 128), (256, 512)), variances=(0.1, 0.2))


def naive_anchors(canvas_wh: tuple[int, int]) -> list[tuple[float, float, float, float]]:
    anchors: list[tuple[float, float, float, float]] = []
    for stride, sizes in zip(SPEC.strides, SPEC.sizes_px, strict=True):
        for row in range(math.ceil(canvas_wh[1] / stride)):
            for column in range(math.ceil(canvas_wh[0] / stride)):
                centre = ((column + 0.5) * stride, (row + 0.5) * stride)
                anchors.extend((*centre, float(size), float(size)) for size in sizes)
    return anchors


def naive_box(loc: list[float], anchor: tuple[float, float, float, float]) -> list[float]:
    x = anchor[0] + loc[0] * 0.1 * anchor[2]
    y = anchor[1] + loc[1] * 0.1 * anchor[3]
    width = anchor[2] * math.exp(loc[2] * 0.2)
    height = anchor[3] * math.exp(loc[3] * 0.2)
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def naive_points(encoded: list[float], anchor: tuple[float, float, float, float]) -> list[list[float]]:
    return [
        [anchor[0] + encoded[2 * i] * 0.1 * anchor[2], anchor[1] + encoded[2 * i + 1] * 0.1 * anchor[3]]
        for i in range(5)
    ]


@pytest.mark.parametrize(
    ("canvas_wh", "count"),
    [
        pytest.param((64, 32), 2 * (8 * 4 + 4 * 2 + 2 * 1), id="64x32"),
        pytest.param((32, 64), 2 * (4 * 8 + 2 * 4 + 1 * 2), id="32x64"),
        pytest.param((1920, 1088), 2 * (240 * 136 + 120 * 68 + 60 * 34), id="1920x1088"),
    ],
)
def test_anchors_are_laid_in_the_networks_order(canvas_wh: tuple[int, int], count: int) -> None:
    anchors = lay_anchors(SPEC, canvas_wh)
    assert anchors.shape == (count, 4)
    assert anchors.dtype == np.float32
    np.testing.assert_array_equal(anchors, np.array(naive_anchors(canvas_wh)))


def test_width_and_height_are_not_interchangeable() -> None:
    assert not np.array_equal(lay_anchors(SPEC, (64, 32)), lay_anchors(SPEC, (32, 64)))


@pytest.mark.parametrize("canvas_wh", [(64, 32), (1920, 1088)], ids=["64x32", "1920x1088"])
def test_decoding_is_the_papers_formula(canvas_wh: tuple[int, int]) -> None:
    anchors = lay_anchors(SPEC, canvas_wh)
    rng = np.random.default_rng(7)
    rows = rng.integers(0, len(anchors), 500)
    loc = rng.normal(scale=2.0, size=(500, 4)).astype(np.float32)
    encoded = rng.normal(scale=2.0, size=(500, 10)).astype(np.float32)
    plain = naive_anchors(canvas_wh)
    chosen = [plain[row] for row in rows]
    boxes = decode_boxes(loc, anchors[rows], SPEC.variances)
    points = decode_landmarks(encoded, anchors[rows], SPEC.variances)
    assert boxes.dtype == points.dtype == np.float32
    assert points.shape == (500, 5, 2)
    for row in range(500):
        np.testing.assert_allclose(boxes[row], naive_box(loc[row].tolist(), chosen[row]), rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(points[row], naive_points(encoded[row].tolist(), chosen[row]), rtol=1e-5, atol=1e-3)


def test_x_and_y_are_not_interchangeable() -> None:
    anchors = np.array([[10, 20, 16, 16]], np.float32)
    box = decode_boxes(np.array([[1, 0, 5, 0]], np.float32), anchors, SPEC.variances)[0]
    assert (box[0] + box[2]) / 2 == pytest.approx(11.6)
    assert (box[1] + box[3]) / 2 == pytest.approx(20)
    assert box[2] - box[0] == pytest.approx(16 * math.e)
    assert box[3] - box[1] == pytest.approx(16)
    point = decode_landmarks(np.array([[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]], np.float32), anchors, SPEC.variances)[0]
    np.testing.assert_allclose(point[:2], [[11.6, 20], [10, 21.6]], rtol=1e-6)


def test_no_rows_decode_to_no_rows() -> None:
    nothing = np.empty((0, 4), np.float32)
    assert decode_boxes(nothing, nothing, SPEC.variances).shape == (0, 4)
    assert decode_landmarks(np.empty((0, 10), np.float32), nothing, SPEC.variances).shape == (0, 5, 2)
