"""Addresses without their secrets, for logs, errors and events.

A camera's address often carries its user and password, and a cloud camera's a token. Nothing of this package ever
shows an address that has not been through here.
"""

import re
from typing import Final

MASK: Final = "***"

_SCHEME: Final = re.compile(r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>.*)$", re.DOTALL)
_URL_IN_TEXT: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_NUMERIC_PORT: Final = re.compile(r":\d*$")
_SECRET_PARAMETER: Final = re.compile(
    r"(?P<name>(?:^|[?&;])(?:[a-z_-]*(?:pass|passwd|password|pwd|user|username|usr|login|token|key|secret|auth"
    r"|signature|sig|session)[a-z_-]*)=)[^&;#\s]*",
    re.IGNORECASE,
)


def redact(url: str) -> str:
    """Mask the user, the password and secret query parameters of an address.

    Made to err on the side of hiding: a password that holds an unescaped `/`, `?`, `#` or `@` is masked whole.

    Args:
        url: A URL, or a path, which is returned as it is.

    Returns:
        The address with `***` in place of each secret.
    """
    match = _SCHEME.match(url)
    if match is None:
        return url
    scheme, rest = match["scheme"], match["rest"]
    end = _first_of(rest, "/?#")
    authority = rest[:end]
    if "@" in authority:
        rest = f"{MASK}@{authority.rpartition('@')[2]}{rest[end:]}"
    elif "@" in rest and ":" in authority and not _is_host_and_port(authority):
        # "u:p/w@host": the first slash belongs to an unescaped password, not to the path.
        rest = f"{MASK}@{rest.rpartition('@')[2]}"
    return scheme + _SECRET_PARAMETER.sub(rf"\g<name>{MASK}", rest)


def redact_text(text: str) -> str:
    """Mask the secrets of every URL inside a text, such as a message of FFmpeg."""
    return _URL_IN_TEXT.sub(lambda match: redact(match[0]), text)


def _is_host_and_port(authority: str) -> bool:
    # An IPv6 address, or a name with a port.
    return authority.startswith("[") or _NUMERIC_PORT.search(authority) is not None


def _first_of(text: str, characters: str) -> int:
    """Index of the first of `characters` in `text`, or its length."""
    return min((found for c in characters if (found := text.find(c)) >= 0), default=len(text))
