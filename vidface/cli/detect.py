"""``vidface detect``: photos in; pictures with boxes, landmarks and scores out, and the same as JSON and CSV."""

from __future__ import annotations

import csv
import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidface.cli.options import ConfigOption, JsonOption
from vidface.cli.output import complain, progress, say, show, show_table
from vidface.cli.weights import pull_progress
from vidface.errors import BadInput, UsageError

if TYPE_CHECKING:
    from pipeline.photo import DescribedFaces, PhotoReader
    from vidface.config.model import Config
    from vidface.photo_input import PhotoInput

LANDMARKS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
"""As seen in the picture, in the order of every list of landmarks."""

JPEG_QUALITY = 92

_CANVAS = re.compile(r"(\d+)[xX](\d+)")
_LONGEST_STEM_BYTES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An input that gave nothing."""

    input: str
    message: str


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(detect)


def detect(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Photos, folders of photos, or URLs.")],
    *,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0.01, max=0.99, metavar="T", help="Leave out less confident faces."),
    ] = None,
    canvas: Annotated[
        str | None,
        typer.Option(
            "--canvas",
            metavar="WxH",
            help="The size that photos are scaled to, in multiples of 32; a larger one finds smaller faces.",
        ),
    ] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", metavar="DIR", help="Where the results go.")] = Path(
        "detections"
    ),
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the faces of photos. The annotated pictures, faces.json and faces.csv go to the output folder.

    Folders are searched to their depth. What can't be read is told and left out; the exit status is 1 if there was any.
    """
    settings = _settings(config, threshold, canvas)
    _make_writable(output_dir)
    photos, failures = _gather(inputs, output_dir)
    reports = _detect_all(photos, failures, settings, output_dir) if photos else []
    value = {
        "detector": settings.detector.model,
        "canvas": list(settings.detector.canvas),
        "threshold": settings.detector.threshold,
        "photos": reports,
        "failed": [{"input": failure.input, "message": failure.message} for failure in failures],
    }
    if reports:
        _write_results(output_dir, value)
    show(value, lambda: _say(reports, output_dir) if reports else None, as_json=as_json)
    for failure in failures:
        complain(failure.message)
    if failures:
        raise typer.Exit(1)


def _settings(path: Path | None, threshold: float | None, canvas: str | None) -> Config:
    """The configuration, with what the command line says of the detector.

    Raises:
        ConfigError: The file can't be used.
        UsageError: The canvas is none.
    """
    from pydantic import ValidationError

    from vidface.config.load import load_config
    from vidface.config.model import Config, DetectorConfig

    # Without a file all is by default; the camera that a configuration must have is not looked at here.
    nothing_said = {"cameras": [{"id": "photos", "source": "photos"}]}
    config = load_config(path) if path else Config.model_validate(nothing_said)
    given: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    if canvas is not None:
        match = _CANVAS.fullmatch(canvas)
        given["canvas"] = (int(match[1]), int(match[2])) if match else None
    try:
        detector = DetectorConfig.model_validate(config.detector.model_dump() | given)
    except ValidationError as error:
        raise UsageError(
            f"--canvas {canvas}: expected WIDTHxHEIGHT, such as 1280x736, each a multiple of 32 from 64 to 4096"
        ) from error
    return config.model_copy(update={"detector": detector})


