"""From the chapter that builds the station on, what passes is what its rule lets pass."""

import ast
import re
from pathlib import Path

import jupytext
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FIRST = "chapters/cnn_triplet_inspection"
PARTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
FILES = [chapter["file"] for part in PARTS if part.get("numbered") for chapter in part["chapters"]]
PAGES = [ROOT / f"{file}.md" for file in FILES[FILES.index(FIRST) :]]
ERRORS = {"escapes", "false_alarms"}


def code_of(page):
    cells = jupytext.read(page).cells
    code = (cell.source for cell in cells if cell.cell_type == "code")
    return "\n".join(re.sub(r"^( *)%.*", r"\1pass", source, flags=re.MULTILINE) for source in code)


def verdicts_of(tree):
    """Names that stand for verdicts: each is assigned from an expression that takes them."""
    return {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and takes_verdict(node.value)
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }


def takes_verdict(expression):
    return any(
        (isinstance(node, ast.Attribute) and node.attr == "verdict")
        or (isinstance(node, ast.Constant) and node.value == "verdict")
        for node in ast.walk(expression)
    )


def errors_of_anything_else(tree):
    """Errors that are counted, but not of verdicts."""
    known = verdicts_of(tree)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id in ERRORS and len(node.args) == 2:
            names = {name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)}
            if not takes_verdict(node.args[1]) and not names & known:
                yield ast.unparse(node)


def passes_without_limit(tree):
    """Statements that let pass what is nearest to the good anchor, however far it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            words = ast.unparse(node)
            if re.search(r"nearest['\"]?\]? == 'OK'", words) and "score" not in words:
                yield words


def names_by_anchors_alone(tree):
    """Names that are given by the nearest anchor, or a classifier, without the station."""
    for node in ast.walk(tree):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr == "predict":
            yield ast.unparse(node)


def test_the_station_is_built_before_it_is_signed():
    assert [page.stem for page in PAGES][-2:] == ["signing_off", "on_the_line"]
    assert len(PAGES) >= 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_errors_are_counted_by_the_rule(page):
    assert list(errors_of_anything_else(ast.parse(code_of(page)))) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_passes_without_a_limit(page):
    tree = ast.parse(code_of(page))
    assert list(passes_without_limit(tree)) == []
    assert list(names_by_anchors_alone(tree)) == []


@pytest.mark.parametrize("page", PAGES[-2:], ids=lambda page: page.stem)
def test_both_pages_sign_the_same_limit(page):
    code = code_of(page)
    settings = set(re.findall(r'"?method"?[=:]\s*"(\w+)",\s*"?false_alarms"?[=:]\s*([\d.]+)', code))
    assert settings == {("tolerance", "0.01")}
    assert "connector_station(" in code


WRONG = {
    errors_of_anything_else: "said = anchors.nearest(points)\nescapes(names, said)",
    passes_without_limit: "passed = told.nearest == 'OK'",
    names_by_anchors_alone: "said = anchors.predict(points)",
}
RIGHT = """
said = station.judge(parts).verdict
escapes(names, said)
false_alarms(names, table["verdict"])
passed = (told.nearest == "OK") & (told.score <= limit)
"""


@pytest.mark.parametrize("search", WRONG, ids=lambda search: search.__name__)
def test_what_breaks_the_rule_is_found(search):
    assert list(search(ast.parse(WRONG[search])))
    assert not list(search(ast.parse(RIGHT)))
