"""How long a chapter takes to read, and that it is read in a sitting."""

import itertools
import re
from pathlib import Path

import jupytext
import nbformat
import pytest
import reading_time

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
A_SITTING = 45  # minutes


def notebook(*cells):
    return nbformat.v4.new_notebook(cells=cells)


def text(words):
    return nbformat.v4.new_markdown_cell("word " * words)


def code(lines, tags=(), caption=""):
    metadata = {"tags": list(tags), "mystnb": {"figure": {"caption": caption}}}
    return nbformat.v4.new_code_cell("x = 1\n\n" * lines, metadata=metadata)


def test_words_and_lines_take_their_time():
    minutes = reading_time.minutes_to_read
    assert minutes(notebook(text(200))) == 1
    assert minutes(notebook(text(100), code(20))) == 2.5
    assert minutes(notebook(code(10, caption="word " * 100))) == 1.5
    for tag in ("hide-input", "remove-cell", "hide-cell", "remove-input"):
        assert minutes(notebook(text(200), code(20, [tag]))) == 1


def test_exercises_and_formulas_are_apart():
    both = "word " * 200 + "$$a\n= b$$\n\n## Exercises\n\n" + "word " * 200
    page = notebook(nbformat.v4.new_markdown_cell(both), code(10), text(200))
    assert reading_time.minutes_to_read(page) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "5 seconds"), (12.4, "10 seconds"), (98, "100 seconds"), (120, "2 minutes")],
)
def test_seconds_in_words(seconds, words):
    assert reading_time.in_words(seconds) == words


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_read_in_a_sitting(chapter):
    minutes = reading_time.minutes_to_read(jupytext.read(chapter))
    assert 5 < minutes <= A_SITTING, f"{minutes:.1f} minutes"


def sections(chapter):
    """Sections of a chapter: level, label or None, title, minutes without its subsections."""
    found, label = [[0, None, "", 0.0]], None
    for cell in reading_time.before_exercises(jupytext.read(chapter).cells):
        if cell.cell_type == "code":
            found[-1][3] += reading_time.minutes_to_read(notebook(cell))
            continue
        for block in re.split(r"^(?=\([\w-]+\)=$|#{1,3} )", cell.source, flags=re.MULTILINE):
            if title := re.match(r"(#{1,3}) (.+)", block):
                found.append([len(title[1]), label, title[2].strip(), 0.0])
            named = re.match(r"\(([\w-]+)\)=", block)
            label = named[1] if named else None
            found[-1][3] += reading_time.minutes_to_read(notebook(text_of(block)))
    return found


def text_of(words):
    return nbformat.v4.new_markdown_cell(words)


def minutes_of(found, name):
    """Minutes of the section with a label or title, subsections included."""
    first = next(k for k, section in enumerate(found) if name in section[1:3])
    level = found[first][0]
    inside = itertools.takewhile(lambda section: section[0] > level, found[first + 1 :])
    return found[first][3] + sum(section[3] for section in inside)


def names_in(words):
    """Labels and titles that a stop of the route names."""
    return [a or b for a, b in re.findall(r"\{ref\}`([\w-]+)`|(?<!\*)\*([^*]+)\*(?!\*)", words)]


def test_the_route_of_three_hours_takes_no_longer():
    intro = (ROOT / "intro.md").read_text(encoding="utf-8")
    route = re.search(r"## Three hours through the book(.*?)\*\*To come back to", intro, re.DOTALL)
    stops = re.findall(
        r"^- \{numref\}`Chapter \{number\} <chapter-([\w-]+)>`.*?\*\*(\d+) minutes\*\*\. (.*?)\n\n",
        route[1],
        re.DOTALL | re.MULTILINE,
    )
    assert len(stops) > 5
    for chapter, typed, words in stops:
        words = " ".join(words.split())
        found = sections(ROOT / "chapters" / f"{chapter.replace('-', '_')}.md")
        whole = sum(section[3] for section in found)
        named, _, without = words.partition(" without ")
        minutes = sum(minutes_of(found, name) for name in names_in(named))
        if words.startswith("Only"):  # with the box at the top and the summary
            minutes += found[0][3] + found[1][3] + minutes_of(found, "Summary")
            minutes -= sum(minutes_of(found, name) for name in names_in(without)[:1])
            minutes += sum(minutes_of(found, name) for name in names_in(without)[1:])
        else:
            assert words.startswith(("All but", "All of it"))
            minutes = whole - minutes
        assert int(typed) - 5 <= minutes <= int(typed), f"{chapter}: {minutes:.1f} minutes"
    assert sum(int(typed) for _, typed, _ in stops) <= 180
