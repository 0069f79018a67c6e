"""The runtime: the one context manager that makes and joins every thread of the pipeline.

Threads: one a camera (decodes), one that detects, one that analyses, one a sink (the publisher's). I/O and computing
never share a thread, so a dead camera or a dead broker costs no frame of the others.

    camera threads --> Intake --> detect thread --> mailbox --> analysis thread --> outbox --> sink threads

Shutdown, in order, whether asked for or because every recording has ended:
1. The sources stop; their last states go into the intake behind their last frames; their threads end.
2. The detect thread finds the intake empty and done, and closes the mailbox behind the last batch.
3. The analysis thread takes what is left, ends the open sightings, and its thread ends.
4. The publisher delivers what the outbox still holds, up to a time; the rest stays in the outbox for the next start.

A stage that raises is no shutdown: the first failure closes the intake and the mailbox, stops the sources, and is
raised from `wait`. What was in the outbox stays there. A camera's failure is none of these: a live one is the source's
own state machine with backoff, and a recording that could not be opened is told by `failed_cameras` while the others
go on.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Final, Protocol, Self

from pipeline.analysis import Analysis, DetectedFrame
from pipeline.change import ChangeOptions
from pipeline.detection import Detection
from pipeline.errors import StageFailed
from pipeline.intake import Intake, Taken, Work
from pipeline.metrics import FrameCounts, StageTimes
from pipeline.opencv import one_opencv_thread
from pipeline.overload import CameraLoad, LoadWatch
from pipeline.retinaface import Detector
from pipeline.scheduler import Policy as SharePolicy
from pipeline.scheduler import Share
from streams.errors import Closed, MailboxTimeoutError, SourceError
from streams.frame import Frame
from streams.mailbox import Policy as BoxPolicy
from streams.mailbox import PutEnd, TakeEnd, open_mailbox
from streams.source import CameraSource, SourceStatistics
from streams.state import CameraState, CameraStateName, Cause

GALLERY_FOLLOW_S = 0.2
"""While faces are in view, the gallery is looked at so often even if no frame comes."""

LOOK_S: Final = 1.0
"""How often the cameras' rates are looked at."""

DECODING_NICENESS: Final = 10
"""How much decoding live cameras gives way to detecting and deciding: under overload many cameras' threads would leave
the few that look at their pictures next to nothing. It is decoding that can be shed."""

BATCHES_AHEAD = 1
"""Detected batches that may wait for the analysis where a camera is live: enough to overlap the two. Whatever waits
here grows old, where it could be replaced by a newer frame if it waited in the intake."""

RECORDED_AHEAD = 16
"""Likewise where all are recorded, and nothing grows old: a frame whose faces are embedded takes ten times as long as
others, and detection need not wait for it."""


SourceFactory = Callable[[Callable[[Frame], None], Callable[[CameraState], None]], CameraSource]
"""Makes a camera's source, given where its frames and its states go."""


