"""The figures of the book. Each function draws on an Axes and returns it.

This room knows nothing of training: it takes arrays and lists.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from snnlib.extras import extra

with extra("plots"):
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator

__all__ = [
    "CLASS_COLOURS",
    "DIFFERENT",
    "SAME",
    "contingency",
    "curves",
    "distances",
    "operator",
    "pairs",
    "scatter",
    "tiled",
    "triplets",
    "use_style",
]

#: Colours by Okabe and Ito, told apart by readers with any common colour blindness.
SAME, DIFFERENT = "#0072B2", "#D55E00"
#: Paul Tol's muted scheme, for ten classes.
CLASS_COLOURS = (
    "#332288",
    "#88CCEE",
    "#44AA99",
    "#117733",
    "#999933",
    "#DDCC77",
    "#CC6677",
    "#882255",
    "#AA4499",
    "#777777",
)


def use_style() -> None:
    """Set the Matplotlib style that all figures of the book share."""
    plt.rcParams.update(
        {
            "axes.grid": True,
            "axes.prop_cycle": plt.cycler(color=[SAME, DIFFERENT, *CLASS_COLOURS[2:]]),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "figure.figsize": (6.4, 3.8),
            "font.size": 11,
            "grid.alpha": 0.3,
            "image.cmap": "gray",
            "legend.frameon": False,
        }
    )


def pairs(
    first: np.ndarray,
    second: np.ndarray,
    same: np.ndarray,
    ax: Axes | None = None,
    columns: int = 8,
) -> Axes:
    """Draw pairs of images, one above the other, framed by the colour of their kind.

    Parameters
    ----------
    first, second : ndarray, shape (n, 1, h, w)
        The images of each pair, grey.
    same : ndarray, shape (n,), bool
        Whether a pair is of one class.
    ax : Axes, optional
        Where to draw; the current one if None.
    columns : int, default 8
        Pairs a row.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the numbers of images and labels differ.
    """
    if not len(first) == len(second) == len(same):
        raise ValueError(f"got {len(first)} and {len(second)} images and {len(same)} labels")
    ax = ax or plt.gca()
    height, width = first.shape[2:]
    step_x, step_y = width + 6, 2 * height + 14
    for k, (upper, lower, alike) in enumerate(zip(first[:, 0], second[:, 0], same)):
        x, y = k % columns * step_x, k // columns * step_y
        ax.imshow(np.vstack([upper, lower]), extent=(x, x + width, y + 2 * height, y))
        colour = SAME if alike else DIFFERENT
        ax.add_patch(plt.Rectangle((x, y), width, 2 * height, fill=False, ec=colour, lw=2.5))
        word = "same" if alike else "different"
        ax.text(x + width / 2, y + 2 * height + 8, word, ha="center", va="center", color=colour)
    rows = -(-len(same) // columns)
    ax.set(xlim=(-2, min(columns, len(same)) * step_x), ylim=(rows * step_y, -2))
    ax.set_aspect("equal")
    ax.axis("off")
    return ax


def triplets(
    anchors: np.ndarray, positives: np.ndarray, negatives: np.ndarray, ax: Axes | None = None
) -> Axes:
    """Draw triplets of images in columns: anchor, positive and negative, framed by their role.

    Parameters
    ----------
    anchors, positives, negatives : ndarray, shape (n, 1, h, w)
        The three images of each triplet, grey.
    ax : Axes, optional
        Where to draw; the current one if None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the numbers of images differ.
    """
    if not len(anchors) == len(positives) == len(negatives):
        raise ValueError(
            f"got {len(anchors)} anchors, {len(positives)} positives and {len(negatives)} negatives"
        )
    ax = ax or plt.gca()
    n, _, height, width = anchors.shape
    step_x, step_y = width + 4, height + 4
    roles = [("anchor", anchors, "black"), ("positive", positives, SAME)]
    for row, (role, images, colour) in enumerate([*roles, ("negative", negatives, DIFFERENT)]):
        for column, image in enumerate(images[:, 0]):
            x, y = column * step_x, row * step_y
            ax.imshow(image, extent=(x, x + width, y + height, y))
            ax.add_patch(plt.Rectangle((x, y), width, height, fill=False, ec=colour, lw=2.5))
        ax.text(-4, row * step_y + height / 2, role, ha="right", va="center", color=colour)
    ax.set(xlim=(-2, n * step_x), ylim=(3 * step_y, -2))
    ax.set_aspect("equal")
    ax.axis("off")
    return ax


def curves(series: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Draw one or more mean losses of each epoch against the epoch.

    Parameters
    ----------
    series : dict of str to sequence of float
        A name and the values of epochs 1, 2, …
    ax : Axes, optional
        Where to draw; the current one if None.

    Returns
    -------
    Axes
    """
    ax = ax or plt.gca()
    for name, values in series.items():
        ax.plot(range(1, len(values) + 1), values, marker="o", markersize=4, label=name)
    ax.set(xlabel="epoch", ylabel="mean loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(series) > 1:
        ax.legend()
    return ax


def scatter(
    points: np.ndarray, labels: np.ndarray, class_names: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw points in the colours of their classes, with the names written at their medians.

    Parameters
    ----------
    points : ndarray, shape (n, 2)
        Where the points lie.
    labels : ndarray, shape (n,), int
        Their classes.
    class_names : sequence of str
        Names of the classes.
    ax : Axes, optional
        Where to draw; the current one if None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If points are not two-dimensional or do not match the labels.
    """
    if points.ndim != 2 or points.shape != (len(labels), 2):
        raise ValueError(f"expected points ({len(labels)}, 2), got {points.shape}")
    ax = ax or plt.gca()
    for k in np.unique(labels):
        members = points[labels == k]
        colour = CLASS_COLOURS[k % len(CLASS_COLOURS)]
        x, y = members.T
        ax.scatter(x, y, s=5, color=colour, alpha=0.6, linewidths=0, rasterized=True)
        box = {"facecolor": "white", "edgecolor": colour, "boxstyle": "round,pad=0.2", "lw": 1.5}
        middle = np.median(x), np.median(y)
        ax.text(*middle, class_names[k], ha="center", va="center", bbox=box)
    return ax


def contingency(
    table: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str],
    ax: Axes | None = None,
) -> Axes:
    """Draw a table of counts, each cell shaded by its share of the column.

    Parameters
    ----------
    table : ndarray, shape (r, c), int
        Counts.
    row_names, column_names : sequence of str
        Names of rows and columns.
    ax : Axes, optional
        Where to draw; the current one if None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the names do not match the table.
    """
    table = np.asarray(table)
    if table.shape != (len(row_names), len(column_names)):
        raise ValueError(
            f"expected a table ({len(row_names)}, {len(column_names)}), got {table.shape}"
        )
    ax = ax or plt.gca()
    shares = table / np.maximum(table.sum(axis=0), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(table):
        colour = "white" if shares[row, column] > 0.5 else "black"
        ax.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    ax.set_xticks(range(len(column_names)), column_names)
    ax.set_yticks(range(len(row_names)), row_names)
    ax.grid(False)
    return ax


def distances(
    values: np.ndarray, same: np.ndarray, ax: Axes | None = None, margin: float | None = None
) -> Axes:
    """Draw how the distances of pairs of one class and of two classes are spread.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Distance of each pair.
    same : ndarray, shape (n,), bool
        Whether it is of one class; 1 and 0 will do.
    ax : Axes, optional
        Where to draw; the current one if None.
    margin : float, optional
        Margin to mark by a line.

    Returns
    -------
    Axes
    """
    ax = ax or plt.gca()
    same = np.asarray(same).astype(bool)  # ~ of a 1 would be -2
    edges = np.linspace(0, values.max(), 61).tolist()
    for kind, name, colour in [(same, "same class", SAME), (~same, "different", DIFFERENT)]:
        ax.hist(values[kind], edges, color=colour, alpha=0.55, label=name)
    if margin is not None:
        ax.axvline(margin, color="black", linestyle="--", label=f"margin {margin:g}")
    ax.set(xlabel="Euclidean distance of the embeddings", ylabel="pairs")
    ax.legend()
    return ax


def operator(
    image: np.ndarray,
    words: str,
    passes: bool,
    tiles: tuple[int, int],
    tile: tuple[int, int] | None = None,
    ax: Axes | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw a part as its operator should see it: what was decided, and where to look.

    Parameters
    ----------
    image : ndarray, shape (c, h, w)
        The part; the first channel is drawn, or all three if there are three.
    words : str
        The verdict, written above.
    passes : bool
        Whether the part is good, which the colour of the words tells too.
    tiles : (int, int)
        Rows and columns of tiles.
    tile : (int, int), optional
        Column and row, counted from 1, of a tile to frame.
    ax : Axes, optional
        Where to draw; the current one if None.
    vmax : float, optional
        Values run from blue at -vmax over white to red at vmax; grey or in colour if None.

    Returns
    -------
    Axes
    """
    shown = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    ax = tiled(shown, tiles, [] if tile is None else [tile], ax, vmax)
    ax.set(xlabel="column", ylabel="row")
    ax.set_title(words, color=SAME if passes else DIFFERENT, loc="left", fontsize=10)
    return ax


def tiled(
    values: np.ndarray,
    tiles: tuple[int, int],
    marked: Sequence[tuple[int, int]] = (),
    ax: Axes | None = None,
    vmax: float | None = None,
) -> Axes:
    """Draw an image so that tile (column, row) has its middle at these numbers; frame some.

    Parameters
    ----------
    values : ndarray, shape (h, w) or (h, w, 3)
        The image.
    tiles : (int, int)
        Rows and columns of tiles.
    marked : sequence of (int, int), default ()
        Column and row, counted from 1, of tiles to frame.
    ax : Axes, optional
        Where to draw; the current one if None.
    vmax : float, optional
        Values run from blue at -vmax over white to red at vmax; grey or in colour if None.

    Returns
    -------
    Axes
    """
    ax = ax or plt.gca()
    rows, columns = tiles
    colours = {"cmap": "RdBu_r", "vmin": -vmax, "vmax": vmax} if vmax else {"vmin": 0, "vmax": 1}
    ax.imshow(values, extent=(0.5, columns + 0.5, rows + 0.5, 0.5), aspect="auto", **colours)
    for column, row in marked:
        corner = column - 0.5, row - 0.5
        ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec=DIFFERENT, lw=2.5))
    ax.set_xticks(range(1, columns + 1))
    ax.set_yticks(range(1, rows + 1))
    ax.tick_params(length=0)
    ax.grid(False, which="major")
    return ax
