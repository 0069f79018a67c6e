from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pipeline.events.event import Event
from pipeline.events.outbox import Outbox
from pipeline.events.payload import Answer
from pipeline.identify import UNSEEN, Decision, Reason
from pipeline.report import Provenance, Reporter
from pipeline.sighting import Glimpse, Notice, NoticeKind
from streams.fake import FakeClock
from streams.state import CameraState, CameraStateName
from tests.pipeline.made import MS, RECORDED_AT_NS, SECOND, candidate, faces_of, meta_of, square
from tests.schemas import assert_valid

PROVENANCE = Provenance(detector="a-detector", embedder="an-embedder")


def glimpse(index: int = 0) -> Glimpse:
    face = faces_of(square(-20, 30))
    return Glimpse(
        meta=meta_of(index=index),
        box_xyxy=face.boxes_xyxy[0],
        landmarks_xy=face.landmarks_xy[0],
        score=0.987654,
        quality=0.54321,
    )


def notice(
    kind: NoticeKind, decision: Decision = UNSEEN, *, previous: Decision | None = None, sequence: int = 1
) -> Notice:
    return Notice(
        kind=kind,
        number=3,
        sequence=sequence,
        first=glimpse(0),
        last=glimpse(10),
        best_quality=0.7,
        frames_seen=11,
        decision=decision,
        previous=previous,
    )


PERSON = Decision(
    answer=Answer.PERSON,
    reason=Reason.MATCHED,
    identity=candidate("Ada", 0.71),
    margin=0.4,
    runner_up=candidate("Bob", 0.31),
    shots=5,
    agreeing=4,
    weight=3.0,
    gallery_version=9,
)
LONE = Decision(
    answer=Answer.PERSON,
    reason=Reason.MATCHED,
    identity=candidate("Ada", 0.71),
    margin=0.71,
    shots=5,
    agreeing=5,
    gallery_version=9,
)
STRANGER = Decision(
    answer=Answer.STRANGER, reason=Reason.NOBODY_NEAR, runner_up=candidate("Ada", 0.2), shots=4, gallery_version=9
)


def reporter_to(
    events: list[Event], *, live: frozenset[str] = frozenset(), site: str | None = None, clock: FakeClock | None = None
) -> Reporter:
    numbers = itertools.count(1)
    return Reporter(
        provenance=Provenance(detector="a-detector", embedder="an-embedder", site=site),
        live_cameras=live,
        gallery_version=lambda: 4,
        next_state_number=lambda _camera: next(numbers),
        emit=events.extend,
        clock=clock or FakeClock(unix_ns=RECORDED_AT_NS + 2 * SECOND),
    )


def told(one: Notice, *, live: bool = False, site: str | None = None) -> Event:
    events: list[Event] = []
    reporter_to(events, live=frozenset({"door"}) if live else frozenset(), site=site).notices("door", 2, [one])
    assert_valid(events[0])
    return events[0]


@pytest.mark.parametrize("live", [False, True], ids=["recorded", "live"])
@pytest.mark.parametrize(
    "one",
    [
        pytest.param(notice(NoticeKind.STARTED), id="started"),
        pytest.param(notice(NoticeKind.IDENTIFIED, PERSON), id="person"),
        pytest.param(notice(NoticeKind.IDENTIFIED, LONE), id="lone-person"),
        pytest.param(notice(NoticeKind.IDENTIFIED, STRANGER), id="stranger"),
        pytest.param(notice(NoticeKind.REVISED, PERSON, previous=STRANGER), id="revised"),
        pytest.param(notice(NoticeKind.REVISED, STRANGER, previous=PERSON), id="taken-back"),
        pytest.param(notice(NoticeKind.ENDED), id="ended-undecided"),
        pytest.param(notice(NoticeKind.ENDED, PERSON), id="ended"),
    ],
)
def test_every_notice_is_a_valid_event(one: Notice, *, live: bool) -> None:
    event = told(one, live=live)
    assert event.type == f"vidface.sighting.{one.kind}"
    assert (event.subject, event.camera, event.source) == ("door", "door", "/vidface/cameras/door")
    assert event.id == "door/2/3/1"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_valid(reason: Reason) -> None:
    decision = Decision(answer=Answer.UNDECIDED, reason=reason, shots=1)
    assert told(notice(NoticeKind.ENDED, decision)).data["reason"] == reason.value


def test_what_an_identification_says() -> None:
    data = told(notice(NoticeKind.IDENTIFIED, PERSON)).data
    assert data["identity"] == {"id": "id-Ada", "name": "Ada", "score": 0.71, "margin": 0.4}
    assert data["runner_up"] == {"id": "id-Bob", "name": "Bob", "score": 0.31}
    assert (data["answer"], data["reason"], data["shots"], data["agreeing_shots"]) == ("person", "matched", 5, 4)
    assert data["models"] == {"detector": "a-detector", "embedder": "an-embedder"}
    assert data["gallery_version"] == 9
    assert data["frame"] == {"index": 10, "pts_s": 0.4, "width": 640, "height": 480}
    assert data["box"] == [-20, 30, 80, 130]
    landmarks = data["landmarks"]
    assert isinstance(landmarks, Sequence)
    assert [len(point) for point in landmarks if isinstance(point, Sequence)] == [2] * 5
    assert (data["epoch"], data["track"], data["sequence"], data["sighting"]) == (2, 3, 1, "door/2/3")


