"""The inspection cell: a connector face seen by three cameras, rendered.

A face of 3 rows of 13 pins. Lengths are in millimetres, angles in degrees, brightness in shares of
the sensor's full scale; x goes right, y down, and depth away from the cameras. Everything is drawn
at the place where a camera sees it, already blurred: an edge is a step smoothed by a Gaussian, so
nothing needs a finer grid or a filter.

What differs between good parts (`Process`) and between two shots of one part (`Shot`) is drawn
apart, each from a seed of its own, so that the same part can be photographed again.

The geometry is a reconstruction; nothing of it was measured on a machine.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from typing import Self

import numpy as np
from scipy.special import ndtr

from snnlib.nsoartc.failure_modes import parse
from snnlib.nsoartc.soart import COLUMNS, IMAGE_SHAPE, ROWS, WINDOW

__all__ = ["LEVEL", "Lot", "Parts", "Process", "Shot", "draw_parts", "photograph"]

# Geometry, mm. The images are registered at the plane of the pins' tips.
PIXEL = 0.1
PITCH = 2.2
TAB = 0.64  # width and height of a tip
LENGTH = 5.8  # free length of a pin, from the housing that holds it to its tip
STAND_OFF = 200.0
CAVITY = (1.7, 1.8)  # width and height of the hole around a tip
CAVITY_OFF = 0.15  # the hole reaches farther down than up, for the lance that locks the terminal
RIM = 1.0  # how far the rim of the hole lies before the tips
# How far aside a camera sees a point off the plane of the tips, as a share of its depth: the
# tangent of the camera's angle. The side cameras stand so that it is sin 20°.
PARALLAX = np.array([-1.0, 0.0, 1.0]) * np.sin(np.radians(20.0))
CAMERA_ANGLES = np.degrees(np.arctan(PARALLAX))  # −18.9°, 0° and 18.9°

# Appearance, shares of full scale, and lengths in mm.
FACE, HOLE = 0.45, 0.10
TIP, BEVEL = 0.38, 0.22  # brightness of the whole tip, and what its flat middle adds
FLAT = 0.36  # width of that middle
GLINT, GLINT_SIZE = 0.20, 0.08
GLINT_OFF = np.array([-0.12, 0.02, 0.13])  # where each camera sees the glint on the tip, in x
SHADE, SHADE_DEPTH = 0.5, 0.25  # darkening next to the wall of the hole, and how far it reaches
BLUR = 0.07  # of the lens in focus, and of the pixel
SPECK, SPECK_SIZE = 0.25, 0.12

BATCH = 50  # parts rendered at once, which bounds the memory; the images do not depend on it
#: Common factor on all nuisances, fixed once and before any network was trained, by this rule:
#: nearest centroid on scaled maps, learned from 200 training parts a class, is right for 75 to 85 %
#: of validation parts. With 0.35, 0.38, 0.4, 0.5 and 1 it is 86.5, 81.1, 78.1, 62.3 and 27.9 %.
LEVEL = 0.4


@dataclass(frozen=True)
class _Nuisances:
    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < np.inf:
                raise ValueError(
                    f"{name} of {type(self).__name__} must be at least 0 and finite, got {value}"
                )

    def sd(self, name: str) -> float:
        """Standard deviation of a nuisance at this level; of specks, the mean number."""
        values = asdict(self)
        return LEVEL * values["level"] * values[name]


@dataclass(frozen=True)
class Process(_Nuisances):
    """How good pins differ: standard deviations, all times `level` and `LEVEL`.

    So `placement` 0.015 makes 0.006 mm of it.

    Attributes
    ----------
    placement : float
        Of a pin, in x and in y, mm.
    depth : float
        Of a pin's tip, mm.
    tilt : float
        Of a pin, in X and in Y, degrees.
    size : float
        Of a tip, as a share.
    brightness : float
        Of a tip's plating, as a share.
    glint : float
        Strength of a tip's glint, as a share.
    level : float
        Factor on all of them.
    """

    placement: float = 0.015
    depth: float = 0.05
    tilt: float = 0.1
    size: float = 0.02
    brightness: float = 0.05
    glint: float = 0.10
    level: float = 1.0


@dataclass(frozen=True)
class Shot(_Nuisances):
    """How two shots of one part differ: standard deviations, all times `level` and `LEVEL`.

    Attributes
    ----------
    noise : float
        Of the sensor, a pixel, as a share of full scale.
    gain : float
        Of each camera, as a share.
    gradient : float
        Of the lighting, from edge to edge, as a share.
    placement : float
        Of the part in its jig, in x and in y, mm.
    roll, yaw : float
        Of the part, about the line of sight and about the vertical, degrees.
    stand_off : float
        Of the part, mm.
    defocus : float
        Of the part, as a blur in pixels.
    specks : float
        Mean number of dirt specks on a face.
    level : float
        Factor on all of them.
    """

    noise: float = 0.02
    gain: float = 0.03
    gradient: float = 0.05
    placement: float = 0.05
    roll: float = 0.1
    yaw: float = 0.1
    stand_off: float = 0.1
    defocus: float = 0.3
    specks: float = 0.2
    level: float = 1.0


@dataclass(frozen=True)
class Lot:
    """What all parts of one lot, and the cell on that day, have in common.

    Attributes
    ----------
    brightness, glint : float
        Factors on plating and glint.
    placement : tuple of float
        Where pins sit beside their nominal place, x and y, mm.
    cameras : tuple of float
        How far the left, centre and right camera have moved, in x, mm.
    """

    brightness: float = 1.0
    glint: float = 1.0
    placement: tuple[float, float] = (0.0, 0.0)
    cameras: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name, size in [("placement", 2), ("cameras", len(CAMERA_ANGLES))]:
            values = np.asarray(getattr(self, name), dtype=float)
            if values.shape != (size,) or not np.isfinite(values).all():
                raise ValueError(f"{name} of a lot must be {size} finite numbers, got {values}")
        for name in ("brightness", "glint"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(
                    f"{name} of a lot must be at least 0 and finite, got {getattr(self, name)}"
                )


@dataclass(frozen=True, eq=False)
class Parts:
    """Connectors as they were made: arrays by part, pin row and pin column.

    Attributes
    ----------
    modes : ndarray, shape (n,), str
        Failure-mode code of each part.
    x, y : ndarray, shape (n, 3, 13), float64
        Where each tip is beside its nominal place, by placement and tilt, mm.
    depth : ndarray, shape (n, 3, 13), float64
        How far each tip is drawn back, mm.
    size, brightness, glint : ndarray, shape (n, 3, 13), float64
        Factors; a missing pin has no brightness and no glint.
    lot : `Lot`
        The lot they are of.
    """

    modes: np.ndarray
    x: np.ndarray
    y: np.ndarray
    depth: np.ndarray
    size: np.ndarray
    brightness: np.ndarray
    glint: np.ndarray
    lot: Lot

    def __len__(self) -> int:
        return len(self.modes)

    def __repr__(self) -> str:
        count, kinds = len(self), len(np.unique(self.modes))
        return (
            f"Parts({count} part{'s' * (count != 1)} of {kinds} failure mode{'s' * (kinds != 1)}, "
            f"lot={self.lot})"
        )

    def take(self, indices: np.ndarray | slice) -> Self:
        """Return some parts, in any order and as often as wanted.

        Parameters
        ----------
        indices : ndarray, shape (m,), int, or slice
            Positions in this batch.

        Returns
        -------
        Parts
        """
        arrays = [field.name for field in fields(self) if field.name != "lot"]
        return replace(self, **{name: getattr(self, name)[indices] for name in arrays})


def draw_parts(
    modes: Sequence[str] | np.ndarray,
    *,
    seed: int,
    process: Process | None = None,
    lot: Lot | None = None,
) -> Parts:
    """Make parts, each with a failure mode.

    The first of them are the same however many follow.

    Parameters
    ----------
    modes : sequence of str
        Failure-mode code of each part.
    seed : int
        Seed of what differs between the parts.
    process : Process, optional
        How good pins differ; `Process()` if None.
    lot : Lot, optional
        What they have in common; `Lot()` if None.

    Returns
    -------
    Parts

    Raises
    ------
    ValueError
        If a code is unknown, or there is none.
    """
    process, lot = process or Process(), lot or Lot()
    modes = np.asarray(modes, dtype=str)
    if modes.ndim != 1 or not len(modes):
        raise ValueError(f"expected one failure mode a part, got shape {modes.shape}")
    draw = _drawer(process, _streams(seed, process))
    pins = (len(modes), ROWS, COLUMNS)
    off = _defects(modes)
    lever = LENGTH * np.pi / 180  # mm a degree, for the small tilts of good pins
    aside = lot.placement + draw("placement", *pins, 2) + lever * draw("tilt", *pins, 2)
    x, y = np.moveaxis(aside, -1, 0)
    present = 1 - off["M"]
    return Parts(
        modes=modes,
        x=x + off["X"],
        y=y + off["Y"],
        depth=draw("depth", *pins) + off["D"],
        size=1 + draw("size", *pins),
        brightness=lot.brightness * (1 + draw("brightness", *pins)) * present,
        glint=lot.glint * (1 + draw("glint", *pins)) * present,
        lot=lot,
    )


def _streams(seed, nuisances):
    """A generator for each nuisance; parts and shots share none, even where they share a seed.

    A stream that is drawn from batch by batch gives the same as one drawn from at once.
    """
    shots = isinstance(nuisances, Shot)
    names = [field.name for field in fields(nuisances)]
    return {name: np.random.default_rng((seed, shots, k)) for k, name in enumerate(names)}


def _drawer(nuisances, streams):
    """A function that draws values of a nuisance, normally distributed about 0."""

    def draw(name, *shape):
        return nuisances.sd(name) * streams[name].standard_normal(shape)

    return draw


def _defects(modes):
    """Displacement (X, Y, mm), drawback (D, mm) and absence (M, 0 or 1) of every pin."""
    off = {direction: np.zeros((len(modes), ROWS, COLUMNS)) for direction in "DXYM"}
    codes, members = np.unique(modes, return_inverse=True)
    for k, code in enumerate(codes):
        for pin, row, direction, amount in parse(code):
            if direction in "XY":
                amount = LENGTH * np.sin(np.radians(amount))
            elif direction == "M":
                amount = 1
            off[direction][members == k, row - 1, pin - 1] = amount
    return off


def photograph(parts: Parts, *, seed: int, shot: Shot | None = None) -> Iterator[np.ndarray]:
    """Photograph each part once with the three cameras.

    Parameters
    ----------
    parts : Parts
        What lies in the jig, one after another.
    seed : int
        Seed of what differs between shots.
    shot : Shot, optional
        How shots differ; `Shot()` if None.

    Yields
    ------
    ndarray, shape (b, 3, 66, 286), float32
        Left, centre and right images of the next b ≤ 50 parts, in [0, 1].
    """
    shot = shot or Shot()
    streams = _streams(seed, shot)
    draw = _drawer(shot, streams)
    dirt = streams["specks"].spawn(2)
    noise_sd = np.float32(shot.sd("noise"))
    batches = (parts.take(slice(k, k + BATCH)) for k in range(0, len(parts), BATCH))
    for images in _one_ahead(_render, (_arrange(batch, draw) for batch in batches)):
        _put_specks(images, *_draw_specks(len(images), shot.sd("specks"), *dirt))
        images += noise_sd * streams["noise"].standard_normal(images.shape, dtype=np.float32)
        yield np.clip(images, 0, 1, out=images)


def _one_ahead(function, arguments):
    """Yield what a function makes of each argument, while a second thread makes the next."""
    with ThreadPoolExecutor(max_workers=1) as worker:
        coming = None
        for argument in arguments:
            ready, coming = coming, worker.submit(function, argument)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


# Pins by their nominal place, and the pixels of a pin's window, mm from there.
PIN_X = PITCH * (np.arange(COLUMNS) - (COLUMNS - 1) / 2)
PIN_Y = PITCH * (np.arange(ROWS)[:, None] - (ROWS - 1) / 2)
PIXELS = (PIXEL * (np.arange(WINDOW) - (WINDOW - 1) / 2)).astype(np.float32)


def _arrange(parts, draw):
    """Where everything is seen: arrays by part, camera, pin row and pin column, mm."""
    n = len(parts)
    placement_x, placement_y = draw("placement", n, 2).T[:, :, None, None]
    roll, yaw = (np.radians(draw(name, n))[:, None, None] for name in ("roll", "yaw"))
    depth = draw("stand_off", n)[:, None, None] + yaw * PIN_X
    # The whole part: moved, turned, and shrunk by the pinhole model.
    shrunk = STAND_OFF / (STAND_OFF + depth)
    x = shrunk * (PIN_X + placement_x - roll * PIN_Y) - PIN_X
    y = shrunk * (PIN_Y + placement_y + roll * PIN_X) - PIN_Y
    parallax = PARALLAX[:, None, None]

    def seen(x, depth):
        """A point off the tips' plane moves aside, opposite ways in the left and right camera."""
        cameras = np.array(parts.lot.cameras)[:, None, None]
        return x[:, None] + depth[:, None] * parallax - cameras

    scene = {
        "tip_x": seen(x + parts.x, depth + parts.depth),
        "tip_y": (y + parts.y)[:, None],
        "hole_x": seen(x, depth - RIM),
        "hole_y": (y + CAVITY_OFF)[:, None],
        "half": (TAB / 2 * parts.size * STAND_OFF / (STAND_OFF + depth + parts.depth))[:, None],
        "brightness": parts.brightness[:, None],
        "glint": parts.glint[:, None],
        "blur": np.hypot(BLUR, PIXEL * draw("defocus", n))[:, None, None, None],
        "gain": 1 + draw("gain", n, len(CAMERA_ANGLES)),
        "gradient": draw("gradient", n, 2),
    }
    return {name: values.astype(np.float32) for name, values in scene.items()}


