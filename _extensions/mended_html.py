"""Mend what pandas, MyST-NB and sphinx-exercise write against the rules of HTML.

Browsers forgive all of it. Screen readers lose the headers of a table and find the same name twice,
and a checker of HTML is of use only where it is silent.
"""

from bs4 import BeautifulSoup
from bs4.dammit import EntitySubstitution
from bs4.formatter import HTMLFormatter

# As a person writes it: no entities but the needed ones, <img> and not <img/>.
PLAIN = HTMLFormatter(EntitySubstitution.substitute_xml, void_element_close_prefix=None)


def mend_tables(page):
    """Say what each header of a table heads; leave widths and alignment to the style sheet."""
    for table in page.find_all("table"):
        if table.get("id", "").startswith("T_"):  # a styled table of pandas
            table["class"] = ["dataframe"]
        for header in table.find_all("th"):
            header.attrs.pop("valign", None)
            if not header.get_text(strip=True):
                header.name = "td"
            else:
                header["scope"] = "col" if header.find_parent("thead") else "row"
    for row in page.select("table.dataframe tr"):
        row.attrs.pop("style", None)


def take_styles(page):
    """Take style elements out of the text; return those that hold more than pandas' defaults."""
    styles = [style.extract() for style in page.find_all("style")]
    return "".join(str(style) for style in styles if "scoped" not in style.attrs)


def mend_summaries(page):
    """A summary holds no paragraphs, and its text is its name."""
    for summary in page.find_all("summary"):
        summary.attrs.pop("aria-label", None)
        for paragraph in summary.find_all("p"):
            paragraph.name = "b"


def mend_exercises(page):
    """The sections inside exercises all have the same name, and no heading."""
    for section in page.select("#exercise-content, #solution-content"):
        section.name = "div"
        del section["id"]


def mend_bibliography(page):
    """A list whose entries are not of the kind that a list holds is none to a screen reader."""
    for element in page.select("div.citation-list, div.citation-list > [role=doc-biblioentry]"):
        del element["role"]


def mend_reference(page):
    """Parameters on lines of their own are a list and define nothing; no list is in a paragraph."""
    for signature in page.select("dt.sig > dl"):
        signature.name = "ul"
        for parameter in signature.find_all("dd"):
            parameter.name = "li"
    for paragraph in page.select("dd > p:has(> ul)"):
        paragraph.unwrap()


def mend(app, pagename, templatename, context, doctree):
    """Mend the text of a page before its template surrounds it."""
    if doctree is None:
        return
    page = BeautifulSoup(context["body"], "html.parser")
    mend_tables(page)
    mend_summaries(page)
    mend_exercises(page)
    mend_bibliography(page)
    mend_reference(page)
    context["metatags"] += take_styles(page)
    context["body"] = page.decode(formatter=PLAIN)


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
