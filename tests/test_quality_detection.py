"""Curves of detection, against published fits, another library, and brute force."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from sklearn.linear_model import LogisticRegression

from snnlib.quality.detection import DetectionCurve, detection_curve

# Parts of each amount, and how many of them are hits.
BEETLES = (
    [1.6907, 1.7242, 1.7552, 1.7842, 1.8113, 1.8369, 1.8610, 1.8839],
    [59, 60, 62, 56, 63, 59, 62, 60],
    [6, 13, 18, 28, 52, 53, 61, 60],
)
INSECTS = ([0, 1, 2, 3, 4], [30] * 5, [2, 8, 15, 23, 27])
ANIMALS = (range(0, 900, 100), [20] * 9, [0, 0, 0, 2, 7, 12, 17, 20, 20])


def parts_of(amounts, parts, hits):
    hit = np.concatenate([np.arange(n) < x for n, x in zip(parts, hits)])
    return np.repeat(np.array(amounts, dtype=float), parts), hit


def drawn(n, seed=0, middle=5.0, slope=1.0):
    """Parts with a defect of 0 to 10 each, and whether it is detected."""
    rng = np.random.default_rng(seed)
    amounts = np.linspace(0, 10, n)
    return amounts, rng.random(n) < special.expit(slope * (amounts - middle))


def likelihood(b0, b1, x, hit):
    odds = b0 + b1 * x
    return (odds * hit - np.logaddexp(0, odds)).sum(-1)


def excess(slopes, at, odds, curve):
    """How much larger the deviance is than at its minimum, for curves through a point."""
    x = np.log(curve.amounts) if curve.log else curve.amounts
    worse = likelihood(odds - slopes[:, None] * at, slopes[:, None], x, curve.hits)
    return 2 * (likelihood(*curve.coefficients, x, curve.hits) - worse)


@pytest.mark.parametrize(
    ("data", "coefficients", "errors", "deviance"),
    [
        # Bliss (1935): beetles by the logarithm of a dose, as in many textbooks.
        (BEETLES, [-60.717, 34.270], None, 11.23),
        # Bliss's insects by concentration: a fit by R's glm in course notes on effective doses.
        (INSECTS, [-2.3238, 1.1619], [0.4179, 0.1814], 0.37875),
        # R's glm in question 398791 of stats.stackexchange.com, by which survivors fall.
        (ANIMALS, [-6.992127, 0.015196], [1.121066, 0.002366], 3.2464),
    ],
)
def test_curves_are_the_published_ones(data, coefficients, errors, deviance):
    amounts, parts, hits = (np.array(column, dtype=float) for column in data)
    curve = detection_curve(*parts_of(amounts, parts.astype(int), hits))
    np.testing.assert_allclose(curve.coefficients, coefficients, rtol=5e-5)
    if errors:
        np.testing.assert_allclose(np.sqrt(np.diag(curve.covariance)), errors, rtol=3e-4)
    p = curve.probability(amounts)
    found = special.xlogy(hits, hits / parts / p)
    missed = special.xlogy(parts - hits, (parts - hits) / parts / (1 - p))
    assert 2 * (found + missed).sum() == pytest.approx(deviance, rel=5e-4)


def test_half_are_detected_at_the_published_amount():
    """MASS's dose.p in question 398791 of stats.stackexchange.com: 460.1353 ± 18.16643."""
    curve = detection_curve(*parts_of(*ANIMALS))
    assert curve.a50 == pytest.approx(460.1353, abs=1e-4)
    b0, b1 = curve.coefficients
    slope = np.array([-1 / b1, b0 / b1**2])
    assert np.sqrt(slope @ curve.covariance @ slope) == pytest.approx(18.16643, abs=1e-4)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_curves_are_those_of_another_library(seed, log):
    amounts, hits = drawn(50, seed, slope=0.8)
    amounts += 0.5
    curve = detection_curve(amounts, hits, log=log)
    x = np.log(amounts) if log else amounts
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x[:, None], hits)
    expected = [other.intercept_[0], other.coef_[0, 0]]
    np.testing.assert_allclose(curve.coefficients, expected, rtol=1e-4)
    np.testing.assert_allclose(
        curve.probability(amounts), other.predict_proba(x[:, None])[:, 1], atol=1e-5
    )
    assert curve.log is log
    assert curve.amounts.tolist() == amounts.tolist()
    assert curve.hits.tolist() == hits.tolist()


