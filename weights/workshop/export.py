"""A module of ours to files that other programs run, each compared with its source before it counts.

ONNX is the form in which everything here is kept and served: batch, height and width are free, and OpenVINO, ONNX
Runtime and TensorRT read it. `torch.export`'s programs are for who deploys elsewhere.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from weights.errors import ExportDiffers
from weights.workshop.mobilefacenet import INPUT_PX, MobileFaceNet
from weights.workshop.pictures import prepared
from weights.workshop.retinaface import STRIDES, Cells, RetinaFace, Scored

OPSET: Final = 18
TOLERANCE: Final = 1e-3
"""The largest difference that an export's outputs may have, or that part of the largest output where it is above 1."""

Run = Callable[[Path, NDArray[np.uint8]], Sequence[NDArray[Any]]]
"""Runs a written file on raw pictures ``(B, H, W, 3)``, prepared by it: its outputs in the order of `output_names`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Real pictures that an export is compared on.

    Attributes:
        pictures: ``(B, H, W, 3)`` uint8 in the channel order that the model takes.
        mean: The manifest's.
        scale: The manifest's.
    """

    pictures: NDArray[np.uint8]
    mean: tuple[float, float, float]
    scale: float

    def prepared(self) -> Tensor:
        """``(B, 3, H, W)`` float32 as the network takes it."""
        return torch.from_numpy(prepared(self.pictures, mean=self.mean, scale=self.scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A written file.

    Attributes:
        path: The file.
        max_error: The largest absolute difference of any output from its source's, over the pictures given.
    """

    path: Path
    max_error: float


def output_names(model: nn.Module, *, cells: bool = False) -> tuple[str, ...]:
    """The outputs of an exported network, as the manifest calls them."""
    if cells and isinstance(model, RetinaFace):
        return tuple(f"stride{stride}" for stride in STRIDES)
    return ("embedding",) if isinstance(model, MobileFaceNet) else ("loc", "conf", "landmarks")


def deployed(model: RetinaFace | MobileFaceNet, *, cells: bool = False) -> nn.Module:
    """The module as it is exported: in evaluation mode, with probabilities for logits, or see `retinaface.Cells`."""
    if isinstance(model, RetinaFace):
        return (Cells if cells else Scored)(model).eval()
    return model.eval()


def export_onnx(
    model: RetinaFace | MobileFaceNet,
    path: Path,
    sample: Sample,
    run: Run,
    *,
    input_name: str = "input",
    cells: bool = False,
) -> Exported:
    """Write an ONNX file with a free batch (and for a detector free sides, in steps of 32).

    Args:
        model: The network; its BatchNorm is better folded first.
        path: Where to.
        sample: What the file is compared on.
        run: What runs the file for the comparison.
        input_name: As the manifest will call it.
        cells: A detector in its fastest form, see `retinaface.Cells`.

    Raises:
        ExportDiffers: The file gives something else than the module; it is deleted.
    """
    module = deployed(model, cells=cells)
    names = output_names(model, cells=cells)
    free: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=4096)}
    if isinstance(model, RetinaFace):
        # Traced in cells of the coarsest level, since an exporter can't know that sides are multiples of 32.
        free |= {2: 32 * torch.export.Dim("rows", min=1, max=256), 3: 32 * torch.export.Dim("columns", min=1, max=256)}
    example = torch.zeros(2, 3, 128, 160) if isinstance(model, RetinaFace) else torch.zeros(2, 3, INPUT_PX, INPUT_PX)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        torch.onnx.export(
            module,
            (example,),
            str(path),
            input_names=[input_name],
            output_names=list(names),
            dynamic_shapes=(free,),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    return compared(module, path, sample, run)


def export_torch(model: RetinaFace | MobileFaceNet, path: Path, sample: Sample) -> Exported:
    """Write a `torch.export` program, which LibTorch and ExecuTorch take; compared by loading it again."""
    module = deployed(model)
    example = sample.prepared()
    free: dict[int, Any] = {0: torch.export.Dim.AUTO}
    if isinstance(model, RetinaFace):
        free |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        program = torch.export.export(module, (torch.cat([example, example])[:2],), dynamic_shapes=(free,))
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()
    return compared(module, path, sample, lambda _path, _raw: _as_arrays(loaded(example)))


def compared(module: nn.Module, path: Path, sample: Sample, run: Run) -> Exported:
    """Hold a written file against its module; see `export_onnx`."""
    with torch.no_grad():
        wanted = _as_arrays(module(sample.prepared()))
    given = run(path, sample.pictures)
    shapes = [each.shape for each in wanted], [each.shape for each in given]
    if shapes[0] != shapes[1]:
        path.unlink()
        raise ExportDiffers(f"{path}: outputs of shapes {shapes[1]}, {shapes[0]} expected; the file was deleted")
    error = max(float(np.abs(first - second).max()) for first, second in zip(wanted, given, strict=True))
    allowed = TOLERANCE * max(1.0, *(float(np.abs(each).max()) for each in wanted))
    if not error <= allowed:
        path.unlink()
        raise ExportDiffers(
            f"{path}: differs from its source by {error:.3g}, where {allowed:.3g} is allowed; the file was deleted"
        )
    return Exported(path=path, max_error=error)


def _as_arrays(outputs: Tensor | Sequence[Tensor]) -> list[NDArray[Any]]:
    return [each.detach().numpy() for each in ([outputs] if isinstance(outputs, Tensor) else outputs)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell their developers much that is not for ours."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
