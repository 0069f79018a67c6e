"""``vidface bench``: what it refuses before it measures anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vidface.conftest import RunCommand
from tests.vidface.evaluation.made import document


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("--detect-every", "2", "--detect-fps", "5"), "--detect-every or --detect-fps", id="two-rates"),
        pytest.param(("--capacity", "--against", "loop"), "--capacity or --against", id="two-things"),
        pytest.param(("--mode", "live", "--against", "loop"), "can't keep to a camera's pace", id="live-loop"),
        pytest.param(("--mode", "sideways"), "sideways", id="unknown-mode"),
        pytest.param(("--seconds", "0"), "--seconds", id="no-time"),
        pytest.param(("--cameras", "0"), "--cameras", id="no-camera"),
    ],
)
def test_what_cannot_be_is_refused(run: RunCommand, options: tuple[str, ...], says: str) -> None:
    done = run("bench", "clip.mp4", *options)
    assert done.status == 2
    assert says in done.err


def test_an_old_run_that_is_none_is_refused_before_minutes_of_measuring(run: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    done = run("bench", "clip.mp4", "--compare", tmp_path / "old.json")
    assert done.status == 1
    assert "old.json is no saved run" in done.err


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("recorded", ("decode only, all processors", "times the plain loop", "the whole process")),
        ("live", ("clip-2", "14 superseded", "the whole process")),
        ("capacity", ("capacity: 2 camera(s)", "p95 age 540 ms is over 500 ms")),
    ],
)
def test_tables_for_people(run: RunCommand, tmp_path: Path, mode: str, says: tuple[str, ...]) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document(mode)))
    done = run("bench", path, "--compare", path)
    assert done.status == 0, done.err
    for words in (*says, "change"):
        assert words in done.out


def test_a_comparison_that_limps_is_warned_of(run: RunCommand, tmp_path: Path) -> None:
    for mode in ("live", "capacity"):
        (tmp_path / f"{mode}.json").write_text(json.dumps(document(mode)))
    done = run("bench", tmp_path / "live.json", "--compare", tmp_path / "capacity.json")
    assert done.status == 0
    assert "the modes differ: capacity and live" in done.err
