"""Which decoder can be had: what is absent is told when the source is made."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from av.codec.hwaccel import HWAccel

from streams import dali, decoder
from streams.decoder import missing_gpu, nvdec, require_decoder
from streams.errors import DecoderMissing, SourceError
from streams.source import Source
from streams.spec import DecodeDevice, SourceSpec
from tests.media import clips


def _spec(decode: DecodeDevice, url: str = "a.mp4") -> SourceSpec:
    return SourceSpec(camera="door", url=url, decode=decode)


def _run(spec: SourceSpec) -> None:
    Source(spec, next_epoch=lambda: 1, on_frame=lambda _frame: None, on_state=lambda _state: None).run()


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    missing_gpu.cache_clear()
    yield
    missing_gpu.cache_clear()


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("decode", [DecodeDevice.NVDEC, DecodeDevice.DALI])
def test_without_a_gpu_the_source_is_not_made(monkeypatch: pytest.MonkeyPatch, decode: DecodeDevice) -> None:
    monkeypatch.setattr(dali, "is_installed", lambda: True)
    with pytest.raises(
        DecoderMissing, match=f"'door': decode is {decode}, but there is no NVIDIA GPU.*or decode on the cpu"
    ):
        _run(_spec(decode))


@pytest.mark.parametrize("decode", [DecodeDevice.DALI, DecodeDevice.DALI_CPU])
def test_without_dali_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, decode: DecodeDevice) -> None:
    monkeypatch.setattr(dali, "is_installed", lambda: False)
    with pytest.raises(DecoderMissing, match=r"pip install 'vidface\[gpu\]'"):
        require_decoder(_spec(decode))


def test_an_ffmpeg_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "hwdevices_available", lambda: ["vaapi"])
    missing_gpu.cache_clear()
    assert "without CUDA" in (missing_gpu() or "")
    missing_gpu.cache_clear()


def test_the_cpu_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "missing_gpu", lambda: "asked for no reason")
    require_decoder(_spec(DecodeDevice.CPU))


def test_nvdec_never_falls_back() -> None:
    accelerator = nvdec()
    assert isinstance(accelerator, HWAccel)
    assert not accelerator.is_hw_owned


def test_a_codec_that_the_gpu_does_not_decode_is_not_decoded_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clips.clip(tmp_path / "m.avi", clips.MJPEG)
    monkeypatch.setattr("streams.source.require_decoder", lambda _spec: None)
    # As where a GPU is, but none of its decoders fits.
    monkeypatch.setattr("streams.container.nvdec", lambda: HWAccel("vdpau", allow_software_fallback=False))
    with pytest.raises(SourceError, match="NVDEC decodes nothing of it"):
        _run(_spec(DecodeDevice.NVDEC, str(path)))


@pytest.mark.parametrize("decode", [DecodeDevice.NVDEC, DecodeDevice.DALI])
def test_a_folder_of_images_has_no_decoder_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode: DecodeDevice
) -> None:
    monkeypatch.setattr("streams.source.require_decoder", lambda _spec: None)
    with pytest.raises(SourceError, match=f"decoded on the cpu, not by {decode}"):
        _run(_spec(decode, str(clips.image_folder(tmp_path / "images"))))
