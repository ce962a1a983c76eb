"""Where a station comes from: of what parts it was made, by what code, when.

This room knows nothing of stations.
"""

import datetime
import hashlib
import platform
from collections.abc import Iterable
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np

from snnlib.images import ImageSet
from snnlib.station.parts import Parts

__all__ = ["library", "marks", "provenance", "thumbprint"]

PACKAGES = ("torch", "numpy", "scikit-learn", "pillow")


def library() -> str:
    """Name and version of this library.

    Returns
    -------
    str
        Such as ``snnlib 0.1.0``.
    """
    return f"snnlib {version('snnlib')}"


def provenance(*sets: Parts | ImageSet) -> dict[str, Any]:
    """Write down what a station is made of.

    Parameters
    ----------
    *sets : `~snnlib.station.parts.Parts` or ImageSet
        All that it was made of: parts to learn from, and calibration parts.

    Returns
    -------
    dict
        ``date`` in UTC, ``parts``, ``classes`` and ``data`` (a `thumbprint`), ``library``,
        ``code`` (one of the library's own source) and ``versions`` of what it rests on.
    """
    names, counts = np.unique(np.concatenate([s.names for s in sets]), return_counts=True)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "parts": int(counts.sum()),
        "classes": dict(zip(names.tolist(), counts.tolist())),
        "data": _digest(thumbprint(one).encode() for one in sets),
        "library": library(),
        "code": _of_code(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
    }


def marks(*sets: Parts | ImageSet | np.ndarray) -> np.ndarray:
    """Mark each part by its content, so that it is known when it comes again.

    Parameters
    ----------
    *sets : `~snnlib.station.parts.Parts`, ImageSet or ndarray
        Files, which are read, whatever they are called; or images.

    Returns
    -------
    ndarray, shape (n,), uint64
        The first eight bytes of the SHA-256 of each.
    """
    first = [_content(part)[:8] for one in sets for part in _each(one)]
    return np.frombuffer(b"".join(first), dtype=">u8").astype(np.uint64)


def _each(parts):
    if isinstance(parts, Parts):
        return parts.files
    return parts.images if isinstance(parts, ImageSet) else parts


def _content(part):
    """SHA-256 of a file or of an image."""
    if isinstance(part, np.ndarray):
        return bytes.fromhex(_digest(_bytes_of(part)))
    return hashlib.sha256(part.read_bytes()).digest()


def thumbprint(parts: Parts | ImageSet | np.ndarray) -> str:
    """Tell sets of parts apart, by their content and by what they are called.

    Parameters
    ----------
    parts : `~snnlib.station.parts.Parts`, ImageSet or ndarray
        Files, which are read; or images.

    Returns
    -------
    str
        SHA-256. It does not depend on the folder that the files lie in, nor on when they were
        written.
    """
    if isinstance(parts, Parts):
        rows = zip(parts.lots.tolist(), parts.names.tolist(), parts.files, strict=True)
        return _digest(
            f"{lot}/{name}/{file.name} {_content(file).hex()}\n".encode()
            for lot, name, file in rows
        )
    if isinstance(parts, ImageSet):
        names = "\n".join(parts.names.tolist()).encode()
        return _digest((names, *_bytes_of(parts.images)))
    return _digest(_bytes_of(parts))


def _bytes_of(values):
    return f"{values.dtype.str} {values.shape}".encode(), np.ascontiguousarray(values).data


def _digest(pieces: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _of_code():
    """Thumbprint of the library's own source, whatever system it lies on."""
    folders, sources = [files("snnlib")], {}
    while folders:
        for entry in folders.pop().iterdir():
            if entry.is_dir() and entry.name != "__pycache__":
                folders.append(entry)
            elif entry.name.endswith(".py"):
                text = entry.read_text(encoding="utf-8").replace("\r\n", "\n")
                sources[hashlib.sha256(text.encode()).hexdigest()] = entry.name
    return _digest(f"{digest} {name}\n".encode() for digest, name in sorted(sources.items()))
