"""The real weights and photos, from the user's cache, fetched once if need be."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from weights.errors import CacheError, MissingConverter, WeightsError, WeightsUnavailable
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, Kind, load_manifest
from weights.store import ensure, ensure_artifact, installed, status

MODELS = (DEFAULT_DETECTOR, DEFAULT_EMBEDDER)


def photo_sets() -> tuple[str, ...]:
    return tuple(name for name, artifact in load_manifest().artifacts.items() if artifact.kind is Kind.PHOTOS)


def missing() -> str | None:
    """What is not in the cache yet, in words; None if all is there."""
    absent = [name for name in MODELS if installed(name) is None]
    absent += [line.name for line in status() if line.name in photo_sets() and line.state != "ready"]
    return f"not in the cache: {', '.join(absent)}" if absent else None


def install() -> None:
    """Fetch and convert all of it; raises `WeightsError` for the first that cannot be had."""
    for model in MODELS:
        ensure(model)
    for photos in photo_sets():
        ensure_artifact(photos)


def skip_or_fail(error: WeightsError) -> None:
    """Skip a test that has no weights, unless the environment says that they must be there."""
    if os.environ.get("VIDFACE_REQUIRE_WEIGHTS") == "1":
        pytest.fail(f"VIDFACE_REQUIRE_WEIGHTS=1, but {error}", pytrace=False)
    pytest.skip(str(error))


@pytest.fixture(scope="session")
def model_paths() -> Mapping[str, Path]:
    """Model name -> ONNX file, of the default detector and embedder."""
    try:
        return {name: ensure(name) for name in MODELS}
    except (WeightsUnavailable, MissingConverter, CacheError) as error:
        skip_or_fail(error)
        raise


@pytest.fixture(scope="session")
def photos() -> Mapping[str, Path]:
    """File name -> photo, of all photo sets of the manifest: obama.jpg, biden.jpg, t1.jpg, astronaut.png ..."""
    try:
        return {name: path for photo_set in photo_sets() for name, path in ensure_artifact(photo_set).items()}
    except (WeightsUnavailable, CacheError) as error:
        skip_or_fail(error)
        raise
