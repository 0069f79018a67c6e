"""The workshop's commands, whole and small: train, import, export, quantise, and what they say of bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.photo import load_photo
from vidface.assemble import photo_reader
from vidface.cli.app import main
from weights.local import read_and_check
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, OutputForm, load_manifest
from weights.store import ensure
from weights.workshop.labels import LabelledFaces, LabelledPicture
from weights.workshop.widerface import write_widerface


def answer(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> dict[str, object]:
    assert main(["weights", *map(str, words), "--json"]) == status
    value: dict[str, object] = json.loads(capsys.readouterr().out)
    return value


@pytest.fixture
def labelled(photos: Path, tmp_path: Path) -> Path:
    """A label.txt of 24 photos, marked by the full detector."""
    paths = sorted(photos.glob("*/*.jpg"))[::20][:24]
    found = photo_reader().detect([load_photo(path) for path in paths])
    pictures = [
        LabelledPicture(
            path=path.resolve(),
            faces=LabelledFaces(
                boxes_xyxy=faces.boxes_xyxy,
                landmarks_xy=faces.landmarks_xy,
                has_landmarks=np.ones(len(faces), np.bool_),
            ),
        )
        for path, faces in zip(paths, found, strict=True)
    ]
    write_widerface(tmp_path / "label.txt", pictures, Path("/"))
    return tmp_path / "label.txt"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_detector_is_trained_imported_and_exported(
    cache: Path, labelled: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    options = ("--images", "/", "--minutes", 0.1, "--batch", 2, "--size", 128, "--validation", labelled)
    trained = answer(capsys, "train-detector", labelled, "--output", run, *options)
    assert trained["steps"]
    assert trained["validation"] is not None
    imported = answer(capsys, "import", trained["checkpoint"], "--name", "mine", "--data", photos)
    assert load_manifest().model("mine").based_on == DEFAULT_DETECTOR
    assert ensure("mine").read_bytes() != ensure(DEFAULT_DETECTOR).read_bytes()
    assert float(str(imported["max_error"])) < 1e-3
    for form, suffix in (("onnx", ".onnx"), ("openvino", ".xml")):
        exported = answer(capsys, "export", "mine", "--output", tmp_path / form, "--format", form, "--data", photos)
        assert (tmp_path / form / f"mine{suffix}").is_file(), exported
    refused = answer(capsys, "import", tmp_path / "openvino" / "model.toml", "--name", "xml", status=1)
    assert "ONNX" in str(refused["error"])
    refused = answer(capsys, "import", tmp_path / "onnx" / "mine.onnx", "--name", "mine", status=2)
    assert "there is a model of that name" in str(refused["error"])
    again = read_and_check(tmp_path / "onnx" / "model.toml")
    assert again.spec.mean == load_manifest().model("mine").mean
    answer(capsys, "import", tmp_path / "onnx" / "mine.onnx", "--name", "back")
    assert ensure("back").read_bytes() == ensure("mine").read_bytes()
    assert set(load_manifest().models) == {DEFAULT_DETECTOR, DEFAULT_EMBEDDER, "mine", "back"}
    refused = answer(capsys, "train-detector", labelled, "--output", run, *options, status=1)
    assert "resume" in str(refused["error"])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_pulled_models_as_torch_programs(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for model in (DEFAULT_DETECTOR, DEFAULT_EMBEDDER):
        made = answer(capsys, "export", model, "--output", tmp_path, "--format", "torch")
        assert (tmp_path / f"{model}.pt2").is_file()
        assert f'file = "{model}.pt2"' in (tmp_path / "model.toml").read_text(encoding="utf-8")
        assert float(str(made["max_error"])) < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_pulled_detector_is_quantised_in_its_fastest_form(
    cache: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for what, count in (("CALIBRATION", 16), ("EXAM", 30), ("ROUNDS", 3)):
        monkeypatch.setattr(f"vidface.workshop.quantise.{what}", count)
    words = ("--data", photos, "--canvas", "320x192", "--keep", "0.5", "--name", "small")
    made = answer(capsys, "quantise", DEFAULT_DETECTOR, *words)
    assert made["agreement"]["f1"] > 0.9  # type: ignore[index]
    spec = load_manifest().model("small")
    assert (spec.based_on, spec.output_form) == (DEFAULT_DETECTOR, OutputForm.CELLS)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_embedder_learns_from_whole_photos(
    cache: Path, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = sorted(each for each in (real_data / "lfw" / "images").iterdir() if len(list(each.iterdir())) > 2)[:3]
    for person in people:
        (tmp_path / "people" / person.name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[:3]:
            (tmp_path / "people" / person.name / photo.name).symlink_to(photo)
    words = ("--output", tmp_path / "run", "--minutes", 0.05, "--batch", 4)
    made = answer(capsys, "train-embedder", tmp_path / "people", "--align", *words)
    assert made["steps"]
    faces = sorted((tmp_path / "run" / "faces").glob("*/*.png"))
    assert len(faces) == 9
    assert load_photo(faces[0]).shape == (112, 112, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("optimise", "nothing", "--data", "."), "nothing"),
        (("optimise", DEFAULT_EMBEDDER, "--data", "."), "not a detector"),
        (("optimise", DEFAULT_DETECTOR, "--data", "nowhere"), "nowhere"),
        (("optimise", DEFAULT_DETECTOR, "--data", ".", "--canvas", "large"), "--canvas large"),
        (("quantise", DEFAULT_EMBEDDER, "--data", "nowhere"), "nowhere"),
        (("quantise", DEFAULT_EMBEDDER, "--data", ".", "--name", DEFAULT_EMBEDDER), "another --name"),
        (("import", "nowhere.pth", "--name", "x"), "nowhere.pth"),
        (("import", ".", "--name", "x"), "neither a PyTorch checkpoint nor an ONNX file"),
        (("import", "nowhere.onnx", "--name", "x"), "nowhere.onnx"),
        (("import", "lone.onnx", "--name", "x"), "model.toml"),
        (("train-detector", "nowhere.txt", "--output", "out"), "nowhere.txt"),
        (("train-embedder", "nowhere", "--output", "out"), "nowhere"),
        (("train-detector", "lone.onnx", "--output", "out", "--start", "elsewhere"), "elsewhere"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_bad_input_is_told(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(cache.parent)
    Path("lone.onnx").write_bytes(b"without a model.toml beside it")
    assert main(["weights", *words]) in {1, 2}
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err
    assert "bug" not in err


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there is a GPU")
def test_tensorrt_without_a_gpu_says_so(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("export", DEFAULT_DETECTOR, "--output", tmp_path, "--format", "tensorrt")
    assert "tensorrt" in str(answer(capsys, *words, status=1)["error"])
