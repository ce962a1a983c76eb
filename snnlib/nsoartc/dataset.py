"""Data sets of maps: simulated, named, scaled, and kept as rows.

A row is ``data0`` … ``data1403`` (float32), ``label`` (int, index into the failure modes, ``OK``
first, the rest sorted) and ``fmode`` (its code), as in the published sets.
"""

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from snnlib.extras import extra
from snnlib.images import ImageSet
from snnlib.nsoartc.failure_modes import OK, parse
from snnlib.nsoartc.simulator import Lot, Process, Shot, draw_parts, photograph
from snnlib.nsoartc.soart import COLUMNS as PIN_COLUMNS
from snnlib.nsoartc.soart import MAP_SHAPE, ROWS, Soart
from snnlib.whole_files import written_whole

if TYPE_CHECKING:  # it takes a second to load, and only rows need it
    import datasets

__all__ = [
    "MODES",
    "SPLITS",
    "balance",
    "class_names_of",
    "fit_scaler",
    "free_shifts",
    "modes_of",
    "named_images",
    "named_set",
    "read_rows",
    "scale",
    "set_of_rows",
    "simulate",
    "unit_space",
    "write_rows",
]

#: Failure modes that the inspection chapters train on.
MODES = (OK, *(f"{pin}{direction}" for pin in (31, 61, 92) for direction in ("D05", "X10", "Y10")))
UNSEEN = (
    *("11D05", "12X10", "73Y10", "103D05", "131X10", "131D05", "133Y10"),  # other pins
    *("31D02", "61D03", "92D04", "31D06", "61D08", "92D10"),  # other amounts
    *("31X-10", "61X-10", "92X-10", "31Y-10", "61Y-10", "92Y-10"),  # reversed tilts
    *("31D05+92X10", "61Y10+92D05", "31X10+61X10"),  # two pins at once
    *("31M", "73M"),  # a missing pin
)
LATER = Lot(brightness=0.92, glint=1.25, placement=(0.02, -0.015), cameras=(0.1, -0.1, 0.1))
SOURCE = "nsoartc, simulated cell"


@dataclass(frozen=True)
class _Plan:
    """What is simulated for a named set: failure modes of its parts in order, shots, seeds."""

    modes: tuple[str, ...]
    seed: int
    shots: int = 1
    lot: Lot = Lot()  # noqa: RUF009 (frozen)


def _each(modes, parts, good=0):
    return tuple(np.repeat(modes, parts)) + (OK,) * good


# Seeds of parts; the shots have the same, which gives them other streams.
PLANS = {
    "train": _Plan(_each(MODES, 200), seed=1),
    "validation": _Plan(_each(MODES, 100), seed=2),
    "calibration": _Plan(_each(MODES, 100, good=1000), seed=3),
    "test": _Plan(_each(MODES, 100, good=3000), seed=4),
    "unseen": _Plan(_each(UNSEEN, 40), seed=5),
    "retest": _Plan(_each(MODES, 3), seed=6, shots=10),
    "later": _Plan(_each(MODES, 100), seed=7, lot=LATER),
}
#: Names of the sets, see `named_set`.
SPLITS = tuple(PLANS)


def class_names_of(modes: Iterable[str]) -> tuple[str, ...]:
    """Put failure modes in the order of their labels: ``OK`` first, the rest sorted.

    Parameters
    ----------
    modes : iterable of str
        Codes, in any order, repeated or not.

    Returns
    -------
    tuple of str
    """
    return tuple(sorted(set(map(str, modes)), key=lambda mode: (mode != OK, mode)))


