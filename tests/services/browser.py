"""A real browser for tests: Debian's Chromium, without a window."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

PACKAGES: Final = ("chromium", "chromium-driver")
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)


def missing() -> str | None:
    """Why there can be no browser here; None if there can."""
    if shutil.which("chromium") is None:
        return f"there is no chromium; apt-get install {' '.join(PACKAGES)}"
    return None


def install() -> None:
    """Install Chromium's Debian packages, where they are missing and this is root with apt-get.

    Raises:
        RuntimeError: They are missing and cannot be installed; says why.
    """
    if missing() is None:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise RuntimeError(f"needs root and apt-get: apt-get install {' '.join(PACKAGES)}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (("update", "-qq"), ("install", "-qq", "-y", "--no-install-recommends", *PACKAGES)):
        done = subprocess.run(
            ["apt-get", *command], env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        if done.returncode:
            raise RuntimeError(f"apt-get {command[0]} failed: {done.stderr.strip()[-300:]}")


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[..., Path]:
    """Makes a PNG picture of a local page: `screenshot(page, size_wh=(900, 1200))`.

    Skips where there can be no browser, fails where VIDFACE_REQUIRE_BROWSER=1 says that there must.
    """
    reason = missing()
    if reason is not None:
        if os.environ.get("VIDFACE_REQUIRE_BROWSER") == "1":
            pytest.fail(f"VIDFACE_REQUIRE_BROWSER=1, but {reason}")
        pytest.skip(reason)

    def shoot(page: Path, *, size_wh: tuple[int, int] = (900, 1200)) -> Path:
        picture = tmp_path / f"{page.stem}.png"
        width, height = size_wh
        done = subprocess.run(
            [
                "chromium",
                *FLAGS,
                f"--user-data-dir={tmp_path / 'browser'}",
                f"--window-size={width},{height}",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert picture.exists(), f"no picture of {page.name}: {done.stderr[-500:]}"
        return picture

    return shoot
