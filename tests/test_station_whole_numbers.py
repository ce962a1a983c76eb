"""A backbone in whole numbers comes near the one that it was."""

import numpy as np
import onnxruntime
import pytest

from snnlib.backbones import small_cnn
from snnlib.station.features import MapFeatures
from snnlib.station.onnx_graph import Graph
from snnlib.station.whole_numbers import quantised_maps


def test_ranges_of_photographs_on_another_scale_are_refused():
    features = MapFeatures(small_cnn(seed=0))
    photographs = np.random.default_rng(0).random((3, 1, 3, 32, 32), dtype=np.float32)
    features.in_int8(photographs)
    for wrong, words in [
        (255 * photographs, r"must be in \[0, 1\], got .* … 25\d.* in photograph 0"),
        (photographs - 0.5, r"photograph 0"),
        (np.where(np.arange(3).reshape(3, 1, 1, 1, 1) == 1, np.nan, photographs), "photograph 1"),
        ([], "no photograph"),
    ]:
        with pytest.raises(ValueError, match=words):
            features.in_int8(wrong)


def test_whole_numbers_come_near_the_maps():
    features = MapFeatures(small_cnn(seed=0))
    photographs = np.random.default_rng(0).random((8, 3, 64, 64), dtype=np.float32)
    small = features.in_int8(photographs[:, None])
    assert (features.whole_numbers, small.whole_numbers) == (False, True)
    described = [*zip(features.describe(photographs), small.describe(photographs))]
    graph, x, y = Graph(), {"x": ("f", "nchw")}, {"y": ("f", "nd")}
    graph.add("Identity", features.write_in(graph, "x", places=False)[0], output="y")
    model = quantised_maps(graph.model(x, y), photographs[:, None], "x")
    (points,) = onnxruntime.InferenceSession(model.SerializeToString()).run(
        None, {"x": photographs}
    )
    for one, other in [*described, (described[0][0], points)]:
        assert one.shape == other.shape
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98
        assert not np.array_equal(one, other)
