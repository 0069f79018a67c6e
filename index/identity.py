"""A person as the gallery knows them, and the rules for names."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from index.errors import NameRefused

NAME_LIMIT = 200
"""The longest name, in characters."""

_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, lone surrogates, line and paragraph separators."""

_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make the text after them read in another order than it is written: a way to forge a log line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One enrolled person.

    Attributes:
        id: A random UUID that never changes and is never given to anyone else.
        name: As entered, trimmed and in Unicode NFC; unique in its gallery, case aside.
        template_count: How many templates stand for this person, at least one.
        created_ns: When the person was first enrolled, Unix nanoseconds.
        updated_ns: When the person was last changed, Unix nanoseconds.
    """

    id: str
    name: str
    template_count: int
    created_ns: int
    updated_ns: int


def clean_name(name: str) -> str:
    """The name as the gallery keeps it: Unicode NFC, with no space at either end.

    Raises:
        NameRefused: It is empty, longer than 200 characters, or has a character that cannot be shown in a
            line.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    # Of letters, numbers, punctuation and symbols one must be there: a zero-width space alone is no name.
    if not any(unicodedata.category(character)[0] in "LNPS" for character in cleaned):
        raise NameRefused("a name is empty; give at least one visible character")
    if len(cleaned) > NAME_LIMIT:
        raise NameRefused(f"a name has {len(cleaned)} characters; the limit is {NAME_LIMIT}")
    for character in cleaned:
        if unicodedata.category(character) in _UNPRINTABLE or character in _REORDERING:
            raise NameRefused(f"the name {cleaned!r} has the control character U+{ord(character):04X}; remove it")
    return cleaned


def name_key(name: str) -> str:
    """What two names have in common when they differ by case alone (Unicode's canonical caseless matching)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold()).strip()
