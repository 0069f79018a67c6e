from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scheduler import NOMINAL_FPS, Batch, Policy, Scheduler, Share, Verdict
from streams.frame import FrameMeta
from tests.pipeline.made import MS, SECOND, meta_of


def live(camera: str = "door", **options: float | None) -> Share:
    return Share(camera=camera, policy=Policy.LIVE, **options)  # type: ignore[arg-type]  # each field has its own type


def recorded(camera: str = "clip", **options: float | None) -> Share:
    return Share(camera=camera, policy=Policy.RECORDED, **options)  # type: ignore[arg-type]  # as above


def offered(
    scheduler: Scheduler, camera: str, index: int, now_ns: int = 0, pts_ns: int | None = None
) -> tuple[str, int | None]:
    """The verdict, and the index of the frame that was displaced."""
    meta = meta_of(camera, index, arrived_ns=now_ns, pts_ns=now_ns if pts_ns is None else pts_ns)
    offer = scheduler.offer(meta, now_ns)
    return offer.verdict.value, None if offer.displaced is None else offer.displaced.index


def indices(batch: Batch) -> list[tuple[str, int]]:
    return [(meta.camera, meta.index) for meta in batch.frames]


@pytest.mark.parametrize(
    ("share", "times_ms", "verdicts"),
    [
        pytest.param(live(), [0, 40], [("queued", None), ("queued", 0)], id="live-the-newest-wins"),
        pytest.param(live(fps=5), [0, 40, 160, 200], ["queued", "not_due", "not_due", ("queued", 0)], id="live-5-fps"),
        pytest.param(
            live(every=3), [0, 1, 2, 3], ["queued", "not_due", "not_due", ("queued", 0)], id="live-each-third"
        ),
        pytest.param(recorded(depth=2), [0, 40, 80], ["queued", "queued", "full"], id="recorded-waits-when-full"),
        pytest.param(recorded(fps=5), [0, 40, 200], ["queued", "not_due", "queued"], id="recorded-5-fps"),
        pytest.param(
            recorded(every=2, depth=9), [0, 1, 2, 3, 4], ["queued", "not_due"] * 2 + ["queued"], id="each-2nd"
        ),
        pytest.param(live(fps=5), [0, 199, 201], ["queued", "not_due", ("queued", 0)], id="live-just-before-its-time"),
        pytest.param(live(fps=5), [10_000, 200], ["queued", ("queued", 0)], id="a-timeline-that-began-anew"),
        pytest.param(
            recorded(fps=5, depth=99),
            [0, 10_000, 10_040, 10_080, 10_120, 10_160, 10_200],
            ["queued", "queued", "queued", "queued", "not_due", "not_due", "queued"],
            id="after-a-stall-two-at-most-are-made-up-for",
        ),
    ],
)
def test_offers(share: Share, times_ms: Sequence[int], verdicts: Sequence[str | tuple[str, int | None]]) -> None:
    scheduler = Scheduler([share])
    for index, (time_ms, expected) in enumerate(zip(times_ms, verdicts, strict=True)):
        verdict = expected if isinstance(expected, tuple) else (expected, None)
        assert offered(scheduler, share.camera, index, time_ms * MS) == verdict, f"frame {index}"


def test_a_recordings_rate_is_measured_in_media_time() -> None:
    scheduler = Scheduler([recorded(fps=5, depth=99)])
    # Decoded at once, in no time at all: what is due is a matter of the recording alone.
    verdicts = [offered(scheduler, "clip", i, now_ns=7, pts_ns=i * 40 * MS)[0] for i in range(11)]
    assert [i for i, verdict in enumerate(verdicts) if verdict == "queued"] == [0, 5, 10]


def test_a_full_offer_leaves_no_trace() -> None:
    scheduler = Scheduler([recorded(fps=5, depth=1)], max_wait_ns=0)
    assert offered(scheduler, "clip", 0, pts_ns=0)[0] == "queued"
    assert [offered(scheduler, "clip", 5, pts_ns=200 * MS)[0] for _ in range(3)] == ["full"] * 3
    scheduler.next_batch(0)
    assert offered(scheduler, "clip", 5, pts_ns=200 * MS)[0] == "queued"


