"""Habits of real cameras, each against a real server, or one that goes by the book up to a point."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from streams import container
from streams.capture import CaptureClock
from streams.frame import Frame
from streams.source import CameraStateName, SourceSpec
from tests.media import clips
from tests.services.rtsp import RtspServer
from tests.services.rtsp_dialogue import REQUESTS, RtspDialogue
from tests.streams.held import Held
from tests.streams.running import Running

ServerFactory = Callable[..., RtspServer]
DialogueFactory = Callable[..., RtspDialogue]

NOISE: Final = random.Random(7).randbytes(4096)
FRAMED_NOISE: Final = b"".join(
    b"$\0" + len(part).to_bytes(2, "big") + part for part in (random.Random(at).randbytes(400) for at in range(50))
)
"""As RTP inside the RTSP connection, but for what is in it."""
PLAYING: Final = b"RTSP/1.0 200 OK\r\nCSeq: 4\r\nSession: 1\r\n\r\n"


def _impatient(url: str) -> SourceSpec:
    return SourceSpec(camera="door", url=url, open_timeout_s=0.8, stall_timeout_s=0.4)


def _numbers(running: Running) -> list[int]:
    return [clips.number_of(frame.picture.bgr()) for frame in running.frames]


# What it sends.


def test_the_size_changes_in_mid_stream(rtsp_server: ServerFactory, tmp_path: Path) -> None:
    small = clips.clip(tmp_path / "small.mp4", clips.Recipe(frames=20))
    large = clips.clip(tmp_path / "large.mp4", clips.Recipe(frames=20, size_wh=(320, 240)))
    server = rtsp_server({"/cam": [small, large]})
    with Running(SourceSpec(camera="door", url=server.url("/cam"))) as running:
        running.wait_frames(50)
        frames = running.frames[:50]
    assert [frame.meta.size_wh for frame in frames] == [(160, 120)] * 20 + [(320, 240)] * 20 + [(160, 120)] * 10
    for place, frame in enumerate(frames):
        width, height = frame.meta.size_wh
        assert frame.picture.bgr().shape == (height, width, 3)
        assert clips.number_of(frame.picture.bgr()) == place % 20
        assert frame.picture.scaled_bgr((80, 60)).shape == (60, 80, 3)
    assert {frame.meta.epoch for frame in frames} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param("keyint=10:bframes=0", id="plain"),
        pytest.param("keyint=25:bframes=3:b-adapt=0", id="b-frames"),
    ],
)
def test_h265(rtsp_server: ServerFactory, tmp_path: Path, options: str) -> None:
    recipe = clips.Recipe(codec="libx265", options={"preset": "ultrafast", "x265-params": f"log-level=none:{options}"})
    server = rtsp_server({"/cam": clips.clip(tmp_path / "a.mp4", recipe)})
    with Running(SourceSpec(camera="door", url=server.url("/cam"))) as running:
        running.wait_frames(60)
        numbers = _numbers(running)[:60]
        times_ns = [frame.meta.pts_ns for frame in running.frames[:60]]
    assert numbers == [(numbers[0] + at) % 50 for at in range(60)]
    assert times_ns == sorted(set(times_ns))


@pytest.mark.parametrize("name", ["t.mp4", "t.mkv", "t.ts"])
def test_a_camera_that_plays_a_file_with_a_broken_tail_goes_on_with_what_there_is(tmp_path: Path, name: str) -> None:
    path = clips.truncated(tmp_path / name)
    spec = SourceSpec(camera="door", url=str(path))
    with Running(spec) as running:
        running.join()
    numbers = _numbers(running)
    assert numbers == list(range(len(numbers)))
    assert 20 <= len(numbers) < 40
    assert running.states[-1].cause in {"truncated", "eof"}


def test_reports_of_the_sender_reach_the_capture_clock(
    rtsp_server: ServerFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[int] = []

    class NotingClock(CaptureClock):
        def captured_ns(self, *, arrived_ns: int, pts_ns: int | None, sender_ns: int | None = None) -> int:
            if sender_ns is not None:
                reported.append(abs(sender_ns - time.time_ns()))
            return super().captured_ns(arrived_ns=arrived_ns, pts_ns=pts_ns, sender_ns=sender_ns)

    monkeypatch.setattr(container, "CaptureClock", NotingClock)
    server = rtsp_server()
    with Running(SourceSpec(camera="door", url=server.url(), rtsp_transport="udp")) as running:
        running.wait(lambda: len(reported) > 3)
    # The server's clock is ours: a wrong unit or epoch would be years out.
    assert max(reported) < 60e9
    assert all(frame.meta.received_ns <= frame.meta.arrived_ns for frame in running.frames)


@pytest.mark.slow
def test_a_picture_that_was_held_back_for_the_next_is_as_old_as_it_is(
    rtsp_server: ServerFactory, tmp_path: Path
) -> None:
    # FFmpeg hands a picture over when the next one begins: with two a second that is half a second later.
    recipe = clips.Recipe(fps=2, frames=30, options={"preset": "ultrafast", "g": "2", "bf": "0"})
    server = rtsp_server({"/cam": clips.clip(tmp_path / "slow.mp4", recipe)})
    with Running(SourceSpec(camera="door", url=server.url("/cam"))) as running:
        running.wait_frames(12)  # the first ones come at once
        meta = running.frames[11].meta
    assert meta.arrived_ns - meta.received_ns > 400e6


# How it lets in.


def test_digest_authentication(rtsp_server: ServerFactory) -> None:
    server = rtsp_server(user="viewer", password="right-secret", digest=True)
    with Running(SourceSpec(camera="door", url=server.url())) as running:
        running.wait_frames(3)
    with Running(SourceSpec(camera="door", url=server.url(password="wrong-secret"))) as refused:
        lost = refused.wait_state(CameraStateName.LOST)
    assert lost.cause == "auth_failed"
    assert "secret" not in repr(running.states) + repr(refused.states)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_server_that_lets_nobody_in(rtsp_dialogue: DialogueFactory, status: str) -> None:
    dialogue = rtsp_dialogue(until="DESCRIBE", answer=f"RTSP/1.0 {status}\r\nCSeq: 2\r\n\r\n".encode())
    with Running(_impatient(dialogue.url)) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert lost.cause == "auth_failed"
    assert "secret" not in repr(running.states)


def test_too_many_watch(rtsp_dialogue: DialogueFactory) -> None:
    dialogue = rtsp_dialogue(until="DESCRIBE", answer=b"RTSP/1.0 503 Service Unavailable\r\nCSeq: 2\r\n\r\n")
    with Running(_impatient(dialogue.url)) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert lost.cause == "open_failed"
    assert "too many watch" in lost.detail


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, and its key, in one PEM file."""
    folder = tmp_path_factory.mktemp("tls")
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=camera"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "certificate.pem"),
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    both = folder / "both.pem"
    both.write_text((folder / "certificate.pem").read_text() + (folder / "key.pem").read_text())
    return both


