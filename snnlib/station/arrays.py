"""Parts that come as arrays, such as maps, and not as photographs."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["OUT_OF_RANGE", "Arrays", "Transform"]

#: Why a part is not judged of which features make no point of finite numbers.
OUT_OF_RANGE = "it holds values beyond the range that features were made for"

BEYOND = 10.0  # times the largest training value: then values are on another scale


class Transform(Protocol):
    """What makes a part of what the cameras saw: any fitted object of scikit-learn's kind."""

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Prepare parts.

        Parameters
        ----------
        X : ndarray, shape (n, ...)
            What was seen of n parts.

        Returns
        -------
        ndarray, shape (n, ...)
            As many values a part as the station judges.
        """


@dataclass(frozen=True, eq=False)
class Arrays:
    """How arrays become parts.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width of a part.
    largest : float
        Largest absolute value of training parts; ten times as much is on another scale.
    transform : `Transform` or None
        Makes a part of what was seen of it; None if parts come as they are.
    """

    shape: tuple[int, ...]
    largest: float
    transform: Transform | None = None

    def prepare(self, parts: np.ndarray) -> np.ndarray:
        """Bring parts into the shape that the station was set up for.

        Parameters
        ----------
        parts : ndarray, shape (n, c, h, w), floating point
            Parts, or what `transform` takes.

        Returns
        -------
        ndarray, shape (n, c, h, w), floating point

        Raises
        ------
        TypeError
            If parts are no floating-point array.
        ValueError
            If they have another shape or scale, or a value is not finite.
        """
        from snnlib.images import (
            check_images,  # it loads scikit-learn, which a judge can do without
        )

        check_images(parts)
        if parts.shape[1:] != self.shape:
            parts = self._transformed(parts)
        largest = float(np.abs(parts).max(initial=0.0))
        if largest > BEYOND * self.largest:
            raise ValueError(
                f"parts hold values up to {largest:.4g}, training parts up to {self.largest:.4g}: "
                "they are on another scale"
            )
        return parts

    def _transformed(self, parts):
        expected = f"parts must have the shape (n, {', '.join(map(str, self.shape))})"
        if self.transform is None:
            raise ValueError(f"{expected}, got {parts.shape}")
        try:
            return self.transform.transform(parts).reshape(len(parts), *self.shape)
        except ValueError as error:
            what = type(self.transform).__name__
            raise ValueError(
                f"{expected}, got {parts.shape}, of which {what} makes none: {error}"
            ) from error
