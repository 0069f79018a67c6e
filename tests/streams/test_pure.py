"""The small pure rooms: backoff, state, timeline, spec, folder order."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.backoff import Backoff
from streams.errors import IllegalTransitionError, SourceSpecError
from streams.fake import FakeClock
from streams.folder import natural_key
from streams.source import CameraState, CameraStateName, Cause, Kind, SourceSpec, judge_kind
from streams.state import LEGAL, StateLine
from streams.timeline import Timeline


@given(st.floats(0.01, 5.0), st.floats(1.0, 20.0), st.integers(0, 2**32))
def test_backoff_doubles_up_to_its_maximum_and_jitter_only_shortens(initial_s: float, factor: float, seed: int) -> None:
    backoff = Backoff(initial_s=initial_s, max_s=initial_s * factor, rng=random.Random(seed))
    for attempt in range(8):
        full_s = min(initial_s * 2**attempt, initial_s * factor)
        assert full_s / 2 * 0.999 <= backoff.next_s() <= full_s * 1.001
    backoff.reset()
    assert backoff.next_s() <= initial_s


def test_backoff_refuses_a_maximum_below_the_initial() -> None:
    with pytest.raises(ValueError, match="initial_s <= max_s"):
        Backoff(initial_s=2.0, max_s=1.0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(before, after, id=f"{before or 'new'}-{after}")
        for before in (None, *CameraStateName)
        for after in CameraStateName
    ],
)
def test_only_legal_moves_are_made_and_told(before: CameraStateName | None, after: CameraStateName) -> None:
    told: list[CameraState] = []
    line = StateLine("door", on_state=told.append, clock=FakeClock())
    line._name = before
    if after in LEGAL[before]:
        line.move(after, cause=Cause.STOPPED, detail="d", epoch=3)
        assert [(s.camera, s.name, s.cause, s.epoch) for s in told] == [("door", after, "stopped", 3)]
        assert told[0].at_ns == FakeClock().unix_ns()
    else:
        with pytest.raises(IllegalTransitionError, match="cannot follow"):
            line.move(after, cause=Cause.STOPPED, detail="d", epoch=3)
        assert told == []
        assert line.name == before


@pytest.mark.parametrize(
    ("pts", "placed", "repaired"),
    [
        pytest.param([900, 940, 980], [0, 40, 80], 0, id="plain"),
        pytest.param([None, 0, 40], [0, 40, 80], 0, id="first-missing"),
        pytest.param([None, None, 500, 540], [0, 40, 80, 120], 1, id="anchored-at-the-first-there-is"),
        pytest.param([0, None, 80], [0, 40, 80], 1, id="one-missing"),
        pytest.param([0, 40, 40, 80, 120], [0, 40, 80, 120, 160], 1, id="repeated-shifts-along"),
        pytest.param([0, 40, -5000, -4960], [0, 40, 80, 120], 1, id="clock-set-back"),
        pytest.param([0, 40, 900_000, 900_040], [0, 40, 80, 120], 1, id="clock-set-forward"),
        pytest.param([0, 1000, 2000], [0, 1000, 2000], 0, id="slow-camera"),
    ],
)
def test_timeline(pts: list[int | None], placed: list[int], repaired: int) -> None:
    timeline = Timeline(step_ns=40, max_gap_ns=10_000)
    assert [timeline.place(at) for at in pts] == placed
    assert timeline.repaired == repaired


def test_a_recordings_jump_forward_is_real() -> None:
    timeline = Timeline(step_ns=40)
    assert [timeline.place(at) for at in (0, 900_000)] == [0, 900_000]


@given(st.lists(st.none() | st.integers(-(10**12), 10**12)), st.none() | st.integers(1, 10**10))
def test_timeline_always_grows(pts: list[int | None], max_gap_ns: int | None) -> None:
    timeline = Timeline(step_ns=40_000_000, max_gap_ns=max_gap_ns)
    placed = [timeline.place(at) for at in pts]
    assert placed == sorted(set(placed))
    assert placed[:1] in ([], [0])


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        pytest.param("rtsp://cam/a.mp4", Kind.LIVE, id="rtsp"),
        pytest.param("RTSPS://cam/a", Kind.LIVE, id="rtsps"),
        pytest.param("udp://239.0.0.1:1234", Kind.LIVE, id="udp"),
        pytest.param("/dev/video0", Kind.LIVE, id="device"),
        pytest.param("http://cam/stream.m3u8", Kind.LIVE, id="hls"),
        pytest.param("http://cam/video.mjpg?x=1.mp4", Kind.LIVE, id="http-mjpeg"),
        pytest.param("https://host/clip.MP4?token=1", Kind.RECORDED, id="http-recording"),
        pytest.param("/videos/clip.mp4", Kind.RECORDED, id="file"),
        pytest.param("videos", Kind.RECORDED, id="folder"),
        pytest.param("file:///videos/clip.mp4", Kind.RECORDED, id="file-url"),
        pytest.param("12:30.mp4", Kind.RECORDED, id="colon-in-name"),
    ],
)
def test_judge_kind(url: str, kind: Kind) -> None:
    assert judge_kind(url) is kind


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"camera": ""}, "camera id", id="camera"),
        pytest.param({"url": ""}, "url is ''", id="url"),
        pytest.param({"rtsp_transport": "tpc"}, "tcp or udp", id="transport"),
        pytest.param({"stall_timeout_s": 0.0}, "stall_timeout_s is 0.0, but must be a number above 0", id="stall"),
        pytest.param({"open_timeout_s": float("nan")}, "open_timeout_s", id="nan"),
        pytest.param({"backoff_max_s": 0.1}, "backoff_max_s is 0.1, but must be at least 0.5", id="backoff"),
        pytest.param({"threads": 0}, "threads is 0", id="threads"),
    ],
)
def test_a_spec_that_cannot_work_is_refused(change: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"camera": "door", "url": "a.mp4"}
    with pytest.raises(SourceSpecError, match=message):
        SourceSpec(**(fields | change))  # type: ignore[arg-type] # wrong on purpose


def test_a_recording_in_real_time_is_paced_as_live_but_ends() -> None:
    spec = SourceSpec(camera="door", url="a.mp4", real_time=True)
    assert (spec.pace, spec.reconnects) == (Kind.LIVE, False)


def test_images_are_sorted_as_people_number_them() -> None:
    names = ["b1.png", "a10.png", "a9.png", "a009b.png", "7.png", "a.png"]
    ordered = sorted((Path(name) for name in names), key=natural_key)
    assert [path.name for path in ordered] == ["7.png", "a9.png", "a009b.png", "a10.png", "a.png", "b1.png"]
