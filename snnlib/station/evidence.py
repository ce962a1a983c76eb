"""How strange is each place of a part? Patches of good parts as anchors.

A part is compared place by place with what good parts look like anywhere: each patch with the
nearest of the good patches that were kept (Roth et al., 2022), after whitening (Mahalanobis
PatchCore, arXiv 2605.27748). Neither takes more memory when there are more parts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import torch

from snnlib.station.deployment import on_int8_grid
from snnlib.station.onnx_graph import Graph
from snnlib.whitening import WithinClassWhitening

__all__ = ["PatchEvidence", "Reservoir", "TileEvidence", "greedy_coreset", "learn_patches"]

PLACES, HEAT, STRANGEST, LOOKS = "places", "heat", "strangest", "looks"  # names in the graph
KEPT = 60_000  # patches that the coreset is drawn from
MEASURED = 20_000  # of them, by whose spread they are whitened: in double precision they take room
ANCHORS = 2_000  # patches that parts are compared with
POWER = 8  # of strangeness, by which places weigh in what is strange about a part
NOTHING = 0.01  # strangeness that is nothing: in each direction good patches have a spread of 1
LEAST = 1e-9  # share of the strangest place's weight that each place has
PROJECTED = 32  # values a patch while the coreset is drawn


class Reservoir:
    """Rows drawn at random from a stream of unknown length, each with the same chance.

    Algorithm R of Vitter (1985).

    Parameters
    ----------
    size : int
        Rows to keep.
    seed : int
        Seed of the draw.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        self.size, self.seen = size, 0
        self._random = np.random.default_rng(seed)
        self._rows: np.ndarray | None = None

    def add(self, rows: np.ndarray) -> None:
        """Take note of more rows.

        Parameters
        ----------
        rows : ndarray, shape (n, d)
        """
        if self._rows is None:
            self._rows = np.empty((self.size, rows.shape[1]), dtype=rows.dtype)
        number = self.seen + np.arange(len(rows))
        # The first rows fill the places; of those that follow, the k-th takes one by a chance of
        # size / (k + 1). Where two take the same place, NumPy lets the later one have it.
        place = np.where(number < self.size, number, self._random.integers(0, number + 1))
        taken = place < self.size
        self._rows[place[taken]] = rows[taken]
        self.seen += len(rows)

    @property
    def rows(self) -> np.ndarray:
        """What was kept, shape (m, d), which is all rows while there are no more than places."""
        if self._rows is None:
            raise ValueError("no row was added")
        return self._rows[: min(self.seen, self.size)]


