import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snnlib.boxes import Boxes, overlap, overlapping, without_doubles


def boxes(pictures, corners, kinds=None, scores=None):
    kinds = np.zeros(len(pictures), dtype=int) if kinds is None else np.array(kinds)
    corners = np.array(corners, dtype=float).reshape(-1, 4)
    scores = None if scores is None else np.array(scores, dtype=float)
    return Boxes(np.array(pictures), corners, kinds, scores)


@st.composite
def drawn(draw, most=12, scored=True):
    """Few whole numbers, so that boxes often meet, are the same or just touch."""
    n = draw(st.integers(0, most))
    place, size = st.integers(0, 6), st.integers(1, 5)
    rows = draw(st.lists(st.tuples(place, place, size, size), min_size=n, max_size=n))
    pictures = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    kinds = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    scores = draw(st.lists(st.sampled_from([0.25, 0.5, 0.75, 1]), min_size=n, max_size=n))
    corners = [(x, y, x + w, y + h) for x, y, w, h in rows]
    return boxes(pictures, corners, kinds, scores if scored else None)


def naive_share(one, other):
    """By counting unit squares, for boxes with whole corners."""
    squares = [
        {(x, y) for x in range(int(b[0]), int(b[2])) for y in range(int(b[1]), int(b[3]))}
        for b in (one, other)
    ]
    return len(squares[0] & squares[1]) / len(squares[0] | squares[1])


def test_boxes_have_the_precision_that_is_told():
    some = boxes([0, 2], [[0, 0, 1, 2], [3, 4, 5, 6]], [1, 0], [0.5, 0.25])
    assert len(some) == 2
    types = [getattr(some, name).dtype for name in ("pictures", "corners", "kinds", "scores")]
    assert types == [np.int64, np.float32, np.int64, np.float32]


def test_boxes_are_printed_for_people():
    three = boxes([0, 2, 2], [[0, 0, 1, 1]] * 3, [1, 1, 1], [0.5, 0.5, 0.5])
    assert repr(three) == "Boxes(3 on 2 pictures, of 1 kind, with scores)"
    assert repr(boxes([4], [[0, 0, 1, 1]])) == "Boxes(1 on 1 picture, of 1 kind)"


@pytest.mark.parametrize("empty", [[], np.zeros(0, dtype=np.int32)])
def test_there_can_be_none(empty):
    none = boxes(empty, np.zeros((0, 4)), empty, empty)
    assert len(none) == len(none.on([3, 1])) == len(without_doubles(none, 0.5)) == 0
    assert none.kinds.dtype == np.int64
    assert repr(none) == "Boxes(0 on 0 pictures, of 0 kinds, with scores)"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"pictures": [[0], [1]]}, ValueError, r"pictures must have shape \(m,\), got \(2, 1\)"),
        ({"pictures": [0.0, 1.0]}, TypeError, "pictures must be integers, got float64"),
        ({"pictures": [0, -1]}, ValueError, "pictures count from 0, got -1 in row 1"),
        ({"kinds": [0, -2]}, ValueError, "kinds count from 0, got -2 in row 1"),
        ({"kinds": [True, False]}, TypeError, "kinds must be integers, got bool"),
        ({"kinds": [0]}, ValueError, "every box needs one kind, got 2 and 1"),
        ({"corners": [[0, 0, 1, 1]]}, ValueError, r"of 2 boxes have shape \(2, 4\), got \(1, 4\)"),
        (
            {"corners": [[0, 0, 1, 1], [0, np.nan, 1, 1]]},
            ValueError,
            r"corners must be finite in float32, got \[0.0, nan, 1.0, 1.0\] in row 1",
        ),
        (
            {"corners": [[0, 0, 1, 1], [0, 0, 1e39, 1]]},
            ValueError,
            r"corners must be finite in float32, got \[0.0, 0.0, 1e\+39, 1.0\] in row 1",
        ),
        (
            {"corners": [[0, 0, 1, 1], [2, 0, 1, 1]]},
            ValueError,
            r"x2 > x1 and y2 > y1, got \[2.0, 0.0, 1.0, 1.0\] in row 1",
        ),
        # In float32, there is nothing between its edges.
        ({"corners": [[0, 0, 1, 1], [0, 1, 1, 1 + 1e-9]]}, ValueError, "in row 1"),
        ({"scores": [0.5]}, ValueError, r"scores of 2 boxes have shape \(2,\), got \(1,\)"),
        ({"scores": [0.5, np.inf]}, ValueError, "scores must be finite in float32, got inf in row"),
    ],
)
def test_what_is_no_box_is_refused(change, error, words):
    right = {"pictures": [0, 1], "corners": [[0, 0, 1, 1]] * 2, "kinds": [0, 1], "scores": [1, 1]}
    arrays = {name: np.array(values) for name, values in (right | change).items()}
    with pytest.raises(error, match=words):
        Boxes(**arrays)


@pytest.mark.parametrize("rows", [np.array([2, 0]), np.array([True, False, True]), slice(1, None)])
def test_rows_are_taken_from_all_arrays(rows):
    three = boxes([0, 2, 1], [[n, n, n + 1, n + 2] for n in range(3)], [1, 2, 0], [0.5, 0.25, 1])
    some = three[rows]
    for name in ("pictures", "corners", "kinds", "scores"):
        assert getattr(some, name).tolist() == getattr(three, name)[rows].tolist()
    assert boxes([0, 1], [[0, 0, 1, 1]] * 2)[:1].scores is None


