"""Live cameras, against a real RTSP server and one that never answers."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.clock import SystemClock
from streams.source import CameraStateName, SourceSpec
from tests.media import clips
from tests.services.rtsp import RtspServer
from tests.streams.running import PATIENCE_S, Running

ServerFactory = Callable[..., RtspServer]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A listening socket: the kernel accepts for it, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE_S)
        yield listening


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_arrive(rtsp_server: ServerFactory, transport: str) -> None:
    server = rtsp_server()
    spec = SourceSpec(camera="door", url=server.url(), rtsp_transport=transport)  # type: ignore[arg-type] # a table of literals
    with Running(spec) as running:
        running.wait_frames(30)
        frames = running.frames[:30]
    assert running.causes == [("connecting", "starting"), ("live", "opened"), ("ended", "stopped")]
    assert frames[0].picture.scaled_bgr((160, 120)).shape == (120, 160, 3)
    assert {frame.meta.size_wh for frame in frames} == {(320, 240)}
    assert [frame.meta.index for frame in frames] == list(range(30))
    times = [frame.meta.pts_ns for frame in frames]
    assert times[0] == 0
    assert times == sorted(set(times))
    assert 20e6 < (times[-1] - times[5]) / 24 < 60e6  # 25 frames a second
    assert abs(frames[-1].meta.captured_ns - time.time_ns()) < 60e9


def test_a_clip_is_shown_over_and_over_and_b_frames_keep_their_order(
    rtsp_server: ServerFactory, tmp_path: Path
) -> None:
    clip = clips.clip(tmp_path / "b.mp4", clips.B_FRAMES)
    server = rtsp_server({"/cam": clip})
    with Running(SourceSpec(camera="door", url=server.url("/cam"))) as running:
        running.wait_frames(80)
        numbers = [clips.number_of(frame.picture.bgr()) for frame in running.frames[:80]]
    assert numbers == [(numbers[0] + at) % 50 for at in range(80)]


@pytest.mark.slow
def test_a_server_that_is_killed_and_returns(rtsp_server: ServerFactory) -> None:
    server = rtsp_server()
    spec = SourceSpec(camera="door", url=server.url(), stall_timeout_s=3.0)
    waits: list[float] = []
    backed_off = threading.Event()

    class NotingClock(SystemClock):
        def wait(self, interrupt: threading.Event, timeout_s: float) -> bool:
            waits.append(timeout_s)
            if len(waits) == 4:
                backed_off.set()
            return super().wait(interrupt, timeout_s)

    with Running(spec, clock=NotingClock()) as running:
        running.wait_frames(5)
        server.stop()
        lost = running.wait_state(CameraStateName.LOST, timeout_s=spec.stall_timeout_s + 2)
        assert backed_off.wait(PATIENCE_S)  # the longest wait has just begun
        server.start()
        live = running.wait_state(CameraStateName.LIVE, nth=2, timeout_s=5.0)
        running.wait(lambda: running.frames[-1].meta.epoch == 2)
        index = next(frame.meta.index for frame in running.frames if frame.meta.epoch == 2)
    assert (lost.epoch, live.epoch, index) == (1, 2, 0)
    assert lost.cause in {"eof", "read_failed"}
    assert [state.name.value for state in running.states] == [
        *("connecting", "live"),
        *("lost", "connecting"),  # the loss
        *("lost", "connecting"),  # nobody listens: told once, tried four times
        *("live", "ended"),
    ]
    assert running.states[4].cause == "open_failed"
    assert running.source.statistics().reconnects == 1


def test_a_server_that_falls_silent(rtsp_server: ServerFactory) -> None:
    server = rtsp_server()
    spec = SourceSpec(camera="door", url=server.url(), stall_timeout_s=0.7, open_timeout_s=1.0)
    with Running(spec) as running:
        running.wait_frames(5)
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        lost = running.wait_state(CameraStateName.LOST, timeout_s=5)
        os.kill(server._process.pid, signal.SIGCONT)
        running.wait_state(CameraStateName.LIVE, nth=2)
    assert lost.cause == "stalled"
    assert "0.7 s" in lost.detail


def test_a_wrong_password_is_told_and_never_shown(
    rtsp_server: ServerFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    server = rtsp_server(user="viewer", password="right-secret")
    url = server.url(password="wrong-secret")
    with Running(SourceSpec(camera="door", url=url)) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert lost.cause == "auth_failed"
    assert "secret" not in repr(running.states)
    assert "viewer" not in repr(running.states)
    assert "secret" not in "".join(capfd.readouterr())


def test_the_right_password_lets_in(rtsp_server: ServerFactory) -> None:
    server = rtsp_server(user="viewer", password="right-secret")
    with Running(SourceSpec(camera="door", url=server.url())) as running:
        running.wait_frames(3)
    assert "secret" not in repr(running.states)


def test_a_path_that_is_not_there(rtsp_server: ServerFactory) -> None:
    server = rtsp_server()
    with Running(SourceSpec(camera="door", url=f"{server.url()}-not")) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert lost.cause == "open_failed"
    assert "no such stream" in lost.detail


def test_connecting_to_silence_times_out(silent: socket.socket) -> None:
    spec = SourceSpec(camera="door", url=f"rtsp://u:secret@127.0.0.1:{silent.getsockname()[1]}/a", open_timeout_s=0.4)
    with Running(spec) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert lost.cause == "open_timeout"
    assert "0.4 s" in lost.detail
    assert "secret" not in repr(running.states)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_stop_breaks_into_a_connect_that_hangs(silent: socket.socket, scheme: str) -> None:
    spec = SourceSpec(camera="door", url=f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a", open_timeout_s=60.0)
    with Running(spec) as running:
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)  # FFmpeg has asked, and waits for the answer
            running.source.stop()
            running.join(timeout_s=1.0)
    assert running.causes == [("connecting", "starting"), ("ended", "stopped")]


def test_stop_breaks_into_a_read_that_hangs(rtsp_server: ServerFactory) -> None:
    server = rtsp_server()
    spec = SourceSpec(camera="door", url=server.url(), stall_timeout_s=60.0)
    with Running(spec) as running:
        running.wait_frames(5)
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            running.source.stop()
            running.join(timeout_s=1.0)
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
    assert running.causes[-1] == ("ended", "stopped")


def test_stop_breaks_into_the_wait_between_attempts() -> None:
    spec = SourceSpec(camera="door", url="rtsp://127.0.0.1:1/a", backoff_initial_s=60.0, backoff_max_s=60.0)
    with Running(spec) as running:
        running.wait_state(CameraStateName.LOST)
        running.source.stop()
        running.join(timeout_s=1.0)
    assert running.causes[-1] == ("ended", "stopped")


def test_a_stop_touches_no_other_source(rtsp_server: ServerFactory) -> None:
    server = rtsp_server()
    with contextlib.ExitStack() as stack:
        # One after the other: GStreamer's server can crash when two readers ask for its test picture at one moment.
        kept = stack.enter_context(Running(SourceSpec(camera="a", url=server.url())))
        kept.wait_frames(3)
        stopped = stack.enter_context(Running(SourceSpec(camera="b", url=server.url())))
        stopped.wait_frames(3)
        stopped.source.stop()
        stopped.join(timeout_s=1.0)
        kept.wait_frames(len(kept.frames) + 10)
    assert kept.causes == [("connecting", "starting"), ("live", "opened"), ("ended", "stopped")]


def test_decoder_threads_end_with_their_source(rtsp_server: ServerFactory) -> None:
    server = rtsp_server()
    before = _threads()
    with Running(SourceSpec(camera="door", url=server.url(), threads=3)) as running:
        running.wait_frames(5)
        own = running.thread.native_id
        during = _threads() - before - {own}
    assert len(during) >= 2
    assert not during & _threads()


def _threads() -> set[int | None]:
    """The kernel's ids of all threads of this process, FFmpeg's among them, which Python does not know of."""
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}
