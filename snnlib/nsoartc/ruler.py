"""A ruler: where each pin's tip is, triangulated from the three images and held against limits.

What an optics engineer would try first. It needs no training and no defective part, only the
geometry of the cell and a few good parts that say where tips belong.
"""

from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from snnlib.images import check_images
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.simulator import LENGTH, PARALLAX, PIXEL
from snnlib.nsoartc.soart import CAMERAS, COLUMNS, IMAGE_SHAPE, ROWS, WINDOW

__all__ = ["DIRECTIONS", "Ruler", "tip_centroids"]

#: What is measured of a pin, drawback in mm and tilts in degrees.
DIRECTIONS = ("D", "X", "Y")
FACE_ROW = 1  # pixel row of each window that shows the face, even if the part lies 0.1 mm off
BRIGHTER = 1.1  # the flat middle of a tip is brighter than the face, its bevel is darker
DARKEST = 0.05  # share of full scale; a darker face is taken for this, lest noise look like a tip
FAINTEST = 1.0  # less light than this above the face, in pixels of face, and no tip is there


def tip_centroids(images: np.ndarray) -> np.ndarray:
    """Find the middle of each tip's bright flat, weighted by its light above that of the face.

    Parameters
    ----------
    images : ndarray, shape (n, 3, 66, 286), floating point
        Images of the left, centre and right camera.

    Returns
    -------
    ndarray, shape (n, 3, 3, 13, 2), float64
        By camera, pin row and pin column: x and y from the middle of the pin's window, in pixels.
        NaN where no tip is seen.

    Raises
    ------
    TypeError
        If `images` is no floating-point array.
    ValueError
        If it has another shape, there is no image, or a pixel is not finite.
    """
    check_images(images)
    if not len(images) or images.shape[1:] != IMAGE_SHAPE:
        raise ValueError(f"images must have the shape (n ≥ 1, *{IMAGE_SHAPE}), got {images.shape}")
    windows = images.reshape(-1, len(CAMERAS), ROWS, WINDOW, COLUMNS, WINDOW).swapaxes(3, 4)
    face = windows[..., FACE_ROW, :].mean(axis=-1, dtype=np.float64)[..., None, None]
    face = np.maximum(face, DARKEST)
    light = np.clip(windows - BRIGHTER * face, 0, None)
    total = light.sum(axis=(-2, -1))
    seen = total > FAINTEST * face[..., 0, 0]
    place = np.arange(WINDOW) - (WINDOW - 1) / 2
    moments = [light.sum(axis=-2) @ place, light.sum(axis=-1) @ place]
    return np.stack([np.divide(m, total, np.full_like(m, np.nan), where=seen) for m in moments], -1)


class Ruler(BaseEstimator):
    """Measures drawback and tilt of every pin.

    With side cameras at ±θ, 18.9°, and images that are registered at the plane of the tips, a tip
    that is drawn back by d moves by -d · tan θ in the left image and by +d · tan θ in the right
    one; a pin tilted by φ moves its tip by length · sin φ in all three. So the difference of
    the side views gives the drawback, the mean of all views the tilt, each against where tips of
    good parts are. What all pins of a part have in common is its place in the jig, not a defect:
    the median over the pins is taken off.

    Attributes
    ----------
    mean_ : ndarray, shape (3, 3, 13, 2), float64
        Mean centroids of good parts, in pixels.
    """

    mean_: np.ndarray

    def fit(self, images: np.ndarray, y: object = None) -> Self:
        """Learn where the tips of good parts are.

        Parameters
        ----------
        images : ndarray, shape (n, 3, 66, 286), floating point
            Images of good parts.
        y : object, optional
            Ignored.

        Returns
        -------
        Ruler

        Raises
        ------
        TypeError, ValueError
            As `tip_centroids`; also if a pin shows no tip in any part.
        """
        centroids = tip_centroids(images)
        missing = np.isnan(centroids).all(axis=(0, -1))
        if missing.any():
            camera, row, column = np.argwhere(missing)[0]
            raise ValueError(
                f"no good part shows a tip at pin {column + 1}, row {row + 1} in the "
                f"{CAMERAS[camera]} image"
            )
        self.mean_ = np.nanmean(centroids, axis=0)
        return self

    def measure(self, images: np.ndarray) -> np.ndarray:
        """Measure every pin.

        Parameters
        ----------
        images : ndarray, shape (n, 3, 66, 286), floating point
            Images of parts.

        Returns
        -------
        ndarray, shape (n, 3, 13, 3), float64
            By pin row and pin column: drawback in mm, tilts in X and Y in degrees. NaN where a
            camera sees no tip.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As `tip_centroids`.
        """
        check_is_fitted(self)
        moved = PIXEL * (tip_centroids(images) - self.mean_)
        x, y = np.moveaxis(moved, -1, 0)
        apart = (x[:, -1] - x[:, 0]) / (PARALLAX[-1] - PARALLAX[0])
        measured = np.stack([apart, x.mean(axis=1), y.mean(axis=1)], axis=-1)
        unseen = np.isnan(measured).all(axis=(1, 2), keepdims=True)
        measured -= np.nanmedian(np.where(unseen, 0, measured), axis=(1, 2), keepdims=True)
        measured[..., 1:] = np.degrees(np.arcsin(np.clip(measured[..., 1:] / LENGTH, -1, 1)))
        return measured

    def inspect(self, images: np.ndarray, limits: tuple[float, float, float]) -> pd.DataFrame:
        """Hold every pin against limits, and tell which is farthest off.

        Parameters
        ----------
        images : ndarray, shape (n, 3, 66, 286), floating point
            Images of parts.
        limits : (float, float, float)
            Largest drawback in mm and largest tilts in X and Y in degrees of a good pin, to either
            side.

        Returns
        -------
        DataFrame
            A row a part: ``verdict``, which is ``OK`` or pin, row and direction, such as ``31X`` or
            ``31X-``, or ``31M`` where no tip is seen; and ``share``, the largest deviation as a
            share of its limit (infinite where no tip is seen).

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As `tip_centroids`; also if a limit is not positive.
        """
        if len(limits) != len(DIRECTIONS) or not all(limit > 0 for limit in limits):
            raise ValueError(f"expected three limits above 0, got {limits}")
        measured = self.measure(images)
        shares = np.abs(measured) / limits
        shares[np.isnan(shares)] = np.inf
        rows = shares.reshape(len(shares), -1)
        worst = rows.argmax(axis=1)
        share = rows[np.arange(len(rows)), worst]
        values = measured.reshape(rows.shape)[np.arange(len(rows)), worst]
        row, pin, direction = np.unravel_index(worst, shares.shape[1:])
        ways = np.array(DIRECTIONS)[direction]
        ways = np.char.add(ways, np.where(values < 0, "-", ""))
        ways = np.where(np.isnan(values), "M", ways)
        codes = [f"{p}{r}{way}" for p, r, way in zip(pin + 1, row + 1, ways)]
        return pd.DataFrame({"verdict": np.where(share > 1, codes, OK), "share": share})
