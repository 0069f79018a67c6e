from __future__ import annotations

from pathlib import Path

import pytest
from rich.progress import Progress

from tests.vidface.conftest import RunCommand
from vidface.cli.weights import TransferBar
from weights import store

MODEL = "retinaface-mobilenet0.25"


@pytest.fixture(autouse=True)
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; nothing here may fetch."""
    monkeypatch.setenv("VIDFACE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_list(run: RunCommand, cache_dir: Path) -> None:
    answer = run("weights", "list", "--json").json
    assert answer["cache_dir"] == str(cache_dir)
    by_name = {line["name"]: line for line in answer["weights"]}
    assert (by_name[MODEL]["kind"], by_name[MODEL]["state"]) == ("detect", "absent")
    rows = run("weights", "list").out.splitlines()
    assert rows[0].split() == ["name", "kind", "state", "size", "licence", "origin"]
    assert len(rows) == 1 + len(by_name)


def test_pull_without_a_name_takes_what_serve_needs(run: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def pull(name: str, *, source: str | None, progress: object) -> tuple[Path, ...]:
        asked.append((name, source))
        return (Path("/cache") / f"{name}.onnx",)

    monkeypatch.setattr(store, "pull", pull)
    outcome = run("weights", "pull")
    assert asked == [(MODEL, None), ("mobilefacenet-192", None)]
    assert f"{MODEL}: /cache/{MODEL}.onnx\n" in outcome.out
    assert outcome.err == ""


def test_pull_from_a_file_that_is_not_the_one(run: RunCommand, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.onnx"
    wrong.write_bytes(b"something else")
    outcome = run("weights", "pull", MODEL, "--from", wrong, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == "weights_unavailable"
    assert f"vidface weights pull {MODEL}" in outcome.err


@pytest.mark.parametrize("names", [[], [MODEL, "mobilefacenet-192"]], ids=["none", "two"])
def test_from_needs_one_name(run: RunCommand, names: list[str]) -> None:
    outcome = run("weights", "pull", *names, "--from", "x.onnx")
    assert outcome.status == 2
    assert "exactly one NAME" in outcome.err


@pytest.mark.parametrize("command", ["pull", "verify", "path"])
def test_an_unknown_name(run: RunCommand, command: str) -> None:
    outcome = run("weights", command, "nope", "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == "unknown_weights"
    assert MODEL in outcome.err


def test_verify_nothing(run: RunCommand) -> None:
    outcome = run("weights", "verify", "--json")
    assert (outcome.status, outcome.json) == (0, {"ok": True, "weights": []})
    assert "nothing to verify" in run("weights", "verify").err


def test_verify_what_is_absent(run: RunCommand) -> None:
    outcome = run("weights", "verify", MODEL, "--json")
    assert outcome.status == 1
    assert outcome.json["ok"] is False
    assert outcome.json["weights"][0]["state"] == "absent"
    assert f"vidface weights pull {MODEL}" in outcome.err


def test_verify_what_is_damaged(run: RunCommand, cache_dir: Path) -> None:
    file = cache_dir / "models" / MODEL / f"{MODEL}.onnx"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a model")
    outcome = run("weights", "verify", "--json")
    assert outcome.status == 1
    assert [(line["name"], line["state"]) for line in outcome.json["weights"]] == [(MODEL, "damaged")]


def test_path_of_what_is_absent(run: RunCommand) -> None:
    outcome = run("weights", "path", MODEL)
    assert (outcome.status, outcome.out) == (1, "")


def test_path(run: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "verify", lambda _name: (Path("/cache/model.onnx"),))
    assert run("weights", "path", MODEL).out == "/cache/model.onnx\n"
    assert run("weights", "path", MODEL, "--json").json == {"name": MODEL, "paths": ["/cache/model.onnx"]}


def test_a_bar_for_each_transfer() -> None:
    display = Progress(disable=True)
    bar = TransferBar(display)
    bar.advance(1)  # before any transfer: nothing to move
    bar.start("model.onnx", 10)
    bar.advance(4)
    (task,) = display.tasks
    assert (task.description, task.completed, task.total) == ("model.onnx", 4, 10)
    bar.finish()
    bar.finish()
    assert display.tasks == []
