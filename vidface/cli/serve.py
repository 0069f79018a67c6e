"""``vidface serve``: a configuration's cameras, until stopped or until every recording has ended."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.state import CameraState, CameraStateName, Cause
from vidface.cli.options import JsonOption
from vidface.cli.output import complain, note, say, show, warn
from vidface.config.load import load_config, warnings_of

if TYPE_CHECKING:
    from vidface.service import Service


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(serve)


def serve(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The configuration file.")],
    as_json: JsonOption = False,
) -> None:
    """Watch the configured cameras, recognise faces, and publish events.

    Runs until stopped by SIGINT (Ctrl-C) or SIGTERM, or until every recorded camera has ended. Either way it ends in
    order: sightings are closed, and events that a sink could not take are kept for the next start.
    """
    loaded = load_config(config)
    for warning in warnings_of(loaded):
        warn(warning)
    from vidface.cli.weights import pull_progress
    from vidface.service import Service

    with ExitStack() as stack:
        pulling = stack.enter_context(pull_progress())
        service = Service(loaded, on_state=tell_state, progress=pulling)
        if loaded.metrics.port is not None:
            # Before anything else: a taken port is told before cameras are connected, and /readyz says what is awaited.
            stack.enter_context(tell_metrics(loaded.metrics.host, loaded.metrics.port, service))
        stack.enter_context(service)
        stack.enter_context(stop_on_signals(service))
        cameras = len(loaded.cameras)
        sinks = ", ".join(sink.name for sink in loaded.sinks)
        note(f"watching {cameras} camera{'s' * (cameras != 1)}; events go to {sinks}; stop with Ctrl-C")
        service.wait()
        away = ", ".join(sink.name for sink in service.sinks() if sink.failing)
        if away:
            note(
                f"stopping: up to {service.drain_timeout_s:g} s for {away} to take what waits; "
                "Ctrl-C again ends at once, and loses nothing"
            )
    summary = summarise(service)
    show(summary, lambda: _say(summary), as_json=as_json)
    for camera, state in service.last_states.items():
        if state.cause == Cause.TRUNCATED:
            warn(f"camera {camera!r}: {state.detail}")
    for error in service.failed_cameras.values():
        complain(str(error))
    if service.failed_cameras:
        raise typer.Exit(1)


@contextmanager
def tell_metrics(host: str, port: int, service: Service) -> Iterator[None]:
    """Answer on the metrics port until the service has ended.

    Raises:
        PortTaken: The port can't be listened on.
    """
    from vidface.exposition.server import ExpositionServer

    with ExpositionServer(host, port, service.status) as server:
        note(f"metrics are at {server.url}/metrics")
        yield


def tell_state(state: CameraState) -> None:
    """Tell the person at the terminal that a camera was lost, is live, or is too much; the rest is in the events."""
    if state.name is CameraStateName.LOST:
        warn(f"camera {state.camera!r} is lost ({state.cause}): {state.detail}")
    elif state.cause == Cause.OVERLOADED:
        warn(f"camera {state.camera!r}: {state.detail}")
    elif state.name is CameraStateName.LIVE:
        note(f"camera {state.camera!r} is live: {state.detail}")


@contextmanager
def stop_on_signals(service: Service) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop a service in order; a second one ends the process as if this were not here.

    What is in the outbox survives either way.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        service.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def summarise(service: Service) -> dict[str, Any]:
    """What a service has done, for people and programs."""
    frames = service.counts.snapshot()
    return {
        "cameras": {
            camera: {
                "frames": dict(frames.get(camera, {})),
                "cause": state.cause,
                "failed": str(service.failed_cameras.get(camera, "")) or None,
            }
            for camera, state in service.last_states.items()
        },
        "sinks": {
            sink.name: {
                "delivered": sink.delivered,
                "pending": sink.pending,
                "refused": sink.refused,
                "last_error": sink.last_error,
            }
            for sink in service.sinks()
        },
    }


def _say(summary: dict[str, Any]) -> None:
    for camera, outcome in summary["cameras"].items():
        frames = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in outcome["frames"].items()) or "none"
        say(f"{camera}: frames {frames}")
    for name, sink in summary["sinks"].items():
        kept = f", {sink['pending']} kept for the next start" if sink["pending"] else ""
        say(f"{name}: {sink['delivered']} events delivered{kept}")
        if sink["pending"] and sink["last_error"]:
            warn(f"{name}: {sink['last_error']}")
