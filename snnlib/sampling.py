"""Drawing pairs as index arrays, and a dataset that gathers a whole batch of them at once.

Nothing here copies an image before it is needed: a pair is two positions in the set it was drawn
from. This room knows nothing of losses.
"""

import warnings

import numpy as np
import torch
from torch.utils.data import Dataset

from snnlib.images import check_labels

__all__ = ["PairDataset", "draw_pairs"]


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


def _draw_evenly(size, n, rng):
    """`n` of the positions 0 … size − 1, none used twice before all were used once."""
    rounds = -(-n // size)
    return np.concatenate([rng.permutation(size) for _ in range(rounds)])[:n]


def draw_pairs(labels, n, positive_share=0.5, *, seed):
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
    if n_positive < n and len(classes.names) < 2:
        raise ValueError(
            f"a negative pair needs two classes, got only class {classes.names.tolist()}"
        )
    if n_positive and (classes.size < 2).any():
        lonely = classes.names[classes.size < 2].tolist()
        raise ValueError(
            f"a positive pair needs at least two images of a class, got one image of class {lonely}"
        )

    rng = np.random.default_rng(seed)
    pairs = np.empty((n, 2), dtype=np.int64)
    pairs[:, 0] = _draw_evenly(len(labels), n, rng)
    same = np.zeros(n, dtype=bool)
    same[rng.permutation(n)[:n_positive]] = True
    pairs[same, 1] = classes.positives(pairs[same, 0], rng)
    pairs[~same, 1] = classes.negatives(pairs[~same, 0], rng)
    return pairs, same


class PairDataset(Dataset):
    """Pairs of images, drawn anew or only reshuffled for every epoch, gathered a batch at a time.

    The pairs lie in random order, so a loader reads them from first to last without shuffling.

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

    Attributes
    ----------
    pairs : ndarray, shape (n, 2), int64
        Positions of the two images of each pair in this epoch.
    same : ndarray, shape (n,), bool
        Whether they are of the same class.

    Raises
    ------
    TypeError, ValueError
        As `draw_pairs`.
    """

    def __init__(self, image_set, n, positive_share=0.5, *, seed, fresh=True):
        self.images = _as_tensor(image_set.images)
        self.labels = image_set.labels
        self.n, self.positive_share, self.seed, self.fresh = n, positive_share, seed, fresh
        self.epoch = None
        self.set_epoch(0)

    def set_epoch(self, epoch):
        """Draw or reshuffle the pairs for an epoch; the same epoch always gets the same pairs.

        Parameters
        ----------
        epoch : int
            Epoch about to begin, counted from 0.
        """
        if epoch == self.epoch:
            return
        self.epoch = epoch
        drawn_in = epoch if self.fresh else 0
        self.pairs, self.same = draw_pairs(
            self.labels, self.n, self.positive_share, seed=(self.seed, drawn_in)
        )
        if epoch != drawn_in:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.n)
            self.pairs, self.same = self.pairs[order], self.same[order]

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        """One pair: images (2, c, h, w) and whether they are of the same class."""
        images, same = self.__getitems__([index])
        return images[:, 0], same[0]

    def __getitems__(self, indices):
        """A whole batch: images (2, b, c, h, w), first and second of each pair, and same (b,)."""
        positions = torch.from_numpy(self.pairs[indices].T.ravel())
        images = self.images.index_select(0, positions)
        same = torch.from_numpy(self.same[indices])
        return images.view(2, len(indices), *images.shape[1:]), same


def _as_tensor(images):
    """The same memory as a tensor; only read from, so a read-only array will do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images)
