"""Features that are learned from the parts, where those that came for nothing fall short.

Each way takes more photographs and more time than the one before: a head on frozen features, a
backbone that goes on learning, a small one that begins from nothing. `.Station.fit` calls them with
the parts that it learns from; the lot that is kept aside stays unseen.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from snnlib import losses
from snnlib.augmentation import RandomAffine
from snnlib.backbones import pretrained, small_cnn
from snnlib.encoders import UnitLength
from snnlib.sampling import draw_batches
from snnlib.station.features import POOLS, Features, MapFeatures, Pooled
from snnlib.station.looking import look_at, prepared_batches, sound
from snnlib.station.parts import Parts
from snnlib.station.preparation import Preparation
from snnlib.training import fit_one_cycle

__all__ = ["Learning", "blank_head", "fine_tuned", "from_scratch", "with_head"]

HEAD = (128, 64)  # values a photograph inside a head, and behind it
BATCH = 64  # photographs a step, nearly
STEPS = 8  # an epoch, at least, however few photographs there are
SHIFT = 0.03  # of a photograph in training, to either side, as a share of its width


class Learning(Protocol):
    """A way to get features from photographs."""

    def __call__(
        self, train: Parts, preparation: Preparation, *, seed: int, progress: bool
    ) -> Features:
        """Learn from photographs.

        Parameters
        ----------
        train : `~snnlib.station.parts.Parts`
            Photographs of at least two classes.
        preparation : Preparation
            Makes images of them.
        seed : int
            Seed of weights and batches.
        progress : bool
            Whether to show progress bars.

        Returns
        -------
        `.Features`
        """


def with_head(
    train: Parts, preparation: Preparation, *, seed: int, progress: bool = True, epochs: int = 30
) -> MapFeatures:
    """Train a head on features that stay as they are.

    Two linear layers on the pooled maps of a pretrained backbone, by the supervised contrastive
    loss (Khosla et al., 2020, equation 2). The photographs are looked at once.

    Parameters
    ----------
    train : `~snnlib.station.parts.Parts`
        Photographs of at least two classes.
    preparation : Preparation
        Makes images of them.
    seed : int
        Seed of weights and batches.
    progress : bool, default True
        Whether to show progress bars.
    epochs : int, default 30
        Times that as many photographs are drawn as there are.

    Returns
    -------
    MapFeatures

    Raises
    ------
    ValueError
        If there are fewer than two classes.
    """
    labels = _labels(train)
    frozen = MapFeatures(pretrained(), pools=tuple(POOLS))
    words = "looking" if progress else None
    looks = sound(look_at(train, preparation, frozen, progress=words), train)
    points = np.concatenate([look.points for look in looks])
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        head = _head(points.shape[1], *HEAD)
    _fit(head, _Drawn(points, labels, seed), epochs, rate=3e-3, seed=seed, progress=progress)
    return MapFeatures(frozen.backbone, head, frozen.pools)


def fine_tuned(
    train: Parts, preparation: Preparation, *, seed: int, progress: bool = True, epochs: int = 5
) -> MapFeatures:
    """Let a pretrained backbone go on learning from the parts.

    Parameters
    ----------
    train : `~snnlib.station.parts.Parts`
        Photographs of at least two classes.
    preparation : Preparation
        Makes images of them.
    seed : int
        Seed of weights and batches.
    progress : bool, default True
        Whether to show progress bars.
    epochs : int, default 5
        Times that as many photographs are drawn as there are.

    Returns
    -------
    MapFeatures

    Raises
    ------
    ValueError
        If there are fewer than two classes.
    """
    backbone = pretrained().train()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()  # few steps would spoil what it knows of millions of pictures
    settings = {"rate": 5e-4, "seed": seed, "progress": progress}
    return _trained(backbone, train, preparation, epochs, **settings)


def from_scratch(
    train: Parts, preparation: Preparation, *, seed: int, progress: bool = True, epochs: int = 20
) -> MapFeatures:
    """Train a small backbone from nothing, as far as two processor cores go.

    Parameters
    ----------
    train : `~snnlib.station.parts.Parts`
        Photographs of at least two classes.
    preparation : Preparation
        Makes images of them.
    seed : int
        Seed of weights and batches.
    progress : bool, default True
        Whether to show progress bars.
    epochs : int, default 20
        Times that as many photographs are drawn as there are.

    Returns
    -------
    MapFeatures

    Raises
    ------
    ValueError
        If there are fewer than two classes.
    """
    settings = {"rate": 3e-3, "seed": seed, "progress": progress}
    return _trained(small_cnn(seed=seed), train, preparation, epochs, **settings)


def _trained(backbone, train, preparation, epochs, *, rate, seed, progress):
    """A backbone after training by the supervised contrastive loss, behind a head that is then cut.

    Photographs lie on disk meanwhile, prepared, so that memory does not grow with their number.
    """
    labels = _labels(train)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        head = _head(sum(backbone.channels), *HEAD)
    encoder = nn.Sequential(_Moved(), Pooled(backbone), head)
    with TemporaryDirectory() as folder:
        words = "preparing" if progress else None
        pixels = _on_disk(train, preparation, Path(folder, "pixels.npy"), words)
        drawn = _Drawn(pixels, labels, seed)
        _fit(encoder, drawn, epochs, rate=rate, seed=seed, progress=progress)
    return MapFeatures(backbone)


def _fit(encoder, drawn, epochs, **settings):
    loss = partial(losses.supervised_contrastive, temperature=0.1)
    fit_one_cycle(encoder, drawn, loss, epochs=epochs, **settings)


def _labels(train):
    names, labels = np.unique(train.names, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"learning features takes at least two classes, got {names.tolist()}: those that come "
            "for nothing are for good parts only"
        )
    return labels.astype(np.int64)


def _head(inputs, inside, outputs):
    """Layers on pooled maps, whose values differ widely in scale."""
    layers = nn.Linear(inputs, inside), nn.ReLU(), nn.Linear(inside, outputs), UnitLength()
    return nn.Sequential(nn.BatchNorm1d(inputs, affine=False), *layers)


def blank_head(weights: Mapping[str, Tensor]) -> nn.Module:
    """Make a head that some weights fit.

    Parameters
    ----------
    weights : dict of str to Tensor
        Of a head by `with_head`.

    Returns
    -------
    torch.nn.Module
        With these weights, in evaluation mode.
    """
    first, second = weights["1.weight"], weights["3.weight"]
    head = _head(first.shape[1], first.shape[0], second.shape[0])
    head.load_state_dict(weights)
    return head.eval()


class _Moved(RandomAffine):
    """Shifts photographs in training; what moves in from outside is like the edge, not black."""

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        self.shift = SHIFT * images.shape[3]
        grid = functional.affine_grid(self._maps(images), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


class _Drawn:
    """Class-balanced batches of photographs, or of points, drawn anew for each epoch."""

    def __init__(self, values, labels, seed):
        self.values, self.labels, self.seed = values, labels, seed
        counts = np.bincount(labels)
        self.classes = min(len(counts), BATCH // 2)
        self.per_class = BATCH // self.classes
        self.batch_size = self.classes * self.per_class
        self.steps = max(STEPS, len(labels) // self.batch_size)
        self.set_epoch(0)

    def __len__(self):
        return self.steps * self.batch_size

    def set_epoch(self, epoch):
        seed = (self.seed, epoch)
        self.positions = draw_batches(
            self.labels, self.steps, self.classes, self.per_class, seed=seed
        ).ravel()

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = self.positions[indices]
        values = torch.from_numpy(self.values[chosen].astype(np.float32))
        return values[None], torch.from_numpy(self.labels[chosen])


def _on_disk(parts, preparation, file, words):
    """Prepared photographs in a file that is read from as it is needed."""
    values = None
    for batch in sound(prepared_batches(parts, preparation, progress=words), parts):
        if values is None:
            shape = (len(parts), *batch.images.shape[1:])
            values = np.lib.format.open_memmap(file, "w+", dtype=np.float16, shape=shape)
        values[batch.positions] = batch.images
    return values
