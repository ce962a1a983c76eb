"""The book that `make test-book` built in the fast profile."""

from pathlib import Path

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def html():
    """The folder of the built pages."""
    folder = ROOT / "_build" / "test" / "_build" / "html"
    assert (folder / "index.html").is_file(), f"no book in {folder}; make test-book builds it"
    return folder


@pytest.fixture(scope="session")
def pages(html):
    """Every page of the book, parsed, by its path below the HTML folder."""
    files = [html / "intro.html", *sorted((html / "chapters").glob("*.html"))]
    return {
        str(file.relative_to(html)): BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
        for file in files
    }


@pytest.fixture(scope="session")
def chapters(pages):
    """The pages of the chapters."""
    return {name: page for name, page in pages.items() if name.startswith("chapters/")}
