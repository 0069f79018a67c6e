"""A fair comparison of models: each on each engine in each precision, on the same pictures, in turns.

A *line* is a model on an engine in a precision. Every line has a process of its own, which is timed in rounds: one line
after the other, each for its part of the runs, so that a slow minute of the machine is every line's. What is timed is
the call that the product makes: uint8 BGR pictures in, decoded faces or unit templates out, with mean, scale, colour
order and layout, the decoding of anchors, suppression and normalisation in it. Scaling a picture to the canvas and
aligning a face are the same for all lines, and not in it.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.engine import usable_cpus
from vidface.errors import BadInput
from vidface.evaluation.bench import SILENT, Told
from vidface.evaluation.candidates import Candidate
from vidface.evaluation.models_data import AlignedFaces, Pictures, described
from vidface.evaluation.models_lines import CompareOptions, Line, agreement_reference, check_references, lines_of
from vidface.evaluation.models_outputs import Outputs, accuracy, check, compare, rounded
from vidface.evaluation.models_worker import LineFailed, Opened, Worker
from vidface.evaluation.saved import FORMAT
from vidface.evaluation.system import cpu_model
from weights.manifest import Task

MODE: Final = "models"

MEASURED: Final = (
    "uint8 BGR pictures in, decoded faces or unit templates out: the model's preprocessing and the decoding of its "
    "outputs are in the time. Scaling to the canvas and aligning are the same for all, and not in it."
)

_NONE: Final = "no model is of a precision that is asked for; int8 is for what 'vidface weights quantise' made"

_PACKAGES: Final = ("vidface", "numpy", "opencv-python-headless", "openvino", "onnxruntime")


@dataclass(slots=True)
class _Timed:
    """A line while it is measured."""

    line: Line
    worker: Worker
    opened: Opened
    rounds_ns: dict[int, list[list[int]]] = field(default_factory=dict)
    peak_rss_bytes: int = 0


def compare_models(
    models: Sequence[Candidate],
    known: Mapping[str, Candidate],
    options: CompareOptions,
    *,
    pictures: Pictures | None,
    faces: AlignedFaces | None,
    told: Told = SILENT,
) -> dict[str, Any]:
    """Measure all lines, and describe what was measured.

    Args:
        models: What to compare.
        known: Every model at hand by name, among them those that the compared ones are made from.
        options: What is asked for.
        pictures: What detectors see; None where there is no detector among the models.
        faces: What embedders see; None likewise.
        told: Told how far it is.

    Returns:
        The document, see `saved.write`; figures that say how long are in milliseconds.

    Raises:
        BadInput: No line can be run.
    """
    with tempfile.TemporaryDirectory(prefix="vidface-models-") as folder:
        files = _written(Path(folder), pictures, faces)
        comparison = _Comparison(known, options, files, told)
        timed, refused = comparison.timed(lines_of(models, options))
        outputs = comparison.outputs(timed)
    return {
        "format": FORMAT,
        "mode": MODE,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(options),
        "options": _told_options(models, options),
        "data": described(pictures, faces),
        "measured": MEASURED,
        "lines": [
            _line_figures(each, outputs, known, options=options, pictures=pictures, faces=faces) for each in timed
        ],
        "cannot_run": [
            {"model": line.model.name, "engine": line.engine, "precision": line.precision, "reason": reason}
            for line, reason in refused
        ],
    }


class _Comparison:
    """The processes of one comparison. One thread uses it."""

    def __init__(
        self, known: Mapping[str, Candidate], options: CompareOptions, files: Mapping[Task, Path], told: Told
    ) -> None:
        self._known = known
        self._options = options
        self._files = files
        self._told = told
        self._outputs: dict[Line, Outputs] = {}

    def timed(self, lines: Sequence[Line]) -> tuple[list[_Timed], list[tuple[Line, str]]]:
        """Time every line that can be run, and gather its outputs; and those that can't, with the reason.

        Raises:
            BadInput: None can.
        """
        refused: list[tuple[Line, str]] = []
        missing: dict[tuple[str, str], str] = {}
        with ExitStack() as processes:
            timed = []
            for line in lines:
                self._told.step(f"opening {line}")
                way = (line.engine, line.precision)
                if way in missing:  # what one model has found out need not cost another one a process
                    refused.append((line, missing[way]))
                    continue
                try:
                    worker = processes.enter_context(Worker(line.job(self._options, self._file(line))))
                    timed.append(_Timed(line=line, worker=worker, opened=worker.opened()))
                except LineFailed as error:
                    refused.append((line, str(error)))
                    if error.whoever:
                        missing[way] = str(error)
            for step in (self._warm_up, self._take_turns, self._finish):
                timed = step(timed, refused)
        if not timed:
            reasons = "; ".join(f"{line}: {reason}" for line, reason in refused)
            raise BadInput(f"nothing can be compared here: {reasons or _NONE}")
        return timed, refused

    def outputs(self, timed: Sequence[_Timed]) -> Mapping[Line, Outputs]:
        """What each line found, and what the references did that are no lines themselves."""
        for each in timed:
            any(self._find(reference) for reference in check_references(each.line, self._known))  # the first will do
            head = agreement_reference(each.line, self._known)
            if head is not None:
                self._find(head)
        return self._outputs

    def _file(self, line: Line) -> Path:
        return self._files[line.model.spec.task]

    def _warm_up(self, timed: Sequence[_Timed], refused: list[tuple[Line, str]]) -> list[_Timed]:
        def warm_up(each: _Timed) -> None:
            for batch in self._options.batches:
                each.worker.warm_up(batch)

        return self._each("warming up", timed, refused, warm_up)

    def _take_turns(self, timed: list[_Timed], refused: list[tuple[Line, str]]) -> list[_Timed]:
        options = self._options
        rounds = options.rounds if options.runs is None else min(options.rounds, options.runs)
        for number in range(rounds):
            runs = None if options.runs is None else share(options.runs, rounds, number)

            def turn(each: _Timed, runs: int | None = runs) -> None:
                for batch in options.batches:
                    samples = each.worker.time(batch, runs=runs, seconds=options.seconds / rounds)
                    each.rounds_ns.setdefault(batch, []).append(samples)

            first = number % len(timed) if timed else 0  # whoever is first in a round follows another line each time
            rotated = [*timed[first:], *timed[:first]]
            kept = self._each(f"round {number + 1} of {rounds}", rotated, refused, turn)
            timed = [each for each in timed if each in kept]
        return timed

    def _finish(self, timed: Sequence[_Timed], refused: list[tuple[Line, str]]) -> list[_Timed]:
        def finish(each: _Timed) -> None:
            each.peak_rss_bytes = each.worker.peak_rss_bytes()
            self._outputs[each.line] = _found(each.worker, each.line)

        return self._each("finding faces with", timed, refused, finish)

    def _each(
        self, what: str, timed: Sequence[_Timed], refused: list[tuple[Line, str]], do: Callable[[_Timed], None]
    ) -> list[_Timed]:
        kept = []
        for place, each in enumerate(timed):
            self._told.step(f"{what}: {each.line}")
            self._told.part(place / len(timed))
            try:
                do(each)
            except LineFailed as error:
                refused.append((each.line, str(error)))
            else:
                kept.append(each)
        return kept

    def _find(self, reference: Line) -> bool:
        """Whether there are outputs of a reference, made now if need be."""
        if reference in self._outputs:
            return True
        self._told.step(f"finding faces with the reference: {reference}")
        try:
            with Worker(reference.job(self._options, self._file(reference))) as worker:
                worker.opened()
                self._outputs[reference] = _found(worker, reference)
        except LineFailed:
            return False  # this machine can't run it: the line is held against another, or against nothing
        return True


def _found(worker: Worker, line: Line) -> Outputs:
    return worker.faces() if line.model.spec.task is Task.DETECT else worker.templates()


def share(runs: int, rounds: int, number: int) -> int:
    """How many of the runs are a round's: they are spread evenly, and none is lost."""
    return (number + 1) * runs // rounds - number * runs // rounds


