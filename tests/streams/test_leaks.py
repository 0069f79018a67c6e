"""A hundred cameras that come and go leave nothing: no thread, no descriptor, no memory."""

import contextlib
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from streams.source import Kind, SourceSpec
from tests.media import clips
from tests.services.rtsp import RtspServer
from tests.streams.held import Held, resident_mib
from tests.streams.running import Running

_SOURCES: Final = 100
_OVER_RTSP: Final = 1
_ROUNDS: Final = 20
_WARM_ROUNDS: Final = 5
_GROWTH_MIB: Final = 24.0
"""Rounds differ by some 7 MiB, and 70 of them grow by no more; one small picture a source would be 45 MiB."""


@pytest.mark.slow
def test_a_hundred_sources_opened_and_closed_twenty_times_leak_nothing(
    rtsp_server: Callable[..., RtspServer], tmp_path: Path
) -> None:
    clip = clips.clip(tmp_path / "a.mp4", clips.Recipe(frames=6))
    broken = clips.truncated(tmp_path / "t.mkv", recipe=clips.Recipe(frames=6))
    server = rtsp_server({"/cam": clip})
    specs = [_spec(number, clip, broken, server) for number in range(_SOURCES)]
    resident: list[float] = []
    held: list[Held] = []
    for _ in range(_ROUNDS):
        with contextlib.ExitStack() as stack:
            all_running = []
            for spec in specs:
                running = stack.enter_context(Running(spec))
                if spec.url.startswith("rtsp:"):
                    # One after the other: GStreamer's server can crash when two readers ask for one clip at a moment.
                    running.wait_frames(1)
                all_running.append(running)
            for running in all_running:
                running.wait_frames(3)
        gc.collect()
        _give_back()
        held.append(Held.now())
        resident.append(resident_mib())
    for kind in ("threads", "processes", "descriptors"):
        assert len(getattr(held[-1], kind)) <= len(getattr(held[0], kind)), kind
    growth_mib = max(resident[-3:]) - max(resident[:_WARM_ROUNDS])
    assert growth_mib < _GROWTH_MIB, [round(mib) for mib in resident]


def _spec(number: int, clip: Path, broken: Path, server: RtspServer) -> SourceSpec:
    camera = f"camera-{number}"
    if number < _OVER_RTSP:
        return SourceSpec(camera=camera, url=server.url("/cam"))
    if number % 10 == 0:
        return SourceSpec(camera=camera, url=str(broken), kind=Kind.LIVE, backoff_initial_s=0.01, backoff_max_s=0.02)
    # Some are stopped in the middle, while they are waited for; two in three have decoder threads of their own.
    return SourceSpec(camera=camera, url=str(clip), threads=1 + number % 3, real_time=number % 4 == 0)


def _give_back() -> None:
    """Make the C library give free memory back, so that what is left is in use."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