def _light(gradient):
    """Lighting over the image, from its change from edge to edge in x and y."""
    _, height, width = IMAGE_SHAPE
    x, y = (np.linspace(-0.5, 0.5, size, dtype=np.float32) for size in (width, height))
    in_x, in_y = gradient.T[:, :, None, None, None]
    return 1 + in_x * x + in_y * y[:, None]


def _render(scene):
    """Images without noise and dirt. Everything drawn is a product of a profile in x and in y."""
    blur = scene["blur"][..., None]
    hole_x = _hole(scene["hole_x"], CAVITY[0], blur, np.arange(COLUMNS)[:, None], COLUMNS)
    hole_y = _hole(scene["hole_y"], CAVITY[1], blur, np.arange(ROWS)[:, None, None], ROWS)
    shaded = hole_x * _shade(scene["hole_x"])
    half = scene["half"][..., None]
    tip_x, tip_y = (PIXELS - scene[name][..., None] for name in ("tip_x", "tip_y"))
    glint_x = tip_x - GLINT_OFF.astype(np.float32)[:, None, None, None]
    wide = np.hypot(GLINT_SIZE, blur)
    layers = [
        (HOLE - FACE, hole_x, hole_y),
        (TIP * scene["brightness"], shaded * _box(tip_x, half, blur), _box(tip_y, half, blur)),
        (
            BEVEL * scene["brightness"],
            shaded * _box(tip_x, half * (FLAT / TAB), blur),
            _box(tip_y, half * (FLAT / TAB), blur),
        ),
        (
            GLINT * scene["glint"],
            shaded * _bell(glint_x, wide) * (GLINT_SIZE / wide) ** 2,
            _bell(tip_y, wide),
        ),
    ]
    shape = scene["tip_x"].shape
    across = np.empty((*shape, len(layers), WINDOW), dtype=np.float32)
    down = np.empty((*shape, WINDOW, len(layers)), dtype=np.float32)
    for k, (strength, x, y) in enumerate(layers):
        across[..., k, :] = np.asarray(strength, dtype=np.float32)[..., None] * x
        down[..., k] = y if k == 0 else y * hole_y
    windows = down @ across  # (n, camera, row, column, y, x)
    images = windows.transpose(0, 1, 2, 4, 3, 5).reshape(len(windows), *IMAGE_SHAPE)
    images += FACE
    images *= scene["gain"][..., None, None] * _light(scene["gradient"])
    return images


