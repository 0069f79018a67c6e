"""A real RTSP server of GStreamer's; run by the system's Python, which alone has its bindings.

    /usr/bin/python3 rtsp_server.py '{"port": 0, "mounts": {"/cam": ["clip.mp4"]}, "user": null, "password": null,
                                      "digest": false, "certificate": null, "close_every_s": null, "loss": 0.0}'

Each mount sends its H.264 or H.265 files, one behind the other and over and over, at their own pace and with times that
go on growing, or, where it is null, GStreamer's test picture. The port that it listens on is the first line of its
output. `certificate` is a PEM file of a certificate and its key, and makes it speak TLS; with `close_every_s` every
connection is closed that often; `loss` is the share of RTP packets that never leave it, while others come late and
out of order.
"""

import json
import sys
from typing import Any

import gi

gi.require_version("Gio", "2.0")
gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gio, GLib, Gst, GstApp, GstRtsp, GstRtspServer  # noqa: E402, F401 - versions come first; GstApp adds methods

TEST_PICTURE = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25"
    " ! rtph264pay config-interval=-1 {pay0} )"
)
# The parser repeats the parameter sets, not the payloader: that one would put them between the slices of a picture,
# where a reader takes them for the start of the next.
LOOP = "( appsrc name=loop format=time ! {codec}parse config-interval=-1 ! rtp{codec}pay config-interval=0 {pay0} )"
# Some get lost, half are late by up to 60 ms, and so come out of order.
LOSSY = "! identity drop-probability={loss} ! netsim delay-probability=0.5 max-delay=60 name=pay0"
READ = (
    "filesrc name=file ! parsebin ! {codec}parse ! video/x-{codec},stream-format=byte-stream,alignment=au"
    " ! appsink name=out sync=false"
)

Packet = tuple[bytes, int, int, int]


def packets_of(paths: list[str], codec: str) -> tuple[list[Packet], Any]:
    """All packets of some files, one behind the other: [(bytes, pts, dts, duration)] in ns, and the first's caps."""
    packets: list[Packet] = []
    first_caps = None
    end = 0
    for path in paths:
        pipeline = Gst.parse_launch(READ.format(codec=codec))
        pipeline.get_by_name("file").set_property("location", path)
        pipeline.set_state(Gst.State.PLAYING)
        sink = pipeline.get_by_name("out")
        of_file: list[Packet] = []
        while sample := sink.pull_sample():
            buffer, caps, segment = sample.get_buffer(), sample.get_caps(), sample.get_segment()
            first_caps = first_caps or caps
            pts, dts = (segment.to_running_time_full(Gst.Format.TIME, t) for t in (buffer.pts, buffer.dts))
            signed = [value if sign >= 0 else -value for sign, value in (pts, dts)]
            of_file.append((buffer.extract_dup(0, buffer.get_size()), *signed, buffer.duration))
        pipeline.set_state(Gst.State.NULL)
        if not of_file:
            sys.exit(f"no {codec} in {path}")
        shift = end - min(pts for _, pts, _, _ in of_file) if packets else 0
        packets += [(data, pts + shift, dts + shift, duration) for data, pts, dts, duration in of_file]
        end = max(pts + duration for _, pts, _, duration in packets)
    return packets, first_caps


def codec_of(path: str) -> str:
    """`h264` or `h265`: whichever parser makes something of it."""
    for codec in ("h264", "h265"):
        pipeline = Gst.parse_launch(READ.format(codec=codec))
        pipeline.get_by_name("file").set_property("location", path)
        pipeline.set_state(Gst.State.PLAYING)
        sample = pipeline.get_by_name("out").try_pull_sample(2 * Gst.SECOND)
        pipeline.set_state(Gst.State.NULL)
        if sample is not None:
            return codec
    sys.exit(f"neither H.264 nor H.265 in {path}")


def auth_of(settings: dict[str, Any]) -> Any:
    """Who is let in, by which method, and the certificate of TLS."""
    auth = GstRtspServer.RTSPAuth()
    if settings["certificate"]:
        auth.set_tls_certificate(Gio.TlsCertificate.new_from_file(settings["certificate"]))
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if not settings["user"]:
        auth.set_default_token(token)
    elif settings["digest"]:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(settings["user"], settings["password"], token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(settings["user"], settings["password"]), token)
    return auth


def close_all(server: Any) -> bool:
    """Close every connection; called over and over."""
    server.client_filter(lambda _server, _client: GstRtspServer.RTSPFilterResult.REMOVE)
    return True


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
    if settings["user"] or settings["certificate"]:
        server.set_auth(auth_of(settings))
        roles = GstRtspServer.RTSPPermissions()
        roles.add_role("viewer")
        for what in ("access", "construct"):
            roles.add_permission_for_role("viewer", f"media.factory.{what}", True)
    pay0 = LOSSY.format(loss=settings["loss"]) if settings["loss"] else "name=pay0"
    for path, clips in settings["mounts"].items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_shared(True)
        if clips is None:
            factory.set_launch(TEST_PICTURE.format(pay0=pay0))
        else:
            codec = codec_of(clips[0])
            packets, caps = packets_of(clips, codec)
            factory.set_launch(LOOP.format(codec=codec, pay0=pay0))
            factory.connect("media-configure", lambda _, media, p=packets, c=caps: play(media, p, c))
        if roles is not None:
            factory.set_permissions(roles)
        server.get_mount_points().add_factory(path, factory)
    if settings["close_every_s"]:
        GLib.timeout_add(round(settings["close_every_s"] * 1000), close_all, server)
    if not server.attach(None):
        sys.exit("the port is taken")
    print(server.get_bound_port(), flush=True)  # noqa: T201 - the line that the test waits for
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
