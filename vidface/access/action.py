"""What opens a door: the seam, and what is told to whoever is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.events.event import JSON, rfc3339
from vidface.access.past import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A door that is to be opened now.

    Attributes:
        door: The door.
        rule: The rule that allows it.
        people: For whom.
        source: The event's source.
        event_id: The event's id; (source, id, door) is unique, to deduplicate by.
        camera: The camera's id.
        captured_ns: When the picture was taken, Unix.
        decided_ns: When it was decided, Unix.
        expires_ns: From when on the door must not be opened any more, Unix.
    """

    door: str
    rule: str
    people: tuple[Person, ...]
    source: str
    event_id: str
    camera: str
    captured_ns: int
    decided_ns: int
    expires_ns: int

    @property
    def key(self) -> str:
        """The same for the same opening and for no other: ``{source}#{id}#{door}``."""
        return f"{self.source}#{self.event_id}#{self.door}"

    def to_json(self) -> dict[str, JSON]:
        """What is sent."""
        document: dict[str, Any] = {
            "key": self.key,
            "door": self.door,
            "rule": self.rule,
            "people": [{"id": person.id, "name": person.name} for person in self.people],
            "event": {"source": self.source, "id": self.event_id},
            "camera": self.camera,
            "captured_at": rfc3339(self.captured_ns),
            "decided_at": rfc3339(self.decided_ns),
            "expires_at": rfc3339(self.expires_ns),
        }
        return document


class Action(Protocol):
    """Opens one door. For one thread at a time."""

    @property
    def timeout_s(self) -> float:
        """How long `run` may take."""

    def run(self, opening: Opening) -> None:
        """Open the door; blocks, no longer than `timeout_s` and a little.

        Raises:
            ActionFailed: It did not open, as far as is known; the words hold no credential.
            ActionTimedOut: There was no answer in time.
        """
