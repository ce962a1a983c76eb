"""From the maps of a detector to boxes, and to the embeddings that name what is in them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from snnlib.boxes import Boxes, without_doubles
from snnlib.data.boards import BoardSet
from snnlib.detection.detector import STRIDE, Detector
from snnlib.detection.scoring import OVERLAP
from snnlib.encoders import place_of

__all__ = ["Found", "embeddings_of", "find", "peaks"]

BATCH = 8  # pairs at a time
NARROW = 1e-3  # cells: a box has some area, whatever an untrained detector says
LEAST = 0.01  # how sure a detector is at least where a box is worth a place in the list


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector found on some pairs of pictures.

    Attributes
    ----------
    boxes : `.Boxes`
        One box a place, named by the head; its score is the probability that there is a defect, of
        whatever kind.
    shares : ndarray, shape (m, kinds), float32
        Probability of each kind, if there is a defect.
    embeddings : ndarray, shape (m, 64), float32
        How the detector sees the cell in the middle.
    """

    boxes: Boxes
    shares: np.ndarray
    embeddings: np.ndarray

    def named(self) -> Boxes:
        """Every box once, scored by both probabilities together: of a defect, and of its name.

        Returns
        -------
        Boxes
            For F and whatever else counts right names.
        """
        boxes = self.boxes
        scores = np.asarray(boxes.scores) * self.shares.max(axis=1)
        return Boxes(boxes.pictures, boxes.corners, boxes.kinds, scores)

    def by_kind(self) -> Boxes:
        """Every box once for each kind that it may be of, scored by both probabilities together.

        Returns
        -------
        Boxes
            For average precision, where a second guess counts a little, too.
        """
        scores = np.asarray(self.boxes.scores)[:, None] * self.shares
        rows, kinds = np.nonzero(scores >= LEAST)
        boxes = self.boxes[rows]
        return Boxes(boxes.pictures, boxes.corners, kinds, scores[rows, kinds])


def peaks(heat: Tensor) -> Tensor:
    """Cells whose heat no neighbour exceeds.

    Parameters
    ----------
    heat : Tensor, shape (b, rows, columns)
        Probability of a defect in each cell.

    Returns
    -------
    Tensor, shape (b, rows, columns), bool
        Only where it is 0.01 at least.
    """
    highest = functional.max_pool2d(heat[:, None], 3, stride=1, padding=1)[:, 0]
    return (heat == highest) & (heat >= LEAST)


@torch.inference_mode()
def find(detector: Detector, boards: BoardSet) -> Found:
    """Find defects on the tested board of each pair.

    Of boxes that overlap, the surest stays, whatever their kinds.

    Parameters
    ----------
    detector : Detector
        In evaluation mode.
    boards : BoardSet
        Pairs of pictures; some are unpacked at a time, which bounds the memory.

    Returns
    -------
    Found
        By board, and on each from above to below.

    Raises
    ------
    ValueError
        If there is no pair.
    """
    parts = []
    for rows, pairs in _batches(detector, boards):
        heat, sides, embeddings = detector.see(pairs)
        heat = heat[:, 0].sigmoid()
        board, row, column = peaks(heat).nonzero(as_tuple=True)
        embedded = embeddings[board, :, row, column]
        shares = detector.kinds(functional.relu(embedded[:, :, None, None])).flatten(1).softmax(1)
        middle = torch.stack([column, row], dim=1) + 0.5
        left_up, right_down = sides[board, :, row, column].clamp(min=NARROW).split(2, dim=1)
        size = pairs.new_tensor([pairs.shape[3], pairs.shape[2]])
        low = (STRIDE * (middle - left_up)).clamp(min=0)
        high = (STRIDE * (middle + right_down)).minimum(size)
        corners = torch.cat([low, high], dim=1)
        told = corners, heat[board, row, column], shares, embedded
        parts.append((board + rows[0], *(values.float() for values in told)))
    pictures, places, scores, probabilities, points = (
        torch.cat(column).cpu().numpy() for column in zip(*parts)
    )
    boxes = Boxes(pictures, places, probabilities.argmax(axis=1), scores)
    kept = without_doubles(boxes, OVERLAP)
    return Found(boxes[kept], probabilities[kept], points[kept])


@torch.inference_mode()
def embeddings_of(detector: Detector, boards: BoardSet) -> np.ndarray:
    """How a detector sees the defects that are known: to place anchors.

    Parameters
    ----------
    detector : Detector
        In evaluation mode.
    boards : BoardSet
        Pairs of pictures.

    Returns
    -------
    ndarray, shape (m, 64), float32
        Of the cell in the middle of each box of ``boards.defects``.

    Raises
    ------
    ValueError
        If there is no pair.
    """
    parts = [np.empty((0, detector.embedding.out_channels), dtype=np.float32)]
    for rows, pairs in _batches(detector, boards):
        embeddings = detector.see(pairs)[2]
        defects = boards.defects.on(rows)
        x1, y1, x2, y2 = defects.corners.T
        column, row = (
            np.minimum((low + high) / 2 // STRIDE, length - 1).astype(np.int64)
            for low, high, length in ((x1, x2, embeddings.shape[3]), (y1, y2, embeddings.shape[2]))
        )
        parts.append(embeddings[defects.pictures, :, row, column].float().cpu().numpy())
    return np.concatenate(parts)


def _batches(detector, boards):
    """Rows of some pairs, and their pictures where the detector computes."""
    if not len(boards):
        raise ValueError("there must be at least one pair of pictures, got none")
    place = place_of(detector)
    for rows in np.array_split(np.arange(len(boards)), -(-len(boards) // BATCH)):
        pairs = np.concatenate(boards.pairs(rows), axis=1)
        yield rows, torch.from_numpy(pairs).to(place.device, place.dtype)
