import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.events.errors import EventMalformed
from pipeline.events.event import Event
from pipeline.events.jsonl import JsonlSink
from pipeline.events.rotation import Rotation, set_aside
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


def rotating(path: Path, events: list[Event], keep: int | None = None) -> Callable[[], None]:
    """Deliver each of the events into a file of its own, setting the former aside."""

    def deliver() -> None:
        sink = JsonlSink(path, sync=False, rotation=Rotation(max_bytes=1, keep=keep))
        for event in events:
            sink.deliver([event])
        sink.close()

    return deliver


@pytest.mark.parametrize("times", [1, 2, 5], ids="rotated-{}-times".format)
def test_no_file_between_two_looks_is_missed(path: Path, times: int) -> None:
    events = numbered(1 + 2 * times)
    rotating(path, events[:1])()
    wait = steps(rotating(path, events[1 : 1 + times]), rotating(path, events[1 + times :]))
    assert collect(tail(path, wait=wait)) == events


def test_files_that_were_removed_meanwhile_are_all_that_is_missed(path: Path) -> None:
    events = numbered(6)
    rotating(path, events[:1])()
    assert collect(tail(path, wait=steps(rotating(path, events[1:], keep=2)))) == [events[0], *events[3:]]


def test_what_was_set_aside_before_is_not_read_again_when_the_file_is_removed(path: Path) -> None:
    events = numbered(4)
    rotating(path, events[:3])()
    for number, each in enumerate([*set_aside(path), path]):
        os.utime(each, (1000 + number, 1000 + number))  # written one after the other, for sure

    def replace() -> None:
        path.unlink()
        path.write_text(lines(events[3:]))

    assert collect(tail(path, wait=steps(replace))) == events[2:]


def test_a_name_that_a_folder_did_not_show_is_looked_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = numbered(5)
    rotating(path, events[:1])()

    hidden = ["events.jsonl.000002"]

    def half_shown(of: Path) -> list[Path]:
        shown = [each for each in set_aside(of) if each.name not in hidden]
        hidden.clear()
        return shown

    monkeypatch.setattr("pipeline.events.tail.set_aside", half_shown)
    assert collect(tail(path, wait=steps(rotating(path, events[1:])))) == events
    assert not hidden


def test_a_follower_of_a_file_that_is_rotated_all_the_time_gets_every_event(path: Path) -> None:
    events = numbered(400)
    rotating(path, events[:1])()
    writer = threading.Thread(target=rotating(path, events[1:]))
    looks = 0

    def wait() -> bool:
        nonlocal looks
        if looks == 0:
            writer.start()  # only now: the first file is held
        looks += 1
        was_over = not writer.is_alive()
        # Looked at once more after the writer has ended: what it wrote last is found then.
        return not was_over or not late.pop()

    late = [True, False]
    assert collect(tail(path, wait=wait)) == events
    writer.join()


def test_a_file_that_was_emptied_is_read_from_its_start(path: Path) -> None:
    events = numbered(3)
    path.write_text(lines(events[:2]))
    assert collect(tail(path, wait=steps(lambda: path.write_text(lines(events[2:]))))) == events


def test_a_line_that_is_no_event_is_named(path: Path) -> None:
    path.write_text(lines(numbered(1)) + "nonsense\n")
    size = len(lines(numbered(1)).encode())
    with pytest.raises(EventMalformed, match=rf"events\.jsonl, line at byte {size}: not JSON"):
        collect(tail(path))


def test_a_line_that_is_no_event_is_told_and_passed_over(path: Path) -> None:
    first, second = numbered(2)
    path.write_text("nonsense\n" + lines([first]) + "{}\n")
    told: list[str] = []
    wait = steps(append(path, lines([second])))
    assert collect(tail(path, wait=wait, on_malformed=lambda error: told.append(str(error)))) == [first, second]
    assert [words.partition(":")[0] for words in told] == [
        f"{path}, line at byte 0",
        f"{path}, line at byte {len(lines([first]).encode()) + 9}",
    ]
