"""Where an image set comes from: the mirror, then the Hub, then a stand-in."""

import os
import warnings
from functools import cache
from pathlib import Path
from typing import Literal, overload

import numpy as np
from sklearn.model_selection import train_test_split

from snnlib.data import standins
from snnlib.data.cells import CellSet, load_cells
from snnlib.images import ImageSet

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


@overload
def load(
    name: Literal["mnist", "fashion_mnist", "digits"],
    split: Literal["train", "test"],
    size: int | None = None,
    seed: int = 0,
    source: Literal["mirror", "hub", "standin"] | None = None,
) -> ImageSet: ...
@overload
def load(
    name: Literal["elpv"],
    split: Literal["train", "calibration", "test"],
    size: int | None = None,
    seed: int = 0,
) -> CellSet: ...
def load(
    name: str,
    split: str,
    size: int | None = None,
    seed: int = 0,
    source: str | None = None,
) -> ImageSet:
    """Load an image set, in memory, from the first place that has it.

    The places, in order: the folder named by the environment variable ``SNNLIB_DATA``
    (``<folder>/<name>/<split>-00000-of-00001.parquet``), the Hugging Face Hub (asked for at most
    5 s whether it is there; what it once delivered works offline), and a stand-in that needs
    neither file nor network: scikit-learn's digits, or drawn garments. A whole set is decoded once
    a machine and kept (`snnlib.array_cache`); its arrays are shared and read-only. Of a part of it
    no more is decoded than that part.

    Solar cells, "elpv", are another matter: they come with the package elpv-dataset, so with the
    extra ``chapters``, and are cut by the seed (`snnlib.data.cells.load_cells`).

    Parameters
    ----------
    name : {"mnist", "fashion_mnist", "digits", "elpv"}
        Which set.
    split : {"train", "test"}, or for "elpv" also "calibration"
        Which part of it.
    size : int, optional
        Draw so many images, each class in proportion; all of them in their own order if None.
    seed : int, default 0
        Seed of that draw.
    source : {"mirror", "hub", "standin"}, optional
        Insist on one place.

    Returns
    -------
    ImageSet
        Images (n, 1, 28, 28) float32 in [0, 1]; its `source` says where they came from. A
        `.CellSet` of images (n, 1, 300, 300) for "elpv".

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
    """
    check_choice("name", name, (*CLASS_NAMES, "elpv"))
    if name == "elpv":
        if source is not None:
            raise ValueError(f"elpv has one source, the package elpv-dataset; got {source!r}")
        return load_cells(split, size, seed)
    check_choice("split", split, SPLITS)
    if source is not None:
        check_choice("source", source, SOURCES)
    place = name, split, source, os.environ.get("SNNLIB_DATA")
    if size is None:
        return _load_whole(*place)
    labels, read_images, words = _find(*place)
    rows = drawn(labels, size, seed, f"the {split} images of {name} ({words})")
    return ImageSet(read_images(rows), labels[rows], CLASS_NAMES[name], words)


def drawn(labels, size, seed, what):
    """Positions of `size` of the labels, each class in proportion."""
    classes = len(np.unique(labels))
    if not classes <= size <= len(labels):
        raise ValueError(f"size must lie in {classes} … {len(labels)} for {what}, got {size}")
    if size > len(labels) - classes:  # too few would be left for a stratified draw
        return np.random.default_rng(seed).permutation(len(labels))[:size]
    everything = np.arange(len(labels))
    return train_test_split(everything, test_size=size, random_state=seed, stratify=labels)[1]


def check_choice(what, value, choices):
    if value not in choices:
        raise ValueError(f"{what} must be one of {', '.join(choices)}; got {value!r}")


@cache
def _load_whole(name, split, source, folder):
    """The whole split, decoded once a process."""
    labels, read_images, words = _find(name, split, source, folder)
    return locked(ImageSet(read_images(), labels, CLASS_NAMES[name], words))


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
    from snnlib.data import stored  # what it reads with is an extra

    found = stored.read_parquet(folder / name, split, len(CLASS_NAMES[name]))
    return *found, f"{name}, local mirror"


def _from_hub(name, split, folder, insist):
    if name not in HUB_NAMES:
        return None
    from snnlib.data import stored

    repository = HUB_NAMES[name]
    try:
        found = stored.read_hub(repository, split, len(CLASS_NAMES[name]))
    except Exception as error:
        if insist or isinstance(error, ModuleNotFoundError):
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


def locked(image_set):
    """The set itself, read-only, since all who ask for it share it."""
    image_set.images.flags.writeable = image_set.labels.flags.writeable = False
    return image_set
