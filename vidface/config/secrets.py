"""Keeping credentials out of everything that is printed.

Errs on the side of hiding: an `@` in the path of a URL hides the host before it, which is a pity, while a password
that slips through is a breach.
"""

from __future__ import annotations

import re

from streams.redact import redact, redact_text

MASK = "***"
"""What stands in a secret's place."""

NOT_USED = "not-used"
"""Stands for what an environment variable would say of something that is not going to be opened."""

# Up to the *last* @: a password written without percent-encoding may itself hold @, /, ?, quotes or digits that look
# like a port, which `redact` cannot tell from a host and its path.
_USERINFO = r"([A-Za-z][A-Za-z0-9+.-]*://){}*@"
_USERINFO_IN_URL = re.compile(_USERINFO.format("."), re.DOTALL)
_USERINFO_IN_TEXT = re.compile(_USERINFO.format(r"\S"))


def mask_url(url: str) -> str:
    """The URL with user, password and query parameters that look like credentials hidden.

    Args:
        url: One URL or path, whole; it may hold spaces.
    """
    return redact(_USERINFO_IN_URL.sub(rf"\1{MASK}@", url))


def mask_text(text: str) -> str:
    """Any text with the credentials of every URL inside it hidden."""
    return redact_text(_USERINFO_IN_TEXT.sub(rf"\1{MASK}@", text))
