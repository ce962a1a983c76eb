"""Same or different, on pairs that share images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from snnlib.verification import (
    VerificationScores,
    angular_distance,
    choose_threshold,
    verification_scores,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def apart(n):
    """Pairs of which no two share an image."""
    return np.arange(2 * n).reshape(n, 2)


@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=30).map(
        lambda pairs: [*pairs, (3, True), (4, False)]
    )
)
def test_no_other_threshold_judges_more_pairs_rightly(pairs):
    distances = np.array([distance for distance, _ in pairs], dtype=float)
    same = np.array([alike for _, alike in pairs])

    def right(threshold):
        return ((distances < threshold) == same).sum()

    chosen = choose_threshold(distances, same)
    assert right(chosen) == max(right(threshold) for threshold in np.arange(-0.5, 14))
    assert not np.isin(chosen, distances)


def test_verification(rng):
    distances = np.concatenate([rng.normal(1, 0.5, 300), rng.normal(2, 0.5, 200)])
    same = np.repeat([True, False], [300, 200])
    result = verification_scores(apart(500), distances, same, 1.5)
    assert isinstance(result, VerificationScores)
    assert result.auc.value == pytest.approx(roc_auc_score(same, -distances))
    assert result.auc.low < result.auc.value < result.auc.high
    assert result.accuracy.value == np.mean((distances < 1.5) == same)
    assert np.trapezoid(result.true_positive_rate, result.false_positive_rate) == pytest.approx(
        result.auc.value
    )


def test_pairs_that_share_nothing_are_trials(rng):
    """Wilson's interval as SciPy has it, and the area's of DeLong's variance."""
    distances = np.concatenate([rng.normal(0, 1, 400), rng.normal(1, 1, 300)])
    same = np.repeat([True, False], [400, 300])
    result = verification_scores(apart(700), distances, same, 0.5)
    right = ((distances < 0.5) == same).sum()
    wilson = stats.binomtest(int(right), 700).proportion_ci(method="wilson")
    assert (result.accuracy.low, result.accuracy.high) == pytest.approx((wilson.low, wilson.high))
    nearer = distances[same][:, None] < distances[~same]
    error = np.sqrt(np.var(nearer.mean(axis=1)) / 400 + np.var(nearer.mean(axis=0)) / 300)
    assert result.auc.high - result.auc.low == pytest.approx(2 * 1.96 * error, rel=0.02)


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 2, st.booleans()), min_size=2, max_size=20))
def test_the_variance_is_that_of_a_double_loop(told):
    """Of each two pairs with an image in common, the product of what they are off by."""
    pairs = np.array([(a, b) for a, b, _ in told] + [(6, 7), (8, 9), (10, 11), (12, 13)])
    distances = np.array([float(near) for *_, near in told] + [0.0, 1.0, 0.0, 1.0])
    pairs[:, 1] += pairs[:, 0] == pairs[:, 1]  # no image is paired with itself
    same = np.arange(len(pairs)) % 2 == 0
    result = verification_scores(pairs, distances, same, 0.5).accuracy
    off = ((distances < 0.5) == same) - result.value
    products = [
        off[p] * off[q]
        for p in range(len(pairs))
        for q in range(len(pairs))
        if set(pairs[p]) & set(pairs[q])
    ]
    variance = max(sum(products), (off**2).sum()) / len(pairs) ** 2
    if variance > 0:
        trials = result.value * (1 - result.value) / variance
        solved = [result.low, result.high]  # ends of Wilson's interval lie 1.96 errors away
        for end in solved:
            error = np.sqrt(end * (1 - end) / trials)
            assert abs(end - result.value) == pytest.approx(stats.norm.ppf(0.975) * error, abs=1e-9)


