import json
import math
from dataclasses import replace
from typing import Any

import pytest

from pipeline.events.errors import EventMalformed, EventsError
from pipeline.events.event import Event, camera_source, rfc3339, unix_ns
from tests.pipeline.events.examples import NOON_NS, camera_state, sighting
from tests.schemas import assert_valid


def test_the_json_format_is_that_of_cloudevents() -> None:
    event = camera_state(4).to_event()
    assert_valid(event)
    document = event.to_cloudevent()
    assert {name: document[name] for name in document if name != "data"} == {
        "specversion": "1.0",
        "type": "vidface.camera.state",
        "source": "/vidface/cameras/lobby",
        "id": "lobby/1/state/4",
        "time": "2026-01-31T12:00:00.004Z",
        "subject": "lobby",
        "datacontenttype": "application/json",
        "dataschema": "urn:vidface:schema:vidface.camera.state:1",
    }


def test_a_kafka_record_is_in_binary_mode() -> None:
    event = sighting().to_event()
    key, value, headers = event.to_kafka()
    assert key == b"lobby"
    assert json.loads(value) == event.to_cloudevent()["data"]
    assert headers == [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_type", b"vidface.sighting.identified"),
        ("ce_source", b"/vidface/cameras/lobby"),
        ("ce_id", b"lobby/2/7/3"),
        ("ce_time", b"2026-01-31T12:00:00.084Z"),
        ("ce_subject", b"lobby"),
        ("ce_dataschema", b"urn:vidface:schema:vidface.sighting.identified:1"),
    ]


def test_every_written_form_reads_back_as_the_same_event() -> None:
    event = sighting().to_event(site="hall 9")
    assert_valid(event)
    _, value, headers = event.to_kafka()
    assert Event.from_cloudevent(event.to_cloudevent()) == event
    assert Event.from_json(event.to_json()) == event
    assert Event.from_kafka(value, headers) == event


def test_a_header_without_a_value_is_refused_by_name() -> None:
    _, value, headers = sighting().to_event().to_kafka()
    empty: list[Any] = [(name, None if name == "ce_id" else text) for name, text in headers]
    with pytest.raises(EventMalformed, match="attribute 'id' is ''"):
        Event.from_kafka(value, empty)


def test_a_line_is_one_line_and_keeps_names_readable() -> None:
    line = sighting().to_event().to_json()
    assert "\n" not in line
    assert "Alice Ångström" in line


@pytest.mark.parametrize(
    ("camera", "site", "source"),
    [
        pytest.param("lobby", None, "/vidface/cameras/lobby", id="plain"),
        pytest.param("lobby", "berlin", "/vidface/berlin/cameras/lobby", id="site"),
        pytest.param("gate 1/ä", None, "/vidface/cameras/gate%201%2F%C3%A4", id="quoted"),
    ],
)
def test_source(camera: str, site: str | None, source: str) -> None:
    assert camera_source(camera, site) == source


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        pytest.param(0, "1970-01-01T00:00:00.000Z", id="zero"),
        pytest.param(NOON_NS, "2026-01-31T12:00:00.000Z", id="whole-second"),
        pytest.param(NOON_NS + 1_999_999, "2026-01-31T12:00:00.001Z", id="cut-not-rounded"),
        pytest.param(NOON_NS + 999_000_000, "2026-01-31T12:00:00.999Z", id="milliseconds"),
    ],
)
def test_time(time_ns: int, text: str) -> None:
    assert rfc3339(time_ns) == text
    assert unix_ns(text) == time_ns // 1_000_000 * 1_000_000


def test_time_of_another_zone_is_read() -> None:
    assert unix_ns("2026-01-31T13:00:00.5+01:00") == NOON_NS + 500_000_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "not JSON", id="half-a-line"),
        pytest.param("[]", "a JSON list", id="no-object"),
        pytest.param("[" * 100_000, "not JSON", id="too-deep"),
        pytest.param(b"\xff", "not JSON", id="no-text"),
        pytest.param("{}", "specversion is None", id="no-event"),
        pytest.param('{"specversion":"1.0","id":"a"}', "event 'a': data", id="no-data"),
        pytest.param('{"specversion":"1.0","id":"a","data":{}}', "attribute 'type' is None", id="no-type"),
        pytest.param(
            '{"specversion":"1.0","id":"a","data":{},"type":"t","source":"s","subject":"c","time":"noon"}',
            "time 'noon' is not RFC 3339",
            id="no-time",
        ),
        pytest.param(
            '{"specversion":"1.0","id":"a","data":{},"type":"t","source":"s","subject":"c","time":"2026-01-31T12:00:00"}',
            "with a zone",
            id="no-zone",
        ),
    ],
)
def test_what_is_no_event_is_refused(line: str | bytes, message: str) -> None:
    with pytest.raises(EventMalformed, match=message) as caught:
        Event.from_json(line)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, EventsError)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(math.nan, id="nan"),
        pytest.param(math.inf, id="infinity"),
        pytest.param(object(), id="object"),
        pytest.param("\ud800", id="half-a-surrogate-pair"),
    ],
)
def test_what_json_cannot_say_is_refused_by_name(value: Any) -> None:
    event = Event(type="t", source="s", id="lobby/1/2/3", subject="c", time_ns=0, data={"x": value}, camera="c")
    with pytest.raises(EventMalformed, match="lobby/1/2/3"):
        event.to_json()
    with pytest.raises(EventMalformed, match="lobby/1/2/3"):
        event.to_kafka()


def test_subject_and_camera_are_one() -> None:
    with pytest.raises(EventMalformed, match="they are one thing"):
        Event(type="t", source="s", id="i", subject="a", time_ns=0, data={}, camera="b")


NASTY = 'a "data": {"id": 1}, ,"data":\\ ü 漢 \u2028'


class TestStored:
    """An event read back from where it was stored is written as it was, without being put together again."""

    @pytest.fixture
    def event(self) -> Event:
        return Event(
            type="vidface.test",
            source=camera_source(NASTY),
            id=NASTY,
            subject=NASTY,
            time_ns=1_700_000_000_123_000_000,
            data={"text": NASTY, "data": {"data": [1, 2.5, None]}, NASTY: True},
            camera=NASTY,
        )

    def test_every_form_is_the_same(self, event: Event) -> None:
        stored = Event.from_stored(event.to_json().encode())
        assert stored == event
        assert hash(stored) == hash(event)
        assert repr(stored) == repr(event)
        assert stored.to_json() == event.to_json()
        assert stored.to_kafka() == event.to_kafka()
        assert stored.to_cloudevent() == event.to_cloudevent()

    def test_a_changed_copy_is_written_anew(self, event: Event) -> None:
        stored = Event.from_stored(event.to_json().encode())
        changed = replace(stored, id="another", data={"a": 1})
        assert changed.to_json() == replace(event, id="another", data={"a": 1}).to_json()
        assert changed.to_kafka()[1] == b'{"a":1}'
