"""Engines: named arrays in, named arrays out, a batch first.

The only file that imports OpenVINO and ONNX Runtime. OpenVINO is the choice on CPUs (bfloat16 where the chip has
it); ONNX Runtime is the portable fallback there and, by its CUDA and TensorRT providers, the choice on NVIDIA.
The GPU path is the CPU path with another provider: it has not run on a GPU in this project's own CI.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DeviceMissing, EngineError, EngineMissing
from pipeline.graph import Preprocessing, fold_preprocessing, is_quantised

Arrays = Mapping[str, NDArray[Any]]


class Backend(StrEnum):
    """The library that runs a model."""

    AUTO = "auto"
    OPENVINO = "openvino"
    ONNXRUNTIME = "onnxruntime"


class Device(StrEnum):
    """Where a model runs. ``tensorrt`` is an NVIDIA GPU by way of TensorRT's compiled engines."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """The arithmetic. ``auto`` is the fastest that keeps the measured accuracy on the device."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to run a model.

    Attributes:
        backend: The library.
        device: The device; an explicit one that is absent is an error.
        precision: The arithmetic.
        threads: CPU threads in all; 0 for as many as the process may use.
        streams: Batches under way at once, which share the threads. On a CPU two batches on one core each take a third
            less processor time than one after the other on two cores, since no core waits for the other.
        cache_dir: Where compiled GPU engines are kept between runs; None for nowhere.
        sizes_hw: Picture sizes to be ready for when it is opened; others cost time when they first come.
        profile: For TensorRT: the least, usual and largest ``(B, H, W, 3)`` shape it is compiled for.
    """

    backend: Backend = Backend.AUTO
    device: Device = Device.AUTO
    precision: Precision = Precision.AUTO
    threads: int = 0
    streams: int = 1
    cache_dir: Path | None = None
    profile: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None = None
    sizes_hw: tuple[tuple[int, int], ...] = ()


Finish = Callable[[], dict[str, NDArray[Any]]]
"""Waits for a submitted batch and returns its outputs by name. Called once."""


class Engine(Protocol):
    """A compiled model. One thread uses it at a time."""

    @property
    def description(self) -> str:
        """Backend, device and precision, such as ``openvino cpu bf16``."""
        ...

    @property
    def parallel(self) -> int:
        """How many batches may usefully be under way at once."""
        ...

    def submit(self, inputs: Arrays) -> Finish:
        """Begin one batch; see `run` for what goes in and comes out. Does not wait for it.

        The input arrays must not be changed before the batch is finished. Batches are finished in the order in which
        they were submitted.

        Batches beyond `parallel` wait inside the engine for their turn.

        Raises:
            EngineError: The engine refused the arrays.
        """
        ...

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Run one batch and block until it is done.

        Args:
            inputs: By input name; pictures are ``(B, H, W, 3)`` uint8, contiguous.

        Returns:
            By output name, the batch first. The arrays belong to the caller.

        Raises:
            EngineError: The engine refused the arrays or failed.
        """
        ...


def open_engine(
    path: Path,
    *,
    input_name: str,
    output_names: Sequence[str],
    preprocessing: Preprocessing,
    options: EngineOptions | None = None,
) -> Engine:
    """Compile a model with its preprocessing folded in.

    Args:
        path: The ONNX file.
        input_name: Its picture input.
        output_names: The outputs to return.
        preprocessing: See `graph.fold_preprocessing`.
        options: How to run it.

    Raises:
        EngineMissing: The backend is not installed.
        DeviceMissing: The device is absent, or the backend cannot use it.
        ModelMismatch: The file has other inputs or outputs.
        EngineError: Compilation failed.
    """
    options = options or EngineOptions()
    backend, device = choose(options.backend, options.device)
    on_openvino = backend is Backend.OPENVINO
    model = fold_preprocessing(path, input_name, preprocessing, output_names, channels_last=on_openvino)
    if on_openvino:
        return OpenVinoEngine(model, output_names, options, label=path.name)
    return OnnxRuntimeEngine(model, output_names, device, options, input_name=input_name, label=path.name)


