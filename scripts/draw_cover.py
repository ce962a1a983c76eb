"""Draw the cover: one part, from three cameras to a verdict, by the CNN-triplet station.

Nothing on it is drawn by hand. Training takes a minute or two on two cores:

    .venv/bin/python scripts/draw_cover.py
"""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import ConnectionPatch
from sklearn.manifold import TSNE
from torch import nn

from snnlib import losses, plots
from snnlib.augmentation import TileShift
from snnlib.data import load
from snnlib.embedding import embed
from snnlib.encoders import Affine, UnitLength, map_cnn
from snnlib.inspection import PINS, inspect_part, set_up
from snnlib.nsoartc.dataset import (
    balance,
    fit_scaler,
    free_shifts,
    named_images,
    scale,
    unit_space,
)
from snnlib.sampling import BatchDataset
from snnlib.training import fit, one_cycle
from snnlib.whitening import WithinClassWhitening

FILE = Path(__file__).resolve().parent.parent / "figures" / "cover.svg"
SHOWN = "61D05"
INK = "#222222"


def build_station():
    """Train as the chapter on CNN-triplet inspection does, and set the station up."""
    train, calibration = load("nsoartc", "train"), load("nsoartc", "calibration")
    scaler = fit_scaler(train)
    scaled = scale(scaler, train)
    rows = scaled.images.reshape(len(scaled), -1)
    whitening = WithinClassWhitening().fit(rows, scaled.labels)
    shift = TileShift(PINS, free_shifts(train.class_names))
    encoder = nn.Sequential(shift, map_cnn(seed=0), UnitLength())
    batches = BatchDataset(scale(whitening, scaled), len(train) // 150, 10, 15, seed=0)
    fit(
        encoder,
        batches,
        partial(losses.semi_hard, margin=0.4),
        epochs=10,
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        schedule=one_cycle(1e-3),
    )
    front = Affine(scaler.mean_, whitening.matrix_ / scaler.scale_[:, None])
    return set_up(encoder, train, calibration, front=front, camera=unit_space())


def heading(ax, number, words):
    """Number and name a panel."""
    ax.set_title(
        f"{number}  {words}", loc="left", color=INK, fontsize=13, fontweight="bold", pad=10
    )


def draw_cameras(axes, images):
    """Show what the cameras see."""
    for ax, image, eye in zip(axes, images, ("left", "centre", "right")):
        ax.imshow(image, vmin=0, vmax=1, aspect="auto")
        ax.set_ylabel(eye, color=INK)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)


def draw_plane(ax, points, labels, names, part):
    """Show the parts as points, and where the shown one lies."""
    plots.scatter(points, labels, names, ax)
    ax.plot(*points[part], "o", mfc="none", mec=plots.DIFFERENT, ms=20, mew=3, zorder=5)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def point(figure, start, end):
    """Join two panels by an arrow, at half the height of the second."""
    arrow = ConnectionPatch(
        (1.01, 0.5),
        (0, 0.5),
        "axes fraction",
        "axes fraction",
        axesA=start,
        axesB=end,
        arrowstyle="-|>",
        color=INK,
        lw=3,
        mutation_scale=28,
    )
    figure.add_artist(arrow)


def draw(station):
    """Draw the four panels."""
    test = load("nsoartc", "test")
    chosen = balance(test)[0]
    network = nn.Sequential(station.front, station.encoder)
    points = TSNE(2, perplexity=30, random_state=0).fit_transform(embed(network, chosen.images))
    of_mode = np.flatnonzero(test.names == SHOWN)[:1]
    part = int(np.flatnonzero(chosen.names == SHOWN)[0])
    images = named_images("test", of_mode).images[0]
    verdict = inspect_part(station, images)

    figure = plt.figure(figsize=(15, 5.2), layout="none")
    cameras = [figure.add_axes((0.025, y, 0.29, 0.26)) for y in (0.64, 0.36, 0.08)]
    heading(cameras[0], 1, "three cameras see a part")
    draw_cameras(cameras, images)
    seen = figure.add_axes((0.37, 0.08, 0.26, 0.82))
    heading(seen, 2, "its map, pin by pin")
    plots.face(verdict.seen[0], [verdict.tile], seen, limit=8)
    seen.set_aspect("auto")
    seen.set(xlabel="", ylabel="", xticks=[], yticks=[])
    plane = figure.add_axes((0.685, 0.18, 0.3, 0.72))
    heading(plane, 3, "its place among others")
    draw_plane(plane, points, chosen.labels, chosen.class_names, part)
    column, row = verdict.tile
    word = "PASS" if verdict.passes else "STOP"
    words = f"4  {word}: {verdict.name}, pin {column} in row {row}"
    plane.set_xlabel(words, color=plots.DIFFERENT, fontsize=17, fontweight="bold", labelpad=14)
    point(figure, cameras[1], seen)
    point(figure, seen, plane)
    return figure


def main():
    """Train, draw, write."""
    plots.use_style()
    plt.rcParams.update({"svg.hashsalt": "cover", "savefig.dpi": 150})
    figure = draw(build_station())
    figure.savefig(FILE, metadata={"Date": None})
    print(f"wrote {FILE.name}, {FILE.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
