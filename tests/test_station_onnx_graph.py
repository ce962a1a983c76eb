"""A graph does what its nodes say."""

import numpy as np
import pytest
import torch
from torch import nn

from snnlib.station.onnx_graph import Graph


def test_a_graph_of_two_nodes_equals_numpy():
    rng = np.random.default_rng(0)
    weights, x = rng.normal(size=(4, 3)).astype("f"), rng.normal(size=(5, 4)).astype("f")
    graph = Graph()
    product = graph.add("MatMul", "x", graph.constant(weights))
    graph.add("Relu", product, output="y")
    for rows in (1, 5):  # the letter n stands for any length
        (y,) = graph.start("x", "nd", {"y": "ne"}).run(["y"], {"x": x[:rows]})
        np.testing.assert_allclose(y, np.maximum(x[:rows] @ weights, 0), rtol=1e-5)


def test_weights_of_pytorch_are_taken_in_single_precision():
    layer = nn.Linear(3, 2, bias=False).double()
    graph = Graph()
    graph.add("Gemm", "x", graph.constant(layer.weight), transB=1, output="y")
    x = torch.rand(4, 3)
    (y,) = graph.start("x", "nd", {"y": "ne"}).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, layer.float()(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_node_that_onnx_does_not_know_is_refused():
    graph = Graph()
    graph.add("Guess", "x", output="y")
    with pytest.raises(Exception, match="Guess"):
        graph.start("x", "nd", {"y": "nd"})
