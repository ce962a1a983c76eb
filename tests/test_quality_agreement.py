"""Agreement of inspectors, against other libraries, published studies, loops and closed forms."""

import dataclasses
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from snnlib.evaluation import Estimate, proportion
from snnlib.quality.agreement import (
    GOOD_KAPPA,
    POOR_KAPPA,
    AgreementStudy,
    agreement,
    cohen_kappa,
    fleiss_kappa,
)
from snnlib.quality.lots import proportion_by_lot

Z = stats.norm.ppf(0.975)


def pairs(table):
    """What two raters say, of the table that counts it."""
    cells = np.repeat(np.arange(np.size(table)), np.ravel(table))
    return np.unravel_index(cells, np.shape(table))


def rated(counts):
    """What raters say of each part, of how many say what."""
    return np.array([np.repeat(np.arange(len(row)), row) for row in counts])


def ends(figure):
    return figure.value, figure.low, figure.high


def printed(*numbers, digits):
    """Numbers as they are printed, with so many digits."""
    return pytest.approx(numbers, abs=0.5001 * 10**-digits)


THREE_NAMES = [[106, 10, 4], [22, 28, 10], [2, 12, 6]]


def test_cohens_kappa_and_its_variance_as_published():
    """Fleiss, Cohen and Everitt (1969), 200 parts: kappa 0.429 with variance 0.002885."""
    found = cohen_kappa(*pairs(THREE_NAMES))
    assert (found.value,) == printed(0.429, digits=3)
    assert (((found.high - found.value) / Z) ** 2,) == printed(0.002885, digits=6)
    assert found.high - found.value == pytest.approx(found.value - found.low)


def test_cohens_kappa_as_sas_prints_it():
    """PROC FREQ, as the tests of statsmodels 0.15.0 quote it; one rater never says one name."""
    found = cohen_kappa(*pairs([[0, 4, 1], [0, 8, 0], [0, 1, 5]]))
    assert ends(found) == printed(0.4842, 0.2137, 0.7547, digits=4)


@pytest.mark.parametrize(
    ("table", "kappa", "low", "high"),
    [
        (THREE_NAMES, 0.428571, 0.323300, 0.533843),
        # Two dermatologists; manual of SAS/STAT, the FREQ procedure, "Agreement Study".
        ([[10, 4, 1, 0], [5, 10, 12, 2], [2, 4, 12, 5], [0, 2, 6, 13]], 0.344875, 0.20298, 0.48677),
        # Fleiss (1981, p. 213).
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.676471, 0.504576, 0.848365),
        ([[20, 5], [10, 15]], 0.4, 0.151092, 0.648908),
    ],
)
def test_cohens_kappa_is_that_of_another_library(table, kappa, low, high):
    """statsmodels 0.15.0: ``stats.inter_rater.cohens_kappa``."""
    found = cohen_kappa(*pairs(table))
    assert ends(found) == pytest.approx((kappa, low, high), abs=1e-6)


