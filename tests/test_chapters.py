"""What the inspection chapters promise about their own code."""

import ast
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import pytest
from sklearn.utils.validation import check_is_fitted

import snnlib.data
from snnlib.nsoartc import dataset

CHAPTERS = Path(__file__).resolve().parent.parent / "chapters"
READY = {
    "siamese_inspection": ("scaler", "encoder", "plain", "anchors"),
    "cnn_triplet_inspection": ("scaler", "whitening", "front", "encoder", "station"),
    "choosing_a_method": ("scaler", "whitening", "front", "encoder", "anchors"),
    "signing_off": ("scaler", "front", "encoder", "network", "anchors", "kept_aside"),
}


class TestSetOpened(Exception):
    __test__ = False


def code_of(name):
    """Code cells of a chapter, without the one that installs the library."""
    cells = jupytext.read(CHAPTERS / f"{name}.md").cells
    return [cell for cell in cells if cell.cell_type == "code" and "%pip" not in cell.source]


def refuse_the_test_set(monkeypatch):
    def careful(function, position):
        def call(*arguments, **settings):
            if arguments[position] == "test":
                raise TestSetOpened
            return function(*arguments, **settings)

        return call

    monkeypatch.setattr(snnlib.data, "load", careful(snnlib.data.load, 1))
    for name in ("named_set", "named_images"):
        monkeypatch.setattr(dataset, name, careful(getattr(dataset, name), 0))


def assigned(code):
    """Names that code binds, by assignment or loop."""
    nodes = ast.walk(ast.parse(code))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:The given NumPy")
@pytest.mark.parametrize("chapter", READY)
def test_the_test_set_stays_shut_until_the_verdict_is_ready(chapter, monkeypatch):
    monkeypatch.setenv("SNNLIB_PROFILE", "fast")
    monkeypatch.delenv("SNNLIB_NSOARTC", raising=False)
    plt.switch_backend("Agg")
    refuse_the_test_set(monkeypatch)
    cells, page = [cell.source for cell in code_of(chapter)], {}
    with plt.rc_context():
        for number, source in enumerate(cells):
            try:
                exec(compile(source, f"{chapter}, code cell {number}", "exec"), page)
            except TestSetOpened:
                break
        else:
            pytest.fail("the chapter never opened the test set")
    plt.close("all")

    # All that judges is there already, and nothing after this cell puts another in its place.
    for name in READY[chapter]:
        thing = page[name]
        for part in thing.values() if isinstance(thing, dict) else [thing]:
            if hasattr(part, "fit"):
                check_is_fitted(part)
    later = set().union(*(assigned(source) for source in cells[number:]))
    assert not later & set(READY[chapter])


def shown_code(chapter):
    """Lines of code that a reader is to copy: not figures, not exercises, not blank."""
    text = (CHAPTERS / f"{chapter}.md").read_text(encoding="utf-8").split("\n## Exercises")[0]
    for cell in jupytext.reads(text, fmt="md:myst").cells:
        hidden = {"hide-input", "remove-cell"} & set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and not hidden and "%pip" not in cell.source:
            yield from (line for line in cell.source.splitlines() if line.strip())


def test_an_inspection_of_ones_own_takes_no_more_than_150_lines():
    lines = list(shown_code("your_own_parts"))
    assert 60 < len(lines) <= 150


def test_ones_own_test_lot_stays_shut_until_the_station_is_set_up():
    sources = [cell.source for cell in code_of("your_own_parts")]
    opened = next(k for k, source in enumerate(sources) if 'lots["lot_4"]' in source)
    assert any("station = set_up(" in source for source in sources[:opened])
    assert not any(assigned(source) & {"station", "encoder"} for source in sources[opened:])