def choose(backend: Backend, device: Device) -> tuple[Backend, Device]:
    """Settle ``auto``: an NVIDIA GPU where ONNX Runtime offers one, else OpenVINO on the CPU, else ONNX Runtime.

    Raises:
        EngineMissing: Neither library is installed, or the one asked for is not.
        DeviceMissing: The backend cannot use the device that was asked for.
    """
    installed = {b for b in (Backend.OPENVINO, Backend.ONNXRUNTIME) if importlib.util.find_spec(b.value)}
    if backend is not Backend.AUTO and backend not in installed:
        raise EngineMissing(
            f"{backend} is not installed (installed: {', '.join(sorted(installed)) or 'none'}); "
            "pip install 'vidface[cpu]'"
        )
    if not installed:
        raise EngineMissing("no engine is installed; pip install 'vidface[cpu]' (or 'vidface[gpu]')")
    if device in (Device.CUDA, Device.TENSORRT):
        if backend is Backend.OPENVINO:
            raise DeviceMissing(f"openvino cannot use the device {device}; use onnxruntime, or the device cpu")
        if Backend.ONNXRUNTIME not in installed:
            raise EngineMissing(
                f"the device {device} needs onnxruntime, which is not installed: vidface[gpu] brings it"
            )
        return Backend.ONNXRUNTIME, device
    if (
        device is Device.AUTO
        and backend is not Backend.OPENVINO
        and Backend.ONNXRUNTIME in installed
        and _cuda_offered()
    ):
        return Backend.ONNXRUNTIME, Device.CUDA
    if backend is Backend.AUTO:
        backend = Backend.OPENVINO if Backend.OPENVINO in installed else Backend.ONNXRUNTIME
    return backend, Device.CPU


def _cuda_offered() -> bool:
    return Path("/dev/nvidia0").exists() and "CUDAExecutionProvider" in _import_onnxruntime().get_available_providers()


def _import_onnxruntime() -> Any:
    """ONNX Runtime without its telemetry, which names this machine to a web service and keeps a file in the cache.

    The library reads the variable when it is loaded; its own switch comes too late.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def save_openvino(onnx_file: Path, path: Path) -> list[Path]:
    """Write OpenVINO's own form of an ONNX file, in the precision that it has.

    Args:
        onnx_file: The model.
        path: Where to, ending in ``.xml``; the weights go beside it, ending in ``.bin``.

    Returns:
        Both paths.

    Raises:
        EngineMissing: OpenVINO is not installed.
        EngineError: It can't read the model.
    """
    choose(Backend.OPENVINO, Device.CPU)
    openvino = _import_openvino()
    try:
        openvino.save_model(_openvino_core().read_model(onnx_file), path, compress_to_fp16=False)
    except RuntimeError as error:
        raise EngineError(f"openvino could not write {path} from {onnx_file}: {error}") from error
    return [path, path.with_suffix(".bin")]


def usable_cpus() -> int:
    """How many processors this process may run on."""
    return len(os.sched_getaffinity(0))


def _import_openvino() -> Any:
    """OpenVINO without its telemetry, which reports each import to a web service and leaves a file in the home folder.

    It goes without where the telemetry package is not installed, so that is what it is told.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None marks a module as absent
    import openvino

    return openvino


@cache
def _openvino_core() -> Any:
    """OpenVINO, once a process and never let go.

    Its CPU plugin gives the thread that uses it a stack of its own for signal handlers, and unmaps that when the last
    core goes, from whichever thread that happens in: the next signal would then kill the process.
    """
    return _import_openvino().Core()


