"""From three camera images to one map of 36 × 39 metrics.

Six small patterns are looked for at every pixel: the response to one is the mean brightness on it
less the mean brightness around it. In the window of a pin the response of
an image is compared with that of the mean good image by the RT method (`snnlib.nsoartc.rt`): six
patterns times (β, Y₂) make the 12 metrics of a pin and a camera. Differences between cameras come
last.

A reconstruction: the published data sets hold finished maps, their transform was not published.
"""

from operator import index
from typing import NamedTuple, Self, SupportsIndex

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from snnlib.images import check_images
from snnlib.nsoartc.rt import check_divider, metrics_of_sums

__all__ = [
    "CAMERAS",
    "EYES",
    "IMAGE_SHAPE",
    "KERNELS",
    "MAP_SHAPE",
    "METRICS",
    "PATTERNS",
    "Place",
    "Soart",
    "locate",
    "position",
]

ROWS, COLUMNS, WINDOW = 3, 13, 22  # pin rows and columns; side of a pin's window in pixels
#: Cameras, in the order of the images of a part.
CAMERAS = ("left", "centre", "right")
#: What a map shows of each pin, side by side.
EYES = ("left − centre", "right − centre", "centre")
#: Cameras, pixel rows and pixel columns of the images of a part.
IMAGE_SHAPE = (len(CAMERAS), ROWS * WINDOW, COLUMNS * WINDOW)

# Arms of the patterns, from the middle of a 5 × 5 field: the two pixels in each direction.
_ARMS = {
    "left": ((2, 2), (0, 1)),
    "right": ((2, 2), (3, 4)),
    "up": ((0, 1), (2, 2)),
    "down": ((3, 4), (2, 2)),
    "up left": ((0, 1), (0, 1)),
    "down right": ((3, 4), (3, 4)),
}
_SHAPES = {
    "LINE across": ("left", "right"),
    "LINE down": ("up", "down"),
    "LINE aslant": ("up left", "down right"),
    "BEND right-down": ("right", "down"),
    "BEND right-up": ("right", "up"),
    "BEND left-down": ("left", "down"),
}
FIELD, ON = 5, 5  # side of a pattern's field in pixels; pixels of the field on it
EDGE = FIELD // 2
BLOCK = 4  # parts at a time: few enough to stay near the core, many enough to hide each call's cost


