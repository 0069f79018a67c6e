import contextlib
import fcntl
import json
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.events.errors import SinkError
from pipeline.events.event import Event
from pipeline.events.jsonl import JsonlSink
from tests.pipeline.events.examples import numbered, sighting
from tests.schemas import assert_valid


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
