"""A metric learned in closed form: directions in which parts of one class differ count for less."""

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.covariance import ledoit_wolf
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["WithinClassWhitening"]


class WithinClassWhitening(TransformerMixin, BaseEstimator):
    """Makes the spread within classes the same in every direction.

    With S for the covariance of all points, each about the mean of its class, a point x becomes
    S^(-1/2) x: after it, Euclidean distance is the Mahalanobis distance of S. This is relevant
    component analysis (Bar-Hillel, Hertz, Shental and Weinshall, 2005, algorithm 1) with whole
    classes as chunklets. S is shrunk towards a multiple of the identity by the amount of Ledoit and
    Wolf (2004, equation 14), so that it has an inverse however few the points are.

    The root is the symmetric one: of all whitenings it moves points least, so a value of a map
    stays in its place. Zero stays zero.

    Attributes
    ----------
    matrix_ : ndarray, shape (d, d), floating point
        S^(-1/2).
    variances_ : ndarray, shape (d,), floating point
        Eigenvalues of S, descending: the spread within classes in its principal directions.
    n_features_in_ : int
        Width d of the points.
    """

    matrix_: np.ndarray
    variances_: np.ndarray
    n_features_in_: int

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn the spread within classes.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Training points.
        y : array_like, shape (n,)
            Their classes.

        Returns
        -------
        WithinClassWhitening

        Raises
        ------
        ValueError
            If points are not finite, shapes do not match, labels are no classes, or no two points
            of a class differ.
        """
        points, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        classes, members = np.unique(y, return_inverse=True)
        means = np.stack([points[members == k].mean(axis=0) for k in range(len(classes))])
        residuals = points - means[members]
        if not residuals.any():
            raise ValueError(
                f"no two points of a class differ: {len(points)} points in {len(classes)} classes "
                "have no spread to learn from"
            )
        covariance, _ = ledoit_wolf(residuals, assume_centered=True)
        variances, directions = np.linalg.eigh(covariance)
        self.matrix_ = (directions / np.sqrt(variances)) @ directions.T
        self.variances_ = variances[::-1]
        return self

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Whiten points.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Points.

        Returns
        -------
        ndarray, shape (n, d), float64

        Raises
        ------
        NotFittedError, ValueError
            Before `fit`; if the width differs or a value is not finite.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return X @ self.matrix_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
