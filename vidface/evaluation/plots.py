"""Plots of a run as SVG text, drawn by matplotlib's own objects: no window, no global state, no file."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

Figure: TypeAlias = Any
"""matplotlib's; it is imported only where something is drawn."""

Axes: TypeAlias = Any
"""Likewise."""

WIDTH_IN: Final = 7.6
INK, GRID, BLUE, ORANGE, GREEN, RED, GREY = "#1f2933", "#e4e7eb", "#2563eb", "#d97706", "#059669", "#dc2626", "#9aa5b1"
THREADS: Final[Mapping[str, tuple[str, str]]] = {
    "inference": (BLUE, "engines"),
    "decode": (GREEN, "cameras"),
    "detect": (ORANGE, "detect thread"),
    "analysis": ("#7c3aed", "analysis thread"),
    "sinks": ("#0891b2", "sinks"),
    "bench": (GREY, "bench"),
}
"""A kind of thread's colour and name. The same in every report."""

_STYLE: Final[Any] = {
    "svg.fonttype": "none",  # text stays text: small, and found by searching
    "svg.hashsalt": "vidface",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@contextmanager
def _figure(height_in: float) -> Iterator[tuple[Figure, Axes]]:
    with _empty_figure(height_in) as figure:
        yield figure, figure.subplots()


@contextmanager
def _empty_figure(height_in: float) -> Iterator[Figure]:
    import matplotlib as mpl
    from matplotlib import figure as drawing
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with mpl.rc_context(_STYLE):
        figure = drawing.Figure(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # Its metadata and namespaces are the only addresses in it; inline SVG needs none.
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    return re.sub(r"<svg [^>]*?viewBox", '<svg role="img" viewBox', svg, count=1)


def ages(series: Sequence[Mapping[str, Any]], *, bound_ms: float | None) -> str:
    """Age of decisions over time: median and 95th percentile of each second."""
    with _figure(2.7) as (figure, axes):
        for key, name, colour in (("age_p95_ms", "p95", ORANGE), ("age_p50_ms", "p50", BLUE)):
            points = [(tick["t_s"], tick[key]) for tick in series if tick[key] is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=name, linewidth=1.8)
        if bound_ms is not None:
            axes.axhline(bound_ms, color=RED, linestyle="--", linewidth=1.2, label=f"bound, {bound_ms:g} ms")
        axes.set(xlabel="seconds", ylabel="age, ms")
        axes.set_ylim(bottom=0)
        axes.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, 1.16), borderaxespad=0)
        return _svg(figure)


def load(series: Sequence[Mapping[str, Any]], *, cores: int) -> str:
    """Processors and memory over time."""
    with _figure(2.5) as (figure, axes):
        t_s = [tick["t_s"] for tick in series]
        (cpu,) = axes.plot(t_s, [tick["cpu_cores"] for tick in series], color=BLUE, linewidth=1.8)
        axes.set(xlabel="seconds", ylabel="processors", ylim=(0, cores * 1.1))
        beside = axes.twinx()
        (rss,) = beside.plot(t_s, [tick["rss_mib"] for tick in series], color=GREEN, linewidth=1.8)
        beside.set_ylabel("memory, MiB")
        beside.set_ylim(bottom=0, top=1.25 * max(tick["rss_mib"] for tick in series))
        beside.grid(visible=False)
        axes.legend(
            [cpu, rss],
            [f"processors of {cores}", "memory"],
            ncols=2,
            loc="upper left",
            bbox_to_anchor=(0, 1.18),
            borderaxespad=0,
        )
        return _svg(figure)


def drops(series: Sequence[Mapping[str, Any]]) -> str:
    """Detections a second, and dropped frames by cause, over time."""
    causes = sorted({cause for tick in series for cause in tick["drops"]})
    with _figure(2.7) as (figure, axes):
        t_s = [tick["t_s"] for tick in series]
        axes.plot(t_s, [tick["decisions"] for tick in series], color=GREEN, linewidth=1.8, label="decided")
        if causes:
            counts = [[tick["drops"].get(cause, 0) for tick in series] for cause in causes]
            axes.stackplot(t_s, counts, labels=causes, colors=(RED, ORANGE, GREY, "#7c3aed"), alpha=0.65)
        axes.set(xlabel="seconds", ylabel="frames in a second")
        axes.set_ylim(bottom=0)
        axes.legend(ncols=5, loc="upper left", bbox_to_anchor=(0, 1.16), borderaxespad=0)
        return _svg(figure)


