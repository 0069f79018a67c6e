"""Models that were made or brought here, beside those of the shipped manifest.

Each is a folder of the cache, ``CACHE/models/NAME``, with two files: ``NAME.onnx`` and ``model.toml``, which says what
a `[models.NAME]` table of the manifest says, and which file it is about. The same two files anywhere else are a model
from elsewhere.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from weights.cache import Cache, default_cache_dir, sha256_of
from weights.errors import ManifestError, UnknownWeights, WeightsError, WrongChecksum
from weights.manifest import (
    LEGAL_NAME,
    SHA256,
    Converter,
    Measurement,
    ModelSpec,
    OutputForm,
    load_manifest,
    read_model,
    read_table,
)

_LOG: Final = logging.getLogger(__name__)

FILE_NAME: Final = "model.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A model and where its ONNX file lies."""

    spec: ModelSpec
    path: Path


def read_local(path: Path) -> LocalModel:
    """Read a `model.toml`; whether its ONNX file is the one that it names is for `verify_local`.

    Raises:
        ManifestError: It cannot be read, is no TOML, or does not say what it must.
    """
    table = read_table(path)
    name = table.text("name")
    file_name = table.text("file")
    if Path(file_name).name != file_name:
        raise table.wrong("file", "the name of a file beside this one, without a folder")
    if not file_name.endswith(".onnx"):
        raise table.wrong("file", "an ONNX file; other forms are exported for other programs, and are not read here")
    sha256 = table.text("sha256", pattern=SHA256)
    spec = read_model(name, table, artifact="", member=file_name, sha256=sha256, converter=Converter.LOCAL)
    return LocalModel(spec=spec, path=path.with_name(file_name))


def verify_local(model: LocalModel) -> None:
    """Raise `WrongChecksum` unless the ONNX file is there and the one that was written."""
    actual = sha256_of(model.path)
    if actual != model.spec.sha256:
        found = "there is no such file" if actual is None else f"sha256 {actual} found"
        raise WrongChecksum(f"{model.path}: sha256 {model.spec.sha256} expected, {found}")


def registered(cache_dir: Path | None = None) -> tuple[LocalModel, ...]:
    """The local models of a cache, by name. One that can't be read is told in the log and left out."""
    folder = (default_cache_dir() if cache_dir is None else cache_dir) / "models"
    found = []
    for path in sorted(folder.glob(f"*/{FILE_NAME}")):
        try:
            model = read_local(path)
            if model.spec.name != path.parent.name:
                raise ManifestError(
                    f"{path}: names {model.spec.name!r}, but lies in the folder of {path.parent.name!r}"
                )
        except WeightsError as error:
            _LOG.warning("a local model can't be used: %s; remove %s, or make it again", error, path.parent)
        else:
            found.append(model)
    return tuple(found)


def register(
    onnx_file: Path,
    *,
    name: str,
    like: ModelSpec,
    architecture: str,
    accuracy: tuple[Measurement, ...] = (),
    embedding_dim: int | None = None,
    same_templates: bool = False,
    outputs: tuple[str, ...] = (),
    output_form: OutputForm | None = None,
    cache_dir: Path | None = None,
) -> LocalModel:
    """Make a file a local model: it is copied into the cache, and its name is accepted from then on.

    Args:
        onnx_file: The model.
        name: A new name, or that of a local model, which is replaced.
        like: The model that it was made from: fed in the same way, and with outputs of the same kind.
        architecture: A line for people.
        accuracy: What was measured of it.
        embedding_dim: Of an embedder, where it differs from that of `like`.
        same_templates: Of an embedder: its templates can be compared with those of `like`.
        outputs: Names in the graph, where they differ from those of `like`.
        output_form: Of a detector, likewise.
        cache_dir: Instead of `default_cache_dir()`.

    Raises:
        ManifestError: The name is a shipped model's, or no file name.
        CacheError: It cannot be written.
    """
    if name in load_manifest(cache_dir=cache_dir).models and not _is_local(name, cache_dir):
        raise ManifestError(f"{name}: this program ships a model of that name; give yours another one")
    if not LEGAL_NAME.fullmatch(name):
        raise ManifestError(f"{name!r}: the name of a model has letters, digits, '.', '_' and '-', and not '.' first")
    cache = Cache(default_cache_dir() if cache_dir is None else cache_dir)
    folder = cache.model_dir(name)
    data = onnx_file.read_bytes()
    with cache.locked(f"model-{name}", folder):
        path = folder / f"{name}.onnx"
        cache.write(path, data)
        spec = replace(
            like,
            name=name,
            architecture=architecture,
            artifact="",
            member=path.name,
            sha256=sha256_of(path) or "",
            converter=Converter.LOCAL,
            accuracy=accuracy,
            embedding_dim=embedding_dim or like.embedding_dim,
            based_on=like.name,
            templates_of=like.templates if same_templates else "",
            outputs=outputs or like.outputs,
            output_form=output_form or like.output_form,
        )
        cache.write(folder / FILE_NAME, as_toml(spec).encode())
    return read_and_check(folder / FILE_NAME)


def read_and_check(path: Path) -> LocalModel:
    """`read_local` and `verify_local`."""
    model = read_local(path)
    verify_local(model)
    return model


def remove(name: str, cache_dir: Path | None = None) -> Path:
    """Delete a local model; the folder that is gone. `UnknownWeights` where there is none of this name."""
    if not _is_local(name, cache_dir):
        names = ", ".join(model.spec.name for model in registered(cache_dir)) or "none"
        raise UnknownWeights(f"{name}: only models that were made or imported here can be removed; there are: {names}")
    cache = Cache(default_cache_dir() if cache_dir is None else cache_dir)
    folder = cache.model_dir(name)
    with cache.locked(f"model-{name}", folder):
        shutil.rmtree(folder)
    return folder


def as_toml(spec: ModelSpec) -> str:
    """A `model.toml` that reads back as this spec."""
    lines = ["# How to feed this model; written by vidface, see `vidface weights`.", "version = 1"]
    values: dict[str, object] = {
        "name": spec.name,
        "file": spec.member,
        "sha256": spec.sha256,
        "task": spec.task.value,
        "architecture": spec.architecture,
        "licence": spec.licence,
        "based_on": spec.based_on,
        "templates_of": spec.templates_of,
        "input_name": spec.input_name,
        "input_layout": spec.input_layout,
        "input_size_wh": list(spec.input_size_wh or ()),
        "colour": spec.colour.value,
        "mean": list(spec.mean),
        "scale": spec.scale,
        "outputs": list(spec.outputs),
        "output_form": spec.output_form.value,
        "strides": list(spec.strides),
        "anchor_sizes": [list(sizes) for sizes in spec.anchor_sizes],
        "variances": list(spec.variances),
        "embedding_dim": spec.embedding_dim or 0,
        "l2_normalised": spec.l2_normalised,
        "calibration": [list(point) for point in spec.calibration],
    }
    # JSON's texts, numbers, truth values and lists are TOML's too.
    lines += [f"{key} = {json.dumps(value)}" for key, value in values.items() if value not in ("", [], 0)]
    for each in spec.accuracy:
        lines += ["", "[[accuracy]]", f"dataset = {json.dumps(each.dataset)}", f"metric = {json.dumps(each.metric)}"]
        lines += [f"value = {json.dumps(float(each.value))}", f"note = {json.dumps(each.note)}"]
    return "\n".join(lines) + "\n"


def _is_local(name: str, cache_dir: Path | None) -> bool:
    return any(model.spec.name == name for model in registered(cache_dir))
