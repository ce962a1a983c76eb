"""A trained encoder on the line: from a part to a verdict. This room knows nothing of training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn

from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import Affine
from snnlib.images import ImageSet, check_images
from snnlib.limits import quantile_limit
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.soart import COLUMNS, IMAGE_SHAPE, MAP_SHAPE, ROWS, Soart
from snnlib.weights import check_weights, read_weights, write_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "UNKNOWN",
    "Station",
    "Verdict",
    "inspect_part",
    "judge",
    "load_station",
    "save_station",
    "set_up",
]

#: Verdict on a part that is like the good ones, but not enough.
UNKNOWN = "unknown"
PINS = (ROWS, COLUMNS)


@dataclass(frozen=True, eq=False)
class Station:
    """All that it takes to judge a part; made by `set_up` or `load_station`.

    Attributes
    ----------
    encoder : torch.nn.Module
        Maps what `front` puts out to embeddings (n, d).
    front : `.Affine` or None
        What is done to parts before; None if nothing.
    anchors : `.AnchorClassifier`
        One anchor a class; the classes are names.
    good : str
        Name of the class of good parts.
    limit : float
        Largest distance to the good anchor at which a part passes; in units of the embedding.
    centre : ndarray, shape (c, h, w), float32
        Mean good training part as the encoder sees it: the middle of the unit space.
    tiles : (int, int)
        Rows and columns of tiles in which evidence is looked for.
    camera : `.Soart` or None
        Turns the three images of a part into its map; None if parts come as they are.

    Raises
    ------
    ValueError
        If the limit is no distance, or the good class has no anchor.
    """

    encoder: nn.Module
    front: Affine | None
    anchors: AnchorClassifier
    good: str
    limit: float
    centre: np.ndarray
    tiles: tuple[int, int]
    camera: Soart | None

    def __post_init__(self) -> None:
        if not self.limit >= 0:  # a NaN would pass any part
            raise ValueError(f"limit must be a distance of at least 0, got {self.limit}")
        if self.good not in self.anchors.classes_:
            raise ValueError(
                f"the good class {self.good!r} has no anchor, only "
                f"{self.anchors.classes_.tolist()} have one"
            )

    def __repr__(self) -> str:
        count, (rows, columns) = len(self.anchors.classes_), self.tiles
        options = [name for name in ("front", "camera") if getattr(self, name) is not None]
        return (
            f"Station({count} class{'es' * (count != 1)}, {self.good!r} up to {self.limit:.3g}, "
            f"{', '.join([f'{rows} × {columns} tiles', *options])})"
        )


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is said of one part.

    Attributes
    ----------
    name : str
        Name of the nearest anchor; `UNKNOWN` if that is the good one and it is too far away.
    passes : bool
        Whether the part is good.
    nearest, second : str
        Names of the nearest and of the second nearest anchor; the latter is empty if there is one.
    distance, second_distance : float
        Distances to them, in units of the embedding; the latter is NaN if there is one.
    drops : ndarray, shape (rows, columns)
        By how much the distance to the good anchor falls if a tile is replaced by that of the mean
        good part.
    tile : (int, int) or None
        Column and row, counted from 1, of the tile with the largest drop: it speaks most against
        the part. None for a part that passes.
    seen : ndarray, shape (c, h, w)
        The part as the encoder sees it.
    """

    name: str
    passes: bool
    nearest: str
    second: str
    distance: float
    second_distance: float
    drops: np.ndarray
    tile: tuple[int, int] | None
    seen: np.ndarray

    def __repr__(self) -> str:
        where = "" if self.tile is None else f"; tile {self.tile}"
        return f"Verdict({'; '.join(self._words())}{where})"

    def _words(self):
        """What was decided, and what it rests on."""
        near = f"{self.nearest} {self.distance:.2f}"
        if self.second:
            near += f", {self.second} {self.second_distance:.2f}"
        return f"{'PASS' if self.passes else 'STOP'}: {self.name}", near

    def draw(self, ax: "Axes | None" = None, vmax: float | None = None) -> "Axes":
        """Draw the picture for the operator: the part, its verdict, and the tile that speaks most.

        Parameters
        ----------
        ax : Axes, optional
            Where to draw; the current one if None.
        vmax : float, optional
            Values run from blue at -vmax over white to red at vmax; grey or in colour if None.

        Returns
        -------
        Axes
        """
        from snnlib import plots  # Matplotlib is not needed to judge

        words = "\n".join(self._words())
        return plots.operator(self.seen, words, self.passes, self.drops.shape, self.tile, ax, vmax)


