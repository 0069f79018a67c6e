from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import av
import pytest

from tests.schemas import assert_valid_document
from tests.vidface.conftest import RunCommand
from vidface.demo.run import claim
from vidface.errors import BadInput


@pytest.mark.slow
@pytest.mark.usefixtures("model_paths")
def test_the_demo(run: RunCommand, photos: Mapping[str, Path], tmp_path: Path) -> None:
    assert photos
    folder = tmp_path / "demo"
    outcome = run("demo", "--output-dir", folder, "--json")
    assert outcome.status == 0, outcome.err
    answer = outcome.json
    assert (answer["ok"], answer["problems"], answer["named"]) == (True, [], ["Barack Obama"])
    assert "Barack Obama" in answer["enrolled"]

    answers = Counter(seen["answer"] for seen in answer["sightings"])
    assert answers["person"] == 2
    assert answers["stranger"] >= 4
    for seen in answer["sightings"]:
        assert 0 <= seen["from_s"] < seen["to_s"] <= 14
        if seen["answer"] == "person":
            assert seen["score"] > 0.6
            assert seen["decided_after_s"] < 1.5

    documents = [json.loads(line) for line in Path(answer["events"]).read_text(encoding="utf-8").splitlines()]
    for document in documents:
        assert_valid_document(document)
    assert len({document["id"] for document in documents}) == len(documents)

    with av.open(answer["annotated_video"]) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (1920, 1080, answer["frames"])
        assert sum(1 for _ in container.decode(stream)) == answer["frames"] == 14 * 25
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]

    # Once more in the same folder, shorter and told to people: everything of before is replaced.
    outcome = run("demo", "--output-dir", folder, "--seconds", "8")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["from", "to", "who", "decision", "score", "margin", "shots", "decided", "after"]
    assert sum("Barack Obama  person" in line for line in lines) == 2
    assert "Joe Biden is enrolled, is not in the clip, and was rightly not seen" in lines
    assert f"annotated video  {folder / 'annotated.mp4'}" in lines
    assert json.loads((folder / "scene.json").read_text())["frames"] == 8 * 25


def test_an_earlier_demo_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "gallery.db").write_text("old")
    (tmp_path / "events.jsonl").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    claim(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".vidface-demo", "mine.txt"]


@pytest.mark.parametrize("name", ["state", "cameras.yaml", "events.jsonl"])
def test_what_no_demo_made_is_left_alone(run: RunCommand, tmp_path: Path, name: str) -> None:
    if name == "state":
        (tmp_path / name).mkdir()
        precious = tmp_path / name / "gallery.db"
    else:
        precious = tmp_path / name
    precious.write_text("precious")
    outcome = run("demo", "--output-dir", tmp_path)
    assert outcome.status == 1
    assert f"error: {tmp_path} holds {name}, which no demo made; name another folder by --output-dir" in outcome.err
    assert precious.read_text() == "precious"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="can't be used"):
        claim(tmp_path / "file" / "demo")


def test_a_link_to_somebodys_folder_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "gallery.db").write_text("precious")
    folder = tmp_path / "demo"
    claim(folder)
    (folder / "state").symlink_to(precious)
    claim(folder)
    assert not (folder / "state").exists()
    assert (precious / "gallery.db").read_text() == "precious"


@pytest.mark.parametrize("seconds", ["1", "5000", "long"])
def test_a_length_that_cannot_be(run: RunCommand, seconds: str) -> None:
    assert run("demo", "--seconds", seconds).status == 2