def greedy_coreset(points: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """Choose points so that no point is far from a chosen one: always the farthest next.

    The greedy solution of the k-centre problem, at most twice as far as the best one (Gonzalez,
    1985). As Roth et al. (2022, section 3.2) do it, distances are taken after a random projection,
    which keeps them nearly.

    Parameters
    ----------
    points : ndarray, shape (n, d), floating point
        Points to choose from.
    size : int
        How many; all if there are no more.
    seed : int
        Seed of the projection and of the first point.

    Returns
    -------
    ndarray, shape (size,), int
        Positions of the chosen points, in the order of their choice.
    """
    if len(points) <= size:
        return np.arange(len(points))
    random = np.random.default_rng(seed)
    if points.shape[1] > PROJECTED:
        points = points @ random.normal(size=(points.shape[1], PROJECTED)).astype(points.dtype)
    places = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    squares = (places**2).sum(dim=1)
    nearest = torch.full_like(squares, torch.inf)
    chosen = np.empty(size, dtype=np.int64)
    chosen[0] = random.integers(len(points))
    for step in range(1, size):
        last = places[chosen[step - 1]]
        # Squared distance less the square of the last point, which is the same for all.
        distance = torch.addmv(squares, places, last, alpha=-2).add_(last @ last)
        torch.minimum(nearest, distance, out=nearest)
        nearest[chosen[step - 1]] = -torch.inf  # rounding must not have it chosen again
        chosen[step] = nearest.argmax()
    return chosen


@dataclass(frozen=True, eq=False)
class PatchEvidence:
    """Patches of good parts that those of other parts are compared with.

    Attributes
    ----------
    metric : `.WithinClassWhitening`
        Makes directions count alike in which good patches differ.
    patches : ndarray, shape (m, d), float32
        Whitened good patches.
    whole_numbers : bool, default False
        Whether patches are whole numbers of 8 bits, times a scale for each of the d values.
    """

    metric: WithinClassWhitening
    patches: np.ndarray
    whole_numbers: bool = False

    def in_int8(self) -> Self:
        """The same in a quarter of the room, each value rounded to whole numbers of 8 bits.

        Returns
        -------
        PatchEvidence
        """
        return replace(self, patches=on_int8_grid(self.patches), whole_numbers=True)

    def strangeness(self, patches: np.ndarray) -> np.ndarray:
        """Measure how far each place lies from the nearest good patch.

        Parameters
        ----------
        patches : ndarray, shape (n, d, r, c), float32
            What features say of each place of n parts.

        Returns
        -------
        ndarray, shape (n, r, c), float32
            Distances in the whitened space.
        """
        (heat,) = self._seen(patches, HEAT)
        return heat

    def write_in(self, graph: Graph, patches: str) -> tuple[str, str, str]:
        """Write what is done here into a graph.

        Parameters
        ----------
        graph : `snnlib.station.onnx_graph.Graph`
            Where to.
        patches : str
            Name of the patches (n, d, r, c).

        Returns
        -------
        heat, strangest, looks : str
            Names of what `strangeness` and `describe` give.
        """
        first = graph.constant(np.array([1]))
        # About the middle of the patches numbers are small, and so is what rounding does to them.
        middle = self.patches.mean(axis=0)
        known = graph.add("Sub", self._known_in(graph), graph.constant(middle))
        places = graph.add("Reshape", patches, graph.constant(np.array([0, 0, -1])))
        matrix = graph.constant(self.metric.matrix_.astype(np.float32))
        white = graph.add("MatMul", graph.add("Transpose", places, perm=[0, 2, 1]), matrix)
        white = graph.add("Sub", white, graph.constant(middle))
        # The square of a distance less that of the place itself tells which patch is the nearest.
        products = graph.add("MatMul", white, graph.add("Transpose", known, perm=[1, 0]))
        products = graph.add("Mul", products, graph.constant(np.float32(-2)))
        squares = graph.add(
            "Add", products, graph.constant(((self.patches - middle) ** 2).sum(axis=1))
        )
        nearest = graph.add("ArgMin", squares, axis=2, keepdims=0)
        # How far it is, is then measured as it should be: in products of large numbers a small
        # difference would be lost.
        off = graph.add("Sub", white, graph.add("Gather", known, nearest))
        heat = graph.add("ReduceL2", off, graph.constant(np.array([2])), keepdims=0)
        strangest = graph.add("ReduceMax", heat, first)
        # Where nothing is strange, all places weigh alike: of a part whose patches are all known
        # there is nothing but rounding, which must not choose among them.
        nothing, least = (graph.constant(np.float32(value)) for value in (NOTHING, LEAST))
        share = graph.add("Div", heat, graph.add("Max", strangest, nothing))
        weights = graph.add("Pow", share, graph.constant(np.float32(POWER)))
        weights = graph.add("Add", weights, least)
        weights = graph.add("Div", weights, graph.add("ReduceSum", weights, first))
        last = graph.constant(np.array([2]))
        looks = graph.add("MatMul", places, graph.add("Unsqueeze", weights, last))
        size = graph.add("Shape", patches, start=2)
        size = graph.add("Concat", graph.constant(np.array([-1])), size, axis=0)
        return (
            graph.add("Reshape", heat, size),
            graph.add("Squeeze", strangest, first),
            graph.add("Squeeze", looks, last),
        )

    def _known_in(self, graph):
        if not self.whole_numbers:
            return graph.constant(self.patches)
        scale = np.abs(self.patches).max(axis=0) / 127
        scale[scale == 0] = 1
        codes = np.round(self.patches / scale).astype(np.int8)
        return graph.add("DequantizeLinear", *map(graph.constant, (codes, scale)), axis=1)

    def _seen(self, patches, *names):
        """What is asked for by name, part by part: the distances of one take 6 MB."""
        found = [self._session.run(names, {PLACES: patches[[k]]}) for k in range(len(patches))]
        return [np.concatenate(part) for part in zip(*found)]

    @cached_property
    def _session(self):
        """As ONNX Runtime has it.

        PyTorch would do, but its threads and those of the features would wait for each other.
        """
        graph, value = Graph(), np.float32
        for name, written in zip((HEAT, STRANGEST, LOOKS), self.write_in(graph, PLACES)):
            graph.add("Identity", written, output=name)
        made = {HEAT: (value, "nrc"), STRANGEST: (value, "n"), LOOKS: (value, "nd")}
        return graph.start({PLACES: (value, "ndrc")}, made)

    def describe(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Say how strange the strangest place of each part is, and what it looks like.

        What it looks like is a mean over all places, weighted by the eighth power of their
        strangeness. So a scratch gives the same values wherever it lies, and few others take part.

        Parameters
        ----------
        patches : ndarray, shape (n, d, r, c), float32
            What features say of each place of n parts.

        Returns
        -------
        strangest : ndarray, shape (n,), float32
        looks : ndarray, shape (n, d), float32
        """
        strangest, looks = self._seen(patches, STRANGEST, LOOKS)
        return strangest, looks


def learn_patches(patches: np.ndarray, *, seed: int, size: int = ANCHORS) -> PatchEvidence:
    """Choose the good patches that others are compared with.

    Parameters
    ----------
    patches : ndarray, shape (n, d), float32
        Patches of good parts, as a `Reservoir` keeps them.
    seed : int
        Seed of the coreset.
    size : int, default 2000
        Patches to keep, but no more than half of them: parts all of whose patches are kept have
        nothing strange about them, and could not tell what is strange about a good part.

    Returns
    -------
    PatchEvidence
    """
    some = patches[:: -(-len(patches) // MEASURED)]
    metric = WithinClassWhitening().fit(some, np.zeros(len(some), dtype=int))
    # Only the matrix counts in distances; where its zero lies does not.
    whitened = patches @ metric.matrix_.astype(np.float32)
    size = min(size, -(-len(patches) // 2))
    return PatchEvidence(metric, whitened[greedy_coreset(whitened, size, seed=seed)])


@dataclass(frozen=True, eq=False)
class TileEvidence:
    """Tells by how much a part would be better if one of its tiles were good.

    Attributes
    ----------
    centre : ndarray, shape (c, h, w), float32
        Mean good training part, as the encoder sees it.
    tiles : (int, int)
        Rows and columns of tiles.

    Raises
    ------
    ValueError
        If parts do not fall into tiles.
    """

    centre: np.ndarray
    tiles: tuple[int, int]

    def __post_init__(self) -> None:
        _, height, width = self.centre.shape
        rows, columns = self.tiles
        if min(self.tiles) < 1 or height % rows or width % columns:
            raise ValueError(f"images of {height} × {width} can't be cut into {self.tiles} tiles")

    def drops(self, part: np.ndarray, to_good: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Measure by how much the distance to the good anchor falls with each tile replaced.

        Parameters
        ----------
        part : ndarray, shape (c, h, w), float32
            The part, as the encoder sees it.
        to_good : callable
            Distances (n,) of parts (n, c, h, w) to the good anchor.

        Returns
        -------
        ndarray, shape (rows, columns)
        """
        rows, columns = self.tiles
        tile = np.arange(rows * columns).reshape(self.tiles)
        height, width = part.shape[1] // rows, part.shape[2] // columns
        of_pixel = tile.repeat(height, axis=0).repeat(width, axis=1)
        replaced = of_pixel == tile.reshape(-1, 1, 1)
        variants = np.where(replaced[:, None], self.centre, part)
        distances = to_good(np.concatenate([part[None], variants]))
        return (distances[0] - distances[1:]).reshape(self.tiles)
