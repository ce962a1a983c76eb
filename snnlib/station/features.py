"""What a network sees in a photograph: a few hundred values for all of it, and values by place."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from snnlib.backbones import MEAN, SCALE, Backbone, InvertedResidual, SameConv2d
from snnlib.embedding import embed
from snnlib.encoders import UnitLength, place_of
from snnlib.extras import extra
from snnlib.station.onnx_graph import Graph
from snnlib.station.whole_numbers import quantised_maps

if TYPE_CHECKING:
    with extra("station"):
        import onnx

__all__ = ["POOLS", "EmbeddingFeatures", "Features", "MapFeatures", "Pooled"]

#: Ways to make one value of a map's values over all of a photograph, by name.
POOLS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda values: values.mean((2, 3)),
    "max": lambda values: values.amax((2, 3)),
}
MEANS = ("mean",)
INPUT, POINTS, PATCHES = "images", "points", "patches"
OF_PATCHES = 2  # maps, the finest ones, whose values are told by place
AROUND = 3  # places of a map, in either direction, that a mean is taken of
AT_A_TIME = 8  # photographs: more of them take more memory, and no less time


@runtime_checkable
class Features(Protocol):
    """What a station asks of its features."""

    def describe(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Describe images.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), floating point
            Prepared images.

        Returns
        -------
        points : ndarray, shape (n, d), float32
            Values of each image as a whole; NaN if it is beyond what they can describe.
        patches : ndarray, shape (n, p, r, s), float32, or None
            Values of each place of a grid of r rows and s columns over the image; None if the
            network does not tell places apart.
        """

    def seen(self, images: np.ndarray) -> np.ndarray:
        """Show images as the network sees them.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), floating point
            Prepared images.

        Returns
        -------
        ndarray, shape (n, c', h', w')
        """

    def of_seen(self, images: np.ndarray) -> np.ndarray:
        """Describe what `seen` shows, each image as a whole.

        Parameters
        ----------
        images : ndarray, shape (n, c', h', w'), floating point

        Returns
        -------
        ndarray, shape (n, d), float32
        """


