"""What is left undecoded when the machine cannot keep up: the rule, the lag, and a recording in real time that lags."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.fake import FakeClock
from streams.frame import Frame
from streams.nal import is_unreferenced
from streams.shed import LagMeter, Shedder, Skipped
from streams.source import Source, SourceSpec
from tests.media import clips


def judged(shedder: Shedder, lag_s: float, *, key: bool = False, referenced: bool = True) -> Skipped | None:
    return shedder.judge(lag_s=lag_s, is_keyframe=key, is_referenced=lambda: referenced)


class TestShedder:
    def test_in_time_nothing_is_left_out(self) -> None:
        shedder = Shedder()
        assert [judged(shedder, 0.05, key=index == 0, referenced=index % 2 == 0) for index in range(6)] == [None] * 6

    def test_asked_to_it_leaves_out_everything_before_the_next_keyframe(self) -> None:
        shedder = Shedder()
        shedder.skip_to_keyframe()
        keys = [False, False, True, False]
        assert [judged(shedder, 0.0, key=key) for key in keys] == [Skipped.LATE, Skipped.LATE, None, None]

    def test_a_little_behind_what_nothing_refers_to_goes_first(self) -> None:
        shedder = Shedder()
        assert judged(shedder, 0.2, referenced=False) is Skipped.UNREFERENCED
        assert judged(shedder, 0.2, referenced=True) is None

    def test_far_behind_everything_goes_up_to_the_next_keyframe(self) -> None:
        shedder = Shedder()
        assert judged(shedder, 0.0, key=True) is None
        assert judged(shedder, 0.7) is Skipped.LATE
        assert judged(shedder, 0.0) is Skipped.LATE  # in time again, but it refers to one that was left out
        assert judged(shedder, 0.0, key=True) is None
        assert judged(shedder, 0.0) is None

    def test_a_lag_that_shrinks_is_let_be(self) -> None:
        shedder = Shedder()
        assert judged(shedder, 0.0, key=True) is None
        lags = [0.55, 0.5, 0.52, 0.53, 0.45, 0.4, 0.35, 0.25, 0.1, 0.0]
        assert [judged(shedder, lag_s) for lag_s in lags] == [None] * len(lags)

    def test_a_lag_that_stays_or_grows_is_not(self) -> None:
        for lags in ([0.31, 0.31, 0.31], [0.35, 0.4, 0.45], [0.5, 0.45, 0.46, 0.47, 0.48]):
            shedder = Shedder()
            assert judged(shedder, 0.0, key=True) is None
            skipped = [judged(shedder, lag_s) for lag_s in lags]
            assert skipped[-1] is Skipped.LATE, lags
            assert skipped[0] is None

    def test_very_far_behind_keyframes_go_too(self) -> None:
        shedder = Shedder()
        assert judged(shedder, 1.2, key=True) is Skipped.LATE
        assert judged(shedder, 0.2) is Skipped.LATE
        assert judged(shedder, 0.9, key=True) is None

    def test_a_higher_priority_may_lag_more_but_not_without_bound(self) -> None:
        assert judged(Shedder(tolerance=2.0), 1.0) is None
        assert judged(Shedder(tolerance=100.0), 1.3) is Skipped.LATE
        assert judged(Shedder(tolerance=0.5), 0.4) is Skipped.LATE

    def test_a_tolerance_of_nothing_is_refused(self) -> None:
        with pytest.raises(ValueError, match="over 0"):
            Shedder(tolerance=0)

    @given(st.lists(st.tuples(st.floats(0, 2), st.booleans(), st.booleans()), max_size=60))
    def test_no_decoded_frame_refers_to_one_that_was_left_out(self, packets: list[tuple[float, bool, bool]]) -> None:
        shedder, whole = Shedder(), True
        for lag_s, key, referenced in packets:
            skipped = judged(shedder, lag_s, key=key, referenced=referenced or key)
            whole = key if key and skipped is None else whole and (skipped is None or skipped is Skipped.UNREFERENCED)
            assert skipped is not None or whole
            if skipped is Skipped.UNREFERENCED:
                assert not referenced


class TestLagMeter:
    def test_what_is_waited_for_has_none(self) -> None:
        meter = LagMeter()
        assert [meter.lag_s(100 + 0.04 * n, 0.04 * n, waited=True) for n in range(5)] == [0.0] * 5

    def test_what_is_read_too_slowly_lags(self) -> None:
        meter = LagMeter()
        lags = [meter.lag_s(0.05 * n, 0.04 * n, waited=False) for n in range(101)]
        assert lags[100] == pytest.approx(1.0)

    def test_a_burst_at_the_beginning_is_no_lag(self) -> None:
        meter = LagMeter()
        assert max(meter.lag_s(10.0, 0.04 * n, waited=False) for n in range(25)) == 0.0
        assert meter.lag_s(10.04, 1.0, waited=True) == 0.0

    def test_no_time_is_in_time(self) -> None:
        meter = LagMeter()
        meter.lag_s(0.0, 0.0, waited=True)
        assert meter.lag_s(5.0, None, waited=False) == 0.0

    def test_a_clock_that_is_set_is_a_lag_only_until_a_packet_is_waited_for(self) -> None:
        meter = LagMeter()
        meter.lag_s(0.0, 0.0, waited=True)
        assert meter.lag_s(0.04, -3.0, waited=False) == pytest.approx(3.04)
        assert meter.lag_s(0.08, -2.96, waited=True) == 0.0
        assert meter.lag_s(0.09, -2.92, waited=False) == 0.0


def packets_of(path: Path) -> list[tuple[bool, bool]]:
    """Of each packet whether it is a keyframe, and whether it says that nothing refers to it."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context
        return [
            (packet.is_keyframe, is_unreferenced(codec.name, bytes(packet), codec.extradata))
            for packet in container.demux(stream)
            if packet.size
        ]


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])  # lengths in front, and start codes
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_unreferenced_frames_are_told_from_the_packet(tmp_path: Path, codec: str, suffix: str) -> None:
    options = {"preset": "veryfast", "g": "25", "bf": "2", "b_strategy": "0"}
    if codec == "libx265":
        options["x265-params"] = "b-adapt=0:bframes=2:log-level=0"
    path = clips.clip(tmp_path / f"b{suffix}", clips.Recipe(codec=codec, options=options, size_wh=(320, 240)))
    packets = packets_of(path)
    droppable = [drop for _key, drop in packets]
    assert 10 < sum(droppable) < 40
    assert not any(drop and key for key, drop in packets)
    # Without them the rest decodes, and every picture is the one that it was.
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        numbers = []
        for packet, drop in zip(container.demux(stream), [*droppable, False], strict=True):
            numbers += [
                clips.number_of(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8))
                for frame in (() if drop else packet.decode())
            ]
    assert len(numbers) == droppable.count(False)
    assert numbers == sorted(set(numbers))


