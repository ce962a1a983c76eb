"""Photographs of parts: in which folders they are found, what is passed over, how they are read."""

import os
import sys
import threading
import time
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from snnlib.station import parts as module
from snnlib.station.parts import NOT_CLASSES, Parts, normal_form
from snnlib.station.preparation import Photograph, Preparation

COMPOSED = "バリ"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def photograph(file, shade=100):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3), shade).save(file, format="PNG")
    return file


def tree(folder, *names):
    """Files below a folder; those whose names end in a stroke are empty folders."""
    for name in names:
        if name.endswith("/"):
            (folder / name).mkdir(parents=True)
        else:
            photograph(folder / name)
    return folder


def told(parts, folder):
    """What was found, as lines of lot, class and place."""
    places = [file.relative_to(folder).as_posix() for file in parts.files]
    return list(zip(parts.lots.tolist(), parts.names.tolist(), places, strict=True))


# Folders


def test_lots_of_classes(tmp_path):
    assert COMPOSED != DECOMPOSED
    tree(tmp_path, "2024-05/good/b.png", "2024-05/good/a.png", "2024-05/bent/a.png",
         "2024-04/good/a.png", "2024-04/良品/1.png")  # fmt: skip
    parts = Parts.read(tmp_path)
    assert told(parts, tmp_path) == [
        ("2024-04", "good", "2024-04/good/a.png"),
        ("2024-04", "良品", "2024-04/良品/1.png"),
        ("2024-05", "bent", "2024-05/bent/a.png"),
        ("2024-05", "good", "2024-05/good/a.png"),
        ("2024-05", "good", "2024-05/good/b.png"),
    ]
    assert parts.skipped == ()
    assert told(Parts.read(str(tmp_path)), tmp_path) == told(parts, tmp_path)


def test_classes_without_lots(tmp_path):
    tree(tmp_path, "scratched/a.png", "OK/b.png", "OK/a.png")
    assert told(Parts.read(tmp_path), tmp_path) == [
        ("", "OK", "OK/a.png"),
        ("", "OK", "OK/b.png"),
        ("", "scratched", "scratched/a.png"),
    ]


def test_good_parts_only(tmp_path):
    tree(tmp_path, "good/a.png", "good/b.png")
    assert Parts.read(tmp_path).names.tolist() == ["good", "good"]
    assert told(Parts.read(tmp_path / "good"), tmp_path) == [
        ("", "", "good/a.png"),
        ("", "", "good/b.png"),
    ]


def test_all_kinds_beside_each_other(tmp_path):
    tree(tmp_path, "loose.png", "A/good/1.png", "A/bent/1.png", "B/good/1.png", "A/loose.png",
         "bent/1.png", "C/1.png")  # fmt: skip
    assert told(Parts.read(tmp_path), tmp_path) == [
        ("", "", "loose.png"),
        ("", "bent", "bent/1.png"),  # named like a class of a lot
        ("A", "", "A/loose.png"),
        ("A", "bent", "A/bent/1.png"),
        ("A", "good", "A/good/1.png"),
        ("B", "good", "B/good/1.png"),
        ("C", "", "C/1.png"),  # named like none: a lot
    ]


def test_an_empty_folder_makes_no_lots_of_classes(tmp_path):
    tree(tmp_path, "good/1.png", "good/new/", "bent/1.png")
    parts = Parts.read(tmp_path)
    assert told(parts, tmp_path) == [("", "bent", "bent/1.png"), ("", "good", "good/1.png")]
    assert parts.skipped == ("empty folder good/new",)


def test_a_class_that_is_empty_in_a_lot_is_a_class_beside_it(tmp_path):
    tree(tmp_path, "A/bent/1.png", "A/good/", "good/1.png")
    parts = Parts.read(tmp_path)
    assert told(parts, tmp_path) == [("", "good", "good/1.png"), ("A", "bent", "A/bent/1.png")]
    assert parts.skipped == ("empty folder A/good",)


def test_deeper_folders_are_refused(tmp_path):
    tree(tmp_path, "A/good/1.png", "A/good/Monday/1.png")
    with pytest.raises(ValueError, match=r"folder .*Monday lies too deep: expected"):
        Parts.read(tmp_path)


