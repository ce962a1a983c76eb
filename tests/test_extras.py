import pytest

from snnlib import extras
from snnlib.extras import extra


def test_what_is_there_is_imported():
    with extra("plots"):
        import matplotlib

    assert matplotlib.__name__ == "matplotlib"


def test_what_is_missing_is_named_with_the_command_that_mends_it():
    with (
        pytest.raises(ModuleNotFoundError) as told,
        extra("plots"),
    ):
        import a_package_that_is_nowhere.inner  # noqa: F401
    words, command = str(told.value).splitlines()
    assert words == (
        "a_package_that_is_nowhere is missing, which comes with the extra 'plots' of snnlib; "
        "install it by"
    )
    assert command.strip().startswith('python -m pip install "snnlib[plots] @ git+https://')
    assert told.value.name == "a_package_that_is_nowhere"


def test_other_errors_pass_as_they_are():
    with pytest.raises(ValueError, match="something else"), extra("plots"):
        raise ValueError("something else")


def test_a_bare_folder_has_no_address(monkeypatch):
    def nothing(name):
        raise extras.PackageNotFoundError(name)

    monkeypatch.setattr(extras, "metadata", nothing)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "snnlib\[data\]"'), extra("data"):
        import a_package_that_is_nowhere  # noqa: F401
