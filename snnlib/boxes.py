"""Boxes on pictures, and how far they overlap. This room knows nothing of the others."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["Boxes", "overlap", "overlapping", "without_doubles"]

ROWS = 4096  # boxes that look for their neighbours at a time: so many pairs fit into memory


@dataclass(frozen=True, eq=False, repr=False)
class Boxes:
    """Boxes on pictures: of defects that are known, or, with scores, of those that were found.

    Attributes
    ----------
    pictures : ndarray, shape (m,), int64
        Position of the picture that each box lies on, from 0.
    corners : ndarray, shape (m, 4), float32
        x1, y1, x2, y2 of each box in pixels, x to the right and y downwards; x2 > x1 and y2 > y1.
    kinds : ndarray, shape (m,), int64
        What each box holds, from 0.
    scores : ndarray, shape (m,), float32, optional
        How sure a box is that was found; None where boxes are known.

    Raises
    ------
    TypeError
        If pictures or kinds are not integers.
    ValueError
        If shapes do not match, a picture or kind is negative, a corner or score is not finite in
        float32, or a box has no area there.
    """

    pictures: np.ndarray
    corners: np.ndarray
    kinds: np.ndarray
    scores: np.ndarray | None = None

    def __post_init__(self) -> None:
        pictures = _positions("pictures", self.pictures)
        corners = _finite("corners", self.corners, (len(pictures), 4))
        kinds = _positions("kinds", self.kinds)
        if len(kinds) != len(pictures):
            raise ValueError(f"every box needs one kind, got {len(pictures)} and {len(kinds)}")
        flat = np.flatnonzero((corners[:, 2:] <= corners[:, :2]).any(axis=1))
        if len(flat):
            raise ValueError(
                "corners must be x1, y1, x2, y2 with x2 > x1 and y2 > y1, got "
                f"{corners[flat[0]].tolist()} in row {flat[0]}"
            )
        object.__setattr__(self, "pictures", pictures)
        object.__setattr__(self, "corners", corners)
        object.__setattr__(self, "kinds", kinds)
        if self.scores is not None:
            object.__setattr__(self, "scores", _finite("scores", self.scores, (len(pictures),)))

    def __len__(self) -> int:
        return len(self.pictures)

    def __repr__(self) -> str:
        on, of = len(np.unique(self.pictures)), len(np.unique(self.kinds))
        return (
            f"{type(self).__name__}({len(self)} on {on} picture{'s' * (on != 1)}, "
            f"of {of} kind{'s' * (of != 1)}{', with scores' * (self.scores is not None)})"
        )

    def __getitem__(self, rows: np.ndarray | slice) -> Self:
        return replace(
            self,
            pictures=self.pictures[rows],
            corners=self.corners[rows],
            kinds=self.kinds[rows],
            scores=None if self.scores is None else self.scores[rows],
        )

    def on(self, pictures: ArrayLike) -> Self:
        """Return the boxes on some pictures, as they lie on a set of these pictures alone.

        Parameters
        ----------
        pictures : array_like, shape (k,), int
            Positions of the pictures in their new order, each one once. A picture may have no box.

        Returns
        -------
        Boxes
            Those on the first of the pictures, which is 0 now, then those on the second, and so on.

        Raises
        ------
        TypeError
            If the positions are not integers.
        ValueError
            If a position is negative or comes twice.
        """
        wanted = _positions("pictures", pictures)
        known, first = np.unique(wanted, return_index=True)
        if len(known) < len(wanted):
            twice = np.setdiff1d(np.arange(len(wanted)), first)[0]
            raise ValueError(f"each picture can be taken once, got {wanted[twice]} again")
        there = self[np.isin(self.pictures, known)]
        renumbered = replace(there, pictures=first[np.searchsorted(known, there.pictures)])
        return renumbered[np.argsort(renumbered.pictures, kind="stable")]


def _positions(name, values):
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{name} must have shape (m,), got {values.shape}")
    # An empty list has no integers, but none that is anything else, either.
    if len(values) and not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{name} must be integers, got {values.dtype}")
    negative = np.flatnonzero(values < 0)
    if len(negative):
        raise ValueError(f"{name} count from 0, got {values[negative[0]]} in row {negative[0]}")
    return values.astype(np.int64, copy=False)


def _finite(name, values, shape):
    values = np.asarray(values)
    if values.shape != shape:
        raise ValueError(f"{name} of {shape[0]} boxes have shape {shape}, got {values.shape}")
    with np.errstate(over="ignore"):
        single = values.astype(np.float32, copy=False)
    bad = np.argwhere(~np.isfinite(single))
    if len(bad):
        row = bad[0][0]
        raise ValueError(
            f"{name} must be finite in float32, got {values[row].tolist()} in row {row}"
        )
    return single


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of each box with each other, as if all lay on one picture.

    Everingham et al. (2010).

    Parameters
    ----------
    first, second : ndarray, shape (k, 4), (m, 4), floating point
        x1, y1, x2, y2 of boxes, x2 > x1 and y2 > y1.

    Returns
    -------
    ndarray, shape (k, m), float64
        0 for boxes that do not meet, to 1 for the same box.
    """
    return _shares(first[:, None], second[None])


