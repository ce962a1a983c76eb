"""A share of parts that come in lots, and how sure it is."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from snnlib.evaluation import Estimate

__all__ = ["proportion_by_lot"]


def proportion_by_lot(hits: ArrayLike, lots: ArrayLike) -> Estimate:
    """Share of hits among parts that come in lots, with an interval for parts of any lot.

    Parts of a lot are alike, so that they tell less than as many that were drawn one by one. How
    much less, shows in how far the shares of the lots lie apart. Korn and Graubard (1998) reckon
    with n* parts in place of n, of which the interval is that of Clopper and Pearson (1934):

    n* = n / deff · (t(n - 1) / t(k - 1))², at most n,

    where k is the number of lots, t(m) the 97.5 % quantile of Student's distribution with m degrees
    of freedom, and deff the variance of the share between lots, k / (k - 1) · Σ (xᵢ - p nᵢ)² / n²
    for xᵢ hits of nᵢ parts and the share p of all, over p (1 - p) / n. If all parts are hits or
    none is, deff is 1. Few lots make a wide interval: two tell next to nothing of a third.

    Parameters
    ----------
    hits : array_like, shape (n,), bool
        Whether each part is one.
    lots : array_like, shape (n,), str or int
        The lot of each part.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError
        If shapes do not match, or parts are of fewer than two lots.
    """
    hit, lot = np.asarray(hits, dtype=bool), np.asarray(lots)
    if hit.ndim != 1 or hit.shape != lot.shape:
        raise ValueError(f"expected one lot a part, got shapes {hit.shape} and {lot.shape}")
    n, (names, of) = len(hit), np.unique(lot, return_inverse=True)
    k = len(names)
    if k < 2:
        raise ValueError(f"expected parts of two lots or more, got {n} parts of {k}")
    share = float(hit.mean())
    apart = np.bincount(of, hit) - share * np.bincount(of)
    variance, alone = k / (k - 1) * (apart**2).sum() / n**2, share * (1 - share) / n
    effect = variance / alone if alone else 1.0
    ratio = np.divide(*stats.t.ppf(0.975, [n - 1, k - 1]))
    counted = min(n, n * ratio**2 / effect) if effect else n
    low, high = _clopper_pearson(share * counted, counted)
    return Estimate(share, low, high)


def _clopper_pearson(successes, n):
    """Ends of the interval of a share; neither number need be a whole one."""
    failures = n - successes
    low = stats.beta.ppf(0.025, successes, failures + 1) if successes > 0 else 0.0
    high = stats.beta.ppf(0.975, successes + 1, failures) if failures > 0 else 1.0
    return float(low), float(high)
