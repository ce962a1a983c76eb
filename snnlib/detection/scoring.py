"""What found boxes are worth beside known ones, by the rule that is published for DeepPCB.

A found box hits a known one if it is of its kind and overlaps with it by more than `OVERLAP`.
Each known box can be hit once. From hits follow precision, recall, F and average precision.
"""

from dataclasses import dataclass

import numpy as np

from snnlib.boxes import Boxes, overlapping

__all__ = [
    "OVERLAP",
    "Counts",
    "average_precision",
    "average_precisions",
    "best_threshold",
    "counts_at",
    "f_score",
    "match",
    "mean_average_precision",
    "threshold_for_false",
]

#: Intersection over union that a hit must exceed, as Tang et al. (2019) have it for DeepPCB.
OVERLAP = 0.33


def match(
    found: Boxes, known: Boxes, *, overlap: float = OVERLAP, any_kind: bool = False
) -> np.ndarray:
    """For each found box the known box that it hits.

    Found boxes take their turn by falling score, of equal scores the earlier row first. Each takes
    the known box of its picture and kind with which it overlaps most, of those that are free.

    Parameters
    ----------
    found : Boxes, of m boxes
        Boxes with scores.
    known : Boxes
        What there is on the same pictures.
    overlap : float, default `OVERLAP`
        Intersection over union that a hit must exceed, in [0, 1).
    any_kind : bool, default False
        Whether a defect counts as found whatever it is called.

    Returns
    -------
    ndarray, shape (m,), int64
        Row in `known`, or -1 for a box that hits none.

    Raises
    ------
    ValueError
        If the found boxes have no scores, or `overlap` is outside [0, 1).
    """
    turn = np.argsort(_falling(found), kind="stable")
    rows, others, shares = overlapping(found, known, overlap)
    if not any_kind:
        same = found.kinds[rows] == known.kinds[others]
        rows, others, shares = rows[same], others[same], shares[same]
    order = np.lexsort((others, -shares, turn[rows]))
    hits, free = [-1] * len(found), [True] * len(known)
    for row, other in zip(rows[order].tolist(), others[order].tolist()):
        if hits[row] < 0 and free[other]:
            hits[row], free[other] = other, False
    return np.array(hits, dtype=np.int64)


def _falling(found):
    """Rows of found boxes by falling score, of equal scores the earlier first."""
    if found.scores is None:
        raise ValueError("found boxes have no scores, so none comes before another")
    return np.argsort(-found.scores, kind="stable")


def average_precision(found: Boxes, known: Boxes, kind: int | None = None) -> float:
    """Area under the steps of precision over recall.

    The sum of the precision at each hit, divided by the number of known boxes; nothing is
    interpolated. So does the evaluation that comes with DeepPCB, which is that of ICDAR 2015.

    Parameters
    ----------
    found, known : Boxes
        Boxes with scores, and what there is on the same pictures.
    kind : int, optional
        The kind whose boxes are counted. If None, all are, and a defect counts as found whatever it
        is called.

    Returns
    -------
    float
        0 to 1; NaN if no box is known.

    Raises
    ------
    ValueError
        If the found boxes have no scores.
    """
    if kind is not None:
        found, known = found[found.kinds == kind], known[known.kinds == kind]
    hit = match(found, known, any_kind=True) >= 0
    return _area(hit[_falling(found)], len(known))


def _area(hit, n_known):
    """Average precision from whether each box hits, by falling score."""
    precisions = hit.cumsum() / np.arange(1, len(hit) + 1)
    return float(precisions[hit].sum() / n_known) if n_known else float("nan")


def average_precisions(found: Boxes, known: Boxes, n_kinds: int) -> np.ndarray:
    """Average precision of each kind, as `average_precision` has it.

    Parameters
    ----------
    found, known : Boxes
        Boxes with scores, and what there is on the same pictures.
    n_kinds : int
        How many kinds there are.

    Returns
    -------
    ndarray, shape (n_kinds,), float64
        0 to 1; NaN for a kind of which no box is known.

    Raises
    ------
    ValueError
        If the found boxes have no scores, or a box is of a kind beyond `n_kinds`.
    """
    n_known = _by_kind(known.kinds, n_kinds)
    order = _falling(found)
    hit, kinds = (match(found, known) >= 0)[order], found.kinds[order]
    _by_kind(kinds, n_kinds)
    return np.array([_area(hit[kinds == kind], n_known[kind]) for kind in range(n_kinds)])


def mean_average_precision(found: Boxes, known: Boxes, n_kinds: int) -> float:
    """Mean of the average precision of all kinds that are known.

    Parameters
    ----------
    found, known : Boxes
        Boxes with scores, and what there is on the same pictures.
    n_kinds : int
        How many kinds there are.

    Returns
    -------
    float
        0 to 1; 0 without found boxes.

    Raises
    ------
    ValueError
        If the found boxes have no scores, a box is of a kind beyond `n_kinds`, or no box is known.
    """
    _check_known(known)
    return float(np.nanmean(average_precisions(found, known, n_kinds)))


def _check_known(known):
    if not len(known):
        raise ValueError("no box is known, so there is nothing to find")


