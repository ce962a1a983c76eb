"""What a detector learns from, and what it costs, against plain loops."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from small_boards import random_boards
from test_boxes import boxes
from torch.nn import functional

from snnlib.boxes import overlap
from snnlib.detection.detector import Detector
from snnlib.detection.learning import BoardBatches, detection_loss, targets_of, turned
from snnlib.training import fit

NONE = boxes([], [])


# What should be said of each cell


@st.composite
def pictures_with_boxes(draw, most=5):
    """Boxes whose middle lies on a picture or on its rim, in quarters of a pixel, and its size."""
    n = draw(st.integers(1, 3))
    rows, columns = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    box = st.tuples(
        st.integers(0, n - 1),
        st.integers(0, 4 * 8 * columns),
        st.integers(0, 4 * 8 * rows),
        st.integers(1, 200),
        st.integers(1, 200),
        st.integers(0, 5),
    )
    drawn = np.array(draw(st.lists(box, max_size=most))).reshape(-1, 6)
    pictures, x, y, half_width, half_height, kinds = drawn.astype(int).T
    corners = np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=1)
    return boxes(pictures, corners / 4, kinds), n, (8 * rows, 8 * columns)


def naive_targets(defects, n, size):
    """Plane 0; its middle cells; and for cells near them what each box would have them say."""
    rows, columns = size[0] // 8, size[1] // 8
    bells, middles, told = np.zeros((n, rows, columns)), set(), {}
    for picture, corners, kind in zip(defects.pictures, defects.corners, defects.kinds):
        x1, y1, x2, y2 = corners.tolist()
        column = min(math.floor((x1 + x2) / 2 / 8), columns - 1)
        row = min(math.floor((y1 + y2) / 2 / 8), rows - 1)
        middles.add((picture, row, column))
        across, down = max(0.15 * (x2 - x1) / 8, 0.4), max(0.15 * (y2 - y1) / 8, 0.4)
        for r in range(rows):
            for c in range(columns):
                apart = ((c - column) / across) ** 2 + ((r - row) / down) ** 2
                bells[picture, r, c] = max(bells[picture, r, c], math.exp(-apart / 2))
                x, y = 8 * c + 4, 8 * r + 4
                if abs(c - column) <= 1 and abs(r - row) <= 1 and x1 < x < x2 and y1 < y < y2:
                    sides = (x - x1) / 8, (y - y1) / 8, (x2 - x) / 8, (y2 - y) / 8
                    told.setdefault((picture, r, c), set()).add((*sides, kind))
    return bells, middles, told


def check_targets(targets, defects, n, size):
    bells, middles, told = naive_targets(defects, n, size)
    targets = targets.numpy()
    np.testing.assert_allclose(targets[:, 0], bells, rtol=1e-5, atol=1e-7)
    assert set(zip(*(axis.tolist() for axis in np.nonzero(targets[:, 0] == 1)))) == middles
    for picture, row, column in np.ndindex(bells.shape):
        here = tuple(targets[picture, 1:, row, column].tolist())
        # Where several boxes are near, one of them is told, with its own kind.
        assert here in told.get((picture, row, column), {(0, 0, 0, 0, -1)})


@given(pictures_with_boxes())
def test_targets_are_those_of_a_loop_over_boxes_and_cells(drawn):
    targets = targets_of(*drawn)
    assert targets.dtype == torch.float32
    check_targets(targets, *drawn)


def test_targets_of_one_box_can_be_told_by_hand():
    targets = targets_of(boxes([1], [[12, 8, 28, 40]], [3]), 2, (48, 40)).numpy()
    assert not targets[0, :5].any()
    assert (targets[0, 5] == -1).all()
    # Its middle is x 20, y 24: the beginning of row 3, and the middle of column 2.
    assert targets[1, 0, 3, 2] == 1
    assert targets[1, 0, 3, 1] == pytest.approx(math.exp(-((1 / 0.4) ** 2) / 2))
    assert targets[1, 0, 1, 2] == pytest.approx(math.exp(-((2 / 0.6) ** 2) / 2))
    # Columns 1 and 3 have their middles on the sides of the box or beyond.
    assert list(zip(*np.nonzero(targets[1, 5] >= 0))) == [(2, 2), (3, 2), (4, 2)]
    np.testing.assert_array_equal(targets[1, 1:, 2, 2], [1, 1.5, 1, 2.5, 3])
    np.testing.assert_array_equal(targets[1, 1:, 4, 2], [1, 3.5, 1, 0.5, 3])


def test_pictures_without_defects_have_targets_too():
    targets = targets_of(NONE, 2, (16, 24))
    assert targets.shape == (2, 6, 2, 3)
    assert not targets[:, :5].any()
    assert (targets[:, 5] == -1).all()


# Turning and mirroring


def all_ways(picture):
    """The eight positions of a square, by quarter turns of NumPy."""
    return [np.rot90(one, k) for one in (picture, np.fliplr(picture)) for k in range(4)]


def test_a_square_has_eight_positions():
    picture = np.random.default_rng(0).random((7, 7))
    pictures, _ = turned(np.tile(picture, (8, 1, 1, 1)), NONE, np.arange(8))
    as_bytes = [np.ascontiguousarray(one).tobytes() for one in pictures[:, 0]]
    assert len(set(as_bytes)) == 8
    assert set(as_bytes) == {np.ascontiguousarray(one).tobytes() for one in all_ways(picture)}
    np.testing.assert_array_equal(pictures[0, 0], picture)
    np.testing.assert_array_equal(pictures[1, 0], np.fliplr(picture))
    np.testing.assert_array_equal(pictures[2, 0], np.flipud(picture))
    np.testing.assert_array_equal(pictures[4, 0], picture.T)


@st.composite
def painted(draw):
    """Empty pictures but for one box on each, and these boxes."""
    n, side = draw(st.integers(1, 4)), draw(st.integers(2, 12))
    pictures, corners = np.zeros((n, 2, side, side), dtype=np.float32), []
    for picture in pictures:
        x1, y1 = draw(st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)))
        x2, y2 = draw(st.tuples(st.integers(x1 + 1, side), st.integers(y1 + 1, side)))
        picture[0, y1:y2, x1:x2], picture[1, y1:y2, x1:x2] = 1, 2
        corners.append([x1, y1, x2, y2])
    order = np.array(draw(st.permutations(range(n))))
    symmetries = np.array(draw(st.lists(st.integers(0, 7), min_size=n, max_size=n)))
    return pictures, boxes(order, np.array(corners)[order], order), symmetries


@given(painted())
def test_a_box_is_still_around_what_was_painted_in_it(drawn):
    pictures, around, symmetries = drawn
    before = pictures.copy(), around.corners.copy(), symmetries.copy()
    others, boxes_there = turned(pictures, around, symmetries)
    for given_in, copy in zip((pictures, around.corners, symmetries), before):
        np.testing.assert_array_equal(given_in, copy)
    np.testing.assert_array_equal(boxes_there.pictures, around.pictures)
    np.testing.assert_array_equal(boxes_there.kinds, around.kinds)
    expected = np.zeros_like(pictures)
    for picture, (x1, y1, x2, y2) in zip(boxes_there.pictures, boxes_there.corners.astype(int)):
        expected[picture, 0, y1:y2, x1:x2], expected[picture, 1, y1:y2, x1:x2] = 1, 2
    np.testing.assert_array_equal(others, expected)


# What it costs


def plain_loss(said, targets):
    """Cell by cell, by functions of PyTorch and the overlap of boxes."""
    focal, middles, apart, names = 0.0, 0, [], []
    rows, columns = said.shape[2:]
    for picture, row, column in np.ndindex(len(said), rows, columns):
        heat, *sides = said[picture, :5, row, column]
        bell, *wanted, kind = targets[picture, :, row, column]
        sure = torch.sigmoid(heat)
        if bell == 1:
            middles += 1
            weight, answer = (1 - sure) ** 2, torch.ones_like(heat)
        else:
            weight, answer = (1 - bell) ** 4 * sure**2, torch.zeros_like(heat)
        focal += weight * functional.binary_cross_entropy_with_logits(heat, answer)
        if kind >= 0:
            point = np.array([column, row]) + 0.5
            left_up, right_down = np.reshape(sides, (2, 2))
            there = np.concatenate([point - left_up, point + right_down])[None]
            left_up, right_down = np.reshape(wanted, (2, 2))
            known = np.concatenate([point - left_up, point + right_down])[None]
            apart.append(1 - overlap(there, known).item())
            logits = said[picture, None, 5:, row, column]
            names.append(functional.cross_entropy(logits, kind.long()[None]).item())
    both = np.mean(apart) + np.mean(names) if names else 0
    return float(focal) / max(middles, 1) + both


def random_answer(targets, kinds=6, seed=0, scale=2.0):
    """What an untaught detector might say."""
    rng = np.random.default_rng(seed)
    said = scale * rng.normal(size=(len(targets), 5 + kinds, *targets.shape[2:]))
    said[:, 1:5] = np.log1p(np.exp(said[:, 1:5])) + 1e-3
    return torch.from_numpy(said)


@settings(max_examples=40)
@given(pictures_with_boxes(most=3), st.integers(0, 2**32))
def test_the_loss_is_that_of_a_loop_over_cells(drawn, seed):
    targets = targets_of(*drawn).double()
    said = random_answer(targets, seed=seed)
    assert detection_loss(said, targets).item() == pytest.approx(
        plain_loss(said, targets), rel=1e-9, abs=1e-12
    )


def test_without_defects_only_false_alarms_cost():
    targets = targets_of(NONE, 2, (32, 24)).double()
    said = random_answer(targets).requires_grad_()
    loss = detection_loss(said, targets)
    assert loss.item() == pytest.approx(plain_loss(said.detach(), targets))
    loss.backward()
    assert not said.grad[:, 1:].any()
    assert (said.grad[:, 0] > 0).all()


TWO = boxes([0, 1], [[4, 10, 40, 44], [30, 8, 62, 24]], [2, 0])


@pytest.fixture
def targets():
    return targets_of(TWO, 3, (64, 64)).double()


def perfect_answer(targets):
    said = torch.zeros(len(targets), 11, *targets.shape[2:], dtype=targets.dtype)
    said[:, 0] = 40 * (targets[:, 0] == 1) - 20
    said[:, 1:5] = targets[:, 1:5]
    said[:, 1:5][(targets[:, 5:] < 0).expand(-1, 4, -1, -1)] = 1
    for kind in range(6):
        said[:, 5 + kind] = 30 * (targets[:, 5] == kind)
    return said


def test_a_perfect_answer_costs_next_to_nothing(targets):
    assert 0 <= detection_loss(perfect_answer(targets), targets).item() < 1e-6


@pytest.mark.parametrize(
    ("plane", "places"),
    [
        (0, [3, 0, -3, -20, -100]),  # a defect that is missed, more and more surely
        (1, [2.0, 1.5, 1.0, 0.1]),
        (4, [2.0, 2.5, 4.0, 50.0]),
        (7, [30, 5, 0, -5]),  # of the right kind
        (5, [0, 28, 31, 40]),  # of a wrong one
    ],
)
def test_a_worse_answer_in_the_middle_costs_more(targets, plane, places):
    (row, column) = (targets[0, 0] == 1).nonzero()[0]
    said = perfect_answer(targets)
    costs = []
    for place in places:
        said[0, plane, row, column] = place
        costs.append(detection_loss(said, targets).item())
    assert (np.diff(costs) > 0).all()


def test_alarms_cost_less_the_nearer_they_are(targets):
    """Beside a middle, a cell may be as hot as the bell is high."""
    row, column = (targets[0, 0] == 1).nonzero()[0].tolist()
    costs = []
    for step in (1, 2, 4):
        said = perfect_answer(targets)
        said[0, 0, row, column + step] = 5
        costs.append(detection_loss(said, targets).item())
    assert costs == sorted(costs)
    assert costs[0] < costs[2] / 2


@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=11, max_size=11),
    st.lists(st.floats(0, 1e3, width=32), min_size=4, max_size=4),
)
def test_loss_and_gradient_are_finite_whatever_is_said(values, sides):
    targets = targets_of(boxes([0], [[2, 3, 30, 20]], [4]), 1, (24, 32))
    said = torch.tensor(values)[None, :, None, None].repeat(1, 1, 3, 4)
    said[:, 1:5] = torch.tensor(sides)[None, :, None, None]
    said.requires_grad_()
    loss = detection_loss(said, targets)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(said.grad).all()


@pytest.mark.parametrize("defects", [boxes([0], [[1, 2, 14, 22]], [1]), NONE])
def test_the_gradient_is_that_of_small_steps(defects):
    targets = targets_of(defects, 1, (24, 16)).double()
    said = random_answer(targets, kinds=2, seed=1, scale=1.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda said: detection_loss(said, targets), said)


# Cut-outs


def some_defects():
    """Twelve on three of four boards, some at a rim; no middle on a whole pixel, so none on one
    of the lines between cells wherever a cut-out begins.
    """
    rows = [[0, 0, 0, 20.5, 30.5, 0], [0, 600.5, 610.5, 640, 640, 1], [0, 0, 300, 8.5, 330.5, 2]]
    rng = np.random.default_rng(5)
    for board in (0, 1, 1, 3, 3, 3, 3, 3, 3):
        x, y = rng.integers(150, 450, 2)
        width, height = 2 * rng.integers(8, 30, 2) + 0.5
        rows.append([board, x, y, x + width, y + height, rng.integers(6)])
    return sorted(rows)


@pytest.fixture(scope="module")
def boards():
    return random_boards(4, seed=1, defects=some_defects())


def whole_epoch(batches):
    return batches.batch(np.arange(len(batches)))


def test_cut_outs_are_drawn_by_seed_and_epoch(boards):
    epochs = {}
    for seed, epoch in ((0, 0), (0, 3), (1, 0)):
        one, other = (BoardBatches(boards, 5, seed) for _ in range(2))
        one.set_epoch(epoch)
        other.set_epoch(7)
        other.set_epoch(epoch)
        drawn, again = whole_epoch(one), whole_epoch(other)
        assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
        epochs[seed, epoch] = drawn[0].numpy().tobytes()
    assert len(set(epochs.values())) == 3
    first = whole_epoch(BoardBatches(boards, 5, 0))[0]  # without any call
    assert first.numpy().tobytes() == epochs[0, 0]


def test_a_batch_is_a_part_of_its_epoch(boards):
    batches = BoardBatches(boards, 4, 0)
    pairs, targets = whole_epoch(batches)
    assert pairs.shape == (1, 12, 2, 160, 160)
    assert targets.shape == (12, 6, 20, 20)
    some_pairs, some_targets = batches.batch([7, 2, 7])
    assert torch.equal(some_pairs, pairs[:, [7, 2, 7]])
    assert torch.equal(some_targets, targets[[7, 2, 7]])


@pytest.mark.parametrize(("batch_size", "n"), [(1, 15), (4, 12), (7, 14), (8, 8), (15, 15)])
def test_cut_outs_that_fill_no_batch_are_left_out(boards, batch_size, n):
    batches = BoardBatches(boards, batch_size, 0)
    assert len(batches) == n
    assert whole_epoch(batches)[0].shape[1] == n


@pytest.mark.parametrize("batch_size", [0, 16])
def test_a_batch_must_be_filled(boards, batch_size):
    words = rf"batch_size must lie in 1 … 15, the number of cut-outs; got {batch_size}"
    with pytest.raises(ValueError, match=words):
        BoardBatches(boards, batch_size, 0)


def test_boards_without_defects_have_nothing_to_teach():
    with pytest.raises(ValueError, match="batch_size must lie in 1 … 0"):
        BoardBatches(random_boards(1, seed=0), 1, 0)


def middles_in(batches):
    """Where the middle of each defect lies in each cut-out, (cut-outs, defects, 2); else NaN."""
    defects = batches.boards.defects
    middles = (defects.corners[:, :2] + defects.corners[:, 2:]) / 2
    there = middles[None] - batches.places[:, None]
    same = batches.rows[:, None] == defects.pictures
    inside = same & ((there >= 0) & (there < 160)).all(axis=2)
    return np.where(inside[..., None], there, np.nan)


def test_each_defect_is_the_reason_for_a_cut_out_of_its_own(boards):
    batches = BoardBatches(boards, 1, 2)
    seen, rows = [], set()
    for epoch in range(40):
        batches.set_epoch(epoch)
        rows.update(batches.rows)
        within = middles_in(batches)
        # Not near a side of the cut-out, unless it lies at the rim of its board.
        rim = (batches.places == 0) | (batches.places == 480)
        apart = rim[:, None] | ((within >= 30) & (within < 131))
        reasons = np.isfinite(within).all(axis=2) & apart.all(axis=2)
        owners = maximum_bipartite_matching(csr_array(reasons), perm_type="row")
        assert (owners >= 0).all()
        seen.append(within[owners, np.arange(len(owners))])
    # Those in the middle of their board lie anywhere within.
    places = np.concatenate(seen)
    assert np.nanmin(places[:, 0]) < 35
    assert np.nanmax(places[:, 1]) > 125
    assert rows == {0, 1, 2, 3}  # a fifth lie anywhere, on a board without defects, too


def undone(planes, symmetry):
    """What was turned, turned back."""
    planes = planes.swapaxes(-1, -2) if symmetry & 4 else planes
    planes = planes[..., ::-1, :] if symmetry & 2 else planes
    return planes[..., ::-1] if symmetry & 1 else planes


def test_cut_outs_hold_what_is_there_on_the_boards(boards):
    pictures = np.concatenate(boards.pairs(range(len(boards))), axis=1)
    batches = BoardBatches(boards, 3, 4)
    shifts, symmetries = [], []
    for epoch in range(3):
        batches.set_epoch(epoch)
        pairs, _ = whole_epoch(batches)
        for k, pair in enumerate(pairs[0].numpy()):
            back = undone(pair, batches.symmetries[k])
            row, place = batches.rows[k], batches.places[k]
            for half, (x, y) in enumerate(((place + batches.moved[k]).clip(0, 480), place)):
                there = pictures[row, half, y : y + 160, x : x + 160]
                np.testing.assert_array_equal(back[half], there)
        shifts.append(batches.moved)
        symmetries.extend(batches.symmetries)
    assert set(symmetries) == set(range(8))
    assert 1 < np.concatenate(shifts).std() < 3
    assert np.abs(np.concatenate(shifts)).max() < 12


def test_targets_are_those_of_the_defects_that_are_seen(boards):
    batches = BoardBatches(boards, 3, 4)
    seen = 0
    for epoch in range(3):
        batches.set_epoch(epoch)
        _, targets = whole_epoch(batches)
        inside = np.isfinite(middles_in(batches)).all(axis=2)
        seen += inside.sum()
        for k, target in enumerate(targets.numpy()):
            there = boards.defects[inside[k]]
            corners = there.corners - np.tile(batches.places[k], 2)
            back, symmetry = undone(target, batches.symmetries[k]).copy(), batches.symmetries[k]
            if symmetry & 4:
                back[1:5] = back[[2, 1, 4, 3]]
            if symmetry & 2:
                back[[2, 4]] = back[[4, 2]]
            if symmetry & 1:
                back[[1, 3]] = back[[3, 1]]
            known = boxes([0] * len(there), corners, there.kinds)
            check_targets(torch.from_numpy(back)[None], known, 1, (160, 160))
    assert seen >= 36


def test_a_detector_can_be_trained_on_them():
    defects = [[0, 100, 100, 140, 130, 0], [0, 300, 350, 340, 390, 3], [1, 5, 9, 60, 70, 5]]
    boards = random_boards(2, seed=2, defects=[*defects, [1, 500, 20, 530, 50, 1]])
    batches = BoardBatches(boards, 2, 0)
    detector = Detector(6, seed=0)
    before = [weight.clone() for weight in detector.parameters()]
    steps = []
    history = fit(
        detector,
        batches,
        detection_loss,
        epochs=1,
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        after_step=lambda step, loss: steps.append(loss.item()),
        progress=False,
    )
    assert len(steps) == 2
    assert np.isfinite(steps).all()
    assert history.loss == pytest.approx([np.mean(steps)])
    assert not all(map(torch.equal, before, detector.parameters()))
