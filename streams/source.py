"""A camera's loop: open, decode, hand over, and for a live camera come back after every loss.

One `Source` is one camera and runs in the thread that calls `run`. It owns the connection; nobody else sees it. Frames
and states go out through two callbacks, in that thread, in order: a state always comes before the frames it announces.

Live and recorded differ in three places. A live camera that cannot be opened, stalls, breaks off or sends only
damage is lost, and connected again after a delay that doubles and is bounded, for ever; a recording ends, and says
whether at its end. A recording that cannot be opened at all is the caller's mistake and raises. And a recording's
frames wait for their consumer (the frame callback may block), while a live camera's consumer must not make it wait.

An epoch begins with the first picture of each connection. LIVE says that pictures come, not that a server answered.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from streams.backoff import Backoff
from streams.clock import SYSTEM_CLOCK, Clock
from streams.container import Container
from streams.decoder import require_decoder
from streams.errors import Closed, SourceError
from streams.folder import Folder
from streams.frame import Frame, FrameMeta
from streams.media import Damaged, Decoded, Media, MediaEnd, Undecoded
from streams.shed import Skipped
from streams.spec import DecodeDevice, Kind, SourceSpec, judge_kind
from streams.state import CameraState, CameraStateName, Cause, StateLine
from streams.timeline import NS_PER_S, Timeline

__all__ = [
    "CameraSource",
    "CameraState",
    "CameraStateName",
    "Cause",
    "Kind",
    "Source",
    "SourceSpec",
    "SourceStatistics",
    "judge_kind",
    "open_media",
]

_LIVE_MAX_GAP_NS: Final = 10 * NS_PER_S

Opener = Callable[[SourceSpec, threading.Event, Clock], Media]
"""Opens what a source reads from; see `open_media`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatistics:
    """Counts since the source was made, taken at one moment."""

    frames: int
    """Handed over."""
    bad_frames: int
    """Damaged, counted and skipped."""
    connections: int
    """Opened and delivered a picture."""
    reconnects: int
    """Connections after the first."""
    failed_attempts: int
    """Attempts that did not deliver a picture."""
    repaired_times: int
    """Frames whose timestamp was missing or did not grow."""
    epoch: int
    """Of the present or last connection; 0 before the first."""
    state: CameraStateName | None
    """None before `run`."""
    skipped: Mapping[Skipped, int] = field(default_factory=dict)
    """Left undecoded because the machine could not keep up, by why."""
    last_frame_ns: int | None
    """Monotonic ns of the last frame; None before the first."""


class CameraSource(Protocol):
    """What runs a camera: `Source`, or `streams.fake.FakeSource` in its place."""

    def run(self) -> None:
        """See `Source.run`."""
        ...

    def stop(self) -> None:
        """See `Source.stop`."""
        ...

    def skip_to_keyframe(self) -> None:
        """See `Source.skip_to_keyframe`."""
        ...

    def statistics(self) -> SourceStatistics:
        """See `Source.statistics`."""
        ...


