"""Simulated inspectors: people who stop a part the more often, the larger its defect is.

They stand in for people where a study is planned, or taught. What they say is drawn by chance from
a curve whose every number is given; how well they agree, comes out.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

__all__ = ["Inspector"]


@dataclass(frozen=True)
class Inspector:
    """One inspector, as a psychometric curve.

    A part of the amount a is stopped by the chance γ + (1 - γ - λ) Φ((a - θ) / σ): Wichmann and
    Hill (2001, equation 1), with Φ for the distribution function of the standard normal. Who looks
    for long misses more (Mackworth, 1948): here θ rises with the share of the round that is done.

    Attributes
    ----------
    threshold : float
        θ at the start of a round: the amount that is seen half of the time.
    spread : float
        σ, in the unit of amounts: how unsure it is where that lies.
    guess : float
        γ, the share of flawless parts that are stopped.
    lapse : float
        λ, the share of the worst parts that pass.
    drift : float
        By how much the threshold is higher at the end of a round.

    Raises
    ------
    ValueError
        If a number is not finite, the spread is not positive, or guess and lapse are no shares
        whose sum is below 1.
    """

    threshold: float
    spread: float
    guess: float = 0.0
    lapse: float = 0.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        if not np.isfinite(list(asdict(self).values())).all() or self.spread <= 0:
            raise ValueError(f"expected finite numbers and a positive spread, got {self}")
        if min(self.guess, self.lapse) < 0 or self.guess + self.lapse >= 1:
            raise ValueError(
                f"guess and lapse must be shares with a sum below 1, got {self.guess} and "
                f"{self.lapse}"
            )

    def chance(self, amounts: ArrayLike, done: ArrayLike = 0.0) -> np.ndarray:
        """Chance that parts are stopped.

        Parameters
        ----------
        amounts : array_like, floating point
            How large the defect of each part is, in the unit of the threshold.
        done : array_like, floating point, default 0.0
            Share of the round that is done when a part comes, of a shape that goes with amounts.

        Returns
        -------
        ndarray
        """
        off = np.asarray(amounts, dtype=float) - self.threshold - self.drift * np.asarray(done)
        seen = stats.norm.cdf(off / self.spread)
        return np.asarray(self.guess + (1 - self.guess - self.lapse) * seen)

    def inspect(self, amounts: ArrayLike, trials: int = 1, *, seed: int) -> np.ndarray:
        """Sort parts, several times, each time in another order.

        Parameters
        ----------
        amounts : array_like, shape (n,), floating point
            How large the defect of each part is.
        trials : int, default 1
            Rounds.
        seed : int
            Seed of the orders and of what is said.

        Returns
        -------
        ndarray, shape (n, trials), bool
            Whether each part is stopped in each round.

        Raises
        ------
        ValueError
            If there is no part, an amount is not finite, or there is no trial.
        """
        amount = np.asarray(amounts, dtype=float)
        if amount.ndim != 1 or not len(amount) or not np.isfinite(amount).all():
            raise ValueError(f"expected finite amounts, one a part, got shape {amount.shape}")
        if trials < 1:
            raise ValueError(f"trials must be at least 1, got {trials}")
        random = np.random.default_rng(seed)
        stopped = np.empty((len(amount), trials), dtype=bool)
        for trial in range(trials):
            order = random.permutation(len(amount))
            done = np.arange(len(amount)) / max(1, len(amount) - 1)
            chance = self.chance(amount[order], done)
            stopped[order, trial] = random.random(len(amount)) < chance
        return stopped
