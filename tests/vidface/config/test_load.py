from __future__ import annotations

from pathlib import Path

import pytest

from streams.spec import DecodeDevice
from tests.vidface.conftest import WriteConfig
from vidface.assemble import source_spec
from vidface.config import JsonlSinkConfig, KafkaSinkConfig, load_config
from vidface.config.secrets import NOT_USED
from vidface.errors import ConfigError

CAMERA = "cameras: [{id: lobby, source: lobby.mp4}]\n"
KAFKA = CAMERA + "sinks:\n  - {type: kafka, bootstrap_servers: ['a:9092'], topic: t"


def problems(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ or {})
    return str(caught.value).splitlines()


def test_the_minimal_file_of_the_readme(write_config: WriteConfig, tmp_path: Path) -> None:
    path = write_config(
        "data_dir: ./state\n"
        "cameras:\n"
        "  - {id: lobby, source: lobby.mp4}\n"
        '  - {id: door, source: "rtsp://viewer:${DOOR_PASSWORD}@192.0.2.7/main"}\n'
        "sinks:\n"
        "  - {type: jsonl, path: events.jsonl}\n"
        '  - {type: kafka, bootstrap_servers: ["127.0.0.1:9092"], topic: vidface.events}\n'
    )
    config = load_config(path, {"DOOR_PASSWORD": "p@ss"})
    assert config.data_dir == tmp_path / "state"
    assert [camera.source for camera in config.cameras] == [
        str(tmp_path / "lobby.mp4"),
        "rtsp://viewer:p%40ss@192.0.2.7/main",
    ]
    jsonl, kafka = config.sinks
    assert isinstance(jsonl, JsonlSinkConfig)
    assert jsonl.path == tmp_path / "events.jsonl"
    assert isinstance(kafka, KafkaSinkConfig)
    assert (kafka.name, kafka.bootstrap_servers, kafka.topic) == ("kafka", ("127.0.0.1:9092",), "vidface.events")


def test_defaults(write_config: WriteConfig, tmp_path: Path) -> None:
    config = load_config(write_config(CAMERA))
    assert config.data_dir == tmp_path / "state"
    (sink,) = config.sinks
    assert isinstance(sink, JsonlSinkConfig)
    assert (sink.name, sink.path) == ("jsonl", tmp_path / "state" / "events.jsonl")
    assert config.detector.canvas == (640, 384)
    assert config.cameras[0].detect_every is None
    assert source_spec(config.cameras[0]).decode is DecodeDevice.CPU


@pytest.mark.parametrize("decode", ["cpu", "nvdec", "dali"])
def test_a_camera_is_decoded_where_it_says(write_config: WriteConfig, decode: str) -> None:
    config = load_config(write_config(f"cameras: [{{id: a, source: x, decode: {decode}}}]\n"))
    assert source_spec(config.cameras[0]).decode == decode


