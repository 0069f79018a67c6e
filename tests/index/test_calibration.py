from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index.calibration import Calibration, interpolate
from weights.manifest import DEFAULT_EMBEDDER, load_manifest

CURVE = Calibration(points=((1e-1, 0.2), (1e-2, 0.3), (1e-4, 0.5)))


@pytest.mark.parametrize(
    ("rate", "people", "threshold"),
    [
        pytest.param(1e-1, 1, 0.2, id="first-point"),
        pytest.param(1e-2, 1, 0.3, id="a-point"),
        pytest.param(1e-3, 1, 0.4, id="between-on-a-logarithmic-rate"),
        pytest.param(1e-4, 1, 0.5, id="last-point"),
        pytest.param(1e-5, 1, 0.6, id="beyond-along-the-last-slope"),
        pytest.param(0.5, 1, 0.2, id="before-the-first-it-stays"),
        pytest.param(1e-2, 0, 0.3, id="an-empty-gallery-counts-as-one"),
        pytest.param(1 - (1 - 1e-3) ** 100, 100, 0.4, id="100-people-exactly"),
    ],
)
def test_threshold(rate: float, people: int, threshold: float) -> None:
    assert CURVE.threshold_for(rate, people) == pytest.approx(threshold, abs=1e-9)


def test_many_people_share_the_rate() -> None:
    # For small rates the chance of a false name is the single comparison's times the number of people.
    assert CURVE.threshold_for(1e-3, 100) == pytest.approx(CURVE.threshold_for(1e-5, 1), abs=1e-3)


@given(st.floats(1e-12, 0.999), st.floats(1e-12, 0.999), st.integers(1, 10**7), st.integers(1, 10**7))
def test_stricter_or_more_people_never_lower_it(rate: float, other: float, people: int, more: int) -> None:
    assert CURVE.threshold_for(min(rate, other), people) >= CURVE.threshold_for(max(rate, other), people) - 1e-12
    few, many = sorted((people, more))
    assert CURVE.threshold_for(rate, many) >= CURVE.threshold_for(rate, few) - 1e-12


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_a_rate_is_a_probability(rate: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        CURVE.threshold_for(rate, 1)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param((), id="none"),
        pytest.param(((1e-2, 0.3),), id="one"),
        pytest.param(((1e-3, 0.3), (1e-2, 0.4)), id="rates-rise"),
        pytest.param(((1e-2, 0.4), (1e-3, 0.3)), id="similarities-fall"),
        pytest.param(((1e-2, 0.3), (1e-2, 0.4)), id="a-rate-twice"),
        pytest.param(((1e-2, 0.3), (0.0, 0.4)), id="a-rate-of-nothing"),
    ],
)
def test_what_is_no_curve_is_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ValueError, match="rates falling and similarities rising"):
        Calibration(points=points)


@given(st.floats(-5, 15))
def test_interpolation_is_the_plain_one(x: float) -> None:
    points = [(0.0, 1.0), (2.0, 5.0), (10.0, 6.0)]
    plain = 1.0 if x <= 0 else 1 + 2 * x if x <= 2 else 5 + (x - 2) / 8
    assert interpolate(points, x) == pytest.approx(plain)


def test_the_shipped_embedders_curve_is_one() -> None:
    curve = Calibration(points=load_manifest().model(DEFAULT_EMBEDDER).calibration)
    thresholds = [curve.threshold_for(1e-3, people) for people in (1, 10, 100, 1000)]
    assert all(a < b for a, b in pairwise(thresholds))
    assert all(0.4 < threshold < 0.8 for threshold in thresholds)
