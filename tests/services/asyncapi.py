"""AsyncAPI's own JSON Schema of its documents, fetched by npm once into the user's cache. Nothing of it runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

import platformdirs
import pytest

PACKAGE: Final = "@asyncapi/specs"  # Apache-2.0
VERSION: Final = "6.11.1"
SHA256: Final = "01af8744dc33c0c7eb2e908f6a955319ee58b70ecadc9387d1aeb16c0cd28928"
_MEMBER: Final = "package/schemas/3.0.0.json"


def path() -> Path:
    """Where the schema lies, if it is there."""
    cache = os.environ.get("VIDFACE_CACHE_DIR")
    root = Path(cache) if cache else platformdirs.user_cache_path("vidface")
    return root / "test-services" / f"asyncapi-{VERSION}" / "3.0.0.json"


def missing() -> str | None:
    """Return why the schema is not here, or None."""
    if path().is_file():
        return None
    return f"AsyncAPI's schema is not at {path()}: run `python -m tests.services install`, which needs npm"


def install() -> None:
    """Fetch the schema, unless it is there.

    Raises:
        RuntimeError: There is no npm, it failed, or it fetched another archive than the pinned one.
    """
    if missing() is None:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise RuntimeError("needs npm")
    target = path()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        done = subprocess.run(
            [
                npm,
                "pack",
                f"{PACKAGE}@{VERSION}",
                "--ignore-scripts",
                "--loglevel=error",
                "--pack-destination",
                scratch,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"npm pack failed: {done.stderr.strip()[-300:]}")
        (archive,) = Path(scratch).glob("*.tgz")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            raise RuntimeError(f"{PACKAGE} {VERSION} has the sha256 {found}, not the pinned one")
        with tarfile.open(archive) as members:
            schema = members.extractfile(_MEMBER)
            assert schema is not None
            fresh = Path(scratch) / "schema.json"
            fresh.write_bytes(schema.read())
            fresh.replace(target)


@pytest.fixture(scope="session")
def asyncapi_schema() -> Any:
    """The JSON Schema (draft 7) of an AsyncAPI 3.0.0 document."""
    reason = missing()
    if reason is not None:
        if os.environ.get("VIDFACE_REQUIRE_ASYNCAPI") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return json.loads(path().read_text(encoding="utf-8"))
