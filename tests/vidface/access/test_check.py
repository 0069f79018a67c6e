from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest

from index.identity import Identity
from tests.vidface.conftest import WriteConfig
from vidface.access.assemble import load_doors
from vidface.access.check import Finding, check

TODAY = date(2026, 2, 2)
TOP = (
    "time_zone: Europe/Berlin\n"
    "events: {type: jsonl, path: e}\n"
    "groups: {staff: [Alice, Bob]}\n"
    "holidays: ['2026-12-25']\n"
    "schedules:\n"
    "  day: {hours: [{from: '07:00', to: '19:00'}]}\n"
    "  night: {hours: [{from: '19:00', to: '07:00'}]}\n"
    "  lunch: {hours: [{days: [mon], from: '12:00', to: '12:05'}]}\n"
    "  tokyo-lunch: {time_zone: Asia/Tokyo, hours: [{days: [mon], from: '20:04', to: '21:00'}]}\n"
)


def person(name: str) -> Identity:
    return Identity(id=f"p-{name.lower()}", name=name, template_count=1, created_ns=0, updated_ns=0)


GALLERY = [person("Alice"), person("Bob")]


def findings(write_config: WriteConfig, doors: str, gallery: Sequence[Identity] | None = GALLERY) -> list[Finding]:
    unused = {"unused_group", "unused_schedule"}
    config, _ = load_doors(write_config(f"{TOP}doors:\n{doors}"))
    return [each for each in check(config, gallery, TODAY) if each.code not in unused]


def one(rules: str, more: str = "") -> str:
    return f"  - {{id: main, cameras: [lobby], rules: [{rules}]{more}}}\n"


R = "{name: a, groups: [staff]}"


@pytest.mark.parametrize(
    ("doors", "code", "place"),
    [
        pytest.param(one(R), None, (), id="all-well"),
        pytest.param(one("{name: a, people: [p-alice, BOB]}"), None, (), id="ids-and-names-of-any-case"),
        pytest.param(
            one("{name: a, people: [Alice, Mallory]}"),
            "unknown_person",
            ("doors", 0, "rules", 0, "people", 1),
            id="an-unknown-person",
        ),
        pytest.param(one("{name: a, people: [Mallory]}"), "nobody_can_open", ("doors", 0), id="nobody-at-all"),
        pytest.param(one(R, ", two_people_within_s: 9"), None, (), id="two-for-two"),
        pytest.param(
            one("{name: a, people: [Alice, p-alice]}", ", two_people_within_s: 9"),
            "nobody_can_open",
            ("doors", 0, "two_people_within_s"),
            id="one-under-two-names-for-two",
        ),
        pytest.param(
            one(
                "{name: a, people: [Alice], schedule: day}, {name: b, people: [Bob], schedule: night}",
                ", two_people_within_s: 9",
            ),
            "nobody_can_open",
            ("doors", 0, "two_people_within_s"),
            id="two-who-never-meet",
        ),
        pytest.param(
            one(
                "{name: a, people: [Alice], schedule: day}, {name: b, people: [Bob], schedule: lunch}",
                ", two_people_within_s: 9",
            ),
            None,
            (),
            id="two-who-meet-for-five-minutes",
        ),
        pytest.param(
            one("{name: a, groups: [staff], schedule: day}, {name: b, people: [Bob], schedule: night}"),
            None,
            (),
            id="rules-one-after-the-other",
        ),
        pytest.param(
            one("{name: a, groups: [staff], schedule: day}, {name: b, people: [Bob], schedule: lunch}"),
            "overlapping_rules",
            ("doors", 0, "rules", 1),
            id="rules-at-once",
        ),
        pytest.param(
            one("{name: a, groups: [staff], schedule: lunch}, {name: b, people: [Bob], schedule: tokyo-lunch}"),
            "overlapping_rules",
            ("doors", 0, "rules", 1),
            id="a-minute-at-once-in-two-time-zones",
        ),
        pytest.param(
            one(f"{R}, {{name: b, people: [Mallory]}}"),
            "unknown_person",
            ("doors", 0, "rules", 1, "people", 0),
            id="other-people",
        ),
        pytest.param(
            one(R) + "  - {id: side, cameras: [lobby], rules: [" + R + "]}\n",
            "shared_camera",
            ("doors", 1, "cameras", 0),
            id="one-camera-two-doors",
        ),
    ],
)
def test_mistakes(write_config: WriteConfig, doors: str, code: str | None, place: tuple[str | int, ...]) -> None:
    found = {(each.code, each.at) for each in findings(write_config, doors)}
    assert found if code else not found
    assert code is None or (code, place) in found


def test_without_a_gallery_nobody_is_unknown(write_config: WriteConfig) -> None:
    assert findings(write_config, one("{name: a, people: [Mallory]}"), None) == []


def test_rules_that_ask_for_another_certainty(write_config: WriteConfig) -> None:
    (finding,) = findings(write_config, one(f"{R}, {{name: b, people: [Bob], min_margin: 0.2}}"))
    assert not finding.is_error
    assert finding.words.endswith("asks for another certainty: the lesser one decides")


def test_a_rule_that_is_never_open(write_config: WriteConfig) -> None:
    """Its only day of the year is a holiday, every time."""
    holidays = [date.fromordinal(day).isoformat() for day in range(TODAY.toordinal() - 7, TODAY.toordinal() + 400)]
    config, _ = load_doors(
        write_config(
            f"events: {{type: jsonl, path: e}}\nholidays: {holidays}\n"
            "schedules: {mondays: {hours: [{days: [mon], from: '22:00', to: '06:00'}]}}\n"
            "doors:\n" + one("{name: a, people: [Alice], schedule: mondays}")
        )
    )
    assert [each.code for each in check(config, GALLERY, TODAY)] == ["never_open", "nobody_can_open"]


def test_what_has_no_use(write_config: WriteConfig) -> None:
    config, _ = load_doors(
        write_config(
            "events: {type: jsonl, path: e}\ngroups: {a: [], b: [Bob]}\n"
            "schedules: {s: {hours: [{from: '07:00', to: '08:00'}]}}\n"
            "doors:\n" + one("{name: a, people: [Alice], groups: [a]}")
        )
    )
    found = check(config, GALLERY, TODAY)
    assert [each.code for each in found] == ["empty_group", "unused_group", "unused_schedule"]
    assert not any(each.is_error for each in found)