# Fleiss (1971, table 1): 30 patients, 6 psychiatrists each, 5 diagnoses.
PATIENTS = (
    "00060 03003 01401 00006 03030 20400 00402 20310 20040 00006 "
    "10050 11040 03300 10050 02031 00501 30012 51000 02040 10203 "
    "00006 01050 02013 20040 10041 05010 40002 02040 10500 00006"
)
DIAGNOSES = rated([[int(many) for many in patient] for patient in PATIENTS.split(" ")])
# The example of Wikipedia's article on Fleiss' kappa: 10 subjects, 14 raters, 5 grades.
GRADES = rated(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


@pytest.mark.parametrize(
    ("ratings", "printed_as", "kappa", "low", "high"),
    [
        (DIAGNOSES, 0.430, 0.4302445, 0.3193953, 0.5410938),
        (GRADES, 0.210, 0.2099307, 0.0009727, 0.4188887),
    ],
)
def test_fleiss_kappa_as_published_with_the_interval_of_gwet(ratings, printed_as, kappa, low, high):
    """The intervals are those of irrCAC 0.4.4, by Gwet and Fergadis: ``CAC(…).fleiss()``."""
    found = fleiss_kappa(ratings)
    assert (found.value,) == printed(printed_as, digits=3)
    assert ends(found) == pytest.approx((kappa, low, high), abs=1e-7)


# AIAG (2010, chapter III, section C): 50 parts, three trials of A, of B and of C, and what the part
# is; 1 is good. Of all parts that are not told here, all say what they are.
DISPUTED = {
    6: "110 110 100 1",
    7: "111 111 101 1",
    12: "000 000 010 0",
    14: "110 111 100 1",
    21: "110 101 010 1",
    22: "001 010 110 0",
    26: "010 000 001 0",
    30: "000 001 000 0",
    34: "001 001 011 0",
    36: "110 111 101 1",
    43: "101 111 110 1",
}
DEFECTIVE = [3, 4, 5, 9, 25, 37, 39, 42, 45, 48, 50]


def aiag():
    """Ratings and reference of the manual."""
    parts = dict.fromkeys(range(1, 51), "111 111 111 1")
    parts |= dict.fromkeys(DEFECTIVE, "000 000 000 0") | DISPUTED
    said = np.array([[int(digit) for digit in row.replace(" ", "")] for row in parts.values()])
    return said[:, :9].reshape(50, 3, 3), said[:, 9]


def test_the_study_of_the_manual():
    """AIAG (2010, chapter III, section C): counts, shares and kappas as printed there."""
    ratings, reference = aiag()
    study = agreement(ratings, reference, "ABC", good=1)
    assert study.within.index.tolist() == study.against.index.tolist() == ["A", "B", "C"]
    assert study.share == proportion(39, 50)
    for table in (study.within, study.against):
        assert table.share.tolist() == [42 / 50, 45 / 50, 40 / 50]
    assert tuple(study.against.kappa) == printed(0.88, 0.92, 0.77, digits=2)
    assert tuple(study.against.misses) == printed(0.063, 0.063, 0.125, digits=3)
    assert tuple(study.against.false_alarms) == printed(0.049, 0.020, 0.088, digits=3)
    # The manual takes trials of a pair of inspectors as they come.
    each = np.moveaxis(ratings, 1, 0).reshape(3, -1)
    kappas = tuple(cohen_kappa(*two).value for two in combinations(each, 2))
    assert kappas == printed(0.86, 0.78, 0.79, digits=2)
    assert (study.against.kappa > GOOD_KAPPA).all()
    assert POOR_KAPPA == 0.40 < GOOD_KAPPA == 0.75


def test_kappas_of_the_study_are_those_of_another_library():
    """irrCAC 0.4.4: ``CAC(…).fleiss()`` of the trials of each, and of all nine ratings."""
    study = agreement(*aiag())
    for row, expected in zip(
        study.within[["kappa", "kappa_low", "kappa_high"]].to_numpy(),
        [
            (0.76, 0.6014558, 0.9185442),
            (0.8450733, 0.7130037, 0.977143),
            (0.7029115, 0.5342719, 0.871551),
        ],
    ):
        assert tuple(row) == pytest.approx(expected, abs=1e-7)
    assert ends(study.kappa) == pytest.approx((0.7936057, 0.6750888, 0.9121226), abs=1e-7)


def test_a_study_has_a_row_an_inspector_and_three_columns_a_figure():
    ratings, reference = aiag()
    study = agreement(ratings, reference, ["A", "B", "station"], good=1)
    columns = ["share", "share_low", "share_high", "kappa", "kappa_low", "kappa_high"]
    more = ["misses", "misses_low", "misses_high"]
    more += ["false_alarms", "false_alarms_low", "false_alarms_high"]
    assert study.within.columns.tolist() == columns
    assert study.against.columns.tolist() == columns + more
    assert study.against.index.tolist() == ["A", "B", "station"]
    assert study.against.index.name == study.within.index.name == "inspector"
    plain = agreement(ratings, reference)
    assert plain.against.columns.tolist() == columns
    assert plain.against.index.tolist() == [1, 2, 3]
    assert agreement(ratings).against is None
    assert type(study) is AgreementStudy
    assert study.share == agreement(ratings).share
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.kappa = study.share


def naive_cohen(first, second):
    """Kappa and its variance as three sums over the cells of the table."""
    n, names = len(first), sorted({*first, *second})
    table = {(i, j): 0.0 for i in names for j in names}
    for i, j in zip(first, second):
        table[i, j] += 1 / n
    rows = {i: sum(table[i, j] for j in names) for i in names}
    columns = {j: sum(table[i, j] for i in names) for j in names}
    chance = sum(rows[i] * columns[i] for i in names)
    kappa = (sum(table[i, i] for i in names) - chance) / (1 - chance)
    a = sum(table[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in names)
    b = sum(table[i, j] * (columns[i] + rows[j]) ** 2 for i in names for j in names if i != j)
    c = (kappa - chance * (1 - kappa)) ** 2
    return kappa, max(a + (1 - kappa) ** 2 * b - c, 0) / (n * (1 - chance) ** 2)


def naive_fleiss(ratings):
    """Kappa and its variance by counting pairs of raters, part by part."""
    n, r = len(ratings), len(ratings[0])
    said = [name for part in ratings for name in part]
    share = {name: said.count(name) / (n * r) for name in said}
    chance = sum(p**2 for p in share.values())
    alike = []
    for part in ratings:
        two = list(combinations(part, 2))
        alike.append(sum(one == other for one, other in two) / len(two))
    kappa = (sum(alike) / n - chance) / (1 - chance)
    spread = 0.0
    for part, agreed in zip(ratings, alike):
        by_chance = sum(share[name] for name in part) / r
        own = (agreed - chance) / (1 - chance)
        own -= 2 * (1 - kappa) * (by_chance - chance) / (1 - chance)
        spread += (own - kappa) ** 2
    return kappa, spread / (n * (n - 1))


def naive_jackknife(own, reference):
    """Kappa of all ratings and the reference, and its variance by leaving out each part."""
    n, t = own.shape
    kappas = []
    for left_out in [None, *range(n)]:
        kept = [part for part in range(n) if part != left_out]
        kappas.append(naive_cohen(own[kept].ravel().tolist(), np.repeat(reference[kept], t))[0])
    rest = np.array(kappas[1:])
    return kappas[0], (n - 1) / n * sum((rest - rest.mean()) ** 2)


def around(value, reach):
    return pytest.approx((value, max(value - reach, -1), min(value + reach, 1)), abs=1e-7)


NAMES = st.sampled_from("abc")


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=20))
def test_cohens_kappa_equal_to_a_naive_loop(said):
    first, second = zip(*said)
    assume(len({*first, *second}) > 1)
    kappa, variance = naive_cohen(first, second)
    assert ends(cohen_kappa(first, second)) == around(kappa, Z * variance**0.5)
    assert kappa == pytest.approx(cohen_kappa_score(first, second))


