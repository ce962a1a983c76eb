"""The built book: that of `make test-book`, or another one that SNNLIB_BOOK names."""

import os
import re
import shutil
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import browsers
import page_checks
import pytest
from browsers import SCREENS, listen

ROOT = Path(__file__).resolve().parent.parent.parent
CANARIES = ROOT / "tests" / "book" / "canaries"

CONTENTS = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
TEXTS = [f"{file}.html" for file in dict.fromkeys([*CONTENTS, "genindex"])]
PAGES = [*TEXTS, "search.html"]


def built_book():
    """The folder of the built pages."""
    named = os.environ.get("SNNLIB_BOOK")
    folder = Path(named or ROOT / "_build" / "test" / "_build" / "html")
    if not (folder / "index.html").is_file():
        if named:
            raise FileNotFoundError(
                f"SNNLIB_BOOK must name a folder with a built book, got {named!r}; "
                "there is no index.html in it"
            )
        raise FileNotFoundError(f"no book in {folder}; make test-book builds it")
    return folder.resolve()


@pytest.fixture(scope="session")
def html():
    """The folder of the built pages."""
    return built_book()


@pytest.fixture(scope="session")
def pages(html):
    """Every page with text, parsed, by its path below the HTML folder."""
    folders = html / "chapters", html / "reference"
    files = [html / "intro.html", *(file for f in folders for file in sorted(f.glob("*.html")))]
    names = [file.relative_to(html).as_posix() for file in [*files, html / "genindex.html"]]
    return {name: page_checks.read(html, name) for name in names}


@pytest.fixture(scope="session")
def chapters(pages):
    """The pages of the chapters."""
    return {name: page for name, page in pages.items() if name.startswith("chapters/")}


@pytest.fixture(scope="session")
def canaries(html, tmp_path_factory):
    """A folder with pages that are wrong in every way, beside the style sheets of the book."""
    folder = tmp_path_factory.mktemp("canaries") / "html"
    shutil.copytree(CANARIES, folder)
    (folder / "_static").symlink_to(html / "_static")
    return folder


@pytest.fixture(scope="session")
def missing():
    """Skip checks for which something is missing; fail them where they are required."""
    return browsers.missing


@pytest.fixture(scope="session")
def browser():
    """Chromium or Chrome, whichever is installed."""
    with browsers.started_browser() as browser:
        yield browser


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, served in silence over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


@contextmanager
def served(folder):
    """Serve a folder, and tell where."""
    handler = partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


@pytest.fixture(scope="session")
def address(html):
    """Where the book is served."""
    with served(html) as address:
        yield address


class View(NamedTuple):
    """A page in the browser, and all that it complained of so far."""

    name: str
    screen: str
    page: object
    complaints: list


@pytest.fixture
def visit(browser, address):
    """Open pages on screens, of the book if nothing else is said; the test's end closes them."""
    opened = []

    def visit(name, screen, address=address):
        page = browser.new_page(**SCREENS[screen])
        opened.append(page)
        view = View(name, screen, page, [])
        listen(page, view.complaints)
        page.goto(address + name)
        return view

    yield visit
    for page in opened:
        page.close()
