"""An ONNX graph, written node by node, and run by ONNX Runtime.

PyTorch's exporter takes seconds for what takes milliseconds here, and fixes the size of images.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from snnlib.extras import extra

if TYPE_CHECKING:
    with extra("station"):
        import onnx
        import onnxruntime

__all__ = ["End", "Graph"]

OPSET, IR = 20, 10

#: What a graph takes or gives, by the kind of its values, and a name or a length for each axis.
#: Axes of one name are of one length.
End = tuple[Any, Iterable[str | int]]


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
            Numbers, or words; a tensor is kept in single precision.

        Returns
        -------
        str
            Their name, for `add`.
        """
        name = f"c{len(self._constants)}"
        if isinstance(values, torch.Tensor):
            values = values.detach().float().numpy()
        self._constants.append(self._onnx.numpy_helper.from_array(_array(values), name))
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
        node = self._onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)
        self._nodes.append(node)
        return output

    def include(self, model: "onnx.ModelProto", given: str) -> list[str]:
        """Write all nodes of another graph into this one.

        Parameters
        ----------
        model : onnx.ModelProto
            With one input, of opset 20.
        given : str
            Name of what goes in here.

        Returns
        -------
        list of str
            Names of what comes out.
        """
        graph = model.graph
        prefix = f"m{len(self._nodes)}/"
        own = {graph.input[0].name: given, "": ""}

        def renamed(name):
            return own.get(name, prefix + name)

        for tensor in graph.initializer:
            copied = type(tensor)()
            copied.CopyFrom(tensor)
            copied.name = renamed(tensor.name)
            self._constants.append(copied)
        for node in graph.node:
            copied = type(node)()
            copied.CopyFrom(node)
            copied.name = prefix + node.name
            for ends in (copied.input, copied.output):
                ends[:] = [renamed(name) for name in ends]
            self._nodes.append(copied)
        return [renamed(end.name) for end in graph.output]

    def model(
        self,
        given: Mapping[str, End],
        made: Mapping[str, End],
        metadata: Mapping[str, str] | None = None,
    ) -> "onnx.ModelProto":
        """Make a model of what was written.

        Parameters
        ----------
        given, made : dict of str to (kind, axes)
            What goes in and what comes out, by name: kinds are dtypes of NumPy, or ``str``; axes a
            name or a length each, such as "nchw" or ("n", 3, 224, 224).
        metadata : dict of str to str, optional
            What is told with it.

        Returns
        -------
        onnx.ModelProto
        """
        helper = self._onnx.helper
        inputs, outputs = (
            [
                helper.make_tensor_value_info(name, self._kind(kind), list(axes))
                for name, (kind, axes) in ends.items()
            ]
            for ends in (given, made)
        )
        graph = helper.make_graph(self._nodes, "snnlib", inputs, outputs, self._constants)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR)
        helper.set_model_props(model, dict(metadata or {}))
        return model

    def _kind(self, kind):
        if kind is str:
            return self._onnx.TensorProto.STRING
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))

    def start(
        self, given: Mapping[str, End], made: Mapping[str, End]
    ) -> "onnxruntime.InferenceSession":
        """Load the graph, to be run on as many threads as PyTorch has.

        Parameters
        ----------
        given, made
            As for `model`.

        Returns
        -------
        onnxruntime.InferenceSession
        """
        with extra("station"):
            import onnxruntime

        model = self.model(given, made)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that spin while they wait would take the cores from whoever works meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _array(values):
    """As ONNX takes it: words are objects there."""
    values = np.asarray(values)
    return values.astype(object) if values.dtype.kind == "U" else values
