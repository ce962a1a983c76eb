"""Writing benchmark results so that an interrupted benchmark goes on where it stopped.

With each run stands a stamp: of the modules that it rests on, the commit, and the day. A run that
rests on other code than today's counts as not done, and the new one takes its place.
"""

import datetime
import hashlib
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from snnlib.book.provenance import modules_of
from snnlib.whole_files import written_whole

FOLDER = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "scikit-learn")


def begin(script, data, *more_packages):
    """Open the results of a script, ``results/<its name>.json``, or start them.

    Parameters
    ----------
    script : str
        ``__file__`` of the benchmark.
    data : str
        Where its images came from.
    *more_packages : str
        Packages to name with their versions, beside those that all benchmarks use.

    Returns
    -------
    Record

    Raises
    ------
    SystemExit
        If the file holds runs on other data or with other versions.
    """
    origin = {
        "data": data,
        "versions": {"python": platform.python_version()}
        | {package: version(package).split("+")[0] for package in (*PACKAGES, *more_packages)},
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
    }
    return Record(FOLDER / f"{Path(script).stem}.json", origin, modules_of(Path(script)))


class Record:
    """Runs of a benchmark, on disk after every one of them."""

    def __init__(self, path, origin, modules):
        self.path, self.modules = path, modules
        self.stamp = stamp_of(modules)
        self.stored = {"origin": origin, "stamps": {}, "notes": {}, "runs": []}
        if path.exists():
            self.stored = json.loads(path.read_text(encoding="utf-8"))
            if self.stored["origin"] != origin:
                raise SystemExit(
                    f"{path} holds runs of {self.stored['origin']}, this would be {origin}; "
                    "delete the file to measure anew"
                )

    def done(self, settings):
        """Whether a run with these settings, by today's code, is on record."""
        return any(
            run["settings"] == settings and run["stamp"] == self.stamp
            for run in self.stored["runs"]
        )

    def add(self, settings, figures):
        """Put a run on record, in place of an older one with the same settings."""
        kept = [run for run in self.stored["runs"] if run["settings"] != settings]
        run = {"settings": settings, "figures": figures, "stamp": self.stamp}
        self.stored["runs"] = [*kept, run]
        self._write()

    def note(self, figures):
        """Put figures of the benchmark as a whole on record."""
        stamped = {key: {"value": value, "stamp": self.stamp} for key, value in figures.items()}
        self.stored["notes"] |= stamped
        self._write()

    def noted(self, key):
        """Such a figure, if it is on record by today's code; else None."""
        note = self.stored["notes"].get(key, {})
        return note.get("value") if note.get("stamp") == self.stamp else None

    def notes(self):
        """All figures of the benchmark as a whole."""
        return {key: note["value"] for key, note in self.stored["notes"].items()}

    def table(self):
        """The runs as a table, one row a run."""
        return pd.DataFrame([run["settings"] | run["figures"] for run in self.stored["runs"]])

    def means(self, figures):
        """Mean of some figures over the seeds of each case."""
        means = self.table().groupby("case", sort=False)[list(figures)].mean().round(5)
        return {case: row.dropna().to_dict() for case, row in means.iterrows()}

    def _write(self):
        self.stored["stamps"][self.stamp] = {
            "date": str(datetime.date.today()),
            "commit": _git("rev-parse", "HEAD"),
            "uncommitted": bool(_git("status", "--porcelain", "--", "*.py")),
            "modules": self.modules,
        }
        used = {entry["stamp"] for entry in (*self.stored["runs"], *self.stored["notes"].values())}
        stamps = self.stored["stamps"]
        self.stored["stamps"] = {stamp: told for stamp, told in stamps.items() if stamp in used}
        text = json.dumps(self.stored, indent=1, ensure_ascii=False)
        with written_whole(self.path) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")


def stamp_of(modules):
    """One hash for those of all modules."""
    return hashlib.sha256(json.dumps(modules, sort_keys=True).encode()).hexdigest()[:12]


def show(record, *by):
    """Print the runs as a table: means over seeds, with standard deviations.

    A row a case, or for each value of further settings that are named. Runs by older code that are
    still on record are counted before, since nothing else tells them from the others.
    """
    older = sum(run["stamp"] != record.stamp for run in record.stored["runs"])
    if older:
        print(f"{older} of {len(record.stored['runs'])} runs are by older code")
    figures = list(dict.fromkeys(name for run in record.stored["runs"] for name in run["figures"]))
    table = record.table().groupby(["case", *by], sort=False)[figures].agg(["mean", "std"])
    print(table.round(4).to_string())


def _git(*words):
    command = ["git", "-C", str(FOLDER.parent.parent), *words]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
