"""Nothing that was emitted is lost, however often the pipeline and the broker are killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.crash import CrashRun
from tests.services.kafka import KafkaBroker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_events_survive_kills_of_the_pipeline_and_of_the_broker(
    tmp_path: Path, kafka_broker: KafkaBroker, kafka_topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        verdict = CrashRun(folder=tmp_path, broker=kafka_broker, topic=kafka_topic).run(
            events=4000, kills=4, broker_kills=1
        )
    finally:
        kafka_broker.start()  # for the next test
    with capsys.disabled():
        print(f"\n{verdict}")  # noqa: T201 - the counts are the result
    assert verdict.emitted >= 4000
    assert verdict.lost == ()
    assert verdict.cameras_out_of_order == ()
    assert verdict.handled == verdict.delivered
    assert verdict.handled_again == 0
