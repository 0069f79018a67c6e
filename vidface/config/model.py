"""What a configuration file says: one frozen type a section, one described field an option.

The names, units, bounds and defaults here are the file's; `vidface config schema` prints them for editors. Paths come
out absolute: a relative one counts from the folder of the configuration file, so that a file means the same from
wherever a command is run. Nothing else is converted: the runtime's own options are made from these in one place.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.engine import Backend, Device, Precision
from streams.spec import Kind, judge_kind
from vidface.config.outbox import OutboxConfig
from vidface.config.secrets import mask_url
from vidface.config.section import NAME_PATTERN, FilePath, Section, misfit, refuse_twins
from vidface.config.sinks import JsonlSinkConfig, SinkConfig

DEFAULT_DATA_DIR = "./state"
"""Where gallery and outbox are kept unless said otherwise."""

SOURCE_FIELDS = ("source", "detect_source")
"""A camera's fields that hold addresses, and so, maybe, credentials."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class SourceKind(StrEnum):
    """What a camera's frames are promised: every one (recorded), or the newest (live)."""

    AUTO = "auto"
    LIVE = "live"
    RECORDED = "recorded"


class RtspTransport(StrEnum):
    """What carries an RTSP camera's pictures."""

    TCP = "tcp"
    UDP = "udp"


class DecodeDevice(StrEnum):
    """What turns a camera's packets into pictures."""

    CPU = "cpu"
    NVDEC = "nvdec"
    DALI = "dali"


class MainDecode(StrEnum):
    """When the main stream of a camera with a sub stream is decoded."""

    ALWAYS = "always"
    ON_DEMAND = "on_demand"


def _source(source: str, info: ValidationInfo) -> str:
    if not source.strip():
        raise PydanticCustomError("source", "expected a file, a folder of pictures, a device or a URL")
    if _URL.match(source):
        return source
    folder: Path = (info.context or {}).get("folder", Path())
    return str(Path(folder, Path(source).expanduser()).absolute())


