"""How much work a chapter does: all of it, or as little as shows that it runs."""

import os
from typing import Literal, TypeVar

__all__ = ["by_profile", "profile"]

PROFILES: tuple[Literal["full", "fast"], ...] = ("full", "fast")
Size = TypeVar("Size")


def profile() -> Literal["full", "fast"]:
    """The profile named by the environment variable ``SNNLIB_PROFILE``.

    Returns
    -------
    {"full", "fast"}
        "full" if the variable is not set.

    Raises
    ------
    ValueError
        If it names another profile.
    """
    name = os.environ.get("SNNLIB_PROFILE") or "full"
    if name not in PROFILES:
        raise ValueError(f"SNNLIB_PROFILE must be one of {', '.join(PROFILES)}; got {name!r}")
    return name


def by_profile(*, full: Size, fast: Size) -> Size:
    """Choose a size, such as a number of epochs, by the profile.

    Parameters
    ----------
    full, fast : object
        Value for a book that is read, and for a test.

    Returns
    -------
    object
        One of the two.
    """
    return full if profile() == "full" else fast
