"""A door and its rules, as the judgement needs them: made once from the configuration, and never changed."""

from __future__ import annotations

from dataclasses import dataclass

from index.identity import name_key
from vidface.access.hours import Openness, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who may pass, when, and how sure it must be. All of it must hold.

    Attributes:
        name: What the configuration calls it, unique at its door.
        ids: The people, by their ids.
        names: The people, by their names, as `name_key` gives them.
        schedule: None for always.
        min_score: Least cosine similarity; None for what the pipeline asked for.
        min_margin: Least lead over the runner-up; with 0 it may also be unknown.
        min_agreeing_shots: Least shots that alone give the same answer.
    """

    name: str
    ids: frozenset[str]
    names: frozenset[str]
    schedule: Schedule | None = None
    min_score: float | None = None
    min_margin: float = 0.0
    min_agreeing_shots: int = 1

    def is_for(self, person_id: str, name: str) -> bool:
        """Whether the rule names this person."""
        return person_id in self.ids or name_key(name) in self.names

    def is_open(self, unix_ns: int) -> bool:
        """Whether a moment is within its hours."""
        return self.schedule is None or self.schedule.at(unix_ns) is Openness.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One door.

    Attributes:
        id: Its name.
        sources: The sources of its cameras' events, see `pipeline.events.event.camera_source`.
        rules: Any of them is enough.
        max_age_ns: How old the picture may be when it is decided.
        hold_off_ns: How long the door does not open again for the same person; 0 for no such time.
        two_people_ns: Two different people must be seen within this; None where one is enough.
    """

    id: str
    sources: frozenset[str]
    rules: tuple[Rule, ...]
    max_age_ns: int
    hold_off_ns: int = 0
    two_people_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """All doors.

    Attributes:
        doors: In the order of the configuration.
        clock_skew_ns: How far in the future a picture may seem to be, as no two clocks are the same.
    """

    doors: tuple[Door, ...]
    clock_skew_ns: int = 1_000_000_000

    def doors_of(self, source: str) -> tuple[Door, ...]:
        """The doors that a camera is for."""
        return tuple(door for door in self.doors if source in door.sources)
