"""Drawn pairs of circuit boards: a stand-in for DeepPCB that needs neither a file nor a network.

Tracks, pads, vias and copper areas are laid out in the manner of one design or another, and drawn
twice: once as the template, once with defects. The two pictures lie a little askew on each other
and their edges are rough, each in its own way, so that subtracting them shows more than the
defects. How much, and how many defects of what size there are, was measured on the training boards
of DeepPCB (Tang et al., 2019), none of which is copied here.
"""

from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter, label

__all__ = ["drawn_boards"]

SIDE = 640  # pixels, as in DeepPCB
MARGIN = 32  # drawn around a board, so that one that is shifted has no empty edge
SEED = 640  # fixed: a stand-in is the same on every machine
PAIRS = {"train": 300, "test": 100}
KNOWN = 24  # designs among the training boards
NEW = 4  # designs that only the test has, as in DeepPCB,
NEW_SHARE = 0.66  # where 332 of the 500 test pairs are of four boards that no training pair is of

# Measured on the 1 000 training pairs of DeepPCB; tests/test_boards.py holds the drawn ones to it.
# How many pairs have 3 … 12 defects; the few with less or more count at the ends.
PAIRS_BY_DEFECTS = (30, 73, 143, 181, 203, 171, 123, 50, 10, 16)
# How many defects are open, short, mousebite, spur, copper and pin-hole.
DEFECTS_BY_KIND = (1283, 1028, 1379, 1142, 1010, 1031)
# A box reaches so far beyond what has changed, as seen at islands and holes, which stand free.
SLACK = 10
# Width and height of the boxes by kind, at these shares of them.
SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
SIZES = (
    ((22, 29, 34, 38, 51, 85, 110), (19, 26, 30, 34, 42, 64, 90)),
    ((21, 25, 31, 42, 54, 90, 110), (20, 25, 31, 37, 46, 69, 90)),
    ((20, 26, 30, 34, 39, 50, 60), (20, 24, 27, 29, 34, 44, 55)),
    ((24, 27, 31, 34, 38, 46, 60), (21, 25, 28, 32, 36, 46, 60)),
    ((24, 28, 32, 35, 41, 55, 70), (22, 26, 31, 35, 41, 56, 70)),
    ((21, 26, 30, 34, 39, 50, 60), (20, 24, 28, 32, 38, 49, 60)),
)
# How the template lies on the tested board: so many pixels apart in the middle, and so many more
# at the right or lower edge; scales of Laplace distributions. Fitted to the displacements of
# straight edges, 64 pixels long, and then to the shift of whole boards and to what subtracting
# them leaves. Along an axis boards are stretched more than they are turned.
SHIFT, STRETCH, TURN = 0.25, 0.85, 0.25
FAR_SHARE, FAR = 0.02, 6  # a few pairs lie up to so many pixels apart
# Edges stray by so many pixels (standard deviation) over so many: alike on both pictures, and on
# each by itself.
ROUGH, ROUGH_OVER = 0.30, 4.0
OWN, OWN_OVER = 0.27, 1.0
WIDER = 0.12  # pixels by which one picture's edges all lie further out
SPECKLED_SHARE, SPECKS = 0.25, 12  # dust: on some tested boards, dots of 1 or 2 pixels

BLUR = 2  # radius of the box that makes a ramp of an edge
A_PIXEL = 255 / (2 * BLUR + 1)  # by which the ramp rises from one pixel to the next
TRIES = 400  # at places for a defect, before another kind is drawn


