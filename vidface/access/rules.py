"""The judgement: one event, the doors, the time and what was before come in; a decision for each door comes out.

Pure: no clock, no disk, no thread. It opens only where every question has the right answer, and each question is a
function that returns the objection. Whatever nobody thought of has no way to become an opening.

The order of the questions is that of `Reason`: first whether the event may be believed, then whether it is new and in
time, then who, when and how sure, and at last what the door did just now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event
from pipeline.events.payload import Answer, IdentityRef, SightingPayload, SightingStage
from pipeline.events.read import payload_of
from vidface.access.door import Door, Rule, Site
from vidface.access.hours import Openness
from vidface.access.past import Past, Person, Waiting
from vidface.access.reason import Reason

_ROUNDING_NS = 1_000_000
"""Events hold whole milliseconds."""

_CENTURY_NS = (946_684_800_000_000_000, 4_102_444_800_000_000_000)
"""2000 to 2100: beyond, calendars and time zones have no answer for every moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided for one door, or for none where the event belongs to no door.

    Attributes:
        event: The event; None where a line or a record is none.
        door: The door's id; None where no door is concerned.
        rule: The rule that allows it, or the one that came nearest; None where no rule was asked.
        reason: Why.
        words: The same for people, with the figures.
        decided_ns: When, Unix.
        sighting: What the event says; None where it cannot be read.
        people: Who may pass: nobody, one, or two.
        captured_ns: When the oldest picture was taken that the decision rests on, Unix; None as for `sighting`.
    """

    event: Event | None
    door: str | None
    rule: str | None
    reason: Reason
    words: str
    decided_ns: int
    sighting: SightingPayload | None = None
    people: tuple[Person, ...] = ()
    captured_ns: int | None = None

    @property
    def opens(self) -> bool:
        """Whether the door opens."""
        return self.reason is Reason.ALLOWED


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why not."""

    reason: Reason
    words: str
    rule: str | None = None


def read(event: Event) -> SightingPayload | Objection | None:
    """What a sighting's event says; an objection if it cannot be believed; None for a camera's state."""
    try:
        payload = payload_of(event)
    except EventMalformed as error:
        return Objection(reason=Reason.MALFORMED, words=str(error))
    if payload is None:
        return Objection(reason=Reason.UNKNOWN_TYPE, words=f"the type {event.type!r} is not known here")
    if not isinstance(payload, SightingPayload):
        return None
    return _contradiction(event, payload) or payload


def judge(site: Site, event: Event, now_ns: int, past: Past, *, replay: bool = False) -> tuple[Decision, ...]:
    """Decide on an event.

    Args:
        site: The doors.
        event: The event.
        now_ns: The time, Unix; in a replay see `moment_of`.
        past: What was before.
        replay: Whether the events' own time is taken, so that recordings count and no clock is judged.

    Returns:
        One decision for each door of the camera, or one without a door; nothing for a camera's state.
    """
    said = read(event)
    if said is None:
        return ()
    if isinstance(said, Objection):
        return (_refused(event, None, said, now_ns),)
    doors = site.doors_of(event.source)
    if not doors:
        objection = Objection(reason=Reason.UNKNOWN_CAMERA, words=f"no door has the camera {event.source}")
        return (_refused(event, None, objection, now_ns, said),)
    general = next(_to_the_sighting(said, past), None)
    if general is None and not replay:
        general = next(_to_the_time(said, now_ns, past, site.clock_skew_ns), None)
    return tuple(
        _refused(event, door, general, now_ns, said) if general else _at_door(door, event, said, now_ns, past)
        for door in doors
    )


def moment_of(event: Event) -> int:
    """The time of a decision in a replay, Unix nanoseconds.

    A live camera's event was decided at its own time. A recording has no now: its time is the picture's.
    """
    said = read(event)
    return said.captured_ns if isinstance(said, SightingPayload) and not said.live else event.time_ns


def takes_back(said: SightingPayload) -> bool:
    """Whether it takes back a name that the sighting was given before."""
    return said.previous is not None and said.previous.answer is Answer.PERSON


