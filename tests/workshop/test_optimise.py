"""``vidface weights optimise`` on a few hundred real photos: what meets the goal is registered, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.canvas import Canvas
from vidface.cli.app import main
from vidface.errors import BadInput
from vidface.workshop.goal import Goal
from vidface.workshop.optimise import optimise
from vidface.workshop.pictures import open_pictures
from weights import store
from weights.local import registered
from weights.manifest import DEFAULT_DETECTOR, OutputForm, load_manifest


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer networks are timed on fewer pictures, and no layer is left in float: the way is the same."""
    monkeypatch.setattr("vidface.workshop.optimise.COSTS", (0.32, 0.38))
    monkeypatch.setattr("vidface.workshop.optimise.INT8_LOSS", 1.0)
    monkeypatch.setattr("vidface.workshop.optimise.CALIBRATION", 50)
    monkeypatch.setattr("vidface.workshop.optimise.EXAM_PHOTOS", 60)
    monkeypatch.setattr("vidface.workshop.optimise.EXAM_COMPOSED", 30)
    monkeypatch.setattr("vidface.workshop.optimise.LEAST_S", 12.0)
    monkeypatch.setattr("vidface.workshop.verdict.ROUNDS", 20)


def test_pictures_are_divided_by_person_and_stay_where_they_are(photos: Path) -> None:
    pictures = open_pictures(photos)
    parts = {"learn": pictures.learn, "choose": pictures.choose, "report": pictures.report}
    people = {name: {pictures.paths[number].parent.name for number in numbers} for name, numbers in parts.items()}
    assert sum(map(len, parts.values())) == len(pictures)
    assert not people["learn"] & people["report"]
    assert not people["learn"] & people["choose"]
    assert not people["choose"] & people["report"]
    assert len(parts["learn"]) > 0.7 * len(pictures)
    # Others may come: who was held out stays held out.
    gone = next(iter(sorted(photos.iterdir())))
    gone.unlink()
    fewer = open_pictures(photos)
    assert {fewer.paths[number].parent.name for number in fewer.report} == people["report"] - {gone.name}


def test_a_clip_is_divided_by_stretches(real_data: Path) -> None:
    pictures = open_pictures(real_data / "clips" / "head-pose-face-detection-female-and-male.gif")
    assert pictures.read(pictures.learn[0]).shape[2] == 3
    assert len(pictures.learn) > len(pictures.report) > 0


@pytest.mark.parametrize("what", ["missing", "empty", "few", "text"])
def test_pictures_that_will_not_do_are_told(tmp_path: Path, photos: Path, what: str) -> None:
    origin = tmp_path / what
    if what == "empty":
        origin.mkdir()
    elif what == "few":
        origin.mkdir()
        first = next(photos.glob("*/*.jpg"))
        (origin / "a.jpg").write_bytes(first.read_bytes())
    elif what == "text":
        origin.write_text("no picture")
    with pytest.raises(BadInput, match=str(origin)):
        open_pictures(origin)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("hasty")
def test_it_runs_whole_registers_and_serves(
    cache: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With little time and a low goal: the way is the same. Its figures are in this test's output."""
    command = [
        *("weights", "optimise", "retinaface-mnet025", "--data", str(photos), "--minutes", "2", "--speedup", "1.7"),
        *("--keep", "0.3", "--canvas", "320x192", "--name", "quick", "--work-dir", str(tmp_path / "work"), "--json"),
    ]
    status = main(command)
    document = json.loads(capsys.readouterr().out)
    names = [line["name"] for line in document["candidates"]]
    with capsys.disabled():
        for line in document["candidates"]:
            print(  # noqa: T201  # the figures are what a reader of the run wants
                f"\n{line['name']}: {line['speedup']:.2f} x, F1 {line['agreement']['f1']:.3f}, "
                f"small {line['agreement']['small_recall']:.3f}"
            )
    assert names[0] == "full int8"
    assert document["candidates"][0]["agreement"]["f1"] > 0.9
    assert document["data"]["exam_faces"] > 200
    page = Path(document["report"]).read_text(encoding="utf-8")
    assert "optimise-json" in page
    assert all(name in page for name in names)
    if document["registered"] is None:  # a machine that does int8 slowly: said, with nothing registered
        assert status == 1
        assert not registered(cache)
        return
    assert status == 0
    spec = load_manifest().model("quick")
    assert (spec.based_on, spec.output_form) == (DEFAULT_DETECTOR, OutputForm.CELLS)
    assert store.ensure("quick").is_file()
    kept = next(line for line in document["candidates"] if line["name"] == document["kept"])
    assert all(kept["met"].values())


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("hasty")
def test_a_goal_that_cannot_be_met_registers_nothing_and_a_cut_off_run_goes_on(
    cache: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    goal = Goal(speedup=50.0, keep=0.99, minutes=0.1, canvas=Canvas(width=192, height=128))

    def run() -> Mapping[str, Any]:
        outcome: Mapping[str, Any] = optimise(DEFAULT_DETECTOR, photos, goal, name="never", work_dir=work)
        return outcome

    import weights.workshop.distil as workshop

    def cut_off(*_args: object, **_more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(workshop, "distil", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run()
    kept = {name: (work / f"{name}.json").stat().st_mtime_ns for name in ("scan", "search", "time")}
    document = run()
    assert document["registered"] is None
    assert not registered(cache)
    assert {name: (work / f"{name}.json").stat().st_mtime_ns for name in kept} == kept, "nothing was done twice"
    assert [line["name"] for line in document["candidates"]] == ["full int8", "pruned f32", "pruned int8"]
    with pytest.raises(BadInput, match="another speedup"):
        optimise(DEFAULT_DETECTOR, photos, replace(goal, speedup=2.0), name="never", work_dir=work)
