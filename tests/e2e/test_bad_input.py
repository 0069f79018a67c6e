"""What cannot work says so: each bad input with its command, its message and its exit status, in one table.

A message says what is wrong, where, and what to do about it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pytest

from index.gallery import Gallery
from pipeline.events.outbox import Outbox
from tests.e2e.installation import Done, Installation, command
from tests.e2e.lobby import Lobby
from tests.e2e.story import assert_sound, data, state_names, states
from tests.media import clips
from tests.pipeline.events.examples import camera_state
from vidface.cli.app import main
from weights.store import default_cache_dir

DETECTOR: Final = "retinaface-mobilenet0.25"


class Workshop:
    """Makes the bad inputs."""

    def __init__(self, installation: Installation, lobby: Lobby, photos: Mapping[str, Path]) -> None:
        self.installation = installation
        self.folder = installation.folder
        self.lobby = lobby
        self.photos = photos
        self.environment: dict[str, str] = {}
        self.open = contextlib.ExitStack()

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def photo(self, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
        """A real photo with something done to it."""
        picture = cv2.imread(str(self.photos["obama.jpg"]))
        assert picture is not None
        path = self.folder / name
        assert cv2.imwrite(str(path), change(picture))
        return path

    def turned(self) -> Path:
        """A real face that looks to the side by some 50 degrees."""
        name = "Bob_Huggins"
        return self.lobby.data / "lfw" / "images" / name / f"{name}_0003.jpg"

    def serve(self, *sources: str | Path) -> Sequence[str | Path]:
        cameras = [f"id: cam-{number}, source: {source}" for number, source in enumerate(sources, start=1)]
        return ("serve", "--config", self.installation.configure(*cameras))

    def serve_text(self, text: str) -> Sequence[str | Path]:
        return ("serve", "--config", self.file("cameras.yaml", text))

    def enroll(self, name: str, *photos: Path) -> Sequence[str | Path]:
        return ("enroll", name, *photos, "--data-dir", self.installation.data_dir)

    def enroll_twice(self) -> Sequence[str | Path]:
        assert main([str(part) for part in self.enroll("Barack Obama", self.photos["obama.jpg"])]) == 0
        return self.enroll("Somebody Else", self.photos["obama2.jpg"])

    def unknown_person(self) -> Sequence[str | Path]:
        assert main([str(part) for part in self.enroll("Barack Obama", self.photos["obama.jpg"])]) == 0
        return ("gallery", "remove", "Barak Obama", "--yes", "--data-dir", self.installation.data_dir)

    def with_gallery_of_another_model(self, arguments: Sequence[str | Path]) -> Sequence[str | Path]:
        self.installation.data_dir.mkdir()
        Gallery.open(self.installation.data_dir / "gallery.db", model="another-model", dim=64).close()
        return arguments

    def with_file(self, name: str, content: str, arguments: Sequence[str | Path]) -> Sequence[str | Path]:
        self.file(name, content)
        return arguments

    def clip(self) -> Path:
        return clips.clip(self.folder / "clip.mp4")

    def locked_outbox(self) -> Sequence[str | Path]:
        self.installation.data_dir.mkdir()
        self.open.enter_context(Outbox.open(self.installation.data_dir / "outbox.db", ["jsonl"]))
        return self.serve(self.clip())

    def foreign_outbox(self) -> Sequence[str | Path]:
        self.installation.data_dir.mkdir()
        with contextlib.closing(sqlite3.connect(self.installation.data_dir / "outbox.db")) as connection:
            connection.execute("CREATE TABLE theirs (x)")
        return self.serve(self.clip())

    def full_outbox(self) -> Sequence[str | Path]:
        self.installation.data_dir.mkdir()
        with Outbox.open(self.installation.data_dir / "outbox.db", ["kafka"]) as outbox:
            outbox.append([camera_state(number, detail="x" * 2000).to_event() for number in range(1, 601)])
        with socket.create_server(("127.0.0.1", 0)) as server:  # a port that nobody listens on any more
            port = server.getsockname()[1]
        return self.serve_text(
            f"data_dir: {self.installation.data_dir}\n"
            f"cameras: [{{id: cam-1, source: {self.clip()}}}]\n"
            "outbox: {max_mb: 1}\n"
            f"sinks: [{{type: kafka, bootstrap_servers: ['127.0.0.1:{port}'], topic: events}}]\n"
        )

    def clip_without_index(self) -> Path:
        """The lobby's first half: MP4's index is at its end."""
        content = self.lobby.clip.read_bytes()
        return self.file("half.mp4", content[: len(content) // 2])

    def offline_without_models(self) -> Sequence[str | Path]:
        for client in ("npm", "pip", "uv"):
            self.file(f"bin/{client}", "#!/bin/sh\necho 'no network' >&2\nexit 1\n").chmod(0o755)
        self.environment = {
            "VIDFACE_CACHE_DIR": str(self.folder / "cache"),
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "PIP_NO_INDEX": "1",
        }
        return self.enroll("Barack Obama", self.photos["obama.jpg"])

    def wrong_model_file(self) -> Sequence[str | Path]:
        self.environment = {"VIDFACE_CACHE_DIR": str(self.folder / "cache")}
        return ("weights", "pull", DETECTOR, "--from", self.file("detector.onnx", "not a model"))

    def damaged_model(self) -> Sequence[str | Path]:
        shutil.copytree(default_cache_dir() / "models" / DETECTOR, self.folder / "cache" / "models" / DETECTOR)
        with (self.folder / "cache" / "models" / DETECTOR / f"{DETECTOR}.onnx").open("ab") as file:
            file.write(b"\0")
        self.environment = {"VIDFACE_CACHE_DIR": str(self.folder / "cache")}
        return ("weights", "verify", DETECTOR)

    def disk(self) -> Path:
        """Where a row's own file system is mounted; see `Bad.disk`."""
        path = self.folder / "disk"
        path.mkdir(exist_ok=True)
        return path

    def serve_on_disk(self) -> Sequence[str | Path]:
        path = self.disk()
        text = f"data_dir: {path}\ncameras:\n  - {{id: lobby, source: {self.lobby.clip}, detect_every: 5}}\n"
        return self.serve_text(text + "sinks:\n  - {type: jsonl, path: events.jsonl}\n")

    def enroll_on_disk(self) -> Sequence[str | Path]:
        return ("enroll", "Barack Obama", self.photos["obama.jpg"], "--data-dir", self.disk())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """A row.

    Attributes:
        make: Makes the bad input and returns the command line.
        status: The exit status.
        says: What stands on stderr.
        disk: Mount options of a file system of its own for the row, under `Workshop.disk`.
    """

    make: Callable[[Workshop], Sequence[str | Path]]
    status: int
    says: tuple[str, ...]
    disk: str | None = None