def test_intervals_hold_where_pairs_share_images():
    """Some images are hard: of 300 sets of images, about 95 in 100 intervals hold the truth."""

    def drawn(rng, n):
        hard = rng.normal(0, 0.8, n)
        pairs = np.array([rng.choice(n, 2, replace=False) for _ in range(5 * n)])
        same = np.arange(len(pairs)) % 2 == 0
        blurred = hard[pairs].sum(axis=1) + rng.normal(0, 0.5, len(pairs))
        return pairs, np.where(same, blurred, 1.5 - blurred), same

    truth = verification_scores(*drawn(np.random.default_rng(1), 20_000), 0.75)
    held, as_trials = np.zeros((2, 2), dtype=int)
    for seed in range(300):
        pairs, distances, same = drawn(np.random.default_rng([2, seed]), 40)
        for counts, of in ((held, pairs), (as_trials, apart(len(pairs)))):
            found = verification_scores(of, distances, same, 0.75)
            for k, (own, true) in enumerate(
                [(found.accuracy, truth.accuracy), (found.auc, truth.auc)]
            ):
                counts[k] += own.low <= true.value <= own.high
    assert (held >= 0.9 * 300).all()
    assert (as_trials < 0.7 * 300).all()  # as if pairs were independent


def test_without_an_error_images_are_counted():
    """20 pairs of four images are no 20 trials."""
    pairs = np.array([(0, 1), (2, 3), (0, 2), (1, 3)] * 5)
    same = np.array([True, True, False, False] * 5)
    found = verification_scores(pairs, np.where(same, 0.0, 1.0), same, 0.5)
    assert found.accuracy.value == found.auc.value == 1
    expected = stats.binomtest(2, 2).proportion_ci(method="wilson").low
    assert found.accuracy.low == pytest.approx(expected)
    assert found.auc.low == pytest.approx(expected)


@pytest.mark.parametrize(
    ("distances", "same", "message"),
    [
        ([1.0, 2.0], [True, True], "only one kind"),
        ([1.0, np.nan], [True, False], "got nan at position 1"),
        ([1.0, 2.0], [True], "shapes"),
        ([1.0, 2.0], [1, 0], "boolean"),
    ],
)
def test_bad_pairs(distances, same, message):
    for judge in (choose_threshold, lambda d, s: verification_scores(apart(2), d, s, 1.0)):
        with pytest.raises(ValueError, match=message):
            judge(np.array(distances), np.array(same))


def test_bad_images_of_pairs():
    four = np.arange(4.0), np.array([True, False] * 2), 0.5
    for pairs in (apart(3), np.arange(4)[:, None]):
        with pytest.raises(ValueError, match="two images for each of 4 pairs"):
            verification_scores(pairs, *four)


def test_at_the_threshold_is_not_nearer():
    distances, same = np.array([0.0, 1.0, 1.0, 2.0]), np.array([True, True, False, False])
    result = verification_scores(apart(4), distances, same, 1.0)
    assert result.accuracy.value == 3 / 4  # the second pair, at 1, is judged to be of two classes


def test_an_interval_needs_two_of_each_kind():
    with pytest.raises(ValueError, match="two pairs of each kind or more, got 1 and 3"):
        verification_scores(apart(4), [0, 1, 2, 3], np.array([True, False, False, False]), 0.5)


def test_scores_are_printed_in_a_line():
    scores = verification_scores(apart(4), [0, 0, 1, 1], np.array([True, True, False, False]), 0.5)
    assert "array" not in repr(scores)
    assert "Estimate(value=1.0" in repr(scores)


def test_angles_known_and_of_a_loop(rng):
    first = np.array([[2.0, 0.0]] * 5)
    second = np.array([[7.0, 0.0], [1.0, 1.0], [0.0, 3.0], [-1.0, 1.0], [-2.0, 0.0]])
    assert angular_distance(first, second) == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1e-7)
    first, second = rng.normal(size=(2, 50, 6))
    expected = []
    for a, b in zip(first, second):  # half the angle, by the chord of the unit vectors
        chord = np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b))
        expected.append(2 * np.arcsin(chord / 2) / np.pi)
    assert angular_distance(first, second) == pytest.approx(expected)


def test_identical_rows_are_at_no_angle_whatever_the_rounding(rng):
    Z = rng.normal(size=(1000, 7)).astype(np.float32)
    assert np.isfinite(angular_distance(Z, 3 * Z)).all()
    assert angular_distance(Z, 3 * Z).max() < 1e-3


def test_angles_of_bad_embeddings():
    with pytest.raises(ValueError, match="NaN"):
        angular_distance(np.full((2, 3), np.nan), np.ones((2, 3)))
    with pytest.raises(ValueError, match="shape"):
        angular_distance(np.ones((2, 3)), np.ones((2, 4)))
