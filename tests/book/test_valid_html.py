"""The text of every page, judged by html-validate; the theme's frame around it is not ours."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import TEXTS

pytestmark = pytest.mark.xdist_group("html-validate")  # it is started once

HERE = Path(__file__).resolve().parent
CHECKER = HERE / "node_modules" / ".bin" / "html-validate"


@pytest.fixture(scope="session")
def faults(html, missing, tmp_path_factory):
    """What is wrong with the text of each page that has one."""
    if not (shutil.which("node") and CHECKER.is_file()):
        missing("no html-validate here; make test-book installs it where npm is")
    folder = tmp_path_factory.mktemp("texts")
    for page in [
        *html.glob("*.html"),
        *html.glob("chapters/*.html"),
        *html.glob("reference/*.html"),
    ]:
        text = re.search(r"<article.*</article>", page.read_text(encoding="utf-8"), re.DOTALL)
        if text:
            copy = folder / page.relative_to(html)
            copy.parent.mkdir(exist_ok=True)
            copy.write_text(text[0], encoding="utf-8")
    report = folder / "report.json"
    command = [
        CHECKER,
        "--config",
        HERE / ".htmlvalidate.cjs",
        "--formatter",
        f"json={report}",
        folder,
    ]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode in (0, 1), checked.stderr  # 1: it has found something
    faults = {str(copy.relative_to(folder)): [] for copy in folder.rglob("*.html")}
    for page in json.loads(report.read_text(encoding="utf-8")):
        name = str(Path(page["filePath"]).relative_to(folder))
        faults[name] = [
            f"{m['ruleId']}, line {m['line']}: {m['message']}" for m in page["messages"]
        ]
    return faults


@pytest.mark.parametrize("page", TEXTS)
def test_the_text_of_a_page_is_valid_html(faults, page):
    assert faults[page] == []