def time_by_part(rows: Sequence[Mapping[str, Any]]) -> str:
    """Where the processor time goes: a bar a part, the largest first."""
    from matplotlib.patches import Patch

    shown = sorted((row for row in rows if row["part_of_all"] > 0.0005), key=lambda row: float(row["cpu_ms_per_frame"]))
    with _figure(0.9 + 0.27 * max(1, len(shown))) as (figure, axes):
        values = [row["cpu_ms_per_frame"] for row in shown]
        colours = [THREADS.get(row["thread"], (RED, ""))[0] for row in shown]
        bars = axes.barh([row["part"] for row in shown], values, color=colours)
        labels = [f"{row['cpu_ms_per_frame']:.2f} ms, {100 * row['part_of_all']:.1f} %" for row in shown]
        axes.bar_label(bars, labels=labels, color=INK, fontsize=9, padding=4)
        present = [THREADS[thread] for thread in THREADS if any(row["thread"] == thread for row in shown)]
        axes.legend(handles=[Patch(color=colour, label=name) for colour, name in present], loc="lower right")
        axes.set_xlim(0, 1.25 * max(values, default=1.0))
        axes.set_xlabel("CPU ms a decoded frame")
        axes.grid(visible=False, axis="y")
        return _svg(figure)


def probes(rows: Sequence[Mapping[str, Any]], *, capacity: int, bound_ms: float) -> str:
    """What each number of cameras got: detections a second, and the age of decisions."""
    from matplotlib.ticker import MaxNLocator

    with _empty_figure(4.6) as figure:
        above, below = figure.subplots(2, 1, sharex=True)
        for axes, key, name in ((above, "delivered_fps", "detections a second"), (below, "age_p95_ms", "p95 age, ms")):
            for holds, colour, label in ((True, GREEN, "holds"), (False, RED, "does not")):
                for confirming, marker in ((False, "o"), (True, "D")):
                    points = [
                        (row["cameras"], row[key])
                        for row in rows
                        if row["holds"] is holds and row["confirming"] is confirming and row[key] is not None
                    ]
                    if points:
                        axes.scatter(
                            *zip(*points, strict=True),
                            s=34,
                            marker=marker,
                            facecolor=colour if confirming else "none",
                            edgecolor=colour,
                            label=f"{label}, {'confirmation' if confirming else 'probe'}",
                            zorder=3,
                        )
            axes.axvline(capacity, color=BLUE, linewidth=1.2, label=f"capacity, {capacity}")
            axes.set_ylabel(name)
            axes.set_ylim(0, 1.15 * max((row[key] or 0 for row in rows), default=1))
        below.axhline(bound_ms, color=RED, linestyle="--", linewidth=1.2)
        ages_ms = [row["age_p95_ms"] for row in rows if row["age_p95_ms"] is not None]
        if max(ages_ms, default=0) > 6 * bound_ms:  # one probe far beyond would flatten all the others
            below.set_yscale("symlog", linthresh=bound_ms)
            below.set_ylim(0, 2 * max(ages_ms))
        below.set_xlabel("cameras")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        above.legend(ncols=3, loc="upper left", bbox_to_anchor=(0, 1.3), borderaxespad=0)
        return _svg(figure)


def speeds(names_fps: Sequence[tuple[str, float]]) -> str:
    """Frames a second of several runs, a bar each."""
    with _figure(0.7 + 0.34 * len(names_fps)) as (figure, axes):
        names, values = [name for name, _ in names_fps][::-1], [fps for _, fps in names_fps][::-1]
        colours = [BLUE if name.startswith("everything") else GREY for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, labels=[f"{value:.0f}" for value in values], color=INK, fontsize=9, padding=4)
        axes.set_xlim(0, 1.12 * max(values))
        axes.set_xlabel("frames a second")
        axes.grid(visible=False, axis="y")
        return _svg(figure)


def shares(cameras: Sequence[Mapping[str, Any]]) -> str:
    """What each camera got of its wanted rate."""
    from matplotlib.ticker import MaxNLocator

    with _figure(2.3) as (figure, axes):
        values = [100 * camera["share"] for camera in cameras]
        axes.bar(range(1, len(values) + 1), values, color=BLUE)
        axes.axhline(95, color=RED, linestyle="--", linewidth=1.2)
        axes.set(xlabel="camera", ylabel="% of wanted rate")
        axes.set_xlim(0.3, len(values) + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=False, axis="x")
        return _svg(figure)


PRECISIONS: Final[Mapping[str, str]] = {"f32": BLUE, "bf16": ORANGE, "fp16": "#7c3aed", "int8": GREEN}
"""A precision's colour in comparisons of models."""
_MARKERS: Final[Mapping[str, str]] = {"openvino": "o", "onnxruntime": "s", "cuda": "^", "tensorrt": "D"}


