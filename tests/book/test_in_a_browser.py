"""The built book in a real browser: every page, on a desk and on a phone, light and dark, and with
no network but the one that serves the book."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import PAGES, SCREENS

ROOT = Path(__file__).resolve().parent.parent.parent
COLAB = "colab.research.google.com"

# Elements of the article that end to the right of it and are in no box that scrolls.
STICKING_OUT = """() => {
  const root = document.documentElement;
  const article = document.querySelector("article, .bd-search-container");
  const edge = article.getBoundingClientRect().right + 1;
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const held = (element) => element !== article
    && (scrolls(element) || held(element.parentElement));
  // Text for screen readers is clipped to a pixel; where it ends depends on where a line breaks.
  const hidden = (element) => element.closest("mjx-assistive-mml, .visually-hidden")
    || !element.checkVisibility({ visibilityProperty: true });
  const out = [...article.querySelectorAll("*")].filter(
    (element) => element.getBoundingClientRect().right > edge
      && !hidden(element) && !held(element.parentElement)
  );
  const found = out.map((element) => element.outerHTML.slice(0, 120));
  return root.scrollWidth > root.clientWidth + 1 ? ["the page is too wide", ...found] : found;
}"""

UNDRAWN = """() => [...document.images].filter((image) => !image.naturalWidth).map((i) => i.src)"""

# Drawings that are not seen as a whole, even where their box scrolls.
CUT = """() => [...document.querySelectorAll("article figure img")]
  .filter((image) => {
    const box = image.getBoundingClientRect();
    return box.left < 0 || box.right > document.documentElement.clientWidth + 1;
  })
  .map((image) => image.src)"""

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


# Folded text is text, too; and what is about to appear is judged as it will look.
UNFOLD = """async () => {
  const still = document.createElement("style");
  still.textContent = "* { animation: none !important; transition: none !important; }";
  document.head.append(still);
  const folded = "details:not([open]) > summary, .toggle-button-hidden";
  document.querySelectorAll(folded).forEach((button) => button.click());
  await window.MathJax?.startup.promise;
  await document.fonts.ready;
  await new Promise((resolve) => setTimeout(resolve));
}"""

# The theme's own switch goes round three modes.
SWITCH = """(theme) => {
  const page = document.documentElement.dataset;
  for (let i = 0; i < 3 && page.mode !== theme; i += 1) {
    document.querySelector(".theme-switch-button").click();
  }
  return page.theme;
}"""


def lead_to_files(view, html):
    """The notebook that Colab opens is in the repository, files to download are in the book."""
    links = view.page.locator(".dropdown-launch-buttons a, .dropdown-download-buttons a")
    addresses = [link.get_attribute("href") for link in links.all()]
    for address in addresses:
        parts = urlsplit(address)
        if parts.netloc:
            assert (ROOT / unquote(parts.path).split("/blob/main/")[1]).is_file(), address
        else:
            assert (html / view.name).parent.joinpath(unquote(parts.path)).is_file(), address
    if view.name.startswith("chapters/"):
        assert [urlsplit(address).netloc for address in addresses][:1] == [COLAB]
        assert {Path(address).suffix for address in addresses} == {".ipynb", ".md"}
    for menu in view.page.locator(".article-header-buttons .dropdown").all():
        menu.get_by_role("button").click()
        assert menu.get_by_role("link").first.is_visible()


def unfold_and_fold(view):
    """Solutions are folded, and their buttons unfold them and fold them again."""
    solutions = view.page.locator(".solution.dropdown").all()
    assert solutions or not view.name.startswith("chapters/")
    for solution in solutions:
        text = solution.locator(".admonition-title ~ *").first
        assert not text.is_visible()
        solution.get_by_role("button").first.click()
        assert text.is_visible()
        solution.get_by_role("button").first.click()
        assert not text.is_visible()


def lead_to_exercises(view):
    """The title of a solution leads to its exercise and unfolds nothing."""
    links = view.page.locator(".solution.dropdown > .admonition-title a")
    if links.count():
        links.last.click()
        exercise = links.last.get_attribute("href")
        view.page.wait_for_function("(exercise) => location.hash === exercise", arg=exercise)
        assert not view.page.locator(".solution.dropdown:not(.toggle-hidden)").count()


def faults(view):
    """What is amiss with a page that is unfolded."""
    return {
        "complaints": view.complaints,
        "pictures not drawn": view.page.evaluate(UNDRAWN),
        "sticking out": view.page.evaluate(STICKING_OUT),
        "drawings cut": view.page.evaluate(CUT),
        "values on two lines": view.page.evaluate(BROKEN_VALUES),
        "formulas not set": view.page.evaluate(UNSET_MATHS),
    }


def show(view, theme):
    """Switch a page to a theme, with the pointer out of the way: what lies under it differs."""
    view.page.mouse.move(0, 0)
    assert view.page.evaluate(SWITCH, theme) == theme


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_and_everybody_can_read_it(visit, html, page, screen):
    view = visit(page, screen)
    lead_to_files(view, html)
    unfold_and_fold(view)
    lead_to_exercises(view)

    view.page.evaluate(UNFOLD)
    show(view, "light")
    found = faults(view)
    view.page.evaluate(ONE_WORD_OF_A_KIND)
    # Colours are the same on both screens, and take long to judge.
    colours = screen == "desktop"
    rules = {"rules": {"color-contrast": {"enabled": colours}}}
    found["hard to read"] = accessibility(view.page, **rules)
    if colours:  # nothing but colours differs in the dark
        show(view, "dark")
        dark = {"runOnly": ["color-contrast", "link-in-text-block"]}
        found["hard to read in the dark"] = accessibility(view.page, **dark)
    assert {what: where for what, where in found.items() if where} == {}


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
