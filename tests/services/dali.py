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
    "wheel",
)
"""DALI and what importing it needs; not the CUDA libraries that it decodes still images with."""


def missing() -> str | None:
    """What is absent, in words; None if it is there."""
    try:
        importlib.metadata.version("nvidia-dali-cuda120")
    except importlib.metadata.PackageNotFoundError:
        return "nvidia-dali-cuda120 is not installed; 'make services' installs it"
    return None


def install() -> None:
    """Install the locked versions; raises `CalledProcessError`."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, "dali.txt")
        lock.write_text("\n".join(locked(_LOCK.read_text(encoding="utf-8"))), encoding="utf-8")
        quietly = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
        subprocess.run([sys.executable, "-m", "pip", "install", *quietly, "-r", lock], check=True, timeout=900)


def locked(text: str) -> list[str]:
    """The entries of a lock file that DALI needs: each a line with its hashes on those that follow."""
    entries = re.findall(r"^[A-Za-z0-9].*(?:\\\n.*)*", text, re.MULTILINE)
    return [entry for entry in entries if re.split(r"[=<>~! ;\[]", entry, maxsplit=1)[0] in _NEEDED]


@pytest.fixture(scope="session")
def dali() -> None:
    """Skip where DALI is not, unless the environment says that it must be."""
    reason = missing()
    if reason is not None and os.environ.get("VIDFACE_REQUIRE_DALI") == "1":
        pytest.fail(f"VIDFACE_REQUIRE_DALI=1, but {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
