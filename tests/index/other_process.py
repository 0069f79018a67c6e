"""A second process on the same gallery, told what to do a line at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from index.errors import GalleryError
from index.fake import NumpyIndex
from index.gallery import Gallery
from index.store import Store
from tests.index.people import DIM, MODEL, enrol, faces, open_gallery

REPOSITORY = Path(__file__).parents[2]


class OtherProcess:
    """The near end: starts the process, and asks it or lets it run while something else is done."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.index.other_process", str(path)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def start(self, action: str, **arguments: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([action, arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def ask(self, action: str, **arguments: Any) -> Any:
        self.start(action, **arguments)
        return self.answer()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def act(path: Path, gallery: Gallery | None, action: str, arguments: dict[str, Any]) -> Any:
    if action == "hold":  # stay inside a transaction that has inserted somebody
        store = Store(path, model=MODEL, dim=DIM)
        held.enter_context(store.writing())
        store.insert_person("Half-way")
        return "held"
    assert gallery is not None
    if action == "enrol":
        templates = faces(arguments["count"], arguments["seed"])
        return enrol(gallery, arguments["name"], templates, arguments.get("threshold", 0.99)).id
    if action == "rename":
        return gallery.rename(arguments["name"], arguments["new_name"]).id
    if action == "remove":
        return gallery.remove(arguments["name"]).id
    if action == "audit":
        return [entry.action for entry in gallery.audit()]
    raise ValueError(action)


held = ExitStack()  # never closed: the process is killed


def main() -> None:
    path = Path(sys.argv[1])
    gallery: Gallery | None = None
    for line in sys.stdin:
        action, arguments = json.loads(line)
        try:
            if action == "open":
                gallery = open_gallery(path, index=NumpyIndex)
                answer: Any = gallery.version
            else:
                answer = act(path, gallery, action, arguments)
        except GalleryError as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201 - the other end reads it


if __name__ == "__main__":
    main()
