"""Photographs of solar cells, and what an expert says of each; from the package elpv-dataset."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.model_selection import train_test_split

from snnlib.extras import extra
from snnlib.images import ImageSet

__all__ = ["CELL_SPLITS", "WORDS", "CellSet", "load_cells"]

#: The expert's words, by the probability of a defect that stands for each in the files.
WORDS = {
    0: "functional, sure",
    1 / 3: "functional, unsure",
    2 / 3: "defective, unsure",
    1: "defective, sure",
}
#: Parts into which a seed cuts the cells.
CELL_SPLITS = ("train", "calibration", "test")
CLASS_NAMES = ("functional", "defective")
TEST, CALIBRATION = 656, 394  # of 2 624: the size of the published test set, a fifth of the rest
WEIGHTS = (1, 0.33, 0.67, 1)  # of the four words, as they were published


@dataclass(frozen=True, eq=False, repr=False)
class CellSet(ImageSet):
    """Solar cells under current, which glow where they work, and what an expert says of them.

    The photographs are under CC BY-NC-SA 4.0; whoever shows them names Buerhop-Lutz et al. (2018)
    and Deitsch et al. (2019).

    Attributes
    ----------
    probabilities : ndarray, shape (n,), float64
        That a cell is defective, in the expert's mind: 0, 1/3, 2/3 or 1.
    types : ndarray, shape (n,), str
        Of the module that a cell was cut from, "mono" or "poly".
    files : ndarray, shape (n,), Path
        Where the photographs lie.

    Raises
    ------
    ValueError
        If there is not one of each for every image.
    """

    probabilities: np.ndarray
    types: np.ndarray
    files: np.ndarray

    _of_each = (*ImageSet._of_each, "probabilities", "types", "files")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("probabilities", "types", "files"):
            if np.shape(getattr(self, name)) != self.labels.shape:
                raise ValueError(
                    f"every image needs one of {name}, got shape {np.shape(getattr(self, name))} "
                    f"for {len(self)} images"
                )

    @property
    def words(self) -> np.ndarray:
        """What the expert says of each cell, shape (n,), str; one of `WORDS`."""
        return np.array(list(WORDS.values()))[_steps(self.probabilities)]

    @property
    def weights(self) -> np.ndarray:
        """What each cell counts, shape (n,), float64, as Deitsch et al. (2019) count them.

        A cell of which the expert is sure counts 1, others 0.33 (p = 1/3) and 0.67 (p = 2/3).
        """
        return np.array(WEIGHTS)[_steps(self.probabilities)]


def load_cells(split: str, size: int | None = None, seed: int = 0) -> CellSet:
    """Load one part of the solar cells, in memory.

    As many are for the test as in Deitsch et al. (2019), 656 of the 2 624, with each of the
    expert's words and each type of module in proportion; a fifth of the others is the calibration
    part. Which cells were theirs is not published, nor which cell came from which module, so cells
    of one module stand on both sides of each cut.

    Parameters
    ----------
    split : {"train", "calibration", "test"}
        Which of the `CELL_SPLITS`: 1 574, 394 or 656 cells.
    size : int, optional
        Draw so many of them, in the same proportions; all in their own order if None.
    seed : int, default 0
        Seed of the cuts and of the draw.

    Returns
    -------
    CellSet
        Images (n, 1, 300, 300) float32 in [0, 1]; a cell whose probability is above ½ is of the
        class "defective", others are "functional".

    Raises
    ------
    ModuleNotFoundError
        If the extra ``chapters`` is not installed.
    ValueError
        If there is no such part, or `size` is out of range.
    """
    if split not in CELL_SPLITS:
        raise ValueError(f"split must be one of {', '.join(CELL_SPLITS)}; got {split!r}")
    files, probabilities, types = _table()
    strata = np.char.add(types, _steps(probabilities).astype(str))
    rest, test = _cut(np.arange(len(files)), TEST, strata, seed)
    train, calibration = _cut(rest, CALIBRATION, strata, seed)
    rows = dict(zip(CELL_SPLITS, (train, calibration, test)))[split]
    if size is not None:
        kinds = len(np.unique(strata))
        if not kinds <= size <= len(rows) - kinds:
            raise ValueError(
                f"size must lie in {kinds} … {len(rows) - kinds} for the {split} cells, got {size}"
            )
        _, rows = _cut(rows, size, strata, seed)
    return CellSet(
        images=_photographs(files[rows]),
        labels=(probabilities[rows] > 0.5).astype(np.int64),
        class_names=CLASS_NAMES,
        source="elpv-dataset, photographs of solar cells (CC BY-NC-SA 4.0)",
        probabilities=probabilities[rows],
        types=types[rows],
        files=files[rows],
    )


@cache
def _table():
    """Files, probabilities and types of all cells."""
    with extra("chapters"):
        import elpv_dataset
    folder = Path(elpv_dataset.__file__).parent / "data"
    table = pd.read_csv(folder / "labels.csv", sep=r"\s+", names=["file", "probability", "type"])
    files = np.array([folder / file for file in table.file])
    # As the files have them, the steps between are rounded.
    probabilities = np.array(list(WORDS))[_steps(table.probability.to_numpy())]
    return files, probabilities, table.type.to_numpy(dtype=str)


def _steps(probabilities):
    """Which of the four words each probability stands for."""
    return np.rint(3 * probabilities).astype(np.int64)


def _cut(rows, size, strata, seed):
    """Rows cut in two, in their own order."""
    both = train_test_split(rows, test_size=size, random_state=seed, stratify=strata[rows])
    return [np.sort(part) for part in both]


def _photographs(files: Iterable[Path]) -> np.ndarray:
    with ThreadPoolExecutor() as readers:
        pixels = np.stack(list(readers.map(_pixels, files)))
    return pixels[:, None].astype(np.float32) / 255


def _pixels(file):
    with Image.open(file) as photograph:
        return np.asarray(photograph.convert("L"))
