"""Int8 accuracy recovered: a quantised embedder learns to give what its float source gives.

The weights behind the integers, the biases and the slopes of the activations are trained through simulated int8
(`interpret`), with the templates of the float model as the target (Hinton et al., "Distilling the Knowledge in a Neural
Network", 2015). No labels: any aligned faces do. Scales stay as calibration chose them, so the file keeps its form and
every engine runs it as before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812  # what everybody calls it
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from weights.workshop.interpret import Interpreter

BATCH: Final = 16
LEARNING_RATE: Final = 3e-4
"""Of Adam, as a part of each tensor's own mean magnitude: equalised layers differ in size by orders."""
WARM_UP: Final = 10
"""Steps until the whole rate: Adam's first steps are of full size in every direction, whatever the gradient's size."""

Prepare = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(slots=True, kw_only=True)
class Integers:
    """A weight that the file holds as integers, and the real numbers behind it that are trained."""

    stored: str
    read: str
    real: Tensor
    scale: Tensor
    least: int
    most: int

    def simulated(self) -> Tensor:
        """The real numbers as the integers give them; the gradient passes straight through where none is clamped."""
        shape = (-1, *[1] * (self.real.dim() - 1)) if self.scale.numel() > 1 else ()
        scale = self.scale.reshape(shape)
        units = (self.real / scale).clamp(self.least, self.most)
        return (units + (units.round() - units).detach()) * scale

    def integers(self) -> NDArray[np.int8]:
        """As they are stored."""
        shape = (-1, *[1] * (self.real.dim() - 1)) if self.scale.numel() > 1 else ()
        units = (self.real.detach() / self.scale.reshape(shape)).clamp(self.least, self.most)
        return units.round().to(torch.int8).numpy()


def recover(
    quantised: onnx.ModelProto,
    source: onnx.ModelProto,
    crops: NDArray[np.uint8],
    prepare: Prepare,
    *,
    steps: int,
    minutes: float | None = None,
    seed: int = 0,
    on_step: Callable[[str, float], None] | None = None,
) -> int:
    """Train a quantised embedder towards its source, in place.

    Args:
        quantised: In QDQ form, as `quantise` writes it.
        source: The float model that it was made from, with the same names of tensors.
        crops: ``(N, 112, 112, 3)`` uint8 aligned faces of anybody.
        prepare: Crops to the model's input, ``(B, 3, 112, 112)`` float32.
        steps: Batches of `BATCH` crops; the learning rate falls to nothing over them.
        minutes: Ends sooner, where this time is over; None for no limit. What a limit cuts off depends on the machine.
        seed: Of the order of the crops.
        on_step: Told ``("mean cosine similarity", value)`` over the last batches now and then.

    Returns:
        How many steps were made.
    """
    teacher, student = Interpreter(source), Interpreter(quantised)
    held = _integers(quantised, student, source)
    plain = _plain(quantised, student)
    for tensor in plain.values():
        tensor.requires_grad_(True)
    optimiser = torch.optim.Adam(
        [
            {"params": [tensor], "lr": _rate(tensor), "whole": _rate(tensor)}
            for tensor in (*(each.real for each in held), *plain.values())
        ]
    )
    order = np.random.default_rng(seed)
    began, recent, made = time.monotonic(), [], 0
    for step in range(steps):
        left = 1 - step / steps
        if minutes is not None:
            left = min(left, 1 - (time.monotonic() - began) / (60 * minutes))
        if left <= 0:
            break
        for group in optimiser.param_groups:
            group["lr"] = group["whole"] * min(left, (step + 1) / WARM_UP)
        rows = np.sort(order.choice(len(crops), min(BATCH, len(crops)), replace=False))
        chosen = crops[rows]
        if order.random() < 0.5:
            chosen = chosen[:, :, ::-1]  # a mirrored face is another face for nothing
        pictures = torch.from_numpy(prepare(np.ascontiguousarray(chosen)))
        with torch.no_grad():
            wanted = teacher(pictures)
        for each in held:
            student.arrays[each.read] = each.simulated()
        similarity = F.cosine_similarity(student(pictures), wanted).mean()
        optimiser.zero_grad()
        (1 - similarity).backward()
        optimiser.step()
        made += 1
        recent.append(float(similarity.detach()))
        if on_step is not None and (made % 25 == 0 or made == steps):
            on_step("mean cosine similarity", float(np.mean(recent[-25:])))
    _write(quantised, held, plain)
    return made


def _rate(tensor: Tensor) -> float:
    return max(float(tensor.detach().abs().mean()), 1e-4) * LEARNING_RATE


def _integers(quantised: onnx.ModelProto, student: Interpreter, source: onnx.ModelProto) -> list[Integers]:
    """The quantised weights of convolutions, begun at the weights that they were rounded from."""
    makers = {node.output[0]: node for node in quantised.graph.node}
    originals = {node.output[0]: node for node in source.graph.node}
    arrays = {each.name: each for each in source.graph.initializer}
    found = []
    for node in quantised.graph.node:
        maker = makers.get(node.input[1]) if node.op_type == "Conv" else None
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in student.arrays:
            continue
        stored, scale = student.arrays[maker.input[0]], student.arrays[maker.input[1]]
        original = originals.get(node.output[0])
        if original is not None and original.input[1] in arrays:
            real = torch.from_numpy(numpy_helper.to_array(arrays[original.input[1]]).copy())
        else:
            shape = (-1, *[1] * (stored.dim() - 1)) if scale.numel() > 1 else ()
            real = stored.float() * scale.reshape(shape)
        most = int(stored.abs().max())
        found.append(
            Integers(
                stored=maker.input[0],
                read=node.input[1],
                real=real.requires_grad_(True),
                scale=scale,
                least=-most,
                most=most,
            )
        )
        student.hold(node.input[1])
    return found


def _plain(quantised: onnx.ModelProto, student: Interpreter) -> dict[str, Tensor]:
    """What the file holds as real numbers: biases, slopes, and the weights of layers that are not quantised."""
    names = [
        name
        for node in quantised.graph.node
        if node.op_type in {"Conv", "PRelu"}
        for name in node.input[1:]
        if name in student.arrays and student.arrays[name].is_floating_point()
    ]
    return {name: student.arrays[name] for name in dict.fromkeys(names)}


def _write(quantised: onnx.ModelProto, held: list[Integers], plain: dict[str, Tensor]) -> None:
    places = {each.name: each for each in quantised.graph.initializer}
    for each in held:
        places[each.stored].CopyFrom(numpy_helper.from_array(each.integers(), each.stored))
    for name, tensor in plain.items():
        places[name].CopyFrom(numpy_helper.from_array(tensor.detach().numpy(), name))
