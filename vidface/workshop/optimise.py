"""A detector made faster for one's own pictures and machine: scan, prune, distil, quantise, measure, keep.

What is found on the way is kept in a work folder, so that an interrupted run goes on where it was. The speed of a
pruned network does not depend on what it has learnt, so how much must go is settled first, by measuring, and the time
is spent on learning only once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.canvas import Canvas
from pipeline.engine import usable_cpus
from pipeline.retinaface import RetinaFace
from vidface.errors import BadInput
from vidface.evaluation.system import cpu_model
from vidface.workshop.goal import BASELINE, Candidate, Goal, Told
from vidface.workshop.judge import Exam, Judge, Timing, raw_outputs
from vidface.workshop.network import EXPORT_CANVAS, export, pulled_network
from vidface.workshop.pictures import Pictures, Readable, open_pictures, read_all, thinned
from vidface.workshop.verdict import verdict
from weights import store
from weights.manifest import DEFAULT_DETECTOR, Task, load_manifest

LEARNING_PX: Final = 320
"""Side of the pictures that are learnt from: two fifths of the canvas's area, and as many faces of each size."""

EXAM_PHOTOS: Final = 150
"""Photos of an exam, each alone on the canvas."""

EXAM_COMPOSED: Final = 50
"""Composed pictures of an exam, which hold many small faces."""

PROBE_MARGIN: Final = 1.06
"""A narrowed network must be faster by this than what is asked for, since the machine is never twice the same."""

COSTS: Final = (0.15, 1.0)
"""Between these parts of the full network's cost the right one is looked for, to a fiftieth."""

RESERVE_S: Final = 240.0
"""Of the time, what is kept for quantising and measuring at the end."""

LEAST_S: Final = 30.0
"""Of learning, however little time there is."""

INT8_LOSS: Final = 0.005
"""How much of F1 int8 may take before layers are left in float for it."""

CALIBRATION: Final = 200
"""Pictures that int8 is calibrated with."""


def optimise(model: str, origin: Path, goal: Goal, *, name: str, work_dir: Path, told: Told | None = None) -> Any:
    """Make a detector faster.

    Args:
        model: The full detector, by its name in the manifest.
        origin: A folder of pictures, or a clip; no labels are needed.
        goal: What is asked for.
        name: What the result will be called.
        work_dir: Where what is found on the way is kept; the same one goes on after an interruption.
        told: Whom to tell.

    Returns:
        The run as plain values, see `report`; under ``registered`` the name, or None where the goal was not met.

    Raises:
        BadInput: The pictures won't do, or the model is no detector that can be worked on.
    """
    return _Run(model, origin, goal, name=name, work_dir=work_dir, told=told or Told()).run()


