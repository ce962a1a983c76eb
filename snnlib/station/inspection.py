"""A trained encoder on the line: from a part to a verdict.

This room knows nothing of training, and nothing of what is inspected.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import place_of
from snnlib.images import ImageSet, check_images
from snnlib.station.limits import quantile_limit
from snnlib.weights import check_weights, read_weights, write_weights

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "UNKNOWN",
    "Preparation",
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


class Preparation(Protocol):
    """What makes a part of what the cameras saw: any fitted object of scikit-learn's kind."""

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Prepare parts.

        Parameters
        ----------
        X : ndarray, shape (n, ...)
            What was seen of n parts.

        Returns
        -------
        ndarray, shape (n, ...)
            As many values a part as the station judges.
        """


@dataclass(frozen=True, eq=False)
class Station:
    """All that it takes to judge a part; made by `set_up` or `load_station`.

    Attributes
    ----------
    encoder : torch.nn.Module
        Maps what `front` puts out to embeddings (n, d).
    front : torch.nn.Module or None
        What is done to parts before: maps (n, c, h, w) to images again; None if nothing.
    anchors : `.AnchorClassifier`
        One anchor a class; the classes are names.
    good : str
        Name of the class of good parts.
    limit : float
        Largest distance to the good anchor at which a part passes; in units of the embedding.
    shape : tuple of int
        Channels, height and width of a part.
    centre : ndarray, shape (c, h, w), float32
        Mean good training part as the encoder sees it: the middle of the unit space.
    tiles : (int, int)
        Rows and columns of tiles in which evidence is looked for.
    preparation : `Preparation` or None
        Makes a part of what was seen of it; None if parts come as they are.

    Raises
    ------
    ValueError
        If the limit is no distance, or the good class has no anchor.
    """

    encoder: nn.Module
    front: nn.Module | None
    anchors: AnchorClassifier
    good: str
    limit: float
    shape: tuple[int, ...]
    centre: np.ndarray
    tiles: tuple[int, int]
    preparation: Preparation | None

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
        options = [name for name in ("front", "preparation") if getattr(self, name) is not None]
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
    good: str,
    tiles: tuple[int, int],
    front: nn.Module | None = None,
    preparation: Preparation | None = None,
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
    good : str
        Name of the class of good parts.
    tiles : (int, int)
        Rows and columns of tiles in which evidence is looked for.
    front : torch.nn.Module, optional
        What is done to parts before the encoder sees them; moved to where the encoder is.
    preparation : Preparation, optional
        If parts may also come as it takes them.
    false_alarms : float, default 0.005
        Share of good calibration parts that may lie beyond the limit: as many as their number
        allows, never more, and none if they are too few.

    Returns
    -------
    Station

    Raises
    ------
    ValueError
        If a set has no good part, the share is out of range, images do not match each other or the
        front, or do not fall into tiles as the encoder sees them, or embeddings are not finite.
    """
    shape = train.images.shape[1:]
    if calibration.images.shape[1:] != shape:
        raise ValueError(
            f"calibration parts must be of shape {shape} as the training parts, "
            f"got {calibration.images.shape[1:]}"
        )
    trained = _good_parts(train, good, "training")
    kept = _good_parts(calibration, good, "calibration")
    if front is not None:
        front.to(place_of(encoder).device)
    centre = _seen(front, trained).mean(axis=0, dtype=np.float64).astype(np.float32)
    _check_tiles(centre.shape, tiles)
    network = _network(front, encoder)
    anchors = AnchorClassifier().fit(embed(network, train.images), train.names)
    to_good = anchors.distances(embed(network, kept))[:, _index(anchors, good)]
    limit = quantile_limit(to_good, false_alarms)
    return Station(
        encoder, front, anchors, good, limit, shape, centre, (tiles[0], tiles[1]), preparation
    )


def _good_parts(parts, good, what):
    if good not in parts.names:
        there = np.unique(parts.names).tolist()
        raise ValueError(f"no {what} part is {good!r}, only {there} are there")
    return parts.images[parts.names == good]


def _check_tiles(shape, tiles):
    _, height, width = shape
    rows, columns = tiles
    if min(tiles) < 1 or height % rows or width % columns:
        raise ValueError(f"images of {height} × {width} can't be cut into {tiles} tiles")


def _index(anchors, name):
    return int(np.flatnonzero(anchors.classes_ == name)[0])


def _network(front, encoder):
    return encoder if front is None else nn.Sequential(front, encoder)


def _seen(front, parts):
    """Parts as the encoder sees them."""
    return parts if front is None else embed(front, parts)


