"""What a network sees in a photograph: by ONNX Runtime, by PyTorch, and by place."""

import sys

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import nn
from torch.nn import functional

from snnlib.backbones import Backbone, lite0, pretrained, small_cnn
from snnlib.embedding import embed
from snnlib.encoders import mlp
from snnlib.station.features import EmbeddingFeatures, MapFeatures, Pooled


def small():
    """With statistics of its own in each normalisation, as after training."""
    network = small_cnn(seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                values.data = 0.5 + torch.rand(values.shape, generator=generator)
    return network.eval()


BACKBONES = {"lite0": pretrained, "small": small}


@pytest.fixture(scope="module", params=BACKBONES)
def network(request):
    return BACKBONES[request.param]()


@pytest.fixture(scope="module")
def features(network):
    return MapFeatures(network)


def photographs(n, height, width, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, channels, height, width), dtype=np.float32)


def assert_near(found, expected, share=1e-4):
    """Whether values differ by less than a share of the largest."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < share * np.abs(expected).max()


def by_hand(network, images):
    """Points and patches, written out: pixel by pixel for the bilinear grid."""
    with torch.inference_mode():
        fine, coarse = (m.numpy() for m in network(torch.tensor(images)))
    both = (fine, coarse)
    points = [m.mean(axis=(2, 3)) for m in both]
    # Each place, and with its eight neighbours; beyond the edge there is nothing.
    around, coarse = (uniform_filter(m, size=(1, 1, 3, 3), mode="constant") for m in both)
    (rows, columns), (r, c) = fine.shape[2:], coarse.shape[2:]
    width = 2 * fine.shape[1]
    patches = np.empty((len(images), width + coarse.shape[1], rows, columns))
    patches[:, :width] = np.concatenate([fine, around], axis=1)
    for row, column in np.ndindex(rows, columns):
        # Middles of places lie over middles of places, and edges over edges.
        y = np.clip((row + 0.5) * r / rows - 0.5, 0, r - 1)
        x = np.clip((column + 0.5) * c / columns - 0.5, 0, c - 1)
        top, left = int(y), int(x)
        below, right = min(top + 1, r - 1), min(left + 1, c - 1)
        upper = coarse[..., top, left] * (1 - x + left) + coarse[..., top, right] * (x - left)
        lower = coarse[..., below, left] * (1 - x + left) + coarse[..., below, right] * (x - left)
        patches[:, width:, row, column] = upper * (1 - y + top) + lower * (y - top)
    return np.concatenate(points, axis=1), patches


@pytest.mark.parametrize(("n", "height", "width"), [(1, 64, 64), (3, 75, 101), (9, 48, 33)])
def test_onnx_runtime_sees_what_pytorch_sees(network, features, n, height, width):
    images = photographs(n, height, width)
    points, patches = features.describe(images)
    expected_points, expected_patches = by_hand(network, images)
    assert_near(points, expected_points)
    assert_near(patches, expected_patches)


def test_the_size_of_a_real_photograph(network, features):
    images = photographs(1, 224, 224)
    for found, expected in zip(features.describe(images), by_hand(network, images)):
        assert_near(found, expected)


def test_images_are_described_one_by_one_as_in_a_batch(features):
    images = photographs(11, 56, 40)
    points, patches = features.describe(images)
    for k, image in enumerate(images):
        one = features.describe(image[None])
        assert_near(one[0][0], points[k])
        assert_near(one[1][0], patches[k])


def test_no_more_than_eight_images_are_looked_at_at_a_time(features, monkeypatch):
    seen, run = [], features._run

    def noted(images, names):
        seen.append(len(images))
        return run(images, names)

    monkeypatch.setattr(features, "_run", noted)
    images = photographs(19, 16, 16)
    points, _ = features.describe(images)
    assert seen == [8, 8, 3]
    assert_near(features.of_seen(images), points, share=1e-6)  # without patches
    assert seen == [8, 8, 3] * 2


def test_grey_photographs_are_described_as_colour_without_colours(features):
    grey = photographs(2, 40, 48, channels=1)
    in_colour = features.describe(np.repeat(grey, 3, axis=1))
    for found, expected in zip(features.describe(grey), in_colour):
        assert_near(found, expected, share=1e-6)


def test_the_maps_are_those_of_trained_weights_and_not_of_training():
    """A network in training mode would normalise by the batch."""
    network = small().train()
    images = photographs(4, 40, 40)
    points, _ = MapFeatures(network).describe(images)
    assert network.training
    assert_near(points, by_hand(network.eval(), images)[0])


def test_pooled_are_means(network):
    images = photographs(2, 50, 70)
    with torch.inference_mode():
        found = Pooled(network)(torch.tensor(images)).numpy()
    assert_near(found, by_hand(network, images)[0])
    assert found.shape == (2, sum(network.channels))


def test_maxima_stand_behind_the_means(network, features):
    images = photographs(2, 50, 70)
    with torch.inference_mode():
        maps = [values.numpy() for values in network(torch.tensor(images))]
        found = Pooled(network, ("mean", "max"))(torch.tensor(images)).numpy()
    expected = [values.mean((2, 3)) for values in maps] + [values.max((2, 3)) for values in maps]
    assert_near(found, np.concatenate(expected, axis=1))
    both, patches = MapFeatures(network, pools=("mean", "max")).describe(images)
    assert_near(both, found)
    assert_near(patches, features.describe(images)[1])


@pytest.mark.parametrize("pools", [(), ("median",), ("mean", "sum")])
def test_pools_that_there_are_not(pools):
    with pytest.raises(ValueError, match=r"pools must be some of \['mean', 'max'\], got"):
        MapFeatures(small(), pools=pools)


def test_patches_are_of_the_two_finest_maps():
    images = photographs(2, 64, 96)
    deep, shallow = (MapFeatures(pretrained(strides=strides)) for strides in ((8, 16, 32), (8, 16)))
    points, patches = deep.describe(images)
    fewer, same = shallow.describe(images)
    assert points.shape == (2, 472)
    np.testing.assert_allclose(points[:, :152], fewer, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(patches, same, rtol=1e-5, atol=1e-5)


def test_pooled_learn_together_with_their_backbone():
    pooled = Pooled(small_cnn(seed=0))
    pooled(torch.tensor(photographs(2, 32, 32))).sum().backward()
    assert all(weight.grad is not None for weight in pooled.backbone.parameters())


def test_a_head_stands_behind_the_pooled_values(network, features):
    images = photographs(3, 40, 40)
    points, patches = features.describe(images)
    head = mlp(points.shape[1], 5, seed=0)
    headed = MapFeatures(network, head)
    with torch.inference_mode():
        expected = head(torch.tensor(points)).numpy()
    found, same = headed.describe(images)
    assert_near(found, expected, share=1e-5)
    np.testing.assert_allclose(same, patches, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(headed.of_seen(headed.seen(images)), found, rtol=1e-6)


def test_a_head_does_not_look_at_the_batch_nor_learn_from_it():
    head = nn.Sequential(nn.BatchNorm1d(192), nn.Dropout(0.5))
    features = MapFeatures(small(), head)
    assert head.training
    images = photographs(6, 32, 32)
    first, _ = features.describe(images)
    for k, image in enumerate(images):
        np.testing.assert_allclose(features.describe(image[None])[0][0], first[k], rtol=1e-4)
    assert head[0].num_batches_tracked == 0


def test_what_is_done_to_the_networks_later_changes_nothing():
    network, head = small(), mlp(192, 5, seed=0)
    features = MapFeatures(network, head)
    images = photographs(2, 40, 40)
    before = features.describe(images)
    for weight in [*network.parameters(), *head.parameters()]:
        weight.data.zero_()
    for found, expected in zip(features.describe(images), before):
        np.testing.assert_array_equal(found, expected)
    held = features.backbone.state_dict().values()
    assert any(values.any() for values in held)


def test_the_backbone_of_a_photograph_is_what_it_was():
    images = photographs(2, 40, 40)
    features = MapFeatures(small())
    assert features.seen(images) is images
    copied = images.copy()
    features.describe(images)
    np.testing.assert_array_equal(images, copied)


class Plain(Backbone):
    """A backbone of another kind, such as one of timm's."""

    def forward(self, images):
        return [functional.avg_pool2d(images, stride) for stride in (8, 16)]


