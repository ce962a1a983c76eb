"""Files are written whole or not at all, by any number of writers."""

import errno
import stat

import pytest

from snnlib.whole_files import written_whole


def test_what_was_written_is_in_place_and_nothing_else(tmp_path):
    file = tmp_path / "new" / "file.txt"
    with written_whole(file) as unfinished:
        unfinished.write_text("all of it", encoding="utf-8")
        assert not file.exists()
    assert file.read_text(encoding="utf-8") == "all of it"
    assert list(file.parent.iterdir()) == [file]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "file.txt"
    file.write_text("old", encoding="utf-8")

    def fail(error):
        with written_whole(file) as unfinished:
            unfinished.write_text("half", encoding="utf-8")
            raise error

    for error in (OSError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    file = tmp_path / "station.pt"
    file.write_text("old", encoding="utf-8")
    full = OSError(errno.ENOSPC, "No space left on device")  # it names no file
    fault = r"can't be written, and is left as it was \(No space left on device\): .*station\.pt'"
    with pytest.raises(OSError, match=fault) as told, written_whole(file):
        raise full
    assert (told.value.errno, told.value.filename) == (errno.ENOSPC, str(file))
    assert told.value.__cause__ is full
    assert file.read_text(encoding="utf-8") == "old"


def test_a_folder_in_the_way_is_told(tmp_path):
    file = tmp_path / "station.pt"
    file.mkdir()
    with (
        pytest.raises(OSError, match="can't be written") as told,
        written_whole(file) as unfinished,
    ):
        unfinished.write_text("new", encoding="utf-8")
    assert told.value.filename == str(file)
    assert list(tmp_path.iterdir()) == [file]


def test_trouble_with_another_file_keeps_its_name(tmp_path):
    other = tmp_path / "other.txt"
    with pytest.raises(FileNotFoundError) as told, written_whole(tmp_path / "file.txt"):
        other.read_text(encoding="utf-8")
    assert told.value.filename == str(other)


def test_two_writers_at_once_do_not_mix(tmp_path):
    file = tmp_path / "file.txt"
    with written_whole(file) as first, written_whole(file) as second:
        assert first != second
        first.write_text("first", encoding="utf-8")
        second.write_text("second", encoding="utf-8")
        assert first.read_text(encoding="utf-8") == "first"
    assert file.read_text(encoding="utf-8") == "first"  # the one that was put in place last
    assert list(tmp_path.iterdir()) == [file]


def test_names_may_be_as_long_as_the_file_system_allows(tmp_path):
    file = tmp_path / ("部品" * 40 + ".txt")
    with written_whole(file) as unfinished:
        unfinished.write_text("", encoding="utf-8")
    assert file.is_file()


def test_it_may_be_read_by_whom_other_files_may_be(tmp_path):
    file, other = tmp_path / "file.txt", tmp_path / "other.txt"
    other.write_text("", encoding="utf-8")
    with written_whole(file) as unfinished:
        unfinished.write_text("", encoding="utf-8")
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)