class EmbeddingFeatures:
    """An encoder that makes one point of an image, run by PyTorch.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps what the front puts out to (n, d). What is done to its weights later changes nothing
        here.
    front : torch.nn.Module, optional
        What is done to images before: maps (n, c, h, w) to images again.
    """

    def __init__(self, encoder: nn.Module, front: nn.Module | None = None) -> None:
        self.encoder, self.front = copy.deepcopy(encoder).eval(), copy.deepcopy(front)
        if self.front is not None:
            self.front.eval().to(place_of(encoder).device)

    def describe(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        """Describe images, as `Features` do.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), floating point

        Returns
        -------
        points : ndarray, shape (n, d), float32
        patches : None
        """
        network = self.encoder if self.front is None else nn.Sequential(self.front, self.encoder)
        return embed(network, images), None

    def seen(self, images: np.ndarray) -> np.ndarray:
        """Show images as the encoder sees them: behind the front.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), floating point

        Returns
        -------
        ndarray, shape (n, c', h', w'), floating point
        """
        return images if self.front is None else embed(self.front, images)

    def of_seen(self, images: np.ndarray) -> np.ndarray:
        """Describe what `seen` shows.

        Parameters
        ----------
        images : ndarray, shape (n, c', h', w'), floating point

        Returns
        -------
        ndarray, shape (n, d), float32
        """
        return embed(self.encoder, images)


class Pooled(nn.Module):
    """Each value of the maps of a backbone over all of a photograph, wherever in it.

    Parameters
    ----------
    backbone : Backbone
        Draws the maps.
    pools : sequence of str, default ("mean",)
        What is taken over a map, of the names of `POOLS`: means are steady, maxima tell what is
        small.
    """

    def __init__(self, backbone: Backbone, pools: Sequence[str] = MEANS) -> None:
        super().__init__()
        self.backbone, self.pools = backbone, _known(pools)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Describe photographs as a whole.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w), floating point
            Photographs in [0, 1].

        Returns
        -------
        Tensor, shape (n, d)
            A value for each channel of all maps, pool by pool.
        """
        return _pooled(self.backbone(images), self.pools)


def _known(pools):
    if not pools or not set(pools) <= set(POOLS):
        raise ValueError(f"pools must be some of {list(POOLS)}, got {list(pools)}")
    return tuple(pools)


def _pooled(maps, pools):
    return torch.cat([POOLS[pool](values) for pool in pools for values in maps], dim=1)


def _by_place(maps):
    """Values for each place of the finest map: its own, and means around it of two maps.

    The means over 3 × 3 places are those of Roth et al. (2022, section 3.1); the values of the
    place itself show what is smaller. Outside of a photograph all values are zero, so that places
    at its edge, of which a network knows least, count for less.
    """
    around = [
        functional.avg_pool2d(values, AROUND, stride=1, padding=AROUND // 2)
        for values in maps[:OF_PATCHES]
    ]
    size = maps[0].shape[2:]
    resized = [
        functional.interpolate(values, size=size, mode="bilinear", align_corners=False)
        for values in around[1:]
    ]
    return torch.cat([maps[0], around[0], *resized], dim=1)


class MapFeatures:
    """A backbone's maps of photographs, pooled and by place.

    The backbones of `snnlib.backbones` are run by ONNX Runtime, on as many threads as PyTorch has;
    others by PyTorch.

    Parameters
    ----------
    backbone : Backbone
        Draws the maps. What is done to its weights later changes nothing here.
    head : torch.nn.Module, optional
        What is made of the pooled values: maps (n, d) to (n, e).
    pools : sequence of str, default ("mean",)
        As `Pooled` has them.

    Raises
    ------
    ValueError
        If a pool has another name.
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module | None = None, pools: Sequence[str] = MEANS
    ) -> None:
        self.backbone, self.head = copy.deepcopy(backbone).eval(), copy.deepcopy(head)
        self.pools = _known(pools)
        if self.head is not None:
            self.head.eval()
        self._small: onnx.ModelProto | None = None  # draws the maps in the place of the backbone
        self._session = self._started() if type(self.backbone) is Backbone else None

    def in_int8(self, images: Iterable[np.ndarray]) -> "MapFeatures":
        """The same features from a backbone in 8-bit whole numbers; the head stays as it is.

        Values differ from those of this one, so whatever was learned from them is to be learned
        again.

        Parameters
        ----------
        images : iterable of ndarray, each of shape (1, c, h, w), float32
            Some photographs in [0, 1], which give the ranges of values at each layer.

        Returns
        -------
        MapFeatures

        Raises
        ------
        TypeError
            If the backbone is not of `snnlib.backbones`.
        ValueError
            If a photograph is not in [0, 1].
        """
        graph, value = Graph(), np.float32
        for number, name in enumerate(self._maps_in(graph, INPUT)):
            graph.add("Identity", name, output=f"map{number}")
        made = {f"map{number}": (value, "nkrs") for number in range(len(self.backbone.channels))}
        small = copy.copy(self)
        model = graph.model({INPUT: (value, "nchw")}, made)
        small._small = quantised_maps(model, images, INPUT)
        small._session = small._started()
        return small

    @property
    def whole_numbers(self) -> bool:
        """Whether the backbone is in 8-bit whole numbers."""
        return self._small is not None

    def write_in(self, graph: Graph, images: str, *, places: bool) -> tuple[str, str | None]:
        """Write what `describe` does into a graph.

        Parameters
        ----------
        graph : `snnlib.station.onnx_graph.Graph`
            Where to.
        images : str
            Name of photographs (n, c, h, w) in [0, 1], single precision.
        places : bool
            Whether each place is described, too.

        Returns
        -------
        points : str
            Name of the values of each image as a whole.
        patches : str or None
            Name of those of each place.

        Raises
        ------
        TypeError
            If a layer is of a kind that is not known here.
        """
        maps = self._maps_in(graph, images)
        points = graph.add("Concat", *_pooled_in(graph, maps, self.pools), axis=1)
        if self.head is not None:
            points = _layer_in(graph, self.head, points)
        patches = graph.add("Concat", *_by_place_in(graph, maps), axis=1) if places else None
        return points, patches

    def _maps_in(self, graph, images):
        if type(self.backbone) is not Backbone:
            raise TypeError(f"no ONNX for a backbone of the kind {type(self.backbone).__name__}")
        if self._small is not None:
            return graph.include(self._small, images)
        return _maps_in(graph, self.backbone, images)

    def _started(self):
        """The backbone as ONNX Runtime runs it, for photographs of any size."""
        graph, value = Graph(), np.float32
        maps = self._maps_in(graph, INPUT)
        graph.add("Concat", *_pooled_in(graph, maps, self.pools), axis=1, output=POINTS)
        graph.add("Concat", *_by_place_in(graph, maps), axis=1, output=PATCHES)
        made = {POINTS: (value, "nd"), PATCHES: (value, "nprs")}
        return graph.start({INPUT: (value, "nchw")}, made)

    def describe(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Describe photographs, as `Features` do.

        Parameters
        ----------
        images : ndarray, shape (n, 3, h, w) or (n, 1, h, w), float32
            Photographs in [0, 1].

        Returns
        -------
        points : ndarray, shape (n, d), float32
        patches : ndarray, shape (n, p, r, s), float32
            On the grid of the finest map: p values for each place, its own and those around it.
        """
        points, patches = self._described(images, [POINTS, PATCHES])
        return self._headed(points), patches

    def seen(self, images: np.ndarray) -> np.ndarray:
        """Show photographs as the backbone sees them: as they are.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), float32

        Returns
        -------
        ndarray, shape (n, c, h, w), float32
        """
        return images

    def of_seen(self, images: np.ndarray) -> np.ndarray:
        """Describe photographs as a whole.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), float32

        Returns
        -------
        ndarray, shape (n, d), float32
        """
        (points,) = self._described(images, [POINTS])
        return self._headed(points)

    def _described(self, images, names):
        """What is asked for by name, of all images."""
        starts = range(0, len(images), AT_A_TIME)
        found = [self._run(images[start : start + AT_A_TIME], names) for start in starts]
        return [np.concatenate(part) for part in zip(*found)]

    def _run(self, images, names):
        if self._session is not None:
            return self._session.run(names, {INPUT: images})
        with torch.inference_mode():
            maps = self.backbone(torch.tensor(images))
            made = {POINTS: lambda: _pooled(maps, self.pools), PATCHES: lambda: _by_place(maps)}
            return [made[name]().numpy() for name in names]

    def _headed(self, points):
        if self.head is None:
            return points
        with torch.inference_mode():
            return self.head(torch.from_numpy(points)).numpy()


def _pooled_in(graph, maps, pools):
    axes, nodes = graph.constant(np.array([2, 3])), {"mean": "ReduceMean", "max": "ReduceMax"}
    for pool in pools:
        for of_stride in maps:
            yield graph.add(nodes[pool], of_stride, axes, keepdims=0)


def _by_place_in(graph, maps):
    settings = {"kernel_shape": [AROUND] * 2, "pads": [AROUND // 2] * 4, "count_include_pad": 1}
    finest, *coarser = (
        graph.add("AveragePool", of_stride, **settings) for of_stride in maps[:OF_PATCHES]
    )
    yield maps[0]
    yield finest
    size = graph.add("Shape", finest, start=2)
    for of_stride in coarser:
        wanted = graph.add("Concat", graph.add("Shape", of_stride, end=2), size, axis=0)
        yield graph.add("Resize", of_stride, "", "", wanted, mode="linear")


def _maps_in(graph, backbone, x):
    """Names of the maps that a backbone draws of x."""
    x = graph.add("Sub", x, graph.constant(np.float32(MEAN)))
    x = graph.add("Div", x, graph.constant(np.float32(SCALE)))
    x = graph.add("Expand", x, graph.constant(np.array([1, 3, 1, 1])))
    drawn = []
    for number, stage in enumerate(backbone.stages):
        x = _layers_in(graph, stage, x)
        if number in backbone.drawn:
            drawn.append(x)
    return drawn


def _layers_in(graph, layers, x):
    for layer in layers:
        x = _layer_in(graph, layer, x)
    return x


def _layer_in(graph, layer, x):
    if isinstance(layer, SameConv2d):
        settings = {"strides": layer.stride, "group": layer.groups, "auto_pad": "SAME_UPPER"}
        return graph.add("Conv", x, graph.constant(layer.weight), **settings)
    if isinstance(layer, nn.BatchNorm2d):
        values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
        return graph.add("BatchNormalization", x, *map(graph.constant, values), epsilon=layer.eps)
    if isinstance(layer, nn.Sequential):
        return _layers_in(graph, layer, x)
    if isinstance(layer, nn.BatchNorm1d):
        mean, variance = (values.double().numpy() for values in layer.buffers() if values.ndim)
        spread = np.sqrt(variance + layer.eps).astype(np.float32)
        x = graph.add("Sub", x, graph.constant(mean.astype(np.float32)))
        return graph.add("Div", x, graph.constant(spread))
    if isinstance(layer, nn.Linear):
        return graph.add("Gemm", x, *map(graph.constant, (layer.weight, layer.bias)), transB=1)
    if isinstance(layer, nn.ReLU):
        return graph.add("Relu", x)
    if isinstance(layer, UnitLength):
        length = graph.add("ReduceL2", x, graph.constant(np.array([1])))
        least = graph.constant(np.finfo(np.float32).tiny)  # a row of zeros stays one
        return graph.add("Div", x, graph.add("Max", length, least))
    if isinstance(layer, nn.ReLU6):
        return graph.add("Clip", x, *(graph.constant(np.float32(end)) for end in (0, 6)))
    if isinstance(layer, InvertedResidual):
        narrow = _layers_in(graph, layer.layers, x)
        return graph.add("Add", x, narrow) if layer.added else narrow
    raise TypeError(f"no ONNX for a layer of the kind {type(layer).__name__}")