def test_paths_count_from_the_files_folder(
    write_config: WriteConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_config("data_dir: ../data\n" + CAMERA)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config(Path("..") / path.name)
    assert config.data_dir.resolve() == tmp_path.parent / "data"
    assert Path(config.cameras[0].source).resolve() == tmp_path / "lobby.mp4"


@pytest.mark.parametrize(
    "source", ["/dev/video0", "rtsp://192.0.2.7/x", "https://example.com/a.m3u8", "file:///data/a.mp4", "/data/a.mp4"]
)
def test_urls_and_absolute_paths_stay(write_config: WriteConfig, source: str) -> None:
    config = load_config(write_config(f"cameras: [{{id: a, source: '{source}'}}]"))
    assert config.cameras[0].source == source


def test_a_sub_stream_counts_from_the_files_folder_too(write_config: WriteConfig, tmp_path: Path) -> None:
    config = load_config(write_config("cameras: [{id: a, source: main.mp4, detect_source: sub.mp4}]"))
    assert config.cameras[0].detect_source == str(tmp_path / "sub.mp4")
    assert load_config(write_config(CAMERA)).cameras[0].detect_source is None


def test_anchors_and_merge_keys(write_config: WriteConfig) -> None:
    path = write_config(
        "cameras:\n"
        "  - &base {id: a, source: a.mp4, detect_fps: 5}\n"
        "  - &other {<<: *base, id: b, priority: 2}\n"
        "  - {<<: *other, id: c}\n"
    )
    cameras = load_config(path).cameras
    assert [(camera.id, camera.detect_fps, camera.priority) for camera in cameras] == [
        ("a", 5.0, 1.0),
        ("b", 5.0, 2.0),
        ("c", 5.0, 2.0),
    ]


def test_numbers_may_come_from_the_environment(write_config: WriteConfig) -> None:
    path = write_config(CAMERA + "engine: {threads: '${N}'}\ndetector: {threshold: '${T:-0.7}'}\n")
    config = load_config(path, {"N": "3"})
    assert (config.engine.threads, config.detector.threshold) == (3, 0.7)


def test_several_servers_in_one_text(write_config: WriteConfig) -> None:
    text = CAMERA + "sinks: [{type: kafka, topic: t, bootstrap_servers: '${S}'}]"
    (sink,) = load_config(write_config(text), {"S": "a:1, b:2"}).sinks
    assert isinstance(sink, KafkaSinkConfig)
    assert sink.bootstrap_servers == ("a:1", "b:2")


BAD = [
    pytest.param("", ["cameras.yaml: the file is empty"], id="empty"),
    pytest.param("# nothing\n", ["cameras.yaml: the file is empty"], id="comments only"),
    pytest.param("- a\n", [":1:1: the file must be a mapping", "it is a list"], id="a list"),
    pytest.param("hello\n", [":1:1: the file must be a mapping", "a single value"], id="a word"),
    pytest.param("cameras: [\n", [":2:1: not valid YAML"], id="broken YAML"),
    pytest.param("cameras:\n\t- a\n", [":2:1: not valid YAML", "spaces, not tabs"], id="a tab"),
    pytest.param("a: 1\n---\nb: 2\n", ["not valid YAML", "another document"], id="two documents"),
    pytest.param("cameras: *none\n", [":1:10: not valid YAML", "undefined alias"], id="an unknown alias"),
    pytest.param("cameras: &a [*a]\n", ["unfold without end"], id="an alias inside itself"),
    pytest.param("cameras: !!python/name:os.system x\n", [":1:10: cameras: cannot be read"], id="a Python tag"),
    pytest.param(CAMERA + "site: a\nsite: b\n", [":3:1: site: given twice, first on line 2"], id="a key given twice"),
    pytest.param("cameras: [{id: a, id: b, source: x}]", ["cameras[0].id: given twice"], id="twice inside"),
    pytest.param("data_dir: x\n", [":1:1: cameras: is missing", "a list of at least 1"], id="no cameras"),
    pytest.param("cameras: []\n", ["cameras: expected a list of at least 1; given an empty list"], id="empty cameras"),
    pytest.param("cameras:\n", ["cameras: expected a list", "given nothing"], id="cameras without a value"),
    pytest.param("cameras: lobby.mp4\n", ["cameras: expected a list", "given 'lobby.mp4'"], id="cameras as a word"),
    pytest.param("cameras: [lobby.mp4]", ["cameras[0]: expected a mapping of fields"], id="a camera as a word"),
    pytest.param("cameras: [{source: a}]", [":1:11: cameras[0].id: is missing"], id="a camera without id"),
    pytest.param("cameras: [{id: a}]", [":1:11: cameras[0].source: is missing"], id="a camera without source"),
    pytest.param(
        "cameras: [{id: 'a b', source: x}]",
        [":1:16: cameras[0].id: expected 1 to 64 of the characters A-Z a-z 0-9 . _ -; given 'a b'"],
        id="an id with a space",
    ),
    pytest.param("cameras: [{id: 7, source: x}]", ['given 7; for a text write "7" in quotes'], id="a number as id"),
    pytest.param(f"cameras: [{{id: {'a' * 65}, source: x}}]", ["cameras[0].id: expected 1 to 64"], id="a long id"),
    pytest.param(
        "cameras:\n- {id: a, source: x}\n- {id: a, source: y}\n",
        [":3:8: cameras[1].id: 'a' is cameras[0].id already"],
        id="an id used twice",
    ),
    pytest.param("cameras: [{id: a, source: ''}]", ["cameras[0].source: expected a file, a folder"], id="no source"),
    pytest.param(
        "cameras: [{id: a, source: x, sorce: y}]",
        [":1:37: cameras[0].sorce: there is no such field; did you mean source?"],
        id="a misspelt field",
    ),
    pytest.param(
        CAMERA + "zzz: 1\n", ["zzz: there is no such field; the fields here are cameras"], id="a strange field"
    ),
    pytest.param(
        "cameras: [{id: a, source: x, rtsp_transport: sctp}]",
        ["cameras[0].rtsp_transport: expected one of tcp, udp; given 'sctp'"],
        id="a value of no choice",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, kind: stream}]", ["expected one of auto, live, recorded"], id="a strange kind"
    ),
    pytest.param(
        "cameras: [{id: a, source: x, detect_every: 0}]",
        ["cameras[0].detect_every: expected a whole number from 1 to 10000; given 0"],
        id="every none",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, detect_every: 1.5}]", ["expected a whole number", "given 1.5"], id="half a frame"
    ),
    pytest.param(
        "cameras: [{id: a, source: x, detect_every: 2, detect_fps: 5}]",
        ["cameras[0].detect_fps: give detect_every or detect_fps, not both"],
        id="both rates",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, kind: live, real_time: true}]",
        ["cameras[0].real_time: plays a recording"],
        id="real time of a live camera",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, main_decode: on_demand}]",
        ["cameras[0].main_decode: on_demand needs detect_source"],
        id="no stream beside the main one",
    ),
    pytest.param(
        "cameras: [{id: a, source: 'rtsp://h/main', detect_source: x.mp4}]",
        ["cameras[0].detect_source: is judged to be recorded, but source live; give 'kind' for both"],
        id="a live and a recorded stream",
    ),
    pytest.param(
        "cameras: [{id: a, source: x.mp4, detect_source: y.mp4, main_decode: on_demand}]",
        ["cameras[0].main_decode: on_demand is for live cameras"],
        id="recordings on demand",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, detect_source: ' '}]",
        ["cameras[0].detect_source: expected a file, a folder"],
        id="no sub stream",
    ),
    pytest.param(
        "cameras: [{id: a, source: 'rtsp://h/x', detect_source: 'rtsp://h/y', main_decode: never}]",
        ["cameras[0].main_decode: expected one of always, on_demand; given 'never'"],
        id="a strange main_decode",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, priority: 0}]", ["expected a number over 0, at most 1000"], id="no weight"
    ),
    pytest.param("cameras: [{id: a, source: x, priority: .nan}]", ["cameras[0].priority: expected"], id="not a number"),
    pytest.param(
        "cameras: [{id: a, source: x, decode_threads: yes}]",
        ["cameras[0].decode_threads: expected a whole number from 1 to 64; given yes"],
        id="yes for a number",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, decode: dali-cpu}]",
        ["cameras[0].decode: expected one of cpu, nvdec, dali; given 'dali-cpu'"],
        id="a decoder for tests",
    ),
    pytest.param(
        "cameras: [{id: a, source: x, real_time: maybe}]", ["expected true or false; given 'maybe'"], id="maybe"
    ),
    pytest.param(CAMERA + "detector: {canvas: [640]}", ["detector.canvas", "is missing"], id="half a canvas"),
    pytest.param(
        CAMERA + "detector: {canvas: [640, 383]}",
        ["detector.canvas[1]: expected a whole number from 64 to 4096, a multiple of 32; given 383"],
        id="a canvas of no multiple",
    ),
    pytest.param(
        CAMERA + "detector: {threshold: 1.5}", ["detector.threshold: expected a number over 0, under 1"], id="thr"
    ),
    pytest.param(
        CAMERA + "detector: {model: nope}", ["expected one of retinaface-mobilenet0.25"], id="unknown detector"
    ),
    pytest.param(
        CAMERA + "embedder: {model: retinaface-mobilenet0.25}", ["expected one of mobilefacenet-192"], id="wrong task"
    ),
    pytest.param(
        CAMERA + "engine: {device: gpu}",
        ["engine.device: expected one of auto, cpu, cuda, tensorrt; given 'gpu'"],
        id="unknown device",
    ),
    pytest.param(
        CAMERA + "identify: {stranger_shots: 8, patience_shots: 4}",
        ["identify.patience_shots: must be at least stranger_shots, which is 8"],
        id="impatience",
    ),
    pytest.param(CAMERA + "data_dir: ''\n", ["data_dir: expected a path that is not empty"], id="no data folder"),
    pytest.param(
        CAMERA + "sinks: [{path: x}]",
        ["sinks[0].type: is missing; expected one of jsonl, kafka, mqtt, webhook"],
        id="no type",
    ),
    pytest.param(
        CAMERA + "sinks: [{type: webhok}]",
        ["sinks[0].type: expected one of jsonl, kafka, mqtt, webhook; given 'webhok'"],
        id="a strange sink",
    ),
    pytest.param(
        CAMERA + "sinks: [3]", ["sinks[0]: expected a mapping with type: jsonl or kafka"], id="a number as sink"
    ),
    pytest.param(CAMERA + "sinks: [{type: jsonl}]", ["sinks[0].path: is missing"], id="a file sink without a path"),
    pytest.param(
        CAMERA + "sinks:\n- {type: jsonl, path: a}\n- {type: jsonl, path: b}\n",
        ["sinks[1].name: 'jsonl' is sinks[0].name already", "another 'name:'"],
        id="two sinks of a name",
    ),
    pytest.param(
        CAMERA + "sinks:\n- {type: jsonl, path: a}\n- {type: jsonl, path: ./a, name: b}\n",
        ["sinks[1].path", "is sinks[0].path already"],
        id="two sinks into one file",
    ),
    pytest.param(
        CAMERA + "sinks: [{type: kafka, topic: t, bootstrap_servers: []}]",
        ["sinks[0].bootstrap_servers: expected a list of at least 1"],
        id="no servers",
    ),
    pytest.param(
        CAMERA + "sinks: [{type: kafka, topic: t, bootstrap_servers: [host]}]",
        ["sinks[0].bootstrap_servers[0]: expected host:port", "given 'host'"],
        id="a server without a port",
    ),
    pytest.param(
        CAMERA + "sinks: [{type: kafka, topic: 'a b', bootstrap_servers: ['a:1']}]",
        ["sinks[0].topic: expected 1 to 249 of the characters"],
        id="no topic's name",
    ),
    pytest.param(
        KAFKA + ", security_protocol: TLS}", ["expected one of PLAINTEXT, SSL, SASL_PLAINTEXT"], id="protocol"
    ),
    pytest.param(
        KAFKA + ", security_protocol: SASL_SSL}",
        ["sinks[0].username: is needed with security_protocol SASL_SSL"],
        id="a login without a user",
    ),
    pytest.param(
        KAFKA + ", username: ann, password: x}",
        ["sinks[0].username: has no use with security_protocol PLAINTEXT; it needs SASL_PLAINTEXT or SASL_SSL"],
        id="a user without a login",
    ),
    pytest.param(
        KAFKA + ", ssl_cafile: ca.pem}",
        ["sinks[0].ssl_cafile: has no use", "SSL or SASL_SSL"],
        id="certificates unused",
    ),
    pytest.param(
        KAFKA + ", security_protocol: SSL, ssl_certfile: a.pem}",
        ["ssl_certfile and ssl_keyfile go together"],
        id="half a key",
    ),
    pytest.param(
        "cameras:\n  - id: door\n    source: rtsp://u:${DOOR_PASSWORD}@h/x\n",
        [":3:13: cameras[0].source: the environment variable DOOR_PASSWORD is not set"],
        id="an unset variable",
    ),
    pytest.param(
        "cameras: [{id: a, source: x}, 5, {id: b}]", ["cameras[1]", "cameras[2].source"], id="several at once"
    ),
]


