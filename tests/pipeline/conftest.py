"""The real models, compiled once for the whole run, on every engine that is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from pipeline.canvas import DEFAULT_CANVAS, Canvas
from pipeline.engine import Backend, Device, EngineOptions, Precision
from pipeline.faces import U8Image
from pipeline.mobilefacenet import MobileFaceNet
from pipeline.photo import load_photo
from pipeline.retinaface import DetectorOptions, RetinaFace
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, load_manifest

DetectorOf = Callable[..., RetinaFace]
EmbedderOf = Callable[[Backend], MobileFaceNet]
PhotoOf = Callable[[str], U8Image]

F32_ON_CPU = {
    backend: EngineOptions(backend=backend, device=Device.CPU, precision=Precision.F32)
    for backend in (Backend.OPENVINO, Backend.ONNXRUNTIME)
}


@pytest.fixture(scope="session")
def detector_of(model_paths: Mapping[str, Path]) -> DetectorOf:
    """The default detector on a backend and a canvas, in float32."""

    @cache
    def detector(backend: Backend = Backend.OPENVINO, canvas: Canvas = DEFAULT_CANVAS) -> RetinaFace:
        spec = load_manifest().model(DEFAULT_DETECTOR)
        options = DetectorOptions(canvas=canvas)
        return RetinaFace.open(model_paths[DEFAULT_DETECTOR], spec, options, F32_ON_CPU[backend])

    return detector


@pytest.fixture(scope="session")
def embedder_of(model_paths: Mapping[str, Path]) -> EmbedderOf:
    """The default embedder on a backend, in float32."""

    @cache
    def embedder(backend: Backend) -> MobileFaceNet:
        spec = load_manifest().model(DEFAULT_EMBEDDER)
        return MobileFaceNet.open(model_paths[DEFAULT_EMBEDDER], spec, F32_ON_CPU[backend])

    return embedder


@pytest.fixture(scope="session")
def photo_of(photos: Mapping[str, Path]) -> PhotoOf:
    """A photo of the manifest's photo sets, ``(H, W, 3)`` uint8 BGR."""
    return cache(lambda name: load_photo(photos[name]))
