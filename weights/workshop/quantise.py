"""Int8 files by calibration: an ONNX model in, an ONNX model in QDQ form out, that every engine runs.

What makes the file good is chosen for all engines at once:

- Linear convolutions in a row are merged, channels are equalised (`merge`, `equalise`).
- Activations have one symmetric scale a tensor: TensorRT takes no other. Weights have one a channel.
- Weights of dense convolutions use 7 of their 8 bits. Where a processor has no VNNI, pairs of products are summed in 16
  bits, and two products of full range overflow: the pulled embedder, quantised to 8 bits, gave templates with a mean
  cosine similarity of 0.988 to float32 on such a processor, and 0.998 by the file's definition; with 7 bits, 0.998 by
  both.
- A sum's term that comes straight from a convolution is not rounded before the sum: its result is, and engines compute
  the sum inside the convolution.

The only file that imports NNCF. Its progress bars and log lines are kept back, and its telemetry is off.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, version_converter

from weights.errors import BadTrainingData, UnreadableCheckpoint, WorkshopError
from weights.workshop.equalise import equalise
from weights.workshop.interpret import consumers_of
from weights.workshop.merge import drop_unused, merge_linear

LEAST_OPSET: Final = 13
"""The first in which a scale may belong to a channel."""

RANGES_FROM: Final = 64
"""Calibration pictures that equalisation looks at; ranges of channels settle sooner than those of whole tensors."""

F32 = NDArray[np.float32]
OnStep = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """What became of a model.

    Attributes:
        path: The int8 file.
        layers: Convolutions and matrix products in int8.
        left_in_float: Names of the convolutions in float32, in the order in which they were left out; those that the
            caller kept come first.
        merged: Names of the convolutions that went into the one behind them.
        measured: What the caller's measure says of the file; None without one.
        reached: Whether that is at least the floor; True without one.
        source_bytes: Size of the float file.
        target_bytes: Size of the int8 file.
    """

    path: Path
    layers: int
    left_in_float: tuple[str, ...]
    merged: tuple[str, ...]
    measured: float | None
    reached: bool
    source_bytes: int
    target_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A model before and after calibration.

    Attributes:
        float_model: Merged and equalised, in float32.
        int8_model: The same in QDQ form, with the same names.
        merged: As in `Quantised`.
    """

    float_model: onnx.ModelProto
    int8_model: onnx.ModelProto
    merged: tuple[str, ...]


def quantise(
    source: Path,
    target: Path,
    *,
    input_name: str,
    calibration: Sequence[F32],
    keep: Sequence[str] = (),
    measure: Callable[[Path], float] | None = None,
    floor: float | None = None,
    on_step: OnStep | None = None,
) -> Quantised:
    """Write the int8 file of a model.

    Given a measure and a floor, convolutions are left in float32 one after another, those first whose int8 costs most
    by the measure, until the file reaches the floor or no other helps.

    Args:
        source: An ONNX file in float32, normalisation folded into its convolutions; batch and size may be free.
        target: Where the int8 file goes; written whole or not at all.
        input_name: The picture input.
        calibration: Prepared pictures ``(1, C, H, W)`` float32, of several sizes if the model takes them; 100-300 do.
        keep: Names of convolutions to leave in float32 from the start.
        measure: Says how good a file is; more is better.
        floor: The least that the measure may say.
        on_step: Told what was tried and what the measure said.

    Raises:
        UnreadableCheckpoint: The source is no ONNX model, or has no such input.
        BadTrainingData: There is nothing to calibrate with, or it does not fit the model.
        WorkshopError: A name in `keep` is no convolution of the model, or the model can't be quantised.
    """
    pair = calibrate(source, input_name=input_name, calibration=calibration, keep=keep)
    left: list[str] = []
    measured = None
    with half_written(target) as half:

        def value_of(names: Sequence[str], what: str) -> float:
            assert measure is not None
            onnx.save(in_float(pair, names), half)
            value = float(measure(half))
            if on_step is not None:
                on_step(what, value)
            return value

        if measure is not None:
            measured = value_of((), "all layers in int8")
            at_first = measured
            if floor is not None and measured < floor:
                alone = {
                    name: value_of([name], f"{name} alone in float32") for name in quantised_layers(pair.int8_model)
                }
                for name in sorted(alone, key=lambda name: -alone[name]):
                    if measured >= floor or alone[name] <= at_first:
                        break
                    value = value_of([*left, name], f"{len(left) + 1} layers in float32, the last of them {name}")
                    if value > measured:
                        measured = value
                        left.append(name)
        made = in_float(pair, left)
        onnx.save(made, half)
        half.replace(target)
    return report(
        made,
        source,
        target,
        left=(*keep, *left),
        merged=pair.merged,
        measured=measured,
        reached=floor is None or (measured is not None and measured >= floor),
    )


def report(
    made: onnx.ModelProto,
    source: Path,
    target: Path,
    *,
    merged: tuple[str, ...],
    left: tuple[str, ...] = (),
    measured: float | None = None,
    reached: bool = True,
) -> Quantised:
    """What became of a model whose int8 file is written."""
    return Quantised(
        path=target,
        layers=len(quantised_layers(made)),
        left_in_float=left,
        merged=merged,
        measured=measured,
        reached=reached,
        source_bytes=source.stat().st_size,
        target_bytes=target.stat().st_size,
    )


