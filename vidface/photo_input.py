"""Photos that a command was given: as files, as folders of them, or as addresses on the web."""

from __future__ import annotations

import base64
import http.client
import re
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from pipeline.errors import PhotoRefused
from pipeline.faces import U8Image
from pipeline.photo import load_photo
from streams.redact import redact
from vidface.enrolment import is_photo
from vidface.errors import BadInput

VIDEO_SUFFIXES: Final = frozenset(
    {".3gp", ".avi", ".flv", ".h264", ".h265", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm",
     ".wmv"}
)  # fmt: skip
"""File names that are taken for videos, which have commands of their own."""

LARGEST_DOWNLOAD_BYTES: Final = 64 * 1024 * 1024
SILENCE_S: Final = 15.0
"""A server that says nothing for so long is given up."""
LONGEST_DOWNLOAD_S: Final = 120.0

_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BLOCK: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoInput:
    """One photo.

    Attributes:
        name: As the user knows it, without a credential.
        path: Its file; None for one on the web.
        url: Its address; None for a file.
    """

    name: str
    path: Path | None = None
    url: str | None = None

    @property
    def stem(self) -> str:
        """The file's name without folder and suffix; may hold any character but a slash."""
        if self.url is not None:
            return Path(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)).stem
        return self.path.stem if self.path is not None else ""

    def load(self) -> U8Image:
        """Read it, fetching it first if need be. Blocks.

        Returns:
            ``(H, W, 3)`` uint8 BGR, upright.

        Raises:
            BadInput: It can't be had, or is no picture.
        """
        if self.path is not None:
            return self._decoded(self.path)
        with tempfile.TemporaryDirectory(prefix="vidface-") as folder:
            path = Path(folder) / "photo"
            path.write_bytes(_fetched(self.url or "", self.name))
            return self._decoded(path)

    def _decoded(self, path: Path) -> U8Image:
        try:
            return load_photo(path)
        except PhotoRefused as error:
            raise BadInput(f"{self.name}: {error.reason}") from error
        except cv2.error as error:  # the decoder's own limits, such as a picture of more than 2^30 pixels
            raise BadInput(f"{self.name}: it can't be decoded ({error.err})") from error


def find_photos(argument: str, *, skip: Path) -> list[PhotoInput]:
    """The photos that one argument of a command line names.

    Args:
        argument: A file, a folder, which is searched to its depth, or an address.
        skip: A folder whose photos are left out where it lies in the folder that is searched: that of our own results.

    Returns:
        At least one; a folder's by path.

    Raises:
        BadInput: There are none, and why.
    """
    if _URL.match(argument):
        return [_web_photo(argument)]
    path = Path(argument).expanduser()
    if path.is_dir():
        return _folder_photos(path, skip)
    if not path.exists():
        raise BadInput(f"{argument}: there is no such file or folder")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise BadInput(_a_video(argument))
    return [PhotoInput(name=argument, path=path)]


def _folder_photos(folder: Path, skip: Path) -> list[PhotoInput]:
    ours = skip.resolve()
    skipped = ours != folder.resolve()
    photos = [
        PhotoInput(name=str(path), path=path)
        for path in sorted(folder.rglob("*"))
        if is_photo(path) and not (skipped and path.resolve().is_relative_to(ours))
    ]
    if not photos:
        raise BadInput(f"{folder}: there are no photos in this folder, nor in those below it")
    return photos


def _web_photo(url: str) -> PhotoInput:
    name = redact(url)
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise BadInput(f"{name}: this is no valid address ({error})") from error
    if parts.scheme.lower() not in {"http", "https"}:
        if parts.scheme.lower().startswith(("rtsp", "rtmp", "udp", "srt")):
            raise BadInput(_a_video(name))
        raise BadInput(f"{name}: photos are fetched by http:// and https:// only")
    if not host:
        raise BadInput(f"{name}: this address names no host")
    if Path(parts.path).suffix.lower() in VIDEO_SUFFIXES:
        raise BadInput(_a_video(name))
    return PhotoInput(name=name, url=url)


def _a_video(name: str) -> str:
    return (
        f"{name}: this is a video; 'vidface serve' watches it, 'vidface bench' measures on it, and detect takes photos"
    )


def _fetched(url: str, name: str) -> bytes:
    """The bytes behind an address.

    Raises:
        BadInput: They can't be had. Its text holds nothing of the address but `name`.
    """
    try:
        with urllib.request.urlopen(_request(url), timeout=SILENCE_S) as answer:
            return _read(answer, name)
    except BadInput:  # a ValueError, as some of those below
        raise
    except urllib.error.HTTPError as error:
        with error:
            raise BadInput(f"{name}: the server answered {error.code} {error.reason}".rstrip()) from error
    except TimeoutError as error:
        raise BadInput(f"{name}: the server was silent for {SILENCE_S:.0f} s") from error
    except urllib.error.URLError as error:
        raise BadInput(f"{name}: the server can't be reached ({_words(error.reason)})") from error
    except (OSError, http.client.HTTPException) as error:
        raise BadInput(f"{name}: the transfer broke off ({_words(error)})") from error
    except (ValueError, UnicodeError) as error:
        raise BadInput(f"{name}: this is no valid address") from error


def _read(answer: http.client.HTTPResponse, name: str) -> bytes:
    deadline = time.monotonic() + LONGEST_DOWNLOAD_S
    data = bytearray()
    while block := answer.read(_BLOCK):
        data += block
        if len(data) > LARGEST_DOWNLOAD_BYTES:
            raise BadInput(f"{name}: it has more than {LARGEST_DOWNLOAD_BYTES >> 20} MiB; is it a photo?")
        if time.monotonic() > deadline:
            raise BadInput(f"{name}: it did not arrive within {LONGEST_DOWNLOAD_S:.0f} s")
    promised = answer.headers.get("Content-Length", "")
    if promised.isdigit() and len(data) < int(promised):
        raise BadInput(f"{name}: the transfer broke off after {len(data)} of {promised} bytes")
    return bytes(data)


def _request(url: str) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    # Letters beyond ASCII and spaces, as people paste them; what is escaped already stays.
    path, query = (urllib.parse.quote(part, safe="/%:@!$&'()*+,;=?~") for part in (parts.path, parts.query))
    request = urllib.request.Request(urllib.parse.urlunsplit((parts.scheme, host, path, query, "")))
    request.add_header("User-Agent", "vidface")
    request.add_header("Accept", "image/*")
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return request


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer for {SILENCE_S:.0f} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__ if isinstance(reason, Exception) else str(reason)
