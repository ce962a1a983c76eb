"""Parts with a defect of any amount: for curves of detection, and for parts on the borderline.

Failure-mode codes know whole tenths only, and the named sets few of these.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from snnlib.nsoartc.dataset import unit_space
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.simulator import LENGTH, Parts, draw_parts, photograph
from snnlib.nsoartc.soart import COLUMNS, MAP_SHAPE, ROWS

__all__ = ["graded_maps", "graded_parts"]

# Where a tip leaves its cavity: mm of a drawback, degrees of a tilt to either side.
LARGEST = {"D": 2.0, "X": 5.0, "Y": 5.0}


def graded_parts(
    directions: Sequence[str] | np.ndarray,
    amounts: ArrayLike,
    pins: ArrayLike,
    *,
    seed: int,
) -> Parts:
    """Make parts, each with one pin off by an amount of its own.

    Parameters
    ----------
    directions : sequence of str, length n
        ``D`` for a drawback, ``X`` or ``Y`` for a tilt.
    amounts : array_like, shape (n,), floating point
        Millimetres of a drawback, at least 0; degrees of a tilt, negative the other way.
    pins : array_like, shape (n, 2), int
        Pin 1 … 13 and row 1 … 3 of each.
    seed : int
        Seed of what differs between good parts.

    Returns
    -------
    `~snnlib.nsoartc.simulator.Parts`
        Their `modes` are ``OK``, since no code says an amount that is no whole tenth.

    Raises
    ------
    ValueError
        If shapes do not match, or a direction, an amount or a pin is out of range.
    """
    way, amount, pin = np.asarray(directions), np.asarray(amounts, dtype=float), np.asarray(pins)
    if amount.ndim != 1 or way.shape != amount.shape or pin.shape != (len(amount), 2):
        raise ValueError(
            f"expected a direction, an amount and a pin with its row for each part, got shapes "
            f"{way.shape}, {amount.shape} and {pin.shape}"
        )
    _check(way, amount, pin)
    parts = draw_parts([OK] * len(amount), seed=seed)
    row = np.arange(len(amount))
    aside = LENGTH * np.sin(np.radians(amount))
    for name, array, off in [
        ("D", parts.depth, amount),
        ("X", parts.x, aside),
        ("Y", parts.y, aside),
    ]:
        array[row, pin[:, 1] - 1, pin[:, 0] - 1] += np.where(way == name, off, 0)
    return parts


def graded_maps(
    directions: Sequence[str] | np.ndarray,
    amounts: ArrayLike,
    pins: ArrayLike,
    *,
    seed: int,
    shots: int = 1,
) -> np.ndarray:
    """Photograph such parts, and turn the images into maps.

    Parameters
    ----------
    directions, amounts, pins
        As for `graded_parts`.
    seed : int
        Seed of what differs between good parts, and between shots.
    shots : int, default 1
        How often each part is photographed.

    Returns
    -------
    ndarray, shape (n · shots, 1, 36, 39), float32
        The shots of a part one after another.

    Raises
    ------
    ValueError
        As `graded_parts`, or if there is no shot.
    """
    if shots < 1:
        raise ValueError(f"shots must be at least 1, got {shots}")
    parts = graded_parts(directions, amounts, pins, seed=seed)
    parts = parts.take(np.repeat(np.arange(len(parts)), shots))
    soart = unit_space()
    maps = [soart.transform(images) for images in photograph(parts, seed=seed)]
    return np.concatenate(maps).reshape(-1, 1, *MAP_SHAPE)


def _check(way, amount, pin):
    unknown = ~np.isin(way, list(LARGEST))
    if unknown.any():
        raise ValueError(f"directions must be D, X or Y, got {str(way[unknown][0])!r}")
    largest = np.array([LARGEST[name] for name in way])
    least = np.where(way == "D", 0, -largest)
    off = ~((amount >= least) & (amount <= largest))  # NaN, too
    if off.any():
        k = np.flatnonzero(off)[0]
        raise ValueError(
            f"an amount of {way[k]} must lie between {least[k]:g} and {largest[k]:g}, got "
            f"{amount[k]} of part {k}"
        )
    outside = ((pin < 1) | (pin > (COLUMNS, ROWS))).any(axis=1)
    if outside.any():
        raise ValueError(
            f"expected pins 1 … {COLUMNS} of rows 1 … {ROWS}, got {pin[outside][0].tolist()}"
        )
