from __future__ import annotations

import pytest

from streams.state import CameraStateName, Cause
from tests.vidface.exposition.made import CONNECTING, ENDED, LIVE, LOST, camera, service
from vidface.exposition.health import failure_of, missing_of, was_tried
from vidface.status import Phase, ServiceStatus


@pytest.mark.parametrize(
    ("state", "cause", "tried"),
    [
        pytest.param(None, None, False, id="not-begun"),
        pytest.param(CONNECTING, Cause.STARTING, False, id="first-attempt"),
        pytest.param(CONNECTING, Cause.RETRYING, True, id="further-attempt"),
        pytest.param(LIVE, Cause.OPENED, True, id="live"),
        pytest.param(LOST, Cause.OPEN_FAILED, True, id="down"),
        pytest.param(ENDED, Cause.EOF, True, id="over"),
    ],
)
def test_whether_a_camera_was_tried(state: CameraStateName | None, cause: str | None, tried: bool) -> None:
    assert was_tried(camera("door", state, cause)) is tried
    assert missing_of(service(camera("door", state, cause))) == ([] if tried else ["camera door: not tried yet"])


@pytest.mark.parametrize(
    ("status", "healthy", "ready"),
    [
        pytest.param(service(phase=Phase.STARTING), True, False, id="starting"),
        pytest.param(service(), True, True, id="running"),
        pytest.param(service(camera("door", LOST, Cause.STALLED)), True, True, id="a-camera-down"),
        pytest.param(service(phase=Phase.ENDING), True, False, id="ending"),
        pytest.param(service(phase=Phase.FAILED, failure="the detect stage failed"), False, False, id="failed"),
    ],
)
def test_health_and_readiness(status: ServiceStatus, healthy: bool, ready: bool) -> None:
    assert (failure_of(status) is None) is healthy
    assert (missing_of(status) == []) is ready