def judge(station: Station, parts: np.ndarray) -> pd.DataFrame:
    """Judge many parts.

    Parameters
    ----------
    station : Station
        What judges.
    parts : ndarray, shape (n, c, h, w), floating point
        Parts as they come. If the station has a preparation, also what that one takes.

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
    parts = _prepared(station, parts)
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


def _prepared(station, parts):
    """Parts in the shape that the station was set up for."""
    check_images(parts)
    if parts.shape[1:] == station.shape:
        return parts
    expected = f"parts must have the shape (n, {', '.join(map(str, station.shape))})"
    if station.preparation is None:
        raise ValueError(f"{expected}, got {parts.shape}")
    try:
        return station.preparation.transform(parts).reshape(len(parts), *station.shape)
    except ValueError as error:
        what = type(station.preparation).__name__
        raise ValueError(
            f"{expected}, got {parts.shape}, of which {what} makes none: {error}"
        ) from error


def inspect_part(station: Station, part: np.ndarray) -> Verdict:
    """Judge one part, and find what speaks most against it.

    Each tile of the part, as the encoder sees it, is replaced by that of the mean good part; the
    tile that brings the part nearest to the good anchor speaks most against it.

    Parameters
    ----------
    station : Station
        What judges.
    part : ndarray, shape (c, h, w) or (h, w), floating point
        The part as it comes. If the station has a preparation, also what that one takes.

    Returns
    -------
    Verdict

    Raises
    ------
    TypeError, ValueError
        As `judge`.
    """
    part = np.asarray(part)
    part = _prepared(station, part[None, None] if part.ndim == 2 else part[None])
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


PLAIN = ("good", "limit")
ARRAYS = ("anchors", "names", "shape", "centre", "tiles")
ENTRIES = ("encoder", "front", "preparation", *ARRAYS, *PLAIN)


def save_station(station: Station, file: str | Path) -> None:
    """Keep a station in a file of plain tensors and words, whole or not at all.

    Parameters
    ----------
    station : Station
        What to keep.
    file : path
        Where to.

    Raises
    ------
    ValueError
        If the preparation holds something other than arrays of numbers, numbers and words.
    """
    front, anchors = station.front, station.anchors
    state = {name: getattr(station, name) for name in PLAIN} | {
        "encoder": station.encoder.state_dict(),
        "front": None if front is None else front.state_dict(),
        "anchors": torch.from_numpy(anchors.anchors_),
        "names": anchors.classes_.tolist(),
        "shape": list(station.shape),
        "centre": torch.from_numpy(station.centre),
        "tiles": list(station.tiles),
        "preparation": _fitted_values(station.preparation),
    }
    write_weights(state, file)


def _fitted_values(preparation):
    """Kind of a preparation, and its fitted values, whose names scikit-learn ends with a line."""
    if preparation is None:
        return None
    check_is_fitted(preparation)
    kind, values = type(preparation).__name__, {}
    for name, value in vars(preparation).items():
        if not name.endswith("_"):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = torch.from_numpy(value)
        elif not isinstance(value, np.number | float | int | str):
            raise ValueError(
                f"{kind} can't be kept: its {name} is a {type(value).__name__}, "
                "expected arrays of numbers, numbers and words"
            )
        values[name] = value
    return [kind, values]


def load_station(
    file: str | Path,
    encoder: nn.Module,
    *,
    front: nn.Module | None = None,
    preparation: Any = None,
) -> Station:
    """Take a station from a file.

    Parameters
    ----------
    file : path
        Written by `save_station`.
    encoder, front : torch.nn.Module
        Networks of the kinds that were saved; they get the saved weights.
    preparation : Preparation, optional
        An object of the kind that was saved, fitted or not; a copy of it gets the saved values.

    Returns
    -------
    Station

    Raises
    ------
    ValueError
        If the file can't be read, lacks something, or holds the weights of another network, or a
        front or preparation where none is given, or the other way round; what was given is then
        left as it was.
    """
    state = read_weights(file, ENTRIES)
    for name, given in [("front", front), ("preparation", preparation)]:
        if (state[name] is None) != (given is None):
            held, got = ("no", "one") if state[name] is None else ("a", "none")
            raise ValueError(f"{file} holds a station with {held} {name}, got {got}")
    networks = {"encoder": encoder} | ({} if front is None else {"front": front})
    for name, network in networks.items():
        check_weights(file, state[name], network)
    if preparation is not None:
        preparation = _filled(file, copy.copy(preparation), *state["preparation"])
    for name, network in networks.items():
        network.load_state_dict(state[name])
        network.eval()
    if front is not None:
        front.to(place_of(encoder).device)
    return Station(
        encoder=encoder,
        front=front,
        # An anchor is the mean of its class, so each is a class of one point.
        anchors=AnchorClassifier().fit(state["anchors"].numpy(), np.array(state["names"])),
        shape=tuple(state["shape"]),
        centre=state["centre"].numpy(),
        tiles=tuple(state["tiles"]),
        preparation=preparation,
        **{name: state[name] for name in PLAIN},
    )


def _filled(file, preparation, kind, values):
    """The same object with the values that one of its kind was fitted to."""
    if type(preparation).__name__ != kind:
        raise ValueError(f"{file} is of a {kind}, got a {type(preparation).__name__}")
    for name, value in values.items():
        setattr(preparation, name, value.numpy() if torch.is_tensor(value) else value)
    return preparation
