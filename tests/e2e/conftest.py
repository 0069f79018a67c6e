"""The whole system: the lobby scene, a gallery of those who are enrolled in it, and fresh installations."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby


@pytest.fixture(scope="session")
def lobby(real_data: Path) -> Lobby:
    return Lobby(real_data)


@pytest.fixture(scope="session")
def lobby_gallery(lobby: Lobby, model_paths: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery's file with the ten enrolled, made once by the real command; to be copied."""
    installation = Installation(tmp_path_factory.mktemp("gallery"))
    done = installation.run("enroll", "--from", lobby.photos, "--data-dir", installation.data_dir, "--json")
    assert done.status == 0, done.err
    assert {person["name"] for person in done.json["people"] if person["id"]} == lobby.enrolled
    gallery = installation.data_dir / "gallery.db"
    assert not gallery.with_name("gallery.db-wal").exists()  # closed: the file is all there is
    return gallery


@pytest.fixture
def fresh(tmp_path: Path, model_paths: Mapping[str, Path]) -> Installation:
    """An installation in which nobody is enrolled."""
    return Installation(tmp_path)


@pytest.fixture(scope="session")
def install(lobby_gallery: Path) -> Callable[[Path], Installation]:
    """Makes an installation in a folder, in which the ten are enrolled."""

    def make(folder: Path) -> Installation:
        installation = Installation(folder)
        installation.data_dir.mkdir(mode=0o700)
        shutil.copy(lobby_gallery, installation.data_dir)
        return installation

    return make


@pytest.fixture
def installed(install: Callable[[Path], Installation], tmp_path: Path) -> Installation:
    """An installation in which the ten are enrolled."""
    return install(tmp_path)
