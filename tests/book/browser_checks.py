"""What is looked at on a page in a browser, and what is wrong with it, told in words."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from browsers import UNDRAWN, accessibility

ROOT = Path(__file__).resolve().parent.parent.parent
COLAB = "colab.research.google.com"

# What scripts look at. The least numbers are about half of what the book has.
DRAWINGS, VALUES, FORMULAS = "article figure img", "table.dataframe td", "article .math"
WORDS_OF_CODE = ".highlight pre :is(span, a)"
LEAST = {DRAWINGS: 45, VALUES: 700, FORMULAS: 150, WORDS_OF_CODE: 20_000, "article *": 37_000}

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

# Drawings that are not seen as a whole, even where their box scrolls.
CUT = """(drawings) => [...document.querySelectorAll(drawings)]
  .filter((image) => {
    const box = image.getBoundingClientRect();
    return box.left < 0 || box.right > document.documentElement.clientWidth + 1;
  })
  .map((image) => image.src)"""

# Short values of a table that take more than one line.
BROKEN_VALUES = """(values) => {
  const lines = (cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size;
  };
  return [...document.querySelectorAll(values)]
    .filter((cell) => cell.textContent.trim().length < 16 && lines(cell) > 1)
    .map((cell) => cell.textContent);
}"""

# Formulas that MathJax left as they were written, or could not read.
UNSET_MATHS = """(formulas) => {
  const written = [...document.querySelectorAll(formulas)];
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
ONE_WORD_OF_A_KIND = """(words) => {
  const kinds = new Set();
  for (const word of document.querySelectorAll(words)) {
    const kind = word.className + word.closest(".admonition")?.className;
    if (kinds.has(kind)) word.replaceWith(...word.childNodes);
    kinds.add(kind);
  }
}"""


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


def show(view, theme):
    """Switch a page to a theme, with the pointer out of the way: what lies under it differs."""
    view.page.mouse.move(0, 0)
    assert view.page.evaluate(SWITCH, theme) == theme


def faults(view):
    """All that is amiss with a page, by what was looked for."""
    view.page.evaluate(UNFOLD)
    show(view, "light")
    found = {
        "complaints": view.complaints,
        "pictures not drawn": view.page.evaluate(UNDRAWN),
        "sticking out": view.page.evaluate(STICKING_OUT),
        "drawings cut": view.page.evaluate(CUT, DRAWINGS),
        "values on two lines": view.page.evaluate(BROKEN_VALUES, VALUES),
        "formulas not set": view.page.evaluate(UNSET_MATHS, FORMULAS),
    }
    view.page.evaluate(ONE_WORD_OF_A_KIND, WORDS_OF_CODE)
    # Colours are the same on both screens, and take long to judge.
    colours = view.screen == "desktop"
    rules = {"rules": {"color-contrast": {"enabled": colours}}}
    found["hard to read"] = accessibility(view.page, **rules)
    if colours:  # nothing but colours differs in the dark
        show(view, "dark")
        dark = {"runOnly": ["color-contrast", "link-in-text-block"]}
        found["hard to read in the dark"] = accessibility(view.page, **dark)
    return {what: where for what, where in found.items() if where}


def wrong_files(view, folder):
    """The notebook that Colab opens is in the repository, files to download are in the book."""
    links = view.page.locator(".dropdown-launch-buttons a, .dropdown-download-buttons a")
    addresses = [link.get_attribute("href") for link in links.all()]
    for address in addresses:
        parts = urlsplit(address)
        if parts.netloc:
            file = ROOT / unquote(parts.path).split("/blob/main/")[1]
        else:
            file = (folder / view.name).parent / unquote(parts.path)
        if not file.is_file():
            yield f"there is no file {address}"
    if view.name.startswith("chapters/"):
        if [urlsplit(address).netloc for address in addresses][:1] != [COLAB]:
            yield "no button for Colab comes first"
        endings = {Path(address).suffix for address in addresses}
        if endings != {".ipynb", ".md"}:
            yield f"expected .ipynb and .md to download, got {', '.join(sorted(endings))}"


def wrong_folds(view):
    """Solutions are folded, and their buttons unfold them and fold them again."""
    solutions = view.page.locator(".solution.dropdown").all()
    if view.name.startswith("chapters/") and not solutions:
        yield "no solution is folded"
    for solution in solutions:
        name, text = solution.get_attribute("id"), solution.locator(".admonition-title ~ *").first
        if text.is_visible():
            yield f"not folded: {name}"
            continue
        solution.get_by_role("button").first.click()
        if not text.is_visible():
            yield f"cannot be unfolded: {name}"
        solution.get_by_role("button").first.click()
        if text.is_visible():
            yield f"cannot be folded again: {name}"
