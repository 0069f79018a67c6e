"""A comparison of models as one HTML file: tables, plots, and the JSON that they were drawn from. It loads nothing.

The JSON is in the element ``models-json``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

from vidface.evaluation import page, plots
from vidface.evaluation.models_words import (
    TASKS,
    accuracy_figure,
    accuracy_words,
    line_name,
    not_valid,
    refused_rows,
    seen,
)

TITLE: Final = "vidface bench models"


def as_html(document: Mapping[str, Any]) -> str:
    """Draw a comparison.

    Args:
        document: See `models_bench.compare_models`.

    Returns:
        The whole file.
    """
    body = [page.cards(_figures(document))]
    for task in TASKS:
        lines = [line for line in document["lines"] if line["task"] == task]
        if lines:
            body += _task(task, lines)
    body.append(page.section("What was measured", f"<p>{escape(document['measured'])}</p>" + page.note(seen(document))))
    if document["cannot_run"]:
        head = ("engine", "precision", "models", "why it can't be run here")
        body.append(page.section("Not on this machine", page.table(head, refused_rows(document))))
    body += [page.machine_section(document), page.embedded("models-json", document)]
    about = (
        f"{len(document['lines'])} lines on {document['machine']['cpu']}, {document['machine']['cores']} processors; "
        f"{document['made_at']}"
    )
    return page.page(TITLE, about, body, wide=True)


def _figures(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The quickest line of each task that may be believed, and how many may not."""
    cards = []
    for task, (title, _) in TASKS.items():
        valid = [line for line in document["lines"] if line["task"] == task and line["check"]["passed"]]
        if valid:
            best = min(valid, key=_one_ms)
            words = f"quickest of the {title}: {line_name(best)}"
            cards.append((f"{_one_ms(best):.2f} ms", words))
    checked = sum(line["check"]["passed"] for line in document["lines"])
    cards.append((f"{checked} of {len(document['lines'])}", "lines whose outputs were checked and agree"))
    return cards


def _one_ms(line: Mapping[str, Any]) -> float:
    """Mean latency of one picture or face, by the smallest batch that was timed."""
    batch = min(line["batches"], key=int)
    return float(line["batches"][batch]["mean_ms"]) / int(batch)


def _task(task: str, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    title, rate = TASKS[task]
    parts = [page.section(f"{title.capitalize()}: all figures", _all_figures(lines, rate))]
    rows, words = [], ""
    for line in lines:
        figure = accuracy_figure(line)
        if figure is not None:
            words = figure[0]
            rows.append({**_named(line), "ms": _one_ms(line), "accuracy": figure[1]})
    if rows:
        parts.append(
            page.section(
                f"{title.capitalize()}: latency against accuracy",
                plots.tradeoff(rows, accuracy=words) + page.note("To the left is quicker, above is better."),
            )
        )
    bars = "".join(
        plots.latencies([{**_named(line), **line["batches"][batch]} for line in lines], batch=int(batch))
        for batch in lines[0]["batches"]
    )
    parts.append(page.section(f"{title.capitalize()}: latency", bars))
    parts.append(
        page.section(
            f"{title.capitalize()}: memory",
            plots.memories([{**_named(line), **line} for line in lines])
            + page.note(
                "Each line has a process of its own. Before the model is opened it holds Python and its libraries."
            ),
        )
    )
    return parts


def _named(line: Mapping[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("model", "engine", "precision")} | {"name": line_name(line)}


def _all_figures(lines: Sequence[Mapping[str, Any]], rate: str) -> str:
    rows = [
        (
            line["model"],
            f"{line['engine']} {line['precision']}",
            batch,
            *(f"{timing[key]:.2f}" for key in ("mean_ms", "std_ms", "min_ms", "p95_ms", "max_ms")),
            f"{timing['per_s']:.0f}",
            f"{line['peak_memory_mib']:.0f}",
            f"{line['file_bytes'] / 1e6:.2f}",
            accuracy_words(line),
        )
        for line in lines
        for batch, timing in line["batches"].items()
    ]
    head = ("model", "engine", "batch", "mean ms", "std", "min", "p95", "max", rate, "MiB", "MB", "accuracy")
    wrong = "".join(f'<p class="bad">{escape(not_valid(line))}</p>' for line in lines if not line["check"]["passed"])
    return wrong + page.table(head, rows)
