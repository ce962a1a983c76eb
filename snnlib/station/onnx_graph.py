"""An ONNX graph, written node by node, and run by ONNX Runtime.

PyTorch's exporter takes seconds for what takes milliseconds here, and fixes the size of images.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from snnlib.extras import extra

if TYPE_CHECKING:
    with extra("station"):
        import onnxruntime

__all__ = ["Graph"]

OPSET = 20


class Graph:
    """A graph that is being written."""

    def __init__(self) -> None:
        with extra("station"):
            import onnx

        self._onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: np.ndarray | np.generic | torch.Tensor) -> str:
        """Add numbers that do not change.

        Parameters
        ----------
        values : ndarray or Tensor
            Which; a tensor is kept in single precision.

        Returns
        -------
        str
            Their name, for `add`.
        """
        name = f"c{len(self._constants)}"
        if isinstance(values, torch.Tensor):
            values = values.detach().float().numpy()
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(values), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node.

        Parameters
        ----------
        kind : str
            Operator of ONNX, opset 20.
        *inputs : str
            Names of what goes in.
        output : str, optional
            Name of what comes out; one is made up if None.
        **attributes
            Of the operator.

        Returns
        -------
        str
            Name of what comes out.
        """
        output = output or f"x{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output

    def start(self, given: str, axes: str, made: dict[str, str]) -> "onnxruntime.InferenceSession":
        """Load the graph, to be run on as many threads as PyTorch has.

        Parameters
        ----------
        given : str
            Name of the input, single precision.
        axes : str
            A letter for each of its axes, such as "nchw"; axes of one letter are of one length.
        made : dict of str to str
            Names of the outputs, with their axes.

        Returns
        -------
        onnxruntime.InferenceSession
        """
        with extra("station"):
            import onnxruntime

        helper, float32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        ends = {given: axes} | made
        source, *results = (
            helper.make_tensor_value_info(name, float32, list(of_name))
            for name, of_name in ends.items()
        )
        graph = helper.make_graph(self._nodes, "snnlib", [source], results, self._constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin while they wait would take the cores from whoever works meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
