"""What the sections of sinks have in common."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipeline.events.publisher import Backoff
from vidface.config.section import Section, misfit

NAME_HELP = (
    "How the sink is called in statistics and in the outbox, which keeps what a sink has not yet acknowledged under "
    "this name; change it and the sink begins anew. Needed where there are two sinks of a type."
)
CONNECT_TIMEOUT_HELP = "A connection that takes longer has failed, and is tried again. Seconds."

_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/,@\[\]]+):(?P<port>\d{1,5})")


class RetryConfig(Section):
    """How long a sink waits before it tries again: from `initial_s` on, doubling, up to `max_s`; and never gives up."""

    initial_s: float = Field(
        default=Backoff().initial_s, gt=0, le=3600, description="The wait after the first failure. Seconds."
    )
    max_s: float = Field(
        default=Backoff().max_s, gt=0, le=3600, description="The longest wait between two attempts. Seconds."
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_s < self.initial_s:
            raise misfit(("max_s",), f"is less than initial_s, {self.initial_s:g}")
        return self

    def backoff(self) -> Backoff:
        """What the publisher takes."""
        return Backoff(initial_s=self.initial_s, max_s=self.max_s)


Retry = Annotated[RetryConfig, Field(description="How long to wait before a delivery that failed is tried again.")]


def _server(value: object) -> object:
    if isinstance(value, str):
        match = _SERVER.fullmatch(value)
        if match is None or not 1 <= int(match["port"]) <= 65535:
            raise PydanticCustomError("server", "expected host:port, such as server-1.example.com:9092")
    return value


Server = Annotated[str, BeforeValidator(_server)]
"""``host:port``."""
