"""From a configuration to the parts of the pipeline: the one place where the file's sections become their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from index.calibration import Calibration
from index.gallery import Gallery
from pipeline.analysis import AnalysedFrame, Analysis
from pipeline.canvas import Canvas
from pipeline.change import ChangeOptions
from pipeline.engine import Device, EngineOptions, Precision, choose
from pipeline.events.event import Event
from pipeline.events.jsonl import JsonlSink
from pipeline.events.kafka import KafkaSink
from pipeline.events.mqtt import MqttSink
from pipeline.events.sink import Sink
from pipeline.events.webhook import WebhookSink
from pipeline.identify import IdentifyOptions
from pipeline.metrics import Ages, StageTimes
from pipeline.mobilefacenet import MobileFaceNet
from pipeline.photo import EnrolRule, PhotoReader
from pipeline.report import Provenance, Reporter
from pipeline.retinaface import DetectorOptions, RetinaFace
from pipeline.runtime import Camera
from pipeline.scheduler import Policy, Share
from pipeline.sighting import SightingOptions
from pipeline.track import ByteTracker, TrackOptions
from streams.frame import Frame
from streams.pair import PairSource, PairSpec
from streams.source import CameraSource, Source
from streams.spec import DecodeDevice, Kind, SourceSpec
from streams.state import CameraState
from vidface.config.model import (
    CameraConfig,
    Config,
    DetectorConfig,
    EmbedderConfig,
    EngineConfig,
    EnrolConfig,
)
from vidface.config.model import SourceKind as ConfiguredKind
from vidface.config.sink_mqtt import MqttSinkConfig
from vidface.config.sink_webhook import WebhookSinkConfig
from vidface.config.sinks import JsonlSinkConfig, KafkaSinkConfig, SinkConfig
from weights import store
from weights.manifest import load_manifest
from weights.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The models, compiled. The detector is the detect thread's, the others are the analysis thread's.

    Attributes:
        detector: On the canvas of whole pictures.
        refiner: The same network on a small canvas, for one face close up; see `pipeline.refine`.
        embedder: Describes aligned faces.
        templates: The name under which a gallery keeps its templates.
    """

    detector: RetinaFace
    refiner: RetinaFace
    embedder: MobileFaceNet
    templates: str


STREAMS = 2
"""Pictures that a model has under way at once, on a CPU, each on its share of the processors."""

CPU_BATCH, GPU_BATCH = 2, 8
"""Most pictures of one detection, where the configuration leaves it open."""

REFINE_CANVAS = Canvas(width=160, height=160)
"""A face that fills two thirds of it is about as large as the embedder's own picture."""

REFINE_THRESHOLD = 0.3
"""A face is known to be there: half turned it may score less close up."""


def open_models(
    detector: DetectorConfig,
    embedder: EmbedderConfig,
    engine: EngineConfig,
    *,
    max_batch: int = 8,
    progress: Progress | None = None,
) -> Models:
    """Pull the weights if they are not here yet, and compile both models.

    Raises:
        WeightsError: Weights can't be had; the message says every way to supply them.
        EngineError: They can't be run as configured.
    """
    manifest = load_manifest()
    options = EngineOptions(
        backend=engine.backend,
        device=engine.device,
        precision=engine.precision,
        threads=engine.threads,
        cache_dir=store.default_cache_dir() / "engines",
    )
    width, height = detector.canvas
    options = replace(options, streams=STREAMS)
    return Models(
        detector=RetinaFace.open(
            store.ensure(detector.model, progress=progress),
            manifest.model(detector.model),
            DetectorOptions(
                canvas=Canvas(width=width, height=height), score_threshold=detector.threshold, nms_iou=detector.nms_iou
            ),
            options,
            max_batch=max_batch,
            tiles=detector.only_changes,
        ),
        refiner=RetinaFace.open(
            store.ensure(detector.model, progress=progress),
            manifest.model(detector.model),
            DetectorOptions(canvas=REFINE_CANVAS, score_threshold=REFINE_THRESHOLD, nms_iou=detector.nms_iou),
            options,
            max_batch=max_batch,
        ),
        embedder=MobileFaceNet.open(
            store.ensure(embedder.model, progress=progress), manifest.model(embedder.model), options
        ),
        templates=manifest.model(embedder.model).templates,
    )