class CameraConfig(Section):
    """One camera or recording."""

    id: str = Field(pattern=NAME_PATTERN, description="Its name in events, unique among the cameras.")
    source: Annotated[str, AfterValidator(_source)] = Field(
        description="A file, a folder of pictures, a device such as /dev/video0, or any URL that FFmpeg opens, such as "
        "rtsp://user:${PASSWORD}@host/path. A relative path counts from the configuration file's folder."
    )
    detect_source: Annotated[str, AfterValidator(_source)] | None = Field(
        default=None,
        description="The same camera's smaller sub stream, to find faces on; source is then the main stream that they "
        "are cut from. Both must show the same view. Two recordings must begin at the same moment.",
    )
    main_decode: MainDecode = Field(
        default=MainDecode.ALWAYS,
        description="With detect_source, live: decode the main stream always, or only while faces are cut (on_demand), "
        "which costs less, and the first pictures of each face their resolution.",
    )
    kind: SourceKind = Field(
        default=SourceKind.AUTO,
        description="Whether every frame counts (recorded) or the newest one (live); auto judges by the source.",
    )
    rtsp_transport: RtspTransport = Field(
        default=RtspTransport.TCP,
        description="TCP loses nothing; UDP is a little faster on a network that loses nothing.",
    )
    open_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="A connection that takes longer has failed. Seconds."
    )
    stall_timeout_s: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="A live camera that is silent for longer is lost and connected anew. Seconds.",
    )
    tls_ca_file: FilePath | None = Field(
        default=None,
        description="A PEM file of the certificates that the camera's must be signed by, or be one of, for rtsps and "
        "https. Without it any certificate is taken: most cameras' are signed by nobody. A relative path counts from "
        "the configuration file's folder.",
    )
    detect_every: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Look for faces in each so-manieth frame. Without this and detect_fps: in every frame of a "
        "recording, and in as many of a live camera as the machine can.",
    )
    detect_fps: float | None = Field(
        default=None, gt=0, le=240, description="Look for faces so many times a second; not together with detect_every."
    )
    priority: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Its weight when the machine cannot keep up, relative to the other cameras'.",
    )
    decode: DecodeDevice = Field(
        default=DecodeDevice.CPU,
        description="What decodes it: cpu; nvdec, an NVIDIA GPU; dali, the same through vidface[gpu], for recordings: "
        "a live camera's pictures come a group of pictures late. One that is absent is an error.",
    )
    decode_threads: int = Field(
        default=1,
        ge=1,
        le=64,
        description="CPU threads of its decoder. More make a single recording quicker, and cost more in all.",
    )
    real_time: bool = Field(default=False, description="Play a recording at its own pace, as if it were a live camera.")
    loop: bool = Field(default=False, description="Play a recording over and over, without an end.")
    start_s: float = Field(
        default=0.0,
        ge=0,
        le=1_000_000,
        description="How far into a recording to begin; a video at the first key frame from there on. Seconds.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.detect_every is not None and self.detect_fps is not None:
            raise misfit(("detect_fps",), "give detect_every or detect_fps, not both")
        if self.real_time and self.kind is SourceKind.LIVE:
            raise misfit(("real_time",), "plays a recording as if it were live; it has no use with kind: live")
        self._check_pair()
        if (self.loop or self.start_s) and self.kind is SourceKind.LIVE:
            name = "loop" if self.loop else "start_s"
            raise misfit((name,), "says how a recording is played; it has no use with kind: live")
        return self

    def _check_pair(self) -> None:
        on_demand = self.main_decode is MainDecode.ON_DEMAND
        if self.detect_source is None:
            if on_demand:
                raise misfit(("main_decode",), "on_demand needs detect_source, the sub stream that faces are found on")
            return
        if self.kind is SourceKind.AUTO:
            main, sub = judge_kind(self.source), judge_kind(self.detect_source)
            if main is not sub:
                raise misfit(
                    ("detect_source",), f"is judged to be {sub.value}, but source {main.value}; give 'kind' for both"
                )
            is_live = main is Kind.LIVE
        else:
            is_live = self.kind is SourceKind.LIVE
        if on_demand and not is_live:
            raise misfit(("main_decode",), "on_demand is for live cameras; two recordings are decoded in step")

    def __repr_args__(self) -> Any:
        """The fields, with the credentials of the sources hidden."""
        for name, value in super().__repr_args__():
            yield name, mask_url(value) if name in SOURCE_FIELDS and value is not None else value


class DetectorConfig(Section):
    """How faces are found."""

    model: str = Field(default="retinaface-mobilenet0.25", description="A detector from 'vidface weights list'.")
    canvas: tuple[
        Annotated[int, Field(ge=64, le=4096, multiple_of=32)], Annotated[int, Field(ge=64, le=4096, multiple_of=32)]
    ] = Field(
        default=(640, 384),
        description="Width and height in pixels that pictures are scaled to, multiples of 32; a larger canvas finds "
        "smaller faces and costs more in proportion to its area.",
    )
    threshold: float = Field(default=0.6, gt=0, lt=1, description="Faces below this confidence are left out.")
    nms_iou: float = Field(
        default=0.4, gt=0, lt=1, description="Of two boxes that overlap more than this the weaker is left out."
    )
    min_face_px: float = Field(
        default=20.0,
        ge=0,
        le=4096,
        description="Faces whose shorter side is smaller are left out. Pixels of the full picture.",
    )
    only_changes: bool = Field(
        default=True,
        description="Detect only the parts of a picture that changed since they were last detected; a still camera "
        "costs a fraction.",
    )
    change_levels: float = Field(
        default=3.0,
        gt=0,
        le=255,
        description="A part has changed when its brightness differs by so much on average. Grey levels of 255.",
    )
    whole_every_s: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="The whole picture is detected at least so often, whatever changed. Seconds.",
    )

    @field_validator("model")
    @classmethod
    def _check_model(cls, name: str) -> str:
        return _known_model(name, "detect")


class EmbedderConfig(Section):
    """How faces are turned into templates."""

    model: str = Field(default="mobilefacenet-192", description="An embedder from 'vidface weights list'.")

    @field_validator("model")
    @classmethod
    def _check_model(cls, name: str) -> str:
        return _known_model(name, "embed")


