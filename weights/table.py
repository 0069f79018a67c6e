"""A TOML table read field by field, with errors that say where, what and what is legal."""

import re
from enum import StrEnum
from typing import Final, TypeGuard, TypeVar

from weights.errors import ManifestError

_E = TypeVar("_E", bound=StrEnum)
_MISSING: Final = object()


class Table:
    """A TOML table that is read field by field and then closed: what nobody asked for is an error."""

    def __init__(self, file_name: str, label: str, data: object) -> None:
        self.where = f"{file_name}: [{label}]" if label else file_name
        self._file_name = file_name
        self._label = label
        if not isinstance(data, dict):
            raise ManifestError(f"{self.where}: a table is expected, not {type(data).__name__}")
        self._data: dict[str, object] = data
        self._asked: set[str] = set()

    def wrong(self, field: str, rule: str) -> ManifestError:
        """An error about `field` that quotes what it holds and states the rule."""
        given = self._data.get(field, _MISSING)
        shown = "it is missing" if given is _MISSING else f"it is {given!r}"
        return ManifestError(f"{self.where} {field}: {shown}; {rule}")

    def text(self, field: str, *, default: str | None = None, pattern: re.Pattern[str] | None = None) -> str:
        """Text; not empty unless it has a default."""
        value = self._get(field, default)
        if not isinstance(value, str) or (default is None and not value):
            raise self.wrong(field, "text is expected")
        if pattern is not None and value != default and not pattern.fullmatch(value):
            raise self.wrong(field, f"it must match {pattern.pattern}")
        return value

    def integer(self, field: str, *, default: int | None = None) -> int:
        """A whole number, 0 or more."""
        value = self._get(field, default)
        if not _is_integer(value):
            raise self.wrong(field, "a whole number, 0 or more, is expected")
        return value

    def number(self, field: str) -> float:
        """Any number."""
        value = self._get(field, None)
        if not _is_number(value):
            raise self.wrong(field, "a number is expected")
        return float(value)

    def flag(self, field: str, *, default: bool) -> bool:
        """A truth value."""
        value = self._get(field, default)
        if not isinstance(value, bool):
            raise self.wrong(field, "true or false is expected")
        return value

    def choice(self, field: str, options: type[_E]) -> _E:
        """One of the values of `options`."""
        value = self._get(field, None)
        for option in options:
            if value == option.value:
                return option
        raise self.wrong(field, f"one of {', '.join(options)} is expected")

    def texts(self, field: str) -> tuple[str, ...]:
        """A list of texts with at least one in it."""
        values = self._list(field, None)
        if not values or not all(isinstance(value, str) for value in values):
            raise self.wrong(field, "a list of texts is expected")
        return tuple(str(value) for value in values)

    def integers(self, field: str, *, default: tuple[int, ...]) -> tuple[int, ...]:
        """A list of whole numbers."""
        values = self._list(field, default)
        numbers = tuple(value for value in values if _is_integer(value))
        if len(numbers) != len(values):
            raise self.wrong(field, "a list of whole numbers is expected")
        return numbers

    def numbers(self, field: str, *, count: int = 0, default: tuple[float, ...] | None = None) -> tuple[float, ...]:
        """A list of numbers, `count` of them if given."""
        values = self._list(field, default)
        numbers = tuple(float(value) for value in values if _is_number(value))
        if len(numbers) != len(values):
            raise self.wrong(field, "a list of numbers is expected")
        if count and len(values) != count:
            raise self.wrong(field, f"{count} numbers are expected")
        return numbers

    def integer_rows(self, field: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of whole numbers; empty where the field is absent."""
        rows = self._list(field, ())
        if not all(isinstance(row, list) and row and all(_is_integer(value) for value in row) for row in rows):
            raise self.wrong(field, "a list of lists of whole numbers is expected")
        return tuple(tuple(row) for row in rows if isinstance(row, list))

    def number_rows(self, field: str) -> tuple[tuple[float, ...], ...]:
        """A list of lists of numbers; empty where the field is absent."""
        rows = self._list(field, ())
        if not all(isinstance(row, list) and row and all(_is_number(value) for value in row) for row in rows):
            raise self.wrong(field, "a list of lists of numbers is expected")
        return tuple(tuple(float(value) for value in row) for row in rows if isinstance(row, list))

    def rows(self, field: str) -> "list[Table]":
        """An array of tables; empty where the field is absent."""
        label = f"{self._label}.{field}"
        return [Table(self._file_name, label, row) for row in self._list(field, ())]

    def tables(self, field: str) -> "dict[str, Table]":
        """A table of named tables, in the order of the file."""
        value = self._get(field, None)
        if not isinstance(value, dict):
            raise self.wrong(field, "a table is expected")
        prefix = f"{self._label}.{field}" if self._label else field
        return {name: Table(self._file_name, f"{prefix}.{name}", entry) for name, entry in value.items()}

    def close(self) -> None:
        """Complain about fields that nobody read."""
        unknown = sorted(self._data.keys() - self._asked)
        if unknown:
            legal = ", ".join(sorted(self._asked))
            raise ManifestError(f"{self.where} {unknown[0]}: unknown field; legal here: {legal}")

    def _get(self, field: str, default: object) -> object:
        self._asked.add(field)
        if field not in self._data and default is None:
            raise self.wrong(field, "it is needed")
        return self._data.get(field, default)

    def _list(self, field: str, default: tuple[object, ...] | None) -> list[object]:
        value = self._get(field, default)
        if not isinstance(value, list | tuple):
            raise self.wrong(field, "a list is expected")
        return list(value)


def _is_integer(value: object) -> TypeGuard[int]:
    # bool is an int in Python, but not in TOML.
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
