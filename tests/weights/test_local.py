"""Models made here: registered, found by name, refused when damaged, removed."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from weights import store
from weights.errors import ManifestError, NotInstalled, UnknownWeights, WeightsUnavailable, WrongChecksum
from weights.local import FILE_NAME, as_toml, read_and_check, read_local, register, registered, remove
from weights.manifest import (
    DEFAULT_DETECTOR,
    DEFAULT_EMBEDDER,
    Converter,
    Measurement,
    ModelSpec,
    OutputForm,
    load_manifest,
)

DETECTOR: ModelSpec = load_manifest().model(DEFAULT_DETECTOR)
EMBEDDER: ModelSpec = load_manifest().model(DEFAULT_EMBEDDER)
MEASURED = (Measurement(dataset='a "quoted" set', metric="F1", value=1.0, note=""),)


def made(cache: Path, name: str = "mine", content: bytes = b"an onnx file") -> Path:
    source = cache.parent / "made.onnx"
    source.write_bytes(content)
    model = register(
        source,
        name=name,
        like=DETECTOR,
        architecture="narrow",
        accuracy=MEASURED,
        outputs=("a", "b", "c"),
        output_form=OutputForm.CELLS,
        cache_dir=cache,
    )
    return model.path


def test_a_registered_model_is_one_of_the_manifest(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    path = made(cache)
    spec = load_manifest(cache_dir=cache).model("mine")
    assert (spec.based_on, spec.outputs, spec.output_form) == (DEFAULT_DETECTOR, ("a", "b", "c"), OutputForm.CELLS)
    assert spec.accuracy == MEASURED
    assert (spec.mean, spec.anchor_sizes, spec.colour) == (DETECTOR.mean, DETECTOR.anchor_sizes, DETECTOR.colour)
    assert store.ensure("mine", cache_dir=cache) == path
    assert store.installed("mine", cache_dir=cache) == path
    assert store.verify("mine", cache_dir=cache) == (path,)
    line = next(line for line in store.status(cache_dir=cache) if line.name == "mine")
    assert (line.state, line.origin, line.size_bytes) == ("ready", f"made from {DEFAULT_DETECTOR}", 12)


def test_other_caches_do_not_know_it(tmp_path: Path) -> None:
    made(tmp_path / "cache")
    with pytest.raises(UnknownWeights):
        load_manifest(cache_dir=tmp_path / "other").model("mine")


def test_a_name_of_ours_is_refused_and_ones_own_is_replaced(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(ManifestError, match="another"):
        made(cache, DEFAULT_DETECTOR)
    assert made(cache).read_bytes() == b"an onnx file"
    assert made(cache, content=b"a newer one").read_bytes() == b"a newer one"
    assert [model.spec.name for model in registered(cache)] == ["mine"]


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden", ""])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError):
        made(tmp_path / "cache", name)
    assert not list(tmp_path.glob("out*"))


def test_a_damaged_file_is_told_with_its_remedy(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made(cache).write_bytes(b"something else")
    with pytest.raises(WeightsUnavailable, match="weights remove mine"):
        store.ensure("mine", cache_dir=cache)
    with pytest.raises(WrongChecksum, match="weights remove mine"):
        store.verify("mine", cache_dir=cache)
    with pytest.raises(WrongChecksum):
        read_and_check(cache / "models" / "mine" / FILE_NAME)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made(cache).unlink()
    with pytest.raises(NotInstalled):
        store.verify("mine", cache_dir=cache)
    with pytest.raises(WeightsUnavailable):
        store.pull("mine", source="x.onnx", cache_dir=cache)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"name": "other"}, "other"),
        ({"file": "../x.onnx"}, "file"),
        ({"sha256": "abc"}, "sha256"),
        ({"outputs": ["a"]}, "outputs"),
        ({"colour": "GRB"}, "colour"),
        ({"more": 1}, "more"),
    ],
)
def test_a_broken_manifest_is_told_and_the_others_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, object], word: str
) -> None:
    import json

    cache = tmp_path / "cache"
    made(cache)
    made(cache, "good")
    path = cache / "models" / "mine" / FILE_NAME
    lines = path.read_text().splitlines()
    for key, value in changes.items():
        lines = [line for line in lines if not line.startswith(f"{key} =")]
        lines.insert(2, f"{key} = {json.dumps(value)}")
    path.write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        assert set(load_manifest(cache_dir=cache).models) == {DEFAULT_DETECTOR, DEFAULT_EMBEDDER, "good"}
    assert word in caplog.text
    assert str(path.parent) in caplog.text


def test_templates_of_a_quantised_embedder_are_those_of_its_source(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    source = tmp_path / "made.onnx"
    source.write_bytes(b"x")
    for name, same in (("alike", True), ("apart", False)):
        register(source, name=name, like=EMBEDDER, architecture="int8", same_templates=same, cache_dir=cache)
    models = load_manifest(cache_dir=cache).models
    assert models["alike"].templates == DEFAULT_EMBEDDER
    assert models["apart"].templates == "apart"
    assert EMBEDDER.templates == DEFAULT_EMBEDDER


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    for spec in (DETECTOR, EMBEDDER):
        given = replace(spec, artifact="", member="x.onnx", based_on="b", converter=Converter.LOCAL)
        path = tmp_path / FILE_NAME
        path.write_text(as_toml(given), encoding="utf-8")
        assert read_local(path).spec == given


def test_removing(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = made(cache).parent
    assert remove("mine", cache) == folder
    assert not folder.exists()
    with pytest.raises(UnknownWeights, match="none"):
        remove("mine", cache)
    with pytest.raises(UnknownWeights):
        remove(DEFAULT_DETECTOR, cache)
