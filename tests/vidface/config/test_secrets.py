from __future__ import annotations

import pytest

from vidface.config.secrets import mask_text, mask_url

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("rtsp://ann:s3cr3t@h/x", id="user and password"),
        pytest.param("rtsp://s3cr3t@h/x", id="user alone"),
        pytest.param("rtsp://ann:a@s3cr3t@h/x", id="an @ in the password"),
        pytest.param("rtsp://ann:a/s3cr3t@h/x", id="a slash in the password"),
        pytest.param("rtsp://ann:12/s3cr3t@h/x", id="a password that begins like a port"),
        pytest.param("rtsp://ann:a?s3cr3t#@h/x", id="a query mark and a hash in the password"),
        pytest.param("rtsp://ann:a'\"s3cr3t@h/x", id="quotes in the password"),
        pytest.param("http://h/video?user=x&password=s3cr3t", id="a password parameter"),
        pytest.param("http://h/video?token=s3cr3t&x=1", id="a token parameter"),
        pytest.param("RTSP://ann:s3cr3t@h/x", id="an upper-case scheme"),
    ],
)
def test_credentials_never_show(url: str) -> None:
    assert SECRET not in mask_url(url)
    assert SECRET not in mask_text(f"cannot open {url}: refused, twice {url}")


def test_spaces_in_a_password_are_masked_in_a_whole_url() -> None:
    assert mask_url("rtsp://ann:a s3cr3t@h/x") == "rtsp://***@h/x"


@pytest.mark.parametrize(
    "text", ["lobby.mp4", "/data/a@b.mp4", "rtsp://192.0.2.7:554/main?channel=1", "ann@example.com"]
)
def test_what_holds_no_credentials_stays(text: str) -> None:
    assert mask_url(text) == text
    assert mask_text(text) == text
