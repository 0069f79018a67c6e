import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.weights.file_server import Served, serving
from weights.download import discard, download
from weights.errors import DownloadFailed
from weights.progress import Silent

CONTENT = bytes(range(256)) * 2000


class Recorded:
    """A `Progress` that adds up."""

    def __init__(self) -> None:
        self.label = ""
        self.total_bytes: int | None = None
        self.have_bytes = 0
        self.calls: list[str] = []

    def start(self, label: str, total_bytes: int | None) -> None:
        self.calls.append("start")
        self.label, self.total_bytes = label, total_bytes

    def advance(self, byte_count: int) -> None:
        self.have_bytes += byte_count

    def finish(self) -> None:
        self.calls.append("finish")


@pytest.fixture
def server() -> Iterator[Served]:
    with serving(CONTENT) as served:
        yield served


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / "partial"


def fetched(url: str, partial: Path, pauses: list[float] | None = None, *, attempts: int = 5) -> bytes:
    waits = pauses if pauses is not None else []
    return download(url, partial, progress=Silent(), attempts=attempts, pause=waits.append).read_bytes()


def test_a_whole_file(server: Served, partial: Path) -> None:
    progress = Recorded()
    assert download(server.url, partial, progress=progress).read_bytes() == CONTENT
    assert (progress.label, progress.total_bytes, progress.have_bytes) == ("box.tgz", len(CONTENT), len(CONTENT))
    assert progress.calls == ["start", "finish"]
    assert server.requests == [""]


def test_a_cut_transfer_goes_on_where_it_stopped(server: Served, partial: Path) -> None:
    server.cut_after = [100_000, 200_000, None]
    progress = Recorded()
    pauses: list[float] = []
    assert download(server.url, partial, progress=progress, pause=pauses.append).read_bytes() == CONTENT
    assert server.requests == ["", "bytes=100000-", "bytes=300000-"]
    assert progress.have_bytes == len(CONTENT)
    assert len(pauses) == 2


def test_another_process_goes_on_too(server: Served, partial: Path) -> None:
    server.cut_after = [100_000]
    with pytest.raises(DownloadFailed, match="broke off after 100000 of 512000 bytes"):
        fetched(server.url, partial, attempts=1)
    assert partial.stat().st_size == 100_000
    progress = Recorded()
    assert download(server.url, partial, progress=progress).read_bytes() == CONTENT
    assert server.requests == ["", "bytes=100000-"]
    assert (progress.total_bytes, progress.have_bytes) == (len(CONTENT), len(CONTENT))


def test_halves_of_different_files_are_never_joined(server: Served, partial: Path) -> None:
    server.cut_after = [100_000]
    with pytest.raises(DownloadFailed):
        fetched(server.url, partial, attempts=1)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetched(server.url, partial) == CONTENT[::-1]


def test_a_server_without_ranges_sends_it_again(server: Served, partial: Path) -> None:
    server.ranges, server.cut_after = False, [100_000, None]
    progress = Recorded()
    assert download(server.url, partial, progress=progress, pause=lambda _: None).read_bytes() == CONTENT
    assert progress.have_bytes == len(CONTENT)


def test_a_server_without_validators_is_asked_for_all_of_it(server: Served, partial: Path) -> None:
    server.etag, server.cut_after = "", [100_000, None]
    assert fetched(server.url, partial) == CONTENT
    assert server.requests == ["", ""]


def test_more_than_the_server_has_starts_again(server: Served, partial: Path) -> None:
    partial.write_bytes(CONTENT + b"more")
    partial.with_name("partial.validator").write_text(server.etag)
    assert fetched(server.url, partial) == CONTENT
    assert server.requests == [f"bytes={len(CONTENT) + 4}-", ""]


def test_passing_server_errors_are_tried_again(server: Served, partial: Path) -> None:
    server.failures = [503, 502]
    pauses: list[float] = []
    assert fetched(server.url, partial, pauses) == CONTENT
    assert pauses == [1.0, 2.0]


def test_a_missing_file_is_not_tried_again(server: Served, partial: Path) -> None:
    server.failures = [404]
    with pytest.raises(DownloadFailed, match="HTTP 404 Not Found"):
        fetched(server.url, partial)
    assert len(server.requests) == 1


def test_progress_by_a_byte_counts_as_progress_and_none_ends_it(server: Served, partial: Path) -> None:
    server.cut_after = [*[1] * 6, *[0] * 5]
    with pytest.raises(DownloadFailed, match=r"after 6 of 512000 bytes \(5 attempts\)"):
        fetched(server.url, partial)
    assert len(server.requests) == 10


def test_no_server(partial: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DownloadFailed, match=r"cannot connect: .* \(3 attempts\)"):
        fetched(f"http://127.0.0.1:{port}/x", partial, attempts=3)


def test_credentials_are_masked_in_errors(server: Served, partial: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        fetched("ftp://me:secret@example.org/x", partial)
    assert "secret" not in str(caught.value)


def test_discard_leaves_nothing(server: Served, partial: Path) -> None:
    fetched(server.url, partial)
    discard(partial)
    assert list(partial.parent.iterdir()) == []
