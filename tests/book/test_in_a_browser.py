"""The built book in a real browser: every page, on a desk and on a phone, light and dark, and with
no network but the one that serves the book."""

import pytest
from browser_checks import LEAST, accessibility, faults, show, wrong_files, wrong_folds
from conftest import PAGES, SCREENS


def open_menus(view):
    """Each button above the text opens its menu."""
    menus = view.page.locator(".article-header-buttons .dropdown").all()
    assert menus or not view.name.startswith("chapters/")
    for menu in menus:
        menu.get_by_role("button").first.click()
        assert menu.get_by_role("link").first.is_visible()


def lead_to_exercises(view):
    """The title of a solution leads to its exercise and unfolds nothing."""
    links = view.page.locator(".solution.dropdown > .admonition-title a")
    assert links.count() or not view.name.startswith("chapters/")
    if links.count():
        links.last.click()
        exercise = links.last.get_attribute("href")
        view.page.wait_for_function("(exercise) => location.hash === exercise", arg=exercise)
        assert not view.page.locator(".solution.dropdown:not(.toggle-hidden)").count()


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_and_everybody_can_read_it(visit, html, page, screen):
    view = visit(page, screen)
    assert list(wrong_files(view, html)) == []
    open_menus(view)
    assert list(wrong_folds(view)) == []
    lead_to_exercises(view)
    assert faults(view) == {}


@pytest.mark.parametrize("selector", LEAST)
def test_there_is_enough_to_look_at(pages, selector):
    assert sum(len(page.whole.select(selector)) for page in pages.values()) >= LEAST[selector]


@pytest.mark.parametrize("screen", ["desktop", "phone"])
def test_search_finds_what_a_reader_types(visit, screen):
    view = visit("intro.html", screen)
    view.page.locator("button.search-button__button:visible").click()
    view.page.keyboard.type("triplet")
    view.page.keyboard.press("Enter")
    view.page.wait_for_url("**/search.html*")
    view.page.wait_for_load_state("networkidle")  # every find has its summary
    view.page.locator("#search-results ul.search a").first.click()
    view.page.wait_for_url(lambda url: "search.html" not in url)
    assert "triplet" in view.page.locator("article").inner_text().lower()
    assert view.complaints == []


def test_the_switch_changes_the_theme_and_is_remembered(visit):
    view = visit("intro.html", "desktop")
    switch, colours = view.page.locator(".theme-switch-button:visible"), set()
    for _ in range(3):  # light, dark, as the system has it
        colours.add(view.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        switch.click()
    assert len(colours) == 2
    show(view, "dark")
    view.page.reload()
    assert view.page.locator("html").get_attribute("data-theme") == "dark"
    assert view.complaints == []


def test_the_menu_opens_on_a_phone(visit, pages):
    chapter = next(name for name in pages if name.startswith("chapters/"))
    view = visit("intro.html", "phone")
    link = view.page.locator(f"nav.bd-links a[href$='{chapter}']")
    assert not link.is_visible()
    view.page.locator(".primary-toggle:visible").tap()
    link.wait_for(state="visible")
    assert accessibility(view.page) == []
    link.tap()
    view.page.wait_for_url(f"**/{chapter}")
    assert view.complaints == []
