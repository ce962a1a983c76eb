"""Drawing pairs and triplets as index arrays, and datasets that gather a whole batch at once.

Nothing here copies an image before it is needed: a pair is two positions in the set it was drawn
from, a triplet is three. This room knows nothing of losses.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Dataset

from snnlib.images import ImageSet, check_labels

__all__ = [
    "BatchDataset",
    "PairDataset",
    "TripletDataset",
    "draw_batches",
    "draw_pairs",
    "draw_triplets",
    "triplet_pairs",
]


class _Classes:
    """Image positions grouped by class, so that a partner can be drawn by arithmetic alone."""

    def __init__(self, labels):
        self.names, self.of = np.unique(labels, return_inverse=True)
        self.size = np.bincount(self.of, minlength=len(self.names))
        self.order = np.argsort(self.of, kind="stable")  # positions, class after class
        self.start = np.cumsum(self.size) - self.size  # where each class begins in `order`
        self.rank = np.empty(len(labels), dtype=np.int64)  # place of an image in its class
        self.rank[self.order] = np.arange(len(labels)) - np.repeat(self.start, self.size)

    def positives(self, anchors, rng):
        """Another image of each anchor's class, each one equally likely."""
        size = self.size[self.of[anchors]]
        step = rng.integers(1, size)
        rank = (self.rank[anchors] + step) % size
        return self.order[self.start[self.of[anchors]] + rank]

    def negatives(self, anchors, rng):
        """An image of any other class, each one equally likely."""
        classes = self.of[anchors]
        place = rng.integers(0, len(self.of) - self.size[classes])
        place += np.where(place >= self.start[classes], self.size[classes], 0)
        return self.order[place]

    def balanced(self, n, rng):
        """`n` images, each class and within it each image about equally often, in random order."""
        counts = np.bincount(_draw_evenly(len(self.names), n, rng), minlength=len(self.names))
        ranks = [_draw_evenly(size, count, rng) for size, count in zip(self.size, counts)]
        return rng.permutation(self.order[np.repeat(self.start, counts) + np.concatenate(ranks)])

    def balanced_negatives(self, anchors, rng):
        """An image of another class: each other class equally likely, then each of its images."""
        k = len(self.names)
        others = (self.of[anchors] + rng.integers(1, k, len(anchors))) % k
        return self.order[self.start[others] + rng.integers(0, self.size[others])]

    def groups(self, k, n, size, rng):
        """`n` groups of `size` images of class `k`, dealt from shuffle after shuffle.

        None is twice in a group, unless the class has too few: then each of its images is in every
        group, as often as the others or once more.
        """
        a_shuffle = self.size[k] // size  # groups that one shuffle gives
        a_group = -(-size // self.size[k])  # shuffles that one group takes
        shuffles = -(-n // a_shuffle) if a_shuffle else n * a_group
        ranks = rng.permuted(np.tile(np.arange(self.size[k]), (shuffles, 1)), axis=1)
        if a_shuffle:
            groups = ranks[:, : a_shuffle * size].reshape(-1, size)[:n]
        else:
            groups = ranks.reshape(n, -1)[:, :size]
        return self.order[self.start[k] + groups]

    def check_classes(self, wanted):
        """Refuse to put more classes into a batch than there are."""
        if len(self.names) < wanted:
            raise ValueError(
                f"a batch of {wanted} classes needs as many, got only {self.names.tolist()}"
            )

    def check_positives(self):
        """Refuse a class of one image: it has no partner to draw."""
        if (self.size < 2).any():
            lonely = self.names[self.size < 2].tolist()
            raise ValueError(
                "a positive pair needs at least two images of a class, got one image of class "
                f"{lonely}"
            )

    def check_negatives(self):
        """Refuse a single class: it has no other to draw from."""
        if len(self.names) < 2:
            raise ValueError(
                f"a negative pair needs two classes, got only class {self.names.tolist()}"
            )


def _draw_evenly(size, n, rng):
    """`n` of the positions 0 … size − 1, none used twice before all were used once."""
    rounds = max(-(-n // size), 1)
    return np.concatenate([rng.permutation(size) for _ in range(rounds)])[:n]


def draw_pairs(
    labels: ArrayLike, n: int, positive_share: float = 0.5, *, seed: int | Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs of images of the same class (positive) and of different classes (negative).

    First images come from repeated permutations, so every image is used about equally often. The
    second image is drawn uniformly from the same class, never the first image itself, or uniformly
    from all other classes. Time and memory are those of the index arrays.

    Parameters
    ----------
    labels : ndarray, shape (m,), int
        Class of each image.
    n : int
        Number of pairs.
    positive_share : float, default 0.5
        Share of positive pairs, from 0 to 1.
    seed : int or sequence of int
        Seed of the draw.

    Returns
    -------
    pairs : ndarray, shape (n, 2), int64
        Positions of the two images.
    same : ndarray, shape (n,), bool
        True where both are of the same class.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If `n` is not positive, the share is outside [0, 1], the labels are empty or not in one
        dimension, a negative pair is wanted from a single class, or a positive pair from a class
        of one image.
    """
    labels = check_labels(labels)
    if n < 1:
        raise ValueError(f"n must be at least 1 pair, got {n}")
    if not 0 <= positive_share <= 1:
        raise ValueError(f"positive_share must lie in [0, 1], got {positive_share}")
    classes = _Classes(labels)
    n_positive = round(n * positive_share)
    if n_positive < n:
        classes.check_negatives()
    if n_positive:
        classes.check_positives()

    rng = np.random.default_rng(seed)
    pairs = np.empty((n, 2), dtype=np.int64)
    pairs[:, 0] = _draw_evenly(len(labels), n, rng)
    same = np.zeros(n, dtype=bool)
    same[rng.permutation(n)[:n_positive]] = True
    pairs[same, 1] = classes.positives(pairs[same, 0], rng)
    pairs[~same, 1] = classes.negatives(pairs[~same, 0], rng)
    return pairs, same


def draw_triplets(labels: ArrayLike, n: int, *, seed: int | Sequence[int]) -> np.ndarray:
    """Draw triplets: an anchor, another image of its class (positive), one of another (negative).

    Balanced over the classes, however many images each has: every class gives about as many
    anchors, and each other class is equally likely to give the negative. Within a class every image
    is an anchor about equally often. Time and memory are those of the index arrays.

    Parameters
    ----------
    labels : ndarray, shape (m,), int
        Class of each image.
    n : int
        Number of triplets.
    seed : int or sequence of int
        Seed of the draw.

    Returns
    -------
    ndarray, shape (n, 3), int64
        Positions of anchor, positive and negative; the positive is never the anchor itself.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If `n` is not positive, the labels are empty or not in one dimension, there is a single
        class, or a class of one image.
    """
    labels = check_labels(labels)
    if n < 1:
        raise ValueError(f"n must be at least 1 triplet, got {n}")
    classes = _Classes(labels)
    classes.check_negatives()
    classes.check_positives()

    rng = np.random.default_rng(seed)
    anchors = classes.balanced(n, rng)
    positives = classes.positives(anchors, rng)
    return np.stack([anchors, positives, classes.balanced_negatives(anchors, rng)], axis=1)


def triplet_pairs(triplets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take triplets apart into pairs: first all (anchor, positive), then all (anchor, negative).

    Parameters
    ----------
    triplets : ndarray, shape (n, 3), int
        Positions of anchor, positive and negative.

    Returns
    -------
    pairs : ndarray, shape (2n, 2), int
        Positions of the two images of each pair.
    same : ndarray, shape (2n,), bool
        True for the first half.
    """
    pairs = np.concatenate([triplets[:, [0, 1]], triplets[:, [0, 2]]])
    return pairs, np.repeat([True, False], len(triplets))


def draw_batches(
    labels: ArrayLike, n: int, classes: int, per_class: int, *, seed: int | Sequence[int]
) -> np.ndarray:
    """Draw class-balanced batches: P classes a batch, K images of each.

    The classes of a batch are drawn at random. Of a class, every image is used about equally often,
    and none twice in a batch, unless the class has fewer than K: then all of them are in it, some
    again. A copy is no help as a positive, since its distance is 0 whatever the network does, but
    every image of a rare class serves as a negative. Hermans, Beyer and Leibe (2017), section 2,
    call them PK batches.

    Parameters
    ----------
    labels : ndarray, shape (m,), int
        Class of each image.
    n : int
        Number of batches.
    classes, per_class : int
        Classes P a batch, at least 2, and images K of each, at least 2.
    seed : int or sequence of int
        Seed of the draw.

    Returns
    -------
    ndarray, shape (n, classes · per_class), int64
        Positions of the images of each batch, class by class.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If a number is too small, the labels are empty or not in one dimension, or there are fewer
        classes than wanted.
    """
    labels = check_labels(labels)
    if n < 1:
        raise ValueError(f"n must be at least 1 batch, got {n}")
    if classes < 2 or per_class < 2:
        raise ValueError(
            "a batch needs at least 2 classes with 2 images each to hold pairs of both kinds, got "
            f"{classes} classes with {per_class} images"
        )
    grouped = _Classes(labels)
    grouped.check_classes(classes)

    rng = np.random.default_rng(seed)
    chosen = rng.random((n, len(grouped.names))).argsort(axis=1)[:, :classes]
    batches = np.empty((n, classes, per_class), dtype=np.int64)
    for k in range(len(grouped.names)):
        where = np.nonzero(chosen == k)
        batches[where] = grouped.groups(k, len(where[0]), per_class, rng)
    return batches.reshape(n, -1)


class _Epochs(Dataset):
    """Positions drawn for every epoch, and the images that they name, gathered a batch at a time.

    What is drawn stands in the order of its use, be it at random or batch after batch, so a loader
    must not shuffle it.
    """

    #: Draws the columns of an epoch: positions (n, k), and targets (n,) if there are any.
    _draw: Callable[..., tuple[np.ndarray, ...]]

    def __init__(self, images, n, seed, fresh):
        self.images = _as_tensor(images)
        self.n, self.seed, self.fresh = n, seed, fresh
        self.epoch: int | None = None
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew or reshuffle for an epoch; the same epoch always gets the same batches.

        Parameters
        ----------
        epoch : int
            Epoch about to begin, counted from 0.
        """
        if epoch == self.epoch:
            return
        self.epoch = epoch
        drawn_in = epoch if self.fresh else 0
        self.drawn = self._draw(seed=(self.seed, drawn_in))
        if epoch != drawn_in:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.n)
            self.drawn = tuple(column[order] for column in self.drawn)

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """One example: images (k, c, h, w), and its targets, if it has any."""
        images, *targets = self.batch([index])
        return images[:, 0], *(target[0] for target in targets)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """Gather a whole batch at once.

        Parameters
        ----------
        indices : sequence of int
            Positions of its examples in this epoch.

        Returns
        -------
        tuple of Tensor
            Images (k, b, c, h, w), and their targets (b,), if there are any. A DataLoader gets
            the same images one by one, and stacks them to (b, k, c, h, w).
        """
        positions, *targets = (column[indices] for column in self.drawn)
        images = self.images.index_select(0, torch.from_numpy(positions.T.ravel()))
        images = images.view(positions.shape[1], len(indices), *images.shape[1:])
        return images, *(torch.from_numpy(target) for target in targets)


class PairDataset(_Epochs):
    """Pairs of images, drawn anew or only reshuffled for every epoch, gathered a batch at a time.

    Parameters
    ----------
    image_set : ImageSet
        Where the pairs are drawn from. Its images are not copied.
    n : int
        Number of pairs an epoch.
    positive_share : float, default 0.5
        Share of positive pairs, from 0 to 1.
    seed : int
        Seed of all epochs.
    fresh : bool, default True
        Draw new pairs for every epoch; if False, the pairs of the first epoch in a new order.

    Raises
    ------
    TypeError, ValueError
        As `draw_pairs`.
    """

    def __init__(
        self,
        image_set: ImageSet,
        n: int,
        positive_share: float = 0.5,
        *,
        seed: int,
        fresh: bool = True,
    ) -> None:
        self._draw = partial(draw_pairs, image_set.labels, n, positive_share)
        super().__init__(image_set.images, n, seed, fresh)

    @property
    def pairs(self) -> np.ndarray:
        """Positions of the two images of each pair in this epoch, shape (n, 2), int64."""
        return self.drawn[0]

    @property
    def same(self) -> np.ndarray:
        """Whether they are of the same class, shape (n,), bool."""
        return self.drawn[1]


class TripletDataset(_Epochs):
    """Triplets of images, drawn anew or only reshuffled for every epoch, a batch at a time.

    Parameters
    ----------
    image_set : ImageSet
        Where the triplets are drawn from. Its images are copied only if `anchors` are given.
    n : int
        Number of triplets an epoch.
    seed : int
        Seed of all epochs.
    fresh : bool, default True
        Draw new triplets for every epoch; if False, those of the first epoch in a new order.
    anchors : ImageSet, optional
        One image a class, which then is the anchor of all triplets of its class; else every image
        of the class serves in turn.

    Attributes
    ----------
    images : Tensor, shape (m, c, h, w), float32
        What the positions count: the images of the set, and after them the anchors, if given.

    Raises
    ------
    TypeError
        As `draw_triplets`.
    ValueError
        As `draw_triplets`; or if a class has no anchor or several, or anchors are of another size.
    """

    def __init__(
        self,
        image_set: ImageSet,
        n: int,
        *,
        seed: int,
        fresh: bool = True,
        anchors: ImageSet | None = None,
    ) -> None:
        images = image_set.images
        self.labels, self.anchor_of = image_set.labels, None
        if anchors is not None:
            self.anchor_of = _one_anchor_a_class(image_set, anchors)
            images = np.concatenate([images, anchors.images])
        super().__init__(images, n, seed, fresh)

    def _draw(self, seed):
        triplets = draw_triplets(self.labels, self.n, seed=seed)
        if self.anchor_of is not None:
            triplets[:, 0] = len(self.labels) + self.anchor_of[self.labels[triplets[:, 0]]]
        return (triplets,)

    @property
    def triplets(self) -> np.ndarray:
        """Positions of anchor, positive and negative in this epoch, shape (n, 3), int64."""
        return self.drawn[0]


class BatchDataset(_Epochs):
    """Class-balanced batches, drawn anew for every epoch, for losses that mine a batch.

    Parameters
    ----------
    image_set : ImageSet
        Where the images are drawn from. They are not copied.
    n : int
        Number of batches an epoch.
    classes, per_class : int
        Classes P a batch and images K of each.
    seed : int
        Seed of all epochs.

    Attributes
    ----------
    batch_size : int
        P · K, the number of images a batch. Read in slices of this size, from the first on, each
        slice is one batch: one view (k = 1), and as its target the labels.

    Raises
    ------
    TypeError, ValueError
        As `draw_batches`.
    """

    def __init__(
        self, image_set: ImageSet, n: int, classes: int, per_class: int, *, seed: int
    ) -> None:
        self.labels = image_set.labels
        self.batch_size = classes * per_class
        self._batches = partial(draw_batches, image_set.labels, n, classes, per_class)
        super().__init__(image_set.images, n * self.batch_size, seed, fresh=True)

    def _draw(self, seed):
        positions = self._batches(seed=seed).reshape(-1, 1)
        return positions, self.labels[positions[:, 0]]

    @property
    def batches(self) -> np.ndarray:
        """Positions of the images of each batch of this epoch, shape (n, P · K), int64."""
        return self.drawn[0].reshape(-1, self.batch_size)


def _one_anchor_a_class(image_set, anchors):
    """Position of each class's anchor among the anchors, by class; −1 for what is not there."""
    if anchors.images.shape[1:] != image_set.images.shape[1:]:
        raise ValueError(
            f"anchors must have the shape of the images {image_set.images.shape[1:]}, got "
            f"{anchors.images.shape[1:]}"
        )
    counts = np.bincount(anchors.labels, minlength=len(image_set.class_names))
    wrong = [k for k in np.unique(image_set.labels) if counts[k] != 1]
    if wrong:
        names = {image_set.class_names[k]: int(counts[k]) for k in wrong}
        raise ValueError(f"every class needs one anchor, got {names}")
    position = np.full(len(counts), -1)
    position[anchors.labels] = np.arange(len(anchors))
    return position


def _as_tensor(images):
    """The same memory as a tensor; only read from, so a read-only array will do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images)