def tradeoff(rows: Sequence[Mapping[str, Any]], *, accuracy: str) -> str:
    """Latency against accuracy: a point a line, to the left and above is better.

    Args:
        rows: ``model``, ``engine``, ``precision``, ``ms`` and ``accuracy`` of each line.
        accuracy: What the accuracy is.
    """
    numbers = {name: place for place, name in enumerate(dict.fromkeys(row["model"] for row in rows), start=1)}
    with _figure(3.6) as (figure, axes):
        for row in rows:
            number = numbers[row["model"]]
            axes.annotate(str(number), (row["ms"], row["accuracy"]), (5, 4), textcoords="offset points", fontsize=8.5)
            axes.scatter(
                row["ms"],
                row["accuracy"],
                s=52,
                marker=_MARKERS.get(row["engine"], "o"),
                color=PRECISIONS.get(row["precision"], RED),
                label=f"{number}  {row['model']}, {row['engine']} {row['precision']}",
                zorder=3,
            )
        lowest, highest = min(row["accuracy"] for row in rows), max(row["accuracy"] for row in rows)
        room = max(0.15 * (highest - lowest), 0.01)
        most = 1.0 if highest <= 1 else 100.0  # of a part, or of a percentage
        axes.set_ylim(lowest - room, min(highest + room, most + 0.2 * room))
        axes.set_xlim(0, 1.15 * max(row["ms"] for row in rows))
        axes.set(xlabel="mean latency of one, ms", ylabel=accuracy)
        axes.ticklabel_format(axis="y", useOffset=False)
        figure.legend(loc="outside lower left", ncols=2, fontsize=8.5)
        return _svg(figure)


def latencies(rows: Sequence[Mapping[str, Any]], *, batch: int) -> str:
    """Mean latency of each line as a bar, from the least to the 95th percentile as a whisker.

    Args:
        rows: ``name``, ``precision``, ``mean_ms``, ``min_ms`` and ``p95_ms`` of each line.
        batch: Pictures or faces of one call.
    """
    with _figure(0.8 + 0.34 * len(rows)) as (figure, axes):
        shown = list(rows)[::-1]
        means = [row["mean_ms"] for row in shown]
        whiskers = [
            [max(0.0, row["mean_ms"] - row["min_ms"]) for row in shown],
            [max(0.0, row["p95_ms"] - row["mean_ms"]) for row in shown],
        ]
        colours = [PRECISIONS.get(row["precision"], RED) for row in shown]
        axes.barh([row["name"] for row in shown], means, color=colours, xerr=whiskers, ecolor=INK, capsize=3)
        longest = max(max(row["p95_ms"], row["mean_ms"]) for row in shown)
        for place, row in enumerate(shown):
            end = max(row["p95_ms"], row["mean_ms"]) + 0.015 * longest
            axes.text(end, place, f"{row['mean_ms']:.2f}", va="center", fontsize=9)
        axes.set_xlim(0, 1.14 * longest)
        axes.set_xlabel(f"ms a call of {batch}; whiskers from the least to the 95th percentile")
        axes.grid(visible=False, axis="y")
        return _svg(figure)


def memories(rows: Sequence[Mapping[str, Any]]) -> str:
    """Peak memory of each line's process as a bar, of which the model's own part is dark.

    Args:
        rows: ``name``, ``peak_memory_mib`` and ``model_memory_mib`` of each line.
    """
    with _figure(0.9 + 0.34 * len(rows)) as (figure, axes):
        shown = list(rows)[::-1]
        names = [row["name"] for row in shown]
        before = [row["peak_memory_mib"] - row["model_memory_mib"] for row in shown]
        axes.barh(names, before, color=GREY, label="before the model was opened")
        bars = axes.barh(names, [row["model_memory_mib"] for row in shown], left=before, color=BLUE, label="since")
        axes.bar_label(bars, labels=[f"{row['peak_memory_mib']:.0f}" for row in shown], fontsize=9, padding=4)
        axes.set_xlim(0, 1.12 * max(row["peak_memory_mib"] for row in shown))
        axes.set_xlabel("peak memory of the process, MiB")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper left", ncols=2)
        return _svg(figure)


def learning(losses: Sequence[Sequence[float]]) -> str:
    """The loss by steps, on a logarithmic scale.

    Args:
        losses: (step, loss), in order.
    """
    with _figure(2.8) as (figure, axes):
        axes.plot([step for step, _loss in losses], [loss for _step, loss in losses], color=BLUE, linewidth=1.2)
        axes.set_yscale("log")
        axes.set(xlabel="steps", ylabel="loss")
        return _svg(figure)
