import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.events.errors import (
    EventMalformed,
    NotAnOutbox,
    OutboxClosed,
    OutboxError,
    OutboxFull,
    OutboxLocked,
    UnknownSink,
)
from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from tests.pipeline.events.examples import numbered, sighting
from tests.schemas import assert_valid

ROOT = Path(__file__).parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with Outbox.open(path, ["jsonl", "kafka"]) as opened:
        yield opened


def held(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        connection.close()


def ids(rows: list[tuple[int, Event]]) -> list[str]:
    for _, event in rows:
        assert_valid(event)
    return [event.id for _, event in rows]


def test_each_sink_reads_in_order_from_its_own_place(outbox: Outbox) -> None:
    events = numbered(5)
    assert outbox.append(events[:2]) == 2
    assert outbox.append(events[2:]) == 5
    assert outbox.read("jsonl", 100) == list(enumerate(events, 1))
    outbox.acknowledge("jsonl", 3)
    assert ids(outbox.read("jsonl", 1)) == [events[3].id]
    assert ids(outbox.read("kafka", 100)) == [event.id for event in events]
    assert (outbox.pending("jsonl"), outbox.pending("kafka")) == (2, 5)


def test_an_event_is_deleted_when_the_last_sink_has_it(outbox: Outbox, path: Path) -> None:
    outbox.append(numbered(3))
    outbox.acknowledge("jsonl", 3)
    assert held(path) == 3
    outbox.acknowledge("kafka", 2)
    assert held(path) == 1
    outbox.acknowledge("kafka", 3)
    assert held(path) == 0


def test_numbers_go_on_when_all_was_deleted_and_the_file_reopened(path: Path) -> None:
    with Outbox.open(path, ["a"]) as outbox:
        outbox.acknowledge("a", outbox.append(numbered(3)))
    with Outbox.open(path, ["b"]) as outbox:  # not even the sink that knew the number is left
        assert outbox.append(numbered(1)) == 4
        assert [seq for seq, _ in outbox.read("b", 9)] == [4]


def test_what_is_not_acknowledged_is_there_after_reopening(path: Path) -> None:
    events = [sighting(track=number).to_event() for number in range(4)]
    with Outbox.open(path, ["a", "b"]) as outbox:
        outbox.append(events)
        outbox.acknowledge("a", 3)
    with Outbox.open(path, ["a", "b"]) as outbox:
        assert ids(outbox.read("a", 9)) == [events[3].id]
        assert [event for _, event in outbox.read("b", 9)] == events


def test_a_new_sink_begins_with_what_is_still_held(path: Path) -> None:
    with Outbox.open(path, ["a"]) as outbox:
        outbox.append(numbered(4))
        outbox.acknowledge("a", 2)
    with Outbox.open(path, ["a", "b"]) as outbox:
        assert [seq for seq, _ in outbox.read("b", 9)] == [3, 4]
        outbox.acknowledge("a", 4)
        assert held(path) == 2


def test_a_sink_that_is_gone_holds_nothing(path: Path) -> None:
    with Outbox.open(path, ["a", "away"]) as outbox:
        outbox.append(numbered(4))
        outbox.acknowledge("a", 3)
    with Outbox.open(path, ["a"]) as outbox:
        assert held(path) == 1
        outbox.acknowledge("a", 4)
        assert held(path) == 0


def test_acknowledging_again_or_less_changes_nothing(outbox: Outbox) -> None:
    outbox.append(numbered(3))
    outbox.acknowledge("jsonl", 2)
    outbox.acknowledge("jsonl", 2)
    outbox.acknowledge("jsonl", 1)
    assert outbox.pending("jsonl") == 1


def test_what_was_never_appended_cannot_be_acknowledged(outbox: Outbox) -> None:
    outbox.append(numbered(1))
    with pytest.raises(ValueError, match="acknowledges event 2, but the last one is 1"):
        outbox.acknowledge("jsonl", 2)


def test_nothing_appended_is_nothing(outbox: Outbox) -> None:
    assert outbox.append([]) == 0
    assert outbox.read("jsonl", 9) == []


@pytest.mark.parametrize("sinks", [[], ["a", "a"]], ids=["none", "twice"])
def test_sinks_must_be_some_and_differ(path: Path, sinks: list[str]) -> None:
    with pytest.raises(ValueError, match="at least one sink and each once"):
        Outbox.open(path, sinks)


def test_an_unknown_sink_is_named_with_the_known(outbox: Outbox) -> None:
    with pytest.raises(UnknownSink, match=r"'webhook', only for jsonl, kafka"):
        outbox.read("webhook", 1)


def test_epochs_are_each_cameras_own_and_survive(path: Path) -> None:
    with Outbox.open(path, ["a"]) as outbox:
        assert [outbox.next_epoch("lobby"), outbox.next_epoch("lobby"), outbox.next_epoch("gate")] == [1, 2, 1]
    with Outbox.open(path, ["a"]) as outbox:
        assert [outbox.next_epoch("lobby"), outbox.next_epoch("gate")] == [3, 2]


def test_events_are_for_their_owner_alone(outbox: Outbox, path: Path) -> None:
    outbox.append(numbered(1))
    assert {each.stat().st_mode & 0o077 for each in path.parent.iterdir()} == {0}


def test_waiting_ends_with_an_event(outbox: Outbox) -> None:
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(outbox.wait("jsonl", 30)))
    thread.start()
    outbox.append(numbered(1))
    thread.join(30)
    assert answers == [True]
    assert outbox.wait("jsonl", 0)


