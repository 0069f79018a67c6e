"""A damaged file is set aside, what can be trusted goes on, and no epoch comes twice."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.events import outbox_repair
from pipeline.events.errors import OutboxCorrupt, OutboxError
from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_file import checksum
from pipeline.events.outbox_repair import first_epoch_by_time
from tests.pipeline.events.examples import NOON_NS, camera_state, dropped, numbered
from tests.schemas import assert_valid

PAGE = 4096
STAMP = "20260131T120000Z"
NOON_S = NOON_NS // 1_000_000_000


def noon() -> int:
    return NOON_NS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sound outbox with 300 events for two sinks, of which one has 20."""
    path = tmp_path / "outbox.db"
    with Outbox.open(path, ["a", "b"]) as outbox:
        assert [outbox.next_epoch("lobby") for _ in range(3)] == [1, 2, 3]
        outbox.append(numbered(300))
        outbox.acknowledge("a", 20)
    return path


def overwrite(path: Path, first_page: int, pages: int, junk: bytes = b"\xa5") -> None:
    content = bytearray(path.read_bytes())
    content[first_page * PAGE : (first_page + pages) * PAGE] = (junk * PAGE)[:PAGE] * pages
    path.write_bytes(content)


def page_of(path: Path, text: bytes) -> int:
    return path.read_bytes().index(text) // PAGE


def ids(outbox: Outbox, sink: str) -> list[str]:
    events = [event for _, event in outbox.read(sink, 10_000)]
    for event in events:
        assert_valid(event)
    return [event.id for event in events]


def aside(path: Path) -> Path:
    return path.with_name(f"outbox.db.damaged-{STAMP}")


def a_page_of_events(path: Path) -> None:
    overwrite(path, page_of(path, b"lobby/1/state/100"), 1)


def the_first_page_of_events(path: Path) -> None:
    overwrite(path, page_of(path, b'lobby/1/state/1"'), 1)


def the_last_page_of_events(path: Path) -> None:
    overwrite(path, page_of(path, b"lobby/1/state/300"), 1)


def many_pages(path: Path) -> None:
    first = page_of(path, b'lobby/1/state/60"')
    overwrite(path, first, page_of(path, b'lobby/1/state/240"') - first)


def a_letter_of_a_name(path: Path) -> None:
    """SQLite's own check does not see this."""
    content = path.read_bytes()
    place = content.index(b"lobby/1/state/100")
    path.write_bytes(content[:place] + b"lobbz" + content[place + 5 :])


def the_places_of_the_sinks(path: Path) -> None:
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'cursors'").fetchone()[0]
    connection.close()
    overwrite(path, root - 1, 1)


def the_epochs(path: Path) -> None:
    connection = sqlite3.connect(path)
    root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'epochs'").fetchone()[0]
    connection.close()
    overwrite(path, root - 1, 1)


