"""``vidface outbox``: the events that wait for a sink, and those that are kept to be sent again."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event, unix_ns
from pipeline.events.outbox_options import Durability
from pipeline.events.outbox_view import OutboxState, OutboxView, Replayed
from pipeline.events.outbox_view import replay as replay_outbox
from vidface.cli.options import ConfigOption, DataDirOption, JsonOption
from vidface.cli.output import note, say, show, show_table, utc_time, warn
from vidface.errors import UsageError
from vidface.place import find_place

if TYPE_CHECKING:
    from vidface.evaluation.outbox_bench import OutboxFigures

SinkOption = Annotated[str | None, typer.Option("--sink", metavar="NAME", help="Only this sink's. [default: all]")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="The events that wait for a sink: status, export, replay.")
    group.command()(status)
    group.command()(export)
    group.command()(replay)
    group.command()(bench)
    app.add_typer(group, name="outbox")


def status(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show what waits for each sink, since when, and how much room it takes. Also while 'vidface serve' runs."""
    place = find_place(config, data_dir)
    with OutboxView.open(place.outbox_path) as view:
        state = view.state()
    value = _status(place.outbox_path, state, time.time_ns())
    show(value, lambda: _say_status(value), as_json=as_json)


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="The file to make; it must not be there yet.")],
    sink: SinkOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what waits for a sink to a file, a CloudEvent a line. Also while 'vidface serve' runs; nothing is deleted.

    The events name people: the file can be read by its owner alone.
    """
    place = find_place(config, data_dir)
    with OutboxView.open(place.outbox_path) as view, closing(view.pending(sink)) as events:
        first = list(itertools.islice(events, 1))  # before the file: a sink that is not there makes none
        count = _write(file, itertools.chain(first, events))
    value = {"path": str(file.absolute()), "events": count}
    show(value, lambda: say(f"{_events(count)} in {file}"), as_json=as_json)


def replay(
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="TIME|SEQ",
            help="The first event to send again: the time it was stored, such as 2026-01-31T12:00:00Z, or its number.",
        ),
    ],
    sink: SinkOption = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let sinks get events again that they had; they are sent when 'vidface serve' is started next.

    Only what is kept can be sent again: see outbox.keep_h. 'vidface serve' must not be running: it has its place in
    mind, and would go on from there. Consumers that drop repeats by (source, id) will drop these.
    """
    place = find_place(config, data_dir)
    from_seq, from_ms = _start(start)
    done = replay_outbox(place.outbox_path, sinks=() if sink is None else (sink,), from_seq=from_seq, from_ms=from_ms)
    if place.config is not None and place.config.outbox.max_age_h is not None:
        warn(f"events that are older than outbox.max_age_h ({place.config.outbox.max_age_h:g}) are not sent again")
    show({"sinks": [_replayed(each) for each in done]}, lambda: _say_replayed(done), as_json=as_json)


def bench(
    events: Annotated[int, typer.Option("--events", min=1000, metavar="N", help="How many wait.")] = 100_000,
    rate: Annotated[
        float, typer.Option("--rate", min=1.0, max=5000.0, metavar="R", help="Events appended a second meanwhile.")
    ] = 500.0,
    durability: Annotated[
        Durability, typer.Option("--durability", help="What an event survives.")
    ] = Durability.PROCESS,
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where to measure; the disk counts. Nothing is left there.")
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Measure what an event costs the pipeline, while a backlog is delivered and its room is given back.

    The run is checked first: every event must arrive once and in order.
    """
    from vidface.evaluation.outbox_bench import measure

    note(f"{events} events of a decision each wait for a sink that comes back")
    with tempfile.TemporaryDirectory(dir=folder, prefix="vidface-outbox-") as made:
        figures = measure(Path(made) / "outbox.db", backlog=events, per_s=rate, durability=durability)
    show(figures, lambda: _say_bench(figures), as_json=as_json)


def _write(file: Path, events: Iterable[Event]) -> int:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{file} is there already; name another file") from None
    count = 0
    with os.fdopen(descriptor, "w", encoding="utf-8") as lines:
        for event in events:
            lines.write(event.to_json() + "\n")
            count += 1
    return count


def _status(path: Path, state: OutboxState, now_ns: int) -> dict[str, Any]:
    return {
        "path": str(path),
        "last_sequence": state.last_seq,
        "held": state.held,
        "kept": state.kept,
        "used_bytes": state.used_bytes,
        "file_bytes": state.file_bytes,
        "log_bytes": state.log_bytes,
        "sinks": [
            {
                "sink": sink.sink,
                "pending": sink.pending,
                "oldest_at": None if sink.oldest_ms is None else utc_time(sink.oldest_ms * 1_000_000),
                "oldest_age_s": None if sink.oldest_ms is None else round(now_ns / 1e9 - sink.oldest_ms / 1e3, 3),
                "dropped": sink.dropped,
            }
            for sink in state.sinks
        ],
    }


def _say_status(value: dict[str, Any]) -> None:
    rows = [
        (
            sink["sink"],
            sink["pending"],
            "-" if sink["oldest_age_s"] is None else _duration(sink["oldest_age_s"]),
            sink["dropped"],
        )
        for sink in value["sinks"]
    ]
    show_table(("sink", "pending", "oldest", "dropped"), rows)
    kept = f", {value['kept']} of them delivered and kept" if value["kept"] else ""
    say(
        f"{_events(value['held'])} in {value['path']}{kept}: {value['used_bytes'] / 1e6:.1f} MB in use of "
        f"{(value['file_bytes'] + value['log_bytes']) / 1e6:.1f} MB"
    )


def _start(text: str) -> tuple[int | None, int | None]:
    """A number, or a time as Unix milliseconds.

    Raises:
        UsageError: It is neither.
    """
    if text.isdecimal():
        return int(text), None
    try:
        return None, unix_ns(text) // 1_000_000
    except EventMalformed:
        raise UsageError(
            f"--from {text!r}: expected an event's number, or a time with its zone, such as 2026-01-31T12:00:00Z"
        ) from None


def _replayed(done: Replayed) -> dict[str, Any]:
    return {
        "sink": done.sink,
        "events": done.events,
        "pending": done.pending,
        "first_sequence": done.first_seq,
    }


def _say_replayed(done: tuple[Replayed, ...]) -> None:
    for each in done:
        say(f"{each.sink}: {_events(each.events)} again from number {each.first_seq}, at the next 'vidface serve'")


def _say_bench(figures: OutboxFigures) -> None:
    spreads = {"nothing else": figures.alone, "draining": figures.draining, "compacting": figures.compacting}
    rows = [
        (name, s.count, s.p50_us, s.p90_us, s.p99_us, s.max_us, s.cpu_p99_us, s.stored_p50_us, s.stored_p99_us)
        for name, s in spreads.items()
        if s is not None
    ]
    heads = ("emitting, us, during", "events", "p50", "p90", "p99", "max", "CPU p99", "stored p50", "stored p99")
    show_table(heads, rows)
    say(
        f"{figures.drained_per_s:.0f} events/s delivered; the file went from {figures.full_bytes / 1e6:.1f} MB to "
        f"{figures.left_bytes / 1e6:.1f} MB; durability {figures.durability}"
    )


def _events(count: int) -> str:
    return f"{count} event{'s' * (count != 1)}"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
