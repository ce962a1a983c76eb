"""The book that `make test-book` built in the fast profile."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

HTML = Path(__file__).resolve().parent.parent.parent / "_build" / "test" / "_build" / "html"


@pytest.fixture(scope="session")
def pages():
    """Every page of the book, parsed, by its path below the HTML folder."""
    assert (HTML / "index.html").is_file(), f"no book in {HTML}; make test-book builds it"
    files = [HTML / "intro.html", *sorted((HTML / "chapters").glob("*.html"))]
    return {
        str(file.relative_to(HTML)): BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
        for file in files
    }


@pytest.fixture(scope="session")
def chapters(pages):
    """The pages of the chapters."""
    return {name: page for name, page in pages.items() if name.startswith("chapters/")}
