"""Networks as ONNX files: the same embeddings, in whole numbers, on one processor core."""

import copy

import numpy as np
import onnx
import onnxruntime.quantization
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import numpy_helper
from torch import nn

from snnlib.embedding import embed
from snnlib.encoders import Standardise, UnitLength, Whiten, tile_cnn
from snnlib.station.deployment import export_onnx, on_int8_grid, quantise, run_onnx, start_onnx

SHAPE = (1, 12, 9)
PARTS = np.random.default_rng(0).normal(size=(40, *SHAPE)).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def linear(inputs, outputs):
    """A linear layer with the same weights in any order of the tests."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Linear(inputs, outputs)


@pytest.fixture(scope="module")
def network():
    """A scaler, a small network wide enough that its weights fill the file, and dropout."""
    scaler = Standardise(np.full(SHAPE, 0.1), np.full(SHAPE, 1.3))
    encoder = tile_cnn(SHAPE, (4, 3), width=16, hidden=128, embedding=16, seed=0)
    return nn.Sequential(scaler, encoder, UnitLength(), nn.Dropout(0.5)).eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    """The file alone in its folder, exported from a network that was in training."""
    file = tmp_path_factory.mktemp("exported") / "network.onnx"
    network.train()
    export_onnx(network, SHAPE, file)
    assert network.training
    network.eval()
    return file


@pytest.fixture(scope="module")
def small(exported, tmp_path_factory):
    file = tmp_path_factory.mktemp("small") / "small.onnx"
    quantise(exported, file, PARTS)
    return file


def weights_of(file):
    return {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}


def modes_of(network):
    return [module.training for module in network.modules()]


def cosines(first, second):
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / lengths


def test_one_file_holds_everything(exported, small):
    for file in (exported, small):
        assert list(file.parent.iterdir()) == [file]
        stored = onnx.load(file, load_external_data=False)
        onnx.checker.check_model(stored, full_check=True)
        places = {tensor.data_location for tensor in stored.graph.initializer}
        assert places == {onnx.TensorProto.DEFAULT}


def test_the_file_works_in_another_place(exported, tmp_path, network):
    moved = tmp_path / "moved.onnx"
    moved.write_bytes(exported.read_bytes())
    np.testing.assert_allclose(run_onnx(start_onnx(moved), PARTS), embed(network, PARTS), atol=1e-5)


def test_same_embeddings_as_pytorch(exported, network):
    """Dropout is off, though the network was in training when it was exported."""
    Z = run_onnx(start_onnx(exported), PARTS)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, embed(network, PARTS), atol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_batches_of_any_size(exported, small, network, n):
    for file in (exported, small):
        session = start_onnx(file)
        assert [i.name for i in session.get_inputs()] == ["parts"]
        (Z,) = session.run(["embeddings"], {"parts": PARTS[:n]})
        np.testing.assert_allclose(Z, run_onnx(session, PARTS[:n]), atol=1e-5)
    (Z,) = start_onnx(exported).run(["embeddings"], {"parts": PARTS[:n]})
    np.testing.assert_allclose(Z, embed(network, PARTS[:n]), atol=1e-5)


def test_parts_are_embedded_one_at_a_time(exported):
    class Counting:
        def __init__(self):
            self.session, self.sizes = start_onnx(exported), []

        def get_inputs(self):
            return self.session.get_inputs()

        def run(self, outputs, inputs):
            self.sizes += [len(inputs["parts"])]
            return self.session.run(outputs, inputs)

    session = Counting()
    assert run_onnx(session, PARTS[:5]).shape == (5, 16)
    assert session.sizes == [1] * 5


def test_double_precision_is_taken_as_single(exported):
    session = start_onnx(exported)
    doubles = PARTS[:3].astype(np.float64)
    assert np.array_equal(run_onnx(session, doubles), run_onnx(session, PARTS[:3]))


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_network_stays_even_after_a_failure(
    network, tmp_path, monkeypatch, training
):
    modes = []

    def fail(module, *arguments, **settings):
        modes.extend(modes_of(module))
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.onnx, "export", fail)
    network = copy.deepcopy(network).train(training)  # the others share the original
    network[2].train(not training)
    before = modes_of(network)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(network, SHAPE, tmp_path / "network.onnx")
    assert modes_of(network) == before
    assert modes == [False] * len(before)


def test_a_frozen_layer_stays_frozen(tmp_path):
    network = nn.Sequential(nn.Flatten(), linear(108, 2), nn.Dropout()).train()
    network[1].requires_grad_(False)
    network[2].eval()
    export_onnx(network, SHAPE, tmp_path / "network.onnx")
    assert modes_of(network) == [True, True, True, False]
    assert not any(weights.requires_grad for weights in network.parameters())


def test_a_network_in_double_precision_is_written_in_single(tmp_path):
    scaler = Standardise(np.full(SHAPE, 0.1), np.full(SHAPE, 1.3))
    network = nn.Sequential(scaler, nn.Flatten(), linear(108, 2)).double()
    export_onnx(network, SHAPE, tmp_path / "network.onnx")
    kinds = {tensor.data_type for tensor in weights_of(tmp_path / "network.onnx").values()}
    assert onnx.TensorProto.DOUBLE not in kinds
    Z = run_onnx(start_onnx(tmp_path / "network.onnx"), PARTS)
    assert Z.dtype == np.float32
    expected = network(torch.tensor(PARTS, dtype=torch.float64)).detach()
    assert expected.dtype == torch.float64  # as it was
    np.testing.assert_allclose(Z, expected, atol=1e-5)


def test_quantised_is_smaller_and_close(exported, small, network):
    assert small.stat().st_size < exported.stat().st_size / 2
    new = np.random.default_rng(1).normal(size=(50, *SHAPE)).astype(np.float32)
    Z = run_onnx(start_onnx(small), new)
    assert Z.dtype == np.float32
    assert cosines(Z, embed(network, new)).min() > 0.999
    assert not np.array_equal(Z, run_onnx(start_onnx(exported), new))


def test_every_layer_has_whole_numbers(small):
    """Two convolutions and two linear layers; a scale for each output of each."""
    tensors = [numpy_helper.to_array(tensor) for tensor in weights_of(small).values()]
    whole = [values for values in tensors if values.dtype == np.int8 and values.ndim > 1]
    assert sorted(values.shape for values in whole) == (
        [(16, 1, 4, 3), (16, 16, 3, 3), (16, 128), (128, 144)]
    )
    assert max(v.size for v in tensors if v.dtype == np.float32) < 144 * 16
    for values in whole:  # each output uses the range to its end
        largest = np.abs(values.astype(int)).max(axis=tuple(range(1, values.ndim)))
        assert (largest >= 127).all()


def test_ranges_are_those_of_all_parts(exported, tmp_path):
    """256 steps from the smallest to the largest value, at the input of the first convolution."""
    parts = PARTS.astype(np.float64)
    parts[20, 0, 5, 5], parts[-1, 0, 11, 8] = -7, 9
    quantise(exported, tmp_path / "small.onnx", parts)
    graph, weights = onnx.load(tmp_path / "small.onnx").graph, weights_of(tmp_path / "small.onnx")
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    scale, zero = (numpy_helper.to_array(weights[name]) for name in first.input[1:])
    assert scale == pytest.approx((9 - -7) / 1.3 / 255, rel=1e-5)
    assert zero.dtype == np.uint8
    assert -int(zero) * float(scale) == pytest.approx((-7 - 0.1) / 1.3, abs=float(scale))


def test_one_processor_core(exported):
    session = start_onnx(exported)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert session.get_providers() == ["CPUExecutionProvider"]


def dequantised(file):
    """Weights of 8 bits times their scales, as the file has them, and scales per channel."""
    stored, weights = onnx.load(file).graph, weights_of(file)
    for node in stored.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            values, scale = (numpy_helper.to_array(weights[name]) for name in node.input[:2])
            if values.dtype == np.int8 and values.ndim == 2:
                axis = next(a.i for a in node.attribute if a.name == "axis")
                yield values.astype(np.float64) * np.expand_dims(scale, 1 - axis)


@pytest.mark.parametrize("kind", ["Linear", "Whiten"])
def test_weights_on_the_grid_lose_nothing(tmp_path, kind, rng):
    matrix = rng.normal(size=(108, 108)) * 10.0 ** rng.uniform(-3, 3, 108)
    matrix[:, 7] = 0
    grid = on_int8_grid(matrix)
    layer = linear(108, 108)
    layer.weight.data = torch.tensor(grid.T.copy())
    first = (nn.Flatten(), layer) if kind == "Linear" else (Whiten(grid),)
    export_onnx(nn.Sequential(*first, nn.Flatten(), linear(108, 2)), SHAPE, tmp_path / "a.onnx")
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", PARTS)
    tensors = [weights for weights in dequantised(tmp_path / "b.onnx") if weights.size == 108**2]
    (weights,) = tensors
    weights = weights.T if kind == "Linear" else weights
    np.testing.assert_allclose(weights, grid, rtol=1e-6, atol=1e-30)
    assert np.abs(weights - matrix).max() > 0.01  # which the grid itself has lost before


MATRICES = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-1e6, 1e6)
).map(lambda matrix: np.where(np.abs(matrix) < 1e-6, 0, matrix))


@given(MATRICES)
def test_the_grid_is_near_and_of_whole_numbers(matrix):
    grid = on_int8_grid(matrix)
    assert grid.dtype == np.float32
    assert grid.shape == matrix.shape
    for column, rounded in zip(matrix.T, grid.T.astype(np.float64)):
        step = max(abs(column)) / 127
        assert (abs(rounded - column) <= step / 2 * (1 + 1e-4)).all()
        if step:
            np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-4)
            assert max(abs(rounded)) == pytest.approx(127 * step)
        else:
            assert not rounded.any()


@given(MATRICES)
def test_on_the_grid_nothing_moves(matrix):
    grid = on_int8_grid(matrix)
    np.testing.assert_allclose(on_int8_grid(grid), grid, rtol=1e-6)


def test_whole_numbers_up_to_127_stay(rng):
    matrix = rng.integers(-127, 128, (30, 4)) * [1, 0, 0.5, 1024]
    matrix[3] = np.array([127, 0, -63.5, 127 * 1024])
    before = matrix.copy()
    assert np.array_equal(on_int8_grid(matrix), matrix)
    assert np.array_equal(matrix, before)
    assert np.array_equal(on_int8_grid(matrix.tolist()), matrix)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones(3), r"expected a finite matrix, got shape \(3,\)"),
        (np.ones((2, 3, 4)), r"expected a finite matrix, got shape \(2, 3, 4\)"),
        ([[1, np.nan]], r"expected a finite matrix, got shape \(1, 2\)"),
        ([[1], [-np.inf]], r"expected a finite matrix, got shape \(2, 1\)"),
    ],
)
def test_no_grid(matrix, message):
    with pytest.raises(ValueError, match=message):
        on_int8_grid(matrix)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_export_that_fails_leaves_the_older_file(network, tmp_path, monkeypatch, error):
    file = tmp_path / "network.onnx"
    file.write_bytes(b"older")

    def fail(module, arguments, path, **settings):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(error):
        export_onnx(network, SHAPE, file)
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_takes_the_place_of_an_older_file(network, tmp_path, monkeypatch):
    file = tmp_path / "network.onnx"
    file.write_bytes(b"older")
    monkeypatch.setattr(torch.onnx, "export", lambda m, a, path, **s: path.write_bytes(b"newer"))
    export_onnx(network, SHAPE, str(file))
    assert file.read_bytes() == b"newer"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_quantising_that_fails_leaves_the_older_file(exported, tmp_path, monkeypatch, error):
    file, before = tmp_path / "small.onnx", exported.read_bytes()
    file.write_bytes(b"older")

    def fail(prepared, path, *arguments, **settings):
        with open(path, "wb") as half_written:
            half_written.write(b"half")
        raise error

    monkeypatch.setattr(onnxruntime.quantization, "quantize_static", fail)
    with pytest.raises(error):
        quantise(exported, file, PARTS)
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]
    assert exported.read_bytes() == before
    assert list(exported.parent.iterdir()) == [exported]


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (PARTS[:0], ValueError, r"shape \(n ≥ 1, \*\(1, 12, 9\)\), got \(0, 1, 12, 9\)"),
        (PARTS[..., :8], ValueError, r"shape \(n ≥ 1, \*\(1, 12, 9\)\), got \(40, 1, 12, 8\)"),
        (PARTS[:, :, :8], ValueError, r"shape .*\*\(1, 12, 9\)\), got \(40, 1, 8, 9\)"),
        (PARTS.repeat(3, 1), ValueError, r"shape .*\*\(1, 12, 9\)\), got \(40, 3, 12, 9\)"),
        (PARTS[:, 0], ValueError, r"4 dimensions .*\(40, 12, 9\)"),
        (np.full((1, *SHAPE), np.inf), ValueError, "inf in image 0"),
        (PARTS * np.where(PARTS[3, 0, 2, 1] == PARTS, np.nan, 1), ValueError, "nan in image 3"),
        (PARTS.astype(np.int64), TypeError, "floating-point NumPy array, got int64"),
        (PARTS.tolist(), TypeError, "floating-point NumPy array, got list"),
    ],
    ids=["none", "narrow", "low", "channels", "flat", "inf", "nan", "int", "list"],
)
def test_bad_parts(exported, tmp_path, parts, error, message):
    with pytest.raises(error, match=message):
        run_onnx(start_onnx(exported), parts)
    with pytest.raises(error, match=message):
        quantise(exported, tmp_path / "small.onnx", parts)
    assert not list(tmp_path.iterdir())


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no network in .*none\.onnx"):
        start_onnx(tmp_path / "none.onnx")
    with pytest.raises(FileNotFoundError, match=r"no network in"):
        start_onnx(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no network in .*none\.onnx"):
        quantise(tmp_path / "none.onnx", tmp_path / "small.onnx", PARTS)
    assert not list(tmp_path.iterdir())
