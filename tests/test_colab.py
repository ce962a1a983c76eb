"""A chapter opened where the library is missing, as on Colab: its first cell must install it.

The chapter is the one that runs in the least time; it reads benchmark tables, which are part of
what is installed. All that the library needs is here, so that no network is needed.
"""

import json
import os
import re
import subprocess
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


@pytest.fixture
def repository(checkout):
    """A git repository that holds the checkout."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "as it is"]):
        subprocess.run(["git", *arguments], cwd=checkout, check=True)
    return checkout


@pytest.fixture
def python_without_the_library(tmp_path):
    """An environment that sees all installed packages but snnlib, pip and setuptools among them."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    # Packages in that folder are found, but its own .pth files, the library's among them, are not
    # read.
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return python


def test_a_chapter_runs_from_top_to_bottom(
    repository, python_without_the_library, tmp_path, monkeypatch
):
    python = python_without_the_library
    has_library = [python, "-c", "import importlib.util as u; print(u.find_spec('snnlib'))"]
    assert subprocess.check_output(has_library, text=True, cwd="/").strip() == "None"

    notebook = nbformat.read(ROOT / "chapters" / "choosing_a_method.ipynb", as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert ADDRESS in first.source
    first.source = first.source.replace(ADDRESS, f"file://localhost{repository}")
    # In isolation pip would fetch setuptools, which builds the library, from the package index.
    assert "%pip install " in first.source
    first.source = first.source.replace("install ", "install --no-index --no-build-isolation ")

    spec = tmp_path / "share" / "jupyter" / "kernels" / "fresh"
    spec.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {"argv": argv, "display_name": "fresh", "language": "python"}
    spec.joinpath("kernel.json").write_text(json.dumps(kernel), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    monkeypatch.setenv("SNNLIB_PROFILE", "fast")
    empty = tmp_path / "content"
    empty.mkdir()
    client = NotebookClient(
        notebook, timeout=600, kernel_name="fresh", resources={"metadata": {"path": str(empty)}}
    )
    client.execute()  # raises if any cell does
    installed = subprocess.check_output(
        [python, "-c", "import snnlib; print(snnlib.__file__)"], text=True, cwd="/"
    )
    assert re.match(re.escape(str(python.parent.parent)), installed)
    assert os.listdir(empty) == []
