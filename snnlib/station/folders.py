"""Photographs of one's own, in a folder with a sub-folder for each class."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from snnlib.images import ImageSet

__all__ = ["load_folder"]

# What systems leave behind in folders, beside files whose names begin with a dot.
LITTER = {"Thumbs.db", "desktop.ini"}
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}


def load_folder(path: str | Path) -> ImageSet:
    """Load photographs from a folder, the name of each sub-folder being a class.

    Any format that Pillow reads, with 8 bits a colour or 8 or 16 bits of grey. If one image is in
    colour, all are made so. Photographs are turned upright as their camera says; transparency is
    dropped.

    Parameters
    ----------
    path : str or Path
        Folder with at least two sub-folders. Their files must be images, all of one size; files
        beside the sub-folders are passed over.

    Returns
    -------
    ImageSet
        Images (n, c, h, w) float32 in [0, 1], where c is 1 or 3; classes and files sorted by name.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    ValueError
        If there are fewer than two classes, a class is empty or holds a folder, a file can't be
        read as one image, or the images differ in size; says which.
    """
    path = Path(path)
    if not path.is_dir():
        raise NotADirectoryError(f"expected a folder with a sub-folder a class, got {str(path)!r}")
    classes = [entry for entry in _entries(path) if entry.is_dir()]
    if len(classes) < 2:
        raise ValueError(
            f"{path} must hold a sub-folder for each of at least two classes, "
            f"got {[folder.name for folder in classes]}"
        )
    files = [_files(folder) for folder in classes]
    pictures = [_read(file) for of_class in files for file in of_class]
    _check_sizes([file for of_class in files for file in of_class], pictures)
    channels = max(picture.shape[0] for picture in pictures)
    images = np.empty((len(pictures), channels, *pictures[0].shape[1:]), dtype=np.float32)
    for image, picture in zip(images, pictures):
        image[:] = picture  # a grey picture goes to all channels
        image /= np.iinfo(picture.dtype).max
    labels = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in files])
    names = tuple(folder.name for folder in classes)
    return ImageSet(images, labels, names, f"folder {path.name}")


def _entries(folder):
    kept = (e for e in folder.iterdir() if not e.name.startswith(".") and e.name not in LITTER)
    return sorted(kept, key=lambda entry: entry.name)


def _files(folder):
    """The files of a class, all of them."""
    entries = _entries(folder)
    if not entries:
        raise ValueError(f"class {folder.name!r} is empty: there is no file in {folder}")
    for entry in entries:
        if not entry.is_file():
            raise ValueError(f"class {folder.name!r} must hold images only, but holds {entry}")
    return entries


def _read(file):
    """Pixels of one file: (1 or 3, h, w), unsigned integers of 8 or 16 bits."""
    try:
        with Image.open(file) as image:
            pictures = getattr(image, "n_frames", 1)
            if pictures > 1:
                raise ValueError(f"it holds {pictures} pictures, expected one")
            return _pixels(ImageOps.exif_transpose(image))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} can't be read as an image: {error}") from error


def _pixels(image):
    if image.mode in COLOUR:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    if image.mode not in GREY:
        raise ValueError(f"its pixels are of the kind {image.mode!r}, expected 8 or 16 bits")
    if not image.mode.startswith("I"):
        return np.asarray(image.convert("L"))[None]
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"its pixels lie in {pixels.min()} … {pixels.max()}, expected 16 bits")
    return pixels.astype(np.uint16)[None]


def _check_sizes(files, pictures):
    height, width = pictures[0].shape[1:]
    for file, picture in zip(files, pictures):
        if picture.shape[1:] != (height, width):
            h, w = picture.shape[1:]
            raise ValueError(
                f"images must be of one size, got {width} × {height} pixels in {files[0]} "
                f"and {w} × {h} in {file}"
            )
