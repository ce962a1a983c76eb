"""The chart of moving averages, against its recursion and its law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from snnlib.quality.control_charts import ewma_chart

IN_CONTROL = {"mean": 10.0, "sd": 2.0}
WEIGHTS = pytest.mark.parametrize("weight", [0.05, 0.2, 0.7, 1.0])


def measured(n, shift=0.0, seed=0):
    """Normal values of the process, moved by a number of standard deviations."""
    return np.random.default_rng(seed).normal(10 + 2 * shift, 2, n)


@WEIGHTS
def test_averages_equal_to_the_recursion(weight):
    values, z = measured(50), 10.0
    chart = ewma_chart(values, **IN_CONTROL, weight=weight)
    assert chart.columns.tolist() == ["value", "ewma", "lower", "upper", "signal"]
    assert chart.value.tolist() == values.tolist()
    for x, average in zip(values, chart.ewma):
        z = weight * x + (1 - weight) * z
        assert average == pytest.approx(z)


@WEIGHTS
@pytest.mark.parametrize("width", [1.0, 3.0])
def test_limits_are_standard_deviations_of_the_weighted_sum(weight, width):
    """The average after i values weighs them w, w (1 - w), w (1 - w)² … from the newest back."""
    chart = ewma_chart(measured(30), **IN_CONTROL, weight=weight, width=width)
    for i, row in enumerate(chart.itertuples(), start=1):
        variance = sum((weight * (1 - weight) ** age * 2.0) ** 2 for age in range(i))
        assert row.upper == pytest.approx(10 + width * np.sqrt(variance))
        assert row.lower == pytest.approx(10 - width * np.sqrt(variance))


@WEIGHTS
def test_limits_converge(weight):
    last = ewma_chart(measured(400), **IN_CONTROL, weight=weight).iloc[-1]
    assert last.upper - 10 == pytest.approx(3 * 2 * np.sqrt(weight / (2 - weight)))
    assert 10 - last.lower == pytest.approx(last.upper - 10)


def test_a_weight_of_one_is_shewharts_chart():
    values = measured(3000)
    chart = ewma_chart(values, **IN_CONTROL, weight=1)
    np.testing.assert_allclose(chart.ewma, values)
    np.testing.assert_allclose(chart[["lower", "upper"]], np.tile([4.0, 16.0], (3000, 1)))
    assert chart.signal.tolist() == [abs(x - 10) > 6 for x in values]
    assert chart.signal.any()


def test_the_defaults():
    values = measured(20)
    usual = ewma_chart(values, **IN_CONTROL)
    assert usual.equals(ewma_chart(values, **IN_CONTROL, weight=0.2, width=3))
    assert not usual.equals(ewma_chart(values, **IN_CONTROL, weight=0.3, width=3))


@WEIGHTS
@pytest.mark.parametrize("width", [1.0, 2.0])
def test_false_signals_are_as_frequent_as_the_normal_law_says(weight, width):
    """At each single value, the first ones as well as late ones."""
    expected = 2 * stats.norm.sf(width)
    charts = [
        ewma_chart(measured(6, seed=seed), **IN_CONTROL, weight=weight, width=width).signal
        for seed in range(400)
    ]
    early = np.mean(charts, axis=0)
    np.testing.assert_allclose(early, expected, atol=4 * np.sqrt(expected / 400))
    late = ewma_chart(measured(40_000), **IN_CONTROL, weight=weight, width=width).signal
    assert late.mean() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_shift_that_lasts_signals_where_single_values_do_not(side):
    """Values 1.5 sd off: 1.5 (1 - a) > √(1 - a²) for a = 0.8^i from the fifth value on."""
    values = np.full(12, 10 + side * 3.0)
    chart = ewma_chart(values, **IN_CONTROL)
    assert chart.signal.tolist() == [False] * 4 + [True] * 8
    assert not ewma_chart(values, **IN_CONTROL, weight=1).signal.any()


def test_a_drift_that_begins_later_is_found():
    values = np.concatenate([measured(1000), measured(30, shift=1.5, seed=1)])
    signal = ewma_chart(values, **IN_CONTROL).signal
    assert signal[:1000].mean() < 0.01
    assert signal[1010:].mean() > 0.5


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=20),
    st.floats(0.1, 10),
    st.floats(-50, 50),
    st.floats(0.01, 1),
)
def test_another_unit_changes_no_signal(values, factor, offset, weight):
    values = np.array(values)
    chart = ewma_chart(values, mean=1.0, sd=3.0, weight=weight)
    other = ewma_chart(factor * values + offset, mean=factor + offset, sd=3 * factor, weight=weight)
    for name in ("ewma", "lower", "upper"):
        np.testing.assert_allclose(other[name], factor * chart[name] + offset, atol=1e-6)
    clear = np.abs(np.abs(chart.ewma - 1) - (chart.upper - 1)) > 1e-6
    assert (other.signal == chart.signal)[clear].all()
    assert (chart.signal == ((chart.ewma > chart.upper) | (chart.ewma < chart.lower)))[clear].all()


@pytest.mark.parametrize(
    ("values", "change", "message"),
    [
        ([], {}, r"expected values in their order, got shape \(0,\)"),
        ([[1.0]], {}, r"expected values in their order, got shape \(1, 1\)"),
        (3.0, {}, r"expected values in their order, got shape \(\)"),
        ([1, np.nan], {}, "values and mean must be finite"),
        ([1, np.inf], {}, "values and mean must be finite"),
        ([1], {"mean": np.nan}, "values and mean must be finite"),
        ([1], {"sd": 0}, "sd and width must be positive and finite, got 0 and 3.0"),
        ([1], {"sd": -1}, "sd and width must be positive and finite, got -1"),
        ([1], {"sd": np.nan}, "sd and width must be positive and finite, got nan"),
        ([1], {"sd": np.inf}, "sd and width must be positive and finite, got inf"),
        ([1], {"width": 0}, "sd and width must be positive and finite, got 2.0 and 0"),
        ([1], {"width": np.inf}, "sd and width must be positive and finite, got 2.0 and inf"),
        ([1], {"weight": 0}, r"weight must lie in \(0, 1\], got 0"),
        ([1], {"weight": 1.01}, r"weight must lie in \(0, 1\], got 1.01"),
        ([1], {"weight": np.nan}, r"weight must lie in \(0, 1\], got nan"),
    ],
)
def test_bad_input(values, change, message):
    with pytest.raises(ValueError, match=message):
        ewma_chart(values, **(IN_CONTROL | change))
