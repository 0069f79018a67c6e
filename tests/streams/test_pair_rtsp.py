"""A live camera's main and sub stream as one camera, against real RTSP servers, one for each stream."""

from __future__ import annotations

import socket
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from streams.frame import Picture
from streams.pair import PairSource, PairSpec, PairStatistics
from streams.pairing import Recent, Timed
from streams.source import CameraStateName, SourceSpec
from tests.media import clips
from tests.services.rtsp import RtspServer
from tests.streams.running import PATIENCE_S, Running

ServerFactory = Callable[..., RtspServer]

COUNT = 200
MAIN_WH, SUB_WH = (640, 480), (160, 120)
CELLS = (0, 0, clips.SMALLEST_WIDTH_PX, 8)
WHOLE = [("connecting", "starting"), ("live", "opened"), ("ended", "stopped")]


@pytest.fixture(scope="module")
def main_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pair") / "main.mp4"
    return clips.clip(path, clips.Recipe(size_wh=MAIN_WH, frames=COUNT))


@pytest.fixture(scope="module")
def sub_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.clip(tmp_path_factory.mktemp("pair") / "sub.mp4", clips.Recipe(size_wh=SUB_WH, frames=COUNT))


@pytest.fixture
def servers(rtsp_server: ServerFactory, main_clip: Path, sub_clip: Path) -> tuple[RtspServer, RtspServer]:
    """Of the main and of the sub stream."""
    return rtsp_server({"/main": main_clip}), rtsp_server({"/sub": sub_clip})


def _pair(
    servers: tuple[RtspServer, RtspServer],
    *,
    main_decode: Literal["always", "on_demand"] = "always",
    linger_s: float = 3.0,
) -> PairSpec:
    main, sub = servers
    return PairSpec(
        main=SourceSpec(camera="door", url=main.url("/main")),
        sub=SourceSpec(camera="door", url=sub.url("/sub")),
        main_decode=main_decode,
        linger_s=linger_s,
    )


def _counts(running: Running) -> PairStatistics:
    assert isinstance(running.source, PairSource)
    return running.source.pair_statistics()


def _is_main(picture: Picture) -> bool:
    """Whether a crop is the main stream's: its cells are 8 px, the enlarged sub stream's 32."""
    crop = picture.crop_bgr(0, 0, clips.SMALLEST_WIDTH_PX, 16).astype(int)
    return bool(np.abs(crop[4] - crop[12]).mean() > 50)


def _wait_crop_from_main(running: Running) -> None:
    """Ask for a crop of each new frame, a few frames after it came, until one is from the main stream."""
    begun = _counts(running).crops_from_main

    def asked() -> bool:
        running.frames[-3].picture.crop_bgr(*CELLS)
        return _counts(running).crops_from_main > begun

    running.wait(asked)


def test_faces_are_cut_from_the_main_stream_at_the_time_of_the_sub_streams_frame(
    servers: tuple[RtspServer, RtspServer],
) -> None:
    with Running(_pair(servers)) as running:
        running.wait_frames(5)
        _wait_crop_from_main(running)
        begun = len(running.frames)
        lags: list[int] = []
        for at in range(begun, begun + 25):
            running.wait_frames(at + 4)
            picture = running.frames[at].picture
            small, large = clips.number_of(picture.scaled_bgr(SUB_WH)), clips.number_of(picture.crop_bgr(*CELLS))
            lags.append((large - small) % COUNT)
        counts = _counts(running)
        frames = list(running.frames)
    assert running.causes == WHOLE
    assert "faces are cut from rtsp://" in running.states[1].detail
    assert {frame.meta.size_wh for frame in frames} == {frame.picture.size_wh for frame in frames} == {MAIN_WH}
    assert counts.main_open
    assert counts.main_decoded > 25
    assert counts.main_packets_skipped == 0
    assert counts.crops_from_main >= 25
    # The servers began their loops at different times, so the numbers differ, but always by as many.
    usual = statistics.mode(lags)
    near = [lag for lag in lags if min((lag - usual) % COUNT, (usual - lag) % COUNT) <= 2]
    assert len(near) >= 20, lags


def test_on_demand_nothing_is_decoded_until_a_face_is_cut_and_again_after_a_while(
    servers: tuple[RtspServer, RtspServer],
) -> None:
    with Running(_pair(servers, main_decode="on_demand", linger_s=0.4)) as running:
        running.wait_frames(30)
        assert running.frames[-1].picture.scaled_bgr((80, 60)).shape == (60, 80, 3)
        idle = _counts(running)
        assert idle.main_open
        assert (idle.main_decoded, idle.crops_from_main, idle.crops_from_sub) == (0, 0, 0)
        assert idle.main_packets_skipped > 0
        assert running.frames[-1].meta.size_wh == MAIN_WH

        assert not _is_main(running.frames[-1].picture)
        assert _counts(running).crops_from_sub == 1
        _wait_crop_from_main(running)
        awake = _counts(running)
        assert awake.main_decoded > 0

        # Nobody asks any more: packets are thrown away again, and no picture is decoded beside that.
        running.wait(lambda: _counts(running).main_packets_skipped > awake.main_packets_skipped)
        paused = _counts(running)
        running.wait_frames(len(running.frames) + 20)
        assert _counts(running).main_decoded == paused.main_decoded

        _wait_crop_from_main(running)
        running.wait_frames(len(running.frames) + 3)
        assert _is_main(running.frames[-3].picture)
    assert running.causes == WHOLE