class _Run:
    """One run; every step reads what an earlier one kept, or makes it and keeps it."""

    def __init__(self, model: str, origin: Path, goal: Goal, *, name: str, work_dir: Path, told: Told) -> None:
        self._spec = load_manifest().model(model)
        if self._spec.task is not Task.DETECT:
            raise BadInput(f"{model}: not a detector; an embedder is quantised: vidface weights quantise {model}")
        if self._spec.name != DEFAULT_DETECTOR:
            raise BadInput(f"{model}: only {DEFAULT_DETECTOR} can be pruned and distilled so far")
        self._path = store.ensure(model)
        self._goal, self._name, self._told = goal, name, told
        self._origin = origin
        self._begun = time.monotonic()
        self._work = work_dir
        self._photos: Any = None
        self._claim()

    def _claim(self) -> None:
        """Keep to what an earlier run in this folder was for."""
        self._work.mkdir(parents=True, exist_ok=True)
        purpose = {
            "model": self._spec.name,
            "sha256": self._spec.sha256,
            "data": str(self._origin.resolve()),
            "canvas": [self._goal.canvas.width, self._goal.canvas.height],
            "speedup": self._goal.speedup,
            "seed": self._goal.seed,
        }
        known = self._kept("purpose")
        if known is not None and known != purpose:
            differs = ", ".join(key for key in purpose if known.get(key) != purpose[key])
            raise BadInput(f"{self._work}: holds another run, with another {differs}; give another --work-dir")
        self._keep("purpose", purpose)

    def run(self) -> dict[str, Any]:
        told = self._told
        told.step("reading pictures")
        pictures = open_pictures(self._origin)
        judge = Judge(self._spec, self._path, canvas=self._goal.canvas)
        choose, report = (self._exam(judge, pictures, numbers) for numbers in (pictures.choose, pictures.report))
        candidates = [self._quantised(judge, pictures, choose, None)]
        first = judge.open(candidates[0].path, candidates[0].spec)
        quick = self._timings(judge, choose, {candidates[0].name: first})
        details: dict[str, Any] = {}
        met = self._speedup(quick, candidates[0].name) >= self._goal.speedup
        if not met or judge.agreement(first, choose).f1 < self._goal.keep:
            found = self._searched(judge, pictures, choose, candidates[0])
            learnt = self._distilled(judge, pictures, found["widths"])
            candidates += [learnt, self._quantised(judge, pictures, choose, learnt)]
            details = {"scan": self._kept("scan"), "search": found, "distillation": self._kept("distilled")}
        told.step("measuring")
        return self._document(judge, pictures, candidates, report, details)

    def _exam(self, judge: Judge, pictures: Pictures, numbers: Sequence[int]) -> Exam:
        photos = read_all(pictures, thinned(numbers, EXAM_PHOTOS))
        if not photos:
            raise BadInput(f"{self._origin}: none of the pictures that were held out can be read")
        composer = self._composer(pictures, numbers, judge.canvas, judge.fill_bgr, "exam", harsh=False)
        return judge.exam(photos, composer.batch(EXAM_COMPOSED))

    def _composer(
        self,
        pictures: Pictures,
        numbers: Sequence[int],
        canvas: Canvas,
        fill_bgr: tuple[int, int, int],
        use: str,
        *,
        harsh: bool,
    ) -> Any:
        from weights.workshop.compose import Composer, Photos

        salt = int.from_bytes(hashlib.sha256(f"{use} {numbers[0]}".encode()).digest()[:4], "big")
        if self._photos is None:  # decoded once, whatever is composed of them
            self._photos = Photos(len(pictures), Readable(pictures, fill_bgr))
        return Composer(
            self._photos,
            numbers,
            size_wh=(canvas.width, canvas.height),
            fill_bgr=fill_bgr,
            generator=np.random.default_rng([self._goal.seed, salt]),
            harsh=harsh,
        )

    def _scanned(self, judge: Judge, pictures: Pictures) -> tuple[Any, list[Any], list[Callable[[Any], Any]]]:
        """The full network, its groups, and losses on a few pictures to learn from."""
        from weights.workshop.distil import loss_on
        from weights.workshop.prune import LayerGroup, scan

        network = pulled_network(self._spec.name)
        teacher = raw_outputs(self._path, self._spec)
        composer = self._composer(pictures, pictures.learn, _learning(), judge.fill_bgr, "scan", harsh=True)
        losses = [loss_on(teacher, composer.batch(12), mean=self._spec.mean, scale=self._spec.scale) for _ in range(4)]
        known = self._kept("scan")
        if known is None:
            self._told.step("scanning how much each layer matters")
            groups = scan(network, losses[0], lambda done, all_of: self._told.part(done / all_of))
            self._keep(
                "scan",
                [
                    {"name": each.name, "width": each.width, "harm": [[k, v] for k, v in each.harm.items()]}
                    for each in groups
                ],
            )
        groups = [
            LayerGroup(name=each["name"], width=each["width"], harm=dict(each["harm"]))
            for each in self._kept("scan") or ()
        ]
        return network, groups, losses

    def _searched(self, judge: Judge, pictures: Pictures, exam: Exam, full: Candidate) -> dict[str, Any]:
        """How narrow the network must be for the speed, by measuring narrowed ones that have learnt nothing.

        They see faces everywhere, so they are measured without taking any apart. What that takes is added from `full`,
        whose outputs have the same form.
        """
        from weights.workshop.prune import multiplications, plan, prune

        known = self._kept("search")
        if known is not None:
            return dict(known)
        network, groups, losses = self._scanned(judge, pictures)
        size_hw = (self._goal.canvas.height, self._goal.canvas.width)
        wanted = self._goal.speedup * PROBE_MARGIN
        probes: list[dict[str, Any]] = []
        low, high = COSTS
        best: dict[str, Any] | None = None
        cost = 0.35
        while high - low > 1 / 50:
            self._told.step(f"measuring a network of {cost:.0%} of the work")
            made = plan(network, groups, cost=cost, size_hw=size_hw)
            narrow = prune(network, made.widths, losses)
            candidate = self._quantised(
                judge, pictures, exam, self._exported(judge, pictures, narrow, "probe"), final=False
            )
            timings = self._timings(
                judge,
                exam,
                {
                    "probe": judge.open(candidate.path, candidate.spec, score_threshold=1.0),
                    "full": judge.open(full.path, full.spec),
                    "full without faces": judge.open(full.path, full.spec, score_threshold=1.0),
                },
            )
            taken_apart_ms = timings["full"].median_ms - timings["full without faces"].median_ms
            speedup = timings[BASELINE].median_ms / (timings["probe"].median_ms + max(0.0, taken_apart_ms))
            probe = {
                "cost": made.cost,
                "speedup": speedup,
                "widths": dict(made.widths),
                "multiplications": multiplications(narrow, size_hw),
            }
            probes.append(probe)
            if speedup >= wanted:
                best, low = probe, cost
            else:
                high = cost
                if made.cost > cost + 1 / 50:
                    break  # it can't be made narrower than that
            cost = (low + high) / 2
        if best is None:
            best = max(probes, key=lambda probe: probe["speedup"])
        found = {
            "probes": [{key: value for key, value in probe.items() if key != "widths"} for probe in probes],
            "widths": best["widths"],
            "cost": best["cost"],
            "multiplications": best["multiplications"],
            "full_multiplications": multiplications(network, size_hw),
        }
        self._keep("search", found)
        return found

    def _distilled(self, judge: Judge, pictures: Pictures, widths: Mapping[str, int]) -> Candidate:
        """The narrowed network after it learnt from the full one."""
        from weights.workshop import checkpoint
        from weights.workshop.distil import distil
        from weights.workshop.prune import prune

        learnt, state = self._work / "pruned.pt", self._work / "distil.pt"
        if self._kept("distilled") is None:
            known = self._kept("time")
            # What is left of the time is settled once: an interruption does not make it longer.
            seconds = known["seconds"] if known else max(LEAST_S, self._seconds_left() - RESERVE_S)
            if known is None:
                self._keep("time", {"seconds": seconds})
            network, _groups, losses = self._scanned(judge, pictures)
            student = prune(network, widths, losses)
            composer = self._composer(pictures, pictures.learn, _learning(), judge.fill_bgr, "distil", harsh=True)
            self._told.step("learning from the full model")
            outcome = distil(
                student,
                raw_outputs(self._path, self._spec),
                composer.batch,
                mean=self._spec.mean,
                scale=self._spec.scale,
                seconds=seconds,
                state_file=state,
                on_step=lambda _step, part, _loss: self._told.part(part),
            )
            checkpoint.save(student, learnt)
            self._keep(
                "distilled",
                {"steps": outcome.steps, "seconds": outcome.seconds, "losses": [list(each) for each in outcome.losses]},
            )
            state.unlink(missing_ok=True)
        return self._exported(judge, pictures, checkpoint.load(learnt), "pruned f32")

    def _exported(self, judge: Judge, pictures: Pictures, network: Any, name: str) -> Candidate:
        """A network of ours as an ONNX file in its fastest form."""
        composer = self._composer(pictures, pictures.learn, EXPORT_CANVAS, judge.fill_bgr, "export", harsh=False)
        path = self._work / f"{name.replace(' ', '-')}.onnx"
        spec, _error = export(network, self._spec, path, composer.batch(4), cells=True)
        return Candidate(name=name, path=path, spec=spec)

    def _quantised(
        self, judge: Judge, pictures: Pictures, exam: Exam, source: Candidate | None, *, final: bool = True
    ) -> Candidate:
        """A candidate in int8; with None the full model in its fastest form, and nothing else done to it."""
        from weights.workshop.quantise import first_convolution, quantise

        if source is None:
            source = self._exported(judge, pictures, pulled_network(self._spec.name), "full f32")
        path = source.path.with_name(f"{source.path.stem.removesuffix('-f32')}-int8.onnx")
        name = source.name.replace("f32", "int8")
        if final:
            self._told.step(f"quantising: {name}")

        def f1(file: Path) -> float:
            return judge.agreement(judge.open(file, source.spec), exam).f1

        quantise(
            source.path,
            path,
            input_name=source.spec.input_name,
            calibration=self._calibration(judge, pictures, CALIBRATION if final else 12),
            keep=first_convolution(source.path),
            measure=f1 if final else None,
            # Below what is asked for no layer helps when the float network itself is.
            floor=min(self._goal.keep + 0.01, f1(source.path) - INT8_LOSS) if final else None,
        )
        return Candidate(name=name, path=path, spec=source.spec)

    def _calibration(self, judge: Judge, pictures: Pictures, count: int) -> list[Any]:
        from weights.workshop.pictures import prepared

        composer = self._composer(pictures, pictures.learn, judge.canvas, judge.fill_bgr, "calibration", harsh=True)
        return [prepared(composer.picture()[None], mean=self._spec.mean, scale=self._spec.scale) for _ in range(count)]

    def _timings(self, judge: Judge, exam: Exam, detectors: Mapping[str, RetinaFace]) -> dict[str, Timing]:
        return judge.times({**judge.full_detectors, **detectors}, exam)

    @staticmethod
    def _speedup(timings: Mapping[str, Timing], name: str) -> float:
        return timings[BASELINE].median_ms / timings[name].median_ms

    def _document(
        self,
        judge: Judge,
        pictures: Pictures,
        candidates: Sequence[Candidate],
        exam: Exam,
        details: Mapping[str, Any],
    ) -> dict[str, Any]:
        goal = self._goal
        return {
            "kind": "optimise",
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": self._spec.name,
            "name": self._name,
            **verdict(judge, candidates, exam, goal, full=self._spec, name=self._name, origin=self._origin),
            "goal": {
                "speedup": goal.speedup,
                "keep": goal.keep,
                "small_loss": goal.small_loss,
                "minutes": goal.minutes,
                "canvas": [goal.canvas.width, goal.canvas.height],
                "seed": goal.seed,
            },
            "data": {
                "origin": str(self._origin),
                "pictures": len(pictures),
                "learnt_from": len(pictures.learn),
                "chosen_by": len(pictures.choose),
                "reported_on": len(pictures.report),
                "exam_pictures": len(exam.batch),
                "exam_faces": int(sum(map(len, exam.reference))),
            },
            "baseline": BASELINE,
            "minutes": (time.monotonic() - self._begun) / 60,
            "machine": {"cpu": cpu_model(), "cores": usable_cpus()},
            **details,
        }

    def _seconds_left(self) -> float:
        return self._goal.minutes * 60 - (time.monotonic() - self._begun)

    def _kept(self, what: str) -> Any:
        with contextlib.suppress(FileNotFoundError, ValueError):
            return json.loads((self._work / f"{what}.json").read_text(encoding="utf-8"))
        return None

    def _keep(self, what: str, value: object) -> None:
        half = self._work / f".half-{what}.json"
        half.write_text(json.dumps(value), encoding="utf-8")
        half.replace(self._work / f"{what}.json")


def _learning() -> Canvas:
    return Canvas(width=LEARNING_PX, height=LEARNING_PX)
