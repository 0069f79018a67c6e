"""`${NAME}` in configuration values.

    ${NAME}            the variable's value; unset or empty is an error
    ${NAME:-default}   the default (which may be empty) where it is unset or empty
    $$                 a dollar sign

Any other `$` stands for itself. In the user-and-password part of a URL the value is percent-encoded, because it is
meant as it is: the variable holds the password, not its encoded form, and a password with `@`, `/` or `#` in it
must not change where the URL points.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

_TOKEN = re.compile(r"\$\$|\$\{(?P<body>[^}]*)(?P<closed>\}?)")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-(?P<value>[^$]*))?")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Unresolved(ValueError):
    """A value that cannot be filled in; its text is the reason."""


def uses_environment(template: str) -> bool:
    """Whether a value names a variable."""
    return any(match.group() != "$$" for match in _TOKEN.finditer(template))


def resolve(template: str, environ: Mapping[str, str]) -> str:
    """Fill in a value as written in the file.

    Args:
        template: The scalar's text.
        environ: The variables.

    Raises:
        Unresolved: A variable is unset or empty, or a `${` is not of the forms above.
    """
    start, end = _userinfo_span(template)
    parts = []
    position = 0
    for match in _TOKEN.finditer(template):
        parts.append(template[position : match.start()])
        position = match.end()
        if match.group() == "$$":
            parts.append("$")
            continue
        value = _value(match, environ)
        if start <= match.start() < end:
            value = _encode(value, is_whole=(match.start(), match.end()) == (start, end))
        parts.append(value)
    parts.append(template[position:])
    return "".join(parts)


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str:
    body = _BODY.fullmatch(match["body"])
    if not match["closed"] or body is None:
        raise Unresolved(
            "after '${' comes a variable's name and '}', as in ${NAME} or ${NAME:-default}; write '$$' for a '$'"
        )
    value = environ.get(body["name"])
    if value:
        return value
    if body["default"] is not None:
        return body["value"] or ""
    state = "not set" if value is None else "empty"
    name = body["name"]
    raise Unresolved(
        f"the environment variable {name} is {state}; set it, or write ${{{name}:-default}} to do without it"
    )


def _userinfo_span(template: str) -> tuple[int, int]:
    """Where user and password stand in a URL, `@` excluded; ``(0, 0)`` for none. What is in `${}` is opaque."""
    opaque = _TOKEN.sub(lambda match: "_" * len(match.group()), template)
    scheme = _AUTHORITY.match(opaque)
    if scheme is None:
        return 0, 0
    rest = re.search(r"[/?#]", opaque[scheme.end() :])
    authority_end = scheme.end() + rest.start() if rest else len(opaque)
    at = opaque.rfind("@", scheme.end(), authority_end)
    return (scheme.end(), at) if at >= 0 else (0, 0)


def _encode(value: str, *, is_whole: bool) -> str:
    if not is_whole:
        return quote(value, safe="")
    user, colon, password = value.partition(":")  # one variable for both: user:password
    return quote(user, safe="") + colon + quote(password, safe="")
