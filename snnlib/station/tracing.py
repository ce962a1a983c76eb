"""What makes a verdict traceable: which picture it is of, when it was given, who gave it, by what.

Nothing heavy is loaded, so that a verdict by an ONNX file comes as soon as without a trace.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnlib.station.judging import Judge

if TYPE_CHECKING:
    from snnlib.station.station import Station

__all__ = ["picture_hash", "trace_of", "traced"]

DIGITS = 16  # hexadecimal ones: among a billion pictures any two agree with a chance of 3 %
# Without a word before them, a spreadsheet takes digits such as 1234567890123e45 for a number.
KIND = "sha256:"


def picture_hash(picture: str | Path | np.ndarray) -> str:
    """Tell a picture by its content, whatever its file is called.

    Its digits are the picture's mark (`snnlib.station.provenance.marks`), so that one can look up
    whether a station was made from it.

    Parameters
    ----------
    picture : path or ndarray
        A file, of which every byte counts; or pixels, with their type and shape.

    Returns
    -------
    str
        ``sha256:`` and the first 16 hexadecimal digits of it.

    Raises
    ------
    OSError
        If the file can't be read.
    """
    if isinstance(picture, np.ndarray):
        digest = hashlib.sha256(f"{picture.dtype.str} {picture.shape}".encode())
        digest.update(np.ascontiguousarray(picture).data)
        return KIND + digest.hexdigest()[:DIGITS]
    with Path(picture).open("rb") as file:  # a piece at a time, however large it is
        return KIND + hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]


def trace_of(judge: "Station | Judge", file: str | Path | None) -> dict[str, object]:
    """Say what all verdicts of a station have in common.

    Parameters
    ----------
    judge : `.Station` or `.Judge`
        Who judges.
    file : path or None
        Where it was loaded from; None if it comes from no file.

    Returns
    -------
    dict
        ``station``, the hash of its file, empty without one; ``made``, the date it was made, and
        ``data``, the first digits of the thumbprint of what it was made from (a defect that was
        added later changes the hash of the file alone); ``library``, the version that judges; its
        rule: ``method``, ``false_alarms`` and ``limit``.

    Raises
    ------
    OSError
        If the file can't be read.
    """
    # The rule of a Judge loads SciPy, which takes longer than the verdict itself.
    rule = judge.told["rule"] if isinstance(judge, Judge) else asdict(judge.rule)
    return {
        "station": "" if file is None else picture_hash(file),
        "made": judge.made.get("date", ""),
        "data": KIND + judge.made["data"][:DIGITS] if "data" in judge.made else "",
        "library": f"snnlib {version('snnlib')}",
        **{name: rule[name] for name in ("method", "false_alarms", "limit")},
    }


def traced(
    rows: Iterable[dict[str, Any]],
    pictures: Iterable[str | Path | np.ndarray],
    trace: dict[str, object],
    when: datetime | None = None,
) -> list[dict[str, Any]]:
    """Add to each verdict which picture it is of, when it was given, and by whom.

    Parameters
    ----------
    rows : iterable of dict
        As `.Judge.judge` gives them; of a table,
        ``table.to_dict("records")``.
    pictures : iterable of path or ndarray
        What was judged, in the same order. Each is read once.
    trace : dict
        From `trace_of`.
    when : datetime, optional
        The time of the verdicts, with its time zone; now if not given.

    Returns
    -------
    list of dict
        The rows with ``picture``, its hash, empty if the file can't be read; ``time`` in UTC; and
        the trace.

    Raises
    ------
    ValueError
        If there is not one picture for each row, or the time has no time zone.
    """
    when = datetime.now(UTC) if when is None else when
    if when.tzinfo is None:
        raise ValueError(f"the time of a verdict needs a time zone, got {when.isoformat()}")
    rows, hashes = list(rows), [_hash_or_nothing(picture) for picture in pictures]
    if len(rows) != len(hashes):
        raise ValueError(f"expected a picture for each of {len(rows)} rows, got {len(hashes)}")
    time = when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [row | {"picture": one, "time": time} | trace for row, one in zip(rows, hashes)]


def _hash_or_nothing(picture):
    """The hash of a picture; none of a file that can't be read, of which the verdict tells why."""
    try:
        return picture_hash(picture)
    except OSError:
        return ""
