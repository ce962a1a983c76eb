"""Tables that people write of the parts judged: what is known of each, and what inspectors said.

A *sheet* has a row for each photograph: its ``file``; the ``part`` that it shows, as several may be
shots of one; and the ``amount``, which is how large the defect is. *Ratings* have a row for each
verdict of an inspector: ``part``, ``inspector``, ``trial``, ``verdict``.

A file is named by the end of its path: its name, and as many of the folders above it as no other
file has, such as ``OK/001.png``.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from snnlib.station.parts import Parts, normal_form

__all__ = ["STATION", "Ratings", "read_ratings", "read_sheet", "read_table"]

#: What the station is called among inspectors.
STATION = "station"

SHEET = ("file", "part", "amount")
CELL = ["part", "inspector", "trial"]
RATINGS = (*CELL, "verdict")
FIRST = 2  # row of a spreadsheet below the names of columns


@dataclass(frozen=True, eq=False)
class Ratings:
    """What m inspectors say of n parts, each of them in t trials.

    Attributes
    ----------
    shots : tuple of ndarray of int
        Positions of the photographs of each part, in the order of the names of files.
    inspectors : tuple of str
        Their names.
    passes : ndarray, shape (n, m, t), bool
        Whether the part is called good.
    """

    shots: tuple[np.ndarray, ...]
    inspectors: tuple[str, ...]
    passes: np.ndarray


def read_table(file: str | Path) -> pd.DataFrame:
    """Read a table, as spreadsheets write it: separated by commas, with names of columns on top.

    Parameters
    ----------
    file : str or Path
        CSV in UTF-8.

    Returns
    -------
    DataFrame
        All of it text; what is not filled in is empty.

    Raises
    ------
    ValueError
        If the file can't be read, or is no such table.
    """
    try:
        rows = pd.read_csv(
            file, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except OSError as error:
        raise ValueError(f"{file} can't be read ({error.strerror})") from error
    except ValueError as error:  # so are pandas' own errors, and that of letters
        why = "it is not in UTF-8" if isinstance(error, UnicodeError) else str(error).strip()
        raise ValueError(
            f"{file} can't be read: expected a table in UTF-8, separated by commas ({why})"
        ) from error
    rows = rows.fillna("")  # where a row is short
    rows = rows[(rows != "").any(axis=1)]  # a spreadsheet may leave empty ones below
    return rows[1:].set_axis(rows.iloc[0].str.strip().tolist(), axis=1).reset_index(drop=True)


def read_sheet(
    sheet: pd.DataFrame | None, parts: Parts, content: np.ndarray, good: str
) -> pd.DataFrame:
    """Find out what a sheet tells of photographs, and which of them show one part.

    Those do whose part bears the same name, and those that are copies.

    Parameters
    ----------
    sheet : DataFrame or None
        Columns ``file`` and ``part``, ``amount`` or both; others do not matter. A photograph has
        one row, or none if nothing is known of it.
    parts : `~snnlib.station.parts.Parts`
        All photographs, with their classes.
    content : ndarray, shape (n,)
        What tells the photographs apart: copies have the same.
    good : str
        The class of good parts.

    Returns
    -------
    DataFrame
        A row for each photograph: ``part``, a number; its ``name``, empty where none is told; and
        the ``amount``, NaN where none is told.

    Raises
    ------
    TypeError
        If the sheet is no table.
    ValueError
        If a column is missing or there twice, there is no row, a file is not named, not there,
        there twice or could be several, or an amount is no finite number; if shots of one part are
        both of good and of defective parts, or have different amounts of one defect.
    """
    known = pd.DataFrame({"name": [""] * len(parts), "amount": np.nan}, dtype=object)
    if sheet is not None:
        text = _columns("sheet", sheet, SHEET, needed=("file",))
        if not {"part", "amount"} & {*text}:
            raise ValueError(
                f"there is neither a column part nor amount in the sheet, got {_list(sheet)}"
            )
        _check_filled("sheet", text.file)
        positions = _positions("sheet", text.file, parts.files)
        _check_once("sheet", text.assign(file=positions), ["file"], text.file)
        if "part" in text:
            known.loc[positions, "name"] = text.part.to_numpy()
        if "amount" in text:
            known.loc[positions, "amount"] = _numbers(text)
    known.insert(0, "part", _numbered(known.name, content))
    known["amount"] = known.amount.astype(float)
    named, by_name = known.name != "", known.name.to_numpy()
    _check_same(parts, named, [by_name], parts.names == good, "both good and defective")
    told = known.amount.notna() & (parts.names != good)
    of_defect = [known.part.to_numpy(), parts.names]
    _check_same(parts, told, of_defect, known.amount.to_numpy(), "of different amounts")
    return known


def read_ratings(ratings: pd.DataFrame, parts: Parts, names: pd.Series, good: str) -> Ratings:
    """Find out what inspectors said of parts: each of them of every part, in every trial.

    Parameters
    ----------
    ratings : DataFrame
        Columns ``part``, ``inspector``, ``trial`` and ``verdict``, which is the name of a class;
        others do not matter.
    parts : `~snnlib.station.parts.Parts`
        All photographs.
    names : Series of str
        The part that each of them shows, as a sheet names it. If all are empty, parts are named by
        their files.
    good : str
        The class of good parts. Whatever else a verdict says, the part is called not good.

    Returns
    -------
    Ratings

    Raises
    ------
    TypeError
        If the ratings are no table.
    ValueError
        If a column is missing or there twice, there is no row, something is not filled in, a part
        is not there, an inspector is named like `STATION`, a verdict is there twice or missing,
        none calls a part good, or there are fewer than two parts, inspectors or trials.
    """
    text = _columns("ratings", ratings, RATINGS, needed=RATINGS)
    for column in RATINGS:
        _check_filled("ratings", text[column])
    if STATION in set(text.inspector):
        raise ValueError(f"an inspector of the ratings is named {STATION!r}: so is the one judged")
    _check_good(text.verdict, good)
    shots = _shots(text.part, parts.files, names.tolist())
    text["part"] = [int(of_part[0]) for of_part in shots]  # a part is known by its first one
    given = dict(zip(text.part, shots))
    titles = {first: names[first] or str(parts.files[first]) for first in given}
    _check_once("ratings", text, CELL, text.part.map(titles))
    axes = [list(dict.fromkeys(text[column])) for column in CELL]
    for column, values in zip(CELL, axes):
        if len(values) < 2:
            raise ValueError(
                f"the ratings are of one {column}: agreement takes two parts, inspectors and "
                "trials or more"
            )
    every = pd.MultiIndex.from_product(axes)
    verdicts = text.set_index(CELL).verdict.reindex(every)
    missing = every[verdicts.isna()]
    if len(missing):
        part, inspector, trial = missing[0]
        raise ValueError(
            f"verdicts missing in the ratings: {len(missing)}; the first is that of inspector "
            f"{inspector!r} on part {titles[part]!r} in trial {trial!r}: every inspector must "
            "judge every part in every trial"
        )
    passes = (verdicts == good).to_numpy(bool).reshape([len(axis) for axis in axes])
    return Ratings(tuple(given.values()), tuple(axes[1]), passes)


def _numbered(names, content):
    """A number for each photograph, the same for those that share a name or their content."""
    n = len(names)
    # A photograph whose part has no name is tied to nothing but its copies.
    of_name = pd.factorize(names.where(names != "", pd.Series(range(n))))[0]
    of_content = pd.factorize(content)[0]
    ties = coo_array((np.ones(n), (of_name, n + of_content)), shape=(2 * n, 2 * n))
    return connected_components(ties, directed=False)[1][of_name]


def _check_same(parts, known, by, values, what):
    """Whether all photographs of one part say the same of it."""
    rows = pd.DataFrame({"value": values, "file": list(map(str, parts.files))})[known.to_numpy()]
    for _, group in rows.groupby([keys[known.to_numpy()] for keys in by]):
        if group.value.nunique() > 1:
            one, other = group.drop_duplicates("value").file[:2]
            raise ValueError(f"{one} and {other} show one part, so they can't be {what}")


def _columns(what, table, wanted, needed):
    """Those columns that matter, as text."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"the {what} must be a DataFrame, got {type(table).__name__}")
    columns = table.columns.tolist()
    for name in wanted:
        if name in needed and name not in columns:
            raise ValueError(
                f"there is no column {name} in the {what}: expected {', '.join(needed)}, got "
                f"{_list(table)}"
            )
        if columns.count(name) > 1:
            raise ValueError(f"there is more than one column {name} in the {what}")
    if not len(table):
        raise ValueError(f"there is no row in the {what}")
    return pd.DataFrame({name: _text(table[name]) for name in wanted if name in columns})


