"""Where every error of a command ends: one message on stderr and an exit status.

    0    done
    1    it could not be done; the message says why
    2    the command line or the configuration is wrong
    130  interrupted (Ctrl-C)
    141  whoever read the output stopped reading

With ``--json`` the error is a JSON object on stdout as well, ``{"error": {"code": ..., "message": ...}}``, so that a
program finds on one stream either the result or why there is none. Python's traceback is for developers:
``VIDFACE_DEBUG=1`` shows it, without local variables, which may hold passwords.

Known errors are those of our packages' trees, recognised by where their classes are drawn, a module ``errors``: so
no package has to be imported to say what is wrong with it.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sqlite3
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import typer
from typer.main import get_command

from vidface.cli.output import LogHandler, complain, plain, show_json_line
from vidface.config.secrets import mask_text
from vidface.errors import ConfigError

INTERRUPTED = 130
NOBODY_READS = 141

_PACKAGES = ("streams", "weights", "index", "pipeline", "vidface")
_OF_VIDEO = {
    *("av", "cv2", "faiss", "matplotlib", "onnx", "onnxruntime", "openvino", "prometheus_client", "supervision"),
    "trackers",
}
"""Modules that come with the extras for video: whoever only consumes events does not have them."""
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An error as the command line tells it: code for programs, message for people, exit status."""

    code: str
    message: str
    status: int = 1


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Run a command line and return its exit status; never raises an Exception."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # file names need not be UTF-8, nor the terminal
            stream.reconfigure(errors="backslashreplace")
    try:
        with _logs_told():
            status = get_command(app).main(list(arguments), prog_name="vidface", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _end_quietly()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as ended:  # Click's own way to end when nobody reads
        if isinstance(ended.__context__, BrokenPipeError):
            return _end_quietly()
        return ended.code if isinstance(ended.code, int) else 1
    except typer.Abort as abort:
        return INTERRUPTED if isinstance(abort.__cause__, KeyboardInterrupt) else 1
    except Exception as error:  # the boundary: everything ends here
        return _tell(error, wants_json=_wants_json(arguments))
    return status if isinstance(status, int) else 0


@contextmanager
def _logs_told() -> Iterator[None]:
    """Tell what our packages log while a command runs. Other packages' logs are theirs."""
    handler = LogHandler()
    loggers = [logging.getLogger(package) for package in _PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def report_of(error: BaseException) -> Report:
    """What to tell about an error."""
    if _is_full_disk(error):
        return Report(code="disk_full", message=_full_disk(error))
    if _is_ours(error):
        return _report_of_ours(error)
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):  # Click's, wherever Typer keeps it
        return Report(code="usage_error", message=_usage(error), status=error.exit_code)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _OF_VIDEO:
        message = (
            f"this needs what vidface works on video with, and {error.name} is not installed: "
            "pip install 'vidface[cpu]', or 'vidface[gpu]' on NVIDIA"
        )
        return Report(code="engine_missing", message=message)
    if isinstance(error, sqlite3.Error):
        return Report(code="storage_error", message=f"the database cannot do what was asked: {error}")
    if isinstance(error, OSError):
        words = error.strerror or str(error) or type(error).__name__
        return Report(code="os_error", message=f"{error.filename}: {words}" if error.filename else words)
    if isinstance(error, MemoryError):
        return Report(code="out_of_memory", message="there is not enough memory")
    hint = "this is a bug in vidface; VIDFACE_DEBUG=1 shows where"
    return Report(code="internal_error", message=f"{type(error).__name__}: {error} ({hint})")


def _report_of_ours(error: BaseException) -> Report:
    code = getattr(error, "code", None)
    if not isinstance(code, str):
        code = _WORD_START.sub("_", type(error).__name__).lower()
    status = getattr(error, "exit_status", 1)
    return Report(code=code, message=str(error) or code, status=status)


def _tell(error: Exception, *, wants_json: bool) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":  # Click's way to say that a command is missing
        context = getattr(error, "ctx", None)
        sys.stderr.write(f"{context.get_help() if context else error}\n")
        return 2
    report = report_of(error)
    if os.environ.get("VIDFACE_DEBUG", "") not in {"", "0"}:
        lines = "".join(traceback.format_exception(error))
        sys.stderr.write(plain(mask_text(lines)))
    for message in (
        [p.describe(error.path) for p in error.problems] if isinstance(error, ConfigError) else [report.message]
    ):
        complain(message)
    if wants_json:
        try:
            show_json_line({"error": _as_json(error, report)})
        except BrokenPipeError:
            return _end_quietly()
    return report.status


def _as_json(error: Exception, report: Report) -> dict[str, object]:
    answer: dict[str, object] = {"code": report.code, "message": mask_text(report.message)}
    if isinstance(error, ConfigError):
        answer["problems"] = [
            {"field": p.field, "line": p.line, "column": p.column, "message": mask_text(p.message)}
            for p in error.problems
        ]
    return answer


def _usage(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    help_of = context.command_path if context is not None else "vidface"
    message = str(getattr(error, "format_message", lambda: error)()).rstrip(".")
    return f"{message[:1].lower()}{message[1:]} (see '{help_of} --help')"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _is_full_disk(error: BaseException) -> bool:
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in {errno.ENOSPC, errno.EDQUOT}:
            return True
        if isinstance(link, sqlite3.Error) and getattr(link, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            return True
    return False


def _full_disk(error: BaseException) -> str:
    if _is_ours(error):
        message = str(error)
        return message if "disk" in message or "space" in message else f"the disk is full: {message}"
    name = getattr(error, "filename", None)
    place = f" ({name} could not be written)" if name else ""
    return f"the disk is full{place}; free some space and run again"


def _is_ours(error: BaseException) -> bool:
    for kind in type(error).__mro__:
        package, _, rest = kind.__module__.partition(".")
        if package in _PACKAGES and rest.rpartition(".")[2] == "errors":
            return True
    return False


def _wants_json(arguments: Sequence[str]) -> bool:
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in options


def _end_quietly() -> int:
    """Nobody reads the output: make sure that Python does not try to flush it once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, sys.stdout.fileno())
    except (OSError, ValueError):  # a stream without a descriptor has nothing to flush into
        pass
    finally:
        os.close(null)
    return NOBODY_READS
