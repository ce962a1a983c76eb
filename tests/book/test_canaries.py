"""Every check finds what was planted for it on pages in which everything is wrong."""

import inspect

import browser_checks
import html_validate
import page_checks
import pytest
from conftest import CANARIES, SCREENS, served

PAGES = sorted(file.relative_to(CANARIES).as_posix() for file in CANARIES.rglob("*.html"))
CHAPTER = "chapters/canary.html"

# What each check must find, and no more, in the order of the pages: words of each fault.
PLANTED = {
    "images_are_there": ["missing.png"],
    "images_are_described": ["file.png", "plus.png"],
    "images_are_figures": ["minus.png"],
    "figures_have_numbers": ["fig-short"],
    "figures_have_captions": ["fig-cut"],
    "links_lead_to_pages": ["nowhere.html"],
    "links_lead_to_places": ["#no-such-place"],
    "cells_keep_silent": ["planted on stderr"],
    "cells_do_not_fail": ["Traceback (most recent call last)"],
    "no_text_tells_of_a_failure": ["UserWarning: planted", "Traceback (most"],
    "outputs_are_written_for_people": [
        "np.float64(0.5)",
        "{'planted': 1}",
        "array([2])",
        "Name: planted, Length",
        "dtype=planted",
    ],
    "nothing_glued_is_empty": ["A share of  parts"],
    "everything_glued_is_a_number": ["nan % in the text", "None in the text"],
    "cells_of_tables_are_known": [
        "unknown None",
        "divided by zero nan",
        "forgotten TODO",
        "in doubt ???",
        "Z1 None",
    ],
    "cells_of_tables_are_filled": ["Z2"],
    "trainings_warn_where_they_should": [
        "nobody provokes: training ended in epoch",
        "not told: embeddings collapsed in epoch",
        "not told: training ended in epoch",
        "not told: nothing was learned in epoch",
    ],
    "data_are_told": ["where its data come from"],
    "there_is_enough_of_everything": [
        "1 of .cell_output",
        "3 of div.exercise",
        "3 of .exercise > .admonition-title",
        "0 of .footnote",
        "0 of a[href*='glossary.html#term-']",
        "0 of p a[href*='../reference/']",
        "0 of .cell_input a.code-link",
        # From the second page everything is missing.
        "0 of img",
        "0 of .cell_output",
        "0 of details > summary .collapsed",
        "2 of div.exercise",
        "2 of .exercise > .admonition-title",
        "0 of .footnote",
        "0 of a[href*='glossary.html#term-']",
        "0 of p a[href*='../reference/']",
        "0 of .cell_input a.code-link",
    ],
    "chapters_follow_the_plan": [
        *["Where it fails", "Summary", "References", "below the title"],
        *["Where it fails", "Summary", "References", "below the title"],
    ],
    "the_time_is_told_below_the_title": ["where the reading time should"],
    "the_idea_stands_first": ["shown_too_early", "no folded cell"],
    "folds_say_what_is_in_them": ["Show code cell source"],
    "figures_are_counted": ["expected Fig. 3.2, got Fig. 3.7"],
    "exercises_are_counted": ["expected Exercise 3.3, got Exercise 3.9"],
    "exercises_have_folded_solutions": [
        "ex-unsolved",
        "another order than exercises: ex-two, ex-one",
    ],
    "exercises_go_from_a_minute_to_an_open_question": [
        "first exercise takes one minute, and no other: Exercise 3.1",
        "last exercise is open, and no other: Exercise 3.1",
        "first exercise takes one minute, and no other: Exercise 3.9",
        "last exercise is open, and no other: Exercise 3.9",
    ],
    "solutions_run": ["solution-unfolded"],
    "chapters_open_on_colab": [
        "got https://colab.research.google.com/github/nobody",
        "no notebook chapters/canary.ipynb",
        "got none",
    ],
    "licences_stand_in_the_footer": ["no CC BY 4.0", "no CC BY-NC-SA 4.0"],
    "the_theme_is_light": ["got None"],
    "scripts_are_needed": ["thebe"],
    "entries_are_described": ["snnlib.planted.Mute"],
    "entries_show_their_source": ["snnlib.planted.without_source"],
    "types_of_the_library_are_links": ["no link to Mute"],
    "the_glossary_speaks_japanese": ["A bird."],
    "claims_are_judged": ["Scope", "Verdict", "no link"],
    "faults_lead_to_what_shows_them": ["Z3"],
}

