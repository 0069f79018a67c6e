"""A real RTSP server for tests: Debian's gst-rtsp-server in a process of its own."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

PYTHON: Final = "/usr/bin/python3"
PACKAGES: Final = (
    "gir1.2-gst-rtsp-server-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-ugly",
    "glib-networking",
    "python3-gi",
)
_SCRIPT: Final = Path(__file__).with_name("rtsp_server.py")
_PROBE: Final = """
import gi
for name in ("Gst", "GstApp", "GstRtsp", "GstRtspServer"):
    gi.require_version(name, "1.0")
from gi.repository import Gio, Gst, GstApp, GstRtsp, GstRtspServer
Gst.init(None)
if not Gio.TlsBackend.get_default().supports_tls():
    raise SystemExit("no TLS for GLib")
wanted = ("x264enc", "h264parse", "rtph264pay", "h265parse", "rtph265pay", "parsebin", "multiudpsink", "netsim")
absent = [name for name in wanted if not Gst.ElementFactory.find(name)]
raise SystemExit(f"no GStreamer element {', '.join(absent)}" if absent else 0)
"""


def missing() -> str | None:
    """Why there can be no RTSP server here; None if there can."""
    if not Path(PYTHON).exists():
        return f"no {PYTHON}, whose GStreamer bindings the server needs"
    probe = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)
    if probe.returncode == 0:
        return None
    last = (probe.stderr.strip().splitlines() or ["unknown"])[-1]
    return f"GStreamer's RTSP server is absent ({last}); apt-get install {' '.join(PACKAGES)}"


def install() -> None:
    """Install the server's Debian packages, where they are missing and this is root with apt-get.

    Raises:
        RuntimeError: They are missing and cannot be installed; says why.
    """
    if missing() is None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"needs root and apt-get: apt-get install {' '.join(PACKAGES)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (("update", "-qq"), ("install", "-qq", "-y", "--no-install-recommends", *PACKAGES)):
        done = subprocess.run(
            ["apt-get", *command], env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        if done.returncode:
            raise RuntimeError(f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}")


class RtspServer:
    """A server of one or more streams on a port of its own, which it keeps when it is started again."""

    def __init__(
        self,
        mounts: Mapping[str, Path | Sequence[Path] | None] | None = None,
        *,
        user: str | None = None,
        password: str | None = None,
        digest: bool = False,
        certificate: Path | None = None,
        close_every_s: float | None = None,
        loss: float = 0.0,
    ) -> None:
        """Prepare.

        Args:
            mounts: Path such as `/cam` to the H.264 or H.265 file (mp4, mkv, h264) that it shows over and over, to
                several of one codec, one behind the other, or to None for a test picture of 320x240 at 25 frames a
                second. Default: a test picture at `/test`.
            user: Who may watch; None for everybody.
            password: That user's password.
            digest: Ask for it by digest authentication, not basic.
            certificate: PEM file of a certificate and its key: the server speaks `rtsps` alone.
            close_every_s: Close every connection that often.
            loss: Share of RTP packets that get lost, while others come late and out of order.
        """
        self._mounts = dict(mounts or {"/test": None})
        self._user = user
        self._password = password
        self._digest = digest
        self._certificate = certificate
        self._close_every_s = close_every_s
        self._loss = loss
        self._port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first `start`."""
        return self._port

    def url(self, path: str = "/test", *, user: str | None = None, password: str | None = None) -> str:
        """Address of a stream, with the given user or with the one who may watch."""
        if path not in self._mounts:
            raise ValueError(f"no stream {path!r}, there are {sorted(self._mounts)}")
        user, password = user or self._user, password or self._password
        login = f"{user}:{password}@" if user else ""
        return f"{'rtsp' if self._certificate is None else 'rtsps'}://{login}127.0.0.1:{self._port}{path}"

    def start(self) -> None:
        """Start; returns once it listens."""
        if self._process is not None:
            raise RuntimeError("the RTSP server is running")
        settings = {
            "port": self._port,
            "mounts": {path: _paths(clips) for path, clips in self._mounts.items()},
            "user": self._user,
            "password": self._password,
            "digest": self._digest,
            "certificate": None if self._certificate is None else str(self._certificate),
            "close_every_s": self._close_every_s,
            "loss": self._loss,
        }
        process = subprocess.Popen(
            [PYTHON, str(_SCRIPT), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.strip().isdecimal():
            process.kill()
            _, complaint = process.communicate()
            raise RuntimeError(f"the RTSP server did not start: {complaint.strip()[-500:]}")
        self._process = process
        self._port = int(line)

    def stop(self) -> None:
        """Kill it: connections break as with a camera whose power is cut. May be called again."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()  # closes its pipes too

    def restart(self) -> None:
        """Stop where running, and start on the same port."""
        self.stop()
        self.start()


def _paths(clips: Path | Sequence[Path] | None) -> list[str] | None:
    if clips is None:
        return None
    return [str(clip) for clip in ([clips] if isinstance(clips, Path) else clips)]


@pytest.fixture
def rtsp_server() -> Iterator[Callable[..., RtspServer]]:
    """A factory of running servers, which takes what `RtspServer` takes; stopped after the test.

    Skips where there can be none, fails where VIDFACE_REQUIRE_RTSP=1 says that there must.
    """
    reason = missing()
    if reason is not None:
        if os.environ.get("VIDFACE_REQUIRE_RTSP") == "1":
            pytest.fail(f"VIDFACE_REQUIRE_RTSP=1, but {reason}")
        pytest.skip(reason)
    servers: list[RtspServer] = []

    def start(mounts: Mapping[str, Path | Sequence[Path] | None] | None = None, **settings: Any) -> RtspServer:
        server = RtspServer(mounts, **settings)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()
