"""What ``vidface bench models`` found, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vidface.cli.output import say, show_table, warn
from vidface.evaluation.models_words import TASKS, accuracy_words, not_valid, refused_rows, seen


def say_models(document: Mapping[str, Any], written: Sequence[str] = ()) -> None:
    """Print a comparison, and what was written where."""
    for task, (title, rate) in TASKS.items():
        lines = [line for line in document["lines"] if line["task"] == task]
        if lines:
            say(title)
            _say_lines(lines, rate)
            say()
    say(document["measured"])
    say(seen(document))
    if document["cannot_run"]:
        say()
        show_table(("can't run here", "precision", "models", "reason"), refused_rows(document))
    for line in document["lines"]:
        if not line["check"]["passed"]:
            warn(not_valid(line))
    for text in written:
        say(text)


def _say_lines(lines: Sequence[Mapping[str, Any]], rate: str) -> None:
    rows = [
        (
            line["model"],
            line["engine"],
            line["precision"],
            batch,
            *(f"{timing[key]:.2f}" for key in ("mean_ms", "std_ms", "min_ms", "p95_ms", "max_ms")),
            f"{timing['per_s']:.0f}",
            f"{line['peak_memory_mib']:.0f}",
            f"{line['file_bytes'] / 1e6:.2f}",
            accuracy_words(line),
            "yes" if line["check"]["passed"] else "NO",
        )
        for line in lines
        for batch, timing in line["batches"].items()
    ]
    head = ("model", "engine", "prec.", "batch", "mean ms", "std", "min", "p95", "max", rate, "MiB", "MB", "accuracy")
    show_table((*head, "valid"), rows)
