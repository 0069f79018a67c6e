"""Each question of the judgement, and each reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from pipeline.events.event import Event
from pipeline.events.payload import Answer, RunnerUp, SightingStage
from tests.pipeline.events.examples import NOON_NS, camera_state
from tests.vidface.access.made import (
    ALICE,
    BOB,
    MALLORY,
    SECOND_NS,
    SOURCE,
    Bench,
    at,
    door,
    revised,
    rule,
    schedule,
    seen,
    site,
    with_data,
)
from vidface.access.door import Door, Site
from vidface.access.hours import Weekday
from vidface.access.past import Past, Person
from vidface.access.reason import MEANINGS, Reason
from vidface.access.rules import Decision, judge, moment_of


def decide(event: Event, doors: Site | None = None, now_ns: int = NOON_NS, past: Past | None = None) -> Decision:
    decisions = judge(doors or site(), event, now_ns, past or Past())
    assert len(decisions) == 1
    return decisions[0]


def test_who_may_pass_passes() -> None:
    decision = decide(seen())
    assert (decision.reason, decision.opens, decision.door, decision.rule) == (Reason.ALLOWED, True, "main", "staff")
    assert decision.people == (Person(id="p-alice", name="Alice"),)
    assert decision.words == "Alice may pass by the rule 'staff'"


@pytest.mark.parametrize(
    ("people", "who", "passes"),
    [
        pytest.param(("Alice",), ALICE, True, id="by-name"),
        pytest.param(("ALICE",), ALICE, True, id="case-aside"),
        pytest.param(("p-alice",), ALICE, True, id="by-id"),
        pytest.param(("P-ALICE",), ALICE, False, id="an-id-has-one-spelling"),
        pytest.param(("p-alice",), replace(ALICE, name="Alice Smith"), True, id="renamed-and-listed-by-id"),
        pytest.param(("Alice",), replace(ALICE, name="Alice Smith"), False, id="renamed-and-listed-by-name"),
        pytest.param(("Ali",), ALICE, False, id="a-part-of-the-name"),
        pytest.param(("Alice",), MALLORY, False, id="somebody-else"),
    ],
)
def test_people(people: tuple[str, ...], who: Any, passes: bool) -> None:
    decision = decide(seen(who), site(door(rule(people=people))))
    assert decision.opens is passes
    assert decision.reason is (Reason.ALLOWED if passes else Reason.NOT_PERMITTED)


ENDED = seen(stage=SightingStage.ENDED, sequence=3)
OLD = "2020-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("event", "reason", "words"),
    [
        pytest.param(with_data(seen(), shots="many"), Reason.MALFORMED, "shots", id="malformed"),
        pytest.param(with_data(seen(), answer="person", identity=None), Reason.MALFORMED, "identity", id="no-identity"),
        pytest.param(
            replace(seen(), type="vidface.visitor.counted"), Reason.UNKNOWN_TYPE, "visitor", id="unknown-type"
        ),
        pytest.param(
            with_data(seen(), identity={**ALICE.to_json(), "score": float("nan")}), None, "", id="a-score-that-is-none"
        ),
        pytest.param(
            with_data(seen(), identity={**ALICE.to_json(), "score": 7.0}),
            Reason.CONTRADICTORY,
            "similarity",
            id="an-impossible-score",
        ),
        pytest.param(
            with_data(seen(), identity={**ALICE.to_json(), "id": ""}), Reason.CONTRADICTORY, "without an id", id="no-id"
        ),
        pytest.param(
            with_data(seen(), runner_up=RunnerUp(id="p-alice", name="A", score=0.1).to_json()),
            Reason.CONTRADICTORY,
            "runner-up is the person",
            id="first-and-second-are-one",
        ),
        pytest.param(with_data(seen(), decided_at=OLD), Reason.CONTRADICTORY, "decided", id="another-time"),
        pytest.param(
            seen(decided_ns=NOON_NS - SECOND_NS), Reason.CONTRADICTORY, "before the picture", id="decided-before-seen"
        ),
        pytest.param(
            seen(first_seen_ns=NOON_NS + SECOND_NS), Reason.CONTRADICTORY, "after it was last", id="first-after-last"
        ),
        pytest.param(
            seen(live=False, now_ns=253_402_300_799_000_000_000), Reason.CONTRADICTORY, "this century", id="year-9999"
        ),
        pytest.param(seen(now_ns=SECOND_NS), Reason.CONTRADICTORY, "this century", id="year-1970"),
        pytest.param(seen(agreeing_shots=9), Reason.CONTRADICTORY, "more shots agree", id="too-many-agree"),
        pytest.param(seen(camera="attic"), Reason.UNKNOWN_CAMERA, "/vidface/cameras/attic", id="unknown-camera"),
        pytest.param(
            seen(stage=SightingStage.STARTED, sequence=1, answer=Answer.UNDECIDED, identity=None, runner_up=None),
            Reason.UNDECIDED,
            "not named yet",
            id="started",
        ),
        pytest.param(seen(stage=SightingStage.STARTED, sequence=1), Reason.UNDECIDED, "", id="started-with-a-name"),
        pytest.param(seen(None, answer=Answer.STRANGER), Reason.STRANGER, "nobody who is enrolled", id="stranger"),
        pytest.param(ENDED, Reason.ENDED, "gone", id="ended"),
        pytest.param(revised(ALICE, None), Reason.TAKEN_BACK, "was Alice and no longer is", id="taken-back"),
        pytest.param(revised(ALICE, BOB), Reason.TAKEN_BACK, "was Alice", id="another-name"),
        pytest.param(revised(None, ALICE, sequence=4), Reason.GAP, "was not seen; the last was 0", id="a-gap-before"),
        pytest.param(seen(live=False), Reason.RECORDED, "--replay", id="recorded"),
        pytest.param(seen(age_s=-1.5), Reason.FROM_THE_FUTURE, "1.5 s in the future", id="from-the-future"),
        pytest.param(seen(age_s=3.001), Reason.STALE, "3 s old; 3 s are allowed", id="stale"),
        pytest.param(seen(MALLORY), Reason.NOT_PERMITTED, "names Mallory", id="not-permitted"),
    ],
)
def test_what_does_not_open_any_door(event: Event, reason: Reason | None, words: str) -> None:
    decision = decide(event)
    assert not decision.opens
    assert reason is None or decision.reason is reason, decision.words
    assert words in decision.words


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"source": "/vidface/cameras/attic"}, id="the-source"),
        pytest.param({"source": "/elsewhere"}, id="the-source-is-no-camera"),
        pytest.param({"subject": "attic", "camera": "attic"}, id="the-subject"),
        pytest.param({"id": "lobby/2/7/1"}, id="the-id"),
        pytest.param({"id": "x"}, id="the-id-is-none-of-ours"),
        pytest.param({"time_ns": NOON_NS - 60 * SECOND_NS}, id="the-time"),
    ],
)
def test_an_envelope_that_belies_its_content(changes: dict[str, Any]) -> None:
    attic = frozenset({SOURCE, "/vidface/cameras/attic", "/elsewhere"})
    decision = decide(replace(seen(), **changes), site(door(sources=attic)))
    assert decision.reason in {Reason.CONTRADICTORY, Reason.MALFORMED}
    assert not decision.opens


def test_a_cameras_state_is_no_decision() -> None:
    assert judge(site(), camera_state().to_event(), NOON_NS, Past()) == ()


@pytest.mark.parametrize(
    ("age_s", "opens"), [(0.0, True), (3.0, True), (3.001, False), (3600, False), (-1.0, True), (-1.001, False)]
)
def test_age(age_s: float, opens: bool) -> None:
    assert decide(seen(age_s=age_s)).opens is opens


@pytest.mark.parametrize(
    ("rule_changes", "event_changes", "reason", "words"),
    [
        pytest.param({"min_score": 0.7}, {}, None, "", id="score-just-enough"),
        pytest.param({"min_score": 0.71}, {}, Reason.LOW_SCORE, "0.700; 0.71 is asked for", id="score-too-low"),
        pytest.param({"min_margin": 0.3}, {}, None, "", id="margin-just-enough"),
        pytest.param({"min_margin": 0.31}, {}, Reason.LOW_MARGIN, "0.300; 0.31 is asked for", id="margin-too-low"),
        pytest.param(
            {"min_margin": 0.1}, {"who": replace(ALICE, margin=None)}, Reason.MARGIN_UNKNOWN, "nobody else", id="alone"
        ),
        pytest.param({}, {"who": replace(ALICE, margin=None)}, None, "", id="alone-and-no-margin-asked-for"),
        pytest.param({}, {"who": replace(ALICE, margin=-0.01)}, Reason.LOW_MARGIN, "-0.010", id="behind-the-next"),
        pytest.param({"min_agreeing_shots": 3}, {}, None, "", id="shots-just-enough"),
        pytest.param({"min_agreeing_shots": 4}, {}, Reason.FEW_SHOTS, "3 shots agree; 4 are", id="too-few-shots"),
        pytest.param({"schedule": schedule("13:00", "14:00", Weekday.SAT)}, {}, None, "", id="within-the-hours"),
        pytest.param(
            {"schedule": schedule("13:01", "14:00")},
            {},
            Reason.OUTSIDE_HOURS,
            "Sat 2026-01-31 13:00 CET is outside the schedule 'hours'",
            id="a-minute-too-early",
        ),
        pytest.param(
            {"schedule": schedule("13:00", "14:00", holidays=frozenset({date(2026, 1, 31)}))},
            {},
            Reason.HOLIDAY,
            "is a holiday",
            id="a-holiday",
        ),
    ],
)
def test_when_and_how_sure(
    rule_changes: dict[str, Any], event_changes: dict[str, Any], reason: Reason | None, words: str
) -> None:
    decision = decide(seen(**event_changes), site(door(rule(**rule_changes))))
    assert decision.reason is (reason or Reason.ALLOWED)
    assert decision.rule == "staff"
    assert words in decision.words


def test_the_hours_count_at_the_moment_of_decision_not_of_the_picture() -> None:
    closing_time = schedule("07:00", "19:00")
    now_ns = at("2026-02-02 19:00:00")
    assert decide(seen(now_ns=now_ns, age_s=1), site(door(rule(schedule=closing_time))), now_ns).opens is False
    assert decide(seen(now_ns=now_ns - 1, age_s=1), site(door(rule(schedule=closing_time))), now_ns - 1).opens


def test_any_rule_is_enough_and_the_nearest_is_named() -> None:
    night = rule("night", schedule=schedule("22:00", "06:00"))
    strict = rule("strict", min_margin=0.9)
    others = rule("others", people=("Mallory",))
    assert decide(seen(), site(door(others, night, strict, rule("late")))).rule == "late"
    assert decide(seen(), site(door(others, night, strict))).rule == "strict"  # who and when are right
    assert decide(seen(), site(door(others, night))).rule == "night"  # who is right
    assert decide(seen(), site(door(others))).rule is None


def test_each_door_of_a_camera_decides_for_itself() -> None:
    doors = site(door(), door(rule("boss", people=("Mallory",)), id="safe"), door(id="attic", sources=frozenset()))
    decisions = judge(doors, seen(), NOON_NS, Past())
    assert [(each.door, each.reason) for each in decisions] == [
        ("main", Reason.ALLOWED),
        ("safe", Reason.NOT_PERMITTED),
    ]


@pytest.mark.parametrize(
    ("past", "event", "reason"),
    [
        pytest.param(Past(is_handled=True), seen(), Reason.DUPLICATE, id="handled-before"),
        pytest.param(Past(sequence=2), seen(), Reason.OUT_OF_ORDER, id="overtaken"),
        pytest.param(Past(sequence=1), seen(), Reason.ALLOWED, id="the-next"),
        pytest.param(Past(is_taken_back=True, sequence=1), seen(), Reason.TAKEN_BACK, id="taken-back-before"),
        pytest.param(
            Past(is_taken_back=True, sequence=2), revised(None, ALICE), Reason.TAKEN_BACK, id="and-named-anew"
        ),
        pytest.param(Past(sequence=2), revised(None, ALICE), Reason.ALLOWED, id="a-stranger-who-was-known-after-all"),
        pytest.param(Past(sequence=1), revised(None, ALICE), Reason.GAP, id="a-revision-of-what-was-not-seen"),
        pytest.param(Past(latest_ns=NOON_NS + 1), seen(), Reason.CLOCK_BACKWARDS, id="the-clock-went-backwards"),
        pytest.param(Past(latest_ns=NOON_NS), seen(), Reason.ALLOWED, id="the-clock-stood-still"),
    ],
)
def test_what_was_before(past: Past, event: Event, reason: Reason) -> None:
    assert decide(event, past=past).reason is reason


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    with closing(_Benches()) as benches:
        yield benches.make


class _Benches:
    def __init__(self) -> None:
        self._made: list[Bench] = []

    def make(self, *doors: Door, **options: Any) -> Bench:
        self._made.append(Bench(site(*doors), **options))
        return self._made[-1]

    def close(self) -> None:
        for each in self._made:
            each.close()


def reasons(bench: Bench, *events: tuple[Event, float]) -> list[Reason]:
    return [bench(event, NOON_NS + round(after_s * SECOND_NS))[0].reason for event, after_s in events]


def later(after_s: float, who: Any = ALICE, **changes: Any) -> tuple[Event, float]:
    """An event and when it is handled: so many seconds after noon."""
    return seen(who, now_ns=NOON_NS + round(after_s * SECOND_NS), **changes), after_s


A, W, H, N = Reason.ALLOWED, Reason.FIRST_OF_TWO, Reason.HOLD_OFF, Reason.NOT_PERMITTED


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([later(0), later(9.9, track=8)], [A, H], id="again-within-it"),
        pytest.param([later(0), later(10, track=8)], [A, A], id="again-after-it"),
        pytest.param([later(0), later(1, BOB, track=8)], [A, A], id="somebody-else"),
        pytest.param([later(0), later(9, track=8), later(18, track=9)], [A, H, A], id="a-refusal-does-not-prolong-it"),
        pytest.param([later(0), later(0)], [A, Reason.DUPLICATE], id="the-same-event"),
        pytest.param([later(0), later(5, sequence=1)], [A, Reason.OUT_OF_ORDER], id="an-earlier-event"),
    ],
)
def test_hold_off(bench: Callable[..., Bench], events: list[tuple[Event, float]], expected: list[Reason]) -> None:
    assert reasons(bench(door(hold_off_ns=10 * SECOND_NS)), *events) == expected


def test_a_hold_off_is_one_doors(bench: Callable[..., Bench]) -> None:
    other = door(id="side", sources=frozenset({"/vidface/cameras/side"}), hold_off_ns=10 * SECOND_NS)
    judge_it = bench(door(hold_off_ns=10 * SECOND_NS), other)
    assert reasons(judge_it, later(0), later(1, track=8), later(1, camera="side")) == [A, H, A]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([later(0), later(4, BOB, track=8)], [W, A], id="two-people"),
        pytest.param([later(0), later(5.1, BOB, track=8)], [W, W], id="too-far-apart"),
        pytest.param([later(0), later(4, track=8)], [W, W], id="one-person-twice"),
        pytest.param([later(0), later(4, MALLORY, track=8)], [W, N], id="the-second-may-not-pass"),
        pytest.param([later(0, MALLORY), later(4, track=8)], [N, W], id="the-first-may-not-pass"),
        pytest.param(
            [later(0), later(2, BOB, track=8), later(3, BOB, track=9)], [W, A, W], id="each-opening-needs-two"
        ),
        pytest.param(
            [later(0), (revised(ALICE, None, now_ns=NOON_NS + SECOND_NS), 1), later(2, BOB, track=8)],
            [W, Reason.TAKEN_BACK, W],
            id="the-first-was-taken-back",
        ),
    ],
)
def test_two_people(bench: Callable[..., Bench], events: list[tuple[Event, float]], expected: list[Reason]) -> None:
    assert reasons(bench(door(two_people_ns=5 * SECOND_NS)), *events) == expected


def test_both_of_two_are_named_and_held_off(bench: Callable[..., Bench]) -> None:
    judge_it = bench(door(two_people_ns=5 * SECOND_NS, hold_off_ns=60 * SECOND_NS))
    judge_it(*_at(later(0)))
    (decision,) = judge_it(*_at(later(1, BOB, track=8)))
    assert [each.name for each in decision.people] == ["Alice", "Bob"]
    assert "Alice and Bob may pass" in decision.words
    assert reasons(judge_it, later(2, track=9), later(2, BOB, track=10)) == [H, H]


def test_the_first_of_two_must_still_be_within_their_hours(bench: Callable[..., Bench]) -> None:
    """Alice may pass until 13:00:02, Bob always."""
    until = rule("alice", people=("Alice",), schedule=schedule("12:00", "13:00:02"))
    judge_it = bench(door(until, rule("bob", people=("Bob",)), two_people_ns=5 * SECOND_NS))
    assert reasons(judge_it, later(1), later(3, BOB, track=8)) == [W, W]


def _at(event: tuple[Event, float]) -> tuple[Event, int]:
    return event[0], NOON_NS + round(event[1] * SECOND_NS)


def test_a_replay_takes_recordings_and_their_time() -> None:
    recorded = seen(live=False, decided_ns=NOON_NS + 3600 * SECOND_NS)
    assert moment_of(recorded) == NOON_NS - SECOND_NS // 5  # the picture's
    assert moment_of(seen()) == NOON_NS - SECOND_NS // 10  # the decision's
    (decision,) = judge(site(), recorded, moment_of(recorded), Past(latest_ns=NOON_NS * 2), replay=True)
    assert decision.opens


def test_each_reason_has_a_meaning_and_a_test_looks_at_it() -> None:
    assert set(MEANINGS) == set(Reason)
    assert all(reason.meaning for reason in Reason)