class OpenVinoEngine:
    """A model compiled by OpenVINO for the CPU: once for each picture size, for one picture at a time.

    Measured on two cores, RetinaFace on 128x128 and 192x192: 1.65 and 3.65 ms alone, 4.95 ms each when the sizes
    alternate in one model of free shape, because it prepares itself anew at each change. Batches gain nothing on a CPU
    (four pictures take four times as long as one), so a batch is run as single pictures, as many at once as there are
    streams.
    """

    def __init__(self, model: bytes, output_names: Sequence[str], options: EngineOptions, *, label: str) -> None:
        self._core = _openvino_core()
        self._tensor = _import_openvino().Tensor
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        precision = options.precision
        if precision is Precision.AUTO:
            precision = Precision.BF16 if "BF16" in capabilities else Precision.F32
        elif precision is Precision.FP16 or (precision is Precision.BF16 and "BF16" not in capabilities):
            raise DeviceMissing(f"this CPU has no {precision} arithmetic; legal here: auto, f32")
        self._label = label
        self._outputs = tuple(output_names)
        self._precision = precision
        self._int8 = is_quantised(model)
        threads = options.threads or usable_cpus()
        self._parallel = max(1, min(options.streams, threads))
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision.value,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": self._parallel,
            # Each picture size has threads of its own. Bound to processors, the first thread of every size would be on
            # the same one, and wait there for the others while the next processor is idle.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._model = self._core.read_model(model)
        except RuntimeError as error:
            raise EngineError(f"openvino could not compile {label}: {error}") from error
        self._compiled: dict[tuple[int, ...], _Compiled] = {}
        for size_hw in options.sizes_hw:
            self._for_shape((*size_hw, 3))

    @property
    def description(self) -> str:
        """Backend, device and precision."""
        return f"openvino cpu {'int8' if self._int8 else self._precision}"

    @property
    def parallel(self) -> int:
        """See `Engine.parallel`."""
        return self._parallel

    def submit(self, inputs: Arrays) -> Finish:
        """See `Engine.submit`."""
        ((name, batch),) = inputs.items()
        compiled = self._for_shape(batch.shape[1:])
        requests: list[Any] = []
        try:
            for row in range(len(batch)):
                request = compiled.idle.pop() if compiled.idle else compiled.model.create_infer_request()
                requests.append(request)
                request.set_tensor(name, self._tensor(batch[row : row + 1], shared_memory=True))
                request.start_async()
        except RuntimeError as error:
            raise EngineError(f"openvino failed on {self._label}: {error}") from error
        held = [batch]  # shared with the engine, so it must live as long as the requests

        def finish() -> dict[str, NDArray[Any]]:
            try:
                for request in requests:
                    request.wait()
                parts = {name: [request.get_tensor(name).data for request in requests] for name in self._outputs}
                return {name: np.concatenate(rows) for name, rows in parts.items()}
            except RuntimeError as error:
                raise EngineError(f"openvino failed on {self._label}: {error}") from error
            finally:
                held.clear()
                compiled.idle.extend(requests)

        return finish

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        return self.submit(inputs)()

    def _for_shape(self, shape_hwc: tuple[int, ...]) -> _Compiled:
        """The model for pictures of this shape; compiled when it is first asked for."""
        known = self._compiled.get(shape_hwc)
        if known is None:
            try:
                model = self._model.clone()
                model.reshape([1, *shape_hwc])
                known = _Compiled(self._core.compile_model(model, "CPU", self._settings))
            except RuntimeError as error:
                raise EngineError(f"openvino failed on {self._label}: {error}") from error
            self._compiled[shape_hwc] = known
        return known


@dataclass(slots=True)
class _Compiled:
    """A model of one picture size, and its requests that nobody uses."""

    model: Any
    idle: list[Any] = field(default_factory=list)


