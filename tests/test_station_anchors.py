"""Anchors: where classes lie, how far parts are from them, and how many a class needs."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from snnlib.embedding import AnchorClassifier
from snnlib.station.anchors import Anchors, anchors_a_class, place_anchors
from snnlib.whitening import WithinClassWhitening


def blobs(seed, d=3, **classes):
    """Normal points of some classes: a name for each, and (middle, number)."""
    rng = np.random.default_rng(seed)
    points = [rng.normal(middle, 1, (n, d)) for middle, n in classes.values()]
    names = np.repeat(list(classes), [len(of_class) for of_class in points])
    return np.concatenate(points).astype(np.float32), names


def naive_distances(points, anchors):
    """Class by class, anchor by anchor, in double."""
    table = []
    for point in points.astype(float):
        row = []
        for name in sorted(set(anchors.names.tolist())):
            found = []
            for anchor, of, error in zip(anchors.points, anchors.names, anchors.errors):
                if of == name:
                    found.append(max(((point - anchor) ** 2).sum() - error, 0) ** 0.5)
            row.append(min(found))
        table.append(row)
    return np.array(table)


def assert_sound(anchors, points, names):
    """Whether anchors are means, and their errors are of the spread about them."""
    assert anchors.classes == sorted(set(names.tolist()))
    assert np.isfinite(anchors.points).all()
    assert anchors.points.dtype == points.dtype
    assert (anchors.errors >= 0).all()


def test_distances_equal_to_loops():
    rng = np.random.default_rng(0)
    names = np.array(["worn", "bent", "good", "bent", "good", "bent"])
    anchors = Anchors(rng.normal(size=(6, 4)), names, rng.random(6), 1.0)
    points = rng.normal(size=(20, 4))
    assert anchors.classes == ["bent", "good", "worn"]
    expected = naive_distances(points, anchors)
    np.testing.assert_allclose(anchors.distances(points), expected)
    nearest = [anchors.classes[np.argmin(row)] for row in expected]
    assert anchors.nearest(points).tolist() == nearest
    assert len(set(nearest)) == 3


def test_distances_of_single_precision_equal_to_loops():
    points, names = blobs(1, d=32, good=(0, 60), bent=(2, 40))
    anchors = place_anchors(points, names, 2)
    new, _ = blobs(2, d=32, good=(0, 30), bent=(2, 30))
    expected = naive_distances(new, anchors)
    np.testing.assert_allclose(anchors.distances(new), expected, rtol=1e-4)


def test_a_point_on_an_anchor_has_no_distance_though_its_error_is_taken_off():
    anchors = Anchors(np.eye(3), np.array(["a", "b", "c"]), np.full(3, 0.5), 1.0)
    np.testing.assert_allclose(np.diag(anchors.distances(np.eye(3))), 0)
    others = anchors.distances(np.eye(3))[~np.eye(3, dtype=bool)]
    np.testing.assert_allclose(others, np.sqrt(1.5))


def test_one_anchor_a_class_is_its_mean():
    points, names = blobs(3, good=(0, 50), bent=(4, 8), worn=(-4, 1))
    anchors = place_anchors(points, names)
    assert_sound(anchors, points, names)
    assert anchors.names.tolist() == ["bent", "good", "worn"]
    for mean, name in zip(anchors.points, anchors.names):
        np.testing.assert_allclose(mean, points[names == name].mean(axis=0), atol=1e-6)
    plain = AnchorClassifier().fit(points, names)
    unmended = place_anchors(points, names, mended=False)
    np.testing.assert_allclose(unmended.distances(points), plain.distances(points), rtol=1e-4)
    assert unmended.spread == 0
    assert not unmended.errors.any()


def test_errors_are_the_spread_over_the_parts_of_an_anchor():
    points, names = blobs(4, good=(0, 50), bent=(4, 8))
    anchors = place_anchors(points, names)
    squares = sum(
        ((points[names == name] - points[names == name].mean(axis=0)) ** 2).sum()
        for name in ("bent", "good")
    )
    assert anchors.spread == pytest.approx(squares / (58 - 2), rel=1e-5)
    np.testing.assert_allclose(anchors.errors, [anchors.spread / 8, anchors.spread / 50])


def test_several_anchors_are_centres_of_clusters():
    points, names = blobs(5, good=(0, 30), bent=(9, 30))
    points[names == "bent"][:15] -= 18
    points = np.concatenate([points, points[names == "bent"] - 18])
    names = np.append(names, ["bent"] * 30)
    anchors = place_anchors(points, names, 2, seed=3)
    assert_sound(anchors, points, names)
    assert anchors.names.tolist() == ["bent", "bent", "good", "good"]
    bent = points[names == "bent"]
    centres = KMeans(2, n_init=10, random_state=3).fit(bent).cluster_centers_
    np.testing.assert_allclose(anchors.points[:2], centres, atol=1e-5)
    assert sorted(anchors.points[:2].mean(axis=1).round()) == [-9, 9]
    np.testing.assert_allclose(anchors.errors[:2], anchors.spread / 30)  # of 30 parts each


@pytest.mark.parametrize(("parts", "number"), [(1, 1), (9, 1), (10, 2), (19, 3), (20, 4), (99, 4)])
def test_fewer_anchors_where_a_class_has_less_than_five_parts_for_each(parts, number):
    points, names = blobs(6, good=(0, 40), bent=(9, parts))
    anchors = place_anchors(points, names, 4)
    assert (anchors.names == "bent").sum() == number
    assert (anchors.names == "good").sum() == 4


def test_k_means_is_drawn_by_the_seed_alone():
    points, names = blobs(7, good=(0, 60))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, again = (place_anchors(points, names, 4, seed=1) for _ in range(2))
    assert np.array_equal(one.points, again.points)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_one_part_a_class_has_no_spread_to_mend_by():
    points = np.eye(3)
    anchors = place_anchors(points, np.array(["a", "b", "c"]))
    assert anchors.spread == 0
    assert not anchors.errors.any()
    np.testing.assert_allclose(anchors.distances(points), np.sqrt(2) * (1 - np.eye(3)))


def test_mended_squared_distances_to_the_mean_of_a_few_are_unbiased():
    """E |x - m|² of a part x of another class and a mean m of 5 is gap² + d + d / 5."""
    rng = np.random.default_rng(0)
    d, gap, draws = 6, 3.0, 800
    names = np.array(["few"] * 5 + ["many"] * 40)
    plain, mended = [], []
    for _ in range(draws):
        points = rng.normal(size=(45, d))
        new = rng.normal(size=(50, d)) + gap / np.sqrt(d)
        for found, kind in ((plain, False), (mended, True)):
            anchors = place_anchors(points, names, mended=kind)
            found.append((anchors.distances(new)[:, 0] ** 2).mean())
    error = np.std(mended) / np.sqrt(draws)
    assert np.mean(mended) == pytest.approx(gap**2 + d, abs=4 * error)
    assert np.mean(plain) == pytest.approx(gap**2 + d + d / 5, abs=4 * error)
    assert 8 * error < d / 5  # so the one can't be taken for the other


def test_a_class_of_five_is_chosen_as_often_as_one_of_five_hundred():
    """Of parts in the middle between two classes each gets half."""
    rng = np.random.default_rng(0)
    d, gap, draws = 20, 6.0, 400
    names = np.array(["few"] * 5 + ["many"] * 500)
    middles = np.zeros((2, d))
    middles[:, 0] = -gap / 2, gap / 2
    shares = {True: 0.0, False: 0.0}
    for _ in range(draws):
        points = np.repeat(middles, [5, 500], axis=0) + rng.normal(size=(505, d))
        new = rng.normal(size=(25, d))
        for mended in shares:
            distances = place_anchors(points, names, mended=mended).distances(new)
            shares[mended] += (distances[:, 0] < distances[:, 1]).mean() / draws
    assert shares[True] == pytest.approx(0.5, abs=0.04)
    assert shares[False] < 0.4  # it takes mending


def test_a_new_class_needs_no_training():
    points, names = blobs(8, good=(0, 50), bent=(4, 20))
    anchors = place_anchors(points, names)
    new = np.random.default_rng(0).normal(-5, 1, (5, 3)).astype(np.float32)
    more = anchors.with_anchor("worn", new)
    assert anchors.classes == ["bent", "good"]
    assert more.classes == ["bent", "good", "worn"]
    np.testing.assert_allclose(more.points[-1], new.mean(axis=0), atol=1e-6)
    assert more.points.dtype == np.float32
    assert more.errors[-1] == pytest.approx(anchors.spread / 5)
    assert more.spread == anchors.spread
    np.testing.assert_allclose(more.distances(points)[:, :2], anchors.distances(points), rtol=1e-6)
    with pytest.raises(ValueError, match=r"'good' has an anchor already; .*\['bent', 'good'\]"):
        anchors.with_anchor("good", new)


def test_a_new_class_of_unmended_anchors_is_not_mended():
    points, names = blobs(8, good=(0, 50), bent=(4, 20))
    more = place_anchors(points, names, mended=False).with_anchor("worn", points[:2])
    assert not more.errors.any()


@pytest.mark.parametrize("name", ["unknown", "Unknown", "INVALID", "invalid"])
def test_words_of_verdicts_are_no_classes(name):
    with pytest.raises(ValueError, match=f"no class may be named '{name}'"):
        place_anchors(np.eye(3), np.array(["good", name, "bent"]))
    with pytest.raises(ValueError, match=f"no class may be named '{name}'"):
        place_anchors(np.eye(2), np.array(["good", "bent"])).with_anchor(name, np.ones((1, 2)))


@pytest.mark.parametrize(
    ("points", "names", "message"),
    [
        (np.ones(3), ["a", "b", "c"], r"points \(m, d\), each with a name, got \(3,\) and 3 names"),
        (np.ones((2, 3)), ["a"], r"got \(2, 3\) and 1 names"),
        (np.ones((0, 3)), [], r"got \(0, 3\) and 0 names"),
        (np.array([[1, np.nan]]), ["a"], "anchors must be finite"),
        (np.array([[1, np.inf]]), ["a"], "anchors must be finite"),
    ],
)
def test_bad_anchors(points, names, message):
    with pytest.raises(ValueError, match=message):
        Anchors(points, np.array(names), np.zeros(len(names)), 0.0)


def two_clusters(seed, apart, n=60):
    """Good parts in the middle of two kinds of bent ones, whose mean is the same."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(2 * n, 4))
    names = np.repeat(["good", "bent"], n)
    points[n:, 0] += apart * np.where(np.arange(n) % 2, 1, -1)
    return points.astype(np.float32), names, np.tile(["1", "2", "3"], 2 * n // 3)


@pytest.mark.parametrize("lots", [1, 2, 3])
def test_a_class_in_two_clusters_gets_more_anchors(lots):
    points, names, of_lot = two_clusters(0, apart=6)
    of_lot = np.where(of_lot > str(lots), str(lots), of_lot)
    assert anchors_a_class(points, names, of_lot, seed=0) >= 2


@pytest.mark.parametrize("seed", range(6))
def test_classes_in_one_cluster_get_one_anchor(seed):
    points, names = blobs(seed, d=4, good=(0, 60), bent=(1.5, 60))
    lots = np.tile(["1", "2", "3"], 40)
    assert anchors_a_class(points, names, lots, seed=seed) == 1


def test_more_anchors_are_no_help_if_they_are_not_needed_to_tell_classes():
    """Two clusters of one class, which one mean tells from the others as well."""
    points, names, lots = two_clusters(0, apart=6)
    points[names == "good", 1] += 30
    assert anchors_a_class(points, names, lots, seed=0) == 1


def test_lots_are_held_out_as_a_whole():
    """Where each lot has its own bent parts, anchors of one lot are no help in another."""
    points, names, _ = two_clusters(1, apart=6)
    lots = np.where(names == "good", np.arange(120) % 2, points[:, 0] > 0).astype(int)
    assert anchors_a_class(points, names, lots.astype(str), seed=0) == 1


@pytest.mark.parametrize(
    ("classes", "number"),
    [
        ({"good": (0, 100)}, 1),  # nothing to tell apart
        ({"good": (0, 9), "bent": (3, 9)}, 1),  # none has parts for two anchors
        ({"good": (0, 3), "bent": (3, 2)}, 1),
    ],
)
def test_who_can_not_be_asked_needs_one(classes, number):
    points, names = blobs(0, **classes)
    assert anchors_a_class(points, names, np.full(len(names), ""), seed=0) == number


COUNTS = st.sampled_from([0, 0, 1, 2, 5, 12])


@settings(max_examples=60)
@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=3), st.integers(0, 9))
def test_any_mixture_of_classes_and_lots_gets_an_answer(counts, seed):
    """Of each class, a row, there are some parts of each lot, a column."""
    classes, lots = np.indices((len(counts), 3)).reshape(2, -1)
    names = np.array(["bent", "good", "worn"])[np.repeat(classes, np.ravel(counts))]
    assume(len(names))
    points = np.random.default_rng(seed).normal(size=(len(names), 2)).astype(np.float32)
    of_lot = np.repeat(lots, np.ravel(counts)).astype(str)
    assert anchors_a_class(points, names, of_lot, seed=0) in (1, 2, 4, 8)