def test_a_camera_without_a_share_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        Scheduler([live()]).offer(meta_of("elsewhere"), 0)


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: live(fps=0), id="fps"),
        pytest.param(lambda: live(every=0), id="every"),
        pytest.param(lambda: live(priority=0), id="priority"),
        pytest.param(lambda: recorded(depth=0), id="depth"),
        pytest.param(lambda: Scheduler([live()], max_batch=0), id="max_batch"),
        pytest.param(lambda: Scheduler([live()], max_wait_ns=-1), id="max_wait_ns"),
    ],
)
def test_numbers_out_of_range_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"over 0|at least 1"):
        build()


def test_weight_is_rate_times_priority() -> None:
    assert live(fps=5, priority=3).weight == 15
    assert live(every=5).weight == NOMINAL_FPS / 5


class TestBatches:
    def test_a_batch_waits_to_grow_and_then_goes(self) -> None:
        scheduler = Scheduler([live("a"), live("b")], max_wait_ns=5 * MS)
        assert scheduler.ripe_in_ns(0) is None
        offered(scheduler, "a", 0, now_ns=0)
        assert scheduler.ripe_in_ns(1 * MS) == 4 * MS
        assert scheduler.next_batch(4 * MS) == Batch()
        assert scheduler.ripe_in_ns(5 * MS) == 0
        assert indices(scheduler.next_batch(5 * MS)) == [("a", 0)]
        assert scheduler.ripe_in_ns(6 * MS) is None

    def test_a_full_batch_goes_at_once(self) -> None:
        scheduler = Scheduler([live("a"), live("b"), live("c")], max_batch=2, max_wait_ns=SECOND)
        offered(scheduler, "a", 0)
        offered(scheduler, "b", 0)
        assert scheduler.ripe_in_ns(0) == 0
        assert len(scheduler.next_batch(0).frames) == 2

    def test_nobody_is_waited_for_who_will_not_come(self) -> None:
        scheduler = Scheduler([live("a"), recorded("b")], max_wait_ns=SECOND)
        offered(scheduler, "a", 0)
        assert scheduler.next_batch(0) == Batch()
        scheduler.retire("b")
        assert indices(scheduler.next_batch(0)) == [("a", 0)]

    def test_a_retired_cameras_frames_are_still_served(self) -> None:
        scheduler = Scheduler([recorded("a")], max_wait_ns=SECOND)
        offered(scheduler, "a", 0)
        offered(scheduler, "a", 1)
        scheduler.retire("a")
        assert [indices(scheduler.next_batch(0)) for _ in range(3)] == [[("a", 0)], [("a", 1)], []]

    def test_the_newest_frame_keeps_its_cameras_place(self) -> None:
        scheduler = Scheduler([live("a"), live("b")], max_wait_ns=10 * MS)
        offered(scheduler, "a", 0, now_ns=0)
        offered(scheduler, "a", 1, now_ns=8 * MS)
        assert scheduler.ripe_in_ns(9 * MS) == 1 * MS
        assert indices(scheduler.next_batch(10 * MS)) == [("a", 1)]

    def test_a_frame_past_its_deadline_is_dropped_unseen(self) -> None:
        scheduler = Scheduler([live("a", deadline_ns=100 * MS), live("b")], max_wait_ns=0)
        offered(scheduler, "a", 0, now_ns=0)
        offered(scheduler, "b", 0, now_ns=0)
        batch = scheduler.next_batch(101 * MS)
        assert indices(batch) == [("b", 0)]
        assert [meta.camera for meta in batch.expired] == ["a"]
        assert scheduler.waiting("a") == 0

    def test_at_its_deadline_it_is_still_seen(self) -> None:
        scheduler = Scheduler([live("a", deadline_ns=100 * MS)], max_wait_ns=0)
        offered(scheduler, "a", 0, now_ns=0)
        assert indices(scheduler.next_batch(100 * MS)) == [("a", 0)]

    def test_a_recording_has_no_deadline(self) -> None:
        scheduler = Scheduler([recorded("a", deadline_ns=1)], max_wait_ns=0)
        offered(scheduler, "a", 0, now_ns=0)
        assert indices(scheduler.next_batch(SECOND)) == [("a", 0)]


