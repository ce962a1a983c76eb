from itertools import permutations
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from snnlib.evaluation import (
    ClusterAccuracy,
    Estimate,
    PairedDifference,
    RetrievalScores,
    cluster_accuracy,
    escapes,
    false_alarms,
    mcnemar,
    proportion,
    rank_correlation,
    retrieval_scores,
    roc_auc,
)


@pytest.fixture
def rng():
    """Of each test its own, so that none depends on those before it."""
    return np.random.default_rng(0)


def test_share_is_wilsons():
    """The closed form of Wilson (1927)."""
    n, k, z = 50, 3, 1.959963984540054
    centre = (k + z**2 / 2) / (n + z**2)
    width = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    assert proportion(k, n) == Estimate(
        k / n, pytest.approx(centre - width), pytest.approx(centre + width)
    )
    assert proportion(9504, 10_000).percent() == "95.04 % (94.60 to 95.45)"


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 2), (0, 0)])
def test_bad_counts(successes, n):
    with pytest.raises(ValueError, match=f"got {successes} of {n}"):
        proportion(successes, n)


def clouds(rng, centres, sizes, spread=0.1):
    points = [c + spread * rng.standard_normal((n, 2)) for c, n in zip(centres, sizes)]
    return np.concatenate(points), np.repeat(np.arange(len(sizes)), sizes)


def test_separate_clouds_are_clustered_without_fault(rng):
    Z, labels = clouds(rng, [(0, 0), (5, 0), (0, 5)], [30, 20, 10])
    result = cluster_accuracy(Z, labels, seed=0)
    assert isinstance(result, ClusterAccuracy)
    assert result.majority.value == result.matched.value == 1
    assert result.table.tolist() == [[30, 0, 0], [0, 20, 0], [0, 0, 10]]


def test_majority_and_matching_against_all_permutations(rng):
    Z, labels = clouds(rng, [(0, 0), (5, 0), (0, 5), (5, 5)], [30, 30, 30, 30])
    labels = np.where(rng.random(120) < 0.4, rng.integers(0, 4, 120), labels)
    result = cluster_accuracy(Z, labels, seed=0)
    table = result.table
    best = max(
        sum(table[row, column] for row, column in enumerate(p)) for p in permutations(range(4))
    )
    assert result.matched.value == best / 120
    assert np.trace(table) == best
    assert result.majority.value == sum(max(row) for row in table.tolist()) / 120
    assert table.sum(axis=0).tolist() == np.bincount(labels).tolist()


def test_two_clusters_may_bear_one_name(rng):
    """One class in two clouds, two classes in one: the majority score does not mind."""
    Z, _ = clouds(rng, [(0, 0), (9, 0), (0, 9)], [40, 40, 40])
    labels = np.array([0] * 80 + [1] * 30 + [2] * 10)
    result = cluster_accuracy(Z, labels, seed=0)
    assert result.majority.value == pytest.approx(110 / 120)
    assert result.matched.value == pytest.approx(70 / 120)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_points_that_coincide_leave_empty_clusters():
    result = cluster_accuracy(np.zeros((6, 2)), np.array([0, 0, 0, 1, 1, 2]), seed=0)
    assert result.table.shape == (3, 3)
    assert result.majority.value == result.matched.value == 0.5


def test_clusters_need_a_label_each():
    with pytest.raises(ValueError, match="3 embeddings and 2 labels"):
        cluster_accuracy(np.zeros((3, 2)), np.array([0, 1]), seed=0)


def test_separation_is_the_area_of_scikit_learn(rng):
    near, far = rng.normal(0, 1, 80), rng.normal(1, 1, 120)
    result = roc_auc(near, far)
    truth = np.repeat([0, 1], [80, 120])
    assert result.value == pytest.approx(roc_auc_score(truth, np.concatenate([near, far])))
    assert result.value == pytest.approx(np.mean(near[:, None] < far))
    assert 0.5 < result.low < result.value < result.high < 1
    assert roc_auc(far, near).value == pytest.approx(1 - result.value)


def test_the_interval_of_the_area_has_the_width_of_the_formula(rng):
    """Hanley and McNeil (1982), equation 1, which holds approximately."""
    auc = roc_auc(rng.normal(0, 1, 400), rng.normal(1, 1, 400))
    a, n = auc.value, 400
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    error = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a**2 + q2 - a**2)) / n**2)
    assert auc.high - auc.low == pytest.approx(2 * 1.96 * error, rel=0.25)


