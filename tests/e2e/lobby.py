"""The lobby scene of the real data: who walks through it and when, and clips that are cut from it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from vidface.evaluation.scene import Truth, read_truth


class Lobby:
    """The scene in a folder of real data."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.clip = data / "scenes" / "lobby.mp4"
        self.truth_path = data / "scenes" / "lobby.json"
        self.photos = data / "scenes" / "lobby-enrol"
        self.truth: Truth = read_truth(self.truth_path)

    @property
    def enrolled(self) -> set[str]:
        return {person.name for person in self.truth.people if person.enrolled}

    def photo(self, name: str) -> Path:
        return self.photos / f"{name}.jpg"

    def is_at(self, name: str, frame: int, box: list[float]) -> bool:
        """Whether a box of a frame lies on this person."""
        person = next(person for person in self.truth.people if person.name == name)
        if frame not in person.boxes:
            return False
        left, top, right, bottom = person.boxes[frame]
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return left <= x <= right and top <= y <= bottom


def cut(
    clip: Path, path: Path, *, from_s: float = 0.0, to_s: float = float("inf"), slower: int = 1
) -> tuple[Path, int]:
    """Copy a part of a clip without encoding it anew.

    Args:
        clip: From where.
        path: Where to.
        from_s: The part begins with the last key frame up to here.
        to_s: And ends before this.
        slower: How many times longer it takes, at as many times fewer frames a second.

    Returns:
        The path, and the index in the clip of the part's first frame.
    """
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        base = stream.time_base
        assert base is not None
        assert stream.average_rate is not None
        copy = target.add_stream_from_template(stream)
        packets: list[av.Packet[Any]] = []
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            if packet.is_keyframe and packet.pts * base <= from_s:
                packets.clear()
            packets.append(packet)
        first = min(packet.pts for packet in packets if packet.pts is not None)
        for packet in packets:
            assert packet.pts is not None
            assert packet.dts is not None
            if packet.pts * base >= to_s:
                continue
            packet.pts = (packet.pts - first) * slower
            packet.dts = (packet.dts - first) * slower
            packet.time_base = base
            packet.stream = copy
            target.mux(packet)
    return path, round(Fraction(first) * base * stream.average_rate)
