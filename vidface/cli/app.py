"""The command line: every command in its place, and `main`, which the `vidface` script calls.

A file of commands has ``register(app)``, which adds them and imports nothing heavy: engines are imported when a
command runs, so that ``--help`` and completion answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from vidface.cli import (
    access,
    bench,
    boundary,
    config,
    demo,
    detect,
    enroll,
    evaluate,
    events,
    gallery,
    outbox,
    serve,
    top,
    weights,
)
from vidface.version import installed_version

COMMANDS = (
    serve,
    top,
    enroll,
    gallery,
    events,
    outbox,
    access,
    config,
    weights,
    bench,
    evaluate,
    detect,
    demo,
)
"""The files of commands, in the order of ``vidface --help``."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidface {installed_version()}")
        raise typer.Exit


def build() -> typer.Typer:
    """The whole command line."""
    # No pretty exceptions: they print local variables, which hold passwords. `boundary` tells of every error.
    app = typer.Typer(
        name="vidface",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def _vidface(
        _version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
        ] = False,
    ) -> None:
        """Real-time face recognition: cameras in, recognised people out as events."""

    for commands in COMMANDS:
        commands.register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status; see `boundary` for what the numbers mean."""
    return boundary.run(build(), sys.argv[1:] if arguments is None else arguments)
