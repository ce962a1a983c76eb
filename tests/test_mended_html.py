"""What pandas, MyST-NB, sphinx-exercise and Sphinx write is mended, and all else left as it is."""

import mended_html
import pandas as pd
import pytest
from bs4 import BeautifulSoup


def mended(body, doctree="a page"):
    """A body after mending, and what has gone to the head of its page."""
    context = {"body": body, "metatags": ""}
    mended_html.mend(None, "page", "page.html", context, doctree)
    return context["body"], context["metatags"]


def table(frame):
    return BeautifulSoup(mended(frame)[0], "html.parser").table


@pytest.mark.parametrize(
    "body",
    [
        '<p>a &lt; b &amp; c, “quoted”, 3 × 5</p>\n<img alt="" src="a.png">',
        '<pre><span class="n">x</span> <span class="o">&gt;</span> "1"\n\n</pre>',
        "<p>on a line<br>of its own</p><details><summary>Name</summary><p>Text</p></details>",
    ],
)
def test_what_is_right_stays(body):
    assert mended(body) == (body, "")
    assert mended("<p>half a page", doctree=None) == ("<p>half a page", "")


def test_headers_of_a_table_say_what_they_head():
    frame = pd.DataFrame({"loss": [0.5]}, index=pd.Index(["fit"], name="run"))
    headers = table(frame.to_html()).find_all("th")
    assert [(h.text, h["scope"]) for h in headers] == [
        ("loss", "col"),
        ("run", "col"),
        ("fit", "row"),
    ]


def test_looks_of_a_table_are_left_to_the_style_sheet():
    body, head = mended(pd.DataFrame({"loss": [0.5]})._repr_html_())
    assert "style" not in body
    assert head == ""


def test_a_style_of_its_own_moves_to_the_head():
    body, head = mended(pd.DataFrame({"loss": [0.5]}).style.set_properties(color="red").to_html())
    assert "color: red" in head
    assert "<style" not in body
    assert table(body)["class"] == ["dataframe"]


def test_a_folded_cell_is_named_by_its_text():
    summary = '<summary aria-label="Toggle"><p class="collapsed">Show</p></summary>'
    assert mended(summary) == ('<summary><b class="collapsed">Show</b></summary>', "")


def test_exercises_share_no_name():
    sections = '<section id="exercise-content"><p>Why?</p></section>' * 2
    assert mended(sections) == ("<div><p>Why?</p></div>" * 2, "")


def test_lists_are_lists():
    works = '<div class="citation-list" role="list"><div role="doc-biblioentry">A</div></div>'
    assert "role" not in mended(works)[0]
    signature = '<dt class="sig">f(<dl><dd>x</dd></dl>)</dt>'
    assert mended(signature)[0] == '<dt class="sig">f(<ul><li>x</li></ul>)</dt>'
    assert mended("<dd><p><ul><li>x</li></ul></p></dd>")[0] == "<dd><ul><li>x</li></ul></dd>"
