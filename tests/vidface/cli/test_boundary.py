from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from index.errors import GalleryFull, UnknownIdentity
from pipeline.errors import PhotoRefused, StageFailed
from streams.errors import SourceError
from vidface.cli import boundary
from vidface.errors import ConfigError, Declined, Problem, UsageError
from weights.errors import UnknownWeights

SECRET = "s3cr3t"


def app_that_raises(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail(as_json: bool = typer.Option(False, "--json")) -> None:
        raise error

    return app


def chained(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def full_sqlite() -> sqlite3.Error:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA max_page_count = 2")
    try:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    except sqlite3.Error as error:
        return error
    finally:
        connection.close()
    raise AssertionError("the database never filled up")


PROBLEM = Problem(message="is missing", field="cameras[0].id", line=3, column=5)

KNOWN = [
    pytest.param(UnknownIdentity("bob", ["Bobby"]), 1, "unknown_identity", "did you mean 'Bobby'", id="gallery"),
    pytest.param(UnknownWeights("no model x"), 1, "unknown_weights", "no model x", id="weights"),
    pytest.param(
        SourceError(camera="door", source="rtsp://***@h", cause="open_failed", detail="refused"),
        1,
        "source_error",
        "camera 'door'",
        id="streams",
    ),
    pytest.param(PhotoRefused("no_face", "a.jpg", "no face"), 1, "no_face", "a.jpg: no face", id="a code of its own"),
    pytest.param(ConfigError(Path("c.yaml"), [PROBLEM]), 2, "config_error", "c.yaml:3:5: cameras[0].id", id="config"),
    pytest.param(UsageError("both"), 2, "usage_error", "both", id="usage"),
    pytest.param(Declined("nothing was changed"), 1, "declined", "nothing was changed", id="declined"),
    pytest.param(typer.BadParameter("no"), 2, "usage_error", "invalid value: no", id="command line"),
    pytest.param(
        OSError(errno.ENOSPC, "x", "/d/f"), 1, "disk_full", "the disk is full (/d/f could not be", id="disk full"
    ),
    pytest.param(
        chained(StageFailed("analyse", ValueError("x")), OSError(errno.ENOSPC, "x")),
        1,
        "disk_full",
        "the disk is full: the analyse stage failed",
        id="disk full inside",
    ),
    pytest.param(full_sqlite(), 1, "disk_full", "the disk is full; free some space", id="database full"),
    pytest.param(
        chained(GalleryFull(Path("g.db"), "database or disk is full; free some space"), full_sqlite()),
        1,
        "disk_full",
        "gallery g.db: database or disk is full; free",
        id="gallery full",
    ),
    pytest.param(PermissionError(13, "Permission denied", "/srv/x"), 1, "os_error", "/srv/x: Permission", id="denied"),
    pytest.param(
        ModuleNotFoundError("x", name="openvino.runtime"), 1, "engine_missing", "install 'vidface[cpu]'", id="no engine"
    ),
    pytest.param(MemoryError(), 1, "out_of_memory", "not enough memory", id="memory"),
    pytest.param(KeyError("k"), 1, "internal_error", "KeyError: 'k' (this is a bug", id="a bug"),
]


@pytest.mark.parametrize(("error", "status", "code", "words"), KNOWN)
def test_one_message_and_a_status(
    capsys: pytest.CaptureFixture[str], error: Exception, status: int, code: str, words: str
) -> None:
    assert boundary.run(app_that_raises(error), []) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("error", "status", "code", "words"), KNOWN)
def test_as_json_too(capsys: pytest.CaptureFixture[str], error: Exception, status: int, code: str, words: str) -> None:
    assert boundary.run(app_that_raises(error), ["--json"]) == status
    out, err = capsys.readouterr()
    answer = json.loads(out)["error"]
    assert answer["code"] == code
    assert words in answer["message"]
    assert words in err


def test_each_problem_of_a_configuration_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError(Path("c.yaml"), [PROBLEM, Problem(message="is empty")])
    boundary.run(app_that_raises(error), ["--json"])
    out, err = capsys.readouterr()
    assert err == "error: c.yaml:3:5: cameras[0].id: is missing\nerror: c.yaml: is empty\n"
    assert json.loads(out)["error"]["problems"] == [
        {"field": "cameras[0].id", "line": 3, "column": 5, "message": "is missing"},
        {"field": "", "line": None, "column": None, "message": "is empty"},
    ]


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_no_message_shows_credentials(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, debug: str, arguments: list[str]
) -> None:
    monkeypatch.setenv("VIDFACE_DEBUG", debug)
    cause = OSError(f"cannot open rtsp://ann:{SECRET}@192.0.2.7/x")
    boundary.run(app_that_raises(chained(RuntimeError(str(cause)), cause)), arguments)
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert ("Traceback" in err) is (debug == "1")


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    boundary.run(app_that_raises(UsageError("a\x1b[31mb\rc")), [])
    assert capsys.readouterr().err == "error: a\\x1b[31mb\\x0dc\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(KeyboardInterrupt(), 130, id="Ctrl-C"),
        pytest.param(typer.Exit(3), 3, id="a status of its own"),
        pytest.param(typer.Abort(), 1, id="a question that nobody answered"),
    ],
)
def test_ends_without_a_message(capsys: pytest.CaptureFixture[str], error: BaseException, status: int) -> None:
    assert boundary.run(app_that_raises(error), []) == status
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "vidface", "config", "schema"],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_json_after_two_dashes_is_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    boundary.run(app_that_raises(UsageError("x")), ["--", "--json"])
    assert capsys.readouterr().out == ""
