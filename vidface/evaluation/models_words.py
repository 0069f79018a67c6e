"""A comparison of models in words and rows, for the table and the report alike."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, Final

TASKS: Final = {"detect": ("detectors", "pictures/s"), "embed": ("embedders", "faces/s")}
"""Title and unit of throughput of each task's lines."""


LONGEST_REASON: Final = 240
"""An engine may give a page of reasons for one file; the JSON has all of it."""


def line_name(line: Mapping[str, Any]) -> str:
    """A line in one breath."""
    return f"{line['model']}, {line['engine']} {line['precision']}"


def accuracy_figure(line: Mapping[str, Any]) -> tuple[str, float] | None:
    """The one figure that says how good a line is, and what it is; None where nothing is known."""
    known, agreed = line["accuracy"], line["agreement"]
    for figures, name, words in (
        (known, "average_precision", "average precision at an overlap of 0.5"),
        (known, "lfw_accuracy", "accuracy on LFW's pairs"),
        (agreed or {}, "f1", "agreement with full precision, F1"),
        (agreed or {}, "mean_similarity", "similarity to full precision, cosine"),
    ):
        if name in figures:
            return words, figures[name]
    return None


def refused_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Engine, precision, models and reason of what can't be run, one row for all models of the same reason."""
    models: dict[tuple[str, str, str], list[str]] = {}
    for line in document["cannot_run"]:
        reason = textwrap.shorten(line["reason"], LONGEST_REASON, placeholder=" ...")
        models.setdefault((line["engine"], line["precision"], reason), []).append(line["model"])
    every = len(document["options"]["models"])
    return [
        (engine, precision, "all" if len(names) == every else ", ".join(names), reason)
        for (engine, precision, reason), names in models.items()
    ]


def not_valid(line: Mapping[str, Any]) -> str:
    """Why a line's timing does not count."""
    name, checked = f"{line['model']} on {line['engine']} in {line['precision']}", line["check"]
    if checked["figure"] is None:
        return f"{name}: its outputs could not be checked, since there was nothing to hold them against"
    return (
        f"{name}: its timing does not count: its outputs agree by {checked['figure']:.3f} with "
        f"{checked['against']}, below {checked['floor']:g}"
    )


def accuracy_words(line: Mapping[str, Any]) -> str:
    """What is known of how good a line is, in short: by labels, else by agreement with full precision."""
    known, agreed = line["accuracy"], line["agreement"]
    if "average_precision" in known:
        return f"AP {known['average_precision']:.3f}"
    if "lfw_accuracy" in known:
        return f"LFW {known['lfw_accuracy']:.2%}"
    if agreed is None:
        return "unknown"
    if "f1" in agreed:
        small = f", small {agreed['small_recall']:.3f}" if agreed["small_faces"] else ""
        return f"F1 {agreed['f1']:.3f}{small}, landmarks {agreed['landmark_error_px']:.2f} px"
    return f"similarity {agreed['mean_similarity']:.4f}, least {agreed['least_similarity']:.3f}"


def seen(document: Mapping[str, Any]) -> str:
    """What the models were compared on, in one line."""
    data, options, machine = document["data"], document["options"], document["machine"]
    parts = []
    if "pictures" in data:
        canvas = "x".join(map(str, options["canvas"]))
        labelled = f" with {data['labelled_faces']} labelled faces" if data["labelled"] else ""
        parts.append(f"{data['pictures']} pictures of {data['source']}{labelled}, canvas {canvas}")
    if "faces" in data:
        pairs = f", {data['lfw_pairs']} pairs of LFW" if data["lfw_pairs"] else ""
        parts.append(f"{data['faces']} aligned faces{pairs}")
    return f"{'; '.join(parts)}; {options['rounds']} rounds, {machine['threads']} threads, {machine['cpu']}"
