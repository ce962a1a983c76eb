"""What the inspection chapters promise about their own code."""

import ast
import re
import shutil
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
from careful_notebooks import READY, watched
from nbmake.nb_run import NotebookRun
from PIL import Image

CHAPTERS = Path(__file__).resolve().parent.parent / "chapters"


def code_of(name):
    """Code cells of a chapter, without the one that installs the library."""
    cells = jupytext.read(CHAPTERS / f"{name}.md").cells
    return [cell for cell in cells if cell.cell_type == "code" and "%pip" not in cell.source]


def assigned(code):
    """Names that code binds, by assignment or loop."""
    nodes = ast.walk(ast.parse(code))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def opens_the_test_set(code):
    """Whether code calls something with "test"."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    given = [argument for call in calls for argument in call.args]
    return any(isinstance(a, ast.Constant) and a.value == "test" for a in given)


@pytest.mark.parametrize("chapter", READY)
def test_the_test_set_is_opened_by_a_verdict_that_stays(chapter):
    """That all is fitted by then is watched while the notebook runs (`careful_notebooks`)."""
    sources = [cell.source for cell in code_of(chapter)]
    opened = next(k for k, source in enumerate(sources) if opens_the_test_set(source))
    earlier = set().union(*(assigned(source) for source in sources[:opened]))
    later = set().union(*(assigned(source) for source in sources[opened:]))
    assert set(READY[chapter]) <= earlier
    assert not later & set(READY[chapter])


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["scaler = StandardScaler().fit([[0], [1]])", "load_maps('test', 10)"], None),
        (["load_maps('test', 10)"], "before there is ['scaler']"),
        (["scaler = StandardScaler()", "load_maps('test', 10)"], "is not fitted yet"),
        (["scaler = {'a': StandardScaler()}", "named_set('test', [0])"], "is not fitted yet"),
    ],
)
def test_the_watch_over_the_test_set_barks(cells, told, tmp_path):
    imports = (
        "from sklearn.preprocessing import StandardScaler\n"
        "from snnlib.nsoartc.loading import load_maps\nfrom snnlib.nsoartc.dataset import named_set"
    )
    new = nbformat.v4
    notebook = new.new_notebook(cells=[new.new_code_cell(cell) for cell in ["1", imports, *cells]])
    nbformat.write(watched(notebook, ("scaler",)), tmp_path / "page.ipynb")
    result = NotebookRun(tmp_path / "page.ipynb", 100).execute()
    if told is None:
        assert result.error is None
    else:
        assert told in result.error.trace


def shown_code(chapter):
    """Lines of code that a reader is to copy: not figures, not exercises, not blank."""
    text = (CHAPTERS / f"{chapter}.md").read_text(encoding="utf-8").split("\n## Exercises")[0]
    for cell in jupytext.reads(text, fmt="md:myst").cells:
        hidden = {"hide-input", "remove-cell"} & set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and not hidden and "%pip" not in cell.source:
            yield from (line for line in cell.source.splitlines() if line.strip())


def test_an_inspection_of_ones_own_takes_no_more_than_60_lines():
    lines = list(shown_code("your_own_parts"))
    assert 40 < len(lines) <= 60


# Pictures of others, by the one chapter that shows them: what loads them, code that draws them, how
# many figures do so at least, what their captions say, and what the licence on the page says.
OF_OTHERS = {
    "solar_cells": (
        "elpv",
        r"\.images\[|\.draw\(",
        4,
        "Buerhop-Lutz et al. (2018), Deitsch et al. (2019), CC BY-NC-SA 4.0",
        "CC BY-NC-SA 4.0",
    ),
    "golden_sample": (
        "load_boards",
        r"\bframed\(|imshow\(tested|map_of\(board\)\nfigure|plots\.heat_map\(",
        8,
        "Boards: Tang et al. (2019) or stand-in.",
        "research only",
    ),
}


@pytest.mark.parametrize("of", OF_OTHERS)
@pytest.mark.parametrize("chapter", sorted(CHAPTERS.glob("*.md")), ids=lambda path: path.stem)
def test_pictures_of_others_are_shown_with_their_licence_and_in_one_chapter_only(chapter, of):
    """They are under another licence than the book: its footer and each figure say so."""
    loader, drawing, figures, credit, licence = OF_OTHERS[of]
    text = chapter.read_text(encoding="utf-8")
    metadata = jupytext.reads(text, fmt="md:myst").metadata
    assert (chapter.stem in OF_OTHERS) == ("licence" in metadata)
    if chapter.stem != of:
        assert loader not in text
        return
    assert licence in metadata["licence"]
    shown = [
        cell.metadata["mystnb"]["figure"]["caption"]
        for cell in code_of(of)
        if re.search(drawing, cell.source)
    ]
    assert len(shown) >= figures
    assert all(credit in caption for caption in shown)


def test_it_is_said_that_most_defects_of_the_boards_were_added_by_hand():
    text = (CHAPTERS / "golden_sample.md").read_text(encoding="utf-8")
    assert "Most defects were added by hand" in text


def test_ones_own_test_lots_stay_shut_until_the_station_is_made():
    sources = [cell.source for cell in code_of("your_own_parts")]
    opened = next(k for k, source in enumerate(sources) if 'folder / "test")' in source)
    assert any("\nstation = Station.fit(" in source for source in sources[:opened])
    assert not any(assigned(source) & {"station", "parts"} for source in sources[opened:])


def test_on_colab_one_cell_makes_verdicts_of_a_zip(tmp_path, monkeypatch):
    (cell,) = [cell for cell in code_of("your_own_parts") if "google.colab" in cell.source]
    rng = np.random.default_rng(0)
    for k in range(24):
        folder = f"parts/lot_{1 + k // 12}/OK" if k < 20 else "new"
        (tmp_path / "made" / folder).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(90, 110, (40, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "made" / folder / f"{k}.png")
    shutil.make_archive(str(tmp_path / "photographs"), "zip", tmp_path / "made")
    colab = ModuleType("google.colab")
    colab.files = SimpleNamespace(upload=lambda: {"photographs.zip": b""})
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so few parts deserve doubt
        exec(cell.source, {})
    table = pd.read_csv(tmp_path / "verdicts.csv")
    assert [Path(file).name for file in table.file] == [f"{k}.png" for k in range(20, 24)]
    assert set(table.verdict) <= {"OK", "unknown", "INVALID"}
