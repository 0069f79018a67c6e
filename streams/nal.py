"""What a packet of H.264 or H.265 says of itself, where the container does not: whether other frames refer to it.

H.264 has it in each NAL unit's header (`nal_ref_idc`, ITU-T H.264, 7.4.1), H.265 in the unit's type: the even ones
below 16 are those of sub-layer non-reference pictures (ITU-T H.265, 7.4.2.2, table 7-1).
"""

from __future__ import annotations

_START = b"\x00\x00\x01"
_SCAN_BYTES = 4096
"""Slices begin after parameter sets and messages, which are short."""


def is_unreferenced(codec: str, packet: bytes, extradata: bytes | None) -> bool:
    """Whether no other frame refers to a packet's frame. False where that isn't known.

    Args:
        codec: FFmpeg's name of the decoder.
        packet: With start codes (Annex B) or lengths of four bytes (MP4) before each NAL unit.
        extradata: The stream's own header, which alone tells the two apart: a length of 256 to 511 looks like a start
            code. That of MP4 begins with its version, 1.
    """
    if codec not in ("h264", "hevc"):
        return False
    for header in _after_lengths(packet) if extradata and extradata[0] == 1 else _after_start_codes(packet):
        if codec == "h264":
            kind, reference = header[0] & 0x1F, header[0] >> 5 & 3
            if 1 <= kind <= 5:
                return reference == 0
        else:
            kind = header[0] >> 1 & 0x3F
            if kind < 32:
                return kind < 16 and kind % 2 == 0
    return False


def _after_start_codes(packet: bytes) -> list[bytes]:
    """The first two bytes of each NAL unit near a packet's beginning."""
    return [part[:2] for part in packet[:_SCAN_BYTES].split(_START)[1:] if len(part) >= 2]


def _after_lengths(packet: bytes) -> list[bytes]:
    """Likewise, where each unit's length stands before it."""
    found, at = [], 0
    while at + 6 <= min(len(packet), _SCAN_BYTES):
        found.append(packet[at + 4 : at + 6])
        at += 4 + int.from_bytes(packet[at : at + 4], "big")
    return found
