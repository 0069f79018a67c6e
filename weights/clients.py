"""The ordinary package clients, each as a subprocess: they know the user's index, mirror, proxy and credentials.

They are asked for one file and nothing else: no dependencies, no install, no scripts of a package. What they
print is shown only when they fail, with credentials masked.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from weights.errors import ClientFailed, MissingClient, redacted
from weights.manifest import Artifact, Client, Form

_TIMEOUT_S: Final = 900.0
_SHOWN_LINES: Final = 4
_SHOWN_CHARACTERS: Final = 320


def fetch_with_client(artifact: Artifact, into: Path, *, timeout_s: float = _TIMEOUT_S) -> Path:
    """Have the artifact's client put its archive into the empty folder `into`; blocks until it has.

    Returns:
        The one file that the client left there.

    Raises:
        MissingClient: The client is not installed.
        ClientFailed: It ended with an error, left no file, or ran longer than `timeout_s`.
    """
    if artifact.client is Client.PIP:
        _pip_download(artifact, into, timeout_s)
    elif artifact.client is Client.NPM:
        _npm_pack(artifact, into, timeout_s)
    else:
        raise MissingClient(f"{artifact.name}: no package client fetches a {artifact.client} artifact")
    left = sorted(path for path in into.iterdir() if path.is_file() and path.name != _REQUIREMENTS)
    if len(left) != 1:
        names = ", ".join(path.name for path in left) or "nothing"
        raise ClientFailed(f"{artifact.client} succeeded but left {names} where one archive is expected")
    return left[0]


_REQUIREMENTS: Final = "requirements.txt"


def _pip_download(artifact: Artifact, into: Path, timeout_s: float) -> None:
    requirement = f"{artifact.package}=={artifact.version}"
    pinned = ["--require-hashes"] if artifact.sha256 else []
    if artifact.sha256:
        # pip compares the archive with the hash before it does anything with it, such as run an sdist's setup.py.
        requirement += f" --hash=sha256:{artifact.sha256}"
    (into / _REQUIREMENTS).write_text(requirement + "\n", encoding="utf-8")
    # From source for this package alone: ":all:" would also build the build tools from source.
    form = ["--no-binary", artifact.package] if artifact.form is Form.SDIST else ["--only-binary", ":all:"]
    options = ["--no-deps", "--disable-pip-version-check", "--no-input", "--quiet", "--progress-bar", "off"]
    command = [*pip_command(), "download", *options, "--retries", "2", *form, *pinned]
    _run("pip", [*command, "--dest", str(into), "--requirement", _REQUIREMENTS], into, timeout_s)


def pip_command() -> list[str]:
    """How to start pip here; an environment made by uv has none of its own.

    Raises:
        MissingClient: There is neither pip nor uv.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--quiet", "--from", "pip", "pip"]
    raise MissingClient(f"pip is not installed for {sys.executable}, and neither pip nor uv is on the PATH")


def _npm_pack(artifact: Artifact, into: Path, timeout_s: float) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingClient("npm is not installed: it is not on the PATH")
    # npm's own defaults retry for over a minute when there is no network.
    quick = ["--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=3000"]
    quiet = ["--ignore-scripts", "--loglevel=error", "--no-update-notifier", "--no-fund", "--no-audit"]
    target = f"{artifact.package}@{artifact.version}"
    _run("npm", [npm, "pack", target, "--pack-destination", str(into), *quick, *quiet], into, timeout_s)


def _run(name: str, command: Sequence[str], folder: Path, timeout_s: float) -> None:
    try:
        # A session of its own, so that a client that hangs is ended together with what it started.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ClientFailed(f"{command[0]} cannot be started: {error.strerror}") from error
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ClientFailed(f"{name} was still at it after {timeout_s:g} s and was ended") from error
        finally:
            if process.poll() is None:  # also when the user interrupts
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        raise ClientFailed(f"{name} failed with exit status {process.returncode}: {_gist(output)}")


def _gist(output: str) -> str:
    """The lines that say why: those marked as errors, if any are; the first few of them, credentials masked."""
    lines = [line.strip()[:_SHOWN_CHARACTERS] for line in redacted(output).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "npm error", "npm err!"))]
    # Without a network pip's error is only that it found no version; the reason is in its last warning.
    network = [line for line in lines if "connection broken by" in line]
    return " | ".join([*network[-1:], *errors][:_SHOWN_LINES] or lines[-_SHOWN_LINES:]) or "it printed nothing"
