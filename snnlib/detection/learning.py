"""What a detector learns from: cut-outs of boards, what it should say of them, and the cost."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnlib.boxes import Boxes
from snnlib.data.boards import SIDE, BoardSet
from snnlib.detection.detector import STRIDE

__all__ = ["BoardBatches", "detection_loss", "targets_of", "turned"]

CUT = 160  # pixels along a side of a cut-out
STRAY = 50  # pixels by which a defect may lie off its middle, either way
MOVED = 2.0  # pixels: sd by which a template is moved, to either side
ANYWHERE = 0.2  # of all cut-outs, whether a defect is there or not
SYMMETRIES = 8  # of a square: mirrored or not, four turns
SPREAD = 0.15  # of the width or height of a box: sd of the bell around its middle
LEAST = 0.4  # cells: sd at least
AROUND = 1  # cells around the middle that learn the sides and the kind, too
FOCUS, SPARED = 2, 4  # exponents of the focal loss, as in CenterNet


class BoardBatches:
    """Square cut-outs of pairs of boards in an order of their own, turned and mirrored at random.

    Defects fill a fiftieth of a board, so that most of a whole one has little to teach. Each defect
    is the reason for one cut-out an epoch, somewhere within it, and a fifth of them lie anywhere. A
    board has no top, and its defects are the same in all eight positions. Templates are moved a
    little, more than they are anyway, so that a difference of place is learned to be none.

    Parameters
    ----------
    boards : BoardSet
        Pairs of pictures with their defects.
    batch_size : int
        Cut-outs a step; those that fill no batch are left out.
    seed : int
        Seed of order, places and positions.

    Raises
    ------
    ValueError
        If there are fewer cut-outs than a batch has.
    """

    def __init__(self, boards: BoardSet, batch_size: int, seed: int) -> None:
        n = round(len(boards.defects) / (1 - ANYWHERE))
        if not 1 <= batch_size <= n:
            raise ValueError(
                f"batch_size must lie in 1 … {n}, the number of cut-outs; got {batch_size}"
            )
        self.boards, self.batch_size, self.seed = boards, batch_size, seed
        self.size = n // batch_size * batch_size
        self.set_epoch(0)

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Draw order, places and positions of an epoch.

        Parameters
        ----------
        epoch : int
            Its number.
        """
        random = np.random.default_rng((self.seed, epoch))
        defects = self.boards.defects
        middles = (defects.corners[:, :2] + defects.corners[:, 2:]) / 2
        anywhere = round(len(defects) / (1 - ANYWHERE)) - len(defects)
        rows = np.append(defects.pictures, random.integers(len(self.boards), size=anywhere))
        middles = np.concatenate([middles, random.uniform(0, SIDE, (anywhere, 2))])
        places = middles - random.uniform(CUT / 2 - STRAY, CUT / 2 + STRAY, middles.shape)
        order = random.permutation(len(rows))[: self.size]
        self.rows = rows[order]
        self.places = places[order].clip(0, SIDE - CUT).astype(np.int64)
        self.moved = random.normal(0, MOVED, (self.size, 2)).round().astype(np.int64)
        self.symmetries = random.integers(SYMMETRIES, size=self.size)

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Gather a batch.

        Parameters
        ----------
        indices : sequence of int
            Positions in the order of the epoch.

        Returns
        -------
        pairs : Tensor, shape (1, b, 2, 160, 160), float32
            Cut-outs of the template and the tested board of each pair.
        targets : Tensor, shape (b, 6, 20, 20), float32
            As of `targets_of`.
        """
        rows, places = self.rows[indices], self.places[indices]
        pairs = self.boards.cut_out(rows, places, CUT, self.moved[indices])
        pairs, defects = turned(pairs, self._defects_in(rows, places), self.symmetries[indices])
        return torch.from_numpy(pairs)[None], targets_of(defects, len(rows), (CUT, CUT))

    def _defects_in(self, rows, places):
        """Defects whose middle lies in a cut-out, as they lie there; of others it holds a rim."""
        defects = self.boards.defects
        first, last = np.searchsorted(defects.pictures, [rows, rows + 1])
        counts = last - first
        of_cut = np.repeat(np.arange(len(rows)), counts)
        steps = np.arange(len(of_cut)) - np.repeat(counts.cumsum() - counts, counts)
        there = defects[first[of_cut] + steps]
        corners = there.corners - np.tile(places[of_cut], 2)
        middles = (corners[:, :2] + corners[:, 2:]) / 2
        inside = ((middles >= 0) & (middles < CUT)).all(axis=1)
        return Boxes(of_cut, corners, there.kinds)[inside]


def turned(pairs: np.ndarray, boxes: Boxes, symmetries: np.ndarray) -> tuple[np.ndarray, Boxes]:
    """Mirror and transpose square pictures, and the boxes on them.

    Parameters
    ----------
    pairs : ndarray, shape (b, c, s, s)
        Pictures.
    boxes : Boxes
        Boxes on them.
    symmetries : ndarray, shape (b,), int
        What is done to each picture, in 0 … 7: the sum of 1 (mirrored from left to right), 2 (from
        top to bottom) and 4 (then x and y change places).

    Returns
    -------
    pairs : ndarray, shape (b, c, s, s)
        Other pictures; the given ones are left as they are.
    boxes : `.Boxes`
        The same boxes there, as known ones: without scores.
    """
    others, side = np.empty_like(pairs), pairs.shape[-1]
    for one, other, symmetry in zip(pairs, others, symmetries):
        one = one[:, :: -1 if symmetry & 2 else 1, :: -1 if symmetry & 1 else 1]
        other[:] = one.swapaxes(1, 2) if symmetry & 4 else one
    of_box = symmetries[boxes.pictures]
    x1, y1, x2, y2 = boxes.corners.T
    x1, x2 = np.where(of_box & 1, (side - x2, side - x1), (x1, x2))
    y1, y2 = np.where(of_box & 2, (side - y2, side - y1), (y1, y2))
    corners = np.where(of_box & 4, (y1, x1, y2, x2), (x1, y1, x2, y2)).T
    return others, Boxes(boxes.pictures, corners, boxes.kinds)


def targets_of(defects: Boxes, n: int, size: tuple[int, int]) -> Tensor:
    """What a detector should say of each cell of some pictures.

    Parameters
    ----------
    defects : Boxes
        Known boxes; the middle of each lies on its picture, though a box may reach beyond.
    n : int
        How many pictures there are.
    size : tuple of int
        Height and width of a picture in pixels, multiples of 8.

    Returns
    -------
    Tensor, shape (n, 6, h / 8, w / 8), float32
        Plane 0 is 1 in the cell that holds the middle of a box and falls from there like a bell, as
        in CenterNet (Zhou et al., 2019). Planes 1 to 4 are the distances in cells from the middle
        of the cell to the left, upper, right and lower side of the box, plane 5 is its kind, both
        in those of the nine cells around the middle whose own middle the box holds; elsewhere the
        kind is −1. Where that is true of several boxes, one of them is told.
    """
    height, width = size[0] // STRIDE, size[1] // STRIDE
    targets = torch.zeros(n, 6, height, width)
    targets[:, 5] = -1
    if not len(defects):
        return targets
    pictures, kinds = (torch.from_numpy(np.array(of)) for of in (defects.pictures, defects.kinds))
    corners = torch.from_numpy(defects.corners / STRIDE)
    low, high = corners[:, :2], corners[:, 2:]
    middle = ((low + high) / 2).floor()
    middle = middle.clamp(min=0).minimum(torch.tensor([width - 1.0, height - 1.0]))
    spread = (SPREAD * (high - low)).clamp(min=LEAST)
    across, down = (
        torch.exp(-(((torch.arange(length) - middle[:, [axis]]) / spread[:, [axis]]) ** 2) / 2)
        for axis, length in enumerate((width, height))
    )
    bells = down[:, :, None] * across[:, None]
    where = pictures[:, None, None].expand_as(bells)
    targets[:, 0].scatter_reduce_(0, where, bells, "amax")

    steps = torch.arange(-AROUND, AROUND + 1)
    steps = torch.cartesian_prod(steps, steps)
    cells = middle.long()[:, None] + steps  # (m, 9, 2): column and row
    points = cells + 0.5
    apart = torch.cat([points - low[:, None], high[:, None] - points], dim=2)
    there = (apart > 0).all(dim=2) & (cells >= 0).all(dim=2)
    there &= (cells < torch.tensor([width, height])).all(dim=2)
    box, step = there.nonzero(as_tuple=True)
    column, row = cells[box, step].T
    targets[pictures[box], 1:5, row, column] = apart[box, step]
    targets[pictures[box], 5, row, column] = kinds[box].float()
    return targets


def detection_loss(said: Tensor, targets: Tensor) -> Tensor:
    """Cost of what a detector says: whether there is a defect, where its sides are, its kind.

    The first is the focal loss of CenterNet (Zhou et al., 2019, equation 1): cells that are right
    anyway count little, and so do those near a middle. The second is 1 − IoU of the box said and
    the known one, which share a cell (Yu et al., 2016, without the logarithm); the third is cross
    entropy. Both are means over the cells near a middle.

    Parameters
    ----------
    said : Tensor, shape (b, 5 + kinds, rows, columns)
        Output of a `.Detector`.
    targets : Tensor, shape (b, 6, rows, columns)
        As of `targets_of`.

    Returns
    -------
    Tensor
        A scalar, the sum of the three.
    """
    heat, bell = said[:, 0], targets[:, 0]
    sure = torch.sigmoid(heat)
    is_middle = bell == 1
    missed = functional.logsigmoid(heat) * (1 - sure) ** FOCUS * is_middle
    false = functional.logsigmoid(-heat) * sure**FOCUS * (1 - bell) ** SPARED
    cost = -(missed + false).sum() / is_middle.sum().clamp(min=1)

    near = targets[:, 5] >= 0
    if not near.any():
        return cost
    told, known = said.movedim(1, -1)[near], targets.movedim(1, -1)[near]
    sides, wanted = told[:, 1:5], known[:, 1:5]
    both = _area(torch.minimum(sides, wanted))
    cost = cost + (1 - both / (_area(sides) + _area(wanted) - both)).mean()
    return cost + functional.cross_entropy(told[:, 5:], known[:, 5].long())


def _area(sides):
    """Area of a box from the distances of a point within to its left, upper, right, lower side."""
    left, up, right, down = sides.T
    return (left + right) * (up + down)
