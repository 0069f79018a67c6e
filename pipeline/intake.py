"""Where camera threads meet the detector: the scheduler's rules made safe for many threads, with the frames themselves.

Each camera's frames and changes of state come out in the order in which they went in: a `LIVE` before its first
frame, a `LOST` after its last. A live camera's thread never waits here. A recording's thread waits while its share of
waiting frames is full, and that is what makes decoding wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pipeline.metrics import FrameCounts
from pipeline.scheduler import Scheduler, Share, Verdict
from streams.clock import SYSTEM_CLOCK, Clock
from streams.errors import Closed, MailboxTimeoutError
from streams.frame import Frame, FrameMeta
from streams.shed import MAX_TOLERANCE
from streams.state import CameraState

BEHIND_NS: Final = 200_000_000
"""A live camera that waits in line for longer has its frames decoded faster than they can be looked at. Times its
priority, as the bounds on its lag are: see `streams.shed`."""

BEHIND_CAMERAS: Final = 4
"""But only where so many cameras wait: fewer would leave the detector idle until their next keyframes."""

MANY_CAMERAS: Final = 8
"""Where more wait, `BEHIND_NS` is shorter by as much: who stands in a longer line has longer to wait for its turn, and
so many don't wait because the machine was held up for a moment."""


class Taken(Enum):
    """What became of a frame that was put."""

    NOT_DUE = "not_due"
    """The camera's rate does not ask for it."""
    NEXT = "next"
    """It will be detected, unless a newer one overtakes it; none of its camera waits before it."""
    WAITS = "waits"
    """Likewise, when those that wait before it have been."""
    BEHIND = "behind"
    """Likewise, and the camera has waited in line for too long, see `BEHIND_NS`, among `BEHIND_CAMERAS`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What comes out next: first the changes of state, then the frames, at most one of each camera."""

    states: tuple[CameraState, ...] = ()
    frames: tuple[Frame, ...] = ()


class Intake:
    """See the module's text. `take` belongs to one thread, the rest to any.

    Args:
        shares: What each camera asks of the detector.
        counts: Where frames are counted by what became of them.
        max_batch: Frames a batch at most.
        max_wait_ns: How long a batch waits to grow.
        clock: The time.
    """

    def __init__(
        self,
        shares: Sequence[Share],
        counts: FrameCounts,
        *,
        max_batch: int = 8,
        max_wait_ns: int = 5_000_000,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._scheduler = Scheduler(shares, max_batch=max_batch, max_wait_ns=max_wait_ns)
        self._counts = counts
        self._clock = clock
        self._changed = threading.Condition()
        self._lines: dict[str, deque[Frame | CameraState]] = {share.camera: deque() for share in shares}
        self._running = set(self._lines)
        self._behind_ns = {share.camera: BEHIND_NS * min(share.priority, MAX_TOLERANCE) for share in shares}
        self._closed = False

    def put_frame(self, frame: Frame) -> Taken:
        """Offer a frame; a recording's thread waits here for room.

        Raises:
            Closed: The pipeline wants nothing more.
        """
        camera = frame.meta.camera
        with self._changed:
            self._counts.count(camera, "decoded")
            offer = self._scheduler.offer(frame.meta, self._clock.monotonic_ns())
            while offer.verdict is Verdict.FULL and not self._closed:
                self._changed.wait()
                offer = self._scheduler.offer(frame.meta, self._clock.monotonic_ns())
            if self._closed:
                self._counts.count(camera, "undelivered")
                raise Closed("the pipeline is closed")
            if offer.verdict is Verdict.NOT_DUE:
                self._counts.count(camera, "not_due")
                return Taken.NOT_DUE
            if offer.displaced is not None:
                self._remove(offer.displaced)
                self._counts.count(camera, "superseded")
            self._lines[camera].append(frame)
            self._changed.notify_all()
            if self._is_behind(camera, offer.waited_ns):
                return Taken.BEHIND
            return Taken.NEXT if self._scheduler.waiting(camera) == 1 else Taken.WAITS

    def _is_behind(self, camera: str, waited_ns: int) -> bool:
        waiting = self._scheduler.cameras_waiting
        bound_ns = self._behind_ns[camera] * MANY_CAMERAS / max(MANY_CAMERAS, waiting)
        return waiting >= BEHIND_CAMERAS and waited_ns > bound_ns

    def put_state(self, state: CameraState) -> None:
        """Tell a camera's change of state; never waits, and is ignored once closed."""
        with self._changed:
            if not self._closed:
                self._lines[state.camera].append(state)
                self._changed.notify_all()

    def camera_done(self, camera: str) -> None:
        """The camera's thread has ended; what it left is still handed out."""
        with self._changed:
            self._running.discard(camera)
            self._scheduler.retire(camera)
            self._changed.notify_all()

    def take(self, *, wait: bool = True) -> Work:
        """The next work. Called by one thread.

        Args:
            wait: Whether to wait for it.

        Raises:
            MailboxTimeoutError: There is none yet, and it should not wait.
            Closed: It was closed, or every camera has ended and everything was handed out.
        """
        with self._changed:
            while True:
                if self._closed:
                    raise Closed("the pipeline is closed")
                now_ns = self._clock.monotonic_ns()
                batch = self._scheduler.next_batch(now_ns)
                for meta in batch.expired:
                    self._remove(meta)
                    self._counts.count(meta.camera, "expired")
                states, frames = self._pop(batch.frames)
                if states or frames:
                    self._changed.notify_all()  # a recording may wait for the room that this made
                    return Work(states=tuple(states), frames=tuple(frames))
                if not self._running and not any(self._lines.values()):
                    self._closed = True
                    raise Closed("every camera has ended")
                if not wait:
                    raise MailboxTimeoutError("no work is ripe yet")
                ripe_in_ns = self._scheduler.ripe_in_ns(now_ns)
                self._changed.wait(None if ripe_in_ns is None else ripe_in_ns / 1e9)

    def close(self) -> None:
        """Want nothing more: wakes every thread that waits here. What was waiting is counted and let go."""
        with self._changed:
            self._closed = True
            for camera, line in self._lines.items():
                undelivered = sum(1 for item in line if isinstance(item, Frame))
                if undelivered:
                    self._counts.count(camera, "undelivered", undelivered)
                line.clear()
            self._changed.notify_all()

    def _pop(self, metas: tuple[FrameMeta, ...]) -> tuple[list[CameraState], list[Frame]]:
        """Take the batch's frames out of their lines, with every state that comes before the next waiting frame."""
        states: list[CameraState] = []
        frames: list[Frame] = []
        chosen = {meta.camera: meta for meta in metas}
        for camera, line in self._lines.items():
            while line and isinstance(line[0], CameraState):
                states.append(line[0])
                line.popleft()
            if camera in chosen and line and isinstance(line[0], Frame):
                frames.append(line[0])
                line.popleft()
        order = {meta.camera: place for place, meta in enumerate(metas)}
        frames.sort(key=lambda frame: order[frame.meta.camera])
        return states, frames

    def _remove(self, meta: FrameMeta) -> None:
        line = self._lines[meta.camera]
        for item in line:
            if isinstance(item, Frame) and item.meta is meta:
                line.remove(item)
                return
