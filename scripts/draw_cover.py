"""Draw the cover: one part, from three cameras to a verdict, by the CNN-triplet station.

Nothing on it is drawn by hand. Training takes a minute or two on two cores:

    .venv/bin/python scripts/draw_cover.py
"""

from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import ConnectionPatch
from sklearn.manifold import TSNE
from torch import nn

from snnlib import losses, plots
from snnlib.book.recipes import MAP_CNN
from snnlib.embedding import through
from snnlib.encoders import UnitLength
from snnlib.nsoartc.connector import connector_station
from snnlib.nsoartc.dataset import balance, named_images
from snnlib.nsoartc.faces import face
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.networks import fit_front, map_cnn, shift_pins
from snnlib.sampling import BatchDataset
from snnlib.training import fit_one_cycle

FILE = Path(__file__).resolve().parent.parent / "figures" / "cover.svg"
SHOWN = "61D05"
INK = "#222222"


def build_station():
    """Train as the chapter on CNN-triplet inspection does, and set the station up."""
    train, calibration = load_maps("train"), load_maps("calibration")
    front = fit_front(train)
    encoder = nn.Sequential(shift_pins(train.class_names), map_cnn(seed=0), UnitLength())
    fit_one_cycle(
        encoder,
        BatchDataset(through(front, train), MAP_CNN.examples, 10, MAP_CNN.batch, seed=0),
        partial(losses.semi_hard, margin=MAP_CNN.margin),
        rate=MAP_CNN.rate,
        epochs=MAP_CNN.epochs,
    )
    return connector_station(encoder, train, calibration, front=front)


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
    test = load_maps("test")
    chosen = balance(test)[0]
    embeddings, _ = station.features.describe(chosen.images)
    points = TSNE(2, perplexity=30, random_state=0).fit_transform(embeddings)
    of_mode = np.flatnonzero(test.names == SHOWN)[:1]
    part = int(np.flatnonzero(chosen.names == SHOWN)[0])
    images = named_images("test", of_mode).images[0]
    verdict = station.explain(images)

    figure = plt.figure(figsize=(15, 5.2), layout="none")
    cameras = [figure.add_axes((0.025, y, 0.29, 0.26)) for y in (0.64, 0.36, 0.08)]
    heading(cameras[0], 1, "three cameras see a part")
    draw_cameras(cameras, images)
    seen = figure.add_axes((0.37, 0.08, 0.26, 0.82))
    heading(seen, 2, "its map, pin by pin")
    face(verdict.seen[0], [verdict.place], seen, vmax=8)
    seen.set_aspect("auto")
    seen.set(xlabel="", ylabel="", xticks=[], yticks=[])
    plane = figure.add_axes((0.685, 0.18, 0.3, 0.72))
    heading(plane, 3, "its place among others")
    draw_plane(plane, points, chosen.labels, chosen.class_names, part)
    column, row = verdict.place
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
