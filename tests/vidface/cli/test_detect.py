from __future__ import annotations

import base64
import csv
import json
import shutil
import socket
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.faces import Faces, U8Image
from pipeline.photo import DescribedFaces
from tests.vidface.conftest import RunCommand
from vidface import assemble, photo_input
from vidface.cli.detect import LANDMARKS, OutputNames

SECRET = "s3cr3t"


def write_photo(path: Path, size_wh: tuple[int, int] = (64, 48)) -> Path:
    done, data = cv2.imencode(path.suffix, np.full((size_wh[1], size_wh[0], 3), 90, np.uint8))
    assert done
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())
    return path


class OneFace:
    """A reader that finds one face in the middle of every photo."""

    def read(self, photo: U8Image) -> DescribedFaces:
        height, width = photo.shape[:2]
        box = np.array([[width / 4, height / 4, width / 2, height / 2]], np.float32)
        points = np.tile(box[:, None, :2], (1, 5, 1)) + np.arange(10, dtype=np.float32).reshape(1, 5, 2)
        faces = Faces(boxes_xyxy=box, scores=np.array([0.93], np.float32), landmarks_xy=np.asarray(points, np.float32))
        column = np.array([0.5], np.float32)
        return DescribedFaces(
            photo_size_wh=(width, height),
            faces=faces,
            templates=np.ones((1, 2), np.float32),
            qualities=column,
            sharpness=column,
            yaw_deg=column,
        )


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "photo_reader", lambda *_: OneFace())


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Site(ThreadingHTTPServer):
    """A web server of this machine: /photo.jpg, and ways to fail."""

    daemon_threads = False

    def __init__(self, photo: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.photo = photo
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Page(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        allowed = self.headers.get("Authorization") == "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode()
        if path == "/moved.jpg":
            self.send_response(302)
            self.send_header("Location", "/photo.jpg")
            self.end_headers()
        elif path == "/silent.jpg":
            self.server.released.wait(30)
        elif path in {"/photo.jpg", "/a%20b.jpg"} or (path == "/private.jpg" and allowed):
            self._answer(self.server.photo)
        elif path == "/page.html":
            self._answer(b"<html>no photo</html>")
        elif path == "/empty.jpg":
            self._answer(b"")
        elif path == "/short.jpg":
            self._answer(self.server.photo[:100], promised=len(self.server.photo))
        elif path == "/private.jpg":
            self.send_error(401)
        else:
            self.send_error(404)

    def _answer(self, body: bytes, promised: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the parent's
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "*")
    with Site(write_photo(tmp_path / "served" / "photo.jpg").read_bytes()) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


# ------------------------------------------------------------------------------------------------ bad inputs


def _text(folder: Path) -> str:
    (folder / "notes.jpg").write_text("no picture")
    return "notes.jpg"


def _truncated(folder: Path) -> str:
    photo = write_photo(folder / "cut.png")
    photo.write_bytes(photo.read_bytes()[:20])
    return "cut.png"


def _empty_file(folder: Path) -> str:
    (folder / "empty.jpg").touch()
    return "empty.jpg"


def _empty_folder(folder: Path) -> str:
    (folder / "nothing" / "below").mkdir(parents=True)
    (folder / "nothing" / "readme.txt").touch()
    (folder / "nothing" / ".hidden.jpg").touch()
    return "nothing"


def _video(folder: Path) -> str:
    (folder / "clip.MP4").touch()
    return "clip.MP4"


BAD_INPUTS = [
    pytest.param(lambda _: "nosuch.jpg", "nosuch.jpg: there is no such file or folder", id="no such file"),
    pytest.param(_text, "notes.jpg: it is not a picture, or is damaged", id="not a picture"),
    pytest.param(_truncated, "cut.png: it is not a picture, or is damaged", id="truncated"),
    pytest.param(_empty_file, "empty.jpg: it is not a picture, or is damaged", id="empty file"),
    pytest.param(_empty_folder, "nothing: there are no photos in this folder", id="empty folder"),
    pytest.param(_video, "clip.MP4: this is a video; 'vidface serve' watches it, 'vidface bench'", id="video"),
    pytest.param(
        lambda _: f"rtsp://ann:{SECRET}@192.0.2.7/main", "rtsp://***@192.0.2.7/main: this is a video", id="stream"
    ),
    pytest.param(lambda _: "http://192.0.2.7/clip.mkv", "clip.mkv: this is a video", id="video on the web"),
    pytest.param(lambda _: "ftp://192.0.2.7/x.jpg", "by http:// and https:// only", id="other scheme"),
    pytest.param(lambda _: "http:///x.jpg", "this address names no host", id="no host"),
    pytest.param(lambda _: "http://[::1/x.jpg", "this is no valid address", id="no address"),
    pytest.param(lambda _: f"http://127.0.0.1:{closed_port()}/x.jpg", "the server can't be reached", id="dead URL"),
]


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(("make", "words"), BAD_INPUTS)
def test_a_bad_input_is_told_once_and_the_others_are_done(
    run: RunCommand, folder: Path, monkeypatch: pytest.MonkeyPatch, make: object, words: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    assert callable(make)
    argument = make(folder)
    write_photo(folder / "good.jpg")
    outcome = run("detect", argument, "good.jpg", "--json")
    assert outcome.status == 1
    assert outcome.err.count("error: ") == 1
    assert outcome.err.count("\n") == 1
    assert words in outcome.err
    assert SECRET not in outcome.out + outcome.err
    answer = outcome.json
    assert [photo["file"] for photo in answer["photos"]] == ["good.jpg"]
    assert [words in failure["message"] for failure in answer["failed"]] == [True]
    assert (folder / "detections" / "good-faces.jpg").exists()


def test_nothing_is_written_when_no_photo_could_be_read(run: RunCommand, folder: Path) -> None:
    outcome = run("detect", "gone.jpg", "--json")
    assert outcome.status == 1
    assert outcome.json["photos"] == []
    assert list((folder / "detections").iterdir()) == []


WEB_FAILURES = [
    pytest.param("/nothing.jpg", "/nothing.jpg: the server answered 404 Not Found", id="404"),
    pytest.param("/private.jpg", "/private.jpg: the server answered 401", id="401"),
    pytest.param("/page.html", "/page.html: it is not a picture", id="not a picture"),
    pytest.param("/empty.jpg", "/empty.jpg: it is not a picture", id="empty"),
    pytest.param("/short.jpg", "/short.jpg: the transfer broke off after 100 of", id="broken off"),
    pytest.param("/silent.jpg", "/silent.jpg: the server was silent", id="silent"),
]


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(("path", "words"), WEB_FAILURES)
def test_what_can_go_wrong_on_the_web(
    run: RunCommand, site: Site, monkeypatch: pytest.MonkeyPatch, path: str, words: str
) -> None:
    if path == "/silent.jpg":
        monkeypatch.setattr(photo_input, "SILENCE_S", 0.2)
    outcome = run("detect", site.url + path, site.url + "/photo.jpg", "--json")
    assert outcome.status == 1
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert [photo["file"] for photo in outcome.json["photos"]] == [site.url + "/photo.jpg"]


@pytest.mark.usefixtures("no_models")
def test_a_download_has_a_largest_size(run: RunCommand, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_input, "LARGEST_DOWNLOAD_BYTES", 100)
    outcome = run("detect", site.url + "/photo.jpg")
    assert outcome.status == 1
    assert "is it a photo?" in outcome.err


@pytest.mark.usefixtures("no_models")
@pytest.mark.parametrize(
    ("path", "picture"),
    [
        pytest.param("/photo.jpg?size=large#top", "photo-faces.jpg", id="with a query"),
        pytest.param("/moved.jpg", "moved-faces.jpg", id="moved"),
        pytest.param("/a b.jpg", "a b-faces.jpg", id="with a space"),
    ],
)
def test_photos_on_the_web(run: RunCommand, site: Site, folder: Path, path: str, picture: str) -> None:
    outcome = run("detect", site.url + path, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.json["photos"][0]["width"] == 64
    assert (folder / "detections" / picture).exists()


@pytest.mark.usefixtures("no_models")
def test_credentials_of_an_address_are_used_and_not_shown(run: RunCommand, site: Site, folder: Path) -> None:
    outcome = run("detect", site.url.replace("//", f"//ann:{SECRET}@") + "/private.jpg", "--json")
    assert outcome.status == 0
    written = (folder / "detections" / "faces.json").read_text() + (folder / "detections" / "faces.csv").read_text()
    assert SECRET not in outcome.out + outcome.err + written
    assert "http://***@127.0.0.1" in written


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--canvas", "100x100"], "--canvas 100x100: expected WIDTHxHEIGHT", id="no multiple of 32"),
        pytest.param(["--canvas", "large"], "--canvas large: expected WIDTHxHEIGHT", id="no size"),
        pytest.param(["--threshold", "1.5"], "'--threshold'", id="threshold"),
        pytest.param(["--config", "nosuch.yaml"], "nosuch.yaml", id="no configuration"),
    ],
)
def test_a_bad_option_is_a_usage_error(run: RunCommand, folder: Path, arguments: list[str], words: str) -> None:
    outcome = run("detect", write_photo(folder / "good.jpg"), *arguments)
    assert outcome.status == 2
    assert words in outcome.err
    assert not (folder / "detections").exists()


def test_no_input_is_a_usage_error(run: RunCommand) -> None:
    assert run("detect").status == 2


@pytest.mark.parametrize("place", ["taken", "taken/below"], ids=["a file", "below a file"])
def test_an_output_folder_that_cannot_be(run: RunCommand, folder: Path, place: str) -> None:
    (folder / "taken").write_text("mine")
    outcome = run("detect", write_photo(folder / "good.jpg"), "--output-dir", place)
    assert outcome.status == 1
    assert f"error: the output folder {place} can't be written to" in outcome.err
    assert (folder / "taken").read_text() == "mine"


# ------------------------------------------------------------------------------------------------ names


@pytest.mark.usefixtures("no_models")
def test_folders_are_searched_to_their_depth_in_order_and_without_our_own_results(
    run: RunCommand, folder: Path
) -> None:
    for name in ("b.png", "a/c.JPG", "a/a.webp", "a/notes.txt"):
        write_photo(folder / "in" / name) if not name.endswith("txt") else (folder / "in" / name).touch()
    for _again in range(2):
        outcome = run("detect", "in", "--output-dir", "in/out", "--json")
        assert [photo["file"] for photo in outcome.json["photos"]] == ["in/a/a.webp", "in/a/c.JPG", "in/b.png"]


@pytest.mark.usefixtures("no_models")
def test_equal_names_get_distinct_pictures_and_equal_files_one(run: RunCommand, folder: Path) -> None:
    write_photo(folder / "x" / "me.jpg")
    write_photo(folder / "y" / "me.png")
    write_photo(folder / "y" / "ME.bmp")
    outcome = run("detect", "x/me.jpg", "y", "y/me.png", "--json")
    names = [Path(photo["annotated"]).name for photo in outcome.json["photos"]]
    assert names == ["me-faces.jpg", "ME-faces-2.jpg", "me-faces-3.jpg"]


@pytest.mark.usefixtures("no_models")
def test_an_input_is_never_overwritten(run: RunCommand, folder: Path) -> None:
    first, second = write_photo(folder / "me.jpg"), write_photo(folder / "me-faces.jpg")
    before = first.read_bytes(), second.read_bytes()
    outcome = run("detect", "me.jpg", "me-faces.jpg", "--output-dir", ".", "--json")
    assert (first.read_bytes(), second.read_bytes()) == before
    assert [photo["annotated"] for photo in outcome.json["photos"]] == ["me-faces-2.jpg", "me-faces-faces.jpg"]


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        pytest.param("plain", "plain-faces.jpg", id="plain"),
        pytest.param("", "photo-faces.jpg", id="empty"),
        pytest.param("..", "photo-faces.jpg", id="dots"),
        pytest.param("a\x1b[1m/b\udc80", "a__1m_b_-faces.jpg", id="what file systems and terminals choke on"),
        pytest.param("Žižek 王", "Žižek 王-faces.jpg", id="any script"),
        pytest.param("王" * 200, "王" * 40 + "-faces.jpg", id="long"),
    ],
)
def test_names_of_pictures(tmp_path: Path, stem: str, name: str) -> None:
    assert OutputNames(tmp_path, []).new_path(stem) == tmp_path / name


