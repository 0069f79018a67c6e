"""Whether the tests of the weights workshop run here: without its libraries they cannot even be read."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workshop.conftest import ABSENT


def test_the_workshop_can_be_tested_here() -> None:
    if ABSENT:
        pytest.skip(f"tests/workshop is left out: {', '.join(ABSENT)} is not installed; 'make test-workshop' runs it")
    assert importlib.util.find_spec("torch")


@pytest.mark.parametrize(
    "command",
    [
        ["optimise", "retinaface-mnet025", "--data", "."],
        ["quantise", "mobilefacenet", "--data", "."],
        ["train-detector", "label.txt", "--output", "out"],
        ["train-embedder", "faces", "--output", "out"],
        ["import", "x.pth", "--name", "x"],
    ],
    ids=lambda command: command[0],
)
def test_without_its_libraries_a_command_says_what_to_install(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    for name in ("label.txt", "x.pth"):
        (tmp_path / name).touch()
    # A module that is None counts as absent, whatever is installed.
    code = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else found(name, *rest)\n"
        "from vidface.cli.app import main\n"
        f"sys.exit(main({['weights', *command]!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "torch" in done.stderr
    assert "vidface[cpu,train]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
