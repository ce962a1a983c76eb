"""Ledger, glossary, bibliography, build report and index, as they were built."""

import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [
    entry["file"]
    for part in CONTENTS["parts"]
    for entry in part["chapters"]
    if entry["file"].startswith("chapters/")
]


@pytest.fixture(scope="module")
def article(html):
    """The article of a page of the reference."""

    def of(name):
        text = (html / "reference" / f"{name}.html").read_text(encoding="utf-8")
        return BeautifulSoup(text, "html.parser").find("article")

    return of


@pytest.fixture(scope="module")
def ledger(article):
    return article("reproduction")


def test_the_ledger_has_no_empty_cell(ledger):
    cells = ledger.select("table tbody td")
    assert len(cells) > 400
    for cell in cells:
        text = cell.get_text(" ", strip=True)
        assert text, cell.find_parent("tr")
        assert not re.search(r"\bnan\b|\bNone\b|TODO|\?\?\?", text), cell.find_parent("tr")


def rows_below(page, heading):
    """Rows of the table below a heading whose columns are named, other tables passed over."""
    [title] = [h for h in page.find_all("h3") if h.get_text().startswith(heading)]
    tables = title.find_all_next("table")
    named = ("fault", "setting", "fact", "figure")
    table = next(t for t in tables if set(named) & {th.get_text(strip=True) for th in t("th")})
    return table.select("tbody tr")


@pytest.mark.parametrize(
    ("heading", "least"),
    [
        ("Faults of post A", 6),
        ("Faults of post B", 5),
        ("Faults of post C", 4),
        ("Faults of post D", 8),
        ("Fault of the machine", 2),
    ],
)
def test_each_fault_leads_to_what_shows_it(ledger, heading, least):
    rows = rows_below(ledger, heading)
    assert len(rows) >= least
    for row in rows:
        *_, last = row.find_all("td")
        assert last.select("a.internal[href]"), row.get_text()


@pytest.mark.parametrize("post", ["A", "B", "C", "D"])
def test_settings_and_figures_of_each_post_are_there(ledger, post):
    assert len(rows_below(ledger, f"Settings of post {post}")) >= 7
    assert len(rows_below(ledger, f"Figures of post {post}")) >= 6


def test_each_claim_has_a_card_with_a_verdict(ledger):
    cards = ledger.select(".sd-card")
    assert len(cards) >= 16
    verdict = re.compile(r"Verdict: (agrees|differs|answered|can’t be judged here|can't be judged)")
    for card in cards:
        text = card.get_text(" ", strip=True)
        for part in ("Experiment.", "Measured.", "Scope."):
            assert part in text, text[:60]
        assert re.search(r"(Claim|Question)\.", text), text[:60]
        assert verdict.search(re.sub(r"\s+", " ", text)), text[:60]
        assert card.select("a.internal[href]"), text[:60]


def test_the_glossary_speaks_japanese(article):
    terms = article("glossary").select("dl.glossary dd")
    assert len(terms) > 100
    japanese = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|no set term|NSOARTC|SOART|ONNX")
    assert all(japanese.search(term.get_text().partition("Japanese:")[2]) for term in terms)


def test_chapters_lead_to_the_glossary(chapters):
    for name, page in chapters.items():
        assert len(page.select("article a[href*='glossary.html#term-']")) >= 4, name


def test_every_work_is_in_the_bibliography(article):
    works = re.findall(r"^@", (ROOT / "references.bib").read_text(encoding="utf-8"), re.M)
    assert len(article("bibliography").select("div.citation")) == len(works)


def test_the_build_report_tells_data_versions_and_seconds(article):
    page = article("build_report")
    text = page.get_text()
    for package in ("torch", "tensorflow", "jupyter-book", "numpy"):
        assert package in text
    data, _, timed, *_ = (table.select("tbody tr") for table in page.find_all("table"))
    seconds = {row.find("a").get_text(): row.find_all("td")[3].get_text() for row in timed}
    assert len(data) == len(CHAPTERS)
    assert all(len(row.find_all("td")[1].get_text(strip=True)) > 5 for row in data)
    for chapter in CHAPTERS:
        assert float(seconds[chapter]) > 0


def test_the_index_has_ideas_and_names(html):
    page = BeautifulSoup((html / "genindex.html").read_text(encoding="utf-8"), "html.parser")
    text = page.get_text()
    for entry in ("NaN trap", "semi-hard", "escape", "AnchorClassifier"):
        assert entry in text
    assert len(page.select("table.indextable a")) > 300


def test_exercises_go_from_a_minute_to_an_open_question(chapters):
    for name, page in chapters.items():
        titles = [title.get_text() for title in page.select("div.exercise > p.admonition-title")]
        assert "One minute" in titles[0], name
        assert "Open:" in titles[-1], name
        assert not any("One minute" in t or "Open:" in t for t in titles[1:-1]), name


def test_solutions_run(chapters):
    for name, page in chapters.items():
        *closed, _ = page.select("div.solution")
        for solution in closed:
            assert solution.select(".cell_input"), f"{name}: {solution['id']} has no code that ran"
