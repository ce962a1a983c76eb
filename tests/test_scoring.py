import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import average_precision_score
from test_boxes import boxes, drawn, naive_share

from snnlib.boxes import Boxes
from snnlib.detection.scoring import (
    OVERLAP,
    Counts,
    average_precision,
    average_precisions,
    best_threshold,
    counts_at,
    f_score,
    match,
    mean_average_precision,
    threshold_for_false,
)

NONE = boxes([], [], [], [])


def inspected(seed, n_pictures=40, n_kinds=3):
    """Known boxes; found ones near most of them, some twice or misnamed, and some elsewhere."""
    rng = np.random.default_rng(seed)
    n = 4 * n_pictures
    low = rng.uniform(0, 200, (n, 2))
    corners = np.hstack([low, low + rng.uniform(15, 40, (n, 2))])
    pictures, kinds = np.sort(rng.integers(0, n_pictures, n)), rng.integers(0, n_kinds, n)
    rows = np.sort(rng.choice(n, n))
    moved = corners[rows] + rng.uniform(-7, 7, (n, 4))
    named = np.where(rng.random(n) < 0.8, kinds[rows], rng.integers(0, n_kinds, n))
    # Distinct in float32, too: at equal scores the order is ours alone.
    scores = rng.permutation(n) / n
    return Boxes(pictures[rows], moved, named, scores), Boxes(pictures, corners, kinds)


