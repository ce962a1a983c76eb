"""The report of a qualification: one HTML file with all its pictures, which needs no network.

Jinja2 and Matplotlib are loaded when a report is written.
"""

import base64
import io
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from snnlib.evaluation import Estimate
from snnlib.extras import extra
from snnlib.quality.acceptance import parts_to_test
from snnlib.quality.agreement import GOOD_KAPPA, POOR_KAPPA
from snnlib.station.qualification import Qualification
from snnlib.station.sheets import STATION
from snnlib.station.studies import PASSED
from snnlib.station.verdict import INVALID, UNKNOWN
from snnlib.whole_files import written_whole

__all__ = ["write_report"]

SIDE = 360  # pixels of the longer side of a picture
QUALITY = 85  # of JPEG
POINTS = 80  # of a plotted curve
SHARES = (0.05, 0.01, 0.001)  # of escapes, that one may want to prove too large
METHODS = {
    "quantile": "at most that share of the calibration parts lie beyond it",
    "conformal": "at most that share of new good parts lie beyond it, on average over calibrations",
    "tolerance": "at most that share of new good parts lie beyond it, for 95 of 100 calibrations",
}
THIRDS = (("upper left", "top", "upper right"), ("left", "middle", "right"),
          ("lower left", "bottom", "lower right"))  # fmt: skip


def write_report(qualification: Qualification, file: str | Path, progress: bool = False) -> None:
    """Write what came of a qualification for whoever signs it.

    Each part that was judged wrong, and each limit sample, is there as the station sees it, and
    again with its heat map. Its file is read anew for that.

    Parameters
    ----------
    qualification : Qualification
        What came of it.
    file : str or Path
        Where to; an old file is replaced.
    progress : bool, default False
        Whether to show a progress bar.

    Raises
    ------
    ModuleNotFoundError
        If the extra ``station`` is missing.
    OSError
        If the file can't be written.
    """
    with extra("station"):
        from jinja2 import Environment, StrictUndefined
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "plain": _plain}
    environment.filters |= {"interval": _interval, "amount": _amount}
    source = files("snnlib.station").joinpath("report.html.jinja").read_text(encoding="utf-8")
    text = environment.from_string(source).render(
        q=qualification,
        station=qualification.station,
        rule=qualification.station.rule,
        methods=METHODS,
        kinds={row.Index: row for row in qualification.by_kind.itertuples()},
        lots=_by_lot(qualification),
        needed={share: parts_to_test(share) for share in SHARES},
        shown=_shown(qualification, progress),
        parts=qualification.shots.part.nunique(),
        curves=_curves(qualification),
        inspectors=_inspectors(qualification.agreement),
        GOOD_KAPPA=GOOD_KAPPA,
        POOR_KAPPA=POOR_KAPPA,
        STATION=STATION,
        PASSED=PASSED,
        UNKNOWN=UNKNOWN,
        INVALID=INVALID,
    )
    with written_whole(file) as unfinished:
        # A file's name need not be text; what is none becomes a question mark.
        unfinished.write_text(text, encoding="utf-8", errors="replace")


def _percent(value):
    """A share, or an estimate with its interval, as a percentage."""
    return value.percent() if isinstance(value, Estimate) else f"{100 * value:.2f} %"


def _interval(estimate, unit=""):
    """An estimate with its interval, as far as it is defined; in per cent or as it is."""
    scale, unit = (100, " %") if unit else (1, "")
    value, low, high = (scale * end for end in (estimate.value, estimate.low, estimate.high))
    if np.isnan(value):
        return "not defined"
    return f"{value:.2f}{unit}" + ("" if np.isnan(low) else f" ({low:.2f} to {high:.2f})")


def _amount(value):
    return f"{value:.4g}" if np.isfinite(value) else "infinite"


def _plain(value):
    """What provenance holds, on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_plain(held)}" for name, held in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "none" if value is None else str(value)


def _by_lot(qualification):
    """Figures of each lot, by whether parts are good."""
    lots: dict[str, dict[bool, Any]] = {}
    for row in qualification.by_lot.itertuples():
        lot, good = row.Index
        lots.setdefault(lot, {})[good] = row
    return lots


def _inspectors(study):
    """Each inspector's name, its estimates alone, and those against the reference."""
    if study is None:
        return []
    rows = zip(study.within.iterrows(), study.against.iterrows())
    return [(name, _estimates(alone), _estimates(right)) for (name, alone), (_, right) in rows]