@pytest.mark.parametrize(("text", "words"), BAD)
def test_refuses(write_config: WriteConfig, text: str, words: list[str]) -> None:
    path = write_config(text)
    lines = problems(path)
    for word in words:
        assert any(word in line for line in lines), lines
    assert all(line.startswith(f"{path}:") for line in lines)


def test_each_problem_is_told_once_and_in_the_files_order(write_config: WriteConfig) -> None:
    path = write_config(
        "site: a b\ncameras:\n  - {id: a, source: '${NONE}', priority: -1}\nengine: {threads: many, device: gpu}\n"
    )
    lines = problems(path)
    places = [line.removeprefix(f"{path}:").split(": ")[:2] for line in lines]
    assert places == [
        ["1:7", "site"],
        ["3:21", "cameras[0].source"],
        ["3:42", "cameras[0].priority"],
        ["4:19", "engine.threads"],
        ["4:33", "engine.device"],
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert problems(tmp_path / "none.yaml") == [
        f"{tmp_path / 'none.yaml'}: there is no such file; give the path of a configuration file"
    ]


def test_a_folder(tmp_path: Path) -> None:
    assert "this is a folder" in problems(tmp_path)[0]


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_bytes(CAMERA.encode() + b"site: caf\xe9\n")
    assert problems(path) == [f"{path}:2:10: the file is not UTF-8 text (byte 0xe9); save it as UTF-8"]


def test_a_control_character(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_bytes(CAMERA.encode() + b"site: a\x00b\n")
    assert ":2:8: a character that YAML does not allow" in problems(path)[0]


def test_aliases_that_explode(write_config: WriteConfig) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)]
    assert "unfold without end" in problems(write_config("\n".join(levels)))[0]


