from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.events.event import Event
from tests.pipeline.events.examples import NOON_NS
from tests.vidface.access.made import ALICE, SECOND_NS, door, revised, said, seen, site
from vidface.access.errors import LedgerError, LedgerLocked
from vidface.access.ledger import _PRUNE_EVERY, KEPT_NS, Ledger, Outcome
from vidface.access.past import Past
from vidface.access.rules import judge

DOORS = site(door(hold_off_ns=SECOND_NS))


def look(ledger: Ledger, event: Event) -> Past:
    return ledger.look(event, said(event), ["main"])


def handle(ledger: Ledger, event: Event, now_ns: int = NOON_NS) -> None:
    decisions = judge(DOORS, event, now_ns, look(ledger, event))
    ledger.handled(event, said(event), decisions, now_ns)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


def test_nothing_was_before(path: Path) -> None:
    with Ledger(path) as ledger:
        assert look(ledger, seen()) == Past(waiting={"main": ()})
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("reopened", [False, True])
def test_what_was_handled_is_remembered_across_a_restart(path: Path, reopened: bool) -> None:
    ledger = Ledger(path)
    handle(ledger, seen())
    handle(ledger, revised(ALICE, None, track=8), NOON_NS + 5)
    if reopened:
        ledger.close()
        ledger = Ledger(path)
    with ledger:
        past = look(ledger, seen())
        assert (past.is_handled, past.sequence, past.is_taken_back) == (True, 2, False)
        assert (past.latest_ns, past.opened_ns) == (NOON_NS + 5, {"main": NOON_NS})
        assert look(ledger, revised(None, ALICE, track=8, sequence=4)).is_taken_back


def test_an_action_is_claimed_once(path: Path) -> None:
    """Even by decisions that were made without looking."""
    event = seen()
    decisions = judge(DOORS, event, NOON_NS, Past())
    assert decisions[0].opens
    with Ledger(path) as ledger:
        ledger.handled(event, said(event), decisions, NOON_NS)
        with pytest.raises(LedgerError, match="no door opens without it"):
            ledger.handled(event, said(event), decisions, NOON_NS + 1)
        assert look(ledger, event).latest_ns == NOON_NS  # all of it or nothing


@pytest.mark.parametrize(
    ("outcome", "holds_off"),
    [
        (Outcome.DONE, True),
        (Outcome.FAILED, True),
        (Outcome.TIMED_OUT, True),
        (Outcome.NOT_BEGUN, False),
    ],
)
def test_what_certainly_did_not_open_does_not_hold_off(path: Path, outcome: Outcome, holds_off: bool) -> None:
    event = seen()
    with Ledger(path) as ledger:
        handle(ledger, event)
        ledger.finished(event, "main", outcome)
        assert ("main" in look(ledger, event).opened_ns) is holds_off
        assert look(ledger, event).is_handled  # it is not run again all the same
        assert ledger.take_unfinished() == []


def test_unfinished_actions_are_told_once(path: Path) -> None:
    with Ledger(path) as ledger:
        handle(ledger, seen())
    with Ledger(path) as ledger:
        (unfinished,) = ledger.take_unfinished()
        assert (unfinished.id, unfinished.door, unfinished.at_ns) == ("lobby/2/7/2", "main", NOON_NS)
        assert ledger.take_unfinished() == []


def test_the_clock_only_goes_on_unless_somebody_says_so(path: Path) -> None:
    with Ledger(path) as ledger:
        handle(ledger, seen(), NOON_NS)
        handle(ledger, seen(track=8), NOON_NS - 3600 * SECOND_NS)
        assert look(ledger, seen(track=9)).latest_ns == NOON_NS
        ledger.accept_clock(NOON_NS - 3600 * SECOND_NS)
        assert look(ledger, seen(track=9)).latest_ns == NOON_NS - 3600 * SECOND_NS


def test_old_rows_are_forgotten_and_young_ones_kept(path: Path) -> None:
    with Ledger(path) as ledger:
        handle(ledger, seen())
        for number in range(_PRUNE_EVERY):
            now_ns = NOON_NS + KEPT_NS + SECOND_NS * number + 1
            handle(ledger, seen(track=100 + number, now_ns=now_ns), now_ns)
        assert not look(ledger, seen()).is_handled
        assert look(ledger, seen(track=100)).is_handled


def test_two_processes_do_not_share_it(path: Path) -> None:
    with Ledger(path), pytest.raises(LedgerLocked, match="another process decides for these doors"):
        Ledger(path)
    Ledger(path).close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"no database at all, but long enough to be taken for one\n" * 40, "not a database", id="damaged"),
        pytest.param(None, "is no ledger of this version", id="somebody-elses"),
    ],
)
def test_what_is_no_ledger(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "ledger.db"
    if content is None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE other (x)")
        connection.close()
    else:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=words) as caught:
        Ledger(path)
    assert str(path) in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match="no door opens without it"):
        Ledger(tmp_path / "file" / "ledger.db")


def test_a_full_disk_opens_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        handle(ledger, seen())
        pages = ledger._connection.execute("PRAGMA page_count").fetchone()[0]
        ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LedgerError, match="full"):
            _fill(ledger)
        ledger._connection.execute(f"PRAGMA max_page_count = {pages + 100}")
        handle(ledger, seen(track=5000))


def _fill(ledger: Ledger) -> None:
    for track in range(100, 2000):
        handle(ledger, seen(track=track))
