"""DALI's graph on the CPU, behind a real source: the same pictures as FFmpeg's, one by one."""

import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streams.errors import SourceError
from streams.fake import FakeClock
from streams.frame import Frame
from streams.source import CameraState, Kind, Source
from streams.spec import DecodeDevice, SourceSpec
from tests.media import clips
from tests.streams.running import Running

pytestmark = pytest.mark.usefixtures("dali")

VP8 = clips.Recipe(codec="libvpx", frames=40, options={"deadline": "realtime", "cpu-used": "8", "g": "20"})
VP9_ALT_REF = clips.Recipe(
    codec="libvpx-vp9",
    frames=45,
    size_wh=(320, 240),
    options={"deadline": "good", "cpu-used": "5", "auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"},
)
VP9_ODD = clips.Recipe(
    codec="libvpx-vp9", frames=21, size_wh=(161, 121), options={"deadline": "realtime", "cpu-used": "8"}
)


def _played(spec: SourceSpec) -> tuple[list[Frame], list[CameraState], Source]:
    frames: list[Frame] = []
    states: list[CameraState] = []
    source = Source(
        spec, next_epoch=itertools.count(1).__next__, on_frame=frames.append, on_state=states.append, clock=FakeClock()
    )
    source.run()
    return frames, states, source


def _spec(path: Path, decode: DecodeDevice = DecodeDevice.DALI_CPU) -> SourceSpec:
    return SourceSpec(camera="door", url=str(path), decode=decode)


@pytest.mark.parametrize(
    ("name", "recipe", "tolerance"),
    [
        pytest.param("v.webm", clips.VP9, 1.0, id="vp9"),
        pytest.param("a.mkv", VP9_ALT_REF, 1.0, id="vp9-hidden-pictures"),
        # DALI converts odd sizes less exactly: 0.4 levels off in green, 0.9 in red.
        pytest.param("o.webm", VP9_ODD, 1.2, id="vp9-odd-size"),
        pytest.param("8.webm", VP8, 1.0, id="vp8"),
        pytest.param("m.avi", clips.MJPEG, 1.0, id="mjpeg"),
    ],
)
def test_the_same_frames_as_ffmpeg(tmp_path: Path, name: str, recipe: clips.Recipe, tolerance: float) -> None:
    path = clips.clip(tmp_path / name, recipe)
    expected, states_of_ffmpeg, _ = _played(_spec(path, DecodeDevice.CPU))
    frames, states, source = _played(_spec(path))
    assert len(frames) == len(expected) == recipe.frames
    for frame, other in zip(frames, expected, strict=True):
        assert frame.meta == other.meta
        difference = frame.picture.bgr().astype(np.int16) - other.picture.bgr()
        assert np.abs(difference).mean() < tolerance
    assert [clips.number_of(frame.picture.bgr()) for frame in frames] == list(range(recipe.frames))
    assert [(each.name, each.cause, each.detail) for each in states] == [
        (each.name, each.cause, each.detail) for each in states_of_ffmpeg
    ]
    assert source.statistics().bad_frames == 0


def test_a_live_camera_is_decoded_group_by_group_and_comes_back(tmp_path: Path) -> None:
    path = clips.clip(tmp_path / "v.webm", clips.VP9)
    spec = SourceSpec(
        camera="door",
        url=str(path),
        kind=Kind.LIVE,
        decode=DecodeDevice.DALI_CPU,
        backoff_initial_s=0.01,
        backoff_max_s=0.01,
    )
    with Running(spec) as running:
        running.wait_frames(clips.VP9.frames + 1)
    numbers = [clips.number_of(frame.picture.bgr()) for frame in running.frames]
    assert numbers[: clips.VP9.frames + 1] == [*range(clips.VP9.frames), 0]
    assert running.frames[0].meta.epoch == 1
    assert running.frames[clips.VP9.frames].meta.epoch == 2
    # The group's first picture came before its last packet did.
    first = running.frames[0].meta
    assert first.received_ns < first.arrived_ns


def test_damage_costs_its_group_and_no_more(tmp_path: Path) -> None:
    path = clips.corrupted(tmp_path / "c.webm", bad=range(10, 12), recipe=replace(clips.VP9, frames=30))
    frames, states, source = _played(_spec(path))
    numbers = [clips.number_of(frame.picture.bgr()) for frame in frames]
    assert set(range(10)) | set(range(20, 30)) <= set(numbers)
    assert source.statistics().bad_frames >= 1
    assert states[-1].name == "ended"


def test_a_codec_that_it_does_not_decode_without_a_gpu_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="mjpeg, vp8, vp9 without a GPU, not h264"):
        _played(_spec(clips.clip(tmp_path / "a.mp4")))


def test_a_stopped_source_leaves_no_graph_behind(tmp_path: Path) -> None:
    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    path = clips.clip(tmp_path / "v.webm", clips.VP9)
    _played(_spec(path))
    before = threads()
    for _ in range(5):
        with Running(_spec(path)) as running:
            running.wait_frames(3)
    deadline_s = time.monotonic() + 10.0
    while threads() != before and time.monotonic() < deadline_s:
        time.sleep(0.01)  # a joined thread leaves the kernel's list a moment later
    assert threads() == before
