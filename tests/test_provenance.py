"""What counts as a change of code, and how far a script reaches."""

import pytest

from snnlib.book import provenance
from snnlib.book.provenance import changed_since, fingerprint, modules_of
from snnlib.nsoartc.loading import CELL

CODE = '''"""What it is for."""

import numpy as np
from snnlib.images import check_images


def spread(values: np.ndarray, level: float = 0.95) -> float:
    """How far values lie apart, in “units”."""
    return level * values.std()  # the ½ of it
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("What it is for.", "What it was for."),
        ("the ½ of it", "all of it"),
        ("“units”", "metres"),
        ("values.std()", "values.std(\n    )"),
        ("    return", "\n    return"),
    ],
)  # fmt: skip
def test_what_does_nothing_does_not_count(old, new):
    assert old in CODE
    assert fingerprint(CODE.replace(old, new)) == fingerprint(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.95", "0.9"),
        ("level *", "level +"),
        ("check_images", "check_labels"),
        ("numpy", "torch"),
        ("def spread", "def width"),
        ("std()", "std('#')"),
    ],
)
def test_what_does_something_counts(old, new):
    assert old in CODE
    assert fingerprint(CODE.replace(old, new)) != fingerprint(CODE)


def test_the_hash_is_the_same_on_every_machine():
    assert fingerprint(CODE) == "2a3917a58964"


def test_what_a_script_reaches(tmp_path):
    (tmp_path / "race.py").write_text(
        "from beside import x\ndef f():\n    from snnlib.nsoartc import soart\n", encoding="utf-8"
    )
    (tmp_path / "beside.py").write_text("from snnlib.losses import euclidean", encoding="utf-8")
    found = modules_of(tmp_path / "race.py")
    assert set(found) == {
        "beside.py",
        "images",
        "losses",
        "losses.drawn",
        "losses.mined",
        "nsoartc",
        "nsoartc.rt",
        "nsoartc.soart",
        "race.py",
    }


def test_what_has_changed_since(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    for name in ("images.py", "losses.py", "data/__init__.py", "data/loading.py"):
        (tmp_path / name).write_text("x = 1", encoding="utf-8")
    one = fingerprint("x = 1")
    monkeypatch.setattr(provenance, "LIBRARY", tmp_path)
    told = dict.fromkeys(["images", "losses", "data", "data.loading", "gone", "race.py"], one)
    assert changed_since(told) == ["gone"]
    (tmp_path / "data" / "loading.py").write_text("x = 2", encoding="utf-8")
    (tmp_path / "losses.py").write_text("x = 1  # as before", encoding="utf-8")
    assert changed_since(told) == ["data.loading", "gone"]


def test_the_cache_of_maps_looks_at_all_that_makes_them():
    made_by = {name for name in modules_of(CELL[0]) if name.startswith("nsoartc.")}
    assert made_by <= {f"nsoartc.{file.stem}" for file in CELL}
