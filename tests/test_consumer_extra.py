"""The `consumer` extra in an environment of its own: what a program that only acts on events installs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.kafka import KafkaSink
from tests.conftest import REPOSITORY
from tests.pipeline.events.examples import camera_state, sighting
from tests.schemas import assert_valid
from tests.services.kafka import KafkaBroker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ABSENT = ("cv2", "av", "openvino", "onnxruntime", "onnx", "faiss", "supervision", "trackers", "matplotlib", "torch")

CONSUME = """
import json, sys
from pathlib import Path
from vidface import EventConsumer, SightingPayload

handled = []

def handle(received):
    said = received.payload
    name = said.identity.name if isinstance(said, SightingPayload) and said.identity else None
    handled.append([received.event.id, name])
    if len(handled) == int(sys.argv[2]):
        consumer.stop()

if sys.argv[1] == "jsonl":
    consumer = EventConsumer.from_jsonl(Path(sys.argv[3]), max_age_s=1.0)
else:
    consumer = EventConsumer.from_kafka([sys.argv[3]], sys.argv[4], group="far", ledger=Path("far.db"), max_age_s=None)
with consumer:
    consumer.run(handle)
print(json.dumps({"handled": handled, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""

EVENTS = (camera_state(1).to_event(), sighting(camera_sequence=1).to_event())


class Environment:
    """A virtual environment, and a folder beside it in which nothing of the repository is found."""

    def __init__(self, folder: Path) -> None:
        self.venv = folder / "venv"
        self.folder = folder / "elsewhere"
        self.folder.mkdir()

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return call([self.venv / "bin" / program, *arguments], cwd=self.folder, check=False)

    def consume(self, *arguments: str | Path) -> Mapping[str, Any]:
        (self.folder / "consume.py").write_text(CONSUME, encoding="utf-8")
        done = self.run("python", "consume.py", *arguments)
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def call(command: list[str | Path], *, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """With the locked versions of the extra, and the wheel of this tree."""
    made = Environment(tmp_path_factory.mktemp("consumer"))
    wheels = made.folder / "wheels"
    call([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels], cwd=REPOSITORY)
    (wheel,) = wheels.glob("vidface-*.whl")
    uv: list[str | Path] = [sys.executable, "-m", "uv", "--quiet"]
    call([*uv, "venv", "--python", sys.executable, made.venv], cwd=made.folder)
    install = [*uv, "pip", "install", "--python", made.venv / "bin" / "python"]
    lock = REPOSITORY / "requirements" / "consumer.txt"
    call([*install, "--require-hashes", "--no-deps", "-r", lock], cwd=made.folder)
    # No index: whatever the extra asks for must be in the lock.
    call([*install, "--no-index", f"vidface[consumer] @ {wheel.as_uri()}"], cwd=made.folder)
    return made


def test_nothing_of_video_is_there(environment: Environment) -> None:
    code = f"import importlib.util as u; print([m for m in {ABSENT!r} if u.find_spec(m)], end='')"
    done = environment.run("python", "-c", code)
    assert (done.returncode, done.stdout) == (0, "[]"), done.stderr
    done = environment.run("python", "-c", "import vidface; print(vidface.__file__, end='')")
    assert done.stdout.startswith(str(environment.venv))


def test_a_file_of_events_is_consumed(environment: Environment) -> None:
    path = environment.folder / "events.jsonl"
    for event in EVENTS:
        assert_valid(event)
    path.write_text("".join(event.to_json() + "\n" for event in EVENTS), encoding="utf-8")
    result = environment.consume("jsonl", "9", path)
    assert result["handled"] == [["lobby/1/state/1", None], ["lobby/2/7/3", "Alice Ångström"]]
    # Light as well: neither arrays, nor a command line, nor a broker's client for a file.
    assert not {"numpy", "pydantic", "typer", "kafka", "rich"} & set(result["modules"])


def test_a_topic_is_consumed(environment: Environment, kafka_broker: KafkaBroker, kafka_topic: str) -> None:
    sink = KafkaSink([kafka_broker.bootstrap], kafka_topic)
    sink.deliver(EVENTS)
    sink.close()
    result = environment.consume("kafka", "2", kafka_broker.bootstrap, kafka_topic)
    assert [event for event, _name in result["handled"]] == [event.id for event in EVENTS]
    assert not {"numpy", "pydantic", "typer", "rich", *ABSENT} & set(result["modules"])


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--help"], id="help"),
        pytest.param(["--version"], id="version"),
        pytest.param(["config", "schema"], id="schema"),
        pytest.param(["serve", "--help"], id="help-of-serve"),
    ],
)
def test_the_command_line_starts(environment: Environment, words: list[str]) -> None:
    done = environment.run("vidface", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_what_needs_video_says_in_one_message_what_to_install(environment: Environment) -> None:
    (environment.folder / "clip.mp4").touch()
    config = environment.folder / "cameras.yaml"
    config.write_text("cameras:\n  - {id: door, source: clip.mp4}\n", encoding="utf-8")
    for words in (["serve", "--config", config], ["bench", "clip.mp4"], ["enroll", "Ada", "clip.mp4"]):
        done = environment.run("vidface", *words)
        assert done.returncode == 1, done.stdout
        assert "pip install 'vidface[cpu]', or 'vidface[gpu]' on NVIDIA" in done.stderr.replace("\n", " ")
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) <= 2
