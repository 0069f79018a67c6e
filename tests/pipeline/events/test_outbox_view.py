"""The outbox seen from outside, also while it is in use."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.events.errors import NotAnOutbox, NothingKept, OutboxCorrupt, OutboxError, OutboxLocked, UnknownSink
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import OutboxOptions
from pipeline.events.outbox_view import OutboxView, Replayed, SinkPlace, replay
from tests.pipeline.events.examples import NOON_NS, numbered

ROOT = Path(__file__).parents[3]
NOON_MS = NOON_NS // 1_000_000
KEEP = OutboxOptions(keep_s=3600)


def noon() -> int:
    return NOON_NS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten kept events of which a has all, b seven, one second apart."""
    path = tmp_path / "outbox.db"
    now_ns = NOON_NS
    with Outbox.open(path, ["a", "b"], KEEP, now_ns=lambda: now_ns) as outbox:
        for event in numbered(10):
            outbox.append([event])
            now_ns += 1_000_000_000
        outbox.acknowledge("a", 10)
        outbox.acknowledge("b", 7)
    return path


def files(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()}


def test_how_it_stands(path: Path) -> None:
    before = files(path)
    with OutboxView.open(path) as view:
        state = view.state()
    assert state.sinks == (
        SinkPlace(sink="a", pending=0, oldest_ms=None, dropped=0),
        SinkPlace(sink="b", pending=3, oldest_ms=NOON_MS + 7000, dropped=0),
    )
    assert (state.last_seq, state.held, state.kept) == (10, 10, 7)
    assert 0 < state.used_bytes <= state.file_bytes == path.stat().st_size
    assert {name for name in files(path) - before if not name.endswith(("-wal", "-shm"))} == set()
    with Outbox.open(path, ["a", "b"], KEEP, now_ns=noon) as outbox:  # looking left nothing that is in the way
        assert outbox.pending("b") == 3


def test_looking_while_another_process_has_it_open(path: Path) -> None:
    code = """
import sys
from pathlib import Path
from pipeline.events.outbox_view import OutboxView
with OutboxView.open(Path(sys.argv[1])) as view:
    print(view.state().sinks[1].pending, [event.id for event in view.pending("b")][-1])
"""
    with Outbox.open(path, ["a", "b"], KEEP, now_ns=noon) as outbox:
        outbox.append(numbered(1, first=11))
        looked = subprocess.run(
            [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        assert looked.stdout == "4 lobby/1/state/11\n", looked.stderr
        outbox.acknowledge("b", outbox.append(numbered(1, first=12)))
        assert outbox.pending("b") == 0


def test_what_waits(path: Path) -> None:
    with OutboxView.open(path) as view:
        assert list(view.pending()) == numbered(3, first=8)
        assert list(view.pending("a")) == []
        assert list(view.pending("b")) == numbered(3, first=8)
        with pytest.raises(UnknownSink, match=r"has no sink 'c'; it has: a, b"):
            list(view.pending("c"))


def test_more_waits_than_is_read_at_a_time(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "outbox.db", ["a"]) as outbox:
        outbox.append(numbered(1234))
        with OutboxView.open(tmp_path / "outbox.db") as view:
            assert list(view.pending()) == numbered(1234)


@pytest.mark.parametrize(
    ("start", "sinks", "expected"),
    [
        pytest.param(
            {"from_seq": 4},
            (),
            [
                Replayed(sink="a", events=7, pending=7, first_seq=4),
                Replayed(sink="b", events=4, pending=7, first_seq=4),
            ],
            id="all-from-a-number",
        ),
        pytest.param(
            {"from_ms": NOON_MS + 2500},
            ("a",),
            [Replayed(sink="a", events=7, pending=7, first_seq=4)],
            id="one-from-a-time",
        ),
        pytest.param(
            {"from_seq": 9},
            (),
            [
                Replayed(sink="a", events=2, pending=2, first_seq=9),
                Replayed(sink="b", events=0, pending=3, first_seq=8),
            ],
            id="never-forward",
        ),
        pytest.param(
            {"from_seq": 0},
            ("b",),
            [Replayed(sink="b", events=7, pending=10, first_seq=1)],
            id="from-the-oldest-kept",
        ),
    ],
)
def test_replay(path: Path, start: dict[str, int], sinks: tuple[str, ...], expected: list[Replayed]) -> None:
    assert list(replay(path, sinks=sinks, **start)) == expected
    with Outbox.open(path, ["a", "b"], KEEP, now_ns=noon) as outbox:
        for each in expected:
            assert outbox.pending(each.sink) == each.pending
            assert [seq for seq, _ in outbox.read(each.sink, 99)] == list(range(each.first_seq, 11))


def test_replayed_events_are_not_forgotten_although_their_time_is_over(path: Path) -> None:
    replay(path, sinks=["b"], from_seq=3)
    with Outbox.open(path, ["a", "b"]) as outbox:
        assert [event for _, event in outbox.read("b", 99)] == numbered(8, first=3)


def test_replay_is_refused_while_it_is_in_use(path: Path) -> None:
    opened = Outbox.open(path, ["a", "b"], KEEP, now_ns=noon)
    with opened, pytest.raises(OutboxLocked, match=r"in use by process \d+"):
        replay(path, from_seq=1)
    replay(path, from_seq=1)  # and leaves no lock behind
    replay(path, from_seq=1)


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        pytest.param({"from_seq": 11}, NothingKept, "keeps no event from then on; outbox.keep_h", id="too-late"),
        pytest.param({"from_ms": NOON_MS + 10_000}, NothingKept, "keeps no event", id="too-late-by-time"),
        pytest.param({"from_seq": 1, "sinks": ["c"]}, UnknownSink, "has no sink 'c'", id="no-such-sink"),
        pytest.param({}, ValueError, "not from both", id="from-nowhere"),
        pytest.param({"from_seq": 1, "from_ms": 1}, ValueError, "not from both", id="from-two"),
    ],
)
def test_what_cannot_be_replayed(path: Path, start: dict[str, int], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        replay(path, **start)  # type: ignore[arg-type]
    with OutboxView.open(path) as view:
        assert [sink.pending for sink in view.state().sinks] == [0, 3]


def test_what_is_no_outbox(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    for look in (OutboxView.open, lambda place: replay(place, from_seq=1)):
        with pytest.raises(OutboxError, match="there is no outbox"):
            look(path)
    assert list(tmp_path.iterdir()) == []
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(NotAnOutbox):
        OutboxView.open(path)
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(OutboxCorrupt, match="at the next start it is set aside"):
        OutboxView.open(path)


def test_a_damaged_event_is_not_exported(path: Path) -> None:
    content = path.read_bytes()
    place = content.index(b"lobby/1/state/9")
    path.write_bytes(content[:place] + b"lobbz" + content[place + 5 :])
    with OutboxView.open(path) as view, pytest.raises(OutboxCorrupt, match="event 9 is not what was stored"):
        list(view.pending())
