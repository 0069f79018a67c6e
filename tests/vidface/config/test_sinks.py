"""The sections of sinks: what they come to, what is refused, and that their secrets stay theirs."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.events.jsonl import JsonlSink
from pipeline.events.kafka import KafkaSink
from pipeline.events.mqtt import MqttSink
from pipeline.events.publisher import Backoff
from pipeline.events.rotation import Rotation
from pipeline.events.webhook import WebhookSink
from pipeline.events.webhook_signature import WebhookSecret
from tests.vidface.conftest import WriteConfig
from vidface.assemble import new_sink
from vidface.config import load_config
from vidface.config.load import warnings_of
from vidface.config.show import as_yaml, masked
from vidface.config.sink_mqtt import MqttSinkConfig
from vidface.config.sink_webhook import WebhookSinkConfig
from vidface.config.sinks import JsonlSinkConfig, KafkaSinkConfig
from vidface.errors import ConfigError

CAMERA = "cameras: [{id: a, source: 'rtsp://192.0.2.1/'}]\n"
KEY = b"s3cr3t-key-of-24-bytes-or-more"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
ENVIRON = {"PW": "s3cr3t-value", "SECRET": SECRET}


def only_sink(write_config: WriteConfig, sink: str) -> Any:
    (found,) = load_config(write_config(CAMERA + f"sinks: [{{{sink}}}]"), ENVIRON).sinks
    return found


def test_a_webhook(write_config: WriteConfig, tmp_path: Path) -> None:
    sink = only_sink(
        write_config,
        "type: webhook, url: 'https://a.example/x', secret: '${SECRET}', bearer_token: '${PW}',"
        " headers: {x-a: '${PW}'}, ca_file: ca.pem, connect_timeout_s: 1, timeout_s: 2, retry_statuses: [404],"
        " retry: {initial_s: 3, max_s: 4}",
    )
    assert isinstance(sink, WebhookSinkConfig)
    options = sink.options()
    assert (options.url, options.ca_file) == ("https://a.example/x", tmp_path / "ca.pem")
    assert (options.connect_timeout_s, options.timeout_s, options.retry_statuses) == (1, 2, frozenset({404}))
    assert (options.secrets, options.bearer_token) == ((WebhookSecret(KEY),), "s3cr3t-value")
    assert options.headers == {"x-a": "s3cr3t-value"}
    assert sink.retry.backoff() == Backoff(initial_s=3, max_s=4)
    made = new_sink(sink)
    assert isinstance(made, WebhookSink)
    assert made.name == "webhook"


def test_an_mqtt_broker(write_config: WriteConfig, tmp_path: Path) -> None:
    sink = only_sink(
        write_config,
        "type: mqtt, name: home, server: 'b:8883', prefix: a/b, client_id: c, username: u, password: '${PW}',"
        " tls: true, ca_file: ca.pem, status_topic: a/status, connect_timeout_s: 1, timeout_s: 2",
    )
    assert isinstance(sink, MqttSinkConfig)
    options = sink.options()
    assert (options.host, options.port, options.prefix, options.client_id) == ("b", 8883, "a/b", "c")
    assert (options.username, options.password, options.tls) == ("u", "s3cr3t-value", True)
    assert (options.ca_file, options.status_topic) == (tmp_path / "ca.pem", "a/status")
    assert (options.connect_timeout_s, options.timeout_s) == (1, 2)
    made = new_sink(sink)
    assert isinstance(made, MqttSink)
    assert made.name == "home"


def test_a_file_that_rotates(write_config: WriteConfig) -> None:
    sink = only_sink(write_config, "type: jsonl, path: a, rotate_mb: 1.5, rotate: daily, keep: 3")
    assert isinstance(sink, JsonlSinkConfig)
    assert sink.rotation() == Rotation(max_bytes=1_500_000, daily=True, keep=3)
    made = new_sink(sink)
    assert isinstance(made, JsonlSink)
    made.close()
    assert only_sink(write_config, "type: jsonl, path: a").rotation() is None


def test_a_kafka_topic(write_config: WriteConfig) -> None:
    sink = only_sink(
        write_config,
        "type: kafka, bootstrap_servers: 'a:1', topic: t, compression: gzip, timeout_s: 7, connect_timeout_s: 3,"
        " create_topic: {partitions: 2, replication_factor: 1}",
    )
    assert isinstance(sink, KafkaSinkConfig)
    made = new_sink(sink)
    assert isinstance(made, KafkaSink)
    assert (made._compression, made._connect_timeout_s, made._delivery_timeout_s) == ("gzip", 3, 7)
    assert made._create_topic is not None
    assert (made._create_topic.partitions, made._create_topic.retention_h) == (2, 168)


WEBHOOK = "type: webhook, url: 'https://a.example/'"
MQTT = "type: mqtt, server: 'b:1883'"


@pytest.mark.parametrize(
    ("sink", "expected"),
    [
        pytest.param("type: webhook", "url: is missing", id="no-url"),
        pytest.param("type: webhook, url: a.example", "url: a webhook's url is https://", id="no-scheme"),
        pytest.param("type: webhook, url: 'https://u:p@a.example/'", "url: a webhook's url holds no user", id="login"),
        pytest.param(f"{WEBHOOK}, secret: abc", "secret: a webhook secret is whsec_", id="no-secret"),
        pytest.param(f"{WEBHOOK}, previous_secret: '${{SECRET}}'", "previous_secret: has no use", id="only-the-old"),
        pytest.param(f"{WEBHOOK}, headers: {{ce-id: a}}", "headers: 'ce-id' cannot be a header", id="our-header"),
        pytest.param(
            f"{WEBHOOK}, headers: {{Authorization: a}}, bearer_token: b", "bearer_token: and", id="two-logins"
        ),
        pytest.param(f"{WEBHOOK}, retry_statuses: [500]", "retry_statuses[0]: expected", id="a-500"),
        pytest.param(f"{WEBHOOK}, timeout_s: 0", "timeout_s: expected a number over 0", id="no-time"),
        pytest.param("type: webhook, url: 'http://a/', ca_file: a", "ca_file: has no use", id="trust-without-tls"),
        pytest.param(f"{WEBHOOK}, retry: {{initial_s: 9}}", "retry.max_s: is less than initial_s, 9", id="backwards"),
        pytest.param("type: mqtt, server: b", "server: expected host:port", id="no-port"),
        pytest.param(f"{MQTT}, prefix: 'a/#'", "prefix: expected", id="a-wildcard"),
        pytest.param(f"{MQTT}, prefix: 'a/'", "prefix: ends in a slash", id="a-slash"),
        pytest.param(f"{MQTT}, ca_file: a", "ca_file: has no use without tls", id="trust-without-tls-mqtt"),
        pytest.param(f"{MQTT}, tls: true, key_file: a", "key_file: cert_file and key_file", id="no-certificate"),
        pytest.param("type: jsonl, path: a, keep: 3", "keep: has no use", id="keep-what"),
        pytest.param("type: jsonl, path: a, rotate: hourly", "rotate: expected", id="hourly"),
        pytest.param("type: jsonl, path: a, rotate_mb: 0", "rotate_mb: expected a number over 0", id="no-size"),
        pytest.param("type: kafka, bootstrap_servers: 'a:1', topic: t, compression: lz4", "compression:", id="lz4"),
    ],
)
def test_what_cannot_be(write_config: WriteConfig, sink: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        only_sink(write_config, sink)
    assert f"sinks[0].{expected}" in str(caught.value)


@pytest.mark.parametrize(
    "sink",
    [
        pytest.param(f"{WEBHOOK}, secret: '${{PW}}'", id="a-secret-that-is-none"),
        pytest.param(f"{WEBHOOK}, secret: s3cr3t-value", id="written-out"),
        pytest.param(f"{WEBHOOK}, secret: [s3cr3t-value]", id="in-a-list"),
        pytest.param(f'{WEBHOOK}, bearer_token: "s3cr3t-value\\n"', id="a-newline"),
        pytest.param(f"{WEBHOOK}, bearer_token: 5, headers: s3cr3t-value", id="no-mapping"),
        pytest.param(f"{WEBHOOK}, headers: {{a: [s3cr3t-value]}}", id="a-header-in-a-list"),
        pytest.param(f'{WEBHOOK}, headers: {{a: "s3cr3t-value\\r\\nb: c"}}', id="two-headers-in-one"),
        pytest.param("type: webhook, url: 'https://u:s3cr3t-value@a.example/'", id="in-the-url"),
        pytest.param(f"{MQTT}, password: [s3cr3t-value]", id="mqtt-in-a-list"),
        pytest.param(f"{MQTT}, password: s3cr3t-value, prefx: a", id="mqtt-beside-a-mistake"),
        pytest.param("type: mqtt, server: 'u:s3cr3t-value@b:1'", id="mqtt-in-the-server"),
    ],
)
def test_no_message_holds_a_secret(write_config: WriteConfig, sink: str) -> None:
    with pytest.raises(ConfigError) as caught:
        only_sink(write_config, sink)
    assert "s3cr3t" not in str(caught.value)


def test_nothing_that_is_shown_holds_a_secret(write_config: WriteConfig) -> None:
    text = (
        CAMERA + "sinks:\n"
        "- {type: webhook, url: 'https://a.example/?token=s3cr3t-value', secret: '${SECRET}',"
        " previous_secret: '${SECRET}', bearer_token: '${PW}', headers: {x-a: '${PW}'}}\n"
        "- {type: mqtt, server: 'b:1', username: u, password: '${PW}'}\n"
    )
    config = load_config(write_config(text), ENVIRON)
    shown = [as_yaml(config), json.dumps(masked(config)), *map(repr, config.sinks), *warnings_of(config)]
    shown += [repr(new_sink(sink)) for sink in config.sinks]
    shown += [repr(sink.options()) for sink in config.sinks if isinstance(sink, MqttSinkConfig)]
    for secret in ("s3cr3t-value", SECRET, KEY.decode()):
        # A token in a URL is masked where the URL is shown as such; a repr is for us.
        assert not [text for text in shown if secret in text and "token=s3cr3t" not in text]
    assert "token=s3cr3t" not in as_yaml(config)


def test_what_is_shown_can_be_checked_again_and_not_served(write_config: WriteConfig) -> None:
    shown = as_yaml(load_config(write_config(CAMERA + f"sinks: [{{{WEBHOOK}, secret: '${{SECRET}}'}}]"), ENVIRON))
    (sink,) = load_config(write_config(shown), {}).sinks
    with pytest.raises(ValueError, match="a webhook secret is"):
        new_sink(sink)


def test_who_opens_no_sink_needs_none_of_its_secrets(write_config: WriteConfig) -> None:
    sinks = f"sinks: [{{{WEBHOOK}, secret: '${{SECRET}}', bearer_token: '${{PW}}', headers: {{x-a: '${{PW}}'}}}}]"
    (sink,) = load_config(write_config(CAMERA + sinks), {}, unopened=("sinks",)).sinks
    with pytest.raises(ValueError, match="a webhook secret is"):
        new_sink(sink)


@pytest.mark.parametrize(
    ("sink", "warned"),
    [
        pytest.param(f"{WEBHOOK}, secret: '${{SECRET}}'", [], id="a-webhook"),
        pytest.param(WEBHOOK, ["secret: without it the receiver cannot tell"], id="unsigned"),
        pytest.param(
            "type: webhook, secret: '${SECRET}', url: 'http://a.example/'", ["url: http sends names"], id="in-the-clear"
        ),
        pytest.param("type: webhook, secret: '${SECRET}', url: 'http://localhost:1/'", [], id="this-machine"),
        pytest.param(MQTT, ["tls: false sends names unencrypted to b:1883"], id="mqtt-in-the-clear"),
        pytest.param("type: mqtt, server: 'localhost:1883'", [], id="mqtt-on-this-machine"),
        pytest.param(f"{MQTT}, tls: true, ca_file: gone.pem", ["ca_file: "], id="a-file-that-is-not-there"),
    ],
)
def test_warnings(write_config: WriteConfig, sink: str, warned: list[str]) -> None:
    found = warnings_of(load_config(write_config(CAMERA + f"sinks: [{{{sink}}}]"), ENVIRON))
    assert len(found) == len(warned)
    assert all(f"sinks[0].{each}" in words for each, words in zip(warned, found, strict=True))