def max_batch(config: Config) -> int:
    """Most pictures of one detection. A CPU takes as long for two as twice for one, so there waiting for more is lost.

    Raises:
        EngineMissing: No engine is installed.
        DeviceMissing: The backend cannot use the device that was asked for.
    """
    if config.scheduler.max_batch is not None:
        return config.scheduler.max_batch
    _backend, device = choose(config.engine.backend, config.engine.device)
    return CPU_BATCH if device is Device.CPU else GPU_BATCH


def photo_reader(
    config: Config | None = None, progress: Progress | None = None, *, engine: EngineConfig | None = None
) -> PhotoReader:
    """The models for photos, with full precision unless the configuration names another.

    A photo is enrolled once and compared for years, so what half precision would save is not worth its landmarks:
    on LFW the detector in bfloat16 costs 0.14 points (99.23 % for 99.37 %).
    """
    if engine is None:
        engine = config.engine if config else EngineConfig()
    if engine.precision is Precision.AUTO and engine.device in (Device.AUTO, Device.CPU):
        engine = engine.model_copy(update={"precision": Precision.F32})
    models = open_models(
        config.detector if config else DetectorConfig(),
        config.embedder if config else EmbedderConfig(),
        engine,
        progress=progress,
    )
    return PhotoReader(models.detector, models.embedder)


def enrol_rule(enrol: EnrolConfig) -> EnrolRule:
    """What a photo must be like to be enrolled."""
    return EnrolRule(
        min_face_px=enrol.min_face_px,
        min_sharpness=enrol.min_sharpness,
        min_quality=enrol.min_quality,
        max_yaw_deg=enrol.max_yaw_deg,
        dominance=enrol.dominance,
    )


def identify_options(config: Config) -> Callable[[int], IdentifyOptions]:
    """The decision's rule for a gallery of so many people: the threshold follows the wanted false positive rate."""
    section = config.identify
    calibration = Calibration(points=load_manifest().model(config.embedder.model).calibration)

    def options_for(people: int) -> IdentifyOptions:
        threshold = section.threshold
        if threshold is None:
            threshold = calibration.threshold_for(section.false_positive_rate, people)
        return IdentifyOptions(
            threshold=threshold,
            margin=section.margin,
            min_shots=section.min_shots,
            agree_slack=section.agree_slack,
            stranger_gap=section.stranger_gap,
            stranger_shots=section.stranger_shots,
            patience_shots=section.patience_shots,
            good_quality=section.good_quality,
            hysteresis=section.hysteresis,
            revise_factor=section.revise_factor,
        )

    return options_for


def source_spec(camera: CameraConfig) -> SourceSpec:
    """How a camera is read."""
    kinds = {ConfiguredKind.LIVE: Kind.LIVE, ConfiguredKind.RECORDED: Kind.RECORDED}
    return SourceSpec(
        camera=camera.id,
        url=camera.source,
        kind=kinds.get(camera.kind),
        rtsp_transport=camera.rtsp_transport.value,
        open_timeout_s=camera.open_timeout_s,
        stall_timeout_s=camera.stall_timeout_s,
        decode=DecodeDevice(camera.decode.value),
        tls_ca_file=None if camera.tls_ca_file is None else str(camera.tls_ca_file),
        threads=camera.decode_threads,
        priority=camera.priority,
        real_time=camera.real_time,
        loop=camera.loop,
        start_s=camera.start_s,
    )


def pair_spec(camera: CameraConfig, detect_source: str) -> PairSpec:
    """How a camera of a main and a sub stream is read."""
    main = source_spec(camera)
    return PairSpec(main=main, sub=replace(main, url=detect_source), main_decode=camera.main_decode.value)