@pytest.mark.parametrize(
    ("damage", "least"),
    [
        pytest.param(a_page_of_events, 290, id="a-page-of-events"),
        pytest.param(the_first_page_of_events, 290, id="the-first-page-of-events"),
        pytest.param(the_last_page_of_events, 290, id="the-last-page-of-events"),
        pytest.param(many_pages, 100, id="many-pages"),
        pytest.param(a_letter_of_a_name, 299, id="a-letter"),
        pytest.param(the_places_of_the_sinks, 300, id="the-places-of-the-sinks"),
        pytest.param(the_epochs, 300, id="the-epochs"),
    ],
)
def test_what_is_sound_goes_on(
    path: Path, damage: Callable[[Path], None], least: int, caplog: pytest.LogCaptureFixture
) -> None:
    damage(path)
    damaged = path.read_bytes()
    sound = [event.id for event in numbered(300)]
    with Outbox.open(path, ["a", "b"], now_ns=noon) as outbox:
        recovered = ids(outbox, "b")
        assert recovered == ids(outbox, "a"), "places can't be trusted: every sink gets all"
        assert recovered == [each for each in sound if each in set(recovered)], "in order, none twice, none invented"
        assert least <= len(recovered) <= 300
        assert outbox.repaired is not None
        assert outbox.repaired.recovered == len(recovered)
        assert outbox.append(numbered(1, first=301)) == len(recovered) + 1
        assert outbox.next_epoch("lobby") >= NOON_S
    assert aside(path).read_bytes() == damaged
    (message,) = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert f"{path} was damaged (" in message
    assert f"set aside as {aside(path)}; {len(recovered)} of its events could be read" in message
    with Outbox.open(path, ["a", "b"], now_ns=noon) as outbox:
        assert outbox.repaired is None
        assert len(ids(outbox, "a")) == len(recovered) + 1


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"this is no database, and long enough to be one" * 20, id="text"),
        pytest.param(b"\0" * 8 * PAGE, id="zeros"),
        pytest.param(b"SQLite format 3\0" + b"\xff" * 8 * PAGE, id="a-head-alone"),
    ],
)
def test_what_is_no_database_at_all_is_set_aside(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with Outbox.open(path, ["a"], now_ns=noon) as outbox:
        assert outbox.read("a", 10) == []
        assert outbox.next_epoch("lobby") == NOON_S
        assert outbox.next_state_number("lobby") == NOON_S
    assert aside(path).read_bytes() == content


def test_a_file_that_was_cut_short(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 // PAGE * PAGE])
    with Outbox.open(path, ["a"], now_ns=noon) as outbox:
        recovered = ids(outbox, "a")
    assert recovered == [event.id for event in numbered(300) if event.id in set(recovered)]


def test_the_log_is_set_aside_with_its_file_and_read(path: Path, tmp_path: Path) -> None:
    """As a crash leaves it: events in the log that are not in the file yet."""
    with Outbox.open(path, ["a", "b"]) as outbox:
        outbox.append(numbered(50, first=301))
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for each in tmp_path.glob("outbox.db*"):
            if each.suffix != ".lock":
                shutil.copy(each, crashed)
    there = crashed / path.name
    a_page_of_events(there)
    with Outbox.open(there, ["a", "b"], now_ns=noon) as outbox:
        assert ids(outbox, "a")[-1] == "lobby/1/state/350"


def test_two_damaged_files_of_one_second_have_two_names(path: Path) -> None:
    for _ in range(2):
        path.write_bytes(b"no database" * 200)
        Outbox.open(path, ["a"], now_ns=noon).close()
    assert {each.name for each in path.parent.glob("*damaged*")} == {aside(path).name, f"{aside(path).name}-2"}


def test_epochs_do_not_repeat_where_the_clock_was_set_back(path: Path) -> None:
    path.write_bytes(b"no database" * 200)
    with Outbox.open(path, ["a"], now_ns=noon) as outbox:
        highest = [outbox.next_epoch("lobby") for _ in range(5)][-1]
        outbox.append(numbered(100))
    overwrite(path, page_of(path, b"lobby/1/state/50"), 1)
    with Outbox.open(path, ["a"], now_ns=lambda: NOON_NS - 3600 * 1_000_000_000) as outbox:
        assert outbox.next_epoch("lobby") > highest
        assert outbox.next_epoch("gate") > highest, "a camera that the damaged file may have known"


def test_epochs_begin_with_the_time_where_the_file_was_taken_away(path: Path) -> None:
    path.unlink()
    with Outbox.open(path, ["a"], now_ns=noon) as outbox:
        assert [outbox.next_epoch("lobby"), outbox.next_epoch("lobby")] == [NOON_S, NOON_S + 1]


def test_the_time_as_an_epoch() -> None:
    assert first_epoch_by_time(NOON_NS) == 1_769_860_800
    assert first_epoch_by_time(0) == 1


@pytest.mark.parametrize("dies_at", ["_recover", "_aside", "_move_companions"])
def test_a_process_that_dies_while_it_repairs_loses_nothing(
    path: Path, dies_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_page_of_events(path)

    def die(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(outbox_repair, dies_at, die)
        with pytest.raises(KeyboardInterrupt):
            Outbox.open(path, ["a"], now_ns=noon)
    with Outbox.open(path, ["a"], now_ns=noon) as outbox:
        assert len(ids(outbox, "a")) >= 290
        assert outbox.next_epoch("lobby") >= NOON_S


def test_what_says_what_was_dropped_is_known_as_such_afterwards(path: Path) -> None:
    with Outbox.open(path, ["a", "b"]) as outbox:
        outbox.append([dropped().to_event()])
        outbox.append(numbered(100, first=301))
    a_page_of_events(path)
    with Outbox.open(path, ["a", "b"], now_ns=noon) as outbox:
        notices = [seq for (seq,) in outbox._store._writer.execute("SELECT seq FROM notices")]
        assert [event.type for seq, event in outbox.read("a", 1000) if seq in notices] == ["vidface.outbox.dropped"]


def test_damage_that_is_found_while_running_is_an_error(path: Path) -> None:
    with Outbox.open(path, ["a", "b"]) as outbox:
        outbox._store._writer.execute("UPDATE events SET body = replace(body, 'lobby', 'lobbz') WHERE seq = 100")
        assert len(outbox.read("b", 99)) == 99
        with pytest.raises(
            OutboxCorrupt, match=r"is damaged \(event 100 is not what was stored\).*at the next start it"
        ):
            outbox.read("b", 100)


def old_layout(path: Path, events: list[Event]) -> None:
    """Make a file as version 0.1 did."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in (
        "CREATE TABLE events (seq INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        "CREATE TABLE cursors (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE epochs (camera TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
        f"PRAGMA application_id = {0x56464F42}",
        "PRAGMA user_version = 1",
    ):
        connection.execute(statement)
    connection.executemany("INSERT INTO events VALUES (?, ?)", [(n, e.to_json()) for n, e in enumerate(events, 11)])
    connection.execute("INSERT INTO cursors VALUES ('a', 12), ('b', 10)")
    connection.execute("INSERT INTO epochs VALUES ('lobby', 7)")
    connection.close()


def test_layout_1_is_brought_up_to_date_in_place(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    events = [*numbered(4), camera_state(5, detail="Ångström").to_event()]
    old_layout(path, events)
    for _ in range(2):  # and it stays so
        with Outbox.open(path, ["a", "b"]) as outbox:
            assert outbox.read("b", 9) == list(enumerate(events, 11))
            assert [seq for seq, _ in outbox.read("a", 9)] == [13, 14, 15]
            writer = outbox._store._writer
            assert writer.execute("PRAGMA user_version").fetchone()[0] == 2
            assert writer.execute("PRAGMA auto_vacuum").fetchone()[0] == 2
            rows = writer.execute("SELECT seq, body, stored_ms, checksum FROM events").fetchall()
            assert [row[2] for row in rows] == [event.time_ns // 1_000_000 for event in events]
            assert [row[3] for row in rows] == [checksum(seq, body.encode()) for seq, body, _, _ in rows]
    with Outbox.open(path, ["a", "b"]) as outbox:
        assert outbox.next_epoch("lobby") == 8
        assert outbox.next_epoch("gate") == 1
        assert outbox.append(numbered(1, first=6)) == 16


def test_a_damaged_file_of_layout_1_has_nothing_that_can_be_trusted(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    old_layout(path, numbered(100))
    overwrite(path, page_of(path, b"lobby/1/state/50"), 1)
    with Outbox.open(path, ["a", "b"], now_ns=noon) as outbox:
        assert outbox.read("a", 9) == []
        assert outbox.next_epoch("lobby") == NOON_S
    assert aside(path).exists()


def test_a_folder_that_cannot_be_written_leaves_the_file_where_it_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_page_of_events(path)
    content = path.read_bytes()

    def refuse(*_: object) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OutboxError, match=r"cannot repair outbox .*outbox\.db: Permission denied"):
        Outbox.open(path, ["a"])
    assert path.read_bytes() == content
