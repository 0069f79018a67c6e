"""One artifact, from wherever it is to be had, as its checked members."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from weights.archive import read_member
from weights.cache import Cache
from weights.clients import fetch_with_client
from weights.download import discard, download
from weights.errors import FetchError, UnreadableArtifact, WrongChecksum
from weights.manifest import Artifact, Client
from weights.progress import Progress


def fetch(artifact: Artifact, *, source: str | None, cache: Cache, progress: Progress) -> Mapping[str, bytes]:
    """All members of an artifact, by file name. Blocks; the artifact's lock must be held.

    Args:
        artifact: What to fetch.
        source: A path or an http(s) URL given by the user; None for where the manifest says.
        cache: Where an interrupted download is kept.
        progress: Told about the transfer.

    Raises:
        FetchError: It could not be had.
        WrongChecksum: It was had, and is not the pinned one.
    """
    if source is None and artifact.client is not Client.URL:
        return _from_client(artifact, progress)
    where = artifact.url if source is None else source
    if where.startswith(("http://", "https://")):
        return _from_url(artifact, where, cache, progress)
    return _members(artifact, Path(where).expanduser())


def _from_client(artifact: Artifact, progress: Progress) -> Mapping[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="vidface-weights-") as folder:
        progress.start(f"{artifact.name} ({artifact.origin})", None)
        try:
            archive = fetch_with_client(artifact, Path(folder))
        finally:
            progress.finish()
        return _members(artifact, archive)


def _from_url(artifact: Artifact, url: str, cache: Cache, progress: Progress) -> Mapping[str, bytes]:
    partial = cache.partial(url)
    resumed = partial.is_file()
    download(url, partial, progress=progress)
    try:
        members = _members(artifact, partial)
    except (UnreadableArtifact, WrongChecksum):
        discard(partial)
        if not resumed:
            raise
        # The earlier half may have been of something else: once more, from the first byte.
        download(url, partial, progress=progress)
        try:
            members = _members(artifact, partial)
        finally:
            discard(partial)
    discard(partial)
    return members


def _members(artifact: Artifact, path: Path) -> Mapping[str, bytes]:
    try:
        return {member.file_name: read_member(path, member) for member in artifact.members}
    except (FetchError, WrongChecksum):
        raise
    except MemoryError as error:
        raise FetchError(f"{path}: too large for this machine's memory") from error
