"""The whole pipeline in its threads: what comes out, how it ends, and how every stage fails."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.fake import NumpyIndex
from index.vectors import F32, I64
from pipeline.analysis import AnalysedFrame, Analysis
from pipeline.errors import StageFailed
from pipeline.events.event import Event
from pipeline.events.fake import FailingSink, MemorySink
from pipeline.events.outbox import Outbox
from pipeline.events.publisher import Publisher
from pipeline.faces import Faces, U8Image
from pipeline.fake import FakeDetector, FakeEmbedder
from pipeline.intake import BEHIND_CAMERAS, BEHIND_NS
from pipeline.runtime import Camera, Runtime
from pipeline.scheduler import Policy, Share
from streams.errors import SourceError
from streams.fake import Fail, Hold, Lose, Play
from streams.frame import Frame
from streams.source import SourceStatistics
from streams.state import CameraState
from tests.pipeline.stage import CANVAS, PATIENCE_S, OnFrame, Stage, Walk, clip, enrol, kinds, names, scene
from tests.schemas import assert_valid

ADA, BOB, EVE = Walk(person=1), Walk(person=2, y=220), Walk(person=3, enters=4, leaves=20)
WHOLE = ["state connecting", "state live"]


def test_two_recordings_end_to_end_through_the_outbox(tmp_path: Path) -> None:
    enrol(tmp_path / "gallery.db", {"Ada": 1, "Bob": 2})
    sink = MemorySink()
    with Outbox.open(tmp_path / "outbox.db", [sink.name]) as outbox:
        stage = Stage(
            tmp_path,
            {"door": clip(40, ADA), "hall": clip(60, BOB, EVE)},
            emit=outbox.append,
            publisher=Publisher(outbox, [sink]),
            next_epoch=outbox.next_epoch,
        )
        stage.play()
        assert outbox.pending(sink.name) == 0
    stage.events[:] = sink.events
    for event in stage.events:
        assert_valid(event)
    door = stage.of("door")
    assert kinds(door) == [*WHOLE, "started", "identified", "ended", "state ended"]
    assert names(door)[3:5] == ["Ada", "Ada"]
    hall = stage.of("hall")
    assert sorted(kinds(hall)) == sorted([*WHOLE, *["started", "identified", "ended"] * 2, "state ended"])
    assert {name for name in names(hall) if name} == {"Bob"}
    answers = {str(event.data["sighting"]): event.data["answer"] for event in hall if event.type.endswith("ended")}
    assert sorted(map(str, answers.values())) == ["person", "stranger"]
    assert len({(event.source, event.id) for event in stage.events}) == len(stage.events)
    counted = stage.counts.snapshot()
    assert counted == {"door": {"decoded": 40, "detected": 40}, "hall": {"decoded": 60, "detected": 60}}


def without_times(event: Event) -> tuple[str, str, dict[str, Any]]:
    """An event without what may differ from run to run: times and the epoch."""
    differing = {"epoch", "captured_at", "decided_at", "first_seen_at", "last_seen_at", "at", "sighting"}
    data = {key: value for key, value in event.data.items() if key not in differing}
    camera, _epoch, rest = event.id.split("/", 2)
    return event.type, f"{camera}/*/{rest}", data


class Hesitant:
    """Makes whoever calls it hesitate for a random moment."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            moment = self._random.choice((0.0, 0.0, 0.0005, 0.002))
        time.sleep(moment)  # it is the subject of the test that this changes nothing


class HesitantDetector(FakeDetector):
    def __init__(self, hesitate: Hesitant) -> None:
        super().__init__(CANVAS)
        self.hesitate = hesitate

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        self.hesitate()
        return super().detect(batch)


class HesitantEmbedder(FakeEmbedder):
    def __init__(self, hesitate: Hesitant) -> None:
        super().__init__()
        self.hesitate = hesitate

    def embed(self, aligned_bgr: U8Image) -> F32:
        self.hesitate()
        return super().embed(aligned_bgr)


