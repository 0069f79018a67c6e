import itertools
import threading

import pytest

from streams.errors import SourceError
from streams.fake import Fail, FakeClock, FakeSource, Hold, Lose, Play, Step, scripted
from streams.frame import Frame
from streams.source import CameraSource, CameraState, SourceSpec
from tests.media.clips import number_of, numbered

LIVE = SourceSpec(camera="door", url="rtsp://cam/a")
RECORDED = SourceSpec(camera="door", url="a.mp4")


def _made(spec: SourceSpec, script: list[Step]) -> tuple[FakeSource, list[Frame], list[CameraState]]:
    frames: list[Frame] = []
    states: list[CameraState] = []
    source = scripted({"door": script})(
        spec,
        next_epoch=itertools.count(1).__next__,
        on_frame=frames.append,
        on_state=states.append,
        clock=FakeClock(),
    )
    return source, frames, states


def test_a_recorded_script_ends() -> None:
    source, frames, states = _made(RECORDED, [Play(pictures=[numbered(n) for n in range(3)])])
    running: CameraSource = source
    running.run()
    assert [number_of(frame.picture.bgr()) for frame in frames] == [0, 1, 2]
    assert [frame.meta.pts_ns for frame in frames] == [0, 40_000_000, 80_000_000]
    assert [(state.name.value, state.epoch) for state in states] == [("connecting", 0), ("live", 1), ("ended", 1)]


def test_a_live_script_loses_its_camera_and_is_held() -> None:
    hold = Hold(release=threading.Event())
    source, frames, states = _made(
        LIVE, [Play(pictures=[numbered(0)]), Lose(), Play(pictures=[numbered(1), numbered(2)]), hold]
    )
    thread = threading.Thread(target=source.run)
    thread.start()
    source.stop()
    thread.join(30)
    assert hold.release.is_set()
    assert states[-1].cause == "stopped"
    assert len(frames) <= 3


def test_a_live_script_raises_its_epoch_with_each_connection() -> None:
    script: list[Step] = [Play(pictures=[numbered(0)]), Lose(away_s=2.0), Play(pictures=[numbered(1)] * 2)]
    source, frames, states = _made(LIVE, script)
    done = threading.Event()

    def take(frame: Frame) -> None:
        frames.append(frame)
        if len(frames) == 3:
            done.set()

    source._on_frame = take
    thread = threading.Thread(target=source.run)
    thread.start()
    assert done.wait(30)
    source.stop()
    thread.join(30)
    assert [(f.meta.epoch, f.meta.index, f.meta.arrived_ns) for f in frames] == [
        (1, 0, 0),
        (2, 0, 2_000_000_000),
        (2, 1, 2_040_000_000),
    ]
    assert [state.name.value for state in states] == ["connecting", "live", "lost", "connecting", "live", "ended"]


@pytest.mark.parametrize(
    ("fail", "error", "cause"),
    [
        pytest.param(Fail(), SourceError, "open_failed", id="cannot-open"),
        pytest.param(Fail(error=ZeroDivisionError("x")), ZeroDivisionError, "consumer_failed", id="bug"),
    ],
)
def test_a_scripted_failure_is_raised(fail: Fail, error: type[Exception], cause: str) -> None:
    source, _, states = _made(RECORDED, [fail])
    with pytest.raises(error):
        source.run()
    assert (states[-1].name.value, states[-1].cause) == ("ended", cause)


def test_a_fake_clock_jumps_where_others_wait() -> None:
    clock = FakeClock(unix_ns=5)
    interrupt = threading.Event()
    assert not clock.wait(interrupt, 2.5)
    clock.advance(0.5)
    interrupt.set()
    assert clock.wait(interrupt, 9.0)
    assert (clock.monotonic_ns(), clock.unix_ns()) == (3_000_000_000, 3_000_000_005)
    assert clock.waits_s == (2.5, 9.0)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
