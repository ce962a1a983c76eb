"""The plain way: subtract the template from the tested picture, pixel by pixel."""

import numpy as np
from scipy import ndimage

from snnlib.boxes import Boxes
from snnlib.data.boards import BoardSet

__all__ = ["differing", "subtract"]

JOINED = 7  # pixels: differences with a smaller gap between them belong together
LEAST = 12  # pixels: what is smaller is no defect


def differing(template: np.ndarray, tested: np.ndarray, tolerance: int) -> np.ndarray:
    """Pixels that differ though the template may be moved by some pixels.

    Copper is too much where the template has none within the tolerance, and it is missing where the
    template has nothing but copper within it.

    Parameters
    ----------
    template, tested : ndarray, shape (h, w)
        Pictures of 0 and 1.
    tolerance : int
        Pixels to each side; with 0 both pictures must be alike.

    Returns
    -------
    ndarray, shape (h, w), bool

    Raises
    ------
    ValueError
        If the pictures differ in shape, or the tolerance is negative.
    """
    if template.shape != tested.shape:
        raise ValueError(f"both pictures need one shape, got {template.shape} and {tested.shape}")
    if tolerance < 0:
        raise ValueError(f"tolerance must be at least 0 pixels, got {tolerance}")
    window = 2 * tolerance + 1
    most = ndimage.maximum_filter(template, window, mode="nearest")
    least = ndimage.minimum_filter(template, window, mode="nearest")
    return (tested > most) | (tested < least)


def subtract(boards: BoardSet, *, tolerance: int, margin: int) -> Boxes:
    """Boxes around what differs between tested boards and their templates.

    Parameters
    ----------
    boards : BoardSet
        Pairs of pictures.
    tolerance : int
        As of `differing`.
    margin : int
        Pixels that are added to each side of a box, since known boxes are drawn with some room.

    Returns
    -------
    Boxes
        All of kind 0, for a difference has no name; scored by the number of pixels that differ.

    Raises
    ------
    ValueError
        If there is no pair, or the tolerance is negative.
    """
    if not len(boards):
        raise ValueError("there must be at least one pair of pictures, got none")
    parts = [_boxes_of(row, boards, tolerance, margin) for row in range(len(boards))]
    rows, corners, scores = (np.concatenate(column) for column in zip(*parts))
    return Boxes(rows, corners, np.zeros(len(rows), dtype=np.int64), scores)


def _boxes_of(row, boards, tolerance, margin):
    """Row, corners and size of each difference on one board."""
    template, tested = (pictures[0, 0].astype(np.uint8) for pictures in boards.pairs([row]))
    differs = differing(template, tested, tolerance)
    near = ndimage.maximum_filter(differs, JOINED)
    places, n = ndimage.label(near)
    sizes = np.bincount(places[differs], minlength=n + 1)[1:]
    # Of those pixels that differ: what joins them is not part of the box.
    slices = ndimage.find_objects(np.where(differs, places, 0), n)
    kept = np.flatnonzero(sizes >= LEAST)
    sides = [[s.start, s.stop] for k in kept for s in slices[k][::-1]]
    x, y = np.array(sides, dtype=np.float32).reshape(-1, 2, 2).swapaxes(0, 1)
    corners = np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)
    corners += np.array([-margin, -margin, margin, margin], dtype=np.float32)
    high = np.array([tested.shape[1], tested.shape[0]] * 2, dtype=np.float32)
    return np.full(len(kept), row), corners.clip(0, high), sizes[kept].astype(np.float32)
