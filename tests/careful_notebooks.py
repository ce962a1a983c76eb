"""Copy the notebooks to where they are run; no test set is opened early while they do.

    python tests/careful_notebooks.py <folder>

Nothing is added to a cell, so that outputs are those of the book. nbmake runs the watch in the
kernel, after the first cell, and what it finds fails the cell that opens the test set.
"""

import inspect
import sys
from pathlib import Path

import nbformat

CHAPTERS = Path(__file__).resolve().parent.parent / "chapters"
# What must be there, and fitted, before the test set is opened; nothing replaces it afterwards.
READY = {
    "siamese_inspection": ("scaler", "encoder", "plain", "anchors"),
    "cnn_triplet_inspection": ("scaler", "whitening", "front", "encoder", "station"),
    "choosing_a_method": ("front", "encoder", "station"),
    "signing_off": ("front", "encoder", "station"),
    "on_the_line": ("front", "encoder", "station", "small"),
}


def watch(ready):
    """Refuse the test set until the names are there and what they stand for is fitted."""
    import IPython
    from sklearn.base import BaseEstimator
    from sklearn.utils.validation import check_is_fitted

    from snnlib.nsoartc import dataset, loading

    page = IPython.get_ipython().user_ns

    def careful(function):
        def call(*arguments, **settings):
            if arguments[0] == "test":
                missing = [name for name in ready if name not in page]
                assert not missing, f"the test set is opened before there is {missing}"
                for name in ready:
                    thing = page[name]
                    for part in thing.values() if isinstance(thing, dict) else [thing]:
                        if isinstance(part, BaseEstimator):
                            check_is_fitted(part)
            return function(*arguments, **settings)

        return call

    for room, name in [(loading, "load_maps"), (dataset, "named_set"), (dataset, "named_images")]:
        setattr(room, name, careful(getattr(room, name)))


def watched(notebook, ready):
    """A notebook whose test set is watched."""
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    lines = [*inspect.getsource(watch).splitlines(), f"watch({ready!r})", "del watch"]
    first.metadata["nbmake"] = {"post_cell_execute": lines}
    return notebook


def main(folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(CHAPTERS.glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        if file.stem in READY:
            notebook = watched(notebook, READY[file.stem])
        nbformat.write(notebook, folder / file.name)


if __name__ == "__main__":
    main(sys.argv[1])
