"""Checks of the pages as a reader's browser gets them."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


def article(page):
    return page.find("article")


def test_every_page_of_the_contents_is_there(html, pages):
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    files = {f"{file}.html" for file in re.findall(r"(?:root|file): (\S+)", contents)}
    back_matter = {file for file in files if file.startswith("reference/")} | {"genindex.html"}
    assert files - back_matter == set(pages)
    assert all((html / file).is_file() for file in files)


def test_every_image_is_there_and_described(html, pages):
    for name, page in pages.items():
        images = article(page).find_all("img")
        assert images, f"{name} has no picture"
        for image in images:
            assert (html / name).parent.joinpath(unquote(image["src"])).is_file(), image["src"]
            assert len(image.get("alt", "")) > 40, f"{name}: {image['src']} has no description"
            assert image.find_parent("figure"), f"{name}: {image['src']} has no caption"


def test_every_figure_has_a_number_and_a_caption(pages):
    for page in pages.values():
        for figure in article(page).find_all("figure"):
            assert figure.find(class_="caption-number")
            assert len(figure.find(class_="caption-text").get_text()) > 40


def test_no_link_inside_the_book_is_dead(html, pages):
    for name, page in pages.items():
        for link in article(page).find_all("a", href=True):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc:
                continue
            target = (html / name).parent / unquote(parts.path) if parts.path else html / name
            assert target.exists(), f"{name}: {link['href']}"
            if parts.fragment:
                text = target.read_text(encoding="utf-8")
                assert f'id="{unquote(parts.fragment)}"' in text, f"{name}: {link['href']}"


def test_no_cell_failed_or_chattered(chapters):
    for name, page in chapters.items():
        assert not page.select(".output.stderr"), f"{name} shows what went to stderr"
        assert not page.select(".output.traceback"), f"{name} shows a traceback"
        assert not re.search(r"Traceback|Warning:", article(page).get_text())


def test_no_output_is_raw(chapters):
    """Values as a person would write them: no types of NumPy, no dictionaries."""
    for name, page in chapters.items():
        outputs = [output.get_text() for output in article(page).select(".cell_output")]
        assert len(outputs) > 10, name
        for output in outputs:
            assert not re.search(r"np\.\w+\(|array\(|dtype=|\{'|Name: \w+, Length", output), name


def test_chapters_and_what_is_in_them_are_numbered_as_in_the_contents(chapters):
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    numbered = [c["file"] for part in parts if part.get("numbered") for c in part["chapters"]]
    assert {f"{file}.html" for file in numbered} == set(chapters)
    for number, file in enumerate(numbered, 1):
        text = article(chapters[f"{file}.html"])
        assert text.h1.get_text().startswith(f"{number}. ")
        found = [label.get_text(strip=True) for label in text.select(".caption-number")]
        figures = [label for label in found if label.startswith("Fig.")]
        assert figures == [f"Fig. {number}.{k + 1}" for k in range(len(figures))]
        exercises = [title.get_text() for title in text.select(".exercise > .admonition-title")]
        assert len(exercises) >= 4
        for k, title in enumerate(exercises, 1):
            assert title.startswith(f"Exercise {number}.{k} ")


def test_under_each_title_stands_how_long_it_takes(chapters):
    line = re.compile(r"About \d+ minutes to read, \d+ (seconds|minutes) to run\.")
    for name, page in chapters.items():
        assert line.fullmatch(article(page).h1.find_next("p").get_text()), name


def test_a_page_opens_with_its_idea(chapters):
    """No shown code stands before it, and each folded cell says what is in it."""
    for name, page in chapters.items():
        idea = next(h for h in article(page).find_all("h2") if h.get_text().startswith("The idea"))
        cells = idea.find_all_previous("div", class_="cell")
        assert cells, name
        assert all(cell.select_one("details") for cell in cells), name
        prompts = [s.get_text() for s in article(page).select("details > summary .collapsed")]
        assert prompts
        assert not [prompt for prompt in prompts if prompt.startswith("Show code cell")], name


CLINIC, NAN_TRAP = "chapters/training_clinic.html", "chapters/mnist_contrastive.html"


@pytest.mark.parametrize(
    ("words", "provoked_on"),
    [
        ("embeddings collapsed in epoch", {CLINIC}),
        ("training ended in epoch", {CLINIC, NAN_TRAP}),
        ("nothing was learned in epoch", {CLINIC}),
    ],
)
def test_each_warning_of_fit_is_seen_where_it_is_provoked_and_nowhere_else(
    pages, words, provoked_on
):
    assert {name for name, page in pages.items() if words in article(page).get_text()} == (
        provoked_on
    )


def test_nothing_glued_is_missing_or_not_a_number(pages):
    for name, page in pages.items():
        for text in page.select(".pasted-text"):
            assert text.get_text().strip(), f"{name}: an empty figure in the text"
            assert not re.search(r"\bnan\b|\bNone\b", text.get_text()), f"{name}: {text}"


def test_the_data_source_is_told(pages):
    told = "local mirror", "Hugging Face Hub", "(stand-in)", "nsoartc, simulated cell"
    for page in pages.values():
        assert any(words in article(page).get_text() for words in told)


def test_the_plan_of_a_chapter(chapters):
    for name, page in chapters.items():
        headings = [h.get_text().rstrip("#") for h in article(page).find_all("h2")]
        for wanted in ("The idea", "Where it fails", "Summary", "Exercises", "References"):
            assert any(heading.startswith(wanted) for heading in headings), f"{name}: {wanted}"
        assert article(page).find("h1").find_next("div", class_="admonition")


def test_every_exercise_has_a_folded_solution(chapters):
    for name, page in chapters.items():
        exercises = [e["id"] for e in article(page).select("div.exercise")]
        assert len(exercises) >= 4, name
        solved = article(page).select("div.solution.dropdown .admonition-title a")
        assert [link["href"].lstrip("#") for link in solved] == exercises


def test_tabs_hold_cells_that_ran(chapters):
    tabs = chapters["chapters/fashion_triplets.html"].select(".sd-tab-set")
    assert [[label.get_text(strip=True) for label in tab.find_all("label")] for tab in tabs] == [
        ["Keras", "PyTorch"]
    ]
    for content, call in zip(tabs[0].select(".sd-tab-content"), ["model.fit(", "fit("]):
        assert call in content.select_one(".cell_input").get_text()
        assert "epochs" in content.select_one(".cell_output").get_text()


def test_every_chapter_opens_on_colab(chapters):
    owner, repository = CONFIG["repository"]["url"].split("/")[-2:]
    start = f"https://colab.research.google.com/github/{owner}/{repository}/blob/main/"
    for name, page in chapters.items():
        links = {a["href"] for a in page.find_all("a", href=True) if "colab" in a["href"]}
        assert len(links) == 1, name
        path = links.pop().removeprefix(start)
        assert path == name.replace(".html", ".ipynb")
        assert (ROOT / path).is_file()


def test_cited_works_are_listed(chapters):
    for name, page in chapters.items():
        assert article(page).select(".footnote, .citation, aside.footnote"), f"{name} cites nothing"


def test_licences_stand_in_the_footer(pages):
    for page in pages.values():
        footer = page.find("footer", class_="bd-footer-content") or page.find("footer")
        text = page.get_text()
        assert footer
        assert "MIT licence" in text
        assert "CC BY 4.0" in text


def test_the_browser_is_left_in_peace(pages):
    """Two errors that the stock theme logs: thebe without its data, and no theme mode."""
    for page in pages.values():
        assert not [s for s in page.find_all("script") if "thebe" in s.get("src", "")]
        assert page.find("html")["data-theme"] == "light"
