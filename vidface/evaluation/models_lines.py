"""The lines of a comparison of models: which there are, and what each is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.canvas import DEFAULT_CANVAS, Canvas
from pipeline.engine import Backend, Device, EngineOptions, Precision
from vidface.evaluation.candidates import Candidate, family_head, full_precision
from vidface.evaluation.models_worker import Job

ENGINES: Final[Mapping[str, tuple[Backend, Device]]] = {
    "openvino": (Backend.OPENVINO, Device.CPU),
    "onnxruntime": (Backend.ONNXRUNTIME, Device.CPU),
    "cuda": (Backend.ONNXRUNTIME, Device.CUDA),
    "tensorrt": (Backend.ONNXRUNTIME, Device.TENSORRT),
}
INT8: Final = "int8"
"""No arithmetic of an engine: a file that is quantised, run as it is."""
PRECISIONS: Final = (Precision.F32.value, Precision.BF16.value, Precision.FP16.value, INT8)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """How models are compared.

    Attributes:
        engines: Names of `ENGINES`.
        precisions: Some of `PRECISIONS`.
        canvas: The detectors'.
        batches: Pictures or faces of one call.
        runs: Timed calls of each line at each batch size; None to go by time.
        seconds: How long each is timed in all, where `runs` is None.
        rounds: Turns that the runs are spread over.
        threads: Of each engine; 0 for as many as the process may use.
    """

    engines: tuple[str, ...] = tuple(ENGINES)
    precisions: tuple[str, ...] = ("f32", "bf16", INT8)
    canvas: Canvas = DEFAULT_CANVAS
    batches: tuple[int, ...] = (1, 8)
    runs: int | None = None
    seconds: float = 2.0
    rounds: int = 5
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A model on an engine in a precision."""

    model: Candidate
    engine: str
    precision: str

    def job(self, options: CompareOptions, data: Path) -> Job:
        """What its process works on."""
        backend, device = ENGINES[self.engine]
        precision = Precision.F32 if self.precision == INT8 else Precision(self.precision)
        engine = EngineOptions(backend=backend, device=device, precision=precision, threads=options.threads)
        return Job(model=self.model, engine=engine, canvas=options.canvas, data=data)

    def __str__(self) -> str:
        return f"{self.model.name} on {self.engine} in {self.precision}"


def lines_of(models: Sequence[Candidate], options: CompareOptions) -> list[Line]:
    """Every line that is asked for, whether or not this machine can run it.

    A quantised file has one line on each engine, ``int8``; a full-precision one has one for each other precision.
    """
    return [
        Line(model=model, engine=engine, precision=precision)
        for model in models
        for engine in options.engines
        for precision in options.precisions
        if (precision == INT8) == model.is_quantised
    ]


def check_references(line: Line, known: Mapping[str, Candidate]) -> list[Line]:
    """What to hold a line's outputs against, the best first: the same work in full precision on the other CPU engine.

    Else on its own engine. A model whose full-precision one isn't at hand is held against itself.
    """
    model = full_precision(line.model, known) or line.model
    precision = INT8 if model.is_quantised else Precision.F32.value
    engines = sorted(("openvino", "onnxruntime"), key=lambda engine: engine == line.engine)
    return [Line(model=model, engine=engine, precision=precision) for engine in engines]


def agreement_reference(line: Line, known: Mapping[str, Candidate]) -> Line | None:
    """The first full-precision model of the family on the same engine; None where it isn't at hand."""
    head = family_head(line.model, known)
    return None if head is None else Line(model=head, engine=line.engine, precision=Precision.F32.value)
