"""Events to test with, each of them valid."""

from typing import Any

from pipeline.events.event import Event
from pipeline.events.payload import (
    Answer,
    CameraStatePayload,
    Ending,
    FrameRef,
    IdentityRef,
    PreviousAnswer,
    RunnerUp,
    SightingPayload,
    SightingStage,
)
from pipeline.events.payload_dropped import DroppedPayload, DropReason, SinkDrop

NOON_NS = 1_769_860_800_000_000_000  # 2026-01-31T12:00:00Z
ALICE = IdentityRef(id="p-alice", name="Alice Ångström", score=0.71239, margin=0.30551)


def sighting(stage: SightingStage = SightingStage.IDENTIFIED, **changes: Any) -> SightingPayload:
    values: dict[str, Any] = {
        "stage": stage,
        "camera": "lobby",
        "epoch": 2,
        "track": 7,
        "sequence": 3,
        "camera_sequence": 21,
        "captured_ns": NOON_NS,
        "decided_ns": NOON_NS + 84_000_000,
        "live": True,
        "first_seen_ns": NOON_NS - 1_200_000_000,
        "last_seen_ns": NOON_NS,
        "frame": FrameRef(index=812, pts_ns=32_480_000_000, size_wh=(1920, 1080)),
        "box_xyxy": (100.123, 200.0, 180.5, 300.25),
        "landmarks_xy": ((120.0, 230.0), (160.0, 231.0), (140.0, 255.0), (125.0, 275.0), (156.0, 276.128)),
        "detection_score": 0.998,
        "quality": 0.83,
        "answer": Answer.PERSON,
        "reason": "agreed",
        "identity": ALICE,
        "runner_up": RunnerUp(id="p-bob", name="Bob", score=0.40688),
        "shots": 3,
        "agreeing_shots": 3,
        "detector": "retinaface-mobilenet0.25",
        "embedder": "mobilefacenet-192",
        "gallery_version": 12,
    }
    if stage is SightingStage.REVISED:
        values["previous"] = PreviousAnswer(answer=Answer.STRANGER, identity=None)
    if stage is SightingStage.ENDED:
        values["ending"] = Ending(best_quality=0.91, frames_seen=48, duration_s=2.5)
    return SightingPayload(**(values | changes))


def camera_state(sequence: int = 1, camera: str = "lobby", **changes: Any) -> CameraStatePayload:
    values: dict[str, Any] = {
        "camera": camera,
        "epoch": 1,
        "sequence": sequence,
        "state": "live",
        "previous_state": "connecting",
        "cause": "opened",
        "detail": "rtsp://***@camera.example/stream is delivering 1920x1080 frames",
        "at_ns": NOON_NS + sequence * 1_000_000,
    }
    return CameraStatePayload(**(values | changes))


def dropped(**changes: Any) -> DroppedPayload:
    values: dict[str, Any] = {
        "outbox": "3f9a0c12b4d5",
        "opening": 4,
        "sequence": 2,
        "reason": DropReason.SIZE,
        "sinks": (
            SinkDrop(
                sink="kafka",
                dropped=512,
                first_sequence=1001,
                last_sequence=1514,
                first_ns=NOON_NS,
                last_ns=NOON_NS + 60_000_000_000,
                total=2048,
            ),
        ),
        "at_ns": NOON_NS + 120_000_000_000,
    }
    return DroppedPayload(**(values | changes))


def numbered(count: int, camera: str = "lobby", first: int = 1) -> list[Event]:
    """Return events of one camera that differ in their number, in order."""
    return [camera_state(number, camera).to_event() for number in range(first, first + count)]
