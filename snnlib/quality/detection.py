"""How large must a defect be to be found? Probability of detection, from hits and misses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

__all__ = ["DetectionCurve", "detection_curve"]

FEWEST = 10  # parts; with fewer, the law of the likelihood ratio is far from its limit
# Deviance that a bound may add: at 90 % two-sided, so that 5 % are beyond the one end that matters.
QUANTILE = float(stats.chi2.ppf(0.90, 1))
ROUNDS = 100


@dataclass(frozen=True, eq=False)
class DetectionCurve:
    """Chance that a defect is detected, by its amount: what `detection_curve` found.

    Attributes
    ----------
    amounts : ndarray, shape (n,), floating point
        Of the defects that the curve is of.
    hits : ndarray, shape (n,), bool
        Whether each was detected.
    log : bool
        Whether the curve is one of logarithms of amounts.
    coefficients : ndarray, shape (2,), floating point
        b0 and b1 of 1 / (1 + exp(-(b0 + b1 a))), for the amount a or its natural logarithm.
    covariance : ndarray, shape (2, 2), floating point
        Of the coefficients: the inverse of Fisher's information.
    a50, a90 : float
        Amounts that are detected by a chance of 50 % and of 90 %, in the unit of the amounts.
    a90_95 : float
        Amount that is detected by a chance of 90 %, at 95 % confidence: the upper end of a
        one-sided interval of ``a90``. It is infinite if hits and misses leave open whether the
        chance of a detection depends on the amount.
    """

    amounts: np.ndarray
    hits: np.ndarray
    log: bool
    coefficients: np.ndarray
    covariance: np.ndarray
    a50: float
    a90: float
    a90_95: float

    def probability(self, amounts: ArrayLike) -> np.ndarray:
        """Chance that defects are detected.

        Parameters
        ----------
        amounts : array_like, floating point
            Of any shape, in the unit of the data.

        Returns
        -------
        ndarray
            Of the same shape.

        Raises
        ------
        ValueError
            If an amount is not finite, or not positive where logarithms are taken.
        """
        b0, b1 = self.coefficients
        return np.asarray(special.expit(b0 + b1 * _measured(amounts, self.log)))

    def band(self, amounts: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the chance that defects are detected, each at 95 % confidence for itself.

        By the likelihood ratio, pointwise: the least and the greatest chance at an amount by which
        the deviance is larger than at its minimum by no more than 2.706. Both together hold at
        90 %. The lower one is 90 % at ``a90_95``.

        Parameters
        ----------
        amounts : array_like, floating point
            Of any shape, in the unit of the data.

        Returns
        -------
        low, high : ndarray
            Of the same shape.

        Raises
        ------
        ValueError
            If an amount is not finite, or not positive where logarithms are taken.
        """
        x = _measured(amounts, self.log)
        likelihood = _Likelihood(_measured(self.amounts, self.log), self.hits)
        bounds = np.array([likelihood.bounds(at) for at in x.ravel()]).reshape(-1, 2)
        low, high = special.expit(bounds.T)
        return low.reshape(x.shape), high.reshape(x.shape)


def detection_curve(amounts: ArrayLike, hits: ArrayLike, *, log: bool = False) -> DetectionCurve:
    """Fit the chance that a defect is detected, by its amount, to hits and misses.

    A logistic curve by maximum likelihood, as in MIL-HDBK-1823A (2009, appendix G). The bound
    ``a90_95`` is that of the likelihood ratio: the largest amount at which a curve of 90 % fits so
    well that its deviance exceeds the minimum by at most 2.706. This is the 90 % quantile of the
    chi-squared distribution with one degree of freedom; an interval so made leaves out 5 % at
    either end, of which one end matters. The law is that of many parts: where parts are spread
    evenly over a curve from 1 % to 99 %, the bound is too small in about 8 % of simulated tests of
    60 parts, and in 6 % of those of 1000, not in 5 %.

    Parts near the transition from misses to hits tell most. Parts that are alike, such as many of
    one lot, tell less than the bounds take them to.

    Parameters
    ----------
    amounts : array_like, shape (n,), floating point
        Size of each defect, or how strong it is, in a unit of the reader's choice.
    hits : array_like, shape (n,), bool
        Whether each was detected.
    log : bool, default False
        Take logarithms of amounts: for amounts of several orders, or a chance that vanishes where
        there is no defect.

    Returns
    -------
    DetectionCurve

    Raises
    ------
    ValueError
        If shapes do not match, hits are no truth values, parts are fewer than 10, an amount is not
        finite, or not positive where logarithms are taken; if all parts are hits, or misses, or of
        one amount; if an amount separates hits from misses, or nearly so, as then no curve is the
        most likely one; or if the chance does not rise with the amount.
    """
    amount, hit = np.array(amounts, dtype=float), np.array(hits)
    if amount.ndim != 1 or amount.shape != hit.shape or hit.dtype != bool:
        raise ValueError(
            f"expected an amount and a truth value a part, got shapes {amount.shape} and "
            f"{hit.shape}, {hit.dtype}"
        )
    if len(amount) < FEWEST:
        raise ValueError(f"expected at least {FEWEST} parts, got {len(amount)}")
    x = _measured(amount, log)
    _check_overlap(amount, x, hit)
    try:
        likelihood = _Likelihood(x, hit)
    except np.linalg.LinAlgError:
        raise _separated(amount, hit) from None
    if likelihood.best[1] <= 1e-9:  # log odds over the range of amounts: rounding errors
        raise ValueError(
            "the chance of a detection does not rise with the amount: check what amounts and hits "
            "mean"
        )
    coefficients, covariance = likelihood.in_unit()
    b0, b1 = coefficients
    at = np.array([-b0 / b1, (special.logit(0.9) - b0) / b1, likelihood.bound_of(0.9)])
    with np.errstate(over="ignore"):
        a50, a90, a90_95 = (np.exp(at) if log else at).tolist()
    return DetectionCurve(amount, hit, log, coefficients, covariance, a50, a90, a90_95)


