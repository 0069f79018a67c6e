"""A network that loses, delays and reorders: UDP, and what a camera's pictures are worth then.

The same watching runs twice: against a server that loses its packets itself, which runs everywhere, and in a network
namespace in which the kernel loses them (`tc netem`), where the machine has that.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from streams.source import SourceSpec
from tests.media import clips
from tests.services.rtsp import RtspServer
from tests.streams.running import Running

ServerFactory = Callable[..., RtspServer]

_LOSS: Final = 0.03
_FRAMES: Final = 100
_IN_NAMESPACE: Final = "VIDFACE_TEST_IN_NETEM"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_udp_that_loses_and_reorders_packets(rtsp_server: ServerFactory, tmp_path: Path) -> None:
    clip = clips.clip(tmp_path / "a.mp4")
    is_lossy_by_itself = os.environ.get(_IN_NAMESPACE) is None
    server = rtsp_server({"/cam": clip}, loss=_LOSS if is_lossy_by_itself else 0.0)
    with Running(SourceSpec(camera="door", url=server.url("/cam"), rtsp_transport="udp")) as running:
        running.wait_frames(_FRAMES)
        frames = running.frames[:_FRAMES]
    assert running.causes == [("connecting", "starting"), ("live", "opened"), ("ended", "stopped")]
    assert [frame.meta.index for frame in frames] == list(range(_FRAMES))
    times_ns = [frame.meta.pts_ns for frame in frames]
    assert times_ns == sorted(set(times_ns))
    assert all(frame.meta.received_ns <= frame.meta.arrived_ns for frame in frames)
    # Some pictures show what was there before the loss, up to the next key frame (every 10th); most are at their time.
    places = [round(at_ns / 40e6) for at_ns in times_ns]
    behind = Counter(
        (place - clips.number_of(frame.picture.bgr())) % 50 for place, frame in zip(places, frames, strict=True)
    )
    assert behind.most_common(1)[0][1] > _FRAMES * 7 // 10
    # Packets were lost indeed.
    counts = running.source.statistics()
    assert places[-1] > _FRAMES - 1 or len(behind) > 1 or counts.bad_frames


@pytest.mark.slow
def test_udp_in_a_network_namespace_that_loses_packets(rtsp_server: ServerFactory) -> None:
    if os.environ.get(_IN_NAMESPACE) is not None:
        pytest.skip("this is the namespace")
    network = f"ip link set lo up && tc qdisc add dev lo root netem delay 20ms 15ms loss {_LOSS:.0%}"
    reason = _no_netem(network)
    if reason is not None:
        if os.environ.get("VIDFACE_REQUIRE_NETEM") == "1":
            pytest.fail(f"VIDFACE_REQUIRE_NETEM=1, but {reason}")
        pytest.skip(reason)
    inner = f"{Path(__file__).relative_to(_REPOSITORY)}::{test_udp_that_loses_and_reorders_packets.__name__}"
    done = subprocess.run(
        [
            "unshare",
            "-n",
            "sh",
            "-c",
            f'{network} && exec "$0" -m pytest -q -p no:cacheprovider "$1"',
            sys.executable,
            inner,
        ],
        cwd=_REPOSITORY,
        env=os.environ | {_IN_NAMESPACE: "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "1 passed" in done.stdout


def _no_netem(network: str) -> str | None:
    """Why the kernel cannot lose packets for us; None if it can."""
    absent = [name for name in ("unshare", "ip", "tc") if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} here"
    tried = subprocess.run(
        ["unshare", "-n", "sh", "-c", network], capture_output=True, text=True, timeout=30, check=False
    )
    if tried.returncode == 0:
        return None
    return f"no network namespace with netem here: {(tried.stderr.strip().splitlines() or ['unknown'])[-1]}"
