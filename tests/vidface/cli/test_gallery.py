from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.vidface.conftest import RunCommand, WriteConfig
from vidface.place import find_place


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A gallery of two people."""
    folder = tmp_path / "data"
    with find_place(None, folder).open_gallery() as gallery:
        for row, name in enumerate(("Zoë", "adam")):
            gallery.enroll(
                name,
                np.eye(192, dtype=np.float32)[row : row + 1],
                qualities=np.ones(1, np.float32),
                sources=[f"{name}.jpg"],
                duplicate_threshold=0.6,
            )
    return folder


def test_list(run: RunCommand, data_dir: Path) -> None:
    outcome = run("gallery", "list", "--data-dir", data_dir)
    assert outcome.status == 0
    header, *rows = outcome.out.splitlines()
    assert header.split() == ["name", "photos", "enrolled", "changed", "id"]
    assert [row.split()[0] for row in rows] == ["adam", "Zoë"]


def test_list_as_json(run: RunCommand, data_dir: Path) -> None:
    answer = run("gallery", "list", "--data-dir", data_dir, "--json").json
    assert answer["gallery_version"] == 2
    assert [person["name"] for person in answer["identities"]] == ["adam", "Zoë"]
    assert set(answer["identities"][0]) == {"id", "name", "template_count", "created_at", "updated_at"}


def test_a_configuration_names_the_folder(run: RunCommand, data_dir: Path, write_config: WriteConfig) -> None:
    path = write_config("data_dir: data\ncameras: [{id: a, source: a.mp4}]")
    assert path.parent == data_dir.parent
    assert len(run("gallery", "list", "--config", path, "--json").json["identities"]) == 2


def test_the_default_folder(run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("gallery", "stats", "--json").json["path"] == str(tmp_path / "state" / "gallery.db")


def test_a_configuration_and_a_folder(run: RunCommand, data_dir: Path) -> None:
    outcome = run("gallery", "list", "--data-dir", data_dir, "--config", "c.yaml")
    assert outcome.status == 2
    assert "give --config or --data-dir, not both" in outcome.err


def test_looking_makes_no_gallery(run: RunCommand, tmp_path: Path) -> None:
    for command in (["list"], ["stats"], ["show", "adam"], ["remove", "adam", "--yes"], ["rename", "adam", "b"]):
        run("gallery", *command, "--data-dir", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nobody_yet(run: RunCommand, tmp_path: Path) -> None:
    outcome = run("gallery", "list", "--data-dir", tmp_path / "new", "--json")
    assert outcome.json == {"gallery_version": 0, "identities": []}
    assert "nobody is enrolled" in outcome.err


@pytest.mark.parametrize("name", ["zoë", "ZOË"])
def test_show(run: RunCommand, data_dir: Path, name: str) -> None:
    assert run("gallery", "show", name, "--data-dir", data_dir).out.startswith("Zoë\n")
    answer = run("gallery", "show", name, "--data-dir", data_dir, "--json").json
    assert run("gallery", "show", answer["id"], "--data-dir", data_dir, "--json").json == answer


def test_an_unknown_person(run: RunCommand, data_dir: Path) -> None:
    outcome = run("gallery", "show", "adm", "--data-dir", data_dir, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == "unknown_identity"
    assert "did you mean 'adam'?" in outcome.err


def test_rename(run: RunCommand, data_dir: Path) -> None:
    answer = run("gallery", "rename", "adam", "Adam Smith", "--data-dir", data_dir, "--json").json
    assert (answer["name"], answer["gallery_version"]) == ("Adam Smith", 3)
    assert run("gallery", "show", "adam", "--data-dir", data_dir).status == 1


def test_rename_to_a_taken_name(run: RunCommand, data_dir: Path) -> None:
    outcome = run("gallery", "rename", "adam", "Zoë", "--data-dir", data_dir)
    assert outcome.status == 1
    assert "taken" in outcome.err


def test_remove_in_a_pipe_needs_yes(run: RunCommand, data_dir: Path) -> None:
    outcome = run("gallery", "remove", "adam", "--data-dir", data_dir)
    assert outcome.status == 2
    assert "say --yes if you are sure" in outcome.err
    assert run("gallery", "show", "adam", "--data-dir", data_dir).status == 0


def test_remove(run: RunCommand, data_dir: Path) -> None:
    answer = run("gallery", "remove", "adam", "--yes", "--data-dir", data_dir, "--json").json
    assert (answer["name"], answer["removed"], answer["gallery_version"]) == ("adam", True, 3)
    assert run("gallery", "show", "adam", "--data-dir", data_dir).status == 1


@pytest.mark.parametrize(("answer", "status", "left"), [(False, 1, 2), (True, 0, 1)], ids=["no", "yes"])
def test_remove_asks_on_a_terminal(
    *, run: RunCommand, data_dir: Path, monkeypatch: pytest.MonkeyPatch, answer: bool, status: int, left: int
) -> None:
    asked: list[str] = []

    def reply(question: str, **_: object) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", reply)
    assert run("gallery", "remove", "adam", "--data-dir", data_dir).status == status
    assert asked == ["Remove adam and their 1 photo for good?"]
    assert run("gallery", "stats", "--data-dir", data_dir, "--json").json["identities"] == left


def test_stats(run: RunCommand, data_dir: Path) -> None:
    answer = run("gallery", "stats", "--data-dir", data_dir, "--json").json
    assert (answer["identities"], answer["templates"], answer["gallery_version"]) == (2, 2, 2)
    assert answer["model"] == "mobilefacenet-192"
    assert "identities: 2" in run("gallery", "stats", "--data-dir", data_dir).out


def test_a_file_that_is_no_gallery(run: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "gallery.db").write_text("not a database, but long enough to be read as one\n" * 40)
    outcome = run("gallery", "list", "--data-dir", tmp_path, "--json")
    assert outcome.status == 1
    assert outcome.json["error"]["code"] == "not_a_gallery"
