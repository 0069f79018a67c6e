"""How events wait: how much and how long, what happens then, and what a power cut may take."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from pipeline.events.outbox_options import Durability, OutboxOptions, WhenFull
from vidface.config.section import Section, misfit


class OutboxConfig(Section):
    """Where events wait until every sink has them."""

    max_mb: float = Field(
        default=1024.0,
        ge=1,
        le=1_000_000,
        description="The most that waiting events may take up, in megabytes of 1,000,000 bytes; an event is about "
        "1,500 bytes there. The log beside the file comes on top, 32 MB at most.",
    )
    max_age_h: float | None = Field(
        default=None,
        gt=0,
        le=87_600,
        description="How long an event may wait for a sink. Hours; none: for ever. With when_full: stop, only the time "
        "counts in which serve runs.",
    )
    when_full: WhenFull = Field(
        default=WhenFull.STOP,
        description="At either bound: stop ends serve with a message, and nothing stored is lost; drop_oldest deletes "
        "the oldest events for the sinks that have not had them, and the event vidface.outbox.dropped says how many.",
    )
    durability: Durability = Field(
        default=Durability.PROCESS,
        description="What an event survives: process, the death of the process, while a power cut may take the last "
        "seconds' events; power, a power cut as well, and each event waits for the disk.",
    )
    keep_h: float = Field(
        default=0.0,
        ge=0,
        le=87_600,
        description="How long events are kept that every sink has, for 'vidface outbox replay'. Hours since they were "
        "stored. They make way first when the outbox is full.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_age_h is not None and self.keep_h > self.max_age_h:
            raise misfit(("keep_h",), f"must be at most max_age_h, which is {self.max_age_h:g}")
        return self

    def options(self, site: str | None) -> OutboxOptions:
        """The outbox's own form of this."""
        return OutboxOptions(
            max_bytes=round(self.max_mb * 1e6),
            max_age_s=None if self.max_age_h is None else self.max_age_h * 3600,
            when_full=self.when_full,
            durability=self.durability,
            keep_s=self.keep_h * 3600,
            site=site,
        )
