"""Quantised copies of models, by ONNX Runtime's own tool: quick, crude, and without anything else to install."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from pathlib import Path

import numpy as np

from weights.local import as_toml
from weights.manifest import Colour, Converter, ModelSpec


def quantised(
    source: Path, spec: ModelSpec, pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], folder: Path
) -> Path:
    """A `model.toml` of a quantised copy, ``NAME-int8``, which lies beside it.

    Args:
        source: The ONNX file.
        spec: How it is fed.
        pictures: ``(N, H, W, 3)`` uint8 BGR to calibrate on.
        folder: Where both files go.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Pictures(CalibrationDataReader):  # type: ignore[misc]  # its package has no types
        def __init__(self) -> None:
            self._left = list(pictures)

        def get_next(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] | None:
            if not self._left:
                return None
            picture = self._left.pop()[None]
            ordered = picture[..., ::-1] if spec.colour is Colour.RGB else picture
            fed = (ordered.astype(np.float32) - np.array(spec.mean, np.float32)) * np.float32(spec.scale)
            return {spec.input_name: np.ascontiguousarray(fed.transpose(0, 3, 1, 2))}

    path = folder / f"{spec.name}-int8.onnx"
    logging.disable(logging.WARNING)  # it recommends preparations that a test has no time for
    try:
        quantize_static(str(source), str(path), Pictures(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"])
    finally:
        logging.disable(logging.NOTSET)
    made = dataclasses.replace(
        spec,
        name=f"{spec.name}-int8",
        artifact="",
        member=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        converter=Converter.LOCAL,
        based_on=spec.name,
        templates_of=spec.templates if spec.embedding_dim else "",
    )
    manifest = folder / f"{spec.name}-int8.toml"
    manifest.write_text(as_toml(made))
    return manifest
