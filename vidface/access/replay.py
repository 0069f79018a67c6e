"""Recorded events through the rules, to try a rule before it opens a door. Nothing is opened, and nothing is written.

Time is taken from the events: what a live camera saw is judged at the moment at which the pipeline decided it, so the
way to the consumer is not counted; what a recording shows, at the moment of its picture. No clock is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.events.event import Event
from pipeline.events.payload import SightingPayload
from pipeline.events.tail import tail
from vidface.access.door import Site
from vidface.access.guard import not_an_event
from vidface.access.ledger import Ledger
from vidface.access.past import Past
from vidface.access.rules import Decision, judge, moment_of, read


def replay(site: Site, path: Path) -> Iterator[Decision]:
    """Decide on each event of a file.

    Raises:
        FileNotFoundError: There is no such file.
    """
    malformed: list[str] = []
    with Ledger() as ledger:
        for event in tail(path, on_malformed=lambda error: malformed.append(str(error))):
            while malformed:
                yield not_an_event(malformed.pop(0), event.time_ns)
            yield from _decide(site, ledger, event)
    for words in malformed:
        yield not_an_event(words, 0)


def _decide(site: Site, ledger: Ledger, event: Event) -> tuple[Decision, ...]:
    said = read(event)
    now_ns = moment_of(event)
    if not isinstance(said, SightingPayload):
        return judge(site, event, now_ns, Past(), replay=True)
    doors = [door.id for door in site.doors_of(event.source)]
    decisions = judge(site, event, now_ns, ledger.look(event, said, doors), replay=True)
    if doors:
        ledger.handled(event, said, decisions, now_ns)
    return decisions
