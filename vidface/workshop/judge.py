"""How well a detector does what the full one does, and how fast, on pictures that it has not learnt from."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.canvas import Canvas
from pipeline.engine import Backend, Device, EngineOptions, Precision, open_engine
from pipeline.faces import Faces, U8Image
from pipeline.graph import Preprocessing
from pipeline.retinaface import DetectorOptions, RetinaFace
from streams.picture import ArrayPicture
from vidface.evaluation.agreement import Agreement, agreement
from weights.manifest import ModelSpec

SCORE_THRESHOLD = 0.5
"""Detections from here on are compared."""

ROUNDS = 30
"""Turns in which each detector is timed, twice in each: a slow moment of the machine meets all of them."""

REST_S = 0.01
"""Between two detectors."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exam:
    """Pictures on the canvas, and what the full model says of them.

    Attributes:
        batch: ``(N, canvas height, canvas width, 3)`` uint8 BGR.
        reference: The full model's faces in canvas pixels.
    """

    batch: NDArray[np.uint8]
    reference: tuple[Faces, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long one picture takes, from raw pixels to decoded faces, in milliseconds."""

    mean_ms: float
    median_ms: float
    std_ms: float
    min_ms: float
    max_ms: float

    def as_json(self) -> dict[str, float]:
        """All of it as plain values."""
        return {
            "mean_ms": self.mean_ms,
            "median_ms": self.median_ms,
            "std_ms": self.std_ms,
            "min_ms": self.min_ms,
            "max_ms": self.max_ms,
        }


class Judge:
    """Compares detectors with a full one.

    Args:
        spec: The full model.
        path: Its ONNX file.
        canvas: The size at which detectors are compared and timed.
        threads: Of the processor, that one picture may use.
    """

    def __init__(self, spec: ModelSpec, path: Path, *, canvas: Canvas, threads: int = 0) -> None:
        self._canvas = canvas
        self._threads = threads
        self._spec = spec
        self._path = path
        self._full = self.open(path, spec)

    @property
    def canvas(self) -> Canvas:
        """The size at which detectors are compared and timed."""
        return self._canvas

    @property
    def fill_bgr(self) -> tuple[int, int, int]:
        """The colour of the canvas beside a picture."""
        return self._full.fill_bgr

    def open(
        self, path: Path, spec: ModelSpec, backend: Backend = Backend.AUTO, *, score_threshold: float = SCORE_THRESHOLD
    ) -> RetinaFace:
        """A detector on the canvas, in full precision, alone on the processor."""
        return RetinaFace.open(
            path,
            spec,
            DetectorOptions(canvas=self._canvas, score_threshold=score_threshold),
            EngineOptions(backend=backend, device=Device.CPU, precision=Precision.F32, threads=self._threads),
        )

    def exam(self, photos: Sequence[U8Image], composed: NDArray[np.uint8]) -> Exam:
        """Set an exam of photos, each alone on the canvas as the service would put it there, and of composed pictures.

        Args:
            photos: ``(H, W, 3)`` BGR, of any sizes.
            composed: ``(N, canvas height, canvas width, 3)``.
        """
        scaled = [
            ArrayPicture(photo).scaled_bgr(self._canvas.scaled_size_wh((photo.shape[1], photo.shape[0])))
            for photo in photos
        ]
        parts = [self._canvas.letterbox(scaled, self.fill_bgr)] if scaled else []
        batch = np.concatenate([*parts, composed]) if len(composed) else parts[0]
        return Exam(batch=batch, reference=tuple(self._found(self._full, batch)))

    def agreement(self, detector: RetinaFace, exam: Exam) -> Agreement:
        """How far a detector agrees with the full one."""
        return agreement(exam.reference, self._found(detector, exam.batch))

    def times(self, detectors: Mapping[str, RetinaFace], exam: Exam, rounds: int = ROUNDS) -> dict[str, Timing]:
        """How long each detector takes for a picture, all by turns on the same pictures."""
        taken: dict[str, list[float]] = {name: [] for name in detectors}
        for turn in range(rounds):
            picture = exam.batch[turn % len(exam.batch)][None]
            for name, detector in detectors.items():
                # An engine's threads spin for a while after a call, and would take the next one's processor.
                time.sleep(REST_S)
                for timed in (False, True, True):  # first, caches and threads wake up
                    begun = time.perf_counter()
                    detector.detect(picture)
                    if timed:
                        taken[name].append(1e3 * (time.perf_counter() - begun))
        return {name: _timing(values) for name, values in taken.items()}

    @cached_property
    def full_detectors(self) -> Mapping[str, RetinaFace]:
        """The full model in float32 on each engine that is here, opened once."""
        return {
            "onnxruntime f32": self.open(self._path, self._spec, Backend.ONNXRUNTIME),
            "openvino f32": self.open(self._path, self._spec, Backend.OPENVINO),
        }

    @staticmethod
    def _found(detector: RetinaFace, batch: NDArray[np.uint8]) -> list[Faces]:
        return [detector.detect(batch[place : place + 1])[0] for place in range(len(batch))]


def raw_outputs(path: Path, spec: ModelSpec, *, backend: Backend = Backend.AUTO) -> Callable[[NDArray[np.uint8]], Any]:
    """What runs a file on raw pictures ``(B, H, W, 3)`` in the model's channel order: its outputs, in order."""
    engine = open_engine(
        path,
        input_name=spec.input_name,
        output_names=spec.outputs,
        preprocessing=Preprocessing(mean=spec.mean, scale=spec.scale),
        options=EngineOptions(backend=backend, device=Device.CPU, precision=Precision.F32),
    )

    def run(batch: NDArray[np.uint8]) -> list[NDArray[Any]]:
        outputs = engine.run({spec.input_name: np.ascontiguousarray(batch)})
        return [outputs[name] for name in spec.outputs]

    return run


def _timing(values: Sequence[float]) -> Timing:
    return Timing(
        mean_ms=float(np.mean(values)),
        median_ms=float(np.median(values)),
        std_ms=float(np.std(values)),
        min_ms=float(np.min(values)),
        max_ms=float(np.max(values)),
    )
