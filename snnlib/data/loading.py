"""Where an image set comes from: the mirror, then the Hub, then a stand-in.

Inspection maps come from the simulated cell, or by choice from the Hub.
"""

import os
import warnings
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.model_selection import train_test_split

from snnlib.array_cache import cached_arrays
from snnlib.data import standins, stored
from snnlib.images import ImageSet
from snnlib.nsoartc import dataset
from snnlib.nsoartc.dataset import SOURCE as SIMULATED
from snnlib.nsoartc.dataset import SPLITS as MAP_SPLITS
from snnlib.nsoartc.dataset import class_names_of, modes_of, named_set, set_of_rows

__all__ = ["load"]

CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "digits": tuple("0123456789"),
}
HUB_NAMES = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist"}
STANDINS = {
    "mnist": standins.digits,
    "fashion_mnist": standins.garments,
    "digits": standins.digits,
}
SPLITS = ("train", "test")
SOURCES = ("mirror", "hub", "standin")

MAPS = "nsoartc"
MAP_SOURCES = ("simulator", "hub")
MAP_HUB_NAMES = {
    "train": "YxBxRyXJx/NSOARTC_Tanshi_1221",
    "test": "YxBxRyXJx/NSOARTC_Tanshi_TEST_0107",
}
CELL = sorted(Path(dataset.__file__).parent.glob("*.py"))  # all that decides what the cell makes
# The Hub has a training and a test set; shares of the former that are set aside for the others.
SET_ASIDE = {"validation": 0.2, "calibration": 0.2}
SET_ASIDE_SEED = 0


def load(
    name: Literal["mnist", "fashion_mnist", "digits", "nsoartc"],
    split: str,
    size: int | None = None,
    seed: int = 0,
    source: Literal["mirror", "hub", "standin", "simulator"] | None = None,
) -> ImageSet:
    """Load an image set, in memory, from the first place that has it.

    The places, in order: the folder named by the environment variable ``SNNLIB_DATA``
    (``<folder>/<name>/<split>-00000-of-00001.parquet``), the Hugging Face Hub (asked for at most
    5 s whether it is there; what it once delivered works offline), and a stand-in that needs
    neither file nor network: scikit-learn's digits, or drawn garments. A whole set is decoded once
    a machine and kept (`snnlib.array_cache`); its arrays are shared and read-only. Of a part of it
    no more is decoded than that part.

    The maps of ``"nsoartc"`` come from the simulated inspection cell. By choice, with
    ``source="hub"`` or the environment variable ``SNNLIB_NSOARTC=hub``, they are the published
    sets; validation and calibration parts are then set aside from the published training set.

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "digits", "nsoartc"}
        Which set.
    split : str
        Which part of it: ``"train"`` or ``"test"``, for maps also ``"validation"`` or
        ``"calibration"``, and if simulated ``"unseen"``, ``"retest"`` or ``"later"``; see
        `snnlib.nsoartc.dataset.named_set`.
    size : int, optional
        Draw so many images, each class in proportion; all of them in their own order if None.
    seed : int, default 0
        Seed of that draw.
    source : {"mirror", "hub", "standin", "simulator"}, optional
        Insist on one place; the last one for maps only, which know no mirror and no stand-in.

    Returns
    -------
    ImageSet
        Images (n, 1, 28, 28) float32 in [0, 1], or raw maps (n, 1, 36, 39) float32; its `source`
        says where they came from.

    Raises
    ------
    ValueError
        If a name, split, size or source is unknown, or a file is broken.
    NotADirectoryError
        If ``SNNLIB_DATA`` is set and is no folder.
    FileNotFoundError
        If the mirror has the set but not the file, or the source insisted on has not the set.
    ConnectionError
        If the Hub is insisted on and can't be reached.

    Warns
    -----
    RuntimeWarning
        If the Hub answers but does not deliver, and the stand-in takes its place.
    UserWarning
        If the published test set holds failure modes that its training set lacks. They come last
        among the class names.
    """
    _check_choice("name", name, (*CLASS_NAMES, MAPS))
    if name == MAPS:
        return _load_maps(split, size, seed, source)
    _check_choice("split", split, SPLITS)
    if source is not None:
        _check_choice("source", source, SOURCES)
    place = name, split, source, os.environ.get("SNNLIB_DATA")
    if size is None:
        return _load_whole(*place)
    labels, read_images, words = _find(*place)
    rows = _drawn(labels, size, seed, f"the {split} images of {name} ({words})")
    return ImageSet(read_images(rows), labels[rows], CLASS_NAMES[name], words)


