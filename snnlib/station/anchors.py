"""Where the classes lie: one anchor each, or several where one is not enough."""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.stats import binomtest
from sklearn.cluster import KMeans
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.model_selection import StratifiedGroupKFold

from snnlib.station.parts import NOT_CLASSES
from snnlib.whitening import WithinClassWhitening

__all__ = ["Anchors", "anchors_a_class", "place_anchors"]

PARTS_AN_ANCHOR = 5  # of a class, at least, before it gets one more
STEPS = (1, 2, 4, 8)  # anchors a class that are tried
FOLDS = 5
SIGNIFICANT = 0.05


@dataclass(frozen=True, eq=False)
class Anchors:
    """Anchors and the classes that they stand for.

    Attributes
    ----------
    points : ndarray, shape (m, d), floating point
        Where they are.
    names : ndarray, shape (m,), str
        Class of each; a class may have several.
    errors : ndarray, shape (m,), floating point
        Squared distance by which each is expected to miss the middle of its class, which is taken
        off squared distances to it. The mean of n parts misses it by their variance over n, so
        without this a class of five would seem farther than one of five hundred.
    spread : float
        Mean squared distance of training points from their anchors, of which `errors` come.
    """

    points: np.ndarray
    names: np.ndarray
    errors: np.ndarray
    spread: float

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or len(self.points) != len(self.names) or not len(self.names):
            raise ValueError(
                f"anchors must be points (m, d), each with a name, got {self.points.shape} "
                f"and {len(self.names)} names"
            )
        if not np.isfinite(self.points).all():
            raise ValueError("anchors must be finite")
        taken = [name for name in self.classes if name.casefold() in NOT_CLASSES]
        if taken:
            raise ValueError(f"no class may be named {taken[0]!r}: the word stands for a verdict")

    @property
    def classes(self) -> list[str]:
        """Names of the classes, sorted."""
        return np.unique(self.names).tolist()

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Measure how far points lie from each class: from the nearest of its anchors.

        Parameters
        ----------
        points : ndarray, shape (n, d), floating point

        Returns
        -------
        ndarray, shape (n, k)
            In the order of `classes`.
        """
        squares = euclidean_distances(points, self.points, squared=True) - self.errors
        to_anchors = np.sqrt(np.maximum(squares, 0))
        of_class = [to_anchors[:, self.names == name].min(axis=1) for name in self.classes]
        return np.stack(of_class, axis=1)

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Name the class that each point lies nearest to.

        Parameters
        ----------
        points : ndarray, shape (n, d), floating point

        Returns
        -------
        ndarray, shape (n,), str
        """
        return np.array(self.classes)[self.distances(points).argmin(axis=1)]

    def with_anchor(self, name: str, points: np.ndarray) -> Self:
        """Add a class without training: its anchor is the mean of some points.

        Parameters
        ----------
        name : str
            Name of the new class.
        points : ndarray, shape (n, d), floating point
            At least one.

        Returns
        -------
        Anchors
            The old ones are left as they were.

        Raises
        ------
        ValueError
            If the class has an anchor already.
        """
        if name in self.names:
            raise ValueError(f"class {name!r} has an anchor already; there are {self.classes}")
        mean = points.mean(axis=0, dtype=np.float64).astype(self.points.dtype)
        return type(self)(
            np.vstack([self.points, mean]),
            np.append(self.names, name),
            np.append(self.errors, self.spread / len(points)),
            self.spread,
        )


def place_anchors(
    points: np.ndarray, names: np.ndarray, a_class: int = 1, *, mended: bool = True, seed: int = 0
) -> Anchors:
    """Place anchors at means of training points.

    One is the mean of its class; several are the centres of k-means within it.

    Parameters
    ----------
    points : ndarray, shape (n, d), floating point
        Training points.
    names : ndarray, shape (n,), str
        Class of each.
    a_class : int, default 1
        Anchors a class; fewer where a class has less than five points for each.
    mended : bool, default True
        Whether distances are mended for the error of a mean of few points.
    seed : int, default 0
        Seed of k-means.

    Returns
    -------
    Anchors
    """
    means, of_class, counts, squares = [], [], [], 0.0
    for name in np.unique(names):
        members = points[names == name]
        number = max(1, min(a_class, len(members) // PARTS_AN_ANCHOR))
        if number == 1:
            cluster = np.zeros(len(members), dtype=int)
        else:
            cluster = KMeans(number, n_init=10, random_state=seed).fit_predict(members)
        for k in range(number):
            inside = members[cluster == k]
            mean = inside.mean(axis=0, dtype=np.float64)
            away = inside - mean.astype(points.dtype)
            squares += float(np.einsum("nd,nd", away, away, dtype=np.float64))
            means.append(mean)
            counts.append(len(inside))
        of_class += [name] * number
    free = len(points) - len(means)  # a mean takes one part's worth of spread away
    spread = squares / free if mended and free > 0 else 0.0
    return Anchors(
        np.stack(means).astype(points.dtype), np.array(of_class), spread / np.array(counts), spread
    )


def anchors_a_class(points: np.ndarray, names: np.ndarray, lots: np.ndarray, *, seed: int) -> int:
    """Ask parts that were held out how many anchors a class needs.

    Whitening and anchors are learned without the parts of a lot, or of a fifth where there is one
    lot only, and name these. More anchors are taken if they name more parts rightly, and if that is
    no chance: an exact test of the parts that are named rightly one way only (McNemar, 1947).

    Parameters
    ----------
    points : ndarray, shape (n, d), floating point
        Training points, as the features give them.
    names, lots : ndarray, shape (n,), str
        Class and lot of each.
    seed : int
        Seed of the folds and of k-means.

    Returns
    -------
    int
        1, 2, 4 or 8.
    """
    sizes = np.unique(names, return_counts=True)[1]
    steps = [k for k in STEPS if k == 1 or k * PARTS_AN_ANCHOR <= sizes.max()]
    if len(sizes) < 2 or len(steps) < 2 or len(names) < 2 * FOLDS:
        return 1
    right = np.zeros((len(steps), len(names)), dtype=bool)
    for learned, held_out in _folds(names, lots, seed):
        metric = WithinClassWhitening().fit(points[learned], names[learned])
        known, new = metric.transform(points[learned]), metric.transform(points[held_out])
        for row, number in zip(right, steps):
            anchors = place_anchors(known, names[learned], number, seed=seed)
            row[held_out] = anchors.nearest(new) == names[held_out]
    best = 0
    for step in range(1, len(steps)):
        gained, lost = (right[step] & ~right[best]).sum(), (right[best] & ~right[step]).sum()
        if gained > lost and binomtest(gained, gained + lost).pvalue < SIGNIFICANT:
            best = step
    return steps[best]


def _folds(names, lots, seed):
    """Positions of parts to learn from and of parts to hold out, several times."""
    groups = lots if len(np.unique(lots)) > 1 else np.arange(len(lots))
    folds = StratifiedGroupKFold(
        min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed
    )
    with warnings.catch_warnings():
        # A class of fewer parts than folds is missing in some, and named wrongly there each time.
        warnings.filterwarnings("ignore", "The least populated class")
        splits = list(folds.split(names, names, groups))
    # Of a few parts of each class no spread can be learned.
    return [
        (learned, held_out)
        for learned, held_out in splits
        if np.unique(names[learned], return_counts=True)[1].max() >= PARTS_AN_ANCHOR
    ]
