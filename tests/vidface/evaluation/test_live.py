"""Clips as live cameras: how they are spread, what is counted, and a few seconds of the real thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.media import clips
from tests.vidface.evaluation.made import live_run
from vidface.config.model import CameraConfig
from vidface.evaluation.figures import live_figures
from vidface.evaluation.live import age_percentiles, as_cameras, drops_of, wanted_fps
from vidface.evaluation.run import clip_config


def test_percentiles() -> None:
    ages = age_percentiles(np.arange(1.0, 101.0))
    assert ages == {"p50": pytest.approx(50.5), "p95": pytest.approx(95.05), "p99": pytest.approx(99.01), "max": 100.0}
    assert age_percentiles(np.array([])) == {"p50": None, "p95": None, "p99": None, "max": None}
    assert age_percentiles(np.array([7.0]))["p99"] == 7.0


def test_every_outcome_that_is_no_good_one_is_a_drop() -> None:
    assert drops_of({"decoded": 9, "detected": 3, "not_due": 4, "superseded": 1, "skipped": 1}) == {
        "superseded": 1,
        "skipped": 1,
    }


@pytest.mark.parametrize("count", [1, 3, 14, 42])
def test_cameras_play_out_of_step(tmp_path: Path, count: int) -> None:
    pair = [clips.clip(tmp_path / "a.mp4"), clips.clip(tmp_path / "b.mp4")]
    cameras = as_cameras(clip_config(pair, tmp_path), count).cameras
    assert [camera.id for camera in cameras] == [f"clip-{number}" for number in range(1, count + 1)]
    assert [Path(camera.source).name for camera in cameras[:3]] == ["a.mp4", "b.mp4", "a.mp4"][:count]
    assert all(camera.loop and camera.real_time for camera in cameras)
    starts = sorted(camera.start_s for camera in cameras)
    gaps = np.diff([*starts, starts[0] + 60])
    assert gaps.min() > 0.3 * 60 / count  # no two together
    assert gaps.max() < 3 * 60 / count


@pytest.mark.parametrize(
    ("rates", "wanted"),
    [
        pytest.param({}, 25.0, id="every-frame"),
        pytest.param({"detect_every": 5}, 5.0, id="each-fifth"),
        pytest.param({"detect_fps": 8.0}, 8.0, id="eight"),
        pytest.param({"detect_fps": 60.0}, 25.0, id="more-than-there-are"),
    ],
)
def test_the_wanted_rate(tmp_path: Path, rates: dict[str, float], wanted: float) -> None:
    clip = clips.clip(tmp_path / "a.mp4")
    camera = CameraConfig.model_validate({"id": "a", "source": str(clip), **rates})
    assert wanted_fps(camera) == pytest.approx(wanted)


def test_figures_of_a_run() -> None:
    figures = live_figures(live_run(cameras=3, worst_share=0.5, drops=2))
    overall = figures["overall"]
    assert (overall["cameras"], overall["wanted_fps"], overall["delivered_fps"]) == (3, 15.0, 12.5)
    assert (overall["worst_camera"], overall["worst_share"]) == ("clip-3", 0.5)
    assert overall["drops"] == {"superseded": 6}
    assert overall["rss_mib"] == {"first": 301.0, "last": 304.0, "peak": 304.0}
    assert [camera["share"] for camera in figures["cameras"]] == [1.0, 1.0, 0.5]
    assert len(figures["series"]) == 4
    assert sum(row["part_of_all"] for row in figures["account"]) == pytest.approx(1.0, abs=0.001)
