"""Whether the plain loop and the service say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.events.event import Event
from pipeline.events.payload import SightingStage
from tests.pipeline.events.examples import sighting
from tests.vidface.evaluation.made import faces, loop_run
from vidface.evaluation.loop import SAMPLE_EVERY, agreement, check_agreement, plain_model
from vidface.evaluation.outputs import OutputsDiffer
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, Manifest, load_manifest


def named(name: str, frame: int) -> Event:
    event = sighting(SightingStage.IDENTIFIED).to_event()
    identity: dict[str, Any] = {**event.data["identity"], "name": name}  # type: ignore[dict-item]
    place: dict[str, Any] = {**event.data["frame"], "index": frame}  # type: ignore[dict-item]
    return replace(event, data={**event.data, "identity": identity, "frame": place})


def test_the_same_is_the_same() -> None:
    loop = loop_run(frames_of={"Ada": 8})
    found = agreement(loop, loop.faces_by_frame, [named("Ada", 5)], 3)
    assert (found.frames, found.loop_found, found.service_found) == (4, 1.0, 1.0)
    assert (found.people, found.loop_only, found.service_only) == (("Ada",), (), ())
    check_agreement(found)


@pytest.mark.parametrize(
    ("lefts_px", "loop_found", "service_found", "who"),
    [
        pytest.param(
            (10, 100, 300), 2 / 3, 1.0, "the plain loop found 66.7 % of the faces of the service", id="missed"
        ),
        pytest.param((10,), 1.0, 0.5, "the service found 50.0 % of the faces of the plain loop", id="one-more"),
        pytest.param((30, 120), 0.0, 0.0, "the plain loop found 0.0 %", id="elsewhere"),
        pytest.param((), 1.0, 0.0, "the service found 0.0 %", id="none"),
    ],
)
def test_other_faces_are_refused(
    lefts_px: tuple[float, ...], loop_found: float, service_found: float, who: str
) -> None:
    loop = loop_run()
    found = agreement(loop, dict.fromkeys(range(20), faces(*lefts_px)), [], 3)
    assert found.loop_found == pytest.approx(loop_found)
    assert found.service_found == pytest.approx(service_found)
    with pytest.raises(OutputsDiffer, match=who):
        check_agreement(found)


def test_only_frames_that_both_looked_at_are_compared() -> None:
    loop = loop_run(frames=40)
    every_third = {frame: faces(10, 100) for frame in range(0, 60, 3)}
    found = agreement(loop, every_third, [], 3)
    assert found.frames == -(-14 // SAMPLE_EVERY)
    check_agreement(found)


@pytest.mark.parametrize(
    ("frames_of", "events", "both", "loop_only", "service_only"),
    [
        pytest.param({"Ada": 2}, [], 0, 0, 0, id="too-few-frames"),
        pytest.param({"Ada": 2}, [named("Ada", 9)], 1, 0, 0, id="few-frames-but-the-service-is-sure"),
        pytest.param({"Ada": 5}, [named("Ada", 30)], 1, 0, 0, id="named-after-the-loop-s-end"),
        pytest.param({}, [named("Ada", 30)], 0, 0, 0, id="came-after-the-loop-s-end"),
        pytest.param({"Bob": 5}, [], 0, 1, 0, id="the-loop-alone"),
        pytest.param({}, [named("Ada", 9)], 0, 0, 1, id="the-service-alone"),
    ],
)
def test_people(frames_of: dict[str, int], events: list[Event], both: int, loop_only: int, service_only: int) -> None:
    loop = loop_run(frames_of=frames_of)
    found = agreement(loop, loop.faces_by_frame, events, 3)
    assert (len(found.people), len(found.loop_only), len(found.service_only)) == (both, loop_only, service_only)
    if service_only:
        with pytest.raises(OutputsDiffer, match="the plain loop did not find Ada"):
            check_agreement(found)
    else:
        check_agreement(found)


def test_the_loop_runs_what_a_quantised_model_was_made_from() -> None:
    shipped = load_manifest()
    detector, embedder = shipped.model(DEFAULT_DETECTOR), shipped.model(DEFAULT_EMBEDDER)
    made = [
        replace(detector, name="pruned", based_on=detector.name),
        replace(detector, name="pruned-int8", based_on="pruned"),
        replace(detector, name="optimised-int8", based_on=detector.name),
        replace(embedder, name="int8", based_on=embedder.name, templates_of=embedder.name),
        replace(embedder, name="trained-int8", based_on=embedder.name),
        replace(detector, name="again-int8", based_on="again-int8"),
    ]
    manifest = Manifest(models={**shipped.models, **{spec.name: spec for spec in made}}, artifacts=shipped.artifacts)

    def plain(name: str) -> str:
        return plain_model(name, manifest, lambda each: each.endswith("int8")).name

    assert plain(detector.name) == detector.name
    assert plain("pruned") == "pruned", "who prunes knows another loop"
    assert plain("pruned-int8") == "pruned"
    assert plain("optimised-int8") == detector.name
    assert plain("int8") == embedder.name
    assert plain("trained-int8") == "trained-int8", "its templates are its own"
    assert plain("again-int8") == "again-int8"
