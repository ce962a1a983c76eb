"""What html-validate says of the texts of pages; the theme's frame around them is not ours."""

import json
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKER = HERE / "node_modules" / ".bin" / "html-validate"

# Put at the end of each text. A report lists no page without a fault, whether it is good or was not
# read; so each page has this one, whose id holds a blank, and it tells that all before it was read.
MARK = '<p id="the end">The end.</p>'
SELECTOR_OF_THE_MARK = r"#the\ end"


def is_installed():
    return bool(shutil.which("node")) and CHECKER.is_file()


def copy_text(page, copy):
    """Copy the text of a page, and mark its end."""
    text = re.search(r"<article.*(?=</article>)", page.read_text(encoding="utf-8"), re.DOTALL)
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(f"{text[0]}\n{MARK}\n</article>", encoding="utf-8")


def report(folder):
    """What html-validate reports about the pages of a folder."""
    file = folder / "report.json"
    configured = ["--config", HERE / ".htmlvalidate.cjs"]
    command = [CHECKER, *configured, "--formatter", f"json={file}", folder]
    checked = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert checked.returncode == 1, checked.stderr  # 1: it has found something, the marks at least
    return json.loads(file.read_text(encoding="utf-8"))


def faults(pages, names, folder):
    """What is wrong with each page that was read to its end.

    Parameters
    ----------
    pages : Path
        Folder of the pages.
    names : list of str
        Their paths below it.
    folder : Path
        An empty one, for their texts.

    Returns
    -------
    dict of str to list of str
        By the name of the page.
    """
    for name in names:
        copy_text(pages / name, folder / name)
    found = {}
    for page in report(folder):
        messages = [m for m in page["messages"] if m["selector"] != SELECTOR_OF_THE_MARK]
        if len(messages) < len(page["messages"]):
            name = Path(page["filePath"]).relative_to(folder).as_posix()
            found[name] = [f"{m['ruleId']}, line {m['line']}: {m['message']}" for m in messages]
    return found
