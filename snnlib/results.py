"""Benchmark tables as a page reads them: many seeds, with where and when they were measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from snnlib.profile import profile

__all__ = ["Results", "prediction_interval", "read_results"]

FRAMEWORKS = ("torch", "tensorflow")


@dataclass(frozen=True)
class Results:
    """The runs of one benchmark.

    Attributes
    ----------
    runs : DataFrame
        One row a run: its settings (``case``, ``seed``, …) and its figures.
    origin : dict
        ``data``, ``date``, ``commit``, ``versions`` and ``machine`` of the measurement.
    notes : dict
        Figures of the benchmark as a whole, such as ratios.
    """

    runs: pd.DataFrame
    origin: dict[str, Any]
    notes: dict[str, Any]

    def __repr__(self) -> str:
        runs, cases = len(self.runs), self.runs["case"].nunique()
        return (
            f"Results({runs} run{'s' * (runs != 1)} of {cases} case{'s' * (cases != 1)}: "
            f"{self.line()})"
        )

    def line(self) -> str:
        """Say in one line what was measured, for the caption of a table.

        Returns
        -------
        str
        """
        seeds = len(self.runs["seed"].unique())
        commit = self.origin["commit"][:7]
        versions = self.origin["versions"]
        frameworks = [f"{name} {versions[name]}" for name in FRAMEWORKS if name in versions]
        return (
            f"{seeds} seed{'s' if seeds > 1 else ''}, {self.origin['data']}, "
            f"{self.origin['machine']['cores']} cores, "
            f"{', '.join(frameworks)}, {self.origin['date']}, commit {commit}"
        )

    def where(self, **settings: object) -> Self:
        """Keep the runs with certain settings, for a case that was run in several ways.

        Parameters
        ----------
        **settings : object
            Names and values as in `runs`, such as ``epochs=5``.

        Returns
        -------
        Results

        Raises
        ------
        KeyError
            If no run has these settings.
        """
        kept = self.runs
        for name, value in settings.items():
            kept = kept[kept[name] == value]
        if kept.empty:
            raise KeyError(f"no run with {settings} in these results")
        return replace(self, runs=kept)

    def of(self, case: str, figure: str) -> np.ndarray:
        """Values of a figure over the seeds of a case.

        Parameters
        ----------
        case, figure : str
            Names as in `runs`.

        Returns
        -------
        ndarray, shape (seeds,)

        Raises
        ------
        KeyError
            If there is no such case or figure.
        """
        if figure not in self.runs or not (self.runs["case"] == case).any():
            raise KeyError(f"no {figure!r} of {case!r} in these results")
        return self.runs.loc[self.runs["case"] == case, figure].to_numpy()

    def mean_sd(self, cases: Sequence[str], figures: Mapping[str, str]) -> pd.DataFrame:
        """Mean ± standard deviation over the seeds, as a table to be shown.

        Parameters
        ----------
        cases : sequence of str
            Rows of the table.
        figures : dict of str to str
            Name of a figure, which is a share, and the heading of its column.

        Returns
        -------
        DataFrame
            Strings such as ``95.04 ± 0.10 %``, or ``95.04 %`` for a case that was run once.

        Raises
        ------
        KeyError
            If there is no such case or figure.
        """
        cells = {
            heading: [_mean_sd(100 * self.of(case, figure)) for case in cases]
            for figure, heading in figures.items()
        }
        return pd.DataFrame(cells, index=list(cases))

    def compare(self, case: str, figure: str, value: float, source: str) -> str:
        """Check a page's own run against the seeds of the table.

        Parameters
        ----------
        case, figure : str
            Names as in `runs`.
        value : float
            What the page measured.
        source : str
            Where its images came from: ``ImageSet.source``.

        Returns
        -------
        str
            What was compared, or why nothing was, in words to be shown.

        Raises
        ------
        ValueError
            If data and profile are those of the table and the value lies where not one further run
            in a thousand should.
        """
        measured_on = self.origin["data"].split(",")[0]
        if source.split(",")[0] not in measured_on.split(" and "):
            return f"not compared, since the table was measured on {measured_on}"
        if profile() != "full":
            return "not compared, since this page was built in the fast profile"
        seeds = self.of(case, figure)
        low, high = prediction_interval(seeds, level=0.999)
        if not low <= value <= high:
            raise ValueError(
                f"{figure} of {case!r} is {100 * value:.2f} % on this page, expected "
                f"{100 * low:.2f} … {100 * high:.2f} %"
            )
        low, high = prediction_interval(seeds)
        place = "within" if low <= value <= high else "outside"
        return (
            f"{place} {100 * low:.2f} … {100 * high:.2f} %, where 95 in 100 further runs should lie"
        )


def _mean_sd(percentages):
    if len(percentages) == 1:
        return f"{percentages[0]:.2f} %"
    return f"{percentages.mean():.2f} ± {percentages.std(ddof=1):.2f} %"


def read_results(name: str) -> Results:
    """Read the results of ``benchmarks/<name>.py``.

    Parameters
    ----------
    name : str
        Name of the benchmark.

    Returns
    -------
    Results

    Raises
    ------
    FileNotFoundError
        If there are no results of that name.
    """
    file = files("snnlib.benchmark_results") / f"{name}.json"
    if not file.is_file():
        raise FileNotFoundError(f"no results of a benchmark named {name!r}; looked for {file}")
    stored = json.loads(file.read_text(encoding="utf-8"))
    runs = pd.DataFrame([{**run["settings"], **run["figures"]} for run in stored["runs"]])
    return Results(runs, stored["origin"], stored["notes"])


def prediction_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Interval in which one more run should lie, given a few.

    Mean ± t · sd · √(1 + 1/n): wider than the interval of the mean, since it is about one run.

    Parameters
    ----------
    values : array_like, shape (n,)
        Figures of n ≥ 2 seeds.
    level : float, default 0.95
        Share of such intervals that hold the next run, if runs are normally distributed.

    Returns
    -------
    low, high : float

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        raise ValueError(f"a spread needs at least two values, got {len(values)}")
    width = stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1)
    width *= np.sqrt(1 + 1 / len(values))
    return values.mean() - width, values.mean() + width