def _by_kind(kinds, n_kinds):
    """How many boxes there are of each kind."""
    counts = np.bincount(kinds, minlength=n_kinds)
    if len(counts) > n_kinds:
        raise ValueError(f"kinds lie in 0 … {n_kinds - 1}, got {len(counts) - 1}")
    return counts


def f_score(found: Boxes, known: Boxes, threshold: float) -> float:
    """F over the boxes of all kinds together: 2 · precision · recall / (precision + recall).

    Parameters
    ----------
    found, known : Boxes
        Boxes with scores, and what there is on the same pictures.
    threshold : float
        Score from which on a found box counts.

    Returns
    -------
    float
        0 to 1; 0 if no box counts.

    Raises
    ------
    ValueError
        If the found boxes have no scores, or no box is known.
    """
    _check_known(known)
    counted = _counted(found, threshold)
    # With precision and recall written out as shares of hits, this is what remains.
    return float(2 * (match(counted, known) >= 0).sum() / (len(counted) + len(known)))


def _counted(found, threshold):
    if found.scores is None:
        raise ValueError("found boxes have no scores, so none reaches a threshold")
    return found[found.scores >= threshold]


def best_threshold(found: Boxes, known: Boxes) -> float:
    """The threshold at which `f_score` is best.

    Parameters
    ----------
    found, known : Boxes
        Boxes with scores, and what there is on the same pictures.

    Returns
    -------
    float
        A score of a found box; the highest, if several are as good.

    Raises
    ------
    ValueError
        If the found boxes have no scores, or no box is found or none known.
    """
    _check_known(known)
    if not len(found):
        raise ValueError("no box is found, so no threshold is better than another")
    # A box takes its turn before all that score less, so a threshold changes no hit above it.
    scores, counted, hits = _at_each_score(found, match(found, known) >= 0)
    return float(scores[np.argmax(2 * hits / (counted + len(known)))])


def _at_each_score(found, marked):
    """Distinct scores, falling; how many boxes reach each, and how many of these are marked."""
    order = _falling(found)
    scores = found.scores[order]
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True)[: len(scores)])
    return scores[last], last + 1, marked[order].cumsum()[last]


def threshold_for_false(found: Boxes, known: Boxes, per_picture: float, n_pictures: int) -> float:
    """The lowest threshold at which there are no more false boxes than so many a picture.

    A false box is one that hits no known box of any kind: a defect that is found by the wrong name
    raises no false alarm.

    Parameters
    ----------
    found, known : Boxes
        Boxes with scores, and what there is on the same pictures.
    per_picture : float
        False boxes that a picture may have on average.
    n_pictures : int
        How many pictures there are, those without any box among them.

    Returns
    -------
    float
        The lowest score of a found box that does; infinite if none does, so that no box counts.

    Raises
    ------
    ValueError
        If the found boxes have no scores, there is no picture, or fewer than no false box is
        allowed.
    """
    if n_pictures < 1 or not per_picture >= 0:
        raise ValueError(
            "expected a picture or more, and no false box or more on each, got "
            f"{n_pictures} and {per_picture}"
        )
    scores, _, false = _at_each_score(found, match(found, known, any_kind=True) < 0)
    enough = scores[false / n_pictures <= per_picture]
    return float(enough[-1]) if len(enough) else float("inf")


@dataclass(frozen=True, eq=False)
class Counts:
    """Boxes by kind, at one threshold.

    Attributes
    ----------
    known : ndarray, shape (k,), int64
        Known boxes of each kind.
    found : ndarray, shape (k,), int64
        Found boxes that are called by it.
    hits : ndarray, shape (k,), int64
        How many of these hit a known box of this kind.
    noticed : ndarray, shape (k,), int64
        How many of the known boxes are hit when it does not matter what a found box is called.
    """

    known: np.ndarray
    found: np.ndarray
    hits: np.ndarray
    noticed: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """Share of the found boxes that hit, shape (k,), float64; NaN where none is found."""
        return _share(self.hits, self.found)

    @property
    def recall(self) -> np.ndarray:
        """Share of the known boxes that are hit, shape (k,), float64; NaN where none is known."""
        return _share(self.hits, self.known)

    @property
    def recall_by_any_name(self) -> np.ndarray:
        """Share of the known boxes that are noticed, shape (k,), float64; NaN where none is."""
        return _share(self.noticed, self.known)


def _share(part, whole):
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def counts_at(found: Boxes, known: Boxes, threshold: float, n_kinds: int) -> Counts:
    """Count known boxes, found ones and hits of each kind.

    Parameters
    ----------
    found, known : Boxes
        Boxes with scores, and what there is on the same pictures.
    threshold : float
        Score from which on a found box counts.
    n_kinds : int
        How many kinds there are.

    Returns
    -------
    Counts
        Precision and recall of each kind.

    Raises
    ------
    ValueError
        If the found boxes have no scores, or a box is of a kind beyond `n_kinds`.
    """
    counted = _counted(found, threshold)
    hits = match(counted, known)
    noticed = match(counted, known, any_kind=True)
    return Counts(
        known=_by_kind(known.kinds, n_kinds),
        found=_by_kind(counted.kinds, n_kinds),
        hits=_by_kind(counted.kinds[hits >= 0], n_kinds),
        noticed=_by_kind(known.kinds[noticed[noticed >= 0]], n_kinds),
    )
