"""What speaks against each place of a part: patches of good parts, and tiles of the mean one."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from snnlib.station.evidence import (
    PatchEvidence,
    Reservoir,
    TileEvidence,
    greedy_coreset,
    learn_patches,
)
from snnlib.whitening import WithinClassWhitening


def rows(n, d=1):
    return np.arange(n * d, dtype=np.float32).reshape(n, d)


def kept_of(n, size, seed, batch):
    reservoir = Reservoir(size, seed=seed)
    for start in range(0, n, batch):
        reservoir.add(rows(n)[start : start + batch])
    return reservoir.rows[:, 0].astype(int)


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_each_row_is_kept_with_the_same_chance(batch):
    n, size, draws = 30, 10, 900
    counts = np.zeros(n)
    for seed in range(draws):
        counts[kept_of(n, size, seed, batch)] += 1
    share = size / n
    # As many are kept each time, so that counts scatter less than those of dice by 1 - share.
    statistic = ((counts - draws * share) ** 2).sum() / (draws * share * (1 - share)) * (n - 1) / n
    assert counts.sum() == size * draws
    assert statistic < chi2(n - 1).isf(1e-6)
    assert statistic > chi2(n - 1).ppf(1e-6)  # as even as that would be no chance either


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_pairs_are_kept_with_the_same_chance(batch):
    """Rows of one batch do not keep each other out."""
    n, size, draws = 8, 4, 1500
    together = np.zeros((n, n))
    for seed in range(draws):
        kept = kept_of(n, size, seed, batch)
        together[np.ix_(kept, kept)] += 1
    share = size * (size - 1) / (n * (n - 1))
    error = np.sqrt(share * (1 - share) * draws)
    off = ~np.eye(n, dtype=bool)
    assert np.abs(together[off] - draws * share).max() < 5 * error


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 20), st.integers(0, 99))
def test_batches_are_kept_as_their_rows_would_be_one_by_one(sizes, size, seed):
    n = sum(sizes)
    at_once, one_by_one = Reservoir(size, seed=seed), Reservoir(size, seed=seed)
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends):
        at_once.add(rows(n, 3)[start:end])
    for row in rows(n, 3):
        one_by_one.add(row[None])
    assert at_once.seen == n
    if n:
        assert np.array_equal(at_once.rows, one_by_one.rows)
        assert len(np.unique(at_once.rows[:, 0])) == min(n, size)  # none twice


def test_all_rows_are_kept_while_there_is_room():
    reservoir = Reservoir(10, seed=0)
    reservoir.add(rows(4, 2))
    reservoir.add(rows(10, 2)[4:])
    assert np.array_equal(reservoir.rows, rows(10, 2))
    reservoir.add(rows(12, 2)[10:])
    assert len(reservoir.rows) == 10


def test_the_seed_draws_and_nothing_else():
    one, again, other = (kept_of(100, 10, seed, 9) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_what_was_kept_is_a_copy_of_the_kind_of_the_first_rows():
    reservoir, given_rows = Reservoir(5, seed=0), rows(5)
    reservoir.add(given_rows)
    given_rows[:] = 9
    assert np.array_equal(reservoir.rows, rows(5))
    assert reservoir.rows.dtype == np.float32


def test_nothing_was_added():
    with pytest.raises(ValueError, match="no row was added"):
        Reservoir(5, seed=0).rows  # noqa: B018


def naive_coreset(points, size, first):
    """Always the farthest from those chosen, in double."""
    chosen = [first]
    while len(chosen) < size:
        nearest = [
            min(((point - points[c]) ** 2).sum() for c in chosen) for point in points.astype(float)
        ]
        chosen.append(int(np.argmax(nearest)))
    return chosen


@pytest.mark.parametrize(("n", "d", "size"), [(60, 2, 10), (40, 32, 39), (50, 1, 2), (30, 5, 1)])
def test_coresets_equal_to_loops(n, d, size):
    points = np.random.default_rng(n).normal(size=(n, d)).astype(np.float32)
    chosen = greedy_coreset(points, size, seed=3)
    assert chosen.tolist() == naive_coreset(points, size, chosen[0])


def test_a_coreset_far_from_zero_equal_to_loops():
    points = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32) + 50
    chosen = greedy_coreset(points, 12, seed=3)
    assert chosen.tolist() == naive_coreset(points, 12, chosen[0])


def radius(points, chosen):
    """Largest distance of a point from the nearest chosen one."""
    off = points[:, None] - points[list(chosen)]
    return np.sqrt((off.astype(float) ** 2).sum(axis=2)).min(axis=1).max()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(4, 9), st.integers(1, 4), st.integers(1, 3))
def test_no_point_is_more_than_twice_as_far_as_it_must_be(seed, n, size, d):
    points = np.random.default_rng(seed).integers(0, 20, (n, d)).astype(np.float32)
    best = min(radius(points, chosen) for chosen in combinations(range(n), min(size, n)))
    found = radius(points, greedy_coreset(points, size, seed=seed))
    assert found <= 2 * best + 1e-6


def test_each_point_is_chosen_once_even_among_copies():
    points = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    chosen = greedy_coreset(points, 20, seed=0)
    assert len(set(chosen.tolist())) == 20
    assert len(np.unique(points[chosen[:3]], axis=0)) == 3


@pytest.mark.parametrize("size", [5, 6, 100])
def test_no_more_points_than_wanted_are_all_chosen(size):
    assert greedy_coreset(rows(5, 2), size, seed=0).tolist() == [0, 1, 2, 3, 4]


def test_wide_points_are_chosen_after_a_projection_that_keeps_distances_nearly():
    rng = np.random.default_rng(0)
    middles = 30 * rng.normal(size=(12, 400))
    points = (np.repeat(middles, 20, axis=0) + rng.normal(size=(240, 400))).astype(np.float32)
    chosen = greedy_coreset(points, 12, seed=0)
    assert sorted(chosen // 20) == list(range(12))  # one of each cluster
    assert np.array_equal(chosen, greedy_coreset(points, 12, seed=0))
    assert not np.array_equal(chosen, greedy_coreset(points, 12, seed=1))


def whitened_by(matrix):
    metric = WithinClassWhitening()
    metric.matrix_, metric.n_features_in_ = matrix, len(matrix)
    return metric


@pytest.fixture
def evidence():
    rng = np.random.default_rng(0)
    matrix = np.diag([1.0, 2.0, 0.5]) + 0.1
    return PatchEvidence(whitened_by(matrix), rng.normal(size=(15, 3)).astype(np.float32))


@pytest.fixture
def patches():
    return np.random.default_rng(1).normal(size=(4, 3, 5, 6)).astype(np.float32)


def naive_strangeness(evidence, patches):
    """Place by place and patch by patch, in double."""
    n, _, height, width = patches.shape
    heat = np.empty((n, height, width))
    for k, row, column in np.ndindex(heat.shape):
        white = patches[k, :, row, column].astype(float) @ evidence.metric.matrix_
        heat[k, row, column] = min(np.linalg.norm(white - known) for known in evidence.patches)
    return heat


def test_strangeness_equal_to_loops(evidence, patches):
    heat = evidence.strangeness(patches)
    assert heat.dtype == np.float32
    np.testing.assert_allclose(heat, naive_strangeness(evidence, patches), rtol=1e-5)


def test_small_distances_between_large_values_are_right(patches):
    """As products they would be off by some hundredths."""
    far = PatchEvidence(whitened_by(np.eye(3)), patches[0].reshape(3, -1).T + np.float32(100))
    near = patches + np.float32(100.01)
    np.testing.assert_allclose(far.strangeness(near), naive_strangeness(far, near), atol=2e-5)


def test_patches_in_whole_numbers(evidence, patches):
    small = evidence.in_int8()
    scale = np.abs(evidence.patches).max(axis=0) / 127
    assert (np.abs(small.patches - evidence.patches) <= scale / 2 + 1e-6).all()
    codes = small.patches / scale
    np.testing.assert_allclose(codes, np.round(codes), atol=1e-4)
    # What is compared with is what is told, also where a graph holds whole numbers.
    heat = small.strangeness(patches)
    np.testing.assert_allclose(heat, naive_strangeness(small, patches), rtol=1e-5)
    assert not np.array_equal(heat, evidence.strangeness(patches))
    assert not evidence.whole_numbers


def test_patches_that_are_not_contiguous(evidence, patches):
    turned = np.ascontiguousarray(patches.transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    assert not turned.flags.c_contiguous
    np.testing.assert_array_equal(evidence.strangeness(turned), evidence.strangeness(patches))


def test_what_is_known_is_not_strange(evidence):
    known = np.linalg.solve(evidence.metric.matrix_.T, evidence.patches.T)
    heat = evidence.strangeness(known.T[..., None, None].astype(np.float32))
    np.testing.assert_allclose(heat, 0, atol=1e-5)


def test_descriptions_equal_to_the_formula(evidence, patches):
    strangest, looks = evidence.describe(patches)
    heat = naive_strangeness(evidence, patches)
    for k in range(len(patches)):
        assert strangest[k] == pytest.approx(heat[k].max(), rel=1e-4)
        weights = (heat[k] / heat[k].max()) ** 8
        expected = (patches[k] * weights).sum(axis=(1, 2)) / weights.sum()
        np.testing.assert_allclose(looks[k], expected, rtol=1e-3, atol=1e-3)
    assert strangest.dtype == looks.dtype == np.float32


@given(st.integers(0, 999))
def test_it_does_not_matter_where_a_place_lies(seed):
    rng = np.random.default_rng(seed)
    evidence = PatchEvidence(whitened_by(np.eye(3)), rng.normal(size=(9, 3)).astype(np.float32))
    patches = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    moved = patches.reshape(2, 3, 20)[..., rng.permutation(20)].reshape(2, 3, 10, 2)
    for one, other in zip(evidence.describe(patches), evidence.describe(moved)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_part_is_described_by_its_scratch_wherever_it_lies():
    evidence = PatchEvidence(whitened_by(np.eye(2)), np.zeros((1, 2), dtype=np.float32))
    for place in [(0, 0), (3, 5), (7, 7)]:
        patches = np.full((1, 2, 8, 8), 0.3, dtype=np.float32)
        patches[(0, slice(None), *place)] = 4, -3
        strangest, looks = evidence.describe(patches)
        assert strangest[0] == pytest.approx(5)
        np.testing.assert_allclose(looks[0], [4, -3], atol=1e-4)


def test_a_part_of_nothing_but_known_patches_looks_like_their_mean():
    known = np.array([[0, 0], [2, 4]], dtype=np.float32)
    evidence = PatchEvidence(whitened_by(np.eye(2)), known)
    strangest, looks = evidence.describe(known.T.reshape(1, 2, 1, 2))
    assert strangest.tolist() == [0]
    assert looks.tolist() == [[1, 2]]


def test_parts_are_described_one_by_one_as_in_a_batch(evidence, patches):
    strangest, looks = evidence.describe(patches)
    for k in range(len(patches)):
        one = evidence.describe(patches[k : k + 1])
        np.testing.assert_allclose(one[0][0], strangest[k], rtol=1e-6)
        np.testing.assert_allclose(one[1][0], looks[k], rtol=1e-6)


def test_good_patches_are_whitened_and_thinned_out():
    rng = np.random.default_rng(0)
    patches = (rng.normal(size=(500, 4)) @ np.diag([3, 5, 6, 4]) + 7).astype(np.float32)
    evidence = learn_patches(patches, size=50, seed=0)
    assert evidence.patches.shape == (50, 4)
    metric = WithinClassWhitening().fit(patches, np.zeros(500))
    np.testing.assert_allclose(evidence.metric.matrix_, metric.matrix_)
    white = metric.transform(patches).astype(np.float32)
    nearest = ((white[:, None] - evidence.patches) ** 2).sum(axis=2).min(axis=1)
    assert (nearest < 1e-8).sum() == 50  # they are among the patches
    np.testing.assert_allclose(np.cov(white.T), np.eye(4), atol=0.1)  # shrunk a little
    # None is farther from these than from fifty at random.
    chosen = white[rng.choice(500, 50, replace=False)]
    assert nearest.max() < ((white[:, None] - chosen) ** 2).sum(axis=2).min(axis=1).max()


@pytest.mark.parametrize("n", [30, 31, 4])
def test_no_more_than_half_are_kept(n):
    """Of parts whose patches are all known nothing would be strange."""
    patches = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    evidence = learn_patches(patches, seed=0)
    heat = evidence.strangeness(patches[..., None, None]).ravel()
    assert (heat < 1e-5).sum() == len(evidence.patches) == -(-n // 2)


def test_rounding_does_not_choose_among_places_that_are_known(evidence):
    known = np.linalg.solve(evidence.metric.matrix_.T, evidence.patches.T).astype(np.float32)
    strangest, looks = evidence.describe(known[None, ..., None])
    assert strangest[0] < 1e-5
    np.testing.assert_allclose(looks[0], known.mean(axis=1), atol=1e-5)


def test_drops_of_tiles_equal_to_a_loop():
    rng = np.random.default_rng(0)
    centre, part = rng.normal(size=(2, 2, 6, 8)).astype(np.float32)
    anchor = rng.normal(size=96)

    def to_good(parts):
        return np.linalg.norm(parts.reshape(len(parts), -1) - anchor, axis=1)

    drops = TileEvidence(centre, (3, 4)).drops(part, to_good)
    assert drops.shape == (3, 4)
    for row in range(3):
        for column in range(4):
            mended = part.copy()
            box = np.s_[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            mended[box] = centre[box]
            expected = to_good(part[None])[0] - to_good(mended[None])[0]
            assert drops[row, column] == pytest.approx(expected, abs=1e-6)


def test_the_tile_with_the_mark_drops_most():
    centre = np.zeros((1, 4, 6), dtype=np.float32)
    part = centre.copy()
    part[0, 3, 1] = 1
    drops = TileEvidence(centre, (2, 3)).drops(part, lambda x: np.abs(x).sum(axis=(1, 2, 3)))
    assert drops.tolist() == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("tiles", [(4, 4), (3, 3), (0, 4), (3, -1), (6, 16)])
def test_parts_that_do_not_fall_into_tiles(tiles):
    with pytest.raises(ValueError, match=r"images of 6 × 8 can't be cut into \(.*\) tiles"):
        TileEvidence(np.zeros((1, 6, 8), dtype=np.float32), tiles)
