"""`vidface serve` on a camera of two streams: faces are found on the small one and recognised on the large one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.video.stream import VideoStream

from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby
from tests.e2e.story import STATE, assert_sound, data, named, names, state_names

SUB_WH = (640, 360)


def scaled(clip: Path, path: Path, size_wh: tuple[int, int]) -> Path:
    """Encode a clip anew in another size, as a camera does for its sub stream."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        rate = stream.average_rate
        assert rate is not None
        small = target.add_stream("libx264", rate=Fraction(rate), options={"preset": "veryfast", "crf": "23"})
        assert isinstance(small, VideoStream)
        small.width, small.height = size_wh
        small.pix_fmt = "yuv420p"
        for frame in source.decode(stream):
            target.mux(small.encode(frame.reformat(*size_wh, format="yuv420p", interpolation="AREA", threads=1)))
        target.mux(small.encode(None))
    return path


@pytest.mark.slow
def test_the_sub_stream_finds_and_the_main_stream_names_the_same_people(
    installed: Installation, lobby: Lobby, tmp_path: Path
) -> None:
    sub = scaled(lobby.clip, tmp_path / "sub.mp4", SUB_WH)
    installed.configure(f"id: lobby, source: {lobby.clip}, detect_source: {sub}, detect_every: 5")
    done = installed.run("serve", "--config", installed.config, "--json")
    assert done.status == 0, done.err
    events = installed.events()
    assert_sound(events)
    assert names(events) == lobby.enrolled
    assert set(named(events)) == lobby.enrolled
    assert state_names(events, "lobby") == ["connecting", "live", "ended"]
    for event in events:
        payload = data(event)
        if event.type == STATE or not payload["identity"]:
            continue
        assert (payload["frame"]["width"], payload["frame"]["height"]) == (1920, 1080)
        frame = payload["frame"]["index"]
        # The truth ends where the face is no longer whole in the picture; the detector may see half of it.
        assert any(
            lobby.is_at(payload["identity"]["name"], near, payload["box"]) for near in range(frame - 12, frame + 13)
        ), f"{event.id} is not on {payload['identity']['name']}"