@st.composite
def ratings_of_parts(draw, *axes):
    """Names, of parts by so many to so many of each other axis."""
    shape = (draw(st.integers(2, 8)), *(draw(st.integers(*axis)) for axis in axes))
    many = int(np.prod(shape))
    return np.array(draw(st.lists(NAMES, min_size=many, max_size=many))).reshape(shape)


@given(ratings_of_parts((2, 5)))
def test_fleiss_kappa_equal_to_a_naive_loop(ratings):
    assume(len(np.unique(ratings)) > 1)
    kappa, variance = naive_fleiss(ratings.tolist())
    reach = stats.t.ppf(0.975, len(ratings) - 1) * variance**0.5
    assert ends(fleiss_kappa(ratings)) == around(kappa, reach)


def figure(table, inspector, name):
    row = table.loc[inspector]
    return Estimate(row[name], row[name + "_low"], row[name + "_high"])


def same(one, other):
    return ends(one) == pytest.approx(ends(other), abs=1e-9, nan_ok=True)


@given(ratings_of_parts((2, 3), (2, 3)), st.data())
def test_a_study_equal_to_naive_loops(ratings, data):
    n, m, _ = ratings.shape
    reference = np.array(data.draw(st.lists(NAMES, min_size=n, max_size=n)))
    names = {*ratings.ravel().tolist(), *reference.tolist()}
    good = data.draw(st.sampled_from(sorted(names)))
    study = agreement(ratings, reference, good=good)
    alike = sum(len(set(part.ravel().tolist())) == 1 for part in ratings)
    assert study.share == proportion(alike, n)
    for j in range(m):
        own = ratings[:, j]
        again = sum(len(set(part)) == 1 for part in own.tolist())
        right = sum(set(part) == {is_} for part, is_ in zip(own.tolist(), reference))
        assert figure(study.within, j + 1, "share") == proportion(again, n)
        assert figure(study.against, j + 1, "share") == proportion(right, n)
        if len(np.unique(own)) > 1:
            assert same(figure(study.within, j + 1, "kappa"), fleiss_kappa(own))
        else:
            assert np.isnan(study.within.kappa.iloc[j])
        # What remains without any one part has a kappa, too.
        left = [{*np.delete(own, i, 0).ravel(), *np.delete(reference, i)} for i in range(n)]
        if all(len(some) > 1 for some in left):
            kappa, variance = naive_jackknife(own, reference)
            reach = stats.t.ppf(0.975, n - 1) * variance**0.5
            assert ends(figure(study.against, j + 1, "kappa")) == around(kappa, reach)
        for name, of, hits in [
            ("misses", reference != good, own == good),
            ("false_alarms", reference == good, own != good),
        ]:
            found = figure(study.against, j + 1, name)
            if of.sum() > 1:
                part = np.broadcast_to(np.arange(n)[:, None], own.shape)
                assert found == proportion_by_lot(hits[of].ravel(), part[of].ravel())
            else:
                assert same(found, Estimate(hits[of].mean() if of.any() else np.nan, *[np.nan] * 2))


