"""A broker that is away delays events and loses none, and the pipeline goes on as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.outage import OutageRun
from tests.services.kafka import KafkaBroker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_an_outage_of_the_broker_loses_nothing(
    tmp_path: Path, kafka_broker: KafkaBroker, kafka_topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        outage = OutageRun(folder=tmp_path, broker=kafka_broker, topic=kafka_topic).run(away_s=30.0, around_s=5.0)
    finally:
        kafka_broker.start()  # for the next test
    with capsys.disabled():
        print(f"\n{outage}")  # noqa: T201 - the figures are the result
    assert outage.lost == 0
    assert outage.backlog > 100, "the broker was not away for long enough to show anything"
    assert outage.during_per_s > outage.before_per_s / 2, "the pipeline waits for the broker"