# The same in a browser, in any order.
PLANTED_IN_A_BROWSER = {
    "complaints": [
        "not served: https://elsewhere.invalid",
        "ERR_NAME_NOT_RESOLVED",
        "sphinx-thebe.js",
        "missing.png",
        "status of 404",
        "a planted complaint",
        "uncaught: a planted error",
    ],
    "pictures not drawn": ["missing.png"],
    "sticking out": ["the page is too wide", "too-wide"],
    "drawings cut": ["logo.svg"],
    "values on two lines": ["94.93points"],
    "formulas not set": ["no delimiters", "Missing argument", r"\(written\)"],
    "hard to read": ["image-alt"],
}
# Colours are judged on one screen. A formula that is wrong is yellow and hard to read, too.
PLANTED_COLOURS = {
    "hard to read": ["image-alt", "too-pale", "pale-and-folded", "mjx"],
    "hard to read in the dark": ["too-dark", "mjx"],
}
PLANTED_FOR_HTML_VALIDATE = ["wcag/h37", 'Duplicate ID "twice"']


@pytest.fixture(scope="module")
def canary_address(canaries):
    """Where the canaries are served."""
    with served(canaries) as address:
        yield address


def assert_found(faults, planted):
    """Each fault holds the words that were planted for it, in this order."""
    assert len(faults) == len(planted), faults
    for fault, words in zip(faults, planted):
        assert words in fault


def test_every_check_has_its_canary():
    generators = {
        name
        for name, thing in vars(page_checks).items()
        if inspect.isgeneratorfunction(thing) and name not in ("shown", "links_inside")
    }
    assert generators == {check.name for check in page_checks.CHECKS} == set(PLANTED)


@pytest.mark.parametrize("check", page_checks.CHECKS, ids=lambda check: check.name)
def test_a_check_finds_what_was_planted_for_it(check, canaries):
    pages = [page_checks.read(canaries, name) for name in PAGES]
    assert_found([fault for page in pages for fault in check.faults(page)], PLANTED[check.name])


def test_html_validate_finds_what_was_planted_for_it(canaries, missing, tmp_path):
    if not html_validate.is_installed():
        missing("no html-validate here")
    faults = html_validate.faults(canaries, PAGES, tmp_path)
    assert set(faults) == set(PAGES)
    assert_found(faults[CHAPTER], PLANTED_FOR_HTML_VALIDATE)


def test_a_page_that_html_validate_cannot_read_is_missed(tmp_path, monkeypatch, canaries, missing):
    if not html_validate.is_installed():
        missing("no html-validate here")
    monkeypatch.setattr(html_validate, "MARK", "")
    assert html_validate.faults(canaries, PAGES, tmp_path) == {}


@pytest.mark.parametrize("screen", SCREENS)
def test_a_browser_finds_what_was_planted_for_it(visit, canary_address, screen):
    colours = PLANTED_COLOURS if screen == "desktop" else {}
    planted = PLANTED_IN_A_BROWSER | colours
    found = browser_checks.faults(visit(CHAPTER, screen, canary_address))
    assert set(found) == set(planted)
    for what, faults in found.items():
        assert not [words for words in planted[what] if not any(words in f for f in faults)]
        assert not [fault for fault in faults if not any(w in fault for w in planted[what])]


def test_wrong_files_and_folds_are_found(visit, canaries, canary_address):
    view = visit(CHAPTER, "desktop", canary_address)
    assert_found(
        list(browser_checks.wrong_files(view, canaries)),
        ["nothing.ipynb", "no file ../_sources/chapters/canary.md"],
    )
    assert_found(list(browser_checks.wrong_folds(view)), ["not folded: solution-unfolded"])
