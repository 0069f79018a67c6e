"""What every section of a configuration shares: strictness, names, and paths that count from the file's folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo
from pydantic_core import PydanticCustomError

NAME_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
"""What cameras, sinks and sites may be called: it goes into event ids, Kafka keys and metric labels as it is."""


class Section(BaseModel):
    """A frozen group of fields; an unknown field is an error."""

    # pydantic's own messages quote the input, which may be a password: ours are made from its error list instead.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)


def _not_empty(path: object) -> object:
    if isinstance(path, str) and (not path.strip() or "\0" in path):
        raise PydanticCustomError("path", "expected a path that is not empty")
    return path


def _absolute(path: Path, info: ValidationInfo) -> Path:
    """Relative to the configuration file's folder, given as the context's ``folder``; else to the current one."""
    folder: Path = (info.context or {}).get("folder", Path())
    return Path(folder, path.expanduser()).absolute()


FilePath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_absolute)]
"""A path that comes out absolute."""


def misfit(at: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """An error about a value that does not fit the others.

    Args:
        at: Where it stands, counted from the section or field that is validated.
        message: What is wrong and what would be right.
    """
    return PydanticCustomError("misfit", "{message}", {"message": message, "at": at})


def refuse_twins(values: list[str], field: str, what: str) -> None:
    """Refuse a list in which two items have the same value in a field.

    Args:
        values: The field's value of each item.
        field: The field.
        what: What the list is called.
    """
    counts = Counter(values)
    for position, value in enumerate(values):
        first = values.index(value)
        if counts[value] > 1 and position > first:
            message = f"{value!r} is {what}[{first}].{field} already; each needs its own"
            if field == "name":
                message += ", so give one of them another 'name:'"
            raise misfit((position, field), message)
