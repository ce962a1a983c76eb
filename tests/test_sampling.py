import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader

from snnlib.images import ImageSet
from snnlib.sampling import PairDataset, draw_pairs


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=40).map(
        lambda classes: np.array(classes + classes + [7, 7])  # two classes, two images each
    ),
    n=st.integers(1, 200),
    positive_share=st.floats(0, 1),
    seed=st.integers(0, 10),
)
def test_laws_of_pairs(labels, n, positive_share, seed):
    pairs, same = draw_pairs(labels, n, positive_share, seed=seed)
    assert pairs.shape == (n, 2)
    assert pairs.dtype == np.int64
    assert (pairs >= 0).all()
    assert (pairs < len(labels)).all()
    assert np.array_equal(labels[pairs[:, 0]] == labels[pairs[:, 1]], same)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert same.sum() == round(n * positive_share)
    uses = np.bincount(pairs[:, 0], minlength=len(labels))
    assert uses.max() - uses.min() <= 1


def test_same_seed_same_pairs():
    labels = np.arange(60) % 3
    first, second, other = (draw_pairs(labels, 50, seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("share", [0, 1])
def test_partners_are_uniform(share):
    """Every allowed partner of an image is equally likely, by a chi-squared test."""
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    pairs, _ = draw_pairs(labels, 90_000, share, seed=0)
    for image in range(len(labels)):
        alike = labels == labels[image]
        allowed = alike & (np.arange(10) != image) if share else ~alike
        counts = np.bincount(pairs[pairs[:, 0] == image, 1], minlength=10)
        assert counts[~allowed].sum() == 0
        assert stats.chisquare(counts[allowed]).pvalue > 1e-4


def test_positives_and_negatives_are_spread_over_all_first_images():
    """No kind of pair may be confined to a part of the set, as in the source post."""
    labels = np.arange(1000) % 10
    pairs, same = draw_pairs(labels, 1000, seed=0)
    for kind in (same, ~same):
        assert stats.kstest(pairs[kind, 0] / 1000, "uniform").pvalue > 1e-3


def test_a_million_pairs_take_little_memory():
    labels = np.arange(60_000) % 10
    tracemalloc.start()
    pairs, same = draw_pairs(labels, 1_000_000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * (pairs.nbytes + same.nbytes)  # a few index arrays on the way, no images


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        ([0, 0, 0], {}, r"two classes, got only class \[0\]"),
        ([0, 0, 1, 2], {}, r"one image of class \[1, 2\]"),
        ([0, 0, 1, 1], {"n": 0}, "at least 1 pair, got 0"),
        ([0, 0, 1, 1], {"positive_share": 1.5}, r"\[0, 1\], got 1.5"),
        ([0, 0, 1, 1], {"positive_share": float("nan")}, r"\[0, 1\], got nan"),
        ([[0, 1]], {}, r"shape \(1, 2\)"),
        ([], {}, "non-empty"),
    ],
)
def test_bad_input(labels, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_pairs(np.array(labels, dtype=int), **{"n": 4, "seed": 0, **arguments})


def test_what_is_not_needed_is_not_asked_for():
    """A class of one image will do for negatives, and a single class for positives."""
    assert not draw_pairs(np.array([0, 1, 2]), 6, 0, seed=0)[1].any()
    assert draw_pairs(np.array([5, 5, 5]), 6, 1, seed=0)[1].all()


def test_a_batch_holds_the_images_of_its_pairs(blobs):
    data = PairDataset(blobs, 50, seed=3)
    images, same = data.__getitems__([4, 7, 49])
    assert images.shape == (2, 3, 1, 4, 4)
    assert np.array_equal(images[0], blobs.images[data.pairs[[4, 7, 49], 0]])
    assert np.array_equal(images[1], blobs.images[data.pairs[[4, 7, 49], 1]])
    assert np.array_equal(same, data.same[[4, 7, 49]])
    one, alike = data[7]
    assert torch.equal(one, images[:, 1])
    assert alike == same[1]


def test_it_serves_a_loader(blobs):
    loader = DataLoader(PairDataset(blobs, 50, seed=0), 20, collate_fn=lambda batch: batch)
    assert [images.shape[1] for images, _ in loader] == [20, 20, 10]


def test_images_are_not_copied(blobs):
    assert np.shares_memory(PairDataset(blobs, 10, seed=0).images.numpy(), blobs.images)


def test_read_only_images_raise_no_warning(blobs):
    images = blobs.images.copy()
    images.flags.writeable = False
    frozen = ImageSet(images, blobs.labels, blobs.class_names, "frozen")
    PairDataset(frozen, 10, seed=0)[0]  # warnings are errors here


def test_fresh_pairs_differ_by_epoch_and_come_back(blobs):
    data = PairDataset(blobs, 50, seed=0)
    first = data.pairs
    data.set_epoch(1)
    assert not np.array_equal(np.sort(data.pairs, axis=0), np.sort(first, axis=0))
    data.set_epoch(0)
    assert np.array_equal(data.pairs, first)


def test_fixed_pairs_are_only_reordered(blobs):
    data = PairDataset(blobs, 50, seed=0, fresh=False)
    first, first_same = data.pairs, data.same
    data.set_epoch(3)
    assert not np.array_equal(data.pairs, first)
    assert sorted(zip(*data.pairs.T, data.same)) == sorted(zip(*first.T, first_same))
