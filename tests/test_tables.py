"""Tables are true to the code, or are known to be older, and then their pages say so."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

from snnlib.book import provenance
from snnlib.book.provenance import fingerprint, modules_of
from snnlib.book.results import read_results

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
TABLES = sorted(path.stem for path in (BENCHMARKS / "results").glob("*.json"))
PAGES = [*sorted((ROOT / "chapters").glob("*.md")), ROOT / "reference" / "reproduction.md"]

#: Tables with runs by older code. Each is here until it is measured again.
OLDER = {
    "accuracy",
    "batch_losses",
    "cnn_triplet",
    "contrastive",
    "new_defects",
    "nsoartc_classifiers",
    "nsoartc_departures",
    "siamese_inspection",
    "solar_cells",
    "station",
}


def changed(table):
    """What has changed, of all that the runs of a table rest on: modules and scripts."""
    results = read_results(table)
    scripts = {
        name
        for stamp in results.stamps
        for name, digest in stamp["modules"].items()
        if name.endswith(".py") and digest_of(BENCHMARKS / name) != digest
    }
    return {*results.changed(), *scripts}


def digest_of(script):
    return fingerprint(script.read_text(encoding="utf-8")) if script.is_file() else None


def test_the_tables_that_rest_on_other_code_are_named():
    """A table that has grown old is measured again, or named here; one that is young is not."""
    older = {table: sorted(changed(table)) for table in TABLES}
    assert {table for table, names in older.items() if names} == OLDER, older


@pytest.mark.parametrize("table", TABLES)
def test_each_run_says_by_what_code_it_was_measured(table):
    stored = json.loads((BENCHMARKS / "results" / f"{table}.json").read_text(encoding="utf-8"))
    used = {run["stamp"] for run in stored["runs"]}
    assert used <= set(stored["stamps"])
    for stamp in stored["stamps"].values():
        assert f"{table}.py" in stamp["modules"]
        assert len(stamp["commit"]) == 40
        assert all(len(digest) == 12 for digest in stamp["modules"].values())


def tables_of(page):
    """Names of the tables that a page reads, and of those that it names with `line`."""
    cells = [cell for cell in jupytext.read(page).cells if cell.cell_type == "code"]
    code = "\n".join(cell.source for cell in cells if "%pip" not in cell.source)
    bound, read, named, tree = {}, set(), set(), ast.parse(code)

    def table(node):
        """The table behind an expression such as ``read_results("x").where(…)``."""
        while isinstance(node, ast.Call | ast.Attribute):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "read_results":
                return node.args[0].value
            node = node.func if isinstance(node, ast.Call) else node.value
        return bound.get(getattr(node, "id", None))

    for statement in tree.body:  # in order, since a name may be given to another table
        for node in ast.walk(statement):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "read_results":
                read.add(node.args[0].value)
            if isinstance(node, ast.Attribute) and node.attr == "line":
                named.add(table(node.value))
        if isinstance(statement, ast.Assign) and table(statement.value):
            bound[ast.unparse(statement.targets[0])] = table(statement.value)
    return read, named


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_says_of_each_table_when_and_by_what_code_it_was_measured(page):
    read, named = tables_of(page)
    assert read <= named


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_reaches_what_python_loads_for_it(script):
    """Each module of the library that a benchmark loads is found, but for those that are idle."""
    if script.name == "recording.py":
        return
    code = (
        f"import sys, json; sys.path.insert(0, {str(BENCHMARKS)!r}); import {script.stem}; "
        "print(json.dumps([name for name in sys.modules if name.startswith('snnlib.')]))"
    )

    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    loaded = {name.removeprefix("snnlib.") for name in json.loads(told.splitlines()[-1])}
    idle = {*provenance.IDLE, "book", "book.provenance"}
    assert loaded - idle <= set(modules_of(script))


def test_the_page_names_as_many_steps_as_the_race_had():
    """The record of the race holds no number of steps, so the page has it from the script."""
    script = (BENCHMARKS / "mining.py").read_text(encoding="utf-8")
    steps = re.search(r"^STEPS, TRIAL_STEPS = (\d+), ", script, re.MULTILINE)[1]
    page = (ROOT / "chapters" / "mining.md").read_text(encoding="utf-8")
    assert f'glue_text("race_steps", {steps})' in page
    assert re.findall(r'", (\d+) steps"', page) == [steps]
