"""NVIDIA DALI without a GPU: the versions of requirements/gpu.txt, put beside what the development set holds.

It is no part of that set, because its wheel is 420 MB and nothing but its own tests needs it.
"""

import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_LOCK = Path(__file__).resolve().parents[2] / "requirements" / "gpu.txt"
_NEEDED = (
    "nvidia-dali-cuda120",
    "astunparse",
    "gast",
    "makefun",
    "six",
    "packaging",
    "libcst",
    "nvtx",
    "optree",
    "typing-extensions",
    "wheel",
)
"""DALI and what importing it needs; not the CUDA libraries that it decodes still images with."""


def missing() -> str | None:
    """What is absent, in words; None if it is there."""
    absent = [name for name in _NEEDED if not _is_installed(name)]
    return f"not installed: {', '.join(absent)}; 'make services' installs them" if absent else None


def install() -> None:
    """Install the locked versions of what is absent; raises `CalledProcessError`."""
    entries = locked(_LOCK.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "dali.txt")
        lock.write_text(
            "\n".join(entry for name, entry in entries.items() if not _is_installed(name)), encoding="utf-8"
        )
        quietly = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
        subprocess.run([sys.executable, "-m", "pip", "install", *quietly, "-r", lock], check=True, timeout=900)


def locked(text: str) -> dict[str, str]:
    """Name -> entry, a line with its hashes on those that follow, of what DALI needs in a lock file."""
    entries = re.findall(r"^[A-Za-z0-9][^\\\n]*(?:\\\n[^\\\n]*)*", text, re.MULTILINE)
    named = {re.split(r"[=<>~! ;\[]", entry, maxsplit=1)[0]: entry for entry in entries}
    return {name: named[name] for name in _NEEDED}


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="session")
def dali() -> None:
    """Skip where DALI is not, unless the environment says that it must be."""
    reason = missing()
    if reason is not None and os.environ.get("VIDFACE_REQUIRE_DALI") == "1":
        pytest.fail(f"VIDFACE_REQUIRE_DALI=1, but {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
