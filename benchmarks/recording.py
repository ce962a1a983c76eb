"""Writing benchmark results so that an interrupted benchmark goes on where it stopped."""

import datetime
import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from snnlib.whole_files import written_whole

FOLDER = Path(__file__).parent / "results"
PACKAGES = ("torch", "numpy", "scikit-learn")


def begin(name, data, *more_packages):
    """Open ``results/<name>.json``, or start it.

    Parameters
    ----------
    name : str
        Name of the benchmark.
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
    return Record(FOLDER / f"{name}.json", origin)


class Record:
    """Runs of a benchmark, on disk after every one of them."""

    def __init__(self, path, origin):
        self.path = path
        self.stored = {"origin": origin, "notes": {}, "runs": []}
        if path.exists():
            self.stored = json.loads(path.read_text(encoding="utf-8"))
            before = {key: self.stored["origin"].get(key) for key in origin}
            if before != origin:
                raise SystemExit(
                    f"{path} holds runs of {before}, this would be {origin}; "
                    "delete the file to measure anew"
                )

    def done(self, settings):
        """Whether a run with these settings is on record."""
        return any(run["settings"] == settings for run in self.stored["runs"])

    def add(self, settings, figures):
        """Put a run on record, in place of an older one with the same settings."""
        kept = [run for run in self.stored["runs"] if run["settings"] != settings]
        self.stored["runs"] = [*kept, {"settings": settings, "figures": figures}]
        self._write()

    def note(self, figures):
        """Put figures of the benchmark as a whole on record."""
        self.stored["notes"] |= figures
        self._write()

    def table(self):
        """The runs as a table, one row a run."""
        return pd.DataFrame([run["settings"] | run["figures"] for run in self.stored["runs"]])

    def means(self, figures):
        """Mean of some figures over the seeds of each case."""
        means = self.table().groupby("case", sort=False)[list(figures)].mean()
        return means.round(5).to_dict("index")

    def _write(self):
        self.stored["origin"] |= {"date": str(datetime.date.today()), "commit": _commit()}
        text = json.dumps(self.stored, indent=1, ensure_ascii=False)
        with written_whole(self.path) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")


def show(record, *by):
    """Print the runs as a table: means over seeds, with standard deviations.

    A row a case, or for each value of further settings that are named.
    """
    figures = list(record.stored["runs"][0]["figures"])
    table = record.table().groupby(["case", *by], sort=False)[figures].agg(["mean", "std"])
    print(table.round(4).to_string())


def _commit():
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True).stdout.strip()