def test_what_is_decided_of_a_recording_does_not_depend_on_the_threads(tmp_path: Path) -> None:
    enrol(tmp_path / "gallery.db", {"Ada": 1, "Bob": 2})
    scripts = {
        "door": clip(40, ADA, EVE),
        "hall": [*clip(30, BOB), Lose(away_s=0.0), *clip(30, ADA, BOB)],
        "yard": clip(50, Walk(person=1, x=0, y=120), Walk(person=2, x=400, y=150, speed=-8)),
    }

    def run(seed: int, max_batch: int) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
        hesitate = Hesitant(seed)

        def slowly(deliver: OnFrame) -> OnFrame:
            def put(frame: Frame) -> None:
                hesitate()
                deliver(frame)

            return put

        stage = Stage(
            tmp_path,
            scripts,
            detector=HesitantDetector(hesitate),
            embedder=HesitantEmbedder(hesitate),
            on_frame=slowly,
            max_batch=max_batch,
        )
        stage.play()
        return {camera: [without_times(event) for event in stage.of(camera)] for camera in scripts}

    first = run(1, 8)
    assert [len(events) > 5 for events in first.values()] == [True] * 3
    assert run(2, 8) == first
    assert run(3, 1) == first
    assert run(4, 2) == first


# How each stage fails -------------------------------------------------------------------------------------------------


class Broken(Exception):
    """A bug, of a kind that nobody expects."""


class BrokenDetector(FakeDetector):
    def __init__(self, after: int = 3) -> None:
        super().__init__(CANVAS)
        self.after = after

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        if len(self.batches) >= self.after:
            raise Broken("detector")
        return super().detect(batch)


class BrokenEmbedder(FakeEmbedder):
    def embed(self, aligned_bgr: U8Image) -> F32:
        raise Broken(f"embedder, given {len(aligned_bgr)}")


class BrokenIndex(NumpyIndex):
    def nearest(self, probes: F32, count: int) -> tuple[F32, I64]:
        raise Broken(f"gallery, asked for {count} of {len(probes)}")


def broken_emit(events: Sequence[Event]) -> None:
    if any(event.type.endswith("started") for event in events):
        raise Broken("emit")


def broken_observer(analysed: AnalysedFrame) -> None:
    raise Broken("observer")


def broken_index(dim: int) -> NumpyIndex:
    raise Broken("opening the gallery")


FAILURES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "detector": ("detect", {"detector": BrokenDetector}),
    "detector-at-once": ("detect", {"detector": lambda: BrokenDetector(after=0)}),
    "embedder": ("analysis", {"embedder": BrokenEmbedder}),
    "gallery-search": ("analysis", {"index": lambda: BrokenIndex}),
    "gallery-open": ("analysis", {"index": lambda: broken_index}),
    "emit": ("analysis", {"emit": lambda: broken_emit}),
    "observer": ("analysis", {"observer": lambda: broken_observer}),
}


@pytest.mark.parametrize("live", [frozenset(), frozenset({"door"})], ids=["recorded", "live"])
@pytest.mark.parametrize("name", list(FAILURES))
def test_a_stage_that_raises_brings_all_down_and_is_told(tmp_path: Path, name: str, live: frozenset[str]) -> None:
    enrol(tmp_path / "gallery.db", {"Ada": 1})
    failing, parts = FAILURES[name]
    stage = Stage(
        tmp_path,
        {"door": clip(200, Walk(person=1, speed=1)), "hall": clip(200, Walk(person=2, speed=1))},
        live=live,
        **{part: make() for part, make in parts.items()},
    )
    message = f"the {failing} stage failed: Broken"
    with pytest.raises(StageFailed, match=message) as told, stage.runtime() as runtime:
        runtime.wait(PATIENCE_S)
    assert isinstance(told.value.__cause__, Broken)
    assert told.value.stage == failing
    with pytest.raises(StageFailed):
        runtime.wait(0)  # whoever asks later is told as well


