from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.vidface.access.made import opening
from vidface.access.command_action import CommandAction
from vidface.access.errors import ActionFailed, ActionTimedOut


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_the_program_gets_the_decision_on_its_input_and_its_arguments_as_they_are(tmp_path: Path) -> None:
    code = "import json, sys; open(sys.argv[1], 'w').write(json.dumps([json.load(sys.stdin), sys.argv[2:]]))"
    path = tmp_path / "got.json"
    CommandAction(python(code, str(path), "$(id)", "; true"), timeout_s=30).run(opening())
    got, arguments = json.loads(path.read_text())
    assert arguments == ["$(id)", "; true"]
    assert got == opening().to_json()
    assert got["people"] == [{"id": "p-alice", "name": "Alice Ångström"}]
    assert got["expires_at"] == "2026-01-31T12:00:03.000Z"


@pytest.mark.parametrize(
    ("command", "words", "nothing_begun"),
    [
        pytest.param(python("raise SystemExit(3)", "s3cr3t"), "ended with status 3", False, id="status"),
        pytest.param(python("import os; os.kill(os.getpid(), 9)", "s3cr3t"), "signal SIGKILL", False, id="signal"),
        pytest.param(["/nonexistent/door", "s3cr3t"], "/nonexistent/door cannot be run: No such", True, id="absent"),
        pytest.param(["/etc/passwd", "s3cr3t"], "/etc/passwd cannot be run: Permission denied", True, id="no-program"),
    ],
)
def test_failures(command: list[str], words: str, nothing_begun: bool) -> None:
    with pytest.raises(ActionFailed, match=words) as caught:
        CommandAction(command, timeout_s=30).run(opening())
    assert caught.value.nothing_begun is nothing_begun
    assert "s3cr3t" not in str(caught.value)


def test_one_that_does_not_read_its_input_succeeds() -> None:
    CommandAction(["/bin/true"], timeout_s=30).run(opening(rule="r" * 1_000_000))


def test_one_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    path = tmp_path / "child"
    code = (
        "import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '600']); "
        "open(sys.argv[1] + '.part', 'w').write(str(child.pid)); os.rename(sys.argv[1] + '.part', sys.argv[1]); "
        "time.sleep(600)"
    )
    began_s = time.monotonic()
    with pytest.raises(ActionTimedOut, match="took longer than 3 s and was killed") as caught:
        CommandAction(python(code, str(path)), timeout_s=3).run(opening())
    assert not caught.value.nothing_begun
    assert time.monotonic() - began_s < 60
    child = int(path.read_text())
    for _ in range(200):  # a killed child of a killed parent is gone when init has looked at it
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    os.kill(child, 9)
    pytest.fail("what it had started still runs")