def by_coco(found, known, any_kind):
    """What the evaluation of COCO makes of boxes, at our overlap."""

    def written(some, scores):
        return [
            {
                "id": row + 1,
                "image_id": int(some.pictures[row]),
                "category_id": int(some.kinds[row]),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            | ({} if scores is None else {"score": float(scores[row])})
            for row, (x1, y1, x2, y2) in enumerate(some.corners.tolist())
        ]

    truth, said = COCO(), COCO()
    pictures = np.unique(np.concatenate([known.pictures, found.pictures])).tolist()
    kinds = np.unique(np.concatenate([known.kinds, found.kinds])).tolist()
    for side, rows in ((truth, written(known, None)), (said, written(found, found.scores))):
        side.dataset = {
            "images": [{"id": picture} for picture in pictures],
            "categories": [{"id": kind} for kind in kinds],
            "annotations": rows,
        }
        side.createIndex()
    judge = COCOeval(truth, said, "bbox")
    judge.params.iouThrs = np.array([OVERLAP])
    judge.params.areaRng = [[0, 1e10]]
    judge.params.maxDets = [10_000]
    judge.params.useCats = int(not any_kind)
    judge.evaluate()
    judge.accumulate()
    return judge


@pytest.mark.parametrize("any_kind", [False, True])
def test_hits_against_coco(any_kind, capsys):
    found, known = inspected(0)
    judge = by_coco(found, known, any_kind)
    assert "DONE" in capsys.readouterr().out
    expected = np.full(len(found), -1)
    for image in filter(None, judge.evalImgs):
        rows = np.array(image["dtIds"], dtype=int) - 1
        expected[rows] = image["dtMatches"][0].astype(int) - 1
    hits = match(found, known, any_kind=any_kind)
    assert hits.tolist() == expected.tolist()
    assert 20 < (hits < 0).sum() < len(found) - 50


def interpolated(found, known):
    """Best precision from each of COCO's recalls on, of boxes of one kind."""
    order = np.argsort(-found.scores)
    hits = np.cumsum(match(found, known)[order] >= 0)
    precisions, recalls = hits / np.arange(1, len(hits) + 1), hits / len(known)
    levels = np.linspace(0, 1, 101)
    return [max(precisions[recalls >= level], default=0) for level in levels], hits[-1] / len(known)


@pytest.mark.parametrize("seed", range(3))
def test_steps_against_coco(seed, capsys):
    found, known = inspected(seed)
    judge = by_coco(found, known, any_kind=False)
    assert "DONE" in capsys.readouterr().out
    for kind in range(3):
        steps, recall = interpolated(found[found.kinds == kind], known[known.kinds == kind])
        np.testing.assert_allclose(judge.eval["precision"][0, :, kind, 0, 0], steps, atol=1e-12)
        assert judge.eval["recall"][0, kind, 0, 0] == pytest.approx(recall)


def by_sklearn(found, known, hit):
    """Its area is of recall among what is found, so that it ends at 1."""
    return average_precision_score(hit, found.scores) * hit.sum() / len(known)


def test_average_precision_against_sklearn():
    found, known = inspected(1)
    hit = match(found, known) >= 0
    each = []
    for kind in range(3):
        of, there = found.kinds == kind, known[known.kinds == kind]
        each.append(by_sklearn(found[of], there, hit[of]))
        assert average_precision(found, known, kind) == pytest.approx(each[-1])
    np.testing.assert_allclose(average_precisions(found, known, 3), each)
    assert mean_average_precision(found, known, 3) == pytest.approx(np.mean(each))
    by_any_name = by_sklearn(found, known, match(found, known, any_kind=True) >= 0)
    assert average_precision(found, known) == pytest.approx(by_any_name)
    assert by_any_name > np.mean(each) + 0.05


def naive_match(found, known, bound, any_kind):
    hits = [-1] * len(found)
    for row in sorted(range(len(found)), key=lambda row: (-found.scores[row], row)):
        best = bound
        for other in range(len(known)):
            free = other not in hits and found.pictures[row] == known.pictures[other]
            if free and (any_kind or found.kinds[row] == known.kinds[other]):
                share = naive_share(found.corners[row], known.corners[other])
                if share > best:
                    best, hits[row] = share, other
    return hits


bounds = st.sampled_from([0, 0.25, OVERLAP, 0.5])


@given(found=drawn(), known=drawn(scored=False), bound=bounds, any_kind=st.booleans())
def test_match_against_a_double_loop(found, known, bound, any_kind):
    hits = match(found, known, overlap=bound, any_kind=any_kind)
    assert hits.dtype == np.int64
    assert hits.tolist() == naive_match(found, known, bound, any_kind)


def test_a_hit_exceeds_the_bound():
    """A quarter of the union is no more than a quarter."""
    found, known = boxes([0], [[0, 0, 1, 1]], [0], [1]), boxes([0], [[0, 0, 2, 2]])
    assert match(found, known, overlap=0.25).tolist() == [-1]
    assert match(found, known, overlap=0.24).tolist() == [0]
    assert OVERLAP == 0.33


def test_a_defect_is_found_once():
    """The better of two goes first, though it fits less; the other has nothing left."""
    known = boxes([0], [[0, 0, 10, 10]])
    found = boxes([0, 0], [[0, 0, 10, 10], [1, 0, 10, 10]], [0, 0], [0.5, 0.75])
    assert match(found, known).tolist() == [-1, 0]
    assert average_precision(found, known) == 1
    assert average_precision(found[:1], known) == 1
    late = boxes([0, 0], [[20, 0, 30, 9], [0, 0, 10, 10]], [0, 0], [1, 0])
    assert average_precision(late, known) == 1 / 2


@pytest.fixture
def line():
    """Five known boxes of three kinds; found: hit, false, misnamed, hit, a double."""
    known = boxes(
        [0, 0, 1, 2, 3], [[0, 0, 9, 9], [20, 0, 29, 9]] + [[0, 0, 9, 9]] * 3, [0, 1, 1, 0, 2]
    )
    found = boxes(
        [0, 3, 1, 0, 0],
        [[0, 0, 9, 9], [50, 0, 59, 9], [0, 0, 9, 8], [20, 0, 29, 9], [1, 0, 9, 9]],
        [0, 1, 0, 1, 0],
        [0.9, 0.8, 0.7, 0.6, 0.5],
    )
    return found, known


def test_average_precision_by_hand(line):
    found, known = line
    # Kind 0: hit, misnamed, double, of two. Kind 1: false, hit, of two. Kind 2: nothing, of one.
    assert average_precisions(found, known, 4)[:3].tolist() == [1 / 2, 1 / 4, 0]
    assert np.isnan(average_precisions(found, known, 4)[3])
    assert np.isnan(average_precision(found, known, 3))
    assert mean_average_precision(found, known, 4) == pytest.approx(1 / 4)
    assert average_precision(found, known) == pytest.approx((1 + 2 / 3 + 3 / 4) / 5)


def test_counts_by_hand(line):
    found, known = line
    counts = counts_at(found, known, float(found.scores[3]), 4)
    assert isinstance(counts, Counts)
    assert counts.known.tolist() == [2, 2, 1, 0]
    assert counts.found.tolist() == [2, 2, 0, 0]
    assert counts.hits.tolist() == [1, 1, 0, 0]
    assert counts.noticed.tolist() == [1, 2, 0, 0]
    np.testing.assert_array_equal(counts.precision, [1 / 2, 1 / 2, np.nan, np.nan])
    np.testing.assert_array_equal(counts.recall, [1 / 2, 1 / 2, 0, np.nan])
    np.testing.assert_array_equal(counts.recall_by_any_name, [1 / 2, 1, 0, np.nan])
    assert counts_at(found, known, 0.95, 3).recall.tolist() == [0, 0, 0]


def test_thresholds_by_hand(line):
    found, known = line
    scores = found.scores.tolist()
    # 1 of 1 found, 1 of 2, 1 of 3, 2 of 4, 2 of 5; each of 5 known.
    f = [f_score(found, known, score) for score in scores]
    assert f == pytest.approx([2 / 6, 2 / 7, 2 / 8, 4 / 9, 4 / 10])
    assert best_threshold(found, known) == scores[3]
    assert f_score(found, known, 0.95) == 0
    # One false box, then the double; on four pictures.
    assert threshold_for_false(found, known, 0, 4) == scores[0]
    assert threshold_for_false(found, known, 0.25, 4) == scores[3]
    assert threshold_for_false(found, known, 0.5, 4) == scores[4]
    assert threshold_for_false(found[1:], known, 0.2, 4) == np.inf


def test_of_thresholds_that_are_as_good_the_highest_is_best():
    """One hit of one, or two of four, where two are known: F is 2/3 at both."""
    known = boxes([0, 1], [[0, 0, 9, 9]] * 2)
    found = boxes([0, 2, 2, 1], [[0, 0, 9, 9]] * 4, [0] * 4, [1, 0.75, 0.5, 0.25])
    assert f_score(found, known, 1) == f_score(found, known, 0.25) == 2 / 3
    assert best_threshold(found, known) == 1


@given(found=drawn(), known=drawn(scored=False))
def test_thresholds_against_all_of_them(found, known):
    assume(len(found) and len(known))
    tried = sorted(set(found.scores.tolist()), reverse=True)
    best = best_threshold(found, known)
    f = [f_score(found, known, t) for t in tried]
    assert best == tried[int(np.argmax(f))]
    hits = np.array(naive_match(found, known, OVERLAP, False)) >= 0
    counted = found.scores >= best
    precision, recall = hits[counted].mean(), hits[counted].sum() / len(known)
    expected = 2 * precision * recall / (precision + recall) if precision else 0
    assert f_score(found, known, best) == pytest.approx(expected)


@given(found=drawn(), known=drawn(scored=False), per_picture=st.sampled_from([0, 0.5, 1, 2]))
def test_false_boxes_against_all_thresholds(found, known, per_picture):
    false = np.array(naive_match(found, known, OVERLAP, True), dtype=int) < 0
    enough = [t for t in found.scores if false[found.scores >= t].sum() <= 3 * per_picture]
    assert threshold_for_false(found, known, per_picture, 3) == min(enough, default=np.inf)


@given(found=drawn(), known=drawn(scored=False), threshold=st.sampled_from([0, 0.5, 0.6, 2]))
def test_counts_against_one_kind_after_the_other(found, known, threshold):
    counts = counts_at(found, known, threshold, 3)
    counted = found[found.scores >= threshold]
    hits = np.array(naive_match(counted, known, OVERLAP, False), dtype=int)
    noticed = naive_match(counted, known, OVERLAP, True)
    for kind in range(3):
        assert counts.known[kind] == (known.kinds == kind).sum()
        assert counts.found[kind] == (counted.kinds == kind).sum()
        assert counts.hits[kind] == (hits[counted.kinds == kind] >= 0).sum()
        assert counts.noticed[kind] == sum(known.kinds[row] == kind for row in noticed if row >= 0)


@given(found=drawn(), known=drawn(scored=False))
def test_each_kind_by_itself_is_what_all_are_together(found, known):
    alone = [average_precision(found, known, kind) for kind in range(3)]
    np.testing.assert_allclose(average_precisions(found, known, 3), alone, equal_nan=True)


def test_without_found_boxes(line):
    known = line[1]
    assert match(NONE, known).tolist() == []
    assert average_precision(NONE, known) == mean_average_precision(NONE, known, 3) == 0
    assert f_score(NONE, known, 0.5) == 0
    assert threshold_for_false(NONE, known, 0, 4) == np.inf
    with pytest.raises(ValueError, match="no box is found"):
        best_threshold(NONE, known)


def test_without_known_boxes(line):
    found = line[0]
    assert match(found, NONE).tolist() == [-1] * 5
    assert np.isnan(average_precision(found, NONE))
    assert threshold_for_false(found, NONE, 0.5, 4) == found.scores[1]
    for figure in (
        lambda: mean_average_precision(found, NONE, 3),
        lambda: f_score(found, NONE, 0.5),
        lambda: best_threshold(found, NONE),
    ):
        with pytest.raises(ValueError, match="no box is known"):
            figure()


def test_what_cant_be_scored_is_refused(line):
    found, known = line
    for figure in (
        lambda: match(known, known),
        lambda: counts_at(known, known, 0.5, 3),
        lambda: threshold_for_false(known, known, 1, 4),
    ):
        with pytest.raises(ValueError, match="found boxes have no scores"):
            figure()
    with pytest.raises(ValueError, match="kinds lie in 0 … 1, got 2"):
        average_precisions(found, known, 2)
    with pytest.raises(ValueError, match="kinds lie in 0 … 0, got 1"):
        counts_at(found, known[:1], 0.5, 1)
    with pytest.raises(ValueError, match="kinds lie in 0 … 0, got 1"):
        average_precisions(found, known[:1], 1)
    for per_picture, n_pictures in ((-1, 4), (np.nan, 4), (1, 0)):
        with pytest.raises(ValueError, match=f"got {n_pictures} and {per_picture}"):
            threshold_for_false(found, known, per_picture, n_pictures)


def test_many_boxes_take_no_table_of_all_pairs():
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 600, (20_000, 2))
    corners = np.hstack([low, low + rng.uniform(10, 40, (20_000, 2))])
    found = Boxes(
        rng.integers(0, 500, 20_000), corners, rng.integers(0, 6, 20_000), rng.random(20_000)
    )
    known = found[rng.choice(20_000, 3000, replace=False)]
    start = time.process_time()
    assert 0 < mean_average_precision(found, known, 6) < 1
    assert time.process_time() - start < 2
