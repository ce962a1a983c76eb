"""Limits of strangeness: what they say of calibration parts, and what of parts to come."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from snnlib.station.limits import conformal_limit, quantile_limit, tolerance_limit

LIMITS = [quantile_limit, conformal_limit, tolerance_limit]
SCORES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
SHARES = st.floats(0, 0.99)


def smallest_with_few_beyond(scores, share):
    """The definition, by counting: the least score beyond which at most a share lies."""
    few = [s for s in scores if sum(other > s for other in scores) <= share * len(scores)]
    return min(few)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 63))
def test_quantile_limit_equal_to_counting(scores, of_64):
    share = of_64 / 64  # a float without a rounding error, and so is n times it
    assert quantile_limit(scores, share) == smallest_with_few_beyond(scores, share)


@pytest.mark.parametrize(
    ("share", "limit"), [(0, 8), (0.124, 8), (0.125, 7), (0.25, 6), (0.49, 5), (0.875, 1)]
)
def test_quantile_limits_of_eight(share, limit):
    assert quantile_limit([3, 1, 2, 8, 7, 5, 6, 4], share) == limit


def test_quantile_rank_equal_to_that_of_fractions():
    """In floating point 0.29 · 100 is below 29."""
    for n in range(1, 101):
        scores = np.arange(1, n + 1)
        for percent in range(100):
            expected = n - math.floor(n * Fraction(percent, 100))
            assert quantile_limit(scores, percent / 100) == expected, (n, percent)


def test_conformal_rank_equal_to_that_of_fractions():
    """The least k with k / (n + 1) ≥ 1 - share, in exact arithmetic, for many n and all shares."""
    for n in range(1, 61):
        scores = np.arange(1, n + 1)
        for percent in range(100):
            promise = 1 - Fraction(percent, 100)
            ranks = [k for k in range(1, n + 1) if Fraction(k, n + 1) >= promise]
            expected = min(ranks, default=math.inf)
            assert conformal_limit(scores, percent / 100) == expected, (n, percent)


@pytest.mark.parametrize(
    ("n", "share", "rank"),
    [(19, 0.05, 19), (39, 0.05, 38), (99, 0.01, 99), (9, 0.1, 9), (1, 0.5, 1)],
)
def test_as_few_parts_as_the_promise_needs(n, share, rank):
    scores = np.random.default_rng(n).normal(size=n)
    assert conformal_limit(scores, share) == np.sort(scores)[rank - 1]


@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-12, 2**-53])
def test_a_promise_of_next_to_nothing_is_the_smallest_score(gap):
    assert conformal_limit([3, 1, 2], 1 - gap) == 1


@pytest.mark.parametrize(("n", "share"), [(18, 0.05), (98, 0.01), (8, 0.1), (10_000, 0)])
def test_too_few_parts_for_the_promise_reject_nothing(n, share):
    assert conformal_limit(np.arange(n), share) == math.inf


@pytest.mark.parametrize(("n", "share"), [(19, 0.05), (30, 0.2), (100, 0.1), (45, 0.05)])
@pytest.mark.parametrize("kind", [stats.uniform, stats.norm, stats.expon], ids=lambda k: k.name)
def test_new_parts_within_the_conformal_limit_follow_the_beta_law(n, share, kind):
    """Coverage of the k-th of n is Beta(k, n + 1 - k), whatever the scores are drawn from."""
    sets = kind.rvs(size=(2000, n), random_state=0)
    coverage = kind.cdf([conformal_limit(scores, share) for scores in sets])
    k = next(k for k in range(1, n + 1) if k >= (n + 1) * (1 - share) - 1e-9)
    law = stats.beta(k, n + 1 - k)
    assert stats.kstest(coverage, law.cdf).pvalue > 0.01
    assert coverage.mean() == pytest.approx(k / (n + 1), abs=4 * law.std() / np.sqrt(len(sets)))
    assert 1 - share - 1e-9 <= k / (n + 1) <= 1 - share + 1 / (n + 1)


@pytest.mark.parametrize(
    ("n", "rank"),
    [(58, None), (59, 1), (92, 1), (93, 2), (123, 2), (124, 3), (153, 4), (181, 5), (208, 6)],
)
def test_published_numbers_of_parts(n, rank):
    """Of 59 the largest, of 93 the second largest …: Wilks' formula for 95 % at 95 %."""
    scores = np.arange(n)
    limit = tolerance_limit(scores, 0.05)
    assert limit == (math.inf if rank is None else n - rank)


