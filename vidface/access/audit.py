"""The audit log: a line of JSON for each decision, on the disk before anything is opened, and one for each outcome."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pipeline.events.event import JSON, Event, rfc3339
from pipeline.events.line_file import LineFile
from vidface.access.errors import AuditError
from vidface.access.ledger import Outcome
from vidface.access.rules import Decision


class AuditLog:
    """Appends to the file; any thread. The file may be rotated by renaming it."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            AuditError: It cannot be opened, or another process writes it.
        """
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file = LineFile(path)
        except OSError as error:
            raise AuditError(path, error.strerror or str(error)) from error

    def write(self, entries: Sequence[dict[str, JSON]]) -> None:
        """Append entries and wait for the disk; all of them or, if it raises, none.

        Raises:
            AuditError: Nothing was written.
        """
        # ASCII only: half a surrogate pair in somebody's event must not keep a refusal from being written.
        lines = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()
        with self._lock:
            try:
                self._file.append(lines)
            except OSError as error:
                raise AuditError(self._path, error.strerror or str(error)) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def decision_entry(decision: Decision, *, dry_run: bool = False) -> dict[str, JSON]:
    """What the log says of a decision."""
    said = decision.sighting
    identity = None if said is None else said.identity
    age_ns = None if said is None or not said.live else decision.decided_ns - said.captured_ns
    entry: dict[str, Any] = {
        "kind": "decision",
        "at": rfc3339(decision.decided_ns),
        "door": decision.door,
        "decision": "opened" if decision.opens else "refused",
        "reason": decision.reason.value,
        "words": decision.words,
        "rule": decision.rule,
        "people": [{"id": person.id, "name": person.name} for person in decision.people],
        "event": None if decision.event is None else _event(decision.event),
        "camera": None if decision.event is None else decision.event.camera,
        "captured_at": None if said is None else rfc3339(said.captured_ns),
        "age_ms": None if age_ns is None else round(age_ns / 1e6, 3),
        "score": None if identity is None else identity.score,
        "margin": None if identity is None else identity.margin,
        "agreeing_shots": None if said is None else said.agreeing_shots,
        "gallery_version": None if said is None else said.gallery_version,
    }
    return entry | {"dry_run": True} if dry_run else entry


def outcome_entry(
    event: Mapping[str, str], door: str, outcome: Outcome, words: str, *, at_ns: int, took_ms: float | None = None
) -> dict[str, JSON]:
    """What the log says of an action that has ended, or of which nobody knows.

    Args:
        event: The event's ``source`` and ``id``.
        door: The door.
        outcome: What became of it.
        words: The same for people.
        at_ns: When, Unix.
        took_ms: How long it ran; None where that is not known.
    """
    return {
        "kind": "action",
        "at": rfc3339(at_ns),
        "door": door,
        "outcome": outcome.value,
        "words": words,
        "event": event,
        "took_ms": took_ms if took_ms is None else round(took_ms, 1),
    }


def _event(event: Event) -> dict[str, JSON]:
    return {"source": event.source, "id": event.id, "type": event.type}
