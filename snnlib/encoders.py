"""Encoders: networks that turn images (n, c, h, w) into embeddings (n, d)."""

from collections.abc import Sequence
from functools import cache, partial
from itertools import pairwise

import torch
from numpy.typing import ArrayLike
from torch import nn

__all__ = [
    "Affine",
    "MirrorMean",
    "Standardise",
    "UnitLength",
    "cnn",
    "device",
    "map_cnn",
    "mlp",
    "tile_cnn",
]


@cache
def device() -> torch.device:
    """Choose, once a process, where networks run: CUDA, then Apple's MPS, then the CPU.

    Returns
    -------
    torch.device
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def mlp(*widths: int, seed: int) -> nn.Sequential:
    """Multilayer perceptron with ReLU between its layers and none at its end.

    Without a ReLU at the end the embedding may use the whole space, not just its positive corner.

    Parameters
    ----------
    *widths : int
        Number of values of an image (c · h · w), of each hidden layer, and of the embedding.
    seed : int
        Seed of the initial weights. The global random state is left as it was.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, c, h, w) to (n, widths[-1]).

    Raises
    ------
    ValueError
        If fewer than two widths are given, or one is not positive.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths must be at least two positive integers, got {widths}")
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(
    shape: tuple[int, ...],
    widths: Sequence[int],
    embedding: int,
    *,
    coarse: bool = False,
    seed: int,
) -> nn.Sequential:
    """Small convolutional network that two processor cores can train.

    For each width a 3 × 3 convolution, batch normalisation (Ioffe and Szegedy, 2015), ReLU, and a
    2 × 2 maximum that halves height and width, rounding up: rounding down would drop the last row
    or column of an odd number, and a defect there with it. Then one linear layer.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    widths : sequence of int
        Channels after each convolution, at least one.
    embedding : int
        Values of an embedding.
    coarse : bool, default False
        Whether the first stage is a 5 × 5 convolution that halves the image by its stride of 2.
        Cheaper, since most of the work lies in large images; enough where details are coarse.
    seed : int
        Seed of the initial weights. The global random state is left as it was.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, c, h, w) to (n, embedding). Weights lie in memory channels last, which halves the
        time of a step on a processor.

    Raises
    ------
    ValueError
        If a number is not positive, or there is no width.
    """
    if not len(widths) or min(*shape, *widths, embedding) < 1:
        raise ValueError(
            f"shape, widths and embedding must be positive, got {shape}, {widths}, {embedding}"
        )
    channels, *size = shape
    height, width = (-(-length // 2 ** len(widths)) for length in size)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers = []
        for stage, (inputs, outputs) in enumerate(pairwise([channels, *widths])):
            layers += _coarse(inputs, outputs) if coarse and not stage else _fine(inputs, outputs)
        layers += [nn.Flatten(), nn.Linear(widths[-1] * height * width, embedding)]
    return _channels_last(layers)


def map_cnn(
    *, keep_edge: bool = True, final_relu: bool = False, dropout: float = 0.0, seed: int
) -> nn.Sequential:
    """Convolutional network for NSOARTC maps, as published in QEUR23_SMNRT44 or mended.

    Three 3 × 3 convolutions of 64 channels with ReLU, a 2 × 2 maximum after each of the first two,
    then linear layers of 256 and 128. The network as published drops a quarter of the channels
    after the first maximum; it rounds 39 columns down to 19 and 9, which all but loses the last pin
    column; and it ends with a ReLU, which leaves its embeddings one corner of their space.

    Parameters
    ----------
    keep_edge : bool, default True
        Whether the maxima round up, to 20 and 10 columns; False for the published network.
    final_relu : bool, default False
        Whether a ReLU comes last; True for the published network.
    dropout : float, default 0.0
        Share of channels dropped in training after the first maximum; 0.25 for the published one.
    seed : int
        Seed of the initial weights. The global random state is left as it was.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, 1, 36, 39) to (n, 128). Weights lie in memory channels last.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        pool = partial(nn.MaxPool2d, 2, ceil_mode=keep_edge)
        conv = partial(nn.Conv2d, out_channels=64, kernel_size=3, padding=1)
        layers = [conv(1), nn.ReLU(), pool(), *([nn.Dropout2d(dropout)] if dropout else [])]
        layers += [conv(64), nn.ReLU(), pool(), conv(64), nn.ReLU(), nn.Flatten()]
        layers += [nn.Linear(64 * 9 * (10 if keep_edge else 9), 256), nn.ReLU()]
        layers += [nn.Linear(256, 128), *([nn.ReLU()] if final_relu else [])]
    return _channels_last(layers)


# The normalisation that follows a convolution has a bias of its own.


def _fine(inputs, outputs):
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]


def _coarse(inputs, outputs):
    convolution = nn.Conv2d(inputs, outputs, 5, stride=2, padding=2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def tile_cnn(
    shape: tuple[int, ...],
    tile: tuple[int, int],
    *,
    width: int = 32,
    hidden: int = 128,
    embedding: int = 128,
    seed: int,
) -> nn.Sequential:
    """Convolutional network that first looks at each tile by itself, with the same eyes.

    Its first convolution has the size of a tile and its stride, so that no value is mixed with that
    of another tile; a 3 × 3 convolution then compares neighbouring tiles, and two linear layers
    follow. Far less work than 3 × 3 convolutions on every value, and no pooling that loses an edge.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    tile : (int, int)
        Height and width of a tile; (12, 3) for a pin of an NSOARTC map.
    width : int, default 32
        Channels of both convolutions.
    hidden, embedding : int, default 128
        Values of the linear layer in between, and of an embedding.
    seed : int
        Seed of the initial weights. The global random state is left as it was.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, c, h, w) to (n, embedding). Weights lie in memory channels last.

    Raises
    ------
    ValueError
        If a number is not positive, or an image can't be cut into tiles.
    """
    channels, high, wide = shape
    if min(*shape, *tile, width, hidden, embedding) < 1:
        raise ValueError(
            f"shape, tile and widths must be positive, got {shape}, {tile}, {width}, {hidden}, "
            f"{embedding}"
        )
    if high % tile[0] or wide % tile[1]:
        raise ValueError(f"images of {high} × {wide} can't be cut into tiles of {tile}")
    tiles = (high // tile[0]) * (wide // tile[1])
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(channels, width, tile, stride=tile), nn.ReLU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Flatten()]
        layers += [nn.Linear(width * tiles, hidden), nn.ReLU(), nn.Linear(hidden, embedding)]
    return _channels_last(layers)


def _channels_last(layers):
    network = nn.Sequential(*layers)
    # PyTorch's own hints do not know the argument.
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Affine(nn.Module):
    """Fixed layer (x - mean) M on flattened images: a fitted scaler or whitening, as a layer.

    Parameters
    ----------
    mean : ndarray, shape (d,)
        What becomes zero, where d is the number of values c · h · w of an image.
    matrix : ndarray, shape (d, d)
        M, by which rows are multiplied.

    Raises
    ------
    ValueError
        If shapes do not match or a value is not finite.
    """

    mean: torch.Tensor
    matrix: torch.Tensor

    def __init__(self, mean: ArrayLike, matrix: ArrayLike) -> None:
        super().__init__()
        mean, matrix = (torch.as_tensor(a, dtype=torch.float32) for a in (mean, matrix))
        if mean.ndim != 1 or matrix.shape != (len(mean), len(mean)):
            raise ValueError(
                f"expected mean (d,) and matrix (d, d), got {(*mean.shape,)}, {(*matrix.shape,)}"
            )
        if not (mean.isfinite().all() and matrix.isfinite().all()):
            raise ValueError("mean and matrix must be finite")
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Transform a batch of images.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w), floating point

        Returns
        -------
        Tensor, shape (n, c, h, w)
        """
        rows = (images.flatten(1) - self.mean) @ self.matrix
        return rows.reshape(images.shape)


class Standardise(nn.Module):
    """Fixed layer (x - mean) / scale, value by value: a fitted scaler as a layer.

    Parameters
    ----------
    mean : ndarray, shape (c, h, w)
        What becomes zero.
    scale : ndarray, shape (c, h, w)
        What becomes one, all above zero.

    Raises
    ------
    ValueError
        If shapes differ, a value is not finite, or a scale is not above zero.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, mean: ArrayLike, scale: ArrayLike) -> None:
        super().__init__()
        mean, scale = (torch.as_tensor(a, dtype=torch.float32) for a in (mean, scale))
        if mean.shape != scale.shape:
            raise ValueError(
                f"mean and scale differ in shape: {(*mean.shape,)} and {(*scale.shape,)}"
            )
        if not (mean.isfinite().all() and scale.isfinite().all() and (scale > 0).all()):
            raise ValueError("mean and scale must be finite, and scales above zero")
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Standardise a batch of images.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w), floating point

        Returns
        -------
        Tensor, shape (n, c, h, w)
        """
        return (images - self.mean) / self.scale


class UnitLength(nn.Module):
    """Last layer that scales each embedding to length one, so that only its direction counts."""

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Scale each row.

        Parameters
        ----------
        embeddings : Tensor, shape (n, d), floating point

        Returns
        -------
        Tensor, shape (n, d)
            A row of zeros stays one.
        """
        norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
        # Divided by 1, a row of zeros stays what it is, and its gradient stays modest.
        return embeddings / norms.masked_fill(norms == 0, 1)


class MirrorMean(nn.Module):
    """Embeds an image as the mean of itself and its mirror image, where the two mean the same.

    In training, where `snnlib.augmentation.RandomAffine` may mirror images already, the encoder
    alone; in evaluation each image passes through it twice.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps (n, c, h, w) to (n, d).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embed a batch of images.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w), floating point

        Returns
        -------
        Tensor, shape (n, d)
        """
        if self.training:
            return self.encoder(images)
        return (self.encoder(images) + self.encoder(images.flip(3))) / 2
