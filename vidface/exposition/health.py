"""Whether a service works and whether it is ready, judged from a snapshot. Pure.

A camera that is down is no failure of the process: restarting it would not bring the camera back, and would interrupt
all others.
"""

from __future__ import annotations

from streams.state import CameraStateName, Cause
from vidface.status import CameraStatus, Phase, ServiceStatus


def failure_of(status: ServiceStatus) -> str | None:
    """Why the pipeline does not work; None while it does. For ``/healthz``: a reason to restart the process."""
    return status.failure


def missing_of(status: ServiceStatus) -> list[str]:
    """What the service still lacks, one line each; nothing when it is ready. For ``/readyz``."""
    match status.phase:
        case Phase.STARTING:
            return ["starting: models are being compiled and files opened"]
        case Phase.ENDING:
            return ["ending: no new work is taken"]
        case Phase.FAILED:
            return [status.failure or "a stage failed"]
        case Phase.RUNNING:
            return [f"camera {camera.camera}: not tried yet" for camera in status.cameras if not was_tried(camera)]


def was_tried(camera: CameraStatus) -> bool:
    """Whether the first attempt to open a camera is over, however it went."""
    if camera.state is None:
        return False
    return camera.state is not CameraStateName.CONNECTING or camera.cause != Cause.STARTING
