"""`vidface bench` on real faces: recordings, live cameras, a capacity, the plain loop, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby, cut


@pytest.fixture(scope="session")
def part(lobby: Lobby, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The lobby's last seconds, and how many frames they have."""
    clip, first_frame = cut(lobby.clip, tmp_path_factory.mktemp("clip") / "part.mp4", from_s=26.0)
    return clip, 750 - first_frame


@pytest.mark.slow
def test_recordings_are_measured_beside_floors_and_the_plain_loop(
    fresh: Installation, lobby: Lobby, part: tuple[Path, int]
) -> None:
    clip, frames = part
    saved, report = fresh.folder / "run.json", fresh.folder / "run.html"
    options = (
        "--detect-every",
        "1",
        "--enrol",
        lobby.photos,
        "--against",
        "loop",
        "--loop-frames",
        "60",
        "--rounds",
        "1",
    )
    done = fresh.run("bench", clip, *options, "--save", saved, "--report", report, "--json")
    assert done.status == 0, done.err
    assert done.err == ""  # no bar in a pipe
    result = done.json
    assert json.loads(saved.read_text()) == result
    assert "bench-json" in report.read_text()
    assert result["outputs_checked"] is True
    assert (result["mode"], result["streams"]) == ("recorded", 1)
    assert result["frames"] == result["detected_frames"] == frames
    assert result["runs"]["machine_decode"]["frames"] == frames * max(1, result["machine"]["cores"])
    assert result["ratio_to_decode"] == pytest.approx(result["fps"] / result["decode_fps"], abs=0.01)
    assert result["ratio_to_machine_decode"] == pytest.approx(result["fps"] / result["machine_decode_fps"], abs=0.01)
    assert 0.5 < result["faces_per_frame"] < 4
    assert result["events"] > 3
    assert result["peak_rss_mib"] > 50
    assert {"detect", "track", "align", "embed", "search"} <= set(result["stages"])
    assert set(result["runs"]) == {"decode", "machine_decode", "detect", "everything"}
    whole = result["runs"]["everything"]["cpu_ms_per_frame"]
    parts = {row["part"]: row["cpu_ms_per_frame"] for row in result["account"]}
    assert sum(parts.values()) == pytest.approx(whole, rel=0.05)
    assert parts["decode"] > 0.3
    assert abs(parts["other"]) < 0.15 * whole  # all but little of it is accounted for
    loop = result["against_loop"]
    assert loop["loop_frames"] == 60
    assert loop["ratio"] == pytest.approx(loop["fps"] / loop["loop_fps"], rel=0.01)
    assert loop["outputs"]["frames_compared"] == 12
    assert loop["outputs"]["faces_loop_found"] > 0.95


def test_a_saved_run_is_shown_again_and_compared(fresh: Installation, part: tuple[Path, int]) -> None:
    clip, _frames = part
    saved = fresh.folder / "run.json"
    live = ("--mode", "live", "--cameras", "2", "--detect-fps", "5", "--seconds", "2")
    done = fresh.run("bench", clip, *live, "--save", saved, "--json")
    assert done.status == 0, done.err
    result = done.json
    overall = result["overall"]
    assert (overall["cameras"], overall["wanted_fps"]) == (2, 10.0)
    assert 0 < overall["share"] < 1.3
    assert overall["age_ms"]["p50"] <= overall["age_ms"]["p95"] <= overall["age_ms"]["p99"]
    counted = overall["outcomes"]
    # Each decoded frame has one end; those under way at the window's two edges are few.
    assert sum(counted.values()) - counted["decoded"] == pytest.approx(counted["decoded"], abs=20)
    assert len(result["series"]) == 2
    assert all(tick["rss_mib"] > 50 for tick in result["series"])
    assert [camera["camera"] for camera in result["cameras"]] == ["clip-1", "clip-2"]

    again = fresh.run("bench", saved, "--compare", saved, "--json")
    assert again.status == 0, again.err
    assert {**again.json, "comparison": None} == {**result, "comparison": None}
    comparison = again.json["comparison"]
    assert comparison["warnings"] == []
    assert {"delivered of wanted", "age p95, ms"} <= {change["figure"] for change in comparison["changes"]}
    assert {change["percent"] for change in comparison["changes"]} <= {0.0, None}

    shown = fresh.run("bench", saved, "--compare", saved)
    assert shown.status == 0, shown.err
    assert "the whole process" in shown.out
    assert "+0.0 %" in shown.out


def test_a_capacity_within_a_bound_that_nothing_keeps_is_none(fresh: Installation, part: tuple[Path, int]) -> None:
    clip, _frames = part
    options = ("--capacity", "--cameras", "1", "--seconds", "1", "--max-age-ms", "1", "--rounds", "1")
    done = fresh.run("bench", clip, *options, "--report", fresh.folder / "run.html", "--json")
    assert done.status == 0, done.err
    result = done.json
    assert (result["capacity"], result["options"]["detect_fps"]) == (0, 5.0)
    assert [(probe["cameras"], probe["holds"], probe["confirming"]) for probe in result["probes"]] == [
        (1, False, False),
        (1, False, True),
    ]
    assert all("is over 1 ms" in probe["why"] for probe in result["probes"])
    assert result["statement"] == "not even one camera is held within the bounds, in 1 run(s) of 2 s"
