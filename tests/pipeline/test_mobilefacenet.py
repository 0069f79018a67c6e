from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.align import align_faces
from pipeline.engine import Backend
from pipeline.errors import ModelMismatch, ShapeError
from pipeline.faces import U8Image
from pipeline.mobilefacenet import MAX_BATCH, MobileFaceNet, unit_rows
from pipeline.photo import PhotoReader
from streams.picture import ArrayPicture
from tests.pipeline.conftest import DetectorOf, EmbedderOf, PhotoOf
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, Colour, load_manifest

SPEC = load_manifest().model(DEFAULT_EMBEDDER)
BACKENDS = [Backend.OPENVINO, Backend.ONNXRUNTIME]


@pytest.fixture(scope="module")
def aligned(detector_of: DetectorOf, embedder_of: EmbedderOf, photo_of: PhotoOf) -> U8Image:
    """Three photos of one person, then one of another."""
    reader = PhotoReader(detector_of(), embedder_of(Backend.OPENVINO))
    parts = []
    for name in ("obama.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg"):
        photo = photo_of(name)
        parts.append(align_faces(ArrayPicture(photo), reader.detect([photo])[0].landmarks_xy[:1]))
    return np.concatenate(parts)


@pytest.mark.parametrize("backend", BACKENDS)
def test_people_are_told_apart(embedder_of: EmbedderOf, aligned: U8Image, backend: Backend) -> None:
    templates = embedder_of(backend).embed(aligned)
    similar = templates @ templates.T
    np.testing.assert_allclose(np.diag(similar), 1, atol=1e-5)
    assert similar[:3, :3].min() > 0.6
    assert similar[:3, 3].max() < 0.3


def test_engines_agree(embedder_of: EmbedderOf, aligned: U8Image) -> None:
    mine, theirs = (embedder_of(backend).embed(aligned) for backend in BACKENDS)
    assert np.sum(mine * theirs, axis=1).min() > 0.999


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_equals_one_by_one(embedder_of: EmbedderOf, aligned: U8Image, backend: Backend) -> None:
    embedder = embedder_of(backend)
    alone = np.concatenate([embedder.embed(aligned[row : row + 1]) for row in range(len(aligned))])
    assert np.sum(embedder.embed(aligned) * alone, axis=1).min() > 0.9999


def test_swapped_colours_are_worse(embedder_of: EmbedderOf, aligned: U8Image) -> None:
    embedder = embedder_of(Backend.OPENVINO)
    right = embedder.embed(aligned)
    swapped = embedder.embed(np.ascontiguousarray(aligned[..., ::-1]))
    assert np.sum(right * swapped, axis=1).max() < 0.97


class CountingEngine:
    """Answers a face's first pixel, and remembers the sizes of its batches."""

    description = "counting"
    parallel = 1

    def __init__(self, dim: int = 192) -> None:
        self.dim = dim
        self.batches: list[int] = []
        self.pixels: list[list[int]] = []

    def submit(self, inputs: Mapping[str, NDArray[Any]]) -> Callable[[], dict[str, NDArray[Any]]]:
        return lambda: self.run(inputs)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        faces = inputs[SPEC.input_name]
        assert faces.flags.c_contiguous
        self.batches.append(len(faces))
        self.pixels.extend(face[0, 0].tolist() for face in faces)
        answer = np.zeros((len(faces), self.dim), np.float32)
        answer[:, 0] = 3
        answer[:, 1] = faces[:, 0, 0, 1]
        return {"embedding": answer}


def test_a_crowd_is_run_in_turns_and_keeps_its_order() -> None:
    engine = CountingEngine()
    count = 2 * MAX_BATCH + 5
    faces = np.zeros((count, 112, 112, 3), np.uint8)
    faces[:, 0, 0, 1] = np.arange(count)
    templates = MobileFaceNet(engine, SPEC).embed(faces)
    assert engine.batches == [MAX_BATCH, MAX_BATCH, 5]
    np.testing.assert_allclose(templates[:, 1] / templates[:, 0], np.arange(count) / 3, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(templates, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(("colour", "seen"), [(Colour.RGB, [30, 20, 10]), (Colour.BGR, [10, 20, 30])])
def test_the_manifests_colour_order_reaches_the_engine(colour: Colour, seen: list[int]) -> None:
    engine = CountingEngine()
    faces = np.zeros((1, 112, 112, 3), np.uint8)
    faces[:] = (10, 20, 30)
    MobileFaceNet(engine, replace(SPEC, colour=colour)).embed(faces)
    assert engine.pixels == [seen]


def test_nobody_costs_nothing() -> None:
    engine = CountingEngine()
    assert MobileFaceNet(engine, SPEC).embed(np.empty((0, 112, 112, 3), np.uint8)).shape == (0, 192)
    assert engine.batches == []


def test_shapes_and_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="aligned faces"):
        MobileFaceNet(CountingEngine(), SPEC).embed(np.zeros((1, 96, 112, 3), np.uint8))
    with pytest.raises(ShapeError, match="embedding"):
        MobileFaceNet(CountingEngine(dim=128), SPEC).embed(np.zeros((1, 112, 112, 3), np.uint8))
    with pytest.raises(ModelMismatch, match="an embedder is wanted"):
        MobileFaceNet(CountingEngine(), load_manifest().model(DEFAULT_DETECTOR))


def test_a_row_of_zeros_stays_so() -> None:
    rows = unit_rows(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0, 0]]), rtol=1e-6)
