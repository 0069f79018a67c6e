import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.nms import iou_matrix, suppress

Box = tuple[float, float, float, float]


def naive_iou(a: Box, b: Box) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def naive_suppress(boxes: list[Box], scores: list[float], threshold: float) -> list[int]:
    waiting = sorted(range(len(boxes)), key=lambda row: -scores[row])  # sorting is stable
    kept = []
    while waiting:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [row for row in waiting if naive_iou(boxes[best], boxes[row]) <= threshold]
    return kept


# Whole numbers, so that float32 and float64 agree on every overlap, and ties of scores are common.
whole = st.integers(0, 24).map(float)
sides = st.integers(0, 16).map(float)
boxes = st.tuples(whole, whole, sides, sides).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
scored = st.lists(st.tuples(boxes, st.integers(0, 5).map(float)), max_size=25)


@given(scored, st.sampled_from([0.0, 0.3, 0.41, 0.7]))
def test_suppression_is_the_greedy_one(pairs: list[tuple[Box, float]], threshold: float) -> None:
    rows = [box for box, _ in pairs]
    scores = [score for _, score in pairs]
    kept = suppress(np.array(rows, np.float32).reshape(-1, 4), np.array(scores, np.float32), threshold)
    assert kept.tolist() == naive_suppress(rows, scores, threshold)


@given(st.lists(boxes, max_size=8), st.lists(boxes, max_size=8))
def test_overlaps_are_the_plain_ones(a: list[Box], b: list[Box]) -> None:
    overlaps = iou_matrix(np.array(a, np.float32).reshape(-1, 4), np.array(b, np.float32).reshape(-1, 4))
    assert overlaps.shape == (len(a), len(b))
    expected = [[naive_iou(x, y) for y in b] for x in a]
    np.testing.assert_allclose(overlaps, np.array(expected).reshape(len(a), len(b)), atol=1e-6)


def test_a_chain_keeps_its_ends() -> None:
    # The middle one falls to the first, so it cannot take the last with it.
    chain = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]], np.float32)
    assert suppress(chain, np.array([0.9, 0.8, 0.7], np.float32), 0.3).tolist() == [0, 2]


@pytest.mark.parametrize("count", [0, 1])
def test_few_boxes(count: int) -> None:
    rows = np.tile(np.array([[0, 0, 4, 4]], np.float32), (count, 1))
    assert suppress(rows, np.ones(count, np.float32), 0.4).tolist() == list(range(count))
