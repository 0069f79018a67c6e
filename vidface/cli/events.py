"""``vidface events``: read along."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from pipeline.events.event import Event
from pipeline.events.payload import CAMERA_STATE_TYPE
from pipeline.events.payload_dropped import OUTBOX_DROPPED_TYPE
from pipeline.events.tail import tail as tail_file
from vidface.cli.options import ConfigOption, DataDirOption
from vidface.cli.output import local_time, note, say, show_json_line
from vidface.config.sinks import JsonlSinkConfig, KafkaSinkConfig
from vidface.errors import NothingToTail
from vidface.place import Place, find_place

POLL_S = 0.2
"""How often a file is looked at for more."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Read the events that 'vidface serve' writes.")
    group.command()(tail)
    # A group of one command would be that command.
    group.callback()(_events)
    app.add_typer(group, name="events")


def _events() -> None:
    """Read the events that 'vidface serve' writes."""


def tail(
    *,
    from_start: Annotated[bool, typer.Option("--from-start", help="Begin with the oldest event that is kept.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    sink: Annotated[
        str | None, typer.Option("--sink", metavar="NAME", help="Which sink to read; by default a file before a topic.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="End after so many events.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as a CloudEvent, one a line.")] = False,
) -> None:
    """Print events as they come, until interrupted."""
    chosen = choose_sink(find_place(config, data_dir, opens_sinks=True), sink)
    for event in itertools.islice(_follow(chosen, from_start=from_start), limit):
        if as_json:
            show_json_line(event.to_cloudevent())
        else:
            say(describe(event))


def choose_sink(place: Place, name: str | None) -> JsonlSinkConfig | KafkaSinkConfig:
    """The sink to read.

    Raises:
        NothingToTail: There is none of that name.
    """
    sinks = place.config.sinks if place.config else (JsonlSinkConfig(type="jsonl", path=place.events_path),)
    readable = [sink for sink in sinks if isinstance(sink, JsonlSinkConfig | KafkaSinkConfig)]
    if name is not None:
        for sink in readable:
            if sink.name == name:
                return sink
        known = {sink.name: sink.type for sink in sinks}
        if name in known:
            raise NothingToTail(f"the sink {name!r} is of type {known[name]}, which cannot be read back")
        raise NothingToTail(f"there is no sink {name!r}; there are: {', '.join(known)}")
    if not readable:
        raise NothingToTail("no sink can be read back; add one of type jsonl or kafka")
    return min(readable, key=lambda sink: sink.type != "jsonl")


def _follow(sink: JsonlSinkConfig | KafkaSinkConfig, *, from_start: bool) -> Iterator[Event]:
    if isinstance(sink, JsonlSinkConfig):
        if not sink.path.exists():
            note(f"waiting for {sink.path}, which is not there yet; --config or --data-dir names another")
        never = threading.Event()
        return tail_file(sink.path, from_start=from_start, wait=lambda: not never.wait(POLL_S))
    from pipeline.events.kafka import tail_topic

    return tail_topic(
        sink.bootstrap_servers, sink.topic, from_start=from_start, stop=lambda: False, security=sink.security()
    )


def describe(event: Event) -> str:
    """One line for people: time, camera, what happened, who, score."""
    data: Any = event.data
    kind = event.type.removeprefix("vidface.").removeprefix("sighting.")
    if event.type == CAMERA_STATE_TYPE:
        who = f"{data.get('state')} ({data.get('cause')}) {data.get('detail') or ''}".rstrip()
    elif event.type == OUTBOX_DROPPED_TYPE:
        who = ", ".join(f"{drop['dropped']} events for {drop['sink']}" for drop in data.get("sinks", ()))
    else:
        who = _who(data)
    return f"{local_time(event.time_ns)}  {event.camera}  {kind:<10}  {who}"


def _who(data: Any) -> str:
    identity = data.get("identity")
    track = f"track {data.get('track')}"
    if identity:
        return f"{identity['name']}  {identity['score']:.2f}  {track}"
    answer = data.get("answer")
    reason = f" ({data['reason']})" if answer == "undecided" and data.get("reason") else ""
    return f"{answer}{reason}  {track}" if answer else json.dumps(data)[:80]
