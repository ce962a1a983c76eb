"""One score, one limit, one rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnlib.station.limits import conformal_limit, quantile_limit, tolerance_limit
from snnlib.station.rule import LIMITS, ROUNDING, Rule, set_rule

SETTINGS = {"method": "quantile", "false_alarms": 0.02, "calibration": "parts of lot 'b'"}
RULE = Rule(2.0, "quantile", 0.02, 50, "parts of lot 'b'", 3.0, 0.5)


@pytest.fixture
def measured():
    """Distances and strangeness of 200 good parts, of scales of their own."""
    rng = np.random.default_rng(0)
    return 30 + rng.normal(0, 2, 200), rng.lognormal(0, 0.3, 200) / 100


def test_the_larger_half_counts():
    score = RULE.score(np.array([3.0, 6.0, 0.0]), np.array([0.25, 0.25, 2.0]))
    assert score.tolist() == [1, 2, 4]
    assert (RULE.reach, RULE.strange_limit) == (6, 1)


def test_rounding_does_not_stop_the_part_that_set_the_limit():
    scores = 2.0 * np.array([1, 1 + ROUNDING / 2, 1 + 2 * ROUNDING, np.nan, 0])
    assert RULE.passes(scores).tolist() == [True, True, False, False, True]
    assert RULE.passes(scores.astype(np.float32)).tolist() == [True, True, False, False, True]


def test_without_evidence_the_distance_is_the_score():
    rule = Rule(2.0, "quantile", 0.02, 50, "parts")
    distances = np.array([0.0, 1.5, 7.0])
    assert rule.score(distances, None).tolist() == [0, 1.5, 7]
    assert (rule.reach, rule.strange_limit) == (2, np.inf)
    # What is strange about parts is of no account where it has no scale.
    assert rule.score(distances, np.full(3, 99.0)).tolist() == [0, 1.5, 7]


def test_each_half_is_scaled_by_95_percent_of_good_parts(measured):
    rule = set_rule(*measured, **SETTINGS)
    scales = rule.distance_scale, rule.strange_scale
    for values, scale in zip(measured, scales):
        assert (values <= scale).sum() == 190  # of 200
    scores = [
        max(distance / scales[0], strange / scales[1]) for distance, strange in zip(*measured)
    ]
    np.testing.assert_allclose(rule.score(*measured), scores)
    assert rule.limit == quantile_limit(scores, 0.02)
    assert (rule.score(*measured) > rule.limit).sum() == 4  # 2 % of 200
    told = rule.method, rule.false_alarms, rule.parts, rule.calibration
    assert told == ("quantile", 0.02, 200, "parts of lot 'b'")


@pytest.mark.parametrize("method", ["quantile", "conformal", "tolerance"])
def test_limits_by_name(measured, method):
    rule = set_rule(measured[0], None, **(SETTINGS | {"method": method, "false_alarms": 0.05}))
    limit = {"quantile": quantile_limit, "conformal": conformal_limit, "tolerance": tolerance_limit}
    assert rule.limit == limit[method](measured[0], 0.05)
    assert rule.strange_scale is None
    assert rule.distance_scale == 1
    assert sorted(LIMITS) == sorted(limit)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_units_of_the_halves_do_not_matter(one, other):
    rng = np.random.default_rng(0)
    distances, strangest = rng.random((2, 60))
    rule = set_rule(distances, strangest, **SETTINGS)
    scaled = set_rule(one * distances, other * strangest, **SETTINGS)
    assert scaled.limit == pytest.approx(rule.limit)
    assert scaled.reach == pytest.approx(one * rule.reach)
    assert scaled.strange_limit == pytest.approx(other * rule.strange_limit)


@given(st.lists(st.floats(0, 1e3, width=32), min_size=2, max_size=50), st.integers(0, 99))
def test_never_more_good_parts_beyond_the_limit_than_said(distances, seed):
    strangest = np.random.default_rng(seed).random(len(distances))
    for share in (0.0, 0.1, 0.5):
        rule = set_rule(np.array(distances), strangest, **(SETTINGS | {"false_alarms": share}))
        beyond = (rule.score(np.array(distances), strangest) > rule.limit).sum()
        assert beyond <= share * len(distances)


def test_identical_photographs_have_a_rule():
    rule = set_rule(np.zeros(20), np.zeros(20), **SETTINGS)
    assert rule.limit == 0
    assert rule.distance_scale > 0
    assert rule.strange_scale > 0
    assert (rule.score(np.array([1e-6]), np.zeros(1)) > rule.limit).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "guess"}, r"one of \['conformal', 'quantile', 'tolerance'\], got 'guess'"),
        ({"false_alarms": 1.0}, "share must be at least 0 and below 1, got 1.0"),
        ({"false_alarms": -0.1}, "share must be at least 0 and below 1, got -0.1"),
        (
            {"method": "conformal", "false_alarms": 0.001},
            r"200 good calibration parts are too few to promise at most 0\.10% false alarms by the "
            "method 'conformal': give it more of them, or a larger share",
        ),
        ({"method": "tolerance", "false_alarms": 0.01}, "too few .* 1.00% .* 'tolerance'"),
    ],
)
def test_rules_that_can_not_be_set(measured, change, message):
    with pytest.raises(ValueError, match=message):
        set_rule(*measured, **(SETTINGS | change))


@pytest.mark.parametrize(
    ("limit", "scales", "message"),
    [
        (np.nan, (1.0, 1.0), "limit must be at least 0, got nan"),
        (-1.0, (1.0, 1.0), "limit must be at least 0, got -1.0"),
        (1.0, (0.0, 1.0), r"scales must be positive, got \[0.0, 1.0\]"),
        (1.0, (1.0, -2.0), r"scales must be positive, got \[1.0, -2.0\]"),
        (1.0, (np.nan, None), "scales must be positive, got"),
        (1.0, (1.0, np.nan), "scales must be positive, got"),
    ],
)
def test_a_rule_that_would_pass_anything_is_none(limit, scales, message):
    with pytest.raises(ValueError, match=message):
        Rule(limit, "quantile", 0.02, 50, "parts", *scales)