def _estimates(row):
    names = [name for name in row.index if not name.endswith(("_low", "_high"))]
    return {name: Estimate(*row[[name, f"{name}_low", f"{name}_high"]]) for name in names}


def _curves(qualification):
    """For each curve of detection the address that holds its plot, and what is seen there."""
    return {
        name: (_plotted(curve), _told_of_curve(name, curve))
        for name, curve in qualification.detection.items()
        if not isinstance(curve, str)
    }


def _told_of_curve(name, curve):
    return (
        f"Chance that {name} is found, by its amount: 50 % at {_amount(curve.a50)}, 90 % at "
        f"{_amount(curve.a90)}, and surely 90 % at {_amount(curve.a90_95)}"
    )


def _plotted(curve):
    """Address that holds a plot of a curve of detection, as PNG."""
    with extra("plots"):
        from matplotlib import style
        from matplotlib.figure import Figure

    from snnlib.plots import DIFFERENT, SAME

    with style.context("default"):  # whatever the style: a report looks like the next
        figure = Figure(figsize=(5, 3.2), dpi=200, layout="constrained")
        ax = figure.subplots()
        amounts = np.linspace(curve.amounts.min(), curve.amounts.max(), POINTS)
        ax.fill_between(amounts, *curve.band(amounts), color=SAME, alpha=0.2, linewidth=0)
        ax.plot(amounts, curve.probability(amounts), color=SAME)
        for hit, height, colour in ((True, 1.04, SAME), (False, -0.04, DIFFERENT)):
            at = curve.amounts[curve.hits == hit]
            ax.plot(at, np.full(len(at), height), "|", color=colour, markersize=8)
        ax.axhline(0.9, color="0.6", linewidth=0.8, linestyle=":")
        ax.set(
            xlabel="amount, in the unit of the sheet",
            ylabel="chance of a hit, %",
            yticks=np.linspace(0, 1, 6),
            yticklabels=range(0, 101, 20),
        )
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png")
    return "data:image/png;base64," + base64.b64encode(drawn.getvalue()).decode()


@dataclass(frozen=True)
class _Shown:
    """A part in the report."""

    file: str
    row: Any
    pictures: list[tuple[str, str]]  # addresses that hold a JPEG, and what is seen there

    @property
    def why(self):
        return self.row.why.replace(self.row.file, self.file)


def _shown(qualification, progress):
    """Those parts of which there are pictures, by position."""
    wanted = [*qualification.errors.values(), qualification.limit_samples]
    positions = np.unique(np.concatenate(wanted)).tolist()
    rows = zip(positions, qualification.table.iloc[positions].itertuples())
    station, total = qualification.station, len(positions)
    return {
        position: _Shown(short := _short(row.file), row, _pictures(station, row, short))
        for position, row in tqdm(rows, "drawing", total, disable=not progress, leave=False)
    }


def _short(file):
    """A file by its last folders, which may be its lot and its class, and its name."""
    return "/".join(Path(file).parts[-3:])


def _pictures(station, row, file):
    """A part as the station sees it, and with its heat map; none if it can't be read."""
    try:
        verdict = station.explain(row.file)
    except ValueError:
        return []
    pixels = np.rint(255 * verdict.seen).astype(np.uint8)
    photograph = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    pictures = [(_drawn(photograph, None, True), f"Photograph of a part of {row.true}, {file}")]
    if verdict.heat is not None:
        pictures.append((_drawn(photograph, verdict.heat, verdict.passes), _told(verdict.heat)))
    return pictures


def _told(heat):
    """What is seen in a heat map, in words."""
    place = np.unravel_index(heat.argmax(), heat.shape)
    row, column = (3 * at // length for at, length in zip(place, heat.shape))
    return (
        f"The same under its heat map: the most unusual place is {THIRDS[row][column]}, at "
        f"{heat.max():.2f} times the limit"
    )


def _drawn(photograph, heat, passes):
    """Address that holds a picture without words."""
    with extra("plots"):
        from matplotlib.figure import Figure

    from snnlib import plots

    height, width = photograph.shape[:2]
    scale = SIDE / max(height, width)
    figure = Figure(figsize=(width * scale / 100, height * scale / 100), dpi=100)
    figure.set_layout_engine("none")  # whatever the style: the picture fills the figure
    plots.heat_map(photograph, heat, "", passes, figure.add_axes((0, 0, 1, 1)))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="jpeg", pil_kwargs={"quality": QUALITY})
    return "data:image/jpeg;base64," + base64.b64encode(drawn.getvalue()).decode()
