"""``vidface config``: check a configuration file, show what it comes to, print its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vidface.cli.options import JsonOption
from vidface.cli.output import say, show, show_json, warn
from vidface.config.load import load_config, warnings_of
from vidface.config.model import Config
from vidface.config.schema import config_schema
from vidface.config.secrets import mask_text, mask_url
from vidface.config.show import as_yaml, masked

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The configuration file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Check and show a configuration file.")
    group.command()(check)
    group.command(name="show")(show_effective)
    group.command()(schema)
    app.add_typer(group, name="config")


def check(file: FileArgument, as_json: JsonOption = False) -> None:
    """Say whether a configuration file can be used, and everything that is wrong with it."""
    config = load_config(file)
    warnings = [mask_text(text) for text in warnings_of(config)]
    result = {
        "ok": True,
        "file": str(file),
        "data_dir": str(config.data_dir),
        "cameras": [
            {
                "id": camera.id,
                "source": mask_url(camera.source),
                "detect_source": camera.detect_source and mask_url(camera.detect_source),
                "kind": camera.kind,
            }
            for camera in config.cameras
        ],
        "sinks": [{"name": sink.name, "type": sink.type} for sink in config.sinks],
        "warnings": warnings,
    }
    show(result, lambda: _say_summary(file, config), as_json=as_json)
    for text in warnings:
        warn(text)


def _say_summary(file: Path, config: Config) -> None:
    counts = [_count(len(config.cameras), "camera"), _count(len(config.sinks), "sink")]
    say(f"{file}: OK, {', '.join(counts)}, data in {config.data_dir}")
    for camera in config.cameras:
        sub = f", faces found on {mask_url(camera.detect_source)}" if camera.detect_source else ""
        say(f"  camera {camera.id}: {mask_url(camera.source)}{sub}")
    for sink in config.sinks:
        say(f"  sink {sink.name}: {sink.type} {sink.where()}".rstrip())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def show_effective(file: FileArgument, as_json: JsonOption = False) -> None:
    """Show what a configuration file comes to, with every default; secrets are masked."""
    config = load_config(file)
    show(masked(config), lambda: say(as_yaml(config).rstrip()), as_json=as_json)


def schema(
    _as_json: Annotated[bool, typer.Option("--json", help="No difference: a schema is JSON.")] = False,
) -> None:
    """Print the JSON Schema of configuration files.

    An editor that knows YAML completes and checks the fields of a file that begins with
    '# yaml-language-server: $schema=PATH'.
    """
    show_json(config_schema())
