"""Small sets of boards from pictures, for the tests of what finds defects on them."""

import numpy as np

from snnlib.boxes import Boxes
from snnlib.data.boards import SIDE, BoardSet


def board_set(templates, tested, defects=()):
    """Pairs of pictures of 0 and 1, and defects as rows of board, x1, y1, x2, y2 and kind."""
    rows = np.array(defects, dtype=np.float64).reshape(-1, 6)
    known = Boxes(rows[:, 0].astype(int), rows[:, 1:5], rows[:, 5].astype(int))
    halves = (
        np.packbits(np.asarray(pictures).astype(bool).reshape(-1, SIDE * SIDE), axis=1)
        for pictures in (templates, tested)
    )
    names = np.array([f"board {number}" for number in range(len(templates))])
    return BoardSet(*halves, known, names, names, "made up")


def random_boards(n, seed, defects=()):
    """Boards on which no two places look alike."""
    pictures = np.random.default_rng(seed).integers(0, 2, (2, n, SIDE, SIDE), dtype=np.uint8)
    return board_set(*pictures, defects)


def bare(n):
    """Boards without copper."""
    return np.ones((n, SIDE, SIDE), dtype=np.uint8)
