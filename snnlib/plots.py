"""The figures of the book. Each function draws on an Axes and returns it.

This room knows nothing of training: it takes arrays and lists.
"""

import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache

import numpy as np

from snnlib.extras import extra

with extra("plots"):
    import matplotlib.pyplot as plt
    from matplotlib import colormaps, font_manager
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.font_manager import FontProperties
    from matplotlib.ft2font import FT2Font
    from matplotlib.patheffects import withStroke
    from matplotlib.ticker import MaxNLocator

__all__ = [
    "CLASS_COLOURS",
    "DIFFERENT",
    "SAME",
    "contingency",
    "curves",
    "distances",
    "fonts_for",
    "heat_map",
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

COOL, HOT = 0.5, 2.0  # heat, in units of its limit, that is not seen yet, and that is seen best
COVER = 0.7  # how much of the photograph the hottest place hides
SHOWN = 12  # missing characters that are named
UNASSIGNED = 0x378  # a code of no character: fonts that draw it draw boxes for everything


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
    family = _families(series)
    for name, values in series.items():
        ax.plot(range(1, len(values) + 1), values, marker="o", markersize=4, label=name)
    ax.set(xlabel="epoch", ylabel="mean loss")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(series) > 1:
        ax.legend(prop={"family": family})
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
    there = np.unique(labels)
    family = _families(class_names[k] for k in there)
    for k in there:
        members = points[labels == k]
        colour = CLASS_COLOURS[k % len(CLASS_COLOURS)]
        x, y = members.T
        ax.scatter(x, y, s=5, color=colour, alpha=0.6, linewidths=0, rasterized=True)
        box = {"facecolor": "white", "edgecolor": colour, "boxstyle": "round,pad=0.2", "lw": 1.5}
        middle = np.median(x), np.median(y)
        ax.text(*middle, class_names[k], ha="center", va="center", bbox=box, fontfamily=family)
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
    family = _families([*row_names, *column_names])
    ax.set_xticks(range(len(column_names)), column_names, fontfamily=family)
    ax.set_yticks(range(len(row_names)), row_names, fontfamily=family)
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
    _verdict(ax, words, passes, _families([words]))
    return ax


def _verdict(ax, words, passes, family):
    """Write above a part what was decided."""
    colour = SAME if passes else DIFFERENT
    ax.set_title(words, color=colour, loc="left", fontsize=10, fontfamily=family)


def heat_map(
    photograph: np.ndarray,
    heat: np.ndarray | None,
    words: str,
    passes: bool,
    ax: Axes | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Axes:
    """Draw a photograph as its operator should see it: what was decided, and what led to it.

    The heat lies over the photograph, from blue over red to yellow, and hides the more of it the
    higher it is: below half the limit nothing, from twice the limit on most. A ring marks the
    hottest place of a part that does not pass.

    Parameters
    ----------
    photograph : ndarray, shape (h, w) or (h, w, 3), uint8 or uint16
        The part, grey or in colour.
    heat : ndarray, shape (r, c), or None
        How unusual each place is, in units of the limit, on a grid that may be coarser; None if
        nothing is known of places.
    words : str
        The verdict, written above.
    passes : bool
        Whether the part is good, which the colour of the words tells too.
    ax : Axes, optional
        Where to draw; the current one if None.
    box : (float, float, float, float), optional
        Left, top, right and bottom of what the heat lies over, in pixels of the photograph, whose
        corners are (0, 0) and (w, h); all of it if None.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError
        If the photograph is of other numbers.
    ValueError
        If a shape is another, the heat is not finite, or the box is empty or reaches beyond the
        photograph.
    """
    sides = _check_heat(photograph, heat, box)
    ax = ax or plt.gca()
    height, width = photograph.shape[:2]
    if photograph.dtype == np.uint16:
        photograph = (photograph >> 8).astype(np.uint8)  # a screen shows no more
    ax.imshow(photograph, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    if heat is not None:
        _lay_over(ax, heat, sides, passes)
    ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    _verdict(ax, words, passes, _families([words]))
    return ax


def _lay_over(ax, heat, sides, passes):
    """Draw heat between the sides of a box, and a ring around the hottest place."""
    left, top, right, bottom = sides
    ax.imshow(
        heat,
        cmap=_glow(),
        vmin=COOL,
        vmax=HOT,
        extent=(left, right, bottom, top),
        interpolation="bilinear",
        interpolation_stage="data",  # in between lies a heat, not a mixture of colours
    )
    if not passes:
        row, column = np.unravel_index(np.argmax(heat), heat.shape)
        x = left + (column + 0.5) * (right - left) / heat.shape[1]
        y = top + (row + 0.5) * (bottom - top) / heat.shape[0]
        ring = ax.plot(x, y, "o", ms=18, mfc="none", mec=DIFFERENT, mew=2.5, clip_on=False)
        # A rim of white, since the photograph may have any colour.
        plt.setp(ring, path_effects=[withStroke(linewidth=5, foreground="white")])


def _check_heat(photograph, heat, box):
    """The box, in whose place None stands for the whole photograph; refuse what can't be drawn."""
    if photograph.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"the photograph must be uint8 or uint16, got {photograph.dtype}")
    if photograph.ndim not in (2, 3) or photograph.shape[2:] not in ((), (3,)):
        raise ValueError(f"expected a photograph (h, w) or (h, w, 3), got {photograph.shape}")
    if heat is not None and (heat.ndim != 2 or not heat.size):
        raise ValueError(f"expected heat (r, c), got {heat.shape}")
    if heat is not None and not np.isfinite(heat).all():
        row, column = np.argwhere(~np.isfinite(heat))[0]
        raise ValueError(f"heat must be finite, got {heat[row, column]} at ({row}, {column})")
    height, width = photograph.shape[:2]
    left, top, right, bottom = (0, 0, width, height) if box is None else box
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(
            f"expected a box (left, top, right, bottom) within {width} × {height} pixels, got {box}"
        )
    return left, top, right, bottom


@cache
def _glow():
    """Colours of heat: even in lightness, so told apart without seeing hues, and clear at first."""
    colours = colormaps["plasma"](np.linspace(0, 1, 256))
    colours[:, 3] = np.linspace(0, COVER, 256)
    return ListedColormap(colours, "glow")


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


def fonts_for(words: str) -> list[str]:
    """Families of fonts that have all characters of a text.

    The figures of this room choose so for themselves. It is for texts that are set beside them:
    ``ax.set_title(name, fontfamily=fonts_for(name))``. A warning names characters that no font on
    this machine has.

    Parameters
    ----------
    words : str
        What is to be drawn.

    Returns
    -------
    list of str
        Those of the style, and after them others for characters that these lack.
    """
    return _families(words)


def _families(words: Iterable[object]) -> list[str]:
    """Families of fonts to draw words in: those of the style, and others for what these lack."""
    own = FontProperties().get_family()
    fonts = [FT2Font(font_manager.findfont(FontProperties(family=[name]))) for name in own]
    lacking = frozenset(
        character
        for character in "".join(map(str, words))
        if unicodedata.category(character)[0] != "C"  # a new line, and others that are not drawn
        and not any(font.get_char_index(ord(character)) for font in fonts)
    )
    if not lacking:
        return own
    # Matplotlib's own list is as old as its cache; a font may have been installed since.
    files = {entry.fname for entry in font_manager.fontManager.ttflist}
    files.update(font_manager.findSystemFonts())
    return [*own, *_fallbacks(lacking, tuple(sorted(files)))]


@cache
def _fallbacks(lacking: frozenset[str], files: tuple[str, ...]) -> tuple[str, ...]:
    """Families of as few fonts as have all characters; those that none has are told, once."""
    held = {}
    for file in files:
        with suppress(OSError, RuntimeError):  # gone, or no font that Matplotlib can read
            font = FT2Font(file)
            if font.scalable and not font.get_char_index(UNASSIGNED):
                font_of = font.family_name, bool(font.style_flags), file  # bold or slanted: last
                held[font_of] = {c for c in lacking if font.get_char_index(ord(c))}
    families, known = [], {entry.fname for entry in font_manager.fontManager.ttflist}
    while any(lacking & characters for characters in held.values()):
        # Of equals the one of the shortest name, which is no black or narrow one.
        best = min(held, key=lambda font: (-len(lacking & held[font]), len(font[0]), font))
        family, _, file = best
        if file not in known:
            font_manager.fontManager.addfont(file)
        families.append(family)
        lacking -= held[best]
    if lacking:
        warnings.warn(_missing(lacking), stacklevel=4)  # at the line that draws
    return tuple(families)


def _missing(characters):
    """Characters that will be boxes, and what to do about it."""
    shown = " ".join(sorted(characters)[:SHOWN]) + (" …" if len(characters) > SHOWN else "")
    return (
        f"no font on this machine has {shown}: boxes stand in their place. Install one that has "
        "them, such as those of Noto (https://fonts.google.com/noto); for Chinese, Japanese and "
        "Korean, on Debian, Ubuntu and Colab, by\n    apt install fonts-noto-cjk"
    )
