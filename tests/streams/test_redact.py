import pytest

from streams.redact import redact, redact_text
from streams.source import SourceSpec


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param("rtsp://u:secret@cam:554/a?b=c", "rtsp://***@cam:554/a?b=c", id="user-and-password"),
        pytest.param("rtsp://u@cam/a", "rtsp://***@cam/a", id="user-alone"),
        pytest.param("rtsp://u:se%40cret@cam/a", "rtsp://***@cam/a", id="escaped"),
        pytest.param("rtsp://u:se@cret@cam/a", "rtsp://***@cam/a", id="at-in-password"),
        pytest.param("rtsp://u:se/cret@cam/a", "rtsp://***@cam/a", id="slash-in-password"),
        pytest.param("rtsp://u:se?cret@cam/a", "rtsp://***@cam/a", id="question-mark-in-password"),
        pytest.param("rtsp://u:1/secret@cam/a", "rtsp://u:1/secret@cam/a", id="ambiguous-host-and-port"),
        pytest.param("RTSPS://u:secret@[fe80::1]:322/a", "RTSPS://***@[fe80::1]:322/a", id="ipv6"),
        pytest.param("rtsp://[fe80::1]:322/a@b", "rtsp://[fe80::1]:322/a@b", id="at-in-path-ipv6"),
        pytest.param("rtsp://cam:554/a@2x", "rtsp://cam:554/a@2x", id="at-in-path"),
        pytest.param("http://cam/v?user=u&pwd=secret&x=1", "http://cam/v?user=***&pwd=***&x=1", id="query"),
        pytest.param("http://cam/v?access_token=secret#t", "http://cam/v?access_token=***#t", id="token"),
        pytest.param("/videos/a@b:c.mp4", "/videos/a@b:c.mp4", id="path"),
        pytest.param("", "", id="empty"),
    ],
)
def test_redact(url: str, shown: str) -> None:
    assert redact(url) == shown


def test_urls_inside_a_text() -> None:
    text = "could not open 'rtsp://u:secret@cam/a', nor http://cam/?token=secret now"
    assert redact_text(text) == "could not open 'rtsp://***@cam/a', nor http://cam/?token=*** now"


def test_a_spec_does_not_show_its_password() -> None:
    spec = SourceSpec(camera="door", url="rtsp://u:secret@cam/a")
    assert "secret" not in repr(spec)
    assert "secret" not in str(spec)
    assert spec.source == "rtsp://***@cam/a"
