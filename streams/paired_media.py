"""Two recordings of one camera, read as one: the sub stream's frames, each with the main stream's picture of its time.

Matched by media time, counted in each recording from its first frame, so both must begin at the same moment, as those
of one recorder do. The main recording is decoded in step with the sub recording, in the same thread, and every frame
has its picture in hand: what is decided depends on the files alone, not on how threads happened to run.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial

from streams.errors import SourceError
from streams.frame import Picture
from streams.media import Damaged, Decoded, Media, MediaEnd, Undecoded
from streams.paired_picture import CropCounts, PairedPicture
from streams.pairing import Timed, nearest, show_alike
from streams.spec import SourceSpec
from streams.state import Cause
from streams.timeline import Timeline


class PairedMedia:
    """See the module's text. Used by one thread."""

    def __init__(
        self,
        main: Media,
        sub: Media,
        *,
        main_spec: SourceSpec,
        tolerance_ns: int,
        counts: CropCounts,
        on_main_decoded: Callable[[], None],
    ) -> None:
        """Take over two open media; they are closed with this one.

        Args:
            main: The main stream's recording, not in real time: the sub stream's sets the pace.
            sub: The sub stream's.
            main_spec: For errors.
            tolerance_ns: A picture further away in time is none.
            counts: Where requests for pixels are counted.
            on_main_decoded: Called for each picture of the main stream.
        """
        self._main = main
        self._sub = sub
        self._main_spec = main_spec
        self._tolerance_ns = tolerance_ns
        self._counts = counts
        self._on_main_decoded = on_main_decoded

    @property
    def step_ns(self) -> int:
        """See `Media.step_ns`; the sub stream's."""
        return self._sub.step_ns

    def read(self) -> Generator[Decoded | Damaged | Undecoded]:
        """See `Media.read`.

        Raises:
            SourceError: No picture of the main recording could be decoded, or the two are shaped too differently to
                show the same view.
        """
        timeline = Timeline(step_ns=self._sub.step_ns)
        with closing(self._timed()) as pictures, closing(self._sub.read()) as items:
            present, following = next(pictures, None), next(pictures, None)
            if present is None:
                raise self._error("it opened, but no picture of it could be decoded")
            size_wh = present.picture.size_wh
            for item in items:
                if not isinstance(item, Decoded):
                    yield item
                    continue
                sub_wh = item.picture.size_wh
                if not show_alike(size_wh, sub_wh):
                    raise self._error(shapes_differ(size_wh, sub_wh))
                at_ns = timeline.place(item.pts_ns)
                while following is not None and abs(following.at_ns - at_ns) < abs(present.at_ns - at_ns):
                    present, following = following, next(pictures, None)
                chosen = nearest((present,), at_ns, tolerance_ns=self._tolerance_ns)
                yield Decoded(
                    picture=PairedPicture(
                        item.picture, size_wh=size_wh, choose=partial(_picture_of, chosen), counts=self._counts
                    ),
                    pts_ns=item.pts_ns,
                    received_ns=item.received_ns,
                )

    def skip_to_keyframe(self) -> None:
        """See `Media.skip_to_keyframe`; the sub stream does."""
        self._sub.skip_to_keyframe()

    def end(self) -> MediaEnd:
        """See `Media.end`; the sub stream's."""
        return self._sub.end()

    def close(self) -> None:
        """See `Media.close`."""
        self._main.close()
        self._sub.close()

    def _timed(self) -> Generator[Timed]:
        timeline = Timeline(step_ns=self._main.step_ns)
        with closing(self._main.read()) as items:
            for item in items:
                if isinstance(item, Decoded):
                    self._on_main_decoded()
                    yield Timed(at_ns=timeline.place(item.pts_ns), picture=item.picture)

    def _error(self, detail: str) -> SourceError:
        spec = self._main_spec
        return SourceError(camera=spec.camera, source=spec.source, cause=Cause.OPEN_FAILED, detail=detail)


def _picture_of(timed: Timed | None) -> Picture | None:
    return None if timed is None else timed.picture


def shapes_differ(main_wh: tuple[int, int], sub_wh: tuple[int, int]) -> str:
    """What is wrong with two streams of these sizes, for people."""
    return (
        f"the main stream's pictures are {main_wh[0]}x{main_wh[1]} and the sub stream's {sub_wh[0]}x{sub_wh[1]}, which "
        "cannot be the same view; set the camera so that both show the same"
    )
