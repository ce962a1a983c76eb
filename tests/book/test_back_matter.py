"""Ledger, glossary, bibliography, build report and index, as they were built."""

import re
from pathlib import Path

import pytest
import yaml
from page_checks import rows_below

ROOT = Path(__file__).resolve().parent.parent.parent
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [
    entry["file"]
    for part in CONTENTS["parts"]
    for entry in part["chapters"]
    if entry["file"].startswith("chapters/")
]


@pytest.fixture(scope="module")
def article(pages):
    """The article of a page of the reference."""
    return lambda name: pages[f"reference/{name}.html"].article


@pytest.fixture(scope="module")
def ledger(article):
    return article("reproduction")


def rows_of(page, heading):
    """Rows of the table below a heading."""
    [title] = [h for h in page.find_all("h3") if h.get_text().startswith(heading)]
    return rows_below(title)


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
def test_faults_of_each_source_are_there(ledger, heading, least):
    assert len(rows_of(ledger, heading)) >= least


@pytest.mark.parametrize("post", ["A", "B", "C", "D"])
def test_settings_and_figures_of_each_post_are_there(ledger, post):
    assert len(rows_of(ledger, f"Settings of post {post}")) >= 7
    assert len(rows_of(ledger, f"Figures of post {post}")) >= 6


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


def test_the_index_has_ideas_and_names(pages):
    page = pages["genindex.html"]
    for entry in ("NaN trap", "semi-hard", "escape", "AnchorClassifier"):
        assert entry in page.text
    assert len(page.article.select("table.indextable a")) > 300
