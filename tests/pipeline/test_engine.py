from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from pipeline import engine as engine_room
from pipeline.engine import (
    Backend,
    Device,
    Engine,
    EngineOptions,
    Precision,
    choose,
    onnxruntime_providers,
    open_engine,
    usable_cpus,
)
from pipeline.errors import DeviceMissing, EngineError, EngineMissing
from pipeline.graph import Preprocessing
from weights.manifest import DEFAULT_EMBEDDER, load_manifest

OpenEngine = Callable[[EngineOptions], Engine]
BACKENDS = (Backend.OPENVINO, Backend.ONNXRUNTIME)
BOTH = frozenset({"openvino", "onnxruntime"})


@pytest.fixture
def open_embedder(model_paths: Mapping[str, Path]) -> OpenEngine:
    spec = load_manifest().model(DEFAULT_EMBEDDER)

    def opened(options: EngineOptions) -> Engine:
        return open_engine(
            model_paths[DEFAULT_EMBEDDER],
            input_name=spec.input_name,
            output_names=spec.outputs,
            preprocessing=Preprocessing(mean=spec.mean, scale=spec.scale),
            options=options,
        )

    return opened


def install(monkeypatch: pytest.MonkeyPatch, installed: frozenset[str], *, cuda: bool = False) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in installed else None)
    monkeypatch.setattr(engine_room, "_cuda_offered", lambda: cuda)


@pytest.mark.parametrize(
    ("installed", "cuda", "backend", "device", "expected"),
    [
        pytest.param(BOTH, False, "auto", "auto", ("openvino", "cpu"), id="cpu-machine"),
        pytest.param(BOTH, True, "auto", "auto", ("onnxruntime", "cuda"), id="gpu-machine"),
        pytest.param(BOTH, True, "auto", "cpu", ("openvino", "cpu"), id="gpu-machine-but-cpu-asked-for"),
        pytest.param(BOTH, True, "openvino", "auto", ("openvino", "cpu"), id="gpu-machine-but-openvino-asked-for"),
        pytest.param(BOTH, True, "onnxruntime", "auto", ("onnxruntime", "cuda"), id="onnxruntime-on-gpu-machine"),
        pytest.param(BOTH, False, "onnxruntime", "auto", ("onnxruntime", "cpu"), id="onnxruntime-on-cpu-machine"),
        pytest.param(BOTH, False, "auto", "cuda", ("onnxruntime", "cuda"), id="cuda"),
        pytest.param(BOTH, False, "auto", "tensorrt", ("onnxruntime", "tensorrt"), id="tensorrt"),
        pytest.param({"onnxruntime"}, False, "auto", "auto", ("onnxruntime", "cpu"), id="no-openvino"),
        pytest.param({"openvino"}, True, "auto", "auto", ("openvino", "cpu"), id="no-onnxruntime"),
    ],
)
def test_choose(
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    backend: str,
    device: str,
    expected: tuple[str, str],
    *,
    cuda: bool,
) -> None:
    install(monkeypatch, frozenset(installed), cuda=cuda)
    assert choose(Backend(backend), Device(device)) == (Backend(expected[0]), Device(expected[1]))


@pytest.mark.parametrize(
    ("installed", "asked", "error", "message"),
    [
        pytest.param(set(), ("auto", "auto"), EngineMissing, r"no engine is installed; .*vidface\[cpu\]", id="none"),
        pytest.param(
            {"onnxruntime"}, ("openvino", "cpu"), EngineMissing, "openvino is not installed", id="no-openvino"
        ),
        pytest.param({"openvino"}, ("onnxruntime", "cpu"), EngineMissing, "installed: openvino", id="no-onnxruntime"),
        pytest.param(
            {"openvino"}, ("auto", "cuda"), EngineMissing, r"cuda needs .*vidface\[gpu\]", id="cuda-without-it"
        ),
        pytest.param(BOTH, ("openvino", "cuda"), DeviceMissing, "openvino cannot use the device cuda", id="ov-cuda"),
        pytest.param(
            BOTH, ("openvino", "tensorrt"), DeviceMissing, "openvino cannot use .* tensorrt", id="ov-tensorrt"
        ),
    ],
)
def test_choose_refuses(
    monkeypatch: pytest.MonkeyPatch,
    installed: set[str],
    asked: tuple[str, str],
    error: type[EngineError],
    message: str,
) -> None:
    install(monkeypatch, frozenset(installed))
    with pytest.raises(error, match=message):
        choose(Backend(asked[0]), Device(asked[1]))


