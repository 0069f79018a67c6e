"""What a run of decisions comes to: how often each door was opened, and why it was not, by person."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from vidface.access.reason import Reason
from vidface.access.rules import Decision


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was decided for one person at one door, or for nobody in particular.

    Attributes:
        door: The door; None where no door was concerned.
        person_id: Who; None where nobody was named.
        name: Their latest name.
        opened: How often the door opened.
        refused: How often it did not, by reason.
    """

    door: str | None
    person_id: str | None
    name: str | None = None
    opened: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)


class Summary:
    """Counts decisions. For one thread.

    Attributes:
        opened: How often any door opened.
        refused: How often none did, by reason.
        passed_over: How often nobody asked for anything, by reason.
    """

    def __init__(self) -> None:
        self.opened = 0
        self.refused: Counter[Reason] = Counter()
        self.passed_over: Counter[Reason] = Counter()
        self._tallies: dict[tuple[str | None, str | None], Tally] = {}

    def add(self, decision: Decision) -> None:
        """Count a decision. An opening for two people counts for each of them, and once in all."""
        if decision.reason.is_passed_over:
            self.passed_over[decision.reason] += 1
            return
        if decision.opens:
            self.opened += 1
        else:
            self.refused[decision.reason] += 1
        for person in decision.people or (None,):
            key = (decision.door, None if person is None else person.id)
            tally = self._tallies.setdefault(key, Tally(door=key[0], person_id=key[1]))
            tally.name = None if person is None else person.name
            if decision.opens:
                tally.opened += 1
            else:
                tally.refused[decision.reason] += 1

    def tallies(self) -> list[Tally]:
        """By door, then by name; those without either come last."""
        return sorted(
            self._tallies.values(), key=lambda each: (each.door is None, each.door, each.name is None, each.name)
        )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "opened": self.opened,
            "refused": self.refused.total(),
            "refused_by_reason": by_reason(self.refused),
            "passed_over": by_reason(self.passed_over),
            "tallies": [
                {
                    "door": each.door,
                    "person": None if each.person_id is None else {"id": each.person_id, "name": each.name},
                    "opened": each.opened,
                    "refused": each.refused.total(),
                    "refused_by_reason": by_reason(each.refused),
                }
                for each in self.tallies()
            ],
        }


def by_reason(refused: Counter[Reason]) -> dict[str, int]:
    """The reasons' codes, the most frequent first."""
    return {reason.value: count for reason, count in refused.most_common()}
