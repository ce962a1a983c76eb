"""Run the notebooks of a build two at a time, before Sphinx reads the first of them.

MyST-NB runs a page when it reads it, one after another. Here all pages that the cache lacks are run
beforehand, each kernel with one thread, and put into the cache, from which MyST-NB takes them.
Pages that time something run by themselves. What another run has executed from the same sources,
such as the notebook tests of ``make test``, is not run again.
"""

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from myst_nb.core.read import create_nb_reader
from sphinx.errors import ExtensionError
from sphinx.util import logging

WORKERS = 2
# The number of threads changes the last digits of a training, and two kernels with two threads each
# on two cores stand in each other's way.
ONE_THREAD = dict.fromkeys(
    ["OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"], "1"
)
LOG = logging.getLogger(__name__)


def notebook_of(env, docname):
    """The notebook that a page is made from, None if it is made from none."""
    path = str(env.doc2path(docname))
    text = Path(path).read_text(encoding="utf-8")
    reader = create_nb_reader(path, env.myst_config, env.mystnb_config, text)
    return reader and reader.read(text)


def unread(env, docnames):
    """Pages to be read that have cells, as notebooks by their paths."""
    for name in docnames:
        notebook = notebook_of(env, name)
        if notebook and any(cell.cell_type == "code" for cell in notebook.cells):
            yield Path(env.doc2path(name)), notebook


def in_cache(cache, notebook):
    """Whether the cache holds a notebook of the same cells."""
    try:
        return bool(cache.match_cache_notebook(notebook))
    except KeyError:
        return False


def run(path, notebook, timeout):
    """Run a notebook in its own folder."""
    return single_nb_execution(notebook, str(path.parent), timeout, allow_errors=False)


def keep(cache, path, result):
    """Put an executed notebook into the cache."""
    bundle = CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    LOG.info("%s took %.1f s", path.name, result.time)


def code_of(notebook):
    """The cells of a notebook that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def taken_over(path, notebook, folder):
    """A notebook with the outputs that another run of the same cells has left in a folder."""
    file = folder / f"{path.stem}.ipynb"
    if not file.is_file():
        return None
    executed = nbformat.read(file, as_version=4)
    cells, others = code_of(notebook), code_of(executed)
    if [cell.source for cell in cells] != [cell.source for cell in others]:
        return None
    notebook.metadata.language_info = executed.metadata.language_info
    times = []
    for cell, other in zip(cells, others):
        if other.execution_count is None:
            return None
        cell.outputs, cell.execution_count = other.outputs, other.execution_count
        told = other.metadata.execution
        times += [told["iopub.execute_input"], told["shell.execute_reply"]]
    first, last = (datetime.fromisoformat(time) for time in (min(times), max(times)))
    return ExecutionResult(notebook, str(path.parent), (last - first).total_seconds())


def run_pages(app, env, docnames):
    """Fill the cache with all pages that are to be read and are not in it."""
    config = env.mystnb_config
    cache = get_cache(config.execution_cache_path)
    pages = {p: n for p, n in unread(env, docnames) if not in_cache(cache, n)}
    for path, notebook in list(pages.items()):
        # fresh_figures names it only where it comes from the present state of the library.
        if app.config.executed_notebooks:
            result = taken_over(path, notebook, Path(app.config.executed_notebooks))
            if result is not None:
                keep(cache, path, result)
                del pages[path]

    def run_all(pages, workers):
        with ThreadPoolExecutor(workers) as pool:
            running = {pool.submit(run, p, n, config.execution_timeout): p for p, n in pages}
            for future in as_completed(running):
                result = future.result()
                if result.err is None:
                    keep(cache, running[future], result)
                else:
                    failed[running[future]] = result.exc_string

    failed = {}
    alone = {Path(env.doc2path(name)) for name in app.config.pages_that_time}
    # The longest text first, so that no long page is left over for the end.
    order = sorted(pages.items(), key=lambda page: -page[0].stat().st_size)
    run_all([page for page in order if page[0] not in alone], min(WORKERS, os.cpu_count()))
    run_all([page for page in order if page[0] in alone], 1)
    if failed:
        raise ExtensionError(
            "\n".join(f"{path} failed:\n{words}" for path, words in failed.items())
        )


def one_thread(app, config):
    """Give each kernel one thread, here and in what it is compared with."""
    os.environ.update(ONE_THREAD)


def setup(app):
    """Register with Sphinx."""
    app.add_config_value("pages_that_time", [], "")
    app.add_config_value("executed_notebooks", "", "")
    app.connect("config-inited", one_thread, priority=400)  # before the cache is named
    app.connect("env-before-read-docs", run_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