def simulate(
    parts: int,
    modes: Sequence[str] = MODES,
    *,
    part_seed: int,
    shot_seed: int,
    process: float = 1.0,
    shot: float = 1.0,
    soart: Soart | None = None,
) -> ImageSet:
    """Make parts, photograph them, and turn the images into maps.

    Parameters
    ----------
    parts : int
        Parts of each failure mode.
    modes : sequence of str
        Failure-mode codes, each once.
    part_seed, shot_seed : int
        Seeds of what differs between parts and between shots. With the same `part_seed` and another
        `shot_seed` the same parts are photographed again.
    process, shot : float, default 1.0
        Levels of what differs between good parts and between shots.
    soart : Soart, optional
        Fitted transform; that of the default unit space if None.

    Returns
    -------
    ImageSet
        Maps (n, 1, 36, 39), class by class in the order of `modes`.

    Raises
    ------
    ValueError
        If a code is unknown or given twice, there are none, or a number is out of range.
    """
    if parts < 1:
        raise ValueError(f"parts must be at least 1 a failure mode, got {parts}")
    modes = tuple(modes)
    if len(set(modes)) < len(modes):
        raise ValueError(f"each failure mode must be given once, got {modes}")
    made = draw_parts(_each(modes, parts), seed=part_seed, process=Process(level=process))
    soart = soart or unit_space()
    return _map(made, shot_seed, Shot(level=shot), soart, class_names_of(modes))


def _map(parts, seed, shot, soart, names):
    check_is_fitted(soart)
    maps = np.empty((len(parts), 1, *MAP_SHAPE), dtype=np.float32)
    done = 0
    for images in photograph(parts, seed=seed, shot=shot):
        rows = soart.transform(images)
        maps[done : done + len(rows)] = rows.reshape(-1, 1, *MAP_SHAPE)
        done += len(rows)
    return ImageSet(maps, _labels(parts.modes, names), names, SOURCE)


def _labels(modes, names):
    index = {name: k for k, name in enumerate(names)}
    return np.array([index[mode] for mode in modes], dtype=np.int64)


@cache
def unit_space() -> Soart:
    """The transform whose reference is the mean of the good parts of ``train``.

    Returns
    -------
    Soart
        Fitted; made once a process.
    """
    plan = PLANS["train"]
    good = [mode for mode in plan.modes if mode == OK]  # they come first
    images = photograph(draw_parts(good, seed=plan.seed), seed=plan.seed)
    return Soart().fit(np.concatenate(list(images)))


def modes_of(split: str) -> np.ndarray:
    """Failure mode of every part of a named set, in their order.

    Parameters
    ----------
    split : str
        One of `SPLITS`.

    Returns
    -------
    ndarray, shape (n,), str

    Raises
    ------
    ValueError
        If there is no such set.
    """
    if split not in PLANS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    return np.repeat(PLANS[split].modes, PLANS[split].shots)


def named_set(split: str, indices: np.ndarray | None = None) -> ImageSet:
    """One of the sets that the inspection chapters share.

    ``train`` holds 200 parts of each of ten failure modes (`MODES`), ``validation`` 100;
    ``calibration`` and ``test`` 100 and then 1 000 and 3 000 good parts more (see `balance`);
    ``unseen`` defects of other pins, amounts and kinds; ``retest`` 30 parts, each in ten shots, one
    after another; ``later`` 100 parts a failure mode of another lot, after the cameras have moved.

    Parameters
    ----------
    split : str
        One of `SPLITS`.
    indices : ndarray, shape (m,), int, optional
        Make only these of its parts; all if None. They are then photographed in shots of their own,
        which differ from those of the whole set.

    Returns
    -------
    ImageSet
        Maps (n, 1, 36, 39); `class_names` are the failure modes of the whole set.

    Raises
    ------
    ValueError
        If there is no such set.
    """
    parts, names = _parts_of(split, indices)
    return _map(parts, PLANS[split].seed, Shot(), unit_space(), names)


def named_images(split: str, indices: np.ndarray | None = None) -> ImageSet:
    """What the cameras saw of a named set: the images that its maps are made from.

    Parameters
    ----------
    split : str
        One of `SPLITS`.
    indices : ndarray, shape (m,), int, optional
        Only these of its parts, as in `named_set`.

    Returns
    -------
    ImageSet
        Images (n, 3, 66, 286) of the same parts, in the same shots and order; 0.2 MiB a part.

    Raises
    ------
    ValueError
        If there is no such set.
    """
    parts, names = _parts_of(split, indices)
    images = np.concatenate(list(photograph(parts, seed=PLANS[split].seed)))
    return ImageSet(images, _labels(parts.modes, names), names, SOURCE)


