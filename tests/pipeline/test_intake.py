from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from pipeline.intake import Intake, Taken, Work
from pipeline.metrics import FrameCounts
from pipeline.scheduler import Policy, Share
from streams.errors import Closed, MailboxTimeoutError
from streams.fake import FakeClock
from streams.frame import Frame
from streams.picture import ArrayPicture
from streams.state import CameraState, CameraStateName
from tests.pipeline.made import MS, RECORDED_AT_NS, meta_of

PATIENCE_S = 30.0
PICTURE = ArrayPicture(np.zeros((2, 2, 3), np.uint8))
CLIP = Share(camera="clip", policy=Policy.RECORDED, depth=2)
DOOR = Share(camera="door", policy=Policy.LIVE)


class SignallingCounts(FrameCounts):
    """Sets an event when so many frames of any camera are decoded.

    The intake counts under its lock, and gives the lock up only when it waits: whoever then gets the lock finds the
    producer waiting.
    """

    def __init__(self, decoded: int) -> None:
        super().__init__()
        self.reached = threading.Event()
        self._left = decoded

    def count(self, camera: str, outcome: str, frames: int = 1) -> None:
        super().count(camera, outcome, frames)
        self._left -= outcome == "decoded"
        if not self._left:
            self.reached.set()


def frame(camera: str, index: int, arrived_ns: int = 0, epoch: int = 1) -> Frame:
    return Frame(meta=meta_of(camera, index, arrived_ns=arrived_ns, epoch=epoch), picture=PICTURE)


def state(camera: str, name: CameraStateName) -> CameraState:
    return CameraState(camera=camera, epoch=1, name=name, cause="opened", detail="", at_ns=RECORDED_AT_NS)


def intake_of(*shares: Share, counts: FrameCounts | None = None, clock: FakeClock | None = None) -> Intake:
    return Intake(shares, counts or FrameCounts(), max_wait_ns=0, clock=clock or FakeClock())


def told(work: Work) -> tuple[list[str], list[tuple[str, int]]]:
    return (
        [f"{each.camera} {each.name}" for each in work.states],
        [(each.meta.camera, each.meta.index) for each in work.frames],
    )