@pytest.mark.parametrize("where", ["at-once", "in-the-middle", "behind-the-last-frame"])
def test_a_source_with_a_bug_brings_all_down(tmp_path: Path, where: str) -> None:
    before = {"at-once": [], "in-the-middle": clip(5, ADA), "behind-the-last-frame": clip(30, ADA)}[where]
    after = clip(5, ADA) if where == "in-the-middle" else []
    stage = Stage(tmp_path, {"door": [*before, Fail(error=Broken("source")), *after]})
    with pytest.raises(StageFailed, match="the camera door stage failed: Broken: source"), stage.runtime() as runtime:
        runtime.wait(PATIENCE_S)


def test_a_bug_at_the_very_end_is_not_overtaken_by_the_end(tmp_path: Path) -> None:
    """All else must not finish as if all were well while the failure is still on its way."""

    class SlowToFail(Runtime):
        def fail(self, stage: str, cause: BaseException) -> None:
            assert not self._finished.wait(0.3), "it finished, and wait() would have returned"
            super().fail(stage, cause)

    stage = Stage(tmp_path, {"door": [*clip(3), Fail(error=Broken("source"))]})
    runtime = stage.runtime()
    runtime.__class__ = SlowToFail
    with pytest.raises(StageFailed, match="camera door"), runtime:
        runtime.wait(PATIENCE_S)


def test_a_sink_with_a_bug_brings_all_down_and_loses_nothing(tmp_path: Path) -> None:
    sink = FailingSink(MemorySink(), [Broken("sink")])
    with Outbox.open(tmp_path / "outbox.db", [sink.name]) as outbox:
        runtimes: list[Runtime] = []
        publisher = Publisher(outbox, [sink], on_failure=lambda failure: runtimes[0].fail("publisher", failure))
        stage = Stage(
            tmp_path, {"door": clip(30, ADA)}, live=frozenset({"door"}), emit=outbox.append, publisher=publisher
        )
        runtimes.append(stage.runtime())
        with pytest.raises(StageFailed, match=r"the publisher stage failed: PublisherFailed.*sink"), runtimes[0]:
            runtimes[0].wait(PATIENCE_S)
        assert outbox.pending(sink.name) > 0, "it is there for the next start"


def test_a_failure_closes_the_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enrol(tmp_path / "gallery.db", {"Ada": 1})
    closed: list[threading.Thread] = []
    monkeypatch.setattr(Analysis, "close", lambda _self: closed.append(threading.current_thread()))
    stage = Stage(tmp_path, {"door": clip(30, ADA)}, embedder=BrokenEmbedder())
    with pytest.raises(StageFailed), stage.runtime() as runtime:
        runtime.wait(PATIENCE_S)
    assert [thread.name for thread in closed] == ["vidface analysis"], "in the thread that opened it"


def test_a_failure_that_nobody_waited_for_is_told_at_the_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": clip(30, ADA)}, detector=BrokenDetector())
    runtime = stage.runtime()
    with pytest.raises(StageFailed, match="the detect stage failed"), runtime:
        runtime._finished.wait(PATIENCE_S)


def test_the_callers_own_error_comes_first(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": clip(30, ADA)}, detector=BrokenDetector())
    runtime = stage.runtime()

    def use() -> None:
        with runtime:
            runtime._finished.wait(PATIENCE_S)
            raise Broken("the caller")

    with pytest.raises(Broken, match="the caller"):
        use()


# How it ends ----------------------------------------------------------------------------------------------------------


def test_a_recording_that_cannot_be_opened_does_not_stop_the_others(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"gone": [Fail()], "door": clip(20, ADA)})
    with stage.runtime() as runtime:
        assert runtime.wait(PATIENCE_S)
        assert list(runtime.failed_cameras) == ["gone"]
        assert isinstance(runtime.failed_cameras["gone"], SourceError)
    assert kinds(stage.of("gone")) == ["state connecting", "state ended"]
    assert kinds(stage.of("door")) == [*WHOLE, "started", "identified", "ended", "state ended"]


