"""``vidface top``: a running service, live in a terminal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidface.cli.options import JsonOption
from vidface.cli.output import is_terminal, live_display, print_rich, show_json, show_json_line

if TYPE_CHECKING:
    from vidface.exposition.rates import ServiceRates
    from vidface.status import ServiceStatus


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(top)


def top(
    *,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The configuration that is served.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="Where the service tells its metrics, without a path.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Measure for one interval, print it and end; so it is in a pipe, too.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, max=3600, metavar="S", help="Seconds to measure over.")
    ] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Watch a running 'vidface serve': cameras, rates, ages of decisions, drops, stages and sinks.

    The service must have a metrics port in its configuration. With --json and without --once: one measurement a line.
    """
    from vidface.cli.top_table import draw
    from vidface.exposition.client import fetch, find_url

    where = find_url(config, url)
    never = threading.Event()
    measured = measure(lambda: fetch(where), lambda: never.wait(interval))
    if as_json and not once:
        for rates in measured:
            show_json_line(rates)
    elif as_json:
        show_json(next(measured))
    elif once or not is_terminal():
        print_rich(draw(next(measured)))
    else:
        with live_display() as update:
            for rates in measured:
                update(draw(rates))


def measure(fetch: Callable[[], ServiceStatus], wait: Callable[[], object]) -> Iterator[ServiceRates]:
    """Rates from each two snapshots in a row, for ever.

    Args:
        fetch: Takes a snapshot.
        wait: Lets the interval between two pass.

    Raises:
        NothingAnswers: See `vidface.exposition.client.fetch`.
    """
    from vidface.exposition.rates import rates_between

    earlier = fetch()
    while True:
        wait()
        later = fetch()
        yield rates_between(earlier, later)
        earlier = later
