"""Scoring a clip: how often it was looked at."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.analysis import AnalysedFrame
from pipeline.faces import Faces
from streams.frame import Frame
from streams.picture import ArrayPicture
from tests.pipeline.made import meta_of
from vidface.evaluation.scene import SceneScore, Truth


def seen(index: int) -> AnalysedFrame:
    picture = ArrayPicture(np.zeros((36, 64, 3), np.uint8))
    return AnalysedFrame(
        frame=Frame(meta=meta_of("clip-1", index, size_wh=(64, 36)), picture=picture),
        faces=Faces.empty(),
        numbers=np.empty(0, np.int64),
        decisions=(),
    )


@pytest.mark.parametrize(
    ("indices", "expected"),
    [
        pytest.param([], None, id="nothing"),
        pytest.param([3], None, id="one-frame"),
        pytest.param(range(0, 751, 5), 5.0, id="five-a-second"),
        pytest.param(range(751), 25.0, id="every-frame"),
        pytest.param([0, 5, 20, 25], 3.0, id="with-a-hole"),
    ],
)
def test_how_often_it_was_looked_at_counts_in_the_time_of_the_clip(indices: list[int], expected: float | None) -> None:
    score = SceneScore(Truth(fps=25.0, people=()))
    for index in indices:
        score.observe(seen(index))
    assert score.result()["detections_per_s"] == expected
