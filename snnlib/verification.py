"""Same or different: distances of pairs, a threshold for them, and how well it judges.

Pairs share images, so they are no independent trials: intervals count how many images stand behind
them.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.metrics import roc_curve
from sklearn.metrics.pairwise import paired_cosine_distances

from snnlib.evaluation import Estimate

__all__ = ["VerificationScores", "angular_distance", "choose_threshold", "verification_scores"]


@dataclass(frozen=True)
class VerificationScores:
    """How well a distance tells pairs of one class from pairs of two.

    Attributes
    ----------
    auc : `~snnlib.evaluation.Estimate`
        Area under the ROC curve.
    accuracy : `~snnlib.evaluation.Estimate`
        Share of pairs judged rightly at the threshold.
    threshold : float
        Pairs nearer than this are judged to be of the same class.
    false_positive_rate, true_positive_rate : ndarray, shape (t,)
        The ROC curve; "positive" means same class.
    """

    auc: Estimate
    accuracy: Estimate
    threshold: float
    false_positive_rate: np.ndarray = field(repr=False)
    true_positive_rate: np.ndarray = field(repr=False)


def angular_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angle of matching rows as a share of a half turn.

    One minus the angular similarity 1 − arccos(cosine)/π.

    Parameters
    ----------
    first, second : ndarray, shape (n, d), floating point
        Embeddings. A row of zeros is at a right angle to everything.

    Returns
    -------
    ndarray, shape (n,)
        From 0 (same direction) over 0.5 (right angle) to 1 (opposite).

    Raises
    ------
    ValueError
        If shapes differ or a value is not finite.
    """
    # Rounding can carry a cosine past 1, where its angle would be NaN.
    cosines = np.clip(1 - paired_cosine_distances(first, second), -1, 1)
    return np.arccos(cosines) / np.pi


def choose_threshold(distances: ArrayLike, same: ArrayLike) -> float:
    """Threshold that judges the most pairs rightly; to be chosen on validation pairs.

    Parameters
    ----------
    distances : ndarray, shape (n,)
        Distance of each pair.
    same : ndarray, shape (n,), bool
        Whether it is of the same class.

    Returns
    -------
    float
        Halfway between the two neighbouring distances, so that no pair lies on it.

    Raises
    ------
    ValueError
        If a distance is not finite, shapes differ, or only one kind of pair is there.
    """
    D, positive = _check_pairs(distances, same)
    order = np.argsort(D)
    ordered = D[order]
    # Right judgements if the first i pairs count as "same", for i = 0 … n.
    right = np.concatenate([[0], np.cumsum(positive[order])])
    right += np.concatenate([np.cumsum(~positive[order][::-1])[::-1], [0]])
    # Equal distances can't be told apart, so the cut may not fall between them.
    right[1:-1][ordered[1:] == ordered[:-1]] = -1
    edges = np.concatenate([[ordered[0] - 1], ordered, [ordered[-1] + 1]])
    best = int(np.argmax(right))
    return float((edges[best] + edges[best + 1]) / 2)


def verification_scores(
    pairs: ArrayLike, distances: ArrayLike, same: ArrayLike, threshold: float
) -> VerificationScores:
    """Judge pairs by their distance at a threshold chosen elsewhere.

    The interval of either figure is for other images, not for other pairs of the same ones: two
    pairs that share an image share its luck. The variance is that of Aronow, Samii and Assenova
    (2015) for such pairs: of judgements for the accuracy, for the area of placements (DeLong,
    DeLong and Clarke-Pearson, 1988). The interval is Wilson's, of as many trials as have it.

    Parameters
    ----------
    pairs : array_like, shape (n, 2), integer
        Which two images each pair is made of, as numbers that tell images apart.
    distances : array_like, shape (n,), floating point
        Distance of each pair.
    same : array_like, shape (n,), bool
        Whether it is of the same class.
    threshold : float
        Pairs nearer than this are judged to be of the same class.

    Returns
    -------
    VerificationScores

    Raises
    ------
    ValueError
        If a distance is not finite, shapes differ, or there are not two pairs of each kind.
    """
    D, positive = _check_pairs(distances, same)
    images = np.sort(np.asarray(pairs), axis=1)
    if images.shape != (len(D), 2):
        raise ValueError(f"expected two images for each of {len(D)} pairs, got {images.shape}")
    kinds = positive.sum(), (~positive).sum()
    if min(kinds) < 2:
        raise ValueError(f"expected two pairs of each kind or more, got {kinds[0]} and {kinds[1]}")
    right = (threshold > D) == positive
    placed = _placements(D, positive)
    weight = 1 / np.where(positive, *kinds)  # each pair's part of the mean of its kind
    area = placed[positive].mean()
    independent = min(len(np.unique(images)) // 2, len(D))
    false_positives, true_positives, _ = roc_curve(positive, -D)
    return VerificationScores(
        auc=_interval(area, _variance(weight * (placed - area), images), min(independent, *kinds)),
        accuracy=_interval(
            right.mean(), _variance((right - right.mean()) / len(D), images), independent
        ),
        threshold=threshold,
        false_positive_rate=false_positives,
        true_positive_rate=true_positives,
    )


def _placements(D, positive):
    """Share of the other kind that lies on the right side of each pair; equal ones count half."""
    placed = np.empty(len(D))
    for mine, sign in ((positive, 1), (~positive, -1)):
        others = np.sort(sign * D[~mine])
        below, through = (
            np.searchsorted(others, sign * D[mine], side) for side in ("left", "right")
        )
        placed[mine] = 1 - (below + through) / (2 * len(others))
    return placed


def _variance(parts, images):
    """Variance of a sum of parts, a pair each, of which those that share an image go together."""
    _, image = np.unique(images, return_inverse=True)
    by_image = np.bincount(image.ravel(), np.repeat(parts, 2))
    _, couple = np.unique(images, axis=0, return_inverse=True)
    by_couple = np.bincount(couple.ravel(), parts)  # else counted for each of its two images
    return max((by_image**2).sum() - (by_couple**2).sum(), (parts**2).sum())


def _interval(value, variance, trials):
    """A share with Wilson's interval of as many trials as have its variance, or of `trials`."""
    if variance > 0:
        trials = value * (1 - value) / variance
    z = stats.norm.ppf(0.975)
    middle = (value + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * np.sqrt(value * (1 - value) / trials + (z / (2 * trials)) ** 2) / (1 + z**2 / trials)
    return Estimate(float(value), float(max(middle - half, 0)), float(min(middle + half, 1)))


def _check_pairs(distances: ArrayLike, same: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    D, positive = np.asarray(distances), np.asarray(same)
    if D.ndim != 1 or D.shape != positive.shape:
        raise ValueError(
            f"expected one distance and one label a pair, got shapes {D.shape} and {positive.shape}"
        )
    if positive.dtype != bool:
        raise ValueError(f"same must be boolean (True = same class), got {positive.dtype}")
    if not np.isfinite(D).all():
        bad = np.flatnonzero(~np.isfinite(D))[0]
        raise ValueError(f"distances must be finite, got {D[bad]} at position {bad}")
    if positive.all() or not positive.any():
        raise ValueError("expected pairs of both kinds, got only one kind")
    return D, positive
