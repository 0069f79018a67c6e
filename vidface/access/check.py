"""Mistakes in a file of doors that are legal: people whom nobody knows, doors that never open, rules that say it twice.

When rules are open is not sampled: hours begin and end at known moments, so what is ever open within a year is open at
one of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from typing import Final

from index.identity import Identity, name_key
from vidface.access.assemble import entries_of, site_of
from vidface.access.door import Door, Rule
from vidface.config.document import FieldPath
from vidface.config.doors import DoorsConfig

_DAYS: Final = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A mistake.

    Attributes:
        code: Stable, for programs.
        words: What is wrong and what to do.
        at: Where it stands in the file.
        is_error: Whether it cannot be meant; else it is only unlikely.
    """

    code: str
    words: str
    at: FieldPath
    is_error: bool = True


def check(config: DoorsConfig, gallery: Sequence[Identity] | None, today: date) -> list[Finding]:
    """Everything that is wrong.

    Args:
        config: The doors.
        gallery: Who is enrolled; None where that is not known.
        today: From when on a year is looked at.
    """
    findings = list(_of_names(config))
    if gallery is not None:
        findings += _of_people(config, gallery)
    moments = _moments(config, today)
    for number, built in enumerate(site_of(config).doors):
        findings += _of_door(config, number, built, gallery, moments)
    findings += _of_cameras(config)
    return findings


def _of_names(config: DoorsConfig) -> Iterator[Finding]:
    for name, people in config.groups.items():
        if not people:
            words = f"the group {name!r} is empty; a rule that has nothing else lets nobody in"
            yield Finding(code="empty_group", words=words, at=("groups", name), is_error=False)
        if not any(name in rule.groups for door in config.doors for rule in door.rules):
            words = f"no rule has the group {name!r}"
            yield Finding(code="unused_group", words=words, at=("groups", name), is_error=False)
    for name in config.schedules:
        if not any(name == rule.schedule for door in config.doors for rule in door.rules):
            words = f"no rule has the schedule {name!r}"
            yield Finding(code="unused_schedule", words=words, at=("schedules", name), is_error=False)


def _of_people(config: DoorsConfig, gallery: Sequence[Identity]) -> Iterator[Finding]:
    lists: list[tuple[FieldPath, tuple[str, ...]]] = [
        (("groups", name), people) for name, people in config.groups.items()
    ]
    lists += [
        (("doors", number, "rules", position, "people"), rule.people)
        for number, door in enumerate(config.doors)
        for position, rule in enumerate(door.rules)
    ]
    for at, people in lists:
        for place, entry in enumerate(people):
            if not _known(entry, gallery):
                words = f"{entry!r} is nobody in the gallery; see 'vidface gallery list'"
                yield Finding(code="unknown_person", words=words, at=(*at, place))


def _of_door(
    config: DoorsConfig, number: int, built: Door, gallery: Sequence[Identity] | None, moments: Sequence[int]
) -> Iterator[Finding]:
    door, at = config.doors[number], ("doors", number)
    people = [_people(entries_of(rule, config.groups), gallery) for rule in door.rules]
    open_at = [{moment for moment in moments if rule.is_open(moment)} for rule in built.rules]
    for position, rule in enumerate(door.rules):
        if people[position] and not open_at[position]:
            words = f"the rule {rule.name!r} is not open at any time of the coming year; see its schedule and holidays"
            yield Finding(code="never_open", words=words, at=(*at, "rules", position))
    may_pass = [(who, when) for who, when in zip(people, open_at, strict=True) if who and when]
    if not may_pass:
        words = f"nobody can open the door {door.id!r}"
        yield Finding(code="nobody_can_open", words=words, at=at)
    elif door.two_people_within_s is not None and not _two_at_once(may_pass, moments):
        words = f"the door {door.id!r} needs two people, and there are never two who may pass it"
        yield Finding(code="nobody_can_open", words=words, at=(*at, "two_people_within_s"))
    for (first, a), (second, b) in combinations(enumerate(built.rules), 2):
        yield from _overlap(
            (*at, "rules", second), a, b, people[first] & people[second], open_at[first] & open_at[second]
        )


def _two_at_once(may_pass: Sequence[tuple[Collection[str], Collection[int]]], moments: Sequence[int]) -> bool:
    return any(len({person for who, when in may_pass if moment in when for person in who}) > 1 for moment in moments)


def _overlap(
    at: FieldPath, first: Rule, second: Rule, people: Collection[str], moments: Collection[int]
) -> Iterator[Finding]:
    if not people or not moments:
        return
    asked = [(rule.min_score, rule.min_margin, rule.min_agreeing_shots) for rule in (first, second)]
    who = ", ".join(sorted(people)[:3]) + (" and others" if len(people) > 3 else "")
    if asked[0] == asked[1]:
        words = f"says the same as the rule {first.name!r} for {who} at some times"
    else:
        words = (
            f"is open for {who} at the same times as the rule {first.name!r}, and asks for another certainty: the "
            "lesser one decides"
        )
    yield Finding(code="overlapping_rules", words=words, at=at, is_error=False)


def _of_cameras(config: DoorsConfig) -> Iterator[Finding]:
    for number, door in enumerate(config.doors):
        for place, camera in enumerate(door.cameras):
            others = [other.id for other in config.doors[:number] if camera in other.cameras]
            if others:
                words = f"the camera {camera!r} also opens the door {others[0]!r}: who passes it may open both at once"
                yield Finding(code="shared_camera", words=words, at=("doors", number, "cameras", place), is_error=False)


def _known(entry: str, gallery: Sequence[Identity]) -> Identity | None:
    key = name_key(entry)
    return next((person for person in gallery if entry.strip() == person.id or name_key(person.name) == key), None)


def _people(entries: Sequence[str], gallery: Sequence[Identity] | None) -> set[str]:
    """Who they are: names of the gallery, or, where it is not known, what is written."""
    if gallery is None:
        return {name_key(entry) for entry in entries}
    return {person.name for entry in entries if (person := _known(entry, gallery)) is not None}


def _moments(config: DoorsConfig, today: date) -> list[int]:
    """Every moment of a year at which any rule's answer may change, and one for rules without a schedule."""
    site = site_of(config)
    schedules = {rule.schedule.name: rule.schedule for door in site.doors for rule in door.rules if rule.schedule}
    moments = {moment for schedule in schedules.values() for moment in schedule.turns(today, _DAYS)}
    return sorted(moments or {0})
