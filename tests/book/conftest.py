"""The book that `make test-book` built in the fast profile."""

import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent.parent


CONTENTS = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
TEXTS = [f"{file}.html" for file in dict.fromkeys([*CONTENTS, "genindex"])]
PAGES = [*TEXTS, "search.html"]

BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"
FLAGS = [
    # There is no other host, so a page that leans on one is seen to fail.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-sandbox",  # root has none; the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}


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


@pytest.fixture(scope="session")
def missing():
    """Skip checks for which something is missing; fail them where they are required."""
    return pytest.fail if os.environ.get("CI") == "true" else pytest.skip


@pytest.fixture(scope="session")
def browser(missing):
    """Chromium or Chrome, whichever is installed."""
    from playwright.sync_api import sync_playwright

    program = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if program is None:
        missing("no Chromium and no Chrome here; scripts/install_browser.sh installs one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, served in silence over connections that stay open."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def address(html):
    """Where the book is served."""
    handler = partial(Handler, directory=str(html))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class View(NamedTuple):
    """A page in the browser, and all that it complained of so far."""

    name: str
    screen: str
    page: object
    complaints: list


def listen(page, complaints):
    """Note every error of a script and every request that came to nothing."""

    def unserved(request):
        if request.failure != "net::ERR_ABORTED":  # the reader has left the page meanwhile
            complaints.append(f"not served: {request.url}")

    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
    page.on("requestfailed", unserved)
    page.on(
        "response", lambda r: complaints.append(f"{r.status}: {r.url}") if r.status >= 400 else 0
    )


@pytest.fixture
def visit(browser, address):
    """Open pages of the book on screens; they are closed when the test is over."""
    opened = []

    def visit(name, screen):
        page = browser.new_page(**SCREENS[screen])
        opened.append(page)
        view = View(name, screen, page, [])
        listen(page, view.complaints)
        page.goto(address + name)
        return view

    yield visit
    for page in opened:
        page.close()
