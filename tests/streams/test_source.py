"""Recordings, against clips made by their recipes; and what every source does."""

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import SourceError, SourceSpecError
from streams.fake import FakeClock
from streams.frame import Frame
from streams.mailbox import Policy, PutEnd, TakeEnd, open_mailbox
from streams.source import CameraState, CameraStateName, Kind, Source, SourceSpec
from tests.media import clips
from tests.streams.running import Running

WHOLE = [("connecting", "starting"), ("live", "opened"), ("ended", "eof")]


def _played(spec: SourceSpec) -> tuple[list[Frame], list[CameraState], Source]:
    frames: list[Frame] = []
    states: list[CameraState] = []
    source = Source(
        spec, next_epoch=itertools.count(7).__next__, on_frame=frames.append, on_state=states.append, clock=FakeClock()
    )
    source.run()
    return frames, states, source


def _causes(states: list[CameraState]) -> list[tuple[str, str]]:
    return [(str(state.name), str(state.cause)) for state in states]


def _numbers(frames: list[Frame]) -> list[int]:
    return [clips.number_of(frame.picture.bgr()) for frame in frames]


@pytest.mark.parametrize(
    ("name", "recipe", "threads"),
    [
        pytest.param("a.mp4", clips.MOVING, 1, id="mp4"),
        pytest.param("a.mkv", clips.MOVING, 2, id="mkv-two-threads"),
        pytest.param("a.ts", clips.MOVING, 1, id="ts"),
        pytest.param("b.mp4", clips.B_FRAMES, 1, id="b-frames"),
        pytest.param("b.mkv", clips.B_FRAMES, 2, id="b-frames-two-threads"),
        pytest.param("o.mp4", clips.ODD_SIZE, 1, id="odd-size"),
        pytest.param("v.webm", clips.VP9, 1, id="vp9"),
        pytest.param("m.avi", clips.MJPEG, 1, id="mjpeg"),
        pytest.param("rtsp:12.30@x.mp4", clips.MOVING, 1, id="name-like-a-url"),
    ],
)
def test_every_frame_of_a_recording_comes_once_in_order(
    tmp_path: Path, name: str, recipe: clips.Recipe, threads: int
) -> None:
    plain = clips.clip(tmp_path / f"clip{Path(name).suffix}", recipe)
    path = plain.rename(tmp_path / name)
    frames, states, source = _played(SourceSpec(camera="door", url=str(path), threads=threads))
    assert _numbers(frames) == list(range(recipe.frames))
    assert _causes(states) == WHOLE
    assert [frame.meta.index for frame in frames] == list(range(recipe.frames))
    for number, frame in enumerate(frames):
        meta = frame.meta
        assert (meta.camera, meta.epoch, meta.size_wh) == ("door", 7, recipe.size_wh)
        assert abs(meta.pts_ns - number * 40_000_000) <= 1_000_000  # containers round to 1 ms
        assert meta.captured_ns == FakeClock().unix_ns() + meta.pts_ns
    assert [state.epoch for state in states] == [0, 7, 7]
    counts = source.statistics()
    assert (counts.frames, counts.bad_frames, counts.connections, counts.epoch) == (recipe.frames, 0, 1, 7)


@pytest.mark.parametrize("name", ["t.mp4", "t.mkv"])
def test_a_recording_that_is_cut_off_gives_what_it_has_and_says_so(tmp_path: Path, name: str) -> None:
    path = clips.truncated(tmp_path / name)
    frames, states, _ = _played(SourceSpec(camera="door", url=str(path)))
    numbers = _numbers(frames)
    assert numbers == list(range(len(numbers)))
    assert 20 <= len(numbers) < 40
    assert _causes(states)[-1] == ("ended", "truncated")
    assert "cut off" in states[-1].detail


@pytest.mark.parametrize("name", ["c.mp4", "c.mkv"])
def test_damaged_packets_are_counted_and_skipped(tmp_path: Path, name: str) -> None:
    path = clips.corrupted(tmp_path / name, bad=range(20, 30))
    frames, states, source = _played(SourceSpec(camera="door", url=str(path)))
    assert _numbers(frames) == [*range(20), *range(30, 50)]
    assert source.statistics().bad_frames == 10
    assert [frame.meta.index for frame in frames] == list(range(40))
    assert _causes(states) == WHOLE


def _not_a_video(folder: Path) -> Path:
    path = folder / "x.mp4"
    path.write_bytes(b"not a video " * 500)
    return path


