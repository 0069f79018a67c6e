import io
import tarfile
from pathlib import Path

import pytest

from tests.weights.archives import NET, member, tarred, zipped
from weights.archive import read_member
from weights.errors import FetchError, UnreadableArtifact, WrongChecksum

MODULE = b"import nothing_that_exists\nOTHER = 1\nWEIGHTS = " + repr(NET).encode() + b"\n"
ANNOTATED = b"WEIGHTS: bytes = " + repr(NET).encode() + b"\n"


@pytest.mark.parametrize(
    ("file_name", "content"),
    [
        pytest.param("box.whl", zipped({"a.txt": b"a", "box/net.onnx": NET}), id="zip"),
        pytest.param("box.tgz", tarred({"a.txt": b"a", "box/net.onnx": NET}), id="tar"),
        pytest.param("renamed", NET, id="the member itself, under any name"),
        pytest.param("no-suffix", zipped({"box/net.onnx": NET}), id="an archive without a suffix"),
    ],
)
def test_finds_the_member(tmp_path: Path, file_name: str, content: bytes) -> None:
    path = tmp_path / file_name
    path.write_bytes(content)
    assert read_member(path, member(NET)) == NET


@pytest.mark.parametrize(
    ("file_name", "content"),
    [
        pytest.param("box.whl", zipped({"box/weights.py": MODULE}), id="module in a wheel"),
        pytest.param("box.tgz", tarred({"box/weights.py": ANNOTATED}), id="annotated, in a tarball"),
        pytest.param("weights.py", MODULE, id="the module itself"),
        pytest.param("net.onnx", NET, id="the value itself"),
    ],
)
def test_finds_a_literal_without_importing_it(tmp_path: Path, file_name: str, content: bytes) -> None:
    path = tmp_path / file_name
    path.write_bytes(content)
    assert read_member(path, member(NET, "box/weights.py", literal="WEIGHTS")) == NET


def link_to_secret() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("box/net.onnx")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(zipped({"other": NET}), r"there is no box/net.onnx in it", id="absent from the zip"),
        pytest.param(tarred({"other": NET}), r"there is no box/net.onnx in it", id="absent from the tarball"),
        pytest.param(link_to_secret(), r"box/net.onnx is not a regular file", id="a link"),
        pytest.param(tarred({"box/net.onnx": NET})[:-40], r"a damaged archive", id="cut short"),
    ],
)
def test_an_archive_without_the_member(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "box"
    path.write_bytes(content)
    with pytest.raises(UnreadableArtifact, match=message):
        read_member(path, member(NET))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(b"WEIGHTS = (", r"not Python source, so WEIGHTS cannot be read", id="no syntax"),
        pytest.param(b"\0", r"not Python source", id="binary"),
        pytest.param(b"WEIGHTS = 'text'", r"assigns no bytes literal to WEIGHTS", id="text"),
        pytest.param(b"WEIGHTS = open('x').read()", r"assigns no bytes literal to WEIGHTS", id="an expression"),
        pytest.param(b"def f():\n    WEIGHTS = b'x'", r"assigns no bytes literal to WEIGHTS", id="not at the top"),
    ],
)
def test_a_module_without_the_literal(tmp_path: Path, source: bytes, message: str) -> None:
    path = tmp_path / "weights.py"
    path.write_bytes(source)
    with pytest.raises(UnreadableArtifact, match=message):
        read_member(path, member(NET, "box/weights.py", literal="WEIGHTS"))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(zipped({"box/net.onnx": NET[:-1] + b"X"}), id="other bytes in a zip"),
        pytest.param(tarred({"box/net.onnx": NET + b"more"}), id="longer"),
        pytest.param(NET[:-1], id="neither the member nor an archive"),
    ],
)
def test_other_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "box"
    path.write_bytes(content)
    with pytest.raises(WrongChecksum, match=member(NET).sha256):
        read_member(path, member(NET))


def test_a_member_that_unpacks_to_too_much_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped({"box/net.onnx": b"\0" * 50_000_000}))
    with pytest.raises(WrongChecksum):
        read_member(path, member(NET))


def test_a_folder_and_a_missing_path_are_said_to_be_that(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="is not a file"):
        read_member(tmp_path, member(NET))
    with pytest.raises(FetchError, match="there is no such file"):
        read_member(tmp_path / "gone", member(NET))