def test_what_a_curve_tells_fits_together():
    amounts, hits = drawn(80)
    curve = detection_curve(amounts, hits)
    assert isinstance(curve, DetectionCurve)
    assert curve.probability([curve.a50, curve.a90]).tolist() == pytest.approx([0.5, 0.9])
    assert curve.a50 < curve.a90 < curve.a90_95
    assert all(type(a) is float for a in (curve.a50, curve.a90, curve.a90_95))
    grid = np.array([[0.0, 2.0, 5.0], [7.0, 10.0, 30.0]])
    low, high = curve.band(grid)
    assert low.shape == high.shape == curve.probability(grid).shape == grid.shape
    assert ((low < curve.probability(grid)) & (curve.probability(grid) < high)).all()
    assert curve.band(curve.a90_95)[0] == pytest.approx(0.9, abs=1e-9)
    x = np.column_stack([np.ones(80), amounts])
    p = curve.probability(amounts)
    information = x.T @ (x * (p * (1 - p))[:, None])
    np.testing.assert_allclose(curve.covariance, np.linalg.inv(information), rtol=1e-6)
    np.testing.assert_allclose(x.T @ (hits - p), 0, atol=1e-7)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("n", [30, 100])
def test_bounds_by_brute_force(n, log):
    """Curves through a point by a fine grid of slopes: the best of them is just bad enough."""
    amounts, hits = drawn(n, seed=2)
    curve = detection_curve(amounts + 0.1, hits, log=log)
    slopes = curve.coefficients[1] * np.linspace(0.01, 4, 20_000)
    at = np.log(curve.a90_95) if log else curve.a90_95
    assert excess(slopes, at, np.log(9), curve).min() == pytest.approx(2.7055, abs=1e-4)
    beyond = at + 0.01 * abs(at)
    assert excess(slopes, beyond, np.log(9), curve).min() > 2.7055
    for amount in (2.0, 5.0, 9.0):
        x = np.log(amount) if log else amount
        for bound in curve.band(amount):
            least = excess(slopes, x, special.logit(float(bound)), curve).min()
            assert least == pytest.approx(2.7055, abs=1e-4)


def test_the_bound_by_a_search_of_both_coefficients():
    """The largest a90 of all curves that are good enough, by another way of searching."""
    curve = detection_curve(*drawn(60, seed=3))
    best = likelihood(*curve.coefficients, curve.amounts, curve.hits)
    found = optimize.minimize(
        lambda b: -(np.log(9) - b[0]) / b[1],
        curve.coefficients,
        constraints={
            "type": "ineq",
            "fun": lambda b: 2.70554345 - 2 * (best - likelihood(*b, curve.amounts, curve.hits)),
        },
        options={"ftol": 1e-10},
    )
    assert -found.fun == pytest.approx(curve.a90_95, rel=1e-4)


def test_the_bound_covers_the_truth_in_95_percent_of_draws():
    truth, draws = 5 + np.log(9), 400
    curves = [detection_curve(*drawn(400, seed)) for seed in range(draws)]
    covered = sum(curve.a90_95 >= truth for curve in curves)
    assert stats.binomtest(covered, draws, 0.95).pvalue > 0.01
    low, high = np.transpose([curve.band(5 - np.log(3)) for curve in curves])
    assert stats.binomtest(int((low <= 0.25).sum()), draws, 0.95).pvalue > 0.01
    assert stats.binomtest(int((high >= 0.25).sum()), draws, 0.95).pvalue > 0.01


@st.composite
def overlapping(draw):
    amounts = draw(st.lists(st.integers(1, 40), min_size=10, max_size=40))
    hits = draw(st.lists(st.booleans(), min_size=len(amounts), max_size=len(amounts)))
    x, hit = np.array(amounts, dtype=float), np.array(hits)
    assume(hit.any() and not hit.all())
    assume(x[~hit].max() > x[hit].min() and x[hit].max() > x[~hit].min())
    # The mean amount of hits is larger just if the curve rises.
    assume(x[hit].mean() > x[~hit].mean() + 0.01)
    return x, hit


@given(overlapping(), st.floats(0.01, 100), st.floats(-50, 50))
@settings(max_examples=50)
def test_another_unit_moves_amounts_along(parts, factor, offset):
    amounts, hits = parts
    curve = detection_curve(amounts, hits)
    other = detection_curve(factor * amounts + offset, hits)
    assert other.a50 == pytest.approx(factor * curve.a50 + offset, rel=1e-5, abs=1e-5 * factor)
    assert other.a90 == pytest.approx(factor * curve.a90 + offset, rel=1e-5, abs=1e-5 * factor)
    # A slope that is just not level at this confidence makes a bound of any size.
    if curve.a90_95 < 1000:
        moved = factor * curve.a90_95 + offset
        assert other.a90_95 == pytest.approx(moved, rel=1e-5, abs=1e-4 * factor)
    assert curve.a50 < curve.a90 <= curve.a90_95
    for one, two in zip(
        curve.band([1, 20, 60]), other.band(factor * np.array([1, 20, 60]) + offset)
    ):
        np.testing.assert_allclose(one, two, atol=1e-5)


