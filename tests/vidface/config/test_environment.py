from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.config.environment import Unresolved, resolve, uses_environment

ENVIRON = {"PW": "p@ss/w:#%? ü", "HOST": "192.0.2.7", "BOTH": "ann:a@b/c", "EMPTY": "", "URL": "rtsp://u:p@h/x"}
ENCODED = "p%40ss%2Fw%3A%23%25%3F%20%C3%BC"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        pytest.param("plain", "plain", id="nothing to fill in"),
        pytest.param("${HOST}", "192.0.2.7", id="a whole value"),
        pytest.param("a-${HOST}-b", "a-192.0.2.7-b", id="a part of a value"),
        pytest.param("${PW}", ENVIRON["PW"], id="outside a URL as it is"),
        pytest.param("rtsp://u:${PW}@h/x", f"rtsp://u:{ENCODED}@h/x", id="a password in a URL is encoded"),
        pytest.param("rtsp://${PW}:x@h/x", f"rtsp://{ENCODED}:x@h/x", id="a user in a URL is encoded"),
        pytest.param("rtsp://${BOTH}@h/x", "rtsp://ann:a%40b%2Fc@h/x", id="user and password in one variable"),
        pytest.param("rtsp://u:${PW}@${HOST}/x", f"rtsp://u:{ENCODED}@192.0.2.7/x", id="a host is not encoded"),
        pytest.param("rtsp://h/x?m=${PW}@1", f"rtsp://h/x?m={ENVIRON['PW']}@1", id="an @ in a query is no user"),
        pytest.param("${URL}", "rtsp://u:p@h/x", id="a whole URL as it is"),
        pytest.param("rtsp://u:${NONE:-a@b}@h", "rtsp://u:a%40b@h", id="a default in a URL is encoded too"),
        pytest.param("${NONE:-fallback}", "fallback", id="default for unset"),
        pytest.param("${EMPTY:-fallback}", "fallback", id="default for empty"),
        pytest.param("${NONE:-}", "", id="empty default"),
        pytest.param("${HOST:-fallback}", "192.0.2.7", id="default not needed"),
        pytest.param("$$", "$", id="escaped dollar"),
        pytest.param("$${HOST}", "${HOST}", id="escaped variable"),
        pytest.param("pa$word $1", "pa$word $1", id="a dollar by itself"),
    ],
)
def test_fills_in(template: str, expected: str) -> None:
    assert resolve(template, ENVIRON) == expected


@pytest.mark.parametrize(
    ("template", "words"),
    [
        pytest.param("${NONE}", ["NONE", "not set", "${NONE:-default}"], id="unset"),
        pytest.param("${EMPTY}", ["EMPTY", "empty"], id="empty"),
        pytest.param("${", ["${NAME}"], id="nothing after the brace"),
        pytest.param("${HOST", ["${NAME}"], id="unclosed"),
        pytest.param("${1X}", ["${NAME}"], id="no name"),
        pytest.param("${HOST-x}", ["${NAME:-default}"], id="another form of default"),
        pytest.param("${A:-${HOST}}", ["${NAME:-default}"], id="one inside the other"),
    ],
)
def test_refuses(template: str, words: list[str]) -> None:
    with pytest.raises(Unresolved) as caught:
        resolve(template, ENVIRON)
    for word in words:
        assert word in str(caught.value)


def test_a_message_never_holds_a_value() -> None:
    with pytest.raises(Unresolved) as caught:
        resolve("${HOST} ${NONE}", ENVIRON)
    assert "192.0.2.7" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "expected"), [("${A}", True), ("x${A:-b}", True), ("$${A}", False), ("$A", False)]
)
def test_tells_whether_a_value_uses_variables(template: str, expected: bool) -> None:
    assert uses_environment(template) is expected


@given(st.text(min_size=1).filter(lambda text: not any(0xD800 <= ord(c) <= 0xDFFF for c in text)))
def test_any_password_survives_in_a_url(password: str) -> None:
    url = resolve("rtsp://viewer:${PW}@192.0.2.7:554/main", {"PW": password})
    parts = urlsplit(url)
    assert (parts.hostname, parts.port, parts.path) == ("192.0.2.7", 554, "/main")
    assert unquote(parts.password or "") == password
