"""Pairs of circuit boards, without defects and with known ones: DeepPCB, or a drawn stand-in."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from snnlib.array_cache import cached_arrays
from snnlib.boxes import Boxes
from snnlib.data import drawn_boards
from snnlib.data.loading import check_choice
from snnlib.extras import extra

__all__ = ["BOARD_SPLITS", "KINDS", "SIDE", "BoardSet", "load_boards"]

#: Kinds of defects, by the number that stands for each. A track is broken, two are bridged, an edge
#: has a bite or a bump, an island of copper stands where none should be, copper has a hole.
KINDS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
#: Parts of the boards.
BOARD_SPLITS = ("train", "validation", "test")

NAME = "deeppcb"  # of the folder in the mirror
#: Pixels along a side of a picture.
SIDE = 640
BYTES = SIDE * SIDE // 8  # of a picture, a bit a pixel
CUT = 127  # brighter pixels count as 1
LISTS = {"train": "trainval.txt", "test": "test.txt"}  # of the published repository
VALIDATION_SHARE, VALIDATION_SEED = 0.1, 0


@dataclass(frozen=True, eq=False, repr=False)
class BoardSet:
    """Pairs of pictures of boards, one free of defects, and the defects on the other.

    Pictures have 640 × 640 pixels of one bit, packed along rows: 0, black, is copper, and 1 is what
    lies between. They are packed as ``numpy.packbits`` does it; `pairs` unpacks them.

    The boards are of Tang et al. (2019), who scanned real ones at 48 pixels a millimetre, laid each
    on its template and cut the grey levels in two. Most defects they drew by hand. The licence file
    of their repository is MIT's; its text allows research only.

    Attributes
    ----------
    templates, tested : ndarray, shape (n, 51200), uint8
        The boards without defects, and those that are inspected.
    defects : `.Boxes`
        On the tested boards, in their order; kinds are positions in `KINDS`. Boxes reach 10 pixels
        beyond what has changed.
    names : ndarray, shape (n,), str
        Of the pairs.
    groups : ndarray, shape (n,), str
        Board that each picture was cut from; of one board there are many pairs.
    source : str
        Where they came from.

    Raises
    ------
    ValueError
        If shapes do not match, or a defect lies on no board, is of no known kind, or is not in the
        order of the boards.
    """

    templates: np.ndarray
    tested: np.ndarray
    defects: Boxes
    names: np.ndarray
    groups: np.ndarray
    source: str

    def __post_init__(self) -> None:
        for name, more in (("templates", (BYTES,)), ("tested", (BYTES,)), ("groups", ())):
            shape = np.shape(getattr(self, name))
            if shape != (len(self), *more):
                raise ValueError(f"{name} must have shape {(len(self), *more)}, got {shape}")
        pictures, kinds = self.defects.pictures, self.defects.kinds
        if len(pictures) and pictures.max() >= len(self):
            raise ValueError(f"there is a defect on board {pictures.max()} of {len(self)}")
        if (np.diff(pictures) < 0).any():
            raise ValueError("defects must be in the order of their boards")
        if len(kinds) and kinds.max() >= len(KINDS):
            raise ValueError(f"kinds must lie in 0 … {len(KINDS) - 1}, got {kinds.max()}")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self)} pairs of {SIDE} × {SIDE}, "
            f"{len(self.defects)} defects; source {self.source!r})"
        )

    def pairs(self, rows: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Unpack the pictures of some boards.

        Parameters
        ----------
        rows : array_like, shape (m,), int
            Positions of the boards.

        Returns
        -------
        templates, tested : ndarray, shape (m, 1, 640, 640), float32
            0 where copper is, and 1 elsewhere.
        """
        templates, tested = (
            _unpacked(of[np.asarray(rows)]) for of in (self.templates, self.tested)
        )
        return templates, tested

    def cut_out(
        self, rows: ArrayLike, places: ArrayLike, side: int, moved: ArrayLike = 0
    ) -> np.ndarray:
        """Unpack squares of some boards, and no more of them.

        Parameters
        ----------
        rows : array_like, shape (m,), int
            Positions of the boards; one may come several times.
        places : array_like, shape (m, 2), int
            x and y of the upper left pixel of each square.
        side : int
            Pixels along a side.
        moved : array_like, shape (m, 2), int, default 0
            How far from there the square of the template lies, as if the two pictures did not lie
            on each other; at the rim of the board it goes no further.

        Returns
        -------
        ndarray, shape (m, 2, side, side), float32
            Of the template and of the tested board: 0 where copper is, and 1 elsewhere.

        Raises
        ------
        ValueError
            If a square of a tested board reaches beyond it.
        """
        rows, places = np.asarray(rows), np.asarray(places).reshape(-1, 2)
        outside = np.flatnonzero(((places < 0) | (places > SIDE - side)).any(axis=1))
        if len(outside):
            raise ValueError(
                f"a square of {side} pixels at {places[outside[0]].tolist()} reaches beyond its "
                f"board of {SIDE} × {SIDE}"
            )
        of_templates = (places + np.asarray(moved)).clip(0, SIDE - side)
        halves = (self.templates, of_templates), (self.tested, places)
        return np.stack([_squares(packed, rows, at, side) for packed, at in halves], axis=1)

    def take(self, rows: ArrayLike) -> Self:
        """Select some boards, with their defects.

        Parameters
        ----------
        rows : array_like, shape (m,), int
            Positions of the boards in their new order, each one once.

        Returns
        -------
        BoardSet

        Raises
        ------
        ValueError
            If a position is negative or comes twice.
        """
        defects = self.defects.on(rows)
        rows = np.asarray(rows, dtype=np.int64)
        return type(self)(
            self.templates[rows],
            self.tested[rows],
            defects,
            self.names[rows],
            self.groups[rows],
            self.source,
        )


