from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.events import ledger as ledger_module
from pipeline.events.errors import LedgerError
from pipeline.events.event import Event
from pipeline.events.feed import Delivery, Start
from pipeline.events.ledger import Ledger
from pipeline.events.payload import SightingPayload
from tests.pipeline.events.examples import sighting
from tests.schemas import assert_valid

FEED = "Kafka topic events, group doors"


def record(number: int, *, lane: str = "events/0", epoch: int = 1) -> tuple[Delivery, Event, SightingPayload]:
    """The record with that offset, which holds the camera's event of that number."""
    payload = sighting(epoch=epoch, track=number, camera_sequence=number)
    event = payload.to_event()
    assert_valid(event)
    return Delivery(lane=lane, offset=number, next_offset=number + 1, place="here", event=event), event, payload


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger.open(path, FEED)) as opened:
        yield opened


def test_what_was_noted_is_known_to_the_next_process(path: Path, ledger: Ledger) -> None:
    delivery, event, payload = record(1)
    assert not ledger.knows(event)
    ledger.note(delivery, event, payload)
    assert ledger.knows(event)
    ledger.close()
    with contextlib.closing(Ledger.open(path, FEED)) as again:
        assert again.knows(event)
        assert not again.knows(record(2)[1])


def test_members_on_one_machine_share_it(path: Path, ledger: Ledger) -> None:
    with contextlib.closing(Ledger.open(path, FEED)) as other:
        ledger.note(*record(1))
        assert other.knows(record(1)[1])
        other.begin("events/0", Start(committed=2, skipped=False))
        assert other.expected(*record(3)) == 2
        other.note(*record(2))
        assert ledger.expected(*record(3)) is None


def test_what_is_older_than_is_kept_is_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_PURGE_EVERY", 0)
    now_s = [1000.0]
    with contextlib.closing(Ledger.open(path, FEED, keep_s=60.0, now_s=lambda: now_s[0])) as ledger:
        ledger.note(*record(1))
        now_s[0] += 60.0
        ledger.note(*record(2))
        assert ledger.knows(record(1)[1])
        now_s[0] += 1.0
        ledger.note(*record(3))
        assert [ledger.knows(record(number)[1]) for number in (1, 2, 3)] == [False, True, True]
        assert ledger.expected(*record(4)) is None  # the camera's number is not forgotten with them


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param(Start(committed=4, skipped=False), 4, id="where-we-left"),
        pytest.param(Start(committed=2, skipped=False), 4, id="before-where-we-left"),
        pytest.param(Start(committed=5, skipped=False), None, id="another-member-went-on"),
        pytest.param(Start(committed=None, skipped=False), 4, id="from-the-oldest"),
        pytest.param(Start(committed=None, skipped=True), 4, id="we-left-and-the-group-forgot"),
    ],
)
def test_who_did_not_see_everything_calls_nothing_lost(ledger: Ledger, start: Start, expected: int | None) -> None:
    ledger.begin("events/0", Start(committed=None, skipped=False))
    for number in (1, 2, 3):
        ledger.note(*record(number))
    ledger.begin("events/0", start)
    assert ledger.expected(*record(9)) == expected
    ledger.note(*record(9))
    assert ledger.expected(*record(11)) == 10  # from here on it sees everything
    assert ledger.expected(*record(3, epoch=2)) == 1


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        pytest.param(Start(committed=None, skipped=False), 1, id="oldest"),
        pytest.param(Start(committed=None, skipped=True), None, id="newest"),
        pytest.param(Start(committed=7, skipped=False), None, id="another-member-was-before-us"),
    ],
)
def test_a_lane_that_was_never_read(ledger: Ledger, start: Start, expected: int | None) -> None:
    ledger.begin("events/0", start)
    assert ledger.expected(*record(8)) == expected


def test_lanes_are_apart(ledger: Ledger) -> None:
    ledger.begin("events/0", Start(committed=None, skipped=False))
    ledger.begin("events/1", Start(committed=9, skipped=False))
    assert ledger.expected(*record(8)) == 1
    assert ledger.expected(*record(8, lane="events/1")) is None


def test_each_group_needs_its_own(path: Path, ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match=r"belongs to .*, group doors, not to .* group lights"):
        Ledger.open(path, "Kafka topic events, group lights")


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("no database" * 100)
    with pytest.raises(LedgerError, match=r"text\.db is damaged .* move it away"):
        Ledger.open(text, FEED)
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(LedgerError, match="another program"):
        Ledger.open(other, FEED)
    newer = tmp_path / "newer.db"
    Ledger.open(newer, FEED).close()
    with contextlib.closing(sqlite3.connect(newer)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="layout 99"):
        Ledger.open(newer, FEED)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="use a folder that can be written"):
        Ledger.open(tmp_path / "file" / "ledger.db", FEED)


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery, event, payload = record(1)

    def broken() -> float:
        raise ArithmeticError("clock")

    monkeypatch.setattr(ledger, "_now_s", broken)
    with pytest.raises(ArithmeticError):
        ledger.note(delivery, event, payload)
    assert not ledger.knows(event)
    monkeypatch.undo()
    ledger.note(delivery, event, payload)


def test_keeping_nothing_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match="keep_s"):
        Ledger.open(path, FEED, keep_s=0.0)
