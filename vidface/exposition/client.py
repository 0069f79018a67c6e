"""The reader's side of ``/status``: where a service answers, and a snapshot fetched from there."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vidface.config.load import load_config
from vidface.config.secrets import mask_url
from vidface.errors import NothingAnswers, UsageError
from vidface.status import ServiceStatus

TIMEOUT_S: Final = 5.0
"""Longest silence of a service before it counts as gone."""

MAX_BYTES: Final = 16 << 20
"""More than any status: thousands of cameras. What sends more is none."""

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def find_url(config: Path | None, url: str | None) -> str:
    """Where the service that ``--config`` or ``--url`` names tells how it is; without a path.

    Raises:
        UsageError: Neither or both were given, or what was given names no port.
        ConfigError: The configuration cannot be used.
    """
    if (config is None) == (url is None):
        raise UsageError("give one of --config, the configuration that is served, and --url, such as http://host:9464")
    if url is not None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"--url: expected an address such as http://127.0.0.1:9464; given {mask_url(url)!r}")
        return f"{parts.scheme}://{parts.netloc}"
    assert config is not None
    metrics = load_config(config, unopened=("cameras", "sinks")).metrics
    if metrics.port is None:
        raise UsageError(f"{config} has no metrics.port, so its service tells nothing; add 'metrics: {{port: 9464}}'")
    if metrics.port == 0:
        raise UsageError(f"{config} says 'metrics.port: 0', any free port: give --url with the one that serve has told")
    host = _EVERYWHERE.get(metrics.host, metrics.host)
    return f"http://[{host}]:{metrics.port}" if ":" in host else f"http://{host}:{metrics.port}"


def fetch(url: str, *, timeout_s: float = TIMEOUT_S) -> ServiceStatus:
    """Take a snapshot of the service that answers there. Blocks.

    Raises:
        NothingAnswers: Nothing does, or something else than vidface.
    """
    # No proxy: what is watched is near, and the environment's proxy is for the world outside.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    where = mask_url(url)
    try:
        with opener.open(f"{url}/status", timeout=timeout_s) as answer:
            document = answer.read(MAX_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        raise NothingAnswers(f"what answers at {where} is no vidface: HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise NothingAnswers(
            f"no running service answers at {where}: {words}; is 'vidface serve' running there, with metrics.port?"
        ) from error
    try:
        return ServiceStatus.from_json(document)
    except ValueError as error:
        raise NothingAnswers(f"what answers at {where} is no vidface, or another version of it") from error