def _box(x, half, blur):
    """A blurred step up at -half and down at +half."""
    return ndtr((x + half) / blur) - ndtr((x - half) / blur)


def _bell(x, width):
    return np.exp(-0.5 * (x / width) ** 2)


def _hole(centre, size, blur, index, count):
    """Profile of the holes of a line of pins, as seen in each window; 1 in a hole, 0 on the face.

    The cameras at the sides see the hole of the next pin, too, but beyond the last pin is none.
    """
    off = PIXELS - centre[..., None]
    steps = np.round(off / PITCH)
    neighbour = index + steps
    off -= steps * np.float32(PITCH)
    inside = (neighbour >= 0) & (neighbour < count)
    return inside * _box(off, np.float32(size / 2), blur)


def _shade(centre):
    """How much light reaches a place in a hole: less next to the wall on a side camera's own side.

    That wall stands between the camera and what lies deep in the hole.
    """
    side = np.sign(PARALLAX).astype(np.float32)[:, None, None, None]
    off_wall = CAVITY[0] / 2 - side * (PIXELS - centre[..., None])
    return 1 - SHADE * np.abs(side) * ndtr(1 - 2 * off_wall / np.float32(SHADE_DEPTH))


def _draw_specks(n, mean, number, place):
    """Dirt on faces: the part that each speck is on, and its x and y, mm."""
    counts = number.poisson(mean, n)
    _, height, width = IMAGE_SHAPE
    x, y = (place.uniform(-0.5, 0.5, (counts.sum(), 2)) * PIXEL * (width, height)).T
    return np.repeat(np.arange(n), counts), x, y


