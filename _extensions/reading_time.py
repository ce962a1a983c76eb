"""Say under the title of a chapter how long it takes to read and how long it took to run.

Words are read at 200 a minute, a line of shown code in 6 s. Exercises are apart: they take as long
as the reader likes. Seconds are those of the machine that built the page.
"""

import re

from myst_nb.sphinx_ import NbMetadataCollector
from run_pages import notebook_of

WORDS_A_MINUTE = 200
LINES_A_MINUTE = 10
HIDDEN = {"hide-input", "remove-input", "hide-cell", "remove-cell"}


def before_exercises(cells):
    """Cells of a chapter that stand before its exercises."""
    for cell in cells:
        text, _, exercises = ("\n" + cell.source).partition("\n## Exercises")
        if cell.cell_type != "markdown":
            yield cell
            continue
        yield type(cell)(cell, source=text)
        if exercises:
            return


def minutes_to_read(notebook):
    """Minutes for text, captions and shown code, exercises apart.

    Parameters
    ----------
    notebook : NotebookNode

    Returns
    -------
    float
    """
    words = lines = 0
    for cell in before_exercises(notebook.cells):
        if cell.cell_type == "markdown":
            words += len(re.sub(r"\$\$.*?\$\$", "", cell.source, flags=re.DOTALL).split())
        else:
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            words += len(figure.get("caption", "").split())
            if not HIDDEN & set(cell.metadata.get("tags", [])):
                lines += sum(1 for line in cell.source.splitlines() if line.strip())
    return words / WORDS_A_MINUTE + lines / LINES_A_MINUTE


def in_words(seconds):
    """Seconds as one would say them."""
    if seconds < 100:
        return f"{5 * max(1, round(seconds / 5))} seconds"
    return f"{seconds / 60:.0f} minutes"


def tell(app, pagename, templatename, context, doctree):
    """Put the line below the title of a chapter."""
    if doctree is None or not pagename.startswith("chapters/"):
        return
    minutes = minutes_to_read(notebook_of(app.env, pagename))
    runtime = NbMetadataCollector.get_exec_data(app.env, pagename)["runtime"]
    line = f"About {minutes:.0f} minutes to read, {in_words(runtime)} to run."
    context["body"] = context["body"].replace(
        "</h1>", f'</h1>\n<p class="reading-time">{line}</p>', 1
    )


def setup(app):
    """Register with Sphinx."""
    app.connect("html-page-context", tell, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
