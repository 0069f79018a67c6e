from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vidface.conftest import RunCommand, WriteConfig
from vidface.config.schema import config_schema

SECRET = "s3cr3t"
TEXT = (
    "cameras:\n"
    "  - {id: lobby, source: lobby.mp4}\n"
    "  - {id: door, source: 'rtsp://ann:${PW}@192.0.2.7/main', detect_source: 'rtsp://ann:${PW}@192.0.2.7/sub'}\n"
    "sinks:\n"
    "  - {type: kafka, bootstrap_servers: ['a:1'], topic: t, security_protocol: SASL_SSL,"
    " username: u, password: '${PW}'}\n"
)


@pytest.fixture
def file(write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PW", SECRET)
    return write_config(TEXT)


def test_check(run: RunCommand, file: Path) -> None:
    outcome = run("config", "check", file)
    assert outcome.status == 0
    assert f"{file}: OK, 2 cameras, 1 sink, data in {file.parent / 'state'}" in outcome.out
    assert "camera door: rtsp://***@192.0.2.7/main, faces found on rtsp://***@192.0.2.7/sub" in outcome.out
    assert "lobby.mp4 does not exist here" in outcome.err
    assert SECRET not in outcome.out + outcome.err


def test_check_as_json(run: RunCommand, file: Path) -> None:
    answer = run("config", "check", file, "--json").json
    assert answer["ok"] is True
    assert [camera["id"] for camera in answer["cameras"]] == ["lobby", "door"]
    assert [camera["detect_source"] for camera in answer["cameras"]] == [None, "rtsp://***@192.0.2.7/sub"]
    assert answer["sinks"] == [{"name": "kafka", "type": "kafka"}]
    assert len(answer["warnings"]) == 1
    assert SECRET not in json.dumps(answer)


def test_check_says_what_is_wrong(run: RunCommand, write_config: WriteConfig) -> None:
    path = write_config("cameras: [{id: a, source: b, sorce: c}]")
    outcome = run("config", "check", path)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"error: {path}:1:37: cameras[0].sorce: there is no such field; did you mean source?" in outcome.err


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_show_masks_secrets_and_names_defaults(run: RunCommand, file: Path, arguments: list[str]) -> None:
    outcome = run("config", "show", file, *arguments)
    assert outcome.status == 0
    assert SECRET not in outcome.out + outcome.err
    assert "rtsp://***@192.0.2.7/main" in outcome.out
    assert "rtsp://***@192.0.2.7/sub" in outcome.out
    assert "stall_timeout_s" in outcome.out


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_schema(run: RunCommand, arguments: list[str]) -> None:
    assert run("config", "schema", *arguments).json == config_schema()
