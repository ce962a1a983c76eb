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
from snnlib.station.qualification import Qualification
from snnlib.station.verdict import INVALID, UNKNOWN
from snnlib.whole_files import written_whole

__all__ = ["write_report"]

SIDE = 360  # pixels of the longer side of a picture
QUALITY = 85  # of JPEG
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
        UNKNOWN=UNKNOWN,
        INVALID=INVALID,
    )
    with written_whole(file) as unfinished:
        # A file's name need not be text; what is none becomes a question mark.
        unfinished.write_text(text, encoding="utf-8", errors="replace")


def _percent(value):
    """A share, or an estimate with its interval, as a percentage."""
    return value.percent() if isinstance(value, Estimate) else f"{100 * value:.2f} %"


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
