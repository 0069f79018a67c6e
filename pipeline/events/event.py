"""One event, and its three written forms: a CloudEvent, a line of JSON, a Kafka record.

CloudEvents 1.0 (https://github.com/cloudevents/spec): the JSON format for files, and the binary mode of the Kafka
binding for topics, where the attributes are ``ce_`` headers and the value is the data alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeAlias
from urllib.parse import quote

from pipeline.events.errors import EventMalformed

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

SPEC_VERSION: Final = "1.0"
CONTENT_TYPE: Final = "application/json"

# Made once: json.dumps with options makes a new one each time, which is a third of the time an event takes.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# The attributes that the binary mode carries beside the data, in the order they are written.
HEADERS: Final = ("specversion", "type", "source", "id", "time", "subject", "dataschema")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact about one camera. Immutable; any thread may hold it.

    Attributes:
        type: What happened, such as ``vidface.sighting.identified``.
        source: Where, as a URI reference: see :func:`camera_source`.
        id: Unique within the source, and the same each time the event is sent: (source, id) is the key to
            deduplicate by.
        subject: The camera's id, as CloudEvents calls it.
        time_ns: Unix time in nanoseconds. The written forms hold whole milliseconds.
        data: The payload, made of what JSON knows. Not hashed.
        camera: The camera's id; the key of the Kafka record, so that a camera's order holds.
    """

    type: str
    source: str
    id: str
    subject: str
    time_ns: int
    data: Mapping[str, JSON] = field(hash=False)
    camera: str
    _line: str | None = field(default=None, init=False, repr=False, compare=False)  # see from_stored

    def __post_init__(self) -> None:
        if self.subject != self.camera:
            raise EventMalformed(
                f"event {self.id}: subject {self.subject!r} is not the camera {self.camera!r}; they are one thing"
            )

    @property
    def dataschema(self) -> str:
        """The URN of the schema that the whole event obeys."""
        return f"urn:vidface:schema:{self.type}:1"

    def to_cloudevent(self) -> dict[str, Any]:
        """Return the event in the CloudEvents JSON format, ready for ``json.dumps``."""
        return {
            "specversion": SPEC_VERSION,
            "type": self.type,
            "source": self.source,
            "id": self.id,
            "time": rfc3339(self.time_ns),
            "subject": self.subject,
            "datacontenttype": CONTENT_TYPE,
            "dataschema": self.dataschema,
            "data": self.data,
        }

    @classmethod
    def from_cloudevent(cls, document: Mapping[str, Any]) -> Self:
        """Read an event that :meth:`to_cloudevent` wrote.

        Raises:
            EventMalformed: An attribute is missing or not of its kind.
        """
        version = document.get("specversion")
        if version != SPEC_VERSION:
            raise EventMalformed(f"specversion is {version!r}, not {SPEC_VERSION!r}: not a CloudEvent we can read")
        data = document.get("data")
        if not isinstance(data, Mapping):
            raise EventMalformed(f"event {document.get('id')!r}: data is not a JSON object")
        return cls(
            type=_text(document, "type"),
            source=_text(document, "source"),
            id=_text(document, "id"),
            subject=_text(document, "subject"),
            time_ns=unix_ns(_text(document, "time")),
            data=data,
            camera=_text(document, "subject"),
        )

    def to_json(self) -> str:
        """Return :meth:`to_cloudevent` as one line, without its newline.

        Raises:
            EventMalformed: The data holds something that JSON cannot express, such as NaN or a numpy scalar.
        """
        return self._line or _dumps(self.to_cloudevent(), self.id)

    @classmethod
    def from_stored(cls, line: bytes) -> Self:
        """Read one line that :meth:`to_json` wrote, and nothing else, and keep it: it need not be written again.

        Raises:
            EventMalformed: The line is no JSON object, or no event.
        """
        event = cls.from_json(line)
        object.__setattr__(event, "_line", line.decode())
        return event

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Read one line that :meth:`to_json` wrote.

        Raises:
            EventMalformed: The line is no JSON object, or no event.
        """
        return cls.from_cloudevent(_loads(line))

    def to_kafka(self) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
        """Return (key, value, headers) of the Kafka record, in binary mode.

        Raises:
            EventMalformed: The data holds something that JSON cannot express.
        """
        attributes, value = self.to_binary()
        headers = [("content-type", CONTENT_TYPE.encode())]
        headers += [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
        return self.camera.encode(), value, headers

    def to_binary(self) -> tuple[dict[str, str], bytes]:
        """Return (attributes, data) as CloudEvents' binary mode has them apart; the data is `CONTENT_TYPE`.

        Raises:
            EventMalformed: The data holds something that JSON cannot express.
        """
        document = self.to_cloudevent()
        # In a line the data comes last, and no text before it can hold these quotes: within texts they are escaped.
        data = (self._line or "").partition(',"data":')[2][:-1] or _dumps(self.data, self.id)
        return {name: str(document[name]) for name in HEADERS}, data.encode()

    @classmethod
    def from_kafka(cls, value: bytes, headers: Iterable[tuple[str, bytes]]) -> Self:
        """Read the record that :meth:`to_kafka` wrote; its key repeats the subject and is not needed.

        Raises:
            EventMalformed: A header is missing, or the value is no JSON object.
        """
        document: dict[str, Any] = {
            # A header may have no value at all, whatever clients' types say.
            name.removeprefix("ce_"): (text or b"").decode(errors="replace")
            for name, text in headers
            if name.startswith("ce_")
        }
        document["data"] = _loads(value)
        return cls.from_cloudevent(document)


def camera_source(camera: str, site: str | None = None) -> str:
    """Return the ``source`` of a camera's events: ``/vidface/cameras/<camera>``, or with its site before it."""
    place = f"/{quote(site, safe='')}" if site else ""
    return f"/vidface{place}/cameras/{quote(camera, safe='')}"


def rfc3339(time_ns: int) -> str:
    """Return Unix nanoseconds as RFC 3339 in UTC, cut to milliseconds: ``2026-01-31T12:00:00.250Z``."""
    seconds, milliseconds = divmod(time_ns // 1_000_000, 1000)
    moment = _UNIX_EPOCH + timedelta(seconds=seconds)
    return f"{moment.isoformat()[:19]}.{milliseconds:03d}Z"  # strftime takes four times as long


def unix_ns(text: str) -> int:
    """Return an RFC 3339 time as Unix nanoseconds.

    Raises:
        EventMalformed: The text is no time with a zone.
    """
    try:
        moment = datetime.fromisoformat(text)
        return (moment - _UNIX_EPOCH) // timedelta(microseconds=1) * 1000
    except (ValueError, TypeError) as error:  # TypeError: a time without a zone
        raise EventMalformed(f"time {text!r} is not RFC 3339 with a zone, such as 2026-01-31T12:00:00.250Z") from error


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise EventMalformed(f"event {document.get('id')!r}: attribute {name!r} is {value!r}, not a text")
    return value


def _dumps(document: Mapping[str, Any], event_id: str) -> str:
    try:
        text = _ENCODER.encode(document)
        text.encode()  # half a surrogate pair passes json, and no file or topic would take it
    except (TypeError, ValueError) as error:
        raise EventMalformed(
            f"event {event_id}: its data cannot be written as JSON ({error}); use plain finite Python values"
        ) from error
    return text


def _loads(text: str | bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets in brackets, by the thousand
        raise EventMalformed(f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise EventMalformed(f"a JSON {type(document).__name__}, not an object")
    return document