def set_up(
    encoder: nn.Module,
    train: ImageSet,
    calibration: ImageSet,
    *,
    front: Affine | None = None,
    camera: Soart | None = None,
    tiles: tuple[int, int] = PINS,
    good: str = OK,
    false_alarms: float = 0.005,
) -> Station:
    """Place the anchors and the limit.

    A part passes if the good anchor is its nearest and no farther than the limit. The limit is the
    distance that all but a share of the good calibration parts keep.

    Parameters
    ----------
    encoder : torch.nn.Module
        Trained on what `front` puts out.
    train : ImageSet
        Training parts as they come, before `front`: they give the anchors.
    calibration : ImageSet
        Parts that were not trained on; only the good ones are looked at.
    front : Affine, optional
        What is done to parts before the encoder sees them.
    camera : Soart, optional
        If parts may also come as three images.
    tiles : (int, int), default (3, 13)
        Rows and columns of tiles; those of the pins of a connector.
    good : str, default "OK"
        Name of the class of good parts.
    false_alarms : float, default 0.005
        Share of good calibration parts that may lie beyond the limit: as many as their number
        allows, never more, and none if they are too few.

    Returns
    -------
    Station

    Raises
    ------
    ValueError
        If a set has no good part, the share is out of range, images do not match each other, the
        front or the camera, or do not fall into tiles, or embeddings are not finite.
    """
    _check_shape(train.images.shape[1:], tiles, front, camera)
    if calibration.images.shape[1:] != train.images.shape[1:]:
        raise ValueError(
            f"calibration parts must be of shape {train.images.shape[1:]} as the training parts, "
            f"got {calibration.images.shape[1:]}"
        )
    trained = _good_parts(train, good, "training")
    kept = _good_parts(calibration, good, "calibration")
    if front is not None:
        front.to(next(encoder.parameters()).device)
    network = _network(front, encoder)
    anchors = AnchorClassifier().fit(embed(network, train.images), train.names)
    to_good = anchors.distances(embed(network, kept))[:, _index(anchors, good)]
    limit = quantile_limit(to_good, false_alarms)
    centre = _seen(front, trained).mean(axis=0, dtype=np.float64).astype(np.float32)
    return Station(encoder, front, anchors, good, limit, centre, (tiles[0], tiles[1]), camera)


def _good_parts(parts, good, what):
    if good not in parts.names:
        there = np.unique(parts.names).tolist()
        raise ValueError(f"no {what} part is {good!r}, only {there} are there")
    return parts.images[parts.names == good]


def _check_shape(shape, tiles, front, camera):
    rows, columns = tiles
    if min(tiles) < 1 or shape[1] % rows or shape[2] % columns:
        raise ValueError(f"images of {shape[1]} × {shape[2]} can't be cut into {tiles} tiles")
    values = int(np.prod(shape))
    if front is not None and len(front.mean) != values:
        raise ValueError(f"parts have {values} values, but front takes {len(front.mean)}")
    if camera is not None and shape != (1, *MAP_SHAPE):
        raise ValueError(f"a camera makes maps {(1, *MAP_SHAPE)}, but parts are {shape}")


def _index(anchors, name):
    return int(np.flatnonzero(anchors.classes_ == name)[0])


def _network(front, encoder):
    return encoder if front is None else nn.Sequential(front, encoder)


def _seen(front, parts):
    """Parts as the encoder sees them."""
    if front is None:
        return parts
    with torch.inference_mode():
        return front(torch.tensor(parts).to(front.mean.device, front.mean.dtype)).cpu().numpy()


def judge(station: Station, parts: np.ndarray) -> pd.DataFrame:
    """Judge many parts.

    Parameters
    ----------
    station : Station
        What judges.
    parts : ndarray, shape (n, c, h, w), floating point
        Parts as they come. If the station has a camera, also images (n, 3, 66, 286).

    Returns
    -------
    DataFrame
        A row a part: ``verdict``, which is the nearest anchor's name or `UNKNOWN`; ``nearest``,
        ``distance``, ``second``, ``second_distance``; and ``to_good``, the distance to the good
        anchor.

    Raises
    ------
    TypeError
        If parts are no floating-point array.
    ValueError
        If they have another shape than the station was set up for, a value is not finite, or there
        is no part.
    """
    parts = _maps(station, parts)
    distances = station.anchors.distances(embed(_network(station.front, station.encoder), parts))
    return _table(station, distances)


def _table(station, distances):
    names, rows = station.anchors.classes_, np.arange(len(distances))
    if len(names) == 1:  # good parts only: there is no second
        names = np.append(names, "")
        distances = np.column_stack([distances, np.full(len(distances), np.nan)])
    nearest, second = np.argsort(distances, axis=1)[:, :2].T  # NaN comes last
    to_good = distances[:, _index(station.anchors, station.good)]
    passing = to_good <= station.limit
    stray = (names[nearest] == station.good) & ~passing
    return pd.DataFrame(
        {
            "verdict": np.where(stray, UNKNOWN, names[nearest]),
            "nearest": names[nearest],
            "distance": distances[rows, nearest],
            "second": names[second],
            "second_distance": distances[rows, second],
            "to_good": to_good,
        }
    )