@dataclass
class Simulation:
    """Cameras that send frames at a steady pace, and a detector that takes so long for a batch."""

    shares: Sequence[Share]
    max_batch: int
    batch_ms: int
    camera_fps: float = 25.0
    served: dict[str, list[FrameMeta]] = field(default_factory=dict)
    served_at_ms: dict[str, list[int]] = field(default_factory=dict)
    expired: int = 0

    def run(self, seconds: float, *, silent: Callable[[str, int], bool] = lambda _camera, _ms: False) -> Simulation:
        scheduler = Scheduler(self.shares, max_batch=self.max_batch, max_wait_ns=0)
        sent = {share.camera: 0 for share in self.shares}
        self.served = {share.camera: [] for share in self.shares}
        self.served_at_ms = {share.camera: [] for share in self.shares}
        free_ms = 0
        for now_ms in range(round(seconds * 1000)):
            now_ns = now_ms * MS
            for place, share in enumerate(self.shares):
                if now_ms >= 7 * place + sent[share.camera] * 1000 / self.camera_fps:
                    index = sent[share.camera]
                    sent[share.camera] += 1
                    if not silent(share.camera, now_ms):
                        scheduler.offer(meta_of(share.camera, index, pts_ns=now_ns, arrived_ns=now_ns), now_ns)
            if now_ms >= free_ms:
                batch = scheduler.next_batch(now_ns)
                self.expired += len(batch.expired)
                for meta in batch.frames:
                    self.served[meta.camera].append(meta)
                    self.served_at_ms[meta.camera].append(now_ms)
                if batch.frames:
                    free_ms = now_ms + self.batch_ms
        return self

    def rates(self, seconds: float) -> dict[str, float]:
        return {camera: len(frames) / seconds for camera, frames in self.served.items()}


@pytest.mark.parametrize(
    ("shares", "max_batch", "batch_ms"),
    [
        pytest.param([live("a", fps=5, priority=1.9), live("b", fps=5)], 1, 200, id="two-of-no-whole-ratio"),
        pytest.param([live(c, fps=5, priority=p) for c, p in (("a", 1), ("b", 2), ("c", 3))], 1, 150, id="1-2-3"),
        pytest.param([live("a", fps=10), live("b", fps=2), live("c", fps=4)], 1, 100, id="rates-10-2-4"),
        pytest.param([live(f"c{i}", fps=5, priority=1 + i % 2 / 2) for i in range(16)], 8, 150, id="16-cameras-by-8"),
        pytest.param([live("a", fps=5, priority=20), live("b", fps=5), live("c", fps=5)], 1, 210, id="20-to-1"),
    ],
)
def test_under_overload_rates_fall_in_proportion(shares: list[Share], max_batch: int, batch_ms: int) -> None:
    seconds = 100
    rates = Simulation(shares, max_batch, batch_ms).run(seconds).rates(seconds)
    capacity = max_batch * 1000 / batch_ms
    wanted = sum(share.fps or 0 for share in shares)
    assert capacity < wanted, "this case is no overload"
    total = sum(share.weight for share in shares)
    for share in shares:
        assert rates[share.camera] == pytest.approx(capacity * share.weight / total, rel=0.06), share.camera
    assert sum(rates.values()) == pytest.approx(capacity, rel=0.03)


def test_a_camera_whose_frames_expire_is_not_starved() -> None:
    shares = [live("busy", fps=25, priority=20), live("poor", fps=5, priority=1, deadline_ns=60 * MS)]
    simulation = Simulation(shares, 1, 45).run(60)
    fair = 1000 / 45 * 5 / 505
    assert simulation.rates(60)["poor"] >= 0.5 * fair


@pytest.mark.parametrize("fps", [5, 7, 12.5, 25])
@pytest.mark.parametrize("make", [live, recorded], ids=["live", "recorded"])
def test_a_rate_does_not_drift(make: Callable[..., Share], fps: float) -> None:
    share = make("a", fps=fps)
    simulation = Simulation([share], 1, 5).run(120)
    assert simulation.rates(120)["a"] == pytest.approx(fps, rel=0.005)
    gaps = [b - a for a, b in zip(simulation.served_at_ms["a"], simulation.served_at_ms["a"][1:], strict=False)]
    assert max(gaps) <= math.ceil(1000 / fps) + 40


def test_jitter_does_not_lower_the_rate() -> None:
    scheduler = Scheduler([live("a", fps=25)], max_wait_ns=0)
    queued = 0
    for index in range(1000):
        now_ns = (40 * index + (3 if index % 2 else -3)) * MS + SECOND
        queued += offered(scheduler, "a", index, now_ns)[0] == "queued"
        scheduler.next_batch(now_ns)
    assert queued >= 990


