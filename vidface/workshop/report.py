"""A run of ``vidface weights optimise`` as one HTML file: the candidates, what was searched, and how it learnt.

The JSON that it was drawn from is in the element ``optimise-json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.evaluation import page, plots


def as_html(document: Mapping[str, Any]) -> str:
    """Draw a run; see `optimise.optimise` for the document."""
    goal = document["goal"]
    kept = document["kept"]
    # Where none is kept, the one that is nearest: it meets the most, and is the fastest of those.
    best = max(
        document["candidates"],
        key=lambda line: (line["name"] == kept, sum(line["met"].values()), line["speedup"]),
    )
    verdict = f"registered as {document['registered']}" if kept else "the goal was not met; nothing was registered"
    figures = [
        (f"{best['speedup']:.2f} x", f"the speed of {best['name']}; {goal['speedup']:g} x was asked for"),
        (f"{best['agreement']['f1']:.4f}", f"its F1; {goal['keep']:g} was asked for"),
        (
            f"{best['agreement']['small_recall']:.4f}",
            f"its recall of faces under 30 px; {1 - goal['small_loss']:g} was asked for",
        ),
        (f"{document['minutes']:.0f} min", "of the last part of the run"),
    ]
    data = document["data"]
    body = [
        page.cards(figures),
        page.section("Candidates", _candidates(document)),
        page.section("Time for one picture", _times(document)),
        page.section(
            "What it was measured on",
            page.note(
                f"{data['exam_pictures']} pictures with {data['exam_faces']} faces, made of {data['reported_on']} that "
                "were held out to the end: photos alone on the canvas, and pictures composed of several. "
                f"{data['learnt_from']} pictures were learnt from, {data['chosen_by']} chose. A face counts as found "
                "where the boxes overlap by half; the full model's detections at score 0.5 are what is right."
            ),
        ),
    ]
    if "search" in document:
        body.append(page.section("How narrow it must be", _search(document["search"])))
    if document.get("distillation"):
        losses = document["distillation"]["losses"]
        words = f"{document['distillation']['steps']} steps in {document['distillation']['seconds'] / 60:.0f} minutes"
        body.append(page.section("Learning from the full model", plots.learning(losses) + page.note(words)))
    if document.get("scan"):
        body.append(page.section("How much each layer matters", _scan(document["scan"])))
    body += [page.machine_section(document), page.embedded("optimise-json", document)]
    about = f"{document['model']} on {data['origin']}: {verdict}; {document['made_at']}"
    return page.page("vidface weights optimise", about, body, wide=True)


def _candidates(document: Mapping[str, Any]) -> str:
    rows = [
        (
            line["name"],
            f"{line['speedup']:.2f}",
            f"{line['speedup_over_openvino']:.2f}",
            f"{line['agreement']['f1']:.4f}",
            f"{line['agreement']['precision']:.4f}",
            f"{line['agreement']['recall']:.4f}",
            f"{line['agreement']['small_recall']:.4f}",
            f"{line['agreement']['landmark_error_px']:.2f}",
            f"{line['size_bytes'] / 1e6:.2f}",
            "holds"
            if all(line["met"].values())
            else "short of " + ", ".join(k for k, ok in line["met"].items() if not ok),
        )
        for line in document["candidates"]
    ]
    head = (
        "candidate",
        "x ONNX Runtime",
        "x OpenVINO",
        "F1",
        "precision",
        "recall",
        "under 30 px",
        "landmarks px",
        "MB",
    )
    return page.table((*head, "goal"), rows)


def _times(document: Mapping[str, Any]) -> str:
    rows = [
        {
            "name": name,
            "precision": "int8" if "int8" in name else "f32",
            "mean_ms": timing["mean_ms"],
            "min_ms": timing["min_ms"],
            "p95_ms": min(timing["max_ms"], timing["mean_ms"] + 2 * timing["std_ms"]),
        }
        for name, timing in document["timings"].items()
    ]
    return plots.latencies(rows, batch=1) + page.note(
        "All by turns, one picture at a time on all processors, from raw pixels to decoded faces."
    )


def _search(search: Mapping[str, Any]) -> str:
    rows = [
        (f"{probe['cost']:.3f}", f"{probe['multiplications'] / 1e6:.0f}", f"{probe['speedup']:.2f}")
        for probe in search["probes"]
    ]
    head = ("part of the cost", "million multiplications", "x ONNX Runtime, in int8")
    words = f"The full network has {search['full_multiplications'] / 1e6:.0f} million multiplications a picture."
    return page.table(head, rows) + page.note(words)


def _scan(scan: list[Mapping[str, Any]]) -> str:
    rows = [
        (group["name"], group["width"], *(f"{harm:.3f}" for _part, harm in sorted(group["harm"], reverse=True)))
        for group in scan
    ]
    return page.table(("group", "channels", "loss at 3/4", "at 1/2", "at 1/4"), rows) + page.note(
        "How much the loss rises when a group alone keeps so many of its channels."
    )
