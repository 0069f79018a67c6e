"""Which frames are detected, and when: a pure object, fed with frames' metadata and the time.

Two promises meet here. A *live* camera wants its newest frame detected at a steady rate: a frame that comes before
the rate asks for one is skipped, and one that is overtaken while it waits is dropped. A *recorded* camera wants every
frame that its rate asks for, measured in media time: nothing is dropped, and `offer` answers ``FULL`` so that the
caller makes decoding wait.

When the detector can't keep up, cameras take turns: each detection moves a camera's next turn back by one over its
weight, ``priority * wanted rate``, and the earliest turn comes first (Goyal et al., "Start-time Fair Queueing", 1996).
So every camera's rate falls in proportion to its weight, none falls to zero, and one that was away comes back one
detection behind the turn that the others have reached: enough to wait for its next frame, too little for a burst.
Waiting times, weighed, would not do: with two cameras they round every ratio down to a whole number, and a camera
whose frames expire first would never be served.

No thread, no clock, no pixels: `now_ns` is always the caller's monotonic clock. Not safe for several threads at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from streams.frame import FrameMeta

NOMINAL_FPS = 25.0
"""The rate that a camera whose every frame is wanted is weighed with."""


class Policy(Enum):
    """What a camera's frames are promised."""

    LIVE = "live"
    RECORDED = "recorded"


class Verdict(StrEnum):
    """What became of an offered frame."""

    QUEUED = "queued"
    NOT_DUE = "not_due"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one camera asks of the detector.

    Attributes:
        camera: Its id.
        policy: Live or recorded.
        fps: Wanted detections a second; None for as many as there are frames.
        every: Detect each so-manieth frame; together with `fps` None.
        priority: Weight under overload, relative to the other cameras'.
        deadline_ns: A live frame that has waited longer is dropped unseen; None for never.
        depth: Frames of a recording that may wait at once.
    """

    camera: str
    policy: Policy
    fps: float | None = None
    every: int = 1
    priority: float = 1.0
    deadline_ns: int | None = None
    depth: int = 4

    def __post_init__(self) -> None:
        if self.fps is not None and self.fps <= 0:
            raise ValueError(f"{self.camera}: fps must be over 0, got {self.fps}")
        if self.every < 1 or self.depth < 1 or self.priority <= 0:
            raise ValueError(f"{self.camera}: every and depth must be at least 1, and priority over 0")

    @property
    def weight(self) -> float:
        """The share's size: detections a second times priority."""
        return (self.fps or NOMINAL_FPS / self.every) * self.priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The answer to an offered frame.

    Attributes:
        verdict: What became of it.
        displaced: An older frame of the same live camera that it overtook, if any.
        waited_ns: For how long the camera has now waited in line.
    """

    verdict: Verdict
    displaced: FrameMeta | None = None
    waited_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the detector gets next.

    Attributes:
        frames: At most one of each camera, the earliest turn first.
        expired: Live frames that waited past their deadline.
    """

    frames: tuple[FrameMeta, ...] = ()
    expired: tuple[FrameMeta, ...] = ()


@dataclass(slots=True)
class _Queue:
    share: Share
    waiting: deque[tuple[FrameMeta, int]] = field(default_factory=deque)
    due_ns: int | None = None
    turn: float = 0.0

    @property
    def period_ns(self) -> int:
        return round(1e9 / self.share.fps) if self.share.fps else 0

    def is_due(self, meta: FrameMeta, now_ns: int) -> bool:
        """Whether the rate asks for this frame; moves the due time on if so."""
        if self.share.fps is None:
            return meta.index % self.share.every == 0
        time_ns = now_ns if self.share.policy is Policy.LIVE else meta.pts_ns
        if self.due_ns is None or time_ns < self.due_ns - 2 * self.period_ns:
            self.due_ns = time_ns  # the first frame, or a timeline that began anew
        if time_ns < self.due_ns:
            return False
        # Counted from the due time, not from the frame, so that the rate doesn't drift; but never two periods behind,
        # or a camera that stalled would come back in a burst.
        self.due_ns = max(self.due_ns + self.period_ns, time_ns - self.period_ns)
        return True


