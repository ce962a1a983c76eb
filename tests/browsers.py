"""A browser for tests: where it is found, how it is started, and what is looked at in it."""

import os
import shutil
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe

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

UNDRAWN = """() => [...document.images].filter((image) => !image.naturalWidth).map((i) => i.src)"""


def missing(words):
    """Skip checks for which something is missing; fail them where they are required."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(words)


@contextmanager
def started_browser():
    """Chromium or Chrome, whichever is installed."""
    from playwright.sync_api import sync_playwright

    program = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if program is None:
        missing("no Chromium and no Chrome here; scripts/install_browser.sh installs one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


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