@pytest.mark.slow
def test_losing_the_main_stream_loses_no_camera(servers: tuple[RtspServer, RtspServer]) -> None:
    main, _ = servers
    with Running(_pair(servers)) as running:
        running.wait_frames(5)
        _wait_crop_from_main(running)
        main.stop()
        running.wait(lambda: not _counts(running).main_open)
        running.wait_frames(len(running.frames) + 10)
        before = _counts(running)
        assert before.main_lost == 1
        assert not _is_main(running.frames[-1].picture)
        assert _counts(running).crops_from_sub == before.crops_from_sub + 1
        assert running.frames[-1].meta.size_wh == MAIN_WH
        main.start()
        _wait_crop_from_main(running)
        after = _counts(running)
        assert (after.main_connections, after.main_lost) == (2, 1)
    assert running.causes == WHOLE
    assert {frame.meta.epoch for frame in running.frames} == {1}


def test_a_main_stream_that_was_never_decoded_is_lost_for_the_right_reason(
    servers: tuple[RtspServer, RtspServer],
) -> None:
    with Running(_pair(servers, main_decode="on_demand")) as running:
        running.wait_frames(5)
        servers[0].stop()
        running.wait(lambda: _counts(running).main_lost)
        counts = _counts(running)
        assert counts.main_decoded == 0
        assert "no picture" not in counts.main_detail
        running.wait_frames(len(running.frames) + 5)
    assert running.causes == WHOLE


@pytest.mark.slow
def test_a_main_stream_that_comes_later_begins_an_epoch_in_its_size(servers: tuple[RtspServer, RtspServer]) -> None:
    main, _ = servers
    pair = _pair(servers)
    main.stop()
    with Running(pair) as running:
        running.wait_frames(5)
        first = running.wait_state(CameraStateName.LIVE)
        assert "enlarged, for rtsp://" in first.detail
        assert "nothing listens there" in first.detail
        assert running.frames[4].picture.crop_bgr(0, 0, 16, 8).shape == (8, 16, 3)
        main.start()
        running.wait_state(CameraStateName.LIVE, nth=2)
        running.wait(lambda: running.frames[-1].meta.epoch == 2)
        running.wait_frames(len(running.frames) + 5)
        _wait_crop_from_main(running)
    assert running.causes == [
        ("connecting", "starting"),
        ("live", "opened"),
        ("lost", "resized"),
        ("connecting", "retrying"),
        ("live", "opened"),
        ("ended", "stopped"),
    ]
    assert {(frame.meta.epoch, *frame.meta.size_wh) for frame in running.frames} == {(1, *SUB_WH), (2, *MAIN_WH)}


@pytest.mark.slow
def test_losing_the_sub_stream_is_losing_the_camera(servers: tuple[RtspServer, RtspServer]) -> None:
    _, sub = servers
    with Running(_pair(servers)) as running:
        running.wait_frames(5)
        sub.stop()
        running.wait_state(CameraStateName.LOST)
        assert _counts(running).main_open
        sub.start()
        running.wait_state(CameraStateName.LIVE, nth=2)
        running.wait(lambda: running.frames[-1].meta.epoch == 2)
        counts = _counts(running)
        assert (counts.main_connections, counts.main_lost) == (1, 0)
    assert {frame.meta.size_wh for frame in running.frames} == {MAIN_WH}


def test_streams_that_cannot_show_the_same_are_told_and_the_camera_goes_on(
    rtsp_server: ServerFactory, main_clip: Path, tmp_path: Path
) -> None:
    turned = clips.clip(tmp_path / "turned.mp4", clips.Recipe(size_wh=(120, 160)))
    servers = rtsp_server({"/main": main_clip}), rtsp_server({"/sub": turned})
    with Running(_pair(servers)) as running:
        running.wait_frames(5)
        counts = _counts(running)
    assert running.causes[2] == ("lost", "open_failed")
    assert "main stream's pictures are 640x480 and the sub stream's 120x160" in running.states[2].detail
    assert "main stream's pictures are 640x480" in counts.main_detail
    assert {(frame.meta.epoch, *frame.meta.size_wh) for frame in running.frames} == {(2, 120, 160)}


def test_stop_breaks_into_a_main_stream_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)
        url = f"rtsp://127.0.0.1:{listening.getsockname()[1]}"
        main = SourceSpec(camera="door", url=f"{url}/main", open_timeout_s=60.0)
        pair = PairSpec(main=main, sub=SourceSpec(camera="door", url=f"{url}/sub"), main_wait_s=60.0)
        with Running(pair) as running:
            running.wait_state(CameraStateName.CONNECTING)
            connection, _ = listening.accept()
            with connection:
                connection.recv(1)  # FFmpeg has asked, and waits for the answer
                running.source.stop()
                running.join(timeout_s=2.0)
    assert running.causes == [("connecting", "starting"), ("ended", "stopped")]


def test_a_bug_in_the_main_streams_thread_is_not_hidden(
    servers: tuple[RtspServer, RtspServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Recent, __: Timed) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Recent, "put", fail)
    with Running(_pair(servers)) as running:
        running.join()
    assert isinstance(running.error, ZeroDivisionError)
    assert running.causes[-1] == ("ended", "stopped")
