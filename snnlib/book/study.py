"""The agreement study that a page shows and a benchmark repeats over seeds."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from snnlib.quality.inspectors import Inspector

__all__ = ["INSPECTORS", "TOLERANCE", "TRAINED_PINS", "TRIALS", "draw_study"]

#: Largest amount of a good part, which is half of a nominal defect, in mm (D) and degrees (X, Y).
TOLERANCE: Mapping[str, float] = MappingProxyType({"D": 0.25, "X": 0.5, "Y": 0.5})
#: Pin and row of the defects that the inspection chapters train on.
TRAINED_PINS = ((3, 1), (6, 1), (9, 2))
#: Times that everyone sees each part.
TRIALS = 3
#: Simulated inspectors, amounts in tolerances. One has practice, one is lenient and tires, and one
#: is new. The form of their curve is published, and these numbers are made up.
INSPECTORS: Mapping[str, Inspector] = MappingProxyType(
    {
        "A, practised": Inspector(1.0, spread=0.15, guess=0.01, lapse=0.02, drift=0.1),
        "B, tires": Inspector(1.1, spread=0.25, guess=0.02, lapse=0.05, drift=0.3),
        "C, new": Inspector(0.9, spread=0.40, guess=0.08, lapse=0.08, drift=0.1),
    }
)
PARTS = 50
RANGES = {"good": (0.0, 0.3), "borderline": (0.6, 1.4), "defective": (1.8, 3.0)}  # tolerances


def draw_study(seed: int) -> pd.DataFrame:
    """Draw the parts of a study: a third good, a third on the borderline, a third defective.

    Parameters
    ----------
    seed : int
        Seed of the amounts and of the order.

    Returns
    -------
    DataFrame
        A row for each of 50 parts: its ``kind``; the ``direction`` of its defect, and the ``pin``
        and ``row`` that have it; the ``amount``, in mm or degrees, and the same in ``tolerances``;
        and whether that makes it ``defective``.
    """
    random = np.random.default_rng(seed)
    kinds = np.array(list(RANGES))[np.arange(PARTS) % len(RANGES)]
    low, high = np.array([RANGES[kind] for kind in kinds]).T
    table = pd.DataFrame({"kind": kinds, "tolerances": random.uniform(low, high)})
    # Directions change after each round of kinds, so that every kind has all of them.
    turn = np.arange(PARTS) // len(RANGES)
    table["direction"] = np.array(list(TOLERANCE))[turn % len(TOLERANCE)]
    pins = np.array(TRAINED_PINS)[turn // len(TOLERANCE) % len(TRAINED_PINS)]
    table["pin"], table["row"] = pins.T
    table["amount"] = table.tolerances * table.direction.map(TOLERANCE)
    table["defective"] = table.tolerances > 1
    return table.iloc[random.permutation(PARTS)].reset_index(drop=True)