def producer(body: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def test_states_and_frames_come_out_in_their_order() -> None:
    intake = intake_of(CLIP)
    intake.put_state(state("clip", CameraStateName.CONNECTING))
    intake.put_state(state("clip", CameraStateName.LIVE))
    intake.put_frame(frame("clip", 0))
    intake.put_frame(frame("clip", 1))
    intake.put_state(state("clip", CameraStateName.ENDED))
    intake.camera_done("clip")
    assert told(intake.take()) == (["clip connecting", "clip live"], [("clip", 0)])
    assert told(intake.take()) == ([], [("clip", 1)])
    assert told(intake.take()) == (["clip ended"], [])
    with pytest.raises(Closed, match="every camera has ended"):
        intake.take()


def test_a_live_cameras_states_keep_their_place_when_a_frame_is_overtaken() -> None:
    counts = FrameCounts()
    intake = intake_of(DOOR, counts=counts)
    intake.put_frame(frame("door", 0))
    intake.put_state(state("door", CameraStateName.LOST))
    intake.put_state(state("door", CameraStateName.LIVE))
    intake.put_frame(frame("door", 0, epoch=2))
    work = intake.take()
    assert told(work) == (["door lost", "door live"], [("door", 0)])
    assert work.frames[0].meta.epoch == 2
    assert counts.snapshot() == {"door": {"decoded": 2, "superseded": 1}}


def test_one_round_takes_at_most_one_frame_of_each() -> None:
    intake = intake_of(CLIP, DOOR)
    for each in (frame("clip", 0), frame("clip", 1), frame("door", 0), frame("door", 1)):
        intake.put_frame(each)
    assert sorted(told(intake.take())[1]) == [("clip", 0), ("door", 1)]
    assert told(intake.take())[1] == [("clip", 1)]


def test_without_waiting_there_may_be_nothing() -> None:
    intake = intake_of(DOOR)
    with pytest.raises(MailboxTimeoutError):
        intake.take(wait=False)
    intake.put_frame(frame("door", 0))
    assert told(intake.take(wait=False))[1] == [("door", 0)]


def test_expired_frames_are_counted_and_gone() -> None:
    counts, clock = FrameCounts(), FakeClock()
    share = Share(camera="door", policy=Policy.LIVE, deadline_ns=100 * MS)
    intake = intake_of(share, counts=counts, clock=clock)
    intake.put_frame(frame("door", 0, arrived_ns=clock.monotonic_ns()))
    clock.advance(0.2)
    with pytest.raises(MailboxTimeoutError):
        intake.take(wait=False)
    intake.put_frame(frame("door", 1, arrived_ns=clock.monotonic_ns()))
    assert told(intake.take())[1] == [("door", 1)]
    assert counts.snapshot()["door"] == {"decoded": 2, "expired": 1}


@pytest.mark.parametrize(("others", "taken"), [(2, Taken.NEXT), (3, Taken.BEHIND)])
def test_a_live_camera_is_behind_where_it_waits_long_among_many(others: int, taken: Taken) -> None:
    clock = FakeClock()
    cameras = ["door", *(f"other {number}" for number in range(others))]
    intake = intake_of(*(Share(camera=camera, policy=Policy.LIVE) for camera in cameras), clock=clock)
    assert [intake.put_frame(frame(camera, 0)) for camera in cameras] == [Taken.NEXT] * len(cameras)
    clock.advance(0.1)
    assert intake.put_frame(frame("door", 1)) is Taken.NEXT
    clock.advance(0.2)
    assert intake.put_frame(frame("door", 2)) is taken


@pytest.mark.parametrize(("priority", "waits_s"), [(0.5, 0.1), (1.0, 0.2), (1.5, 0.3), (2.0, 0.4), (9.0, 0.4)])
def test_the_higher_its_priority_the_longer_a_camera_waits_before_it_is_behind(priority: float, waits_s: float) -> None:
    clock = FakeClock()
    others = [Share(camera=f"other {number}", policy=Policy.LIVE) for number in range(3)]
    intake = intake_of(Share(camera="door", policy=Policy.LIVE, priority=priority), *others, clock=clock)
    for share in others:
        intake.put_frame(frame(share.camera, 0))
    intake.put_frame(frame("door", 0))
    clock.advance(waits_s)
    assert intake.put_frame(frame("door", 1)) is Taken.NEXT
    clock.advance(0.001)
    assert intake.put_frame(frame("door", 2)) is Taken.BEHIND


@pytest.mark.parametrize(("cameras", "waits_s"), [(4, 0.2), (8, 0.2), (16, 0.1), (32, 0.05)])
def test_the_more_cameras_wait_the_sooner_one_is_behind(cameras: int, waits_s: float) -> None:
    clock = FakeClock()
    names = ["door", *(f"other {number}" for number in range(cameras - 1))]
    intake = intake_of(*(Share(camera=name, policy=Policy.LIVE) for name in names), clock=clock)
    for name in names:
        intake.put_frame(frame(name, 0))
    clock.advance(waits_s)
    assert intake.put_frame(frame("door", 1)) is Taken.NEXT
    clock.advance(0.001)
    assert intake.put_frame(frame("door", 2)) is Taken.BEHIND


def test_a_recordings_frames_wait_for_each_other() -> None:
    intake = intake_of(Share(camera="clip", policy=Policy.RECORDED))
    assert [intake.put_frame(frame("clip", index)) for index in range(3)] == [Taken.NEXT, Taken.WAITS, Taken.WAITS]


def test_frames_that_are_not_due_are_counted() -> None:
    counts, clock = FrameCounts(), FakeClock()
    intake = intake_of(Share(camera="door", policy=Policy.LIVE, fps=5), counts=counts, clock=clock)
    for index in range(11):
        intake.put_frame(frame("door", index))
        clock.advance(0.04)
    assert counts.snapshot()["door"] == {"decoded": 11, "not_due": 8, "superseded": 2}


def test_a_recordings_thread_waits_for_room_and_nothing_is_lost() -> None:
    counts = SignallingCounts(CLIP.depth + 1)
    intake = intake_of(CLIP, counts=counts)

    def produce() -> None:
        for index in range(20):
            intake.put_frame(frame("clip", index))
        intake.camera_done("clip")

    thread, errors = producer(produce)
    assert counts.reached.wait(PATIENCE_S)
    taken: list[tuple[str, int]] = []
    while len(taken) < 20:
        taken += told(intake.take())[1]
        assert intake._scheduler.waiting("clip") <= CLIP.depth
    thread.join(PATIENCE_S)
    assert taken == [("clip", index) for index in range(20)]
    assert errors == []


def test_a_live_cameras_thread_never_waits() -> None:
    intake = intake_of(DOOR)
    for index in range(1000):
        intake.put_frame(frame("door", index))  # in this thread: waiting would hang the test
    assert told(intake.take())[1] == [("door", 999)]


def test_closing_wakes_a_producer_that_waits() -> None:
    counts = SignallingCounts(CLIP.depth + 1)
    intake = intake_of(CLIP, counts=counts)

    def produce() -> None:
        for index in range(9):
            intake.put_frame(frame("clip", index))

    thread, errors = producer(produce)
    assert counts.reached.wait(PATIENCE_S)
    intake.close()
    thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [Closed]
    assert counts.snapshot()["clip"] == {"decoded": 3, "undelivered": 3}


def test_closing_wakes_a_consumer_that_waits() -> None:
    intake = intake_of(CLIP)
    thread, errors = producer(intake.take)
    intake.close()
    thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [Closed]


def test_after_closing_nothing_is_wanted() -> None:
    counts = FrameCounts()
    intake = intake_of(DOOR, counts=counts)
    intake.put_frame(frame("door", 0))
    intake.close()
    intake.put_state(state("door", CameraStateName.ENDED))
    with pytest.raises(Closed):
        intake.put_frame(frame("door", 1))
    with pytest.raises(Closed):
        intake.take()
    assert counts.snapshot()["door"] == {"decoded": 2, "undelivered": 2}


def test_the_last_camera_that_is_done_wakes_the_consumer() -> None:
    intake = intake_of(CLIP, DOOR)
    thread, errors = producer(intake.take)
    intake.camera_done("clip")
    assert thread.is_alive()
    intake.camera_done("door")
    thread.join(PATIENCE_S)
    assert [type(error) for error in errors] == [Closed]
