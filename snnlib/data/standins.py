"""Stand-ins for the image sets that need neither a file nor a network.

Digits are real handwriting (scikit-learn's copy of the UCI set, 8 × 8 pixels, enlarged). Garments
are drawn: ten simple outlines whose proportions, place, shade and texture vary from image to image.
"""

from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

__all__ = ["digits", "garments"]

SIDE = 28  # pixels, as in MNIST and Fashion-MNIST
TEST_DIGITS = 500  # of 1 797
GARMENTS_A_CLASS = {"train": 200, "test": 50}
OVERSAMPLING = 4  # outlines are drawn larger and shrunk, which smooths their edges
SEED = 28  # fixed: a stand-in is the same on every machine


def digits(split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray, str]:
    """Scikit-learn's 8 × 8 digits enlarged to 28 × 28.

    Parameters
    ----------
    split : {"train", "test"}
        1 297 or 500 of the 1 797 digits.

    Returns
    -------
    images : ndarray, shape (n, 1, 28, 28), float32
        In [0, 1].
    labels : ndarray, shape (n,), int64
    words : str
        What they are.
    """
    whole = load_digits()
    train, test = train_test_split(
        np.arange(len(whole.target)),
        test_size=TEST_DIGITS,
        random_state=SEED,
        stratify=whole.target,
    )
    chosen = {"train": train, "test": test}[split]
    small = whole.images[chosen].astype(np.float32) / 16
    factor = SIDE / small.shape[1]
    images = zoom(small, (1, factor, factor), order=1, grid_mode=True, mode="nearest")
    return (
        images[:, None],
        whole.target[chosen].astype(np.int64),
        "scikit-learn's digits, 8 × 8 enlarged to 28 × 28 (stand-in)",
    )


def garments(split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray, str]:
    """Drawn garments in the ten classes of Fashion-MNIST.

    Parameters
    ----------
    split : {"train", "test"}
        200 or 50 images a class.

    Returns
    -------
    images : ndarray, shape (n, 1, 28, 28), float32
        In [0, 1].
    labels : ndarray, shape (n,), int64
    words : str
        What they are.
    """
    n = GARMENTS_A_CLASS[split]
    rng = np.random.default_rng((SEED, list(GARMENTS_A_CLASS).index(split)))
    labels = np.tile(np.arange(len(OUTLINES)), n)
    images = np.stack([_draw(OUTLINES[label], rng) for label in labels])
    return images[:, None], labels, "drawn garments (stand-in)"


def _draw(outline, rng):
    """One garment: its polygons in one shade, moved and turned a little, with texture."""
    size = SIDE * OVERSAMPLING
    canvas = Image.new("L", (size, size))
    brush = ImageDraw.Draw(canvas)
    shade = int(rng.uniform(120, 250))
    for polygon, tone in outline(rng):
        points = [tuple(size * np.array(point)) for point in polygon]
        brush.polygon(points, fill=int(shade * tone))
    canvas = canvas.rotate(
        rng.normal(0, 3), Image.Resampling.BILINEAR, translate=tuple(rng.normal(0, 3, 2))
    )
    canvas = canvas.filter(ImageFilter.GaussianBlur(1)).resize((SIDE, SIDE), Image.Resampling.BOX)
    image = np.asarray(canvas, dtype=np.float32) / 255
    texture = 1 + rng.uniform(0.02, 0.15) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image * texture, 0, 1)


def _mirrored(half):
    """Close a right-hand outline by its mirror image about the middle of the picture."""
    return half + [(1 - x, y) for x, y in reversed(half)]


def _top(rng, sleeve, hem, opening=0.0):
    """A garment for the upper body: sleeve length, height of the hem, an open front."""
    shoulder, waist = 0.5 + rng.uniform(0.17, 0.22), 0.5 + rng.uniform(0.15, 0.21)
    top, width = rng.uniform(0.1, 0.16), rng.uniform(0.09, 0.13)
    cuff = (shoulder + rng.uniform(0.13, 0.2), top + 0.08 + sleeve)
    body = [
        (0.5 + rng.uniform(0.07, 0.1), top),
        (shoulder, top + 0.03),
        cuff,
        (cuff[0] - width, cuff[1] + 0.03),
        (shoulder - 0.02, top + 0.2),
        (waist, hem),
    ]
    parts = [(_mirrored(body), 1.0)]
    if opening:
        parts.append((_mirrored([(0.5 + opening, top), (0.5 + opening, hem)]), 0.35))
    return parts