def test_lots_of_one_part_can_not_be_learned_from():
    """But they can be held out, and are no reason to give up."""
    points, names, _ = two_clusters(0, apart=6)
    first = np.array(["1"] + ["2"] * 119)
    assert anchors_a_class(points, names, first, seed=0) == 1
    both = np.array(["1"] + ["2"] * 118 + ["3"])
    assert anchors_a_class(points, names, both, seed=0) == 1


def test_a_rare_class_is_no_reason_to_warn():
    points, names = blobs(0, good=(0, 30), bent=(3, 2))
    assert anchors_a_class(points, names, np.full(32, ""), seed=0) == 1


@settings(max_examples=30)
@given(st.integers(0, 999), st.integers(1, 4), st.floats(-9, 9))
def test_moving_all_points_moves_the_anchors_and_no_distance(seed, a_class, shift):
    points, names = blobs(seed, good=(0, 20), bent=(2, 11))
    points = points.astype(float)
    one = place_anchors(points, names, a_class)
    other = place_anchors(points + shift, names, a_class)
    np.testing.assert_allclose(other.distances(points + shift), one.distances(points), atol=1e-5)
    assert other.spread == pytest.approx(one.spread)


@settings(max_examples=15)
@given(st.integers(0, 999))
def test_more_anchors_a_class_never_leave_more_spread(seed):
    points, names = blobs(seed, good=(0, 40), bent=(2, 20))
    squares = []
    for number in (1, 2, 4):
        distances = place_anchors(points, names, number, mended=False).distances(points)
        own = np.take_along_axis(distances, (names == "good")[:, None].astype(int), axis=1)
        squares.append((own**2).sum())
    assert squares[0] >= squares[1] >= 0.99 * squares[2]


def test_whitening_makes_distances_those_of_mahalanobis():
    """What a station does: whiten, place anchors, measure."""
    points, names = blobs(9, d=5, good=(0, 200), bent=(3, 200))
    points = (points @ np.diag([1, 2, 3, 4, 5])).astype(np.float32)
    metric = WithinClassWhitening().fit(points, names)
    white = metric.transform(points)
    found = place_anchors(white, names, mended=False).distances(white)[:, 1]
    inverse = metric.matrix_ @ metric.matrix_
    off = points - points[names == "good"].mean(axis=0)
    np.testing.assert_allclose(found, np.sqrt((off @ inverse * off).sum(axis=1)), rtol=1e-4)