def drawn_boards(split: Literal["train", "test"]) -> dict[str, np.ndarray]:
    """Draw pairs of boards, with the same seed each time.

    Parameters
    ----------
    split : {"train", "test"}
        300 pairs of 24 designs, or 100, of which 66 are of four designs more.

    Returns
    -------
    dict of ndarray
        ``templates`` and ``tested``, shape (n, 51200), uint8: 640 × 640 bits each, 0 is copper;
        ``pictures`` (m,) int64, ``corners`` (m, 4) float32 and ``kinds`` (m,) int64 of their
        defects, as in `snnlib.boxes.Boxes`; ``names`` and ``groups`` (n,), str.

    Raises
    ------
    KeyError
        If there is no such split.
    """
    noise = _noise()
    pairs = []
    for row in range(PAIRS[split]):
        rng = np.random.default_rng((SEED, list(PAIRS).index(split), row))
        group = _group(split, row)
        drawing, board, defects = _clean_pair(group, rng)
        pairs.append((group, *_as_photographed(drawing, board, defects, noise, rng), defects))
    counts = [len(defects) for *_, defects in pairs]
    everything = [defect for *_, defects in pairs for defect in defects]
    return {
        "templates": np.packbits([template.ravel() for _, template, _, _ in pairs], axis=1),
        "tested": np.packbits([tested.ravel() for _, _, tested, _ in pairs], axis=1),
        "pictures": np.repeat(np.arange(len(pairs)), counts),
        "corners": np.array([box for _, box, _, _ in everything], dtype=np.float32),
        "kinds": np.array([kind for kind, _, _, _ in everything], dtype=np.int64),
        "names": np.array([f"drawn-{split}-{row:03d}" for row in range(len(pairs))]),
        "groups": np.array([f"design-{group:02d}" for group, *_ in pairs]),
    }


def _group(split, row):
    """Which design a pair is of."""
    if split == "test" and row < round(NEW_SHARE * PAIRS["test"]):
        return KNOWN + row % NEW
    return row % KNOWN


# What is drawn: copper is 255 here.


def _clean_pair(group, rng):
    """A drawing with a margin, the board on it, bool and copper where true, and its defects."""
    drawing = _layout(np.random.default_rng((SEED, group)), rng)
    board = np.asarray(drawing)[MARGIN:-MARGIN, MARGIN:-MARGIN] > 0
    return drawing, board, _defects(board, rng)


def _layout(style, rng):
    """A board in the manner of a design, which the generator `style` decides."""
    side = SIDE + 2 * MARGIN
    drawing = Image.new("L", (side, side))
    pen = ImageDraw.Draw(drawing)
    manner = {
        "width": int(style.integers(8, 34)),
        "gap": int(style.integers(14, 50)),
        "pad": int(style.integers(14, 36)),
        "square": style.random() < 0.4,
        "hole": style.random() < 0.6,
        "upright": style.random() < 0.5,
    }
    shares = style.dirichlet([2.4, 0.9, 0.9, 0.2])
    for region in _regions((0, 0, side, side), rng, parts=int(style.integers(2, 5))):
        (_tracks, _pads, _area, _vias)[rng.choice(4, p=shares)](pen, region, manner, rng)
    return drawing


