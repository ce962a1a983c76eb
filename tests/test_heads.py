"""Heads on values that do not change."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from snnlib.heads import fit_head, log_odds


@pytest.fixture(scope="module")
def known():
    """Values of 200 parts, of which the third tells how probable a defect is."""
    points = np.random.default_rng(0).normal(3, 2, size=(200, 5)).astype(np.float32)
    points[:, 4] = 7  # the same for all
    return points, 1 / (1 + np.exp(-2 * (points[:, 2] - 3)))


@pytest.fixture(scope="module")
def head(known):
    return fit_head(*known, seed=1)


def test_a_head_learns_what_it_is_told(known, head):
    points, told = known
    said = expit(log_odds(head, points))
    assert said.shape == (200,)
    assert ((said > 0.5) == (told > 0.5)).mean() > 0.9
    assert np.corrcoef(said, told)[0, 1] > 0.9


def test_doubt_is_learned_as_doubt():
    """Of parts that look alike, it says what is told of them on the mean: hard labels can't."""
    points = np.repeat(np.float32([[0] * 20, [1] * 20]), 600, axis=0)
    said = expit(log_odds(fit_head(points, np.repeat([1 / 3, 1], 600), seed=0), points))
    assert said[0] == pytest.approx(1 / 3, abs=0.05)
    assert said[-1] > 0.95


def test_log_odds_are_what_the_head_gives(known, head):
    with torch.inference_mode():
        expected = head(torch.from_numpy(known[0]))[:, 0]
    np.testing.assert_array_equal(log_odds(head, known[0]), expected)


def test_values_are_standardised_first(known, head):
    """Another unit for a value, and another zero, change nothing."""
    points, told = known
    other = fit_head(points * np.float32([100, 1, 1, 0.01, 1]) + 4, told, seed=1)
    again = log_odds(other, points * np.float32([100, 1, 1, 0.01, 1]) + 4)
    np.testing.assert_allclose(expit(again), expit(log_odds(head, points)), atol=0.02)


def test_the_seed_decides_and_nothing_else_is_drawn(known):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, other = (fit_head(*known, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    said = [log_odds(one, known[0]) for one in (first, second, other)]
    np.testing.assert_array_equal(said[0], said[1])
    assert not np.array_equal(said[0], said[2])
    assert not any(layer.training for layer in first if isinstance(layer, nn.Dropout))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([0.5, 1.5], r"probabilities must lie in 0 … 1, got 0.5 … 1.5"),
        ([0.5, np.nan], "probabilities must lie in 0 … 1"),
        ([0.5], r"expected a probability for each of 2, got \(1,\)"),
    ],
)
def test_what_is_no_probability(told, message):
    with pytest.raises(ValueError, match=message):
        fit_head(np.zeros((2, 3), dtype=np.float32), np.array(told), seed=0)
