import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader

from snnlib.images import ImageSet
from snnlib.sampling import (
    BatchDataset,
    PairDataset,
    TripletDataset,
    draw_batches,
    draw_pairs,
    draw_triplets,
    triplet_pairs,
)


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
    try:
        pairs, same = draw_pairs(labels, 1_000_000, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
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
    images, same = data.batch([4, 7, 49])
    assert images.shape == (2, 3, 1, 4, 4)
    assert np.array_equal(images[0], blobs.images[data.pairs[[4, 7, 49], 0]])
    assert np.array_equal(images[1], blobs.images[data.pairs[[4, 7, 49], 1]])
    assert np.array_equal(same, data.same[[4, 7, 49]])
    one, alike = data[7]
    assert torch.equal(one, images[:, 1])
    assert alike == same[1]


def test_it_serves_a_loader(blobs):
    data = PairDataset(blobs, 50, seed=0)
    batches = list(DataLoader(data, 20))
    assert [images.shape for images, _ in batches] == [(n, 2, 1, 4, 4) for n in (20, 20, 10)]
    images, same = data.batch(range(20, 40))
    assert torch.equal(batches[1][0], images.transpose(0, 1))
    assert torch.equal(batches[1][1], same)
    (triplets,) = next(iter(DataLoader(TripletDataset(blobs, 8, seed=0), 8)))
    assert triplets.shape == (8, 3, 1, 4, 4)
    images, labels = next(iter(DataLoader(BatchDataset(blobs, 2, 3, 4, seed=0), 12)))
    assert images.shape == (12, 1, 1, 4, 4)
    assert torch.bincount(labels).tolist() == [4, 4, 4]


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


@given(
    labels=st.lists(st.integers(0, 4), min_size=2, max_size=40).map(
        lambda classes: np.array(classes + classes + [7, 7])  # two classes, two images each
    ),
    n=st.integers(1, 200),
    seed=st.integers(0, 10),
)
def test_laws_of_triplets(labels, n, seed):
    triplets = draw_triplets(labels, n, seed=seed)
    assert triplets.shape == (n, 3)
    assert triplets.dtype == np.int64
    anchor, positive, negative = triplets.T
    assert np.array_equal(labels[anchor], labels[positive])
    assert (anchor != positive).all()
    assert (labels[anchor] != labels[negative]).all()
    of_classes = np.unique(labels[anchor], return_counts=True)[1]
    assert of_classes.max() - of_classes.min() <= 1
    assert len(of_classes) == min(n, len(np.unique(labels)))
    for k in np.unique(labels):
        uses = np.bincount(anchor, minlength=len(labels))[labels == k]
        assert uses.max() - uses.min() <= 1


def test_same_seed_same_triplets():
    labels = np.arange(60) % 3
    first, second, other = (draw_triplets(labels, 50, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_triplets_are_balanced_where_classes_are_not():
    """Each partner that is allowed is equally likely within its class, by chi-squared tests."""
    labels = np.repeat([0, 1, 2], [3, 5, 20])
    anchor, positive, negative = draw_triplets(labels, 90_000, seed=0).T
    assert np.bincount(labels[anchor]).tolist() == [30_000] * 3
    for k in range(3):
        classes = np.bincount(labels[negative[labels[anchor] == k]], minlength=3)
        assert classes[k] == 0
        assert stats.chisquare(np.delete(classes, k)).pvalue > 1e-4
        images = np.bincount(negative)[labels == k]
        assert stats.chisquare(images).pvalue > 1e-4
    for image in range(len(labels)):
        allowed = (labels == labels[image]) & (np.arange(len(labels)) != image)
        partners = np.bincount(positive[anchor == image], minlength=len(labels))
        assert stats.chisquare(partners[allowed]).pvalue > 1e-4


def test_triplets_lie_in_random_order():
    labels = np.arange(1000) % 10
    triplets = draw_triplets(labels, 5000, seed=0)
    runs = np.abs(np.diff(labels[triplets[:, 0]])) == 0
    assert 0.05 < runs.mean() < 0.15


def test_no_image_stands_on_both_sides(blobs):
    """Images are split first, triplets drawn after; drawn first, they share their images."""
    numbered = ImageSet(
        np.arange(120, dtype=np.float32).reshape(-1, 1, 1, 1), blobs.labels, "abc", "numbered"
    )

    def seen(image_set, triplets):
        return set(image_set.images[triplets].ravel())

    rest, part = numbered.split(30, seed=0)
    train = seen(rest, draw_triplets(rest.labels, 2000, seed=0))
    validation = seen(part, draw_triplets(part.labels, 500, seed=1))
    assert len(train) == 90
    assert len(validation) == 30
    assert not train & validation
    triplets = draw_triplets(numbered.labels, 2500, seed=0)
    assert seen(numbered, triplets[:2000]) & seen(numbered, triplets[2000:])


@pytest.mark.parametrize(
    ("labels", "n", "message"),
    [
        ([0, 0, 0], 4, r"two classes, got only class \[0\]"),
        ([0, 0, 1, 2], 4, r"one image of class \[1, 2\]"),
        ([0, 0, 1, 1], 0, "at least 1 triplet, got 0"),
        ([[0, 1]], 4, r"shape \(1, 2\)"),
    ],
)
def test_bad_input_of_triplets(labels, n, message):
    with pytest.raises(ValueError, match=message):
        draw_triplets(np.array(labels, dtype=int), n, seed=0)


def test_triplets_taken_apart():
    pairs, same = triplet_pairs(np.array([[1, 2, 3], [4, 5, 6]]))
    assert pairs.tolist() == [[1, 2], [4, 5], [1, 3], [4, 6]]
    assert same.tolist() == [True, True, False, False]


def test_a_batch_holds_the_images_of_its_triplets(blobs):
    data = TripletDataset(blobs, 50, seed=3)
    (images,) = data.batch([4, 7, 49])
    assert images.shape == (3, 3, 1, 4, 4)
    for k in range(3):
        assert np.array_equal(images[k], blobs.images[data.triplets[[4, 7, 49], k]])
    (one,) = data[7]
    assert torch.equal(one, images[:, 1])
    assert np.shares_memory(data.images.numpy(), blobs.images)
    assert len(data) == 50


def test_triplets_of_the_next_epoch(blobs):
    fresh, fixed = (TripletDataset(blobs, 50, seed=0, fresh=fresh) for fresh in (True, False))
    first = fixed.triplets
    assert np.array_equal(fresh.triplets, first)
    fresh.set_epoch(1)
    fixed.set_epoch(1)
    assert sorted(fresh.triplets.tolist()) != sorted(first.tolist())
    assert fixed.triplets.tolist() != first.tolist()
    assert sorted(fixed.triplets.tolist()) == sorted(first.tolist())


def test_one_anchor_a_class(blobs):
    backwards = blobs.class_means().take(np.array([2, 0, 1]))
    data = TripletDataset(blobs, 60, seed=0, anchors=backwards)
    (images,) = data.batch(np.arange(60))
    labels = blobs.labels[data.triplets[:, 1]]
    means = blobs.class_means().images
    assert np.array_equal(images[0], means[labels])
    assert (labels != blobs.labels[data.triplets[:, 2]]).all()
    assert data.triplets[:, 1:].max() < len(blobs)


def test_bad_anchors(blobs):
    means = blobs.class_means()
    with pytest.raises(ValueError, match=r"every class needs one anchor, got \{'mid': 0\}"):
        TripletDataset(blobs, 10, seed=0, anchors=means.take(np.array([0, 2])))
    with pytest.raises(ValueError, match=r"every class needs one anchor, got \{'high': 0\}"):
        TripletDataset(blobs, 10, seed=0, anchors=means.take(np.array([0, 1])))
    with pytest.raises(ValueError, match=r"every class needs one anchor, got \{'low': 2\}"):
        TripletDataset(blobs, 10, seed=0, anchors=means.take(np.array([0, 0, 1, 2])))
    small = ImageSet(means.images[..., :2], means.labels, means.class_names, "small")
    with pytest.raises(ValueError, match=r"shape of the images \(1, 4, 4\), got \(1, 4, 2\)"):
        TripletDataset(blobs, 10, seed=0, anchors=small)


@st.composite
def classes_and_batches(draw):
    sizes = draw(st.lists(st.integers(2, 9), min_size=2, max_size=6))
    labels = np.repeat(np.arange(len(sizes)) * 3, sizes)
    labels = labels[np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels))]
    return labels, draw(st.integers(2, len(sizes))), draw(st.integers(2, min(sizes)))


@given(classes_and_batches(), st.integers(1, 30), st.integers(0, 10))
def test_laws_of_batches(case, n, seed):
    labels, classes, per_class = case
    batches = draw_batches(labels, n, classes, per_class, seed=seed)
    assert batches.shape == (n, classes * per_class)
    assert batches.dtype == np.int64
    for batch in batches:
        assert len(set(batch)) == len(batch)
        names, counts = np.unique(labels[batch], return_counts=True)
        assert len(names) == classes
        assert (counts == per_class).all()
    assert np.array_equal(batches, draw_batches(labels, n, classes, per_class, seed=seed))


def test_batches_use_classes_and_images_evenly():
    labels = np.repeat([0, 1, 2, 3, 4], [10, 20, 30, 40, 100])
    batches = draw_batches(labels, 3000, 3, 5, seed=0)
    by_class = np.bincount(labels[batches[:, ::5].ravel()])
    assert stats.chisquare(by_class).pvalue > 1e-4
    uses = np.bincount(batches.ravel(), minlength=200)
    for k in range(5):
        # Each shuffle of a class uses every image once, but for the last group of one begun.
        assert np.ptp(uses[labels == k]) <= 1


@given(
    sizes=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    per_class=st.integers(2, 10),
    n=st.integers(1, 20),
    seed=st.integers(0, 10),
)
def test_rare_classes_are_in_batches_with_all_their_images(sizes, per_class, n, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    batches = draw_batches(labels, n, len(sizes), per_class, seed=seed)
    for batch in batches:
        uses = np.bincount(batch, minlength=len(labels))
        for k, size in enumerate(sizes):
            assert uses[labels == k].sum() == per_class
            assert uses[labels == k].min() == per_class // size
            assert uses[labels == k].max() == -(-per_class // size)


def test_images_of_a_rare_class_are_used_evenly():
    labels = np.repeat([0, 1, 2], [10, 20, 3])
    uses = np.bincount(draw_batches(labels, 2000, 3, 5, seed=0).ravel(), minlength=33)
    assert uses[:10].tolist() == [1000] * 10
    assert uses[10:30].tolist() == [500] * 20
    # Of five places two images get two each and one gets one, by lot.
    assert stats.chisquare(uses[30:] - 2000).pvalue > 1e-4


def test_other_seeds_give_other_batches():
    labels = np.arange(60) % 3
    first, second = (draw_batches(labels, 4, 2, 5, seed=seed) for seed in (1, 2))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2, 2), "n must be at least 1 batch, got 0"),
        ((1, 1, 2), "at least 2 classes with 2 images each .* got 1 classes with 2"),
        ((1, 2, 1), "at least 2 classes with 2 images each .* got 2 classes with 1"),
        ((1, 4, 2), r"a batch of 4 classes needs as many, got only \[0, 1, 5\]"),
    ],
)
def test_bad_input_of_batches(arguments, message):
    with pytest.raises(ValueError, match=message):
        draw_batches(np.array([0, 0, 0, 0, 1, 1, 1, 5, 5]), *arguments, seed=0)