CUDA = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
TENSORRT_BASE = {"trt_fp16_enable": "1", "trt_timing_cache_enable": "1"}
PROFILE = ((1, 384, 640, 3), (8, 384, 640, 3), (8, 384, 640, 3))


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        pytest.param(Device.CPU, EngineOptions(), [("CPUExecutionProvider", {})], id="cpu"),
        pytest.param(Device.CUDA, EngineOptions(profile=PROFILE), [CUDA], id="cuda"),
        pytest.param(
            Device.TENSORRT, EngineOptions(), [("TensorrtExecutionProvider", TENSORRT_BASE), CUDA], id="tensorrt"
        ),
        pytest.param(
            Device.TENSORRT,
            EngineOptions(precision=Precision.F32),
            [("TensorrtExecutionProvider", TENSORRT_BASE | {"trt_fp16_enable": "0"}), CUDA],
            id="tensorrt-f32",
        ),
        pytest.param(
            Device.TENSORRT,
            EngineOptions(cache_dir=Path("engines"), profile=PROFILE),
            [
                (
                    "TensorrtExecutionProvider",
                    TENSORRT_BASE
                    | {
                        "trt_engine_cache_enable": "1",
                        "trt_engine_cache_path": "engines",
                        "trt_profile_min_shapes": "input:1x384x640x3",
                        "trt_profile_opt_shapes": "input:8x384x640x3",
                        "trt_profile_max_shapes": "input:8x384x640x3",
                    },
                ),
                CUDA,
            ],
            id="tensorrt-cached-with-its-shapes",
        ),
    ],
)
def test_what_a_device_is_given(
    device: Device, options: EngineOptions, expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert onnxruntime_providers(device, options, "input") == expected


@pytest.mark.parametrize("device", [Device.CUDA, Device.TENSORRT])
def test_an_absent_device_is_an_error_and_says_what_there_is(open_embedder: OpenEngine, device: Device) -> None:
    import onnxruntime

    if onnxruntime_providers(device, EngineOptions(), "input")[0][0] in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime offers {device}")
    with pytest.raises(DeviceMissing, match=rf"{device} is absent: .*CPUExecutionProvider.*vidface\[gpu\]"):
        open_embedder(EngineOptions(device=device))


@pytest.mark.parametrize(
    ("backend", "precision"),
    [
        pytest.param(Backend.OPENVINO, Precision.FP16, id="openvino-fp16"),
        pytest.param(Backend.ONNXRUNTIME, Precision.FP16, id="onnxruntime-fp16"),
        pytest.param(Backend.ONNXRUNTIME, Precision.BF16, id="onnxruntime-bf16"),
    ],
)
def test_an_arithmetic_that_the_cpu_lacks_is_an_error(
    open_embedder: OpenEngine, backend: Backend, precision: Precision
) -> None:
    with pytest.raises(DeviceMissing, match=f"no {precision} arithmetic; legal here: auto, f32"):
        open_embedder(EngineOptions(backend=backend, device=Device.CPU, precision=precision))


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_engine_says_what_it_is(open_embedder: OpenEngine, backend: Backend) -> None:
    opened = open_embedder(EngineOptions(backend=backend, device=Device.CPU, precision=Precision.F32, threads=1))
    assert opened.description == f"{backend} cpu f32"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param({"input": np.zeros((1, 112, 112, 4), np.uint8)}, id="four-channels"),
        pytest.param({"picture": np.zeros((1, 112, 112, 3), np.uint8)}, id="another-name"),
    ],
)
def test_arrays_that_do_not_fit_are_an_engine_error(
    open_embedder: OpenEngine, backend: Backend, inputs: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]
) -> None:
    opened = open_embedder(EngineOptions(backend=backend, device=Device.CPU))
    with pytest.raises(EngineError, match=f"{backend} failed on"):
        opened.run(inputs)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_an_engine_returned_stays_as_it_was(open_embedder: OpenEngine, backend: Backend) -> None:
    opened = open_embedder(EngineOptions(backend=backend, device=Device.CPU))
    first = opened.run({"input": np.full((1, 112, 112, 3), 10, np.uint8)})["embedding"]
    copy = first.copy()
    second = opened.run({"input": np.full((1, 112, 112, 3), 200, np.uint8)})["embedding"]
    np.testing.assert_array_equal(first, copy)
    assert not np.array_equal(first, second)


