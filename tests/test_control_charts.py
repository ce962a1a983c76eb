"""The chart of moving averages, against its recursion and its law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from snnlib.quality.control_charts import ewma_chart, run_length

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


# Published lengths, as the help of the R package spc quotes them with their tables: Crowder (1987,
# table 1; it prints 3.95 at 1.25 and the weight of 0.5, where others find 3.59) and Lucas and
# Saccucci (1990, table 3).
OF_CROWDER = {
    0.5: {
        0: 26.45, 0.25: 20.12, 0.5: 11.89, 0.75: 7.29, 1: 4.91, 1.5: 2.80, 1.75: 2.29, 2: 1.94,
        2.25: 1.70, 2.5: 1.51, 2.75: 1.37, 3: 1.26, 3.5: 1.12, 4: 1.05,
    },
    0.05: {
        0: 127.53, 0.25: 43.94, 0.5: 18.97, 0.75: 11.64, 1: 8.38, 1.25: 6.56, 1.5: 5.41,
        1.75: 4.62, 2: 4.04, 2.25: 3.61, 2.5: 3.26, 2.75: 2.99, 3: 2.76, 3.5: 2.39, 4: 2.15,
    },
}  # fmt: skip
OF_LUCAS = {
    (0.5, 3.071): {
        0: 500, 0.25: 255, 0.5: 88.8, 0.75: 35.9, 1: 17.5, 1.5: 6.53, 2: 3.63, 2.5: 2.50, 3: 1.93,
        3.5: 1.58, 4: 1.34, 5: 1.07,
    },
    (0.03, 2.437): {
        0: 500, 0.25: 76.7, 0.5: 29.3, 0.75: 17.6, 1: 12.6, 1.5: 8.07, 2: 5.99, 2.5: 4.80, 3: 4.03,
        3.5: 3.49, 4: 3.11, 5: 2.55,
    },
}  # fmt: skip


@pytest.mark.parametrize("weight", OF_CROWDER)
def test_run_lengths_are_those_of_crowder(weight):
    for shift, length in OF_CROWDER[weight].items():
        assert run_length(shift, weight=weight, width=2) == pytest.approx(length, abs=0.0101)


@pytest.mark.parametrize(("weight", "width"), OF_LUCAS)
def test_run_lengths_are_those_of_lucas_and_saccucci(weight, width):
    """To the three digits that they print."""
    for shift, length in OF_LUCAS[weight, width].items():
        assert run_length(shift, weight=weight, width=width) == pytest.approx(length, rel=3e-3)


@pytest.mark.parametrize(
    ("shift", "weight", "width", "length", "tolerance"),
    [
        (1, 0.25, 3, 11.154267016, 1e-9),  # the manual of SAS/QC (1999), in the help of spc
        (0, 0.5, 3, 397.4608, 1e-4),  # spc, in the tests of the R package spcadjust
        (0, 1, 3.09, 499.6091, 1e-4),  # likewise
        (0, 0.2, 2.636, 200.325, 0.08),  # 10^8 simulated runs ± 0.020, in the help of spc
    ],
)
def test_run_lengths_are_those_of_other_programs(shift, weight, width, length, tolerance):
    found = run_length(shift, weight=weight, width=width)
    assert found == pytest.approx(length, abs=tolerance)


@pytest.mark.parametrize("width", [0.5, 1.0, 3.0, 4.5])
@pytest.mark.parametrize("shift", [0, 0.3, -2.0, 7.0])
def test_the_run_length_of_shewharts_chart_in_closed_form(shift, width):
    signal = stats.norm.sf(width - shift) + stats.norm.cdf(-width - shift)
    assert run_length(shift, weight=1, width=width) == pytest.approx(1 / signal, rel=1e-8)


def by_markov_chain(shift, weight, width, states):
    """Brook and Evans (1972): the average moves between as many steps of its range."""
    limit = width * np.sqrt(weight / (2 - weight))
    edges = np.linspace(-limit, limit, states + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    reached = (edges - (1 - weight) * middles[:, None]) / weight - shift
    moves = np.diff(stats.norm.cdf(reached), axis=1)
    return np.linalg.solve(np.eye(states) - moves, np.ones(states))[states // 2]


@pytest.mark.parametrize("weight", [0.05, 0.2, 0.6])
@pytest.mark.parametrize("shift", [0, 0.5, 2])
def test_run_lengths_are_those_of_a_markov_chain(weight, shift):
    """Of as many states that the error, which falls with their square, cancels."""
    coarse, fine = (by_markov_chain(shift, weight, 2.7, states) for states in (101, 303))
    limit = fine + (fine - coarse) / 8
    assert run_length(shift, weight=weight, width=2.7) == pytest.approx(limit, rel=1e-4)


def simulated_lengths(shift, weight, width, runs, seed=0):
    rng, limit = np.random.default_rng(seed), width * np.sqrt(weight / (2 - weight))
    z, lengths, going = np.zeros(runs), np.zeros(runs), np.arange(runs)
    while len(going):
        lengths[going] += 1
        z = weight * rng.normal(shift, 1, len(going)) + (1 - weight) * z
        inside = np.abs(z) <= limit
        z, going = z[inside], going[inside]
    return lengths


@pytest.mark.parametrize(
    ("shift", "weight", "width"), [(0, 0.2, 2.0), (0.5, 0.2, 3.0), (-1.5, 0.4, 3.0), (0, 0.05, 1.5)]
)
def test_run_lengths_are_those_of_simulated_charts(shift, weight, width):
    lengths = simulated_lengths(shift, weight, width, 20_000)
    error = lengths.std() / np.sqrt(len(lengths))
    assert abs(run_length(shift, weight=weight, width=width) - lengths.mean()) < 3 * error


def test_the_chart_itself_signals_as_often_as_its_run_length_says():
    """Over a long time, counting afresh from the mean after each signal."""
    values, lengths = np.random.default_rng(5).normal(0, 1, 20_000), []
    while len(values) > 1000:
        # Far from the start, limits are constant; before, values at the mean change nothing.
        chart = ewma_chart(np.concatenate([np.zeros(60), values[:1000]]), mean=0, sd=1, width=1.5)
        lengths.append(int(chart.signal.to_numpy()[60:].argmax()) + 1)
        values = values[lengths[-1] :]
    error = np.std(lengths) / np.sqrt(len(lengths))
    assert abs(run_length(0, width=1.5) - np.mean(lengths)) < 3 * error


@given(st.floats(0, 4), st.floats(0.02, 1), st.floats(0.3, 3.5))
def test_run_lengths_by_symmetry_and_order(shift, weight, width):
    length = run_length(shift, weight=weight, width=width)
    assert length >= 1
    assert run_length(-shift, weight=weight, width=width) == pytest.approx(length, rel=1e-6)
    assert run_length(shift + 0.1, weight=weight, width=width) <= length * (1 + 1e-9)
    assert run_length(shift, weight=weight, width=width + 0.1) >= length * (1 - 1e-9)


def test_the_defaults_of_run_lengths():
    assert run_length(0.5) == run_length(0.5, weight=0.2, width=3)
    assert type(run_length(np.float64(1))) is float
    assert run_length(1000) == 1


@pytest.mark.parametrize(
    ("shift", "change", "message"),
    [
        (np.nan, {}, "shift must be finite, got nan"),
        (np.inf, {}, "shift must be finite, got inf"),
        (0, {"width": 0}, r"width must lie in \(0, 8\], got 0"),
        (0, {"width": 8.1}, r"width must lie in \(0, 8\], got 8.1"),
        (0, {"width": np.nan}, r"width must lie in \(0, 8\], got nan"),
        (0, {"weight": 0.0001}, r"weight must lie in \[0.001, 1\], got 0.0001"),
        (0, {"weight": 1.1}, r"weight must lie in \[0.001, 1\], got 1.1"),
        (0, {"weight": np.nan}, r"weight must lie in \[0.001, 1\], got nan"),
        (0, {"width": 7.5}, "a width of 7.5 are so wide that there is hardly a signal"),
        (0, {"width": 8, "weight": 1}, "a width of 8 are so wide"),
    ],
)
def test_bad_input_of_run_lengths(shift, change, message):
    with pytest.raises(ValueError, match=message):
        run_length(shift, **change)