def calibrate(source: Path, *, input_name: str, calibration: Sequence[F32], keep: Sequence[str] = ()) -> Calibrated:
    """Merge, equalise and calibrate a model, and write nothing; see `quantise` for arguments and errors."""
    model = read_onnx(source, input_name)
    if not len(calibration):
        raise BadTrainingData(f"{source}: no pictures to calibrate with; give some hundred, as they will come in use")
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    if unknown := [name for name in keep if name not in convolutions]:
        raise WorkshopError(
            f"{source}: no convolution is called {unknown[0]!r}; its convolutions: {', '.join(convolutions)}"
        )
    merged = merge_linear(model, keep=keep)
    every = max(1, len(calibration) // RANGES_FROM)
    nncf = import_nncf()
    advanced = importlib.import_module("nncf.quantization.advanced_parameters")
    parameters = advanced.AdvancedQuantizationParameters(
        overflow_fix=advanced.OverflowFix.ENABLE,
        activations_quantization_params=advanced.QuantizationParameters(per_channel=False),
    )
    try:
        equalise(model, calibration[::every])
        with _quiet(nncf):
            made = nncf.quantize(
                model,
                nncf.Dataset(calibration, lambda batch: {input_name: batch}),
                subset_size=len(calibration),
                ignored_scope=nncf.IgnoredScope(names=list(keep)),
                advanced_parameters=parameters,
            )
    except Exception as error:  # NNCF, the engine under it and torch raise types of their own
        reason = " ".join(str(error).split())[:300]
        raise WorkshopError(
            f"{source}: can't be quantised with pictures of shape {calibration[0].shape} ({reason})"
        ) from error
    _sum_before_rounding(made.graph)
    return Calibrated(float_model=model, int8_model=made, merged=merged)


def first_convolution(path: Path) -> list[str]:
    """The name of the convolution that takes the picture, for `keep`: it has three channels to multiply.

    In int8 it gains nothing, and the picture has to be rounded and laid out anew for it: a pruned detector was a fifth
    faster with it in float32 (5.58 and 4.61 ms at 640x384 on a CPU with AVX2, the least of 120).
    """
    return [next(node.name or node.output[0] for node in onnx.load(path).graph.node if node.op_type == "Conv")]


def read_onnx(path: Path, input_name: str) -> onnx.ModelProto:
    """A float model, at least of the opset that quantisation needs, with a name for each node.

    Raises:
        UnreadableCheckpoint: It is no ONNX model, or has no such input.
    """
    try:
        model = onnx.load(path)
        opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        if opset < LEAST_OPSET:
            model = version_converter.convert_version(model, LEAST_OPSET)
    except Exception as error:  # protobuf, the file system and the converter raise whatever they stumble over
        reason = " ".join(str(error).split())[:200]
        raise UnreadableCheckpoint(f"{path}: can't be read as an ONNX model ({reason})") from error
    inputs = [each.name for each in model.graph.input]
    if input_name not in inputs:
        raise UnreadableCheckpoint(f"{path}: has no input {input_name!r}; its inputs: {', '.join(inputs)}")
    for node in model.graph.node:
        node.name = node.name or node.output[0]
    return model


def import_nncf() -> Any:
    """NNCF without telemetry: it goes without where that package is absent, so that is what it is told.

    The same goes for the engine by which it runs models, which reads a variable when it is loaded.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None marks a module as absent
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("nncf")


@contextlib.contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """Keep NNCF's progress bars and log lines, which go to the standard output, from a command's own."""
    log = logging.getLogger("nncf")
    before = log.level
    nncf.set_log_level(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        log.setLevel(before)


@contextlib.contextmanager
def half_written(target: Path) -> Iterator[Path]:
    """A file beside the target to write to first; gone afterwards."""
    half = target.with_name(f".half-{target.name}")
    half.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield half
    finally:
        half.unlink(missing_ok=True)


def quantised_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the layers whose weights are integers, in the graph's order."""
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in {"Conv", "Gemm", "MatMul"} and made_by.get(node.input[1]) == "DequantizeLinear"
    ]


def _sum_before_rounding(graph: Any) -> None:
    """Take away the rounding between a convolution and a sum, where only the sum reads it."""
    makers = {name: node for node in graph.node for name in node.output}
    consumers = consumers_of(graph)
    for node in graph.node:
        if node.op_type != "Add":
            continue
        for place, name in enumerate(node.input):
            back = makers.get(name)
            if back is None or back.op_type != "DequantizeLinear" or len(consumers[name]) != 1:
                continue
            there = makers.get(back.input[0])
            if there is None:
                continue
            origin = makers.get(there.input[0])
            if origin is not None and origin.op_type == "Conv" and len(consumers[there.input[0]]) == 1:
                node.input[place] = there.input[0]
                break  # one of the two terms: the other is what the engine adds to the convolution's result
    drop_unused(graph)


def in_float(pair: Calibrated, names: Sequence[str]) -> onnx.ModelProto:
    """The int8 model with some layers in float32 again: their weights, their bias and what they read."""
    made = onnx.ModelProto()
    made.CopyFrom(pair.int8_model)
    makers = {name: node for node in made.graph.node for name in node.output}
    originals = {node.name: node for node in pair.float_model.graph.node}
    arrays = {each.name: each for each in pair.float_model.graph.initializer}
    held = {each.name for each in made.graph.initializer}
    for node in made.graph.node:
        if node.name not in names:
            continue
        back = makers.get(node.input[0])
        if back is not None and back.op_type == "DequantizeLinear":
            node.input[0] = makers[back.input[0]].input[0]
        for place, name in enumerate(originals[node.name].input[1:], 1):
            plain = f"{node.name}/float_{place}"
            if name in arrays and plain not in held:
                made.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(arrays[name]), plain))
                node.input[place] = plain
    drop_unused(made.graph)
    return made
