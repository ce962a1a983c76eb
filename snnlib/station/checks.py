"""Is it a photograph of the kind that the station knows? If not, it is not judged."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Checks", "brightness_and_sharpness"]

WORDS = (("bright", "dark", "brightness"), ("sharp or noisy", "blurred", "sharpness"))
# Photographs in one light are alike, so a range reaches at least so far: brightness by a tenth of
# its middle, sharpness to half and to twice of it, since the edges of a defect make a part sharper.
LEAST, FACTOR = 0.1, 2.0


def brightness_and_sharpness(images: np.ndarray) -> np.ndarray:
    """Measure two things that a lamp or a lens changes.

    Parameters
    ----------
    images : ndarray, shape (n, c, h, w), floating point
        Prepared photographs, at least 3 × 3 pixels.

    Returns
    -------
    ndarray, shape (n, 2), floating point
        Mean, and variance of the Laplacian, of all colours together.
    """
    grey = images.mean(axis=1)
    middle = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    laplacian = around - 4 * middle
    return np.stack([grey.mean(axis=(1, 2)), laplacian.var(axis=(1, 2))], axis=1)


@dataclass(frozen=True, eq=False)
class Checks:
    """Ranges that photographs of parts keep.

    Attributes
    ----------
    low, high : ndarray, shape (2,), floating point
        Of brightness and sharpness.
    """

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, measured: np.ndarray) -> "Checks":
        """Set the ranges: those of good photographs, and half as much on either side.

        Parameters
        ----------
        measured : ndarray, shape (n, 2), floating point
            Brightness and sharpness of good photographs.

        Returns
        -------
        Checks
        """
        low, high = measured.min(axis=0), measured.max(axis=0)
        half, middle = (high - low) / 2, (high + low) / 2
        half[0] = max(half[0], LEAST * middle[0])
        low, high = low - half, high + half
        low[1] = min(low[1], middle[1] / FACTOR)
        high[1] = max(high[1], middle[1] * FACTOR)
        return cls(low, high)

    def fault(self, measured: np.ndarray) -> str:
        """Say what is wrong with a photograph.

        Parameters
        ----------
        measured : ndarray, shape (2,), floating point
            Its brightness and sharpness.

        Returns
        -------
        str
            Empty if nothing is.
        """
        for value, low, high, (more, less, what) in zip(measured, self.low, self.high, WORDS):
            if not low <= value <= high:
                word = more if value > high else less
                return f"too {word}: {what} {value:.3g}, expected {low:.3g} … {high:.3g}"
        return ""
