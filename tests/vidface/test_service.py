"""A service with fake models on real sources: what it tells of itself while it starts, runs, fails and ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.canvas import Canvas
from pipeline.errors import StageFailed
from pipeline.events.publisher import Backoff
from pipeline.faces import Faces
from pipeline.fake import FakeDetector, FakeEmbedder
from streams.state import CameraState, CameraStateName
from tests.media.clips import clip
from tests.pipeline.events.receiver import Answer, Receiver
from tests.vidface.conftest import RunCommand
from vidface.assemble import Models
from vidface.config.model import Config
from vidface.errors import PortTaken
from vidface.exposition.client import fetch
from vidface.exposition.health import failure_of, missing_of
from vidface.exposition.server import ExpositionServer
from vidface.service import Service
from vidface.status import Phase

PATIENCE_S = 30.0
NOBODY = "rtsp://user:secret@127.0.0.1:1/main"  # nothing listens on port 1


def models(detector: FakeDetector) -> Models:
    return Models(
        detector=cast("Any", detector),
        refiner=cast("Any", None),
        embedder=cast("Any", FakeEmbedder()),
        templates="fake",
    )


def configuration(folder: Path, **sources: str) -> Config:
    return Config.model_validate(
        {
            "data_dir": str(folder / "state"),
            "cameras": [
                {"id": name, "source": source, **({"detect_every": 2} if source.endswith("mp4") else {"detect_fps": 5})}
                for name, source in sources.items()
            ],
        }
    )


class HeldDetector(FakeDetector):
    """Waits with its first batch until it is let go, and then does as it is told."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        super().__init__(Canvas(width=640, height=384))
        self.let_go = threading.Event()
        self._then = then

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        assert self.let_go.wait(PATIENCE_S)
        self._then()
        return super().detect(batch)


class Told:
    """Waits for changes of cameras' states."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: list[tuple[str, str]] = []

    def __call__(self, state: CameraState) -> None:
        with self._changed:
            self._states.append((state.camera, state.name))
            self._changed.notify_all()

    def wait_for(self, *state: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: state in self._states, PATIENCE_S), self._states


def test_a_camera_that_is_down_is_told_and_the_service_is_well(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.mp4")
    detector, told = HeldDetector(), Told()
    config = configuration(tmp_path, film=str(film), gone=NOBODY)
    service = Service(config, models=models(detector), on_state=told)
    before = service.status()
    assert (before.phase, before.cameras, before.sinks) == (Phase.STARTING, (), ())
    assert missing_of(before) == ["starting: models are being compiled and files opened"]
    with service, ExpositionServer("127.0.0.1", 0, service.status) as server:
        told.wait_for("film", CameraStateName.LIVE)
        told.wait_for("gone", CameraStateName.LOST)
        status = fetch(server.url)
        assert status.phase is Phase.RUNNING
        assert (failure_of(status), missing_of(status)) == (None, [])
        first, second = status.cameras
        assert (first.camera, first.state, first.live, first.wanted_fps) == ("film", CameraStateName.LIVE, False, None)
        assert first.source.epoch == 1
        assert (second.camera, second.live, second.wanted_fps) == ("gone", True, 5.0)
        assert second.state in {CameraStateName.LOST, CameraStateName.CONNECTING}
        assert second.source.failed_attempts >= 1
        assert b"secret" not in status.to_json()
        detector.let_go.set()
        told.wait_for("film", CameraStateName.ENDED)
        service.stop()
        assert missing_of(fetch(server.url)) == ["ending: no new work is taken"]
        assert service.wait(PATIENCE_S)
    after = service.status()
    assert after.phase is Phase.ENDING
    assert dict(after.cameras[0].frames) == {"decoded": 50, "detected": 25, "not_due": 25}
    assert after.stages["compare"].items == 25
    assert after.events == {"vidface.camera.state": after.sinks[0].delivered}
    assert after.sinks[0].pending == 0


def test_a_configured_webhook_gets_every_event_by_its_own_rules(tmp_path: Path) -> None:
    film = clip(tmp_path / "film.mp4")
    detector = HeldDetector()
    detector.let_go.set()
    with Receiver([Answer(status=503)]) as receiver:
        data = configuration(tmp_path, film=str(film)).model_dump(exclude={"sinks"})
        hook = {"type": "webhook", "url": receiver.url(), "retry": {"initial_s": 0.01, "max_s": 0.02}}
        config = Config.model_validate({**data, "sinks": [hook]})
        with Service(config, models=models(detector)) as service:
            assert service._publisher._lanes[0]._backoff == Backoff(initial_s=0.01, max_s=0.02)
            assert service.wait(PATIENCE_S)
        (sink,) = service.sinks()
        states = [json.loads(request.body)["state"] for request in receiver.requests]
    assert (sink.name, sink.retries, sink.pending, sink.delivered) == ("webhook", 1, 0, len(states) - 1)
    assert states[1:] == ["connecting", "live", "ended"]


def test_a_stage_that_failed_is_told_while_the_process_still_answers(tmp_path: Path) -> None:
    def melt() -> None:
        raise RuntimeError("the chip behind rtsp://user:secret@192.0.2.1/ melted")

    detector, told = HeldDetector(then=melt), Told()
    config = configuration(tmp_path, film=str(clip(tmp_path / "film.mp4")))
    service = Service(config, models=models(detector), on_state=told)
    with ExpositionServer("127.0.0.1", 0, service.status) as server:
        with pytest.raises(StageFailed), service:  # noqa: PT012 - it is looked at while it runs
            told.wait_for("film", CameraStateName.LIVE)
            assert failure_of(fetch(server.url)) is None
            detector.let_go.set()
            service.wait(PATIENCE_S)
        status = fetch(server.url)
    assert status.phase is Phase.FAILED
    failure = failure_of(status)
    assert failure is not None
    assert failure.startswith("the detect stage failed: RuntimeError: the chip behind")
    assert "secret" not in failure
    assert missing_of(status) == [failure]


def test_serve_says_that_the_port_is_taken_before_anything_else(tmp_path: Path, run: RunCommand) -> None:
    config = tmp_path / "cameras.yaml"
    service = Service(configuration(tmp_path, gone=NOBODY))
    with ExpositionServer("127.0.0.1", 0, service.status) as server:
        port = server.url.rpartition(":")[2]
        config.write_text(f"cameras: [{{id: gone, source: '{NOBODY}'}}]\nmetrics: {{port: {port}}}\n", encoding="utf-8")
        outcome = run("serve", "--config", config, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == PortTaken.code
    assert f"metrics can't be told on 127.0.0.1 port {port}: Address already in use" in outcome.err
    assert not (tmp_path / "state").exists()