def _text(column):
    """Names and numbers as one would type them: 1, and not 1.0, where a column has gaps, too."""
    text = column.convert_dtypes().astype("string").fillna("")
    return np.array([normal_form(cell.strip()) for cell in text], dtype=object)


def _list(table):
    return ", ".join(map(str, table.columns)) or "none"


def _check_filled(what, column):
    empty = np.flatnonzero(column == "")
    if len(empty):
        raise ValueError(f"there is no {column.name} in row {empty[0] + FIRST} of the {what}")


def _check_once(what, table, columns, titles):
    again = np.flatnonzero(table.duplicated(columns))
    if len(again):
        row = again[0]
        first = int((table[columns] == table.loc[row, columns]).all(axis=1).argmax())
        raise ValueError(
            f"rows {first + FIRST} and {row + FIRST} of the {what} are both of "
            + ", ".join(str(part) for part in [titles[row], *table.loc[row, columns[1:]]])
        )


def _check_good(verdicts, good):
    """Nobody should be taken for one who stops all parts because of how good is spelled."""
    for row, verdict in enumerate(verdicts):
        if verdict != good and verdict.casefold() == good.casefold():
            raise ValueError(
                f"the verdict in row {row + FIRST} of the ratings is {verdict!r}, but good parts "
                f"are named {good!r}: write it alike"
            )
    if good not in set(verdicts):
        raise ValueError(
            f"no verdict of the ratings is {good!r}, which is the class of good parts; they are "
            f"{sorted(set(verdicts))}"
        )


