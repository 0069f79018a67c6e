import importlib.util
import os
import sys
from pathlib import Path

import pytest

from tests.weights.archives import artifact
from weights.clients import fetch_with_client, pip_command
from weights.errors import ClientFailed, MissingClient
from weights.manifest import Artifact, Client, Form


class Tools:
    """A PATH with nothing on it but what a test puts there; and no pip module."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.into = folder / "into"
        self.into.mkdir()
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    def add(self, name: str, script: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def arguments(self) -> list[str]:
        return (self.folder / "arguments").read_text(encoding="utf-8").splitlines()

    def fetch(self, wanted: Artifact) -> Path:
        return fetch_with_client(wanted, self.into)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    return Tools(tmp_path, monkeypatch)


NPM = artifact(client=Client.NPM)
WHEEL = artifact(client=Client.PIP, form=Form.WHEEL)
SDIST = artifact(client=Client.PIP, form=Form.SDIST, sha256="a" * 64)
DELIVER = 'printf "%s\\n" "$@" > ../arguments; echo archive > box.tgz'


def test_npm_packs_one_exact_version_and_runs_no_scripts(tools: Tools) -> None:
    tools.add("npm", DELIVER)
    assert tools.fetch(NPM).read_bytes() == b"archive\n"
    assert tools.arguments()[:4] == ["pack", "box@1.0", "--pack-destination", str(tools.into)]
    assert "--ignore-scripts" in tools.arguments()


def test_pip_downloads_one_exact_wheel_and_no_dependencies(tools: Tools) -> None:
    tools.add("pip", DELIVER)
    tools.fetch(WHEEL)
    assert tools.arguments()[0] == "download"
    assert {"--no-deps", "--only-binary", ":all:"} <= set(tools.arguments())
    assert (tools.into / "requirements.txt").read_text() == "box==1.0\n"


def test_pip_is_given_the_hash_of_an_sdist(tools: Tools) -> None:
    tools.add("pip", DELIVER)
    tools.fetch(SDIST)
    arguments = tools.arguments()
    assert arguments[arguments.index("--no-binary") + 1] == "box"
    assert "--require-hashes" in arguments
    assert (tools.into / "requirements.txt").read_text() == f"box==1.0 --hash=sha256:{'a' * 64}\n"


def test_pip_of_this_python_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert pip_command() == [sys.executable, "-m", "pip"]


def test_uv_stands_in_for_pip(tools: Tools) -> None:
    tools.add("uv", DELIVER)
    tools.fetch(WHEEL)
    assert tools.arguments()[:7] == ["tool", "run", "--quiet", "--from", "pip", "pip", "download"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param(NPM, "npm is not installed", id="npm"),
        pytest.param(WHEEL, "pip is not installed for .*, and neither pip nor uv", id="pip"),
        pytest.param(artifact(client=Client.URL, url="https://example.org/x"), "no package client", id="url"),
    ],
)
def test_a_missing_client_is_named(tools: Tools, wanted: Artifact, message: str) -> None:
    with pytest.raises(MissingClient, match=message):
        tools.fetch(wanted)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        pytest.param(
            "echo 'npm error code E404'; exit 3", "npm failed with exit status 3: npm error code E404$", id="error"
        ),
        pytest.param("exit 1", "exit status 1: it printed nothing", id="silent error"),
        pytest.param("exit 0", "npm succeeded but left nothing", id="no file"),
        pytest.param("echo a > a; echo b > b", "left a, b where one archive", id="two files"),
        pytest.param("echo 'last words'; kill -9 $$", "exit status -9: last words", id="killed"),
    ],
)
def test_a_client_that_fails_is_quoted(tools: Tools, script: str, message: str) -> None:
    tools.add("npm", script)
    with pytest.raises(ClientFailed, match=message):
        tools.fetch(NPM)


def test_pips_network_warning_is_the_reason(tools: Tools) -> None:
    tools.add("pip", "echo \"WARNING: Retrying after connection broken by 'refused'\"; echo ERROR: no version; exit 1")
    with pytest.raises(ClientFailed, match=r"connection broken by 'refused' \| ERROR: no version"):
        tools.fetch(WHEEL)


def test_credentials_of_an_index_are_masked(tools: Tools) -> None:
    tools.add("pip", "echo 'ERROR: https://me:secret@example.org/simple is away'; exit 1")
    with pytest.raises(ClientFailed, match=r"https://\*\*\*@example.org/simple") as caught:
        tools.fetch(WHEEL)
    assert "secret" not in str(caught.value)


def test_a_client_that_hangs_is_ended_with_its_children(tools: Tools) -> None:
    held = tools.folder / "held-open-by-the-child"
    os.mkfifo(held)
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    try:
        tools.add("npm", f"sleep 600 > {held} & wait")
        with pytest.raises(ClientFailed, match=r"still at it after 0\.5 s"):
            fetch_with_client(NPM, tools.into, timeout_s=0.5)
        os.set_blocking(reader, True)
        assert os.read(reader, 1) == b""  # the end of the pipe: nobody holds it open any more
    finally:
        os.close(reader)


def test_a_client_that_cannot_be_started_is_named(tools: Tools) -> None:
    tools.add("npm", "")
    (tools.folder / "npm").write_bytes(b"#!/no/such/interpreter\n")
    with pytest.raises(ClientFailed, match="npm cannot be started"):
        tools.fetch(NPM)
