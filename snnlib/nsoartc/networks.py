"""Networks for maps: the published one, one that looks at pins, and what stands before them."""

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn

from snnlib.augmentation import TileShift
from snnlib.encoders import Standardise, UnitLength, Whiten, tile_cnn
from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import fit_scaler, free_shifts, scale
from snnlib.nsoartc.soart import COLUMNS, EYES, MAP_SHAPE, METRICS, ROWS
from snnlib.station.deployment import on_int8_grid
from snnlib.whitening import WithinClassWhitening

__all__ = ["PIN", "PINS", "blank_front", "fit_front", "map_cnn", "pin_cnn", "shift_pins"]

#: Rows and columns of pins on a map.
PINS = (ROWS, COLUMNS)
#: Rows and columns of values that a map has of each pin.
PIN = (len(METRICS), len(EYES))


def fit_front(train: ImageSet, *, whitened: bool = True, rounded: bool = False) -> nn.Module:
    """What is done to maps before a network, as fixed layers learned from training parts.

    Parameters
    ----------
    train : ImageSet
        Raw maps. Scales come from the good ones, the spread within classes from all.
    whitened : bool, default True
        Whether scaled maps are whitened within classes, too.
    rounded : bool, default False
        Whether the whitening is rounded to what 8-bit whole numbers hold
        (`snnlib.station.deployment.on_int8_grid`).

    Returns
    -------
    torch.nn.Module
        Maps (n, 1, 36, 39) to the same shape.

    Raises
    ------
    ValueError
        If no part is good, or no two parts of a class differ.
    """
    scaler = fit_scaler(train)
    shape = train.images.shape[1:]
    scaling = Standardise(scaler.mean_.reshape(shape), scaler.scale_.reshape(shape))
    if not whitened:
        return scaling
    rows = scale(scaler, train).images.reshape(len(train), -1)
    matrix = WithinClassWhitening().fit(rows, train.labels).matrix_
    return nn.Sequential(scaling, Whiten(on_int8_grid(matrix) if rounded else matrix))


def blank_front() -> nn.Module:
    """Layers of the kind that `fit_front` learns, to be filled from a file.

    Returns
    -------
    torch.nn.Module
        Maps (n, 1, 36, 39) to themselves.
    """
    ones = torch.ones(1, *MAP_SHAPE)
    return nn.Sequential(Standardise(0 * ones, ones), Whiten(torch.eye(ones.numel())))


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
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def shift_pins(modes: Iterable[str]) -> TileShift:
    """Layer that moves every other batch of maps, in training, by whole pins.

    Parameters
    ----------
    modes : iterable of str
        Known failure modes, none of which a move may make of another (`free_shifts`).

    Returns
    -------
    TileShift
    """
    return TileShift(PINS, free_shifts(modes))


def pin_cnn(modes: Iterable[str], *, seed: int) -> nn.Sequential:
    """Tile CNN that looks at each pin by itself; moved by whole pins in training.

    Parameters
    ----------
    modes : iterable of str
        Known failure modes.
    seed : int
        Seed of the initial weights.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, 1, 36, 39) to embeddings (n, 128) of length one.
    """
    return nn.Sequential(shift_pins(modes), tile_cnn((1, *MAP_SHAPE), PIN, seed=seed), UnitLength())
