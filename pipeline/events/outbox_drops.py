"""What was dropped from the outbox, sink by sink, and the event that says so.

A sink's account is open until the sink has acknowledged such an event: a further drop adds to it, and the event about
that drop counts from the same beginning. So these events may be dropped like any other, and nothing is forgotten.
"""

import sqlite3
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event
from pipeline.events.outbox_file import fact
from pipeline.events.payload_dropped import DroppedPayload, DropReason, SinkDrop


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    drop: SinkDrop
    told_seq: int  # of the latest event about it


class Drops:
    """Keeps the accounts in the outbox's own transactions. Used under the outbox's lock."""

    def __init__(self, writer: sqlite3.Connection, site: str | None) -> None:
        """Read what was dropped before; the file was opened, and its opening counted."""
        self._writer = writer
        self._site = site
        self._outbox = str(fact(writer, "id"))
        self._opening = int(fact(writer, "openings"))
        self._sequence = 0
        self._notices = [seq for (seq,) in writer.execute("SELECT seq FROM notices ORDER BY seq")]
        self._accounts = {
            row[0]: _Account(
                drop=SinkDrop(
                    sink=row[0],
                    total=row[1],
                    dropped=row[2],
                    first_sequence=row[3],
                    last_sequence=row[4],
                    first_ns=row[5],
                    last_ns=row[6],
                ),
                told_seq=row[7],
            )
            for row in writer.execute("SELECT * FROM dropped")
        }

    @property
    def totals(self) -> Mapping[str, int]:
        """How many events each sink will never get, since the outbox was made; of the sinks that miss any."""
        return {sink: account.drop.total for sink, account in self._accounts.items()}

    def notices_behind(self, seq: int) -> int:
        """Return how many of the events behind a number only say what was dropped."""
        return len(self._notices) - bisect_right(self._notices, seq)

    def record(self, reason: DropReason, cursors: Mapping[str, int], upto: int, *, seq: int, now_ns: int) -> "Recorded":
        """Write down, in the transaction under way, that no sink will get the events up to a number.

        Args:
            reason: Which bound was reached.
            cursors: How far each sink is. All events behind the lowest are still there.
            upto: The last number that is dropped.
            seq: The number that the event about it gets.
            now_ns: Unix time.

        Returns:
            The event, and what to remember when the transaction is through.
        """
        last_ns = self._time_of(upto)
        accounts = {
            sink: self._after(sink, place, upto, last_ns=last_ns, seq=seq)
            for sink, place in cursors.items()
            if place < upto
        }
        self._writer.executemany(
            "INSERT OR REPLACE INTO dropped VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (d.sink, d.total, d.dropped, d.first_sequence, d.last_sequence, d.first_ns, d.last_ns, seq)
                for d in (account.drop for account in accounts.values())
            ],
        )
        self._writer.execute("DELETE FROM notices WHERE seq <= ?", (upto,))
        self._writer.execute("INSERT INTO notices VALUES (?)", (seq,))
        payload = DroppedPayload(
            outbox=self._outbox,
            opening=self._opening,
            sequence=self._sequence + 1,
            reason=reason,
            sinks=tuple(account.drop for account in accounts.values()),
            at_ns=now_ns,
        )
        return Recorded(event=payload.to_event(site=self._site), accounts=accounts, upto=upto, seq=seq)

    def commit(self, recorded: "Recorded") -> None:
        """Remember what was recorded, now that the transaction is through."""
        self._sequence += 1
        self._accounts.update(recorded.accounts)
        self._notices = [*self._notices[bisect_right(self._notices, recorded.upto) :], recorded.seq]

    def forget(self, upto: int) -> None:
        """Note, in the transaction under way, that every sink had the events up to a number, and they go."""
        if self._notices and self._notices[0] <= upto:
            self._writer.execute("DELETE FROM notices WHERE seq <= ?", (upto,))
            # Should the transaction fail, too few are remembered; the count of a later drop then names them as events.
            self._notices = self._notices[bisect_right(self._notices, upto) :]

    def _after(self, sink: str, place: int, upto: int, *, last_ns: int, seq: int) -> _Account:
        before = self._accounts.get(sink)
        # Notices that are dropped are no loss: what they said is in the account.
        count = upto - place - (bisect_right(self._notices, upto) - bisect_right(self._notices, place))
        is_open = before is not None and place < before.told_seq
        first = before.drop if before is not None and is_open else None
        return _Account(
            drop=SinkDrop(
                sink=sink,
                dropped=count + (first.dropped if first else 0),
                first_sequence=first.first_sequence if first else place + 1,
                last_sequence=upto,
                first_ns=first.first_ns if first else self._time_of(place + 1),
                last_ns=last_ns,
                total=count + (before.drop.total if before is not None else 0),
            ),
            told_seq=seq,
        )

    def _time_of(self, seq: int) -> int:
        """The time of an event that is held; of one that isn't what was stored, when it was stored."""
        row = self._writer.execute("SELECT body, stored_ms FROM events WHERE seq = ?", (seq,)).fetchone()
        try:
            return Event.from_json(row[0]).time_ns
        except EventMalformed:
            return int(row[1]) * 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A drop that is written down in a transaction which is not through yet."""

    event: Event
    accounts: Mapping[str, _Account]
    upto: int
    seq: int
