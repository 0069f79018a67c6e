"""Doors, rules and events to judge with; each test says only what is different."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from index.identity import name_key
from pipeline.events.event import Event, camera_source
from pipeline.events.payload import Answer, IdentityRef, PreviousAnswer, RunnerUp, SightingPayload, SightingStage
from tests.pipeline.events.examples import NOON_NS, sighting
from vidface.access.action import Opening
from vidface.access.clock import Moment
from vidface.access.door import Door, Rule, Site
from vidface.access.hours import Hours, Schedule, Weekday
from vidface.access.ledger import Ledger
from vidface.access.past import Person
from vidface.access.rules import Decision, judge, read

SECOND_NS = 1_000_000_000
BERLIN = ZoneInfo("Europe/Berlin")
SOURCE = camera_source("lobby")

# NOON_NS is Saturday 2026-01-31, 12:00 UTC, 13:00 in Berlin.
ALICE = IdentityRef(id="p-alice", name="Alice", score=0.7, margin=0.3)
BOB = IdentityRef(id="p-bob", name="Bob", score=0.7, margin=0.3)
MALLORY = IdentityRef(id="p-mallory", name="Mallory", score=0.9, margin=0.6)


def rule(name: str = "staff", people: tuple[str, ...] = ("Alice", "Bob"), **changes: Any) -> Rule:
    return Rule(name=name, ids=frozenset(people), names=frozenset(map(name_key, people)), **changes)


def door(*rules: Rule, **changes: Any) -> Door:
    values: dict[str, Any] = {
        "id": "main",
        "sources": frozenset({SOURCE}),
        "rules": rules or (rule(),),
        "max_age_ns": 3 * SECOND_NS,
    }
    return Door(**(values | changes))


def site(*doors: Door) -> Site:
    return Site(doors=doors or (door(),))


def schedule(start: str, end: str, *days: Weekday, zone: ZoneInfo = BERLIN, **changes: Any) -> Schedule:
    hours = Hours(
        days=frozenset(days or Weekday),
        start=time.fromisoformat(start),
        end=time.min if end == "24:00" else time.fromisoformat(end),
    )
    return Schedule(name="hours", zone=zone, hours=(hours,), **changes)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> int:
    """A wall clock's reading as Unix nanoseconds."""
    moment = datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)
    return int(moment.timestamp()) * SECOND_NS


def seen(
    who: IdentityRef | None = ALICE, *, now_ns: int = NOON_NS, age_s: float = 0.2, track: int = 7, **changes: Any
) -> Event:
    """An event of a live camera that is so old at a moment."""
    captured_ns = now_ns - round(age_s * SECOND_NS)
    values: dict[str, Any] = {
        "stage": SightingStage.IDENTIFIED,
        "captured_ns": captured_ns,
        "decided_ns": captured_ns + SECOND_NS // 10,
        "first_seen_ns": captured_ns - SECOND_NS,
        "last_seen_ns": captured_ns,
        "track": track,
        "sequence": 2,
        "identity": who,
        "runner_up": RunnerUp(id="p-carol", name="Carol", score=0.4),
    }
    return sighting(**(values | changes)).to_event()


def revised(was: IdentityRef | None, now: IdentityRef | None, **changes: Any) -> Event:
    """An event that changes a sighting's answer; None is a stranger."""
    previous = PreviousAnswer(answer=Answer.PERSON if was else Answer.STRANGER, identity=was)
    answer = Answer.PERSON if now else Answer.STRANGER
    values: dict[str, Any] = {"stage": SightingStage.REVISED, "previous": previous, "answer": answer, "sequence": 3}
    return seen(now, **(values | changes))


def with_data(event: Event, **changes: Any) -> Event:
    return replace(event, data={**event.data, **changes})


def said(event: Event) -> SightingPayload:
    payload = read(event)
    assert isinstance(payload, SightingPayload)
    return payload


class Bench:
    """Judges a series of events, each with the past of those before it, as the guard and the replay do."""

    def __init__(self, doors: Site, *, replay: bool = False) -> None:
        self._site = doors
        self._replay = replay
        self._ledger = Ledger()

    def close(self) -> None:
        self._ledger.close()

    def __call__(self, event: Event, now_ns: int = NOON_NS) -> tuple[Decision, ...]:
        payload = said(event)
        doors = [each.id for each in self._site.doors_of(event.source)]
        past = self._ledger.look(event, payload, doors)
        decisions = judge(self._site, event, now_ns, past, replay=self._replay)
        if doors:
            self._ledger.handled(event, payload, decisions, now_ns)
        return decisions


class FakeClock:
    """Shows what it is set to."""

    def __init__(self, now_ns: int = NOON_NS, floor_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.floor_ns = floor_ns

    def look(self) -> Moment:
        return Moment(now_ns=self.now_ns, floor_ns=self.floor_ns)


def opening(**changes: Any) -> Opening:
    values: dict[str, Any] = {
        "door": "main",
        "rule": "staff",
        "people": (Person(id="p-alice", name="Alice Ångström"),),
        "source": SOURCE,
        "event_id": "lobby/2/7/2",
        "camera": "lobby",
        "captured_ns": NOON_NS,
        "decided_ns": NOON_NS,
        "expires_ns": NOON_NS + 3 * SECOND_NS,
    }
    return Opening(**(values | changes))
