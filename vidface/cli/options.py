"""Options that several commands share, so that they are spelt and explained alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidface.errors import UsageError

if TYPE_CHECKING:
    from pipeline.canvas import Canvas

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The configuration file, which names the data folder.")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="The data folder, without a configuration file. [default: ./state]"),
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def parse_canvas(text: str | None) -> Canvas:
    """``640x384`` as a canvas; the default one for None. Raises `UsageError`."""
    from pipeline.canvas import DEFAULT_CANVAS, Canvas
    from pipeline.errors import ShapeError

    if text is None:
        return DEFAULT_CANVAS
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    try:
        if match is None or max(map(int, match.groups())) > 8192:
            raise ShapeError("not a size")
        return Canvas(width=int(match[1]), height=int(match[2]))
    except ShapeError as error:
        raise UsageError(
            f"--canvas {text}: expected WIDTHxHEIGHT, such as 1280x736, each a multiple of 32 up to 8192"
        ) from error
