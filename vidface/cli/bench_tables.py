"""What ``vidface bench`` found, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidface.cli.output import say, show_table
from vidface.evaluation.saved import Comparison

MAX_CAMERAS = 12
"""Rows of cameras that are shown: the worst ones."""


def say_document(document: Mapping[str, Any], comparison: Comparison | None, written: Sequence[str] = ()) -> None:
    """Print a run, what changed since another one, and what was written where."""
    {"recorded": _say_recorded, "live": _say_live, "capacity": _say_capacity}[document["mode"]](document)
    if comparison is not None:
        say()
        rows = [
            (each.name, each.old, each.new, "" if each.percent is None else f"{each.percent:+.1f} %")
            for each in comparison.changes
        ]
        show_table(("figure", "old", "new", "change"), rows)
    for line in written:
        say(line)


def _say_recorded(document: Mapping[str, Any]) -> None:
    names = {
        "decode": "decode only, these streams",
        "machine_decode": "decode only, all processors",
        "detect": "decode and detect",
        "everything": "everything",
    }
    rows = [
        (
            names[name],
            run["fps"],
            run["cpu_ms_per_frame"],
            f"{run['fps'] / document['decode_fps']:.2f}",
            f"{run['fps'] / document['machine_decode_fps']:.2f}",
        )
        for name, run in document["runs"].items()
    ]
    show_table(("run", "frames/s", "CPU ms/frame", "of these streams'", "of the machine's"), rows)
    if "against_loop" in document:
        _say_loop(document["against_loop"])
    _say_account(document)
    say()
    say(
        f"{document['streams']} stream(s), {document['frames']} frames, {document['faces_per_frame']} faces a frame, "
        f"{document['events']} events as serve publishes them; peak memory {document['peak_rss_mib']:.0f} MiB"
    )


def _say_loop(loop: Mapping[str, Any]) -> None:
    say()
    rows = [
        (f"round {number}", theirs, ours, ratio)
        for number, (theirs, ours, ratio) in enumerate(
            zip(loop["loop_fps_by_round"], loop["fps_by_round"], loop["ratio_by_round"], strict=True), start=1
        )
    ]
    rows.append(("median", loop["loop_fps"], loop["fps"], loop["ratio"]))
    show_table(("", "plain loop, frames/s", "everything, frames/s", "ratio"), rows)
    outputs = loop["outputs"]
    say(
        f"{loop['ratio']:.2f} times the plain loop ({loop['loop_frames']} frames a round). Same job: it found "
        f"{100 * outputs['faces_loop_found']:.1f} % of our faces and we {100 * outputs['faces_service_found']:.1f} % "
        f"of its, in {outputs['frames_compared']} frames; {outputs['people_both']} people were found by both, "
        f"{outputs['people_service_only']} by us alone, {outputs['people_loop_only']} by it alone"
    )


def _say_live(document: Mapping[str, Any]) -> None:
    overall = document["overall"]
    worst = sorted(document["cameras"], key=lambda camera: camera["share"])[:MAX_CAMERAS]
    rows = [_camera_row(camera["camera"], camera) for camera in worst]
    if len(document["cameras"]) > len(worst):
        rows.append((f"{len(document['cameras']) - len(worst)} better ones", *[""] * 7))
    rows.append(_camera_row("all", overall))
    show_table(("camera", "wanted/s", "got/s", "share", "p50 ms", "p95 ms", "p99 ms", "dropped"), rows)
    _say_account(document)
    say()
    memory = overall["rss_mib"]
    say(
        f"{overall['cameras']} camera(s) for {document['seconds']:g} s: {overall['cpu_cores']:.2f} of "
        f"{document['machine']['cores']} processors; memory {memory['first']:.0f} MiB at first, "
        f"{memory['last']:.0f} MiB at last; {overall['people_identified']} people identified"
    )


def _camera_row(name: str, camera: Mapping[str, Any]) -> tuple[object, ...]:
    ages = camera["age_ms"]
    drops = ", ".join(f"{frames} {cause}" for cause, frames in camera["drops"].items()) or "none"
    share = f"{100 * camera['share']:.1f} %"
    return (name, camera["wanted_fps"], camera["delivered_fps"], share, ages["p50"], ages["p95"], ages["p99"], drops)


def _say_capacity(document: Mapping[str, Any]) -> None:
    rows = [
        (
            probe["cameras"],
            f"{probe['seconds']:.0f} s",
            "confirming" if probe["confirming"] else "probe",
            "-" if probe["age_p95_ms"] is None else f"{probe['age_p95_ms']:.0f}",
            f"{100 * probe['worst_share']:.0f} %",
            f"{100 * probe['load']:.0f} %",
            "holds" if probe["holds"] else probe["why"],
        )
        for probe in document["probes"]
    ]
    show_table(("cameras", "length", "kind", "p95 ms", "worst share", "load", "verdict"), rows)
    say()
    bounds = document["bounds"]
    say(f"capacity: {document['capacity']} camera(s). {document['statement']}")
    say(
        f"Holding means: p95 age at most {bounds['age_p95_ms']:g} ms over all decisions, and each camera at "
        f"{100 * bounds['least_share_of_each_camera']:g} % of its wanted rate, less one detection at the window's edge."
    )


def _say_account(document: Mapping[str, Any]) -> None:
    say()
    walls = {stage: time["ms_per_item"] for stage, time in document["stages"].items()}
    rows = [
        (
            row["part"],
            row["cpu_ms_per_frame"],
            f"{100 * row['part_of_all']:.1f} %",
            row["thread"],
            "" if row["part"] not in walls else f"{walls[row['part']]:.3f}",
        )
        for row in document["account"]
    ]
    total = sum(row["cpu_ms_per_frame"] for row in document["account"])
    rows.append(("the whole process", round(total, 3), "100.0 %", "", ""))
    show_table(("where the time goes", "CPU ms/frame", "part", "threads", "wall ms/item"), rows)