@given(ratings_of_parts((2, 3), (2, 3)), st.randoms(use_true_random=False))
def test_names_and_the_order_of_parts_and_raters_do_not_matter(ratings, random):
    n, m, t = ratings.shape
    assume(len(np.unique(ratings)) > 1)
    reference, order = ratings[:, 0, 0], random.sample(range(n), n)
    numbers = np.vectorize({"a": 30, "b": -1, "c": 7}.get)
    one = agreement(ratings, reference, range(m))
    turned, again = random.sample(range(m), m), random.sample(range(t), t)
    moved = ratings[order][:, turned][:, :, again]
    other = agreement(numbers(moved), numbers(reference[order]), turned)
    assert same(one.kappa, other.kappa)
    assert same(one.share, other.share)
    pd.testing.assert_frame_equal(one.within, other.within.loc[range(m)])
    pd.testing.assert_frame_equal(one.against, other.against.loc[range(m)])
    first, second = ratings[:, 0, 0], ratings[:, 1, 0]
    if len({*first, *second}) > 1:
        assert same(cohen_kappa(first, second), cohen_kappa(numbers(second), numbers(first)))


@given(ratings_of_parts((2, 4)))
def test_an_interval_holds_its_kappa_and_ends_at_one(ratings):
    assume(len(np.unique(ratings[:, :2])) > 1)
    r = ratings.shape[1]
    for found in (fleiss_kappa(ratings), cohen_kappa(*ratings.T[:2])):
        assert -1 <= found.low <= found.value <= found.high <= 1
    assert fleiss_kappa(ratings).value >= -1 / (r - 1) - 1e-12


@given(st.lists(NAMES, min_size=2, max_size=10))
def test_perfect_agreement(names):
    assume(len(set(names)) > 1)
    assert cohen_kappa(names, names) == Estimate(1, 1, 1)
    assert fleiss_kappa([[name] * 4 for name in names]) == Estimate(1, 1, 1)
    study = agreement([[[name] * 3] * 2 for name in names], names, ["A", "B"])
    assert study.share == proportion(len(names), len(names))
    assert study.kappa == Estimate(1, 1, 1)
    assert study.within.kappa.tolist() == study.against.kappa.tolist() == [1, 1]
    assert study.within.share.tolist() == study.against.share.tolist() == [1, 1]
    assert study.against.share_low.iloc[0] == proportion(len(names), len(names)).low


