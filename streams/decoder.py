"""Where a camera's pictures are decoded, and whether that can be had here.

A decoder that was asked for and is absent is an error, told when the source is made: never another in its place.
NVDEC is FFmpeg's own decoding on the GPU, one argument away from that on the CPU; it has not run on a GPU.
"""

from functools import cache
from typing import Final

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from streams import dali
from streams.errors import DecoderMissing
from streams.spec import DecodeDevice, SourceSpec

_CUDA: Final = "cuda"


def nvdec() -> HWAccel:
    """What `av.open` is given so that frames are decoded on the GPU and come back as NV12 in ordinary memory."""
    return HWAccel(device_type=_CUDA, allow_software_fallback=False)


def require_decoder(spec: SourceSpec) -> None:
    """See that a source's decoder can be had here.

    Raises:
        DecoderMissing: It cannot; the message says what to install.
    """
    wanted = spec.decode
    reason: str | None = None
    if wanted in {DecodeDevice.DALI, DecodeDevice.DALI_CPU} and not dali.is_installed():
        reason = "DALI is not installed: pip install 'vidface[gpu]'"
    elif wanted in {DecodeDevice.NVDEC, DecodeDevice.DALI}:
        reason = missing_gpu()
    if reason is not None:
        raise DecoderMissing(
            f"camera {spec.camera!r}: decode is {wanted}, but {reason}; or decode on the cpu, the default"
        )


@cache
def missing_gpu() -> str | None:
    """Why nothing can be decoded on a GPU here; None if it can. Asked once: it takes a moment where a GPU is."""
    if _CUDA not in hwdevices_available():
        return "this FFmpeg was built without CUDA: install PyAV's own wheel"
    try:
        av.CodecContext.create("h264", "r", hwaccel=nvdec())
    except (av.FFmpegError, RuntimeError):
        return "there is no NVIDIA GPU, or its driver is not installed (nvidia-smi shows it; a container needs --gpus)"
    return None