def _shares(first, second):
    """Intersection over union along the last axis; in float64, for whether it is above a bound."""
    first, second = (np.moveaxis(box.astype(np.float64), -1, 0) for box in (first, second))
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    both = np.multiply(*sides.clip(0))
    areas = [np.multiply(*(box[2:] - box[:2])) for box in (first, second)]
    return both / (areas[0] + areas[1] - both)


def overlapping(
    first: Boxes, second: Boxes, more_than: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of boxes of one picture that overlap by more than a bound.

    Only boxes that meet are held against each other, so that many boxes on many
    pictures need no table of all pairs.

    Parameters
    ----------
    first, second : Boxes
        Boxes on the same pictures.
    more_than : float
        Intersection over union that a pair must exceed, in [0, 1).

    Returns
    -------
    rows, others : ndarray, shape (p,), int64
        Row in `first` and row in `second` of each pair, in no order.
    shares : ndarray, shape (p,), float64
        Their intersection over union.

    Raises
    ------
    ValueError
        If the bound is outside [0, 1).
    """
    if not 0 <= more_than < 1:
        raise ValueError(f"boxes overlap by more than a bound in [0, 1), got {more_than}")
    blocks = []
    by_picture = np.argsort(first.pictures, kind="stable")
    for start in range(0, max(len(first), 1), ROWS):
        some = by_picture[start : start + ROWS]
        there = _on_pictures_of(first[some], second)
        rows, others = _meeting(first[some], second[there])
        rows, others = some[rows], there[others]
        shares = _shares(first.corners[rows], second.corners[others])
        enough = shares > more_than
        blocks.append((rows[enough], others[enough], shares[enough]))
    rows, others, shares = (np.concatenate(column) for column in zip(*blocks))
    return rows, others, shares


def _on_pictures_of(some, boxes):
    """Rows of boxes on a picture from the first to the last of some, which are sorted by it."""
    if not len(some):
        return np.array([], dtype=np.int64)
    low, high = some.pictures[[0, -1]]
    return np.flatnonzero((boxes.pictures >= low) & (boxes.pictures <= high))


def _meeting(first, second):
    """Rows of all pairs on one picture that share a pixel's column, and a row of pixels, too."""
    rows, others = _sharing_columns(first, second)
    meet = first.corners[rows, 1] < second.corners[others, 3]
    meet &= second.corners[others, 1] < first.corners[rows, 3]
    return rows[meet], others[meet]


def _sharing_columns(first, second):
    """Rows of all pairs on one picture whose x overlap: one of the two begins within the other."""
    edges = np.concatenate([first.corners[:, [0, 2]], second.corners[:, [0, 2]]])
    values, ranks = np.unique(edges, return_inverse=True)
    # Whole numbers that order edges by picture, then by x, exactly.
    pictures = np.concatenate([first.pictures, second.pictures])
    places = pictures[:, None] * len(values) + ranks.reshape(edges.shape)
    begins, ends = places.T
    n = len(first)
    rows, others = _beginning_within(begins[n:], begins[:n], ends[:n])
    # Those that begin in the same place have been found already.
    more_others, more_rows = _beginning_within(begins[:n], begins[n:] + 1, ends[n:])
    return np.concatenate([rows, more_rows]), np.concatenate([others, more_others])


def _beginning_within(begins, low, high):
    """All i, j with low[i] ≤ begins[j] < high[i]."""
    order = np.argsort(begins)
    start, stop = np.searchsorted(begins[order], [low, high])
    counts = stop - start
    rows = np.repeat(np.arange(len(low)), counts)
    steps = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    return rows, order[start[rows] + steps]


def without_doubles(found: Boxes, overlap: float) -> np.ndarray:
    """Rows of boxes without those that overlap with better ones: non-maximum suppression.

    It is greedy: the best box of a picture stays, and those that overlap with it go, whatever their
    kind; then the best of the rest stays, and so on. Of equal scores the earlier row is the better
    one.

    Parameters
    ----------
    found : Boxes
        Boxes with scores.
    overlap : float
        Intersection over union above which two boxes are of one thing, in [0, 1).

    Returns
    -------
    ndarray, shape (k,), int64
        Rows of those that stay, in their order.

    Raises
    ------
    ValueError
        If the boxes have no scores, or `overlap` is outside [0, 1).
    """
    if found.scores is None:
        raise ValueError("boxes have no scores, so none is better than another")
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.argsort(-found.scores, kind="stable")] = np.arange(len(found))
    better, worse, _ = overlapping(found, found, overlap)
    ordered = rank[better] < rank[worse]
    better, worse = better[ordered], worse[ordered]
    gone = np.zeros(len(found), dtype=bool)
    # All boxes that no better one overlaps with stay; what they overlap with goes, and with it
    # its own claims. A few rounds do what one box after the other would.
    while len(better):
        challenged = np.zeros(len(found), dtype=bool)
        challenged[worse] = True
        gone[worse[~challenged[better]]] = True
        open_ = challenged[better] & ~gone[better] & ~gone[worse]
        better, worse = better[open_], worse[open_]
    return np.flatnonzero(~gone)
