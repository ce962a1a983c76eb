"""A backbone in 8-bit whole numbers."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from snnlib.extras import extra

if TYPE_CHECKING:
    with extra("station"):
        import onnx

__all__ = ["quantised_maps"]

# What becomes whole numbers: what bends and adds, too, since a range that is taken before values
# are cut at 0 and 6 would be spent on what is cut off.
KINDS = ["Conv", "Clip", "Add"]
IN_FLOAT = 6  # one in so many convolutions, the first ones, stays in floating point


def quantised_maps(
    model: "onnx.ModelProto", images: Iterable[np.ndarray], name: str
) -> "onnx.ModelProto":
    """Turn a backbone into 8-bit whole numbers, with the ranges that some photographs give it.

    What bends and adds goes with the convolutions. The first sixth of these stays in floating
    point: whatever they lose, all others miss. Weights take 7 of the 8 bits, so that no processor
    overflows where it adds products up in 16 bits, and none has to be told to take wider ones.

    Parameters
    ----------
    model : onnx.ModelProto
        Draws maps of photographs.
    images : iterable of ndarray, each of shape (1, c, h, w), float32
        Some photographs that it was made for, in [0, 1].
    name : str
        Of its input.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ValueError
        If a photograph is not finite or not in [0, 1], or there is none.
    """
    with extra("station"):
        import onnx
        from onnxruntime.quantization import QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

    with TemporaryDirectory() as folder:
        large, prepared, small = (Path(folder, f"{name}.onnx") for name in ("large", "p", "small"))
        onnx.save(model, large)
        quant_pre_process(str(large), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(small),
            _Reader(_in_range(images, name)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=KINDS,
            nodes_to_exclude=_first_ones(onnx.load(prepared)),
            reduce_range=True,
        )
        return onnx.load(small)


def _first_ones(model):
    """Names of the first convolutions, and of all that is among them."""
    nodes = model.graph.node
    convolutions = [k for k, node in enumerate(nodes) if node.op_type == "Conv"]
    return [node.name for node in nodes[: convolutions[len(convolutions) // IN_FLOAT]]]


def _in_range(images, name):
    """Photographs as ONNX Runtime takes them: ranges on another scale would ruin the network."""
    count = 0
    for count, image in enumerate(images, start=1):
        if not (image.min() >= 0 and image.max() <= 1):
            raise ValueError(
                f"photographs must be in [0, 1], got {image.min():.4g} … {image.max():.4g} in "
                f"photograph {count - 1}"
            )
        yield {name: image}
    if not count:
        raise ValueError("there is no photograph to take ranges from")


class _Reader:
    """Photographs one by one, as ONNX Runtime asks for them."""

    def __init__(self, values):
        self.left = iter(values)

    def get_next(self):
        return next(self.left, None)
