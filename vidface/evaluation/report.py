"""A run as one HTML file: its figures, its plots and the JSON that they were drawn from. It loads nothing.

The JSON is in the element ``bench-json``; a saved run that is given beside it, in ``bench-old-json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from vidface.evaluation import plots
from vidface.evaluation.saved import Comparison, compare

_CSS: Final = """
:root { color-scheme: light; }
body { margin: 0; background: #f5f7fa; color: #1f2933; font: 15px/1.5 "Helvetica Neue", Arial, "Liberation Sans",
  sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 0 0 10px; }
.sub { color: #616e7c; margin: 4px 0 22px; }
section { background: #fff; border: 1px solid #e4e7eb; border-radius: 10px; padding: 18px 22px; margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(122px, 1fr)); gap: 12px; margin: 0 0 18px; }
.card { background: #fff; border: 1px solid #e4e7eb; border-radius: 10px; padding: 12px 14px; }
.card b { display: block; font-size: 20px; white-space: nowrap; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: #616e7c; font-size: 13px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; color: #616e7c; font-weight: 600; border-bottom: 1px solid #cbd2d9; padding: 4px 10px 4px 0; }
td { border-bottom: 1px solid #eef1f4; padding: 4px 10px 4px 0; font-variant-numeric: tabular-nums; }
.n { text-align: right; white-space: nowrap; } .bad { color: #b91c1c; } .good { color: #047857; }
.note { color: #616e7c; font-size: 13px; }
svg { width: 100%; height: auto; display: block; } details pre { overflow-x: auto; font-size: 12px; }
"""


def as_html(document: Mapping[str, Any], old: Mapping[str, Any] | None = None) -> str:
    """Draw a run.

    Args:
        document: See `bench.run_bench`.
        old: A saved run to show beside it.

    Returns:
        The whole file.
    """
    body = {"recorded": _recorded, "live": _live, "capacity": _capacity}[document["mode"]](document)
    if old is not None:
        body.append(_comparison(compare(old, document)))
    body += [_machine(document), _embedded("bench-json", document)]
    if old is not None:
        body.append(_embedded("bench-old-json", old))
    clips = ", ".join(document["options"]["clips"])
    title = f"vidface bench: {document['mode']}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="sub">{escape(clips)} on {escape(document["machine"]["cpu"])}, '
        f"{document['machine']['cores']} processors; {escape(document['made_at'])}</p>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _recorded(document: Mapping[str, Any]) -> list[str]:
    runs = document["runs"]
    bars = [
        ("decode only, all processors", runs["machine_decode"]["fps"]),
        ("decode only, these streams", runs["decode"]["fps"]),
        ("decode and detect", runs["detect"]["fps"]),
        ("everything", runs["everything"]["fps"]),
    ]
    cards = [
        (f"{document['fps']:.0f}", "frames a second, everything on"),
        (f"{document['ratio_to_machine_decode']:.2f}", "of decoding on all processors"),
        (f"{document['ratio_to_decode']:.2f}", "of decoding these streams"),
        (f"{runs['everything']['cpu_ms_per_frame']:.1f} ms", "processor time a frame"),
        (f"{document['peak_rss_mib']:.0f} MiB", "peak memory"),
    ]
    parts = []
    if "against_loop" in document:
        loop = document["against_loop"]
        cards.insert(1, (f"{loop['ratio']:.2f} x", "the plain loop"))
        bars.append(("plain loop", loop["loop_fps"]))
        rows = zip(loop["loop_fps_by_round"], loop["fps_by_round"], loop["ratio_by_round"], strict=True)
        outputs = loop["outputs"]
        parts.append(
            _section(
                "Against the plain loop, in turns",
                _table(
                    ("round", "plain loop, frames/s", "everything, frames/s", "ratio"),
                    [
                        *((number, *row) for number, row in enumerate(rows, start=1)),
                        ("median", loop["loop_fps"], loop["fps"], loop["ratio"]),
                    ],
                )
                + _note(
                    f"Outputs checked: in {outputs['frames_compared']} frames the loop found "
                    f"{100 * outputs['faces_loop_found']:.1f} % of the service's faces and the service "
                    f"{100 * outputs['faces_service_found']:.1f} % of the loop's; both found {outputs['people_both']} "
                    f"enrolled people, the service alone {outputs['people_service_only']}, the loop alone "
                    f"{outputs['people_loop_only']}. The loop read {loop['loop_frames']} frames a round."
                ),
            )
        )
    speeds = _section(
        "Frames a second",
        plots.speeds(bars)
        + _note(
            "Each stream is decoded by one thread. All processors decode at once where as many copies of the clips "
            "run side by side."
        ),
    )
    return [_cards(cards), speeds, *parts, _time_by_part(document)]


def _live(document: Mapping[str, Any]) -> list[str]:
    overall = document["overall"]
    ages, memory = overall["age_ms"], overall["rss_mib"]
    cards = [
        (str(overall["cameras"]), "cameras"),
        (f"{100 * overall['share']:.1f} %", "of the wanted detections"),
        (f"{100 * overall['worst_share']:.1f} %", "worst camera"),
        ("-" if ages["p95"] is None else f"{ages['p95']:.0f} ms", "p95 age of decisions"),
        (f"{overall['cpu_cores']:.2f}", f"of {document['machine']['cores']} processors"),
        (f"{memory['last']:.0f} MiB", f"memory, {memory['last'] - memory['first']:+.0f} in the window"),
    ]
    return [_cards(cards), *_window(document, document["machine"]["cores"], None)]


def _window(live: Mapping[str, Any], cores: int, bound_ms: float | None) -> list[str]:
    """The plots and tables of a live run."""
    rows = [
        (
            camera["camera"],
            camera["wanted_fps"],
            camera["delivered_fps"],
            f"{100 * camera['share']:.1f} %",
            *(camera["age_ms"][key] for key in ("p50", "p95", "p99")),
            _causes(camera["drops"]),
        )
        for camera in live["cameras"]
    ]
    head = ("camera", "wanted/s", "delivered/s", "share", "p50 ms", "p95 ms", "p99 ms", "dropped frames")
    return [
        _section("Age of decisions", plots.ages(live["series"], bound_ms=bound_ms)),
        _section("Decisions and dropped frames", plots.drops(live["series"])),
        _section("Processors and memory", plots.load(live["series"], cores=cores)),
        _time_by_part(live),
        _section("Cameras", plots.shares(live["cameras"]) + _table(head, rows)),
    ]


def _capacity(document: Mapping[str, Any]) -> list[str]:
    bounds, capacity = document["bounds"], document["capacity"]
    rows = [
        (
            probe["cameras"],
            f"{probe['seconds']:.0f} s",
            "confirmation" if probe["confirming"] else "probe",
            f"{probe['delivered_fps']:.1f}",
            "-" if probe["age_p95_ms"] is None else f"{probe['age_p95_ms']:.0f}",
            f"{100 * probe['worst_share']:.0f} %",
            f"{100 * probe['load']:.0f} %",
            f"{probe['rss_mib']:.0f}",
            "holds" if probe["holds"] else probe["why"],
        )
        for probe in document["probes"]
    ]
    head = ("cameras", "length", "kind", "detections/s", "p95 ms", "worst share", "load", "MiB", "verdict")
    cards = [(str(capacity), "cameras held")]
    cards += [
        (f"{tally['held']} of {tally['of']}", f"runs held with {tally['cameras']} cameras")
        for tally in (document["confirmed"], document["beyond"])
        if tally is not None
    ]
    parts = [
        _cards(cards),
        _section(
            "Throughput and age by number of cameras",
            plots.probes(document["probes"], capacity=capacity, bound_ms=bounds["age_p95_ms"])
            + _note(
                f"{document['statement']}. Holding means: p95 age at most {bounds['age_p95_ms']:g} ms over all "
                f"decisions, and each camera at {100 * bounds['least_share_of_each_camera']:g} % of its wanted rate, "
                "less one detection at the window's edge."
            ),
        ),
        _section("Probes", _table(head, rows)),
    ]
    at_capacity = document["at_capacity"]
    if at_capacity is not None:
        parts.append(f"<h2>The last run with {capacity} cameras</h2>")
        parts += _window(at_capacity, document["machine"]["cores"], bounds["age_p95_ms"])
    return parts


def _time_by_part(figures: Mapping[str, Any]) -> str:
    rows = figures["account"]
    total_ms = sum(row["cpu_ms_per_frame"] for row in rows)
    return _section(
        "Where the time goes",
        plots.time_by_part(rows)
        + _note(
            f"Sums to the whole process: {total_ms:.2f} ms of processor time a decoded frame. Inference is what the "
            "engines' own threads do for detection, close-up landmarks and templates. "
            "What is below half a thousandth is not drawn."
        )
        + _table(
            ("stage", "calls", "items", "wall ms an item", "wall s", "CPU s of its thread"),
            [
                (stage, time["calls"], time["items"], time["ms_per_item"], time["wall_s"], time["cpu_s"])
                for stage, time in figures["stages"].items()
            ],
        ),
    )


def _comparison(comparison: Comparison) -> str:
    rows = [
        (each.name, each.old, each.new, "" if each.percent is None else f"{each.percent:+.1f} %")
        for each in comparison.changes
    ]
    warnings = "".join(f'<p class="bad">{escape(text)}</p>' for text in comparison.warnings)
    return _section("Compared with the saved run", warnings + _table(("figure", "old", "new", "change"), rows))


def _machine(document: Mapping[str, Any]) -> str:
    rows = [
        (name.replace("_", " "), _described(value))
        for section in ("machine", "options")
        for name, value in document[section].items()
        if value is not None
    ]
    return _section("Machine and options", _table(("", ""), rows))


def _described(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _embedded(name: str, document: Mapping[str, Any]) -> str:
    # "<" would let a clip's name end the element.
    text = json.dumps(document, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def _cards(cards: Iterable[tuple[str, str]]) -> str:
    inner = "".join(
        f'<div class="card"><b>{escape(figure)}</b><span>{escape(name)}</span></div>' for figure, name in cards
    )
    return f'<div class="cards">{inner}</div>'


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{inner}</section>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _causes(drops: Mapping[str, int]) -> str:
    return ", ".join(f"{frames} {cause}" for cause, frames in drops.items()) or "none"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    cells = [list(row) for row in rows]
    right = [bool(cells) and all(_is_figure(row[column]) for row in cells) for column in range(len(head))]
    classes = [' class="n"' if each else "" for each in right]
    titles = "".join(f"<th{c}>{escape(name)}</th>" for c, name in zip(classes, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{c}>{_cell(value)}</td>" for c, value in zip(classes, row, strict=True)) + "</tr>"
        for row in cells
    )
    return f'<div class="scroll"><table><tr>{titles}</tr>{lines}</table></div>'


def _is_figure(value: object) -> bool:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return True
    return isinstance(value, str) and (not value or value[:1] in "+-0123456789")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = escape(f"{value:g}" if isinstance(value, float) else str(value))
    return f'<span class="good">{text}</span>' if value == "holds" else text
