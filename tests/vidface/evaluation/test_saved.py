"""Runs as files, and two of them side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vidface.evaluation.made import document
from vidface.errors import BadInput
from vidface.evaluation import saved


@pytest.mark.parametrize("mode", ["recorded", "live", "capacity"])
def test_a_run_comes_back_as_it_was(tmp_path: Path, mode: str) -> None:
    run = document(mode)
    path = tmp_path / "new" / "run.json"
    saved.write(run, path)
    assert saved.read(path) == run


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("{", "is no saved run of 'vidface bench'", id="no-json"),
        pytest.param("[1]", "is no saved run: save one with", id="no-object"),
        pytest.param('{"fps": 3}', "is no saved run: save one with", id="another-object"),
        pytest.param('{"format": 99, "mode": "live", "machine": {}, "options": {}}', "has format 99", id="newer"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=f"run.json {says}"):
        saved.read(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="can't be read: No such file"):
        saved.read(tmp_path / "gone.json")


def test_a_place_that_can_t_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't be written"):
        saved.write({}, tmp_path / "file" / "run.json")


def test_changes_in_percent() -> None:
    old, new = document("recorded"), document("recorded", fps=150.0, peak_rss_mib=128.0)
    comparison = saved.compare(old, new)
    assert comparison.warnings == ()
    changes = {each.name: each for each in comparison.changes}
    assert (changes["frames/s"].old, changes["frames/s"].new, changes["frames/s"].percent) == (100.0, 150.0, 50.0)
    assert changes["peak memory, MiB"].percent == -50.0
    assert changes["times the plain loop"].percent == 0.0
    assert changes["CPU ms a frame: decode"].percent == 0.0


def test_no_percent_of_nothing() -> None:
    assert saved.Change(name="x", old=0.0, new=1.0).percent is None


def test_what_is_not_comparable_is_warned_of() -> None:
    old = document("live")
    new = document("capacity")
    new["machine"] = {**new["machine"], "cpu": "Another"}
    new["options"] = {**new["options"], "detect_fps": None}
    warnings = saved.compare(old, new).warnings
    assert warnings == (
        "the modes differ: live and capacity",
        "machine: cpu was A <fast> CPU, is Another",
        "options: detect_fps was 5.0, is not given",
    )
