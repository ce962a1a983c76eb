"""Does the process drift? Control charts of what a station measures."""

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

__all__ = ["ewma_chart"]


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
