"""Enrolling a folder again, as one does after putting another photo into it."""

from __future__ import annotations

import shutil

import pytest

from tests.e2e.installation import Installation
from tests.e2e.lobby import Lobby

pytestmark = pytest.mark.slow


def test_a_folder_may_be_enrolled_again(installed: Installation, lobby: Lobby) -> None:
    photos = installed.data_dir.parent / "photos"
    shutil.copytree(lobby.photos, photos)
    name = min(lobby.enrolled)
    shutil.copy(photos / f"{name}.jpg", photos / "Copy of somebody.jpg")
    again = installed.run("enroll", "--from", photos, "--data-dir", installed.data_dir, "--json")
    assert again.status == 1
    assert "Copy of somebody" in again.err
    assert "--allow-duplicate" in again.err
    people = {person["name"]: person for person in again.json["people"]}
    assert not people["Copy of somebody"]["id"]
    (photos / "Copy of somebody.jpg").unlink()
    again = installed.run("enroll", "--from", photos, "--data-dir", installed.data_dir)
    assert (again.status, again.err) == (0, "")
    assert f"{name}: nothing new, 1 in all; 1 known already" in again.out
