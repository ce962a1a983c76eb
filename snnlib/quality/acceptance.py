"""Acceptance plans, decided before the test: how many parts, and how many of them may fail."""

from operator import index

import numpy as np
from scipy import stats

__all__ = ["parts_to_test", "passing_chance", "upper_bound"]


def parts_to_test(share: float, confidence: float = 0.95, allowed: int = 0) -> int:
    """Fewest parts to test, so that a pass proves that fewer than a share of all parts fail.

    A test of n parts is passed if at most c of them fail. A process of which a share p fails or
    more should pass by a chance of at most one minus the confidence: P(X ≤ c) ≤ 1 - confidence for
    a binomial X of n and p, which asks for independent parts. If none may fail, this is
    (1 - p)^n ≤ 1 - confidence, known as success run; with failures it is the plan of Wilks (1941).
    A test that allows for more failures is longer, but a good process fails it less often:
    `passing_chance` tells.

    Parameters
    ----------
    share : float
        Share p of failures, between 0 and 1.
    confidence : float, default 0.95
        Between 0 and 1.
    allowed : int, default 0
        Number c of parts that may fail.

    Returns
    -------
    int
        Such as 59 for 5 %, and 93 if one part may fail.

    Raises
    ------
    ValueError
        If the share or the confidence is out of range, or `allowed` is negative.
    TypeError
        If `allowed` is no whole number.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    if index(allowed) < 0:
        raise ValueError(f"allowed must be a number of parts, got {allowed}")
    # Where both sides are equal, a rounding error should not cost a part.
    risk = _risk(confidence) * (1 + 1e-9)
    few, enough = allowed, allowed + 1
    while stats.binom.cdf(allowed, enough, share) > risk:
        few, enough = enough, 2 * enough
    while enough - few > 1:
        middle = (few + enough) // 2
        if stats.binom.cdf(allowed, middle, share) > risk:
            few = middle
        else:
            enough = middle
    return int(enough)


def passing_chance(share: float | np.ndarray, parts: int, allowed: int = 0) -> float | np.ndarray:
    """Chance that a process passes a test: the operating characteristic of the plan.

    Parameters
    ----------
    share : float or ndarray
        Share of all parts that fail, between 0 and 1.
    parts : int
        Number of parts tested, which are independent.
    allowed : int, default 0
        Number of them that may fail.

    Returns
    -------
    float or ndarray
        Chance that at most as many fail as are allowed to, in the shape of the shares.

    Raises
    ------
    ValueError
        If a share lies outside 0 … 1, or not fewer parts may fail than are tested.
    TypeError
        If `parts` or `allowed` is no whole number.
    """
    shares = np.asarray(share, dtype=float)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    if not 0 <= index(allowed) < index(parts):
        raise ValueError(f"expected 0 ≤ allowed < parts, got {allowed} of {parts}")
    chance = stats.binom.cdf(allowed, parts, shares)
    return chance if shares.ndim else float(chance)


def upper_bound(failures: int, parts: int, confidence: float = 0.95) -> float:
    """Upper end of a one-sided interval of a share of failures.

    Clopper and Pearson (1934): the share of which as few failures as were seen, or fewer, have a
    chance of one minus the confidence. A test is passed just if this bound, of what it saw, is at
    most the share that `parts_to_test` was asked for.

    Parameters
    ----------
    failures, parts : int
        How many of how many parts failed; parts are independent.
    confidence : float, default 0.95
        Between 0 and 1.

    Returns
    -------
    float
        A share; 1 if every part failed.

    Raises
    ------
    ValueError
        If there is no part, more fail than there are, or the confidence is out of range.
    TypeError
        If `failures` or `parts` is no whole number.
    """
    if not 0 <= index(failures) <= index(parts) or parts < 1:
        raise ValueError(f"expected 0 ≤ failures ≤ parts and parts ≥ 1, got {failures} of {parts}")
    risk = _risk(confidence)
    return float(stats.beta.isf(risk, failures + 1, parts - failures)) if failures < parts else 1.0


def _risk(confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    return 1 - confidence