def test_after_a_stall_there_is_no_burst() -> None:
    shares = [live("stalls", fps=5), live("steady", fps=5)]
    simulation = Simulation(shares, 1, 150)
    simulation.run(60, silent=lambda camera, ms: camera == "stalls" and 10_000 <= ms < 40_000)
    after = [ms for ms in simulation.served_at_ms["stalls"] if ms >= 40_000]
    first_second = [ms for ms in after if ms < 41_000]
    assert len(first_second) <= 5
    others = [ms for ms in simulation.served_at_ms["steady"] if 40_000 <= ms < 41_000]
    assert len(others) >= 3, "who comes back has nothing to make up for"


class Watched:
    """A scheduler, and what must hold of it whatever comes."""

    def __init__(self, shares: Sequence[Share], max_batch: int) -> None:
        self.shares = {share.camera: share for share in shares}
        self.max_batch = max_batch
        self.scheduler = Scheduler(shares, max_batch=max_batch, max_wait_ns=0)
        self.total = sum(share.weight for share in shares)
        self.sent = dict.fromkeys(self.shares, 0)
        self.passed_over = dict.fromkeys(self.shares, 0)
        self.accepted: dict[str, list[int]] = {camera: [] for camera in self.shares}
        self.got: dict[str, list[int]] = {camera: [] for camera in self.shares}

    def offer(self, camera: str, now_ns: int) -> bool:
        """Offer the camera's next frame; False if it has to be offered again, as a decoder that waits would."""
        verdict, displaced = offered(self.scheduler, camera, self.sent[camera], now_ns)
        waiting, recording = self.scheduler.waiting(camera), self.shares[camera].policy is Policy.RECORDED
        if verdict == Verdict.FULL:
            assert recording
            assert waiting == self.shares[camera].depth
            return False
        self.accepted[camera].append(self.sent[camera])
        self.sent[camera] += 1
        if recording:
            assert displaced is None
            assert waiting <= self.shares[camera].depth
        else:
            assert waiting == 1
            assert displaced is None or displaced == self.accepted[camera][-2], "the newest wins"
        return True

    def take(self, now_ns: int) -> None:
        waiting = {camera for camera in self.shares if self.scheduler.waiting(camera)}
        batch = self.scheduler.next_batch(now_ns)
        names = [meta.camera for meta in batch.frames]
        assert len(names) == len(set(names)), "at most one frame of a camera"
        assert len(names) == min(self.max_batch, len(waiting)), "the detector never idles while frames wait"
        for meta in batch.frames:
            self.got[meta.camera].append(meta.index)
        for camera in waiting:
            self.passed_over[camera] = 0 if camera in names else self.passed_over[camera] + 1
            bound = 2 * self.total / self.shares[camera].weight + len(self.shares)
            assert self.passed_over[camera] <= bound, f"{camera} starves"

    def finish(self, now_ns: int) -> None:
        while any(self.scheduler.waiting(camera) for camera in self.shares):
            self.take(now_ns)
        for camera, share in self.shares.items():
            accepted, got = self.accepted[camera], self.got[camera]
            if share.policy is Policy.RECORDED:
                assert got == accepted, "nothing of a recording is dropped, and all comes in order"
            else:
                assert got == sorted(got), "in order"
                assert got[-1:] == accepted[-1:], "the newest is never dropped"


weights = st.floats(0.2, 8)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), weights), min_size=1, max_size=6),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), min_size=50, max_size=300),
)
def test_what_always_holds(cameras: list[tuple[bool, float]], max_batch: int, steps: list[tuple[int, int]]) -> None:
    """However offers and batches come: order, bounds, promises, and that nobody waits for ever."""
    shares = [
        live(f"c{i}", priority=weight) if is_live else recorded(f"c{i}", priority=weight, depth=3)
        for i, (is_live, weight) in enumerate(cameras)
    ]
    watched, now_ns = Watched(shares, max_batch), 0
    for which, wait_ms in steps:
        now_ns += wait_ms * MS
        done = watched.offer(f"c{which % len(shares)}", now_ns)
        if not done or wait_ms % 3 == 0:
            watched.take(now_ns)
    watched.finish(now_ns)
