"""The reference has an entry for every public name, and chapters lead to it."""

import importlib
from pathlib import Path

import pytest
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
            if file.stem != "__init__" and file.parent.name == room:
                module = importlib.import_module(f"{package.__name__}.{file.stem}")
                yield from (n for n in names_of(module) if n.split(".")[-1] not in handed_on)


@pytest.fixture(scope="module")
def reference(pages):
    """The texts of the reference, by their names."""
    names = [name for name in pages if name.startswith("reference/")]
    return {Path(name).stem: pages[name].article for name in names}


@pytest.fixture(scope="module")
def entries(reference):
    """The entries of all pages, by the full names of what they describe."""
    return {e["id"]: e for page in reference.values() for e in page.select("dt.sig[id]")}


def test_every_public_name_has_an_entry(entries):
    names = set(public_names())
    assert len(names) > 100
    assert names <= set(entries)
    assert all(entries[name].find_next_sibling("dd").get_text(strip=True) for name in names)


def test_the_overview_lists_every_public_name_once(reference):
    overview = reference["api"]
    listed = [link["href"].partition("#")[2] for link in overview.select("dd a.reference")]
    assert sorted(listed) == sorted(public_names())
