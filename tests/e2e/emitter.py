"""A pipeline in a process of its own that emits events for ever, to be killed.

``python -m tests.e2e.emitter FOLDER SERVER TOPIC [FPS]``. It is what `vidface serve` runs (runtime, scheduler, tracker,
decisions, outbox, publisher, Kafka sink), but cameras and models are the shipped fakes. What was emitted is noted in
``FOLDER/emitted.txt``, a line ``camera id`` an event, when the outbox has taken it and not before: whoever finds a line
there may ask where the event is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.events.event import Event
from pipeline.events.kafka import KafkaSink
from pipeline.events.outbox import Outbox
from pipeline.events.outbox_writer import OutboxWriter, StoredDelivery
from pipeline.events.publisher import Publisher
from streams.fake import Play, Step
from streams.frame import Frame
from tests.pipeline.stage import SIZE_WH, OnFrame, Stage, Walk, enrol, scene

_NOTE = "emitted.txt"
_LOG = "emitter.log"

CAMERAS = 8
PEOPLE = 15
STAYS_FRAMES = 6
"""How long each face stays: long enough to be confirmed and identified."""

SCENE_FRAMES = 20 * STAYS_FRAMES
ROUNDS = 100_000


def started(folder: Path, server: str, topic: str, fps: float = 0.0) -> subprocess.Popen[bytes]:
    """Start one, in a folder with a gallery or one that gets it now."""
    if not (folder / "gallery.db").exists():
        enrol(folder / "gallery.db", {"Ada": 1, "Bob": 2})
    command = [sys.executable, "-m", "tests.e2e.emitter", str(folder), server, topic, str(fps)]
    with (folder / _LOG).open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def emitted_in(folder: Path) -> list[tuple[str, str]]:
    """Camera and id of each event that was emitted, in order."""
    note = folder / _NOTE
    lines = note.read_text().splitlines() if note.exists() else []
    return [(camera, event_id) for camera, event_id in (line.split(" ") for line in lines)]


def emitted_count(folder: Path) -> int:
    """How many they are so far."""
    note = folder / _NOTE
    return note.read_bytes().count(b"\n") if note.exists() else 0


def log_of(folder: Path) -> str:
    """The end of what it said."""
    return (folder / _LOG).read_text(errors="replace")[-2000:]


def scripts() -> dict[str, Sequence[Step]]:
    """Each camera's endless script: three faces at a time, each gone after a few frames, the next far from it."""
    found: dict[str, Sequence[Step]] = {}
    for camera in range(CAMERAS):
        walks = [
            Walk(
                person=(camera + 3 * turn + place) % PEOPLE,
                x=20 + 210 * place,
                y=10 if turn % 2 else SIZE_WH[1] - 110,
                speed=2,
                enters=turn * STAYS_FRAMES,
                leaves=(turn + 1) * STAYS_FRAMES,
            )
            for turn in range(SCENE_FRAMES // STAYS_FRAMES)
            for place in range(3)
        ]
        found[f"camera-{camera}"] = (Play(pictures=scene(SCENE_FRAMES, *walks)),) * ROUNDS
    return found


def paced(fps: float) -> Callable[[OnFrame], OnFrame]:
    """Lets each camera deliver so many frames a second; as fast as can be where it is 0."""

    def pace(deliver: OnFrame) -> OnFrame:
        due_s = time.monotonic()

        def put(frame: Frame) -> None:
            nonlocal due_s
            due_s = max(due_s + 1 / fps, time.monotonic() - 1.0)  # what is late for longer is not made up for
            time.sleep(max(0.0, due_s - time.monotonic()))
            deliver(frame)

        return put

    return pace if fps else lambda deliver: deliver


def main(folder: Path, server: str, topic: str, fps: float = 0.0) -> None:
    """Emit until SIGTERM; then deliver what is left, and end."""
    sink = KafkaSink([server], topic, connect_timeout_s=2.0, delivery_timeout_s=5.0)
    note = os.open(folder / _NOTE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    enough = threading.Event()
    with Outbox.open(folder / "outbox.db", [sink.name]) as outbox:

        def note_down(events: Sequence[Event]) -> None:
            os.write(note, "".join(f"{event.camera} {event.id}\n" for event in events).encode())

        writer = OutboxWriter(outbox, on_stored=note_down)
        stage = Stage(
            folder,
            scripts(),
            emit=writer.put,
            publisher=StoredDelivery(writer, Publisher(outbox, [sink])),
            next_epoch=outbox.next_epoch,
            next_state_number=outbox.next_state_number,
            on_frame=paced(fps),
        )
        signal.signal(signal.SIGTERM, lambda *_: enough.set())
        with stage.runtime() as runtime:
            while not enough.wait(0.1):
                runtime.wait(0)
            runtime.stop()
        left = outbox.pending(sink.name)
        if left:
            sys.exit(f"{left} events are still in the outbox")
    os.close(note)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], *map(float, sys.argv[4:]))