NOT_A_VIDEO: Final = ("camera 'cam-1'", "not a video, or damaged at its start or index; check it with a player")
CAMERA: Final = "cameras:\n  - {id: lobby, source: lobby.mp4}\n"

TABLE: Final[Mapping[str, Bad]] = {
    # Recordings
    "recording-missing": Bad(
        make=lambda w: w.serve("gone.mp4"),
        status=1,
        says=("camera 'cam-1': there is no file or folder", "gone.mp4; correct 'source' in the configuration"),
    ),
    "sub-stream-missing": Bad(
        make=lambda w: w.serve(f"{clips.clip(w.folder / 'main.mp4')}, detect_source: gone.mp4"),
        status=1,
        says=("camera 'cam-1': there is no file or folder", "gone.mp4; correct 'detect_source' in the configuration"),
    ),
    "recording-without-its-index": Bad(
        make=lambda w: w.serve(w.clip_without_index()), status=1, says=("half.mp4", *NOT_A_VIDEO)
    ),
    "recording-cut-off": Bad(
        make=lambda w: w.serve(clips.truncated(w.folder / "cut.mp4")),
        status=0,  # what is there was watched
        says=("warning: camera 'cam-1': the recording is cut off: its last 0.9 s of 2.0 s are missing",),
    ),
    "no-video-but-text": Bad(
        make=lambda w: w.serve(w.file("text.mp4", "hello")), status=1, says=("text.mp4", *NOT_A_VIDEO)
    ),
    "no-video-but-nothing": Bad(
        make=lambda w: w.serve(w.file("empty.mp4", "")), status=1, says=("empty.mp4", *NOT_A_VIDEO)
    ),
    "no-video-but-sound": Bad(
        make=lambda w: w.serve(clips.without_video(w.folder / "sound.wav")),
        status=1,
        says=("camera 'cam-1'", "sound.wav", "it holds no video stream; check that it is a video"),
    ),
    "one-recording-of-two": Bad(
        make=lambda w: w.serve(w.clip(), w.file("text.mp4", "hello")), status=1, says=("camera 'cam-2'", "text.mp4")
    ),
    # Photos
    "photo-without-a-face": Bad(
        make=lambda w: w.enroll("X", w.photo("grey.png", lambda photo: np.full_like(photo, 128))),
        status=1,
        says=("grey.png: no face was found; use a photo that shows the face from the front [no_face]",),
    ),
    "photo-of-six": Bad(
        make=lambda w: w.enroll("X", w.photos["t1.jpg"]),
        status=1,
        says=("t1.jpg: 6 faces were found and none clearly dominates; crop it to one person [several_faces]",),
    ),
    "face-too-small": Bad(
        make=lambda w: w.enroll("X", w.photo("small.png", lambda photo: cv2.resize(photo, None, fx=0.08, fy=0.08))),
        status=1,
        says=("small.png: the face is ", " pixels wide; at least 60 are needed: give a larger photo [too_small]"),
    ),
    "face-too-blurred": Bad(
        make=lambda w: w.enroll("X", w.photo("blur.png", lambda photo: cv2.GaussianBlur(photo, (0, 0), 20))),
        status=1,
        says=("blur.png: the face is too blurred (sharpness ", "; at least 12): give a sharper photo [blurred]"),
    ),
    "half-a-face": Bad(
        make=lambda w: w.enroll("X", w.photos["obama_partial_face.jpg"]),
        status=1,
        says=("obama_partial_face.jpg: only 7", "use one that shows the whole face [cut_off]"),
    ),
    "face-turned-away": Bad(
        make=lambda w: w.enroll("X", w.turned()),
        status=1,
        says=("the face is turned ", "at most 35 will do: give a photo from the front [turned_away]"),
    ),
    "photo-that-is-none": Bad(
        make=lambda w: w.enroll("X", w.file("text.jpg", "hello")),
        status=1,
        says=("text.jpg: it is not a picture, or is damaged; give a JPEG, PNG or WebP file [unreadable]",),
    ),
    "photo-cut-off": Bad(
        make=lambda w: w.enroll("X", w.file("cut.jpg", w.photos["obama.jpg"].read_bytes()[:3000])),
        status=1,
        says=("cut.jpg: it is not a picture, or is damaged; give a JPEG, PNG or WebP file [unreadable]",),
    ),
    "photo-missing": Bad(
        make=lambda w: w.enroll("X", w.folder / "gone.jpg"),
        status=1,
        says=("gone.jpg: it can't be read (No such file or directory) [unreadable]",),
    ),
    "person-under-another-name": Bad(
        make=Workshop.enroll_twice,
        status=1,
        says=("'Somebody Else' was not enrolled: a face matches 'Barack Obama'", "[enrolled_under_another_name]"),
    ),
    "folder-of-photos-missing": Bad(
        make=lambda w: ("enroll", "--from", w.folder / "gone"), status=1, says=("gone: there is no such folder",)
    ),
    "folder-without-photos": Bad(
        make=lambda w: ("enroll", "--from", w.file("papers/notes.txt", "hello").parent),
        status=1,
        says=("papers: it holds no photos (.bmp, ", ".jpg"),
    ),
    # Configuration
    "yaml-broken": Bad(
        make=lambda w: w.serve_text("cameras:\n  - {id: lobby source: lobby.mp4}\n"),
        status=2,
        says=("cameras.yaml:2:", "not valid YAML"),
    ),
    "field-unknown": Bad(
        make=lambda w: w.serve_text("cameras:\n  - {id: lobby, sorce: lobby.mp4}\n"),
        status=2,
        says=("cameras.yaml:2:", "cameras[0].sorce: there is no such field; did you mean source?"),
    ),
    "field-out-of-range": Bad(
        make=lambda w: w.serve_text(f"{CAMERA}detector:\n  threshold: 3\n"),
        status=2,
        says=("cameras.yaml:4:", "detector.threshold: expected a number over 0, under 1; given 3"),
    ),
    "model-unknown": Bad(
        make=lambda w: w.serve_text(f"{CAMERA}detector:\n  model: yolo\n"),
        status=2,
        says=("cameras.yaml:4:", f"detector.model: expected one of {DETECTOR}"),
    ),
    "variable-not-set": Bad(
        make=lambda w: w.serve_text('cameras:\n  - {id: door, source: "rtsp://viewer:${NO_SUCH_PASSWORD}@host/x"}\n'),
        status=2,
        says=("cameras.yaml:2:", "NO_SUCH_PASSWORD is not set; set it, or write ${NO_SUCH_PASSWORD:-default}"),
    ),
    "configuration-missing": Bad(
        make=lambda w: ("serve", "--config", w.folder / "gone.yaml"),
        status=2,
        says=("gone.yaml: there is no such file; give the path of a configuration file",),
    ),
    # Weights
    "model-missing-and-offline": Bad(
        make=Workshop.offline_without_models,
        status=1,
        says=(
            "missing: ",
            "Each of these supplies it:",
            "vidface weights pull ",
            " --from PATH",
            "place ",
            "set VIDFACE_CACHE_DIR to a cache folder that has it",
        ),
    ),
    "model-with-a-wrong-hash": Bad(
        make=Workshop.wrong_model_file,
        status=1,
        says=(f"detector.onnx: neither {DETECTOR}.onnx (its sha256 is not ", "Each of these supplies it:"),
    ),
    "model-damaged": Bad(
        make=Workshop.damaged_model,
        status=1,
        says=(f"{DETECTOR}.onnx is damaged: sha256 ", f"run: vidface weights pull {DETECTOR}"),
    ),
    # The data folder
    "data-folder-is-a-file": Bad(
        make=lambda w: w.with_file("state", "", w.enroll("X", w.photos["obama.jpg"])),
        status=1,
        says=("the data folder ", "state can't be made: File exists; name a folder that can, by data_dir"),
    ),
    "data-folder-is-read-only": Bad(
        make=Workshop.serve_on_disk,
        status=1,
        disk="size=1m,ro",
        says=("gallery.db: Read-only file system; choose a data folder that this user can read and write",),
    ),
    "gallery-of-another-model": Bad(
        make=lambda w: w.with_gallery_of_another_model(w.enroll("X", w.photos["obama.jpg"])),
        status=1,
        says=("gallery.db", "another-model", "mobilefacenet-192"),
    ),
    "gallery-of-another-model-at-serve": Bad(
        make=lambda w: w.with_gallery_of_another_model(w.serve(w.clip())),
        status=1,
        says=("gallery.db", "another-model", "mobilefacenet-192"),
    ),
    "gallery-that-is-none": Bad(
        make=lambda w: ("gallery", "list", "--data-dir", w.file("state/gallery.db", "hello").parent),
        status=1,
        says=("gallery.db: ", "it is no SQLite file; move it away, or choose another data folder"),
    ),
    "gallery-on-a-full-disk": Bad(
        make=Workshop.enroll_on_disk,
        status=1,
        disk="size=100k",
        says=("gallery.db: database or disk is full; free some space and try again; nothing was changed",),
    ),
    "outbox-on-a-full-disk": Bad(
        make=Workshop.serve_on_disk,
        status=1,
        disk="size=160k",
        says=("outbox.db: the disk is full; free some space, nothing stored is lost",),
    ),
    "outbox-that-is-none": Bad(
        make=lambda w: w.with_file("state/outbox.db", "hello" * 200, w.serve(w.clip())),
        status=0,  # cameras are watched all the same
        says=("error: outbox ", "outbox.db was damaged (", "set aside as ", "; 0 of its events could be read"),
    ),
    "outbox-at-its-bound": Bad(
        make=Workshop.full_outbox,
        status=1,
        says=(
            "outbox.db holds ",
            " MB: 600 events wait for kafka. Nothing more is stored and nothing stored is lost; see to the sink, ",
            "raise outbox.max_mb, or choose when_full: drop_oldest",
        ),
    ),
    "outbox-of-another-program": Bad(
        make=Workshop.foreign_outbox,
        status=1,
        says=("outbox.db is a database of another program, not an outbox; name another file",),
    ),
    "outbox-of-another-serve": Bad(
        make=Workshop.locked_outbox,
        status=1,
        says=("outbox.db is in use by process ", "stop it, or use another data folder"),
    ),
    "events-file-that-is-a-folder": Bad(
        make=lambda w: w.with_file("events.jsonl/x", "", w.serve(w.clip())),
        status=1,
        says=("cannot write events to ", "events.jsonl: Is a directory"),
    ),
    # Other commands
    "person-unknown": Bad(
        make=Workshop.unknown_person,
        status=1,
        says=("'Barak Obama'", "did you mean 'Barack Obama'"),
    ),
    "ground-truth-that-is-none": Bad(
        make=lambda w: ("eval", "scene", w.clip(), "--truth", w.file("truth.json", "{}"), "--enrol", w.folder),
        status=1,
        says=("truth.json: not a ground truth file",),
    ),
    "pairs-that-are-none": Bad(
        make=lambda w: ("eval", "lfw", w.folder, "--pairs", w.file("pairs.txt", "hello")),
        status=1,
        says=("pairs.txt: not a pairs file in LFW's format",),
    ),
    "clip-missing": Bad(
        make=lambda w: ("bench", w.folder / "gone.mp4"), status=1, says=("gone.mp4: there is no such clip",)
    ),
    "clip-that-is-none": Bad(
        make=lambda w: ("bench", w.file("text.mp4", "hello")),
        status=1,
        says=("text.mp4", "not a video, or damaged at its start or index; check it with a player"),
    ),
}