def _tshirt(rng):
    return _top(rng, rng.uniform(0.1, 0.18), rng.uniform(0.8, 0.9))


def _pullover(rng):
    return _top(rng, rng.uniform(0.5, 0.62), rng.uniform(0.8, 0.88))


def _coat(rng):
    return _top(rng, rng.uniform(0.5, 0.62), rng.uniform(0.9, 0.97), rng.uniform(0.012, 0.025))


def _shirt(rng):
    parts = _top(rng, rng.uniform(0.42, 0.56), rng.uniform(0.82, 0.92))
    buttons = [
        ([(0.485, y), (0.515, y), (0.515, y + 0.03), (0.485, y + 0.03)], 0.3)
        for y in np.arange(0.25, 0.8, rng.uniform(0.1, 0.14))
    ]
    return parts + buttons


def _trouser(rng):
    waist, foot = rng.uniform(0.12, 0.17), rng.uniform(0.14, 0.2)
    crotch, width = rng.uniform(0.3, 0.42), rng.uniform(0.08, 0.12)
    leg = [(0.5, 0.06), (0.5 + waist, 0.06), (0.5 + foot, 0.95), (0.5 + foot - width, 0.95)]
    leg.append((0.5, crotch))
    return [(leg, 1.0), ([(1 - x, y) for x, y in leg], 1.0)]


def _dress(rng):
    shoulder, waist = rng.uniform(0.09, 0.14), rng.uniform(0.08, 0.12)
    skirt, hem = rng.uniform(0.15, 0.26), rng.uniform(0.9, 0.97)
    half = [(0.54, 0.06), (0.5 + shoulder, 0.06), (0.5 + waist, 0.42), (0.5 + skirt, hem)]
    return [(_mirrored(half), 1.0)]


def _sandal(rng):
    sole, heel = rng.uniform(0.7, 0.76), rng.uniform(0.02, 0.12)
    parts = [([(0.06, sole - heel), (0.94, sole), (0.94, sole + 0.06), (0.06, sole + 0.06)], 0.9)]
    for x in rng.uniform(0.15, 0.3) + np.array([0.0, 0.25, 0.5]):
        tilt, width = rng.uniform(-0.15, 0.15), rng.uniform(0.03, 0.06)
        strap = [(x, sole), (x + tilt, 0.42), (x + tilt + width, 0.42), (x + width, sole)]
        parts.append((strap, 1.0))
    return parts


def _sneaker(rng):
    sole, ankle = rng.uniform(0.7, 0.75), rng.uniform(0.42, 0.5)
    shoe = [(0.06, ankle), (0.36, ankle), (0.6, ankle + 0.13), (0.9, ankle + 0.17), (0.95, sole)]
    band = [(0.05, sole), (0.95, sole), (0.95, sole + 0.06), (0.05, sole + 0.06)]
    return [([*shoe, (0.06, sole)], 0.8), (band, 1.0)]


def _ankle_boot(rng):
    sole, shaft = rng.uniform(0.82, 0.88), rng.uniform(0.1, 0.2)
    heel, toe = rng.uniform(0.03, 0.1), rng.uniform(0.5, 0.58)
    boot = [(0.12, shaft), (0.52, shaft), (0.56, toe - 0.06), (0.9, toe + 0.1), (0.94, sole)]
    return [([*boot, (0.4, sole), (0.36, sole + heel), (0.1, sole + heel)], 1.0)]


def _bag(rng):
    top, side, grip = rng.uniform(0.38, 0.48), rng.uniform(0.32, 0.42), rng.uniform(0.12, 0.24)
    handle = [(0.5 + grip, top), (0.5 + grip - 0.04, 0.16), (0.5 + grip - 0.1, 0.16)]
    inner = [(0.5 + grip - 0.06, top), (0.5 + grip - 0.09, 0.22)]
    body = [(0.5 + side - 0.03, top), (0.5 + side, 0.88)]
    return [(_mirrored(handle), 0.9), (_mirrored(inner), 0.0), (_mirrored(body), 1.0)]


OUTLINES = (
    _tshirt,
    _trouser,
    _pullover,
    _dress,
    _coat,
    _sandal,
    _shirt,
    _sneaker,
    _bag,
    _ankle_boot,
)
