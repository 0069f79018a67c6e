"""The embedder in int8, whole: calibrated on unlabelled faces, and taught what rounding lost.

What is chosen is chosen by one measure, the mean cosine similarity to the float model's templates over faces that
neither calibration nor training saw. How well the file tells people apart is for the caller to say, once, afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812  # what everybody calls it
from numpy.typing import NDArray
from torch import Tensor

from weights.errors import BadTrainingData
from weights.workshop.interpret import Interpreter
from weights.workshop.mobilefacenet import INPUT_PX
from weights.workshop.pictures import prepared
from weights.workshop.quantise import (
    Calibrated,
    OnStep,
    Quantised,
    calibrate,
    half_written,
    in_float,
    quantised_layers,
    read_onnx,
    report,
)
from weights.workshop.recover import BATCH, recover

CALIBRATED_ON: Final = 240
"""Faces."""
MEASURED_ON: Final = 128
"""Faces held out."""
LEAST_FACES: Final = 32
RANKED_ON: Final = 48
"""Faces by which it is found out which layers cost most."""
LEFT_IN_FLOAT: Final = 0
"""Layers. Measured on two busy cores without VNNI at batch 8: three cost up to 6 % of the speed, six about 17 %;
learning for longer gives as much."""
STEPS: Final = 600
"""Of training, of 16 faces each: some minutes. The mean cosine similarity is 0.9982 after 150, 0.9984 after 600."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How aligned faces become the model's input, as the manifest says it.

    Attributes:
        input_name: The model's picture input.
        mean: One value a channel, in the model's colour order, on the 0-255 scale.
        scale: The input is ``(pixel - mean) * scale``.
        colour: The model's colour order, ``"RGB"`` or ``"BGR"``; crops are BGR.
    """

    input_name: str
    mean: tuple[float, float, float]
    scale: float
    colour: str

    def __call__(self, crops_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """``(N, H, W, 3)`` uint8 BGR to ``(N, 3, H, W)`` float32."""
        pixels = crops_bgr[..., ::-1] if self.colour == "RGB" else crops_bgr
        return prepared(pixels, mean=self.mean, scale=self.scale)


def quantise_embedder(
    source_onnx: Path,
    target: Path,
    *,
    crops: NDArray[np.uint8],
    mean: tuple[float, float, float],
    scale: float,
    colour: str,
    input_name: str,
    leave: int = LEFT_IN_FLOAT,
    steps: int = STEPS,
    minutes: float | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Quantised:
    """Write the int8 file of an embedder.

    The same arguments give the same file on the same machine, as long as `minutes` cuts nothing off.

    Args:
        source_onnx: The embedder in float32, such as the pulled one.
        target: Where the int8 file goes; written whole or not at all.
        crops: ``(N, 112, 112, 3)`` uint8 BGR aligned faces of anybody, unlabelled; a thousand do.
        mean: See `Preparation`.
        scale: See `Preparation`.
        colour: See `Preparation`.
        input_name: See `Preparation`.
        leave: How many layers stay in float32: those whose int8 costs most cosine similarity, each alone.
        steps: Batches of training; 0 for calibration alone.
        minutes: Limit of training; None for none.
        seed: Of which faces are held out and of their order.
        on_step: Told the measure after calibration, during training and at the end.

    Returns:
        What was made; `measured` is the mean cosine similarity, over faces held out, to the float model's templates.

    Raises:
        BadTrainingData: Too few faces, or arrays of another shape.
        UnreadableCheckpoint: The source is no ONNX model, or has no such input.
        WorkshopError: The model can't be quantised.
    """
    if crops.ndim != 4 or crops.shape[1:] != (INPUT_PX, INPUT_PX, 3) or crops.dtype != np.uint8:
        raise BadTrainingData(
            f"aligned faces are (N, {INPUT_PX}, {INPUT_PX}, 3) uint8; these are {crops.shape} {crops.dtype}"
        )
    if len(crops) < LEAST_FACES:
        raise BadTrainingData(f"{len(crops)} aligned faces; {LEAST_FACES} are the least, some hundred are good")
    prepare = Preparation(input_name=input_name, mean=mean, scale=scale, colour=colour)
    order = np.random.default_rng(seed).permutation(len(crops))
    held_out = min(MEASURED_ON, len(crops) // 4)
    measured_on, learnt_from = crops[order[:held_out]], crops[order[held_out:]]
    calibration = [prepare(crop[None]) for crop in learnt_from[:CALIBRATED_ON]]
    pair = calibrate(source_onnx, input_name=input_name, calibration=calibration)
    original = read_onnx(source_onnx, input_name)
    left = costliest_layers(pair, prepare(learnt_from[:RANKED_ON]), on_step)[:leave] if leave else ()
    best = in_float(pair, left)
    measured = mean_cosine(best, original, prepare(measured_on))
    _tell(on_step, "mean cosine similarity of held-out faces, calibrated", measured)
    if steps:
        taught = onnx.ModelProto()
        taught.CopyFrom(best)
        recover(
            taught, pair.float_model, learnt_from, prepare, steps=steps, minutes=minutes, seed=seed, on_step=on_step
        )
        after = mean_cosine(taught, original, prepare(measured_on))
        _tell(on_step, "mean cosine similarity of held-out faces, trained", after)
        if after > measured:
            best, measured = taught, after
    with half_written(target) as half:
        onnx.save(best, half)
        half.replace(target)
    return report(best, source_onnx, target, left=left, merged=pair.merged, measured=measured)


def costliest_layers(pair: Calibrated, pictures: NDArray[np.float32], on_step: OnStep | None = None) -> tuple[str, ...]:
    """Names of the layers in int8, those first that, alone in float32, bring templates nearest to the float model's.

    Args:
        pair: From `quantise.calibrate`.
        pictures: ``(B, 3, 112, 112)`` float32, prepared.
        on_step: Told what each gives.
    """
    wanted = _templates(pair.float_model, pictures)
    alone = {}
    for name in quantised_layers(pair.int8_model):
        alone[name] = _cosine_to(wanted, in_float(pair, [name]), pictures)
        _tell(on_step, f"mean cosine similarity with {name} in float32", alone[name])
    return tuple(sorted(alone, key=lambda name: -alone[name]))


def mean_cosine(model: onnx.ModelProto, reference: onnx.ModelProto, pictures: NDArray[np.float32]) -> float:
    """Mean cosine similarity of two embedders' templates, int8 simulated as the file defines it."""
    return _cosine_to(_templates(reference, pictures), model, pictures)


def _cosine_to(wanted: Tensor, model: onnx.ModelProto, pictures: NDArray[np.float32]) -> float:
    return float(F.cosine_similarity(_templates(model, pictures), wanted).mean())


def _templates(model: onnx.ModelProto, pictures: NDArray[np.float32]) -> Tensor:
    run = Interpreter(model)
    with torch.no_grad():
        return torch.cat(
            [run(torch.from_numpy(pictures[start : start + BATCH])) for start in range(0, len(pictures), BATCH)]
        )


def _tell(on_step: OnStep | None, what: str, value: float) -> None:
    if on_step is not None:
        on_step(what, value)
