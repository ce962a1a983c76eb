"""What the library alone does not install: said by name where it is missing.

This room knows nothing of the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, metadata

__all__ = ["extra"]


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Import packages of an extra, or say how to install it.

    Parameters
    ----------
    name : str
        Name of the extra in ``pyproject.toml``.

    Raises
    ------
    ModuleNotFoundError
        If a package is missing; names it, the extra, and the command that mends it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise ModuleNotFoundError(
            f"{package} is missing, which comes with the extra {name!r} of snnlib; install it by\n"
            f'    python -m pip install "snnlib[{name}]{_source()}"',
            name=error.name,
        ) from error


def _source():
    """Where pip finds the library: at the address that it was installed with."""
    try:
        addresses = metadata("snnlib").get_all("Project-URL") or []
    except PackageNotFoundError:  # a bare folder
        return ""
    (address,) = [url.split(", ")[1] for url in addresses if url.startswith("Repository, ")]
    return f" @ git+{address}"
