from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.events.event import Event
from pipeline.events.tail import tail
from tests.vidface.access.made import seen
from vidface.access.feed import JsonlFeed

PATIENCE_S = 30.0


class Heard:
    """What a feed gave, in its thread; waits for it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[str] = []

    def event(self, event: Event) -> None:
        self._note(event.id)

    def malformed(self, words: str) -> None:
        self._note(f"malformed: {words}")

    def _note(self, text: str) -> None:
        with self._changed:
            self._events.append(text)
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._events) >= count, PATIENCE_S), self._events
            return list(self._events)


@contextmanager
def running(feed: JsonlFeed, heard: Heard) -> Iterator[None]:
    thread = threading.Thread(target=feed.run, args=(heard.event, heard.malformed))
    thread.start()
    try:
        yield
    finally:
        feed.stop()
        thread.join()


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))


@pytest.fixture
def until_followed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Waits until the feed stands at the file's end."""
    looked = threading.Event()

    def noting(*arguments: object, wait: Callable[[], bool], **options: object) -> Iterator[Event]:
        def noted() -> bool:
            looked.set()
            return wait()

        return tail(*arguments, wait=noted, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("vidface.access.feed.tail", noting)

    def wait_for_it() -> None:
        assert looked.wait(PATIENCE_S)

    return wait_for_it


def test_it_gives_what_comes_and_nothing_from_before(tmp_path: Path, until_followed: Callable[[], None]) -> None:
    path = tmp_path / "events.jsonl"
    append(path, seen(track=1).to_json())
    heard = Heard()
    with running(JsonlFeed(path), heard):
        until_followed()
        append(path, seen(track=2).to_json(), "garbage", seen(track=3).to_json())
        first, second, third = heard.wait_for(3)
    assert (first, third) == ("lobby/2/2/2", "lobby/2/3/2")
    assert second.startswith(f"malformed: {path}, line at byte ")


def test_one_that_is_stopped_gives_no_more(tmp_path: Path, until_followed: Callable[[], None]) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    feed = JsonlFeed(path)
    given: list[str] = []

    def handle(event: Event) -> None:
        given.append(event.id)
        feed.stop()

    thread = threading.Thread(target=feed.run, args=(handle, given.append))
    thread.start()
    until_followed()
    append(path, seen(track=1).to_json(), seen(track=2).to_json())
    thread.join(PATIENCE_S)
    assert given == ["lobby/2/1/2"]


def test_an_error_of_the_handler_ends_it(tmp_path: Path, until_followed: Callable[[], None]) -> None:
    path = tmp_path / "events.jsonl"
    path.touch()
    errors: list[Exception] = []

    def handle(_event: Event) -> None:
        raise OSError("the disk is full")

    def run() -> None:
        try:
            JsonlFeed(path).run(handle, lambda _words: None)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until_followed()
    append(path, seen().to_json())
    thread.join(PATIENCE_S)
    assert [str(error) for error in errors] == ["the disk is full"]
