import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from snnlib.augmentation import RandomAffine, TileShift
from snnlib.encoders import mlp


@pytest.fixture
def images():
    """Smooth blobs in wide images, black near the edges."""
    rng = np.random.default_rng(0)
    spots = np.zeros((6, 1, 20, 30), np.float32)
    spots[:, :, 6:14, 8:22] = rng.random((6, 1, 8, 14))
    return torch.from_numpy(ndimage.gaussian_filter(spots, (0, 0, 1, 1)))


def changed(layer, images, seed=0):
    """What a layer, or a part of one, makes of images; the global random state stays."""
    with torch.random.fork_rng():
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
    maps = changed(layer._maps, images, seed=3).double().numpy()
    half = np.array([30, 20]) / 2  # pixels a unit, across and down
    centre = (np.array([20, 30]) - 1) / 2
    for image, new, affine in zip(images[:, 0], changed(layer, images, seed=3)[:, 0], maps):
        in_pixels = affine[:, :2] * half[:, None] / half
        matrix = in_pixels[::-1, ::-1]  # scipy counts rows first
        offset = centre - matrix @ centre + (affine[:, 2] * half)[::-1]
        expected = ndimage.affine_transform(image.numpy(), matrix, offset, order=1)
        assert np.allclose(new.numpy(), expected, atol=1e-5)


def test_a_turn_keeps_shapes_in_wide_images(images):
    maps = changed(RandomAffine(degrees=40)._maps, images).double().numpy()
    half = np.array([30, 20]) / 2
    for affine in maps:
        turn = affine[:, :2] * half[:, None] / half
        assert np.allclose(turn @ turn.T, np.eye(2), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "amount", "bound"), [("shift", 4.0, 4.0), ("stretch", 0.3, 0.3), ("degrees", 40, 40)]
)
def test_amounts_stay_within_their_bounds_and_fill_them(name, amount, bound):
    images = torch.zeros(2000, 1, 20, 30)
    maps = changed(RandomAffine(**{name: amount})._maps, images)
    found = {
        "shift": torch.cat([maps[:, 0, 2] * 15, maps[:, 1, 2] * 10]),
        "stretch": torch.cat([maps[:, 0, 0], maps[:, 1, 1]]) - 1,
        "degrees": torch.rad2deg(torch.atan2(maps[:, 1, 0] * 20 / 30, maps[:, 0, 0])),
    }[name]
    assert found.abs().max() <= bound + 1e-4
    assert found.max() > 0.98 * bound
    assert found.min() < -0.98 * bound


def test_an_encoder_behind_it_learns(images):
    network = nn.Sequential(RandomAffine(degrees=10), mlp(600, 2, seed=0))
    changed(network, images).sum().backward()
    assert network[1][1].weight.grad.isfinite().all()


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


def faces(n=3):
    """Maps of 36 × 39 that are zero but for one tile of pin column 4, row 2."""
    maps = torch.zeros(n, 1, 36, 39)
    maps[:, 0, 12:24, 9:12] = torch.arange(36.0).reshape(12, 3) + 1
    return maps


def test_a_shifted_tile_is_the_same_mark_on_another_pin():
    layer, moved = TileShift((3, 13), [(1, 2)]), 0
    for seed in range(200):
        new = changed(layer, faces(), seed)
        if not torch.equal(new, faces()):
            moved += 1
            expected = torch.zeros(3, 1, 36, 39)
            expected[:, 0, 24:36, 15:18] = faces()[:, 0, 12:24, 9:12]
            assert torch.equal(new, expected)
    assert 70 < moved < 130  # every other batch, on average


def test_shifts_go_round_the_edges_and_all_of_them_are_drawn():
    layer = TileShift((3, 13), [(2, 11), (0, 1)])
    found = {tuple(torch.nonzero(changed(layer, faces(1), s))[0, 2:].tolist()) for s in range(60)}
    assert found == {(12, 9), (0, 3), (12, 12)}


def test_nothing_is_shifted_in_evaluation_or_without_shifts():
    for layer in (TileShift((3, 13), [(1, 1)]).eval(), TileShift((3, 13), [])):
        assert all(torch.equal(changed(layer, faces(), seed), faces()) for seed in range(20))


def test_bad_tiles_and_shifts():
    with pytest.raises(ValueError, match=r"at least one of each, got \(0, 13\)"):
        TileShift((0, 13), [])
    with pytest.raises(ValueError, match=r"rows and one of columns, got \(1, 2, 3\)"):
        TileShift((3, 13), [(1, 2), (1, 2, 3)])
    with pytest.raises(ValueError, match=r"\(36, 40\) can't be cut into \(3, 13\)"):
        changed(TileShift((3, 13), [(1, 1)]), torch.zeros(1, 1, 36, 40))
    assert "32 shifts" in repr(TileShift((3, 13), [(1, 1)] * 32))