def test_backbones_of_other_kinds_are_run_by_pytorch():
    network = Plain("plain", [], (0, 1), (3, 3))
    images = photographs(9, 32, 48)
    found = MapFeatures(network).describe(images)
    for values, expected in zip(found, by_hand(network, images)):
        assert_near(values, expected)


def test_a_layer_that_is_not_known_to_onnx():
    network = Backbone("odd", [nn.Sequential(nn.Tanh())], (0,), (3,))
    with pytest.raises(TypeError, match="no ONNX for a layer of the kind Tanh"):
        MapFeatures(network)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_runtime_is_named_with_its_extra(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"^{package} is missing, .* 'station' of snnlib"):
        MapFeatures(lite0(seed=0))


def test_as_many_threads_as_pytorch_has(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    session = MapFeatures(small())._session
    assert session.get_session_options().intra_op_num_threads == 3


def test_an_encoder_that_makes_points_of_images():
    encoder = mlp(12, 4, seed=0)
    images = photographs(5, 2, 2)
    features = EmbeddingFeatures(encoder)
    points, patches = features.describe(images)
    assert patches is None
    np.testing.assert_allclose(points, embed(encoder, images), rtol=1e-6)
    assert features.seen(images) is images
    np.testing.assert_array_equal(features.of_seen(images), points)


def test_a_front_before_an_encoder():
    front = nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.AvgPool2d(2))
    encoder = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 4))
    front(torch.tensor(photographs(9, 4, 4)))
    features = EmbeddingFeatures(encoder, front)
    assert front.training
    assert encoder.training
    images = photographs(5, 4, 4, seed=1)
    with torch.inference_mode():
        seen = front.eval()(torch.tensor(images))
        expected = encoder.eval()(seen).numpy()
    np.testing.assert_allclose(features.seen(images), seen.numpy(), rtol=1e-6)
    np.testing.assert_allclose(features.of_seen(seen.numpy()), expected, rtol=1e-5)
    points, _ = features.describe(images)
    np.testing.assert_allclose(points, expected, rtol=1e-5)
    encoder[2].weight.data.zero_()
    front[0].running_mean.fill_(9)
    np.testing.assert_array_equal(features.describe(images)[0], points)