def _unpacked(packed):
    pixels = np.unpackbits(packed, axis=1).reshape(-1, 1, SIDE, SIDE)
    return pixels.astype(np.float32)


def _squares(packed, rows, places, side):
    """Squares of packed pictures, shape (m, side, side)."""
    x, y = places.T[:, :, None]
    # So many bytes hold the pixels wherever they begin; the last may not be there, nor needed.
    columns = np.minimum(x // 8 + np.arange(side // 8 + 2), SIDE // 8 - 1)
    lines = packed.reshape(len(packed), SIDE, SIDE // 8)
    taken = lines[rows[:, None, None], (y + np.arange(side))[:, :, None], columns[:, None]]
    within = (x % 8 + np.arange(side))[:, None]
    bits = np.take_along_axis(np.unpackbits(taken, axis=2), within, axis=2)
    return bits.astype(np.float32)


def load_boards(
    split: str, size: int | None = None, seed: int = 0, source: str | None = None
) -> BoardSet:
    """Load one part of the boards, from the first place that has them.

    The first place is the folder ``deeppcb`` in the one that the environment variable
    ``SNNLIB_DATA`` names. It holds either ``train-00000-of-00001.parquet`` and
    ``test-00000-of-00001.parquet``, with the columns name, group, template, tested (PNG), boxes and
    kinds (from 0), or a clone of the published repository, tangsanli5201/DeepPCB on GitHub, whose
    photographs are cut in two at a grey level of 127. If there is no such folder, boards are drawn
    (`snnlib.data.drawn_boards`). Either way they are decoded or drawn once a machine and kept
    (`snnlib.array_cache`).

    A tenth of the published training pairs, drawn once and for all from each board in proportion,
    is the validation part. Of the 500 test pairs, 332 are of four boards that are not in training.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Which of the `BOARD_SPLITS`: 900, 100 or 500 pairs; of the stand-in 270, 30 or 100.
    size : int, optional
        Draw so many pairs, in their own order; all if None. Each group is shuffled, and from all of
        them comes the same share, so that their numbers are in proportion to one pair. A group
        smaller than that gives a pair or none, by chance. A larger draw holds the smaller ones.
    seed : int, default 0
        Seed of that draw.
    source : {"mirror", "standin"}, optional
        Insist on one place.

    Returns
    -------
    BoardSet
        A whole part is shared by all who ask for it, and read-only.

    Raises
    ------
    ValueError
        If a split, size or source is unknown, or a file is broken.
    NotADirectoryError
        If ``SNNLIB_DATA`` is set and is no folder.
    FileNotFoundError
        If the mirror's folder has not the files, or the mirror is insisted on and has not the set.
    ModuleNotFoundError
        If there are parquet files and the extra ``data`` is not installed.
    """
    check_choice("split", split, BOARD_SPLITS)
    if source is not None:
        check_choice("source", source, ("mirror", "standin"))
    whole = _whole(split, source, os.environ.get("SNNLIB_DATA"))
    if size is None:
        return whole
    if not 1 <= size <= len(whole):
        raise ValueError(
            f"size must lie in 1 … {len(whole)} for the {split} boards ({whole.source}), got {size}"
        )
    return whole.take(_in_proportion(whole.groups, size, seed))


def _in_proportion(groups, size, seed):
    """Positions of `size` members, of each group in proportion, in their own order."""
    rng = np.random.default_rng(seed)
    turns = np.empty(len(groups))
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        # As the teeth of combs that begin anywhere: up to any turn, each has its share.
        turns[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.sort(np.argsort(turns, kind="stable")[:size])


@cache
def _whole(split, source, folder):
    """One part, the same for all who ask; `folder` is an argument, for another is another set."""
    published = "test" if split == "test" else "train"
    arrays, words = _find(published, source, folder)
    defects = Boxes(arrays["pictures"], arrays["corners"], arrays["kinds"])
    pictures = arrays["templates"], arrays["tested"]
    whole = BoardSet(*pictures, defects, arrays["names"], arrays["groups"], words)
    if split != "test":
        size = max(round(VALIDATION_SHARE * len(whole)), 1)
        chosen = _in_proportion(whole.groups, size, VALIDATION_SEED)
        rest = np.setdiff1d(np.arange(len(whole)), chosen)
        whole = whole.take(chosen if split == "validation" else rest)
    of_defects = whole.defects.pictures, whole.defects.corners, whole.defects.kinds
    for array in (whole.templates, whole.tested, whole.names, whole.groups, *of_defects):
        array.flags.writeable = False
    return whole


def _find(split, source, folder):
    """Arrays of a published split, and in words where they come from."""
    if source != "standin":
        found = _from_mirror(split, folder, insist=source == "mirror")
        if found is not None:
            return found, "DeepPCB, local mirror"
    name, code = f"drawn-boards-{split}", drawn_boards.__file__
    arrays = cached_arrays(name, [code], partial(drawn_boards.drawn_boards, split))
    return arrays, "drawn boards (stand-in)"


def _from_mirror(split, folder, insist):
    if not folder:
        if insist:
            raise FileNotFoundError("SNNLIB_DATA names no mirror to load from")
        return None
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"SNNLIB_DATA must name a folder, got {folder!r}")
    folder = Path(folder) / NAME
    if not folder.is_dir():
        if insist:
            raise FileNotFoundError(f"there is no folder {NAME} in the mirror {folder.parent}")
        return None
    parquet = folder / f"{split}-00000-of-00001.parquet"
    listing = folder / "PCBData" / LISTS[split]
    if parquet.is_file():
        rows, files = partial(_rows_of_parquet, parquet), [parquet]
    elif listing.is_file():
        published = list(_listed(listing))
        rows = partial(_rows_of_clone, published)
        files = [listing, *(file for row in published for file in row.files)]
    else:
        raise FileNotFoundError(
            f"the mirror folder {folder} lacks the file {parquet.name}, and "
            f"{listing.relative_to(folder)} of a clone of the published repository"
        )
    # How they are decoded shapes them, too, so this file is among what the cache looks at.
    return cached_arrays(f"{NAME}-{split}", [*files, __file__], partial(_arrays, rows))


class _Row(NamedTuple):
    """A pair as it is stored, and where that is."""

    where: str
    name: str
    group: str
    template: bytes
    tested: bytes
    boxes: Any
    kinds: Any


def _arrays(rows: Callable[[], Iterable[_Row]]) -> dict[str, np.ndarray]:
    """Decode and check pairs."""
    names, groups, boxes, kinds, pictures = [], [], [], [], []
    with ThreadPoolExecutor() as readers:
        for row in rows():
            names.append(row.name)
            groups.append(row.group)
            boxes.append(_checked_boxes(row))
            kinds.append(_checked_kinds(row))
            halves = ("template", row.template), ("tested board", row.tested)
            pictures.append(
                [readers.submit(_bits, f"{row.where}: the {what}", png) for what, png in halves]
            )
    if not names:
        raise ValueError("the mirror has a list of boards, but no board is in it")
    templates, tested = (np.stack([of.result() for of in column]) for column in zip(*pictures))
    return {
        "templates": templates,
        "tested": tested,
        "pictures": np.repeat(np.arange(len(names)), [len(of) for of in kinds]),
        "corners": np.concatenate(boxes).astype(np.float32),
        "kinds": np.concatenate(kinds),
        "names": np.array(names),
        "groups": np.array(groups),
    }


def _bits(what, file):
    """Pixels of a picture, packed."""
    try:
        with Image.open(io.BytesIO(file), formats=["PNG", "JPEG"]) as picture:
            pixels = np.asarray(picture.convert("L"))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{what} can't be decoded ({error})") from error
    if pixels.shape != (SIDE, SIDE):
        height, width = pixels.shape
        raise ValueError(f"{what} has {width} × {height} pixels, expected {SIDE} × {SIDE}")
    return np.packbits(pixels > CUT)


def _checked_boxes(row):
    for box in row.boxes:
        good = len(box) == 4 and 0 <= box[0] < box[2] <= SIDE and 0 <= box[1] < box[3] <= SIDE
        if not good:
            raise ValueError(
                f"{row.where}: box {list(box)}, expected x1, y1, x2, y2 with "
                f"0 ≤ x1 < x2 ≤ {SIDE} and 0 ≤ y1 < y2 ≤ {SIDE}"
            )
    return np.array(row.boxes, dtype=np.int64).reshape(-1, 4)


def _checked_kinds(row):
    if len(row.kinds) != len(row.boxes):
        raise ValueError(
            f"{row.where}: every box needs one kind, got {len(row.boxes)} and {len(row.kinds)}"
        )
    for kind in row.kinds:
        if not 0 <= kind < len(KINDS):
            raise ValueError(f"{row.where}: kind {kind}, expected 0 … {len(KINDS) - 1}")
    return np.array(row.kinds, dtype=np.int64)


def _rows_of_parquet(file: Path) -> Iterator[_Row]:
    with extra("data"):
        import pyarrow as pa
        import pyarrow.parquet

    columns = ["name", "group", "template", "tested", "boxes", "kinds"]
    try:
        table = pa.parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"the mirror file {file} is broken: {error}") from error
    missing = sorted(set(columns) - set(table.column_names))
    if missing:
        raise ValueError(f"{file} lacks the columns {missing}, got {table.column_names}")
    for number, row in enumerate(table.select(columns).to_pylist()):
        template, tested = (row[half] and row[half]["bytes"] for half in ("template", "tested"))
        where = f"{file}, row {number}"
        yield _Row(
            where,
            row["name"],
            row["group"],
            template,
            tested,
            row["boxes"] or [],
            row["kinds"] or [],
        )


class _Published(NamedTuple):
    """Where a pair lies in the published repository."""

    name: str
    group: str
    files: tuple[Path, Path, Path]  # template, tested, defects


def _listed(listing: Path) -> Iterator[_Published]:
    """Pairs that a list of the published repository names."""
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or not words[0].endswith(".jpg") or not words[1].endswith(".txt"):
            raise ValueError(
                f"{listing}, line {number}: {line!r}, expected the names of a .jpg and a .txt file"
            )
        start = listing.parent / words[0].removesuffix(".jpg")
        template, tested = (
            start.with_name(f"{start.name}_{half}.jpg") for half in ("temp", "test")
        )
        files = template, tested, listing.parent / words[1]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"{listing}, line {number}: there is no file {file}")
        yield _Published(start.name, words[0].split("/")[0], files)


def _rows_of_clone(published: list[_Published]) -> Iterator[_Row]:
    for name, group, (template, tested, defects) in published:
        boxes, kinds = _told(defects)
        pictures = template.read_bytes(), tested.read_bytes()
        yield _Row(str(defects), name, group, *pictures, boxes, kinds)


def _told(file):
    """Boxes of a text file, and their kinds, which count from 1 there."""
    boxes, kinds = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            *box, kind = map(int, line.split())
        except ValueError:
            box, kind = [], 0
        if len(box) != 4 or not 1 <= kind <= len(KINDS):
            raise ValueError(
                f"{file}, line {number}: {line!r}, expected x1 y1 x2 y2 kind, five whole numbers "
                f"of which the last lies in 1 … {len(KINDS)}"
            )
        boxes.append(box)
        kinds.append(kind - 1)
    return boxes, kinds