def test_waiting_ends_at_the_timeout_by_wake_and_by_close(outbox: Outbox) -> None:
    assert not outbox.wait("jsonl", 0)
    enough = threading.Event()
    answers: list[bool] = []
    woken = threading.Thread(target=lambda: answers.append(outbox.wait("jsonl", 30, until=enough.is_set)))
    woken.start()
    enough.set()
    outbox.wake()
    woken.join(30)
    assert answers == [False]
    closed = threading.Thread(target=lambda: answers.append(outbox.wait("jsonl", 30)))
    closed.start()
    outbox.close()
    closed.join(30)
    assert answers == [False, True]


def test_many_threads_append_and_each_keeps_its_order(outbox: Outbox) -> None:
    def emit(camera: str) -> None:
        for event in numbered(40, camera):
            outbox.append([event])

    threads = [threading.Thread(target=emit, args=(f"camera{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = outbox.read("jsonl", 1000)
    assert [seq for seq, _ in rows] == list(range(1, 161))
    for number in range(4):
        mine = [event for _, event in rows if event.camera == f"camera{number}"]
        assert mine == numbered(40, f"camera{number}")


def test_closed_is_closed(outbox: Outbox) -> None:
    outbox.append(numbered(2))
    outbox.close()
    outbox.close()
    assert outbox.pending("jsonl") == 2
    for use in (
        lambda: outbox.append(numbered(1)),
        lambda: outbox.read("jsonl", 1),
        lambda: outbox.acknowledge("jsonl", 1),
        lambda: outbox.next_epoch("lobby"),
    ):
        with pytest.raises(OutboxClosed, match="is closed"):
            use()


def test_an_event_that_cannot_be_written_stores_nothing(outbox: Outbox) -> None:
    bad = Event(type="t", source="s", id="bad", subject="c", time_ns=0, data={"x": float("nan")}, camera="c")
    with pytest.raises(EventMalformed, match="bad"):
        outbox.append([*numbered(1), bad])
    assert outbox.pending("jsonl") == 0


def test_a_full_disk_is_an_error_that_stores_nothing_and_passes(outbox: Outbox, path: Path) -> None:
    outbox.append(numbered(1))
    pages = outbox._store._writer.execute("PRAGMA page_count").fetchone()[0]
    outbox._store._writer.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own stand-in for a full disk
    with pytest.raises(OutboxFull, match=r"outbox\.db: the disk is full; free some space") as caught:
        outbox.append(numbered(50, first=2))
    assert isinstance(caught.value, OSError)
    assert outbox.pending("jsonl") == 1
    outbox._store._writer.execute("PRAGMA max_page_count = 100000")
    assert outbox.append(numbered(1, first=2)) == 2
    assert ids(outbox.read("jsonl", 9)) == ["lobby/1/state/1", "lobby/1/state/2"]


def test_an_empty_file_is_a_new_outbox(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with Outbox.open(path, ["a"]) as outbox:
        assert outbox.append(numbered(1)) == 1
        assert outbox.repaired is None


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NotAnOutbox, match="of another program"):
        Outbox.open(path, ["a"])
    assert path.read_bytes() == before


def test_a_newer_layout_is_left_alone(path: Path) -> None:
    Outbox.open(path, ["a"]).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(OutboxError, match="layout 99"):
        Outbox.open(path, ["a"])


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match="file"):
        Outbox.open(tmp_path / "file" / "outbox.db", ["a"])


def test_a_second_opening_is_refused_and_names_the_holder(path: Path) -> None:
    code = (
        f"from pathlib import Path; from pipeline.events.outbox import Outbox; Outbox.open(Path({str(path)!r}), ['a'])"
    )
    with Outbox.open(path, ["a"]):
        with pytest.raises(OutboxLocked, match=r"in use by process \d+ \(lock .*outbox\.db\.lock\); stop it"):
            Outbox.open(path, ["a"])
        other = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        assert "OutboxLocked" in other.stderr
    Outbox.open(path, ["a"]).close()  # a failed attempt or a finished one leaves no lock behind


def test_what_append_returned_for_survives_a_kill(path: Path) -> None:
    code = """
import itertools, sys
from pathlib import Path
from pipeline.events.outbox import Outbox
from tests.pipeline.events.examples import numbered
outbox = Outbox.open(Path(sys.argv[1]), ["a"])
print(outbox.next_epoch("lobby"), flush=True)
for number in itertools.count(1):
    outbox.append(numbered(1, first=number))
    print(number, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(61)]
        child.kill()
        told += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    with Outbox.open(path, ["a"]) as outbox:
        events = [event for _, event in outbox.read("a", 1_000_000)]
        assert len(events) >= told[-1] >= 60
        assert events == numbered(len(events))
        assert outbox.next_epoch("lobby") == 2


def test_the_log_of_a_busy_outbox_stays_small(path: Path) -> None:
    with Outbox.open(path, ["a"]) as outbox:
        for first in range(1, 8001, 100):
            outbox.acknowledge("a", outbox.append(numbered(100, first=first)))
        log = path.with_name("outbox.db-wal")
        assert log.stat().st_size < 2_000_000  # 8,000 events are 4 MB
