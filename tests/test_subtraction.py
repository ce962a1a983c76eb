"""Differences of pictures, against the morphology of SciPy and boards painted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_boards import bare, board_set

from snnlib.boxes import Boxes
from snnlib.data.boards import SIDE
from snnlib.detection.scoring import f_score, mean_average_precision
from snnlib.detection.subtraction import differing, subtract


@st.composite
def pictures(draw, n, low=1, high=14):
    shape = draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    share = draw(st.sampled_from([0.1, 0.5, 0.9]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [(rng.random(shape) < share).astype(np.uint8) for _ in range(n)]


@given(pictures(2), st.integers(0, 4))
def test_differences_are_those_of_dilation_and_erosion(pair, tolerance):
    template, tested = pair
    square = np.ones((2 * tolerance + 1,) * 2)
    grown = ndimage.binary_dilation(template, square)
    shrunk = ndimage.binary_erosion(template, square, border_value=1)
    expected = np.where(tested, ~grown, shrunk)
    found = differing(template, tested, tolerance)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, expected)


@given(pictures(2))
def test_without_tolerance_every_pixel_must_be_alike(pair):
    np.testing.assert_array_equal(differing(*pair, 0), np.logical_xor(*pair))


@given(pictures(2), st.integers(0, 4))
def test_what_is_forgiven_stays_forgiven_at_a_greater_tolerance(pair, tolerance):
    assert not (differing(*pair, tolerance + 1) & ~differing(*pair, tolerance)).any()


@given(pictures(1), st.integers(1, 4), st.integers(-4, 4), st.integers(-4, 4), st.integers(0, 1))
def test_a_picture_may_be_moved_by_the_tolerance(one, tolerance, down, right, ground):
    # Shapes lie so far from the rim that nothing is moved across it.
    template = np.pad(one[0], 4, constant_values=ground)
    shift = np.clip([down, right], -tolerance, tolerance)
    assert not differing(template, np.roll(template, shift, axis=(0, 1)), tolerance).any()


def test_a_move_by_more_than_the_tolerance_shows():
    template = np.zeros((20, 20), dtype=np.uint8)
    template[5:15, 5:15] = 1
    moved = np.roll(template, 3, axis=1)
    assert not differing(template, moved, 3).any()
    rows, columns = np.nonzero(differing(template, moved, 2))
    assert set(columns) == {7, 17}  # too little within the old square, too much beyond it
    assert rows.min() == 5
    assert rows.max() == 14


@pytest.mark.parametrize(
    ("shape", "tolerance", "words"),
    [
        ((4, 5), 1, r"both pictures need one shape, got \(5, 4\) and \(4, 5\)"),
        ((5, 4), -1, "tolerance must be at least 0 pixels, got -1"),
    ],
)
def test_bad_input_is_refused(shape, tolerance, words):
    with pytest.raises(ValueError, match=words):
        differing(np.zeros((5, 4)), np.zeros(shape), tolerance)


def painted(*squares, ground=1):
    """A board of one kind and the same one with other pixels at x, y, width, height."""
    template = np.full((SIDE, SIDE), ground, dtype=np.uint8)
    tested = template.copy()
    for x, y, width, height in squares:
        tested[y : y + height, x : x + width] = 1 - ground
    return board_set([template], [tested])


@settings(max_examples=12)
@given(
    st.tuples(st.integers(0, 600), st.integers(0, 600)),
    st.tuples(st.integers(4, 40), st.integers(3, 40)),
    st.integers(0, 12),
    st.integers(0, 3),
    st.integers(0, 1),
)
def test_a_square_is_found_with_its_margin(place, size, margin, tolerance, ground):
    boards = painted((*place, *size), ground=ground)
    found = subtract(boards, tolerance=tolerance, margin=margin)
    low, high = np.array(place) - margin, np.array(place) + size + margin
    np.testing.assert_array_equal(found.corners, [[*low.clip(0), *high.clip(max=SIDE)]])
    assert found.scores.tolist() == [size[0] * size[1]]
    assert found.kinds.tolist() == [0]


@pytest.mark.parametrize("corner", [(0, 0), (600, 0), (0, 600), (600, 600)])
def test_a_box_ends_where_its_board_ends(corner):
    found = subtract(painted((*corner, 40, 40)), tolerance=1, margin=10)
    low, high = np.array(corner) - 10, np.array(corner) + 50
    np.testing.assert_array_equal(found.corners, [[*low.clip(0), *high.clip(max=SIDE)]])


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize(("gap", "n"), [(1, 1), (6, 1), (7, 2), (30, 2)])
def test_specks_near_each_other_are_one(gap, n, across):
    specks = [(100, 200, 4, 5), (104 + gap, 200, 4, 5)]
    if across:
        specks = [(y, x, height, width) for x, y, width, height in specks]
    found = subtract(painted(*specks), tolerance=0, margin=0)
    assert len(found) == n
    assert found.scores.sum() == 40
    ends = [*found.corners[:, :2].min(axis=0), *found.corners[:, 2:].max(axis=0)]
    assert ends == ([200, 100, 205, 108 + gap] if across else [100, 200, 108 + gap, 205])


@pytest.mark.parametrize(
    ("specks", "scores"),
    [
        ([(50, 60, 11, 1)], []),
        ([(50, 60, 12, 1)], [12]),
        ([(50, 60, 1, 12)], [12]),
        ([(50, 60, 2, 4)], []),
        ([(50, 60, 2, 4), (55, 60, 2, 4)], [16]),  # together they are enough
    ],
)
def test_what_is_smaller_than_a_defect_is_none(specks, scores):
    assert subtract(painted(*specks), tolerance=0, margin=5).scores.tolist() == scores


def test_boxes_are_on_their_boards():
    tested = bare(4)
    tested[1, 300:310, 100:130] = 0
    tested[3, 10:20, 5:25] = 0
    tested[3, 500:505, 400:420] = 0
    found = subtract(board_set(bare(4), tested), tolerance=2, margin=1)
    expected = {
        (1, 99, 299, 131, 311, 300),
        (3, 4, 9, 26, 21, 200),
        (3, 399, 499, 421, 506, 100),
    }
    rows = np.column_stack([found.pictures, found.corners, found.scores])
    assert {tuple(row) for row in rows.astype(int).tolist()} == expected
    assert len(found) == 3


def test_on_boards_that_are_alike_nothing_is_found():
    noise = np.random.default_rng(0).random((2, SIDE, SIDE)) < 0.5
    found = subtract(board_set(noise, noise), tolerance=0, margin=10)
    assert isinstance(found, Boxes)
    assert found.corners.shape == (0, 4)
    assert found.scores.shape == (0,)
    known = Boxes(np.array([1]), np.array([[0.0, 0, 9, 9]]), np.array([0]))
    assert f_score(found, known, 0) == mean_average_precision(found, known, 1) == 0


def test_without_a_board_there_is_nothing_to_subtract():
    with pytest.raises(ValueError, match="there must be at least one pair of pictures, got none"):
        subtract(painted().take([]), tolerance=0, margin=0)
