from pathlib import Path

import pytest

from weights.errors import ManifestError, UnknownWeights
from weights.manifest import (
    DEFAULT_DETECTOR,
    DEFAULT_EMBEDDER,
    Client,
    Colour,
    Converter,
    Form,
    Kind,
    Task,
    load_manifest,
)

ARTIFACT = """
[artifacts.box]
kind = "model"
client = "url"
url = "https://example.org/box.zip"
form = "zip"
licence = "MIT"
[artifacts.box.members."net.onnx"]
path = "a/net.onnx"
sha256 = "{sha256}"
size_bytes = 3
""".format(sha256="0" * 64)

MODEL = """
[models.net]
task = "embed"
architecture = "any"
artifact = "box"
member = "net.onnx"
converter = "copy"
licence = "MIT"
input_name = "input"
input_layout = "NCHW"
input_size_wh = [112, 96]
colour = "RGB"
mean = [1, 2, 3.5]
scale = 0.5
outputs = ["embedding"]
embedding_dim = 4
calibration = [[0.01, 0.3], [0.001, 0.4]]
"""

DETECTOR = MODEL.replace('task = "embed"', 'task = "detect"\nvariances = [0.1, 0.2]\nstrides = [8, 16]')


def write(folder: Path, *parts: str) -> Path:
    path = folder / "manifest.toml"
    path.write_text("version = 1\n" + "".join(parts), encoding="utf-8")
    return path


def test_the_shipped_detector() -> None:
    spec = load_manifest().model(DEFAULT_DETECTOR)
    assert spec.task is Task.DETECT
    assert (spec.colour, spec.mean, spec.scale) == (Colour.BGR, (104.0, 117.0, 123.0), 1.0)
    assert spec.input_size_wh is None
    assert spec.outputs == ("loc", "conf", "landmarks")
    assert spec.strides == (8, 16, 32)
    assert spec.anchor_sizes == ((16, 32), (64, 128), (256, 512))
    assert spec.variances == (0.1, 0.2)
    assert spec.converter is Converter.COPY
    assert spec.sha256 == "b7a7acab55e104dce6f32cdfff929bd83946da5cd869b9e2e9bdffafd1b7e4a5"


def test_short_names() -> None:
    manifest = load_manifest()
    assert manifest.model("retinaface-mnet025") is manifest.model("retinaface-mobilenet0.25")
    assert manifest.model("mobilefacenet") is manifest.model("mobilefacenet-192")
    with pytest.raises(UnknownWeights, match=r"no model 'mine' here; there are: .*retinaface-mobilenet0\.25"):
        manifest.model("mine")


def test_the_shipped_embedder() -> None:
    spec = load_manifest().model(DEFAULT_EMBEDDER)
    assert spec.task is Task.EMBED
    assert (spec.colour, spec.mean, spec.scale) == (Colour.RGB, (127.5, 127.5, 127.5), 1 / 128)
    assert spec.input_size_wh == (112, 112)
    assert (spec.outputs, spec.embedding_dim, spec.l2_normalised) == (("embedding",), 192, False)
    assert spec.converter is Converter.TFLITE
    assert spec.sha256 == "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"
    assert len(spec.calibration) >= 2
    assert {(entry.metric, entry.value) for entry in spec.accuracy} >= {("verification accuracy, percent", 99.35)}


def test_every_shipped_artifact_names_a_licence_and_an_exact_version() -> None:
    for artifact in load_manifest().artifacts.values():
        assert artifact.licence
        assert artifact.client is Client.URL or (artifact.package and artifact.version)


def test_every_shipped_sdist_is_pinned_as_a_whole() -> None:
    # pip runs an sdist's setup.py: nothing may get that far without its hash.
    sdists = [artifact for artifact in load_manifest().artifacts.values() if artifact.form is Form.SDIST]
    assert sdists
    assert all(artifact.sha256 for artifact in sdists)


def test_shipped_photos_have_names_of_their_own() -> None:
    sets = [artifact for artifact in load_manifest().artifacts.values() if artifact.kind is Kind.PHOTOS]
    names = [member.file_name for photo_set in sets for member in photo_set.members]
    assert {"obama.jpg", "biden.jpg", "t1.jpg", "astronaut.png"} <= set(names)
    assert len(names) == len(set(names))


