"""The live main stream of a camera whose faces are found on its sub stream: decoded, or ready to be.

It runs in a thread of its own. Losing it loses no camera: it is connected again as any live source is, and until then
its pictures are missing. Nobody who asks for a picture waits for the network or the decoder: what is there is given,
and where decoding has paused, the request makes it go on for the next ones.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from streams.clock import SYSTEM_CLOCK, Clock
from streams.container import Container
from streams.demand import Demand
from streams.errors import SourceError
from streams.frame import Frame, Picture
from streams.media import Media, MediaEnd
from streams.pairing import Recent, Timed
from streams.source import Source, SourceStatistics
from streams.spec import SourceSpec
from streams.state import CameraState, CameraStateName, Cause
from streams.timeline import NS_PER_S

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream


class MainStream:
    """See the module's text. `start` and `join` belong to one thread, the rest to any."""

    def __init__(
        self,
        spec: SourceSpec,
        *,
        always: bool,
        tolerance_s: float,
        linger_s: float,
        max_held_bytes: int,
        recent: int,
        on_failure: Callable[[], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Prepare; nothing is opened before `start`.

        Args:
            spec: The main stream, live.
            always: Decode all of it, wanted or not.
            tolerance_s: A picture further away in time is none.
            linger_s: Decode for so long after the last request.
            max_held_bytes: Most bytes of packets that are kept undecoded.
            recent: How many pictures are kept.
            on_failure: Called by the stream's thread when it ends by a bug; see `failure`.
            clock: Time.
        """
        self._spec = spec
        self._clock = clock
        self._on_failure = on_failure
        self._recent = Recent(recent, tolerance_ns=round(tolerance_s * NS_PER_S))
        self._demand: Demand[Packet[VideoStream]] = Demand(
            always=always,
            linger_ns=round(linger_s * NS_PER_S),
            max_held_bytes=max_held_bytes,
            on_pause=self._recent.clear,
        )
        self._source = Source(
            spec,
            next_epoch=self._next_epoch,
            on_frame=self._took,
            on_state=self._moved,
            clock=clock,
            opener=self._open,
        )
        self._thread = threading.Thread(target=self._run, name=f"main stream of {spec.camera}")
        self._tried = threading.Event()
        self._stopping = threading.Event()
        # Written by the stream's thread, read by any; each right by itself.
        self._epoch = 0
        self._opened = 0
        self._lost = 0
        self._size_wh: tuple[int, int] | None = None
        self._is_open = False
        self._is_refused = False
        self._detail = "not tried yet"
        self._failure: BaseException | None = None

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """Width and height of its pictures in pixels, also while it is away; None until it was first open."""
        return self._size_wh

    @property
    def is_open(self) -> bool:
        """Whether it is connected now."""
        return self._is_open

    @property
    def detail(self) -> str:
        """One human line on how it is, redacted."""
        return self._detail

    @property
    def lost(self) -> int:
        """How often it was open and was lost."""
        return self._lost

    @property
    def opened(self) -> int:
        """How often it was opened."""
        return self._opened

    @property
    def packets_skipped(self) -> int:
        """Packets that were never decoded."""
        return self._demand.skipped

    @property
    def failure(self) -> BaseException | None:
        """The bug that ended its thread, if any."""
        return self._failure

    def statistics(self) -> SourceStatistics:
        """Its source's counts; `frames` are those decoded."""
        return self._source.statistics()

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Make its thread end promptly. Any number of times, also before `start`."""
        self._stopping.set()
        self._source.stop()
        self._tried.set()

    def join(self) -> None:
        """Wait for its thread, where it was started."""
        if self._thread.ident is not None:
            self._thread.join()
        self._recent.clear()

    def wait_tried(self, timeout_s: float) -> None:
        """Wait until its first attempt has succeeded or failed, or it was stopped; at most so long."""
        self._clock.wait(self._tried, timeout_s)

    def refuse(self, detail: str) -> None:
        """Want nothing more of it, for a reason; it is not connected again."""
        self._is_refused = True
        self._size_wh = None
        self._detail = detail
        self.stop()

    def chooser(self, at_ns: int) -> Callable[[], Picture | None]:
        """What gives the picture nearest to a moment, among those there now and those there when it is called.

        Args:
            at_ns: Monotonic ns of reception.

        Returns:
            A function for any thread. Calling it is also the wish that decoding should go on.
        """
        early = self._recent.nearest(at_ns)

        def choose() -> Picture | None:
            self._demand.want(self._clock.monotonic_ns())
            found = self._recent.nearest(at_ns, early)
            return None if found is None else found.picture

        return choose

    def _run(self) -> None:
        try:
            self._source.run()
        except BaseException as error:
            self._failure = error
            self._on_failure()
        finally:
            self._is_open = False
            self._recent.clear()
            self._tried.set()

    def _open(self, spec: SourceSpec, stopped: threading.Event, clock: Clock) -> Media:
        self._demand.restart()
        media = _Watched(spec, stopped, clock, self._demand, on_close=self._closed)
        self._is_open = True
        self._opened += 1
        self._detail = f"pictures come from {spec.source}"
        if media.announced_size_wh is None:
            # The size is then known by its first picture, and that may have to wait for a key frame.
            self._demand.want(clock.monotonic_ns() + round(spec.open_timeout_s * NS_PER_S))
        elif not self._is_refused:
            self._size_wh = media.announced_size_wh
            self._tried.set()
        return media

    def _closed(self) -> None:
        self._recent.clear()
        if self._is_open and not self._stopping.is_set():
            self._lost += 1
        self._is_open = False

    def _next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def _took(self, frame: Frame) -> None:
        if self._size_wh is None and not self._is_refused:
            self._size_wh = frame.meta.size_wh
            self._tried.set()
        self._recent.put(Timed(at_ns=frame.meta.received_ns, picture=frame.picture))

    def _moved(self, state: CameraState) -> None:
        if state.name not in {CameraStateName.LOST, CameraStateName.ENDED}:
            return
        if not self._is_refused:
            self._detail = state.detail
        self._tried.set()


class _Watched(Container):
    """Says when it is closed: a source tells an outage once, not each connection that breaks off in it."""

    def __init__(
        self,
        spec: SourceSpec,
        stopped: threading.Event,
        clock: Clock,
        demand: "Demand[Packet[VideoStream]]",
        *,
        on_close: Callable[[], None],
    ) -> None:
        super().__init__(spec, stopped, clock, demand)
        self._on_close = on_close

    def end(self) -> MediaEnd:
        """See `Media.end`.

        Raises:
            SourceError: That it ended: a source would blame an end without a picture on the pictures, and here it may
                be that nobody wanted one.
        """
        end = super().end()
        if end.cause is Cause.STOPPED:
            return end
        spec = self._spec
        raise SourceError(camera=spec.camera, source=spec.source, cause=end.cause, detail=end.detail)

    def close(self) -> None:
        """See `Media.close`."""
        super().close()
        self._on_close()
