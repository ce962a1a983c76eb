"""From maps to boxes: by a detector that says what a test tells it, and by a real one."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_boards import bare, board_set, random_boards
from test_boxes import boxes

from snnlib.boxes import Boxes, overlap
from snnlib.detection.detector import Detector
from snnlib.detection.finding import Found, embeddings_of, find, peaks
from snnlib.detection.scoring import OVERLAP, best_threshold, f_score, mean_average_precision

KINDS = 6


# Peaks


def naive_peaks(heat):
    found = np.zeros(heat.shape, dtype=bool)
    _, rows, columns = heat.shape
    for picture, row, column in np.ndindex(heat.shape):
        around = [
            heat[picture, r, c]
            for r in range(max(row - 1, 0), min(row + 2, rows))
            for c in range(max(column - 1, 0), min(column + 2, columns))
        ]
        here = heat[picture, row, column]
        found[picture, row, column] = here >= max(around) and here >= 0.01
    return found


@given(st.data(), st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)))
def test_peaks_are_those_of_a_loop(data, shape):
    levels = st.sampled_from([0.0, 0.0099, 0.0101, 0.3, 0.6, 1.0])
    size = int(np.prod(shape))
    heat = np.array(data.draw(st.lists(levels, min_size=size, max_size=size))).reshape(shape)
    np.testing.assert_array_equal(peaks(torch.from_numpy(heat)).numpy(), naive_peaks(heat))


def test_neighbours_that_are_as_hot_are_peaks_both():
    heat = torch.tensor([[[0.2, 0.5, 0.5, 0.1, 0.3], [0.2, 0.1, 0.1, 0.1, 0.1]]])
    assert peaks(heat).nonzero().tolist() == [[0, 0, 1], [0, 0, 2], [0, 0, 4]]


# A detector that says of each board what it is told


class Told(Detector):
    """Says what stands in its maps; the number of a board is written into its first pixels."""

    def __init__(self, n):
        super().__init__(KINDS, seed=1)
        self.maps = {
            "heat": torch.full((n, 1, 80, 80), -10.0),
            "sides": torch.ones(n, 4, 80, 80),
            "embeddings": torch.zeros(n, 64, 80, 80),
        }
        self.batches = []
        self.eval()

    def see(self, pairs):
        assert pairs.shape[1:] == (2, 640, 640)
        numbers = (pairs[:, 1, 0, :5] @ torch.tensor([16.0, 8, 4, 2, 1])).long()
        assert not pairs[:, 0, 0, :5].any()
        self.batches.append(numbers.tolist())
        return tuple(of[numbers] for of in self.maps.values())

    def say(self, board, row, column, sure, sides=(1, 1, 1, 1), embedding=None):
        """That there is a defect, so surely."""
        self.maps["heat"][board, 0, row, column] = float(np.log(sure / (1 - sure)))
        self.maps["sides"][board, :, row, column] = torch.tensor(sides, dtype=torch.float32)
        if embedding is not None:
            embedding = torch.as_tensor(embedding, dtype=torch.float32)
            self.maps["embeddings"][board, :, row, column] = embedding


def numbered(n, defects=()):
    templates, tested = np.zeros((2, n, 640, 640), dtype=np.uint8)
    tested[:, 0, :5] = np.arange(n)[:, None] >> np.arange(4, -1, -1) & 1
    return board_set(templates, tested, defects)


def test_a_box_lies_where_it_was_told():
    detector = Told(1)
    detector.say(0, row=10, column=20, sure=0.7, sides=(1, 2, 3, 0.5))
    found = find(detector, numbered(1))
    # The middle of the cell is x 164, y 84.
    np.testing.assert_array_equal(found.boxes.corners, [[156, 68, 188, 88]])
    assert found.boxes.pictures.tolist() == [0]
    assert found.boxes.scores == pytest.approx([0.7])


def test_boxes_are_in_order_and_on_their_boards():
    n = 11  # more than are seen at a time
    detector = Told(n)
    told = [(10, 3, 50), (0, 70, 9), (4, 5, 5), (4, 40, 2), (4, 40, 60), (9, 1, 1)]
    for k, place in enumerate(told):
        detector.say(*place, sure=0.5 + k / 20)
    found = find(detector, numbered(n)).boxes
    assert [number for batch in detector.batches for number in batch] == list(range(n))
    assert max(map(len, detector.batches)) <= 8
    expected = sorted(told)
    assert found.pictures.tolist() == [board for board, _, _ in expected]
    middles = (found.corners[:, :2] + found.corners[:, 2:]) / 2
    cells = [[8 * column + 4, 8 * row + 4] for _, row, column in expected]
    np.testing.assert_array_equal(middles, cells)
    sure = {place: 0.5 + k / 20 for k, place in enumerate(told)}
    np.testing.assert_allclose(found.scores, [sure[place] for place in expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        (0, 0, [0, 0, 44, 44]),
        (79, 79, [596, 596, 640, 640]),
        (0, 79, [596, 0, 640, 44]),
        (79, 40, [284, 596, 364, 640]),
    ],
)
def test_boxes_end_where_their_board_ends(row, column, expected):
    detector = Told(1)
    detector.say(0, row, column, sure=0.9, sides=(5, 5, 5, 5))
    np.testing.assert_array_equal(find(detector, numbered(1)).boxes.corners, [expected])


def test_of_boxes_that_overlap_the_surest_stays():
    detector = Told(2)
    large = (5, 5, 5, 5)
    detector.say(0, 20, 20, 0.6, large, embedding=np.ones(64))
    detector.say(0, 20, 23, 0.8, large, embedding=-np.ones(64))  # whatever its kind
    detector.say(1, 20, 20, 0.3, large)  # on another board
    detector.say(1, 20, 26, 0.2, large)  # a quarter of what they cover is shared
    found = find(detector, numbered(2))
    np.testing.assert_allclose(found.boxes.scores, [0.8, 0.3, 0.2], rtol=1e-5)
    assert found.boxes.pictures.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found.embeddings[0], -np.ones(64))
    assert len(found.shares) == 3


def test_shares_and_kinds_are_those_of_the_layer_above_the_embedding():
    rng = np.random.default_rng(0)
    detector = Told(2)
    told = rng.normal(0, 4, (7, 64)).astype(np.float32)
    for k, embedding in enumerate(told):
        detector.say(k // 4, 10 * k + 3, 60 - 5 * k, 0.5, embedding=embedding)
    found = find(detector, numbered(2))
    np.testing.assert_array_equal(found.embeddings, told)
    weights = detector.kinds.weight[:, :, 0, 0].detach().numpy().astype(float)
    bias = detector.kinds.bias.detach().numpy().astype(float)
    raised = np.exp(np.maximum(told, 0) @ weights.T + bias)
    expected = raised / raised.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.shares, expected, rtol=1e-4)
    np.testing.assert_allclose(found.shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.boxes.kinds, expected.argmax(axis=1))
    assert len(set(found.boxes.kinds)) > 1
    assert found.shares.dtype == found.embeddings.dtype == np.float32


def test_boards_on_which_nothing_is_found():
    found = find(Told(3), numbered(3))
    assert len(found.boxes) == 0
    assert found.shares.shape == (0, KINDS)
    assert found.embeddings.shape == (0, 64)
    known = boxes([1], [[0, 0, 9, 9]])
    for empty in (found.boxes, found.by_kind()):
        assert isinstance(empty, Boxes)
        assert f_score(empty, known, 0) == mean_average_precision(empty, known, KINDS) == 0
    with pytest.raises(ValueError, match="no box is found"):
        best_threshold(found.boxes, known)


# Each kind that a box may be of


def test_a_box_counts_for_each_kind_that_it_may_be_of():
    corners = [[0, 0, 10, 10], [20, 0, 30, 10], [0, 40, 10, 50]]
    shares = np.array([[0.7, 0.3, 0], [0.05, 0.15, 0.8], [0.5, 0.496, 0.004]], dtype=np.float32)
    found = Found(boxes([0, 0, 2], corners, [0, 2, 0], [0.9, 0.1, 0.02]), shares, np.zeros((3, 64)))
    expected = set()
    for k, sure in enumerate((0.9, 0.1, 0.02)):
        for kind in range(3):
            if sure * shares[k, kind] >= 0.00999:
                score = round(float(sure * shares[k, kind]), 5)
                expected.add((found.boxes.pictures[k], *corners[k], kind, score))
    all_kinds = found.by_kind()
    columns = all_kinds.pictures, *all_kinds.corners.T, all_kinds.kinds
    scores = [round(score, 5) for score in all_kinds.scores.tolist()]
    assert set(zip(*(column.tolist() for column in columns), scores)) == expected
    assert len(all_kinds) == len(expected) == 5


def test_found_boxes_are_scored_like_any():
    """A second guess counts where the first is wrong."""
    known = boxes([0], [[0, 0, 10, 10]], [1])
    shares = np.array([[0.6, 0.4]], dtype=np.float32)
    found = Found(boxes([0], [[0, 0, 10, 10]], [0], [0.9]), shares, np.zeros((1, 64)))
    assert mean_average_precision(found.boxes, known, 2) == 0
    assert mean_average_precision(found.by_kind(), known, 2) == 1


# A real detector


@pytest.fixture(scope="module")
def spotted():
    """Boards with spots, and a detector made so that it is sure of some cells near them alone."""
    rng = np.random.default_rng(3)
    tested = bare(3)
    places = {0: [(100, 200), (400, 80)], 2: [(320, 320), (64, 500), (600, 16), (200, 90)]}
    for board, of_board in places.items():
        for x, y in of_board:
            tested[board, y : y + 24, x : x + 24] = rng.integers(0, 2, (24, 24))
    boards = board_set(bare(3), tested)
    detector = Detector(KINDS, seed=0).eval()
    pairs = torch.from_numpy(np.concatenate(boards.pairs([1, 2]), axis=1))
    with torch.inference_mode():
        heat = detector.see(pairs)[0]
        if heat[1].max() - heat[0].max() < heat[0].min() - heat[1].min():
            detector.heat.weight.neg_()
            heat = detector.see(pairs)[0]
        # −8 at most on the board without spots, 3 at most on the other.
        low, high = heat[0].max(), heat[1].max()
        factor = 11 / (high - low)
        detector.heat.weight.mul_(factor)
        detector.heat.bias.mul_(factor).sub_(factor * low + 8)
        detector.sides.bias.add_(2)  # boxes so large that neighbours overlap
    return boards, detector


def test_boards_together_give_what_each_one_gives(spotted):
    boards, detector = spotted
    together = find(detector, boards)
    alone = [find(detector, boards.take([row])) for row in range(3)]
    counts = [len(found.boxes) for found in alone]
    assert counts[1] == 0
    assert counts[0] + counts[2] > 2
    assert together.boxes.pictures.tolist() == np.repeat([0, 1, 2], counts).tolist()
    for name in ("corners", "scores"):
        parts = np.concatenate([getattr(found.boxes, name) for found in alone])
        np.testing.assert_allclose(getattr(together.boxes, name), parts, rtol=1e-3, atol=1e-3)
    for name in ("shares", "embeddings"):
        parts = np.concatenate([getattr(found, name) for found in alone])
        np.testing.assert_allclose(getattr(together, name), parts, rtol=1e-3, atol=1e-4)


def test_boxes_that_stay_are_apart_and_on_their_board(spotted):
    found = find(*reversed(spotted)).boxes
    for board in (0, 2):
        corners = found.corners[found.pictures == board]
        shares = overlap(corners, corners)
        np.fill_diagonal(shares, 0)
        assert shares.max(initial=0) <= OVERLAP
    assert found.corners.min() >= 0
    assert found.corners.max() <= 640
    assert (found.scores >= 0.01).all()


# Embeddings of known defects

DEFECTS = [
    [0, 100, 200, 120, 230, 3],  # middle x 110, y 215
    [0, 8, 0, 24, 16, 1],  # x 16, on the line between two cells
    [2, 610, 620, 670, 660, 0],  # on the rim
    [2, 0, 0, 7, 9, 2],
    [9, 300, 320, 310, 333, 5],
]
CELLS = [(0, 26, 13), (0, 1, 2), (2, 79, 79), (2, 0, 0), (9, 40, 38)]


def test_embeddings_are_those_of_the_cells_in_the_middle():
    detector = Told(10)
    places = np.stack(np.meshgrid(np.arange(10), np.arange(80), np.arange(80), indexing="ij"), 1)
    detector.maps["embeddings"][:, :3] = torch.from_numpy(places).float()
    points = embeddings_of(detector, numbered(10, DEFECTS))
    assert points.dtype == np.float32
    assert points.shape == (5, 64)
    assert list(map(tuple, points[:, :3].astype(int).tolist())) == CELLS
    assert max(map(len, detector.batches)) <= 8


@torch.inference_mode()
def test_embeddings_are_what_the_detector_sees():
    boards = random_boards(3, seed=6, defects=[row for row in DEFECTS if row[0] < 3])
    detector = Detector(KINDS, seed=2).eval()
    points = embeddings_of(detector, boards)
    for point, (board, row, column) in zip(points, CELLS[:4], strict=True):
        pairs = torch.from_numpy(np.concatenate(boards.pairs([board]), axis=1))
        seen = detector.see(pairs)[2][0, :, row, column].numpy()
        np.testing.assert_allclose(point, seen, rtol=1e-3, atol=1e-4)
        assert point.std() > 0.01


def test_boards_without_defects_have_no_embeddings():
    points = embeddings_of(Told(2), numbered(2))
    assert points.shape == (0, 64)
    assert points.dtype == np.float32


@pytest.mark.parametrize("look_at", [find, embeddings_of])
def test_without_a_board_there_is_nothing_to_look_at(look_at):
    with pytest.raises(ValueError, match="there must be at least one pair of pictures, got none"):
        look_at(Told(1), numbered(1).take([]))
