"""From encoder to embeddings, and from embeddings to a verdict by the nearest anchor."""

from dataclasses import replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from snnlib.encoders import place_of
from snnlib.images import ImageSet, check_images

__all__ = ["AnchorClassifier", "embed", "through"]


@torch.inference_mode()
def embed(encoder: nn.Module, images: np.ndarray, batch_size: int = 1024) -> np.ndarray:
    """Embed images where the encoder's weights are, without dropout and without gradients.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps (n, c, h, w) to (n, d). The training mode of each of its layers is left as it was.
    images : ndarray, shape (n, c, h, w), floating point
        Images, all pixels finite.
    batch_size : int, default 1024
        Images at a time, which bounds the memory.

    Returns
    -------
    ndarray, shape (n, d), float32

    Raises
    ------
    TypeError
        If `images` is no floating-point array.
    ValueError
        If `images` is empty, has not 4 dimensions, or holds a NaN or infinite pixel; if the batch
        size is not positive.
    """
    check_images(images)
    if not len(images):
        raise ValueError("images must hold at least one image, got none")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    place = place_of(encoder)
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
        # torch.tensor copies, so that a read-only array is never written through.
        parts = [encoder(torch.tensor(batch).to(place.device, place.dtype)) for batch in batches]
        return torch.cat(parts).float().cpu().numpy()
    finally:
        for module, training in modes:  # a layer may have been frozen by itself
            module.training = training


def through(front: nn.Module, image_set: ImageSet) -> ImageSet:
    """What is seen of images behind a layer that makes images of images.

    Parameters
    ----------
    front : torch.nn.Module
        Maps (n, c, h, w) to images again, such as a fitted scaler.
    image_set : ImageSet
        Images as they come.

    Returns
    -------
    ImageSet
        The same images as a network behind `front` sees them, with their labels.

    Raises
    ------
    ValueError
        If the layer refuses them, or what it puts out are no images.
    """
    return replace(image_set, images=embed(front, image_set.images))


