"""``vidface weights``: what model files there are, where they come from, and whether they are the right ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from vidface.cli import workshop
from vidface.cli.options import JsonOption, YesOption
from vidface.cli.output import complain, confirm, note, progress, say, show, show_table
from vidface.errors import UsageError
from weights import local, store
from weights.errors import NotInstalled, WrongChecksum
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER

NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="From 'vidface weights list'.")]


class TransferBar:
    """Shows pulls as they go, on a terminal; a `weights.progress.Progress`."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._task: TaskID | None = None

    def start(self, label: str, total_bytes: int | None) -> None:
        """Show a new transfer."""
        self._task = self._display.add_task(label, total=total_bytes)

    def advance(self, byte_count: int) -> None:
        """Move it on."""
        if self._task is not None:
            self._display.advance(self._task, byte_count)

    def finish(self) -> None:
        """Take it away."""
        if self._task is not None:
            self._display.remove_task(self._task)
            self._task = None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Model files: list, pull, verify, adapt.")
    group.command(name="list")(list_weights)
    group.command()(pull)
    group.command()(verify)
    group.command()(path)
    group.command()(remove)
    workshop.register(group)
    app.add_typer(group, name="weights")


def list_weights(as_json: JsonOption = False) -> None:
    """List the models and photo sets, and whether they are here."""
    lines = store.status()
    value = {
        "cache_dir": store.default_cache_dir(),
        "weights": [
            {
                "name": line.name,
                "kind": line.kind,
                "state": line.state,
                "path": line.path,
                "size_bytes": line.size_bytes,
                "licence": line.licence,
                "origin": line.origin,
                "detail": line.detail,
            }
            for line in lines
        ],
    }
    rows = [(line.name, line.kind, line.state, _size(line.size_bytes), line.licence, line.origin) for line in lines]
    show(value, lambda: show_table(("name", "kind", "state", "size", "licence", "origin"), rows), as_json=as_json)
    for line in lines:
        if line.detail:
            note(line.detail, style="yellow")


def pull(
    names: NamesArgument = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="PATH_OR_URL", help="Take the file from here instead; for one NAME.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch model files and make them ready; without a NAME the detector and the embedder that serve by default."""
    if source is not None and len(names or []) != 1:
        raise UsageError("--from supplies one file: give exactly one NAME with it")
    files = {}
    with progress() as display:
        for name in names or [DEFAULT_DETECTOR, DEFAULT_EMBEDDER]:
            files[name] = store.pull(name, source=source, progress=TransferBar(display))
    value = {"weights": [{"name": name, "paths": paths} for name, paths in files.items()]}
    lines = [f"{name}: {path}" for name, paths in files.items() for path in paths]
    show(value, lambda: say("\n".join(lines)), as_json=as_json)


def verify(names: NamesArgument = None, as_json: JsonOption = False) -> None:
    """Compare model files with their checksums; without a NAME all that are here. Exit status 1 if one is wrong."""
    wanted = names or [line.name for line in store.status() if line.state is not store.State.ABSENT]
    results: list[dict[str, object]] = []
    for name in wanted:
        try:
            paths = store.verify(name)
        except (NotInstalled, WrongChecksum) as error:
            state = store.State.ABSENT if isinstance(error, NotInstalled) else store.State.DAMAGED
            results.append({"name": name, "state": state, "paths": (), "detail": str(error)})
        else:
            results.append({"name": name, "state": store.State.READY, "paths": paths, "detail": ""})
    bad = [result for result in results if result["state"] is not store.State.READY]
    show({"ok": not bad, "weights": results}, lambda: _say_verified(results), as_json=as_json)
    for result in bad:
        complain(str(result["detail"]))
    if bad:
        raise typer.Exit(1)


def _say_verified(results: list[dict[str, object]]) -> None:
    if not results:
        note("nothing to verify: no model files are here yet; 'vidface weights pull' fetches them")
    for result in results:
        say(f"{result['name']}: {'OK' if result['state'] is store.State.READY else result['state']}")


def path(name: Annotated[str, typer.Argument(metavar="NAME")], as_json: JsonOption = False) -> None:
    """Print where a model's file is, for other programs; an error if it has not been pulled."""
    files = store.verify(name)
    value = {"name": name, "paths": files}
    show(value, lambda: say("\n".join(str(file) for file in files)), as_json=as_json)


def remove(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that was made or brought here.")],
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a local model. Those that are pulled stay: they would only be fetched again."""
    if name not in {model.spec.name for model in local.registered()}:
        local.remove(name)  # says what there is
    confirm(f"Delete the model {name}?", yes=yes)
    folder = local.remove(name)
    show({"removed": name, "folder": folder}, lambda: say(f"{name} is gone: {folder}"), as_json=as_json)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes else "-"


@contextmanager
def pull_progress() -> Iterator[TransferBar]:
    """Show, on a terminal, weights that another command has to pull first."""
    with progress() as display:
        yield TransferBar(display)
