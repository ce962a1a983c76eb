"""Photographs of parts, with the class and the lot of each; read in threads, a batch at a time."""

import os
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from snnlib.station.preparation import Photograph, Preparation

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NOT_CLASSES", "Parts", "as_parts", "normal_form"]

#: Words of a verdict, in any case, that no class may bear.
NOT_CLASSES = ("unknown", "invalid")

SHOWN = 6  # names of classes where parts are printed
NOTHING = "—"  # stands for no class and no lot in a table
AHEAD = 2  # batches that are read while one is worked on
WORKERS = min(4, os.cpu_count() or 2)

# What systems leave behind, in any case, beside names that begin with a dot or with "~$".
LITTER = {
    name.casefold(): name.strip()
    for name in (
        "Thumbs.db",
        "desktop.ini",
        "ehthumbs.db",
        "Icon\r",
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "__MACOSX",
        "System Volume Information",
        "lost+found",
        ".DS_Store",
        ".AppleDouble",
    )
}
NO_PICTURES = {".txt", ".csv", ".xml", ".json", ".md", ".pdf", ".html", ".xlsx", ".doc", ".docx",
               ".zip", ".yaml", ".yml", ".log", ".db", ".ini"}  # fmt: skip
# A folder that is passed over for the dot in its name is told to hold pictures by these.
PICTURES = {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".ppm",
            ".tif", ".tiff", ".webp"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Parts:
    """Files with photographs of parts, what class each part is of, and from which lot.

    Attributes
    ----------
    files : tuple of Path
        One photograph each; n files, none twice.
    names : ndarray, shape (n,), str
        Name of the class of each part, "" where it is not known. One name may be given for all.
    lots : ndarray, shape (n,), str
        Name of the lot of each part, "" where it is not known. One name may be given for all.
    skipped : tuple of str
        What lay in the folder and was passed over, in words.

    Raises
    ------
    ValueError
        If there is no file, one is there twice, names or lots are not one string for each, or a
        class bears one of `NOT_CLASSES`.
    """

    files: tuple[Path, ...]
    names: np.ndarray
    lots: np.ndarray
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        files = tuple(Path(file) for file in self.files)
        if not files:
            raise ValueError("there is no photograph, expected at least one file")
        _check_once(files)
        object.__setattr__(self, "files", files)
        object.__setattr__(self, "names", _strings(self.names, len(files), "names"))
        object.__setattr__(self, "lots", _strings(self.lots, len(files), "lots"))
        object.__setattr__(self, "skipped", tuple(self.skipped))
        for name in np.unique(self.names):
            if name.casefold() in NOT_CLASSES:
                first = files[self.names.tolist().index(name)]
                raise ValueError(
                    f"no class may be named {str(name)!r}, as that of {first} is: the word stands "
                    "for a verdict; give the class another name, or none"
                )

    def __len__(self) -> int:
        return len(self.files)

    def __repr__(self) -> str:
        classes = sorted({*self.names.tolist()} - {""})
        names = ", ".join(classes[:SHOWN]) + (", …" if len(classes) > SHOWN else "")
        counts = [
            _count(len(self), "photograph"),
            _count(len({*self.lots.tolist()} - {""}), "lot"),
            _count(len(classes), "class", "classes") + (f": {names}" if classes else ""),
        ]
        return f"Parts({', '.join(counts)})"

    @classmethod
    def read(cls, path: str | Path, classes: Collection[str] | None = None) -> Self:
        """Find the photographs in a folder.

        The folder that a file lies in is its class, and the folder above that its lot: files are
        found in ``path/lot/class``, in ``path/class``, and in `path` itself, where they have
        neither. Once there are lots, a folder beside them is a class without a lot if it is named
        like a class in a lot, else a lot whose parts have no class.

        What systems leave behind, whatever has a name that begins with a dot, and files whose
        suffix is that of no picture are passed over, as `skipped` tells. All other files are
        taken for photographs; what they hold shows when they are read.

        Parameters
        ----------
        path : str or Path
            The folder.
        classes : collection of str, optional
            Names of the classes to take; all by default, and parts without a class, too.

        Returns
        -------
        Parts
            In the order of lots, classes and names of files. Names are in Unicode's normal form
            C, so that it does not matter how a system writes them.

        Raises
        ------
        NotADirectoryError
            If there is no such folder.
        ValueError
            If it holds no photograph, a folder lies deeper than a class in a lot, one of `classes`
            is nowhere, or a class bears one of `NOT_CLASSES`.
        """
        path = Path(path)
        if isinstance(classes, str):
            raise ValueError(f"classes must be a collection of names, got the string {classes!r}")
        if not path.is_dir():
            raise NotADirectoryError(f"expected a folder of photographs, got {str(path)!r}")
        found, skipped = _walk(path)
        if not found:
            passed = f"; passed over: {', '.join(skipped)}" if skipped else ""
            raise ValueError(f"{path} holds no photograph{passed}")
        if classes is not None:
            found, others = _of_classes(found, classes, path)
            skipped += others
        lots, names, files = zip(*sorted(found, key=_place), strict=True)
        return cls(files, np.array(names), np.array(lots), tuple(skipped))

    @classmethod
    def of(cls, files: Iterable[str | Path], name: str = "", lot: str = "") -> Self:
        """Take files from a list.

        Parameters
        ----------
        files : iterable of str or Path
            Photographs, whose order is kept.
        name : str
            The class of all of them, "" if it is not known.
        lot : str
            The lot of all of them, "" if it is not known.

        Returns
        -------
        Parts

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            If `files` is a single path or holds none, one is a folder or there twice, or the class
            bears one of `NOT_CLASSES`.
        """
        if isinstance(files, str | bytes | os.PathLike):
            raise ValueError(
                f"files must be a list of files, got the single path {os.fspath(files)!r}; "
                "for a folder, use Parts.read"
            )
        listed = tuple(Path(file) for file in files)
        for file in listed:
            if not file.exists():
                raise FileNotFoundError(f"there is no file {str(file)!r}")
            if file.is_dir():
                raise ValueError(f"expected files, got the folder {str(file)!r}")
        # Objects, for NumPy would make a string of whatever is given for a name.
        names, lots = (np.full(len(listed), of_all, dtype=object) for of_all in (name, lot))
        return cls(listed, names, lots)

    def take(self, indices: ArrayLike) -> Self:
        """Return some of the parts.

        Parameters
        ----------
        indices : array_like, shape (m,), int or (n,), bool
            Positions in the order wanted, none twice; or which parts to take.

        Returns
        -------
        Parts

        Raises
        ------
        ValueError
            If there are no such positions, none is given, or one is given twice.
        """
        try:
            positions = np.arange(len(self))[np.asarray(indices)]
        except IndexError as error:
            raise ValueError(
                f"indices must be positions in {len(self)} parts, or true or false for each: "
                f"{error}"
            ) from error
        if positions.ndim != 1:
            raise ValueError(f"indices must be a list, got shape {np.shape(indices)}")
        files = tuple(self.files[k] for k in positions)
        return replace(self, files=files, names=self.names[positions], lots=self.lots[positions])

    def join(self, other: "Parts") -> Self:
        """Put other parts behind these; classes and lots of the same name become one.

        Parameters
        ----------
        other : Parts
            Parts whose files are not among these.

        Returns
        -------
        Parts

        Raises
        ------
        ValueError
            If a file is on both sides.
        """
        return replace(
            self,
            files=self.files + other.files,
            names=np.concatenate([self.names, other.names]),
            lots=np.concatenate([self.lots, other.lots]),
            skipped=tuple(dict.fromkeys(self.skipped + other.skipped)),
        )

    def counts(self) -> "pd.DataFrame":
        """Count the photographs of each class in each lot.

        Returns
        -------
        DataFrame
            A row for each lot and a column for each class, both by name; "—" for those without.
        """
        import pandas as pd  # half a second, which whoever judges one part would wait for

        table = pd.crosstab(self.lots, self.names, rownames=["lot"], colnames=["class"])
        return table.rename(index={"": NOTHING}, columns={"": NOTHING})

    def batches(
        self, preparation: Preparation, size: int = 8, progress: str | None = None
    ) -> Iterator[tuple[slice, list[Photograph | ValueError]]]:
        """Read the photographs in their order, by threads that run a few batches ahead.

        However many files there are, no more than three batches are in memory. Reading may be
        given up at any time.

        Parameters
        ----------
        preparation : Preparation
            What is done to each photograph.
        size : int
            Photographs in a batch; the last may have fewer.
        progress : str, optional
            What a progress bar says that is shown meanwhile; none by default.

        Yields
        ------
        where : slice
            Positions of the batch among these parts.
        photographs : list of Photograph or ValueError
            In the place of a file that can't be read stands the error that says why.

        Raises
        ------
        ValueError
            If `size` is not positive; at once, not when the first batch is asked for.
        """
        if size < 1:
            raise ValueError(f"size must be a positive number of photographs, got {size}")
        return self._batches(preparation, size, progress)

    def _batches(self, preparation, size, progress):
        slices = [slice(k, min(k + size, len(self))) for k in range(0, len(self), size)]
        pool = ThreadPoolExecutor(WORKERS)
        started: deque[list[Future]] = deque()
        try:
            with tqdm(total=len(self), desc=progress, disable=progress is None, leave=False) as bar:
                for k, where in enumerate(slices):
                    for following in slices[k + len(started) : k + 1 + AHEAD]:
                        files = self.files[following]
                        started.append([pool.submit(_read, preparation, file) for file in files])
                    yield where, [task.result() for task in started.popleft()]
                    bar.update(where.stop - where.start)
        finally:
            pool.shutdown(cancel_futures=True)


def as_parts(source: Parts | str | Path | Iterable[str | Path]) -> Parts:
    """Find photographs, whatever way they are named.

    Parameters
    ----------
    source : `Parts`, path, or iterable of paths
        Where they are: a path may be that of a folder or of one photograph.

    Returns
    -------
    Parts
    """
    if isinstance(source, Parts):
        return source
    if isinstance(source, str | Path):
        return Parts.of([source]) if Path(source).is_file() else Parts.read(source)
    return Parts.of(source)


def _read(preparation, file):
    try:
        return preparation.prepare(file)
    except ValueError as error:
        return ValueError(str(error))  # without its traceback, which would keep the pixels
    except FileNotFoundError:
        return ValueError(f"{file} can't be read as a photograph: it is not there any more")


def _walk(path):
    """Photographs below a folder, as (lot, class, file); and what is passed over, in words."""
    passed: list[tuple] = []  # what is alike in it, and where it is or what it is
    files, outer = _kept(path, path, passed)
    found = [("", "", file) for file in files]
    named_in_lots = set()
    for folder in outer:
        files, inner = _kept(folder, path, passed)
        found += [(normal_form(folder.name), "", file) for file in files]
        for of_class in inner:
            files, deeper = _kept(of_class, path, passed)
            if deeper:
                raise ValueError(
                    f"folder {deeper[0]} lies too deep: expected photographs in {path}, in "
                    "folders of classes there, or in folders of classes in folders of lots"
                )
            found += [
                (normal_form(folder.name), normal_form(of_class.name), file) for file in files
            ]
            named_in_lots.add(normal_form(of_class.name))
    has_lots = any(inner for _, inner, _ in found)
    placed = [
        (outer, inner, file)
        if inner or (has_lots and outer not in named_in_lots)
        else ("", outer, file)
        for outer, inner, file in found
    ]
    return placed, _told(passed)


def _kept(folder, path, passed):
    """Files and folders in a folder; what is passed over is put into a list, with its kind."""
    files, folders = [], []
    for entry in sorted(folder.iterdir()):
        place = entry.relative_to(path).as_posix()
        if kind := _litter(entry):
            passed.append((kind, place))
        elif entry.name.startswith(".") and entry.is_dir():
            holds = ", holds pictures" if _holds_pictures(entry) else ""
            passed.append((entry, f"folder {place}, whose name begins with a dot{holds}"))
        elif entry.is_dir():
            folders.append(entry)
        elif entry.is_file():
            files.append(entry)
        else:
            passed.append((entry, f"{place}, a broken link or no file"))
    if not files and not folders and folder != path:
        passed.append((folder, f"empty folder {folder.relative_to(path).as_posix()}"))
    return files, folders


def _litter(entry):
    """The kind of litter that a name or a suffix gives away; none for folders with a dot."""
    name = entry.name.casefold()
    if name in LITTER:
        return LITTER[name]
    for pattern in ("~$*", "*.tmp"):
        if fnmatchcase(name, pattern):
            return pattern
    if entry.is_dir():
        return None
    if name.startswith("."):
        return "._*" if name.startswith("._") else ".*"
    return f"*{entry.suffix.casefold()}" if entry.suffix.casefold() in NO_PICTURES else None


def _holds_pictures(folder):
    return any(file.suffix.casefold() in PICTURES for file in folder.rglob("*"))


def _told(passed):
    """What was passed over, in words: by itself if it is the only one of its kind."""
    alike = defaultdict(list)
    for kind, place in passed:
        alike[kind].append(place)
    return sorted(
        places[0].strip() if len(places) == 1 else f"{len(places)} × {kind}"
        for kind, places in alike.items()
    )


def _of_classes(found, classes, path):
    """What is of the classes wanted; and the rest, in words."""
    wanted = {normal_form(name) for name in classes}
    there = Counter(name for _, name, _ in found)
    missing = sorted(wanted - set(there))
    if missing or not wanted:
        raise ValueError(
            f"classes must be among those in {path}, which are {sorted(set(there) - {''})}; "
            f"got {missing or 'none'}"
        )
    others = [
        _count(number, "photograph") + (f" of class {name}" if name else " without a class")
        for name, number in sorted(there.items())
        if name not in wanted
    ]
    return [place for place in found if place[1] in wanted], others


def _place(found):
    lot, name, file = found
    return lot, name, normal_form(file.name), str(file)


def normal_form(name: str) -> str:
    """Spell a name as Unicode composes it: some systems write one letter as two.

    Parameters
    ----------
    name : str
        Of a class, a lot or a file.

    Returns
    -------
    str
        In normal form C.
    """
    return unicodedata.normalize("NFC", name)


def _strings(given, count, what):
    """One string for each file, in normal form C."""
    strings = [given] * count if isinstance(given, str) else list(given)
    if len(strings) != count:
        raise ValueError(f"{what} must be one for each of {count} files, got {len(strings)}")
    for k, string in enumerate(strings):
        if not isinstance(string, str):
            raise ValueError(f"{what} must be strings, got {string!r} at position {k}")
    return np.array([normal_form(string) for string in strings])


def _check_once(files):
    seen = set()
    for file in files:
        place = os.path.normcase(os.path.abspath(file))
        if place in seen:
            raise ValueError(f"each file must be there once, got {file} twice")
        seen.add(place)


def _count(number, one, many=None):
    return f"{number} {one if number == 1 else many or one + 's'}"
