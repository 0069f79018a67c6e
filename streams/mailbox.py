"""The only queue between threads: a bounded box with two ends.

The box is made by its one consumer, who keeps the take end and gives the put end away. A bound and a policy are
mandatory, because an unbounded queue hides overload until memory is gone:

- `Policy.BLOCK` makes a producer wait for room. For recordings: every frame is processed, decoding waits.
- `Policy.DROP_OLDEST` throws the oldest away and never waits. For live cameras, with a bound of one: the newest
  frame wins. Each drop is counted and can be told to `on_drop`.

Closing works from either end and wakes everybody; there are no sentinels to get lost and nothing polls. After
`close`, `put` raises `Closed` at once, and so does one that was waiting for room, its item not put. What was in the
box can still be taken, so a producer that closes behind its last item loses none; then `take` raises `Closed` too.
A consumer that leaves and wants nothing more calls `TakeEnd.discard`, which also empties the box.

In every moment ``put == taken + dropped + depth``.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from streams.errors import Closed, MailboxTimeoutError

T = TypeVar("T")


class Policy(Enum):
    """What `put` does when the box is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxStatistics:
    """Counts of items since the box was made, taken at one moment."""

    put: int
    taken: int
    dropped: int
    """Thrown away by `Policy.DROP_OLDEST` or by `TakeEnd.discard`."""
    depth: int
    """In the box now."""
    bound: int


class _Box(Generic[T]):
    """What the two ends share. Every field is guarded by `changed`."""

    def __init__(self, bound: int, policy: Policy, on_drop: Callable[[T], None] | None) -> None:
        self.changed = threading.Condition()
        self.items: deque[T] = deque()
        self.bound = bound
        self.policy = policy
        self.on_drop = on_drop
        self.closed = False
        self.put = 0
        self.taken = 0
        self.dropped = 0

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def statistics(self) -> MailboxStatistics:
        with self.changed:
            return MailboxStatistics(
                put=self.put, taken=self.taken, dropped=self.dropped, depth=len(self.items), bound=self.bound
            )


class PutEnd(Generic[T]):
    """Where producers put. Any number of threads may share it."""

    __slots__ = ("_box",)

    def __init__(self, box: _Box[T]) -> None:
        self._box = box

    def put(self, item: T) -> None:
        """Put an item; waits for room under `Policy.BLOCK`, never under `Policy.DROP_OLDEST`.

        Raises:
            Closed: The box is closed, or was closed while this waited; the item is not in it.
        """
        box = self._box
        oldest: list[T] = []
        with box.changed:
            if box.policy is Policy.BLOCK:
                box.changed.wait_for(lambda: box.closed or len(box.items) < box.bound)
            if box.closed:
                raise Closed("nothing can be put: the mailbox is closed")
            if len(box.items) >= box.bound:
                oldest.append(box.items.popleft())
                box.dropped += 1
            box.items.append(item)
            box.put += 1
            box.changed.notify_all()
        if box.on_drop is not None:
            for dropped in oldest:
                box.on_drop(dropped)

    def close(self) -> None:
        """Close the box: wakes both sides. What it holds can still be taken. May be called again."""
        self._box.close()

    def statistics(self) -> MailboxStatistics:
        """Counts, taken at one moment."""
        return self._box.statistics()


class TakeEnd(Generic[T]):
    """Where the one consumer takes."""

    __slots__ = ("_box",)

    def __init__(self, box: _Box[T]) -> None:
        self._box = box

    def take(self, timeout_s: float | None = None) -> T:
        """Take the oldest item; waits for one.

        Args:
            timeout_s: Longest wait in seconds; 0 only looks; None waits for an item or for `close`.

        Raises:
            Closed: The box is closed and empty.
            MailboxTimeoutError: No item in time.
        """
        box = self._box
        with box.changed:
            if not box.changed.wait_for(lambda: box.closed or box.items, timeout_s):
                raise MailboxTimeoutError(f"no item in the mailbox within {timeout_s} s")
            if not box.items:
                raise Closed("nothing can be taken: the mailbox is closed and empty")
            item = box.items.popleft()
            box.taken += 1
            box.changed.notify_all()
            return item

    def close(self) -> None:
        """Close the box: wakes both sides. What it holds can still be taken. May be called again."""
        self._box.close()

    def discard(self) -> None:
        """Close the box and throw away what it holds; counted as dropped, not told to `on_drop`."""
        box = self._box
        with box.changed:
            box.dropped += len(box.items)
            box.items.clear()
            box.closed = True
            box.changed.notify_all()

    def statistics(self) -> MailboxStatistics:
        """Counts, taken at one moment."""
        return self._box.statistics()


def open_mailbox(
    bound: int, policy: Policy, *, on_drop: Callable[[T], None] | None = None
) -> tuple[PutEnd[T], TakeEnd[T]]:
    """Make a box.

    Args:
        bound: Most items that it holds; at least 1.
        policy: What `put` does when it is full.
        on_drop: Called with each item that `Policy.DROP_OLDEST` throws away, in the producer's thread, with no lock
            held. It must not raise.

    Returns:
        The end for producers and the end for the consumer.
    """
    if bound < 1:
        raise ValueError(f"a mailbox holds at least 1 item, got bound {bound}")
    box: _Box[T] = _Box(bound, policy, on_drop)
    return PutEnd(box), TakeEnd(box)
