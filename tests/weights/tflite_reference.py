"""Runs a TFLite graph in plain numpy, as TensorFlow defines its operators: what a conversion is compared with.

Deliberately unlike the converter: NHWC throughout, every operator alone, the padding applied to the pixels.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from weights.tflite import ConvOptions, Graph, Operator, Padding

F64 = npt.NDArray[np.float64]


def run(graph: Graph, images: npt.NDArray[np.float32]) -> F64:
    """Features of images [N, H, W, C], computed in float64; the batch may be of any size."""
    values: dict[int, F64] = {t.index: t.data.astype(np.float64) for t in graph.tensors if t.data is not None}
    values[graph.inputs[0]] = images.astype(np.float64)
    for step in graph.operators:
        values[step.outputs[0]] = _step(graph, step, [values[index] for index in step.inputs if index >= 0])
    return values[graph.outputs[0]]


def _step(graph: Graph, step: Operator, inputs: list[F64]) -> F64:
    plain: dict[str, Callable[..., F64]] = {
        "ADD": np.add,
        "SUB": np.subtract,
        "MUL": np.multiply,
        "ABS": np.abs,
        "RELU": lambda x: np.maximum(x, 0.0),
    }
    if step.name in plain:
        return plain[step.name](*inputs)
    if step.name == "RESHAPE":
        return inputs[0].reshape(len(inputs[0]), *graph.tensors[step.outputs[0]].shape[1:])
    assert step.conv is not None
    image, filters = inputs[0], inputs[1]
    bias = inputs[2] if len(inputs) > 2 else np.float64(0)
    windows = _windows(image, (filters.shape[1], filters.shape[2]), step.conv)
    if step.name == "CONV_2D":
        rows = windows.reshape(*windows.shape[:3], -1) @ filters.reshape(len(filters), -1).T
        return np.asarray(rows + bias)
    assert step.name == "DEPTHWISE_CONV_2D"
    return np.asarray(np.einsum("nyxhwc,hwc->nyxc", windows, filters[0]) + bias)


def _windows(image: F64, kernel_hw: tuple[int, int], options: ConvOptions) -> F64:
    """What each filter position sees: [N, out_h, out_w, kernel_h, kernel_w, C]."""
    assert options.dilations_hw == (1, 1)
    pads = [(0, 0)]
    for size, kernel, stride in zip(image.shape[1:3], kernel_hw, options.strides_hw, strict=True):
        # TensorFlow's own two cases (nn.convolution, "SAME"), not the formula under test.
        total = max(kernel - (stride if size % stride == 0 else size % stride), 0)
        pads.append((total // 2, total - total // 2) if options.padding is Padding.SAME else (0, 0))
    padded = np.pad(image, [*pads, (0, 0)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, kernel_hw, axis=(1, 2))
    seen = seen[:, :: options.strides_hw[0], :: options.strides_hw[1]]
    return np.asarray(seen.transpose(0, 1, 2, 4, 5, 3))
