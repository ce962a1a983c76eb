import copy

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

from snnlib import encoders
from snnlib.encoders import (
    MirrorMean,
    Standardise,
    UnitLength,
    Whiten,
    cnn,
    mlp,
    place_of,
    tile_cnn,
)


def pixels(*shape):
    """Random images, the same in every test and in any order of the tests."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_layers_and_parameters_of_the_source():
    encoder = mlp(784, 128, 128, 32, seed=0)
    assert sum(p.numel() for p in encoder.parameters()) == 121_120
    assert [type(layer).__name__ for layer in encoder] == (
        ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    )
    assert encoder(torch.zeros(5, 1, 28, 28)).shape == (5, 32)


def test_the_seed_alone_decides_the_weights():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first, second, other = (mlp(4, 3, 2, seed=seed)[1].weight for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("widths", [(), (3,), (3, 0)])
def test_bad_widths(widths):
    with pytest.raises(ValueError, match="two positive integers, got"):
        mlp(*widths, seed=0)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_device_order(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert encoders.device.__wrapped__() == torch.device(chosen)


def test_the_device_is_chosen_once():
    assert encoders.device() is encoders.device()


def test_shapes_of_a_cnn_layer_by_layer():
    network = cnn((1, 28, 28), (16, 32, 64), 48, seed=0)
    images, shapes = torch.zeros(2, 1, 28, 28), []
    for layer in network:
        images = layer(images)
        shapes.append(tuple(images.shape[1:]))
    assert shapes[0] == (16, 28, 28)
    assert shapes[3:12:4] == [(16, 14, 14), (32, 7, 7), (64, 4, 4)]
    assert shapes[-1] == (48,)
    filters = 9 * (16 + 32 * 16 + 64 * 32)
    normalisation, linear = 2 * (16 + 32 + 64), (64 * 16 + 1) * 48
    assert sum(p.numel() for p in network.parameters()) == filters + normalisation + linear


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 36, 39), (2, 9, 8), (1, 1, 40)])
@pytest.mark.parametrize("widths", [(4,), (4, 8)])
@pytest.mark.parametrize("coarse", [False, True])
def test_a_cnn_fits_its_images(shape, widths, coarse):
    network = cnn(shape, widths, 6, coarse=coarse, seed=0)
    assert network(torch.zeros(2, *shape)).shape == (2, 6)


def test_a_coarse_cnn_halves_the_image_at_once():
    network = cnn((1, 28, 28), (24, 48, 96), 64, coarse=True, seed=0)
    assert network[0](torch.zeros(1, 1, 28, 28)).shape == (1, 24, 14, 14)
    assert network[0].weight.shape == (24, 1, 5, 5)
    assert isinstance(network[3], torch.nn.Conv2d)


@pytest.mark.parametrize("coarse", [False, True])
def test_no_pixel_is_out_of_sight(coarse):
    """And the last row and column of an odd size count as much as others.

    Pooling that rounds down would leave them a third of that.
    """
    network = cnn((1, 9, 13), (4, 8, 8), 8, coarse=coarse, seed=0).eval()
    # Behind a ReLU or a maximum a pixel of one image may well count for nothing.
    gradients = torch.autograd.functional.jacobian(network, pixels(8, 1, 9, 13))
    sight = gradients.abs().sum(dim=(0, 1, 2, 3))
    assert (sight > 0).all()
    for counted in (sight.sum(dim=0), sight.sum(dim=1)):
        assert counted[-1] > 0.6 * counted.median()


def test_the_seed_alone_decides_a_cnn():
    torch.manual_seed(5)
    first, other = cnn((1, 8, 8), (4, 4), 2, seed=1), cnn((1, 8, 8), (4, 4), 2, seed=2)
    state = torch.get_rng_state()
    second = cnn((1, 8, 8), (4, 4), 2, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters()))
    assert not torch.equal(first[0].weight, other[0].weight)


def test_channels_last_changes_no_value():
    images = pixels(4, 3, 12, 12)
    network = cnn((3, 12, 12), (4, 8), 5, seed=0).eval()
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    assert torch.allclose(network(images), plain(images), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "widths", "embedding", "message"),
    [
        ((1, 28, 28), (), 8, "must be positive"),
        ((1, 28, 28), (4, 0), 8, r"must be positive, got \(1, 28, 28\), \(4, 0\), 8"),
        ((1, 28, 28), (4,), 0, "must be positive"),
    ],
)
def test_bad_cnns(shape, widths, embedding, message):
    with pytest.raises(ValueError, match=message):
        cnn(shape, widths, embedding, seed=0)


def test_unit_length():
    Z = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-2.0, 0.0]], requires_grad=True)
    scaled = UnitLength()(Z)
    assert torch.allclose(scaled, torch.tensor([[0.6, 0.8], [0, 0], [-1, 0]]))
    scaled.sum().backward()
    assert Z.grad.abs().max() <= 1


def test_the_mean_with_the_mirror_image():
    images, encoder = pixels(5, 1, 4, 6), mlp(24, 3, seed=0)
    both = MirrorMean(encoder)
    assert torch.equal(both.train()(images), encoder(images))
    Z = both.eval()(images)
    assert torch.allclose(Z, both(images.flip(3)))
    assert torch.allclose(Z, torch.stack([encoder(images), encoder(images.flip(3))]).mean(dim=0))


def test_whiten():
    generator = torch.Generator().manual_seed(0)
    images, matrix = (
        torch.randn(5, 2, 2, 3, generator=generator),
        torch.randn(12, 12, generator=generator),
    )
    layer = Whiten(matrix.double().numpy())
    expected = [(image.ravel() @ matrix).reshape(2, 2, 3) for image in images]
    torch.testing.assert_close(layer(images), torch.stack(expected))
    assert not layer(torch.zeros(1, 2, 2, 3)).any()
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"matrix"}
    with pytest.raises(ValueError, match="expected 12 values an image, got 8"):
        layer(images[:, :, :, :2])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (torch.zeros(4, 3), r"matrix \(d, d\), got \(4, 3\)"),
        (torch.zeros(4), r"matrix \(d, d\), got \(4,\)"),
        (torch.full((2, 2), torch.nan), "must be finite"),
    ],
)
def test_bad_whitening(matrix, message):
    with pytest.raises(ValueError, match=message):
        Whiten(matrix)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (nn.Flatten(), torch.empty(0)),
        (nn.Linear(2, 2).double(), torch.empty(0, dtype=torch.float64)),
        (nn.Sequential(Whiten(np.eye(2)).half()), torch.empty(0, dtype=torch.float16)),
        (nn.Linear(2, 2, device="meta"), torch.empty(0, device="meta")),
    ],
)
def test_where_a_network_is(network, expected):
    place = place_of(network)
    assert (place.device, place.dtype) == (expected.device, expected.dtype)


TILED = {"width": 4, "hidden": 8, "embedding": 5, "seed": 0}


@pytest.mark.parametrize(
    ("shape", "tile", "grid"),
    [((1, 12, 9), (4, 3), (3, 3)), ((2, 6, 8), (3, 8), (2, 1)), ((1, 36, 39), (12, 3), (3, 13))],
)
def test_shapes_of_a_tile_cnn_layer_by_layer(shape, tile, grid):
    shapes, x = [], pixels(2, *shape)
    for layer in tile_cnn(shape, tile, **TILED):
        x = layer(x)
        shapes.append((type(layer).__name__, tuple(x.shape[1:])))
    assert shapes == [
        ("Conv2d", (4, *grid)),
        ("ReLU", (4, *grid)),
        ("Conv2d", (4, *grid)),
        ("ReLU", (4, *grid)),
        ("Flatten", (4 * grid[0] * grid[1],)),
        ("Linear", (8,)),
        ("ReLU", (8,)),
        ("Linear", (5,)),
    ]


def test_the_usual_tile_cnn_for_maps():
    network = tile_cnn((1, 36, 39), (12, 3), seed=0)
    assert network(torch.zeros(3, 1, 36, 39)).shape == (3, 128)
    convolutions = (36 + 1) * 32 + (9 * 32 + 1) * 32
    linear = (32 * 39 + 1) * 128 + (128 + 1) * 128
    assert sum(p.numel() for p in network.parameters()) == convolutions + linear
    assert network[2].weight.is_contiguous(memory_format=torch.channels_last)


def test_the_first_layer_sees_each_tile_by_itself():
    network = tile_cnn((2, 12, 9), (4, 3), **TILED)
    images = pixels(1, 2, 12, 9)
    before = network[0](images)
    for row, column in np.ndindex(3, 3):
        changed = images.clone()
        changed[:, :, 4 * row : 4 * row + 4, 3 * column : 3 * column + 3] += 1
        moved = (network[0](changed) - before).abs().amax(dim=(0, 1)) > 1e-4
        assert moved.nonzero().tolist() == [[row, column]]


def test_all_tiles_are_seen_with_the_same_eyes():
    network = tile_cnn((1, 12, 9), (4, 3), **TILED)
    tile = pixels(1, 1, 4, 3)
    seen = network[0](tile.tile(1, 1, 3, 3))
    torch.testing.assert_close(seen, seen[..., :1, :1].expand_as(seen))
    kernel, bias = network[0].weight, network[0].bias
    torch.testing.assert_close(seen[0, :, 0, 0], (kernel * tile).sum(dim=(1, 2, 3)) + bias)


def test_the_second_layer_compares_neighbours():
    network = tile_cnn((1, 20, 15), (4, 3), **TILED)
    images = pixels(8, 1, 20, 15).requires_grad_()  # a ReLU may hide a neighbour in one of them
    network[:3](images)[:, :, 2, 1].sum().backward()
    seen = images.grad.reshape(8, 5, 4, 5, 3).abs().sum(dim=(0, 2, 4)) > 1e-3
    assert seen.nonzero().tolist() == [[r, c] for r in (1, 2, 3) for c in (0, 1, 2)]


def test_no_value_is_out_of_sight_of_a_tile_cnn():
    network = tile_cnn((2, 12, 9), (4, 3), seed=0)
    gradients = torch.autograd.functional.jacobian(network, pixels(1, 2, 12, 9))
    assert (gradients.abs().sum(dim=(0, 1, 2)) > 0).all()


def test_the_seed_alone_decides_a_tile_cnn():
    state = torch.get_rng_state()
    first, same, other = (
        tile_cnn((1, 12, 9), (4, 3), **(TILED | {"seed": seed})) for seed in (0, 0, 1)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), same.parameters()))
    assert not any(torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (0, 12, 9)}, r"must be positive, got \(0, 12, 9\), \(4, 3\), 4, 8, 5"),
        ({"tile": (0, 3)}, r"must be positive, got \(1, 12, 9\), \(0, 3\), 4, 8, 5"),
        ({"tile": (4, -3)}, "must be positive"),
        ({"width": 0}, r"must be positive, .*, 0, 8, 5"),
        ({"hidden": 0}, r"must be positive, .*, 4, 0, 5"),
        ({"embedding": 0}, r"must be positive, .*, 4, 8, 0"),
        ({"tile": (5, 3)}, r"images of 12 × 9 can't be cut into tiles of \(5, 3\)"),
        ({"tile": (4, 2)}, r"images of 12 × 9 can't be cut into tiles of \(4, 2\)"),
        ({"tile": (24, 3)}, "can't be cut into tiles"),
    ],
)
def test_bad_tile_cnns(change, message):
    with pytest.raises(ValueError, match=message):
        tile_cnn(**({"shape": (1, 12, 9), "tile": (4, 3)} | TILED | change))


def test_standardise_equal_to_the_scaler_of_scikit_learn():
    images = np.random.default_rng(0).normal(3, np.arange(1, 13).reshape(2, 2, 3), (50, 2, 2, 3))
    scaler = StandardScaler().fit(images[:40].reshape(40, -1))
    layer = Standardise(scaler.mean_.reshape(2, 2, 3), scaler.scale_.reshape(2, 2, 3))
    scaled = layer(torch.tensor(images, dtype=torch.float32))
    expected = scaler.transform(images.reshape(50, -1)).reshape(images.shape)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)
    assert not list(layer.parameters())
    assert set(layer.state_dict()) == {"mean", "scale"}


@pytest.mark.parametrize(
    ("mean", "scale", "message"),
    [
        (np.zeros((1, 2, 3)), np.ones((1, 3, 2)), r"shape: \(1, 2, 3\) and \(1, 3, 2\)"),
        (np.zeros((1, 2, 3)), np.ones(1), r"shape: \(1, 2, 3\) and \(1,\)"),
        (np.array([0, np.nan]), np.ones(2), "must be finite, and scales above zero"),
        (np.array([0, -np.inf]), np.ones(2), "must be finite, and scales above zero"),
        (np.zeros(2), np.array([1, np.nan]), "must be finite, and scales above zero"),
        (np.zeros(2), np.array([1, np.inf]), "must be finite, and scales above zero"),
        (np.zeros(2), np.array([1.0, 0]), "must be finite, and scales above zero"),
        (np.zeros(2), np.array([1.0, -1]), "must be finite, and scales above zero"),
    ],
)
def test_bad_standardise(mean, scale, message):
    with pytest.raises(ValueError, match=message):
        Standardise(mean, scale)
