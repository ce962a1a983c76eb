"""Labelled images and what must be true of them. This room knows nothing of the others."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import train_test_split

__all__ = ["ImageSet", "check_images", "check_labels"]

SHOWN = 6  # names of classes where a set is printed


def check_images(images: np.ndarray) -> None:
    """Refuse anything that is not a batch of finite images.

    Parameters
    ----------
    images : ndarray, shape (n, c, h, w), floating point
        ``n`` images of ``c`` channels, ``h`` rows and ``w`` columns.

    Raises
    ------
    TypeError
        If `images` is no floating-point array.
    ValueError
        If the number of dimensions is not 4, or a pixel is NaN or infinite.
    """
    if not isinstance(images, np.ndarray) or not np.issubdtype(images.dtype, np.floating):
        kind = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"images must be a floating-point NumPy array, got {kind}")
    if images.ndim != 4:
        raise ValueError(f"images must have 4 dimensions (n, c, h, w), got shape {images.shape}")
    # Two numbers tell whether all pixels are finite; only bad sets pay for the search.
    if images.size and not np.isfinite([images.min(), images.max()]).all():
        n, c, h, w = np.argwhere(~np.isfinite(images))[0]
        raise ValueError(
            f"images must be finite, got {images[n, c, h, w]} in image {n}, "
            f"channel {c}, row {h}, column {w}"
        )


def check_labels(labels: ArrayLike) -> np.ndarray:
    """Refuse anything that is not a list of integer class indices.

    Parameters
    ----------
    labels : array_like, shape (n,), int
        Class of each image.

    Returns
    -------
    ndarray, shape (n,), int
        The labels.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If they do not have one dimension, or there are none.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels must be a non-empty list of classes, got shape {labels.shape}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    return labels


def _as_float32(images):
    """Images in the precision that sets have; finite, as `check_images` has found them."""
    with np.errstate(over="ignore"):
        single = images.astype(np.float32, copy=False)
    if images.size and not np.isfinite([single.min(), single.max()]).all():
        place = tuple(np.argwhere(~np.isfinite(single))[0].tolist())
        raise ValueError(f"a pixel is too large for float32: {images[place]} in image {place[0]}")
    return single


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, the names of the classes, and where they came from.

    Attributes
    ----------
    images : ndarray, shape (n, c, h, w), float32
        Photographs lie in [0, 1]; inspection maps are raw values.
    labels : ndarray, shape (n,), int64
        Index of each image's class in `class_names`.
    class_names : tuple of str
        Names of the classes, in the order of their indices.
    source : str
        Where the images came from, in words a page can show.

    Raises
    ------
    TypeError
        If `images` is not floating point or `labels` are not integers.
    ValueError
        If images and labels differ in length, have the wrong number of dimensions, a pixel is
        not finite in float32, or a label names no class.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    source: str

    _of_each: ClassVar[tuple[str, ...]] = ("images", "labels")  # arrays with one entry an image

    def __post_init__(self) -> None:
        check_images(self.images)
        labels = check_labels(self.labels)
        if len(labels) != len(self.images):
            raise ValueError(
                f"every image needs one label, got {len(self.images)} images "
                f"and {len(labels)} labels"
            )
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        if len(outside):
            raise ValueError(
                f"labels must lie in 0 … {len(self.class_names) - 1}, got "
                f"{labels[outside[0]]} at position {outside[0]}"
            )
        object.__setattr__(self, "images", _as_float32(self.images))
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        object.__setattr__(self, "class_names", tuple(self.class_names))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape, count = " × ".join(map(str, self.images.shape[1:])), len(self.class_names)
        names = ", ".join(self.class_names[:SHOWN]) + (", …" if count > SHOWN else "")
        return (
            f"{type(self).__name__}({len(self)} image{'s' * (len(self) != 1)} of {shape}, "
            f"{count} class{'es' * (count != 1)}: {names}; source {self.source!r})"
        )

    @property
    def names(self) -> np.ndarray:
        """Name of the class of each image, shape (n,), str."""
        return np.array(self.class_names)[self.labels]

    def take(self, indices: np.ndarray) -> Self:
        """Return the images at `indices` as a new set.

        Parameters
        ----------
        indices : ndarray, shape (m,), int
            Positions in this set, in the order wanted.

        Returns
        -------
        ImageSet
            ``m`` images.
        """
        return replace(self, **{name: getattr(self, name)[indices] for name in self._of_each})

    def split(self, size: int, *, seed: int) -> tuple[Self, Self]:
        """Cut the set in two, each class in the same proportion on both sides.

        Parameters
        ----------
        size : int
            Number of images in the second part; at least one a class must fit on each side.
        seed : int
            Seed of the draw.

        Returns
        -------
        rest, part : ImageSet
            Sets without a common image; `part` holds `size` images.

        Raises
        ------
        ValueError
            If the classes do not fit into both parts.
        """
        rest, part = train_test_split(
            np.arange(len(self)), test_size=size, random_state=seed, stratify=self.labels
        )
        return self.take(rest), self.take(part)

    def join(self, other: Self) -> Self:
        """Put another set behind this one.

        Parameters
        ----------
        other : ImageSet
            Images of the same shape, whose labels name the same classes.

        Returns
        -------
        ImageSet
            First the images of this set, then those of the other; the source is this set's.

        Raises
        ------
        ValueError
            If the images are of different shapes or the classes of different names.
        """
        if self.images.shape[1:] != other.images.shape[1:]:
            raise ValueError(
                "joined images must have one shape (c, h, w), got "
                f"{self.images.shape[1:]} and {other.images.shape[1:]}"
            )
        if self.class_names != other.class_names:
            raise ValueError(
                f"joined sets must name the same classes, got {self.class_names} "
                f"and {other.class_names}"
            )
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])
            for name in self._of_each
        }
        return replace(self, **joined)

    def class_means(self) -> "ImageSet":
        """Average the images of each class, pixel by pixel.

        Returns
        -------
        ImageSet
            One image for each class that has any, in the order of the classes.
        """
        labels = np.unique(self.labels)
        means = [self.images[self.labels == k].mean(axis=0, dtype=np.float64) for k in labels]
        return ImageSet(np.stack(means), labels, self.class_names, self.source)
