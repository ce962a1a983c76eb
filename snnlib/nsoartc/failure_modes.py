"""Failure-mode codes: which pin is off, in which direction, by how much.

``31X10`` is pin 3 of row 1, tilted in X by 1.0°; ``92D05`` is pin 9 of row 2, drawn back by
0.5 mm. ``OK`` is a good part. The row digit and the unit of the amount are an inference from the
published examples. Two further forms are ours: ``31M`` for a missing pin, and ``31D05+92X10`` for
two defects.
"""

import math
import re
from typing import Literal, NamedTuple

__all__ = ["OK", "Defect", "code_of", "parse"]

#: Code of a good part.
OK = "OK"
# Largest amounts in tenths of a millimetre or degree. Beyond them the tip leaves its cavity.
LARGEST: dict[Literal["D", "X", "Y"], int] = {"D": 20, "X": 50, "Y": 50}
_CODE = re.compile(
    r"(?P<pin>1[0-3]|[1-9])(?P<row>[1-3])(?:M|(?P<direction>[DXY])(?P<amount>-?[0-9]{2}))"
)
_EXPECTED = (
    "expected OK, or pin 1 … 13, row 1 … 3 and one of D01 … D20 (drawback in 0.1 mm), X01 … X50, "
    "Y01 … Y50 (tilt in 0.1°, with - before the amount the other way), M (missing pin), such as "
    "31X10, 92D05, 61Y-10 or 31M; several joined by +"
)


class Defect(NamedTuple):
    """One thing wrong with one pin.

    Attributes
    ----------
    pin : int
        Pin column, 1 … 13.
    row : int
        Pin row, 1 … 3.
    direction : {"D", "X", "Y", "M"}
        Drawback, tilt in X, tilt in Y, or missing.
    amount : float
        Millimetres of a drawback, degrees of a tilt, 0 for a missing pin.
    """

    pin: int
    row: int
    direction: Literal["D", "X", "Y", "M"]
    amount: float


def parse(code: str) -> tuple[Defect, ...]:
    """Read a failure-mode code.

    Parameters
    ----------
    code : str
        Such as ``OK``, ``31X10``, ``61Y-10``, ``31M``, ``31D05+92X10``.

    Returns
    -------
    tuple of Defect
        Empty for ``OK``.

    Raises
    ------
    ValueError
        If it is no such code; says what one looks like. Also if one pin is named twice.
    """
    code = str(code)  # NumPy's strings are written otherwise
    if code == OK:
        return ()
    defects = tuple(_parse_one(code, part) for part in code.split("+"))
    pins = [defect[:2] for defect in defects]
    if len(set(pins)) < len(pins):
        raise ValueError(f"failure mode {code!r} names a pin twice")
    return defects


def _parse_one(code, part):
    match = _CODE.fullmatch(part)
    if match:
        pin, row, direction = int(match["pin"]), int(match["row"]), match["direction"]
        if direction not in LARGEST:  # there is none
            return Defect(pin, row, "M", 0.0)
        tenths = int(match["amount"])
        least = 1 if direction == "D" else -LARGEST[direction]
        if tenths and least <= tenths <= LARGEST[direction]:
            return Defect(pin, row, direction, tenths / 10)
    raise ValueError(f"unknown failure mode {code!r}: {_EXPECTED}")


def code_of(*defects: Defect) -> str:
    """Write the failure-mode code of some defects: the inverse of `parse`.

    Parameters
    ----------
    *defects : Defect
        None for a good part.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If a defect can't be: pin, row, direction or amount are out of range.
    """
    if not defects:
        return OK
    code = "+".join(_write_one(defect) for defect in defects)
    if parse(code) != tuple(Defect(*defect) for defect in defects):
        raise ValueError(
            f"amounts must be whole tenths, got {defects}, which no code says: "
            f"{code} says {parse(code)}"
        )
    return code


def _write_one(defect):
    pin, row, direction, amount = defect
    if direction == "M":
        return f"{pin}{row}M"
    if not math.isfinite(amount):
        raise ValueError(f"amounts must be whole tenths, got {amount}")
    tenths = round(10 * amount)
    return f"{pin}{row}{direction}{'-' * (tenths < 0)}{abs(tenths):02d}"
