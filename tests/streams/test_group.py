"""Groups of pictures, read back by FFmpeg: each must be a whole recording by itself."""

import io
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.packet import Packet
from av.video.stream import VideoStream

from streams.group import GroupSplitter, file_of, shown_order
from tests.media import clips

OPEN_GROUPS = clips.Recipe(
    options={"preset": "veryfast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:b-adapt=0:open-gop=1"}
)
HEVC = clips.Recipe(
    codec="libx265",
    frames=40,
    options={
        "preset": "ultrafast",
        "x265-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:open-gop=0:pools=1:log-level=error",
    },
)
HEVC_OPEN = clips.Recipe(
    codec="libx265",
    frames=40,
    options={
        "preset": "ultrafast",
        "x265-params": "keyint=10:min-keyint=10:scenecut=0:bframes=3:open-gop=1:pools=1:log-level=error",
    },
)


def _groups(path: Path, *, skip: int = 0) -> list[tuple[bytes, list[int | None]]]:
    """The file of each group, and the times of its pictures in ns."""
    found: list[tuple[bytes, list[int | None]]] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        splitter = GroupSplitter()

        def take(group: "list[Packet[VideoStream]]") -> None:
            times = [each.pts_ns for each in shown_order(group, stream.codec_context.name)]
            found.append((file_of(group, stream), times))

        for place, packet in enumerate(container.demux(stream)):
            if packet.dts is None:
                for group in splitter.flush():
                    take(group)
            elif place >= skip and (done := splitter.add(packet)) is not None:
                take(done)
        assert splitter.size_bytes == 0
    return found


def _packets(data: list[bytes]) -> "list[Packet[VideoStream]]":
    return [cast("Packet[VideoStream]", Packet(each)) for each in data]


def _numbers(data: bytes) -> list[int]:
    with av.open(io.BytesIO(data), "r") as container:
        return [
            clips.number_of(np.asarray(frame.to_ndarray(format="bgr24"), np.uint8))
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize(
    ("name", "recipe", "groups"),
    [
        pytest.param("a.mp4", clips.MOVING, 5, id="h264"),
        pytest.param("a.ts", clips.MOVING, 5, id="h264-ts"),
        pytest.param("b.mp4", clips.B_FRAMES, 2, id="b-frames"),
        pytest.param("b.ts", clips.B_FRAMES, 2, id="b-frames-ts"),
        pytest.param("o.mp4", OPEN_GROUPS, 1, id="open-groups"),
        pytest.param("h.mp4", HEVC, 4, id="h265"),
        pytest.param("ho.mp4", HEVC_OPEN, 1, id="h265-open-groups"),
        pytest.param("v.webm", clips.VP9, 2, id="vp9"),
        pytest.param("m.avi", clips.MJPEG, 10, id="mjpeg"),
    ],
)
def test_groups_hold_every_picture_with_its_time(tmp_path: Path, name: str, recipe: clips.Recipe, groups: int) -> None:
    found = _groups(clips.clip(tmp_path / name, recipe))
    assert len(found) == groups
    numbers = [number for data, _ in found for number in _numbers(data)]
    assert numbers == list(range(recipe.frames))
    times = [time for _, times in found for time in times]
    assert [round(((time or 0) - (times[0] or 0)) / 40e6) for time in times] == numbers


def test_joined_in_the_middle_it_begins_with_the_next_key_frame(tmp_path: Path) -> None:
    found = _groups(clips.clip(tmp_path / "a.mp4", clips.MOVING), skip=13)
    assert _numbers(found[0][0]) == list(range(20, 30))


def test_pictures_of_vp8_that_are_never_shown_have_no_time() -> None:
    packets = _packets([b"\x10", b"\x01", b"\x11", b""])
    for place, packet in enumerate(packets):
        packet.pts, packet.time_base = place, Fraction(1, 1000)
    assert [each.pts_ns for each in shown_order(packets, "vp8")] == [0, 2_000_000]
    assert len(shown_order(packets, "h264")) == 4


def test_a_stream_without_times_keeps_the_order_of_decoding() -> None:
    splitter = GroupSplitter()
    packets = _packets([bytes([index]) for index in range(5)])
    for packet in packets:
        packet.is_keyframe = packet in packets[::3]
    done = [group for packet in packets if (group := splitter.add(packet)) is not None] + list(splitter.flush())
    assert [[bytes(packet)[0] for packet in group] for group in done] == [[0, 1, 2], [3, 4]]
    assert [each.pts_ns for each in shown_order(done[0], "h264")] == [None, None, None]
