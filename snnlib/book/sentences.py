"""Figures in sentences: written as a reader would, and handed from a cell to the text."""

import numpy as np
from numpy.typing import ArrayLike

from snnlib.extras import extra

__all__ = ["glue_text", "in_points", "percent"]


def percent(share: float, digits: int = 1) -> str:
    """Write a share as a reader would.

    Parameters
    ----------
    share : float
        Part of one.
    digits : int, default 1
        Digits after the point.

    Returns
    -------
    str
        Such as ``97.3 %``.
    """
    return f"{100 * share:.{digits}f} %"


def in_points(gains: ArrayLike) -> str:
    """Write paired differences of shares as a reader would: mean ± standard deviation.

    Parameters
    ----------
    gains : array_like, shape (n,)
        Differences between parts of one, such as seed by seed; at least two.

    Returns
    -------
    str
        In percentage points, such as ``+0.74 ± 0.41`` or ``−0.02 ± 0.41``.
    """
    gains = 100 * np.asarray(gains, dtype=float)
    mean = round(gains.mean(), 2) + 0.0  # which makes -0.0 a plain zero
    return f"{mean:+.2f} ± {gains.std(ddof=1):.2f}".replace("-", "−")


def glue_text(key: str, value: object) -> None:
    """Hand a value to the text of the page, which quotes it by its key.

    Parameters
    ----------
    key : str
        Name on the page.
    value : object
        What is quoted, as `str` writes it.
    """
    with extra("chapters"):
        from myst_nb import glue

    glue(key, value, display=False)
