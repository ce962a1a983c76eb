"""Shares of parts that come in lots, with intervals for parts of any lot."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from snnlib.evaluation import Estimate
from snnlib.quality.lots import proportion_by_lot


def in_lots(*lots):
    """Whether each part is a hit, and its lot, of (parts, hits) of each lot."""
    hits = np.concatenate([np.arange(n) < x for n, x in lots])
    return hits, np.repeat(np.arange(len(lots)), [n for n, _ in lots])


@pytest.mark.parametrize(
    ("lots", "low", "high"),
    [
        ([(20, 1), (30, 6), (25, 0)], 0.000012, 0.679479),
        ([(10, 2), (12, 0), (8, 5), (15, 1), (9, 3)], 0.020545, 0.591219),
        ([(20, 0), (30, 0), (25, 0)], 0, 1 - 0.795054),
        ([(4, 4), (6, 6)], 0.000009, 1),
        ([(5, 1), (5, 2)], 0, 0.999709),
    ],
)
def test_shares_by_lot_are_those_of_another_library(lots, low, high):
    """svy 0.35.0: ``Sample.estimation.prop`` with ``ci_method="korn-graubard"``."""
    hits, of = in_lots(*lots)
    assert proportion_by_lot(hits, of) == Estimate(
        hits.mean(), pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6)
    )


def exact(x, n):
    """The interval of Clopper and Pearson, of whole numbers."""
    interval = stats.binomtest(x, n).proportion_ci(method="exact")
    return pytest.approx(interval.low), pytest.approx(interval.high)


def test_shares_by_lot_in_closed_form():
    # Lots that are all alike, and lots of one part: as if there were none.
    assert proportion_by_lot(*in_lots((10, 2), (20, 4), (15, 3))) == Estimate(0.2, *exact(9, 45))
    share = proportion_by_lot(*in_lots(*[(1, 1)] * 3, *[(1, 0)] * 9))  # deff is 12 / 11
    x, n = 0.25 * 11, 11.0
    assert share.low == pytest.approx(stats.beta.ppf(0.025, x, n - x + 1))
    assert share.high == pytest.approx(stats.beta.ppf(0.975, x + 1, n - x))
    # No hit: the chance of that is 2.5 % at the upper end.
    none = proportion_by_lot(*in_lots((20, 0), (30, 0), (25, 0)))
    counted = 75 * (stats.t.ppf(0.975, 74) / stats.t.ppf(0.975, 2)) ** 2
    assert none == Estimate(0, 0, pytest.approx(1 - 0.025 ** (1 / counted)))
    # Lots all of hits or of none: as few parts as there are lots, and fewer for want of freedom.
    split = proportion_by_lot(*in_lots(*[(7, 7)] * 4, *[(7, 0)] * 4))
    counted = 8 * 7 / 8 * (stats.t.ppf(0.975, 55) / stats.t.ppf(0.975, 7)) ** 2
    assert split.low == pytest.approx(stats.beta.ppf(0.025, counted / 2, counted / 2 + 1))


def naive_by_lot(hits, lots):
    n, names = len(hits), sorted(set(lots))
    share, k, spread = sum(hits) / n, len(names), 0.0
    for name in names:
        of_lot = [hit for hit, lot in zip(hits, lots) if lot == name]
        spread += (sum(of_lot) - share * len(of_lot)) ** 2
    counted = n
    alone = share * (1 - share) / n
    effect = k / (k - 1) * spread / n**2 / alone if alone else 1
    if effect > 1e-12:
        ratio = stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, k - 1)
        counted = min(n, n / effect * ratio**2)
    x = share * counted
    low = stats.beta.ppf(0.025, x, counted - x + 1) if sum(hits) else 0
    return share, low, stats.beta.ppf(0.975, x + 1, counted - x) if sum(hits) < n else 1


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=2, max_size=40),
    st.randoms(),
)
def test_shares_by_lot_equal_to_a_naive_loop(parts, random):
    assume(len({lot for lot, _ in parts}) > 1)
    lots, hits = zip(*parts)
    found = proportion_by_lot(hits, lots)
    assert (found.value, found.low, found.high) == pytest.approx(naive_by_lot(hits, lots))
    assert 0 <= found.low <= found.value <= found.high <= 1
    low, high = stats.binomtest(sum(hits), len(hits)).proportion_ci(method="exact")
    assert found.low <= low + 1e-9  # never narrower than of as many independent parts
    assert found.high >= high - 1e-9
    shuffled = random.sample(parts, len(parts))
    renamed = {"a": 7, "b": 1, "c": 3, "d": 0}
    again = proportion_by_lot([hit for _, hit in shuffled], [renamed[lot] for lot, _ in shuffled])
    assert (again.low, again.high) == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(
    ("hits", "lots", "message"),
    [
        ([], [], "parts of two lots or more, got 0 parts of 0"),
        ([True, False], ["a", "a"], "parts of two lots or more, got 2 parts of 1"),
        ([True], ["a", "b"], r"one lot a part, got shapes \(1,\) and \(2,\)"),
        ([[True, False]], [["a", "b"]], "one lot a part, got shapes"),
    ],
)
def test_bad_lots(hits, lots, message):
    with pytest.raises(ValueError, match=message):
        proportion_by_lot(hits, lots)