def _empty_folder(folder: Path) -> Path:
    path = folder / "empty"
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda folder: folder / "absent.mp4", "no such file", id="absent"),
        pytest.param(_not_a_video, "not a video", id="not-a-video"),
        pytest.param(lambda folder: clips.without_video(folder / "s.wav"), "no video stream", id="sound-alone"),
        pytest.param(_empty_folder, "holds no image", id="empty-folder"),
        pytest.param(lambda folder: clips.corrupted(folder / "c.mkv", bad=range(50)), "no picture", id="all-damaged"),
    ],
)
def test_a_recording_that_cannot_be_read_at_all_raises(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    path = make(tmp_path)
    states: list[CameraState] = []
    source = Source(
        SourceSpec(camera="door", url=str(path)), next_epoch=lambda: 1, on_frame=lambda _: None, on_state=states.append
    )
    with pytest.raises(SourceError, match=message) as caught:
        source.run()
    assert isinstance(caught.value, OSError)
    assert "'door'" in str(caught.value)
    assert path.name in str(caught.value)
    assert _causes(states) == [("connecting", "starting"), ("ended", "open_failed")]
    assert source.statistics().failed_attempts == 1


def test_a_folder_of_images(tmp_path: Path) -> None:
    folder = clips.image_folder(tmp_path / "images")
    (folder / "img5.png").write_bytes(b"broken")
    frames, states, source = _played(SourceSpec(camera="door", url=str(folder), folder_fps=10))
    assert _numbers(frames) == [0, 1, 2, 3, 4, *range(6, 12)]
    assert [frame.meta.pts_ns for frame in frames[4:6]] == [400_000_000, 600_000_000]
    assert source.statistics().bad_frames == 1
    assert _causes(states) == WHOLE


def test_a_real_gif(real_data: Path) -> None:
    path = min((real_data / "clips").glob("*.gif"), default=None)
    if path is None:
        pytest.skip(f"no GIF in {real_data / 'clips'}")
    frames, states, _ = _played(SourceSpec(camera="door", url=str(path)))
    assert len(frames) > 10
    assert frames[0].picture.bgr().shape == (270, 480, 3)
    assert frames[0].picture.crop_bgr(10, 10, 30, 40).shape == (30, 20, 3)
    assert _causes(states) == WHOLE


def test_a_consumer_makes_a_recording_wait(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4")
    put_end: PutEnd[Frame]
    take_end: TakeEnd[Frame]
    put_end, take_end = open_mailbox(2, Policy.BLOCK)
    with Running(SourceSpec(camera="door", url=str(path)), on_frame=put_end.put) as running:
        taken = [take_end.take(timeout_s=30) for _ in range(50)]
        running.join()
    assert _numbers(taken) == list(range(50))
    assert running.causes == WHOLE


def test_a_closed_mailbox_stops_the_source_quietly(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4")
    put_end: PutEnd[Frame]
    take_end: TakeEnd[Frame]
    put_end, take_end = open_mailbox(1, Policy.BLOCK)
    with Running(SourceSpec(camera="door", url=str(path)), on_frame=put_end.put) as running:
        take_end.take(timeout_s=30)
        take_end.discard()
        running.join()
    assert running.error is None
    assert running.causes[-1] == ("ended", "stopped")


def test_stop_ends_a_recording_between_two_frames(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4")
    states: list[CameraState] = []
    frames: list[Frame] = []

    def take(frame: Frame) -> None:
        frames.append(frame)
        if len(frames) == 3:
            source.stop()

    source = Source(
        SourceSpec(camera="door", url=str(path)), next_epoch=lambda: 1, on_frame=take, on_state=states.append
    )
    source.run()
    assert len(frames) == 3
    assert _causes(states)[-1] == ("ended", "stopped")


@pytest.mark.parametrize("url", ["a.mp4", "rtsp://127.0.0.1:9/a"])
def test_a_source_stopped_before_it_runs_opens_nothing(url: str) -> None:
    states: list[CameraState] = []
    source = Source(
        SourceSpec(camera="door", url=url), next_epoch=lambda: 1, on_frame=lambda _: None, on_state=states.append
    )
    source.stop()
    source.run()
    assert _causes(states) == [("ended", "stopped")]


def test_a_failing_consumer_is_not_hidden(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4")
    states: list[CameraState] = []

    def fail(_: Frame) -> None:
        raise ZeroDivisionError("a bug of the consumer")

    source = Source(
        SourceSpec(camera="door", url=str(path)), next_epoch=lambda: 1, on_frame=fail, on_state=states.append
    )
    with pytest.raises(ZeroDivisionError):
        source.run()
    assert _causes(states) == [("connecting", "starting"), ("live", "opened"), ("ended", "consumer_failed")]


def test_a_recording_in_real_time_keeps_its_pace(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "a.mp4")
    clock = FakeClock()
    frames: list[Frame] = []
    Source(
        SourceSpec(camera="door", url=str(path), real_time=True),
        next_epoch=lambda: 1,
        on_frame=frames.append,
        on_state=lambda _: None,
        clock=clock,
    ).run()
    assert [frame.meta.arrived_ns for frame in frames] == [number * 40_000_000 for number in range(50)]
    assert frames[-1].meta.captured_ns == FakeClock().unix_ns() + 49 * 40_000_000


def test_a_live_source_that_is_always_refused_is_told_once_and_tried_for_ever() -> None:
    clock = FakeClock()
    tried = threading.Event()
    states: list[CameraState] = []

    class CountingClock(FakeClock):
        def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
            if len(clock.waits_s) == 12:
                tried.set()
                source.stop()
            return clock.wait(interrupt, timeout_s)

    source = Source(
        SourceSpec(camera="door", url="rtsp://u:secret@127.0.0.1:1/a"),
        next_epoch=lambda: 1,
        on_frame=lambda _: None,
        on_state=states.append,
        clock=CountingClock(),
    )
    source.run()
    assert tried.is_set()
    assert _causes(states) == [
        ("connecting", "starting"),
        ("lost", "open_failed"),
        ("connecting", "retrying"),
        ("ended", "stopped"),
    ]
    assert "secret" not in repr(states)
    assert source.statistics().failed_attempts == 13
    waits = clock.waits_s
    assert all(0.25 <= wait <= 2.0 for wait in waits)
    assert all(wait >= 1.0 for wait in waits[2:])


def test_a_device_that_is_not_there_is_lost_and_says_why() -> None:
    with Running(SourceSpec(camera="door", url="/dev/video-absent"), clock=FakeClock()) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert lost.cause == "open_failed"
    assert "no such file or device" in lost.detail


def test_a_live_source_of_damage_alone_is_connected_again(tmp_path: Path) -> None:
    path = clips.corrupted(tmp_path / "c.mkv", bad=range(10, 50))
    clock = FakeClock()
    spec = SourceSpec(camera="door", url=str(path), kind=Kind.LIVE, max_bad_frames=20)
    with Running(spec, clock=clock) as running:
        running.wait(lambda: len({frame.meta.epoch for frame in running.frames}) >= 3)
    assert running.causes[:4] == [
        ("connecting", "starting"),
        ("live", "opened"),
        ("lost", "undecodable"),
        ("connecting", "retrying"),
    ]
    assert [clips.number_of(frame.picture.bgr()) for frame in running.frames[:20]] == [*range(10), *range(10)]


def test_nothing_is_written_to_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path in (clips.corrupted(tmp_path / "c.mkv"), clips.truncated(tmp_path / "t.ts")):
        _played(SourceSpec(camera="door", url=str(path)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        pytest.param("a.mp4", clips.MOVING, id="mp4"),
        pytest.param("b.mkv", clips.B_FRAMES, id="b-frames"),
        pytest.param("v.webm", clips.VP9, id="vp9"),
    ],
)
def test_a_looped_recording_goes_on_as_one_connection(tmp_path: Path, name: str, recipe: clips.Recipe) -> None:
    path = clips.clip(tmp_path / name, recipe)
    rounds = 3
    spec = SourceSpec(camera="door", url=str(path), loop=True, real_time=True)
    with Running(spec, clock=FakeClock()) as running:
        running.wait_frames(rounds * recipe.frames)
    frames = running.frames[: rounds * recipe.frames]
    assert _numbers(frames) == list(range(recipe.frames)) * rounds
    for number, frame in enumerate(frames):
        assert (frame.meta.epoch, frame.meta.index) == (1, number)
        assert abs(frame.meta.pts_ns - number * 40_000_000) <= 3_000_000  # containers round to 1 ms
    assert running.causes == [("connecting", "starting"), ("live", "opened"), ("ended", "stopped")]
    assert running.source.statistics().repaired_times == 0


def test_looped_images_begin_again(tmp_path: Path) -> None:
    folder = clips.image_folder(tmp_path / "images", count=3)
    with Running(SourceSpec(camera="door", url=str(folder), loop=True, start_s=0.08), clock=FakeClock()) as running:
        running.wait_frames(5)
    assert _numbers(running.frames[:5]) == [2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("start_s", "loop", "first", "waited_s"),
    [
        pytest.param(0.4, False, 10, 0.0, id="at-a-key-frame"),
        pytest.param(0.5, False, 20, 0.3, id="before-one"),
        pytest.param(1.7, True, 0, 0.3, id="behind-the-last"),
        pytest.param(4.5, True, 20, 0.3, id="rounds-later"),
    ],
)
def test_a_recording_begins_with_the_next_key_frame_when_its_turn_comes(
    tmp_path: Path, start_s: float, loop: bool, first: int, waited_s: float
) -> None:
    path = clips.clip(tmp_path / "a.mp4")  # two seconds, a key frame each 0.4 s
    clock = FakeClock()
    began_ns = clock.monotonic_ns()
    spec = SourceSpec(camera="door", url=str(path), loop=loop, real_time=True, start_s=start_s)
    with Running(spec, clock=clock) as running:
        running.wait_frames(10)
    assert _numbers(running.frames[:10]) == list(range(first, first + 10))
    meta = running.frames[0].meta
    assert (meta.received_ns - began_ns) / 1e9 == pytest.approx(waited_s, abs=0.01)
    assert meta.pts_ns == 0


def test_a_start_before_the_beginning_is_refused() -> None:
    with pytest.raises(SourceSpecError, match=r"start_s is -1\.0"):
        SourceSpec(camera="door", url="a.mp4", start_s=-1.0)