def _known_model(name: str, task: str) -> str:
    from weights.manifest import load_manifest

    names = sorted(spec.name for spec in load_manifest().models.values() if spec.task == task)
    if name not in names:
        raise PydanticCustomError("model", "{message}", {"message": f"expected one of {', '.join(names)}"})
    return name


class EngineConfig(Section):
    """What models run on."""

    device: Device = Field(
        default=Device.AUTO, description="auto takes the best there is; any other is an error where it is absent."
    )
    backend: Backend = Field(default=Backend.AUTO, description="The library; auto takes the fastest that is installed.")
    precision: Precision = Field(
        default=Precision.AUTO, description="auto is the fastest that keeps the measured accuracy on the device."
    )
    threads: int = Field(
        default=0, ge=0, le=512, description="CPU threads of one inference; 0 for all that the process may use."
    )


class TrackingConfig(Section):
    """How faces are followed from frame to frame."""

    lost_s: float = Field(default=1.0, gt=0, le=60, description="A face that is not seen for so long is gone. Seconds.")
    min_hits: int = Field(default=2, ge=1, le=100, description="Detections in a row before a face counts.")
    min_iou: float = Field(default=0.1, gt=0, lt=1, description="Least overlap of a face with where it was expected.")
    buffer_ratio: float = Field(
        default=0.6,
        ge=0,
        le=5,
        description="By how much of its size a box is widened on each side before overlaps are taken.",
    )
    new_track_score: float = Field(
        default=0.7, gt=0, lt=1, description="Least confidence of a face that begins a track."
    )


class IdentifyConfig(Section):
    """When a track is named; similarities are cosines, -1 to 1."""

    threshold: float | None = Field(
        default=None,
        gt=-1,
        lt=1,
        description="Least similarity of a match; left out, it follows from false_positive_rate and the gallery.",
    )
    false_positive_rate: float = Field(
        default=0.001,
        gt=0,
        le=0.1,
        description="How many in so many strangers may be taken for somebody enrolled: 0.001 is one in a thousand. "
        "Without effect where threshold is given.",
    )
    margin: float = Field(default=0.08, ge=0, le=1, description="Least lead over the second most similar person.")
    min_shots: int = Field(default=3, ge=1, le=12, description="Least shots that must agree before anybody is named.")
    agree_slack: float = Field(
        default=0.1, ge=0, le=1, description="A single shot agrees when it alone comes within this of the threshold."
    )
    stranger_gap: float = Field(
        default=0.1, ge=0, le=1, description="Further below the threshold than this, nobody comes near."
    )
    stranger_shots: int = Field(
        default=4, ge=1, le=12, description="Least good shots before somebody is called a stranger."
    )
    patience_shots: int = Field(
        default=8,
        ge=1,
        le=12,
        description="With so many good shots, whoever stays below the threshold at all is a stranger.",
    )
    good_quality: float = Field(
        default=0.45,
        ge=0,
        lt=1,
        description="Least quality, 0 to 1, of a shot that may show that somebody is a stranger; a poor one can't.",
    )
    hysteresis: float = Field(
        default=0.05, ge=0, le=1, description="Whoever was named keeps the name down to the threshold less this."
    )
    revise_factor: float = Field(
        default=1.5, ge=1, le=100, description="Evidence must have grown by this factor to take a name away again."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.patience_shots < self.stranger_shots:
            raise misfit(("patience_shots",), f"must be at least stranger_shots, which is {self.stranger_shots}")
        return self


class EnrolConfig(Section):
    """Which photos may stand for a person."""

    min_face_px: float = Field(default=60.0, ge=16, le=4096, description="Least shorter side of the face. Pixels.")
    min_sharpness: float = Field(
        default=12.0,
        ge=0,
        le=10_000,
        description="Least sharpness: the variance of the Laplacian of the aligned face, in squared grey levels.",
    )
    min_quality: float = Field(
        default=0.3, ge=0, lt=1, description="Least quality, 0 to 1, from size, pose and sharpness."
    )
    max_yaw_deg: float = Field(
        default=35.0, gt=0, le=90, description="How far the head may be turned to the side. Degrees."
    )
    dominance: float = Field(
        default=2.0,
        ge=1,
        le=100,
        description="Of several faces one counts if its area, lessened with the distance from the photo's middle, is "
        "so many times the next one's.",
    )
    duplicate_threshold: float = Field(
        default=0.6,
        gt=0,
        lt=1,
        description="A face this similar (cosine) to somebody enrolled under another name is refused.",
    )


class SchedulerConfig(Section):
    """How cameras share the detector."""

    max_batch: int | None = Field(
        default=None,
        ge=1,
        le=256,
        description="Most pictures of one detection; without it 2 on a CPU, where more gain nothing and wait longer, "
        "and 8 on a GPU.",
    )
    max_wait_ms: float = Field(
        default=5.0, ge=0, le=1000, description="Longest wait for a batch to fill. Milliseconds."
    )
    deadline_ms: float | None = Field(
        default=None,
        gt=0,
        le=60_000,
        description="A live picture that waited longer is dropped unseen. Milliseconds; none: never.",
    )


class MetricsConfig(Section):
    """Where a running service tells how it is: Prometheus' /metrics, /healthz, /readyz, and /status for vidface top."""

    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="The TCP port; 0 for any that is free, which is then told. Default: none, nothing listens.",
    )
    host: str = Field(
        default="127.0.0.1",
        pattern=r"^[A-Za-z0-9.:_-]{1,253}$",
        description="The address to listen on; 127.0.0.1 is for this machine alone, 0.0.0.0 for whoever reaches it.",
    )