class OnnxRuntimeEngine:
    """A model run by ONNX Runtime: CPU, CUDA, or TensorRT by provider.

    The CUDA and TensorRT providers take the same graph and the same arrays; those two have not run on a GPU here.
    """

    def __init__(
        self,
        model: bytes,
        output_names: Sequence[str],
        device: Device,
        options: EngineOptions,
        *,
        input_name: str,
        label: str,
    ) -> None:
        onnxruntime = _import_onnxruntime()

        providers = onnxruntime_providers(device, options, input_name)
        wanted = providers[0][0]
        if wanted not in onnxruntime.get_available_providers():
            raise DeviceMissing(
                f"the device {device} is absent: this onnxruntime offers "
                f"{', '.join(onnxruntime.get_available_providers())}; install 'vidface[gpu]' on a machine "
                "with an NVIDIA GPU"
            )
        if device is Device.CPU and options.precision not in (Precision.AUTO, Precision.F32):
            raise DeviceMissing(f"onnxruntime on the CPU has no {options.precision} arithmetic; legal here: auto, f32")
        self._precision = _gpu_precision(device, options.precision)
        session_options = onnxruntime.SessionOptions()
        session_options.log_severity_level = 3
        if options.threads:
            session_options.intra_op_num_threads = options.threads
        self._device = device
        self._int8 = is_quantised(model)
        self._label = label
        self._outputs = list(output_names)
        try:
            self._session = onnxruntime.InferenceSession(model, session_options, providers=providers)
        except Exception as error:  # onnxruntime raises its own types, none of which share a root
            raise EngineError(f"onnxruntime could not load {label}: {error}") from error
        if wanted not in self._session.get_providers():
            raise DeviceMissing(f"onnxruntime could not start {wanted} for {label}; is the driver installed?")

    @property
    def description(self) -> str:
        """Backend, device and precision."""
        return f"onnxruntime {self._device} {'int8' if self._int8 else self._precision}"

    @property
    def parallel(self) -> int:
        """See `Engine.parallel`: one session uses the whole device for a batch."""
        return 1

    def submit(self, inputs: Arrays) -> Finish:
        """See `Engine.submit`; the batch is run when it is finished."""
        return lambda: self.run(inputs)

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        try:
            results = self._session.run(self._outputs, dict(inputs))
        except Exception as error:  # as above
            raise EngineError(f"onnxruntime failed on {self._label}: {error}") from error
        return dict(zip(self._outputs, results, strict=True))


def _gpu_precision(device: Device, precision: Precision) -> Precision:
    """TensorRT takes fp16 by itself; the CUDA provider computes in the model's own float32."""
    if device is Device.TENSORRT:
        if precision is Precision.BF16:
            raise DeviceMissing("the device tensorrt takes the precision auto, f32 or fp16, not bf16")
        return Precision.F32 if precision is Precision.F32 else Precision.FP16
    if device is Device.CUDA and precision not in (Precision.AUTO, Precision.F32):
        raise DeviceMissing(f"the device cuda computes in f32; for {precision} use the device tensorrt")
    return Precision.F32


def onnxruntime_providers(device: Device, options: EngineOptions, input_name: str) -> list[tuple[str, dict[str, str]]]:
    """The execution providers of a device with their options, the wanted one first.

    A pure table, so that what a GPU would be given can be checked without one.
    """
    cuda = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
    if device is Device.CUDA:
        return [cuda]
    if device is Device.TENSORRT:
        fp16 = "0" if options.precision is Precision.F32 else "1"
        settings = {"trt_fp16_enable": fp16, "trt_timing_cache_enable": "1"}
        if options.cache_dir is not None:
            settings |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(options.cache_dir)}
        if options.profile is not None:
            names = ("trt_profile_min_shapes", "trt_profile_opt_shapes", "trt_profile_max_shapes")
            for name, shape in zip(names, options.profile, strict=True):
                settings[name] = f"{input_name}:{'x'.join(map(str, shape))}"
        return [("TensorrtExecutionProvider", settings), cuda]
    return [("CPUExecutionProvider", {})]
