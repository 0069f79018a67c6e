"""One member out of whatever was fetched: a wheel, an sdist, an npm tarball, a zip, or the member itself.

Nothing is unpacked to disk and nothing is imported: a member is read into memory, at most as long as the manifest
says it is, and compared with its pinned sha256.
"""

import ast
import hashlib
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Final

from weights.errors import FetchError, UnreadableArtifact, WrongChecksum
from weights.manifest import Member

_SOURCE_LIMIT_BYTES: Final = 256 << 20
"""Of Python source that holds a literal: escapes make it up to four times as long as its value."""


def read_member(path: Path, member: Member) -> bytes:
    """The bytes of `member`, which are exactly those that the manifest pins.

    Args:
        path: The artifact, or the member itself, or (for a literal) the Python module that holds it.
        member: What to look for.

    Raises:
        UnreadableArtifact: `path` is none of these, or the member is not in it.
        WrongChecksum: The member was found and is not the pinned one.
        FetchError: `path` cannot be read.
    """
    try:
        if not path.is_file():
            raise UnreadableArtifact(f"{path}: {'is not a file' if path.exists() else 'there is no such file'}")
        if path.stat().st_size == member.size_bytes:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() == member.sha256:
                return data
        found = _found(path, member)
    except OSError as error:
        if isinstance(error, FetchError):
            raise
        raise FetchError(f"{path}: cannot be read: {error.strerror or error}") from error
    actual = hashlib.sha256(found).hexdigest()
    if actual != member.sha256:
        raise WrongChecksum(
            f"{path}: {member.path} is not the pinned file: sha256 {member.sha256} expected, {actual} found"
        )
    return found


def _found(path: Path, member: Member) -> bytes:
    limit = _SOURCE_LIMIT_BYTES if member.literal else member.size_bytes
    try:
        if zipfile.is_zipfile(path):
            raw = _from_zip(path, member, limit)
        elif tarfile.is_tarfile(path):
            raw = _from_tar(path, member, limit)
        elif member.literal is not None and path.suffix == ".py":
            raw = path.read_bytes()
        else:
            raise WrongChecksum(
                f"{path}: neither {member.file_name} (its sha256 is not {member.sha256}) nor a zip or tar archive"
            )
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UnreadableArtifact(f"{path}: a damaged archive: {error}") from error
    return raw if member.literal is None else _literal(path, raw, member.literal)


def _from_zip(path: Path, member: Member, limit: int) -> bytes:
    with zipfile.ZipFile(path) as archive:
        try:
            info = archive.getinfo(member.path)
        except KeyError as error:
            raise _absent(path, member) from error
        with archive.open(info) as file:
            return file.read(limit + 1)


def _from_tar(path: Path, member: Member, limit: int) -> bytes:
    with tarfile.open(path) as archive:
        try:
            info = archive.getmember(member.path)
        except KeyError as error:
            raise _absent(path, member) from error
        # A link would be followed inside the archive only, but there is no reason for one: regular files alone.
        file = archive.extractfile(info) if info.isreg() else None
        if file is None:
            raise UnreadableArtifact(f"{path}: {member.path} is not a regular file in it")
        with file:
            return file.read(limit + 1)


def _absent(path: Path, member: Member) -> UnreadableArtifact:
    return UnreadableArtifact(f"{path}: there is no {member.path} in it; is it another version of the package?")


def _literal(path: Path, source: bytes, name: str) -> bytes:
    """The bytes literal that module source assigns to `name` at its top level; the source is parsed, never run."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableArtifact(f"{path}: not Python source, so {name} cannot be read from it: {error}") from error
    for statement in module.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Constant(value=bytes(value))) if target == name:
                return value
            case ast.AnnAssign(target=ast.Name(id=target), value=ast.Constant(value=bytes(value))) if target == name:
                return value
    raise UnreadableArtifact(f"{path}: assigns no bytes literal to {name}; is it another version of the package?")
