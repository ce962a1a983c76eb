"""Arrays that take long to make: kept on disk, and mapped into memory by whoever needs them.

This room knows nothing of the others. What is kept is plain ``.npy`` files, never pickles.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import overload

import numpy as np

__all__ = ["cache_folder", "cached_arrays"]

STATES = 2  # of its sources for which an entry is kept


def cache_folder() -> Path:
    """Where arrays are kept: ``SNNLIB_CACHE``, or ``snnlib`` in the user's folder of caches.

    Returns
    -------
    Path
        It need not exist yet, and may be removed at any time.
    """
    folder = os.environ.get("SNNLIB_CACHE")
    if folder:
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "snnlib"


@overload
def cached_arrays(
    name: str, sources: Iterable[str | Path], make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]: ...
@overload
def cached_arrays(
    name: str, sources: Iterable[str | Path], make: None = None
) -> dict[str, np.ndarray] | None: ...
def cached_arrays(
    name: str,
    sources: Iterable[str | Path],
    make: Callable[[], dict[str, np.ndarray]] | None = None,
) -> dict[str, np.ndarray] | None:
    """Arrays from the cache; if they are not there, made and kept.

    Where nothing can be written, they are made each time.

    Parameters
    ----------
    name : str
        Tells entries apart; part of the name of a folder.
    sources : iterable of path
        Files that decide what the arrays hold, by their contents: data, and the code that reads or
        makes them.
    make : callable, optional
        Takes nothing and returns the arrays, a dict of ndarray by name. If None, nothing is made.

    Returns
    -------
    dict of ndarray, or None
        Read-only, mapped from disk: only what is looked at is read. None if they are not there and
        nothing makes them.
    """
    entry = cache_folder() / f"{name}-{_digest(sources)}"
    found = _mapped(entry)
    if found is not None or make is None:
        return found
    arrays = make()
    try:
        _keep(arrays, entry)
        _forget_older(name, entry)
    except OSError:  # no place to write, or no room
        return arrays
    return _mapped(entry) or arrays


def _digest(sources):
    """Hash over the contents of files, and over the version of NumPy that computes with them."""
    digest = hashlib.sha256(np.__version__.encode())
    for source in sources:
        with Path(source).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _mapped(entry):
    """Arrays of an entry, or None if it is not there or can't be read."""
    with suppress(OSError):
        os.utime(entry)  # met just now
    try:
        arrays = {
            # As plain arrays: a memmap would hand its type on to whatever is computed from it.
            file.stem: np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
            for file in entry.glob("*.npy")
        }
    except (EOFError, OSError, ValueError):
        return None
    return arrays or None


def _keep(arrays, entry):
    """Put arrays in place in one step, so that nobody finds half of them."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, ignore_cleanup_errors=True) as folder:
        new = Path(folder) / entry.name
        new.mkdir()
        for name, array in arrays.items():
            with (new / f"{name}.npy").open("wb") as file:
                np.save(file, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())  # not even a power cut leaves an entry of zeros
        if entry.is_dir() and _mapped(entry) is None:
            shutil.rmtree(entry)
        with suppress(OSError):  # another process was faster
            new.rename(entry)


def _forget_older(name, entry):
    """Remove what was kept for states of the sources that have not been met for long."""
    entries = [
        path
        for path in entry.parent.glob(f"{name}-*")
        if len(path.name) == len(entry.name) and path != entry
    ]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for old in entries[STATES - 1 :]:
        # Elsewhere first, so that nobody takes what is left of it for the whole.
        with suppress(OSError), tempfile.TemporaryDirectory(dir=entry.parent) as folder:
            old.rename(Path(folder) / old.name)
