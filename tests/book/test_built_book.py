"""Checks of the pages as a reader's browser gets them."""

import page_checks
import pytest
import yaml
from conftest import ROOT, TEXTS, built_book


@pytest.mark.parametrize("check", page_checks.CHECKS, ids=lambda check: check.name)
def test_no_page_has_a_fault(pages, check):
    looked_at = sum(len(check.looks_at(page)) for page in pages.values())
    assert [fault for page in pages.values() for fault in check.faults(page)] == []
    assert looked_at >= check.least


def test_every_page_of_the_contents_is_there(pages):
    assert set(pages) == set(TEXTS)


def test_chapters_are_numbered_as_in_the_contents(chapters):
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    numbered = [c["file"] for part in parts if part.get("numbered") for c in part["chapters"]]
    assert {f"{file}.html" for file in numbered} == set(chapters)
    for number, file in enumerate(numbered, 1):
        title = chapters[f"{file}.html"].article.h1.get_text()
        assert title.startswith(f"{number}. ")


def test_tabs_hold_cells_that_ran(chapters):
    tabs = chapters["chapters/fashion_triplets.html"].article.select(".sd-tab-set")
    assert [[label.get_text(strip=True) for label in tab.find_all("label")] for tab in tabs] == [
        ["Keras", "PyTorch"],
        ["Keras", "PyTorch"],
    ]
    model, training = tabs
    for content, words in zip(model.select(".sd-tab-content"), ["keras.Model(", "nn.Module"]):
        assert words in content.select_one(".cell_input").get_text()
    for content, call in zip(training.select(".sd-tab-content"), ["model.fit(", "fit("]):
        assert call in content.select_one(".cell_input").get_text()
        assert "epoch" in content.select_one(".cell_output").get_text()


def test_a_folder_without_a_book_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SNNLIB_BOOK", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="SNNLIB_BOOK must name a folder with a built book"):
        built_book()
    (tmp_path / "index.html").touch()
    assert built_book() == tmp_path.resolve()
