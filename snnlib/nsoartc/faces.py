"""Pictures of connector faces and of maps, which lie as the pins do."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from snnlib.nsoartc.soart import COLUMNS, ROWS
from snnlib.plots import tiled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["face"]


def face(
    values: np.ndarray,
    marked: Sequence[tuple[int, int]] = (),
    ax: "Axes | None" = None,
    vmax: float | None = None,
) -> "Axes":
    """Draw an array whose tiles lie as the 3 × 13 pins of a connector face do.

    Parameters
    ----------
    values : ndarray, shape (3 h, 13 w)
        A camera image, or a map: each pin is a tile of h × w values.
    marked : sequence of (int, int), default ()
        Pin column (1 … 13) and row (1 … 3) of pins to frame.
    ax : Axes, optional
        Where to draw; the current one if None.
    vmax : float, optional
        Values run from blue at -vmax over white to red at vmax; grey from 0 to 1 if None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the array can't be cut into 3 × 13 tiles.
    """
    if values.ndim != 2 or values.shape[0] % ROWS or values.shape[1] % COLUMNS:
        raise ValueError(f"expected 3 × 13 tiles of one size, got an array {values.shape}")
    ax = tiled(values, (ROWS, COLUMNS), marked, ax, vmax)
    if vmax:
        ax.set_xticks(np.arange(1, COLUMNS) + 0.5, minor=True)
        ax.set_yticks(np.arange(1, ROWS) + 0.5, minor=True)
        ax.grid(which="minor", color="#777777", alpha=1, lw=0.6)
    ax.tick_params(which="minor", length=0)
    ax.set(xlabel="pin column", ylabel="pin row")
    return ax