def _kernel(arms):
    on = np.zeros((FIELD, FIELD), dtype=bool)
    on[FIELD // 2, FIELD // 2] = True
    for arm in arms:
        on[_ARMS[arm]] = True
    return np.where(on, 1 / ON, -1 / (on.size - ON)).astype(np.float32)


#: Names of the small patterns that are looked for; the source calls them parts.
PATTERNS = tuple(_SHAPES)
#: Their weights, shape (6, 5, 5), float32.
#:
#: :meta hide-value:
KERNELS = np.stack([_kernel(arms) for arms in _SHAPES.values()])
#: What a map shows of each pin, one below the other.
METRICS = tuple(f"{pattern}, {metric}" for pattern in PATTERNS for metric in ("β", "Y₂"))
#: Rows and columns of a map.
MAP_SHAPE = (ROWS * len(METRICS), COLUMNS * len(EYES))


class Place(NamedTuple):
    """What a value of a map means.

    Attributes
    ----------
    pin : int
        Pin column, 1 … 13.
    row : int
        Pin row, 1 … 3.
    eye : str
        One of `EYES`.
    metric : str
        One of `METRICS`: the pattern, and β or Y₂.
    """

    pin: int
    row: int
    eye: str
    metric: str


def locate(value: SupportsIndex) -> Place:
    """Tell what a value of a flattened map means.

    Parameters
    ----------
    value : int
        Position 0 … 1403, as in the column names ``data0`` … ``data1403``.

    Returns
    -------
    Place

    Raises
    ------
    TypeError
        If it is no integer.
    ValueError
        If there is no such value.
    """
    value = index(value)
    height, width = MAP_SHAPE
    if not 0 <= value < height * width:
        raise ValueError(f"value must lie in 0 … {height * width - 1}, got {value}")
    (row, metric), (column, eye) = (
        divmod(value // width, len(METRICS)),
        divmod(value % width, len(EYES)),
    )
    return Place(column + 1, row + 1, EYES[eye], METRICS[metric])


def position(place: Place) -> int:
    """Find the value of a flattened map that means something: the inverse of `locate`.

    Parameters
    ----------
    place : Place
        Pin, row, eye and metric.

    Returns
    -------
    int
        0 … 1403.

    Raises
    ------
    ValueError
        If pin or row do not exist, or eye or metric are unknown; says which are known.
    """
    pin, row, eye, metric = place
    for name, value, values in [
        ("pin", pin, range(1, COLUMNS + 1)),
        ("row", row, range(1, ROWS + 1)),
        ("eye", eye, EYES),
        ("metric", metric, METRICS),
    ]:
        if value not in values:
            raise ValueError(f"{name} must be one of {list(values)}, got {value!r}")
    line = (row - 1) * len(METRICS) + METRICS.index(metric)
    return line * MAP_SHAPE[1] + (pin - 1) * len(EYES) + EYES.index(eye)


class Soart(TransformerMixin, BaseEstimator):
    """Turns the three images of a part into its map, measured against the mean good part.

    Attributes
    ----------
    mean_ : ndarray, shape (3, 66, 286), float32
        Mean good image of each camera.
    responses_ : ndarray, shape (6, 3, 66, 286), float32
        Response of each pattern to it: the reference of each pattern and camera.
    dividers_ : ndarray, shape (6, 3, 3, 13), float32
        Effective divider of each pattern, camera, pin row and pin column.
    """

    mean_: np.ndarray
    responses_: np.ndarray
    dividers_: np.ndarray

    def fit(self, images: np.ndarray, y: object = None) -> Self:
        """Learn the reference from good parts.

        Parameters
        ----------
        images : ndarray, shape (n, 3, 66, 286), floating point
            Left, centre and right image of each good part, full scale 1.
        y : object
            Ignored; there for scikit-learn.

        Returns
        -------
        Soart

        Raises
        ------
        TypeError
            If the images are no floating-point array.
        ValueError
            If there is none, they have another shape, a pixel is not finite, or the responses to
            their mean are too faint in a pin's window.
        """
        _check(images)
        if not len(images):
            raise ValueError("the unit space is empty: expected at least one good part, got none")
        self.mean_ = images.mean(axis=0, dtype=np.float64).astype(np.float32)
        field = _Field(1)
        field.inside[0] = self.mean_
        self.responses_ = np.stack([response[0].copy() for response in field.responses()])
        self.dividers_ = _over_windows(self.responses_, self.responses_)
        # On an even grey all responses are made of rounding and would pass for patterns among
        # themselves, so they are held against the brightness as well.
        brightness = sum(_over_windows(image, image) for image in images) / len(images)
        for total in (self._total(images), brightness):
            check_divider(self.dividers_, total, "the mean good response")
        return self

    def metrics(self, images: np.ndarray) -> np.ndarray:
        """RT metrics of each camera by itself, before the differences.

        Parameters
        ----------
        images : ndarray, shape (n, 3, 66, 286), floating point
            Images of n parts, full scale 1.

        Returns
        -------
        ndarray, shape (n, 3, 3, 13, 12), float32
            By part, camera, pin row, pin column and metric; β without a unit, Y₂ in full scales.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            Before `fit`; if the images do not fit or a pixel is not finite.
        """
        self._check(images)
        metrics = np.empty((*images.shape[:2], ROWS, COLUMNS, len(METRICS)), dtype=np.float32)
        for start, block in self._blocks(images):
            metrics[start : start + len(block)] = block
        return metrics

    def transform(self, images: np.ndarray) -> np.ndarray:
        """Map of each part, flattened row by row.

        Parameters
        ----------
        images : ndarray, shape (n, 3, 66, 286), floating point
            Images of n parts, full scale 1.

        Returns
        -------
        ndarray, shape (n, 1404), float32
            Value ``39 (12 row + metric) + 3 column + eye``; see `locate`.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            Before `fit`; if the images do not fit or a pixel is not finite.
        """
        self._check(images)
        maps = np.empty((len(images), *MAP_SHAPE), dtype=np.float32)
        for start, block in self._blocks(images):
            left, centre, right = np.moveaxis(block, 1, 0)
            eyes = np.stack([left - centre, right - centre, centre], axis=-1)
            # (n, row, column, metric, eye) → (n, row, metric, column, eye)
            rows = eyes.transpose(0, 1, 3, 2, 4).reshape(len(block), *MAP_SHAPE)
            maps[start : start + len(block)] = rows
        return maps.reshape(len(images), MAP_SHAPE[0] * MAP_SHAPE[1])

    def _check(self, images):
        check_is_fitted(self)
        _check(images)

    def _blocks(self, images):
        """Metrics of a few parts at a time, and the number of the first of them."""
        field = _Field(BLOCK)
        for start in range(0, len(images), BLOCK):
            n = min(BLOCK, len(images) - start)
            if n < BLOCK:
                field = _Field(n)
            np.subtract(images[start : start + n], self.mean_, out=field.inside)
            columns = np.empty(
                (2, len(PATTERNS), n, len(CAMERAS), ROWS, IMAGE_SHAPE[2]), np.float32
            )
            for k, d in enumerate(field.responses()):
                _over_rows(d, self.responses_[k], out=columns[0, k])
                _over_rows(d, d, out=columns[1, k])
            cross, square = _over_columns(columns)
            pairs = np.stack(metrics_of_sums(cross, square, self.dividers_[:, None], WINDOW**2))
            # (metric, pattern, n, camera, row, column) → (n, camera, row, column, pattern, metric)
            pairs = pairs.transpose(2, 3, 4, 5, 1, 0)
            yield start, pairs.reshape(*pairs.shape[:4], len(METRICS))

    def _total(self, images):
        """Mean of S_T over the good parts, by pattern, camera and pin."""
        total = np.zeros_like(self.dividers_)
        field = _Field(1)
        for image in images:
            field.inside[0] = image
            for k, x in enumerate(field.responses()):
                total[k] += _over_windows(x[0], x[0])
        return total / len(images)


def _check(images):
    check_images(images)
    if images.shape[1:] != IMAGE_SHAPE:
        raise ValueError(
            f"images must have the shape (n, {', '.join(map(str, IMAGE_SHAPE))}): {len(CAMERAS)} "
            f"cameras, {IMAGE_SHAPE[1]} rows, {IMAGE_SHAPE[2]} columns; got {images.shape}"
        )


def _over_rows(a, b, out=None):
    """Sum of a·b over the rows of each pin row: (..., 66, 286) → (..., 3, 286)."""
    rows = (ROWS, WINDOW, IMAGE_SHAPE[2])
    a, b = (array.reshape(*array.shape[:-2], *rows) for array in (a, b))
    return np.einsum("...ryx,...ryx->...rx", a, b, out=out)


def _over_windows(a, b):
    """Sum of a·b over the window of each pin: (..., 66, 286) → (..., 3, 13)."""
    return _over_columns(_over_rows(a, b))


def _over_columns(sums):
    """Sum over the columns of each pin: (..., 286) → (..., 13)."""
    # Not a product with ones: its last digits would depend on what stands beside a part.
    return np.einsum("...x->...", sums.reshape(*sums.shape[:-1], COLUMNS, WINDOW))


class _Field:
    """Images of n parts with a border, and room for their responses to the patterns.

    Rows are laid end to end, so that a neighbour in any direction is one fixed step away and every
    sum runs over one unbroken array. What is summed across the border of two rows or images is
    nonsense, but lands in the border. The room is used again and again: fresh memory would cost as
    much as the sums.
    """

    def __init__(self, n):
        cameras, height, width = IMAGE_SHAPE
        self.row = width + 2 * EDGE
        shape = (n, cameras, height + 2 * EDGE, self.row)
        self.room = np.zeros((9, *shape), dtype=np.float32)
        self.padded = self.room[0]
        self.inside = _cut(self.padded)

    def responses(self):
        """Response to each of `PATTERNS` in turn, (n, 3, 66, 286); the next overwrites it.

        All patterns are five pixels of the same 25, so with s for the sum over one and b for that
        over its field, a response is s/5 - (b - s)/20 = (s - b/5) / 4. Each holds the middle pixel,
        so b/5 is taken off there, once for all of them; arms are shared likewise.
        """
        self._fill_border()
        self.padded *= ON / (FIELD**2 - ON)  # to multiply is several times as fast as to divide
        u, across, down, aslant, line, middle, low, right, out = self.room.reshape(9, -1)
        row = self.row
        _pair(u, 1, across)
        _pair(u, row, down)
        _pair(u, row + 1, aslant)
        _sum([(across, -2), (u, 0), (across, 1)], line)
        _pair(line, row, out)  # the field: five lines, of which two pairs
        _sum([(out, -2 * row), (line, 0), (out, row)], low)
        low *= 1 / ON
        np.subtract(u, low, out=middle)
        np.subtract(line, low, out=out)
        yield self._cut(out)
        _sum([(middle, 0), (down, row)], low)
        yield self._cut(_sum([(low, 0), (down, -2 * row)], out))
        yield self._cut(_sum([(aslant, -2 * row - 2), (middle, 0), (aslant, row + 1)], out))
        _sum([(middle, 0), (across, 1)], right)
        yield self._cut(_sum([(right, 0), (down, row)], out))
        yield self._cut(_sum([(right, 0), (down, -2 * row)], out))
        yield self._cut(_sum([(low, 0), (across, -2)], out))

    def _fill_border(self):
        """Carry the outermost pixels on, as they are."""
        padded = self.padded
        padded[..., :EDGE] = padded[..., EDGE, None]
        padded[..., -EDGE:] = padded[..., -EDGE - 1, None]
        padded[..., :EDGE, :] = padded[..., EDGE, None, :]
        padded[..., -EDGE:, :] = padded[..., -EDGE - 1, None, :]

    def _cut(self, flat):
        return _cut(flat.reshape(self.padded.shape))


def _cut(padded):
    return padded[..., EDGE:-EDGE, EDGE:-EDGE]


def _pair(values, step, out):
    """Sum of each value and the one a step on."""
    np.add(values[:-step], values[step:], out=out[:-step])


def _sum(terms, out):
    """Sum of arrays, each a step aside; where one of them ends, `out` stays as it was."""
    steps = [step for _, step in terms]
    start, stop = max(0, -min(steps)), len(out) - max(0, *steps)
    (first, second, *rest) = [values[start + step : stop + step] for values, step in terms]
    total = np.add(first, second, out=out[start:stop])
    for values in rest:
        total += values
    return out
