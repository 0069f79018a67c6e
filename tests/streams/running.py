"""A source in a thread of its own, and waiting for what it does without sleeping."""

import itertools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from streams.clock import SYSTEM_CLOCK, Clock
from streams.frame import Frame
from streams.pair import PairSource, PairSpec
from streams.source import CameraState, CameraStateName, Source, SourceSpec

PATIENCE_S = 30.0  # far above anything that should happen; only a broken source gets here


class Running:
    """Runs a source; leaving the block stops it and waits for its thread."""

    source: Source | PairSource

    def __init__(
        self,
        spec: SourceSpec | PairSpec,
        *,
        on_frame: Callable[[Frame], None] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.states: list[CameraState] = []
        self.frames: list[Frame] = []
        self.error: BaseException | None = None
        self._also = on_frame
        self._changed = threading.Condition()
        epochs = itertools.count(1).__next__
        if isinstance(spec, PairSpec):
            self.source = PairSource(spec, next_epoch=epochs, on_frame=self._took, on_state=self._moved, clock=clock)
        else:
            self.source = Source(spec, next_epoch=epochs, on_frame=self._took, on_state=self._moved, clock=clock)
        self.thread = threading.Thread(target=self._run, name="source")

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.stop()
        self.join()

    def join(self, timeout_s: float = PATIENCE_S) -> None:
        self.thread.join(timeout_s)
        assert not self.thread.is_alive(), "run() did not return"

    def wait(self, happened: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
        with self._changed:
            assert self._changed.wait_for(happened, timeout_s), f"did not happen; states {self.causes}"

    def wait_frames(self, count: int) -> None:
        self.wait(lambda: len(self.frames) >= count)

    def wait_state(self, name: CameraStateName, *, nth: int = 1, timeout_s: float = PATIENCE_S) -> CameraState:
        def found() -> list[CameraState]:
            return [state for state in self.states if state.name is name]

        self.wait(lambda: len(found()) >= nth, timeout_s)
        return found()[nth - 1]

    @property
    def causes(self) -> list[tuple[str, str]]:
        return [(str(state.name), str(state.cause)) for state in self.states]

    def _run(self) -> None:
        try:
            self.source.run()
        except BaseException as error:
            self.error = error

    def _took(self, frame: Frame) -> None:
        with self._changed:
            self.frames.append(frame)
            self._changed.notify_all()
        if self._also is not None:
            self._also(frame)

    def _moved(self, state: CameraState) -> None:
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()
