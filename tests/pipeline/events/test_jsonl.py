import contextlib
import errno
import fcntl
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from pipeline.events.errors import SinkError
from pipeline.events.event import Event
from pipeline.events.jsonl import JsonlSink
from pipeline.events.rotation import Rotation, set_aside
from tests.pipeline.events.examples import NOON_NS, numbered, sighting
from tests.schemas import assert_valid

HOUR_NS: Final = 3_600_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "down" / "events.jsonl"


def read(path: Path) -> list[Event]:
    events = [Event.from_json(line) for line in path.read_text().splitlines()]
    for event in events:
        assert_valid(event)
    return events


@contextlib.contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Let the kernel refuse to write past a size, as a full disk does: what fits is written, the rest is not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_events_are_lines_and_there_when_deliver_returns(path: Path) -> None:
    events = [*numbered(2), sighting().to_event()]
    sink = JsonlSink(path)
    sink.deliver(events[:1])
    assert read(path) == events[:1]
    sink.deliver(events[1:])
    assert read(path) == events
    sink.close()
    again = JsonlSink(path)
    again.deliver(numbered(1, "gate"))
    again.close()
    assert read(path) == events + numbered(1, "gate")


@pytest.mark.parametrize("keep", [1, 40, -1], ids=["one-byte", "some", "all-but-the-brace"])
def test_half_a_line_of_a_crash_is_cut(path: Path, keep: int) -> None:
    first, second = numbered(2)
    path.parent.mkdir(parents=True)
    path.write_text(first.to_json() + "\n" + second.to_json()[:keep])
    sink = JsonlSink(path)
    sink.deliver([second])
    sink.close()
    assert read(path) == [first, second]


