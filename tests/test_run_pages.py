"""Pages run two at a time, those that time something alone, and none that another run has run."""

import os
import re
import subprocess
import sys

import nbformat
import pytest

# Each of two such pages waits until the other runs.
MEETING = """
import time
from pathlib import Path

Path("{own}.runs").touch()
patience = time.monotonic() + 120
while not Path("{other}.runs").exists():
    assert time.monotonic() < patience, "{other} does not run"
    time.sleep(0.1)
"""
TIMED = """
import os, time
start = time.time()
time.sleep(3)
print(f"from {start:.3f} to {time.time():.3f} with", os.environ["OMP_NUM_THREADS"], "thread")
"""


def span(book, name):
    """When a page ran."""
    found = re.search(r"from ([\d.]+) to ([\d.]+) with 1 thread", book.html(name))
    return float(found[1]), float(found[2])


def overlap(one, other):
    return min(one[1], other[1]) - max(one[0], other[0])


@pytest.fixture
def without_threads(monkeypatch):
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.skipif(os.cpu_count() == 1, reason="with one processor one page runs at a time")
def test_two_pages_run_at_a_time(small_book):
    one = MEETING.format(own="first", other="second")
    other = MEETING.format(own="second", other="first")
    small_book.write(first=one, second=other)
    told = small_book.build()
    assert "first.md took" in told
    assert "second.md took" in told


def test_what_times_something_runs_alone(small_book, without_threads):
    config = small_book.folder / "_config.yml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("- chapters/nsoartc_maps\n", "- alone\n"), encoding="utf-8")
    # The longest text would run first, and beside the other, if it did not time something.
    small_book.write(other=TIMED, alone=TIMED + "# longer")
    told = small_book.build()
    assert overlap(span(small_book, "other"), span(small_book, "alone")) < 0
    assert re.findall(r"(\w+)\.md took", told)[-1] == "alone"
    assert "Executing notebook" not in told  # MyST-NB found all of them in the cache
    assert "took" not in small_book.build()


def test_a_page_that_fails_stops_the_build_and_others_are_kept(small_book):
    small_book.write(good="print('all is well')", bad="1 / 0", worse="raise KeyError('nothing')")
    told = small_book.build(code=1)
    assert re.search(r"bad\.md failed:.*ZeroDivisionError: division by zero", told, re.DOTALL)
    assert re.search(r"worse\.md failed:.*KeyError: 'nothing'", told, re.DOTALL)
    small_book.write(good="print('all is well')", bad="1 / 1", worse="2")
    told = small_book.build()
    assert "bad.md took" in told
    assert "good.md took" not in told


def executed_elsewhere(book, key, code, output):
    """What the notebook tests leave behind."""
    new = nbformat.v4
    cell = new.new_code_cell(code, execution_count=1)
    cell.outputs = [new.new_output("stream", name="stdout", text=output)]
    cell.metadata["execution"] = {
        "iopub.execute_input": "2030-01-01T00:00:00.000000Z",
        "shell.execute_reply": "2030-01-01T00:00:07.500000Z",
    }
    folder = book.folder / ".executed"
    folder.mkdir(exist_ok=True)
    notebook = new.new_notebook(cells=[cell])
    notebook.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    nbformat.write(notebook, folder / "page.ipynb")
    (folder / "key").write_text(key, encoding="utf-8")


def test_what_the_notebook_tests_ran_is_not_run_again(small_book, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    small_book.write(page="print('run here')")
    printed = [sys.executable, small_book.folder / "_extensions" / "fresh_figures.py"]
    key = subprocess.check_output(printed, text=True)

    executed_elsewhere(small_book, key, "print('run here')", "run elsewhere")
    assert "page.md took 7.5 s" in small_book.build()
    assert "run elsewhere" in small_book.html("page")

    # Of another library, or of other cells, it is of no use.
    executed_elsewhere(small_book, "0123456789abcdef", "print('again')", "run elsewhere")
    small_book.write(page="print('again')")
    small_book.build()
    assert "run elsewhere" not in small_book.html("page")
    executed_elsewhere(small_book, key, "print('older')", "run elsewhere")
    small_book.write(page="print('newer')")
    small_book.build()
    assert "newer" in small_book.html("page")
    assert "run elsewhere" not in small_book.html("page")
