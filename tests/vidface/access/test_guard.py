"""The order of things: judged, told, remembered, and only then opened; and what happens when one of them fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.event import Event
from tests.pipeline.events.examples import NOON_NS, camera_state
from tests.vidface.access.made import ALICE, BOB, SECOND_NS, FakeClock, door, revised, seen, site, with_data
from vidface.access.action import Opening
from vidface.access.audit import AuditLog
from vidface.access.door import Site
from vidface.access.errors import ActionFailed, ActionTimedOut, AuditError, LedgerError
from vidface.access.guard import Guard
from vidface.access.ledger import Ledger
from vidface.access.opener import Opener

PATIENCE_S = 30.0


class FakeAction:
    """Notes what it opens, and looks at what is on the disk by then."""

    timeout_s = 5.0

    def __init__(self, then: Callable[[Opening], None] = lambda _opening: None) -> None:
        self.opened: list[Opening] = []
        self._then = then

    def run(self, opening: Opening) -> None:
        self.opened.append(opening)
        self._then(opening)


class Post:
    """A guard with all that belongs to it, in a folder; may be started again on the same one."""

    def __init__(self, folder: Path, doors: Site, *, dry_run: bool = False) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.doors = doors
        self.dry_run = dry_run
        self.action = FakeAction()
        self.actions: dict[str, FakeAction] | None = None
        self.failures = threading.Event()

    def run(self, *events: Event | str, after: Callable[[Guard], None] = lambda _guard: None) -> int:
        """One life of the process; returns how many actions it found unfinished."""
        with ExitStack() as stack:
            audit = stack.enter_context(AuditLog(self.folder / "audit.jsonl"))
            ledger = stack.enter_context(Ledger(None if self.dry_run else self.folder / "ledger.db"))
            opener = None
            if not self.dry_run:
                actions = self.actions or {each.id: self.action for each in self.doors.doors}
                opener = Opener(actions, ledger, audit, on_failure=self.failures.set, now_ns=lambda: self.clock.now_ns)
                stack.enter_context(opener)
            guard = Guard(self.doors, ledger, audit, opener, look=self.clock.look)
            unfinished = guard.begin()
            for event in events:
                if isinstance(event, str):
                    guard.malformed(event)
                else:
                    guard.handle(event)
            after(guard)
            return unfinished

    def log(self, kind: str = "decision") -> list[dict[str, Any]]:
        lines = (self.folder / "audit.jsonl").read_text(encoding="utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]

    def reasons(self) -> list[str]:
        return [entry["reason"] for entry in self.log()]

    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.log("action")]


@pytest.fixture
def post(tmp_path: Path) -> Post:
    return Post(tmp_path, site(door(hold_off_ns=10 * SECOND_NS)))


def test_it_opens_and_says_so(post: Post) -> None:
    told_before: list[int] = []
    post.action = FakeAction(lambda _opening: told_before.append(len(post.log())))
    post.run(seen())
    (opening,) = post.action.opened
    assert told_before == [1], "the decision was not on the disk when the action ran"
    assert (opening.door, opening.rule, opening.event_id) == ("main", "staff", "lobby/2/7/2")
    assert opening.expires_ns == opening.captured_ns + 3 * SECOND_NS
    (entry,) = post.log()
    assert entry["decision"] == "opened"
    assert (entry["door"], entry["rule"], entry["reason"]) == ("main", "staff", "allowed")
    assert entry["event"] == {
        "source": "/vidface/cameras/lobby",
        "id": "lobby/2/7/2",
        "type": "vidface.sighting.identified",
    }
    assert entry["people"] == [{"id": "p-alice", "name": "Alice"}]
    assert entry["age_ms"] == 200.0
    (outcome,) = post.log("action")
    assert (outcome["outcome"], outcome["door"], outcome["event"]["id"]) == ("done", "main", "lobby/2/7/2")


def test_a_repeated_event_never_opens_twice_not_even_after_a_restart(post: Post) -> None:
    post.run(seen(), seen())
    post.clock.now_ns += SECOND_NS
    post.run(seen())
    assert len(post.action.opened) == 1
    assert post.reasons() == ["allowed", "duplicate", "duplicate"]


def test_the_hold_off_and_a_take_back_survive_a_restart(post: Post) -> None:
    post.run(seen(), revised(ALICE, None, track=8))
    post.run(seen(track=9), revised(None, BOB, track=8, sequence=4))
    assert post.reasons() == ["allowed", "taken_back", "hold_off", "taken_back"]


def test_nothing_that_is_malformed_or_unknown_stops_it(post: Post) -> None:
    post.run(
        "line at byte 7: not JSON",
        with_data(seen(), shots=None),
        camera_state().to_event(),
        seen(camera="attic"),
        seen(camera="attic", track=8),
        seen(),
    )
    assert post.reasons() == ["malformed", "malformed", "unknown_camera", "allowed"]
    assert post.log()[0]["event"] is None
    assert len(post.action.opened) == 1


def test_half_a_surrogate_pair_is_written_down(post: Post) -> None:
    post.run(seen(BOB, reason="\ud800"), with_data(seen(), reason=None, detector="\ud800"))
    assert len(post.log()) == 2


def test_a_dry_run_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    post = Post(tmp_path, site(), dry_run=True)
    post.run(seen(), seen())
    assert [(entry["decision"], entry["dry_run"]) for entry in post.log()] == [("opened", True), ("refused", True)]
    assert post.log("action") == []
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        pytest.param(ActionFailed("status 500"), "failed", id="failed"),
        pytest.param(ActionFailed("refused", nothing_begun=True), "not_begun", id="not-begun"),
        pytest.param(ActionTimedOut("no answer"), "timed_out", id="timed-out"),
        pytest.param(ActionTimedOut("no way", nothing_begun=True), "not_begun", id="timed-out-before-it-began"),
        pytest.param(ZeroDivisionError("secret"), "failed", id="broken"),
    ],
)
def test_an_action_that_fails_is_told_and_not_repeated(post: Post, error: Exception, outcome: str) -> None:
    def fail(_opening: Opening) -> None:
        raise error

    post.action = FakeAction(fail)
    post.run(seen())
    post.run(seen())
    assert len(post.action.opened) == 1
    assert post.outcomes() == [outcome]
    assert "secret" not in json.dumps(post.log("action"))


def test_after_an_action_that_did_not_begin_the_person_may_try_again(post: Post) -> None:
    def fail(_opening: Opening) -> None:
        raise ActionFailed("refused", nothing_begun=True)

    post.action = FakeAction(fail)
    post.run(seen())
    post.run(seen(track=8))
    assert post.reasons() == ["allowed", "allowed"]


def test_an_opening_whose_turn_comes_too_late_is_dropped(post: Post) -> None:
    """A first opening holds the door's thread until the second one's picture is too old."""

    def hang(_opening: Opening) -> None:
        assert queued.wait(PATIENCE_S)
        post.clock.now_ns += 10 * SECOND_NS

    queued = threading.Event()
    post.action = FakeAction(hang)
    post.run(seen(), seen(BOB, track=8), after=lambda _guard: queued.set())
    assert [each.event_id for each in post.action.opened] == ["lobby/2/7/2"]
    assert post.outcomes() == ["done", "not_begun"]


def test_a_door_that_hangs_holds_no_other_back(tmp_path: Path) -> None:
    other_is_open = threading.Event()
    hanging = FakeAction(lambda _opening: _wait(other_is_open))
    quick = FakeAction(lambda _opening: other_is_open.set())
    post = Post(tmp_path, site(door(), door(id="side")))
    post.actions = {"main": hanging, "side": quick}
    post.run(seen())
    assert sorted(post.outcomes()) == ["done", "done"]
    assert len(hanging.opened) == len(quick.opened) == 1


def _wait(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("set_by_s", "floor_s", "reason"),
    [
        pytest.param(0, 0, "allowed", id="all-well"),
        pytest.param(-1, 0, "clock_backwards", id="set-back-since-the-last-event"),
        pytest.param(0, 5, "clock_backwards", id="set-back-while-nothing-happened"),
    ],
)
def test_the_clock(post: Post, set_by_s: int, floor_s: int, reason: str) -> None:
    post.run(seen(BOB, track=1))
    post.clock.now_ns += set_by_s * SECOND_NS
    post.clock.floor_ns = NOON_NS + floor_s * SECOND_NS
    post.run(seen(now_ns=post.clock.now_ns))
    assert post.reasons() == ["allowed", reason]


def test_without_an_audit_log_nothing_opens(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.events.line_file.LineFile.append", full)
    with pytest.raises(AuditError, match="no door opens without an audit log"):
        post.run(seen())
    assert post.action.opened == []
    monkeypatch.undo()
    post.run(seen())  # it was not handled
    assert len(post.action.opened) == 1


def test_without_a_ledger_nothing_opens(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LedgerError(None, "database or disk is full")

    monkeypatch.setattr("vidface.access.ledger.Ledger.handled", fail)
    with pytest.raises(LedgerError, match="no door opens without it"):
        post.run(seen())
    assert post.action.opened == []


def test_a_crash_between_ledger_and_action_opens_never_and_is_told(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    monkeypatch.setattr("vidface.access.opener.Opener.open", die)
    with pytest.raises(Killed):
        post.run(seen())
    monkeypatch.undo()
    assert post.run(seen()) == 1
    assert post.action.opened == []
    assert post.reasons() == ["allowed", "duplicate"]
    assert post.outcomes() == ["unknown"]


def test_an_outcome_that_cannot_be_written_ends_it(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LedgerError(None, "database or disk is full")

    monkeypatch.setattr("vidface.access.ledger.Ledger.finished", fail)

    def then(guard: Guard) -> None:
        assert post.failures.wait(PATIENCE_S)
        with pytest.raises(LedgerError):
            guard.handle(seen(track=8))

    with pytest.raises(LedgerError):
        post.run(seen(), after=then)
    assert len(post.action.opened) == 1


def test_a_door_without_an_action_is_told(tmp_path: Path) -> None:
    post = Post(tmp_path, site())
    post.actions = {"another": post.action}
    post.run(seen())
    assert post.log("action")[0]["words"] == "the door has no action; nothing was run"