def test_when_none_can_be_opened_it_ends(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"gone": [Fail()], "lost": [Fail()]})
    with stage.runtime() as runtime:
        assert runtime.wait(PATIENCE_S)
        assert sorted(runtime.failed_cameras) == ["gone", "lost"]


def test_stopping_in_the_middle_ends_in_order(tmp_path: Path) -> None:
    enrol(tmp_path / "gallery.db", {"Ada": 1})
    hold = Hold(release=threading.Event())
    stage = Stage(
        tmp_path,
        {"door": [*clip(12, ADA), hold, *clip(100, ADA)], "hall": clip(12, BOB)},
        live=frozenset({"hall"}),
        lockstep=True,
    )
    with stage.runtime() as runtime:
        stage.wait_delivered("door", 12)
        stage.wait_delivered("hall", 12)
        assert not runtime.wait(0), "a live camera does not end by itself"
        runtime.stop()
        assert runtime.wait(PATIENCE_S)
    for camera in ("door", "hall"):
        assert kinds(stage.of(camera)) == [*WHOLE, "started", "identified", "ended", "state ended"], camera
        assert stage.of(camera)[-1].data["cause"] == "stopped"
    for event in stage.events:
        assert_valid(event)


def test_leaving_the_block_stops_and_joins(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": clip(5, ADA)}, live=frozenset({"door"}), lockstep=True)
    with stage.runtime():
        stage.wait_delivered("door", 5)
    assert kinds(stage.events)[-2:] == ["ended", "state ended"]


def test_leaving_the_block_by_an_error_stops_too(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": clip(5)}, live=frozenset({"door"}))
    with pytest.raises(Broken), stage.runtime():
        raise Broken("the caller")


def test_stopping_before_anything_came(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": [Hold(release=threading.Event())]})
    with stage.runtime() as runtime:
        runtime.stop()
        runtime.stop()
        assert runtime.wait(PATIENCE_S)
    assert kinds(stage.events)[-1] == "state ended"


def test_a_camera_that_comes_back_is_a_new_epoch(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": [*clip(12, ADA), Lose(), *clip(12, ADA)]}, live=frozenset({"door"}), lockstep=True)
    with stage.runtime() as runtime:
        stage.wait_delivered("door", 24)
        runtime.stop()
        assert runtime.wait(PATIENCE_S)
    sighting = ["started", "identified", "ended"]
    assert kinds(stage.events) == [*WHOLE, *sighting, "state lost", *WHOLE, *sighting, "state ended"]
    assert [event.id for event in stage.events if event.type.endswith("started")] == ["door/1/1/1", "door/2/1/1"]
    assert len({event.id for event in stage.events}) == len(stage.events)


# Live -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "share",
    [
        pytest.param(Share(camera="door", policy=Policy.LIVE), id="every-frame"),
        pytest.param(Share(camera="door", policy=Policy.LIVE, every=3), id="each-third"),
        pytest.param(Share(camera="door", policy=Policy.LIVE, deadline_ns=1), id="all-expire"),
    ],
)
def test_every_live_frame_is_accounted_for(tmp_path: Path, share: Share) -> None:
    stage = Stage(tmp_path, {"door": clip(60, ADA)}, live=frozenset({"door"}), shares={"door": share})
    with stage.runtime() as runtime:
        stage.wait_delivered("door", 60)
        runtime.stop()
        assert runtime.wait(PATIENCE_S)
    counted = dict(stage.counts.snapshot()["door"])
    assert counted.pop("decoded") == 60
    assert sum(counted.values()) == 60, counted
    assert set(counted) <= {"detected", "not_due", "superseded", "expired", "undelivered"}
    if share.every == 3:
        assert counted["not_due"] == 40
    assert ("expired" in counted) == (share.deadline_ns is not None)


class Gated(FakeDetector):
    """Detects only while it may."""

    def __init__(self) -> None:
        super().__init__(CANVAS)
        self.may = threading.Event()

    def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
        assert self.may.wait(PATIENCE_S)
        return super().detect(batch)


@pytest.mark.parametrize(("cameras", "asked"), [(BEHIND_CAMERAS, True), (BEHIND_CAMERAS - 1, False)])
def test_cameras_that_wait_in_a_long_line_are_asked_to_skip_decoding(tmp_path: Path, cameras: int, asked: bool) -> None:
    names = [f"door-{number}" for number in range(cameras)]
    detector = Gated()
    frames = scene(1)

    def slowly(deliver: OnFrame) -> OnFrame:
        def put(frame: Frame) -> None:
            time.sleep(BEHIND_NS / 5e9)
            deliver(frame)

        return put

    stage = Stage(
        tmp_path,
        {name: [Play(pictures=frames * 15)] for name in names},
        live=frozenset(names),
        detector=detector,
        on_frame=slowly,
        max_batch=1,
    )
    with stage.runtime() as runtime:
        for name in names:
            stage.wait_delivered(name, 15)
        detector.may.set()
        runtime.stop()
        assert runtime.wait(PATIENCE_S)
    assert any(source.skips_asked for source in stage.sources.values()) == asked


def test_overload_is_told_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.runtime.LOOK_S", 0.02)
    monkeypatch.setattr("pipeline.overload.WINDOW_S", 0.4)
    told, detector, over = threading.Semaphore(0), Gated(), threading.Event()
    events: list[Event] = []

    def emit(new: Sequence[Event]) -> None:
        events.extend(new)
        for event in new:
            if event.data.get("cause") in {"overloaded", "recovered"}:
                told.release()

    def in_time(deliver: OnFrame) -> OnFrame:
        def put(frame: Frame) -> None:
            over.wait(0.005)
            deliver(frame)

        return put

    stage = Stage(
        tmp_path,
        {"door": [Play(pictures=scene(1) * 20_000)]},
        live=frozenset({"door"}),
        shares={"door": Share(camera="door", policy=Policy.LIVE, fps=20.0)},
        detector=detector,
        on_frame=in_time,
        emit=emit,
    )
    with stage.runtime() as runtime:
        stage.wait_delivered("door", 100)
        while not any(load.overloaded for load in runtime.loads.values()):
            assert runtime.failure is None
            stage.wait_delivered("door", 1)
        detector.may.set()
        assert told.acquire(timeout=PATIENCE_S)
        assert told.acquire(timeout=PATIENCE_S)
        assert not any(load.overloaded for load in runtime.loads.values())
        over.set()
        runtime.stop()
        assert runtime.wait(PATIENCE_S)
    states = [event for event in events if event.type.endswith("state")]
    for event in states:
        assert_valid(event)
    assert [(event.data["state"], event.data["cause"]) for event in states] == [
        ("connecting", "starting"),
        ("live", "opened"),
        ("live", "overloaded"),
        ("live", "recovered"),
        ("ended", "stopped"),
    ]
    assert len({event.id for event in events}) == len(events)
    overloaded, recovered = (str(event.data["detail"]) for event in states[2:4])
    assert overloaded.startswith("the machine cannot keep up: ")
    assert "of 20 detections a second" in overloaded
    assert recovered.startswith("the machine keeps up again: ")


def test_an_enrolment_is_seen_while_no_frame_comes(tmp_path: Path) -> None:
    sink, analysed = MemorySink(), threading.Semaphore(0)
    with Outbox.open(tmp_path / "outbox.db", [sink.name]) as outbox:
        stage = Stage(
            tmp_path,
            {"door": clip(12, ADA)},
            live=frozenset({"door"}),
            lockstep=True,
            emit=outbox.append,
            publisher=Publisher(outbox, [sink]),
            observer=lambda _frame: analysed.release(),
        )
        with stage.runtime():
            assert all(analysed.acquire(timeout=PATIENCE_S) for _ in range(12))
            assert kinds(sink.wait_for(4, PATIENCE_S))[2:] == ["started", "identified"]
            enrol(stage.gallery_path, {"Ada": 1})
            assert names(sink.wait_for(5, PATIENCE_S))[-1] == "Ada"
        assert kinds(sink.events)[4] == "revised"


def test_faces_that_are_too_small_are_nobodys(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": clip(10, ADA)})
    stage.min_face_px = 150
    with stage.runtime() as runtime:
        assert runtime.wait(PATIENCE_S)
    assert kinds(stage.events) == [*WHOLE, "state ended"]


def test_stage_times_are_kept(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"door": clip(10, ADA)})
    stage.play()
    times = stage.times.snapshot()
    assert {"scale", "detect", "track", "align", "embed", "search", "events"} <= set(times)
    assert times["detect"].items == 10


def test_it_tells_how_it_goes_and_how_it_ended(tmp_path: Path) -> None:
    hold = Hold(release=threading.Event())
    stage = Stage(tmp_path, {"door": [*clip(3, ADA), hold]})
    with stage.runtime() as runtime:
        stage.wait_delivered("door", 3)
        assert (runtime.failure, runtime.ending) == (None, False)
        assert runtime.source_statistics()["door"].frames == 3
        hold.release.set()
        assert runtime.wait(PATIENCE_S)
        assert (runtime.failure, runtime.ending) == (None, True)


def test_a_failure_is_told_before_anybody_waits_for_the_end(tmp_path: Path) -> None:
    class BrokenDetector(FakeDetector):
        def detect(self, batch: NDArray[np.uint8]) -> list[Faces]:
            raise OSError(f"the chip melted under {len(batch)} pictures")

    stage = Stage(tmp_path, {"door": clip(3, ADA)}, detector=BrokenDetector(CANVAS))
    with pytest.raises(StageFailed), stage.runtime() as runtime:  # noqa: PT012 - what it tells is looked at while it runs
        with pytest.raises(StageFailed):
            runtime.wait(PATIENCE_S)
        assert runtime.failure is not None
        assert runtime.failure.stage == "detect"
        assert runtime.ending


class SilentSource:
    """A source that does nothing."""

    def run(self) -> None: ...

    def stop(self) -> None: ...

    def skip_to_keyframe(self) -> None: ...

    def statistics(self) -> SourceStatistics:
        raise NotImplementedError


def silent(on_frame: Callable[[Frame], None], on_state: Callable[[CameraState], None]) -> SilentSource:
    return SilentSource()


@pytest.mark.parametrize("cameras", [(), ("door", "door")], ids=["none", "twice-the-same"])
def test_cameras_need_ids_of_their_own(tmp_path: Path, cameras: tuple[str, ...]) -> None:
    stage = Stage(tmp_path, {})
    with pytest.raises(ValueError, match="at least one camera, each with an id of its own"):
        Runtime(
            cameras=[Camera(share=Share(camera=each, policy=Policy.LIVE), new_source=silent) for each in cameras],
            detector=stage.detector,
            new_analysis=stage.analysis,
            publisher=None,
            counts=stage.counts,
            times=stage.times,
        )


def test_pictures_of_different_sizes_share_batches(tmp_path: Path) -> None:
    enrol(tmp_path / "gallery.db", {"Ada": 1, "Bob": 2})
    large = [np.ascontiguousarray(picture.repeat(2, 0).repeat(2, 1)) for picture in scene(20, ADA)]
    stage = Stage(tmp_path, {"door": [Play(pictures=large)], "hall": clip(20, BOB)})
    stage.play()
    assert {name for name in names(stage.of("door")) if name} == {"Ada"}
    assert {name for name in names(stage.of("hall")) if name} == {"Bob"}
    started = next(event for event in stage.of("door") if event.type.endswith("started"))
    frame, box = started.data["frame"], started.data["box"]
    assert isinstance(frame, Mapping)
    assert (frame["width"], frame["height"]) == (1280, 720)
    assert isinstance(box, Sequence)
    np.testing.assert_allclose(np.array(box, float), [96, 200, 296, 400], atol=3)
