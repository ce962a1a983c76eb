"""A trained network on small hardware: one ONNX file, whole numbers, one processor core."""

import copy
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from snnlib.extras import extra
from snnlib.images import check_images

if TYPE_CHECKING:  # a network may be written where nothing runs it
    with extra("station"):
        import onnxruntime

__all__ = ["export_onnx", "on_int8_grid", "quantise", "run_onnx", "start_onnx"]

INPUT, OUTPUT = "parts", "embeddings"
WEIGHTED = ["MatMul", "Gemm", "Conv"]  # layers whose weights become whole numbers
OPSET = 20


def export_onnx(network: nn.Module, shape: tuple[int, ...], file: str | Path) -> None:
    """Write a network as one self-contained ONNX file, for batches of any size.

    Parameters
    ----------
    network : torch.nn.Module
        Maps (n, c, h, w) to (n, d). Left as it is; written in single precision.
    shape : tuple of int
        Channels, height and width of a part.
    file : path
        Where to; written whole or not at all.
    """
    with extra("station"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 (PyTorch writes through both)
    network = copy.deepcopy(network).cpu().float().eval()
    target = Path(file)
    with TemporaryDirectory(dir=target.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about its own future
        half_written = Path(folder) / target.name
        torch.onnx.export(
            network,
            (torch.zeros(2, *shape),),
            half_written,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            external_data=False,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        half_written.replace(target)


def quantise(file: str | Path, small: str | Path, parts: np.ndarray) -> None:
    """Turn weights and activations into 8-bit whole numbers, with ranges seen on training parts.

    Static quantisation by ONNX Runtime: each output of a layer has a scale of its own. Additions
    and comparisons stay in floating point.

    Parameters
    ----------
    file : path
        From `export_onnx`.
    small : path
        Where the smaller network goes.
    parts : ndarray, shape (n, c, h, w), float32
        Training parts, whose smallest and largest values at each layer set its range.

    Raises
    ------
    TypeError, ValueError
        If `parts` are no finite floating-point array of four dimensions, have another shape than
        the network takes, or there are none.
    FileNotFoundError
        If there is no such file.
    """
    with extra("station"):
        from onnxruntime.quantization import QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

    _check_parts(start_onnx(file), parts)
    with TemporaryDirectory(dir=Path(small).parent) as folder:
        prepared, half_written = Path(folder) / "prepared.onnx", Path(folder) / Path(small).name
        quant_pre_process(str(file), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(half_written),
            _Reader(parts),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=WEIGHTED,
        )
        half_written.replace(small)


class _Reader:
    """Parts one by one, as ONNX Runtime asks for them."""

    def __init__(self, parts):
        self.left = iter(np.asarray(parts, dtype=np.float32))

    def get_next(self):
        part = next(self.left, None)
        return None if part is None else {INPUT: part[None]}


def start_onnx(file: str | Path) -> "onnxruntime.InferenceSession":
    """Load a network for one processor core.

    Parameters
    ----------
    file : path
        From `export_onnx` or `quantise`.

    Returns
    -------
    onnxruntime.InferenceSession
        For `run_onnx`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    """
    with extra("station"):
        import onnxruntime

    if not Path(file).is_file():
        raise FileNotFoundError(f"no network in {file}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Without instructions for it (VNNI) a processor adds products of bytes up in 16 bits, which
    # overflow; this has it take wider ones. It makes whole numbers slower, with VNNI, too: so a
    # station keeps its weights as unsigned bytes, or in 7 bits, and does without.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def run_onnx(session: "onnxruntime.InferenceSession", parts: np.ndarray) -> np.ndarray:
    """Embed parts one at a time, as they come down a line.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        From `start_onnx`.
    parts : ndarray, shape (n, c, h, w), floating point
        At least one.

    Returns
    -------
    ndarray, shape (n, d), float32

    Raises
    ------
    TypeError, ValueError
        If `parts` are no finite floating-point array of four dimensions, have another shape than
        the network takes, or there are none.
    """
    _check_parts(session, parts)
    parts = np.asarray(parts, dtype=np.float32)
    return np.concatenate([session.run([OUTPUT], {INPUT: part[None]})[0] for part in parts])


def _check_parts(session, parts):
    check_images(parts)
    taken = tuple(session.get_inputs()[0].shape[1:])
    if not len(parts) or parts.shape[1:] != taken:
        raise ValueError(f"parts must have the shape (n ≥ 1, *{taken}), got {parts.shape}")


def on_int8_grid(matrix: ArrayLike) -> np.ndarray:
    """Round a matrix to what 8-bit whole numbers can hold, column by column.

    Each column becomes a whole number from -127 to 127 times a scale of its own, as `quantise` will
    have it. A fixed layer, such as a whitening, that is rounded before the layers behind it are
    trained costs nothing when it is quantised afterwards.

    Parameters
    ----------
    matrix : array_like, shape (d, k)
        Weights of a linear layer, by which rows are multiplied.

    Returns
    -------
    ndarray, shape (d, k), float32

    Raises
    ------
    ValueError
        If it is no matrix or a value is not finite.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(f"expected a finite matrix, got shape {matrix.shape}")
    largest = np.abs(matrix).max(axis=0)
    scale = np.where(largest > 0, largest, 1) / 127
    return (np.round(matrix / scale) * scale).astype(np.float32)
