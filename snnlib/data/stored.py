"""Decoding stored image sets: parquet files on disk and data sets of the Hugging Face Hub."""

import io
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from snnlib.array_cache import cached_arrays
from snnlib.extras import extra

with extra("data"):
    import pyarrow as pa
    import pyarrow.parquet

if TYPE_CHECKING:  # it takes a second to load, and a mirror does without it
    import datasets

__all__ = ["hub_dataset", "hub_reachable", "read_hub", "read_parquet"]

PROBE_SECONDS = 5


def read_parquet(
    folder: Path, split: str, n_classes: int
) -> tuple[np.ndarray, Callable[..., np.ndarray]]:
    """Read one split of a mirror: its labels at once, its images when they are asked for.

    Parameters
    ----------
    folder : Path
        Holds ``<split>-00000-of-00001.parquet`` with the columns ``image`` and ``label``.
    split : str
        Name of the split.
    n_classes : int
        Labels must lie below it.

    Returns
    -------
    labels : ndarray, shape (n,), int64
    read_images : callable
        Takes positions (m,) and returns their images (m, 1, h, w), float32 in [0, 1], decoding no
        others; without positions all of them, which it keeps decoded for the next time.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If it can't be read, lacks a column, or holds a broken image or an unknown label.
    """
    file = folder / f"{split}-00000-of-00001.parquet"
    if not file.is_file():
        raise FileNotFoundError(f"the mirror folder {folder} lacks the file {file.name}")
    columns = partial(pa.parquet.read_table, file)
    with _telling_of(file):
        labels = _labels(pa.parquet.read_schema(file).names, columns, n_classes)

    def read_images(rows=None):
        with _telling_of(file):
            return _images(f"{folder.name}-{split}", [file], columns, rows)

    return labels, read_images


def read_hub(
    repository: str, split: str, n_classes: int
) -> tuple[np.ndarray, Callable[..., np.ndarray]]:
    """Download one split from the Hub, or read it from the cache.

    Parameters
    ----------
    repository : str
        Name on the Hub, ``owner/name``.
    split : str
        Name of the split.
    n_classes : int
        Labels must lie below it.

    Returns
    -------
    labels : ndarray, shape (n,), int64
    read_images : callable
        As of `read_parquet`.

    Raises
    ------
    ConnectionError
        If the Hub can't be reached and the set is not in the cache.
    ValueError
        If the set lacks a column, or holds a broken image or an unknown label.
    """
    with extra("data"):
        import datasets

    dataset = hub_dataset(repository, split)
    if "image" in dataset.column_names:
        dataset = dataset.cast_column("image", datasets.Image(decode=False))

    def columns(columns):
        return dataset.select_columns(columns).with_format("arrow")[:]

    files = [file["filename"] for file in dataset.cache_files]
    name = f"{repository.replace('/', '-')}-{split}"
    labels = _labels(dataset.column_names, columns, n_classes)
    return labels, partial(_images, name, files, columns)


@contextmanager
def _telling_of(file):
    """Say of which file an error speaks."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ValueError(f"the mirror file {file} is broken: {error}") from error


def hub_dataset(repository: str, split: str | None = None) -> "datasets.Dataset":
    """Download one split from the Hub, or read it from the cache.

    Parameters
    ----------
    repository : str
        Name on the Hub, ``owner/name``.
    split : str, optional
        Name of the split; the only one if None.

    Returns
    -------
    datasets.Dataset

    Raises
    ------
    ConnectionError
        If the Hub can't be reached and the set is not in the cache.
    ValueError
        If no split is named and there is not just one.
    """
    with extra("data"):
        import datasets

    download = datasets.load_dataset if hub_reachable() else _from_cache
    found = download(repository, split=split)
    if split is None:
        if len(found) != 1:
            raise ValueError(f"expected one split in {repository}, got {list(found)}")
        (found,) = found.values()
    return found


@cache
def hub_reachable() -> bool:
    """Whether the Hub answers within 5 s; asked once a process.

    Returns
    -------
    bool
    """
    with extra("data"):
        from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    answers = []

    def ask():
        try:
            request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
            with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as answer:
                answers.append(answer.status)
        except (OSError, urllib.error.URLError, ValueError):
            pass

    # Looking up a name has no time limit of its own, so the asking runs beside us.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    return bool(answers)


def _from_cache(repository, split):
    """Read the cache at once; left to itself, `datasets` tries the network for 23 s first.

    So it does with ``DownloadConfig(local_files_only=True)``, which holds for files alone.
    """
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(repository, split=split)
    except Exception as error:
        raise ConnectionError(
            f"the Hugging Face Hub can't be reached, and {repository} is not in its cache"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _labels(names, columns, n_classes):
    """Labels of a table with the columns ``image`` (PNG) and ``label``."""
    missing = {"image", "label"} - set(names)
    if missing:
        raise ValueError(f"it lacks the columns {sorted(missing)}, got {names}")
    labels = columns(columns=["label"])["label"].to_numpy().astype(np.int64)
    if not len(labels):
        raise ValueError("it holds no image")
    outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(outside):
        raise ValueError(
            f"label {labels[outside[0]]} in row {outside[0]}, expected 0 … {n_classes - 1}"
        )
    return labels


def _images(name, files, columns, rows=None):
    """Images of a table, of all its rows or of some, as far as they are kept not decoded again."""
    decode = partial(_decode, columns)
    make = decode if rows is None else None
    # How they are decoded shapes them, too, so this file is among what the cache looks at.
    found = cached_arrays(name, [*files, __file__], make) if files else None
    pixels = (found or decode(rows))["images"]
    if found and rows is not None:
        pixels = pixels[rows]
    images = pixels[:, None].astype(np.float32)
    images /= 255
    return images


def _decode(columns, rows=None):
    column = columns(columns=["image"])["image"].combine_chunks().field("bytes")
    rows = np.arange(len(column)) if rows is None else rows
    pixels = [_decode_image(row, column[row].as_py()) for row in rows.tolist()]
    shapes = {image.shape for image in pixels}
    if len(shapes) > 1:
        raise ValueError(f"its images differ in size: {sorted(shapes)}")
    return {"images": np.stack(pixels)}


def _decode_image(row, png):
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return np.asarray(image if image.mode == "L" else image.convert("L"))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"the image in row {row} can't be decoded ({error})") from error
