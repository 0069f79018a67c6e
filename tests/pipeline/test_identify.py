from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.events.payload import Answer
from pipeline.evidence import Candidate
from pipeline.identify import UNSEEN, Decision, IdentifyOptions, Reason, Standing, decide, revise
from tests.pipeline.made import candidate

OPTIONS = IdentifyOptions(
    threshold=0.5,
    margin=0.08,
    min_shots=3,
    agree_slack=0.1,
    stranger_gap=0.1,
    stranger_shots=4,
    patience_shots=8,
    good_quality=0.45,
    hysteresis=0.05,
    revise_factor=1.5,
)


def standing(
    best: float | None,
    shots: int | Sequence[Candidate | None] = 3,
    *,
    runner_up: float | None = 0.1,
    weight: float = 2.0,
    version: int = 1,
    name: str = "Ada",
    quality: float = 0.6,
) -> Standing:
    """Ada so similar, Bob the runner-up; a number of shots means that each by itself is like the fused one."""
    first = None if best is None else candidate(name, best)
    bests = (first,) * shots if isinstance(shots, int) else tuple(shots)
    return Standing(
        best=first,
        runner_up=None if runner_up is None or best is None else candidate("Bob", runner_up),
        shot_bests=bests,
        qualities=(quality,) * len(bests),
        weight=weight,
        gallery_version=version,
    )


ADA, BOB = candidate("Ada", 0.6), candidate("Bob", 0.6)


@pytest.mark.parametrize(
    ("evidence", "answer", "reason"),
    [
        pytest.param(standing(0.7, 3), "person", "matched", id="clear"),
        pytest.param(standing(0.5, 3), "person", "matched", id="just-at-the-threshold"),
        pytest.param(standing(0.6, 3, runner_up=None), "person", "matched", id="lone-enrolled-person"),
        pytest.param(standing(0.6, [ADA, ADA, ADA, BOB]), "person", "matched", id="one-of-four-shots-disagrees"),
        pytest.param(standing(0.6, [candidate("Ada", 0.4)] * 3), "person", "matched", id="shots-within-the-slack"),
        pytest.param(standing(0.7, 0), "undecided", "no_shots", id="no-shots"),
        pytest.param(standing(None, 0), "undecided", "no_shots", id="no-shots-and-nobody-enrolled"),
        pytest.param(standing(0.9, 2), "undecided", "few_shots", id="similar-but-too-few-shots"),
        pytest.param(standing(0.2, 3), "undecided", "near_threshold", id="unlike-but-too-few-for-a-stranger"),
        pytest.param(standing(0.2, 2), "undecided", "few_shots", id="unlike-and-few"),
        pytest.param(standing(None, 3), "undecided", "few_shots", id="empty-gallery-few-shots"),
        pytest.param(standing(None, 4), "stranger", "empty_gallery", id="empty-gallery"),
        pytest.param(standing(0.39, 4), "stranger", "nobody_near", id="nobody-near"),
        pytest.param(standing(0.41, 4), "undecided", "near_threshold", id="nearly"),
        pytest.param(standing(0.49, 7), "undecided", "near_threshold", id="patience"),
        pytest.param(standing(0.49, 8), "stranger", "below_threshold", id="patience-at-its-end"),
        pytest.param(standing(0.2, 9, quality=0.44), "undecided", "low_quality", id="poor-shots-make-no-stranger"),
        pytest.param(standing(None, 9, quality=0.44), "undecided", "few_shots", id="poor-shots-of-nobody"),
        pytest.param(standing(0.2, 4, quality=0.45), "stranger", "nobody_near", id="just-good-enough-shots"),
        pytest.param(standing(0.7, 3, quality=0.3), "person", "matched", id="poor-shots-may-well-match"),
        pytest.param(standing(0.6, 3, runner_up=0.53), "undecided", "small_margin", id="two-alike"),
        pytest.param(standing(0.6, 9, runner_up=0.53), "undecided", "small_margin", id="two-alike-however-often"),
        pytest.param(standing(0.6, [ADA, ADA, BOB]), "undecided", "shots_disagree", id="shots-name-others"),
        pytest.param(
            standing(0.6, [ADA, ADA, candidate("Ada", 0.39)]), "undecided", "shots_disagree", id="a-shot-too-unlike"
        ),
        pytest.param(standing(0.6, [ADA, ADA, None]), "undecided", "shots_disagree", id="a-shot-of-nobody"),
    ],
)
def test_decide(evidence: Standing, answer: str, reason: str) -> None:
    decision = decide(evidence, OPTIONS)
    assert (decision.answer, decision.reason) == (Answer(answer), Reason(reason))
    assert (decision.identity is not None) == (decision.answer is Answer.PERSON)
    assert decision.shots == len(evidence.shot_bests)
    assert decision.weight == evidence.weight
    assert decision.gallery_version == evidence.gallery_version


