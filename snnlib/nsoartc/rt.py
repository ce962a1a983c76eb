"""The RT method: how like a reference is a pattern, and how much of it is not.

Recognition-Taguchi, also called T-method 3: Teshima, Hasegawa and Tatebayashi (2012), section
2.4.3. A pattern x of k items is compared with a reference x̄, the mean of good parts. It is split
into the multiple of the reference that fits it best, βx̄, and a rest::

    Σ xⱼ²  =  β² Σ x̄ⱼ²  +  Σ (xⱼ - βx̄ⱼ)²
     S_T   =     S_β     +       S_e

All is computed from the deviation d = x - x̄, since the textbook's S_e = S_T - S_β is a small
difference of large numbers, which single precision can turn negative.
"""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import uniform_filter
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["RT", "check_divider", "metrics_of_sums", "windowed"]

LEAST_DIVIDER = 1e-12  # of the mean S_T


def metrics_of_sums(
    cross: np.ndarray, square: np.ndarray, divider: float | np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sensitivity and error of patterns, from sums over their deviations d = x - x̄.

    ``β = 1 + d·x̄ / r`` and ``Y₂ = √(S_e / (k - 1))`` with ``S_e = |d|² - (d·x̄)² / r``, at least 0.

    Parameters
    ----------
    cross : ndarray, floating point
        ``d·x̄`` of each pattern.
    square : ndarray, same shape, floating point
        ``|d|²`` of each pattern.
    divider : ndarray, broadcastable, floating point
        Effective divider ``r = |x̄|²`` of each reference, positive.
    k : int
        Items a pattern, at least 2.

    Returns
    -------
    beta, error : ndarray, same shape
        β, without a unit (1 for the reference itself), and Y₂ = 1/√η, in the unit of the pattern.
    """
    beta = 1 + cross / divider
    residual = np.maximum(square - cross**2 / divider, 0)
    return beta, np.sqrt(residual / (k - 1))


def check_divider(
    divider: float | np.ndarray, total: float | np.ndarray, name: str = "the reference"
) -> None:
    """Refuse a reference too faint to divide by.

    Parameters
    ----------
    divider : ndarray, floating point
        Effective divider ``r = |x̄|²`` of one or more references.
    total : ndarray, broadcastable, floating point
        Mean of ``S_T = |x|²`` over the patterns to be compared with each.
    name : str, optional
        What to call it in the message.

    Raises
    ------
    ValueError
        If a divider is not above 1e-12 of the mean S_T; says which.
    """
    divider, total = np.broadcast_arrays(divider, total)
    faint = np.argwhere(~(divider > LEAST_DIVIDER * total))
    if len(faint):
        first = tuple(faint[0].tolist())
        where = f" at position {first}" if first else ""
        raise ValueError(
            f"{name} is too faint{where}: its effective divider {divider[first]:.3g} must be above "
            f"{LEAST_DIVIDER:g} of the mean S_T, {total[first]:.3g}"
        )


class RT(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """The RT method: learns a unit space from good parts, and measures patterns against it.

    Teshima, Hasegawa and Tatebayashi (2012), section 2.4.3.

    Parameters
    ----------
    adjugate : bool, default False
        Take the distance with the adjugate of the covariance in place of its inverse, as the MTA
        method does. Needs no regular covariance; its scale is another, by the determinant.

    Attributes
    ----------
    reference_ : ndarray, shape (k,)
        Mean of the good parts, x̄.
    divider_ : float
        Effective divider r = Σ x̄ⱼ².
    centre_ : ndarray, shape (2,)
        Mean of (Y₁, Y₂) over the good parts.
    covariance_ : ndarray, shape (2, 2)
        Their covariance, with divisor n.
    """

    reference_: np.ndarray
    divider_: float
    centre_: np.ndarray
    covariance_: np.ndarray

    def __init__(self, adjugate: bool = False) -> None:
        self.adjugate = adjugate

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn the unit space.

        Parameters
        ----------
        X : array_like, shape (n, k), floating point
            Good parts, n ≥ 2, of k ≥ 2 items each.
        y : object
            Ignored; there for scikit-learn.

        Returns
        -------
        RT

        Raises
        ------
        ValueError
            If there are too few parts or items, one is not finite, or the mean of the good parts
            is too faint to divide by.
        """
        good = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            ensure_min_samples=2,
            ensure_min_features=2,
        )
        self.reference_ = good.mean(axis=0)
        self.divider_ = self.reference_ @ self.reference_
        check_divider(self.divider_, np.einsum("nk,nk->n", good, good).mean())
        Y = self._metrics(good).astype(np.float64)
        self.centre_ = Y.mean(axis=0)
        self.covariance_ = np.cov(Y, rowvar=False, ddof=0)
        self._n_features_out = 2
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Sensitivity and error of each pattern.

        Parameters
        ----------
        X : array_like, shape (n, k), floating point
            Patterns.

        Returns
        -------
        ndarray, shape (n, 2)
            Y₁ = β, without a unit, and Y₂ = √V_e, in the unit of the pattern.

        Raises
        ------
        NotFittedError, ValueError
            Before `fit`; if the number of items differs or one is not finite.
        """
        check_is_fitted(self)
        return self._metrics(validate_data(self, X, reset=False, dtype=[np.float64, np.float32]))

    def distance(self, X: ArrayLike) -> np.ndarray:
        """Squared distance D² = ½ (Y - Ȳ) V⁻¹ (Y - Ȳ)ᵀ of each pattern from the unit space.

        Its mean over the unit space is 1. With the adjugate form, V⁻¹ times the determinant of V.

        Parameters
        ----------
        X : array_like, shape (n, k), floating point
            Patterns.

        Returns
        -------
        ndarray, shape (n,), float64
            Without a unit; in the adjugate form in the squared unit of the pattern.

        Raises
        ------
        NotFittedError, ValueError
            Before `fit`; if the patterns do not fit, or the covariance is singular: then all good
            parts are alike or lie on one line.
        """
        off = self.transform(X) - self.centre_
        matrix = self._adjugate() if self.adjugate else self._inverse()
        return np.einsum("ni,ij,nj->n", off, matrix, off) / 2

    def _metrics(self, X):
        d = X - self.reference_
        square = np.einsum("nk,nk->n", d, d)
        sums = metrics_of_sums(d @ self.reference_, square, self.divider_, X.shape[1])
        return np.stack(sums, axis=1)

    def _adjugate(self):
        (a, b), (c, d) = self.covariance_
        return np.array([[d, -b], [-c, a]])

    def _inverse(self):
        determinant = np.linalg.det(self.covariance_)
        if not determinant > LEAST_DIVIDER * np.prod(np.diag(self.covariance_)):
            raise ValueError(
                "the covariance of (Y₁, Y₂) over the good parts is singular: "
                f"{self.covariance_.tolist()}; expected good parts that differ in both, or "
                "adjugate=True"
            )
        return self._adjugate() / determinant


def windowed(images: np.ndarray, reference: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """RT metrics at every pixel, from the window around it.

    Beyond the border, products of pixels go on as they are at the border.

    Parameters
    ----------
    images : ndarray, shape (..., h, w), floating point
        Images.
    reference : ndarray, shape (h, w) or more of the last dimensions, floating point
        Mean good image x̄.
    size : int
        Height and width of the window in pixels; odd, at least 3.

    Returns
    -------
    beta, error : ndarray, shape (..., h, w), float64
        β and Y₂ at each pixel.

    Raises
    ------
    ValueError
        If the size is even or too small, there is no image, shapes do not match, a pixel is not
        finite, or the reference is too faint in a window.
    """
    images, reference = (np.asarray(array, dtype=np.float64) for array in (images, reference))
    if size < 3 or size % 2 != 1:
        raise ValueError(f"size must be an odd number of pixels of at least 3, got {size}")
    if reference.ndim < 2 or images.shape[-reference.ndim :] != reference.shape:
        raise ValueError(
            f"images must end in the shape of the reference, {reference.shape}, got {images.shape}"
        )
    if not images.size:
        raise ValueError(f"expected at least one image, got shape {images.shape}")
    for name, array in [("images", images), ("reference", reference)]:
        if not np.isfinite(array).all():
            where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
            raise ValueError(f"{name} must be finite, got {array[where]} at position {where}")

    def over_windows(array):
        return size**2 * uniform_filter(array, size, mode="nearest", axes=(-2, -1))

    divider = over_windows(reference**2)
    check_divider(divider, over_windows(images**2).mean(), "the reference in the window")
    d = images - reference
    return metrics_of_sums(over_windows(d * reference), over_windows(d**2), divider, size**2)
