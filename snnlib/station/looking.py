"""From files or arrays to what features see in them, a batch at a time."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from snnlib.station.arrays import Arrays
from snnlib.station.parts import Parts, as_parts
from snnlib.station.preparation import Photograph, Preparation

if TYPE_CHECKING:  # parts are read, too, where no network looks at them
    from snnlib.station.features import Features

__all__ = [
    "Batch",
    "Look",
    "Source",
    "look_at",
    "look_at_prepared",
    "misfit",
    "prepared_batches",
    "sound",
]

#: What can be looked at, which is photographs in files or a folder, or parts as one array.
Source = Parts | str | Path | Iterable[str | Path] | np.ndarray

AnyBatch = TypeVar("AnyBatch", bound="Batch")
ARRAYS_AT_A_TIME = 1024
FRAMES_AT_A_TIME = 8


@dataclass(frozen=True, eq=False)
class Batch:
    """Some of the parts, as images.

    Attributes
    ----------
    positions : ndarray, shape (b,), int
        Which parts of the source could be read.
    faults : dict of int to str
        What is wrong with the others, by position.
    photographs : list of `.Photograph`
        What was read, if parts came as photographs.
    images : ndarray, shape (b, c, h, w), float32
        Prepared images; photographs in [0, 1].
    """

    positions: np.ndarray
    faults: dict[int, str]
    photographs: list[Photograph]
    images: np.ndarray


@dataclass(frozen=True, eq=False)
class Look(Batch):
    """What was seen of some of the parts.

    Attributes
    ----------
    points : ndarray, shape (b, d), float32
        Features of each image as a whole.
    patches : ndarray, shape (b, p, r, s), float32, or None
        Features of each place.
    seconds : float
        Time that the features took.
    """

    points: np.ndarray
    patches: np.ndarray | None
    seconds: float


def look_at(
    source: Source,
    preparation: Preparation | Arrays,
    features: "Features",
    shape: tuple[int, ...] | None = None,
    progress: str | None = None,
) -> Iterator[Look]:
    """Look at parts, one batch after the other; memory is that of a batch.

    Parameters
    ----------
    source, preparation, shape, progress
        As for `prepared_batches`.
    features : `.Features`
        Describe images.

    Yields
    ------
    `.Look`

    Raises
    ------
    TypeError, ValueError
        As `prepared_batches`.
    """
    for batch in prepared_batches(source, preparation, shape, progress):
        points, patches, seconds = np.empty((0, 0)), None, 0.0
        if len(batch.images):
            begun = time.perf_counter()
            points, patches = features.describe(batch.images)
            seconds = time.perf_counter() - begun
        yield Look(**vars(batch), points=points, patches=patches, seconds=seconds)


def look_at_prepared(pixels: np.ndarray, features: "Features") -> Look:
    """Look at parts that are prepared already.

    Parameters
    ----------
    pixels : ndarray, shape (n, c, h, w), uint8, uint16 or float32
        Prepared photographs, or arrays as `.Arrays.prepare` gives them.
    features : `.Features`
        Describe images.

    Returns
    -------
    `.Look`
    """
    images = _unit(pixels) if pixels.dtype.kind == "u" else pixels
    points, patches = features.describe(images)
    return Look(np.arange(len(images)), {}, [], images, points, patches, 0.0)


def prepared_batches(
    source: Source,
    preparation: Preparation | Arrays,
    shape: tuple[int, ...] | None = None,
    progress: str | None = None,
) -> Iterator[Batch]:
    """Make images of parts, one batch after the other.

    Parameters
    ----------
    source : `~snnlib.station.parts.Parts`, path, iterable of paths, or ndarray
        Photographs in files, or parts as an array: maps for `.Arrays`, or frames of a camera
        (n, h, w) or (n, h, w, 3) of 8 or 16 bits for a `.Preparation`.
    preparation : `.Preparation` or `.Arrays`
        Makes images of them.
    shape : tuple of int, optional
        Channels, height and width that images must have; that of the first if None.
    progress : str, optional
        Words before a progress bar; none is shown if None.

    Yields
    ------
    `.Batch`

    Raises
    ------
    TypeError, ValueError
        If the source is not what the preparation takes. What is wrong with a single photograph is
        told in ``Batch.faults``.
    """
    if isinstance(preparation, Arrays):
        yield from _batches_of_arrays(source, preparation)
        return
    for positions, found in _photographs(source, preparation, progress):
        faults, kept = {}, {}
        for position, photograph in zip(positions, found):
            if isinstance(photograph, Photograph):
                shape = shape or photograph.pixels.shape
                fault = misfit(photograph, shape)
            else:
                fault = str(photograph)
            if fault:
                faults[position] = fault
            else:
                kept[position] = photograph
        photographs = list(kept.values())
        images = np.empty((len(kept), *(shape or (0, 0, 0))), dtype=np.float32)
        for image, photograph in zip(images, photographs):
            image[:] = _unit(photograph.pixels)
        yield Batch(np.array(list(kept), dtype=int), faults, photographs, images)


def sound(batches: Iterable[AnyBatch], parts: Parts) -> Iterator[AnyBatch]:
    """Hand on what was read or seen of photographs, each of which must be sound.

    Parameters
    ----------
    batches : iterable of `.Batch` or `.Look`
        What was read or seen.
    parts : `~snnlib.station.parts.Parts`
        The photographs.

    Yields
    ------
    `.Batch` or `.Look`

    Raises
    ------
    ValueError
        If something is wrong with a photograph; names the file.
    """
    for batch in batches:
        for position, fault in batch.faults.items():
            file = str(parts.files[position])
            raise ValueError(fault if file in fault else f"{file}: {fault}")
        yield batch


def _batches_of_arrays(source, preparation):
    if not isinstance(source, np.ndarray):
        raise TypeError(
            f"this station judges arrays of the shape (n, {', '.join(map(str, preparation.shape))})"
            f", got {type(source).__name__}"
        )
    if not len(source):
        raise ValueError("there is no part to look at")
    for start in range(0, len(source), ARRAYS_AT_A_TIME):
        images = preparation.prepare(source[start : start + ARRAYS_AT_A_TIME])
        yield Batch(start + np.arange(len(images)), {}, [], images)


def _photographs(source, preparation, progress):
    """Positions and photographs, or what is wrong with them, in batches."""
    if not isinstance(source, np.ndarray):
        for of_batch, found in as_parts(source).batches(preparation, progress=progress):
            yield range(of_batch.start, of_batch.stop), found
        return
    if source.ndim not in (3, 4) or source.shape[3:] not in ((), (3,)):
        raise ValueError(f"frames must be (n, h, w) or (n, h, w, 3), got {source.shape}")
    if source.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"frames must be of uint8 or uint16, got {source.dtype}")
    if not len(source):
        raise ValueError("there is no part to look at")
    for start in range(0, len(source), FRAMES_AT_A_TIME):
        frames = source[start : start + FRAMES_AT_A_TIME]
        yield range(start, start + len(frames)), [_prepared(preparation, f) for f in frames]


def _prepared(preparation, frame):
    """A frame, or what is wrong with it: it must not stop the others."""
    try:
        return preparation.prepare(frame)
    except ValueError as error:
        return error


def misfit(photograph: Photograph, shape: tuple[int, ...]) -> str:
    """Say by what a photograph differs in size from others.

    Parameters
    ----------
    photograph : `.Photograph`
        One of them, prepared.
    shape : tuple of int
        Channels, height and width of the others.

    Returns
    -------
    str
        Empty if it does not.
    """
    if photograph.pixels.shape == shape:
        return ""
    (_, height, width), (_, h, w) = shape, photograph.pixels.shape
    return f"it is of {w} × {h} pixels, expected {width} × {height}: say a size to bring it to"


def _unit(pixels):
    """Pixels in [0, 1], whatever their bits."""
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
