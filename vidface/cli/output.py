"""What commands print: results on stdout, everything else on stderr, progress on a terminal only.

A result is a table for people or, with ``--json``, one JSON value; a stream of results is one JSON value a line.
Names come from photos and other people's files, so control characters are spelt out before they reach a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vidface.config.secrets import mask_text
from vidface.errors import Declined, UsageError

PIPE_COLUMNS = 4096
"""A pipe has no width: nothing is cut or folded there."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """The text with control characters spelt out; newlines and tabs stay."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", text)


def _console(*, stderr: bool) -> Console:
    # Made anew each time: whoever runs a command in a process may have replaced the streams.
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Print a line of a result on stdout."""
    _console(stderr=False).print(Text(plain(text)))


def note(text: str, *, style: str = "dim") -> None:
    """Tell the person at the terminal something that is no result, on stderr. Credentials in URLs are masked."""
    _console(stderr=True).print(Text(plain(mask_text(text)), style=style))


def warn(text: str) -> None:
    """A warning on stderr."""
    _labelled("warning", "yellow", text)


def complain(text: str) -> None:
    """An error on stderr."""
    _labelled("error", "bold red", text)


class LogHandler(logging.Handler):
    """Tells on stderr what our packages log, as a warning or an error of the command. Without tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record. Any thread."""
        (complain if record.levelno >= logging.ERROR else warn)(record.getMessage())


def _labelled(label: str, style: str, text: str) -> None:
    line = Text.assemble((f"{label}: ", style), plain(mask_text(text)))
    _console(stderr=True).print(line)


def show_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on stdout; numbers stand at the right."""
    cells = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, header in enumerate(headers):
        numeric = bool(cells) and all(isinstance(row[column], int | float) for row in cells)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold", no_wrap=column == 0)
    for row in cells:
        table.add_row(*(Text(plain(str(cell))) for cell in row))
    _console(stderr=False).print(table, soft_wrap=False)


def is_terminal() -> bool:
    """Whether a person looks at stdout."""
    return sys.stdout.isatty()


def print_rich(drawn: RenderableType) -> None:
    """Print what was drawn on stdout."""
    _console(stderr=False).print(drawn, soft_wrap=False)


@contextmanager
def live_display() -> Iterator[Callable[[RenderableType], None]]:
    """A place on the terminal that shows what it was last given. Makes no thread."""
    with Live(console=_console(stderr=False), auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda drawn: live.update(drawn, refresh=True)


def show_json(value: object) -> None:
    """Print one JSON value on stdout, indented."""
    _write(value, indent=2)


def show_json_line(value: object) -> None:
    """Print one JSON value on a line of its own, and flush, for who reads along."""
    _write(value, indent=None)
    sys.stdout.flush()


def show(value: object, human: Callable[[], None], *, as_json: bool) -> None:
    """Print a result: `value` as JSON, or by `human` for people."""
    if as_json:
        show_json(value)
    else:
        human()


def _write(value: object, *, indent: int | None) -> None:
    is_utf = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=indent, ensure_ascii=not is_utf, allow_nan=False, default=_jsonable)
    sys.stdout.write(text + "\n")


def _jsonable(value: object) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return value.tolist()
    if isinstance(value, Iterable):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def progress() -> Progress:
    """A progress display on stderr that shows nothing in a pipe; a context manager."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=_console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone.

    Args:
        question: Ends with a question mark.
        yes: The user has said yes already.

    Raises:
        UsageError: There is nobody to ask.
        Declined: The answer was no.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{question} There is no terminal to ask on: say --yes if you are sure")
    if not typer.confirm(plain(question), default=False, err=True):
        raise Declined("nothing was changed")


def local_time(unix_ns: int) -> str:
    """``2025-01-31 14:03:59 CET`` in the machine's time zone, for people."""
    return datetime.fromtimestamp(unix_ns / 1e9, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def utc_time(unix_ns: int) -> str:
    """RFC 3339 with milliseconds, for programs."""
    moment = datetime.fromtimestamp(unix_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