def _parts_of(split, indices):
    """Parts of a named set, each as often as it is photographed, and its failure modes."""
    names = class_names_of(modes_of(split))
    plan = PLANS[split]
    parts = draw_parts(plan.modes, seed=plan.seed, lot=plan.lot)
    parts = parts.take(np.repeat(np.arange(len(parts)), plan.shots))
    return (parts if indices is None else parts.take(indices)), names


def balance(image_set: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Cut a set into equally many parts of each class, and the rest.

    Parameters
    ----------
    image_set : ImageSet
        Such as ``test``, with its many good parts.

    Returns
    -------
    balanced, rest : ImageSet
        The first of each class, as many as the smallest class has, and all others; both in their
        old order.

    Raises
    ------
    ValueError
        If all classes are of one size, so that nothing is left over.
    """
    sizes = np.bincount(image_set.labels)
    least = sizes[sizes > 0].min()
    if sizes.max() == least:
        raise ValueError(f"the set is balanced: {least} parts in each class, and none left over")
    # The how-many-eth of its class each part is.
    order = np.argsort(image_set.labels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rank = np.empty(len(order), dtype=int)
    rank[order] = np.arange(len(order)) - starts[image_set.labels[order]]
    first = rank < least
    return image_set.take(np.flatnonzero(first)), image_set.take(np.flatnonzero(~first))


def free_shifts(modes: Iterable[str]) -> list[tuple[int, int]]:
    """Moves of a face by whole pins, round its edges, that make no known defect of another.

    With them a network can be shown defects at pins where none has occurred. Moves that bring the
    pin of a known defect onto that of another are left out, so that what one learns of unknown
    defects by leaving a failure mode out is not learned from its likeness.

    Parameters
    ----------
    modes : iterable of str
        Codes of the known failure modes.

    Returns
    -------
    list of (int, int)
        Pin rows and pin columns to move by.

    Raises
    ------
    ValueError
        If a code is unknown.
    """
    pins = {(d.row - 1, d.pin - 1) for mode in modes for d in parse(mode)}
    moves = np.ndindex(ROWS, PIN_COLUMNS)
    return [
        (rows, columns)
        for rows, columns in moves
        if not any(((r + rows) % ROWS, (c + columns) % PIN_COLUMNS) in pins for r, c in pins)
    ]


def fit_scaler(train: ImageSet) -> StandardScaler:
    """Learn the scale of each value of a map from the good parts of a training set.

    Parameters
    ----------
    train : ImageSet
        Training maps, of which only the good parts are looked at.

    Returns
    -------
    StandardScaler
        Mean and standard deviation of each of the 1 404 values, for `scale`.

    Raises
    ------
    ValueError
        If no part is good.
    """
    good = train.names == OK
    if not good.any():
        raise ValueError(f"no part is {OK}, so there is nothing to learn a scale from")
    return StandardScaler().fit(train.images[good].reshape(good.sum(), -1))


def scale(scaler: StandardScaler, image_set: ImageSet) -> ImageSet:
    """Scale maps by what was learned from good training parts.

    Parameters
    ----------
    scaler : StandardScaler
        From `fit_scaler`.
    image_set : ImageSet
        Raw maps.

    Returns
    -------
    ImageSet
        The same parts; good ones have values of mean 0 and standard deviation 1.

    Raises
    ------
    ValueError
        If the maps have another number of values than those that the scaler learned from.
    """
    images = image_set.images
    scaled = scaler.transform(images.reshape(len(images), -1)).reshape(images.shape)
    return replace(image_set, images=scaled.astype(np.float32))


VALUES = tuple(f"data{k}" for k in range(MAP_SHAPE[0] * MAP_SHAPE[1]))


def write_rows(image_set: ImageSet, file: str | Path) -> None:
    """Write maps as a parquet file, a row a part.

    Parameters
    ----------
    image_set : ImageSet
        Maps (n, 1, 36, 39).
    file : Path
        Where to; written whole or not at all.

    Raises
    ------
    ValueError
        If the images are no maps.
    """
    with extra("data"):
        import datasets

    if image_set.images.shape[1:] != (1, *MAP_SHAPE):
        raise ValueError(
            f"expected maps of shape (n, 1, {MAP_SHAPE[0]}, {MAP_SHAPE[1]}), "
            f"got {image_set.images.shape}"
        )
    values = image_set.images.reshape(len(image_set), -1)
    columns = dict(zip(VALUES, values.T))
    names = np.array(image_set.class_names)
    rows = datasets.Dataset.from_dict(
        {**columns, "label": image_set.labels, "fmode": names[image_set.labels]}
    )
    with written_whole(file) as unfinished:
        rows.to_parquet(unfinished)


def read_rows(file: str | Path, modes: Sequence[str] | None = None) -> ImageSet:
    """Read maps from a parquet file of rows.

    Parameters
    ----------
    file : Path
        As `write_rows` writes them.
    modes : sequence of str, optional
        Known failure modes, as in `set_of_rows`.

    Returns
    -------
    ImageSet

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As `set_of_rows`.
    """
    with extra("data"):
        import datasets

    with tempfile.TemporaryDirectory() as folder:  # left alone, it would keep a copy of each file
        rows = datasets.Dataset.from_parquet(str(file), cache_dir=folder, keep_in_memory=True)
    return set_of_rows(rows, f"nsoartc, {Path(file).name}", modes)


def set_of_rows(
    rows: "datasets.Dataset", source: str, modes: Sequence[str] | None = None
) -> ImageSet:
    """Turn rows into maps with labels.

    Parameters
    ----------
    rows : datasets.Dataset
        With the columns ``data0`` … ``data1403``, ``label`` and ``fmode``.
    source : str
        Where they came from, in words.
    modes : sequence of str, optional
        Known failure modes, which have the first labels whether they occur or not.

    Returns
    -------
    ImageSet
        Labels are made anew from ``fmode``, ``OK`` first and the rest sorted, since the order of
        another's labels is not ours to trust.

    Raises
    ------
    ValueError
        If there is no row, a column is missing or there is one data column too many, a value is
        missing or not finite, a code means no failure mode, or one has two labels.

    Warns
    -----
    UserWarning
        If there are other failure modes than the known ones: their parts are kept under their own
        names, which come last.
    """
    _check_columns(rows.column_names)
    if not len(rows):
        raise ValueError("expected at least one row, got none")
    table = rows.with_format("arrow")[:]
    values = np.empty((len(table), len(VALUES)), dtype=np.float32)
    for k, column in enumerate(VALUES):
        values[:, k] = table[column].to_numpy()
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"values must be finite numbers, got {values[row, column]} in row {row}, "
            f"column {VALUES[column]}"
        )
    codes = np.array(table["fmode"].to_pylist(), dtype=str)
    _check_codes(codes, table["label"].to_numpy())
    names = class_names_of(codes) if modes is None else _known_first(modes, codes)
    maps = values.reshape(-1, 1, *MAP_SHAPE)
    return ImageSet(maps, _labels(codes, names), names, source)


def _check_columns(names):
    expected = {*VALUES, "label", "fmode"}
    missing = sorted(expected - set(names))
    extra = sorted(name for name in set(names) - expected if name.startswith("data"))
    if missing or extra:
        raise ValueError(
            f"rows must have the columns {VALUES[0]} … {VALUES[-1]}, label and fmode; "
            f"missing: {_few(missing)}; too many: {_few(extra)}"
        )


def _few(names):
    if not names:
        return "none"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _check_codes(codes, labels):
    found, first = np.unique(codes, return_index=True)
    for code, row in zip(found.tolist(), first.tolist()):
        try:
            parse(code)
        except ValueError as error:
            raise ValueError(f"row {row}: {error}") from None
        its = np.unique(labels[codes == code])
        if len(its) > 1:
            raise ValueError(f"failure mode {code!r} has the labels {its.tolist()}, expected one")


def _known_first(modes, codes):
    """Class names in which those of `modes` keep their labels, whatever else is there."""
    known = class_names_of(modes)
    unknown = sorted(set(codes.tolist()) - set(known))
    if unknown:
        parts = int(np.isin(codes, unknown).sum())
        warnings.warn(
            f"{parts} of {len(codes)} parts are of failure modes that are not known: {unknown}, "
            f"known are {list(known)}; they come after these among the classes",
            UserWarning,
            stacklevel=3,
        )
    return (*known, *unknown)