@pytest.mark.parametrize(
    ("share", "confidence", "needed"), [(0.1, 0.9, 22), (0.1, 0.95, 29), (0.05, 0.99, 90)]
)
def test_as_few_parts_as_the_confidence_needs(share, confidence, needed):
    scores = np.random.default_rng(needed).normal(size=needed)
    assert tolerance_limit(scores, share, confidence) == scores.max()
    assert tolerance_limit(scores[1:], share, confidence) == math.inf


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2, 0.5])
@pytest.mark.parametrize("confidence", [0.6, 0.9, 0.95, 0.99])
def test_tolerance_rank_equal_to_that_of_the_beta_law(share, confidence):
    """The least k whose coverage, Beta(k, n + 1 - k), is enough with the confidence."""
    for n in (1, 2, 10, 59, 100, 331, 500):
        scores = np.arange(1, n + 1)
        k = np.arange(1, n + 1)
        enough = k[stats.beta(k, n + 1 - k).sf(1 - share) >= confidence]
        expected = enough[0] if len(enough) else math.inf
        assert tolerance_limit(scores, share, confidence) == expected, n


@pytest.mark.parametrize(("n", "share", "confidence"), [(59, 0.05, 0.95), (150, 0.1, 0.9)])
def test_most_calibration_sets_keep_the_promise(n, share, confidence):
    sets = np.random.default_rng(0).random((4000, n))
    beyond = 1 - np.array([tolerance_limit(scores, share, confidence) for scores in sets])
    kept = (beyond <= share).mean()
    # One rank less would not be enough.
    k = next(k for k in range(1, n + 1) if stats.beta(k, n + 1 - k).sf(1 - share) >= confidence)
    expected = stats.beta(k, n + 1 - k).sf(1 - share)
    error = np.sqrt(expected * (1 - expected) / len(sets))
    assert kept == pytest.approx(expected, abs=4 * error)
    assert kept >= confidence - 4 * error


def test_a_sure_promise_is_the_stricter_one():
    scores = np.random.default_rng(0).normal(size=500)
    on_average, surely = conformal_limit(scores, 0.05), tolerance_limit(scores, 0.05)
    assert quantile_limit(scores, 0.05) <= on_average < surely < tolerance_limit(scores, 0.05, 0.99)


@given(SCORES, SHARES, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_more_confidence_never_lowers_a_limit(scores, share, one, other):
    limits = [tolerance_limit(scores, share, c) for c in sorted((one, other))]
    assert limits[0] <= limits[1]


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 1.5, math.nan])
def test_a_confidence_out_of_range(confidence):
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got"):
        tolerance_limit(np.arange(100), 0.1, confidence)


def test_new_parts_beyond_the_quantile_limit_are_a_little_more():
    sets = np.random.default_rng(0).random((4000, 50))
    beyond = 1 - np.array([quantile_limit(scores, 0.1) for scores in sets])
    assert beyond.mean() == pytest.approx(6 / 51, abs=0.003)  # not 5 / 50


@given(SCORES, SHARES)
def test_the_promise_for_new_parts_is_never_the_stricter_limit(scores, share):
    assert conformal_limit(scores, share) >= quantile_limit(scores, share)


@given(SCORES.flatmap(lambda s: st.tuples(st.just(s), st.permutations(s))), SHARES)
def test_the_order_of_parts_does_not_matter(orders, share):
    first, second = map(np.array, orders)
    before = second.copy()
    for limit in LIMITS:
        assert limit(first, share) == limit(second, share)
    assert np.array_equal(second, before)  # sorted elsewhere


@given(SCORES, SHARES, SHARES)
def test_a_larger_share_never_raises_a_limit(scores, one, other):
    for limit in LIMITS:
        assert limit(scores, max(one, other)) <= limit(scores, min(one, other))


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_is_a_plain_number(limit):
    assert type(limit(np.arange(30, dtype=np.float32), 0.1)) is float
    assert type(limit([1, 2], 0)) is float


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(
    ("scores", "share", "message"),
    [
        ([], 0.1, r"expected a score a part, got shape \(0,\)"),
        ([[1.0, 2.0]], 0.1, r"expected a score a part, got shape \(1, 2\)"),
        (3.0, 0.1, r"expected a score a part, got shape \(\)"),
        ([1, np.nan, np.inf], 0.1, "scores must be finite, got nan at position 1"),
        ([1, 2, -np.inf], 0.1, "scores must be finite, got -inf at position 2"),
        ([1.0], 1, "share must be at least 0 and below 1, got 1"),
        ([1.0], -0.01, "share must be at least 0 and below 1, got -0.01"),
        ([1.0], np.nan, "share must be at least 0 and below 1, got nan"),
    ],
)
def test_bad_input(limit, scores, share, message):
    with pytest.raises(ValueError, match=message):
        limit(scores, share)
