"""Never show a stale figure: name the cache of executed notebooks by all that shaped them.

jupyter-cache knows a notebook by the text of its cells. What the cells import and read may change
without a change in that text: the library, installed packages, the profile, the data, the benchmark
tables, the number of threads. A hash over all of them names the folder of the cache, so a change in
any one runs the notebooks again; and since Sphinx watches the name of that folder, it reads every
page again, too.

Called by itself it prints that hash, for the present environment.
"""

import hashlib
import os
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

KEPT_CACHES = 3  # so that going back and forth between two data sources costs nothing


def library(root):
    """Contents of the library and of the benchmark tables."""
    files = [*root.glob("snnlib/**/*.py"), *root.glob("benchmarks/results/*.json")]
    return [(str(file.relative_to(root)), file.read_bytes()) for file in sorted(files)]


def versions():
    """Python and every installed package."""
    return sys.version, sorted((d.name, d.version) for d in distributions())


def choices():
    """What the environment decides: the profile, which maps are loaded, threads of a kernel."""
    from snnlib.book.profile import profile

    return profile(), [os.environ.get(name) for name in ("SNNLIB_NSOARTC", "OMP_NUM_THREADS")]


def contents(files):
    """Names of files, and hashes of what they hold."""
    for file in sorted(files):
        with file.open("rb") as opened:
            yield str(file), hashlib.file_digest(opened, "sha256").hexdigest()


def data_source():
    """Contents of the mirror; if a set is not in it, what the Hub would give."""
    from snnlib.data.boards import NAME as BOARDS
    from snnlib.data.loading import HUB_NAMES

    mirror = Path(os.environ["SNNLIB_DATA"]) if os.environ.get("SNNLIB_DATA") else None
    # The boards may be a clone, with folders in it, and with a history that shapes nothing.
    found = (
        [file for name in (*HUB_NAMES, BOARDS) for file in (mirror / name).rglob("*")]
        if mirror
        else []
    )
    files = [file for file in found if file.is_file() and ".git" not in file.parts]
    complete = mirror and all((mirror / name).is_dir() for name in HUB_NAMES)
    asked = not complete or os.environ.get("SNNLIB_NSOARTC") == "hub"
    return list(contents(files)), hub() if asked else None


def hub():
    """Whether the Hub answers; if it does not, what its cache holds."""
    from huggingface_hub import constants

    from snnlib.data.stored import hub_reachable

    if hub_reachable():
        return "reachable"
    cache = Path(os.environ.get("HF_DATASETS_CACHE", Path(constants.HF_HOME) / "datasets"))
    return list(contents(cache.glob("*/*/*/*/*.arrow")))


def execution_key(root):
    """Hash over everything that shapes an executed notebook, but for its own cells."""
    shaped_by = library(root), versions(), choices(), data_source()
    return hashlib.sha256(repr(shaped_by).encode()).hexdigest()[:16]


def forget_old_caches(folder):
    """Remove all but the caches that were used last."""
    caches = sorted(folder.iterdir(), key=lambda cache: cache.stat().st_mtime, reverse=True)
    for old in caches[KEPT_CACHES:]:
        shutil.rmtree(old)


def name_cache(app, config):
    """Point MyST-NB at the cache that belongs to the present state."""
    find_mirror()
    caches = Path(app.outdir).parent / ".jupyter_cache"
    key = execution_key(Path(app.srcdir))
    cache = caches / key
    cache.mkdir(parents=True, exist_ok=True)
    os.utime(cache)
    config.nb_execution_cache_path = str(cache)
    forget_old_caches(caches)
    # What the notebook tests have executed serves the book that is built after them.
    executed = Path(app.srcdir, ".executed")
    key_file = executed / "key"
    if key_file.is_file() and key_file.read_text(encoding="utf-8").strip() == key:
        config.executed_notebooks = str(executed)


def find_mirror():
    """Make the path of the mirror absolute: kernels run in another folder."""
    if os.environ.get("SNNLIB_DATA"):
        mirror = Path(os.environ["SNNLIB_DATA"]).absolute()
        if not mirror.is_dir():
            raise NotADirectoryError(f"SNNLIB_DATA must name a folder, got {str(mirror)!r}")
        os.environ["SNNLIB_DATA"] = str(mirror)


def setup(app):
    """Register with Sphinx."""
    app.connect("config-inited", name_cache)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    find_mirror()
    print(execution_key(Path(__file__).resolve().parent.parent))
