"""Our networks with the pulled weights say what the pulled files say, on real faces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.engine import Backend, EngineOptions
from pipeline.mobilefacenet import MobileFaceNet as ServedMobileFaceNet
from pipeline.photo import load_photo
from pipeline.retinaface import RetinaFace as ServedRetinaFace
from tests.workshop.lfw import Lfw, photos_of
from vidface.evaluation.lfw import evaluate
from vidface.workshop.judge import raw_outputs
from weights.errors import CheckpointMismatch
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, load_manifest
from weights.workshop.from_onnx import load_onnx
from weights.workshop.mobilefacenet import MobileFaceNet
from weights.workshop.retinaface import Cells, RetinaFace, Scored

SAME = 1e-4
DETECTOR, EMBEDDER = load_manifest().model(DEFAULT_DETECTOR), load_manifest().model(DEFAULT_EMBEDDER)


@pytest.fixture(scope="module")
def faces_bgr(real_data: Path) -> np.ndarray:
    """``(8, 96, 128, 3)`` real photos, not square."""
    paths = sorted((real_data / "lfw" / "images").glob("*/*.jpg"))[::500][:8]
    return np.stack([np.asarray(cv2.resize(load_photo(path), (128, 96)), np.uint8) for path in paths])


@pytest.fixture(scope="module")
def detector(model_paths: Mapping[str, Path]) -> RetinaFace:
    network = RetinaFace()
    load_onnx(network, model_paths[DEFAULT_DETECTOR])
    return network


@pytest.fixture(scope="module")
def embedder(model_paths: Mapping[str, Path]) -> MobileFaceNet:
    network = MobileFaceNet()
    load_onnx(network, model_paths[DEFAULT_EMBEDDER])
    return network


def prepared(pixels: np.ndarray, mean: tuple[float, ...], scale: float) -> torch.Tensor:
    values = (pixels.astype(np.float32) - np.asarray(mean, np.float32)) * np.float32(scale)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2)))


@torch.no_grad()
def test_the_detector_equals_its_file(
    detector: RetinaFace, faces_bgr: np.ndarray, model_paths: Mapping[str, Path]
) -> None:
    wanted = raw_outputs(model_paths[DEFAULT_DETECTOR], DETECTOR, backend=Backend.ONNXRUNTIME)(faces_bgr)
    given = Scored(detector).eval()(prepared(faces_bgr, DETECTOR.mean, DETECTOR.scale))
    assert wanted[1][..., 1].max() > 0.9, "there is a face to agree on"
    for theirs, ours in zip(wanted, given, strict=True):
        assert np.abs(theirs - ours.numpy()).max() < SAME


@torch.no_grad()
def test_the_fastest_form_has_the_same_answers(detector: RetinaFace, faces_bgr: np.ndarray) -> None:
    pictures = prepared(faces_bgr, DETECTOR.mean, DETECTOR.scale)
    boxes, scores, landmarks = Scored(detector).eval()(pictures)
    cells = torch.cat([level.reshape(len(faces_bgr), -1, 15) for level in Cells(detector).eval()(pictures)], dim=1)
    torch.testing.assert_close(cells[..., 0].sigmoid(), scores[..., 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(cells[..., 1:5], boxes, atol=1e-4, rtol=0)
    torch.testing.assert_close(cells[..., 5:], landmarks, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_embedder_equals_its_file(
    embedder: MobileFaceNet, faces_bgr: np.ndarray, model_paths: Mapping[str, Path]
) -> None:
    rgb = np.stack([cv2.resize(face, (112, 112)) for face in faces_bgr[..., ::-1]]).astype(np.uint8)
    (wanted,) = raw_outputs(model_paths[DEFAULT_EMBEDDER], EMBEDDER, backend=Backend.ONNXRUNTIME)(rgb)
    given = embedder(prepared(rgb, EMBEDDER.mean, EMBEDDER.scale)).numpy()
    assert np.abs(wanted).max() > 0.1
    assert np.abs(wanted - given).max() < SAME


def test_another_networks_file_is_refused(detector: RetinaFace, model_paths: Mapping[str, Path]) -> None:
    with pytest.raises(CheckpointMismatch):
        load_onnx(MobileFaceNet(), model_paths[DEFAULT_DETECTOR])
    with pytest.raises(CheckpointMismatch, match="missing"):
        load_onnx(RetinaFace(), model_paths[DEFAULT_EMBEDDER])


@pytest.mark.slow
@pytest.mark.timeout(600)
@torch.no_grad()
def test_lfw_is_as_accurate_as_with_the_file(
    embedder: MobileFaceNet, lfw: Lfw, model_paths: Mapping[str, Path]
) -> None:
    """The protocol on all pairs that are here: with the product's embedder, and with torch's."""
    aligned, photos = np.stack(list(lfw.faces.values())), len(photos_of(lfw.folds))
    parts = [
        embedder(prepared(aligned[start : start + 32, ..., ::-1], EMBEDDER.mean, EMBEDDER.scale)).numpy()
        for start in range(0, len(aligned), 32)
    ]
    templates = np.concatenate(parts)
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    served = ServedMobileFaceNet.open(
        model_paths[DEFAULT_EMBEDDER], EMBEDDER, EngineOptions(backend=Backend.OPENVINO)
    ).embed(aligned)
    with_torch = evaluate(lfw.folds, dict(zip(lfw.faces, templates, strict=True)), photos)
    with_engine = evaluate(lfw.folds, dict(zip(lfw.faces, served, strict=True)), photos)
    assert with_torch.accuracy == pytest.approx(with_engine.accuracy, abs=5e-4)
    assert with_torch.accuracy >= 0.9915, "99.35 +- 0.42 % over ten folds is on record; five are here"


def test_served_and_torch_detectors_read_the_same_outputs(
    detector: RetinaFace, faces_bgr: np.ndarray, model_paths: Mapping[str, Path], tmp_path: Path
) -> None:
    """A network in its fastest form, written and served, finds what the pulled file finds."""
    from pipeline.canvas import Canvas
    from pipeline.retinaface import DetectorOptions
    from vidface.workshop.network import export

    options = DetectorOptions(canvas=Canvas(width=128, height=96), score_threshold=0.5)
    spec, error = export(detector, DETECTOR, tmp_path / "cells.onnx", faces_bgr, cells=True)
    assert error < 1e-3
    pulled = ServedRetinaFace.open(model_paths[DEFAULT_DETECTOR], DETECTOR, options).detect(faces_bgr)
    written = ServedRetinaFace.open(tmp_path / "cells.onnx", spec, options).detect(faces_bgr)
    assert sum(map(len, pulled)) >= 6
    for first, second in zip(pulled, written, strict=True):
        np.testing.assert_allclose(first.boxes_xyxy, second.boxes_xyxy, atol=1e-2)
        np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)
        np.testing.assert_allclose(first.landmarks_xy, second.landmarks_xy, atol=1e-2)