@pytest.mark.usefixtures("no_models")
def test_a_file_name_that_is_not_utf8(run: RunCommand, folder: Path) -> None:
    odd = write_photo(folder / "a.jpg").rename(folder / "caf\udce9.jpg")
    assert run("detect", odd, "--json").status == 0
    assert "caf\\udce9.jpg" in (folder / "detections" / "faces.json").read_text()


# ------------------------------------------------------------------------------------------------ real faces


@pytest.mark.usefixtures("model_paths")
def test_faces_of_real_photos(run: RunCommand, photos: Mapping[str, Path], folder: Path) -> None:
    for name in ("t1.jpg", "obama.jpg", "astronaut.png"):
        shutil.copy(photos[name], folder / name)
    write_photo(folder / "wall.png", (320, 240))
    outcome = run("detect", "t1.jpg", "obama.jpg", "astronaut.png", "wall.png", "--json")
    assert (outcome.status, outcome.err) == (0, "")
    answer = outcome.json
    assert answer == json.loads((folder / "detections" / "faces.json").read_text())
    assert {photo["file"]: len(photo["faces"]) for photo in answer["photos"]} == {
        "t1.jpg": 6,
        "obama.jpg": 1,
        "astronaut.png": 1,
        "wall.png": 0,
    }
    for photo in answer["photos"]:
        drawn, original = cv2.imread(photo["annotated"]), cv2.imread(photo["file"])
        assert drawn is not None
        assert original is not None
        assert drawn.shape == original.shape == (photo["height"], photo["width"], 3)
        difference = np.abs(drawn.astype(int) - original)
        for face in photo["faces"]:
            x1, y1, x2, y2 = face["box"]
            assert 0 < x1 < x2 < photo["width"]
            assert 0 < y1 < y2 < photo["height"]
            assert all(x1 <= x <= x2 and y1 <= y <= y2 for x, y in face["landmarks"])
            assert face["landmarks"][0][0] < face["landmarks"][1][0]
            assert face["size_px"] == pytest.approx(min(x2 - x1, y2 - y1), abs=0.05)
            assert 0.6 <= face["score"] <= 1
            assert 0 < face["quality"] <= 1
            left_edge = difference[round(y1) : round(y2), round(x1)]
            cheek = difference[round(y1) + 10 : round(y1) + 20, round(x1) + 10 : round(x2) - 10]
            assert left_edge.mean() > 10 * cheek.mean()

    rows = list(csv.DictReader((folder / "detections" / "faces.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 8
    assert [row["face"] for row in rows] == ["1", "2", "3", "4", "5", "6", "1", "1"]
    last = answer["photos"][2]["faces"][0]
    assert [float(rows[-1][name]) for name in ("x1", "y1", "x2", "y2")] == last["box"]
    assert [[float(rows[-1][f"{point}_{axis}"]) for axis in "xy"] for point in LANDMARKS] == last["landmarks"]
    assert (float(rows[-1]["score"]), float(rows[-1]["quality"])) == (last["score"], last["quality"])


@pytest.mark.usefixtures("model_paths")
def test_the_table(run: RunCommand, photos: Mapping[str, Path], folder: Path) -> None:
    write_photo(folder / "wall.png", (320, 240))
    shutil.copy(photos["obama.jpg"], folder / "obama.jpg")
    outcome = run("detect", "obama.jpg", "wall.png")
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["file", "face", "x1", "y1", "x2", "y2", "score", "quality", "size"]
    assert lines[1].split()[:2] == ["obama.jpg", "1"]
    assert lines[2].split() == ["wall.png", "no", "face"]
    assert lines[-1] == "1 face on 2 photos; pictures, faces.json and faces.csv in detections"


@pytest.mark.usefixtures("model_paths")
def test_threshold_and_canvas(run: RunCommand, photos: Mapping[str, Path], folder: Path) -> None:
    strict = run("detect", photos["t1.jpg"], "--threshold", "0.99", "--json").json
    assert strict["threshold"] == 0.99
    scores = [face["score"] for face in strict["photos"][0]["faces"]]
    assert 0 < len(scores) < 6
    assert min(scores) >= 0.99
    # A crowd: the group's photo, sixteen times as many and a quarter as large.
    group = cv2.imread(str(photos["t1.jpg"]))
    assert group is not None
    crowd = np.tile(cv2.resize(group, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), (4, 4, 1))
    cv2.imwrite(str(folder / "crowd.png"), crowd)
    counts = [
        len(run("detect", "crowd.png", "--canvas", canvas, "--json").json["photos"][0]["faces"])
        for canvas in ("640x384", "1920x1344")
    ]
    assert counts[1] > 80
    assert counts[0] < counts[1]