def test_over_nobody_there_is_no_margin() -> None:
    identity = told(notice(NoticeKind.IDENTIFIED, LONE)).data["identity"]
    assert isinstance(identity, Mapping)
    assert identity["margin"] is None


def test_a_revision_says_what_it_takes_back() -> None:
    previous = told(notice(NoticeKind.REVISED, STRANGER, previous=PERSON)).data["previous"]
    assert isinstance(previous, Mapping)
    assert previous["answer"] == "person"
    assert isinstance(previous["identity"], Mapping)
    assert previous["identity"]["name"] == "Ada"


def test_an_end_says_how_long_it_was() -> None:
    data = told(notice(NoticeKind.ENDED, PERSON)).data
    assert (data["duration_s"], data["frames_seen"], data["best_quality"]) == (0.4, 11, 0.7)


def test_before_any_search_the_galleries_version_is_the_present_one() -> None:
    assert told(notice(NoticeKind.STARTED)).data["gallery_version"] == 4


def test_only_live_decisions_have_an_age() -> None:
    assert told(notice(NoticeKind.STARTED), live=False).data["age_ms"] is None
    age = told(notice(NoticeKind.STARTED), live=True).data["age_ms"]
    assert age == pytest.approx((2 * SECOND - 400 * MS) / MS)


def test_a_site_is_a_prefix() -> None:
    assert told(notice(NoticeKind.STARTED), site="plant").source == "/vidface/plant/cameras/door"


def test_nothing_to_tell_is_not_emitted() -> None:
    emitted: list[object] = []
    reporter = Reporter(
        provenance=PROVENANCE,
        live_cameras=frozenset(),
        gallery_version=lambda: 0,
        next_state_number=lambda _camera: 1,
        emit=emitted.append,
    )
    reporter.notices("door", 1, [])
    assert emitted == []


def test_what_happened_together_is_emitted_together() -> None:
    emitted: list[int] = []
    reporter = Reporter(
        provenance=PROVENANCE,
        live_cameras=frozenset(),
        gallery_version=lambda: 0,
        next_state_number=lambda _camera: 1,
        emit=lambda events: emitted.append(len(events)),
    )
    reporter.notices("door", 1, [notice(NoticeKind.STARTED), notice(NoticeKind.IDENTIFIED, PERSON, sequence=2)])
    assert emitted == [2]


def test_each_cameras_sighting_events_are_counted_by_epoch() -> None:
    events: list[Event] = []
    reporter = reporter_to(events)
    started, identified = notice(NoticeKind.STARTED), notice(NoticeKind.IDENTIFIED, PERSON, sequence=2)
    reporter.notices("door", 1, [started, identified])
    reporter.notices("hall", 4, [started])
    reporter.camera_state(state(CameraStateName.LIVE))  # is not counted
    reporter.notices("door", 1, [identified])
    reporter.notices("door", 2, [started, identified])
    reporter.notices("hall", 4, [identified])
    told = [(e.camera, e.data["epoch"], e.data["camera_sequence"]) for e in events if "camera_sequence" in e.data]
    assert told == [
        *[("door", 1, 1), ("door", 1, 2), ("hall", 4, 1), ("door", 1, 3)],
        *[("door", 2, 1), ("door", 2, 2), ("hall", 4, 2)],
    ]


def state(name: CameraStateName, camera: str = "door", epoch: int = 1) -> CameraState:
    return CameraState(
        camera=camera, epoch=epoch, name=name, cause="opened", detail="first picture", at_ns=RECORDED_AT_NS
    )


def test_states_name_the_one_before_of_their_own_camera() -> None:
    events: list[Event] = []
    reporter = reporter_to(events)
    for name, camera in (
        (CameraStateName.CONNECTING, "door"),
        (CameraStateName.CONNECTING, "hall"),
        (CameraStateName.LIVE, "door"),
        (CameraStateName.ENDED, "hall"),
    ):
        reporter.camera_state(state(name, camera))
    for event in events:
        assert_valid(event)
    assert [event.data["previous_state"] for event in events] == [None, None, "connecting", "connecting"]
    assert events[2].time_ns == RECORDED_AT_NS


def test_no_id_is_used_twice_not_after_a_restart_either(tmp_path: Path) -> None:
    """Each start counts its states anew within an epoch of its own, which the outbox keeps."""
    ids: list[str] = []
    for _start in range(3):
        events: list[Event] = []
        with Outbox.open(tmp_path / "outbox.db", ["sink"]) as outbox:
            epoch = outbox.next_epoch("door")
            reporter = reporter_to(events)
            reporter.camera_state(state(CameraStateName.LIVE, epoch=epoch))
            reporter.notices("door", epoch, [notice(NoticeKind.STARTED)])
            reporter.camera_state(state(CameraStateName.ENDED, epoch=epoch))
        ids += [event.id for event in events]
    assert len(ids) == len(set(ids)) == 9
