"""`FakeSource` plays a script in place of a camera, and `FakeClock` passes time without anybody waiting."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from streams.clock import SYSTEM_CLOCK, Clock
from streams.errors import Closed, SourceError
from streams.frame import Frame, FrameMeta, Picture, U8Image
from streams.picture import ArrayPicture
from streams.source import SourceStatistics
from streams.spec import Kind, SourceSpec
from streams.state import CameraState, CameraStateName, Cause, StateLine
from streams.timeline import NS_PER_S


class FakeClock:
    """A clock that moves only when it is told to, or when somebody waits: a wait jumps to its end at once.

    Safe to use from several threads.
    """

    def __init__(self, *, unix_ns: int = 1_700_000_000 * NS_PER_S) -> None:
        """Start at monotonic 0 and at `unix_ns` of wall time."""
        self._lock = threading.Lock()
        self._elapsed_ns = 0
        self._unix_start_ns = unix_ns
        self._waits_s: list[float] = []

    @property
    def waits_s(self) -> tuple[float, ...]:
        """How long each wait so far was asked to be, in seconds."""
        with self._lock:
            return tuple(self._waits_s)

    def monotonic_ns(self) -> int:
        """See `Clock.monotonic_ns`."""
        with self._lock:
            return self._elapsed_ns

    def unix_ns(self) -> int:
        """See `Clock.unix_ns`."""
        with self._lock:
            return self._unix_start_ns + self._elapsed_ns

    def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
        """See `Clock.wait`; returns at once."""
        with self._lock:
            self._waits_s.append(timeout_s)
            if interrupt.is_set():
                return True
            self._elapsed_ns += max(0, round(timeout_s * NS_PER_S))
        return interrupt.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError(f"time does not go back, got {seconds}")
        with self._lock:
            self._elapsed_ns += round(seconds * NS_PER_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Connect where lost or new, and deliver pictures, `interval_s` of media time apart."""

    pictures: Sequence[Picture | U8Image]
    interval_s: float = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose:
    """Lose the camera; the next `Play` begins a new epoch."""

    cause: Cause = Cause.STALLED
    detail: str = "scripted loss"
    away_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """End, and raise from `run`: as a recording that cannot be opened does, or as a bug would."""

    error: Exception | None = None
    """None: a `SourceError` that it cannot be opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Go on only when `release` is set, by the test or by stopping the source."""

    release: threading.Event


Step: TypeAlias = Play | Lose | Fail | Hold