def _make_writable(folder: Path) -> None:
    """Make the output folder, and find out now rather than after the work whether it can be written to.

    Raises:
        BadInput: It can't.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"the output folder {folder} can't be written to: {error.strerror or error}") from error


def _gather(inputs: Sequence[str], output_dir: Path) -> tuple[list[PhotoInput], list[Failure]]:
    """All photos, each once, in the order of the inputs; and the inputs that hold none."""
    from streams.redact import redact
    from vidface.photo_input import find_photos

    photos: dict[str, PhotoInput] = {}
    failures = []
    for argument in inputs:
        try:
            for photo in find_photos(argument, skip=output_dir):
                photos.setdefault(photo.url or str((photo.path or Path()).resolve()), photo)
        except BadInput as error:
            failures.append(Failure(input=redact(argument), message=str(error)))
    return list(photos.values()), failures


def _detect_all(
    photos: Sequence[PhotoInput], failures: list[Failure], settings: Config, output_dir: Path
) -> list[dict[str, Any]]:
    from vidface.assemble import photo_reader

    with pull_progress() as pulling:
        reader = photo_reader(settings, pulling)
    names = OutputNames(output_dir, (photo.path for photo in photos if photo.path is not None))
    reports = []
    with progress() as bar:
        task = bar.add_task("detecting", total=len(photos))
        for photo in photos:
            try:
                reports.append(_detect_one(photo, reader, names))
            except BadInput as error:
                failures.append(Failure(input=photo.name, message=str(error)))
            bar.advance(task)
    return reports


def _detect_one(photo: PhotoInput, reader: PhotoReader, names: OutputNames) -> dict[str, Any]:
    import cv2

    from vidface.draw import draw_faces

    bgr = photo.load()
    described = reader.read(bgr)
    done, data = cv2.imencode(".jpg", draw_faces(bgr, described.faces), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise BadInput(f"{photo.name}: its annotated picture can't be encoded as JPEG")
    annotated = names.new_path(photo.stem)
    annotated.write_bytes(data.tobytes())
    return {
        "file": photo.name,
        "width": bgr.shape[1],
        "height": bgr.shape[0],
        "annotated": str(annotated),
        "faces": _faces(described),
    }


def _faces(described: DescribedFaces) -> list[dict[str, Any]]:
    faces = described.faces
    return [
        {
            "box": [round(float(value), 2) for value in faces.boxes_xyxy[row]],
            "score": round(float(faces.scores[row]), 4),
            "landmarks": [[round(float(x), 2), round(float(y), 2)] for x, y in faces.landmarks_xy[row]],
            "quality": round(float(described.qualities[row]), 4),
            "size_px": round(float(faces.sizes_px[row]), 2),
        }
        for row in range(len(faces))
    ]


class OutputNames:
    """Names for annotated pictures: each once, and never that of an input.

    Args:
        folder: Where they go.
        inputs: The files that were given.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        self._folder = folder
        self._taken: set[str] = set()
        self._inputs = {path.resolve() for path in inputs}

    def new_path(self, stem: str) -> Path:
        """A path for the picture of a photo of this name; counted where another has it."""
        stem = re.sub(r"[^\w.\- ()]", "_", stem).strip(" .") or "photo"
        stem = stem.encode()[:_LONGEST_STEM_BYTES].decode(errors="ignore")
        count = 1
        while True:
            name = f"{stem}-faces.jpg" if count == 1 else f"{stem}-faces-{count}.jpg"
            path = self._folder / name
            # Folded: some file systems take A.jpg and a.jpg for one.
            if name.casefold() not in self._taken and path.resolve() not in self._inputs:
                self._taken.add(name.casefold())
                return path
            count += 1


def _write_results(folder: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # File names need not be UTF-8; what is not is spelt out.
    (folder / "faces.json").write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    with (folder / "faces.csv").open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        points = [f"{point}_{axis}" for point in LANDMARKS for axis in "xy"]
        writer.writerow(["file", "face", "x1", "y1", "x2", "y2", "score", "quality", "size_px", *points])
        for report in value["photos"]:
            for number, face in enumerate(report["faces"], 1):
                coordinates = [value for point in face["landmarks"] for value in point]
                numbers = [face["score"], face["quality"], face["size_px"], *coordinates]
                writer.writerow([report["file"], number, *face["box"], *numbers])


def _say(reports: Sequence[dict[str, Any]], output_dir: Path) -> None:
    rows = []
    for report in reports:
        for number, face in enumerate(report["faces"], 1):
            box = (round(value) for value in face["box"])
            rows.append((report["file"], number, *box, face["score"], face["quality"], round(face["size_px"])))
        if not report["faces"]:
            rows.append((report["file"], "no face", *[""] * 7))
    if rows:
        show_table(("file", "face", "x1", "y1", "x2", "y2", "score", "quality", "size"), rows)
        say()
    faces = _count(sum(len(report["faces"]) for report in reports), "face")
    say(f"{faces} on {_count(len(reports), 'photo')}; pictures, faces.json and faces.csv in {output_dir}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
