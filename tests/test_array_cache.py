"""Arrays are made once, found again whole, and made anew when what decides them changes."""

import multiprocessing
import os

import numpy as np
import pytest

from snnlib import array_cache
from snnlib.array_cache import cache_folder, cached_arrays


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "arrays"
    monkeypatch.setenv("SNNLIB_CACHE", str(folder))
    return folder


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "source"
    file.write_text("first", encoding="utf-8")
    return file


def counting(made):
    def make():
        made.append(True)
        return {"images": np.arange(6.0).reshape(2, 3), "labels": np.array([len(made), 7])}

    return make


def test_made_once_and_found_again_as_it_was(source):
    made = []
    assert cached_arrays("a", [source]) is None
    first = cached_arrays("a", [source], counting(made))
    for found in (
        first,
        cached_arrays("a", [source], counting(made)),
        cached_arrays("a", [source]),
    ):
        assert set(found) == {"images", "labels"}
        assert type(found["images"]) is np.ndarray
        assert found["images"].dtype == float
        np.testing.assert_array_equal(found["images"], np.arange(6).reshape(2, 3))
        assert found["labels"].tolist() == [1, 7]
    assert len(made) == 1


def test_mapped_arrays_are_read_only_and_not_read_until_looked_at(source):
    images = cached_arrays("a", [source], counting([]))["images"]
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 1
    base = images
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)


def test_each_name_and_each_state_of_a_source_is_an_entry(source):
    made = []
    make = counting(made)
    cached_arrays("a", [source], make)
    cached_arrays("b", [source], make)
    assert len(made) == 2
    source.write_text("other", encoding="utf-8")  # of the same size
    assert cached_arrays("a", [source], make)["labels"][0] == 3
    source.write_text("first", encoding="utf-8")
    assert cached_arrays("a", [source], make)["labels"][0] == 1
    assert len(made) == 3


def test_where_a_file_ends_and_the_next_begins_is_told_apart(tmp_path):
    files = [tmp_path / name for name in "ab"]
    made = []
    for first, second in [("xy", "z"), ("x", "yz")]:
        files[0].write_text(first, encoding="utf-8")
        files[1].write_text(second, encoding="utf-8")
        cached_arrays("a", files, counting(made))
    assert len(made) == 2


def test_old_states_are_forgotten(source, folder):
    for state in range(5):
        source.write_text(str(state), encoding="utf-8")
        cached_arrays("a", [source], counting([]))
        for k, entry in enumerate(sorted(folder.iterdir(), key=lambda e: e.stat().st_mtime_ns)):
            os.utime(entry, (1000 + 10 * state + k, 1000 + 10 * state + k))
    cached_arrays("a-b", [source], counting([]))  # another name, though it begins alike
    assert len(list(folder.glob("a-*"))) == array_cache.STATES + 1
    assert cached_arrays("a", [source]) is not None


@pytest.mark.parametrize("damage", ["truncated", "emptied", "a pickle", "gone"])
def test_what_cannot_be_read_is_made_again(source, folder, damage):
    made = []
    cached_arrays("a", [source], counting(made))
    (file,) = folder.glob("*/images.npy")
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-8])
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "gone":
        for other in folder.glob("*/*"):
            other.unlink()
    else:
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    assert cached_arrays("a", [source]) is None
    assert cached_arrays("a", [source], counting(made))["images"].shape == (2, 3)
    assert cached_arrays("a", [source])["images"].shape == (2, 3)
    assert len(made) == 2


def test_an_error_while_making_leaves_nothing(source, folder):
    def fail():
        raise KeyError("no")

    with pytest.raises(KeyError):
        cached_arrays("a", [source], fail)
    assert not folder.exists()


def test_an_error_while_writing_leaves_nothing_half_written(source, folder, monkeypatch):
    calls = []

    def full(file, array, **settings):
        calls.append(array)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        file.write(b"half")

    monkeypatch.setattr(np, "save", full)
    assert cached_arrays("a", [source], counting([]))["labels"].tolist() == [1, 7]
    assert list(folder.iterdir()) == []


def test_where_nothing_can_be_written_arrays_are_made_each_time(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("SNNLIB_CACHE", str(tmp_path / "file" / "below"))
    made = []
    for _ in range(2):
        assert cached_arrays("a", [source], counting(made))["images"].shape == (2, 3)
    assert len(made) == 2


def writer(source, barrier):
    barrier.wait(60)
    cached_arrays("a", [source], counting([]))


def test_two_processes_at_once_leave_one_whole_entry(source, folder):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    writers = [context.Process(target=writer, args=(source, barrier)) for _ in range(2)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0]
    assert len(list(folder.iterdir())) == 1
    assert cached_arrays("a", [source])["labels"].tolist() == [1, 7]


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        cached_arrays("a", [tmp_path / "nowhere"], counting([]))


def test_where_it_lies(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "arrays"
    monkeypatch.delenv("SNNLIB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "snnlib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # its name on Windows
    assert cache_folder() == tmp_path / ".cache" / "snnlib"
