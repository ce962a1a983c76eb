"""How long a chapter takes to read, and that it is read in a sitting."""

import importlib.util
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
A_SITTING = 45  # minutes
LONGER = {"nsoartc_maps"}  # to be cut


@pytest.fixture(scope="module")
def reading_time():
    path = ROOT / "_extensions" / "reading_time.py"
    spec = importlib.util.spec_from_file_location("reading_time", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=cells)


def text(words):
    return nbformat.v4.new_markdown_cell("word " * words)


def code(lines, tags=(), caption=""):
    metadata = {"tags": list(tags), "mystnb": {"figure": {"caption": caption}}}
    return nbformat.v4.new_code_cell("x = 1\n\n" * lines, metadata=metadata)


def test_words_and_lines_take_their_time(reading_time):
    minutes = reading_time.minutes_to_read
    assert minutes(notebook(text(200))) == 1
    assert minutes(notebook(text(100), code(20))) == 2.5
    assert minutes(notebook(code(10, caption="word " * 100))) == 1.5
    for tag in ("hide-input", "remove-cell", "hide-cell", "remove-input"):
        assert minutes(notebook(text(200), code(20, [tag]))) == 1


def test_exercises_and_formulas_are_apart(reading_time):
    both = "word " * 200 + "$$a\n= b$$\n\n## Exercises\n\n" + "word " * 200
    page = notebook(nbformat.v4.new_markdown_cell(both), code(10), text(200))
    assert reading_time.minutes_to_read(page) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "5 seconds"), (12.4, "10 seconds"), (98, "100 seconds"), (120, "2 minutes")],
)
def test_seconds_in_words(reading_time, seconds, words):
    assert reading_time.in_words(seconds) == words


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_read_in_a_sitting(reading_time, chapter):
    minutes = reading_time.minutes_to_read(jupytext.read(chapter))
    assert minutes > 5
    assert (minutes <= A_SITTING) == (chapter.stem not in LONGER), f"{minutes:.1f} minutes"
