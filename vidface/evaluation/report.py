"""A run as one HTML file: its figures, its plots and the JSON that they were drawn from. It loads nothing.

The JSON is in the element ``bench-json``; a saved run that is given beside it, in ``bench-old-json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from vidface.evaluation import page, plots
from vidface.evaluation.saved import Comparison, compare


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
    body += [page.machine_section(document), page.embedded("bench-json", document)]
    if old is not None:
        body.append(page.embedded("bench-old-json", old))
    clips = ", ".join(document["options"]["clips"])
    about = f"{clips} on {document['machine']['cpu']}, {document['machine']['cores']} processors; {document['made_at']}"
    return page.page(f"vidface bench: {document['mode']}", about, body)


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
        ran = " and ".join(f"{name} ({loop['loop_engines'][use]})" for use, name in loop["loop_models"].items())
        parts.append(
            page.section(
                "Against the plain loop, in turns",
                page.table(
                    ("round", "plain loop, frames/s", "everything, frames/s", "ratio"),
                    [
                        *((number, *row) for number, row in enumerate(rows, start=1)),
                        ("median", loop["loop_fps"], loop["fps"], loop["ratio"]),
                    ],
                )
                + page.note(
                    f"Outputs checked: in {outputs['frames_compared']} frames the loop found "
                    f"{100 * outputs['faces_loop_found']:.1f} % of the service's faces and the service "
                    f"{100 * outputs['faces_service_found']:.1f} % of the loop's; both found {outputs['people_both']} "
                    f"enrolled people, the service alone {outputs['people_service_only']}, the loop alone "
                    f"{outputs['people_loop_only']}. The loop read {loop['loop_frames']} frames a round and ran "
                    f"{ran}."
                ),
            )
        )
    speeds = page.section(
        "Frames a second",
        plots.speeds(bars)
        + page.note(
            "Each stream is decoded by one thread. All processors decode at once where as many copies of the clips "
            "run side by side."
        ),
    )
    return [page.cards(cards), speeds, *parts, _time_by_part(document)]


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
    return [page.cards(cards), *_window(document, document["machine"]["cores"], None)]


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
        page.section("Age of decisions", plots.ages(live["series"], bound_ms=bound_ms)),
        page.section("Decisions and dropped frames", plots.drops(live["series"])),
        page.section("Processors and memory", plots.load(live["series"], cores=cores)),
        _time_by_part(live),
        page.section("Cameras", plots.shares(live["cameras"]) + page.table(head, rows)),
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
        page.cards(cards),
        page.section(
            "Throughput and age by number of cameras",
            plots.probes(document["probes"], capacity=capacity, bound_ms=bounds["age_p95_ms"])
            + page.note(
                f"{document['statement']}. Holding means: p95 age at most {bounds['age_p95_ms']:g} ms over all "
                f"decisions, and each camera at {100 * bounds['least_share_of_each_camera']:g} % of its wanted rate, "
                "less one detection at the window's edge."
            ),
        ),
        page.section("Probes", page.table(head, rows)),
    ]
    at_capacity = document["at_capacity"]
    if at_capacity is not None:
        parts.append(f"<h2>The last run with {capacity} cameras</h2>")
        parts += _window(at_capacity, document["machine"]["cores"], bounds["age_p95_ms"])
    return parts


def _time_by_part(figures: Mapping[str, Any]) -> str:
    rows = figures["account"]
    total_ms = sum(row["cpu_ms_per_frame"] for row in rows)
    return page.section(
        "Where the time goes",
        plots.time_by_part(rows)
        + page.note(
            f"Sums to the whole process: {total_ms:.2f} ms of processor time a decoded frame. Inference is what the "
            "engines' own threads do for detection, close-up landmarks and templates. "
            "What is below half a thousandth is not drawn."
        )
        + page.table(
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
    return page.section("Compared with the saved run", warnings + page.table(("figure", "old", "new", "change"), rows))


def _causes(drops: Mapping[str, int]) -> str:
    return ", ".join(f"{frames} {cause}" for cause, frames in drops.items()) or "none"