def _measured(amounts, log):
    """Amounts as the curve takes them."""
    amount = np.asarray(amounts, dtype=float)
    if not np.isfinite(amount).all():
        raise ValueError("amounts must be finite")
    if log and not (amount > 0).all():
        raise ValueError(f"amounts must be positive to have a logarithm, got {amount.min()}")
    return np.log(amount) if log else amount


def _check_overlap(amount, x, hit):
    """Albert and Anderson (1984): the likelihood has a maximum just if hits and misses overlap."""
    if hit.all() or not hit.any():
        what, other = ("hits", "misses") if hit.all() else ("misses", "hits")
        where = "smaller" if hit.all() else "larger"
        raise ValueError(
            f"all {len(hit)} parts are {what}: test {where} amounts until {other} come"
        )
    if x.min() == x.max():
        raise ValueError(f"all parts are of the amount {amount[0]:g}: test others, too")
    if x[~hit].max() <= x[hit].min():
        raise _separated(amount, hit)
    if x[hit].max() <= x[~hit].min():
        raise ValueError(
            "only the smallest amounts are hits: check what amounts and hits mean, as the chance "
            "of a detection should rise with the amount"
        )


def _separated(amount, hit):
    low, high = sorted([amount[~hit].max(), amount[hit].min()])
    return ValueError(
        f"hits and misses hardly overlap, so that no curve is the most likely one: test more parts "
        f"near the transition, of amounts around {low:g} to {high:g}"
    )


class _Likelihood:
    """Logistic likelihood of hits by a measure, whose unit is its range."""

    def __init__(self, x, hit):
        self.hit = hit
        self.centre, self.scale = x.mean(), np.ptp(x)
        self.design = np.column_stack([np.ones(len(x)), (x - self.centre) / self.scale])
        self.best, self.information = self._climb()
        self.top = self._log(self.design @ self.best)

    def in_unit(self):
        """Most likely coefficients, and their covariance, in the unit of the measure."""
        back = np.array([[1, -self.centre / self.scale], [0, 1 / self.scale]])
        return back @ self.best, back @ np.linalg.inv(self.information) @ back.T

    def bound_of(self, chance):
        """Upper bound of the measure at which the curve takes a chance.

        It lies in the distance t / (1 - t) beyond the most likely one: for t = 1, the curve through
        it is level.
        """
        level = special.logit(chance)
        likely = (level - self.best[0]) / self.best[1]

        def beyond(t):
            return self._excess([level, 0], [-(1 - t) * likely - t, 1 - t]) - QUANTILE

        if beyond(1.0) <= 0:
            return np.inf
        t = optimize.brentq(beyond, 0.0, 1.0)
        return self.centre + self.scale * (likely + t / (1 - t))

    def bounds(self, x):
        """Bounds of the log odds at a measure."""
        z = (x - self.centre) / self.scale
        here = np.array([1, z])
        likely = here @ self.best
        error = np.sqrt(here @ np.linalg.solve(self.information, here))

        def beyond(level):
            return self._excess([level, 0], [-z, 1]) - QUANTILE

        return [_root(beyond, likely, sign * error) for sign in (-1, 1)]

    def _excess(self, through, along):
        """Least deviance of coefficients on a line, over that of the most likely ones."""
        through, along = np.array(through), np.array(along)
        offset, direction = self.design @ through, self.design @ along
        pull = self.information @ along

        def falling(s):
            return -direction @ (self.hit - special.expit(offset + s * direction))

        # Where the line would come closest, if the deviance were a square.
        start, step = pull @ (self.best - through) / (pull @ along), 1 / np.sqrt(pull @ along)
        s = _root(falling, start, -step if falling(start) > 0 else step)
        return 2 * (self.top - self._log(offset + s * direction))

    def _log(self, odds):
        return odds @ self.hit - np.logaddexp(0, odds).sum()

    def _climb(self):
        """The most likely coefficients and Fisher's information there, by Newton's method."""
        best = np.zeros(2)
        for _ in range(ROUNDS):
            odds = self.design @ best
            chance = special.expit(odds)
            information = (self.design.T * (chance * (1 - chance))) @ self.design
            slope = self.design.T @ (self.hit - chance)
            if np.linalg.cond(information) > 1e12:
                break
            step = np.linalg.solve(information, slope)
            if slope @ step < 1e-20:
                return best, information
            # Far from the top, a whole step may lead down.
            while self._log(self.design @ (best + step)) < self._log(odds) - 1e-9:
                step = step / 2
            best = best + step
        raise np.linalg.LinAlgError("no maximum in reach")


def _root(function, start, step):
    """Zero of a function on the side of a step, on which its sign changes once."""
    sign, near, far = np.sign(function(start)), start, start + step
    if sign == 0:
        return start
    while np.sign(function(far)) == sign:
        step *= 2
        near, far = far, far + step
    return optimize.brentq(function, near, far)