@given(overlapping(), st.floats(0.01, 100), st.floats(0.3, 3))
@settings(max_examples=50)
def test_logarithms_of_another_unit_or_power(parts, factor, power):
    amounts, hits = parts
    assume(np.log(amounts[hits]).mean() > np.log(amounts[~hits]).mean() + 0.01)
    curve = detection_curve(amounts, hits, log=True)
    other = detection_curve(factor * amounts**power, hits, log=True)
    for name in ("a50", "a90", "a90_95"):
        if getattr(curve, name) < 1e4:
            expected = factor * getattr(curve, name) ** power
            assert getattr(other, name) == pytest.approx(expected, rel=1e-3)
    plain = detection_curve(np.log(amounts), hits)
    np.testing.assert_allclose(curve.coefficients, plain.coefficients)
    if curve.a90 < 1e300:
        assert np.log(curve.a90) == pytest.approx(plain.a90)


@given(overlapping(), st.randoms())
@settings(max_examples=20)
def test_the_order_of_parts_says_nothing(parts, random):
    order = random.sample(range(len(parts[0])), len(parts[0]))
    one, two = detection_curve(*parts), detection_curve(*(column[order] for column in parts))
    np.testing.assert_allclose(one.coefficients, two.coefficients, rtol=1e-6)


@given(overlapping())
@settings(max_examples=50)
def test_the_bound_is_infinite_just_if_a_level_curve_fits_well_enough(parts):
    amounts, hits = parts
    curve = detection_curve(amounts, hits)
    share = hits.mean()
    level = likelihood(special.logit(share), 0, amounts, hits)
    ratio = 2 * (likelihood(*curve.coefficients, amounts, hits) - level)
    assume(abs(ratio - 2.7055) > 1e-3)
    assert np.isinf(curve.a90_95) == (ratio < 2.7055)


def test_a_bound_by_hand():
    """Amounts 0 and 1 alone: both shares are free, so that the curve takes them."""
    curve = detection_curve(*parts_of([0, 1], [20, 20], [5, 15]))
    np.testing.assert_allclose(curve.coefficients, [-np.log(3), 2 * np.log(3)])
    assert curve.a50 == pytest.approx(0.5)
    assert curve.a90 == pytest.approx(1.5)  # log 9 = -log 3 + 1.5 · 2 log 3
    low, high = curve.band([0.0, 1.0])
    assert low[0] == pytest.approx(1 - high[1])
    for share in (low[0], high[0]):
        ratio = 2 * (5 * np.log(0.25 / share) + 15 * np.log(0.75 / (1 - share)))
        assert ratio == pytest.approx(2.7055, abs=1e-4)


def test_a_bound_that_overflows_is_infinite():
    amounts, hits = parts_of([1.0, 1e300], [40, 40], [10, 17])
    curve = detection_curve(amounts, hits, log=True)
    assert curve.a90 == np.inf


TEN = np.arange(10.0)


@pytest.mark.parametrize(
    ("amounts", "hits", "message"),
    [
        (TEN, TEN[:9] > 3, r"got shapes \(10,\) and \(9,\), bool"),
        (TEN[:, None], TEN[:, None] > 3, r"got shapes \(10, 1\)"),
        (TEN, (TEN > 3).astype(int), r"got shapes \(10,\) and \(10,\), int"),
        (TEN[:9], TEN[:9] > 3, "at least 10 parts, got 9"),
        ([*TEN[:9], np.nan], TEN > 3, "amounts must be finite"),
        ([*TEN[:9], np.inf], TEN > 3, "amounts must be finite"),
        (TEN, TEN > -1, "all 10 parts are hits: test smaller amounts until misses come"),
        (TEN, TEN > 10, "all 10 parts are misses: test larger amounts until hits come"),
        (TEN * 0 + 2.5, TEN > 3, "all parts are of the amount 2.5: test others, too"),
        (TEN, TEN > 3, "hardly overlap.* more parts near the transition, .* around 3 to 4$"),
        ([0, 1, 2, 3, 3, 3, 4, 5, 6, 7], TEN > 4, "hardly overlap.* around 3 to 3$"),
        (TEN, TEN < 3, "only the smallest amounts are hits"),
        (TEN, (TEN < 3) | (TEN == 6), "does not rise with the amount"),
        (TEN, TEN % 9 == 0, "does not rise with the amount"),
        ([*TEN[:8] * 1e9, 4e9 + 1, 4e9 - 1], [False] * 4 + [True] * 5 + [False], "hardly overlap"),
    ],
)
def test_data_without_a_curve(amounts, hits, message):
    with pytest.raises(ValueError, match=message):
        detection_curve(amounts, hits)


def test_data_without_a_logarithm():
    amounts, hits = drawn(40)
    with pytest.raises(ValueError, match=r"positive to have a logarithm, got 0\.0"):
        detection_curve(amounts, hits, log=True)
    curve = detection_curve(amounts + 1, hits, log=True)
    for ask in (curve.probability, curve.band):
        with pytest.raises(ValueError, match=r"positive to have a logarithm, got -2\.0"):
            ask([1.0, -2.0])
        with pytest.raises(ValueError, match="amounts must be finite"):
            ask(np.nan)
    separated = (TEN + 1, TEN > 3)
    with pytest.raises(ValueError, match=r"around 4 to 5$"):
        detection_curve(*separated, log=True)
