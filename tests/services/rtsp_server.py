"""A real RTSP server of GStreamer's; run by the system's Python, which alone has its bindings.

    /usr/bin/python3 rtsp_server.py '{"port": 0, "mounts": {"/cam": "clip.mp4"}, "user": null, "password": null}'

Each mount sends an H.264 file over and over, at its own pace and with times that go on growing, or, where it is null,
GStreamer's test picture. The port that it listens on is the first line of its output.
"""

import json
import sys
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: E402, F401 - versions come first; GstApp adds methods

TEST_PICTURE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25"
    " ! rtph264pay name=pay0 config-interval=-1 )"
)
# The parser repeats the parameter sets, not the payloader: that one would put them between the slices of a picture,
# where a reader takes them for the start of the next.
LOOP = "( appsrc name=loop format=time ! h264parse config-interval=-1 ! rtph264pay name=pay0 config-interval=0 )"
READ = (
    "filesrc name=file ! parsebin ! h264parse ! video/x-h264,stream-format=byte-stream,alignment=au"
    " ! appsink name=out sync=false"
)

Packet = tuple[bytes, int, int, int]


def packets_of(path: str) -> tuple[list[Packet], Any]:
    """All packets of a file: [(bytes, pts, dts, duration)] in ns, and their caps."""
    pipeline = Gst.parse_launch(READ)
    pipeline.get_by_name("file").set_property("location", path)
    pipeline.set_state(Gst.State.PLAYING)
    sink = pipeline.get_by_name("out")
    packets: list[Packet] = []
    caps = None
    while sample := sink.pull_sample():
        buffer, caps, segment = sample.get_buffer(), sample.get_caps(), sample.get_segment()
        pts, dts = (segment.to_running_time_full(Gst.Format.TIME, t) for t in (buffer.pts, buffer.dts))
        signed = [value if sign >= 0 else -value for sign, value in (pts, dts)]
        packets.append((buffer.extract_dup(0, buffer.get_size()), *signed, buffer.duration))
    pipeline.set_state(Gst.State.NULL)
    if not packets:
        sys.exit(f"no H.264 in {path}")
    return packets, caps


def play(media: Any, packets: list[Packet], caps: Any) -> None:
    """Feed a media's source with packets, again from the first behind the last."""
    source = media.get_element().get_by_name_recurse_up("loop")
    source.set_property("caps", caps)
    first = min(min(pts, dts) for _, pts, dts, _ in packets)
    length = max(pts + duration for _, pts, _, duration in packets) - min(pts for _, pts, _, _ in packets)
    state = {"at": 0}

    def push(_source: Any, _size: int) -> None:
        rounds, index = divmod(state["at"], len(packets))
        state["at"] += 1
        data, pts, dts, duration = packets[index]
        buffer = Gst.Buffer.new_wrapped(data)
        buffer.pts, buffer.dts = (t - first + rounds * length for t in (pts, dts))
        buffer.duration = duration
        source.emit("push-buffer", buffer)

    source.connect("need-data", push)


def main(settings: dict[str, Any]) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(settings["port"]))
    roles = None
    if settings["user"]:
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth = GstRtspServer.RTSPAuth()
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(settings["user"], settings["password"]), token)
        server.set_auth(auth)
        roles = GstRtspServer.RTSPPermissions()
        roles.add_role("viewer")
        for what in ("access", "construct"):
            roles.add_permission_for_role("viewer", f"media.factory.{what}", True)
    for path, clip in settings["mounts"].items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(True)
        factory.set_launch(TEST_PICTURE if clip is None else LOOP)
        if clip is not None:
            packets, caps = packets_of(clip)
            factory.connect("media-configure", lambda _, media, p=packets, c=caps: play(media, p, c))
        if roles is not None:
            factory.set_permissions(roles)
        server.get_mount_points().add_factory(path, factory)
    if not server.attach(None):
        sys.exit("the port is taken")
    print(server.get_bound_port(), flush=True)  # noqa: T201 - the line that the test waits for
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