def test_brackets_that_nest_too_deeply(write_config: WriteConfig) -> None:
    assert "nested too deeply" in problems(write_config("cameras: " + "[" * 5000))[0]


SECRET = "s3cr3t-value"

LEAKS = [
    pytest.param("cameras: [{id: '${PW} x', source: a}]", id="as an id"),
    pytest.param("cameras: [{id: a, source: 'rtsp://u:${PW}@h', kind: x}]", id="in a source beside a mistake"),
    pytest.param("cameras: [{id: a, source: 'rtsp://h', detect_source: 'rtsp://u:${PW}@h', kind: x}]", id="a sub's"),
    pytest.param("cameras: [{id: a, source: b, detect_source: 'rtsp://u:s3cr3t-value@h'}]", id="a sub's that misfits"),
    pytest.param("cameras: [{id: a, source: b, priority: '${PW}'}]", id="as a number"),
    pytest.param("cameras: [{id: 'rtsp://u:s3cr3t-value@h', source: b}]", id="written out in the wrong place"),
    pytest.param(KAFKA + ", password: '${PW}'}", id="as a password without use"),
    pytest.param(KAFKA + ", password: s3cr3t-value, topik: 1}", id="written out beside a mistake"),
    pytest.param(KAFKA + ", password: [s3cr3t-value]}", id="in a list"),
    pytest.param("cameras: [{id: a, source: 'rtsp://u:s3cr3t-value@h}]\n", id="in broken YAML"),
    pytest.param("cameras: 'rtsp://u:s3cr3t-value@h'", id="as a list"),
    pytest.param("sinks: [{type: '${PW}'}]\n" + CAMERA, id="as a type"),
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_message_holds_a_secret(write_config: WriteConfig, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(text), {"PW": SECRET})
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


def test_no_repr_holds_a_secret(write_config: WriteConfig) -> None:
    text = (
        "cameras: [{id: a, source: 'rtsp://u:${PW}@h', detect_source: 'rtsp://u:${PW}@h/sub'}]\n"
        "sinks: [{type: kafka, bootstrap_servers: ['a:1'], topic: t, security_protocol: SASL_SSL, username: u,"
        " password: '${PW}', ssl_certfile: c, ssl_keyfile: k, ssl_password: '${PW}'}]\n"
    )
    config = load_config(write_config(text), {"PW": SECRET})
    assert SECRET in config.cameras[0].source
    assert config.cameras[0].detect_source is not None
    assert SECRET in config.cameras[0].detect_source
    for thing in (config, *config.cameras, *config.sinks):
        assert SECRET not in repr(thing)
        assert SECRET not in str(thing)
    (sink,) = config.sinks
    assert isinstance(sink, KafkaSinkConfig)
    security = sink.security()
    assert (security.sasl_plain_password, security.ssl_password) == (SECRET, SECRET)
    assert security.sasl_mechanism == "PLAIN"
    assert SECRET not in repr(security)


SECRETS = (
    'cameras: [{id: door, source: "rtsp://viewer:${DOOR_PASSWORD}@192.0.2.7/main"}]\n'
    "sinks:\n  - {type: kafka, bootstrap_servers: ['a:9092'], topic: t, security_protocol: SASL_SSL, username: ann,"
    " password: '${KAFKA_PASSWORD}'}\n"
)


def test_who_opens_nothing_needs_no_secrets(write_config: WriteConfig) -> None:
    path = write_config(SECRETS)
    config = load_config(path, {}, unopened=("cameras", "sinks"))
    assert [camera.id for camera in config.cameras] == ["door"]
    assert NOT_USED in config.cameras[0].source
    with pytest.raises(ConfigError, match="KAFKA_PASSWORD is not set") as caught:
        load_config(path, {}, unopened=("cameras",))
    assert "DOOR_PASSWORD" in str(caught.value), "all that is wrong is told"
    assert load_config(path, {"KAFKA_PASSWORD": "x"}, unopened=("cameras",)).sinks


@pytest.mark.parametrize(
    "more",
    ["data_dir: ${DOOR_PASSWORD}\n", "site: ${SITE}\n"],
    ids=["the same variable elsewhere", "another variable"],
)
def test_what_is_needed_elsewhere_must_be_set(write_config: WriteConfig, more: str) -> None:
    with pytest.raises(ConfigError, match="is not set"):
        load_config(write_config(more + SECRETS), {}, unopened=("cameras", "sinks"))


def test_other_mistakes_are_told_all_the_same(write_config: WriteConfig) -> None:
    path = write_config(SECRETS.replace("id: door", "id: door, colour: red"))
    with pytest.raises(ConfigError, match="colour"):
        load_config(path, {}, unopened=("cameras", "sinks"))
