"""Tables that people write are read as they are meant, or refused with what is wrong and where."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from snnlib.station.parts import Parts
from snnlib.station.sheets import STATION, Ratings, read_ratings, read_sheet, read_table

FILES = [
    "test/c/OK/001.png",
    "test/c/OK/002.png",
    "test/c/dent/001.png",
    "test/c/dent/002.png",
    "test/d/dent/é 3.png",
]
PARTS = Parts(tuple(map(Path, FILES)), ["OK", "OK", "dent", "dent", "dent"], "")
CONTENT = np.arange(5)


def sheet(*rows, columns=("file", "part", "amount")):
    return pd.DataFrame(list(rows), columns=list(columns))


def known(table, content=CONTENT, parts=PARTS):
    return read_sheet(table, parts, content, "OK")


def test_a_table_is_read_as_text(tmp_path):
    file = tmp_path / "sheet.csv"
    file.write_bytes(
        b"\xef\xbb\xbffile , part,amount\r\na.png,007,\r\n\r\nb.png,NA,1e3\r\nc.png\r\n,,\r\n"
    )
    table = read_table(file)
    assert table.columns.tolist() == ["file", "part", "amount"]
    assert table.values.tolist() == [
        ["a.png", "007", ""],
        ["b.png", "NA", "1e3"],
        ["c.png", "", ""],
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"gone\.csv can't be read \(No such file"),
        (b"", "separated by commas .No columns"),
        (b"file\na\xe9.png", "it is not in UTF-8"),
        (b"file,part\na.png,1,2\n", r"can't be read: expected a table .* line 2"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, complaint):
    file = tmp_path / "gone.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read_table(file)


def test_a_file_is_named_by_the_end_of_its_path():
    """As of a Windows machine, with a letter in two characters, or whole."""
    table = sheet(
        ("OK/001.png", 1.0),
        (r".\c\dent\002.png", 2.5),
        ("e\u0301 3.png", 3.0),
        (str(Path("test/c/OK/002.png").resolve()), None),
        columns=("file", "amount"),
    )
    found = known(table)
    np.testing.assert_array_equal(found.amount, [1, np.nan, np.nan, 2.5, 3])
    assert found.name.tolist() == [""] * 5
    assert found.part.nunique() == 5


def test_shots_and_copies_are_of_one_part():
    """The third and the fourth by their name, the fourth and the fifth as copies."""
    assert known(None, np.array([5, 6, 7, 5, 8])).part.tolist() == [0, 1, 2, 0, 3]
    table = sheet(
        ("dent/001.png", 8), ("dent/002.png", 8), ("é 3.png", None), columns=("file", "part")
    )
    found = known(table, np.array([1, 2, 3, 4, 4]))
    assert found.name.tolist() == ["", "", "8", "8", ""]  # a gap makes no 8.0 of it
    assert found.part.tolist()[2:] == [found.part[2]] * 3
    assert found.part.nunique() == 3


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (
            sheet(("a.png", 1), columns=("path", "part")),
            "no column file in the sheet: expected file, got path",
        ),
        (
            sheet(("a.png",), columns=("file",)),
            "neither a column part nor amount in the sheet, got file",
        ),
        (sheet(("a.png", 1, 2), columns=("file", "part", "part")), "more than one column part"),
        (sheet(), "there is no row in the sheet"),
        (sheet((" ", 1, 2)), "there is no file in row 2 of the sheet"),
        (sheet(("x/001.png", 1, 2)), r"row 2 .* is 'x/001\.png', which is none of the 5 photo"),
        (sheet(("001.png", 1, 2)), r"row 2 .* may be .*001\.png or .*001\.png: write more of"),
        (
            sheet(("OK/001.png", 1, 2), ("é 3.png", 3, 4), ("c/OK/001.png", 1, 2)),
            r"rows 2 and 4 of the sheet are both of c/OK/001\.png",
        ),
        (sheet(("é 3.png", 1, "0,5")), r"amount in row 2 of the sheet \(é 3\.png\) is '0,5'"),
        (sheet(("é 3.png", 1, np.inf)), "is 'inf': expected a number such as 0.5"),
        (sheet(("é 3.png", 1, "nan")), "is 'nan'"),
        (
            sheet(("OK/001.png", "x", None), ("dent/001.png", "x", None)),
            r"001\.png and .*001\.png show one part, so they can't be both good and defective",
        ),
        (
            sheet(("dent/001.png", "x", 1), ("dent/002.png", "x", 2)),
            r"dent.001\.png and .*dent.002\.png show one part, .*of different amounts",
        ),
    ],
)
def test_sheets_that_are_refused(table, complaint):
    with pytest.raises(ValueError, match=complaint):
        known(table)


def test_what_is_no_data_frame():
    with pytest.raises(TypeError, match="the sheet must be a DataFrame, got str"):
        known("sheet.csv")


def ratings(parts=("OK/001.png", "dent/001.png"), inspectors=("Ann", "Bob"), said=None, trials=2):
    """Everybody is right, if nothing is said for a (part, inspector, trial)."""
    said = said or {}
    return pd.DataFrame(
        {
            "part": part,
            "inspector": inspector,
            "trial": trial,
            "verdict": said.get((part, inspector, trial), "OK" if "OK" in part else "unknown"),
        }
        for trial, inspector, part in product(range(1, trials + 1), inspectors, parts)
    )


def rated(table, names=("",) * 5):
    return read_ratings(table, PARTS, pd.Series(names), "OK")


def test_ratings_of_files():
    found = rated(ratings(said={("OK/001.png", "Bob", 2): "dent"}))
    assert isinstance(found, Ratings)
    assert [shots.tolist() for shots in found.shots] == [[0], [2]]
    assert found.inspectors == ("Ann", "Bob")
    assert found.passes.tolist() == [[[True, True], [True, False]], [[False] * 2] * 2]
    shuffled = rated(
        ratings(said={("OK/001.png", "Bob", 2): "dent"}).sample(frac=1, random_state=1)
    )
    assert shuffled.passes.sum() == 3


def test_ratings_of_parts_by_their_names():
    """Shots come in the order of the names of files, whatever the folder."""
    table = ratings(("OK 1", "2"))
    table["part"] = table.part.replace("2", 2)
    found = rated(table, ["OK 1", "OK 1", "", "2", "2"])
    assert [shots.tolist() for shots in found.shots] == [[0, 1], [3, 4]]
    assert found.passes[:, 0, 0].tolist() == [True, False]


def changed(table, row, **cells):
    table = table.astype(object)
    for column, cell in cells.items():
        table.loc[row, column] = cell
    return table


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (
            ratings().drop(columns="trial"),
            "no column trial in the ratings: expected part, inspector, trial, ver",
        ),
        (ratings().iloc[:0], "there is no row in the ratings"),
        (changed(ratings(), 1, verdict=None), "there is no verdict in row 3 of the ratings"),
        (changed(ratings(), 1, part="x.png"), r"the part in row 3 .* is 'x\.png', which is none"),
        (ratings(inspectors=("Ann", STATION)), "an inspector of the ratings is named 'station'"),
        (changed(ratings(), 0, verdict="ok"), "row 2 of the ratings is 'ok', but good parts are"),
        (ratings(("dent/001.png", "dent/002.png")), r"no verdict .* is 'OK', .* \['unknown'\]"),
        (changed(ratings(), 7, trial=1), r"rows 5 and 9 .* are both of .*dent.001\.png, Bob, 1"),
        (changed(ratings(), 1, part="c/OK/001.png"), "rows 2 and 3 of the ratings are both of"),
        (ratings(trials=1), "the ratings are of one trial: agreement takes two"),
        (ratings(inspectors=("Ann",)), "the ratings are of one inspector"),
        (ratings(("OK/001.png",)), "the ratings are of one part"),
        (
            ratings().drop(index=[3, 5]),
            r"missing in the ratings: 2; the first is that of inspector 'Ann' on part "
            r"'.*dent.001\.png' in trial '2': every inspector must",
        ),
    ],
)
def test_ratings_that_are_refused(table, complaint):
    with pytest.raises(ValueError, match=complaint):
        rated(table.reset_index(drop=True))


def test_a_part_that_the_sheet_does_not_name():
    with pytest.raises(ValueError, match=r"row 3 .* is 'dent/001\.png', which the sheet does not"):
        rated(ratings(("OK", "dent/001.png")), ["OK"] * 5)