def test_the_seed_alone_decides_the_interval_of_a_separation(rng):
    near, far = rng.normal(0, 1, 40), rng.normal(1, 1, 40)
    usual, same, other = (
        roc_auc(near, far),
        roc_auc(near, far, seed=0),
        roc_auc(near, far, seed=1),
    )
    assert usual == same
    assert other.value == usual.value
    assert other.low != usual.low


def test_separations_known():
    assert roc_auc([1, 2, 3], [4, 5]) == Estimate(1, 1, 1)
    assert roc_auc([4, 5], [1, 2, 3]) == Estimate(0, 0, 0)
    assert roc_auc([1, 1], [1, 1, 1]).value == 0.5
    assert roc_auc([1, 3], [2, 3]).value == 2.5 / 4


@pytest.mark.parametrize(
    ("near", "far", "message"),
    [
        ([], [1.0, 2.0], r"two known scores or more, got shape \(0,\)"),
        ([1.0, 2.0], [3.0], r"two unknown scores or more, got shape \(1,\)"),
        ([1.0, 2.0], [3.0, np.nan], "unknown scores must be finite, got nan at position 1"),
        ([1.0, np.inf], [3.0, 4.0], "known scores must be finite, got inf at position 1"),
        ([[1.0], [2.0]], [3.0, 4.0], r"got shape \(2, 1\)"),
    ],
)
def test_bad_separations(near, far, message):
    with pytest.raises(ValueError, match=message):
        roc_auc(near, far)


@st.composite
def embedded_classes(draw):
    sizes = draw(st.lists(st.integers(2, 12), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    labels = rng.permutation(np.repeat(np.arange(len(sizes)) * 5, sizes))
    return rng.normal(size=(len(labels), 3)) + 0.2 * labels[:, None], labels


def naive_retrieval(Z, labels):
    """Recall at 1 and mean average precision at R by loops over questions and ranks."""
    recalls, precisions = [], []
    for i in range(len(Z)):
        others = [j for j in range(len(Z)) if j != i]
        others.sort(key=lambda j: np.linalg.norm(Z[i] - Z[j]))
        R = sum(labels[j] == labels[i] for j in others)
        found, total = 0, 0.0
        for rank, j in enumerate(others[:R], start=1):
            if labels[j] == labels[i]:
                found += 1
                total += found / rank
        recalls.append(labels[others[0]] == labels[i])
        precisions.append(total / R)
    return np.mean(recalls), np.mean(precisions)


@given(embedded_classes())
def test_retrieval_equal_to_a_naive_loop(case):
    Z, labels = case
    result = retrieval_scores(Z, labels)
    recall, precision = naive_retrieval(Z, labels)
    assert result.recall_at_1.value == pytest.approx(recall)
    assert result.map_at_r.value == pytest.approx(precision)
    assert result.map_at_r.low <= result.map_at_r.value + 1e-12


@given(embedded_classes())
def test_retrieval_equal_to_pytorch_metric_learning(case):
    Z, labels = case
    # Theirs looks at as many neighbours for all as the largest class has.
    assume(len(np.unique(labels)) > 1)
    theirs = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    ).get_accuracy(torch.tensor(Z), torch.tensor(labels))
    ours = retrieval_scores(Z, labels)
    assert ours.recall_at_1.value == pytest.approx(theirs["precision_at_1"])
    assert ours.map_at_r.value == pytest.approx(theirs["mean_average_precision_at_r"])


def test_retrieval_of_clear_and_of_mixed_classes(rng):
    labels = np.repeat([0, 1], 300)
    clear = retrieval_scores(rng.normal(size=(600, 2)) + 100 * labels[:, None], labels)
    assert isinstance(clear, RetrievalScores)
    assert clear.recall_at_1.value == clear.map_at_r.value == 1
    mixed = retrieval_scores(rng.normal(size=(600, 2)), labels)
    assert 0.4 < mixed.recall_at_1.value < 0.6
    # Of R places half are right, and P(i) is about a half there: a quarter.
    assert 0.24 < mixed.map_at_r.low < mixed.map_at_r.value < mixed.map_at_r.high < 0.27


def test_retrieval_does_not_depend_on_how_the_table_is_cut(rng):
    """Large enough for several pieces: each row must leave out itself, not its neighbour."""
    Z, labels = rng.normal(size=(4000, 3)), rng.integers(0, 3, 4000)
    nearest = NearestNeighbors(n_neighbors=1).fit(Z).kneighbors()[1][:, 0]  # never itself
    expected = (labels[nearest] == labels).mean()
    assert retrieval_scores(Z, labels).recall_at_1.value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("Z", "labels", "message"),
    [
        (np.zeros((3, 2)), np.array([0, 0]), "got 3 embeddings and 2 labels"),
        (np.zeros((3, 2)), np.array([0, 0, 4]), r"of the classes \[4\] have no image to find"),
        (np.full((2, 2), np.nan), np.array([0, 0]), "NaN"),
    ],
)
def test_bad_retrieval(Z, labels, message):
    with pytest.raises(ValueError, match=message):
        retrieval_scores(Z, labels)