def _line_figures(
    timed: _Timed,
    outputs: Mapping[Line, Outputs],
    known: Mapping[str, Candidate],
    *,
    options: CompareOptions,
    pictures: Pictures | None,
    faces: AlignedFaces | None,
) -> dict[str, Any]:
    line, model, mine = timed.line, timed.line.model, outputs[timed.line]
    against = next((each for each in check_references(line, known) if each in outputs), None)
    head = agreement_reference(line, known)
    agreed = None
    if head is not None and head in outputs:
        agreed = {"reference": head.model.name, **rounded(compare(outputs[head], mine))}
    checked = check(str(against), None if against is None else outputs[against], mine)
    return {
        "model": model.name,
        "task": model.spec.task.value,
        "engine": line.engine,
        "precision": line.precision,
        "description": timed.opened.description,
        "batches": {str(batch): timing(rounds, batch) for batch, rounds in timed.rounds_ns.items()},
        "peak_memory_mib": round(timed.peak_rss_bytes / 2**20, 1),
        "model_memory_mib": round((timed.peak_rss_bytes - timed.opened.base_rss_bytes) / 2**20, 1),
        "file_bytes": model.size_bytes,
        "open_s": round(timed.opened.open_s, 3),
        "check": checked.as_json(),
        "agreement": agreed,
        "accuracy": rounded(accuracy(mine, options.canvas, pictures, faces)),
    }


