"""The guard: takes each event through judgement, audit log, ledger and action, in this order.

::

    event -> judge -> audit log (on the disk) -> ledger (on the disk) -> the door's thread

Whatever fails on the way ends the way: an error of the audit log or the ledger is raised, and no action runs. If the
process dies after the ledger has it, the action never runs; before, the event may come again and is judged anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.events.event import Event
from pipeline.events.payload import SightingPayload
from vidface.access.action import Opening
from vidface.access.audit import AuditLog, decision_entry, outcome_entry
from vidface.access.clock import Moment, WatchedClock
from vidface.access.door import Site
from vidface.access.ledger import Ledger, Outcome
from vidface.access.opener import Opener
from vidface.access.past import Past
from vidface.access.reason import Reason
from vidface.access.rules import Decision, judge, read

_MOST_STRANGE = 10_000
"""Of so many cameras without a door one is told; beyond, somebody makes them up."""


class Guard:
    """Decides on events as they come. For one thread."""

    def __init__(
        self,
        site: Site,
        ledger: Ledger,
        audit: AuditLog,
        opener: Opener | None,
        *,
        on_decision: Callable[[Decision], None] = lambda _decision: None,
        look: Callable[[], Moment] | None = None,
    ) -> None:
        """Join the parts.

        Args:
            site: The doors.
            ledger: What was before.
            audit: Where decisions are told before they are carried out.
            opener: What carries them out; None for a dry run.
            on_decision: Called with each decision that is on the disk.
            look: The clock.
        """
        self._site = site
        self._ledger = ledger
        self._audit = audit
        self._opener = opener
        self._on_decision = on_decision
        self._look = look or WatchedClock().look
        self._strange: set[str] = set()
        self._max_age_ns = {door.id: door.max_age_ns for door in site.doors}

    def begin(self) -> int:
        """Tell of the actions that ran when the process last died; for the start.

        Returns:
            How many.
        """
        unfinished = self._ledger.take_unfinished()
        now_ns = self._look().now_ns
        words = "the process ended before the outcome was known; it is not run again"
        entries = [
            outcome_entry({"source": each.source, "id": each.id}, each.door, Outcome.UNKNOWN, words, at_ns=now_ns)
            for each in unfinished
        ]
        if entries:
            self._audit.write(entries)
        return len(entries)

    def handle(self, event: Event) -> None:
        """Decide on an event. Blocks for the disk, and never for an action.

        Raises:
            AuditError: It could not be told; nothing opens.
            LedgerError: It could not be remembered; nothing opens.
        """
        if self._opener is not None:
            self._opener.check()
        moment = self._look()
        said = read(event)
        if not isinstance(said, SightingPayload):
            self._tell(judge(self._site, event, moment.now_ns, Past()))
            return
        doors = [door.id for door in self._site.doors_of(event.source)]
        past = self._ledger.look(event, said, doors)
        past = replace(past, latest_ns=max(past.latest_ns, moment.floor_ns))
        decisions = judge(self._site, event, moment.now_ns, past)
        if not doors:
            self._tell_once(event.source, decisions)
            return
        self._tell(decisions)
        self._ledger.handled(event, said, decisions, moment.now_ns)
        for decision in decisions:
            if decision.opens and self._opener is not None:
                self._opener.open(event, self._opening(event, decision))

    def malformed(self, words: str) -> None:
        """Write down that a record is no event.

        Raises:
            AuditError: It could not be told.
        """
        self._tell((not_an_event(words, self._look().now_ns),))

    def _tell_once(self, source: str, decisions: Sequence[Decision]) -> None:
        """Tell of a camera that has no door once: a topic may be full of them, and each line waits for the disk."""
        if source not in self._strange and len(self._strange) < _MOST_STRANGE:
            self._strange.add(source)
            self._tell(decisions)

    def _tell(self, decisions: Sequence[Decision]) -> None:
        if decisions:
            self._audit.write([decision_entry(each, dry_run=self._opener is None) for each in decisions])
        for decision in decisions:
            self._on_decision(decision)

    def _opening(self, event: Event, decision: Decision) -> Opening:
        assert decision.door is not None
        assert decision.rule is not None
        assert decision.captured_ns is not None
        return Opening(
            door=decision.door,
            rule=decision.rule,
            people=decision.people,
            source=event.source,
            event_id=event.id,
            camera=event.camera,
            captured_ns=decision.captured_ns,
            decided_ns=decision.decided_ns,
            expires_ns=decision.captured_ns + self._max_age_ns[decision.door],
        )


def not_an_event(words: str, now_ns: int) -> Decision:
    """The decision on a record that cannot be read."""
    return Decision(event=None, door=None, rule=None, reason=Reason.MALFORMED, words=words, decided_ns=now_ns)
