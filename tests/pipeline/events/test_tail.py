from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event
from pipeline.events.tail import tail
from tests.pipeline.events.examples import numbered
from tests.schemas import assert_valid


def lines(events: list[Event]) -> str:
    return "".join(event.to_json() + "\n" for event in events)


def collect(events: Iterator[Event]) -> list[Event]:
    found = list(events)
    for event in found:
        assert_valid(event)
    return found


def steps(*actions: Callable[[], object]) -> Callable[[], bool]:
    """Return a wait that, instead of waiting, does the next thing to the file; and ends after the last."""
    left = iter(actions)

    def wait() -> bool:
        action = next(left, None)
        if action is None:
            return False
        action()
        return True

    return wait


def append(path: Path, text: str) -> Callable[[], object]:
    def act() -> None:
        with path.open("a") as file:
            file.write(text)

    return act


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def test_what_is_there(path: Path) -> None:
    path.write_text(lines(numbered(3)) + '{"half')
    assert collect(tail(path)) == numbered(3)


def test_nothing_there(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        collect(tail(path))
    path.touch()
    assert collect(tail(path)) == []


def test_following(path: Path) -> None:
    events = numbered(4)
    path.write_text(lines(events[:1]))
    line = lines(events[1:2])
    wait = steps(append(path, line[:30]), append(path, line[30:]), append(path, lines(events[2:])))
    assert collect(tail(path, wait=wait)) == events


@pytest.mark.parametrize("long", [False, True], ids=["short", "longer-than-a-block"])
def test_from_the_end(path: Path, long: bool) -> None:
    events = numbered(3)
    line = lines(events[1:2])
    half = line[:20] if not long else '{"x":"' + "y" * 200_000
    rest = line[20:] if not long else '"}\n'
    path.write_text(lines(events[:1]) + half)
    wait = steps(append(path, rest), append(path, lines(events[2:])))
    if long:
        with pytest.raises(EventMalformed, match="line at byte"):
            collect(tail(path, from_start=False, wait=wait))
    else:
        assert collect(tail(path, from_start=False, wait=wait)) == events[1:]


def test_a_file_that_is_yet_to_come(path: Path) -> None:
    wait = steps(lambda: None, append(path, lines(numbered(2))))
    assert collect(tail(path, wait=wait)) == numbered(2)
    assert collect(tail(path.with_name("never"), wait=steps(lambda: None))) == []


def test_half_a_line_that_is_taken_back(path: Path) -> None:
    events = numbered(2)
    path.write_text(lines(events[:1]) + '{"half')
    size = len(lines(events[:1]).encode())

    def cut() -> None:
        with path.open("r+b") as file:
            file.truncate(size)

    assert collect(tail(path, wait=steps(cut, append(path, lines(events[1:]))))) == events


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(path: Path) -> None:
    events = numbered(4)
    path.write_text(lines(events[:1]))
    old = path.with_suffix(".1")

    def rotate() -> None:
        append(path, lines(events[1:2]))()
        path.rename(old)

    def replace() -> None:
        append(old, lines(events[2:3]))()
        path.write_text(lines(events[3:]))

    assert collect(tail(path, wait=steps(rotate, replace))) == events


def test_a_file_that_was_emptied_is_read_from_its_start(path: Path) -> None:
    events = numbered(3)
    path.write_text(lines(events[:2]))
    assert collect(tail(path, wait=steps(lambda: path.write_text(lines(events[2:]))))) == events


def test_a_line_that_is_no_event_is_named(path: Path) -> None:
    path.write_text(lines(numbered(1)) + "nonsense\n")
    size = len(lines(numbered(1)).encode())
    with pytest.raises(EventMalformed, match=rf"events\.jsonl, line at byte {size}: not JSON"):
        collect(tail(path))