class Scheduler:
    """See the module's text.

    Args:
        shares: One for each camera.
        max_batch: At most so many frames a batch.
        max_wait_ns: A batch that could still grow waits so long, counted from its oldest frame.
    """

    def __init__(self, shares: Sequence[Share], *, max_batch: int = 8, max_wait_ns: int = 5_000_000) -> None:
        if max_batch < 1 or max_wait_ns < 0:
            raise ValueError(
                f"max_batch must be at least 1 and max_wait_ns not negative, got {max_batch}, {max_wait_ns}"
            )
        self._queues = {share.camera: _Queue(share) for share in shares}
        self._retired: set[str] = set()
        self._max_batch = max_batch
        self._max_wait_ns = max_wait_ns
        self._turn = 0.0  # the latest turn that was served

    def offer(self, meta: FrameMeta, now_ns: int) -> Offer:
        """Offer a frame.

        Raises:
            KeyError: A camera that has no share.
        """
        queue = self._queues[meta.camera]
        if queue.share.policy is Policy.RECORDED and len(queue.waiting) >= queue.share.depth:
            return Offer(verdict=Verdict.FULL)
        if not queue.is_due(meta, now_ns):
            return Offer(verdict=Verdict.NOT_DUE)
        displaced, waited_ns = None, 0
        if queue.share.policy is Policy.LIVE and queue.waiting:
            displaced, since_ns = queue.waiting.pop()
            waited_ns = now_ns - since_ns
            queue.waiting.append((meta, since_ns))  # the place in the line is the camera's, not the frame's
        else:
            if not queue.waiting:
                queue.turn = max(queue.turn, self._turn - 1 / queue.share.weight)
            queue.waiting.append((meta, now_ns))
        return Offer(verdict=Verdict.QUEUED, displaced=displaced, waited_ns=waited_ns)

    def next_batch(self, now_ns: int) -> Batch:
        """The frames to detect now; no frames while a batch still waits to grow, or when none is waiting."""
        expired = self._expire(now_ns)
        ready = [queue for queue in self._queues.values() if queue.waiting]
        if not ready or not self._is_ripe(ready, now_ns):
            return Batch(expired=expired)
        ready.sort(key=lambda queue: (queue.turn, queue.waiting[0][1]))
        frames = []
        for queue in ready[: self._max_batch]:
            meta, _since = queue.waiting.popleft()
            self._turn = max(self._turn, queue.turn)
            queue.turn += 1 / queue.share.weight
            frames.append(meta)
        return Batch(frames=tuple(frames), expired=expired)

    def ripe_in_ns(self, now_ns: int) -> int | None:
        """How long until `next_batch` gives frames if none are offered meanwhile; None if it never will."""
        ready = [queue for queue in self._queues.values() if queue.waiting]
        if not ready:
            return None
        if self._is_ripe(ready, now_ns):
            return 0
        oldest = min(queue.waiting[0][1] for queue in ready)
        return max(0, oldest + self._max_wait_ns - now_ns)

    def waiting(self, camera: str) -> int:
        """How many frames of a camera wait."""
        return len(self._queues[camera].waiting)

    @property
    def cameras_waiting(self) -> int:
        """How many cameras have a frame that waits."""
        return sum(1 for queue in self._queues.values() if queue.waiting)

    def retire(self, camera: str) -> None:
        """The camera will offer no more frames: batches needn't wait for it. Its waiting frames stay."""
        self._retired.add(self._queues[camera].share.camera)

    def _is_ripe(self, ready: list[_Queue], now_ns: int) -> bool:
        active = sum(1 for camera in self._queues if camera not in self._retired)
        if len(ready) >= min(self._max_batch, max(1, active)):
            return True
        return now_ns - min(queue.waiting[0][1] for queue in ready) >= self._max_wait_ns

    def _expire(self, now_ns: int) -> tuple[FrameMeta, ...]:
        expired = []
        for queue in self._queues.values():
            deadline = queue.share.deadline_ns
            if deadline is None or queue.share.policy is Policy.RECORDED:
                continue
            while queue.waiting and now_ns - queue.waiting[0][0].arrived_ns > deadline:
                expired.append(queue.waiting.popleft()[0])
        return tuple(expired)
