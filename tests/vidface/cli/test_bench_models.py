"""``vidface bench models``: real models on real faces, each line in its own process; and what is refused before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.canvas import Canvas
from tests.vidface.conftest import RunCommand
from tests.vidface.evaluation.made_models import models_document
from tests.vidface.evaluation.quantised import quantised
from vidface.evaluation.models_data import read_pictures
from weights.manifest import DEFAULT_DETECTOR, DEFAULT_EMBEDDER, load_manifest

QUICK = ("--runs", "3", "--rounds", "2", "--threads", "1", "--canvas", "320x320", "--pictures", "6")
PEOPLE = 6


@pytest.fixture(scope="session")
def photos_of_faces(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for path in sorted((real_data / "lfw" / "images").glob("A*/*_0001.jpg"))[:PEOPLE]:
        shutil.copy(path, folder)
    return folder


def test_a_detector_is_measured_and_checked(
    run: RunCommand, model_paths: Mapping[str, Path], photos_of_faces: Path
) -> None:
    only = ("--models", DEFAULT_DETECTOR, "--engines", "onnxruntime", "--precisions", "f32", "--batch", "2")
    done = run("bench", "models", *only, *QUICK, "--data", photos_of_faces)
    assert done.status == 0, done.err
    assert done.err == ""  # its outputs were checked, so nothing is warned of
    assert "F1 1.000" in done.out
    assert "pictures/s" in done.out
    assert "uint8 BGR pictures in" in done.out


@pytest.mark.slow
def test_every_line_is_measured_and_what_cannot_run_is_told(
    run: RunCommand, model_paths: Mapping[str, Path], photos_of_faces: Path, tmp_path: Path
) -> None:
    chosen = ("--models", DEFAULT_DETECTOR, "--models", DEFAULT_EMBEDDER)
    files = ("--save", tmp_path / "m.json", "--report", tmp_path / "m.html")
    options = ("--engines", "onnxruntime,tensorrt", "--precisions", "f32,bf16", "--batch", "1,2")
    done = run("bench", "models", *chosen, *QUICK, *options, "--data", photos_of_faces, *files, "--json")
    assert done.status == 0, done.err
    assert done.err == ""  # no bar in a pipe
    result = done.json
    assert json.loads((tmp_path / "m.json").read_text()) == result
    assert "models-json" in (tmp_path / "m.html").read_text()
    assert [(line["model"], line["engine"], line["precision"]) for line in result["lines"]] == [
        (DEFAULT_DETECTOR, "onnxruntime", "f32"),
        (DEFAULT_EMBEDDER, "onnxruntime", "f32"),
    ]
    for line in result["lines"]:
        assert set(line["batches"]) == {"1", "2"}
        for batch, timing in line["batches"].items():
            assert timing["runs"] == 3
            assert timing["min_ms"] <= timing["mean_ms"] <= timing["max_ms"]
            assert timing["per_s"] == pytest.approx(1000 * int(batch) / timing["mean_ms"], rel=0.01)
        assert line["check"]["passed"], line["check"]
        # Held against OpenVINO, which was not asked for, but says the same.
        assert line["check"]["against"] == f"{line['model']} on openvino in f32"
        assert line["file_bytes"] == model_paths[line["model"]].stat().st_size
        assert 20 < line["model_memory_mib"] < line["peak_memory_mib"] < 2000
    refused = {(each["engine"], each["precision"]): each["reason"] for each in result["cannot_run"]}
    assert "onnxruntime on the CPU has no bf16 arithmetic" in refused["onnxruntime", "bf16"]
    assert ("tensorrt", "f32") in refused
    assert result["data"]["faces"] >= PEOPLE

    shown = run("bench", tmp_path / "m.json")
    assert shown.status == 0, shown.err
    assert "can't run here" in shown.out
    assert "landmarks 0.00 px" in shown.out


@pytest.mark.slow
def test_quantised_ones_join_from_elsewhere(
    run: RunCommand, model_paths: Mapping[str, Path], photos_of_faces: Path, tmp_path: Path
) -> None:
    spec = load_manifest().model(DEFAULT_DETECTOR)
    pictures, _ = read_pictures(photos_of_faces, None, Canvas(width=320, height=320), (104, 117, 123), 6)
    added = quantised(model_paths[DEFAULT_DETECTOR], spec, pictures.batch, tmp_path)
    labels = tmp_path / "label.txt"
    # One box for each photo in LFW's middle, where its subjects are: about right is enough to be found.
    labels.write_text("".join(f"# {path.name}\n80 65 90 120\n" for path in sorted(photos_of_faces.glob("*.jpg"))))
    chosen = ("--models", "retinaface-mnet025", "--add", added, "--engines", "onnxruntime")
    data = ("--data", photos_of_faces, "--labels", labels)
    done = run("bench", "models", *chosen, *QUICK, *data, "--batch", "1", "--json")
    assert done.status == 0, done.err
    full, int8 = done.json["lines"]
    assert (full["precision"], int8["precision"]) == ("f32", "int8")
    assert int8["agreement"]["reference"] == DEFAULT_DETECTOR
    assert int8["file_bytes"] < 0.6 * full["file_bytes"]
    assert full["accuracy"]["average_precision"] > 0.9
    assert full["agreement"]["f1"] == 1.0
    assert 0 <= int8["agreement"]["f1"] <= 1
    assert done.json["data"]["labelled_faces"] == PEOPLE


@pytest.mark.slow
def test_embedders_are_judged_by_the_pairs_of_lfw(
    run: RunCommand, model_paths: Mapping[str, Path], real_data: Path, tmp_path: Path
) -> None:
    per_kind = 3
    lines = (real_data / "lfw" / "pairs.txt").read_text().splitlines()
    announced = int(lines[0].split()[1])
    few = [f"2\t{per_kind}"]
    for fold in range(2):
        same = 1 + fold * 2 * announced
        few += lines[same : same + per_kind] + lines[same + announced : same + announced + per_kind]
    (tmp_path / "pairs.txt").write_text("\n".join(few) + "\n")
    (tmp_path / "images").symlink_to(real_data / "lfw" / "images")
    options = ("--engines", "onnxruntime", "--precisions", "f32", "--batch", "1", "--data", tmp_path)
    done = run("bench", "models", "--models", DEFAULT_EMBEDDER, *QUICK, *options, "--json")
    assert done.status == 0, done.err
    (line,) = done.json["lines"]
    assert line["accuracy"]["lfw_accuracy"] > 0.9
    assert done.json["data"]["lfw_pairs"] == 12


def test_a_saved_comparison_is_shown_again(run: RunCommand, tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(json.dumps(models_document()))
    done = run("bench", path, "--report", tmp_path / "models.html")
    assert done.status == 0, done.err
    for words in ("F1 0.981", "LFW 99.35%", "cuda", "all", "pictures/s", "report: "):
        assert words in done.out
    assert "same <x> on onnxruntime in f32: its timing does not count" in done.err
    assert (tmp_path / "models.html").is_file()
    assert "not comparisons of models" in run("bench", path, "--compare", path).err


def test_it_explains_itself_and_leaves_clips_alone(run: RunCommand) -> None:
    done = run("bench", "models", "--help")
    assert done.status == 0
    assert done.out.startswith("Usage: vidface bench models [OPTIONS]")
    assert "--json" in done.out
    assert "one saved run" in run("bench", "--help").out
    # A file of that name is a clip, and has a clip's options.
    assert "no such option: --mode" in run("bench", "models", "--mode", "live").err.lower()
    assert "--detect-every or --detect-fps" in run("bench", "./models", "--detect-every", "2", "--detect-fps", "5").err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("--engines", "abacus"), "--engines has 'abacus'; legal are openvino", id="engine"),
        pytest.param(("--precisions", "f31"), "--precisions has 'f31'; legal are f32", id="precision"),
        pytest.param(("--batch", "0"), "--batch 0: expected whole numbers", id="batch"),
        pytest.param(("--canvas", "big"), "--canvas big: expected WIDTHxHEIGHT", id="canvas"),
        pytest.param(("--models", "nobody"), "no model or artifact 'nobody'", id="unknown-model"),
        pytest.param(("--models", "photos-group"), "not a detector or an embedder", id="photos"),
        pytest.param(("--add", "gone.toml"), "gone.toml", id="no-manifest"),
        pytest.param(("--add", "model.onnx"), "give its model.toml", id="no-toml"),
    ],
)
def test_what_cannot_be_is_refused(
    run: RunCommand, model_paths: Mapping[str, Path], photos: Mapping[str, Path], options: tuple[str, ...], says: str
) -> None:
    done = run("bench", "models", *options)
    assert done.status != 0
    assert says in done.err


def test_data_that_is_none_is_refused(run: RunCommand, model_paths: Mapping[str, Path], tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    empty = tmp_path / "empty"
    empty.mkdir()
    for data, says in (
        (tmp_path / "gone", "no such folder or clip"),
        (empty, "no pictures in this folder"),
        (tmp_path / "clip.mp4", "no frame of this can be read"),
    ):
        done = run("bench", "models", "--models", DEFAULT_DETECTOR, *QUICK, "--data", data)
        assert done.status == 1
        assert says in done.err
