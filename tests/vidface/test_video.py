from __future__ import annotations

import contextlib
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import ShapeError
from pipeline.faces import U8Image
from vidface.video import VideoWriter


def picture(number: int, size_wh: tuple[int, int] = (160, 120)) -> U8Image:
    """Reddish, and a little brighter each time."""
    bgr = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    bgr[..., 2] = 100 + 4 * number
    bgr[..., 1] = 40
    return bgr


def write(path: Path, count: int, size_wh: tuple[int, int] = (160, 120), fps: float = 25) -> None:
    with VideoWriter(path, size_wh=size_wh, fps=fps) as writer:
        for number in range(count):
            writer.write(picture(number, size_wh))
        assert writer.frame_count == count


def read(path: Path) -> list[U8Image]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("count", "fps", "seconds"),
    [
        pytest.param(30, 25, 1.2, id="25 fps"),
        pytest.param(24, 23.976, 1.001, id="film"),
        pytest.param(1, 10, 0.1, id="one"),
    ],
)
def test_frames_and_duration(tmp_path: Path, count: int, fps: float, seconds: float) -> None:
    path = tmp_path / "out.mp4"
    write(path, count, fps=fps)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(seconds, abs=0.002)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.frames == count
    assert len(read(path)) == count


def test_colours_and_order_survive(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, 25)
    frames = read(path)
    for number in (0, 12, 24):
        blue, green, red = frames[number].reshape(-1, 3).mean(axis=0)
        assert red == pytest.approx(100 + 4 * number, abs=5)
        assert green == pytest.approx(40, abs=5)
        assert blue < 8


def test_the_index_is_in_front(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, 5)
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_odd_sides_are_widened_by_a_pixel(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    write(path, 3, size_wh=(161, 121))
    assert read(path)[0].shape == (122, 162, 3)


def test_without_x264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    path = tmp_path / "out.mp4"
    write(path, 10)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert len(read(path)) == 10


def test_what_was_written_before_an_error_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with contextlib.suppress(InterruptedError), VideoWriter(path, size_wh=(160, 120), fps=25) as writer:
        for number in range(7):
            writer.write(picture(number))
        raise InterruptedError
    assert len(read(path)) == 7


def test_nothing_written_is_no_error(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "out.mp4", size_wh=(160, 120), fps=25) as writer:
        pass
    assert writer.frame_count == 0


def test_a_picture_of_another_size(tmp_path: Path) -> None:
    with (
        VideoWriter(tmp_path / "out.mp4", size_wh=(160, 120), fps=25) as writer,
        pytest.raises(ShapeError, match=r"expected a picture of shape \(120, 160, 3\), got \(160, 120, 3\)"),
    ):
        writer.write(picture(0, (120, 160)))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), VideoWriter(tmp_path / "no" / "out.mp4", size_wh=(16, 16), fps=25):
        pass
