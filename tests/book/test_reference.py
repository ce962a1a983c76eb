"""The reference has an entry for every public name, and chapters lead to it."""

import importlib

import pytest
from bs4 import BeautifulSoup
from test_repository import ROOMS, modules


def names_of(module):
    return [f"{module.__name__}.{name}" for name in getattr(module, "__all__", [])]


def public_names():
    """Every public name as a reader imports it: from a package, if that hands it on."""
    for room in ROOMS:
        package = importlib.import_module(f"snnlib.{room}")
        handed_on = getattr(package, "__all__", [])
        yield from names_of(package)
        for file in modules(room):
            if file.stem not in ("__init__", room):
                module = importlib.import_module(f"{package.__name__}.{file.stem}")
                yield from (n for n in names_of(module) if n.split(".")[-1] not in handed_on)


@pytest.fixture(scope="module")
def reference(html):
    """The pages of the reference, parsed, by their names."""
    return {
        file.stem: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser").find("article")
        for file in (html / "reference").glob("*.html")
    }


@pytest.fixture(scope="module")
def entries(reference):
    """The entries of all pages, by the full names of what they describe."""
    return {e["id"]: e for page in reference.values() for e in page.select("dt.sig[id]")}


def test_every_public_name_has_an_entry(entries):
    names = set(public_names())
    assert len(names) > 100
    assert names <= set(entries)
    assert all(entries[name].find_next_sibling("dd").get_text(strip=True) for name in names)


def test_every_entry_shows_its_source(entries):
    for name, entry in entries.items():
        if not {"data", "property"} & set(entry.parent["class"]):
            assert entry.select(".viewcode-link"), name


def test_the_overview_lists_every_public_name_once(reference):
    overview = reference["api"]
    listed = [link["href"].partition("#")[2] for link in overview.select("dd a.reference")]
    assert sorted(listed) == sorted(public_names())


def test_types_of_the_library_are_links(reference):
    own = {name.split(".")[-1] for name in public_names() if name.split(".")[-1][0].isupper()}
    own -= {"OK"}
    for page in reference.values():
        for text in page.select("dl.field-list em"):
            assert text.get_text() not in own or text.find_parent("a"), text


def test_no_link_of_the_reference_is_dead(html, reference):
    for name, page in reference.items():
        for link in page.select("a.internal"):
            path, _, fragment = link["href"].partition("#")
            target = html / "reference" / (path or f"{name}.html")
            assert f'id="{fragment}"' in target.read_text(encoding="utf-8") or not fragment


def test_text_and_code_of_every_chapter_lead_to_the_reference(chapters):
    for name, page in chapters.items():
        article = page.find("article")
        assert article.select('p a[href*="../reference/"]'), name
        assert article.select('.cell_input a.code-link[href*="../reference/"]'), name