class EventPublisher(Protocol):
    """What the runtime needs of a publisher; see `pipeline.events.publisher.Publisher`."""

    def start(self) -> None:
        """Begin to deliver."""
        ...

    def stop(self, *, drain_timeout_s: float) -> object:
        """Deliver what is left, up to a time, and join the threads."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """One camera as the runtime takes it.

    Attributes:
        share: Its id, policy and wanted rate.
        new_source: Makes its source.
    """

    share: Share
    new_source: SourceFactory


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detected:
    states: tuple[CameraState, ...]
    frames: tuple[DetectedFrame, ...]


class Runtime:
    """See the module's text.

    Args:
        cameras: At least one, with distinct ids.
        detector: Used by the detect thread only.
        new_analysis: Called in the analysis thread, which alone uses what it returns.
        publisher: Started and stopped with the runtime; None for none.
        on_state: Told of each camera's change of state, in the camera's thread; must not block.
        counts: Where frames are counted.
        times: Where stage times are summed.
        max_batch: Frames a batch.
        max_wait_ns: How long a batch waits to grow.
        min_face_px: Smaller faces are left out.
        changes: Detect only what changed, see `change`; None to detect every picture whole.
        drain_timeout_s: How long sinks may take to deliver what is left.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[Camera],
        detector: Detector,
        new_analysis: Callable[[], Analysis],
        publisher: EventPublisher | None,
        on_state: Callable[[CameraState], None] | None = None,
        counts: FrameCounts,
        times: StageTimes,
        max_batch: int = 8,
        max_wait_ns: int = 5_000_000,
        min_face_px: float = 0.0,
        changes: ChangeOptions | None = None,
        drain_timeout_s: float = 10.0,
    ) -> None:
        shares = [camera.share for camera in cameras]
        if not shares or len({share.camera for share in shares}) != len(shares):
            raise ValueError("the runtime wants at least one camera, each with an id of its own")
        self._shares = {share.camera: share for share in shares}
        self._intake = Intake(shares, counts, max_batch=max_batch, max_wait_ns=max_wait_ns)
        self._detection = Detection(detector, times, min_face_px=min_face_px, changes=changes)
        self._new_analysis = new_analysis
        self._publisher = publisher
        self._on_state = on_state
        self._counts = counts
        self._drain_timeout_s = drain_timeout_s
        self._sources = {camera.share.camera: camera.new_source(self._put_frame, self._put_state) for camera in cameras}
        for camera, source in self._sources.items():
            counts.follow(camera, partial(_skipped, source))
        self._watch = LoadWatch(shares)
        self._loads: Mapping[str, CameraLoad] = {}
        self._threads: list[threading.Thread] = []
        self._stack = ExitStack()
        self._lock = threading.Lock()
        self._failure: StageFailed | None = None
        self._failed_cameras: dict[str, SourceError] = {}
        self._last_states: dict[str, CameraState] = {}
        self._finished = threading.Event()
        self._stopping = False  # a plain flag: `stop` runs in signal handlers, where no lock may be waited for
        any_live = any(share.policy is SharePolicy.LIVE for share in shares)
        self._put: PutEnd[_Detected]
        self._take: TakeEnd[_Detected]
        self._put, self._take = open_mailbox(BATCHES_AHEAD if any_live else RECORDED_AHEAD, BoxPolicy.BLOCK)

    def __enter__(self) -> Self:
        self._stack.enter_context(one_opencv_thread())
        if self._publisher is not None:
            self._publisher.start()
        self._spawn("load", self._watch_load)
        self._spawn("analysis", self._analyse)
        self._spawn("detect", self._detect)
        for camera, source in self._sources.items():
            self._spawn(f"camera {camera}", partial(self._run_camera, camera, source))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for thread in self._threads:
            thread.join()
        self._stack.close()
        if self._publisher is not None:
            self._publisher.stop(drain_timeout_s=self._drain_timeout_s)
        if error is None:
            self.wait(0)  # a sink that failed while it was drained, or a stage after the last `wait`

    @property
    def failed_cameras(self) -> Mapping[str, SourceError]:
        """Recordings that could not be opened, by camera."""
        with self._lock:
            return dict(self._failed_cameras)

    @property
    def loads(self) -> Mapping[str, CameraLoad]:
        """How each live camera fared lately, of those that have been connected for a while."""
        with self._lock:
            return self._loads

    @property
    def last_states(self) -> Mapping[str, CameraState]:
        """Each camera's latest state, of those that have begun."""
        with self._lock:
            return dict(self._last_states)

    @property
    def failure(self) -> StageFailed | None:
        """The first failure of a stage; None while all work. Any thread."""
        with self._lock:
            return self._failure

    @property
    def ending(self) -> bool:
        """Whether it was asked to stop, has failed, or has analysed everything there was. Any thread."""
        return self._stopping or self._finished.is_set()

    def source_statistics(self) -> Mapping[str, SourceStatistics]:
        """What each camera's source has done so far. Any thread."""
        return {camera: source.statistics() for camera, source in self._sources.items()}

    def stop(self) -> None:
        """Ask every camera to stop; the rest follows in order. Returns at once. Any thread, any number of times."""
        self._stopping = True
        for source in self._sources.values():
            source.stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until everything that the cameras delivered has been analysed.

        Args:
            timeout_s: Longest wait; None for no limit.

        Returns:
            True when finished, False when the time ran out.

        Raises:
            StageFailed: The first failure of a stage.
        """
        finished = self._finished.wait(timeout_s)
        with self._lock:
            failure = self._failure
        if failure is not None:
            raise failure
        return finished

    def fail(self, stage: str, cause: BaseException) -> None:
        """Record a stage's failure and bring everything down; the first one is what `wait` raises. Any thread."""
        with self._lock:
            if self._failure is None:
                self._failure = StageFailed(stage, cause)
                self._failure.__cause__ = cause
        self._intake.close()
        self._put.close()
        self.stop()
        self._finished.set()

    def _spawn(self, name: str, body: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                body()
            except BaseException as error:  # whatever it is, the pipeline must not hang on it
                self.fail(name, error)

        thread = threading.Thread(target=guarded, name=f"vidface {name}")
        self._threads.append(thread)
        thread.start()

    def _put_frame(self, frame: Frame) -> None:
        """Take a camera's frame; in the camera's thread, which scales what a recording's frame will be detected on.

        A live frame may be overtaken before it is detected, so that is left until it is known not to be. Where frames
        wait for too long, decoding more of them would only take the processor from the detection that they wait for.
        """
        camera = frame.meta.camera
        taken = self._intake.put_frame(frame)
        if self._shares[camera].policy is SharePolicy.RECORDED:
            if taken is Taken.WAITS:
                self._detection.prepare(frame)
        elif taken is Taken.BEHIND:
            self._sources[camera].skip_to_keyframe()

    def _put_state(self, state: CameraState, *, instead_of: CameraState | None = None) -> None:
        """Pass a state on, unless it was meant to follow one that has passed."""
        with self._lock:
            if instead_of is not None and self._last_states.get(state.camera) is not instead_of:
                return
            self._last_states[state.camera] = state
            self._intake.put_state(state)
        if self._on_state is not None:
            self._on_state(state)

    def _watch_load(self) -> None:
        """Once a second, see which cameras the machine can't keep up with, and tell each change as a camera's state."""
        while not self._finished.wait(LOOK_S):
            states = self.last_states
            live = frozenset(camera for camera, state in states.items() if state.name is CameraStateName.LIVE)
            loads, changed = self._watch.look(time.monotonic(), self._counts.snapshot(), live)
            with self._lock:
                self._loads = loads
            for camera in changed:
                self._put_state(_load_state(states[camera], loads[camera]), instead_of=states[camera])

    def _run_camera(self, camera: str, source: CameraSource) -> None:
        if self._shares[camera].policy is SharePolicy.LIVE:
            _yield_to_others()
        try:
            source.run()
        except SourceError as error:
            with self._lock:
                self._failed_cameras[camera] = error
        except Closed:
            pass  # the pipeline went away first, and says why itself
        # Not where anything else was raised: that must be recorded before the rest can finish as if all were well.
        self._intake.camera_done(camera)

    def _detect(self) -> None:
        """Keep as many batches under way as the detector can use, and hand them on in the order they were begun."""
        under_way: deque[tuple[Work, Callable[[], list[DetectedFrame]]]] = deque()
        more = True
        try:
            while more or under_way:
                if more and len(under_way) < self._detection.parallel:
                    try:
                        work = self._intake.take(wait=not under_way)
                        under_way.append((work, self._detection.begin(work.frames)))
                        continue
                    except MailboxTimeoutError:
                        pass  # nothing is ripe: what is under way must not wait for it
                    except Closed:
                        more = False
                        continue
                work, finish = under_way.popleft()
                detected = finish()
                for frame in work.frames:
                    self._counts.count(frame.meta.camera, "detected")
                self._put.put(_Detected(states=work.states, frames=tuple(detected)))
            self._put.close()
        except Closed:
            pass  # a stage failed, and `fail` closed the mailbox

    def _analyse(self) -> None:
        analysis = self._new_analysis()
        try:
            self._analyse_all(analysis)
            analysis.finish()
        finally:
            analysis.close()
        self._finished.set()

    def _analyse_all(self, analysis: Analysis) -> None:
        """Analyse until the mailbox is closed and empty."""
        while True:
            try:
                item = self._take.take(GALLERY_FOLLOW_S if analysis.has_open_sightings else None)
            except MailboxTimeoutError:
                analysis.follow_gallery()
                continue
            except Closed:
                return
            for state in item.states:
                analysis.state(state)
            if item.frames:
                analysis.round(item.frames)


def _skipped(source: CameraSource) -> Mapping[str, int]:
    return {why.value: frames for why, frames in source.statistics().skipped.items()}


def _load_state(state: CameraState, load: CameraLoad) -> CameraState:
    """A live camera's state that says how it fares."""
    rates = f"{load.granted_fps:.1f} of {load.wanted_fps:.3g} detections a second"
    if load.overloaded:
        left_out = f"{load.left_out_fps:.1f} frames a second left out"
        cause, detail = Cause.OVERLOADED, f"the machine cannot keep up: {rates}, {left_out}"
    else:
        cause, detail = Cause.RECOVERED, f"the machine keeps up again: {rates}"
    return replace(state, cause=cause, detail=detail, at_ns=time.time_ns())


def _yield_to_others() -> None:
    """Let the calling thread's processor time go to others first, where the system knows that of single threads."""
    if hasattr(os, "setpriority") and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), DECODING_NICENESS)
