from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pipeline.events.event import Event
from pipeline.events.feed import Delivery, Start
from tests.vidface.access.made import seen
from vidface.access.polled_feed import PolledFeed


class FakePolled:
    """Gives batches, and then nothing more; the lane that was lost is nobody's."""

    name = "fake"

    def __init__(self, *batches: Sequence[Delivery]) -> None:
        self._batches = list(batches)
        self.committed: list[Mapping[str, int]] = []
        self.lost = ""
        self.closed = False

    def poll(self, timeout_s: float) -> Sequence[Delivery] | None:
        assert timeout_s < 1, "a stop would wait for it"
        return self._batches.pop(0) if self._batches else None

    def begun(self) -> Mapping[str, Start]:
        return {}

    def hold(self, timeout_s: float) -> None: ...

    def owns(self, lane: str) -> bool:
        return lane != self.lost

    def commit(self, nexts: Mapping[str, int]) -> bool:
        self.committed.append(dict(nexts))
        return True

    def rewind(self, nexts: Mapping[str, int]) -> None: ...

    def close(self) -> None:
        self.closed = True


def delivery(offset: int, lane: str = "t/0", fault: str = "") -> Delivery:
    event = None if fault else seen(track=offset)
    place = f"{lane}, offset {offset}"
    return Delivery(lane=lane, offset=offset, next_offset=offset + 1, place=place, event=event, fault=fault)


def test_events_are_committed_when_they_were_handled() -> None:
    polled = FakePolled([delivery(1), delivery(2, fault="not JSON"), delivery(5, "t/1")], [], [delivery(3)])
    given: list[str] = []
    PolledFeed(polled).run(lambda event: given.append(event.id), given.append)
    assert given == ["lobby/2/1/2", "t/0, offset 2: not JSON", "lobby/2/5/2", "lobby/2/3/2"]
    assert polled.committed == [{"t/0": 3, "t/1": 6}, {"t/0": 4}]
    assert polled.closed


def test_what_was_not_handled_is_not_committed() -> None:
    polled = FakePolled([delivery(1), delivery(2), delivery(3)])

    def handle(event: Event) -> None:
        if event.id == "lobby/2/2/2":
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        PolledFeed(polled).run(handle, lambda _words: None)
    assert polled.committed == [{"t/0": 2}]
    assert polled.closed


def test_what_is_another_members_by_now_is_left_to_it() -> None:
    polled = FakePolled([delivery(1, "t/1"), delivery(2)])
    polled.lost = "t/1"
    given: list[str] = []
    PolledFeed(polled).run(lambda event: given.append(event.id), given.append)
    assert given == ["lobby/2/2/2"]
    assert polled.committed == [{"t/0": 3}]


def test_one_that_is_stopped_commits_what_it_has_given() -> None:
    polled = FakePolled([delivery(1), delivery(2)])
    feed = PolledFeed(polled)
    feed.run(lambda _event: feed.stop(), lambda _words: None)
    assert polled.committed == [{"t/0": 2}]
