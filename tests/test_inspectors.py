"""Simulated inspectors: the curve, its ends, and what is drawn from it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from snnlib.quality.detection import detection_curve
from snnlib.quality.inspectors import Inspector

ANNA = Inspector(threshold=1.0, spread=0.2, guess=0.03, lapse=0.05)

shares = st.floats(0, 0.45)
numbers = st.floats(-3, 3)


@given(numbers, st.floats(0.01, 3), shares, shares, numbers, numbers)
def test_the_chance_is_that_of_the_paper(threshold, spread, guess, lapse, drift, amount):
    inspector = Inspector(threshold, spread, guess, lapse, drift)
    for done in (0.0, 0.5, 1.0):
        expected = guess + (1 - guess - lapse) * ndtr((amount - threshold - drift * done) / spread)
        assert inspector.chance(amount, done) == pytest.approx(expected)


def test_at_the_threshold_half_of_the_way_is_gone():
    assert ANNA.chance(1.0) == pytest.approx(0.03 + 0.92 / 2)
    assert ANNA.chance([-9.0, 9.0]) == pytest.approx([0.03, 0.95])


def test_parts_are_stopped_as_often_as_the_curve_says():
    amounts = np.repeat([0.0, 0.8, 1.0, 1.2, 3.0], 4000)
    stopped = ANNA.inspect(amounts, 2, seed=0)
    assert stopped.shape == (len(amounts), 2)
    found = stopped.reshape(5, -1).mean(axis=1)
    chance = ANNA.chance([0.0, 0.8, 1.0, 1.2, 3.0])
    assert np.abs(found - chance).max() < 4.5 * np.sqrt(0.25 / 8000)


def test_without_guesses_and_lapses_the_curve_of_detection_is_found_again():
    amounts = np.random.default_rng(0).uniform(0, 2, 20_000)
    stopped = Inspector(1.0, 0.3).inspect(amounts, seed=1)[:, 0]
    curve = detection_curve(amounts, stopped)
    assert curve.a50 == pytest.approx(1.0, abs=0.02)
    assert curve.a90 == pytest.approx(1.0 + 0.3 * 1.2816, abs=0.03)


def test_who_drifts_passes_more_at_the_end_of_a_round():
    tired = replace(ANNA, drift=0.5)
    assert tired.chance(1.2, 0.0) == pytest.approx(ANNA.chance(1.2))
    assert tired.chance(1.2, 1.0) == pytest.approx(ANNA.chance(0.7))
    amounts = np.full(20_000, 1.2)
    assert tired.inspect(amounts, seed=0).mean() < ANNA.inspect(amounts, seed=0).mean() - 0.1


def test_each_round_has_an_order_of_its_own():
    # With a drift as large as this, who comes early is stopped and who comes late is not.
    tired = Inspector(threshold=0.5, spread=1e-6, drift=1.0)
    rounds = tired.inspect(np.full(101, 1.0), 2, seed=0)
    assert rounds.sum(axis=0) == pytest.approx([50, 50], abs=1)
    assert 10 < (rounds[:, 0] != rounds[:, 1]).sum() < 90
    assert 10 < rounds[:50, 0].sum() < 40


def test_the_same_seed_says_the_same():
    amounts = np.linspace(0, 2, 50)
    assert (ANNA.inspect(amounts, 3, seed=4) == ANNA.inspect(amounts, 3, seed=4)).all()
    assert (ANNA.inspect(amounts, 3, seed=4) != ANNA.inspect(amounts, 3, seed=5)).any()


def test_one_part_alone_comes_at_the_start():
    assert Inspector(0.5, 1e-6, drift=9.0).inspect([1.0], seed=0).all()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"spread": 0.0}, "positive spread"),
        ({"threshold": np.nan}, "finite numbers"),
        ({"drift": np.inf}, "finite numbers"),
        ({"guess": -0.1}, "shares with a sum below 1"),
        ({"guess": 0.6, "lapse": 0.4}, "shares with a sum below 1"),
    ],
)
def test_wrong_numbers_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        replace(ANNA, **wrong)


@pytest.mark.parametrize(
    ("amounts", "trials", "words"),
    [
        ([], 1, "finite amounts"),
        ([[1.0]], 1, r"got shape \(1, 1\)"),
        ([np.nan], 1, "finite amounts"),
        ([1.0], 0, "trials must be at least 1"),
    ],
)
def test_wrong_parts_are_refused(amounts, trials, words):
    with pytest.raises(ValueError, match=words):
        ANNA.inspect(amounts, trials, seed=0)