class AnchorClassifier(ClassifierMixin, BaseEstimator):
    """Names a point by its nearest anchor; the anchor of a class is the mean of its embeddings.

    With squared Euclidean distance this is the decision of prototypical networks: Snell, Swersky
    and Zemel (2017), equations 1 and 2.

    The mean of unit vectors is shorter than they are, the more so the more they scatter, so that
    Euclidean distances favour the anchors of scattered classes. Brought back to length one, anchors
    are compared by their directions alone, as by cosine.

    Parameters
    ----------
    unit_length : bool, default False
        Whether anchors are brought to length one; for embeddings of length one.

    Attributes
    ----------
    classes_ : ndarray, shape (k,)
        Class labels, sorted.
    anchors_ : ndarray, shape (k, d), floating point
        One anchor a class, in the order of `classes_`.
    n_features_in_ : int
        Width d of the embeddings.
    """

    def __init__(self, *, unit_length: bool = False) -> None:
        self.unit_length = unit_length

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Place the anchors.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Training embeddings.
        y : array_like, shape (n,)
            Their labels.

        Returns
        -------
        AnchorClassifier

        Raises
        ------
        ValueError
            If embeddings are not finite, shapes do not match, labels are not classes, or an anchor
            to be brought to length one has no direction.
        """
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, members = np.unique(y, return_inverse=True)
        self.anchors_ = self._means(X, members, self.classes_)
        return self

    def _means(self, X, members, classes):
        """Mean of each class, added up in double and given in the precision of the embeddings."""
        sizes = np.bincount(members)
        places = members, np.arange(len(X))
        mean_of = sparse.csr_array((1 / sizes[members], places), shape=(len(sizes), len(X)))
        means = mean_of @ X.astype(np.float64, copy=False)
        if self.unit_length:
            lengths = np.linalg.norm(means, axis=1, keepdims=True)
            if not lengths.all():
                names = classes[lengths[:, 0] == 0].tolist()
                raise ValueError(f"embeddings of {names} cancel out: no direction is their mean")
            means /= lengths
        return means.astype(X.dtype)

    def distances(self, X: ArrayLike) -> np.ndarray:
        """Euclidean distance of each embedding to each anchor.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Embeddings.

        Returns
        -------
        ndarray, shape (n, k)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError, ValueError
            Before `fit`; if the width differs from that of the anchors or a value is not finite.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        return euclidean_distances(X, self.anchors_)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """How much speaks for each class: the nearer its anchor, the more.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Embeddings.

        Returns
        -------
        ndarray, shape (n, k), or (n,) for two classes
            Minus the distances, in the order of `classes_`; for two classes, as scikit-learn has
            it, one value, which is above zero if the second anchor is the nearer one.
        """
        nearness = -self.distances(X)
        return nearness[:, 1] - nearness[:, 0] if len(self.classes_) == 2 else nearness

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Label of the nearest anchor, however far it is.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Embeddings.

        Returns
        -------
        ndarray, shape (n,)
            Labels out of `classes_`.
        """
        nearest = self.distances(X).argmin(axis=1)
        return self.classes_[nearest]

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Share of embeddings whose nearest anchor bears their label.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Embeddings.
        y : array_like, shape (n,)
            Their labels, each of which must have an anchor.
        sample_weight : array_like, shape (n,), optional
            How much each counts; all the same if None.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If a label has no anchor, or shapes do not match.
        """
        check_is_fitted(self)
        missing = np.setdiff1d(y, self.classes_)
        if len(missing):
            raise ValueError(
                f"labels {missing.tolist()} have no anchor, only {self.classes_.tolist()} have one"
            )
        return float(accuracy_score(y, self.predict(X), sample_weight=sample_weight))

    def reject(self, X: ArrayLike, limit: float) -> np.ndarray:
        """Tell which embeddings lie farther than a limit from every anchor.

        Parameters
        ----------
        X : array_like, shape (n, d)
            Embeddings.
        limit : float
            Largest accepted distance; in units of the embedding.

        Returns
        -------
        ndarray, shape (n,), bool
            True where nothing known is near.

        Raises
        ------
        ValueError
            If the limit is negative or NaN.
        """
        if not limit >= 0:
            raise ValueError(f"limit must be a distance of at least 0, got {limit}")
        return self.distances(X).min(axis=1) > limit

    def without_anchor(self, label: str | float) -> Self:
        """Take a class away: a new classifier with one anchor less.

        With `with_anchor` an anchor is replaced.

        Parameters
        ----------
        label : str or number
            Label of a class.

        Returns
        -------
        AnchorClassifier
            The old one is left as it was.

        Raises
        ------
        ValueError
            If the label has no anchor, or is the only one that has.
        """
        check_is_fitted(self)
        kept = self.classes_ != label
        if kept.sum() != len(kept) - 1 or not kept.any():
            raise ValueError(f"expected one of {self.classes_.tolist()} and another, got {label!r}")
        return self._with(self.classes_[kept], self.anchors_[kept])

    def with_anchor(self, label: str | float, X: ArrayLike) -> Self:
        """Add a class without training: a new classifier with one anchor more.

        Parameters
        ----------
        label : str or number
            Label of the new class.
        X : array_like, shape (m, d)
            At least one embedding of the new class.

        Returns
        -------
        AnchorClassifier
            The old one is left as it was.

        Raises
        ------
        ValueError
            If the label has an anchor already or is of another kind than the others (a number
            among names), or the embeddings do not fit.
        """
        check_is_fitted(self)
        kinds = [np.asarray(value).dtype.kind for value in (label, self.classes_[0])]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"label {label!r} does not go with {self.classes_.tolist()}: another kind of value"
            )
        if label in self.classes_:
            raise ValueError(f"label {label!r} has an anchor already")
        Z = validate_data(self, X, reset=False, dtype=self.anchors_.dtype)
        new = self._means(Z, np.zeros(len(Z), dtype=int), np.array([label]))
        return self._with(np.append(self.classes_, label), np.vstack([self.anchors_, new]))

    def _with(self, classes, anchors):
        """The same classifier with other anchors."""
        other = clone(self)
        order = np.argsort(classes)
        other.classes_, other.anchors_ = classes[order], anchors[order]
        other.n_features_in_ = self.n_features_in_
        return other
