"""A camera's main and sub stream as one camera: faces are found on the small stream and cut from the large one.

`PairSource` stands in the place of a `Source`. Its frames are the sub stream's: their times, indices, epochs and the
camera's states. Their pictures have the main stream's size and show its pixels where a face is cut
(`paired_picture`), so nothing behind it changes.

- Live: the main stream runs in a thread of its own (`main_stream`), matched by time of reception. It is connected
  before the sub stream. Losing it loses no camera: faces are then cut from the sub stream, enlarged, and counted.
  Where it is not there at the beginning, the epoch is told in the sub stream's size; once it comes, a new epoch begins
  in its size, for within an epoch the size stays. It may be decoded only while faces are cut (`demand`).
- Recorded: both recordings are read in step and matched by media time (`paired_media`); one that cannot be read is the
  caller's mistake.

Both streams must show the same view at the same time: where one lags by more than a face moves, faces are cut from
where they no longer are, and are taken for strangers. One may be squeezed, as 16:9 in a sub stream of 4:3: that is
undone.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from streams.clock import SYSTEM_CLOCK, Clock
from streams.errors import SourceError, SourceSpecError
from streams.frame import Frame
from streams.main_stream import MainStream
from streams.media import Media
from streams.paired_media import PairedMedia, shapes_differ
from streams.paired_picture import CropCounts, PairedPicture
from streams.pairing import show_alike
from streams.source import Source, SourceStatistics, open_media
from streams.spec import SourceSpec
from streams.state import CameraState, CameraStateName, Cause
from streams.timeline import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSpec:
    """A camera of two streams.

    Raises:
        SourceSpecError: The two do not go together, or a field is out of range.
    """

    main: SourceSpec
    """The large stream, that faces are cut from."""
    sub: SourceSpec
    """The small stream, that faces are found on."""
    main_decode: Literal["always", "on_demand"] = "always"
    """On demand: the main stream's packets are read, but decoded only from the first request for a face on, and for
    `linger_s` after the last. The first faces are cut from the sub stream."""
    tolerance_s: float = 0.15
    """A picture of the main stream that is further away in time is none."""
    linger_s: float = 3.0
    main_wait_s: float = 3.0
    """Longest wait for the main stream before the sub stream is connected."""
    max_held_bytes: int = 16 * 1024 * 1024
    """Most bytes of the main stream's packets that are kept undecoded: four seconds of 32 Mbit/s."""
    recent: int = 8
    """Pictures of the main stream that are kept decoded; 3 MB each at 1080p."""

    def __post_init__(self) -> None:
        main, sub = self.main, self.sub
        if main.camera != sub.camera:
            raise SourceSpecError(f"a main and a sub stream are one camera's, got {main.camera!r} and {sub.camera!r}")
        if (main.reconnects, main.pace) != (sub.reconnects, sub.pace):
            raise SourceSpecError(
                f"camera {main.camera!r}: main and sub stream must both be live or both be recordings of one pace"
            )
        if self.main_decode == "on_demand" and not main.reconnects:
            raise SourceSpecError(
                f"camera {main.camera!r}: main_decode on_demand is for live cameras; recordings are decoded in step"
            )
        for name in ("tolerance_s", "linger_s", "main_wait_s", "max_held_bytes", "recent"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SourceSpecError(f"camera {main.camera!r}: {name} must be above 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairStatistics:
    """Counts of the main stream since the source was made, taken at one moment; the sub stream's are the source's."""

    main_open: bool
    """Whether the main stream is there now."""
    main_detail: str
    """One human line on how it is, redacted."""
    main_connections: int
    """How often it was opened."""
    main_lost: int
    """How often it was lost after that."""
    main_decoded: int
    """Its pictures that were decoded."""
    main_packets_skipped: int
    """Its packets that were not."""
    crops_from_main: int
    """Requests for full-resolution pixels that it served."""
    crops_from_sub: int
    """Those that the sub stream had to serve, enlarged."""


class PairSource:
    """See the module's text. Used as `streams.source.Source` is."""

    def __init__(
        self,
        pair: PairSpec,
        *,
        next_epoch: Callable[[], int],
        on_frame: Callable[[Frame], None],
        on_state: Callable[[CameraState], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Prepare; see `Source`. Nothing is opened before `run`."""
        self._pair = pair
        self._on_frame = on_frame
        self._on_state = on_state
        self._crops = CropCounts()
        self._recorded_decoded = 0
        self._recorded_opened = 0
        self._epoch_wh: tuple[int, int] | None = None
        self._sub = Source(
            pair.sub,
            next_epoch=next_epoch,
            on_frame=self._took if pair.sub.reconnects else on_frame,
            on_state=self._moved,
            clock=clock,
            opener=self._open_live if pair.sub.reconnects else self._open_recorded,
        )
        self._main = MainStream(
            pair.main,
            always=pair.main_decode == "always",
            tolerance_s=pair.tolerance_s,
            linger_s=pair.linger_s,
            max_held_bytes=pair.max_held_bytes,
            recent=pair.recent,
            on_failure=self._sub.stop,
            clock=clock,
        )

    def run(self) -> None:
        """See `Source.run`. Makes the main stream's thread where it is live, and joins it.

        Raises:
            SourceError: A recording cannot be opened, or nothing of it decoded. Never for a live camera.
        """
        if not self._pair.main.reconnects:
            self._sub.run()
            return
        self._main.start()
        try:
            self._sub.run()
        finally:
            self._main.stop()
            self._main.join()
        if self._main.failure is not None:
            raise self._main.failure

    def stop(self) -> None:
        """See `Source.stop`; stops both streams."""
        self._sub.stop()
        self._main.stop()

    def skip_to_keyframe(self) -> None:
        """See `streams.source.Source.skip_to_keyframe`; the sub stream does."""
        self._sub.skip_to_keyframe()

    def statistics(self) -> SourceStatistics:
        """See `Source.statistics`: the sub stream's counts, which are the camera's. Any thread."""
        return self._sub.statistics()

    def pair_statistics(self) -> PairStatistics:
        """What the main stream did. Any thread."""
        from_main, from_sub = self._crops.snapshot()
        is_live = self._pair.main.reconnects
        main = self._main
        return PairStatistics(
            main_open=main.is_open if is_live else self._sub.statistics().state is CameraStateName.LIVE,
            main_detail=main.detail if is_live else f"read in step from {self._pair.main.source}",
            main_connections=main.opened if is_live else self._recorded_opened,
            main_lost=main.lost,
            main_decoded=main.statistics().frames if is_live else self._recorded_decoded,
            main_packets_skipped=main.packets_skipped,
            crops_from_main=from_main,
            crops_from_sub=from_sub,
        )

    def _open_live(self, spec: SourceSpec, stopped: threading.Event, clock: Clock) -> Media:
        """Open the sub stream once the main stream has had its chance, so that the size is known from the start."""
        self._main.wait_tried(self._pair.main_wait_s)
        self._epoch_wh = None
        return open_media(spec, stopped, clock)

    def _open_recorded(self, spec: SourceSpec, stopped: threading.Event, clock: Clock) -> Media:
        main_spec = replace(self._pair.main, real_time=False)  # the sub stream sets the pace
        main = open_media(main_spec, stopped, clock)
        try:
            sub = open_media(spec, stopped, clock)
        except SourceError:
            main.close()
            raise
        self._recorded_opened += 1
        return PairedMedia(
            main,
            sub,
            main_spec=main_spec,
            tolerance_ns=round(self._pair.tolerance_s * NS_PER_S),
            counts=self._crops,
            on_main_decoded=self._count_recorded,
        )

    def _count_recorded(self) -> None:
        self._recorded_decoded += 1

    def _took(self, frame: Frame) -> None:
        """Hand a live frame on, in the epoch's size, with the main stream's pixels behind it."""
        size_wh = self._size_for(frame.meta.size_wh)
        picture = PairedPicture(
            frame.picture,
            size_wh=size_wh,
            choose=self._main.chooser(frame.meta.received_ns),
            counts=self._crops,
        )
        self._on_frame(Frame(meta=replace(frame.meta, size_wh=size_wh), picture=picture))

    def _size_for(self, sub_wh: tuple[int, int]) -> tuple[int, int]:
        """The epoch's size.

        Raises:
            SourceError: A new epoch must begin: the main stream's size has become known, or has changed, or it turned
                out that the two don't go together, which is to be told.
        """
        main_wh = self._main.size_wh
        if main_wh is not None and not show_alike(main_wh, sub_wh):
            self._main.refuse(shapes_differ(main_wh, sub_wh))
            raise self._error(Cause.OPEN_FAILED, self._main.detail)
        if self._epoch_wh is None:
            self._epoch_wh = main_wh or sub_wh
        elif main_wh is not None and main_wh != self._epoch_wh:
            width, height = main_wh
            raise self._error(
                Cause.RESIZED, f"the main stream has come: faces are told in its {width}x{height} from now on"
            )
        return self._epoch_wh

    def _error(self, cause: Cause, detail: str) -> SourceError:
        main = self._pair.main
        return SourceError(camera=main.camera, source=main.source, cause=cause, detail=detail)

    def _moved(self, state: CameraState) -> None:
        """Tell the camera's state; that it is live says also where faces are cut from."""
        if state.name is CameraStateName.LIVE and self._pair.main.reconnects:
            main = self._pair.main.source
            cut = f"cut from {main}" if self._main.is_open else f"enlarged, for {main} is away: {self._main.detail}"
            state = replace(state, detail=f"{state.detail}; faces are {cut}")
        self._on_state(state)
