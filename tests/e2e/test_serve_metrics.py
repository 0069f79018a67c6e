"""`vidface serve` with a metrics port: asked by Prometheus' means and by `vidface top`, with a camera that is down."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.installation import LOOK_S, PATIENCE_S, Installation
from tests.e2e.lobby import Lobby
from tests.e2e.story import open_sightings

pytestmark = pytest.mark.slow


def test_a_running_service_tells_how_it_is(installed: Installation, lobby: Lobby) -> None:
    installed.configure(
        f"id: lobby, source: {lobby.clip}, real_time: true, detect_fps: 5",
        'id: gone, source: "rtsp://user:secret@127.0.0.1:1/main"',
    )
    with installed.config.open("a", encoding="utf-8") as file:
        file.write("metrics: {port: 0}\n")
    with installed.serve("--json") as serving:
        serving.until(lambda events: open_sightings(events) or None)
        told = (installed.folder / "serve.err").read_text(encoding="utf-8")
        found = re.search(r"metrics are at (http://127\.0\.0\.1:\d+)/metrics", told)
        assert found, told
        url = found[1]
        deadline_s = time.monotonic() + PATIENCE_S
        while not get(f"{url}/status").count(b'"retrying"'):  # the camera that is down has been tried
            assert time.monotonic() < deadline_s
            time.sleep(LOOK_S)  # another process: there is nothing to wait on
        assert get(f"{url}/readyz") == b"ok\n"
        assert get(f"{url}/healthz") == b"ok\n"
        text = get(f"{url}/metrics").decode()
        top = installed.run("top", "--url", url, "--once", "--json", "--interval", "1")
        done = serving.stop()
    assert done.status == 0, done.err
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["vidface_camera_state", "lobby", "live"] == 1
    assert samples["vidface_camera_state", "gone", "live"] == 0
    assert samples["vidface_frames_total", "lobby", "detected"] > 0
    assert samples["vidface_decision_age_seconds_count", "lobby"] > 0
    assert samples["vidface_events_total", "vidface.sighting.started"] > 0
    assert samples["process_open_fds",] > 0
    assert "secret" not in text
    assert str(lobby.clip) not in text
    assert top.status == 0, top.err
    watched = {camera["camera"]: camera for camera in json.loads(top.out)["cameras"]}
    assert watched["lobby"]["decoded_fps"] > 0
    assert watched["gone"]["decoded_fps"] == 0
    assert installed.run("top", "--url", url, "--once").status == 1, "it is gone with its service"


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return bytes(answer.read())
