"""MobileFaceNet: aligned faces in, unit-length templates out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.align import ALIGNED_PX
from pipeline.engine import Engine, EngineOptions, open_engine
from pipeline.errors import ModelMismatch
from pipeline.faces import F32, U8Image, require_shape
from pipeline.graph import Preprocessing
from weights.manifest import ModelSpec

MAX_BATCH = 32
"""Faces of one inference; more are run in turn, so that a crowd costs time but no more memory."""


class Embedder(Protocol):
    """The seam of recognition. One thread calls it at a time."""

    @property
    def name(self) -> str:
        """The model's name in the manifest; templates of different models can't be compared."""
        ...

    @property
    def description(self) -> str:
        """The engine that runs it, such as ``openvino cpu bf16``."""
        ...

    @property
    def dim(self) -> int:
        """The length of a template."""
        ...

    def embed(self, aligned_bgr: U8Image) -> F32:
        """Describe faces.

        Args:
            aligned_bgr: ``(N, 112, 112, 3)`` uint8 BGR, aligned by `align.align_faces`.

        Returns:
            ``(N, dim)`` float32, each row of unit length; the dot product of two is their cosine similarity.
        """
        ...


class MobileFaceNet:
    """MobileFaceNet (Chen et al., "MobileFaceNets: Efficient CNNs for Accurate Real-Time Face Verification", 2018)."""

    def __init__(self, engine: Engine, spec: ModelSpec) -> None:
        if spec.task != "embed" or spec.embedding_dim is None or len(spec.outputs) != 1:
            raise ModelMismatch(f"{spec.name}: the manifest names no embedding of it; an embedder is wanted")
        self._engine = engine
        self._name = spec.name
        self._dim = spec.embedding_dim
        self._input = spec.input_name
        self._output = spec.outputs[0]
        self._rgb = spec.colour == "RGB"

    @classmethod
    def open(cls, path: Path, spec: ModelSpec, engine_options: EngineOptions | None = None) -> MobileFaceNet:
        """Compile the model file for this machine; see `engine.open_engine` for what it raises."""
        first, second, third = spec.mean
        shape = (ALIGNED_PX, ALIGNED_PX, 3)
        engine = open_engine(
            path,
            input_name=spec.input_name,
            output_names=spec.outputs,
            preprocessing=Preprocessing(mean=(first, second, third), scale=spec.scale),
            options=replace(
                engine_options or EngineOptions(),
                profile=((1, *shape), (MAX_BATCH, *shape), (MAX_BATCH, *shape)),
            ),
        )
        return cls(engine, spec)

    @property
    def name(self) -> str:
        """The model's name in the manifest."""
        return self._name

    @property
    def dim(self) -> int:
        """The length of a template."""
        return self._dim

    @property
    def description(self) -> str:
        """The engine that runs it."""
        return self._engine.description

    def embed(self, aligned_bgr: U8Image) -> F32:
        """See `Embedder.embed`."""
        require_shape("aligned faces", aligned_bgr, (None, ALIGNED_PX, ALIGNED_PX, 3))
        if not len(aligned_bgr):
            return np.empty((0, self._dim), np.float32)
        faces = np.ascontiguousarray(aligned_bgr[..., ::-1] if self._rgb else aligned_bgr)
        parts = [
            self._engine.run({self._input: faces[start : start + MAX_BATCH]})[self._output]
            for start in range(0, len(faces), MAX_BATCH)
        ]
        raw = np.concatenate(parts).astype(np.float32)
        require_shape("embedding", raw, (len(aligned_bgr), self._dim))
        return unit_rows(raw)


def unit_rows(vectors: F32) -> F32:
    """Each row of ``(N, D)`` scaled to unit length; a row of zeros stays as it is."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)