def test_nothing_is_known_of_other_codecs(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.webm", clips.VP9)
    assert not any(drop for _key, drop in packets_of(path))


class LateClock(FakeClock):
    """Each frame that is handled takes a while."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self.step_s = step_s


B_FRAMES = {"preset": "veryfast", "g": "10", "bf": "3", "b_strategy": "0"}


@pytest.mark.parametrize(
    "options", [{"preset": "ultrafast", "g": "10", "bf": "0"}, B_FRAMES], ids=["plain", "held-back"]
)
def test_a_recording_in_real_time_that_lags_leaves_frames_out_and_counts_them(
    tmp_path: Path, options: dict[str, str]
) -> None:
    path = clips.clip(tmp_path / "a.mp4", clips.Recipe(frames=100, options=options))  # a keyframe each tenth frame
    clock = LateClock(0.15)
    frames: list[Frame] = []

    def handle(frame: Frame) -> None:
        frames.append(frame)
        clock.advance(clock.step_s if len(frames) < 20 else 0.0)  # then there is time again

    source = Source(
        SourceSpec(camera="door", url=str(path), real_time=True),
        next_epoch=lambda: 1,
        on_frame=handle,
        on_state=lambda _: None,
        clock=clock,
    )
    source.run()
    skipped = source.statistics().skipped
    assert skipped[Skipped.LATE] > 20
    assert len(frames) + sum(skipped.values()) == 100
    # The index counts what was left out: it still is the frame's number, and so is what the picture shows.
    # Where a decoder holds frames back, one that was left out may have been counted before an earlier one came out.
    held_back = 0 if options.get("bf") == "0" else 3
    shown = [clips.number_of(frame.picture.bgr()) for frame in frames]
    assert all(0 <= frame.meta.index - number <= held_back for number, frame in zip(shown, frames, strict=True))
    assert shown[-10:] == [frame.meta.index for frame in frames[-10:]] == list(range(90, 100))
    assert max(frame.meta.arrived_ns - frame.meta.received_ns for frame in frames) < 1.2e9
    last = [frame.meta.index for frame in frames[-20:]]
    assert last == list(range(last[0], last[0] + 20))  # every frame again


def test_a_recording_loses_nothing_however_slow_its_consumer(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4")
    clock = FakeClock()
    frames: list[Frame] = []

    def handle(frame: Frame) -> None:
        frames.append(frame)
        clock.advance(1.0)

    source = Source(
        SourceSpec(camera="door", url=str(path)),
        next_epoch=lambda: 1,
        on_frame=handle,
        on_state=lambda _: None,
        clock=clock,
    )
    source.run()
    assert len(frames) == 50
    assert sum(source.statistics().skipped.values()) == 0
