"""The report in a real browser: on a desk and on a phone, light and dark, without a network."""

import pytest
from browsers import SCREENS, UNDRAWN, accessibility, listen, started_browser
from qualified_parts import label, label_amounts, rate, small_station

from snnlib.station.parts import Parts
from snnlib.station.qualification import qualify
from snnlib.station.report import write_report
from snnlib.station.studies import Plan

# What ends to the right of the screen and is in no box that scrolls.
STICKING_OUT = """() => [...document.querySelectorAll("main *")]
  .filter((element) => element.getBoundingClientRect().right > innerWidth + 1
    && !element.parentElement.closest(".scroll"))
  .map((element) => element.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def browser():
    """One of this module alone: while it runs, no other test could start a loop of its own."""
    with started_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory):
    """A report; made after the browser, without which there is no need of it."""
    folder = tmp_path_factory.mktemp("report")
    label(folder / "labelled")
    given = {"sheet": label_amounts(folder / "labelled"), "plan": Plan(0.1, 0.2, 1)}
    given["ratings"] = rate(folder / "labelled")
    parts = Parts.read(folder / "labelled")
    found = qualify(small_station(folder / "learned"), parts, **given)
    write_report(found, folder / "report.html")
    return folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_everybody_can_read_the_report(browser, report, screen, scheme):
    page, complaints, asked = browser.new_page(**SCREENS[screen], color_scheme=scheme), [], []
    listen(page, complaints)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    width, seen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= seen
    assert page.evaluate(STICKING_OUT) == []
    assert page.evaluate(UNDRAWN) == []
    assert page.locator("figure img").count() > 10
    assert accessibility(page) == []
    assert complaints == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    page.close()


def test_wide_tables_can_be_scrolled_by_the_keyboard(browser, report):
    page = browser.new_page(viewport={"width": 320, "height": 800})
    page.goto(report.as_uri())
    box = page.get_by_role("region", name="Errors by class")
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(box) => box.scrollLeft > 0", arg=box.element_handle())
    page.close()