def new_source(
    camera: CameraConfig,
    *,
    next_epoch: Callable[[], int],
    on_frame: Callable[[Frame], None],
    on_state: Callable[[CameraState], None],
) -> CameraSource:
    """A camera's source: of one stream, or of two."""
    if camera.detect_source is None:
        return Source(source_spec(camera), next_epoch=next_epoch, on_frame=on_frame, on_state=on_state)
    pair = pair_spec(camera, camera.detect_source)
    return PairSource(pair, next_epoch=next_epoch, on_frame=on_frame, on_state=on_state)


def runtime_camera(camera: CameraConfig, deadline_ms: float | None, next_epoch: Callable[[str], int]) -> Camera:
    """A camera as the runtime takes it."""
    spec = source_spec(camera)
    return Camera(
        share=Share(
            camera=camera.id,
            policy=Policy.LIVE if spec.pace is Kind.LIVE else Policy.RECORDED,
            fps=camera.detect_fps,
            every=camera.detect_every or 1,
            priority=camera.priority,
            deadline_ns=round(deadline_ms * 1e6) if deadline_ms is not None else None,
        ),
        new_source=lambda on_frame, on_state: new_source(
            camera, next_epoch=lambda: next_epoch(camera.id), on_frame=on_frame, on_state=on_state
        ),
    )


def change_options(detector: DetectorConfig) -> ChangeOptions | None:
    """When a part of a picture is detected again; None for always."""
    if not detector.only_changes:
        return None
    return ChangeOptions(levels=detector.change_levels, whole_every_s=detector.whole_every_s)


def new_sink(sink: SinkConfig) -> Sink:
    """A configured sink; nothing is connected yet."""
    if isinstance(sink, JsonlSinkConfig):
        return JsonlSink(sink.path, name=sink.name, rotation=sink.rotation())
    if isinstance(sink, KafkaSinkConfig):
        return KafkaSink(
            sink.bootstrap_servers,
            sink.topic,
            name=sink.name,
            security=sink.security(),
            compression=sink.compression,
            create_topic=None if sink.create_topic is None else sink.create_topic.topic(),
            connect_timeout_s=sink.connect_timeout_s,
            delivery_timeout_s=sink.timeout_s,
        )
    if isinstance(sink, WebhookSinkConfig):
        return WebhookSink(sink.options(), name=sink.name)
    if isinstance(sink, MqttSinkConfig):
        return MqttSink(sink.options(), name=sink.name)
    return sink.new()


def new_analysis(
    config: Config,
    models: Models,
    *,
    gallery_path: Path,
    emit: Callable[[Sequence[Event]], object],
    next_state_number: Callable[[str], int],
    times: StageTimes,
    observer: Callable[[AnalysedFrame], None] | None = None,
    ages: Ages | None = None,
) -> Analysis:
    """The analysis of a configuration's cameras; called in the thread that will use it.

    Raises:
        GalleryError: The gallery can't be opened.
    """
    gallery = Gallery.open(gallery_path, model=models.templates, dim=models.embedder.dim)
    live = frozenset(camera.id for camera in config.cameras if source_spec(camera).pace is Kind.LIVE)
    tracking = config.tracking
    track_options = TrackOptions(
        lost_s=tracking.lost_s,
        min_hits=tracking.min_hits,
        min_iou=tracking.min_iou,
        buffer_ratio=tracking.buffer_ratio,
        new_track_score=tracking.new_track_score,
    )
    return Analysis(
        embedder=models.embedder,
        refiner=models.refiner,
        gallery=gallery,
        reporter=Reporter(
            provenance=Provenance(detector=models.detector.name, embedder=models.embedder.name, site=config.site),
            live_cameras=live,
            gallery_version=lambda: gallery.version,
            next_state_number=next_state_number,
            emit=emit,
        ),
        new_tracker=lambda: ByteTracker(track_options),
        sighting_options=SightingOptions(lost_s=tracking.lost_s),
        identify_options=identify_options(config),
        times=times,
        observer=observer,
        ages=ages,
        live_cameras=live,
    )