class Config(Section):
    """A whole configuration file.

    `sinks` is never empty: without one in the file it is a JSONL file, ``events.jsonl`` in `data_dir`.
    """

    data_dir: FilePath = Field(
        default=Path(DEFAULT_DATA_DIR),
        validate_default=True,
        description="The folder of the gallery and of undelivered events; made if need be. A relative path counts from "
        "the configuration file's folder.",
    )
    site: str | None = Field(
        default=None, pattern=NAME_PATTERN, description="The place's name, a part of every event's source where given."
    )
    cameras: tuple[CameraConfig, ...] = Field(min_length=1, description="What to watch; at least one.")
    detector: DetectorConfig = Field(default=DetectorConfig(), description="How faces are found.")
    embedder: EmbedderConfig = Field(default=EmbedderConfig(), description="How faces are turned into templates.")
    engine: EngineConfig = Field(default=EngineConfig(), description="What models run on.")
    tracking: TrackingConfig = Field(
        default=TrackingConfig(), description="How faces are followed from frame to frame."
    )
    identify: IdentifyConfig = Field(default=IdentifyConfig(), description="When somebody is named.")
    enrol: EnrolConfig = Field(default=EnrolConfig(), description="Which photos may stand for a person.")
    scheduler: SchedulerConfig = Field(default=SchedulerConfig(), description="How cameras share the detector.")
    metrics: MetricsConfig = Field(
        default=MetricsConfig(), description="Where a running service tells how it is; off without a port."
    )
    outbox: OutboxConfig = Field(default=OutboxConfig(), description="Where events wait until every sink has them.")
    sinks: tuple[SinkConfig, ...] = Field(
        default=(), description="Where events go; without one: the file events.jsonl in data_dir."
    )

    @field_validator("cameras")
    @classmethod
    def _unique_cameras(cls, cameras: tuple[CameraConfig, ...]) -> tuple[CameraConfig, ...]:
        refuse_twins([camera.id for camera in cameras], "id", "cameras")
        return cameras

    @field_validator("sinks")
    @classmethod
    def _unique_sinks(cls, sinks: tuple[SinkConfig, ...]) -> tuple[SinkConfig, ...]:
        refuse_twins([sink.name for sink in sinks], "name", "sinks")
        files = [str(sink.path) if isinstance(sink, JsonlSinkConfig) else f"not a file: {sink.name}" for sink in sinks]
        refuse_twins(files, "path", "sinks")
        return sinks

    @model_validator(mode="wrap")
    @classmethod
    def _default_sink(cls, data: Any, handler: Any) -> Self:
        config: Self = handler(data)
        if config.sinks:
            return config
        sink = JsonlSinkConfig(type="jsonl", path=config.data_dir / "events.jsonl")
        return config.model_copy(update={"sinks": (sink,)})