def test_every_reason_is_in_the_table() -> None:
    table = next(mark for mark in test_decide.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    # pytest puts its marks on the function, which mypy does not know.
    assert {case.values[2] for case in table.args[1]} == {reason.value for reason in Reason}


def test_a_person_is_told_with_the_runner_up() -> None:
    decision = decide(standing(0.7, 3, runner_up=0.3), OPTIONS)
    assert decision.identity == candidate("Ada", 0.7)
    assert decision.runner_up == candidate("Bob", 0.3)
    assert decision.margin == pytest.approx(0.4)
    assert decision.agreeing == 3


def test_a_stranger_is_told_with_who_came_nearest() -> None:
    decision = decide(standing(0.3, 4), OPTIONS)
    assert decision.identity is None
    assert decision.runner_up == candidate("Ada", 0.3)
    assert decision.margin == 0


@pytest.mark.parametrize(
    ("score", "incumbent", "answer"),
    [
        pytest.param(0.47, "id-Ada", "person", id="stays-named-within-the-hysteresis"),
        pytest.param(0.47, None, "undecided", id="would-not-be-named-anew"),
        pytest.param(0.47, "id-Bob", "undecided", id="another-is-named-now"),
        pytest.param(0.44, "id-Ada", "undecided", id="below-the-hysteresis"),
        pytest.param(0.39, "id-Ada", "stranger", id="far-below"),
    ],
)
def test_hysteresis(score: float, incumbent: str | None, answer: str) -> None:
    assert decide(standing(score, 4), OPTIONS, incumbent).answer is Answer(answer)


def person(name: str = "Ada", weight: float = 2.0, version: int = 1) -> Decision:
    return decide(standing(0.7, 4, weight=weight, version=version, name=name), OPTIONS)


def stranger(weight: float = 2.0, version: int = 1) -> Decision:
    return decide(standing(0.2, 4, weight=weight, version=version), OPTIONS)


def undecided(weight: float = 2.0, version: int = 1) -> Decision:
    return decide(standing(0.6, 4, runner_up=0.59, weight=weight, version=version), OPTIONS)


@pytest.mark.parametrize(
    ("current", "proposed", "revised"),
    [
        pytest.param(UNSEEN, undecided(), True, id="nothing-known-yet"),
        pytest.param(UNSEEN, person(), True, id="first-name"),
        pytest.param(undecided(9), person("Ada", 1), True, id="open-takes-any-answer"),
        pytest.param(undecided(9), stranger(1), True, id="open-takes-a-stranger"),
        pytest.param(person("Ada", 2), person("Ada", 1), True, id="the-same-with-new-figures"),
        pytest.param(person("Ada", 2), undecided(99), False, id="a-name-is-not-withdrawn-for-doubt"),
        pytest.param(stranger(2), undecided(99), False, id="a-stranger-is-not-withdrawn-for-doubt"),
        pytest.param(person("Ada", 2), person("Bob", 3), False, id="another-name-by-as-much-is-not-enough"),
        pytest.param(person("Ada", 2), person("Bob", 3.01), True, id="another-name-by-more"),
        pytest.param(person("Ada", 2), stranger(2.9), False, id="stranger-by-too-little-more"),
        pytest.param(person("Ada", 2), stranger(3.1), True, id="stranger-by-more"),
        pytest.param(stranger(2), person("Ada", 2), False, id="name-by-no-more"),
        pytest.param(stranger(2), person("Ada", 1.9), False, id="name-by-less"),
        pytest.param(stranger(2), person("Ada", 2.1), True, id="name-by-more"),
        pytest.param(person("Ada", 2), person("Bob", 0.1), False, id="never-by-less-evidence"),
        pytest.param(person("Ada", 2, 1), stranger(1, 2), True, id="removed-from-the-gallery"),
        pytest.param(person("Ada", 2, 1), undecided(1, 2), True, id="removed-and-now-in-doubt"),
        pytest.param(person("Ada", 2, 1), person("Bob", 1, 2), True, id="somebody-nearer-was-enrolled"),
        pytest.param(stranger(2, 1), person("Ada", 1, 2), True, id="the-stranger-was-enrolled"),
    ],
)
def test_revise(current: Decision, proposed: Decision, *, revised: bool) -> None:
    assert revise(current, proposed, OPTIONS) is (proposed if revised else current)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(person(weight=1), person(weight=9), True, id="same-person-other-figures"),
        pytest.param(person("Ada"), person("Bob"), False, id="another-person"),
        pytest.param(stranger(), undecided(), False, id="another-answer"),
        pytest.param(undecided(), replace(undecided(), reason=Reason.FEW_SHOTS), True, id="another-reason"),
        pytest.param(
            person(), replace(person(), identity=replace(candidate("Ada", 0.7), name="Ada L.")), False, id="renamed"
        ),
    ],
)
def test_says_the_same(one: Decision, other: Decision, *, same: bool) -> None:
    assert one.says_the_same(other) is other.says_the_same(one) is same


def test_the_margin_over_nobody_is_the_score() -> None:
    assert standing(0.6, runner_up=None).margin == 0.6
    assert standing(None).margin == 0
