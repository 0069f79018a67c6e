"""A file behind a URL, with the standard library alone; a broken transfer goes on where it stopped.

The partial file stays in the cache when everything fails, so the next process goes on too. `If-Range` with the
server's validator makes sure that two halves of different files are never joined; a server that sends no
validator is asked for the whole file again. (RFC 9110, sections 13.1.5 and 14.)
"""

import contextlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from weights.errors import DownloadFailed, redacted
from weights.progress import Progress

_CHUNK_BYTES: Final = 1 << 16
_LIMIT_BYTES: Final = 4 << 30
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_GONE_FOR_GOOD: Final = frozenset({400, 401, 403, 404, 405, 410, 451})
_USER_AGENT: Final = "vidface-weights"


class _Broken(Exception):
    """This attempt failed, and another may not."""


def download(
    url: str,
    partial: Path,
    *,
    progress: Progress,
    timeout_s: float = 30.0,
    attempts: int = 5,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch `url`; blocks until it is whole.

    Args:
        url: http or https.
        partial: Where the bytes go, and where earlier ones may lie; `<partial>.validator` belongs to it too.
            The caller holds the lock that makes it the only one here.
        progress: Told of each chunk.
        timeout_s: For the connection and for each read, not for the whole.
        attempts: Tries that may fail in a row without a single new byte.
        pause: Waits between them; tests replace it.

    Returns:
        `partial`, whole as far as the server's own length says; the caller checks the sha256 and removes it.

    Raises:
        DownloadFailed: No server, a refusal, or too many broken attempts; the partial file is kept.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadFailed(f"{redacted(url)}: only http and https are fetched")
    shown = redacted(url)
    transfer = _Transfer(url, partial, progress, timeout_s)
    failures = 0
    try:
        while True:
            before = transfer.have_bytes
            try:
                transfer.attempt()
                return partial
            except _Broken as error:
                failures = 1 if transfer.have_bytes > before else failures + 1
                if failures >= attempts:
                    raise DownloadFailed(f"{shown}: {redacted(str(error))} ({failures} attempts)") from error
                pause(min(8.0, 0.5 * 2.0**failures))
            except DownloadFailed:
                raise
            except OSError as error:  # the disk, not the network
                raise DownloadFailed(f"{shown}: {redacted(str(error))}") from error
    finally:
        transfer.close()


class _Transfer:
    """The state between the attempts at one file."""

    def __init__(self, url: str, partial: Path, progress: Progress, timeout_s: float) -> None:
        self._url = url
        self._partial = partial
        self._validator_file = partial.with_name(f"{partial.name}.validator")
        self._progress = progress
        self._timeout_s = timeout_s
        self._told = False
        self.have_bytes = partial.stat().st_size if partial.is_file() else 0

    def attempt(self) -> None:
        """One request; returns when the file is whole."""
        request = urllib.request.Request(self._url, headers={"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"})
        validator = self._validator()
        if self.have_bytes and validator:
            request.add_header("Range", f"bytes={self.have_bytes}-")
            request.add_header("If-Range", validator)
        try:
            with contextlib.closing(urllib.request.urlopen(request, timeout=self._timeout_s)) as response:
                self._receive(response)
        except urllib.error.HTTPError as error:
            with contextlib.closing(error):
                if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    # What is here is as long as the file or longer: it cannot be a beginning of it.
                    self._restart()
                    raise _Broken("the server has fewer bytes than were here; starting again") from error
                if error.code in _GONE_FOR_GOOD:
                    raise DownloadFailed(f"{redacted(self._url)}: HTTP {error.code} {error.reason}") from error
                raise _Broken(f"HTTP {error.code} {error.reason}") from error
        except urllib.error.URLError as error:
            raise _Broken(f"cannot connect: {error.reason}") from error
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise _Broken(f"the transfer broke off after {self.have_bytes} bytes: {error!r}") from error

    def close(self) -> None:
        if self._told:
            self._progress.finish()

    def _receive(self, response: http.client.HTTPResponse) -> None:
        length = response.headers.get("Content-Length")
        total = int(length) if length is not None and length.isdecimal() else None
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            matched = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if matched is None or int(matched[1]) != self.have_bytes:
                self._restart()
                raise _Broken("the server sent another range than was asked for; starting again")
            total = None if matched[2] == "*" else int(matched[2])
        else:
            self._restart()
            self._validator_file.write_text(_strong_validator(response), encoding="ascii")
        self._tell(total)
        with self._partial.open("ab") as file:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                self.have_bytes += len(chunk)
                self._progress.advance(len(chunk))
                if self.have_bytes > _LIMIT_BYTES:
                    raise DownloadFailed(f"{redacted(self._url)}: longer than {_LIMIT_BYTES} bytes; not a model")
        if total is not None and self.have_bytes != total:
            raise _Broken(f"the transfer broke off after {self.have_bytes} of {total} bytes")

    def _tell(self, total: int | None) -> None:
        if not self._told:
            self._told = True
            self._progress.start(redacted(self._url).rsplit("/", 1)[-1], total)
            self._progress.advance(self.have_bytes)

    def _restart(self) -> None:
        if self._told:
            self._progress.advance(-self.have_bytes)
        self._partial.unlink(missing_ok=True)
        self._validator_file.unlink(missing_ok=True)
        self.have_bytes = 0

    def _validator(self) -> str:
        return self._validator_file.read_text(encoding="ascii") if self._validator_file.is_file() else ""


def discard(partial: Path) -> None:
    """Remove a partial file and what belongs to it: it is done with, or it is not what it should be."""
    partial.unlink(missing_ok=True)
    partial.with_name(f"{partial.name}.validator").unlink(missing_ok=True)


def _strong_validator(response: http.client.HTTPResponse) -> str:
    # A weak entity tag promises the same meaning, not the same bytes: it may not be used with If-Range.
    tag = str(response.headers.get("ETag", ""))
    if tag.startswith('"') and tag.isascii():
        return tag
    # A date alone counts as strong only with care (RFC 9110, 8.8.2.2); the sha256 at the end settles it.
    modified = str(response.headers.get("Last-Modified", ""))
    return modified if modified.isascii() else ""