def test_a_manifest_of_ones_own(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path, ARTIFACT, MODEL))
    spec = manifest.model("net")
    assert (spec.input_size_wh, spec.mean, spec.strides, spec.variances) == ((112, 96), (1.0, 2.0, 3.5), (), ())
    assert manifest.artifact("box").file_hint == "box.zip"
    assert manifest.artifact("box").origin == "https://example.org/box.zip"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(MODEL.replace("mean =", "meen ="), r"\[models.net\] mean: it is missing; it is needed", id="typo"),
        pytest.param(
            MODEL + 'colur = "RGB"\n', r"\[models.net\] colur: unknown field; legal here: ", id="unknown field"
        ),
        pytest.param(
            MODEL.replace('"RGB"', '"GRB"'), r"colour: it is 'GRB'; one of BGR, RGB is expected", id="illegal colour"
        ),
        pytest.param(MODEL.replace("[1, 2, 3.5]", "[1, 2]"), r"mean: it is \[1, 2\]; 3 numbers", id="two means"),
        pytest.param(MODEL.replace("[1, 2, 3.5]", '["1", 2, 3]'), r"mean: .* a list of numbers", id="mean as text"),
        pytest.param(MODEL.replace("scale = 0.5", "scale = true"), r"scale: it is True; a number", id="scale as bool"),
        pytest.param(MODEL.replace("[112, 96]", "[112]"), r"input_size_wh: .* width and height", id="one size"),
        pytest.param(MODEL.replace("NCHW", "NHWC"), r"input_layout: it is 'NHWC'; 'NCHW' is the only", id="layout"),
        pytest.param(
            MODEL.replace('"box"', '"bag"'), r"artifact: it is 'bag'; no such artifact; there are: box", id="no box"
        ),
        pytest.param(MODEL.replace('"net.onnx"', '"x"'), r"member: it is 'x'; .* it has: net.onnx", id="no member"),
        pytest.param(MODEL.replace("embedding_dim = 4", ""), r"embedding_dim: it is missing; an embedder", id="no dim"),
        pytest.param(
            MODEL.replace("models.net", 'models."../x"'), r"'\.\./x' must be letters", id="a name with a path"
        ),
        pytest.param(
            MODEL.replace("models.net", "models.box"), r"'box' names a model and an artifact", id="name twice"
        ),
        pytest.param(
            MODEL.replace("calibration", "# "), r"calibration: it is missing; an embedder needs", id="no calibration"
        ),
        pytest.param(MODEL.replace("[0.01, 0.3]", "[0.01]"), r"calibration: .* rows of two numbers", id="short row"),
        pytest.param(MODEL.replace("[0.01, 0.3]", "0.01"), r"calibration: .* list of lists of numbers", id="flat rows"),
        pytest.param(DETECTOR, r"anchor_sizes: it is missing; one row a stride: 2 expected, 0 given", id="no anchors"),
        pytest.param(DETECTOR.replace("strides", "anchor_sizes"), r"list of lists of whole numbers", id="flat anchors"),
        pytest.param('[models]\nnet = "x"\n', r"\[models.net\]: a table is expected, not str", id="no table"),
        pytest.param("[models]\n[other]\n", r"manifest.toml other: unknown field", id="unknown table"),
        pytest.param("]", r"cannot be read as a manifest", id="no toml"),
    ],
)
def test_a_wrong_manifest_says_where_and_what_is_legal(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        load_manifest(write(tmp_path, ARTIFACT, text))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("0" * 64, "abc", r"sha256: it is 'abc'; it must match", id="short sha256"),
        pytest.param("https://", "ftp://", r"url: .* it must match https", id="ftp"),
        pytest.param('"zip"', '"sdist"', r"sha256: it is missing; an sdist needs it", id="unpinned sdist"),
        pytest.param('members."net.onnx"', 'members."a/b"', r"'a/b' must be letters", id="file name with a path"),
        pytest.param("size_bytes = 3", "size_bytes = -3", r"size_bytes: it is -3; a whole number", id="negative size"),
    ],
)
def test_a_wrong_artifact_says_where_and_what_is_legal(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        load_manifest(write(tmp_path, ARTIFACT.replace(old, new), "[models]\n"))


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text("version = 2\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="version: it is 2; 1 is the only version"):
        load_manifest(path)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(UnknownWeights, match=r"no model 'arcface'.*mobilefacenet-192"):
        load_manifest().model("arcface")
    with pytest.raises(UnknownWeights, match=r"no artifact 'x'.*photos-group"):
        load_manifest().artifact("x")
    with pytest.raises(UnknownWeights, match=r"no member 'y'; it has: astronaut.png"):
        load_manifest().artifact("photos-astronaut").member("y")