def test_only_its_owner_may_read_who_was_where(path: Path) -> None:
    JsonlSink(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_half_a_line_alone_in_the_file_is_cut(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text('{"specversion":')
    JsonlSink(path).close()
    assert path.read_bytes() == b""


def test_half_a_line_longer_than_a_block_is_cut(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(numbered(1)[0].to_json() + '\n{"x":"' + "y" * 200_000)
    JsonlSink(path).close()
    assert read(path) == numbered(1)


def test_a_whole_line_without_its_newline_is_kept(path: Path) -> None:
    first, second = numbered(2)
    path.parent.mkdir(parents=True)
    path.write_text(first.to_json())
    sink = JsonlSink(path)
    sink.deliver([second])
    sink.close()
    assert read(path) == [first, second]


def test_somebody_elses_file_is_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89PNG, say")
    with pytest.raises(SinkError, match="does not end in a line of JSON"):
        JsonlSink(path)
    assert path.read_bytes() == b"\x89PNG, say"


def test_a_full_disk_leaves_no_half_line_and_passes(path: Path) -> None:
    first, second = numbered(2)
    sink = JsonlSink(path)
    sink.deliver([first])
    with (
        files_end_at(path.stat().st_size + 100),
        pytest.raises(SinkError, match=r"events\.jsonl: File too large") as caught,
    ):
        sink.deliver([second])
    assert caught.value.retryable
    assert caught.value.delivered == 0
    assert read(path) == [first]
    sink.deliver([second])
    sink.close()
    assert read(path) == [first, second]


def test_a_rotated_file_is_left_and_a_new_one_begun(path: Path) -> None:
    first, second, third = numbered(3)
    sink = JsonlSink(path)
    sink.deliver([first])
    old = path.rename(path.with_suffix(".1"))
    sink.deliver([second])
    sink.deliver([third])
    sink.close()
    assert read(old) == [first]
    assert read(path) == [second, third]


def test_a_file_that_another_writes_is_refused(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with path.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SinkError, match="is being written by another process"):
            JsonlSink(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match=r"cannot write events to .*file/events\.jsonl: "):
        JsonlSink(tmp_path / "file" / "events.jsonl")


def test_closed_is_closed(path: Path) -> None:
    sink = JsonlSink(path)
    sink.close()
    sink.close()
    with pytest.raises(SinkError, match="is closed"):
        sink.deliver(numbered(1))


def test_a_line_is_json_by_itself(path: Path) -> None:
    sink = JsonlSink(path, name="audit", sync=False)
    sink.deliver([sighting().to_event()])
    sink.close()
    assert sink.name == "audit"
    assert json.loads(path.read_text()) == sighting().to_event().to_cloudevent()


def test_files_are_set_aside_by_size_and_hold_whole_deliveries(path: Path) -> None:
    events = numbered(10)
    line = len(events[0].to_json()) + 1
    sink = JsonlSink(path, rotation=Rotation(max_bytes=3 * line + 10))
    for start in range(0, 10, 2):
        sink.deliver(events[start : start + 2])
    sink.close()
    assert [each.name for each in set_aside(path)] == [f"events.jsonl.{number:06d}" for number in range(1, 5)]
    assert [len(read(each)) for each in (*set_aside(path), path)] == [2] * 5
    assert [event for each in (*set_aside(path), path) for event in read(each)] == events


def test_a_delivery_larger_than_a_file_is_not_split(path: Path) -> None:
    sink = JsonlSink(path, rotation=Rotation(max_bytes=10))
    sink.deliver(numbered(5))
    sink.deliver(numbered(1, first=6))
    sink.close()
    assert [len(read(each)) for each in (*set_aside(path), path)] == [5, 1]


def test_the_oldest_files_are_removed_and_numbers_only_grow(path: Path) -> None:
    for events in (numbered(5), numbered(5, first=6)):  # also across a restart
        sink = JsonlSink(path, rotation=Rotation(max_bytes=1, keep=2))
        for event in events:
            sink.deliver([event])
        sink.close()
    assert [each.name for each in set_aside(path)] == ["events.jsonl.000008", "events.jsonl.000009"]
    assert [event for each in (*set_aside(path), path) for event in read(each)] == numbered(3, first=8)


def test_a_day_has_a_file_of_its_own(path: Path) -> None:
    first, second, third = numbered(3)
    moments = iter([NOON_NS, NOON_NS + 3 * HOUR_NS, NOON_NS + 12 * HOUR_NS])  # the last is the next day's midnight
    sink = JsonlSink(path, rotation=Rotation(daily=True), now_ns=lambda: next(moments))
    for event in (first, second, third):
        sink.deliver([event])
        os.utime(path, ns=(NOON_NS, NOON_NS))
    sink.close()
    assert [read(each) for each in (*set_aside(path), path)] == [[first, second], [third]]


@pytest.mark.parametrize(
    ("rule", "size", "written_h", "now_h", "due"),
    [
        pytest.param({"max_bytes": 100}, 90, 0, 0, False, id="fits"),
        pytest.param({"max_bytes": 99}, 90, 0, 0, True, id="does-not-fit"),
        pytest.param({"max_bytes": 5}, 0, 0, 0, False, id="an-empty-file-is-never-set-aside"),
        pytest.param({"daily": True}, 90, 0, 11.99, False, id="the-same-day"),
        pytest.param({"daily": True}, 90, 0, 12, True, id="the-next-day"),
        pytest.param({"daily": True}, 0, 0, 12, False, id="the-next-day-and-empty"),
        pytest.param({"daily": True}, 90, 12, 0, False, id="a-clock-set-back"),
        pytest.param({}, 10**9, 0, 1000, False, id="no-rule"),
    ],
)
def test_when_a_file_is_set_aside(rule: dict[str, Any], size: int, written_h: float, now_h: float, due: bool) -> None:
    written_ns, now_ns = (NOON_NS + round(hours * HOUR_NS) for hours in (written_h, now_h))
    assert Rotation(**rule).is_due(size=size, adding=10, written_ns=written_ns, now_ns=now_ns) is due


def test_a_file_that_cannot_be_set_aside_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonlSink(path, rotation=Rotation(max_bytes=1))
    sink.deliver(numbered(1))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", unlucky)
        with pytest.raises(SinkError, match="No space left"):
            sink.deliver(numbered(1, first=2))
    sink.deliver(numbered(1, first=2))
    sink.close()
    assert [read(each) for each in (*set_aside(path), path)] == [numbered(1), numbered(1, first=2)]


def test_a_new_file_that_cannot_be_made_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonlSink(path, rotation=Rotation(max_bytes=1))
    sink.deliver(numbered(1))
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.events.line_file.os.open", unlucky)
        with pytest.raises(SinkError, match="No space left"):
            sink.deliver(numbered(1, first=2))
    sink.deliver(numbered(1, first=2))
    sink.close()
    assert [read(each) for each in (*set_aside(path), path)] == [numbered(1), numbered(1, first=2)]


def unlucky(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_moved_by_somebody_else_is_no_reason_to_set_the_new_one_aside(path: Path) -> None:
    sink = JsonlSink(path, rotation=Rotation(max_bytes=1))
    sink.deliver(numbered(1))
    path.rename(path.with_suffix(".old"))
    sink.deliver(numbered(1, first=2))
    sink.close()
    assert set_aside(path) == []
    assert read(path) == numbered(1, first=2)


def test_other_files_beside_it_are_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    others = [path.with_name(name) for name in ("events.jsonl.1", "events.jsonl.000001.gz", "other.jsonl.000001")]
    for other in others:
        other.touch()
    sink = JsonlSink(path, rotation=Rotation(max_bytes=1, keep=0))
    for event in numbered(3):
        sink.deliver([event])
    sink.close()
    assert sorted(path.parent.iterdir()) == sorted([path, *others])