def test_a_batch_holds_its_images_and_labels(blobs):
    data = BatchDataset(blobs, 7, 2, 5, seed=0)
    assert data.batch_size == 10
    assert len(data) == 70
    images, labels = data.batch(range(10, 20))
    assert images.shape == (1, 10, *blobs.images.shape[1:])
    assert np.array_equal(images[0], blobs.images[data.batches[1]])
    assert np.array_equal(labels, blobs.labels[data.batches[1]])
    assert labels.dtype == torch.int64
    image, label = data[13]
    assert torch.equal(image, images[:, 3])
    assert label == labels[3]


def test_pairs_and_triplets_are_fresh_unless_told(blobs):
    pairs, triplets = PairDataset(blobs, 40, seed=0), TripletDataset(blobs, 40, seed=0)
    for data in (pairs, triplets):
        data.set_epoch(1)
    assert np.array_equal(pairs.pairs, draw_pairs(blobs.labels, 40, seed=(0, 1))[0])
    assert np.array_equal(triplets.triplets, draw_triplets(blobs.labels, 40, seed=(0, 1)))


def test_batches_of_the_next_epoch(blobs):
    data = BatchDataset(blobs, 7, 2, 5, seed=0)
    first = data.batches
    data.set_epoch(1)
    assert not np.array_equal(first, data.batches)
    assert np.array_equal(data.batches, draw_batches(blobs.labels, 7, 2, 5, seed=(0, 1)))
    data.set_epoch(0)
    assert np.array_equal(first, data.batches)
