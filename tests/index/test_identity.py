import pytest

from index.errors import NameRefused
from index.identity import clean_name, name_key


@pytest.mark.parametrize(
    ("entered", "kept"),
    [
        pytest.param("Ada Lovelace", "Ada Lovelace", id="plain"),
        pytest.param("  Ada\u3000", "Ada", id="trimmed"),
        pytest.param("Zoe\u0308", "Zo\u00eb", id="composed"),
        pytest.param("\u674e\u96f7", "\u674e\u96f7", id="chinese"),
        pytest.param(
            "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", id="zwnj"
        ),
        pytest.param("O'Brien, Jr. #2", "O'Brien, Jr. #2", id="punctuation"),
        pytest.param("x" * 200, "x" * 200, id="longest"),
        pytest.param("e\u0301" * 200, "\u00e9" * 200, id="longest-composed"),
    ],
)
def test_a_name_is_kept_trimmed_and_composed(entered: str, kept: str) -> None:
    assert clean_name(entered) == kept


@pytest.mark.parametrize(
    ("entered", "says"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(" \u00a0 ", "empty", id="spaces"),
        pytest.param("\u200b", "empty", id="invisible"),
        pytest.param("x" * 201, "201 characters", id="long"),
        pytest.param("Ada\nLovelace", r"U\+000A", id="newline"),
        pytest.param("Ada\x00", r"U\+0000", id="nul"),
        pytest.param("Ada\x1b[31m", r"U\+001B", id="escape"),
        pytest.param("Ada\u2028x", r"U\+2028", id="line-separator"),
        pytest.param("Ada\u202egnp", r"U\+202E", id="right-to-left-override"),
        pytest.param("Ada\udcff", r"U\+DCFF", id="not-utf8"),
    ],
)
def test_a_name_is_refused(entered: str, says: str) -> None:
    with pytest.raises(NameRefused, match=says) as caught:
        clean_name(entered)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param("ADA", "ada", True, id="case"),
        pytest.param("Stra\u00dfe", "STRASSE", True, id="sharp-s"),
        pytest.param("ZOE\u0308", "zo\u00eb", True, id="composition"),
        pytest.param(" Ada ", "ada", True, id="space"),
        pytest.param("Ada", "Adah", False, id="other-name"),
        pytest.param("Zoe", "Zo\u00eb", False, id="accent"),
    ],
)
def test_names_are_the_same_case_aside(one: str, other: str, same: bool) -> None:
    assert (name_key(one) == name_key(other)) is same
