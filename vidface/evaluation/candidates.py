"""Which models are compared: those that are installed, those from elsewhere, and which was made from which.

How a model computes is read off its file: quantised models are ONNX files of their own, in any engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline import graph
from vidface.errors import BadInput
from weights import store
from weights.manifest import ModelSpec, Task, load_manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model that takes part.

    Attributes:
        spec: How it is fed.
        path: Its ONNX file.
        is_quantised: Whether the file itself computes in int8.
    """

    spec: ModelSpec
    path: Path
    is_quantised: bool

    @property
    def name(self) -> str:
        """The model's name."""
        return self.spec.name

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return self.path.stat().st_size

    @property
    def templates_of(self) -> str:
        """Whose templates an embedder's can be compared with; empty for a detector."""
        return self.spec.templates if self.spec.task is Task.EMBED else ""


def candidate(spec: ModelSpec, path: Path) -> Candidate:
    """A model and what its file says of its precision."""
    return Candidate(spec=spec, path=path, is_quantised=is_quantised(path))


def is_quantised(path: Path) -> bool:
    """Whether an ONNX file computes in int8; see `graph.is_quantised`."""
    return graph.is_quantised(path.read_bytes())


def ready_models(added: Iterable[Path] = ()) -> tuple[Candidate, ...]:
    """Every installed model of both tasks, and those of the given ``model.toml`` files, which come last.

    Raises:
        ManifestError: A file can't be read.
        WrongChecksum: It is about another ONNX file.
        BadInput: Two models have one name.
    """
    from weights.local import read_and_check

    found = {}
    for spec in load_manifest().models.values():
        path = store.installed(spec.name) if spec.task in (Task.DETECT, Task.EMBED) else None
        if path is not None:
            found[spec.name] = candidate(spec, path)
    for file in added:
        local = read_and_check(file)
        if local.spec.name in found and found[local.spec.name].path.resolve() != local.path.resolve():
            raise BadInput(
                f"{file}: there is another model of the name {local.spec.name}; change the name in this file"
            )
        found[local.spec.name] = candidate(local.spec, local.path)
    return tuple(found.values())


def full_precision(model: Candidate, models: Mapping[str, Candidate]) -> Candidate | None:
    """The model itself, or the nearest one that it was made from, that isn't quantised; None if it isn't here."""
    seen: set[str] = set()
    current: Candidate | None = model
    while current is not None and current.is_quantised and current.name not in seen:
        seen.add(current.name)
        current = models.get(current.spec.based_on)
    if current is not None and not current.is_quantised:
        return current
    alike = (
        each
        for each in models.values()
        if not each.is_quantised
        and (each.spec.task, each.spec.architecture) == (model.spec.task, model.spec.architecture)
        and each.templates_of == model.templates_of
    )
    return next(alike, None)


def family_head(model: Candidate, models: Mapping[str, Candidate]) -> Candidate | None:
    """The first full-precision model of the line of models that this one was made from.

    Of an embedder, only as far back as templates can be compared.
    """
    head = full_precision(model, models)
    seen: set[str] = set()
    while head is not None and head.name not in seen:
        seen.add(head.name)
        parent = models.get(head.spec.based_on)
        if parent is None or parent.is_quantised or parent.templates_of != head.templates_of:
            break
        head = parent
    return head
