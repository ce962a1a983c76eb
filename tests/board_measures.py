"""What was measured on pairs of boards, and what subtracting them leaves."""

import numpy as np
from scipy import ndimage

from snnlib.boxes import overlap
from snnlib.data.boards import SIDE, BoardSet

REACH = 8  # pixels up to which shifts are looked for


def pictures(boards: BoardSet, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Template and tested board, (640, 640) bool, false where copper is."""
    template, tested = boards.pairs([row])
    return template[0, 0] > 0.5, tested[0, 0] > 0.5


def outside(boards: BoardSet, row: int, pad: int = 3) -> np.ndarray:
    """Pixels that no box of a defect holds, nor touches."""
    free = np.ones((SIDE, SIDE), dtype=bool)
    for x1, y1, x2, y2 in boards.defects.on([row]).corners.astype(int):
        free[max(y1 - pad, 0) : y2 + pad, max(x1 - pad, 0) : x2 + pad] = False
    return free


def shift(boards: BoardSet, row: int) -> float | None:
    """Pixels by which the template has to be moved; None where there is too little to see."""
    template, tested = pictures(boards, row)
    inner = slice(REACH, -REACH)
    size = 2 * REACH + 1
    near = ndimage.maximum_filter(template, size) != ndimage.minimum_filter(template, size)
    y, x = np.nonzero((near & outside(boards, row))[inner, inner])
    if len(y) < 50:
        return None
    some = np.random.default_rng(0).permutation(len(y))[:4_000]
    y, x = y[some] + REACH, x[some] + REACH
    steps = range(-REACH, REACH + 1)
    costs = np.array(
        [[(template[y - b, x - a] != tested[y, x]).mean() for a in steps] for b in steps]
    )
    dy, dx = np.unravel_index(np.argmin(costs), costs.shape)
    return float(np.hypot(dy - REACH, dx - REACH))


def differing(boards: BoardSet, row: int) -> float:
    """Share of the pixels outside the boxes that differ."""
    template, tested = pictures(boards, row)
    return (template != tested)[outside(boards, row)].mean()


def straying(boards: BoardSet, row: int) -> float:
    """Pixels outside the boxes that differ, for each pixel of the template's edges."""
    template, tested = pictures(boards, row)
    free = outside(boards, row)
    edges = (ndimage.binary_dilation(template) & ~template) & free
    return ((template != tested) & free).sum() / max(edges.sum(), 1)


def subtracted(boards: BoardSet, row: int) -> np.ndarray:
    """Boxes of what differs and is 3 pixels wide and high at least, (m, 4)."""
    template, tested = pictures(boards, row)
    left = ndimage.binary_opening(template != tested, np.ones((3, 3)))
    labels, _ = ndimage.label(left, np.ones((3, 3)))
    found = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(labels)]
    return np.array(found, dtype=np.float32).reshape(-1, 4)


def false_alarms(boards: BoardSet, row: int) -> int:
    """How many of the subtracted boxes meet no defect."""
    shares = overlap(subtracted(boards, row), boards.defects.on([row]).corners)
    return int((~(shares > 0).any(axis=1)).sum())