class Source:
    """One camera or recording."""

    def __init__(
        self,
        spec: SourceSpec,
        *,
        next_epoch: Callable[[], int],
        on_frame: Callable[[Frame], None],
        on_state: Callable[[CameraState], None],
        clock: Clock = SYSTEM_CLOCK,
        opener: Opener | None = None,
    ) -> None:
        """Prepare; nothing is opened before `run`.

        Args:
            spec: What to read.
            next_epoch: Called once a connection, at its first picture; gives the epoch's number.
            on_frame: Takes each frame, in the thread of `run`. May block for a recording. Raising `Closed` stops
                the source quietly; a `SourceError` is a loss, as if reading had raised it; any other error ends it
                and comes out of `run`.
            on_state: Takes each change of state, in the thread of `run`.
            clock: Time.
            opener: Opens it anew for each connection, in the thread of `run`; None: `open_media`.

        Raises:
            DecoderMissing: What should decode it is not here.
        """
        require_decoder(spec)
        self._spec = spec
        self._opener = opener or open_media
        self._next_epoch = next_epoch
        self._on_frame = on_frame
        self._clock = clock
        self._stopped = threading.Event()
        self._states = StateLine(spec.camera, on_state=on_state, clock=clock)
        # Written by the thread of `run`, read by any: plain integers, each right by itself.
        self._epoch = 0
        self._frames = 0
        self._bad_frames = 0
        self._connections = 0
        self._failed_attempts = 0
        self._repaired_times = 0
        self._skipped = dict.fromkeys(Skipped, 0)
        self._last_frame_ns: int | None = None
        self._media: Media | None = None  # the open one; for the thread of `run` alone

    def run(self) -> None:
        """Read until `stop`, or until a recording ends. Blocks; call it once.

        Raises:
            SourceError: A recording cannot be opened, or nothing of it decoded. Never for a live camera.
        """
        try:
            if self._stopped.is_set():
                pass
            elif self._spec.reconnects:
                self._run_live()
            else:
                self._run_recorded()
            if self._states.name is not CameraStateName.ENDED:
                self._move(CameraStateName.ENDED, Cause.STOPPED, "asked to stop")
        except Closed:
            self._end_if_open(Cause.STOPPED, "nobody takes its frames any more")
        except SourceError:
            raise
        except BaseException as error:
            # The error goes to the caller; the state line must not be left saying that the camera is live.
            self._end_if_open(Cause.CONSUMER_FAILED, f"handling its frames failed: {type(error).__name__}")
            raise

    def stop(self) -> None:
        """Make `run` return promptly, wherever it is: connecting, reading, waiting.

        From any thread, any number of times. It does not interrupt a frame callback that blocks: close its mailbox too.
        """
        self._stopped.set()

    def skip_to_keyframe(self) -> None:
        """Leave out what follows up to the next keyframe: it comes faster than it can be looked at.

        For a live source, from its frame callback; a recording that is not played in real time leaves nothing out.
        """
        if self._media is not None:
            self._media.skip_to_keyframe()

    def statistics(self) -> SourceStatistics:
        """Counts; from any thread."""
        return SourceStatistics(
            frames=self._frames,
            bad_frames=self._bad_frames,
            connections=self._connections,
            reconnects=max(0, self._connections - 1),
            failed_attempts=self._failed_attempts,
            repaired_times=self._repaired_times,
            epoch=self._epoch,
            state=self._states.name,
            skipped=dict(self._skipped),
            last_frame_ns=self._last_frame_ns,
        )

    def _run_recorded(self) -> None:
        self._move(CameraStateName.CONNECTING, Cause.STARTING, f"opening {self._spec.source}")
        try:
            end = self._play()
        except SourceError as error:
            if self._stopped.is_set():
                return
            self._failed_attempts += 1
            self._move(CameraStateName.ENDED, Cause(error.cause), error.detail)
            raise
        if not self._stopped.is_set():
            self._move(CameraStateName.ENDED, end.cause, end.detail)

    def _run_live(self) -> None:
        spec = self._spec
        backoff = Backoff(initial_s=spec.backoff_initial_s, max_s=spec.backoff_max_s)
        self._move(CameraStateName.CONNECTING, Cause.STARTING, f"connecting to {spec.source}")
        told: str | None = None
        while True:
            connections = self._connections
            try:
                end = self._play()
                cause, detail = end.cause, end.detail
            except SourceError as error:
                cause, detail = Cause(error.cause), error.detail
            if self._stopped.is_set():
                return
            if self._connections > connections:
                backoff.reset()
                told = None
            else:
                self._failed_attempts += 1
            # One outage is told once for each cause, not once for each attempt.
            if cause != told:
                self._move(CameraStateName.LOST, cause, detail)
                told = cause
            delay_s = spec.backoff_auth_s if cause is Cause.AUTH_FAILED else backoff.next_s()
            if self._clock.wait(self._stopped, delay_s):
                return
            if self._states.name is CameraStateName.LOST:
                self._move(CameraStateName.CONNECTING, Cause.RETRYING, f"connecting again to {spec.source}")

    def _play(self) -> MediaEnd:
        """Open the medium and hand over all of it; returns at its end or after `stop`."""
        spec = self._spec
        media = self._opener(spec, self._stopped, self._clock)
        self._media = media
        try:
            opened_unix_ns = self._clock.unix_ns()
            timeline = Timeline(step_ns=media.step_ns, max_gap_ns=_LIVE_MAX_GAP_NS if spec.reconnects else None)
            repaired_before = self._repaired_times
            bad_in_a_row = 0
            index = 0
            pictures = 0
            started_ns = 0
            with closing(media.read()) as items:
                for item in items:
                    if self._stopped.is_set():
                        break
                    if isinstance(item, Undecoded):
                        self._skipped[item.why] += 1
                        index += 1
                        continue
                    bad_in_a_row = self._bad_in_a_row(item, bad_in_a_row)
                    if not isinstance(item, Decoded):
                        continue
                    arrived_ns = self._clock.monotonic_ns()
                    received_ns = item.received_ns
                    pts_ns = timeline.place(item.pts_ns)
                    self._repaired_times = repaired_before + timeline.repaired
                    if pictures == 0:
                        started_ns = arrived_ns
                        self._begin_epoch()
                    if received_ns is None:
                        received_ns = self._waited_turn(started_ns + pts_ns, arrived_ns)
                        if received_ns is None:
                            break
                        arrived_ns = self._clock.monotonic_ns()
                    live = spec.pace is Kind.LIVE
                    meta = FrameMeta(
                        camera=spec.camera,
                        epoch=self._epoch,
                        index=index,
                        pts_ns=pts_ns,
                        captured_ns=(
                            self._clock.unix_ns() - (arrived_ns - received_ns) if live else opened_unix_ns + pts_ns
                        ),
                        received_ns=received_ns,
                        arrived_ns=arrived_ns,
                        size_wh=item.picture.size_wh,
                    )
                    index += 1
                    pictures += 1
                    self._frames += 1
                    self._last_frame_ns = arrived_ns
                    self._on_frame(Frame(meta=meta, picture=item.picture))
            end = media.end()
            if pictures == 0 and not self._stopped.is_set():
                what = f"{end.detail} before a picture came" if spec.reconnects else "no picture of it could be decoded"
                raise self._error(Cause.OPEN_FAILED, f"it opened, but {what}")
            return end
        finally:
            self._media = None
            media.close()

    def _bad_in_a_row(self, item: Decoded | Damaged, before: int) -> int:
        """How many damaged pictures came in a row by now; too many of a live source are its loss."""
        if isinstance(item, Decoded):
            return 0
        self._bad_frames += 1
        if self._spec.reconnects and before + 1 >= self._spec.max_bad_frames:
            raise self._error(Cause.UNDECODABLE, f"{before + 1} damaged pictures in a row: {item.detail}")
        return before + 1

    def _waited_turn(self, due_ns: int, now_ns: int) -> int | None:
        """When a picture whose medium has no clock was received, in monotonic ns; None once stopped.

        A recording in real time waits for its turn; whatever else is received when it is there.
        """
        if not self._spec.real_time or self._spec.reconnects:
            return now_ns
        return None if self._clock.wait(self._stopped, (due_ns - now_ns) / NS_PER_S) else due_ns

    def _begin_epoch(self) -> None:
        self._epoch = self._next_epoch()
        self._connections += 1
        self._move(CameraStateName.LIVE, Cause.OPENED, f"pictures come from {self._spec.source}")

    def _move(self, name: CameraStateName, cause: Cause, detail: str) -> None:
        self._states.move(name, cause=cause, detail=detail, epoch=self._epoch)

    def _end_if_open(self, cause: Cause, detail: str) -> None:
        if self._states.name is not CameraStateName.ENDED:
            self._move(CameraStateName.ENDED, cause, detail)

    def _error(self, cause: Cause, detail: str) -> SourceError:
        return SourceError(camera=self._spec.camera, source=self._spec.source, cause=cause, detail=detail)


def open_media(spec: SourceSpec, stopped: threading.Event, clock: Clock = SYSTEM_CLOCK) -> Media:
    """Open a folder of images, or whatever FFmpeg opens.

    Raises:
        SourceError: It cannot be opened.
    """
    if Path(spec.url).is_dir():
        if spec.decode is not DecodeDevice.CPU:
            raise SourceError(
                camera=spec.camera,
                source=spec.source,
                cause=Cause.OPEN_FAILED,
                detail=f"a folder of images is decoded on the cpu, not by {spec.decode}; leave decode out",
            )
        return Folder(spec)
    return Container(spec, stopped, clock)
