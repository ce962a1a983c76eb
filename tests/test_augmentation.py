import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from snnlib.augmentation import RandomAffine


@pytest.fixture
def images():
    """Smooth blobs in wide images, black near the edges."""
    rng = np.random.default_rng(0)
    spots = np.zeros((6, 1, 20, 30), np.float32)
    spots[:, :, 6:14, 8:22] = rng.random((6, 1, 8, 14))
    return torch.from_numpy(ndimage.gaussian_filter(spots, (0, 0, 1, 1)))


def changed(layer, images, seed=0):
    torch.manual_seed(seed)
    return layer(images)


def test_nothing_changes_in_evaluation(images):
    layer = RandomAffine(degrees=30, stretch=0.2, shift=3, mirror=True).eval()
    assert layer(images) is images


def test_nothing_changes_by_no_amount(images):
    assert torch.allclose(changed(RandomAffine(), images), images, atol=1e-6)


def test_each_image_is_changed_by_itself_and_the_seed_decides(images):
    layer = RandomAffine(degrees=30, stretch=0.2, shift=3)
    same = images[:1].expand(6, 1, 20, 30)
    new = changed(layer, same)
    assert len({image.sum().item() for image in new}) == 6
    assert torch.equal(new, changed(layer, same))
    assert not torch.equal(new, changed(layer, same, seed=1))
    assert new.shape == same.shape


def test_mirrored_images_are_mirrored(images):
    many = images[:1].expand(400, 1, 20, 30)
    new = changed(RandomAffine(mirror=True), many)
    as_it_is = (new - many).abs().amax(dim=(1, 2, 3)) < 1e-5
    mirrored = (new - many.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert (as_it_is ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


@pytest.mark.parametrize("amounts", [{"degrees": 40}, {"stretch": 0.3}, {"shift": 4}])
def test_equal_to_scipy(images, amounts):
    """The same maps, in pixels from the centre, drawn by another library."""
    layer = RandomAffine(**amounts)
    torch.manual_seed(3)
    maps = layer._maps(images).double().numpy()
    half = np.array([30, 20]) / 2  # pixels a unit, across and down
    centre = (np.array([20, 30]) - 1) / 2
    for image, new, affine in zip(images[:, 0], changed(layer, images, seed=3)[:, 0], maps):
        in_pixels = affine[:, :2] * half[:, None] / half
        matrix = in_pixels[::-1, ::-1]  # scipy counts rows first
        offset = centre - matrix @ centre + (affine[:, 2] * half)[::-1]
        expected = ndimage.affine_transform(image.numpy(), matrix, offset, order=1)
        assert np.allclose(new.numpy(), expected, atol=1e-5)


def test_a_turn_keeps_shapes_in_wide_images(images):
    maps = RandomAffine(degrees=40)._maps(images).double().numpy()
    half = np.array([30, 20]) / 2
    for affine in maps:
        turn = affine[:, :2] * half[:, None] / half
        assert np.allclose(turn @ turn.T, np.eye(2), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "amount", "bound"), [("shift", 4.0, 4.0), ("stretch", 0.3, 0.3), ("degrees", 40, 40)]
)
def test_amounts_stay_within_their_bounds_and_fill_them(name, amount, bound):
    images = torch.zeros(2000, 1, 20, 30)
    torch.manual_seed(0)
    maps = RandomAffine(**{name: amount})._maps(images)
    found = {
        "shift": torch.cat([maps[:, 0, 2] * 15, maps[:, 1, 2] * 10]),
        "stretch": torch.cat([maps[:, 0, 0], maps[:, 1, 1]]) - 1,
        "degrees": torch.rad2deg(torch.atan2(maps[:, 1, 0] * 20 / 30, maps[:, 0, 0])),
    }[name]
    assert found.abs().max() <= bound + 1e-4
    assert found.max() > 0.98 * bound
    assert found.min() < -0.98 * bound


def test_an_encoder_behind_it_learns(images):
    network = nn.Sequential(RandomAffine(degrees=10), nn.Flatten(), nn.Linear(600, 2))
    network(images).sum().backward()
    assert network[2].weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("amounts", "message"),
    [
        ({"degrees": -1}, "degrees must be finite and at least 0, got -1"),
        ({"shift": float("nan")}, "shift must be finite and at least 0, got nan"),
        ({"stretch": 1.0}, "stretch must be below 1, got 1.0"),
    ],
)
def test_bad_amounts(amounts, message):
    with pytest.raises(ValueError, match=message):
        RandomAffine(**amounts)


def test_it_says_what_it_does():
    text = "RandomAffine(degrees=10, stretch=0.1, shift=2, mirror=False)"
    assert repr(RandomAffine(10, 0.1, 2)) == text
