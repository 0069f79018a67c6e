"""What `from vidface import ...` gives."""

from __future__ import annotations

import pytest

import vidface
from tests.test_imports import LAZY, loaded_by


@pytest.mark.parametrize("name", vidface.__all__)
def test_each_public_name_is_there(name: str) -> None:
    assert getattr(vidface, name).__name__ == name
    assert name in dir(vidface)


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Consumer'"):
        vidface.Consumer  # noqa: B018 - looking is what is tested


def test_importing_the_package_loads_none_of_them() -> None:
    assert "pipeline" not in loaded_by("vidface")


def test_a_consumer_loads_nothing_of_video() -> None:
    heavy = {*LAZY, "av", "cv2", "numpy", "pydantic", "typer", "streams", "index", "weights"}
    assert not loaded_by("pipeline.events.consumer, pipeline.events.kafka_feed") & heavy
