"""What goes on beside appending: sinks of any pace, deleting, keeping, compacting, and disks that are full."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.events import outbox_store
from pipeline.events.errors import OutboxFull
from pipeline.events.event import Event
from pipeline.events.fake import MemorySink
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_options import Durability, OutboxOptions
from pipeline.events.publisher import Publisher
from tests.pipeline.events.examples import NOON_NS, numbered
from tests.pipeline.events.test_outbox import held

ROOT = Path(__file__).parents[3]
HOUR_S = 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


class NeverSink:
    """Takes a batch and does not come back until it is closed."""

    name = "never"

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.closed = threading.Event()

    def deliver(self, events: Sequence[Event]) -> None:  # noqa: ARG002 - it takes them and does nothing
        self.entered.set()
        self.closed.wait(60)

    def close(self) -> None:
        self.closed.set()


def test_a_sink_that_never_answers_holds_up_neither_the_others_nor_appending(path: Path) -> None:
    quick, never = MemorySink("quick"), NeverSink()
    with Outbox.open(path, ["quick", "never"]) as outbox:
        publisher = Publisher(outbox, [quick, never])
        outbox.append(numbered(1))
        publisher.start()
        assert never.entered.wait(60)
        for event in numbered(3000, first=2):
            outbox.append([event])
        assert quick.wait_for(3001, 60) == numbered(3001)
        assert not never.closed.is_set()
        assert outbox.pending("never") == held(path) == 3001
        never.closed.set()
        publisher.stop(drain_timeout_s=60)
        assert outbox.pending("never") == held(path) == 0


def test_a_drained_backlog_gives_its_room_back_while_events_go_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_store, "_COMPACT_FROM_PAGES", 64)
    monkeypatch.setattr(outbox_store, "_COMPACT_TO_PAGES", 16)
    sink = MemorySink("a")
    with Outbox.open(path, ["a"]) as outbox:
        outbox.append(numbered(4000))
        publisher = Publisher(outbox, [sink])
        publisher.start()
        for event in numbered(500, first=4001):
            outbox.append([event])
        assert sink.wait_for(4500, 60) == numbered(4500)
        shrunk = threading.Event()
        for _ in range(600):  # of 50 ms: how quickly is the disk's affair
            if outbox._store._writer.execute("PRAGMA page_count").fetchone()[0] < 64:
                shrunk.set()
                break
            outbox.wait("a", 0.05)
        assert shrunk.is_set()
        publisher.stop()
    assert path.stat().st_size < 64 * 4096
    with Outbox.open(path, ["a"]) as outbox:
        assert outbox.append(numbered(1)) == 4501


def test_a_backlog_that_still_waits_is_not_compacted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_store, "_COMPACT_FROM_PAGES", 16)
    with Outbox.open(path, ["a"]) as outbox:
        outbox.append(numbered(2000))
        outbox.acknowledge("a", 500)
        pages = outbox._store._writer.execute("PRAGMA page_count").fetchone()[0]
        assert outbox._store.keep_order() is None
        assert outbox._store._writer.execute("PRAGMA page_count").fetchone()[0] == pages
        assert len(outbox.read("a", 5000)) == 1500


class TestKeeping:
    """Delivered events stay for a while."""

    def test_they_go_when_their_time_is_over(self, path: Path) -> None:
        now_ns = NOON_NS
        with Outbox.open(path, ["a"], OutboxOptions(keep_s=HOUR_S), now_ns=lambda: now_ns) as outbox:
            outbox.acknowledge("a", outbox.append(numbered(30)))
            now_ns += HOUR_S * 500_000_000
            outbox.acknowledge("a", outbox.append(numbered(10, first=31)))
            assert held(path) == 40
            assert outbox.read("a", 99) == []
            due_s = outbox._store.keep_order()
            assert due_s == pytest.approx(HOUR_S / 2, abs=1)
            now_ns += HOUR_S * 500_000_000 + 1_000_000_000
            while not outbox._store.keep_order():
                pass
            assert held(path) == 10
            now_ns += HOUR_S * 1_000_000_000
            outbox.wait("a", 0.2)  # whoever waits for events looks after it
            assert held(path) == 0

    def test_what_no_sink_has_stays_whatever_its_age(self, path: Path) -> None:
        now_ns = NOON_NS
        with Outbox.open(path, ["a"], OutboxOptions(keep_s=HOUR_S), now_ns=lambda: now_ns) as outbox:
            outbox.append(numbered(30))
            outbox.acknowledge("a", 10)
            now_ns += 2 * HOUR_S * 1_000_000_000
            outbox.acknowledge("a", 11)
            assert held(path) == 19

    def test_they_make_way_where_the_outbox_is_full(self, path: Path) -> None:
        options = OutboxOptions(keep_s=HOUR_S, max_bytes=1_000_000)
        with Outbox.open(path, ["a"], options) as outbox:
            for event in numbered(4000):
                outbox.acknowledge("a", outbox.append([event]))
            assert 500 < held(path) < 3000

    def test_a_new_sink_gets_none_of_them(self, path: Path) -> None:
        options = OutboxOptions(keep_s=HOUR_S)
        with Outbox.open(path, ["a"], options) as outbox:
            outbox.append(numbered(10))
            outbox.acknowledge("a", 8)
        with Outbox.open(path, ["a", "b"], options) as outbox:
            assert [seq for seq, _ in outbox.read("b", 99)] == [9, 10]
            assert held(path) == 10

    def test_they_go_at_the_next_opening_if_they_are_not_to_be_kept_any_longer(self, path: Path) -> None:
        with Outbox.open(path, ["a"], OutboxOptions(keep_s=HOUR_S)) as outbox:
            outbox.acknowledge("a", outbox.append(numbered(10)))
            assert held(path) == 10
        with Outbox.open(path, ["a"]):
            assert held(path) == 0


@pytest.mark.parametrize(("durability", "level"), [(Durability.PROCESS, 1), (Durability.POWER, 2)])
def test_durability_is_what_sqlite_waits_for(path: Path, durability: Durability, level: int) -> None:
    with Outbox.open(path, ["a"], OutboxOptions(durability=durability)) as outbox:
        writer = outbox._store._writer
        assert writer.execute("PRAGMA synchronous").fetchone()[0] == level
        outbox.next_epoch("lobby")
        assert writer.execute("PRAGMA synchronous").fetchone()[0] == level
        assert outbox.append(numbered(2)) == 2


def test_an_acknowledgement_on_a_full_disk_waits_for_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Outbox.open(path, ["a"]) as outbox:
        outbox.append(numbered(9))
        writer = outbox._store._writer
        with monkeypatch.context() as full:
            full.setattr(outbox._store, "_transaction", _refuse)
            outbox.acknowledge("a", 4)
        assert outbox.pending("a") == 5
        assert writer.execute("SELECT seq FROM cursors").fetchall() == [(0,)], "a crash now would repeat them"
        assert held(path) == 9
        outbox.acknowledge("a", 5)
        assert writer.execute("SELECT seq FROM cursors").fetchall() == [(5,)]
        assert held(path) == 4


def _refuse(doing: str) -> None:
    raise OutboxFull(f"cannot {doing} outbox: the disk is full")


ON_A_SMALL_DISK = """
import sys
from pathlib import Path
from pipeline.events.errors import OutboxFull
from pipeline.events.outbox import Outbox
from tests.pipeline.events.examples import numbered
disk = Path(sys.argv[1])
ballast = disk / "ballast"
ballast.write_bytes(b"x" * 1_500_000)
with Outbox.open(disk / "outbox.db", ["a"]) as outbox:
    stored = 0
    try:
        while True:
            outbox.append(numbered(1, first=stored + 1))
            stored += 1
    except OutboxFull as error:
        assert "the disk is full; free some space, nothing stored is lost" in str(error), error
    assert stored > 100
    assert [event for _, event in outbox.read("a", 9999)] == numbered(stored)
    for _ in range(3):  # it stays an error, and stays one without a loss
        try:
            outbox.append(numbered(50, first=stored + 1))
        except OutboxFull:
            continue
        raise AssertionError("there was room")
    outbox.acknowledge("a", 10)  # a sink may go on
    assert outbox.pending("a") == stored - 10
    ballast.unlink()
    outbox.append(numbered(50, first=stored + 1))
    assert [event for _, event in outbox.read("a", 9999)] == numbered(stored + 40, first=11)
with Outbox.open(disk / "outbox.db", ["a"]) as outbox:
    assert outbox.repaired is None
    assert [event for _, event in outbox.read("a", 9999)][-stored - 40:] == numbered(stored + 40, first=11)
print("stored", stored)
"""


def test_a_full_disk_is_an_error_that_loses_nothing_and_passes(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    unshare = shutil.which("unshare")
    alone = [unshare or "unshare", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(disk)]
    if unshare is None or subprocess.run([*alone, *mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system of their own (unshare --map-root-user --mount)")
    done = subprocess.run(
        [*alone, "sh", "-c", f'{" ".join(mount)} && exec "$@"', "sh", sys.executable, "-c", ON_A_SMALL_DISK, str(disk)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("stored ")