def test_on_some_pictures_they_are_renumbered():
    some = boxes([5, 0, 3, 5, 9], [[n, 0, n + 1, 1] for n in range(5)], [0, 1, 2, 3, 4])
    there = some.on(np.array([5, 7, 0, 3]))
    assert there.pictures.tolist() == [0, 0, 2, 3]
    assert there.kinds.tolist() == [0, 3, 1, 2]
    assert there.corners[:, 0].tolist() == [0, 3, 1, 2]
    assert there.scores is None


@given(some=drawn(), pictures=st.permutations(range(4)), k=st.integers(0, 4))
def test_on_some_pictures_against_one_picture_after_the_other(some, pictures, k):
    taken = pictures[:k]
    there = some.on(taken)
    rows = [row for p in taken for row in np.flatnonzero(some.pictures == p)]
    new = [new for new, p in enumerate(taken) for _ in np.flatnonzero(some.pictures == p)]
    assert there.pictures.tolist() == new
    for name in ("corners", "kinds", "scores"):
        assert getattr(there, name).tolist() == [getattr(some, name)[row].tolist() for row in rows]


def test_pictures_that_cant_be_taken_are_refused():
    some = boxes([0, 1], [[0, 0, 1, 1]] * 2)
    with pytest.raises(ValueError, match="each picture can be taken once, got 4 again"):
        some.on([4, 0, 4])
    with pytest.raises(ValueError, match="pictures count from 0, got -1 in row 0"):
        some.on([-1])
    with pytest.raises(TypeError, match="pictures must be integers, got bool"):
        some.on([True, False])


@given(first=drawn(), second=drawn())
def test_overlap_against_squares_that_are_counted(first, second):
    expected = [[naive_share(one, other) for other in second.corners] for one in first.corners]
    shares = overlap(first.corners, second.corners)
    assert shares.shape == (len(first), len(second))
    np.testing.assert_allclose(shares, np.reshape(expected, shares.shape), rtol=1e-12)


@given(first=drawn(), second=drawn(), bound=st.sampled_from([0, 0.25, 0.33, 0.5, 0.9]))
def test_overlapping_against_a_double_loop(first, second, bound):
    expected = {
        (i, j): naive_share(one, other)
        for i, one in enumerate(first.corners)
        for j, other in enumerate(second.corners)
        if first.pictures[i] == second.pictures[j] and naive_share(one, other) > bound
    }
    rows, others, shares = overlapping(first, second, bound)
    pairs = list(zip(rows.tolist(), others.tolist()))
    assert len(pairs) == len(set(pairs))
    assert dict(zip(pairs, shares.tolist())) == pytest.approx(expected)


def scattered(n, n_pictures, rng, side=640):
    low = rng.uniform(0, side - 40, (n, 2))
    corners = np.hstack([low, low + rng.uniform(10, 40, (n, 2))])
    return Boxes(rng.integers(0, n_pictures, n), corners, rng.integers(0, 6, n), rng.random(n))


def test_overlapping_where_boxes_take_turns_to_look():
    """More boxes than look for their neighbours at a time, against the table of all pairs."""
    rng = np.random.default_rng(0)
    first, second = scattered(5000, 3, rng), scattered(50, 3, rng)
    table = overlap(first.corners, second.corners)
    table[first.pictures[:, None] != second.pictures] = 0
    rows, others, shares = overlapping(first, second, 0.1)
    found = np.zeros_like(table)
    found[rows, others] = shares
    assert rows.max() > 4096
    np.testing.assert_array_equal(found, np.where(table > 0.1, table, 0))


@pytest.mark.parametrize("bound", [-0.1, 1, np.nan])
def test_a_bound_that_no_pair_can_exceed_is_refused(bound):
    with pytest.raises(ValueError, match=rf"a bound in \[0, 1\), got {bound}"):
        overlapping(boxes([0], [[0, 0, 1, 1]]), boxes([0], [[0, 0, 1, 1]]), bound)


def naive_without_doubles(found, bound):
    kept = []
    for row in sorted(range(len(found)), key=lambda row: (-found.scores[row], row)):
        if not any(
            found.pictures[row] == found.pictures[other]
            and naive_share(found.corners[row], found.corners[other]) > bound
            for other in kept
        ):
            kept.append(row)
    return sorted(kept)


@given(found=drawn(most=25), bound=st.sampled_from([0, 0.2, 0.33, 0.5]))
def test_doubles_against_a_double_loop(found, bound):
    assert without_doubles(found, bound).tolist() == naive_without_doubles(found, bound)


def test_what_a_double_overlaps_with_stays():
    """A chain: the second goes for the first, so the third stays, and the fourth goes for it."""
    chain = boxes([0] * 4, [[n, 0, n + 2, 1] for n in range(4)], range(4), [0.9, 0.8, 0.7, 0.6])
    assert without_doubles(chain, 0.3).tolist() == [0, 2]
    assert without_doubles(chain[::-1], 0.3).tolist() == [1, 3]


def test_boxes_without_scores_have_no_best():
    with pytest.raises(ValueError, match="boxes have no scores"):
        without_doubles(boxes([0], [[0, 0, 1, 1]]), 0.5)


def test_many_boxes_take_no_table_of_all_pairs():
    """Such a table would have 400 million entries, and take many seconds."""
    found = scattered(20_000, 500, np.random.default_rng(0))
    start = time.process_time()
    kept = found[without_doubles(found, 0.3)]
    assert time.process_time() - start < 2
    assert 15_000 < len(kept) < 20_000
    assert len(overlapping(kept, kept, 0.3)[0]) == len(kept)  # each with itself alone
