"""What must hold for every event, every door and every past, whatever they are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.events.event import Event
from pipeline.events.payload import Answer, IdentityRef, PreviousAnswer, SightingStage
from tests.pipeline.events.examples import NOON_NS
from tests.vidface.access.made import ALICE, BERLIN, BOB, MALLORY, SECOND_NS, Bench, door, rule, seen, site
from vidface.access.audit import decision_entry
from vidface.access.door import Door, Rule
from vidface.access.hours import Hours, Openness, Schedule, Weekday
from vidface.access.past import Past, Person, Waiting
from vidface.access.rules import judge, moment_of, read

PEOPLE = (ALICE, BOB, MALLORY)
WEEK_NS = 7 * 86_400 * SECOND_NS

times_of_day = st.times().map(lambda each: each.replace(second=0, microsecond=0))
hours = st.builds(Hours, days=st.frozensets(st.sampled_from(Weekday), min_size=1), start=times_of_day, end=times_of_day)
schedules = st.builds(
    Schedule,
    name=st.just("hours"),
    zone=st.just(BERLIN),
    hours=st.lists(hours, min_size=1, max_size=2).map(tuple),
    holidays=st.frozensets(st.dates(), max_size=2),
)
rules = st.builds(
    lambda people, **changes: rule(people=tuple(people), **changes),
    people=st.sets(st.sampled_from([each.name for each in PEOPLE[:2]]), min_size=1),
    schedule=st.none() | schedules,
    min_score=st.none() | st.floats(0, 1),
    min_margin=st.floats(0, 1),
    min_agreeing_shots=st.integers(1, 6),
)
doors = st.builds(
    lambda rules, **changes: door(*rules, **changes),
    rules=st.lists(rules, min_size=1, max_size=3),
    max_age_ns=st.integers(1, 60 * SECOND_NS),
    hold_off_ns=st.integers(0, 60 * SECOND_NS),
    two_people_ns=st.none() | st.integers(1, 60 * SECOND_NS),
)
moments = st.integers(NOON_NS, NOON_NS + 52 * WEEK_NS).map(lambda each: each // 1_000_000 * 1_000_000)
pasts = st.builds(
    Past,
    is_handled=st.booleans(),
    sequence=st.integers(0, 3),
    is_taken_back=st.booleans(),
    latest_ns=st.just(0) | moments,
    opened_ns=st.just({}),
    waiting=st.just({})
    | st.sampled_from(PEOPLE).map(
        lambda who: {
            "main": (
                Waiting(person=Person(id=who.id, name=who.name), sighting=("/x", "lobby/1/1"), captured_ns=NOON_NS),
            )
        }
    ),
)


@st.composite
def events(draw: st.DrawFn, now_ns: int) -> Event:
    """Any event that the pipeline could send."""
    stage = draw(st.sampled_from(SightingStage))
    who = draw(st.none() | st.sampled_from(PEOPLE))
    if who is not None:
        who = IdentityRef(
            id=who.id,
            name=who.name,
            score=draw(st.floats(-1, 1)),
            margin=draw(st.none() | st.floats(-1, 2)),
        )
    shots = draw(st.integers(0, 12))
    changes: dict[str, Any] = {
        "stage": stage,
        "answer": Answer.PERSON if who else draw(st.sampled_from([Answer.STRANGER, Answer.UNDECIDED])),
        "runner_up": None,
        "live": draw(st.booleans()),
        "sequence": draw(st.integers(1, 4)),
        "shots": shots,
        "agreeing_shots": draw(st.integers(0, shots)),
    }
    if stage is SightingStage.REVISED:
        was = draw(st.none() | st.sampled_from(PEOPLE))
        changes["previous"] = PreviousAnswer(answer=Answer.PERSON if was else Answer.STRANGER, identity=was)
    return seen(who, now_ns=now_ns, age_s=draw(st.floats(-5, 65)), **changes)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Event, Door, int, Past]:
    now_ns = draw(moments)
    return draw(events(now_ns)), draw(doors), now_ns, draw(pasts)


def opens(event: Event, at_door: Door, now_ns: int, past: Past) -> bool:
    return any(decision.opens for decision in judge(site(at_door), event, now_ns, past))


@given(cases())
def test_an_opening_has_every_right_answer(case: tuple[Event, Door, int, Past]) -> None:
    event, at_door, now_ns, past = case
    if not opens(*case):
        return
    data: Any = event.data
    identity = data["identity"]
    age_ns = now_ns - read(event).captured_ns  # type: ignore[union-attr]
    assert identity["name"] in {"Alice", "Bob"}, "an unknown person"
    assert data["answer"] == "person"
    assert -SECOND_NS <= age_ns <= at_door.max_age_ns, "a stale event, or one from the future"
    assert data["age_ms"] is not None, "a recording"
    assert event.type in {"vidface.sighting.identified", "vidface.sighting.revised"}
    assert data.get("previous", {}).get("answer") != "person", "a name that was taken back"
    assert not past.is_handled
    assert not past.is_taken_back
    assert data["sequence"] > past.sequence
    assert now_ns >= past.latest_ns, "the clock went backwards"
    assert any(_allows(each, identity, data["agreeing_shots"], now_ns) for each in at_door.rules)
    if at_door.two_people_ns is not None:
        (first,) = past.waiting["main"]
        assert first.person.id != identity["id"], "one person twice"
        assert first.person.name in {"Alice", "Bob"}


def _allows(each: Rule, identity: Any, agreeing: int, now_ns: int) -> bool:
    margin = identity["margin"]
    return (
        each.is_for(identity["id"], identity["name"])
        and (each.schedule is None or each.schedule.at(now_ns) is Openness.OPEN)
        and (each.min_score is None or identity["score"] >= each.min_score)
        and (each.min_margin == 0 if margin is None else margin >= each.min_margin)
        and agreeing >= each.min_agreeing_shots
    )


def _tighter(draw: st.DrawFn, at_door: Door) -> Door:
    """A door with one restriction more."""
    first, *others = at_door.rules
    never = Schedule(
        name="late",
        zone=BERLIN,
        hours=(Hours(days=frozenset({draw(st.sampled_from(Weekday))}), start=time(8), end=time(17)),),
    )
    choices = [
        replace(at_door, max_age_ns=at_door.max_age_ns // 2),
        replace(at_door, two_people_ns=at_door.two_people_ns // 2 if at_door.two_people_ns else SECOND_NS),
        replace(at_door, hold_off_ns=at_door.hold_off_ns + SECOND_NS),
        replace(at_door, sources=frozenset()),
        replace(at_door, rules=(replace(first, min_score=max(first.min_score or -1, 0.5)), *others)),
        replace(at_door, rules=(replace(first, min_margin=min(1.0, first.min_margin + 0.1)), *others)),
        replace(at_door, rules=(replace(first, min_agreeing_shots=first.min_agreeing_shots + 1), *others)),
        replace(at_door, rules=(replace(first, ids=frozenset(), names=frozenset()), *others)),
    ]
    if first.schedule is None:
        choices.append(replace(at_door, rules=(replace(first, schedule=never), *others)))
    return draw(st.sampled_from(choices))


@given(cases(), st.data())
def test_a_restriction_more_never_opens_more(case: tuple[Event, Door, int, Past], data: st.DataObject) -> None:
    event, at_door, now_ns, past = case
    tighter = data.draw(st.composite(_tighter)(at_door))
    if opens(event, tighter, now_ns, past):
        assert opens(event, at_door, now_ns, past)


@given(st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers(0, 40), st.integers(1, 5)), max_size=12))
def test_nobody_opens_a_door_twice_within_the_hold_off(walk: list[tuple[IdentityRef, int, int]]) -> None:
    """Who, how many seconds after the one before, and in which of five sightings."""
    hold_off_ns = 20 * SECOND_NS
    bench = Bench(site(door(rule(people=("Alice", "Bob", "Mallory")), hold_off_ns=hold_off_ns)))
    last: dict[str, int] = {}
    keys: set[tuple[str, str]] = set()
    now_ns = NOON_NS
    try:
        for number, (who, after_s, track) in enumerate(walk):
            now_ns += after_s * SECOND_NS
            event = seen(who, now_ns=now_ns, track=track, sequence=number % 3 + 2)
            (decision,) = bench(event, now_ns)
            if decision.opens:
                assert now_ns - last.get(who.id, 0) >= hold_off_ns
                assert (event.source, event.id) not in keys
                last[who.id] = now_ns
                keys.add((event.source, event.id))
    finally:
        bench.close()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(lambda t: f"{t}Z"),
    lambda each: st.lists(each, max_size=5) | st.dictionaries(st.text(), each, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([seen(), seen(stage=SightingStage.ENDED), seen(None, answer=Answer.STRANGER)]),
    st.dictionaries(st.sampled_from([*seen().data, "previous"]), anything, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["id", "source", "type"]), st.text(), max_size=1),
    st.booleans(),
)
def test_no_event_breaks_it(event: Event, data: dict[str, Any], envelope: dict[str, Any], replayed: bool) -> None:
    """Whatever somebody writes into an event, it is decided; and none of it turns a stranger into Alice."""
    strange = replace(event, data={**event.data, **data}, **envelope)
    hours_of_day = Schedule(
        name="day", zone=BERLIN, hours=(Hours(days=frozenset(Weekday), start=time(8), end=time(17)),)
    )
    at_door = door(rule(people=("Alice",), schedule=hours_of_day))
    now_ns = moment_of(strange) if replayed else NOON_NS
    for decision in judge(site(at_door), strange, now_ns, Past(), replay=replayed):
        entry = json.dumps(decision_entry(decision))
        assert json.loads(entry)["reason"] == decision.reason
        if decision.opens:
            assert {**event.data, **data}["identity"] == ALICE.to_json()
