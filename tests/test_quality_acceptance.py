"""Acceptance plans, against tables, closed forms and the binomial law."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from snnlib.quality.acceptance import parts_to_test, passing_chance, upper_bound

SHARE = st.floats(0.005, 0.95)
CONFIDENCE = st.floats(0.5, 0.999)
FEW = st.integers(0, 6)


@pytest.mark.parametrize(
    ("share", "parts"),
    [(0.05, [59, 93, 124, 153, 181, 208]), (0.02, [149, 236, 313]), (0.01, [299, 473, 628])],
)
def test_plans_are_those_of_the_tables_at_95_percent(share, parts):
    """Known from tolerance limits of the first, second … value: Wilks (1941)."""
    assert [parts_to_test(share, allowed=allowed) for allowed in range(len(parts))] == parts


def test_plans_at_other_confidences():
    assert parts_to_test(0.1, 0.9) == 22
    assert parts_to_test(0.1) == 29
    assert parts_to_test(0.1, 0.999) == 66
    assert type(parts_to_test(np.float64(0.1), allowed=np.int64(1))) is int


@given(SHARE, CONFIDENCE, FEW)
def test_a_plan_proves_the_share_and_no_shorter_one_does(share, confidence, allowed):
    n = parts_to_test(share, confidence, allowed)
    assert n > allowed
    assert stats.binom.cdf(allowed, n, share) <= (1 - confidence) * (1 + 1e-6)
    if n - 1 > allowed:
        assert stats.binom.cdf(allowed, n - 1, share) > 1 - confidence
    assert parts_to_test(share, confidence, allowed + 1) > n
    assert parts_to_test(share / 2, confidence, allowed) >= n
    assert parts_to_test(share, (1 + confidence) / 2, allowed) >= n


@pytest.mark.parametrize("share", [1e-6, 0.001, 0.03, 0.3, 0.9])
@pytest.mark.parametrize("confidence", [0.1, 0.6, 0.95, 0.9999])
def test_a_success_run_in_closed_form(share, confidence):
    expected = math.ceil(math.log(1 - confidence) / math.log1p(-share) - 1e-9)
    assert parts_to_test(share, confidence) == expected


def test_where_both_risks_are_equal_rounding_costs_no_part():
    assert 0.8**2 > 1 - 0.36  # by a rounding error
    assert parts_to_test(0.2, 0.36) == 2
    assert parts_to_test(0.5, 0.75) == 2


@given(st.floats(0, 1), st.integers(1, 60), FEW)
def test_passing_is_a_binomial_sum(share, parts, allowed):
    allowed = min(allowed, parts - 1)
    chance = passing_chance(share, parts, allowed)
    terms = [
        math.comb(parts, k) * share**k * (1 - share) ** (parts - k) for k in range(allowed + 1)
    ]
    assert chance == pytest.approx(sum(terms), abs=1e-12)
    assert type(chance) is float


def test_passing_of_many_shares():
    shares = np.linspace(0, 1, 21).reshape(3, 7)
    chances = passing_chance(shares, 59)
    np.testing.assert_allclose(chances, (1 - shares) ** 59, atol=1e-15)
    assert chances.shape == (3, 7)
    assert chances[0, 0] == 1
    assert chances[-1, -1] == 0
    assert (np.diff(passing_chance(shares, 93, 1).ravel()) <= 0).all()
    assert passing_chance(0.05, 93, 1) < 0.05 < passing_chance(0.05, 92, 1)


@given(SHARE, CONFIDENCE, FEW, st.integers(1, 400))
def test_a_plan_is_passed_just_if_the_bound_keeps_the_share(share, confidence, failures, parts):
    failures = min(failures, parts)
    bound = upper_bound(failures, parts, confidence)
    if abs(bound - share) > 1e-9:
        assert (bound < share) == (parts >= parts_to_test(share, confidence, failures))


@pytest.mark.parametrize(("failures", "parts"), [(0, 1), (0, 59), (3, 20), (19, 20), (1, 10_000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.995])
def test_the_bound_is_that_of_clopper_and_pearson(failures, parts, confidence):
    bound = upper_bound(failures, parts, confidence)
    test = stats.binomtest(failures, parts, alternative="less")
    assert bound == pytest.approx(test.proportion_ci(confidence, "exact").high, rel=1e-9)
    assert passing_chance(bound, parts, failures) == pytest.approx(1 - confidence)


def test_bounds_in_closed_form():
    assert upper_bound(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper_bound(6, 7) == pytest.approx(0.95 ** (1 / 7))
    assert upper_bound(7, 7) == 1
    assert type(upper_bound(0, 5)) is float


@given(st.integers(0, 30), st.integers(31, 100), CONFIDENCE)
def test_bounds_rise_with_failures_and_fall_with_parts(failures, parts, confidence):
    bound = upper_bound(failures, parts, confidence)
    assert failures / parts < bound < upper_bound(failures + 1, parts, confidence)
    assert upper_bound(failures, parts + 1, confidence) < bound


@pytest.mark.parametrize("bad", [0, 1, -0.1, 1.1, np.nan])
def test_bad_shares_and_confidences(bad):
    with pytest.raises(ValueError, match=f"share must lie between 0 and 1, got {bad}"):
        parts_to_test(bad)
    for call in (lambda: parts_to_test(0.1, bad), lambda: upper_bound(1, 5, bad)):
        with pytest.raises(ValueError, match=f"confidence must lie between 0 and 1, got {bad}"):
            call()
    if bad not in (0, 1):
        with pytest.raises(ValueError, match="share must lie between 0 and 1, got"):
            passing_chance(np.array([0.5, bad]), 10)


def test_bad_counts():
    with pytest.raises(ValueError, match="allowed must be a number of parts, got -1"):
        parts_to_test(0.1, allowed=-1)
    for parts, allowed in [(0, 0), (5, 5), (5, -1)]:
        with pytest.raises(ValueError, match=f"0 ≤ allowed < parts, got {allowed} of {parts}"):
            passing_chance(0.1, parts, allowed)
    for failures, parts in [(-1, 5), (6, 5), (0, 0)]:
        with pytest.raises(ValueError, match=f"parts ≥ 1, got {failures} of {parts}"):
            upper_bound(failures, parts)
    for call in (
        lambda: parts_to_test(0.1, allowed=1.5),
        lambda: passing_chance(0.1, 5.5),
        lambda: upper_bound(0.5, 5),
    ):
        with pytest.raises(TypeError, match="integer"):
            call()