def _put_specks(images, part, x, y):
    """Darken the images where there is dirt; it lies on the face, so side cameras see it aside."""
    cameras, height, width = IMAGE_SHAPE
    middle_x = (x[:, None] - RIM * PARALLAX) / PIXEL + (width - 1) / 2  # (speck, camera), pixels
    middle_y = y[:, None] / PIXEL + (height - 1) / 2  # (speck, 1)
    around = np.arange(-5, 6)  # pixels: a speck is no larger
    columns = np.round(middle_x)[..., None] + around  # (speck, camera, 11)
    rows = np.round(middle_y)[..., None] + around  # (speck, 1, 11)
    size = SPECK_SIZE / PIXEL
    dark_x, dark_y = (
        _bell(columns - middle_x[..., None], size),
        _bell(rows - middle_y[..., None], size),
    )
    dark = SPECK * (dark_y[..., :, None] * dark_x[..., None, :])  # (speck, camera, 11, 11)
    places = np.broadcast_arrays(
        part[:, None, None, None],
        np.arange(cameras)[:, None, None],
        rows[..., :, None].astype(int),
        columns[..., None, :].astype(int),
    )
    seen = (places[2] >= 0) & (places[2] < height) & (places[3] >= 0) & (places[3] < width)
    places = tuple(place[seen] for place in places)
    np.multiply.at(images, places, (1 - dark[seen]).astype(np.float32))