def _maps(station, parts):
    """Parts in the shape that the station was set up for."""
    check_images(parts)
    shape = station.centre.shape
    if station.camera is not None and parts.shape[1:] == IMAGE_SHAPE:
        return station.camera.transform(parts).reshape(-1, *shape)
    if parts.shape[1:] != shape:
        images = f", or (n, {', '.join(map(str, IMAGE_SHAPE))})" if station.camera else ""
        raise ValueError(
            f"parts must have the shape (n, {', '.join(map(str, shape))}){images}, "
            f"got {parts.shape}"
        )
    return parts


def inspect_part(station: Station, part: np.ndarray) -> Verdict:
    """Judge one part, and find what speaks most against it.

    Each tile of the part, as the encoder sees it, is replaced by that of the mean good part; the
    tile that brings the part nearest to the good anchor speaks most against it.

    Parameters
    ----------
    station : Station
        What judges.
    part : ndarray, shape (c, h, w) or (h, w), floating point
        The part as it comes. If the station has a camera, also its images (3, 66, 286).

    Returns
    -------
    Verdict

    Raises
    ------
    TypeError, ValueError
        As `judge`.
    """
    part = np.asarray(part)
    part = _maps(station, part[None, None] if part.ndim == 2 else part[None])
    seen = _seen(station.front, part)
    variants = np.concatenate([seen, _without_each_tile(seen[0], station.centre, station.tiles)])
    distances = station.anchors.distances(embed(station.encoder, variants))
    row = _table(station, distances[:1]).iloc[0]
    to_good = distances[:, _index(station.anchors, station.good)]
    drops = (to_good[0] - to_good[1:]).reshape(station.tiles)
    passes = bool(row.verdict == station.good)
    line, column = np.unravel_index(drops.argmax(), drops.shape)
    return Verdict(
        name=str(row.verdict),
        passes=passes,
        nearest=str(row.nearest),
        second=str(row.second),
        distance=float(row.distance),
        second_distance=float(row.second_distance),
        drops=drops,
        tile=None if passes else (int(column) + 1, int(line) + 1),
        seen=seen[0],
    )


def _without_each_tile(part, centre, tiles):
    """The part with each of its tiles in turn replaced, (tiles, c, h, w)."""
    rows, columns = tiles
    tile = np.arange(rows * columns).reshape(tiles)
    height, width = part.shape[1] // rows, part.shape[2] // columns
    of_pixel = tile.repeat(height, axis=0).repeat(width, axis=1)
    replaced = of_pixel == tile.reshape(-1, 1, 1)
    return np.where(replaced[:, None], centre, part)


ENTRIES = ("encoder", "front", "anchors", "names", "good", "limit", "centre", "tiles", "camera")


def save_station(station: Station, file: str | Path) -> None:
    """Keep a station in a file of plain tensors and words, whole or not at all.

    Parameters
    ----------
    station : Station
        What to keep.
    file : path
        Where to.
    """
    front, camera = station.front, station.camera
    state = {
        "encoder": station.encoder.state_dict(),
        "front": None if front is None else front.state_dict(),
        "anchors": torch.from_numpy(station.anchors.anchors_),
        "names": station.anchors.classes_.tolist(),
        "good": station.good,
        "limit": station.limit,
        "centre": torch.from_numpy(station.centre),
        "tiles": list(station.tiles),
        "camera": None if camera is None else torch.from_numpy(camera.mean_),
    }
    write_weights(state, file)


def load_station(file: str | Path, encoder: nn.Module) -> Station:
    """Take a station from a file.

    Parameters
    ----------
    file : path
        Written by `save_station`.
    encoder : torch.nn.Module
        A network of the kind that was saved; it gets the saved weights.

    Returns
    -------
    Station

    Raises
    ------
    ValueError
        If the file can't be read, lacks something, or holds the weights of another network; the
        encoder is then left as it was.
    """
    state = read_weights(file, ENTRIES)
    check_weights(file, state["encoder"], encoder)
    encoder.load_state_dict(state["encoder"])
    front, camera = state["front"], state["camera"]
    return Station(
        encoder=encoder.eval(),
        front=None if front is None else Affine(front["mean"], front["matrix"]),
        # An anchor is the mean of its class, so each is a class of one point.
        anchors=AnchorClassifier().fit(state["anchors"].numpy(), np.array(state["names"])),
        good=state["good"],
        limit=state["limit"],
        centre=state["centre"].numpy(),
        tiles=tuple(state["tiles"]),
        camera=None if camera is None else Soart().fit(camera.numpy()[None]),
    )
