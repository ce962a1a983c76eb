import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from torch import nn

from snnlib.embedding import embed, through
from snnlib.encoders import tile_cnn
from snnlib.nsoartc.dataset import fit_scaler, free_shifts, scale, simulate
from snnlib.nsoartc.networks import (
    PIN,
    PINS,
    blank_front,
    fit_front,
    map_cnn,
    pin_cnn,
    shift_pins,
)
from snnlib.nsoartc.soart import MAP_SHAPE
from snnlib.station.deployment import on_int8_grid
from snnlib.whitening import WithinClassWhitening

MODES = ("OK", "31D05", "92X10")


@pytest.fixture(scope="module")
def maps():
    return simulate(20, MODES, part_seed=1, shot_seed=1)


@pytest.fixture(scope="module")
def pipeline(maps):
    """Scaler and whitening as scikit-learn has them."""
    scaler = fit_scaler(maps)
    rows = scale(scaler, maps).images.reshape(len(maps), -1)
    return scaler, WithinClassWhitening().fit(rows, maps.labels)


def test_a_pin_is_a_tile_of_a_map():
    assert (PINS[0] * PIN[0], PINS[1] * PIN[1]) == MAP_SHAPE == (36, 39)


def test_a_front_does_what_scaler_and_whitening_do(maps, pipeline):
    scaler, whitening = pipeline
    only_scaled = fit_front(maps, whitened=False)(torch.tensor(maps.images))
    np.testing.assert_allclose(only_scaled, scale(scaler, maps).images, atol=1e-3)
    white = through(fit_front(maps), maps)
    np.testing.assert_allclose(
        white.images, scale(make_pipeline(scaler, whitening), maps).images, atol=2e-2
    )
    assert white.class_names == maps.class_names
    assert np.array_equal(white.labels, maps.labels)


def test_a_rounded_front_has_a_matrix_of_whole_numbers(maps, pipeline):
    rounded, fitted = fit_front(maps, rounded=True)[1].matrix, fit_front(maps)[1].matrix
    np.testing.assert_array_equal(rounded, on_int8_grid(pipeline[1].matrix_))
    assert not torch.equal(rounded, fitted)
    torch.testing.assert_close(rounded, fitted, atol=fitted.abs().max().item() / 100, rtol=0)


def test_a_blank_front_changes_nothing_and_takes_what_another_learned(maps):
    images = torch.tensor(maps.images[:3])
    blank, front = blank_front(), fit_front(maps)
    assert torch.equal(blank(images), images)
    blank.load_state_dict(front.state_dict())
    assert torch.equal(blank(images), front(images))


def test_the_network_of_pins_is_the_tile_cnn_behind_a_shift(maps):
    network = pin_cnn(MODES, seed=3)
    Z = embed(network, maps.images)
    bare = nn.functional.normalize(
        torch.tensor(embed(tile_cnn((1, 36, 39), PIN, seed=3), maps.images))
    )
    np.testing.assert_allclose(Z, bare, atol=1e-6)


def test_pins_are_shifted_by_the_free_shifts():
    layer = shift_pins(MODES)
    moved = set()
    one = torch.zeros(1, 1, *MAP_SHAPE)
    one[0, 0, 0, 0] = 1
    torch.manual_seed(0)
    for _ in range(400):
        row, column = np.unravel_index(layer.train()(one).argmax().item(), MAP_SHAPE)
        moved.add((row // PIN[0], column // PIN[1]))
    assert moved <= {(0, 0), *free_shifts(MODES)}
    assert len(moved) > 10


def pixels(*shape):
    """Random images, the same in every test and in any order of the tests."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_the_network_for_maps_as_published():
    encoder = map_cnn(keep_edge=False, final_relu=True, dropout=0.25, seed=0).eval()
    shapes, x = [], 2 * pixels(2, 1, 36, 39) - 1
    for layer in encoder:
        x = layer(x)
        shapes.append((type(layer).__name__, tuple(x.shape[1:])))
    assert shapes == [
        ("Conv2d", (64, 36, 39)),
        ("ReLU", (64, 36, 39)),
        ("MaxPool2d", (64, 18, 19)),
        ("Dropout2d", (64, 18, 19)),
        ("Conv2d", (64, 18, 19)),
        ("ReLU", (64, 18, 19)),
        ("MaxPool2d", (64, 9, 9)),
        ("Conv2d", (64, 9, 9)),
        ("ReLU", (64, 9, 9)),
        ("Flatten", (5184,)),
        ("Linear", (256,)),
        ("ReLU", (256,)),
        ("Linear", (128,)),
        ("ReLU", (128,)),
    ]
    assert (x >= 0).all()


def reach_of_columns(encoder):
    """Sum of the absolute gradients of all outputs with regard to each column of an even map."""
    maps = torch.ones(1, 1, 36, 39, requires_grad=True)
    for parameter in encoder.parameters():
        parameter.data.fill_(1e-2)  # nothing cancels, so paths are counted
    encoder(maps).sum().backward()
    return maps.grad.abs().sum(dim=(0, 1, 2))


def test_the_mended_network_sees_the_last_column():
    published = reach_of_columns(map_cnn(keep_edge=False, final_relu=True, seed=0).eval())
    mended = map_cnn(seed=0).eval()
    assert type(mended[-1]).__name__ == "Linear"
    assert not any("Dropout" in type(layer).__name__ for layer in mended)
    assert mended(torch.zeros(3, 1, 36, 39)).shape == (3, 128)
    assert (reach_of_columns(mended)[36:].sum() > 3 * published[36:].sum()).item()


def test_the_seed_decides_a_network_for_maps():
    state = torch.random.get_rng_state()
    one, same, other = (map_cnn(seed=seed)[0].weight for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), state)
