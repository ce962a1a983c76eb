"""The file of a station: words a person can read, tensors beside them, and a checksum over both.

It is a ZIP archive of two members, stored as they are: ``station.json`` and
``tensors.safetensors``. Reading it runs nothing. This room knows nothing of stations.
"""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from snnlib.extras import extra
from snnlib.whole_files import written_whole

__all__ = ["FORMAT", "read_station_file", "write_station_file"]

#: Number of the format that is written. What has another one is refused.
FORMAT = 2
WORDS, TENSORS = "station.json", "tensors.safetensors"
LINK = "tensor"  # a dictionary with this key alone, and a word, stands for a tensor of that name
CHECKED = ("format", "library", "checksum", "tensors", "station")


def write_station_file(state: dict[str, Any], file: str | Path, library: str) -> None:
    """Write a station whole or not at all.

    Parameters
    ----------
    state : dict
        What it is made of: dictionaries and lists of arrays, numbers, words, true, false and None.
    file : path
        Where to; its folder is made if need be.
    library : str
        What wrote it, such as ``snnlib 1.0``.

    Raises
    ------
    OSError
        If the file can't be written; the old one is left as it was.
    ValueError
        If a number is not finite, or a dictionary could be taken for a tensor; says which.
    """
    with extra("station"):
        from safetensors.numpy import save
    tensors: dict[str, np.ndarray] = {}
    words = _linked(state, (), tensors)
    content = save({name: np.asarray(values, order="C") for name, values in tensors.items()})
    told = {"format": FORMAT, "library": library, "station": words, "tensors": _digest(content)}
    told["checksum"] = _digest(_plain(told))
    with written_whole(file) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        archive.writestr(WORDS, json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False))
        archive.writestr(TENSORS, content)


def read_station_file(file: str | Path) -> dict[str, Any]:
    """Read what `write_station_file` wrote.

    Parameters
    ----------
    file : path
        Where from.

    Returns
    -------
    dict
        Arrays are NumPy's, and lists come for lists and tuples.

    Raises
    ------
    ValueError
        If the file can't be read or is of another kind, comes from a version with another format,
        or a single bit of it has changed.
    """
    with extra("station"):
        from safetensors.numpy import load
    told, content = _members(Path(file))
    if not isinstance(told, dict) or not set(CHECKED) <= set(told):
        raise ValueError(f"{file} is no file of a station: its {WORDS} says other things")
    if told["format"] != FORMAT:
        newer = isinstance(told["format"], int) and told["format"] > FORMAT
        raise ValueError(
            f"{file} was written by {told['library']} in format {told['format']}, this version of "
            f"snnlib reads format {FORMAT}: "
            + ("install one that is at least as new" if newer else "make the station again")
        )
    checksum = told.pop("checksum")
    if checksum != _digest(_plain(told)):
        raise ValueError(f"{file} is damaged: its {WORDS} is not what was written")
    if told["tensors"] != _digest(content):
        raise ValueError(f"{file} is damaged: its {TENSORS} is not what was written")
    return _joined(told["station"], load(content))


def _members(file):
    """The words and the bytes of the tensors."""
    try:
        with zipfile.ZipFile(file) as archive:
            return json.loads(archive.read(WORDS)), archive.read(TENSORS)
    except OSError as error:
        raise ValueError(f"{file} can't be read ({error.strerror or error})") from error
    except Exception as error:  # broken bytes make the archive stumble in every way there is
        raise ValueError(
            f"{file} can't be read: it is no file of a station, or a damaged one ({error})"
        ) from error


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def _plain(told):
    """The same words in one way only, whatever their order and layout."""
    return json.dumps(told, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _linked(value, path, tensors):
    """The same with links in the place of arrays, which are put among the tensors."""
    if isinstance(value, np.ndarray):
        name = ".".join(path)
        while name in tensors:  # a key may hold a full stop
            name += "'"
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"a station can't be kept whose {name} is not finite")
        tensors[name] = value
        return {LINK: name}
    if _is_link(value):
        raise ValueError(f"a station can't be kept whose {'.'.join(path)} is {value}")
    if isinstance(value, dict):
        return {str(key): _linked(one, (*path, str(key)), tensors) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_linked(one, (*path, str(k)), tensors) for k, one in enumerate(value)]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not np.isfinite(value):
        raise ValueError(f"a station can't be kept whose {'.'.join(path)} is {value}")
    return value


def _is_link(value):
    return isinstance(value, dict) and set(value) == {LINK} and isinstance(value[LINK], str)


def _joined(value, tensors):
    """The same with the tensors in the place of their links."""
    if _is_link(value):
        return tensors[value[LINK]]
    if isinstance(value, dict):
        return {key: _joined(one, tensors) for key, one in value.items()}
    if isinstance(value, list):
        return [_joined(one, tensors) for one in value]
    return value
