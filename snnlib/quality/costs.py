"""What a decision costs: escapes and false alarms in money, and when inspection pays at all.

All prices are in one currency of the reader's choice, all rates are shares of parts.
"""

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

__all__ = [
    "Prices",
    "cost_by_limit",
    "cost_of_inspection",
    "critical_defect_rate",
    "defect_rate_of_cpk",
    "rule_of_cpk",
]


@dataclass(frozen=True)
class Prices:
    """What things cost.

    Attributes
    ----------
    escape : float
        Loss by a defective part that passes.
    false_alarm : float
        Loss by a good part that is stopped.
    found : float
        What a defective part that is stopped still costs, such as rework or scrap.
    inspection : float
        Inspecting one part, good or not.

    Raises
    ------
    ValueError
        If a price is negative or not finite.
    """

    escape: float
    false_alarm: float
    found: float = 0.0
    inspection: float = 0.0

    def __post_init__(self) -> None:
        for name, price in asdict(self).items():
            if not 0 <= price < np.inf:
                raise ValueError(f"{name} must be a price of at least 0 and finite, got {price}")


def cost_of_inspection(
    prices: Prices,
    defect_rate: float | np.ndarray,
    escapes: float | np.ndarray,
    false_alarms: float | np.ndarray,
) -> float | np.ndarray:
    """Expected cost of a part, if every part is inspected.

    With p for the defect rate, e and f for the shares of escapes and of false alarms:
    inspection + p (e · escape + (1 - e) · found) + (1 - p) f · false_alarm. Without inspection a
    part costs p · escape.

    Parameters
    ----------
    prices : Prices
        What things cost.
    defect_rate : float or ndarray
        Share p of defective parts that come in.
    escapes, false_alarms : float or ndarray
        Share e of defective parts that pass, share f of good parts that are stopped.

    Returns
    -------
    float or ndarray
        In the currency of the prices, a part.

    Raises
    ------
    ValueError
        If a share lies outside 0 … 1.
    """
    p, e, f = _shares(defect_rate=defect_rate, escapes=escapes, false_alarms=false_alarms)
    of_defects = e * prices.escape + (1 - e) * prices.found
    cost = prices.inspection + p * of_defects + (1 - p) * f * prices.false_alarm
    return cost if np.ndim(cost) else float(cost)


def critical_defect_rate(prices: Prices, escapes: float, false_alarms: float) -> float:
    """Defect rate from which on inspecting every part is cheaper than inspecting none.

    Where both cost the same. With a perfect inspection it is inspection / (escape - found), the
    break-even of Deming (1986, chap. 15).

    Parameters
    ----------
    prices : Prices
        What things cost.
    escapes, false_alarms : float
        Share of defective parts that pass, share of good parts that are stopped.

    Returns
    -------
    float
        A share; infinite if inspecting never pays.

    Raises
    ------
    ValueError
        If a share lies outside 0 … 1.
    """
    e, f = _shares(escapes=escapes, false_alarms=false_alarms)
    fixed = prices.inspection + f * prices.false_alarm
    gain = (1 - e) * (prices.escape - prices.found) + f * prices.false_alarm
    if gain <= 0 or fixed > gain:
        return np.inf
    return float(fixed / gain)


def cost_by_limit(
    scores: ArrayLike, good: ArrayLike, prices: Prices, defect_rate: float
) -> pd.DataFrame:
    """Escapes, false alarms and expected cost for every limit that tells parts apart.

    A part passes if its score is at most the limit.

    Parameters
    ----------
    scores : array_like, shape (n,), floating point
        How strange each part is; infinite for a part that no limit lets pass.
    good : array_like, shape (n,), bool
        Whether it is good.
    prices : Prices
        What things cost.
    defect_rate : float
        Share of defective parts on the line, which need not be that among these parts.

    Returns
    -------
    DataFrame
        A row a limit, ascending: ``limit``, ``escapes``, ``false_alarms`` and ``cost`` a part. The
        first limit lets nothing pass.

    Raises
    ------
    ValueError
        If a score is NaN or minus infinity, shapes do not match, one kind of part is missing, or a
        share lies outside 0 … 1.
    """
    scores, good = np.asarray(scores, dtype=float), np.asarray(good)
    if scores.ndim != 1 or scores.shape != good.shape or good.dtype != bool:
        raise ValueError(
            f"expected a score and a truth value a part, got shapes {scores.shape} and "
            f"{good.shape}, {good.dtype}"
        )
    bad = np.flatnonzero(np.isnan(scores) | (scores == -np.inf))
    if len(bad):
        raise ValueError(f"scores must be numbers, or infinite, got {scores[bad[0]]} at {bad[0]}")
    if good.all() or not good.any():
        raise ValueError(f"expected good and defective parts, got {good.sum()} good of {len(good)}")
    limits = np.concatenate([[-np.inf], np.unique(scores[np.isfinite(scores)])])
    false_alarms = 1 - _share_up_to(limits, scores[good])
    escapes = _share_up_to(limits, scores[~good])
    cost = cost_of_inspection(prices, defect_rate, escapes, false_alarms)
    columns = {"limit": limits, "escapes": escapes, "false_alarms": false_alarms, "cost": cost}
    return pd.DataFrame(columns)


def _share_up_to(limits, scores):
    """Share of scores that are at most each limit."""
    return np.searchsorted(np.sort(scores), limits, "right") / len(scores)


def defect_rate_of_cpk(cpk: float | np.ndarray) -> float | np.ndarray:
    """Share of parts outside the limits of a normal process that is centred between them.

    Parameters
    ----------
    cpk : float or ndarray
        Process capability: distance from the mean to a limit in units of three standard deviations.

    Returns
    -------
    float or ndarray
        2 Φ(-3 Cpk), with Φ for the distribution function of the standard normal.

    Raises
    ------
    ValueError
        If it is negative, as of a process whose mean lies outside the limits, or NaN.
    """
    if not np.all(np.asarray(cpk) >= 0):
        raise ValueError(f"cpk must be at least 0, got {cpk}")
    return 2 * stats.norm.cdf(-3 * np.asarray(cpk, dtype=float))[()]


def rule_of_cpk(cpk: float) -> Literal["no inspection", "sampling", "every part", "not said"]:
    """The rule of thumb that the public summary of the inspection machine quotes.

    Parameters
    ----------
    cpk : float
        Process capability.

    Returns
    -------
    str
        ``no inspection`` from 1.6 on, ``sampling`` from 1.2 on, ``every part`` up to 1.0; between
        1.0 and 1.2 the rule says nothing.

    Raises
    ------
    ValueError
        If it is NaN.
    """
    if np.isnan(cpk):
        raise ValueError("cpk must be a number, got NaN")
    if cpk >= 1.6:
        return "no inspection"
    if cpk >= 1.2:
        return "sampling"
    return "every part" if cpk <= 1.0 else "not said"


def _shares(**shares):
    for name, values in shares.items():
        values = np.asarray(values, dtype=float)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name} must be shares between 0 and 1, got {values}")
    return [np.asarray(values, dtype=float) for values in shares.values()]
