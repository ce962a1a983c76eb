"""Benchmark tables as a page reads them: many seeds, with where, when and by what code."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from snnlib.book.profile import profile
from snnlib.book.provenance import changed_since

__all__ = ["Results", "prediction_interval", "read_results"]

FRAMEWORKS = ("torch", "tensorflow")
# A page's own run may lie so far from the mean of the table, as a share: near enough that a fault
# worth a point and a half is found, wide enough for other last digits on another machine.
TOLERANCE = 0.01
NAMED = 2  # changed modules that a line names; of more it says how many
STEADY = 0.005  # standard deviation up to which that works; what a figure without chance may move


@dataclass(frozen=True)
class Results:
    """The runs of one benchmark.

    Attributes
    ----------
    runs : DataFrame
        One row a run: its settings (``case``, ``seed``, …) and its figures.
    origin : dict
        ``data``, ``versions`` and ``machine`` of the measurement.
    notes : dict
        Figures of the benchmark as a whole, such as ratios.
    stamps : Series of dict
        By the index of `runs`: ``date``, ``commit`` and ``modules`` of each, that is the hashes of
        the code that it rests on.
    """

    runs: pd.DataFrame
    origin: dict[str, Any]
    notes: dict[str, Any]
    stamps: pd.Series

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
        versions = self.origin["versions"]
        frameworks = [f"{name} {versions[name]}" for name in FRAMEWORKS if name in versions]
        stamps = self._stamps()
        words = [
            f"{seeds} seed{'s' if seeds > 1 else ''}",
            self.origin["data"],
            f"{self.origin['machine']['cores']} cores",
            *frameworks,
            " and ".join(sorted({stamp["date"] for stamp in stamps})),
            f"commit {' and '.join(dict.fromkeys(stamp['commit'][:7] for stamp in stamps))}",
        ]
        changed = self.changed()
        few = f"{len(changed)} modules that it rests on" if len(changed) > NAMED else None
        since = f"; measured before changes to {few or ' and '.join(changed)}" if changed else ""
        return ", ".join(words) + since

    def _stamps(self):
        """Each stamp of these runs once."""
        stamps = {id(stamp): stamp for stamp in self.stamps[self.runs.index]}
        return list(stamps.values())

    def changed(self) -> list[str]:
        """Modules of the library on which these runs rest, and that have changed since.

        Returns
        -------
        list of str
            Names such as ``training``; none if all runs are true to today's code.
        """
        return sorted(
            {name for stamp in self._stamps() for name in changed_since(stamp["modules"])}
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
            Strings such as ``95.04 ± 0.10 %``, or ``95.04 %`` for a case that was run once; a
            dash where a case does not have that figure.

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
            If data and profile are those of the table, and the value lies farther than a point from
            the mean of the table, or where not one further run in a thousand should; or if the runs
            of the table scatter too much to tell.
        """
        measured_on = self.origin["data"].split(",")[0]
        if source.split(",")[0] not in measured_on.split(" and "):
            return f"not compared, since the table was measured on {measured_on}"
        if profile() != "full":
            return "not compared, since this page was built in the fast profile"
        seeds = self.of(case, figure)
        low, high = _accepted(seeds, f"{figure} of {case!r}")
        if not low <= value <= high:
            raise ValueError(
                f"{figure} of {case!r} is {100 * value:.2f} % on this page, expected "
                f"{100 * low:.2f} … {100 * high:.2f} %"
            )
        if len(seeds) == 1:
            return f"{100 * seeds[0]:.2f} % in the table; nothing in it is random"
        low, high = prediction_interval(seeds)
        place = "within" if low <= value <= high else "outside"
        return (
            f"{place} {100 * low:.2f} … {100 * high:.2f} %, where 95 in 100 further runs should lie"
        )


def _accepted(seeds, what):
    """Where one more run may lie, for a page to be built."""
    mean = seeds.mean()
    if len(seeds) == 1:
        return mean - STEADY, mean + STEADY
    if seeds.std(ddof=1) > STEADY:
        raise ValueError(
            f"{what} scatters by {100 * seeds.std(ddof=1):.2f} points over the seeds, more than "
            f"{100 * STEADY:.1f}: one run can't be held against it"
        )
    low, high = prediction_interval(seeds, level=0.999)
    return max(low, mean - TOLERANCE), min(high, mean + TOLERANCE)


def _mean_sd(percentages):
    if np.isnan(percentages).all():  # no figure of this case
        return "–"
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
    notes = {key: note["value"] for key, note in stored["notes"].items()}
    stamps = pd.Series([stored["stamps"][run["stamp"]] for run in stored["runs"]], dtype=object)
    return Results(runs, stored["origin"], notes, stamps)


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
