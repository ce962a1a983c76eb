"""Decoding stored image sets: parquet files on disk and data sets of the Hugging Face Hub."""

import io
import threading
import urllib.error
import urllib.request
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from PIL import Image

__all__ = ["hub_dataset", "hub_reachable", "read_hub", "read_parquet"]

PROBE_SECONDS = 5


def read_parquet(folder, split, n_classes):
    """Decode one split of a mirror.

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
    images : ndarray, shape (n, 1, h, w), float32
        In [0, 1].
    labels : ndarray, shape (n,), int64

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
    try:
        return _decode(pa.parquet.read_table(file), n_classes)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ValueError(f"the mirror file {file} is broken: {error}") from error


def read_hub(repository, split, n_classes):
    """Download one split from the Hub, or read it from the cache, and decode it.

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
    images : ndarray, shape (n, 1, h, w), float32
        In [0, 1].
    labels : ndarray, shape (n,), int64

    Raises
    ------
    ConnectionError
        If the Hub can't be reached and the set is not in the cache.
    ValueError
        If the set lacks a column, or holds a broken image or an unknown label.
    """
    import datasets

    dataset = hub_dataset(repository, split)
    if "image" in dataset.column_names:
        dataset = dataset.cast_column("image", datasets.Image(decode=False))
    return _decode(dataset.with_format("arrow")[:], n_classes)


def hub_dataset(repository, split=None):
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
    import datasets

    download = datasets.load_dataset if hub_reachable() else _from_cache
    found = download(repository, split=split)
    if split is None:
        if len(found) != 1:
            raise ValueError(f"expected one split in {repository}, got {list(found)}")
        (found,) = found.values()
    return found


@cache
def hub_reachable():
    """Whether the Hub answers within 5 s; asked once a process.

    Returns
    -------
    bool
    """
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
    """Read the cache at once; left to itself, `datasets` tries the network for 23 s first."""
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


def _decode(table, n_classes):
    """Images and labels of an Arrow table with the columns ``image`` (PNG) and ``label``."""
    missing = {"image", "label"} - set(table.column_names)
    if missing:
        raise ValueError(f"it lacks the columns {sorted(missing)}, got {table.column_names}")
    if not len(table):
        raise ValueError("it holds no image")
    files = table["image"].combine_chunks().field("bytes").to_pylist()
    pixels = [_decode_image(row, file) for row, file in enumerate(files)]
    shapes = {image.shape for image in pixels}
    if len(shapes) > 1:
        raise ValueError(f"its images differ in size: {sorted(shapes)}")
    labels = table["label"].to_numpy().astype(np.int64)
    outside = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if len(outside):
        raise ValueError(
            f"label {labels[outside[0]]} in row {outside[0]}, expected 0 … {n_classes - 1}"
        )
    images = np.stack(pixels)[:, None].astype(np.float32)
    images /= 255
    return images, labels


def _decode_image(row, png):
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return np.asarray(image if image.mode == "L" else image.convert("L"))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"the image in row {row} can't be decoded ({error})") from error