def _numbers(text):
    """Amounts, NaN where there is none."""
    numbers = pd.to_numeric(text.amount.mask(text.amount == ""), errors="coerce").to_numpy(float)
    wrong = np.flatnonzero((text.amount != "") & ~np.isfinite(numbers))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"the amount in row {row + FIRST} of the sheet ({text.file[row]}) is "
            f"{text.amount[row]!r}: expected a number such as 0.5, or nothing where it is not known"
        )
    return numbers


def _positions(what, column, files):
    """Where the files are that a column names."""
    ends = defaultdict(list)
    for position, file in enumerate(files):
        steps = _steps(os.path.abspath(file))
        for k in range(len(steps)):
            ends[steps[k:]].append(position)
    return [
        _position(f"the {column.name} in row {row} of the {what} is {name!r}", name, ends, files)
        for row, name in enumerate(column, FIRST)
    ]


def _position(here, name, ends, files):
    found = ends.get(_steps(name), [])
    if len(found) == 1:
        return found[0]
    if not found:
        raise ValueError(
            f"{here}, which is none of the {len(files)} photographs judged; expected the end of a "
            f"path, such as {'/'.join(files[0].parts[-2:])}"
        )
    raise ValueError(
        f"{here}, which may be {files[found[0]]} or {files[found[1]]}: write more of its path"
    )


def _steps(path):
    """Folders and name of a file, whichever system wrote the path."""
    steps = normal_form(path).replace("\\", "/").split("/")
    return tuple(step for step in steps if step not in ("", "."))


def _shots(parts, files, names):
    """Positions of the photographs of the part in each row of the ratings."""
    if not any(names):
        return [np.array([position]) for position in _positions("ratings", parts, files)]
    of_part = defaultdict(list)
    order = sorted(range(len(files)), key=lambda k: (normal_form(files[k].name), str(files[k])))
    for position in order:
        of_part[names[position]].append(position)
    for row, name in enumerate(parts):
        if name not in of_part:
            raise ValueError(
                f"the part in row {row + FIRST} of the ratings is {name!r}, which the sheet does "
                "not know: expected a name in its column part"
            )
    return [np.array(of_part[name]) for name in parts]
