from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from vidface.config import load_config
from vidface.config.load import warnings_of
from vidface.config.schema import config_schema, schema_at
from vidface.config.show import as_yaml, masked
from vidface.errors import ConfigError

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "configs" / "examples").glob("*.yaml"))
ENVIRON = {"DOOR_PASSWORD": "s3cr3t@door", "KAFKA_PASSWORD": "s3cr3t-kafka"}
ENVIRON |= {"MQTT_PASSWORD": "s3cr3t-mqtt", "WEBHOOK_TOKEN": "s3cr3t-token"}
ENVIRON |= {"WEBHOOK_SECRET": "whsec_" + base64.b64encode(b"s3cr3t-key-of-24-bytes-or-more").decode()}


def test_the_committed_schema_is_current() -> None:
    committed = json.loads((ROOT / "configs" / "schemas" / "cameras.schema.json").read_text(encoding="utf-8"))
    assert committed == config_schema(), "run: vidface config schema > configs/schemas/cameras.schema.json"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(config_schema())


def test_there_are_examples() -> None:
    assert {path.name for path in EXAMPLES} == {
        "minimal.yaml",
        "rtsp-door.yaml",
        "main-and-sub.yaml",
        "kafka.yaml",
        "full.yaml",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_example_loads_and_obeys_the_schema(path: Path) -> None:
    load_config(path, ENVIRON)
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), config_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_effective_configuration_loads_again_and_hides_secrets(path: Path, tmp_path: Path) -> None:
    config = load_config(path, ENVIRON)
    shown = as_yaml(config)
    assert not [value for value in ENVIRON.values() if value in shown]
    copy = tmp_path / "copy.yaml"
    copy.write_text(shown, encoding="utf-8")
    assert masked(load_config(copy, {})) == masked(config)


def test_every_field_is_described() -> None:
    definitions = config_schema()["$defs"]
    undescribed = [
        name
        for name, schema in _fields(config_schema())
        if "description" not in {**definitions.get(schema.get("$ref", "").rpartition("/")[2], {}), **schema}
    ]
    assert undescribed == []


def test_the_full_example_names_every_field() -> None:
    text = (ROOT / "configs" / "examples" / "full.yaml").read_text(encoding="utf-8")
    assert [name for name, _schema in _fields(config_schema()) if f"{name}:" not in text] == []


def test_the_full_example_holds_the_defaults_it_says() -> None:
    config = load_config(ROOT / "configs" / "examples" / "full.yaml", ENVIRON)
    for section in ("detector", "embedder", "engine", "tracking", "identify", "enrol"):
        assert getattr(config, section) == type(getattr(config, section))(), section


def test_warns_of_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    (tmp_path / "here.mp4").touch()
    path.write_text(
        "cameras: [{id: a, source: here.mp4, detect_source: sub.mp4}, {id: b, source: gone.mp4}]", encoding="utf-8"
    )
    assert warnings_of(load_config(path)) == [
        f"cameras[0].detect_source: {tmp_path / 'sub.mp4'} does not exist here",
        f"cameras[1].source: {tmp_path / 'gone.mp4'} does not exist here",
    ]


@pytest.mark.parametrize(
    ("sink", "warned"),
    [
        pytest.param('bootstrap_servers: ["127.0.0.1:9092", "localhost:9093"]', False, id="this-machine"),
        pytest.param('bootstrap_servers: ["[::1]:9092"]', False, id="this-machine-by-ipv6"),
        pytest.param('bootstrap_servers: ["127.0.0.1:9092", "kafka.example.com:9092"]', True, id="another-machine"),
        pytest.param(
            'bootstrap_servers: ["kafka.example.com:9092"], security_protocol: SASL_PLAINTEXT, username: u, '
            "password: p",
            True,
            id="password-in-the-clear",
        ),
        pytest.param('bootstrap_servers: ["kafka.example.com:9092"], security_protocol: SSL', False, id="encrypted"),
    ],
)
def test_warns_of_names_sent_unencrypted(tmp_path: Path, sink: str, warned: bool) -> None:
    path = tmp_path / "cameras.yaml"
    text = f"cameras: [{{id: a, source: 'rtsp://192.0.2.1/'}}]\nsinks: [{{type: kafka, topic: t, {sink}}}]"
    path.write_text(text, encoding="utf-8")
    said = warnings_of(load_config(path))
    assert [("unencrypted to kafka.example.com:9092" in words) for words in said] == ([True] if warned else [])


@pytest.mark.parametrize(
    ("camera", "warned"),
    [
        pytest.param("detect_fps: 2", False, id="enough"),
        pytest.param("detect_fps: 1.5", True, id="too-few-a-second"),
        pytest.param("detect_every: 12", False, id="every-twelfth"),
        pytest.param("detect_every: 25", True, id="every-twenty-fifth"),
        pytest.param("priority: 2", False, id="every-frame"),
    ],
)
def test_warns_of_faces_forgotten_between_detections(tmp_path: Path, camera: str, warned: bool) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(f"cameras: [{{id: a, source: 'rtsp://192.0.2.1/', {camera}}}]", encoding="utf-8")
    assert ["too few to follow" in words for words in warnings_of(load_config(path))] == ([True] if warned else [])


@pytest.mark.parametrize(
    ("metrics", "warned"),
    [
        pytest.param("{port: 9464}", False, id="this-machine-by-default"),
        pytest.param("{port: 9464, host: localhost}", False, id="this-machine-by-name"),
        pytest.param("{port: 9464, host: '::1'}", False, id="this-machine-by-ipv6"),
        pytest.param("{port: 9464, host: 0.0.0.0}", True, id="everybody"),
        pytest.param("{port: 0, host: 192.0.2.7}", True, id="a-network"),
        pytest.param("{host: 0.0.0.0}", False, id="off"),
    ],
)
def test_warns_of_metrics_that_others_can_read(tmp_path: Path, metrics: str, warned: bool) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(f"cameras: [{{id: a, source: 'rtsp://192.0.2.1/'}}]\nmetrics: {metrics}", encoding="utf-8")
    assert ["metrics.host" in words for words in warnings_of(load_config(path))] == ([True] if warned else [])


@pytest.mark.parametrize("metrics", ["{port: -1}", "{port: 65536}", "{port: yes}", "{host: ''}", "{host: 'a b'}"])
def test_a_metrics_section_that_cannot_be(tmp_path: Path, metrics: str) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(f"cameras: [{{id: a, source: 'rtsp://192.0.2.1/'}}]\nmetrics: {metrics}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"metrics\.(port|host): expected"):
        load_config(path)


def test_unknown_places_have_no_schema() -> None:
    assert schema_at(("nope",), {}) is None
    assert schema_at(("cameras", 0, "nope", "deeper"), {}) is None


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from schema["properties"].items()
    for definition in schema["$defs"].values():
        yield from definition.get("properties", {}).items()