def naive_search(Z, labels, gallery, gallery_labels):
    recalls, precisions = [], []
    for z, label in zip(Z, labels):
        order = sorted(range(len(gallery)), key=lambda j: np.linalg.norm(z - gallery[j]))
        right = [gallery_labels[j] == label for j in order]
        R = int((gallery_labels == label).sum())
        terms = [sum(right[:i]) / i for i in range(1, R + 1) if right[i - 1]]
        recalls.append(right[0])
        precisions.append(sum(terms) / R)
    return np.mean(recalls), np.mean(precisions)


@given(embedded_classes(), st.integers(2, 20), st.integers(0, 1000))
def test_a_gallery_equal_to_a_naive_loop_and_to_pytorch_metric_learning(case, n, seed):
    gallery, gallery_labels = case
    rng = np.random.default_rng(seed)
    labels = rng.choice(gallery_labels, n)  # not every class asks
    Z = rng.normal(size=(n, 3)) + 0.2 * labels[:, None]
    ours = retrieval_scores(Z, labels, gallery, gallery_labels)
    recall, precision = naive_search(Z, labels, gallery, gallery_labels)
    assert ours.recall_at_1.value == pytest.approx(recall)
    assert ours.map_at_r.value == pytest.approx(precision)
    theirs = AccuracyCalculator(
        include=("precision_at_1", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    ).get_accuracy(*map(torch.tensor, (Z, labels, gallery, gallery_labels)))
    assert ours.recall_at_1.value == pytest.approx(theirs["precision_at_1"])
    assert ours.map_at_r.value == pytest.approx(theirs["mean_average_precision_at_r"])


def test_a_gallery_of_one_image_a_class(rng):
    """R is 1, so that both figures are the accuracy of the nearest image."""
    gallery, labels = np.eye(4) * 3, rng.integers(0, 4, 200)
    Z = gallery[labels] + rng.normal(size=(200, 4))
    expected = (((Z[:, None] - gallery) ** 2).sum(axis=2).argmin(axis=1) == labels).mean()
    result = retrieval_scores(Z, labels, gallery, np.arange(4))
    assert result.recall_at_1.value == pytest.approx(expected)
    assert result.map_at_r.value == pytest.approx(expected)


def test_bad_galleries():
    Z, y = np.zeros((3, 2)), np.array([0, 0, 4])
    with pytest.raises(ValueError, match=r"of the classes \[4\] have no image to find"):
        retrieval_scores(Z, y, Z[:2], y[:2])
    with pytest.raises(ValueError, match="got 2 embeddings and 3 labels"):
        retrieval_scores(Z, y, Z[:2], y)
    with pytest.raises(ValueError, match="at least two queries, got one"):
        retrieval_scores(Z[:1], y[:1], Z, y)
    with pytest.raises(TypeError, match="a gallery and its labels, or neither"):
        retrieval_scores(Z, y, Z)
    with pytest.raises(TypeError, match="a gallery and its labels, or neither"):
        retrieval_scores(Z, y, gallery_labels=y)


TRUTH = ["OK", "OK", "OK", "OK", "31X10", "31X10", "61D05"]


def test_escapes_and_false_alarms():
    said = ["OK", "31X10", "unknown", "OK", "OK", "61D05", "unknown"]
    assert escapes(TRUTH, said) == proportion(1, 3)
    assert false_alarms(TRUTH, said) == proportion(2, 4)
    assert escapes(TRUTH, said, good="31X10") == proportion(1, 5)
    # A class that the verdicts do not know is a defect all the same.
    assert escapes(["OK", "31M"], ["OK", "OK"]).value == 1


def test_escapes_need_defects_and_false_alarms_good_parts():
    with pytest.raises(ValueError, match="no part is defective: all 4 are 'OK'"):
        escapes(TRUTH[:4], TRUTH[:4])
    with pytest.raises(ValueError, match=r"no part is 'OK', only \['31X10', '61D05'\] are there"):
        false_alarms(TRUTH[4:], TRUTH[4:])
    for count in (escapes, false_alarms):
        with pytest.raises(ValueError, match=r"got shapes \(7,\) and \(6,\)"):
            count(TRUTH, TRUTH[:6])


@pytest.mark.parametrize(
    ("truth", "said", "good"),
    [
        (["bent"] * 60, ["good"] * 60, "OK"),
        (["ok", "bent"], ["ok", "ok"], "OK"),
        ([0, 1], [0, 0], "OK"),
        ([True, False], [True, True], "OK"),
        (np.array(["good", "bent"], dtype=object), ["good", "good"], "OK"),
        ([0, 1], [0, 0], 2),
        (["0", "1"], ["0", "0"], 0),
    ],
)
def test_a_good_class_that_nobody_names_is_refused(truth, said, good):
    """It was 0 % of escapes, though every part passed."""
    with pytest.raises(ValueError, match=f"the good class {good!r} is neither .*name it by good="):
        escapes(truth, said, good)
    with pytest.raises(ValueError, match=f"no part is {good!r}"):
        false_alarms(truth, said, good)


def test_a_good_class_of_any_kind_is_counted():
    assert escapes(["bent"] * 3, ["bent", "OK", "bent"]).value == 1 / 3
    assert escapes(["bent", "OK"], ["bent", "bent"]).value == 0  # none said to be good
    assert escapes([1, 1, 0], [0, 1, 0], good=0).value == 0.5
    assert escapes([False, False], [True, False], good=True).value == 0.5


def test_scores_are_printed_in_a_line():
    scores = cluster_accuracy(np.array([[0.0], [9.0]]), np.array([0, 1]), seed=0)
    assert "array" not in repr(scores)
    assert "Estimate(value=1.0" in repr(scores)


def test_mcnemar_is_a_sign_test_of_those_that_differ():
    """By the sum of binomial chances, both ends together."""
    first = np.repeat([True, True, False, False], [50, 9, 2, 7])
    second = np.repeat([True, False, True, False], [50, 9, 2, 7])
    p = 2 * sum(comb(11, k) for k in range(3)) / 2**11
    assert mcnemar(first, second) == PairedDifference(9, 2, pytest.approx(p))
    assert mcnemar(second, first) == PairedDifference(2, 9, pytest.approx(p))
    assert mcnemar(first, first) == PairedDifference(0, 0, 1.0)


@pytest.mark.parametrize(("first", "second"), [([1, 0], [1]), ([[1]], [[0]])])
def test_mcnemar_takes_the_same_parts(first, second):
    with pytest.raises(ValueError, match=r"expected two of shape \(n,\), got"):
        mcnemar(first, second)


def test_rank_correlation_is_that_of_mean_ranks(rng):
    """Pearson's, of ranks in which equal things share their mean."""
    ranks = rng.integers(0, 4, 300)
    scores = ranks + rng.normal(0, 2, 300)
    found = rank_correlation(scores, ranks)
    expected = np.corrcoef(stats.rankdata(scores), stats.rankdata(ranks))[0, 1]
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    # Fisher's interval for independent things, roughly: what a bootstrap should come near to.
    half = 1.96 / np.sqrt(297) * (1 - expected**2)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.3)
    assert rank_correlation(np.exp(scores), ranks).value == pytest.approx(expected)
    assert rank_correlation(-scores, ranks).value == pytest.approx(-expected)
    assert rank_correlation(scores, ranks, seed=1) != found


@pytest.mark.parametrize(
    ("scores", "ranks", "message"),
    [
        ([1, np.nan], [1, 2], "a finite score and rank for each"),
        ([1, 1], [1, 2], "there is no order"),
        ([1, 2], [3, 3], "there is no order"),
        ([[1, 2]], [[1, 2]], "a finite score and rank for each"),
    ],
)
def test_what_has_no_order(scores, ranks, message):
    with pytest.raises(ValueError, match=message):
        rank_correlation(scores, ranks)