@pytest.mark.parametrize("agreed", [0, 3, 10, 16])
def test_kappas_in_closed_form(agreed):
    """Two names, each said of half the parts: κ = 2 p - 1 of a share p that agrees."""
    n, p = 20, agreed / 20
    table = np.array([[agreed, n - agreed], [n - agreed, agreed]]) / 2
    if agreed % 2:
        table, n = 2 * table, 40
    said = np.transpose(pairs(table.astype(int)))
    kappa, spread = 2 * p - 1, 2 * np.sqrt(p * (1 - p))
    assert ends(cohen_kappa(*said.T)) == around(kappa, Z * spread / np.sqrt(n))
    t = stats.t.ppf(0.975, n - 1)
    assert ends(fleiss_kappa(said)) == around(kappa, t * spread / np.sqrt(n - 1))


def test_no_more_than_chance():
    """Each name of one with each name of the other, as often as they are said; and who says one."""
    assert cohen_kappa(*pairs(np.outer([2, 3, 5], [4, 1, 5]))).value == pytest.approx(0, abs=1e-12)
    assert cohen_kappa(["a"] * 4, ["a", "b", "a", "c"]) == Estimate(0, 0, 0)
    rng = np.random.default_rng(0)
    for found in (
        cohen_kappa(*rng.integers(3, size=(2, 9000))),
        fleiss_kappa(rng.integers(3, size=(9000, 4))),
    ):
        assert found.low < 0 < found.high < 0.03


def test_intervals_hold_the_true_kappa_as_often_as_they_say():
    """Raters who know a part with chance 0.6, and guess it of three names otherwise."""
    rng = np.random.default_rng(1)
    held = {"cohen": 0, "fleiss": 0, "jackknife": 0}
    for _ in range(800):
        truth = rng.integers(3, size=(80, 1))
        said = np.where(rng.random((80, 3)) < 0.6, truth, rng.integers(3, size=(80, 3)))
        # Knowing a part or guessing it lasts for all trials.
        study = agreement(np.repeat(said[:, :2, None], 4, axis=2), truth[:, 0])
        found = {
            "cohen": (cohen_kappa(truth[:, 0], said[:, 0]), 0.6),
            "fleiss": (fleiss_kappa(said), 0.36),
            "jackknife": (figure(study.against, 1, "kappa"), 0.6),
        }
        for name, (estimate, kappa) in found.items():
            held[name] += estimate.low <= kappa <= estimate.high
    assert all(0.93 <= times / 800 <= 0.97 for times in held.values()), held


def test_trials_that_only_repeat_tell_nothing_more():
    rng = np.random.default_rng(2)
    truth = rng.integers(2, size=600)
    said = np.where(rng.random((600, 2)) < 0.8, truth[:, None], 1 - truth[:, None])
    few, many = (agreement(np.repeat(said[:, :, None], t, 2), truth, good=1) for t in (2, 8))
    assert ends(figure(few.against, 1, "kappa")) == pytest.approx(
        ends(figure(many.against, 1, "kappa"))
    )
    # Of many parts, leaving out each is as good as the formula.
    formula = cohen_kappa(truth, said[:, 0])
    found = figure(few.against, 1, "kappa")
    assert found.value == pytest.approx(formula.value)
    assert found.high - found.low == pytest.approx(formula.high - formula.low, rel=0.01)


def test_figures_that_are_not_defined_are_not_numbers():
    # The first inspector calls all parts good, and so does the reference.
    ratings = [[["OK", "OK"], ["OK", "NG"]], [["OK", "OK"], ["NG", "NG"]], [["OK", "OK"]] * 2]
    study = agreement(ratings, ["OK"] * 3, good="OK")
    assert study.within.filter(like="kappa").isna().loc[1].all()
    assert study.against.filter(like="kappa").isna().loc[1].all()
    assert study.against.filter(like="misses").isna().all(axis=None)
    assert study.against.false_alarms.tolist() == [0, 0.5]
    assert study.against.share.tolist() == [1, 1 / 3]
    # One part alone is defective, and nobody sees it.
    study = agreement([[["OK"] * 2] * 2] * 3, ["OK", "OK", "NG"], good="OK")
    assert study.against.kappa.tolist() == [0, 0]
    assert study.against[["kappa_low", "kappa_high"]].isna().all(axis=None)
    assert study.against.misses.tolist() == [1, 1]
    assert study.against[["misses_low", "misses_high"]].isna().all(axis=None)
    assert np.isnan(study.kappa.value)
    assert study.share == proportion(3, 3)


