"""`vidface eval` and `vidface bench` on real faces, and the check that bench makes before it believes itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.event import Event
from pipeline.events.payload import Answer, SightingStage
from tests.e2e.installation import Done, Installation
from tests.e2e.lobby import Lobby, cut
from tests.pipeline.events.examples import camera_state, sighting
from vidface.evaluation.outputs import OutputsDiffer, check_outputs

Evaluate = Callable[..., Done]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="every-frame", marks=pytest.mark.slow),
        pytest.param(("--detect-fps", "5"), id="five-a-second"),
    ],
)
def test_the_lobby_has_ten_of_ten_and_no_false_name(
    fresh: Installation, lobby: Lobby, options: tuple[str, ...]
) -> None:
    scene = ("eval", "scene", lobby.clip, "--truth", lobby.truth_path, "--enrol", lobby.photos, "--json")
    done = fresh.run(*scene, *options)
    assert done.status == 0, done.err
    result = done.json
    assert (result["enrolled"], result["identified"], result["strangers"]) == (10, 10, 4)
    assert result["false_identifications"] == 0
    assert result["sightings"] >= 14
    assert result["id_switches"] <= 3
    assert 0 < result["median_seconds_to_identify"] < 2  # of the clip, not of the wall


def test_lfw_on_a_few_pairs(fresh: Installation, lobby: Lobby) -> None:
    per_kind = 20
    lines = (lobby.data / "lfw" / "pairs.txt").read_text().splitlines()
    announced = int(lines[0].split()[1])
    few = [f"2\t{per_kind}"]
    for fold in range(2):
        same = 1 + fold * 2 * announced
        few += lines[same : same + per_kind] + lines[same + announced : same + announced + per_kind]
    pairs = fresh.folder / "pairs.txt"
    pairs.write_text("\n".join(few) + "\n")
    done = fresh.run("eval", "lfw", lobby.data / "lfw" / "images", "--pairs", pairs, "--json")
    assert done.status == 0, done.err
    result = done.json
    assert result["accuracy"] > 0.95
    assert (result["folds"], result["pairs"]) == (2, 4 * per_kind)
    assert result["std"] < 0.05
    assert set(result["tar_at_far"]) == {"1e-1", "1e-2", "1e-3"}
    assert result["faces_missed"] == 0
    assert 0.2 < result["threshold"] < 0.6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_lfw_in_full(fresh: Installation, lobby: Lobby) -> None:
    lfw = lobby.data / "lfw"
    done = fresh.run("eval", "lfw", lfw / "images", "--pairs", lfw / "pairs.txt", "--json", timeout_s=500)
    assert done.status == 0, done.err
    assert done.json["accuracy"] >= 0.992


def test_bench_measures_what_it_has_checked(fresh: Installation, lobby: Lobby, tmp_path: Path) -> None:
    clip, first_frame = cut(lobby.clip, tmp_path / "part.mp4", from_s=25.0)
    done = fresh.run("bench", clip, "--detect-every", "1", "--enrol", lobby.photos, "--json")
    assert done.status == 0, done.err
    result = done.json
    assert result["outputs_checked"] is True
    assert result["streams"] == 1
    assert result["frames"] == result["detected_frames"] == 750 - first_frame
    assert result["fps"] > 0
    assert result["decode_fps"] > 0
    assert result["ratio_to_decode"] == pytest.approx(result["fps"] / result["decode_fps"], abs=0.01)
    assert 0.5 < result["faces_per_frame"] < 4
    assert result["events"] > 3
    assert result["peak_rss_mib"] > 50
    assert {"detect", "track", "align", "embed", "search"} <= set(result["stages"])
    assert set(result["runs"]) == {"decode", "machine_decode", "detect", "everything"}


def story(camera: str) -> list[Event]:
    """A short run's events."""
    stages = (SightingStage.STARTED, SightingStage.IDENTIFIED, SightingStage.ENDED)
    told = [sighting(stage, camera=camera, sequence=number).to_event() for number, stage in enumerate(stages, start=1)]
    return [camera_state(1, camera).to_event(), *told]


def changed(event: Event, **fields: Any) -> Event:
    return replace(event, data={**event.data, **fields})


def moved(event: Event, by_px: float) -> Event:
    box: Any = event.data["box"]
    return changed(event, box=[box[0] + by_px, *box[1:]])


def scored(event: Event, by: float) -> Event:
    identity: Any = event.data["identity"]
    return changed(event, identity={**identity, "score": identity["score"] + by})


def test_outputs_that_agree_pass() -> None:
    measured = story("clip-1") + story("clip-2")
    measured[2] = scored(moved(measured[2], 0.5), 0.005)  # as other kernels compute it
    check_outputs(story("clip-1"), measured, {"clip-1": "clip-1", "clip-2": "clip-1"})


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        pytest.param(lambda e: e[:-1], "3 events were published where serve publishes 4", id="one-less"),
        pytest.param(lambda e: [*e, e[-1]], "5 events were published where serve publishes 4", id="one-more"),
        pytest.param(lambda e: [e[0], e[2], e[1], e[3]], "instead of", id="swapped"),
        pytest.param(lambda e: [changed(e[0], state="lost"), *e[1:]], "state lost instead of live", id="state"),
        pytest.param(lambda e: [e[0], changed(e[1], track=8), *e[2:]], "track 8 instead of 7", id="track"),
        pytest.param(
            lambda e: [*e[:2], changed(e[2], answer=Answer.STRANGER.value, identity=None), e[3]],
            "answer stranger instead of person",
            id="answer",
        ),
        pytest.param(lambda e: [*e[:2], changed(e[2], identity=None), e[3]], "identity None", id="no-identity"),
        pytest.param(
            lambda e: [*e[:2], changed(e[2], identity={"id": "p", "name": "Bob", "score": 0.7, "margin": 0.1}), e[3]],
            "identity Bob",
            id="another-name",
        ),
        pytest.param(lambda e: [*e[:2], scored(e[2], 0.1), e[3]], "instead of Alice", id="score"),
        pytest.param(lambda e: [*e[:2], moved(e[2], 9.0), e[3]], "box ", id="box"),
        pytest.param(
            lambda e: [*e[:2], changed(e[2], frame={"index": 1, "pts_s": 0.04, "width": 1920, "height": 1080}), e[3]],
            "frame 1 instead of 812",
            id="frame",
        ),
    ],
)
def test_outputs_that_differ_are_not_believed(tamper: Callable[[list[Event]], list[Event]], says: str) -> None:
    with pytest.raises(OutputsDiffer, match="clip-1: ") as refused:
        check_outputs(story("clip-1"), tamper(story("clip-1")), {"clip-1": "clip-1"})
    assert says in str(refused.value)
