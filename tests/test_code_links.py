"""Names in shown code lead to the entry of what they mean, and to no other."""

import re
from types import SimpleNamespace

import code_links
import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ENTRIES = ("snnlib.losses", "snnlib.losses.euclidean", "snnlib.training.fit")


def links(*cells):
    """Linked names of a page with these cells, and where they lead."""
    shown = (highlight(cell, PythonLexer(), HtmlFormatter()) for cell in cells)
    blocks = (f'<div class="highlight-ipython3 notranslate">{html}</div>' for html in shown)
    context = {"body": "".join(blocks)}
    places = {name: SimpleNamespace(docname="api", node_id=name) for name in ENTRIES}
    app = SimpleNamespace(
        env=SimpleNamespace(get_domain=lambda name: SimpleNamespace(objects=places)),
        builder=SimpleNamespace(get_relative_uri=lambda page, document: f"{document}.html"),
    )
    plain = re.sub("<a [^>]*>|</a>", "", context["body"])
    code_links.add_links(app, "page", "page.html", context, doctree="a page")
    assert re.sub("<a [^>]*>|</a>", "", context["body"]) == plain
    found = re.findall(r'<a class="code-link" href="api.html#([^"]+)">(.*?)</a>', context["body"])
    return [(re.sub("<[^>]+>", "", html), entry) for entry, html in found]


def test_a_name_leads_to_what_was_imported_in_an_earlier_cell():
    assert (
        links("from snnlib.training import fit", "history = fit(encoder, size=fit)")
        == [("fit", "snnlib.training.fit")] * 3
    )


def test_an_attribute_of_a_room_leads_to_its_entry_and_else_to_the_room():
    assert links("from snnlib import losses as l\nl.euclidean(a, b).sum(), l.absent") == [
        ("l", "snnlib.losses"),
        ("l.euclidean", "snnlib.losses.euclidean"),
        ("l", "snnlib.losses"),
    ]


def test_commands_of_a_notebook_and_broken_code_do_no_harm():
    cell = "%pip install snnlib\nfrom snnlib.training import fit;"
    assert links(cell, "this is: no Python") == [("fit", "snnlib.training.fit")]


@pytest.mark.parametrize(
    "cell",
    [
        "anchors.fit(Z)",  # a method of something else
        "train(fit=1)",  # a keyword
        "'fit'  # fit",
    ],
)
def test_what_only_looks_like_the_name_stays_unlinked(cell):
    imports = "from snnlib.training import fit"
    assert len(links(imports, cell)) == len(links(imports))


@pytest.mark.parametrize(
    "own",
    [
        "fit = 3",
        "def train(fit): return fit",
        "def fit(): ...",
        "from elsewhere import fit",
        "from snnlib.station.inspection import set_up as fit",
    ],
)
def test_a_name_that_the_page_uses_for_its_own_stays_unlinked(own):
    assert links("from snnlib.training import fit", own, "fit()") == []


def test_names_of_others_stay_unlinked():
    assert links("from other.training import fit\nfrom snnlib_too import losses\nfit, losses") == []
