import pytest

from tests.services import weights as service
from weights.errors import WeightsUnavailable


def test_without_weights_a_test_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDFACE_REQUIRE_WEIGHTS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no network"):
        service.skip_or_fail(WeightsUnavailable("no network"))


def test_where_they_are_required_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDFACE_REQUIRE_WEIGHTS", "1")
    with pytest.raises(pytest.fail.Exception, match="VIDFACE_REQUIRE_WEIGHTS=1, but no network"):
        service.skip_or_fail(WeightsUnavailable("no network"))
