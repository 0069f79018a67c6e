"""What ``vidface top`` draws: a header of stages and sinks, and a row a camera."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.state import Cause
from vidface.cli.output import plain
from vidface.exposition.rates import CameraRates, ServiceRates
from vidface.status import Phase

_STATE_STYLES: Mapping[str | None, str] = {
    "live": "green",
    "connecting": "yellow",
    "lost": "red",
    "ended": "dim",
    None: "dim",
}

_OLD_S = 1.0
"""A 95th percentile above this is drawn as bad: who was seen is gone by the time it is told."""


def draw(rates: ServiceRates) -> RenderableType:
    """Everything, for a console of any width."""
    return Group(*_header(rates), Text(), _cameras(rates))


def _header(rates: ServiceRates) -> list[Text]:
    style = {Phase.RUNNING: "green", Phase.FAILED: "bold red"}.get(rates.phase, "yellow")
    live = sum(camera.state == "live" for camera in rates.cameras)
    first = Text.assemble(
        ("vidface ", "bold"),
        (plain(rates.version), "bold"),
        "  ",
        (rates.phase.value, style),
        f"  up {_duration(rates.uptime_s)}  {live} of {len(rates.cameras)} cameras live  over {rates.over_s:.1f} s",
    )
    lines = [first]
    if rates.failure:
        lines.append(Text(plain(rates.failure), style="bold red"))
    load = sorted(rates.stage_load.items(), key=lambda item: -item[1])
    lines.append(Text("stages  " + ("  ".join(f"{plain(stage)} {share:.0%}" for stage, share in load) or "none yet")))
    for sink in rates.sinks:
        line = Text(f"sink    {plain(sink.sink)}  {sink.delivered_per_s:.1f} events/s  {sink.pending} pending")
        if sink.refused:
            line.append(f"  {sink.refused} refused", style="red")
        if sink.dropped:
            line.append(f"  {sink.dropped} dropped", style="red")
        if sink.failing:
            line.append(f"  failing: {plain(sink.last_error or 'unknown')}", style="red")
        lines.append(line)
    return lines


def _cameras(rates: ServiceRates) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("camera", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("epoch", justify="right")
    for name in ("decoded/s", "detected/s", "wanted", "age p50", "age p95"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("drops/s", overflow="fold")
    for camera in rates.cameras:
        table.add_row(*_row(camera))
    return table


def _row(camera: CameraRates) -> list[Text]:
    # A camera that stays away is `connecting` between its attempts; it is down all the same.
    away = camera.cause == Cause.RETRYING
    state = Text(camera.state or "-", style=_STATE_STYLES["lost" if away else camera.state])
    if camera.state not in {"live", None} and camera.cause:
        state.append(f" {plain(camera.cause)}", style="dim")
    elif camera.overloaded:
        state.append(" overloaded", style="yellow")
    # A tenth less than wanted is what the clocks' grain makes; more is a machine that does not keep up.
    slow = camera.state == "live" and camera.wanted_fps is not None and camera.detected_fps < 0.9 * camera.wanted_fps
    old = camera.age_p95_s is not None and camera.age_p95_s > _OLD_S
    drops = {**camera.drops_per_s, "damaged": camera.bad_per_s}
    told = "  ".join(f"{plain(cause.replace('_', ' '))} {rate:.1f}" for cause, rate in drops.items() if rate > 0)
    return [
        Text(plain(camera.camera)),
        state,
        Text(str(camera.epoch)),
        Text(f"{camera.decoded_fps:.1f}"),
        Text(f"{camera.detected_fps:.1f}", style="yellow" if slow else ""),
        Text("all" if camera.wanted_fps is None else f"{camera.wanted_fps:g}"),
        Text(_age(camera.age_p50_s)),
        Text(_age(camera.age_p95_s), style="red" if old else ""),
        Text(told or "-"),
    ]


def _age(age_s: float | None) -> str:
    if age_s is None:
        return "-"
    return f"{age_s * 1000:.0f} ms" if age_s < 1 else f"{age_s:.1f} s"


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest_s} s" if minutes else f"{rest_s} s"
