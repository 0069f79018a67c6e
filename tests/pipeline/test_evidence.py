import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evidence import Evidence, fuse
from tests.pipeline.made import axis, candidate, shot_of, unit


def test_the_fused_template_leans_to_the_better_shots() -> None:
    fused = fuse(np.stack([axis(0), axis(1)]), np.array([0.9, 0.3], np.float32))
    np.testing.assert_allclose(fused[:2], unit(3, 1), rtol=1e-5)
    assert np.linalg.norm(fused) == pytest.approx(1, abs=1e-6)


def test_alike_shots_fuse_to_themselves() -> None:
    np.testing.assert_allclose(fuse(np.stack([axis(2)] * 3), np.array([0.2, 0.5, 0.9], np.float32)), axis(2))


def test_opposite_shots_do_not_divide_by_zero() -> None:
    assert np.isfinite(fuse(np.stack([axis(0), -axis(0)]), np.ones(2, np.float32))).all()


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 6))
def test_the_best_shots_are_kept(thousandths: list[int], capacity: int) -> None:
    evidence = Evidence(capacity)
    weights = []
    for pts_ns, quality in enumerate(thousandths):
        evidence.add(shot_of(axis(0), pts_ns, quality=quality / 1000))
        weights.append(evidence.weight)
    kept = sorted((shot.quality * 1000 for shot in evidence.shots), reverse=True)
    assert kept == pytest.approx(sorted(thousandths, reverse=True)[:capacity])
    assert evidence.best_quality * 1000 == pytest.approx(max(thousandths))
    assert weights == sorted(weights), "evidence only grows"
    times = [shot.pts_ns for shot in evidence.shots]
    assert times == sorted(times), "in the order in which they were taken"


def test_full_evidence_refuses_a_weaker_shot_and_says_so() -> None:
    evidence = Evidence(1)
    assert evidence.add(shot_of(axis(0), quality=0.5))
    assert not evidence.add(shot_of(axis(1), quality=0.5))
    assert evidence.add(shot_of(axis(1), quality=0.6))
    np.testing.assert_array_equal(evidence.fused(), axis(1))


def test_nothing_cannot_be_fused() -> None:
    with pytest.raises(ValueError, match="no shots"):
        Evidence().fused()
    assert Evidence().best_quality == 0


def test_shots_can_be_matched_anew() -> None:
    evidence = Evidence()
    evidence.add(shot_of(axis(0)))
    evidence.replace_shots([shot_of(axis(0), best=candidate("Ada", 0.9))])
    assert [shot.best.name for shot in evidence.shots if shot.best] == ["Ada"]
