"""No page may show a figure that is older than the library, the data or the profile behind it."""

import os
import shutil
from pathlib import Path

import fresh_figures as fresh_figures_module
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = """
from snnlib.data.standins import SIDE

print("the side is", SIDE)
"""


@pytest.fixture
def book(small_book):
    """A book of one page with a copy of the library."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "snnlib", small_book.folder / "snnlib", ignore=ignored)
    small_book.write(page=PAGE)
    return small_book


def build(book):
    told = book.build(PYTHONPATH=str(book.folder))
    return book.html("page"), "page.md took" in told


def test_a_changed_constant_changes_the_page(book):
    page, executed = build(book)
    assert "the side is 28" in page
    assert executed

    page, executed = build(book)
    assert "the side is 28" in page
    assert not executed

    library = book.folder / "snnlib" / "data" / "standins.py"
    source = library.read_text(encoding="utf-8")
    library.write_text(source.replace("SIDE = 28", "SIDE = 32"), encoding="utf-8")
    page, executed = build(book)
    assert "the side is 32" in page
    assert executed

    library.write_text(source, encoding="utf-8")  # and back: the first cache is still there
    page, executed = build(book)
    assert "the side is 28" in page
    assert not executed


@pytest.fixture
def fresh_figures(monkeypatch, tmp_path):
    monkeypatch.setattr("snnlib.data.stored.hub_reachable", lambda: False)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for name in ("SNNLIB_DATA", "SNNLIB_PROFILE", "SNNLIB_NSOARTC", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return fresh_figures_module


def test_the_key_follows_all_that_shapes_a_page(fresh_figures, tmp_path, monkeypatch):
    (tmp_path / "snnlib").mkdir()
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    keys = [fresh_figures.execution_key(tmp_path)]
    assert fresh_figures.execution_key(tmp_path) == keys[0]

    def changed():
        keys.append(fresh_figures.execution_key(tmp_path))
        return len(set(keys)) == len(keys)

    (tmp_path / "snnlib" / "losses.py").write_text("MARGIN = 1", encoding="utf-8")
    assert changed()
    (tmp_path / "benchmarks" / "results" / "race.json").write_text("{}", encoding="utf-8")
    assert changed()
    monkeypatch.setenv("SNNLIB_PROFILE", "fast")
    assert changed()
    monkeypatch.setenv("SNNLIB_NSOARTC", "hub")
    assert changed()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert changed()
    mirror = tmp_path / "mirror" / "mnist"
    mirror.mkdir(parents=True)
    (mirror / "train.parquet").write_bytes(b"1")
    monkeypatch.setenv("SNNLIB_DATA", str(mirror.parent))
    assert changed()
    (mirror / "train.parquet").write_bytes(b"2")  # as large as before
    assert changed()
    arrow = tmp_path / "cache" / "ylecun___mnist" / "mnist" / "0.0.0" / "hash" / "mnist-train.arrow"
    arrow.parent.mkdir(parents=True)
    arrow.write_bytes(b"1")
    assert changed()
    arrow.write_bytes(b"2")
    assert changed()
    monkeypatch.setattr("snnlib.data.stored.hub_reachable", lambda: True)
    assert changed()
    monkeypatch.setattr(fresh_figures, "versions", lambda: "other versions")
    assert changed()


def test_a_complete_mirror_asks_no_hub(fresh_figures, tmp_path, monkeypatch):
    for name in ("mnist", "fashion_mnist"):
        (tmp_path / "mirror" / name).mkdir(parents=True)
    monkeypatch.setenv("SNNLIB_DATA", str(tmp_path / "mirror"))
    monkeypatch.setattr(fresh_figures, "hub", lambda: pytest.fail("the Hub was asked"))
    fresh_figures.execution_key(tmp_path)


def test_maps_of_the_hub_ask_for_it_whatever_the_mirror_has(fresh_figures, tmp_path, monkeypatch):
    for name in ("mnist", "fashion_mnist"):
        (tmp_path / "mirror" / name).mkdir(parents=True)
    monkeypatch.setenv("SNNLIB_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("SNNLIB_NSOARTC", "hub")
    keys = set()
    for answer in ("reachable", []):
        monkeypatch.setattr(fresh_figures, "hub", lambda answer=answer: answer)
        keys.add(fresh_figures.execution_key(tmp_path))
    assert len(keys) == 2


def test_only_the_last_caches_are_kept(fresh_figures, tmp_path):
    for age in range(6):
        (tmp_path / str(age)).mkdir()
        os.utime(tmp_path / str(age), (1000 - age, 1000 - age))
    fresh_figures.forget_old_caches(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]
