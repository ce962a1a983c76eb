"""A graph does what its nodes say."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from snnlib.station.onnx_graph import Graph

X, Y = {"x": ("f", "nd")}, {"y": ("f", "ne")}


def test_a_graph_of_two_nodes_equals_numpy():
    rng = np.random.default_rng(0)
    weights, x = rng.normal(size=(4, 3)).astype("f"), rng.normal(size=(5, 4)).astype("f")
    graph = Graph()
    product = graph.add("MatMul", "x", graph.constant(weights))
    graph.add("Relu", product, output="y")
    for rows in (1, 5):  # the letter n stands for any length
        (y,) = graph.start(X, Y).run(["y"], {"x": x[:rows]})
        np.testing.assert_allclose(y, np.maximum(x[:rows] @ weights, 0), rtol=1e-5)


def test_weights_of_pytorch_are_taken_in_single_precision():
    layer = nn.Linear(3, 2, bias=False).double()
    graph = Graph()
    graph.add("Gemm", "x", graph.constant(layer.weight), transB=1, output="y")
    x = torch.rand(4, 3)
    (y,) = graph.start(X, Y).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, layer.float()(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_node_that_onnx_does_not_know_is_refused():
    graph = Graph()
    graph.add("Guess", "x", output="y")
    with pytest.raises(Exception, match="Guess"):
        graph.start(X, Y)


def test_a_graph_is_written_into_another():
    inner = Graph()
    inner.add("Mul", "x", inner.constant(np.float32(3)), output="y")
    outer = Graph()
    twice = outer.add("Add", "x", "x")
    for _ in range(2):  # names of the two copies must not clash
        (twice,) = outer.include(inner.model(X, Y), twice)
    outer.add("Identity", twice, output="y")
    (y,) = outer.start(X, Y).run(None, {"x": np.ones((2, 2), dtype="f")})
    assert (y == 18).all()


def test_a_model_tells_what_it_was_given_and_knows_words():
    graph = Graph()
    words = graph.constant(np.array(["良品", "バリ"]))
    graph.add("Gather", words, "x", output="y")
    given, made = {"x": (np.int64, "n")}, {"y": (str, "n")}
    model = graph.model(given, made, {"who": "誰"})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (said,) = session.run(None, {"x": np.array([1, 0, 1])})
    assert said.tolist() == ["バリ", "良品", "バリ"]
    assert session.get_modelmeta().custom_metadata_map == {"who": "誰"}
    assert session.get_inputs()[0].type == "tensor(int64)"
