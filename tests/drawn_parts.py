"""Photographs of parts, drawn: a grey sheet with grain, and what may be wrong with it."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw(rng, kind="OK", *, size=(64, 64), light=120.0, at=None):
    """Draw a photograph (h, w, 3), uint8; what is wrong lies anywhere, or at (x, y)."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    sheet = light + rng.normal(0, 3) + rng.normal(0, rng.uniform(6, 10), size)
    left, top = (rng.uniform(12, length - 12) for length in (width, height))
    left, top = (left, top) if at is None else at
    if kind == "dent":  # a bright disc
        sheet += 70 * (np.hypot(x - left, y - top) < 7)
    elif kind == "scratch":  # a dark line
        sheet -= 70 * ((abs(y - top) < 1.5) & (abs(x - left) < 12))
    elif kind == "stain":  # a large, soft shadow
        sheet -= 60 * np.exp(-(((x - left) / 9) ** 2 + ((y - top) / 9) ** 2))
    elif kind != "OK":
        raise ValueError(f"nobody has drawn a {kind!r}")
    colour = sheet[..., None] + np.array([0, 4, 8])  # a little blue
    return np.clip(colour, 0, 255).astype(np.uint8)


def frames(n, seed, kind="OK", **how):
    """Draw photographs as a camera hands them over, (n, h, w, 3)."""
    rng = np.random.default_rng(seed)
    return np.stack([draw(rng, kind, **how) for _ in range(n)])


def write(folder, photographs, first=0):
    """Write photographs into a folder, by their number."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{first + k:03}.png" for k in range(len(photographs))]
    for file, pixels in zip(files, photographs):
        Image.fromarray(pixels).save(file, compress_level=1)
    return files


def write_lots(folder, counts, seed=0, **how):
    """Write folders of lots and classes: as many as said of each (lot, class)."""
    for k, ((lot, kind), count) in enumerate(counts.items()):
        write(Path(folder, lot, kind), frames(count, (seed, k), kind, **how))
    return Path(folder)
