"""What is said of one part, and its picture for the operator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INVALID", "UNKNOWN", "Verdict"]

#: Verdict on a part that is like the good ones, but not enough.
UNKNOWN = "unknown"
#: Verdict on a photograph that the station was not made for, and does not judge.
INVALID = "INVALID"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is said of one part.

    Attributes
    ----------
    name : str
        Name of the nearest anchor; `.UNKNOWN` if that is a good one and the score is beyond the
        limit; `.INVALID` if the photograph was not judged.
    passes : bool
        Whether the part is good.
    score, limit : float
        Its score, and the largest that passes.
    nearest, second : str
        Names of the nearest and of the second nearest class; the latter is empty if there is one.
    distance, second_distance : float
        Distances to them; the latter is NaN if there is one.
    why : str
        What is wrong with a photograph that was not judged; empty otherwise.
    seen : ndarray, shape (c, h, w)
        The part as the network sees it.
    heat : ndarray, shape (rows, columns), or None
        How much each place speaks against the part. With patches for evidence 1 is the limit; with
        tiles it is by how much the distance to the good anchor falls if the tile is replaced by
        that of the mean good part. None if nothing is known of places.
    tiled : bool
        Whether places are tiles.
    place : (int, int) or None
        Column and row, counted from 1, of the place that speaks most against the part. None for a
        part that passes, or if no place speaks against it.
    """

    name: str
    passes: bool
    score: float
    limit: float
    nearest: str
    second: str
    distance: float
    second_distance: float
    why: str
    seen: np.ndarray
    heat: np.ndarray | None
    tiled: bool
    place: tuple[int, int] | None

    @classmethod
    def of(
        cls,
        row: Mapping[str, Any],
        good: str,
        limit: float,
        *,
        seen: np.ndarray,
        heat: np.ndarray | None,
        tiled: bool = False,
    ) -> Self:
        """Put together what was found.

        Parameters
        ----------
        row : dict
            Of the table that judging gives.
        good : str
            Name of the class of good parts.
        limit : float
            Largest score that passes.
        seen, heat, tiled
            As for the class.

        Returns
        -------
        Verdict
        """
        passes, place = row["verdict"] == good, None
        if heat is not None and not passes and heat.max() > 0:  # else no place is to blame
            line, column = np.unravel_index(heat.argmax(), heat.shape)
            place = int(column) + 1, int(line) + 1
        return cls(
            name=str(row["verdict"]),
            passes=bool(passes),
            score=float(row["score"]),
            limit=limit,
            nearest=str(row["nearest"]),
            second=str(row["second"]),
            distance=float(row["distance"]),
            second_distance=float(row["second_distance"]),
            why=str(row["why"]),
            seen=seen,
            heat=heat,
            tiled=tiled,
            place=place,
        )

    def __repr__(self) -> str:
        where = "" if self.place is None else f"; place {self.place}"
        return f"Verdict({'; '.join(self._words())}{where})"

    def _words(self):
        """What was decided, and what it rests on."""
        decided = f"{'PASS' if self.passes else 'STOP'}: {self.name}"
        if self.why:
            return decided, self.why
        near = f"{self.nearest} {self.distance:.2f}"
        if self.second:
            near += f", {self.second} {self.second_distance:.2f}"
        return decided, near

    def draw(self, ax: "Axes | None" = None, vmax: float | None = None) -> "Axes":
        """Draw the picture for the operator: the part, its verdict, and what speaks against it.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; the current one if None.
        vmax : float, optional
            Values of a map run from blue at -vmax over white to red at vmax; a photograph is drawn
            as it is.

        Returns
        -------
        Axes
        """
        from snnlib import plots  # Matplotlib is not needed to judge

        words = "\n".join(self._words())
        if self.tiled and self.heat is not None:
            tiles = self.heat.shape
            return plots.operator(self.seen, words, self.passes, tiles, self.place, ax, vmax)
        photograph = np.rint(255 * self.seen).astype(np.uint8)
        photograph = photograph[0] if len(photograph) == 1 else photograph.transpose(1, 2, 0)
        return plots.heat_map(photograph, self.heat, words, self.passes, ax)
