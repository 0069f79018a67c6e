"""Two recordings of one camera as one, and what a pair may be made of."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.errors import SourceError, SourceSpecError
from streams.fake import FakeClock
from streams.frame import Frame, Picture
from streams.pair import PairSource, PairSpec
from streams.source import CameraState, Kind, SourceSpec
from tests.media import clips

MAIN = clips.Recipe(size_wh=(640, 480))
CELLS = (0, 0, clips.SMALLEST_WIDTH_PX, 8)


def _pair(main: Path, sub: Path, *, real_time: bool = False) -> PairSpec:
    spec = SourceSpec(camera="door", url=str(main), real_time=real_time)
    return PairSpec(main=spec, sub=replace(spec, url=str(sub)))


def _played(pair: PairSpec) -> tuple[list[Frame], list[CameraState], PairSource, FakeClock]:
    frames: list[Frame] = []
    states: list[CameraState] = []
    clock = FakeClock()
    source = PairSource(
        pair, next_epoch=itertools.count(7).__next__, on_frame=frames.append, on_state=states.append, clock=clock
    )
    source.run()
    return frames, states, source, clock


def _numbers(picture: Picture) -> tuple[int, int]:
    """The numbers in a picture's small and its large half. The cells are of one size in both."""
    return clips.number_of(picture.scaled_bgr((160, 120))), clips.number_of(picture.crop_bgr(*CELLS))


@pytest.mark.parametrize("real_time", [False, True], ids=["as-fast-as-can-be", "real-time"])
@pytest.mark.parametrize("sub_recipe", [clips.MOVING, clips.B_FRAMES], ids=["plain", "b-frames"])
def test_each_frame_has_the_main_recordings_picture_of_its_moment(
    tmp_path: Path, sub_recipe: clips.Recipe, real_time: bool
) -> None:
    pair = _pair(
        clips.clip(tmp_path / "main.mkv", MAIN), clips.clip(tmp_path / "sub.mp4", sub_recipe), real_time=real_time
    )
    frames, states, source, clock = _played(pair)
    assert [_numbers(frame.picture) for frame in frames] == [(number, number) for number in range(50)]
    assert {frame.meta.size_wh for frame in frames} == {frame.picture.size_wh for frame in frames} == {(640, 480)}
    assert [(str(state.name), str(state.cause)) for state in states] == [
        ("connecting", "starting"),
        ("live", "opened"),
        ("ended", "eof"),
    ]
    assert (clock.monotonic_ns() > 0) is real_time
    counts = source.pair_statistics()
    assert (counts.main_decoded, counts.main_packets_skipped) == (50, 0)
    assert (counts.crops_from_main, counts.crops_from_sub) == (50, 0)
    assert source.statistics().frames == 50


def test_a_main_recording_of_fewer_frames_gives_the_nearest(tmp_path: Path) -> None:
    main = clips.clip(tmp_path / "main.mp4", replace(MAIN, fps=10, frames=20))
    frames, _, _, _ = _played(_pair(main, clips.clip(tmp_path / "sub.mp4")))
    # Pictures 100 ms apart for moments 40 ms apart; of two that are equally near, the earlier.
    nearest = [(number * 40 + 49) // 100 for number in range(len(frames))]
    assert [_numbers(frame.picture)[1] for frame in frames[:45]] == nearest[:45]


def test_past_the_end_of_the_main_recording_faces_are_cut_from_the_sub_recording(tmp_path: Path) -> None:
    main = clips.clip(tmp_path / "main.mp4", replace(MAIN, frames=20))
    frames, states, source, _ = _played(_pair(main, clips.clip(tmp_path / "sub.mp4")))
    for frame in frames:
        assert frame.picture.crop_bgr(*CELLS).shape == (8, 80, 3)
    counts = source.pair_statistics()
    assert (counts.crops_from_main, counts.crops_from_sub) == (20 + 3, 27)  # 150 ms are near enough
    assert states[-1].cause == "eof"


@pytest.mark.parametrize("gone", ["main", "sub"])
def test_a_recording_that_is_not_there_is_named(tmp_path: Path, gone: str) -> None:
    paths = {name: clips.clip(tmp_path / f"{name}.mp4", recipe) for name, recipe in (("main", MAIN), ("sub", MAIN))}
    paths[gone].unlink()
    states: list[CameraState] = []
    source = PairSource(
        _pair(paths["main"], paths["sub"]), next_epoch=lambda: 1, on_frame=lambda _: None, on_state=states.append
    )
    with pytest.raises(SourceError, match=f"{gone}.mp4.*no such file"):
        source.run()
    assert [(str(state.name), str(state.cause)) for state in states] == [
        ("connecting", "starting"),
        ("ended", "open_failed"),
    ]


def test_recordings_that_cannot_show_the_same_are_refused(tmp_path: Path) -> None:
    sub = clips.clip(tmp_path / "sub.mp4", clips.Recipe(size_wh=(120, 160)))
    with pytest.raises(SourceError, match=r"main stream's pictures are 640x480 and the sub stream's 120x160"):
        _played(_pair(clips.clip(tmp_path / "main.mp4", MAIN), sub))


def test_a_main_recording_without_a_picture_is_refused(tmp_path: Path) -> None:
    main = clips.corrupted(tmp_path / "main.mkv", bad=range(50), recipe=MAIN)
    with pytest.raises(SourceError, match=r"main\.mkv.*no picture of it"):
        _played(_pair(main, clips.clip(tmp_path / "sub.mp4")))


def test_a_pair_stopped_before_it_runs_opens_nothing_and_starts_no_thread() -> None:
    states: list[CameraState] = []
    main = SourceSpec(camera="door", url="rtsp://192.0.2.1/main")
    pair = PairSpec(main=main, sub=replace(main, url="rtsp://192.0.2.1/sub"))
    source = PairSource(pair, next_epoch=lambda: 1, on_frame=lambda _: None, on_state=states.append)
    source.stop()
    source.run()
    assert [(str(state.name), str(state.cause)) for state in states] == [("ended", "stopped")]
    assert source.pair_statistics().main_connections == 0


RECORDED = SourceSpec(camera="door", url="main.mp4")
LIVE = SourceSpec(camera="door", url="rtsp://u:s3cr3t@192.0.2.1/main")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"sub": replace(LIVE, camera="yard")}, "'door' and 'yard'", id="two-cameras"),
        pytest.param({"sub": RECORDED}, "both be live or both be recordings", id="a-live-and-a-recorded"),
        pytest.param({"main": RECORDED, "sub": replace(RECORDED, real_time=True)}, "of one pace", id="two-paces"),
        pytest.param(
            {"main": RECORDED, "sub": RECORDED, "main_decode": "on_demand"}, "on_demand is for live", id="on-demand"
        ),
        pytest.param({"tolerance_s": 0.0}, "tolerance_s must be above 0, got 0.0", id="no-tolerance"),
        pytest.param({"linger_s": float("inf")}, "linger_s must be", id="for-ever"),
        pytest.param({"recent": 0}, "recent must be", id="nothing-kept"),
    ],
)
def test_what_is_no_pair(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SourceSpecError, match=says):
        PairSpec(**({"main": LIVE, "sub": LIVE} | fields))


def test_a_pair_shows_no_password() -> None:
    assert "s3cr3t" not in repr(PairSpec(main=LIVE, sub=replace(LIVE, kind=Kind.LIVE)))