def _regions(region, rng, parts):
    """Cut a rectangle into parts, each again across its longer side."""
    if parts < 2:
        return [region]
    x1, y1, x2, y2 = region
    share = rng.uniform(0.35, 0.65)
    if x2 - x1 > y2 - y1:
        middle = int(x1 + share * (x2 - x1))
        halves = (x1, y1, middle, y2), (middle, y1, x2, y2)
    else:
        middle = int(y1 + share * (y2 - y1))
        halves = (x1, y1, x2, middle), (x1, middle, x2, y2)
    return [*_regions(halves[0], rng, parts // 2), *_regions(halves[1], rng, parts - parts // 2)]


def _tracks(pen, region, manner, rng):
    """Tracks side by side that step aside together at 45°; some end in a pad."""
    x1, y1, x2, y2 = region
    upright = manner["upright"] if rng.random() < 0.8 else not manner["upright"]
    if upright:
        x1, y1, x2, y2 = y1, x1, y2, x2
    width, pitch = manner["width"], manner["width"] + manner["gap"]
    step = int(rng.integers(-60, 61))
    bend = int(rng.integers(x1 + 60, max(x2 - 120, x1 + 61)))
    for number, y in enumerate(range(y1 + pitch, y2 - pitch // 2, pitch)):
        if rng.random() < 0.15:  # a free lane
            continue
        # Bends of neighbours lie on a diagonal, which keeps the gap between them.
        turn = bend - number * pitch * (1 if step > 0 else -1) // 2
        end = x2 if rng.random() < 0.6 else int(rng.integers(x2 - 90, x2 - 30))
        line = [(x1, y), (turn, y), (turn + abs(step), y + step), (end, y + step)]
        if not x1 < turn < turn + abs(step) < end or not y1 <= y + step <= y2:
            line = [(x1, y), (end, y)]
        line = [(b, a) for a, b in line] if upright else line
        pen.line(line, fill=255, width=width, joint="curve")
        if end < x2:
            _pad(pen, *line[-1], min(manner["pad"], pitch // 2 - 3), manner)


def _pads(pen, region, manner, rng):
    """Pads on a grid; some are joined with the next one."""
    x1, y1, x2, y2 = region
    radius = manner["pad"]
    pitch = 2 * radius + manner["gap"] + 8
    for y in range(y1 + pitch // 2, y2 - pitch // 3, pitch):
        for x in range(x1 + pitch // 2, x2 - pitch // 3, pitch):
            if rng.random() < 0.3:
                continue
            if x + pitch < x2 - pitch // 3 and rng.random() < 0.35:
                pen.line([(x, y), (x + pitch, y)], fill=255, width=min(manner["width"], radius))
                _pad(pen, x + pitch, y, radius, manner)
            _pad(pen, x, y, radius, manner)


def _pad(pen, x, y, radius, manner):
    box = (x - radius, y - radius, x + radius, y + radius)
    if manner["square"]:
        pen.rectangle(box, fill=255)
    else:
        pen.ellipse(box, fill=255)
    if manner["hole"] and radius >= 12:
        hole = radius * 2 // 5
        pen.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)


def _area(pen, region, manner, rng):
    """Copper with cut corners, slots that divide it, and holes in it."""
    x1, y1, x2, y2 = region
    gap, cut = manner["gap"] // 2 + 6, int(rng.integers(4, 50))
    x1, y1, x2, y2 = x1 + gap, y1 + gap, x2 - gap, y2 - gap
    across = [(x1 + cut, y1), (x2 - cut, y1), (x2, y1 + cut), (x2, y2 - cut)]
    pen.polygon([*across, (x2 - cut, y2), (x1 + cut, y2), (x1, y2 - cut), (x1, y1 + cut)], fill=255)
    for _ in range(rng.integers(0, 3)):
        x, width = int(rng.integers(x1 + 50, x2 - 50)), manner["gap"] * 2 // 3
        if rng.random() < 0.5:
            pen.line([(x, y1 - 1), (x, y2 + 1)], fill=0, width=width)
        else:
            turn = int(rng.integers(y1, y2))
            bent = [(x, y1 - 1), (x, turn), (x + y2 + 1 - turn, y2 + 1)]
            pen.line(bent, fill=0, width=width, joint="curve")
    for _ in range(rng.integers(0, 6)):
        x, y = int(rng.integers(x1 + 40, x2 - 40)), int(rng.integers(y1 + 40, y2 - 40))
        radius = int(rng.integers(6, 30))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)


def _vias(pen, region, manner, rng):
    """Small round pads here and there, and much that is empty."""
    x1, y1, x2, y2 = region
    for _ in range(rng.integers(4, 14)):
        x, y = int(rng.integers(x1 + 20, x2 - 20)), int(rng.integers(y1 + 20, y2 - 20))
        _pad(pen, x, y, int(rng.integers(8, 18)), manner | {"square": False})


# Where defects are put, and how they look. A shape is a small bool array.


def _defects(board, rng):
    """Kind, box, and how each is drawn: where the shape lies (y, x), and the shape."""
    counts = np.array(PAIRS_BY_DEFECTS) / sum(PAIRS_BY_DEFECTS)
    kinds = np.array(DEFECTS_BY_KIND) / sum(DEFECTS_BY_KIND)
    wanted = 3 + rng.choice(len(counts), p=counts)
    defects: list = []
    while len(defects) < wanted:
        kind = int(rng.choice(len(kinds), p=kinds))
        width, height = _size(kind, rng)
        for _ in range(TRIES):
            found = _place(board, kind, width, height, rng)
            if found is not None and not any(_meet(found[0], box) for _, box, _, _ in defects):
                defects.append((kind, *found))
                break
    return defects


def _meet(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _size(kind, rng):
    """Width and height of what changes: of a box without its slack."""
    sizes = (np.interp(rng.random(), SHARES, sizes) for sizes in SIZES[kind])
    return [max(round(size) - 2 * SLACK + 1, 3) for size in sizes]


def _place(board, kind, width, height, rng):
    """Box, place and shape of a defect at a spot that chance has chosen, None if it won't do."""
    if kind in (4, 5):
        where = _free_spot(board, kind == 5, width, height, rng)
        shape = _spot(width, height, rng)
    else:
        upright = rng.random() < 0.75  # the edge, or the tracks
        if upright:
            where = _across(board, kind, width, height, rng)
        else:
            where = _across(board.T, kind, height, width, rng)
            where = where and (where[1], where[0], where[2])
        if where is None:
            return None
        length = where[2]
        if kind in (0, 1):
            shape = _crack(length, height if upright else width, rng)
        else:
            shape = _spot(length, height if upright else width, rng)
        shape = shape if upright else shape.T
        where = where[0] - shape.shape[0] // 2, where[1] - shape.shape[1] // 2
    return where and _boxed(board, kind, where, shape)


def _free_spot(board, copper, width, height, rng):
    """Place for what has no neighbour within 4 pixels."""
    y, x = (int(rng.integers(12, SIDE - 12 - extent)) for extent in (height, width))
    around = board[y - 4 : y + height + 4, x - 4 : x + width + 4]
    return (y, x) if (around == copper).all() else None


def _across(board, kind, along, across, rng):
    """Middle (y, x) of a shape that reaches across or over an edge, and how long it is in x."""
    y = int(rng.integers(14, SIDE - 14))
    edges = np.flatnonzero(board[y, 1:] != board[y, :-1]) + 1
    if len(edges) < 2:
        return None
    number = int(rng.integers(0, len(edges) - 1))
    start, end = int(edges[number]), int(edges[number + 1])
    copper, length = board[y, start], end - start
    if copper != (kind in (0, 2)):  # opens and bites are in copper, bridges and bumps in gaps
        return None
    if kind in (0, 1):
        middle = (start + end) // 2
        # What is crossed must run on, above and below; a track is cut across, not along.
        reach = max(length, across) * 2 // 3 + 2
        runs_on = board[max(y - reach, 0) : y + reach + 1, middle] == copper
        # Lengths are what a board offers, but near to what is wanted.
        fits = 0.6 * along < length < 1.5 * along
        return (y, middle, length + 4) if fits and runs_on.all() else None
    if length < along / 0.6 or length < 2 * across / 3:
        return None
    edge = start if rng.random() < 0.5 else end
    beyond = (
        board[y, max(edge - along - 3, 0) : edge]
        if edge == start
        else board[y, edge : edge + along + 3]
    )
    return (y, edge, 2 * along) if (beyond != copper).all() else None


def _crack(length, thickness, rng):
    """A crooked line over the whole length, with the height of what is wanted."""
    steps = np.linspace(0, length - 1, 4)
    width = int(rng.integers(3, 3 + max(thickness // 2, 2)))
    free = max(thickness - width, 0)
    heights = rng.integers(0, free + 1, size=4)
    heights[[0, -1]] = (0, free) if rng.random() < 0.5 else (free, 0)
    image = Image.new("L", (length, thickness))
    line = [(round(x), int(y) + width // 2) for x, y in zip(steps, heights)]
    # Prolonged, so that the ends, which are cut at right angles, lie outside.
    line = [(line[0][0] - 9, line[0][1]), *line, (line[-1][0] + 9, line[-1][1])]
    ImageDraw.Draw(image).line(line, fill=1, width=width, joint="curve")
    return np.asarray(image) > 0


def _spot(width, height, rng):
    """A blot with a ragged outline that fills its box."""
    angles = 2 * np.pi * (np.arange(9) + rng.uniform(-0.4, 0.4, size=9)) / 9
    radii = rng.uniform(0.5, 1, size=9)
    x, y = radii * np.cos(angles), radii * np.sin(angles)
    x, y = ((v - v.min()) / np.ptp(v) * (n - 1) for v, n in ((x, width), (y, height)))
    image = Image.new("L", (width, height))
    corners = [(round(a), round(b)) for a, b in zip(x, y)]
    ImageDraw.Draw(image).polygon(corners, fill=1, outline=1)
    return np.asarray(image) > 0


def _boxed(board, kind, where, shape):
    """Box of what a shape changes; None if it leaves the board, or is not what its kind says."""
    y, x = where
    under = board[max(y, 0) : y + shape.shape[0], max(x, 0) : x + shape.shape[1]]
    if under.shape != shape.shape:
        return None
    changed = shape & (under == (kind in (0, 2, 5)))
    if changed.sum() < 12:
        return None
    near = board[max(y - 5, 0) : y + shape.shape[0] + 5, max(x - 5, 0) : x + shape.shape[1] + 5]
    after = near.copy()
    after[min(y, 5) :, min(x, 5) :][: shape.shape[0], : shape.shape[1]] ^= changed
    if not _is_what_it_says(kind, near, after):
        return None
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    low = x + columns[0] - SLACK, y + rows[0] - SLACK
    high = x + columns[-1] + SLACK, y + rows[-1] + SLACK
    box = [int(v) for v in np.clip([*low, *high], 0, SIDE)]
    return box, where, shape


def _is_what_it_says(kind, before, after):
    """Whether conductors are cut or joined, or neither; seen from near, as an inspector sees it."""
    copper, gaps = (
        label(after == of, structure)[1] - label(before == of, structure)[1]
        for of, structure in ((True, np.ones((3, 3))), (False, None))
    )
    return (
        copper > 0,
        copper < 0,
        copper == gaps == 0,
        copper == gaps == 0,
        copper == 1 and gaps == 0,
        copper == 0 and gaps == 1,
    )[kind]


# How the drawings become pictures.


def _noise():
    """Roughness that is the same on both pictures of a pair, and of each by itself; in pixels."""
    rng = np.random.default_rng(SEED)
    fields = []
    for over, by in ((ROUGH_OVER, ROUGH), (OWN_OVER, OWN)):
        field = gaussian_filter(rng.standard_normal((2 * SIDE, 2 * SIDE), dtype=np.float32), over)
        fields.append(field * (by / field.std()))
    return fields


def _as_photographed(drawing, board, defects, noise, rng):
    """Template and tested board, bool and false where copper is."""
    ramp = drawing.filter(ImageFilter.BoxBlur(BLUR))
    rough, own = noise
    shared = _window(rough, rng)
    pixels = ramp.transform(
        (SIDE, SIDE), Image.Transform.AFFINE, _askew(rng), Image.Resampling.BILINEAR
    )
    level = 127.5 + A_PIXEL * WIDER * rng.standard_normal()
    template = np.asarray(pixels) < level + A_PIXEL * (shared + _window(own, rng))
    pixels = np.asarray(ramp)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    tested = pixels < 127.5 + A_PIXEL * (shared + _window(own, rng))
    if rng.random() < SPECKLED_SHARE:
        for y, x in rng.integers(0, SIDE - 2, size=(rng.poisson(SPECKS), 2)):
            tested[y, x : x + rng.integers(1, 3)] ^= True
    return template, _with_defects(tested, defects)


def _with_defects(tested, defects):
    """Draw the defects last: they are as sharp as they were put on the real boards."""
    for kind, _, (y, x), shape in defects:
        under = tested[y : y + shape.shape[0], x : x + shape.shape[1]]
        under[shape] = kind in (0, 2, 5)
    return tested


def _window(field, rng):
    y, x = rng.integers(0, SIDE, size=2)
    return field[y : y + SIDE, x : x + SIDE]


def _askew(rng):
    """Where pixels of the template are taken from: coefficients of x, y and 1, for x and for y."""
    stretch, turn = rng.laplace(scale=STRETCH, size=2), rng.laplace(scale=TURN, size=2)
    shift = rng.laplace(scale=SHIFT, size=2)
    if rng.random() < FAR_SHARE:
        shift = rng.uniform(-FAR, FAR, size=2)
    stretch, turn = stretch / (SIDE / 2), turn / (SIDE / 2)
    # Stretched and turned about the middle.
    start = MARGIN + shift - (stretch + turn) * SIDE / 2
    return (1 + stretch[0], turn[0], start[0], turn[1], 1 + stretch[1], start[1])
