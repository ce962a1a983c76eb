"""The built book in a real browser: every page, on a desk and on a phone, light and dark, and with
no network but the one that serves the book."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

ROOT = Path(__file__).resolve().parent.parent.parent
COLAB = "colab.research.google.com"

# Elements of the article that end to the right of it and are in no box that scrolls.
STICKING_OUT = """() => {
  const root = document.documentElement;
  const article = document.querySelector("article, .bd-search-container");
  const edge = article.getBoundingClientRect().right + 1;
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const held = (element) => element !== article
    && (scrolls(element) || element.tagName === "MJX-ASSISTIVE-MML" || held(element.parentElement));
  const out = [...article.querySelectorAll("*")].filter(
    (element) => element.getBoundingClientRect().right > edge && !held(element.parentElement)
  );
  const found = out.map((element) => element.outerHTML.slice(0, 120));
  return root.scrollWidth > root.clientWidth + 1 ? ["the page is too wide", ...found] : found;
}"""

UNDRAWN = """() => [...document.images].filter((image) => !image.naturalWidth).map((i) => i.src)"""

# Short values of a table that take more than one line.
BROKEN_VALUES = """() => {
  const lines = (cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
  };
  return [...document.querySelectorAll("table.dataframe td")]
    .filter((cell) => cell.textContent.trim().length < 16 && lines(cell) > 1)
    .map((cell) => cell.textContent);
}"""

# Formulas that MathJax left as they were written, or could not read.
UNSET_MATHS = """() => {
  const written = [...document.querySelectorAll("article .math")];
  const unset = written.filter((maths) => !maths.querySelector("mjx-container"));
  const wrong = [...document.querySelectorAll("mjx-merror, merror")];
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const raw = [];
  while (texts.nextNode()) {
    const text = texts.currentNode;
    const shown = !text.parentElement.closest("pre, code, script");
    if (shown && /\\\\[(\\[]/.test(text.data)) raw.push(text);
  }
  return [...unset, ...wrong, ...raw].map((node) => node.textContent);
}"""

# Code has thousands of words in few colours. One word of a kind is judged; the others become part
# of the line that they stand in.
ONE_WORD_OF_A_KIND = """() => {
  const kinds = new Set();
  for (const word of document.querySelectorAll(".highlight pre :is(span, a)")) {
    const kind = word.className + word.closest(".admonition")?.className;
    if (kinds.has(kind)) word.replaceWith(...word.childNodes);
    kinds.add(kind);
  }
}"""


def accessibility(page, **options):
    """What axe finds in a page that is more than minor, with the pointer out of the way."""
    page.mouse.move(0, 0)
    # Without preload axe doesn't fetch the style sheets anew, from addresses of its own making.
    options |= {"preload": False, "resultTypes": ["violations"]}
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"{violation['impact']}, {violation['id']}: {node['html'][:200]}"
        for violation in violations
        if violation["impact"] != "minor"
        for node in violation["nodes"]
    ]


def test_buttons_lead_to_files(fresh, html):
    """The notebook that Colab opens is in the repository, the files to download are in the book."""
    links = fresh.page.locator(".dropdown-launch-buttons a, .dropdown-download-buttons a")
    addresses = [link.get_attribute("href") for link in links.all()]
    for address in addresses:
        parts = urlsplit(address)
        if parts.netloc:
            assert (ROOT / unquote(parts.path).split("/blob/main/")[1]).is_file(), address
        else:
            assert (html / fresh.name).parent.joinpath(unquote(parts.path)).is_file(), address
    if fresh.name.startswith("chapters/"):
        assert [urlsplit(address).netloc for address in addresses][:1] == [COLAB]
        assert {Path(address).suffix for address in addresses} == {".ipynb", ".md"}
    for menu in fresh.page.locator(".article-header-buttons .dropdown").all():
        menu.get_by_role("button").click()
        assert menu.get_by_role("link").first.is_visible()


def test_solutions_unfold_and_fold(fresh):
    solutions = fresh.page.locator(".solution.dropdown").all()
    assert solutions or not fresh.name.startswith("chapters/")
    for solution in solutions:
        text = solution.locator(".admonition-title ~ *").first
        assert not text.is_visible()
        solution.get_by_role("button").first.click()
        assert text.is_visible()
        solution.get_by_role("button").first.click()
        assert not text.is_visible()


def test_the_link_of_a_solution_leads_to_its_exercise(fresh):
    links = fresh.page.locator(".solution.dropdown > .admonition-title a")
    if links.count():
        links.last.click()
        exercise = links.last.get_attribute("href")
        assert urlsplit(fresh.page.url).fragment == exercise.removeprefix("#")
        assert not fresh.page.locator(".solution.dropdown:not(.toggle-hidden)").count()
    assert fresh.complaints == []


def test_nothing_is_amiss(view):
    found = {
        "complaints": view.complaints,
        "pictures not drawn": view.page.evaluate(UNDRAWN),
        "sticking out": view.page.evaluate(STICKING_OUT),
        "values on two lines": view.page.evaluate(BROKEN_VALUES),
        "formulas not set": view.page.evaluate(UNSET_MATHS),
    }
    assert {what: where for what, where in found.items() if where} == {}


def test_everybody_can_read_it(view, theme):
    view.page.evaluate(ONE_WORD_OF_A_KIND)
    # Colours are the same on both screens, and take long to judge; nothing but colours is darker.
    colours = ["color-contrast"] if view.screen == "desktop" else []
    options = {"rules": {"color-contrast": {"enabled": bool(colours)}}}
    if theme == "dark":
        options = {"runOnly": [*colours, "link-in-text-block"]}
    assert accessibility(view.page, **options) == []


@pytest.mark.parametrize("screen", ["desktop", "phone"])
def test_search_finds_what_a_reader_types(visit, screen):
    view = visit("intro.html", screen)
    view.page.locator("button.search-button__button:visible").click()
    view.page.keyboard.type("triplet")
    view.page.keyboard.press("Enter")
    view.page.locator("#search-results ul.search a").first.click()
    view.page.wait_for_url(lambda url: "search.html" not in url)
    assert "triplet" in view.page.locator("article").inner_text().lower()
    assert view.complaints == []
    view.page.close()


def test_the_switch_changes_the_theme_and_is_remembered(visit):
    view = visit("intro.html", "desktop")
    switch, colours = view.page.locator(".theme-switch-button:visible"), set()
    for _ in range(3):  # light, dark, as the system has it
        colours.add(view.page.evaluate("getComputedStyle(document.body).backgroundColor"))
        switch.click()
    assert len(colours) == 2
    while view.page.locator("html").get_attribute("data-theme") != "dark":
        switch.click()
    view.page.reload()
    assert view.page.locator("html").get_attribute("data-theme") == "dark"
    assert view.complaints == []
    view.page.close()


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
    view.page.close()
