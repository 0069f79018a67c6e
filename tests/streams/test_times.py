"""Times of frames: jumps, repeats, missing timestamps, and captures, through a `Source` and a medium made for it."""

from collections.abc import Generator, Sequence

import numpy as np
import pytest

from streams import source as source_module
from streams.fake import FakeClock
from streams.frame import Frame
from streams.media import Damaged, Decoded, MediaEnd
from streams.picture import ArrayPicture
from streams.source import CameraState, Cause, Kind, Source, SourceSpec, SourceStatistics

MS = 1_000_000
S = 1000 * MS
UNIX_NS = FakeClock().unix_ns()
BLACK = ArrayPicture(np.zeros((2, 2, 3), np.uint8))


class Script:
    """A medium of given timestamps; each picture is there `decode_ns` after it was received."""

    step_ns = 40 * MS

    def __init__(
        self, pts_ns: Sequence[int | None], clock: FakeClock, *, ages_ns: Sequence[int] = (), decode_ns: int = 0
    ) -> None:
        self._pts_ns = pts_ns
        self._clock = clock
        self._ages_ns = ages_ns
        self._decode_ns = decode_ns

    def read(self) -> Generator[Decoded | Damaged]:
        for number, pts_ns in enumerate(self._pts_ns):
            received_ns = self._clock.monotonic_ns() - (self._ages_ns[number] if self._ages_ns else 0)
            self._clock.advance(self._decode_ns / S)
            yield Decoded(picture=BLACK, pts_ns=pts_ns, received_ns=received_ns if self._ages_ns else None)
            self._clock.advance(0.04)

    def end(self) -> MediaEnd:
        return MediaEnd(cause=Cause.EOF, detail="the script is over")

    def close(self) -> None:
        pass


def _frames(
    monkeypatch: pytest.MonkeyPatch,
    pts_ns: Sequence[int | None],
    *,
    kind: Kind = Kind.LIVE,
    ages_ns: Sequence[int] = (),
    decode_ns: int = 0,
) -> tuple[list[Frame], SourceStatistics]:
    clock = FakeClock()
    frames: list[Frame] = []
    monkeypatch.setattr(
        source_module,
        "open_media",
        lambda *_: Script(pts_ns, clock, ages_ns=ages_ns, decode_ns=decode_ns),
    )

    def told(state: CameraState) -> None:
        if state.cause == Cause.EOF:
            source.stop()

    source = Source(
        SourceSpec(camera="door", url="rtsp://192.0.2.1/a", kind=kind),
        next_epoch=lambda: 1,
        on_frame=frames.append,
        on_state=told,
        clock=clock,
    )
    source.run()
    return frames, source.statistics()


@pytest.mark.parametrize(
    ("kind", "pts_ms", "placed_ms", "repaired"),
    [
        pytest.param(Kind.LIVE, [5, 45, 85], [0, 40, 80], 0, id="plain"),
        pytest.param(Kind.LIVE, [None, None, None], [0, 40, 80], 2, id="none-at-all"),
        pytest.param(Kind.LIVE, [0, None, None, 120], [0, 40, 80, 120], 2, id="missing"),
        pytest.param(Kind.LIVE, [0, 0, 0, 40], [0, 40, 80, 120], 2, id="repeats"),
        pytest.param(Kind.LIVE, [0, 40, 20_000, 20_040], [0, 40, 80, 120], 1, id="clock-set-forward"),
        pytest.param(Kind.LIVE, [9000, 9040, 0, 40], [0, 40, 80, 120], 1, id="clock-set-back"),
        pytest.param(Kind.LIVE, [0, 40, 3000, 3040], [0, 40, 3000, 3040], 0, id="pictures-lost"),
        pytest.param(Kind.RECORDED, [0, 40, 20_000, 20_040], [0, 40, 20_000, 20_040], 0, id="recorded-still-scene"),
        pytest.param(Kind.RECORDED, [0, 40, 0, 40], [0, 40, 80, 120], 1, id="recorded-joined"),
    ],
)
def test_media_time_always_grows(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, pts_ms: list[int | None], placed_ms: list[int], repaired: int
) -> None:
    frames, counts = _frames(monkeypatch, [None if at is None else at * MS for at in pts_ms], kind=kind)
    assert [frame.meta.pts_ns for frame in frames] == [at * MS for at in placed_ms]
    assert counts.repaired_times == repaired
    assert [frame.meta.index for frame in frames] == list(range(len(pts_ms)))


def test_a_live_frame_is_captured_when_it_was_received_not_when_it_was_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, _ = _frames(monkeypatch, [0, 40 * MS, 80 * MS], ages_ns=[0, 3 * MS, 700 * MS], decode_ns=10 * MS)
    read_ns = [0, 50 * MS, 100 * MS]
    received_ns = [0, 47 * MS, -600 * MS]
    assert [frame.meta.received_ns for frame in frames] == received_ns
    assert [frame.meta.arrived_ns for frame in frames] == [at_ns + 10 * MS for at_ns in read_ns]
    assert [frame.meta.captured_ns - UNIX_NS for frame in frames] == received_ns


def test_where_the_medium_does_not_know_the_frame_was_received_when_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, _ = _frames(monkeypatch, [0, 40 * MS], decode_ns=10 * MS)
    assert [frame.meta.received_ns for frame in frames] == [frame.meta.arrived_ns for frame in frames]


def test_a_recordings_capture_times_follow_its_media_time(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, _ = _frames(monkeypatch, [7 * S, 7 * S + 40 * MS, 9 * S], kind=Kind.RECORDED)
    assert [frame.meta.captured_ns - UNIX_NS for frame in frames] == [0, 40 * MS, 2 * S]
