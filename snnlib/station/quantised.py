"""The network of a station of arrays in 8-bit whole numbers: front and encoder in one."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Self

import numpy as np
from torch import nn

from snnlib.extras import extra
from snnlib.images import check_images
from snnlib.station.deployment import export_onnx, quantise
from snnlib.station.features import EmbeddingFeatures
from snnlib.station.onnx_graph import End, Graph

if TYPE_CHECKING:
    with extra("station"):
        import onnx

__all__ = ["QuantisedEmbedding"]

INPUT, POINTS = "parts", "points"
# So many times as far from their mean as training parts lie, values still have room: of new parts,
# some lie a little beyond all of them. On maps this much changes no more verdicts than none does.
ROOM = 1.2
MIDDLE = 128  # of unsigned bytes: what is zero in signed ones


class QuantisedEmbedding:
    """A front and an encoder in 8-bit whole numbers, run by ONNX Runtime; made by `of`.

    They embed a part on its own, whatever stands beside it, and alike on every processor but for
    last digits. A part whose values whole numbers would cut off gets no point, but NaN.

    Parameters
    ----------
    network : onnx.ModelProto
        With one input, for parts (n, c, h, w). Its first output are points (n, d), all others what
        becomes whole numbers first.
    shape : tuple of int
        Channels, height and width of a part.
    ranges : list of (float, float)
        Smallest and largest value of each of these others that whole numbers hold.
    """

    # A station asks its features.
    whole_numbers = True

    def __init__(
        self,
        network: "onnx.ModelProto",
        shape: tuple[int, ...],
        ranges: list[tuple[float, float]],
    ) -> None:
        self._network, self._ranges = network, ranges
        graph = Graph()
        graph.add("Identity", self.write_in(graph, INPUT), output=POINTS)
        given: dict[str, End] = {INPUT: (np.float32, ("n", *shape))}
        self._session = graph.start(given, {POINTS: (np.float32, "nd")})

    @classmethod
    def of(cls, features: EmbeddingFeatures, parts: np.ndarray) -> Self:
        """Make the same features in whole numbers.

        Points differ from those of `features`, so whatever was learned from these is to be learned
        again.

        Parameters
        ----------
        features : `.EmbeddingFeatures`
            Run by PyTorch.
        parts : ndarray, shape (n, c, h, w), float32
            Training parts, before the front. Values at each layer get the range of these parts,
            and a fifth more.

        Returns
        -------
        QuantisedEmbedding

        Raises
        ------
        TypeError, ValueError
            If `parts` are no finite floating-point array of four dimensions, or there are none; if
            no layer multiplies by weights, or what it multiplies is not finite.
        """
        with extra("station"):
            import onnx

        check_images(parts)
        if not len(parts):
            raise ValueError("there is no part to take ranges from")
        middle = parts.mean(axis=0, dtype=np.float64).astype(np.float32)
        shape, front, encoder = parts.shape[1:], features.front, features.encoder
        with TemporaryDirectory() as folder:
            large, small = Path(folder, "large.onnx"), Path(folder, "small.onnx")
            export_onnx(encoder if front is None else nn.Sequential(front, encoder), shape, large)
            quantise(large, small, middle + np.float32(ROOM) * (parts - middle))
            network = onnx.load(small)
        _store_unsigned(network)
        quantised = cls(network, shape, _open(network))
        without = np.isnan(quantised.describe(parts)[0]).any(axis=1).sum()
        if without:
            raise ValueError(
                f"{without} of {len(parts)} training parts get no point in whole numbers: what the "
                "network makes of values a fifth beyond theirs must be finite"
            )
        return quantised

    def write_in(self, graph: Graph, images: str) -> str:
        """Write what `describe` does into a graph.

        Parameters
        ----------
        graph : `snnlib.station.onnx_graph.Graph`
            Where to.
        images : str
            Name of parts (n, c, h, w), single precision.

        Returns
        -------
        str
            Name of the points (n, d).
        """
        points, *entering = graph.include(self._network, images)
        axis, nothing = graph.constant(np.array([1])), graph.constant(np.float32(np.nan))
        for values, (low, high) in zip(entering, self._ranges, strict=True):
            rows = graph.add("Flatten", values, axis=1)
            least, most = (graph.add(kind, rows, axis) for kind in ("ReduceMin", "ReduceMax"))
            enough = graph.add("GreaterOrEqual", least, graph.constant(np.float32(low)))
            not_more = graph.add("LessOrEqual", most, graph.constant(np.float32(high)))
            points = graph.add("Where", graph.add("And", enough, not_more), points, nothing)
        return points

    def describe(self, images: np.ndarray) -> tuple[np.ndarray, None]:
        """Describe images one by one, as `.Features` do.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), floating point

        Returns
        -------
        points : ndarray, shape (n, d), float32
            NaN for a part with values beyond the range.
        patches : None
        """
        # Together, last digits of layers in floating point would depend on what stands beside a
        # part, and the next layer may round them to another whole number.
        parts = np.asarray(images, dtype=np.float32)
        found = [self._session.run([POINTS], {INPUT: part[None]})[0] for part in parts]
        return np.concatenate(found), None

    def seen(self, images: np.ndarray) -> np.ndarray:
        """Show images as the network sees them: as they are, since the front is part of it.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), floating point

        Returns
        -------
        ndarray, shape (n, c, h, w), floating point
        """
        return images

    def of_seen(self, images: np.ndarray) -> np.ndarray:
        """Describe what `seen` shows.

        Parameters
        ----------
        images : ndarray, shape (n, c, h, w), floating point

        Returns
        -------
        ndarray, shape (n, d), float32
        """
        return self.describe(images)[0]


def _constants(network):
    """Numbers that do not change, by name."""
    return {tensor.name: tensor for tensor in network.graph.initializer}


def _store_unsigned(network):
    """Keep weights as unsigned bytes, moved by 128, which changes no value.

    Processors without instructions for it (VNNI) add products of unsigned by signed bytes up in 16
    bits, which overflow. Of two unsigned bytes, all processors add them up in 32. Weights of 7 bits
    would not overflow either, but a whitening loses far more by that than a backbone.
    """
    from onnx import TensorProto, numpy_helper

    held = _constants(network)
    ends = {
        end
        for node in network.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in held
        for end in (node.input[0], node.input[2])
        if held[end].data_type == TensorProto.INT8
    }
    for end in ends:
        values = numpy_helper.to_array(held[end]).astype(np.int16) + MIDDLE
        held[end].CopyFrom(numpy_helper.from_array(values.astype(np.uint8), end))


def _open(network):
    """Let out what becomes whole numbers first; returns the range that these hold of each."""
    from onnx import numpy_helper
    from onnx.helper import make_empty_tensor_value_info

    held, ranges = _constants(network), {}
    behind: set[str] = set()
    for node in network.graph.node:  # each after those that it takes something from
        quantises = node.op_type == "QuantizeLinear"
        if quantises and node.input[0] not in behind:
            scale, zero = (numpy_helper.to_array(held[end]).item() for end in node.input[1:])
            last = np.iinfo(np.uint8).max
            ranges[node.input[0]] = (-zero * scale, (last - zero) * scale)
        if quantises or behind & set(node.input):
            behind |= set(node.output)
    if not ranges:
        raise ValueError("nothing to make whole numbers of: no layer multiplies by weights")
    network.graph.output.extend(make_empty_tensor_value_info(name) for name in ranges)
    return list(ranges.values())