def test_batches_under_way_come_back_as_they_were_submitted(open_embedder: OpenEngine) -> None:
    opened = open_embedder(
        EngineOptions(backend=Backend.OPENVINO, device=Device.CPU, precision=Precision.F32, threads=2, streams=2)
    )
    assert opened.parallel == 2
    batches = [np.full((1 + value % 2, 112, 112, 3), 40 * value, np.uint8) for value in range(6)]
    alone = [opened.run({"input": batch})["embedding"] for batch in batches]
    for first in range(0, 6, 3):  # more than two at once: the third waits in the engine
        finishes = [opened.submit({"input": batch}) for batch in batches[first : first + 3]]
        for place, finish in enumerate(finishes):
            np.testing.assert_allclose(finish()["embedding"], alone[first + place], rtol=1e-4, atol=1e-4)


def test_a_refused_batch_leaves_room_for_the_next(open_embedder: OpenEngine) -> None:
    opened = open_embedder(EngineOptions(backend=Backend.OPENVINO, device=Device.CPU))
    for _ in range(3):
        with pytest.raises(EngineError, match="openvino failed on"):
            opened.run({"input": np.zeros((1, 112, 112, 4), np.uint8)})
    assert opened.run({"input": np.zeros((1, 112, 112, 3), np.uint8)})["embedding"].shape == (1, 192)


def test_a_missing_package_is_named_with_its_extra(open_embedder: OpenEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(EngineMissing, match=r"onnx is not installed.*vidface\[cpu\]"):
        open_embedder(EngineOptions(device=Device.CPU))


def test_onnxruntime_reports_to_nobody(tmp_path: Path, model_paths: Mapping[str, Path]) -> None:
    """Its telemetry would leave a device id and a queue of reports in the home folder, and a thread that sends them."""
    code = (
        "import sys; from pathlib import Path; from pipeline.engine import *; from pipeline.graph import Preprocessing;"
        "open_engine(Path(sys.argv[1]), input_name='input', output_names=['embedding'],"
        " preprocessing=Preprocessing(mean=(0, 0, 0), scale=1.0),"
        " options=EngineOptions(backend=Backend.ONNXRUNTIME, device=Device.CPU))"
    )
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_paths[DEFAULT_EMBEDDER])],
        cwd=Path(__file__).parents[2],
        env={**variables, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    code = (
        "import sys, threading; from pipeline.engine import _import_openvino; _import_openvino().Core();"
        "told = [name for name, module in sys.modules.items() if 'openvino_telemetry' in name and module];"
        "sys.exit(repr(told or threading.enumerate()[1:] or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.strip() == "''", done.stderr
    assert list(tmp_path.iterdir()) == []


OPENED_AND_LET_GO = """
import gc, signal, sys, threading
from pathlib import Path
import numpy as np
from pipeline.engine import *
from pipeline.graph import Preprocessing

def opened():
    return open_engine(Path(sys.argv[1]), input_name="input", output_names=["embedding"],
        preprocessing=Preprocessing(mean=(0, 0, 0), scale=1.0),
        options=EngineOptions(backend=Backend.OPENVINO, device=Device.CPU))

engines = [opened()]
engines[0].run({"input": np.zeros((1, 112, 112, 3), np.uint8)})
thread = threading.Thread(target=engines.clear)
thread.start()
thread.join()
gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.raise_signal(signal.SIGUSR1)
"""


def test_a_signal_does_no_harm_when_the_last_engine_is_gone(model_paths: Mapping[str, Path]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OPENED_AND_LET_GO, str(model_paths[DEFAULT_EMBEDDER])],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_usable_cpus_are_at_least_one() -> None:
    assert usable_cpus() >= 1