def _contradiction(event: Event, said: SightingPayload) -> Objection | None:
    """What is not even possible, beyond what `payload_of` refuses: a subject, source or id that belies the data."""
    identity = said.identity
    faults = {
        f"it says {event.data.get('sighting')!r} of the sighting {said.sighting}": event.data.get("sighting")
        != said.sighting,
        "its time is not the one at which it was decided": abs(event.time_ns - said.decided_ns) > _ROUNDING_NS,
        "it was decided before the picture was taken": said.live and said.decided_ns + _ROUNDING_NS < said.captured_ns,
        "it was first seen after it was last seen": said.first_seen_ns > said.last_seen_ns + _ROUNDING_NS,
        "it is not of this century": not all(
            _CENTURY_NS[0] <= each < _CENTURY_NS[1] for each in (said.captured_ns, said.decided_ns)
        ),
        "more shots agree than there are": said.agreeing_shots > said.shots,
        "numbers that cannot be negative are": min(said.epoch, said.track, said.sequence, said.agreeing_shots) < 0,
        "a person without an id or a name": identity is not None and not (identity.id and identity.name),
        "its score or margin is no possible similarity": identity is not None and not _is_possible(identity),
        "the runner-up is the person": identity is not None
        and said.runner_up is not None
        and said.runner_up.id == identity.id,
    }
    words = next((words for words, is_so in faults.items() if is_so), None)
    return None if words is None else Objection(reason=Reason.CONTRADICTORY, words=words)


def _is_possible(identity: IdentityRef) -> bool:
    """Whether score and margin can be cosines; NaN, which JSON readers let in, is none."""
    margin = 0.0 if identity.margin is None else identity.margin
    return -1.001 <= identity.score <= 1.001 and -2.002 <= margin <= 2.002


def _to_the_sighting(said: SightingPayload, past: Past) -> Iterator[Objection]:
    """What speaks against opening any door for it, whatever the time is."""
    if past.is_handled:
        yield Objection(reason=Reason.DUPLICATE, words="this event was handled before")
    if said.sequence <= past.sequence:
        yield Objection(
            reason=Reason.OUT_OF_ORDER,
            words=f"number {said.sequence} of its sighting comes after number {past.sequence}",
        )
    if takes_back(said):
        was = said.previous.identity.name if said.previous and said.previous.identity else "somebody"
        yield Objection(reason=Reason.TAKEN_BACK, words=f"the sighting was {was} and no longer is")
    if past.is_taken_back:
        yield Objection(reason=Reason.TAKEN_BACK, words="the sighting took a name back before; it opens nothing more")
    if said.stage is SightingStage.REVISED and said.sequence != past.sequence + 1:
        yield Objection(
            reason=Reason.GAP,
            words=f"number {said.sequence} of its sighting revises one that was not seen; the last was {past.sequence}",
        )
    if said.stage is SightingStage.ENDED:
        yield Objection(reason=Reason.ENDED, words="the face is gone")
    if said.answer is Answer.STRANGER:
        yield Objection(reason=Reason.STRANGER, words=f"nobody who is enrolled ({said.reason})")
    if said.identity is None or said.stage is SightingStage.STARTED:
        yield Objection(reason=Reason.UNDECIDED, words=f"not named yet ({said.reason})")


def _to_the_time(said: SightingPayload, now_ns: int, past: Past, clock_skew_ns: int) -> Iterator[Objection]:
    """What speaks against knowing how old the picture is; how old it may be is each door's own."""
    if now_ns < past.latest_ns:
        yield Objection(
            reason=Reason.CLOCK_BACKWARDS,
            words=f"this machine's clock is {_seconds(past.latest_ns - now_ns)} behind what it was; ages are not known",
        )
    if not said.live:
        yield Objection(reason=Reason.RECORDED, words="the picture is a recording's; only --replay takes those")
    if said.captured_ns > now_ns + clock_skew_ns:
        ahead = _seconds(said.captured_ns - now_ns)
        yield Objection(reason=Reason.FROM_THE_FUTURE, words=f"the picture is from {ahead} in the future")


def _at_door(door: Door, event: Event, said: SightingPayload, now_ns: int, past: Past) -> Decision:
    """Decide for one door on an event against which nothing general speaks."""
    assert said.identity is not None  # else it would not have come here
    person = Person(id=said.identity.id, name=said.identity.name)
    age_ns = now_ns - said.captured_ns
    if age_ns > door.max_age_ns:
        words = f"the picture is {_seconds(age_ns)} old; {_seconds(door.max_age_ns)} are allowed"
        return _refused(event, door, Objection(reason=Reason.STALE, words=words), now_ns, said)
    answers = [(rule, list(_against(rule, said, now_ns))) for rule in door.rules]
    # The fewer questions are left unanswered, the nearer the rule came.
    rule, objections = min(answers, key=lambda answer: _distance(answer[1]))
    objection = objections[0] if objections else _just_now(door, rule, person, now_ns, past)
    if objection is not None:
        return _refused(event, door, objection, now_ns, said)
    others = _others(door, said, person, now_ns, past)
    if door.two_people_ns is not None and not others:
        words = f"{person.name} may pass; a second person is needed within {_seconds(door.two_people_ns)}"
        waits = Objection(reason=Reason.FIRST_OF_TWO, words=words, rule=rule.name)
        return _refused(event, door, waits, now_ns, said)
    first = others[-1] if others else None
    people = (person,) if first is None else (first.person, person)
    return Decision(
        event=event,
        door=door.id,
        rule=rule.name,
        reason=Reason.ALLOWED,
        words=f"{' and '.join(each.name for each in people)} may pass by the rule {rule.name!r}",
        decided_ns=now_ns,
        sighting=said,
        people=people,
        captured_ns=said.captured_ns,
    )


