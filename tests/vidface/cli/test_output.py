from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest

from vidface.cli import output


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Pair:
    left: int
    right: Path


def test_json_of_our_types(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_json(
        {
            "path": Path("/a"),
            "enum": Colour.RED,
            "pair": Pair(1, Path("b")),
            "array": np.arange(2),
            "float": np.float32(1),
        }
    )
    assert json.loads(capsys.readouterr().out) == {
        "path": "/a",
        "enum": "red",
        "pair": {"left": 1, "right": "b"},
        "array": [0, 1],
        "float": 1.0,
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        output.show_json(value)


def test_json_of_something_else() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        output.show_json(object())


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_table(("name", "n"), [("x" * 300, 5), ("[bold]y\x1b[1m", 12)])
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["name", "n"]
    assert first.split() == ["x" * 300, "5"]
    assert second.split() == ["[bold]y\\x1b[1m", "12"]


def test_long_lines_are_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    output.say("word " * 200)
    output.note("word " * 200)
    captured = capsys.readouterr()
    assert captured.out.count("\n") == captured.err.count("\n") == 1


def test_no_progress_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress() as display:
        task = display.add_task("work", total=3)
        display.advance(task)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_times() -> None:
    assert output.utc_time(1_700_000_000_123_999_999) == "2023-11-14T22:13:20.123Z"
    assert output.utc_time(1_700_000_000_000_000_000) == "2023-11-14T22:13:20.000Z"
