"""A small book with our configuration and extensions, to see what they do to its pages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = """---
jupytext:
  formats: md:myst
  text_representation: {{extension: .md, format_name: myst}}
kernelspec: {{name: python3, display_name: Python 3}}
---
# {name}

```{{code-cell}} ipython3
{code}
```
"""


class SmallBook:
    """A folder with a book in it.

    Parameters
    ----------
    folder : Path
        Empty.
    """

    def __init__(self, folder):
        self.folder = folder
        for name in ("_config.yml", "references.bib"):
            shutil.copy(ROOT / name, folder)
        for name in ("_extensions", "_static", "_templates"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)

    def write(self, **pages):
        """Write pages of one cell each; the first is the root."""
        root, *others = pages
        contents = f"format: jb-book\nroot: {root}\n"
        if others:
            contents += "chapters:\n" + "".join(f"  - file: {name}\n" for name in others)
        (self.folder / "_toc.yml").write_text(contents, encoding="utf-8")
        for name, code in pages.items():
            page = PAGE.format(name=name, code=code.strip())
            (self.folder / f"{name}.md").write_text(page, encoding="utf-8")

    def build(self, code=0, **environment):
        """Build it, expect an exit code, and return what was told meanwhile."""
        jupyter_book = Path(sys.executable).parent / "jupyter-book"
        command = [jupyter_book, "build", self.folder, "-W", "-n", "--keep-going"]
        result = subprocess.run(
            command,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
            capture_output=True,
            encoding="utf-8",
        )
        told = re.sub(r"\x1b\[[\d;]*m", "", result.stdout + result.stderr)
        assert bool(result.returncode) == bool(code), told
        return told

    def html(self, name):
        """A built page."""
        return (self.folder / "_build" / "html" / f"{name}.html").read_text(encoding="utf-8")
