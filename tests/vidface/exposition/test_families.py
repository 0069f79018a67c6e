from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pipeline.events.payload import EVENT_TYPES
from pipeline.overload import LEFT_OUT, SKIPPED, CameraLoad
from streams.state import CameraStateName
from tests.vidface.exposition.made import LOST, camera, service
from vidface.exposition.families import FAMILIES, OUTCOMES, new_registry
from vidface.status import Phase, ServiceStatus


def told(status: ServiceStatus) -> list[Metric]:
    """What Prometheus reads of our own metrics."""
    text = generate_latest(new_registry(lambda: status)).decode()
    return [family for family in text_string_to_metric_families(text) if family.name.startswith("vidface_")]


def values(status: ServiceStatus, name: str) -> dict[tuple[str, ...], float]:
    samples = (sample for family in told(status) for sample in family.samples if sample.name == name)
    return {tuple(sample.labels.values()): sample.value for sample in samples}


def test_frames_by_outcome_count_each_frame_once() -> None:
    status = service(camera("door"), camera("hall"))
    assert values(status, "vidface_frames_decoded_total") == {("door",): 100, ("hall",): 100}
    frames = values(status, "vidface_frames_total")
    door = {outcome: count for (name, outcome), count in frames.items() if name == "door"}
    assert {outcome: count for outcome, count in door.items() if count} == {
        "detected": 20,
        "not_due": 70,
        "superseded": 9,
    }
    assert set(door) == {*OUTCOMES, *SKIPPED}


def test_a_recording_skips_nothing() -> None:
    frames = values(service(camera("clip", live=False)), "vidface_frames_total")
    assert {outcome for _, outcome in frames} == set(OUTCOMES)


def test_overload_is_told_of_cameras_of_which_it_is_known() -> None:
    kept_up = CameraLoad(wanted_fps=5.0, granted_fps=5.0, left_out_fps=0.0, overloaded=False)
    doors = (
        replace(camera("door"), load=kept_up),
        replace(camera("hall"), load=replace(kept_up, overloaded=True)),
        replace(camera("clip", live=False), wanted_fps=None),
    )
    assert values(service(*doors), "vidface_camera_overloaded") == {("door",): 0, ("hall",): 1}
    assert values(service(*doors), "vidface_camera_wanted_fps") == {("door",): 5, ("hall",): 5}


def test_an_outcome_that_is_new_is_told_too() -> None:
    status = service(camera())
    with_more = {**status.cameras[0].frames, "shed": 3}
    object.__setattr__(status.cameras[0], "frames", with_more)
    assert values(status, "vidface_frames_total")["door", "shed"] == 3


def test_ages_are_a_cumulative_histogram() -> None:
    status = service(camera("door"), camera("clip", live=False))
    buckets = values(status, "vidface_decision_age_seconds_bucket")
    assert {key[0] for key in buckets} == {"door"}, "a recording's decisions have no age"
    assert [buckets["door", bound] for bound in ("0.05", "0.15", "0.2", "10.0", "+Inf")] == [1, 1, 19, 19, 20]
    assert values(status, "vidface_decision_age_seconds_count") == {("door",): 20}
    assert values(status, "vidface_decision_age_seconds_sum") == {("door",): 2.5}


def test_a_camera_is_in_one_state() -> None:
    status = service(camera("door", LOST, "stalled"), camera("hall", None, None))
    states = values(status, "vidface_camera_state")
    assert {state for (name, state), value in states.items() if name == "door" and value} == {"lost"}
    assert [value for (name, _), value in states.items() if name == "hall"] == [0.0] * len(CameraStateName)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vidface_build_info", {("1.2.3",): 1}),
        ("vidface_phase", {("starting",): 0, ("running",): 1, ("ending",): 0, ("failed",): 0}),
        ("vidface_camera_epoch", {("door",): 7}),
        ("vidface_camera_connections_total", {("door",): 3}),
        ("vidface_camera_reconnects_total", {("door",): 2}),
        ("vidface_camera_failed_attempts_total", {("door",): 5}),
        ("vidface_camera_bad_frames_total", {("door",): 4}),
        ("vidface_camera_repaired_times_total", {("door",): 6}),
        ("vidface_stage_seconds_total", {("detect",): 1.5}),
        ("vidface_stage_items_total", {("detect",): 20}),
        ("vidface_stage_calls_total", {("detect",): 10}),
        ("vidface_sink_delivered_total", {("jsonl",): 20}),
        ("vidface_sink_retries_total", {("jsonl",): 1}),
        ("vidface_sink_refused_total", {("jsonl",): 2}),
        ("vidface_sink_dropped_total", {("jsonl",): 4}),
        ("vidface_sink_pending", {("jsonl",): 3}),
        ("vidface_sink_failing", {("jsonl",): 1}),
        ("vidface_events_total", {(kind,): 2.0 * (kind == "vidface.camera.state") for kind in EVENT_TYPES}),
    ],
)
def test_what_is_told(name: str, expected: dict[tuple[str, ...], float]) -> None:
    assert values(service(), name) == expected


def _every_family() -> Iterator[Metric]:
    for family in FAMILIES:
        yield from family(service())


def test_names_follow_the_conventions() -> None:
    families = list(_every_family())
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert re.fullmatch(r"vidface(_[a-z]+)+", family.name), family.name
        assert not re.search(r"_(ms|milliseconds|minutes|ns|count|sum|total)(_|$)", family.name), family.name
        assert family.documentation.endswith("."), family.name
        if family.type == "counter":
            assert all(sample.name == f"{family.name}_total" for sample in family.samples), family.name
        for sample in family.samples:
            labels = {"camera", "outcome", "state", "stage", "sink", "type", "phase", "version", "le"}
            assert set(sample.labels) <= labels, family.name


def test_the_last_error_of_a_sink_is_no_label() -> None:
    text = generate_latest(new_registry(service)).decode()
    assert "the disk is full" not in text


@pytest.mark.parametrize("phase", Phase)
def test_it_is_legal_openmetrics_also_while_there_is_nothing_yet(phase: Phase) -> None:
    empty = ServiceStatus(
        version="1", phase=phase, failure=None, taken_ns=0, uptime_s=0, cameras=(), stages={}, sinks=(), events={}
    )
    text = generate_openmetrics(new_registry(lambda: empty)).decode()  # type: ignore[no-untyped-call]
    names = {family.name for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert {"vidface_frames", "vidface_phase", "process_cpu_seconds", "python_info"} <= names


def test_making_a_registry_takes_no_snapshot() -> None:
    def snapshot() -> ServiceStatus:
        raise AssertionError("nobody has asked yet")

    new_registry(snapshot)


def test_known_outcomes_are_those_that_are_counted() -> None:
    assert {"detected", "not_due", "superseded", "expired", "undelivered"} == set(OUTCOMES)
    assert {*OUTCOMES, *SKIPPED} > LEFT_OUT, "what overload is told by can be seen"