class FakeSource:
    """A camera that plays a script, in the place of `streams.source.Source`.

    A recorded one ends behind its script, a live one then stays silent until it is stopped. States, epochs, indices
    and times follow the same rules as the real one's.
    """

    def __init__(
        self,
        spec: SourceSpec,
        *,
        script: Sequence[Step],
        next_epoch: Callable[[], int],
        on_frame: Callable[[Frame], None],
        on_state: Callable[[CameraState], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Prepare; see `streams.source.Source`."""
        self._spec = spec
        self._script = tuple(script)
        self._next_epoch = next_epoch
        self._on_frame = on_frame
        self._clock = clock
        self._states = StateLine(spec.camera, on_state=on_state, clock=clock)
        self._stopped = threading.Event()
        self._epoch = 0
        self._index = 0
        self._pts_ns = 0
        self._opened_unix_ns = 0
        self._frames = 0
        self._connections = 0
        self._last_frame_ns: int | None = None
        self.skips_asked = 0

    def run(self) -> None:
        """See `streams.source.Source.run`."""
        try:
            if not self._stopped.is_set():
                self._move(CameraStateName.CONNECTING, Cause.STARTING, "scripted")
            for step in self._script:
                if self._stopped.is_set():
                    break
                self._take(step)
            if self._spec.reconnects:
                self._stopped.wait()
            if self._stopped.is_set():
                self._move(CameraStateName.ENDED, Cause.STOPPED, "asked to stop")
            else:
                self._move(CameraStateName.ENDED, Cause.EOF, "the script is over")
        except Closed:
            self._end_if_open(Cause.STOPPED, "nobody takes its frames any more")
        except BaseException as error:
            cause = Cause(error.cause) if isinstance(error, SourceError) else Cause.CONSUMER_FAILED
            self._end_if_open(cause, type(error).__name__)
            raise

    def stop(self) -> None:
        """See `streams.source.Source.stop`."""
        self._stopped.set()
        for step in self._script:
            if isinstance(step, Hold):
                step.release.set()

    def skip_to_keyframe(self) -> None:
        """See `streams.source.Source.skip_to_keyframe`: a script has no keyframes, so it is only counted."""
        self.skips_asked += 1

    def statistics(self) -> SourceStatistics:
        """See `streams.source.Source.statistics`."""
        return SourceStatistics(
            frames=self._frames,
            bad_frames=0,
            connections=self._connections,
            reconnects=max(0, self._connections - 1),
            failed_attempts=0,
            repaired_times=0,
            epoch=self._epoch,
            state=self._states.name,
            last_frame_ns=self._last_frame_ns,
        )

    def _take(self, step: Step) -> None:
        match step:
            case Play():
                self._play(step)
            case Lose():
                self._move(CameraStateName.LOST, step.cause, step.detail)
                if not self._clock.wait(self._stopped, step.away_s):
                    self._move(CameraStateName.CONNECTING, Cause.RETRYING, "scripted")
            case Fail():
                raise step.error or SourceError(
                    camera=self._spec.camera,
                    source=self._spec.source,
                    cause=Cause.OPEN_FAILED,
                    detail="scripted failure to open",
                )
            case Hold():
                step.release.wait()

    def _play(self, play: Play) -> None:
        for pixels in play.pictures:
            if self._stopped.is_set():
                return
            picture = ArrayPicture(pixels) if isinstance(pixels, np.ndarray) else pixels
            if self._states.name is not CameraStateName.LIVE:
                self._epoch = self._next_epoch()
                self._connections += 1
                self._index = 0
                self._pts_ns = 0
                self._opened_unix_ns = self._clock.unix_ns()
                self._move(CameraStateName.LIVE, Cause.OPENED, "scripted")
            elif self._clock.wait(self._stopped, play.interval_s if self._is_live else 0.0):
                return
            self._deliver(picture)
            self._pts_ns += round(play.interval_s * NS_PER_S)

    @property
    def _is_live(self) -> bool:
        return self._spec.pace is Kind.LIVE

    def _deliver(self, picture: Picture) -> None:
        now_ns = self._clock.monotonic_ns()
        captured_ns = self._clock.unix_ns() if self._is_live else self._opened_unix_ns + self._pts_ns
        meta = FrameMeta(
            camera=self._spec.camera,
            epoch=self._epoch,
            index=self._index,
            pts_ns=self._pts_ns,
            captured_ns=captured_ns,
            received_ns=now_ns,
            arrived_ns=now_ns,
            size_wh=picture.size_wh,
        )
        self._index += 1
        self._frames += 1
        self._last_frame_ns = now_ns
        self._on_frame(Frame(meta=meta, picture=picture))

    def _end_if_open(self, cause: Cause, detail: str) -> None:
        if self._states.name is not CameraStateName.ENDED:
            self._move(CameraStateName.ENDED, cause, detail)

    def _move(self, name: CameraStateName, cause: Cause, detail: str) -> None:
        self._states.move(name, cause=cause, detail=detail, epoch=self._epoch)


def scripted(
    scripts: Mapping[str, Sequence[Step]],
) -> Callable[..., FakeSource]:
    """A factory that takes what `Source` takes and gives each camera its script.

    Args:
        scripts: Camera id to script.
    """

    def make(
        spec: SourceSpec,
        *,
        next_epoch: Callable[[], int],
        on_frame: Callable[[Frame], None],
        on_state: Callable[[CameraState], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> FakeSource:
        return FakeSource(
            spec,
            script=scripts[spec.camera],
            next_epoch=next_epoch,
            on_frame=on_frame,
            on_state=on_state,
            clock=clock,
        )

    return make
