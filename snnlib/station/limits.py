"""How far from what is known may a part lie? Limits from the scores of parts that were kept aside.

A score is anything that grows with strangeness, such as the distance to the nearest anchor.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

__all__ = ["conformal_limit", "quantile_limit", "tolerance_limit"]


def quantile_limit(scores: ArrayLike, share: float) -> float:
    """Smallest score beyond which at most a share of the calibration parts lie.

    A statement about these parts only: of new parts a little more lie beyond it, on average one in
    n + 1 more, where n is the number of calibration parts.

    Parameters
    ----------
    scores : array_like, shape (n,), floating point
        Scores of calibration parts.
    share : float
        Share that may lie beyond the limit, at least 0 and below 1.

    Returns
    -------
    float
        The largest score if n times `share` is below 1.

    Raises
    ------
    ValueError
        If there is no score, one is not finite, or the share is out of range.
    """
    scores = _check(scores, share)
    beyond = int(round(share * len(scores), 9))  # 0.29 · 100 is 28.999…
    beyond = min(beyond, len(scores) - 1)
    return float(scores[len(scores) - 1 - beyond])


def conformal_limit(scores: ArrayLike, share: float) -> float:
    """Limit beyond which at most a share of *new* parts lie, on average over calibration sets.

    The ⌈(n + 1)(1 - share)⌉-th smallest of n scores (split conformal prediction: Angelopoulos and
    Bates, 2023, section 1). The promise needs nothing but parts in random order, of one kind with
    those to come.

    Parameters
    ----------
    scores : array_like, shape (n,), floating point
        Scores of calibration parts, which took no part in training.
    share : float
        Promised share, at least 0 and below 1.

    Returns
    -------
    float
        Infinite, so that nothing is rejected, if the parts are too few for the promise:
        n < 1 / share - 1.

    Raises
    ------
    ValueError
        If there is no score, one is not finite, or the share is out of range.
    """
    scores = _check(scores, share)
    # Rounded first, since (n + 1)(1 - share) may lie a rounding error above a whole number.
    rank = math.ceil(round((len(scores) + 1) * (1 - share), 9))
    return float(scores[max(rank, 1) - 1]) if rank <= len(scores) else math.inf


def tolerance_limit(scores: ArrayLike, share: float, confidence: float = 0.95) -> float:
    """Limit beyond which at most a share of *new* parts lie, for most calibration sets.

    The one-sided tolerance limit of Wilks (1941), which assumes nothing about the distribution of
    scores: the smallest score of which one may say so with the confidence. `conformal_limit` keeps
    its promise on average over calibration sets; this one keeps it for 95 of 100 of them.

    Parameters
    ----------
    scores : array_like, shape (n,), floating point
        Scores of calibration parts, which took no part in training.
    share : float
        Promised share, at least 0 and below 1.
    confidence : float, default 0.95
        Share of calibration sets whose limit keeps the promise, above 0 and below 1.

    Returns
    -------
    float
        Infinite, so that nothing is rejected, if the parts are too few for the promise: the
        (1 - share)^n of them that all lie within is more than 1 - confidence.

    Raises
    ------
    ValueError
        If there is no score, one is not finite, or a share is out of range.
    """
    scores = _check(scores, share)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    # The k-th smallest score covers less than 1 - share of the parts by the chance that k or more
    # of n parts fall within it.
    chances = binom.sf(np.arange(len(scores)), len(scores), 1 - share)
    enough = np.flatnonzero(chances <= 1 - confidence)
    return float(scores[enough[0]]) if len(enough) else math.inf


def _check(scores: ArrayLike, share: float) -> np.ndarray:
    """The scores, sorted."""
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"expected a score a part, got shape {scores.shape}")
    if not np.isfinite(scores).all():
        bad = np.flatnonzero(~np.isfinite(scores))[0]
        raise ValueError(f"scores must be finite, got {scores[bad]} at position {bad}")
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1, got {share}")
    return np.sort(scores)