def test_a_name_that_the_reference_does_not_know_is_wrong():
    ratings = np.full((4, 2, 2), "OK", dtype=object)
    ratings[2:] = "scratched"
    ratings[0, 1, 1] = "?"
    study = agreement(ratings, ["OK", "OK", "dented", "scratched"], good="OK")
    assert study.against.share.tolist() == [0.75, 0.5]
    assert study.against.false_alarms.tolist() == [0, 0.25]
    assert study.against.misses.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["a", "b"], ["a"], "expected second of two parts or more, got 1"),
        (["a", "b"], ["a", "b", "b"], "expected two names a part, got 2 and 3"),
        ([["a", "b"]], ["a", "b"], r"expected first of shape \(n,\), got \(1, 2\)"),
        ("a", ["a", "b"], r"expected first of shape \(n,\), got \(\)"),
        (["a", None], ["a", "b"], r"first must not be missing, got none at \[1\]"),
        (["a", "b"], [np.nan, "b"], r"second must not be missing, got none at \[0\]"),
        ([1, 0], ["1", "0"], r"expected names or numbers, got both: \[.*\]"),
        (["OK", "OK"], ["OK", "OK"], "there is no kappa: both say 'OK' of all parts"),
    ],
)
def test_no_kappa_of_two_raters(first, second, message):
    with pytest.raises(ValueError, match=message):
        cohen_kappa(first, second)


@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ([["a", "b"]], "expected ratings of two parts or more, got 1"),
        ([["a"], ["b"]], "expected two raters or more, got 1 rating a part"),
        (["a", "b"], r"expected ratings of shape \(n, r\), got \(2,\)"),
        ([["a", "b"], ["a"]], r"expected ratings of shape \(n, r\), got \(2,\)"),
        ([["a", "b"], [pd.NA, "a"]], r"ratings must not be missing, got none at \[1, 0\]"),
        ([["1", 1], [1, 1]], "expected names or numbers, got both"),
        ([[3, 3], [3, 3]], "there is no kappa: all say 3 of all parts"),
    ],
)
def test_no_kappa_of_several_raters(ratings, message):
    with pytest.raises(ValueError, match=message):
        fleiss_kappa(ratings)


GIVEN = [[["a", "b"], ["a", "a"]], [["b", "b"], ["b", "a"]]]


@pytest.mark.parametrize(
    ("ratings", "more", "message"),
    [
        ([["a", "b"]] * 2, {}, r"expected ratings of shape \(n, m, t\), got \(2, 2\)"),
        (GIVEN[:1], {}, "expected ratings of two parts or more, got 1"),
        (np.array(GIVEN)[:, :1], {}, "expected two inspectors or more, got 1"),
        (np.array(GIVEN)[:, :, :1], {}, "expected two trials or more, got 1"),
        (
            [GIVEN[0], [["b", None], ["a", "b"]]],
            {},
            r"must not be missing, got none at \[1, 0, 1\]",
        ),
        (GIVEN, {"reference": ["a", "b", "a"]}, "a reference for each of 2 parts, got 3"),
        (GIVEN, {"reference": [["a", "b"]]}, r"expected reference of shape \(n,\), got \(1, 2\)"),
        (GIVEN, {"reference": ["a", np.nan]}, r"reference must not be missing, got none at \[1\]"),
        (GIVEN, {"reference": [0, 1]}, "expected names or numbers, got both"),
        (GIVEN, {"inspectors": ["A"]}, r"expected 2 different names of inspectors, got \['A'\]"),
        (GIVEN, {"inspectors": "AA"}, r"2 different names of inspectors, got \['A', 'A'\]"),
        (GIVEN, {"reference": ["a", "b"], "good": "OK"}, r"'OK' is neither in .* \['a', 'b'\]"),
    ],
)
def test_no_study(ratings, more, message):
    with pytest.raises(ValueError, match=message):
        agreement(ratings, **more)


def test_no_good_class_without_a_reference():
    with pytest.raises(TypeError, match="expected a reference with the good class, or neither"):
        agreement(GIVEN, good="a")
