"""Who may import what: read off the syntax of every module, so that also what is never run is seen."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = ("streams", "index", "weights", "pipeline", "vidface")

MAY_IMPORT: Mapping[str, frozenset[str]] = {
    "streams": frozenset(),
    "index": frozenset(),
    "weights": frozenset(),
    "pipeline": frozenset({"streams", "index", "weights"}),
    "vidface": frozenset({"streams", "index", "weights", "pipeline"}),
}
"""Package to those of ours that it may import beside itself."""

DOORS: Mapping[str, Mapping[str, str]] = {
    "av": {
        "streams/*.py": "pixels come in here",
        "vidface/video.py": "writes the annotated video and the demonstration's clip; nothing is read here",
    },
    "nvidia": {"streams/dali.py": "decoding on a GPU"},
    "gi": {},
    "openvino": {"pipeline/engine.py": "runs models"},
    "onnxruntime": {"pipeline/engine.py": "runs models"},
    "tensorrt": {"pipeline/engine.py": "runs models"},
    "onnx": {
        "pipeline/graph.py": "folds preprocessing into a model",
        "weights/*.py": "converts and exports models",
    },
    "torch": {"weights/workshop/*.py": "architectures and training; nothing that serves may need it"},
    "torchvision": {"weights/workshop/*.py": "as torch"},
    "torch_pruning": {"weights/workshop/prune.py": "removes channels"},
    "nncf": {"weights/workshop/quantise.py": "calibrates int8"},
    "tensorboard": {"weights/workshop/log.py": "shows how training goes"},
    "faiss": {"index/search.py": "searches"},
    "kafka": {"pipeline/events/kafka*.py": "a sink"},
    "google_crc32c": {"pipeline/events/kafka.py": "checksums of the client"},
    "paho": {"pipeline/events/mqtt_line.py": "a sink", "vidface/access/mqtt_action.py": "opens a door"},
    "urllib3": {"pipeline/events/webhook.py": "a sink"},
    "trackers": {"pipeline/track.py": "follows faces"},
    "prometheus_client": {"vidface/exposition/*.py": "metrics are told in its format"},
    "supervision": {"pipeline/track.py": "the tracker's own types"},
    "matplotlib": {"vidface/evaluation/plots.py": "draws the plots of reports"},
    **{
        library: {"vidface/*.py": "an edge of the application", "vidface/**/*.py": "likewise"}
        for library in ("pydantic", "typer", "click", "rich", "yaml", "fastapi", "starlette", "uvicorn")
    },
}
"""Outside library to the only files that may import it, each with its reason."""

WORKSHOP = "weights/workshop/"
"""Needs its libraries from the first line on; who else needs one of its modules imports that inside a function."""

LAZY = (
    *("openvino", "onnxruntime", "tensorrt", "onnx", "torch", "torchvision", "faiss", "kafka", "nvidia", "trackers"),
    *("matplotlib", "paho", "urllib3", "torch_pruning", "nncf", "tensorboard"),
)
"""Heavy or optional: imported inside functions, so that who does not need them does not wait for them or miss them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    path: str
    line: int
    module: str
    at_import_time: bool

    @property
    def root(self) -> str:
        return self.module.partition(".")[0]

    @property
    def where(self) -> str:
        return f"{self.path}:{self.line} imports {self.module}"


@cache
def modules() -> tuple[tuple[str, ast.Module], ...]:
    """Path within the repository and syntax of every module of ours."""
    paths = [path for package in OURS for path in sorted((REPOSITORY / package).rglob("*.py"))]
    return tuple((path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text(), str(path))) for path in paths)


def imports_of(path: str, tree: ast.Module) -> Iterator[Import]:
    def walk(node: ast.AST, *, at_import_time: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, at_import_time=at_import_time and not inside)
            if not isinstance(child, ast.Import | ast.ImportFrom):
                continue
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            else:
                names = [child.module or ""] if not child.level else [path.partition("/")[0]]
            for name in names:
                yield Import(path=path, line=child.lineno, module=name, at_import_time=at_import_time)

    yield from walk(tree, at_import_time=True)


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(each for path, tree in modules() for each in imports_of(path, tree))


def test_there_is_something_to_read() -> None:
    assert {path.partition("/")[0] for path, _ in modules()} == set(OURS)
    assert {"numpy", "av", "faiss", "openvino", "kafka"} <= {each.root for each in all_imports()}


def test_reading_sees_what_is_hidden() -> None:
    source = """
import a.b
if x:
    from c import d
def f():
    import e
class G:
    import h
    def m(self):
        from i.j import k
from . import l
"""
    found = {each.module: each.at_import_time for each in imports_of("pkg/m.py", ast.parse(source))}
    assert found == {"a.b": True, "c": True, "e": False, "h": True, "i.j": False, "pkg": True}


@pytest.mark.parametrize("package", OURS)
def test_directions(package: str) -> None:
    legal = MAY_IMPORT[package] | {package}
    wrong = [
        each.where
        for each in all_imports()
        if each.path.startswith(f"{package}/") and each.root in {*OURS, "tests"} and each.root not in legal
    ]
    assert not wrong, wrong


@pytest.mark.parametrize("library", list(DOORS))
def test_each_outside_library_has_its_door(library: str) -> None:
    wrong = [
        each.where
        for each in all_imports()
        if each.root == library and not any(fnmatch(each.path, door) for door in DOORS[library])
    ]
    assert not wrong, f"{wrong}; the doors are {list(DOORS[library])}"


def test_heavy_libraries_are_imported_where_they_are_needed() -> None:
    wrong = [
        each.where
        for each in all_imports()
        if each.at_import_time
        and not each.path.startswith(WORKSHOP)
        and (each.root in LAZY or each.module.startswith(WORKSHOP.replace("/", ".").rstrip(".")))
    ]
    assert not wrong, wrong


def test_nothing_prints() -> None:
    wrong = [
        f"{path}:{node.lineno} calls {node.func.id}"
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "breakpoint"}
    ]
    assert not wrong, wrong


def loaded_by(module: str) -> set[str]:
    """The roots of everything that importing a module brings in, in a process of its own."""
    code = f"import sys, {module}\nsys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("module", ["vidface", "vidface.cli.app"])
def test_the_command_line_starts_without_what_it_may_not_need(module: str) -> None:
    heavy = {*LAZY, "av", "cv2", "supervision", "scipy"}
    assert not loaded_by(module) & heavy


@pytest.mark.parametrize("module", ["streams.source", "pipeline.runtime", "pipeline.events.publisher", "index.gallery"])
def test_the_packages_import_without_the_optional_ones(module: str) -> None:
    assert not loaded_by(module) & set(LAZY)
