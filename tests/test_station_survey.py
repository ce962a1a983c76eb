"""What is in a folder of photographs, and what to mend first."""

import shutil

import numpy as np
import pytest
from drawn_parts import draw, frames, write, write_lots
from PIL import Image, ImageFilter

from snnlib.station.parts import Parts
from snnlib.station.survey import Survey, survey

LOTS = {("a", "OK"): 12, ("b", "OK"): 12, ("b", "dent"): 6}


@pytest.fixture
def folder(tmp_path):
    return write_lots(tmp_path, LOTS)


def look(folder, **settings):
    return survey(Parts.read(folder), **settings)


def test_a_folder_with_nothing_to_mend(folder):
    found = look(folder)
    assert isinstance(found, Survey)
    assert found.counts.to_dict() == {"OK": {"a": 12, "b": 12}, "dent": {"a": 0, "b": 6}}
    assert found.sizes == {"64 × 64": 30}
    assert found.smallest == (4, 4)  # never less, however small photographs are
    assert found.bits is None
    assert not found.unreadable
    assert found.duplicates == found.alike == found.blurred == found.advice == ()


@pytest.mark.parametrize(
    ("size", "smallest"), [(224, (35, 20)), (448, (18, 10)), (1920, (4, 4)), (2000, (4, 4))]
)
def test_how_large_a_defect_must_be(folder, size, smallest):
    """Four pixels after 1920 × 1080 are brought to so many; a part of a pixel counts as one."""
    Image.new("RGB", (1920, 1080)).save(folder / "b" / "OK" / "large.png")
    assert look(folder, size=size).smallest == smallest


def test_the_same_file_in_two_lots_and_in_two_classes(folder):
    file = folder / "a" / "OK" / "003.png"
    shutil.copy(file, folder / "b" / "OK" / "copy.png")
    shutil.copy(folder / "a" / "OK" / "005.png", folder / "b" / "dent" / "copy.png")
    found = look(folder)
    assert {frozenset(group) for group in found.duplicates} == {
        frozenset({file, folder / "b" / "OK" / "copy.png"}),
        frozenset({folder / "a" / "OK" / "005.png", folder / "b" / "dent" / "copy.png"}),
    }
    assert found.alike == ()
    first, second = found.advice
    assert "the same file is in two classes: " in first
    assert "copy.png; 1 such case" in first
    assert "the same file is in two lots: " in second
    assert "2 such cases. Whatever is tested by lots will look better than it is" in second


def test_the_same_part_photographed_twice(folder):
    """Not the same file, nor the same noise; in another lot it is told, in its own it is not."""
    rng = np.random.default_rng(0)
    for name, lot in (("other", "b"), ("again", "a")):
        with Image.open(folder / "a" / "OK" / "003.png") as image:
            pixels = np.asarray(image, dtype=float) + rng.normal(0, 1, (64, 64, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / lot / "OK" / f"{name}.png"
        )
    (folder / "a" / "OK" / "again.png").unlink()
    found = look(folder)
    assert found.duplicates == ()
    assert found.alike == ((folder / "a" / "OK" / "003.png", folder / "b" / "OK" / "other.png"),)
    (advice,) = found.advice
    assert "are far more alike than other photographs; 1 such case" in advice


def test_blur(folder):
    file = folder / "b" / "OK" / "004.png"
    with Image.open(file) as image:
        blurred = image.filter(ImageFilter.GaussianBlur(3))
    blurred.save(file)
    found = look(folder)
    assert found.blurred == (file,)
    assert found.advice == (f"1 file far less sharp than most: {file}",)


def test_advice_begins_with_what_does_most_harm(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "OK", [draw(rng, size=(64, 64 + 20 * (k == 0))) for k in range(4)])
    write(tmp_path / "dent", frames(3, 1, "dent"))
    write(tmp_path, frames(2, 2))
    (tmp_path / "OK" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    found = look(tmp_path, good="gut")
    begins = [
        "1 file can't be read; the first is ",
        "0 photographs are of the class 'gut' of good parts, at least 5 are needed; there are: "
        "no class, OK, dent",
        "good parts are of one lot only",
        "of dent (3) there are fewer than 5 photographs",
        "2 photographs lie in no folder of a class",
        "proportions differ (64 × 64, 84 × 64)",
        "passed over: notes.txt",
    ]
    assert len(found.advice) == len(begins)
    for words, advice in zip(begins, found.advice):
        assert advice.startswith(words)


def test_nothing_that_can_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    found = look(tmp_path)
    assert list(found.unreadable) == [tmp_path / "a.png"]
    assert found.sizes == {}