_NEARNESS = list(Reason)


def _distance(objections: list[Objection]) -> int:
    """0 for a rule that allows it; else less, the later the first objection is looked for."""
    return len(_NEARNESS) - _NEARNESS.index(objections[0].reason) if objections else 0


def _against(rule: Rule, said: SightingPayload, now_ns: int) -> Iterator[Objection]:
    identity = said.identity
    assert identity is not None
    if not rule.is_for(identity.id, identity.name):
        yield Objection(reason=Reason.NOT_PERMITTED, words=f"no rule of the door names {identity.name}")
        return
    if rule.schedule is not None:
        yield from _hours(rule, now_ns)
    if rule.min_score is not None and not identity.score >= rule.min_score:
        words = f"the score is {identity.score:.3f}; {rule.min_score:g} is asked for"
        yield Objection(reason=Reason.LOW_SCORE, words=words, rule=rule.name)
    if identity.margin is None:
        if rule.min_margin > 0:
            words = (
                f"nobody else is enrolled, so there is no lead; {rule.min_margin:g} is asked for "
                "(enrol more people, or allow it with min_margin: 0)"
            )
            yield Objection(reason=Reason.MARGIN_UNKNOWN, words=words, rule=rule.name)
    elif not identity.margin >= rule.min_margin:
        words = f"the lead over the next person is {identity.margin:.3f}; {rule.min_margin:g} is asked for"
        yield Objection(reason=Reason.LOW_MARGIN, words=words, rule=rule.name)
    if said.agreeing_shots < rule.min_agreeing_shots:
        words = f"{said.agreeing_shots} shots agree; {rule.min_agreeing_shots} are asked for"
        yield Objection(reason=Reason.FEW_SHOTS, words=words, rule=rule.name)


def _hours(rule: Rule, now_ns: int) -> Iterator[Objection]:
    assert rule.schedule is not None
    openness = rule.schedule.at(now_ns)
    if openness is Openness.OPEN:
        return
    local = rule.schedule.local(now_ns)
    clock = f"{local:%a %Y-%m-%d %H:%M} {local.tzname()}"
    if openness is Openness.HOLIDAY:
        words = f"{clock} is a holiday of the schedule {rule.schedule.name!r}"
        yield Objection(reason=Reason.HOLIDAY, words=words, rule=rule.name)
    else:
        words = f"{clock} is outside the schedule {rule.schedule.name!r}"
        yield Objection(reason=Reason.OUTSIDE_HOURS, words=words, rule=rule.name)


def _just_now(door: Door, rule: Rule, person: Person, now_ns: int, past: Past) -> Objection | None:
    opened_ns = past.opened_ns.get(door.id)
    if door.hold_off_ns == 0 or opened_ns is None or now_ns - opened_ns >= door.hold_off_ns:
        return None
    ago, whole = _seconds(now_ns - opened_ns), _seconds(door.hold_off_ns)
    words = f"the door was opened for {person.name} {ago} ago; it holds off for {whole}"
    return Objection(reason=Reason.HOLD_OFF, words=words, rule=rule.name)


def _others(door: Door, said: SightingPayload, person: Person, now_ns: int, past: Past) -> tuple[Waiting, ...]:
    """Who waits for this person: somebody else, of another sighting, near enough in time, and still in their hours."""
    if door.two_people_ns is None:
        return ()
    near = [
        each
        for each in past.waiting.get(door.id, ())
        if each.person.id != person.id
        and each.sighting[1] != said.sighting
        and abs(said.captured_ns - each.captured_ns) <= door.two_people_ns
        and any(rule.is_for(each.person.id, each.person.name) and rule.is_open(now_ns) for rule in door.rules)
    ]
    return tuple(sorted(near, key=lambda each: each.captured_ns))


def _refused(
    event: Event, door: Door | None, objection: Objection, now_ns: int, said: SightingPayload | None = None
) -> Decision:
    return Decision(
        event=event,
        door=None if door is None else door.id,
        rule=objection.rule,
        reason=objection.reason,
        words=objection.words,
        decided_ns=now_ns,
        sighting=said,
        people=() if said is None or said.identity is None else (Person(id=said.identity.id, name=said.identity.name),),
        captured_ns=None if said is None else said.captured_ns,
    )


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / 1e9:.3g} s"
