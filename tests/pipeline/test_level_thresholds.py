"""Thresholds by level: the anchors of each stride have their own, in the order in which the outputs list them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.canvas import Canvas
from pipeline.engine import Finish
from pipeline.errors import ModelMismatch
from pipeline.retinaface import DetectorOptions, RetinaFace
from weights.manifest import DEFAULT_DETECTOR, load_manifest

SPEC = load_manifest().model(DEFAULT_DETECTOR)
CANVAS = Canvas(width=64, height=32)
ANCHORS = (8 * 4 * 2, 4 * 2 * 2, 2 * 1 * 2)
"""Cells of the strides 8, 16 and 32 on 64x32, of two anchors each."""


class OneScoreForAll:
    """Says of every anchor that it is a face, with the same score."""

    description = "fake"
    parallel = 1

    def __init__(self, score: float) -> None:
        self._score = score

    def submit(self, inputs: Mapping[str, NDArray[Any]]) -> Finish:
        return lambda: self.run(inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        count, total = len(next(iter(inputs.values()))), sum(ANCHORS)
        loc, conf, landmarks = SPEC.outputs
        return {
            loc: np.zeros((count, total, 4), np.float32),
            conf: np.full((count, total, 2), self._score, np.float32),
            landmarks: np.zeros((count, total, 10), np.float32),
        }


def sides(options: DetectorOptions) -> set[int]:
    """The sides of the anchors that became faces."""
    detector = RetinaFace(OneScoreForAll(0.6), SPEC, options)
    (faces,) = detector.detect(np.zeros((1, 32, 64, 3), np.uint8))
    return {round(float(side)) for side in faces.sizes_px}


@pytest.mark.parametrize(
    ("thresholds", "expected"),
    [
        pytest.param(None, {16, 32, 64, 128, 256, 512}, id="one-for-all"),
        pytest.param((0.6, 0.6, 0.6), {16, 32, 64, 128, 256, 512}, id="all-reached"),
        pytest.param((0.5, 0.7, 0.7), {16, 32}, id="finest-alone"),
        pytest.param((0.7, 0.5, 0.7), {64, 128}, id="middle-alone"),
        pytest.param((0.7, 0.7, 0.5), {256, 512}, id="coarsest-alone"),
        pytest.param((0.7, 0.7, 0.7), set(), id="none"),
    ],
)
def test_each_level_has_its_own(thresholds: tuple[float, ...] | None, expected: set[int]) -> None:
    # Nothing is suppressed, since no two boxes overlap by more than all of them.
    options = DetectorOptions(canvas=CANVAS, score_threshold=0.6, nms_iou=1.0, level_thresholds=thresholds)
    assert sides(options) == expected


def test_another_canvas_has_them_too() -> None:
    options = DetectorOptions(canvas=Canvas(width=128, height=128), nms_iou=1.0, level_thresholds=(0.5, 0.7, 0.7))
    (faces,) = RetinaFace(OneScoreForAll(0.6), SPEC, options).on(CANVAS).detect(np.zeros((1, 32, 64, 3), np.uint8))
    assert len(faces) == ANCHORS[0]


def test_as_many_as_levels_are_wanted() -> None:
    with pytest.raises(ModelMismatch, match=r"2 thresholds by level .* 3 levels, of the strides 8, 16, 32"):
        RetinaFace(OneScoreForAll(0.6), SPEC, DetectorOptions(canvas=CANVAS, level_thresholds=(0.5, 0.5)))
