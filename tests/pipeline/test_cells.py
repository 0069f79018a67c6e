"""A detector whose outputs are the cells of its levels gives what one with boxes, scores and landmarks gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.canvas import Canvas
from pipeline.errors import ShapeError
from pipeline.retinaface import DetectorOptions, RetinaFace
from weights.manifest import DEFAULT_DETECTOR, OutputForm, load_manifest

ANCHORS = load_manifest().model(DEFAULT_DETECTOR)
CELLS = replace(ANCHORS, outputs=("fine", "middle", "coarse"), output_form=OutputForm.CELLS)
CANVAS = Canvas(width=96, height=64)


class Answers:
    """An engine that always says the same."""

    description = "made up"
    parallel = 1

    def __init__(self, outputs: dict[str, Any]) -> None:
        self._outputs = outputs

    def submit(self, _inputs: object) -> Any:
        return lambda: self._outputs

    def run(self, _inputs: object) -> Any:
        return self._outputs


def both(
    seed: int, faces: int, *, threshold: float = 0.6, levels: tuple[float, ...] | None = None
) -> Sequence[list[Any]]:
    """The same raw answers in both forms, decoded; so many anchors of each picture are surely faces."""
    random = np.random.default_rng(seed)
    cells = [(CANVAS.height // stride, CANVAS.width // stride) for stride in ANCHORS.strides]
    counts = [2 * rows * columns for rows, columns in cells]
    values = random.normal(0, 0.5, (2, sum(counts), 15)).astype(np.float32)
    values[..., 0] -= 6
    for picture in values:
        picture[random.choice(len(picture), faces, replace=False), 0] = random.uniform(-1, 5, faces)
    score = 1 / (1 + np.exp(-values[..., 0].astype(np.float64)))
    anchors = {
        "loc": values[..., 1:5],
        "conf": np.stack([1 - score, score], axis=-1).astype(np.float32),
        "landmarks": values[..., 5:],
    }
    parts = np.split(values, np.cumsum(counts)[:-1], axis=1)
    shaped = {name: part.reshape(2, *cell, 30) for name, part, cell in zip(CELLS.outputs, parts, cells, strict=True)}
    options = DetectorOptions(canvas=CANVAS, score_threshold=threshold, level_thresholds=levels)
    batch = np.zeros((2, CANVAS.height, CANVAS.width, 3), np.uint8)
    return [
        RetinaFace(Answers(outputs), spec, options).detect(batch)
        for outputs, spec in ((anchors, ANCHORS), (shaped, CELLS))
    ]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("faces", [0, 1, 7, 60])
@pytest.mark.parametrize("levels", [None, (0.5, 0.7, 0.9)])
def test_both_forms_are_the_same(seed: int, faces: int, levels: tuple[float, ...] | None) -> None:
    as_anchors, as_cells = both(seed, faces, levels=levels)
    assert faces < 7 or any(len(found) for found in as_cells)
    for first, second in zip(as_anchors, as_cells, strict=True):
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)
        np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, atol=1e-4)
        np.testing.assert_allclose(first.landmarks_xy, second.landmarks_xy, atol=1e-4)


def test_a_crowd_is_cut_to_its_surest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.retinaface.CANDIDATES", 10)
    as_anchors, as_cells = both(1, 80, threshold=0.1)
    for first, second in zip(as_anchors, as_cells, strict=True):
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-5)


def test_another_canvas_is_refused() -> None:
    outputs = {name: np.zeros((1, 3, 3, 30), np.float32) for name in CELLS.outputs}
    detector = RetinaFace(Answers(outputs), CELLS, DetectorOptions(canvas=CANVAS))
    with pytest.raises(ShapeError, match="margins"):
        detector.detect(np.zeros((1, CANVAS.height, CANVAS.width, 3), np.uint8))
