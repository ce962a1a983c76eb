import pytest

from snnlib.book.profile import by_profile, profile


@pytest.mark.parametrize(("value", "chosen"), [(None, 10), ("", 10), ("full", 10), ("fast", 2)])
def test_sizes_follow_the_profile(monkeypatch, value, chosen):
    monkeypatch.delenv("SNNLIB_PROFILE", raising=False)
    if value is not None:
        monkeypatch.setenv("SNNLIB_PROFILE", value)
    assert by_profile(full=10, fast=2) == chosen


def test_unknown_profile(monkeypatch):
    monkeypatch.setenv("SNNLIB_PROFILE", "quick")
    with pytest.raises(ValueError, match="one of full, fast; got 'quick'"):
        profile()