@pytest.mark.parametrize("spellings", [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_one_name_however_it_is_written(tmp_path, spellings):
    in_a_lot, outside = spellings
    tree(tmp_path, f"A/{in_a_lot}/2.png", f"{outside}/3.png", f"B/{in_a_lot}/1.png")
    parts = Parts.read(tmp_path)
    assert parts.names.tolist() == [COMPOSED] * 3
    assert parts.lots.tolist() == ["", "A", "B"]
    for wanted in spellings:
        assert len(Parts.read(tmp_path, classes=[wanted])) == 3


def test_some_classes_only(tmp_path):
    tree(tmp_path, "A/good/1.png", "A/bent/1.png", "A/bent/2.png", "B/good/1.png", "B/worn/1.png",
         "loose.png", "unknown/1.png", "B/unknown/1.png")  # fmt: skip
    parts = Parts.read(tmp_path, classes={"worn", "good"})
    assert told(parts, tmp_path) == [
        ("A", "good", "A/good/1.png"),
        ("B", "good", "B/good/1.png"),
        ("B", "worn", "B/worn/1.png"),
    ]
    assert parts.skipped == (
        "1 photograph without a class",
        "2 photographs of class bent",
        "2 photographs of class unknown",
    )
    with pytest.raises(ValueError, match=r"are \['bent', .*'worn'\]; got \['Good', 'rusty'\]"):
        Parts.read(tmp_path, classes=["worn", "rusty", "Good"])
    with pytest.raises(ValueError, match=r"got none$"):
        Parts.read(tmp_path, classes=[])
    with pytest.raises(ValueError, match="must be a collection of names, got the string 'good'"):
        Parts.read(tmp_path, classes="good")


def test_the_order_is_not_that_of_the_file_system(tmp_path, monkeypatch):
    tree(tmp_path, *(f"{lot}/{name}/{k}.png" for lot in "AB" for name in "xy" for k in range(4)))
    found = {}
    scandir, listdir = os.scandir, os.listdir

    class Turned(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    for turn in (1, -1):
        order = {"key": lambda entry: getattr(entry, "name", entry), "reverse": turn < 0}
        monkeypatch.setattr(os, "listdir", lambda p=".", o=order: sorted(listdir(p), **o))
        monkeypatch.setattr(os, "scandir", lambda p=".", o=order: Turned(sorted(scandir(p), **o)))
        assert next(tmp_path.iterdir()).name == ("A" if turn > 0 else "B")
        found[turn] = told(Parts.read(tmp_path), tmp_path)
    assert found[1] == found[-1] == sorted(found[1])


def test_links_to_files_and_folders(tmp_path):
    tree(tmp_path, "store/good/1.png", "parts/bent/1.png")
    (tmp_path / "parts" / "good").mkdir()
    try:
        (tmp_path / "parts/good/2.png").symlink_to(tmp_path / "store/good/1.png")
        (tmp_path / "parts/worn").symlink_to(tmp_path / "store/good", target_is_directory=True)
        (tmp_path / "parts/good/gone.png").symlink_to(tmp_path / "nowhere.png")
    except OSError:
        pytest.skip("this system lets nobody make links")
    parts = Parts.read(tmp_path / "parts")
    assert parts.names.tolist() == ["bent", "good", "worn"]
    assert parts.skipped == ("good/gone.png, a broken link or no file",)


# What is passed over


def litter(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"left by the system")


def test_litter_is_passed_over_and_told(tmp_path):
    tree(tmp_path, "A/good/1.png", "B/good/1.png")
    litter(tmp_path, "Thumbs.db", "A/THUMBS.DB", "A/good/thumbs.db", "desktop.ini", "A/Desktop.ini",
           "A/good/ehThumbs.db", "A/good/._1.png", "A/good/._2.png", "B/.hidden", "A/.DS_Store",
           "B/good/.DS_Store", "@eaDir/1.png/thumb.jpg", "A/@EADIR/x.jpg", "#recycle/1.png",
           "lost+found/1.png", "__macosx/good/1.png", "system volume information/x.png",
           "A/good/1.TMP", "A/good/2.tmp", "B/~$parts.png", ".AppleDouble/1.png")  # fmt: skip
    parts = Parts.read(tmp_path)
    assert [place for _, _, place in told(parts, tmp_path)] == ["A/good/1.png", "B/good/1.png"]
    assert parts.skipped == tuple(
        sorted(
            [
                "3 × Thumbs.db",
                "2 × desktop.ini",
                "A/good/ehThumbs.db",
                "2 × ._*",
                "B/.hidden",
                "2 × .DS_Store",
                "2 × @eaDir",
                "#recycle",
                "lost+found",
                "__macosx",
                "system volume information",
                "2 × *.tmp",
                "B/~$parts.png",
                ".AppleDouble",
            ]
        )
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
def test_litter_of_other_systems(tmp_path):
    tree(tmp_path, "good/1.png")
    litter(tmp_path, "good/Icon\r", "$Recycle.bin/S-1-5/1.png")
    assert Parts.read(tmp_path).skipped == ("$Recycle.bin", "good/Icon")


def test_files_that_are_no_pictures(tmp_path):
    tree(tmp_path, "good/1.png", "good/2", "good/3.BMP", "good/4.raw", "good/5.jpg.bak")
    litter(tmp_path, "good/notes.txt", "good/a.CSV", "b.csv", "good/c.xml", "labels.json",
           "README.md", "x.pdf", "x.html", "x.XLSX", "x.doc", "x.docx", "x.zip", "x.yaml", "x.yml",
           "good/x.log", "x.db", "x.ini")  # fmt: skip
    parts = Parts.read(tmp_path)
    names = [file.name for file in parts.files]
    assert names == ["1.png", "2", "3.BMP", "4.raw", "5.jpg.bak"]
    assert "good/notes.txt" in parts.skipped
    assert "2 × *.csv" in parts.skipped
    assert len(parts.skipped) == 16


def test_a_folder_with_a_dot_is_named(tmp_path):
    tree(tmp_path, "good/1.png", ".5mm/1.png", "good/.old/x/1.JPG", ".cache/", "1.5mm/1.png",
         "v1.db/1.png", "._5mm/1.tif")  # fmt: skip
    parts = Parts.read(tmp_path)
    assert sorted(parts.names.tolist()) == ["1.5mm", "good", "v1.db"]
    assert parts.skipped == (
        "folder .5mm, whose name begins with a dot, holds pictures",
        "folder ._5mm, whose name begins with a dot, holds pictures",
        "folder .cache, whose name begins with a dot",
        "folder good/.old, whose name begins with a dot, holds pictures",
    )


def test_empty_folders_are_named(tmp_path):
    tree(tmp_path, "A/good/1.png", "A/bent/", "B/", "C/good/")
    litter(tmp_path, "C/good/Thumbs.db")
    expected = ("C/good/Thumbs.db", "empty folder A/bent", "empty folder B", "empty folder C/good")
    assert Parts.read(tmp_path).skipped == expected


# What is refused


def test_no_folder(tmp_path):
    for path in (tmp_path / "nowhere", photograph(tmp_path / "1.png")):
        with pytest.raises(NotADirectoryError, match=f"folder of photographs, got .*{path.name}"):
            Parts.read(path)


def test_no_photograph(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path.name} holds no photograph$"):
        Parts.read(tmp_path)
    tree(tmp_path, "A/good/", ".5mm/1.png")
    litter(tmp_path, "notes.txt")
    message = (
        r"holds no photograph; passed over: empty folder A/good, folder \.5mm, .* dot, "
        r"holds pictures, notes\.txt$"
    )
    with pytest.raises(ValueError, match=message):
        Parts.read(tmp_path)
    for empty in ([], (), iter([])):
        with pytest.raises(ValueError, match="there is no photograph, expected at least one"):
            Parts.of(empty)


@pytest.mark.parametrize("name", [*NOT_CLASSES, "Unknown", "INVALID"])
def test_words_of_a_verdict_name_no_class(tmp_path, name):
    tree(tmp_path, "good/1.png", f"{name}/1.png")
    with pytest.raises(ValueError, match=rf"no class may be named '{name}', as that of .*1\.png"):
        Parts.read(tmp_path)
    with pytest.raises(ValueError, match=f"no class may be named '{name}'"):
        Parts.of([tmp_path / "good/1.png"], name)
    assert Parts.of([tmp_path / "good/1.png"], f"{name} scratch", name).lots.tolist() == [name]


# Lists


def test_listed_files_keep_their_order(tmp_path):
    tree(tmp_path, "b.png", "a.png")
    parts = Parts.of((str(tmp_path / name) for name in ("b.png", "a.png")), DECOMPOSED, "Monday")
    assert parts.files == (tmp_path / "b.png", tmp_path / "a.png")
    assert parts.names.tolist() == [COMPOSED] * 2
    assert parts.lots.tolist() == ["Monday"] * 2
    assert parts.skipped == ()
    bare = Parts.of(parts.files)
    assert (bare.names.tolist(), bare.lots.tolist()) == (["", ""], ["", ""])


def test_lists_that_make_no_sense(tmp_path):
    file = photograph(tmp_path / "a.png")
    for single in (file, str(file), os.fsencode(file)):
        with pytest.raises(ValueError, match=r"list of files, got the single path .*a\.png"):
            Parts.of(single)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.png"):
        Parts.of([file, tmp_path / "b.png"])
    with pytest.raises(ValueError, match=f"expected files, got the folder .*{tmp_path.name}"):
        Parts.of([file, tmp_path])
    with pytest.raises(ValueError, match=r"there once, got .*a\.png twice"):
        Parts.of([file, str(tmp_path / "." / "a.png")])
    with pytest.raises(ValueError, match=r"there once, got .*a\.png twice"):
        Parts.of([file, os.path.join(tmp_path, "..", tmp_path.name, "a.png")])
    with pytest.raises(ValueError, match="names must be strings, got 3 at position 0"):
        Parts.of([file], 3)


def test_names_and_lots_by_hand():
    files = [Path("a.png"), "b.png"]
    parts = Parts(files, "good", ["Monday", DECOMPOSED])
    assert parts.files == (Path("a.png"), Path("b.png"))
    assert parts.names.tolist() == ["good", "good"]
    assert parts.lots.tolist() == ["Monday", COMPOSED]
    assert parts.names.dtype.kind == parts.lots.dtype.kind == "U"
    with pytest.raises(ValueError, match="names must be one for each of 2 files, got 3"):
        Parts(files, ["good"] * 3, "")
    with pytest.raises(ValueError, match="lots must be one for each of 2 files, got 1"):
        Parts(files, "good", ["Monday"])
    with pytest.raises(ValueError, match="lots must be strings, got nan at position 1"):
        Parts(files, "good", ["Monday", float("nan")])


# Parts of parts, and tables


@pytest.fixture
def four():
    files = [Path(f"{k}.png") for k in range(4)]
    return Parts(files, ["good", "bent", "good", ""], ["A", "A", "B", ""], ("notes.txt",))


def test_some_of_the_parts(four):
    for taken in ([2, 0], np.array([2, 0]), four.names == "good"):
        some = four.take(taken)
        order = [0, 2] if np.asarray(taken).dtype == bool else [2, 0]
        assert some.files == tuple(four.files[k] for k in order)
        assert some.names.tolist() == ["good", "good"]
        assert some.lots.tolist() == [four.lots[k] for k in order]
        assert some.skipped == four.skipped
    assert four.take(-1 * np.ones(1, dtype=int)).files == four.files[3:]
    for wrong in ([4], [True, False], [0.5], ["good"]):
        with pytest.raises(ValueError, match="indices must be positions in 4 parts, or true or"):
            four.take(wrong)
    with pytest.raises(ValueError, match=r"must be a list, got shape \(\)"):
        four.take(2)
    with pytest.raises(ValueError, match=r"there once, got 1\.png twice"):
        four.take([1, 1])
    with pytest.raises(ValueError, match="there is no photograph"):
        four.take(four.names == "worn")


def test_joined_parts(four):
    others = Parts([Path("9.png")], "a class with a long name", "B", ("notes.txt", "2 × ._*"))
    joined = four.join(others)
    assert joined.files == (*four.files, Path("9.png"))
    assert joined.names.tolist() == [*four.names, "a class with a long name"]
    assert joined.lots.tolist() == [*four.lots, "B"]
    assert joined.skipped == ("notes.txt", "2 × ._*")
    with pytest.raises(ValueError, match=r"there once, got 2\.png twice"):
        four.join(four.take([2]))


def test_counts(four):
    expected = pd.DataFrame(
        {"—": [1, 0, 0], "bent": [0, 1, 0], "good": [0, 1, 1]}, index=["—", "A", "B"]
    )
    counts = four.counts()
    assert (counts.index.name, counts.columns.name) == ("lot", "class")
    pd.testing.assert_frame_equal(counts, expected, check_names=False, check_index_type=False)
    assert counts.to_numpy().sum() == len(four)


def test_what_is_printed(four):
    assert len(four) == 4
    assert repr(four) == "Parts(4 photographs, 2 lots, 2 classes: bent, good)"
    assert repr(four.take([3])) == "Parts(1 photograph, 0 lots, 0 classes)"
    assert repr(four.take([1])) == "Parts(1 photograph, 1 lot, 1 class: bent)"
    many = Parts([f"{k}.png" for k in range(8)], list("abcdefgh"), "A")
    assert repr(many) == "Parts(8 photographs, 1 lot, 8 classes: a, b, c, d, e, f, …)"


# Reading


class Counted:
    """A preparation that counts what it reads, and of which reading is slow for some."""

    def __init__(self, slow=lambda file: 0.0):
        self.read = Counter()
        self.slow = slow
        self.lock = threading.Lock()

    def prepare(self, file):
        time.sleep(self.slow(file))
        with self.lock:
            self.read[file] += 1
        return Photograph(np.zeros((3, 1, 1), dtype=np.uint8), (1, 1), None)


def many(number):
    return Parts([Path(f"{k:04d}.png") for k in range(number)], "", "")


def settled(count, expected):
    """Where a count stays once it has come to what is expected."""
    deadline = time.monotonic() + 20
    while count() < expected and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    return count()


def test_photographs_in_their_order(tmp_path):
    shades = np.random.default_rng(0).permutation(np.arange(20, 40))
    files = [photograph(tmp_path / f"{k}.png", int(shade)) for k, shade in enumerate(shades)]
    parts = Parts.of(files)
    found = list(parts.batches(Preparation(grey=True), size=8))
    assert [where for where, _ in found] == [slice(0, 8), slice(8, 16), slice(16, 20)]
    for where, photographs in found:
        pixels = np.stack([p.pixels for p in photographs])
        np.testing.assert_array_equal(
            pixels, shades[where, None, None, None] * np.ones((1, 3, 4), dtype=int)
        )
    (first, *_) = parts.batches(Preparation(), size=100)
    assert first[0] == slice(0, 20)
    assert first[1][0].pixels.shape == (3, 3, 4)


def test_the_order_is_kept_where_files_take_different_times():
    """The first of each batch comes last; sizes tell who is who."""

    class Named(Counted):
        def prepare(self, file):
            super().prepare(file)
            return Photograph(np.zeros((3, 1, 1), dtype=np.uint8), (int(file.stem), 1), None)

    slow = Named(lambda file: 0.02 if int(file.stem) % 4 == 0 else 0.0)
    found = [p.size[0] for _, batch in many(12).batches(slow, size=4) for p in batch]
    assert found == list(range(12))


def test_files_that_cant_be_read_stand_in_their_place(tmp_path):
    files = [photograph(tmp_path / f"{k}.png") for k in range(5)]
    parts = Parts.of(files)
    files[1].write_bytes(b"no picture")
    files[3].unlink()
    ((_, found),) = parts.batches(Preparation())
    kinds = [type(one) for one in found]
    assert kinds == [Photograph, ValueError, Photograph, ValueError, Photograph]
    assert "1.png can't be read as a photograph: it is damaged" in str(found[1])
    assert str(found[3]) == f"{files[3]} can't be read as a photograph: it is not there any more"
    # A traceback would keep the pixels of all that can't be read.
    assert found[1].__traceback__ is None


def test_other_faults_are_not_taken_for_those_of_a_file():
    class Broken:
        def prepare(self, file):
            raise MemoryError

    with pytest.raises(MemoryError):
        list(many(3).batches(Broken()))


def test_a_slow_consumer_does_not_let_the_reader_run_on():
    counted = Counted()
    batches = many(400).batches(counted, size=4)
    time.sleep(0.02)
    assert counted.read.total() == 0
    for k in range(1, 6):
        next(batches)
        # The batch in hand, and those ahead of it, all of which are read meanwhile.
        in_memory = 4 * (k + module.AHEAD)
        assert settled(counted.read.total, in_memory) == in_memory
    assert sum(1 for _ in batches) == 95
    assert counted.read.total() == 400
    assert max(counted.read.values()) == 1


def test_several_files_are_read_at_once(monkeypatch):
    monkeypatch.setattr(module, "WORKERS", 2)
    met = threading.Barrier(2, timeout=20)

    class Meeting(Counted):
        def prepare(self, file):
            met.wait()  # for another file
            return super().prepare(file)

    assert len(list(many(8).batches(Meeting(), size=2))) == 4


def readers():
    return [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]


def test_reading_may_be_given_up():
    counted = Counted(lambda file: 0.01)
    batches = many(1000).batches(counted, size=4)
    next(batches)
    assert readers()
    batches.close()
    assert not readers()
    assert counted.read.total() <= 4 * (1 + module.AHEAD)
    for _ in many(1000).batches(counted, size=4):
        break
    assert not readers()
    many(10).batches(counted)  # never begun
    assert not readers()


def test_batches_of_no_size():
    for size in (0, -3):
        with pytest.raises(ValueError, match=f"size must be a positive number .*, got {size}"):
            many(3).batches(Preparation(), size=size)


def test_a_progress_bar_where_one_is_wanted(capsys):
    assert len(list(many(5).batches(Counted(), size=2))) == 3
    assert capsys.readouterr() == ("", "")
    batches = many(5).batches(Counted(), size=2, progress="reading parts")
    next(batches)
    assert "reading parts:   0%" in capsys.readouterr().err
    assert len(list(batches)) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "\n" not in shown.err  # it goes away again


def test_a_name_is_spelled_one_way():
    assert COMPOSED != DECOMPOSED
    assert normal_form(DECOMPOSED) == normal_form(COMPOSED) == COMPOSED
    assert normal_form("bent") == "bent"
