"""What is looked at on the pages of the book, and what is wrong with it, told in words.

A check is a generator that takes a page and one of the things that it looks at, and yields faults.
`check` puts it into `CHECKS`, with the pages that it is meant for and the least number of things
that it must have looked at over the whole book. That number is about half of what there is, so that
an edit does not break it, but a check that has gone blind does.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
CHECKS = []

# Beginnings of the names of pages.
EVERY_PAGE, CHAPTERS, REFERENCE = "", "chapters/", "reference/"
INTRO_AND_CHAPTERS = "intro|chapters/"


class Page(NamedTuple):
    """A page of a built book."""

    name: str  # its path below the folder
    folder: Path
    whole: BeautifulSoup

    @property
    def article(self):
        return self.whole.find("article")

    @property
    def file(self):
        return self.folder / self.name

    @property
    def text(self):
        return self.article.get_text()


def read(folder, name):
    """Parse a page."""
    text = (folder / name).read_text(encoding="utf-8")
    return Page(name, folder, BeautifulSoup(text, "html.parser"))


class Check(NamedTuple):
    """A check of single things of a page."""

    name: str
    pages: str
    things: Callable
    wrong: Callable
    least: int

    def looks_at(self, page):
        """All things that it looks at on a page, none if it is not meant for the page."""
        return self.things(page) if re.match(self.pages, page.name) else []

    def faults(self, page):
        """What is wrong with a page, in the order of the page."""
        things = self.looks_at(page)
        return [f"{page.name}: {fault}" for thing in things for fault in self.wrong(page, thing)]


def check(things, *, pages=EVERY_PAGE, least):
    """Register a check of what a selector finds in the text, or of what a function returns."""
    look = things if callable(things) else lambda page: page.article.select(things)

    def register(wrong):
        CHECKS.append(Check(wrong.__name__, pages, look, wrong, least))
        return wrong

    return register


def itself(page):
    return [page]


def shown(text, pattern):
    """What a pattern finds, with the words around it."""
    for found in re.finditer(pattern, text):
        around = text[max(0, found.start() - 20) : found.end() + 40]
        yield re.sub(r"\s+", " ", around).strip()


# Pictures


@check("img", least=45)
def images_are_there(page, image):
    if not (page.file.parent / unquote(image["src"])).is_file():
        yield f"there is no image {image['src']}"


@check("img", least=45)
def images_are_described(_, image):
    if len(image.get("alt", "")) <= 40:
        yield f"no description of {image['src']}, or a short one"


@check("img", least=45)
def images_are_figures(_, image):
    if not image.find_parent("figure"):
        yield f"no figure around {image['src']}"


@check("figure", least=45)
def figures_have_numbers(_, figure):
    if not figure.find(class_="caption-number"):
        yield f"no number of figure {figure.get('id')}"


@check("figure", least=45)
def figures_have_captions(_, figure):
    caption = figure.find(class_="caption-text")
    if not caption or len(caption.get_text()) <= 40:
        yield f"no caption of figure {figure.get('id')}, or a short one"


# Links


class Link(NamedTuple):
    """A link inside the book."""

    written: str
    target: Path
    place: str


def links_inside(page):
    """Links of the text that stay in the book."""
    for written in (link["href"] for link in page.article.find_all("a", href=True)):
        parts = urlsplit(written)
        if not (parts.scheme or parts.netloc):
            target = page.file.parent / unquote(parts.path) if parts.path else page.file
            yield Link(written, target.resolve(), unquote(parts.fragment))


@lru_cache
def places(file):
    """Places of a page to which a link may lead."""
    return set(re.findall(r'\sid="([^"]+)"', file.read_text(encoding="utf-8")))


@check(lambda page: list(links_inside(page)), least=2000)
def links_lead_to_pages(_, link):
    if not link.target.is_file():
        yield f"there is no page {link.written}"


@check(lambda page: [link for link in links_inside(page) if link.place], least=1900)
def links_lead_to_places(_, link):
    if link.target.is_file() and link.place not in places(link.target):
        yield f"there is no place {link.written}"


# Outputs and glued figures


@check(".output", least=100)
def cells_keep_silent(_, output):
    if "stderr" in output["class"]:
        yield f"shown from stderr: {output.get_text().strip()[:60]}"


@check(".output", least=100)
def cells_do_not_fail(_, output):
    if "traceback" in output["class"]:
        yield f"a cell failed: {output.get_text().strip()[:60]}"


@check(itself, least=12)
def no_text_tells_of_a_failure(page, _):
    yield from shown(page.text, r"Traceback|Warning:")


@check(".cell_output", least=140)
def outputs_are_written_for_people(_, output):
    yield from shown(output.get_text(), r"np\.\w+\(|array\(|dtype=|\{'|Name: \w+, Length")


@check(".pasted-text", least=420)
def nothing_glued_is_empty(_, glued):
    if not glued.get_text().strip():
        yield f"an empty figure in the text: {glued.parent.get_text()[:60]}"


@check(".pasted-text", least=420)
def everything_glued_is_a_number(_, glued):
    if re.search(r"\bnan\b|\bNone\b", glued.get_text()):
        yield f"{glued.get_text()} in the text: {glued.parent.get_text()[:60]}"


@check("table tbody td", least=1500)
def cells_of_tables_are_known(_, cell):
    if re.search(r"\bnan\b|\bNone\b|TODO|\?\?\?", cell.get_text(" ")):
        yield f"{cell.get_text().strip()} in a table: {cell.find_parent('tr').get_text(' ')[:60]}"


# In the tables of the notation and of some results, an empty cell says that there is nothing.
@check("table tbody td", pages="reference/(?!notation)", least=690)
def cells_of_tables_are_filled(_, cell):
    if not cell.get_text(strip=True):
        yield f"an empty cell in a table: {cell.find_parent('tr').get_text(' ').strip()[:60]}"


# Warnings of a training, and the only pages that provoke them.
CLINIC, NAN_TRAP = "chapters/training_clinic.html", "chapters/mnist_contrastive.html"
PROVOKED = {
    "embeddings collapsed in epoch": {CLINIC},
    "training ended in epoch": {CLINIC, NAN_TRAP},
    "nothing was learned in epoch": {CLINIC},
}


@check(lambda page: PROVOKED, least=36)
def trainings_warn_where_they_should(page, words):
    told, provoked = words in page.text, page.name in PROVOKED[words]
    if told and not provoked:
        yield f"a warning that nobody provokes: {words}"
    if provoked and not told:
        yield f"provoked, but not told: {words}"


TELL_THEIR_DATA = (
    *("local mirror", "Hugging Face Hub", "(stand-in)", "nsoartc, simulated cell"),
    "elpv-dataset",
)


@check(itself, pages=INTRO_AND_CHAPTERS, least=6)
def data_are_told(page, _):
    if not any(words in page.text for words in TELL_THEIR_DATA):
        yield "it does not tell where its data come from"


# The plan of a chapter

LEAST_IN_A_CHAPTER = {
    "img": 1,
    ".cell_output": 11,
    "details > summary .collapsed": 1,
    "div.exercise": 4,
    ".exercise > .admonition-title": 4,
    ".footnote, .citation, aside.footnote": 1,
    "a[href*='glossary.html#term-']": 4,
    "p a[href*='../reference/']": 1,
    ".cell_input a.code-link[href*='../reference/']": 1,
}


def demands(page):
    """Selectors, and how much of each a page must have."""
    return LEAST_IN_A_CHAPTER.items() if page.name.startswith(CHAPTERS) else [("img", 1)]


@check(demands, pages=INTRO_AND_CHAPTERS, least=46)
def there_is_enough_of_everything(page, demand):
    selector, least = demand
    count = len(page.article.select(selector))
    if count < least:
        yield f"{count} of {selector}, expected {least} or more"


@check(itself, pages=CHAPTERS, least=5)
def chapters_follow_the_plan(page, _):
    headings = [heading.get_text() for heading in page.article.find_all("h2")]
    for wanted in ("The idea", "Where it fails", "Summary", "Exercises", "References"):
        if not any(heading.startswith(wanted) for heading in headings):
            yield f"no section {wanted}"
    if not page.article.h1.find_next_sibling("div", class_="admonition"):
        yield "nothing below the title says what will be built and what it needs"


@check(itself, pages=CHAPTERS, least=5)
def the_time_is_told_below_the_title(page, _):
    below = page.article.h1.find_next("p").get_text()
    if not re.fullmatch(r"About \d+ minutes to read, \d+ (seconds|minutes) to run\.", below):
        yield f"no reading time below the title, but: {below[:60]}"


@check(itself, pages=CHAPTERS, least=5)
def the_idea_stands_first(page, _):
    headings = page.article.find_all("h2")
    idea = next((h for h in headings if h.get_text().startswith("The idea")), page.article)
    cells = idea.find_all_previous("div", class_="cell")
    if not cells:
        yield "no folded cell before the idea"
    for cell in cells:
        if not cell.select_one("details"):
            yield f"shown before the idea: {cell.get_text().strip()[:60]}"


@check("details > summary .collapsed", least=50)
def folds_say_what_is_in_them(_, label):
    if label.get_text().startswith("Show code cell"):
        yield f"a fold without a title of its own: {label.get_text()}"


def numbers_of_captions(page):
    """Number of the chapter, its figures' and its exercises' numbers."""
    number = page.article.h1.get_text().partition(".")[0]
    captions = [label.get_text(strip=True) for label in page.article.select(".caption-number")]
    figures = [label for label in captions if label.startswith("Fig.")]
    titles = page.article.select(".exercise > .admonition-title")
    return number, figures, [title.get_text() for title in titles]


@check(itself, pages=CHAPTERS, least=5)
def figures_are_counted(page, _):
    number, figures, _ = numbers_of_captions(page)
    for k, figure in enumerate(figures, 1):
        if figure != f"Fig. {number}.{k}":
            yield f"expected Fig. {number}.{k}, got {figure}"


@check(itself, pages=CHAPTERS, least=5)
def exercises_are_counted(page, _):
    number, _, titles = numbers_of_captions(page)
    for k, title in enumerate(titles, 1):
        if not title.startswith(f"Exercise {number}.{k} "):
            yield f"expected Exercise {number}.{k}, got {title}"


@check(itself, pages=CHAPTERS, least=5)
def exercises_have_folded_solutions(page, _):
    exercises = [exercise["id"] for exercise in page.article.select("div.exercise")]
    links = page.article.select("div.solution.dropdown .admonition-title a")
    solved = [link["href"].lstrip("#") for link in links]
    unsolved = [exercise for exercise in exercises if exercise not in solved]
    yield from (f"no folded solution of {exercise}" for exercise in unsolved)
    if solved != [exercise for exercise in exercises if exercise in solved]:
        yield f"solutions in another order than exercises: {', '.join(solved)}"


@check(itself, pages=CHAPTERS, least=5)
def exercises_go_from_a_minute_to_an_open_question(page, _):
    titles = page.article.select("div.exercise > p.admonition-title")
    for k, title in enumerate(text.get_text() for text in titles):
        if ("One minute" in title) != (k == 0):
            yield f"the first exercise takes one minute, and no other: {title}"
        if ("Open:" in title) != (k == len(titles) - 1):
            yield f"the last exercise is open, and no other: {title}"


@check(lambda page: page.article.select("div.solution")[:-1], pages=CHAPTERS, least=20)
def solutions_run(_, solution):
    if not solution.select(".cell_input"):
        yield f"no code that ran in {solution['id']}"


@check(itself, pages=CHAPTERS, least=5)
def chapters_open_on_colab(page, _):
    links = {link["href"] for link in page.whole.select("a[href*=colab]")}
    path = page.name.replace(".html", ".ipynb")
    owner, repository = CONFIG["repository"]["url"].split("/")[-2:]
    wanted = f"https://colab.research.google.com/github/{owner}/{repository}/blob/main/{path}"
    if links != {wanted}:
        yield f"expected a link to {wanted}, got {', '.join(links) or 'none'}"
    if not (ROOT / path).is_file():
        yield f"there is no notebook {path}"


# The frame around the text

OF_CELLS = "CC BY-NC-SA 4.0"  # the licence of photographs of solar cells


@check(itself, least=12)
def licences_stand_in_the_footer(page, _):
    footer = page.whole.find("footer", class_="bd-footer-content")
    licences = ["MIT licence", "CC BY 4.0"]
    if any(OF_CELLS in caption.get_text() for caption in page.whole.select("figcaption")):
        licences.append(OF_CELLS)
    for licence in licences:
        if not footer or licence not in footer.get_text():
            yield f"no {licence} in the footer"


# The stock theme logs two errors: it has no theme mode, and thebe lacks its data.
@check(itself, least=12)
def the_theme_is_light(page, _):
    theme = page.whole.find("html").get("data-theme")
    if theme != "light":
        yield f"expected the theme to be light, got {theme}"


@check(lambda page: page.whole.find_all("script", src=True), least=200)
def scripts_are_needed(_, script):
    if "thebe" in script["src"]:
        yield f"a script that is not needed: {script['src']}"


# The reference


@check("dt.sig[id]", pages=REFERENCE, least=100)
def entries_are_described(_, entry):
    if not entry.find_next_sibling("dd").get_text(strip=True):
        yield f"nothing is said of {entry['id']}"


@check("dt.sig[id]", pages=REFERENCE, least=100)
def entries_show_their_source(_, entry):
    kind = {"data", "property"} & set(entry.parent["class"])
    if not kind and not entry.select(".viewcode-link"):
        yield f"no source of {entry['id']}"


@lru_cache
def own_types(folder):
    """Names of the library that begin with a capital letter."""
    texts = [file.read_text(encoding="utf-8") for file in (folder / "reference").glob("*.html")]
    entries = re.findall(r'<dt class="sig[^>]* id="[\w.]*\.([A-Z]\w*)"', "".join(texts))
    return set(entries) - {"OK"}  # a name of a class of parts, too


@check("dl.field-list em", pages=REFERENCE, least=900)
def types_of_the_library_are_links(page, word):
    if word.get_text() in own_types(page.folder) and not word.find_parent("a"):
        yield f"no link to {word.get_text()}: {word.parent.get_text()[:60]}"


JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|no set term|NSOARTC|SOART|ONNX")


@check("dl.glossary dd", pages=REFERENCE, least=101)
def the_glossary_speaks_japanese(_, term):
    if not JAPANESE.search(term.get_text().partition("Japanese:")[2]):
        yield f"no Japanese term: {term.get_text().strip()[:60]}"


VERDICT = r"Verdict: (agrees|differs|answered|can’t be judged here|can't be judged)"
PARTS_OF_A_CARD = r"Experiment\.", r"Measured\.", r"Scope\.", r"(Claim|Question)\.", VERDICT


@check(".sd-card", pages=REFERENCE, least=16)
def claims_are_judged(_, card):
    text = re.sub(r"\s+", " ", card.get_text(" ", strip=True))
    for part in PARTS_OF_A_CARD:
        if not re.search(part, text):
            yield f"no {part} on the card {text[:60]}"
    if not card.select("a.internal[href]"):
        yield f"no link on the card {text[:60]}"


def rows_below(heading):
    """Rows of the next table whose columns are named, other tables passed over."""
    named = {"fault", "setting", "fact", "figure"}
    for table in heading.find_all_next("table"):
        if named & {head.get_text(strip=True) for head in table("th")}:
            return table.select("tbody tr")
    return []


def faults_of_the_sources(page):
    """Rows of the tables of faults."""
    headings = [h for h in page.article.find_all("h3") if h.get_text().startswith("Fault")]
    return [row for heading in headings for row in rows_below(heading)]


@check(faults_of_the_sources, pages=REFERENCE, least=25)
def faults_lead_to_what_shows_them(_, row):
    *_, last = row.find_all("td")
    if not last.select("a.internal[href]"):
        yield f"no link to what shows it: {row.get_text(' ').strip()[:60]}"
