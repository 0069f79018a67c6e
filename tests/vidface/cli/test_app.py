from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

from tests.vidface.conftest import RunCommand
from vidface.cli import app
from vidface.version import installed_version


def _commands() -> list[tuple[str, ...]]:
    """Every command of the application, groups included."""
    paths: list[tuple[str, ...]] = []
    waiting: list[tuple[tuple[str, ...], object]] = [((), get_command(app.build()))]
    while waiting:
        path, command = waiting.pop()
        paths.append(path)
        waiting += [((*path, name), child) for name, child in getattr(command, "commands", {}).items()]
    return sorted(paths)


COMMANDS = _commands()


def test_the_commands_are_there() -> None:
    assert {
        ("config", "check"),
        ("config", "schema"),
        ("config", "show"),
        ("events", "tail"),
        ("gallery", "list"),
        ("gallery", "remove"),
        ("gallery", "rename"),
        ("gallery", "show"),
        ("gallery", "stats"),
        ("top",),
        ("weights", "list"),
        ("weights", "path"),
        ("weights", "pull"),
        ("weights", "verify"),
    } <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "vidface")
def test_each_command_explains_itself(run: RunCommand, command: tuple[str, ...]) -> None:
    outcome = run(*command, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: {' '.join(('vidface', *command))}")
    assert outcome.err == ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command) or "vidface")
def test_each_result_can_be_had_as_json(run: RunCommand, command: tuple[str, ...]) -> None:
    text = run(*command, "--help").out
    assert "--json" in text or "COMMAND [ARGS]" in text


@pytest.mark.parametrize("command", [(), ("gallery",), ("weights",), ("config",), ("events",)])
def test_a_group_by_itself_prints_its_help(run: RunCommand, command: tuple[str, ...]) -> None:
    outcome = run(*command)
    assert outcome.status == 2
    assert outcome.err.startswith("Usage: vidface")


def test_version(run: RunCommand) -> None:
    outcome = run("--version")
    assert (outcome.status, outcome.out) == (0, f"vidface {installed_version()}\n")


def test_python_dash_m() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "vidface", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == f"vidface {installed_version()}\n"


def test_help_loads_no_engine() -> None:
    code = (
        "import sys\n"
        "from vidface.cli.app import build, main\n"
        "main(['--help'])\n"
        "heavy = {'av', 'cv2', 'faiss', 'kafka', 'onnx', 'onnxruntime', 'openvino', 'supervision', 'trackers'}\n"
        "sys.exit(' '.join(sorted(heavy & sys.modules.keys())) or 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
