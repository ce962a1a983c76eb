"""Where maps come from: the simulated cell, or by choice the published sets on the Hub."""

import os
from functools import cache
from pathlib import Path
from typing import Literal

from snnlib.array_cache import cached_arrays
from snnlib.data.loading import check_choice, drawn, locked
from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import SOURCE, SPLITS, class_names_of, modes_of, named_set, set_of_rows

__all__ = ["load_maps"]

SOURCES = ("simulator", "hub")
HUB_NAMES = {
    "train": "YxBxRyXJx/NSOARTC_Tanshi_1221",
    "test": "YxBxRyXJx/NSOARTC_Tanshi_TEST_0107",
}
# All that decides what the cell makes.
CELL = [
    Path(__file__).with_name(f"{name}.py")
    for name in ("dataset", "failure_modes", "rt", "simulator", "soart")
]
# The Hub has a training and a test set; shares of the former that are set aside for the others.
SET_ASIDE = {"validation": 0.2, "calibration": 0.2}
SET_ASIDE_SEED = 0


def load_maps(
    split: str,
    size: int | None = None,
    seed: int = 0,
    source: Literal["simulator", "hub"] | None = None,
) -> ImageSet:
    """Load a named set of maps, in memory.

    Maps come from the simulated inspection cell; what it has made is kept
    (`snnlib.array_cache`), shared and read-only. By choice, with ``source="hub"`` or the
    environment variable ``SNNLIB_NSOARTC=hub``, they are the published sets; validation and
    calibration parts are then set aside from the published training set.

    Parameters
    ----------
    split : str
        ``"train"``, ``"test"``, ``"validation"`` or ``"calibration"``, and if simulated also
        ``"unseen"``, ``"retest"`` or ``"later"``; see `snnlib.nsoartc.dataset.named_set`.
    size : int, optional
        Draw so many maps, each class in proportion; all of them in their own order if None.
    seed : int, default 0
        Seed of that draw.
    source : {"simulator", "hub"}, optional
        Insist on one place.

    Returns
    -------
    ImageSet
        Raw maps (n, 1, 36, 39) float32; its `source` says where they came from.

    Raises
    ------
    ValueError
        If a split, size or source is unknown, or the published set is broken.
    ConnectionError
        If the Hub is insisted on and can't be reached.

    Warns
    -----
    UserWarning
        If the published test set holds failure modes that its training set lacks. They come last
        among the class names.
    """
    named = "source" if source else "SNNLIB_NSOARTC"
    place = source or os.environ.get("SNNLIB_NSOARTC") or SOURCES[0]
    check_choice(named, place, SOURCES)
    if place == "hub":
        check_choice("split", split, (*HUB_NAMES, *SET_ASIDE))
        maps = _maps_from_hub(split)
        if size is None:
            return maps
        return maps.take(drawn(maps.labels, size, seed, f"the {split} maps ({maps.source})"))
    check_choice("split", split, SPLITS)
    return _simulated(split, size, seed)


@cache
def _simulated(split, size, seed):
    """A named set, or only those of its parts that were drawn; made once a machine."""
    name, rows = f"nsoartc-{split}", None
    if size is not None:
        name += f"-{size}-{seed}"
        rows = drawn(modes_of(split), size, seed, f"the {split} maps")

    def make():
        made = named_set(split, rows)
        return {"images": made.images, "labels": made.labels}

    arrays = cached_arrays(name, CELL, make)
    return locked(ImageSet(**arrays, class_names=class_names_of(modes_of(split)), source=SOURCE))


def _maps_from_hub(split):
    if split == "test":
        # Labels are those of the training set; a failure mode that was not trained comes after.
        return _rows_of_hub("test", _rows_of_hub("train").class_names)
    return _cut_training_set()[split]


@cache
def _cut_training_set():
    """The published training set, cut into what trains and what is set aside."""
    rest = whole = _rows_of_hub("train")
    parts = {}
    for split, share in SET_ASIDE.items():
        rest, parts[split] = rest.split(round(share * len(whole)), seed=SET_ASIDE_SEED)
    return {split: locked(part) for split, part in {**parts, "train": rest}.items()}


@cache
def _rows_of_hub(split, modes=None):
    from snnlib.data import stored  # what it reads with is an extra

    repository = HUB_NAMES[split]
    rows = stored.hub_dataset(repository)
    modes = modes or class_names_of(rows["fmode"])
    words = f"nsoartc as published, Hugging Face Hub ({repository})"
    return locked(set_of_rows(rows, words, modes))
