"""The real files: what is recorded about them in the manifest holds."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from tests.weights.tflite_reference import run
from weights.cache import default_cache_dir, sha256_of
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, load_manifest
from weights.store import installed, verify
from weights.tflite import Graph, read_tflite

ort = pytest.importorskip("onnxruntime", reason="the cpu extra is not installed")

F32 = npt.NDArray[np.float32]
DATA = Path(os.environ.get("VIDFACE_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")
PAIRS = 40
"""Of one person, and as many of two."""


def session(path: Path) -> Any:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def normalised(rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float64)


@pytest.fixture(scope="module")
def embed(model_paths: Mapping[str, Path]) -> Callable[[F32], F32]:
    embedder = session(model_paths[DEFAULT_EMBEDDER])

    def embed_nhwc(images: F32) -> F32:
        return np.asarray(embedder.run(["embedding"], {"input": images.transpose(0, 3, 1, 2)})[0])

    return embed_nhwc


@pytest.fixture(scope="module")
def source(model_paths: Mapping[str, Path]) -> Graph:
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    return read_tflite((default_cache_dir() / "artifacts" / spec.artifact / spec.member).read_bytes())


def faces(photos: Mapping[str, Path]) -> F32:
    """Five pictures as the embedder takes them, [5, 112, 112, 3]: two of noise, three of photos."""
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    noise = np.random.default_rng(7).integers(0, 256, (2, 112, 112, 3))
    read = [cv2.imread(str(photos[name])) for name in ("obama.jpg", "biden.jpg", "astronaut.png")]
    rgb = [cv2.cvtColor(cv2.resize(bgr, (112, 112)), cv2.COLOR_BGR2RGB) for bgr in read if bgr is not None]
    return ((np.concatenate([noise, rgb]) - spec.mean) * spec.scale).astype(np.float32)


def test_the_files_are_the_pinned_ones(model_paths: Mapping[str, Path]) -> None:
    for name, path in model_paths.items():
        assert installed(name) == path
        assert verify(name) == (path,)
    assert sha256_of(model_paths[DEFAULT_DETECTOR]) == load_manifest().model(DEFAULT_DETECTOR).sha256


def test_the_photos_are_pictures(photos: Mapping[str, Path]) -> None:
    assert {"obama.jpg", "obama2.jpg", "biden.jpg", "t1.jpg", "astronaut.png"} <= photos.keys()
    assert [name for name, path in photos.items() if cv2.imread(str(path)) is None] == []


def test_the_converted_embedder_computes_what_its_source_computes(
    embed: Callable[[F32], F32], source: Graph, photos: Mapping[str, Path]
) -> None:
    images = faces(photos)
    rows = embed(images)
    assert rows.shape == (5, 192)
    assert np.abs(normalised(rows) - normalised(run(source, images))).max() < 1e-4


def test_a_row_does_not_depend_on_the_batch_around_it(embed: Callable[[F32], F32], photos: Mapping[str, Path]) -> None:
    images = faces(photos)
    alone = np.concatenate([embed(images[i : i + 1]) for i in range(5)])
    pairs = np.concatenate([embed(images[0:2]), embed(images[2:4]), embed(images[4:5])])
    together = embed(images)
    np.testing.assert_allclose(normalised(pairs), normalised(alone), atol=1e-6)
    np.testing.assert_allclose(normalised(together), normalised(alone), atol=1e-6)


def test_the_embedder_does_not_normalise(embed: Callable[[F32], F32], photos: Mapping[str, Path]) -> None:
    assert load_manifest().model(DEFAULT_EMBEDDER).l2_normalised is False
    assert np.linalg.norm(embed(faces(photos)), axis=1).min() > 2.0


def test_one_person_twice_is_closer_than_two_people(embed: Callable[[F32], F32]) -> None:
    pairs_file = DATA / "lfw" / "pairs.txt"
    if not pairs_file.is_file():
        pytest.skip(f"no {pairs_file}; set VIDFACE_TEST_DATA to the test data's folder")
    rows = [line.split() for line in pairs_file.read_text(encoding="utf-8").splitlines()]
    same = [((name, a), (name, b)) for name, a, b in (row for row in rows if len(row) == 3)][:PAIRS]
    others = [((n, a), (m, b)) for n, a, m, b in (row for row in rows if len(row) == 4)][:PAIRS]

    def cosines(pairs: list[tuple[tuple[str, str], tuple[str, str]]]) -> npt.NDArray[np.float64]:
        first = normalised(embed(np.stack([lfw_face(*pair[0]) for pair in pairs])))
        second = normalised(embed(np.stack([lfw_face(*pair[1]) for pair in pairs])))
        return np.asarray((first * second).sum(axis=1))

    same_cosines, other_cosines = cosines(same), cosines(others)
    assert (same_cosines > np.quantile(other_cosines, 0.9)).mean() > 0.85
    assert np.median(same_cosines) - np.median(other_cosines) > 0.3


def lfw_face(name: str, number: str) -> F32:
    """The face of a deep-funnelled LFW photo, whose eyes are always near (103, 113) and (147, 113)."""
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    bgr = cv2.imread(str(DATA / "lfw" / "images" / name / f"{name}_{int(number):04d}.jpg"))
    assert bgr is not None
    rgb = cv2.cvtColor(cv2.resize(bgr[50:187, 57:194], (112, 112)), cv2.COLOR_BGR2RGB)
    return np.asarray((rgb - np.array(spec.mean)) * spec.scale, np.float32)


def test_the_detectors_outputs_are_as_the_manifest_says(model_paths: Mapping[str, Path]) -> None:
    spec = load_manifest().model(DEFAULT_DETECTOR)
    images = np.random.default_rng(7).normal(0, 50, (3, 3, 64, 96)).astype(np.float32)
    loc, conf, landmarks = session(model_paths[DEFAULT_DETECTOR]).run(list(spec.outputs), {spec.input_name: images})
    anchors = sum(
        (64 // stride) * (96 // stride) * len(sizes)
        for stride, sizes in zip(spec.strides, spec.anchor_sizes, strict=True)
    )
    assert (loc.shape, conf.shape, landmarks.shape) == ((3, anchors, 4), (3, anchors, 2), (3, anchors, 10))
    np.testing.assert_allclose(conf.sum(axis=2), 1.0, atol=1e-5)


def test_the_detector_sees_a_face_and_sees_none_in_noise(
    model_paths: Mapping[str, Path], photos: Mapping[str, Path]
) -> None:
    spec = load_manifest().model(DEFAULT_DETECTOR)
    photo = cv2.imread(str(photos["astronaut.png"]))
    assert photo is not None
    noise = np.random.default_rng(7).integers(0, 256, photo.shape)
    bgr = ((np.stack([photo, noise]) - spec.mean) * spec.scale).astype(np.float32)
    conf = session(model_paths[DEFAULT_DETECTOR]).run(["conf"], {spec.input_name: bgr.transpose(0, 3, 1, 2)})[0]
    face, none = conf[:, :, 1].max(axis=1)
    assert face > 0.99
    assert none < 0.5
