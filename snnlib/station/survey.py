"""Is a folder of photographs fit to learn from? What is in it, and what to mend first."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from snnlib.station.checks import brightness_and_sharpness
from snnlib.station.parts import Parts
from snnlib.station.preparation import Photograph, Preparation, looks_like_bits

__all__ = ["Survey", "survey"]

SIZE, POOL = 224, 16  # pixels a side that are looked at, and those of a block of a thumbnail
NEAR = 0.25  # of the usual distance to the most similar photograph: then it may be the same part
BLURRED = 0.25  # of the usual sharpness
FEW, GOOD = 5, 5  # photographs of a defect, and of good parts, below which little can be learned
SHOWN = 3  # files that are named where more could be
# Pixels of a prepared photograph that a defect should be wide. Of discs (benchmarks/station.py), on
# a smooth sheet half as many do, and of faint ones on a rough sheet some are missed at this width.
LEAST_WIDTH = 4


@dataclass(frozen=True, eq=False)
class Survey:
    """What is in a folder of photographs.

    Attributes
    ----------
    counts : DataFrame
        Photographs of each class (columns) in each lot (rows).
    sizes : dict of str to int
        How many photographs are of each size, such as ``640 × 480``; the most frequent first.
    smallest : (int, int) or None
        Width and height, in pixels of the largest photograph, that a defect should have to be seen.
        None if none can be read.
    bits : int or None
        What files of 16 bits seem to use, if it is less.
    unreadable : dict of Path to str
        Files that can't be read, and why.
    duplicates : tuple of tuple of Path
        Files with the same content, in groups.
    alike : tuple of (Path, Path)
        Photographs of different lots or classes that are far more alike than others are: perhaps of
        the same part.
    blurred : tuple of Path
        Photographs far less sharp than most.
    advice : tuple of str
        What to mend, the most harmful first; empty if nothing is.
    """

    counts: pd.DataFrame
    sizes: dict[str, int]
    smallest: tuple[int, int] | None
    bits: int | None
    unreadable: dict[Path, str]
    duplicates: tuple[tuple[Path, ...], ...]
    alike: tuple[tuple[Path, Path], ...]
    blurred: tuple[Path, ...]
    advice: tuple[str, ...]


def survey(
    parts: Parts, good: str = "OK", progress: str | None = None, *, size: int = SIZE
) -> Survey:
    """Look through photographs before anything is learned from them.

    Parameters
    ----------
    parts : `~snnlib.station.parts.Parts`
        The photographs.
    good : str, default "OK"
        Name of the class of good parts.
    progress : str, optional
        Words before a progress bar; none is shown if None.
    size : int, default 224
        Pixels a side that a station will bring them to, on which it depends what it can see.

    Returns
    -------
    Survey
    """
    sizes: Counter[str] = Counter()
    unreadable: dict[Path, str] = {}
    largest, rows = [], []
    thumbnails, sharpness = [], []
    for where, found in parts.batches(Preparation(SIZE), progress=progress):
        for row, photograph in zip(range(where.start, where.stop), found):
            if not isinstance(photograph, Photograph):
                unreadable[parts.files[row]] = str(photograph)
                continue
            sizes[" × ".join(map(str, photograph.size))] += 1
            largest.append(photograph.largest)
            thumbnail, sharp = _seen(photograph.pixels)
            thumbnails.append(thumbnail)
            sharpness.append(sharp)
            rows.append(row)
    read = parts.take(np.array(rows, dtype=int)) if rows else None
    duplicates = _duplicates(parts)
    alike = () if read is None else _alike(read, np.array(thumbnails), duplicates)
    blurred = () if read is None else _blurred(read, np.array(sharpness))
    bits = looks_like_bits(one for one in largest if one is not None)
    told = {
        "sizes": dict(sizes.most_common()),
        "smallest": _smallest(sizes, size),
        "bits": bits,
        "unreadable": unreadable,
        "duplicates": duplicates,
        "alike": alike,
        "blurred": blurred,
    }
    return Survey(counts=parts.counts(), advice=tuple(_advice(parts, good, **told)), **told)


def _smallest(sizes, size):
    """What is as wide as some pixels of the prepared photograph, in those of the largest one."""
    if not sizes:
        return None
    largest = max((_sides(words) for words in sizes), key=lambda sides: sides[0] * sides[1])
    width, height = (-(-LEAST_WIDTH * max(side, size) // size) for side in largest)
    return width, height


def _sides(words):
    width, height = map(int, words.split(" × "))
    return width, height


def _seen(pixels):
    """A thumbnail (196,) of its brightness, about its mean, and its sharpness."""
    image = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    blocks = image.mean(axis=0).reshape(SIZE // POOL, POOL, SIZE // POOL, POOL)
    thumbnail = blocks.mean(axis=(1, 3)).ravel()
    return thumbnail - thumbnail.mean(), brightness_and_sharpness(image[None])[0, 1]


def _duplicates(parts):
    """Groups of files with the same content; only those of one size need be read."""
    sizes, groups = defaultdict(list), defaultdict(list)
    for file in parts.files:
        sizes[file.stat().st_size].append(file)
    for file in (file for files in sizes.values() if len(files) > 1 for file in files):
        groups[hashlib.sha256(file.read_bytes()).hexdigest()].append(file)
    return tuple(tuple(files) for files in groups.values() if len(files) > 1)


def _alike(parts, thumbnails, duplicates):
    """Pairs that are far more alike than most, from different lots or classes; no duplicates."""
    if len(parts) < 2 * GOOD:
        return ()
    known = {file: group for group in duplicates for file in group}
    distances, others = NearestNeighbors(n_neighbors=2).fit(thumbnails).kneighbors(thumbnails)
    near = distances[:, 1] < NEAR * np.median(distances[:, 1])
    pairs = {tuple(sorted((k, int(others[k, 1])))) for k in np.flatnonzero(near)}
    return tuple(
        (parts.files[one], parts.files[other])
        for one, other in sorted(pairs)
        if (parts.lots[one], parts.names[one]) != (parts.lots[other], parts.names[other])
        and parts.files[other] not in known.get(parts.files[one], ())
    )


def _blurred(parts, sharpness):
    return tuple(parts.files[k] for k in np.flatnonzero(sharpness < BLURRED * np.median(sharpness)))


def _advice(parts, good, sizes, smallest, bits, unreadable, duplicates, alike, blurred):
    """What to mend, the most harmful first."""
    names, counts = np.unique(parts.names, return_counts=True)
    of_class = dict(zip(names.tolist(), counts.tolist()))
    place = dict(zip(parts.files, zip(parts.lots.tolist(), parts.names.tolist())))
    if unreadable:
        first, why = next(iter(unreadable.items()))
        yield f"{_count(unreadable)} can't be read; the first is {first}: {why}"
    if of_class.get(good, 0) < GOOD:
        there = ", ".join(name or "no class" for name in of_class)
        yield (
            f"{of_class.get(good, 0)} photographs are of the class {good!r} of good parts, at "
            f"least {GOOD} are needed; there are: {there}"
        )
    classes = [group for group in duplicates if len({place[file][1] for file in group}) > 1]
    if classes:
        yield f"the same file is in two classes: {_named(classes[0])}; {_more(classes)}"
    lots = [group for group in duplicates if len({place[file][0] for file in group}) > 1]
    if lots:
        yield (
            f"the same file is in two lots: {_named(lots[0])}; {_more(lots)}. Whatever is tested "
            "by lots will look better than it is"
        )
    if alike:
        yield (
            f"{_named(alike[0])} are far more alike than other photographs; {_more(alike)}. Parts "
            "that were photographed twice belong into one lot and one class"
        )
    if len(set(parts.lots[parts.names == good].tolist())) < 2:
        yield "good parts are of one lot only: a limit wants a second one, a test a third"
    few = [f"{name} ({n})" for name, n in of_class.items() if name not in ("", good) and n < FEW]
    if few:
        yield f"of {', '.join(few)} there are fewer than {FEW} photographs: add them later, by name"
    if "" in of_class and len(of_class) > 1:
        yield f"{of_class['']} photographs lie in no folder of a class, and are not learned from"
    if bits:
        yield f"files of 16 bits seem to use {bits} of them: say bits={bits}"
    if len({round(width / height, 2) for width, height in map(_sides, sizes)}) > 1:
        yield f"proportions differ ({', '.join(list(sizes)[:SHOWN])}): cut the photographs alike"
    if blurred:
        yield f"{_count(blurred)} far less sharp than most: {_named(blurred[:SHOWN])}"
    if parts.skipped:
        yield f"passed over: {', '.join(parts.skipped)}"


def _count(files):
    return f"{len(files)} file{'s' * (len(files) != 1)}"


def _named(files):
    return " and ".join(str(file) for file in files[:SHOWN])


def _more(groups):
    return f"{len(groups)} such case{'s' * (len(groups) != 1)}"
