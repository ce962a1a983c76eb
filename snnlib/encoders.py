"""Encoders: networks that turn images (n, c, h, w) into embeddings (n, d)."""

import itertools
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import torch
from numpy.typing import ArrayLike
from torch import nn

__all__ = [
    "MirrorMean",
    "Standardise",
    "UnitLength",
    "Whiten",
    "cnn",
    "device",
    "mlp",
    "place_of",
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


def place_of(network: nn.Module) -> torch.Tensor:
    """Where a network computes, and in what precision: one of its weights or buffers.

    Parameters
    ----------
    network : torch.nn.Module
        Any.

    Returns
    -------
    Tensor
        Its first floating-point one; one of single precision on the CPU if there is none.
    """
    weights = itertools.chain(network.parameters(), network.buffers(), [torch.empty(0)])
    return next(tensor for tensor in weights if tensor.is_floating_point())


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
        Faster, since large images take long to move through memory; enough where details are
        coarse.
    seed : int
        Seed of the initial weights. The global random state is left as it was.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, c, h, w) to (n, embedding). Weights lie in memory channels last, which many
        processors convolve faster.

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
        Height and width of a tile.
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


class Whiten(nn.Module):
    """Fixed layer x M on flattened images: a fitted whitening as a layer. Zero stays zero.

    Parameters
    ----------
    matrix : ndarray, shape (d, d)
        M, by which rows are multiplied; d is the number of values c · h · w of an image.

    Raises
    ------
    ValueError
        If it is not square or a value is not finite.
    """

    matrix: torch.Tensor

    def __init__(self, matrix: ArrayLike) -> None:
        super().__init__()
        matrix = torch.as_tensor(matrix, dtype=torch.float32)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"expected a matrix (d, d), got {(*matrix.shape,)}")
        if not matrix.isfinite().all():
            raise ValueError("the matrix must be finite")
        self.register_buffer("matrix", matrix)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Transform a batch of images.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w), floating point

        Returns
        -------
        Tensor, shape (n, c, h, w)

        Raises
        ------
        ValueError
            If images have another number of values.
        """
        rows = images.flatten(1)
        if rows.shape[1] != len(self.matrix):
            raise ValueError(f"expected {len(self.matrix)} values an image, got {rows.shape[1]}")
        return (rows @ self.matrix).reshape(images.shape)


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

        Raises
        ------
        ValueError
            If images have another shape.
        """
        if images.shape[1:] != self.mean.shape:
            raise ValueError(f"expected images {(*self.mean.shape,)}, got {(*images.shape[1:],)}")
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