def test_rtsps_takes_any_certificate_or_those_that_are_named(rtsp_server: ServerFactory, certificate: Path) -> None:
    server = rtsp_server(certificate=certificate, user="viewer", password="right-secret")
    assert server.url().startswith("rtsps://")
    for ca_file in (None, str(certificate.with_name("certificate.pem"))):
        with Running(SourceSpec(camera="door", url=server.url(), tls_ca_file=ca_file)) as running:
            running.wait_frames(3)
        assert "secret" not in repr(running.states)


def test_rtsps_with_a_certificate_of_somebody_else_is_refused(
    rtsp_server: ServerFactory, certificate: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other"),
        *("-keyout", str(tmp_path / "key.pem"), "-out", str(other)),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    server = rtsp_server(certificate=certificate)
    with Running(SourceSpec(camera="door", url=server.url(), tls_ca_file=str(other))) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert (lost.cause, running.frames) == ("open_failed", [])
    assert "certificate" in lost.detail


def test_certificates_that_are_not_there_are_told() -> None:
    with Running(SourceSpec(camera="door", url="rtsps://127.0.0.1:1/a", tls_ca_file="/absent.pem")) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert "/absent.pem" in lost.detail


def test_rtsp_where_rtsps_is_wanted(rtsp_server: ServerFactory, certificate: Path) -> None:
    server = rtsp_server(certificate=certificate)
    with Running(SourceSpec(camera="door", url=server.url().replace("rtsps:", "rtsp:"))) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert (lost.cause, "rtsps" in lost.detail) == ("open_failed", True)


# How it breaks off.


@pytest.mark.parametrize("until", REQUESTS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(NOISE, id="noise"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html></html>", id="a-web-page"),
    ],
)
def test_it_closes_the_connection_while_it_is_opened(rtsp_dialogue: DialogueFactory, until: str, answer: bytes) -> None:
    dialogue = rtsp_dialogue(until=until, answer=answer)
    with Running(_impatient(dialogue.url)) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert dialogue.reached.is_set()
    assert lost.cause == "open_failed"
    assert "connection was closed" in lost.detail
    assert "secret" not in repr(running.states)


@pytest.mark.parametrize("until", REQUESTS)
def test_noise_in_place_of_an_answer_and_the_connection_stays(rtsp_dialogue: DialogueFactory, until: str) -> None:
    dialogue = rtsp_dialogue(until=until, answer=NOISE, close=False)
    with Running(_impatient(dialogue.url)) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert dialogue.reached.is_set()
    assert lost.cause == "open_timeout"


@pytest.mark.parametrize(
    ("answer", "causes"),
    [
        pytest.param(PLAYING, {"stalled", "open_timeout"}, id="silence"),
        pytest.param(PLAYING + FRAMED_NOISE, {"stalled", "open_timeout"}, id="framed-noise"),
    ],
)
def test_it_says_that_it_plays_and_sends_no_video(
    rtsp_dialogue: DialogueFactory, answer: bytes, causes: set[str]
) -> None:
    dialogue = rtsp_dialogue(until="PLAY", answer=answer, close=False)
    with Running(_impatient(dialogue.url)) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert dialogue.reached.is_set()
    assert lost.cause in causes
    assert running.frames == []


def test_it_plays_and_closes_before_a_picture(rtsp_dialogue: DialogueFactory) -> None:
    dialogue = rtsp_dialogue(until="PLAY", answer=PLAYING)
    with Running(_impatient(dialogue.url)) as running:
        lost = running.wait_state(CameraStateName.LOST)
    assert (lost.cause, "before a picture" in lost.detail) == ("open_failed", True)


@pytest.mark.slow
def test_it_closes_every_second_and_is_connected_again_each_time(rtsp_server: ServerFactory) -> None:
    server = rtsp_server(close_every_s=1.0)
    spec = SourceSpec(camera="door", url=server.url(), backoff_initial_s=0.05, backoff_max_s=0.1)
    held: dict[int, Held] = {}

    def note(frame: Frame) -> None:
        if frame.meta.epoch not in held:
            held[frame.meta.epoch] = Held.now()

    with Running(spec, on_frame=note) as running:
        running.wait(lambda: 5 in held)
    lives = [state.epoch for state in running.states if state.name is CameraStateName.LIVE]
    assert lives == [1, 2, 3, 4, 5]
    assert [str(state.name) for state in running.states if state.cause == "eof"] == ["lost"] * 4
    epochs = [frame.meta.epoch for frame in running.frames]
    assert epochs == sorted(epochs)
    assert [frame.meta.epoch for frame in running.frames if frame.meta.index == 0] == lives
    assert running.source.statistics().reconnects == 4
    # The fifth connection holds what the first did.
    for kind in ("threads", "processes", "descriptors"):
        assert len(getattr(held[5], kind)) == len(getattr(held[1], kind)), kind
