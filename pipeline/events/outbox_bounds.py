"""Whether the outbox has reached a bound, told without looking at more than one row."""

import sqlite3
from typing import Final

from pipeline.events.outbox_options import OutboxOptions, WhenFull
from pipeline.events.payload_dropped import DropReason

# When events have become too old, those go with them that will be within a sixteenth of the time: dropping each at its
# moment would tell of each one.
_SLACK: Final = 16
_ANY_TIME: Final = 1 << 62


class Bounds:
    """Measures size and ages. Used under the outbox's lock, with its writing connection."""

    def __init__(self, writer: sqlite3.Connection, options: OutboxOptions, *, opened_ms: int) -> None:
        """Measure what is there; ``opened_ms`` is the Unix time now."""
        self._writer = writer
        self._max_bytes = options.max_bytes
        self._max_age_ms = None if options.max_age_s is None else round(options.max_age_s * 1000)
        self._keep_ms = round(options.keep_s * 1000)
        # Where events are not dropped, only time counts in which the sinks could have taken them: else a machine that
        # was off for a weekend would stop when it is switched on again.
        self._counts_from_ms = opened_ms if options.when_full is WhenFull.STOP else 0
        self._page_bytes = int(writer.execute("PRAGMA page_size").fetchone()[0])
        self._at_most_used = self.used_bytes()
        self._stored: dict[int, int | None] = {}  # the last answer of _stored_after

    def used_bytes(self) -> int:
        """What the events and their index take up in the file. What is free in it does not count."""
        pages = self._writer.execute("PRAGMA page_count").fetchone()[0]
        free = self._writer.execute("PRAGMA freelist_count").fetchone()[0]
        return int(pages - free) * self._page_bytes

    def is_too_large(self, adding: int) -> bool:
        """Whether so many bytes more go over the size allowed. Measures only where its own guess does."""
        if self._max_bytes is None:
            return False
        # An event takes up to twice its bytes, as pages are filled; the guess is never too low.
        if self._at_most_used + 2 * adding <= self._max_bytes:
            return False
        self._at_most_used = self.used_bytes()
        return self._at_most_used + adding > self._max_bytes

    def excess(self) -> float:
        """Return which share of what is there is too much, 0 to 1; 0 where nothing is."""
        used = self.used_bytes()
        return 0.0 if self._max_bytes is None else max(0.0, 1 - self._max_bytes / used)

    def add(self, added: int) -> None:
        """Note that so many bytes were stored."""
        self._at_most_used += 2 * added

    def is_too_old(self, floor: int, now_ms: int) -> bool:
        """Whether the first event behind a number has waited longer than is allowed."""
        due = self.too_old_at_ms(floor)
        return due is not None and now_ms > due

    def too_old_at_ms(self, floor: int) -> int | None:
        """When the first event behind a number will have waited too long; None for never."""
        if self._max_age_ms is None or (stored_ms := self._stored_after(floor)) is None:
            return None
        return max(stored_ms, self._counts_from_ms) + self._max_age_ms

    def kept_until_ms(self, deleted: int) -> int | None:
        """When the first event behind a number need not be kept any longer; None where there is none."""
        stored_ms = self._stored_after(deleted)
        return None if stored_ms is None else stored_ms + self._keep_ms

    def last_to_drop(self, reason: DropReason, floor: int, rows: int, now_ms: int) -> int | None:
        """Return the last of the events behind a number, at most so many, that are to go; None for none."""
        before_ms = _ANY_TIME
        if reason is DropReason.AGE and self._max_age_ms is not None:
            before_ms = now_ms - self._max_age_ms + self._max_age_ms // _SLACK
        return self._last_before(floor, rows, before_ms)

    def last_to_forget(self, deleted: int, rows: int, now_ms: int) -> int | None:
        """Return the last of the events behind a number, at most so many, that need not be kept; None for none."""
        return self._last_before(deleted, rows, now_ms - self._keep_ms if self._keep_ms else _ANY_TIME)

    def _last_before(self, after: int, rows: int, before_ms: int) -> int | None:
        first = "SELECT seq, stored_ms FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        found = self._writer.execute(f"SELECT max(seq) FROM ({first}) WHERE stored_ms < ?", (after, rows, before_ms))
        last = found.fetchone()[0]
        return None if last is None else int(last)

    def _stored_after(self, seq: int) -> int | None:
        if self._stored.get(seq) is None:  # that there is none may have changed
            query = "SELECT stored_ms FROM events WHERE seq > ? ORDER BY seq LIMIT 1"
            row = self._writer.execute(query, (seq,)).fetchone()
            if len(self._stored) > 8:
                self._stored.clear()
            self._stored[seq] = None if row is None else int(row[0])
        return self._stored[seq]