def _drawn(labels, size, seed, what):
    """Positions of `size` of the labels, each class in proportion."""
    classes = len(np.unique(labels))
    if not classes <= size <= len(labels):
        raise ValueError(f"size must lie in {classes} … {len(labels)} for {what}, got {size}")
    if size > len(labels) - classes:  # too few would be left for a stratified draw
        return np.random.default_rng(seed).permutation(len(labels))[:size]
    everything = np.arange(len(labels))
    return train_test_split(everything, test_size=size, random_state=seed, stratify=labels)[1]


def _check_choice(what, value, choices):
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {value!r}")


@cache
def _load_whole(name, split, source, folder):
    """The whole split, decoded once a process."""
    labels, read_images, words = _find(name, split, source, folder)
    return _locked(ImageSet(read_images(), labels, CLASS_NAMES[name], words))


@cache
def _find(name, split, source, folder):
    """Labels, images on demand, and in words where they come from.

    `folder` is an argument so that another mirror is another entry.
    """
    places = {"mirror": _from_mirror, "hub": _from_hub, "standin": _from_standin}
    for place in (source,) if source else SOURCES:
        found = places[place](name, split, folder, insist=source is not None)
        if found is not None:
            return found
    raise FileNotFoundError(f"there is no {name} in the {source}")


def _from_mirror(name, split, folder, insist):
    if not folder:
        if insist:
            raise FileNotFoundError("SNNLIB_DATA names no mirror to load from")
        return None
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"SNNLIB_DATA must name a folder, got {str(folder)!r}")
    if not (folder / name).is_dir():
        return None
    found = stored.read_parquet(folder / name, split, len(CLASS_NAMES[name]))
    return *found, f"{name}, local mirror"


def _from_hub(name, split, folder, insist):
    if name not in HUB_NAMES:
        return None
    repository = HUB_NAMES[name]
    try:
        found = stored.read_hub(repository, split, len(CLASS_NAMES[name]))
    except Exception as error:
        if insist:
            raise
        if stored.hub_reachable():  # it answered, so this is more than a missing network
            warnings.warn(
                f"the Hugging Face Hub did not deliver {repository} ({error}); using a stand-in",
                RuntimeWarning,
                stacklevel=5,
            )
        return None
    return *found, f"{name}, Hugging Face Hub ({repository})"


def _from_standin(name, split, folder, insist):
    images, labels, words = STANDINS[name](split)
    return labels, lambda rows=None: images if rows is None else images[rows], words


def _locked(image_set):
    """The set itself, read-only, since all who ask for it share it."""
    image_set.images.flags.writeable = image_set.labels.flags.writeable = False
    return image_set


def _load_maps(split, size, seed, source):
    named = "source" if source else "SNNLIB_NSOARTC"
    source = source or os.environ.get("SNNLIB_NSOARTC") or MAP_SOURCES[0]
    _check_choice(named, source, MAP_SOURCES)
    if source == "hub":
        _check_choice("split", split, (*MAP_HUB_NAMES, *SET_ASIDE))
        maps = _maps_from_hub(split)
        if size is None:
            return maps
        return maps.take(_drawn(maps.labels, size, seed, f"the {split} maps ({maps.source})"))
    _check_choice("split", split, MAP_SPLITS)
    return _simulated(split, size, seed)


@cache
def _simulated(split, size, seed):
    """A named set, or only those of its parts that were drawn; made once a machine."""
    name, rows = f"{MAPS}-{split}", None
    if size is not None:
        name += f"-{size}-{seed}"
        rows = _drawn(modes_of(split), size, seed, f"the {split} maps")

    def make():
        made = named_set(split, rows)
        return {"images": made.images, "labels": made.labels}

    arrays = cached_arrays(name, CELL, make)
    return _locked(
        ImageSet(**arrays, class_names=class_names_of(modes_of(split)), source=SIMULATED)
    )


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
    return {split: _locked(part) for split, part in {**parts, "train": rest}.items()}


@cache
def _rows_of_hub(split, modes=None):
    repository = MAP_HUB_NAMES[split]
    rows = stored.hub_dataset(repository)
    modes = modes or class_names_of(rows["fmode"])
    words = f"{MAPS} as published, Hugging Face Hub ({repository})"
    return _locked(set_of_rows(rows, words, modes))