def timing(rounds_ns: Sequence[Sequence[int]], batch: int) -> dict[str, Any]:
    """The figures of one line at one batch size.

    Args:
        rounds_ns: Nanoseconds of each call, by round.
        batch: Pictures or faces of a call.

    Returns:
        Milliseconds of a call, and pictures or faces a second.
    """
    samples_ms = np.concatenate([np.asarray(samples, np.float64) for samples in rounds_ns]) / 1e6
    mean_ms = float(samples_ms.mean())
    return {
        "runs": len(samples_ms),
        "mean_ms": round(mean_ms, 3),
        "min_ms": round(float(samples_ms.min()), 3),
        "max_ms": round(float(samples_ms.max()), 3),
        "std_ms": round(float(samples_ms.std()), 3),
        "p95_ms": round(float(np.percentile(samples_ms, 95)), 3),
        "per_s": round(1000 * batch / mean_ms, 1),
        "round_means_ms": [round(float(np.mean(samples)) / 1e6, 3) for samples in rounds_ns if len(samples)],
    }


def machine(options: CompareOptions) -> dict[str, Any]:
    """What figures depend on and code does not say."""
    return {
        "cpu": cpu_model(),
        "cores": usable_cpus(),
        "threads": options.threads or usable_cpus(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _told_options(models: Sequence[Candidate], options: CompareOptions) -> dict[str, Any]:
    return {
        "models": [model.name for model in models],
        "engines": list(options.engines),
        "precisions": list(options.precisions),
        "canvas": [options.canvas.width, options.canvas.height],
        "batches": list(options.batches),
        "runs": options.runs,
        "seconds": options.seconds if options.runs is None else None,
        "rounds": options.rounds,
        "threads": options.threads,
    }


def _written(folder: Path, pictures: Pictures | None, faces: AlignedFaces | None) -> dict[Task, Path]:
    """The data as files, which every process maps instead of holding a copy."""
    arrays = {Task.DETECT: None if pictures is None else pictures.batch}
    arrays[Task.EMBED] = None if faces is None else faces.aligned_bgr
    files = {}
    for task, array in arrays.items():
        if array is not None:
            files[task] = folder / f"{task}.npy"
            np.save(files[task], array)
    return files
