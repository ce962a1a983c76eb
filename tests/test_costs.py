"""Costs of a decision, against sums by hand, loops and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnlib.quality.costs import (
    Prices,
    cost_by_limit,
    cost_of_inspection,
    critical_defect_rate,
    defect_rate_of_cpk,
    rule_of_cpk,
)

PRICES = Prices(escape=100, false_alarm=8, found=20, inspection=0.5)
PRICE = st.floats(0, 1000)
RATE = st.floats(0, 1)
ANY_PRICES = st.builds(Prices, PRICE, PRICE, PRICE, PRICE)


def test_ten_thousand_parts_by_hand():
    """200 defective of 10 000, of which 10 pass; of the 9 800 good ones 49 are stopped."""
    bill = 10_000 * 0.5 + 10 * 100 + 190 * 20 + 49 * 8
    cost = cost_of_inspection(PRICES, 0.02, 0.05, 0.005)
    assert type(cost) is float
    assert cost == pytest.approx(bill / 10_000)


@pytest.mark.parametrize(
    ("rate", "escapes", "false_alarms", "cost"),
    [
        (0, 1, 0, 0.5),  # nothing but the inspection
        (0, 0, 1, 8.5),  # every part is good and stopped
        (1, 1, 1, 100.5),  # every part is defective and passes
        (1, 0, 1, 20.5),  # every part is defective and found
        (0.5, 0.5, 0.5, 0.5 + 25 + 5 + 2),
    ],
)
def test_costs_at_the_corners(rate, escapes, false_alarms, cost):
    assert cost_of_inspection(PRICES, rate, escapes, false_alarms) == pytest.approx(cost)


def test_found_defects_and_inspection_are_free_unless_said():
    assert Prices(100, 8) == Prices(escape=100, false_alarm=8, found=0, inspection=0)
    assert cost_of_inspection(Prices(100, 8), 1, 0, 0) == 0


def test_many_costs_at_once():
    rates, escapes = np.array([0, 0.1, 0.4]), np.array([[0.2], [0.7]])
    costs = cost_of_inspection(PRICES, rates, escapes, 0.1)
    assert costs.shape == (2, 3)
    for e, row in zip([0.2, 0.7], costs):
        for p, cost in zip(rates, row):
            assert cost == pytest.approx(cost_of_inspection(PRICES, p, e, 0.1))


@given(ANY_PRICES, RATE, RATE)
def test_inspection_pays_from_the_critical_rate_on(prices, escapes, false_alarms):
    critical = critical_defect_rate(prices, escapes, false_alarms)
    rates = np.linspace(0, 1, 21)
    saved = rates * prices.escape - cost_of_inspection(prices, rates, escapes, false_alarms)
    assert (saved[rates < critical] < 1e-9).all()
    assert (saved[rates > critical] > -1e-9).all()
    if np.isfinite(critical):
        assert 0 <= critical <= 1
        cost = cost_of_inspection(prices, critical, escapes, false_alarms)
        assert cost == pytest.approx(critical * prices.escape, rel=1e-9, abs=1e-9)


def test_the_critical_rate_by_hand():
    """400 p = 5 + p (0.1 · 400 + 0.9 · 40) + (1 - p) 0.05 · 60 has the solution 8 / 327."""
    prices = Prices(escape=400, false_alarm=60, found=40, inspection=5)
    rate = critical_defect_rate(prices, 0.1, 0.05)
    assert type(rate) is float
    assert rate == pytest.approx(8 / 327)


@given(st.floats(1, 1000), st.floats(0, 0.99), RATE, PRICE)
def test_the_critical_rate_of_a_perfect_inspection_is_demings(escape, share, part, false_alarm):
    found = share * escape
    inspection = part * (escape - found)
    prices = Prices(escape, false_alarm, found, inspection)
    # A rounding error decides whether the dearest inspection that may pay still does.
    if part < 1 - 1e-9:
        expected = inspection / (escape - found)
        assert critical_defect_rate(prices, 0, 0) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prices", "escapes", "false_alarms", "rate"),
    [
        (Prices(10, 0, 0, 10), 0, 0, 1),  # pays if every part is defective, just so
        (Prices(10, 0, 0, 10.5), 0, 0, np.inf),
        (Prices(10, 3, 12, 0), 0, 0, np.inf),  # repair is dearer than loss
        (Prices(10, 3, 0, 1), 1, 0, np.inf),  # finds nothing
        (Prices(10, 3, 10, 0), 0, 0, np.inf),  # no difference at any rate
        (Prices(10, 3, 0, 0), 0, 0, 0),  # free and perfect
    ],
)
def test_rates_at_the_edge(prices, escapes, false_alarms, rate):
    assert critical_defect_rate(prices, escapes, false_alarms) == rate


@st.composite
def judged_parts(draw):
    scores = st.sampled_from([0.0, 1.0, 1.5, 2.0, 7.0, np.inf])
    parts = draw(st.lists(st.tuples(scores, st.booleans()), max_size=20))
    parts += [(draw(scores), True), (draw(scores), False)]
    return np.array([s for s, _ in parts]), np.array([g for _, g in parts])


@given(judged_parts(), RATE)
def test_costs_by_limit_equal_to_a_loop(parts, rate):
    scores, good = parts
    table = cost_by_limit(scores, good, PRICES, rate)
    assert table.columns.tolist() == ["limit", "escapes", "false_alarms", "cost"]
    limits = sorted({s for s in scores.tolist() if s < np.inf})
    assert table.limit.tolist() == [-np.inf, *limits]
    for row in table.itertuples():
        passes = [s <= row.limit for s in scores]
        passed_defects = [p for p, g in zip(passes, good) if not g]
        stopped_good = [not p for p, g in zip(passes, good) if g]
        assert row.escapes == pytest.approx(np.mean(passed_defects))
        assert row.false_alarms == pytest.approx(np.mean(stopped_good))
        cost = cost_of_inspection(PRICES, rate, np.mean(passed_defects), np.mean(stopped_good))
        assert row.cost == pytest.approx(cost)


def test_first_nothing_passes_and_at_last_everything():
    scores, good = [3.0, 1.0, 1.0, 2.0], [False, True, False, True]
    table = cost_by_limit(scores, good, PRICES, 0.1)
    assert table.iloc[0].tolist() == [-np.inf, 0, 1, pytest.approx(0.5 + 0.1 * 20 + 0.9 * 8)]
    assert table.iloc[-1].tolist() == [3, 1, 0, pytest.approx(0.5 + 0.1 * 100)]


def test_a_part_that_no_limit_lets_pass():
    table = cost_by_limit([np.inf, np.inf, 1.0], [True, False, True], PRICES, 0.1)
    assert table.escapes.tolist() == [0, 0]
    assert table.false_alarms.tolist() == [1, 0.5]
    table = cost_by_limit([np.inf, np.inf], [True, False], PRICES, 0.1)
    assert table.limit.tolist() == [-np.inf]


@pytest.mark.parametrize(
    ("cpk", "rate"),
    [
        (0, 1),
        (1 / 3, 0.3173),
        (1, 0.0027),
        (4 / 3, 63.3e-6),
        (5 / 3, 0.573e-6),
        (2, 1.97e-9),
        (np.inf, 0),
    ],
)
def test_defect_rates_as_in_the_tables(cpk, rate):
    assert defect_rate_of_cpk(cpk) == pytest.approx(rate, rel=2e-3)


def test_defect_rates_equal_to_the_error_function():
    cpk = np.array([[0.1, 0.8], [1.2, 3.0]])
    expected = np.vectorize(math.erfc)(3 * cpk / math.sqrt(2))
    np.testing.assert_allclose(defect_rate_of_cpk(cpk), expected)
    assert isinstance(defect_rate_of_cpk(1), float)


@pytest.mark.parametrize("cpk", [-1, -1e-9, -np.inf, np.nan, [1.0, -0.1], [np.nan, 1.0]])
def test_no_defect_rate_of_a_process_off_its_limits(cpk):
    with pytest.raises(ValueError, match=r"cpk must be at least 0, got .*(-|nan)"):
        defect_rate_of_cpk(cpk)


@pytest.mark.parametrize(
    ("cpk", "rule"),
    [
        (-0.2, "every part"),
        (1.0, "every part"),
        (np.nextafter(1.0, 2), "not said"),
        (np.nextafter(1.2, 1), "not said"),
        (1.2, "sampling"),
        (np.nextafter(1.6, 1), "sampling"),
        (1.6, "no inspection"),
        (np.inf, "no inspection"),
    ],
)
def test_the_rule_at_its_edges(cpk, rule):
    assert rule_of_cpk(cpk) == rule


def test_no_rule_without_a_number():
    with pytest.raises(ValueError, match="cpk must be a number, got NaN"):
        rule_of_cpk(np.nan)


@pytest.mark.parametrize("name", ["escape", "false_alarm", "found", "inspection"])
@pytest.mark.parametrize("price", [-0.01, np.inf, np.nan])
def test_bad_prices(name, price):
    prices = {"escape": 1, "false_alarm": 1} | {name: price}
    with pytest.raises(ValueError, match=f"^{name} must be a price of at least 0 .*, got {price}"):
        Prices(**prices)


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan])
@pytest.mark.parametrize(
    ("place", "name"), [(0, "defect_rate"), (1, "escapes"), (2, "false_alarms")]
)
def test_bad_shares(bad, place, name):
    shares = [0.1, 0.1, 0.1]
    shares[place] = bad
    message = f"^{name} must be shares between 0 and 1, got {bad}"
    with pytest.raises(ValueError, match=message):
        cost_of_inspection(PRICES, *shares)
    if name == "defect_rate":
        with pytest.raises(ValueError, match=message):
            cost_by_limit([1.0, 2.0], [True, False], PRICES, bad)
    else:
        with pytest.raises(ValueError, match=message):
            critical_defect_rate(PRICES, *shares[1:])


def test_one_bad_share_among_many():
    with pytest.raises(ValueError, match=r"defect_rate must be shares .*, got \[0.1 1.5\]"):
        cost_of_inspection(PRICES, [0.1, 1.5], 0, 0)


@pytest.mark.parametrize(
    ("scores", "good", "message"),
    [
        ([1.0, 2.0], [True], r"got shapes \(2,\) and \(1,\), bool"),
        ([[1.0, 2.0]], [[True, False]], r"got shapes \(1, 2\) and \(1, 2\), bool"),
        ([1.0, 2.0], [1, 0], r"got shapes \(2,\) and \(2,\), int"),
        ([1.0, np.nan], [True, False], "scores must be numbers, or infinite, got nan at 1"),
        ([-np.inf, 1.0], [True, False], "scores must be numbers, or infinite, got -inf at 0"),
        ([1.0, 2.0], [True, True], "expected good and defective parts, got 2 good of 2"),
        ([1.0, 2.0], [False, False], "expected good and defective parts, got 0 good of 2"),
    ],
)
def test_bad_parts(scores, good, message):
    with pytest.raises(ValueError, match=message):
        cost_by_limit(scores, good, PRICES, 0.1)
