"""Does the process drift? Control charts of what a station measures."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["ewma_chart", "run_length"]


def ewma_chart(
    values: ArrayLike, *, mean: float, sd: float, weight: float = 0.2, width: float = 3.0
) -> pd.DataFrame:
    """Exponentially weighted moving average of values in their order, with control limits.

    z_i = weight · x_i + (1 - weight) · z_(i-1) with z_0 = mean, and limits
    mean ± width · sd · √(weight / (2 - weight) · (1 - (1 - weight)^2i)): Roberts (1959). It rings
    for a small shift that lasts, where single values would not.

    Parameters
    ----------
    values : array_like, shape (n,), floating point
        In the order in which they were measured.
    mean, sd : float
        Mean and standard deviation of the process while it was in control.
    weight : float, default 0.2
        Weight of the newest value; 1 gives Shewhart's chart of single values.
    width : float, default 3.0
        Half the width between the limits, in standard deviations of z.

    Returns
    -------
    DataFrame
        A row a value: ``value``, ``ewma``, ``lower``, ``upper`` and ``signal``, which is whether
        the average lies outside its limits.

    Raises
    ------
    ValueError
        If there is no value, one is not finite, `sd` or `width` is not positive, or `weight` does
        not lie in (0, 1].
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected values in their order, got shape {values.shape}")
    if not np.isfinite([*values, mean]).all():
        raise ValueError("values and mean must be finite")
    if not (0 < sd < np.inf and 0 < width < np.inf):
        raise ValueError(f"sd and width must be positive and finite, got {sd} and {width}")
    if not 0 < weight <= 1:
        raise ValueError(f"weight must lie in (0, 1], got {weight}")
    with_start = pd.Series(np.concatenate([[mean], values]))
    averages = with_start.ewm(alpha=weight, adjust=False).mean().to_numpy()[1:]
    age = np.arange(1, len(values) + 1)
    spread = np.sqrt(weight / (2 - weight) * (1 - (1 - weight) ** (2 * age)))
    reach = width * sd * spread
    return pd.DataFrame(
        {
            "value": values,
            "ewma": averages,
            "lower": mean - reach,
            "upper": mean + reach,
            "signal": np.abs(averages - mean) > reach,
        }
    )


def run_length(shift: float, *, weight: float = 0.2, width: float = 3.0) -> float:
    """Average number of values until a chart of moving averages signals.

    Without a shift it is how long there is peace between false alarms; with one, how many values
    it takes to find it. By the integral equation of Crowder (1987), solved at Gauss and Legendre's
    points: the length from an average of u, in standard deviations from the mean, is

    L(u) = 1 + 1 / weight · ∫ L(y) φ((y - (1 - weight) u) / weight - shift) dy

    between limits ± width · √(weight / (2 - weight)), for independent values of a normal
    distribution with the density φ. The average starts from the mean, and limits are constant, as
    those of `ewma_chart` are after the first values. There they are narrower at first: a process
    that is off from the start is found sooner, and a first false alarm comes a little sooner.

    Parameters
    ----------
    shift : float
        Of the mean of values, in their standard deviations; 0 while the process is in control.
    weight : float, default 0.2
        Weight of the newest value; 1 gives Shewhart's chart of single values.
    width : float, default 3.0
        Half the width between the limits, in standard deviations of the average.

    Returns
    -------
    float
        Number of values, at least 1.

    Raises
    ------
    ValueError
        If `shift` is not finite, `width` does not lie in (0, 8] or `weight` in [0.001, 1], or the
        chart signals so seldom that it can't be reckoned: not once in 10^10 values.
    """
    if not np.isfinite(shift):
        raise ValueError(f"shift must be finite, got {shift}")
    if not 0 < width <= 8:
        raise ValueError(f"width must lie in (0, 8], got {width}")
    if not 0.001 <= weight <= 1:
        raise ValueError(f"weight must lie in [0.001, 1], got {weight}")
    limit = width * np.sqrt(weight / (2 - weight))
    # The density is as narrow as the weight: a few points for each standard deviation.
    points, measure = np.polynomial.legendre.leggauss(40 + int(4 * width / weight**0.5))
    points, measure = limit * points, limit * measure / weight
    before = np.append(points, 0.0)[:, None]
    chances = stats.norm.pdf((points - (1 - weight) * before) / weight - shift) * measure
    lengths = np.linalg.solve(np.eye(len(points)) - chances[:-1], np.ones(len(points)))
    length = 1 + chances[-1] @ lengths
    if not 1 <= length <= 1e10:
        raise ValueError(f"limits of a width of {width} are so wide that there is hardly a signal")
    return float(length)
