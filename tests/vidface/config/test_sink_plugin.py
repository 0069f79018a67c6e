"""Sinks of other distributions: a fake one lies on the path, as an installed one does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.events.outbox import Outbox
from pipeline.events.publisher import Publisher
from tests.pipeline.events.examples import numbered
from tests.vidface.conftest import WriteConfig
from vidface.assemble import new_sink
from vidface.config import load_config
from vidface.config.schema import config_schema
from vidface.config.show import as_yaml
from vidface.config.sink_plugin import PluginSinkConfig, plugin_types
from vidface.errors import ConfigError

CAMERA = "cameras: [{id: a, source: 'rtsp://192.0.2.1/'}]\n"
MODULE = """
from __future__ import annotations
from pathlib import Path
from typing import Literal
from pydantic import SecretStr

class LampSink:
    def __init__(self, *, name: str, file: Path, colour: Literal["red", "green"] = "red", level: int = 3,
                 pin: SecretStr | None = None, api_token: str = "") -> None:
        self.name, self.file, self.colour, self.level, self.pin = name, file, colour, level, pin

    def deliver(self, events):
        with self.file.open("a") as file:
            file.writelines(f"{self.colour} {event.id}\\n" for event in events)

    def close(self):
        pass

def nameless(*, file: Path): ...
def positional(name, /): ...
def everything(name, **options): ...
def typed(name, type): ...
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution on the path: `install(lamp="acme_lamp:LampSink")`."""
    count = 0

    def install_it(**points: str) -> None:
        nonlocal count
        count += 1
        folder = tmp_path / f"site-{count}"
        information = folder / f"acme_{count}-1.0.dist-info"
        information.mkdir(parents=True)
        (folder / "acme_lamp.py").write_text(MODULE)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{count}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in points.items())
        (information / "entry_points.txt").write_text(f"[vidface.sinks]\n{lines}\n")
        monkeypatch.syspath_prepend(str(folder))
        importlib.invalidate_caches()

    yield install_it
    sys.modules.pop("acme_lamp", None)


def only_sink(write_config: WriteConfig, sink: str) -> Any:
    (found,) = load_config(write_config(CAMERA + f"sinks: [{{{sink}}}]"), {"PIN": "s3cr3t-value"}).sinks
    return found


def test_a_sink_of_others_takes_its_options_and_events(
    install: Install, write_config: WriteConfig, tmp_path: Path
) -> None:
    install(lamp="acme_lamp:LampSink")
    assert plugin_types() == ["lamp"]
    config = only_sink(write_config, "type: lamp, file: lamp.txt, colour: green, pin: '${PIN}', retry: {max_s: 7}")
    assert isinstance(config, PluginSinkConfig)
    assert (config.name, config.retry.max_s) == ("lamp", 7)
    sink: Any = new_sink(config)
    assert (sink.name, sink.file, sink.level) == ("lamp", tmp_path / "lamp.txt", 3)
    assert sink.pin.get_secret_value() == "s3cr3t-value"
    with Outbox.open(tmp_path / "outbox.db", ["lamp"]) as outbox:
        publisher = Publisher(outbox, [sink])
        publisher.start()
        outbox.append(numbered(3))
        assert publisher.stop(drain_timeout_s=30) == {"lamp": 0}
    assert (tmp_path / "lamp.txt").read_text().splitlines() == [f"green {event.id}" for event in numbered(3)]


def test_its_secrets_are_not_shown_and_what_is_shown_loads_again(install: Install, write_config: WriteConfig) -> None:
    install(lamp="acme_lamp:LampSink")
    text = CAMERA + "sinks: [{type: lamp, file: a, pin: '${PIN}', api_token: '${PIN}'}, {type: jsonl, path: b}]"
    path = write_config(text)
    config = load_config(path, {"PIN": "s3cr3t-value"})
    shown = as_yaml(config)
    assert "s3cr3t" not in shown
    assert "level: 3" in shown
    assert as_yaml(load_config(write_config(shown), {})) == shown
    jsonschema.validate(yaml.safe_load(text), config_schema())


@pytest.mark.parametrize(
    ("sink", "expected"),
    [
        pytest.param("type: lamp", "sinks[0].file: is missing", id="missing"),
        pytest.param("type: lamp, file: a, colour: s3cr3t-value", "sinks[0].colour: ", id="not-one-of"),
        pytest.param("type: lamp, file: a, level: s3cr3t-value", "sinks[0].level: ", id="no-number"),
        pytest.param("type: lamp, file: a, pin: [s3cr3t-value]", "sinks[0].pin: ", id="no-text"),
        pytest.param(
            "type: lamp, file: a, color: green",
            "sinks[0].color: there is no such field; did you mean colour?",
            id="typo",
        ),
        pytest.param(
            "type: lmp, file: a", "sinks[0].type: expected one of jsonl, kafka, mqtt, webhook, lamp", id="type"
        ),
        pytest.param("type: lamp, file: a, name: 'a b'", "sinks[0].name: ", id="no-name"),
        pytest.param("type: lamp, file: a, retry: {max_s: -1}", "sinks[0].retry.max_s: ", id="retry"),
    ],
)
def test_its_options_are_checked(install: Install, write_config: WriteConfig, sink: str, expected: str) -> None:
    install(lamp="acme_lamp:LampSink")
    with pytest.raises(ConfigError) as caught:
        only_sink(write_config, sink)
    assert expected in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("acme_nothing:Sink", "cannot be loaded: ModuleNotFoundError", id="no-module"),
        pytest.param("acme_lamp:Torch", "cannot be loaded: AttributeError", id="no-class"),
        pytest.param("acme_lamp:nameless", "cannot be configured: it takes no 'name'", id="no-name"),
        pytest.param("acme_lamp:positional", "'name' cannot be given by name", id="positional"),
        pytest.param("acme_lamp:everything", "'options' cannot be given by name", id="any-options"),
        pytest.param("acme_lamp:typed", "'type' has a name that is taken", id="taken"),
    ],
)
def test_what_is_no_sink_is_named(install: Install, write_config: WriteConfig, value: str, reason: str) -> None:
    install(lamp=value)
    with pytest.raises(ConfigError) as caught:
        only_sink(write_config, "type: lamp, file: a")
    assert "sinks[0].type: the sink 'lamp'" in str(caught.value)
    assert reason in str(caught.value)


def test_a_type_that_two_offer_is_refused(install: Install, write_config: WriteConfig) -> None:
    install(lamp="acme_lamp:LampSink")
    install(lamp="other_lamp:LampSink")
    with pytest.raises(ConfigError, match=r"'lamp' is offered more than once \(acme_lamp:LampSink, other_lamp"):
        only_sink(write_config, "type: lamp, file: a")


def test_ours_cannot_be_replaced(install: Install, write_config: WriteConfig) -> None:
    install(jsonl="acme_lamp:LampSink")
    assert not isinstance(only_sink(write_config, "type: jsonl, path: a"), PluginSinkConfig)