@pytest.fixture
def workshop(fresh: Installation, lobby: Lobby, photos: Mapping[str, Path]) -> Iterator[Workshop]:
    made = Workshop(fresh, lobby, photos)
    with made.open:
        yield made


@pytest.mark.parametrize("bad", TABLE.values(), ids=TABLE.keys())
def test_bad_input_gets_its_message_and_its_status(
    bad: Bad, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workshop.folder)
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    arguments = bad.make(workshop)
    for name, value in workshop.environment.items():
        monkeypatch.setenv(name, value)
    capfd.readouterr()
    if bad.disk is None:
        status = main([str(argument) for argument in arguments])
        told = capfd.readouterr()
        done = Done(status=status, out=told.out, err=told.err)
    else:
        done = run_with_disk(workshop.disk(), bad.disk, arguments)
    assert done.status == bad.status, done.err
    for part in bad.says:
        assert part in done.err
    assert "Traceback" not in done.err + done.out
    assert "bug in vidface" not in done.err


def run_with_disk(place: Path, options: str, arguments: Sequence[str | Path]) -> Done:
    """Run a command that alone sees a file system of its own; it is gone with the command."""
    unshare = shutil.which("unshare")
    alone = [unshare or "unshare", "--map-root-user", "--mount"]
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
    if unshare is None or subprocess.run([*alone, *mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system of their own (unshare --map-root-user --mount)")
    script = f'{" ".join(mount)} && exec "$@"'
    done = subprocess.run(
        [*alone, "sh", "-c", script, "sh", *command(*arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(status=done.returncode, out=done.stdout, err=done.stderr)


def test_the_good_recording_of_two_is_watched_to_its_end(workshop: Workshop) -> None:
    arguments = workshop.serve(workshop.file("text.mp4", "hello"), workshop.clip())
    done = workshop.installation.run(*arguments, "--json")
    assert done.status == 1
    cameras = done.json["cameras"]
    assert cameras["cam-1"]["cause"] == "open_failed"
    assert "text.mp4" in cameras["cam-1"]["failed"]
    assert cameras["cam-2"] == {"frames": {"decoded": 50, "detected": 50}, "cause": "eof", "failed": None}
    events = workshop.installation.events()
    assert_sound(events)
    assert state_names(events, "cam-1") == ["connecting", "ended"]
    assert state_names(events, "cam-2") == ["connecting", "live", "ended"]


def test_a_dead_camera_is_told_once_and_tried_until_stopped(fresh: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    fresh.configure(f'id: door, source: "rtsp://viewer:secret@127.0.0.1:{port}/main"')
    with fresh.serve("--json") as serving:
        serving.until(lambda events: state_names(events, "door").count("connecting") == 2 or None)
        done = serving.stop(signal.SIGTERM)
    assert done.status == 0, done.err
    events = fresh.events()
    assert_sound(events)
    assert state_names(events, "door") == ["connecting", "lost", "connecting", "ended"]
    lost = data(states(events, "door")[1])
    assert lost["cause"] == "open_failed"
    assert lost["detail"] == "nothing listens there; check address, port and that it is on"
    assert done.json["cameras"]["door"] == {"frames": {}, "cause": "stopped", "failed": None}
    assert "secret" not in fresh.events_path.read_text() + done.out + done.err


def test_the_command_itself_ends_with_the_status(fresh: Installation) -> None:
    done = fresh.run("serve", "--config", fresh.folder / "gone.yaml", "--json")
    assert done.status == 2
    assert done.json["error"]["code"] == "config_error"
    assert done.err.startswith("error: ")
    assert os.linesep not in done.err.strip()
