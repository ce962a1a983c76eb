"""One score, one limit, one rule: what passes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from snnlib.station.limits import conformal_limit, quantile_limit, tolerance_limit

__all__ = ["LIMITS", "ROUNDING", "Rule", "set_rule"]

#: Ways to set a limit, by name.
LIMITS: dict[str, Callable[[np.ndarray, float], float]] = {
    "quantile": quantile_limit,
    "conformal": conformal_limit,
    "tolerance": tolerance_limit,
}
#: By this share of the limit a score may be beyond it, since last digits depend on the processor,
#: and on how many parts are looked at together. They must not stop the part that set the limit.
ROUNDING = 1e-4
SCALE = 0.95  # quantile of good calibration parts that is 1 for either half of the score


@dataclass(frozen=True)
class Rule:
    """A part passes if its nearest anchor is a good one and its score is within the limit.

    Attributes
    ----------
    limit : float
        Largest score that passes.
    method : str
        How it was set: a name of `LIMITS`.
    false_alarms : float
        Share of good parts that may lie beyond it, as the method means it.
    parts : int
        Good calibration parts that it comes from.
    calibration : str
        Which these were, in words.
    distance_scale : float
        What the distance to the nearest good anchor is divided by.
    strange_scale : float or None
        What the strangeness of the strangest place is divided by; None if only the distance counts.

    Raises
    ------
    ValueError
        If the limit is not a number of at least 0, or a scale is not positive.
    """

    limit: float
    method: str
    false_alarms: float
    parts: int
    calibration: str
    distance_scale: float = 1.0
    strange_scale: float | None = None

    def __post_init__(self) -> None:
        if not self.limit >= 0:  # a NaN would pass any part
            raise ValueError(f"limit must be at least 0, got {self.limit}")
        scales = [self.distance_scale, 1.0 if self.strange_scale is None else self.strange_scale]
        if not all(scale > 0 for scale in scales):
            raise ValueError(f"scales must be positive, got {scales}")

    @property
    def reach(self) -> float:
        """Largest distance to a good anchor that passes."""
        return self.limit * self.distance_scale

    @property
    def strange_limit(self) -> float:
        """Largest strangeness of a place that passes; infinite if only the distance counts."""
        return self.limit * (np.inf if self.strange_scale is None else self.strange_scale)

    def passes(self, scores: np.ndarray) -> np.ndarray:
        """Tell which scores are within the limit, but for rounding.

        Parameters
        ----------
        scores : ndarray, shape (n,), floating point

        Returns
        -------
        ndarray, shape (n,), bool
        """
        return scores <= self.limit * (1 + ROUNDING)

    def score(self, to_good: np.ndarray, strangest: np.ndarray | None) -> np.ndarray:
        """Put the two halves together: the larger one counts.

        Parameters
        ----------
        to_good : ndarray, shape (n,), floating point
            Distance of each part to the nearest good anchor.
        strangest : ndarray, shape (n,), floating point, or None
            Strangeness of its strangest place.

        Returns
        -------
        ndarray, shape (n,)
        """
        score = to_good / self.distance_scale
        if self.strange_scale is None or strangest is None:
            return score
        return np.maximum(score, strangest / self.strange_scale)


def set_rule(
    to_good: np.ndarray,
    strangest: np.ndarray | None,
    *,
    method: str,
    false_alarms: float,
    calibration: str,
) -> Rule:
    """Set scales and limit from good calibration parts.

    Parameters
    ----------
    to_good : ndarray, shape (n,), floating point
        Distance of each part to the nearest good anchor.
    strangest : ndarray, shape (n,), floating point, or None
        Strangeness of its strangest place. If None, the distance alone is the score, in its own
        unit; otherwise each is divided by its 95 % quantile.
    method : str
        A name of `LIMITS`.
    false_alarms : float
        Share of good parts that may lie beyond the limit.
    calibration : str
        Which parts these are, in words.

    Returns
    -------
    Rule

    Raises
    ------
    ValueError
        If the method is not known or the share out of range, or the parts are too few for what the
        method promises.
    """
    if method not in LIMITS:
        raise ValueError(f"a limit is set by one of {sorted(LIMITS)}, got {method!r}")
    scales: dict = {}
    if strangest is not None:
        least = np.finfo(np.float32).tiny  # identical photographs have no distance to scale by
        values = (max(float(np.quantile(v, SCALE)), float(least)) for v in (to_good, strangest))
        scales = dict(zip(("distance_scale", "strange_scale"), values))
    rule = Rule(0.0, method, false_alarms, len(to_good), calibration, **scales)
    limit = LIMITS[method](rule.score(to_good, strangest), false_alarms)
    if not np.isfinite(limit):
        raise ValueError(
            f"{len(to_good)} good calibration parts are too few to promise at most "
            f"{false_alarms:.2%} false alarms by the method {method!r}: give it more of them, or a "
            "larger share"
        )
    return Rule(limit, method, false_alarms, len(to_good), calibration, **scales)
