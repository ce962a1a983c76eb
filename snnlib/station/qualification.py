"""Is a station fit to judge? What it says of labelled photographs, counted.

This room knows nothing of how it is reported.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from snnlib.evaluation import Estimate, proportion
from snnlib.quality.acceptance import parts_to_test, upper_bound
from snnlib.quality.agreement import AgreementStudy
from snnlib.quality.detection import DetectionCurve
from snnlib.quality.lots import proportion_by_lot
from snnlib.station.judging import Judge
from snnlib.station.parts import Parts
from snnlib.station.provenance import marks, provenance
from snnlib.station.sheets import read_ratings, read_sheet
from snnlib.station.station import Station
from snnlib.station.studies import (
    PASSED,
    Plan,
    acceptance_test,
    agreement_with_station,
    detection_by_class,
    doubts_of_agreement,
    doubts_of_detection,
)
from snnlib.station.verdict import INVALID, UNKNOWN

__all__ = ["Qualification", "qualify"]

FEW = 5  # parts of a kind of defect, below which little is known of it
PROVED = 0.05  # share that the parts should prove to be too large, or they are few
SIDE = 4  # limit samples on either side
SHOWN = 5  # names in a doubt


@dataclass(frozen=True, eq=False)
class Qualification:
    """What came of it when a station judged labelled photographs.

    A photograph that is `.INVALID` is not judged, and its part is stopped: so a defective one does
    not escape, and a good one is a false alarm. Each is told apart as *not judged*, too. A class
    that the station does not know is one of defects: any verdict but the good one stops such a
    part, and none can name it.

    Attributes
    ----------
    station : `.Station` or `.Judge`
        Who judged.
    judged : dict
        Which photographs, when and by what code, as `snnlib.station.provenance` tells it.
    table : DataFrame
        What `.Station.judge` says of each of n parts, with its class (``true``) and its ``lot``.
    confusion : DataFrame
        Parts of each class (rows) by verdict (columns), good ones first.
    escapes : `.Estimate` or None
        Share of defective parts that pass; None if there is no defective part. The interval is that
        of `.proportion_by_lot`, or of `.proportion` if the parts are of one lot.
    false_alarms : `.Estimate` or None
        Share of good parts that do not pass, likewise; None if there is no good part.
    by_kind : DataFrame
        By whether parts are good: how many ``parts`` there are of how many ``lots``; ``errors``,
        which are escapes or false alarms; their ``share`` and its interval from ``low`` to
        ``high``; parts whose verdict ``named`` their class, and those that were ``not_judged``.
    by_lot : DataFrame
        The same by lot and, within it, by whether parts are good.
    by_class : DataFrame
        The same by class, good parts first.
    errors : dict of str to ndarray of int
        Positions of parts, by what went wrong: ``escape``, ``false alarm``, ``wrong name`` for a
        defect that is stopped as another or as `.UNKNOWN`, and ``not judged``. None is in two.
    limit_samples : ndarray, shape (m,), int
        Positions of the parts whose scores lie nearest to the limit, up to four on either side, in
        the order of their scores.
    proofs : DataFrame
        ``parts`` and ``escapes`` of each ``kind`` of defect, after those of all kinds, whose name
        is empty; and the ``bound`` that the share of escapes keeps at 95 % confidence, one-sided,
        by Clopper and Pearson (1934). It takes parts for independent.
    shots : DataFrame
        The photographs as `snnlib.station.studies` has them, in the order of the table.
    acceptance : DataFrame or None
        What `~snnlib.station.studies.acceptance_test` says; None without a plan.
    detection : dict of str to `~snnlib.quality.detection.DetectionCurve` or str
        What `~snnlib.station.studies.detection_by_class` says; empty if no amount is known.
    agreement : `~snnlib.quality.agreement.AgreementStudy` or None
        What inspectors say, in two classes, ``good`` and ``not good``; None without ratings. The
        station is one of them, if every part rated has as many shots as there are trials.
    kappa : `.Estimate` or None
        Cohen's kappa of the station and the reference, on the first shot of each part rated; NaN
        where it is not defined. None without ratings, or if the station is one of the inspectors.
    doubts : tuple of str
        What about the parts judged deserves doubt; empty if nothing does.
    """

    station: Station | Judge
    judged: dict[str, Any]
    table: pd.DataFrame
    confusion: pd.DataFrame
    escapes: Estimate | None
    false_alarms: Estimate | None
    by_kind: pd.DataFrame
    by_lot: pd.DataFrame
    by_class: pd.DataFrame
    errors: dict[str, np.ndarray]
    limit_samples: np.ndarray
    proofs: pd.DataFrame
    shots: pd.DataFrame
    acceptance: pd.DataFrame | None
    detection: dict[str, DetectionCurve | str]
    agreement: AgreementStudy | None
    kappa: Estimate | None
    doubts: tuple[str, ...]

    @property
    def passes(self) -> bool:
        """Whether no defect escapes, or the acceptance test is passed, and nothing is doubted."""
        if self.doubts:
            return False
        tested = {} if self.acceptance is None else self.acceptance.result.to_dict()
        if any(result != PASSED for result in tested.values()):
            return False
        return "escapes" in tested or not len(self.errors["escape"])


def qualify(
    station: Station | Judge,
    parts: Parts,
    progress: bool = False,
    *,
    sheet: pd.DataFrame | None = None,
    ratings: pd.DataFrame | None = None,
    plan: Plan | None = None,
) -> Qualification:
    """Let a station judge labelled photographs, and count what it says.

    Parameters
    ----------
    station : `.Station` or `.Judge`
        One of photographs.
    parts : `~snnlib.station.parts.Parts`
        Each with its class; from lots that the station was not made from.
    progress : bool, default False
        Whether to show a progress bar.
    sheet : DataFrame, optional
        What is known of photographs, as `~snnlib.station.sheets.read_sheet` takes it: which part
        each shows, and how large its defect is.
    ratings : DataFrame, optional
        What inspectors said of parts, as `~snnlib.station.sheets.read_ratings` takes it.
    plan : Plan, optional
        What an acceptance test should prove, decided before.

    Returns
    -------
    Qualification

    Raises
    ------
    TypeError
        If the station judges no photographs, or sheet or ratings are no tables.
    ValueError
        If a photograph has no class; the sheet or the ratings are not as they should be; or shots
        of one part are both good and defective, or have different amounts of one defect.
    """
    nameless = np.flatnonzero(parts.names == "")
    if len(nameless):
        raise ValueError(
            f"{len(nameless)} of {len(parts)} photographs have no class, the first is "
            f"{parts.files[nameless[0]]}: put each into the folder of its class, such as "
            "parts/LOT/CLASS"
        )
    good, content = parts.names == station.good, marks(parts)
    known = read_sheet(sheet, parts, content, station.good)
    rated = None if ratings is None else read_ratings(ratings, parts, known.name, station.good)
    table = pd.DataFrame(station.judge(parts, progress))
    table.insert(1, "true", parts.names)
    table.insert(2, "lot", parts.lots)
    passes = (table.verdict == station.good).to_numpy()
    shots = known.drop(columns="name").assign(true=parts.names, good=good, wrong=passes != good)
    wrong = pd.DataFrame({"good": good, "wrong": passes != good}).join(table)
    detection = detection_by_class(shots)
    study, kappa = (None, None) if rated is None else agreement_with_station(rated, shots, content)
    doubts = [
        *_doubts(station, parts, table, good, content, plan),
        *_doubts_of_names(known.name),
        *doubts_of_detection(shots, detection),
        *([] if rated is None else doubts_of_agreement(rated, shots, kappa)),
        *(f"passed over: {what}" for what in parts.skipped),
    ]
    return Qualification(
        station=station,
        judged=provenance(parts),
        table=table,
        confusion=_confusion(table, station),
        escapes=_share(wrong[~good]),
        false_alarms=_share(wrong[good]),
        by_kind=_figures(wrong, "good"),
        by_lot=_figures(wrong, ["lot", "good"]),
        by_class=_figures(wrong, "true").loc[_good_first(table.true, station.good)],
        errors=_errors(table, station),
        limit_samples=_nearest_to(station.limit, table.score.to_numpy()),
        proofs=_proofs(wrong[~good]),
        shots=shots,
        acceptance=None if plan is None else acceptance_test(plan, shots),
        detection=detection,
        agreement=study,
        kappa=kappa,
        doubts=tuple(doubts),
    )


def _good_first(names, good):
    """The different ones among some names, in order but for that of good parts."""
    return sorted(set(names), key=lambda name: (name != good, name))


def _confusion(table, station):
    """Parts by class and verdict."""
    counts = pd.crosstab(table.true, table.verdict, rownames=["true"], colnames=["verdict"])
    known = set(table.true) & set(station.classes)
    special = [word for word in (UNKNOWN, INVALID) if word in counts]
    columns = _good_first({station.good, *known, *counts} - {*special}, station.good)
    rows = _good_first(table.true, station.good)
    return counts.reindex(index=rows, columns=columns + special, fill_value=0)


def _share(parts):
    """Share of wrong ones among some parts; None if there is no part."""
    if not len(parts):
        return None
    if parts.lot.nunique() > 1:
        return proportion_by_lot(parts.wrong, parts.lot)
    return proportion(parts.wrong.sum(), len(parts))


def _figures(table, by):
    """What there is to say of each group of parts."""
    groups = table.groupby(by)
    return pd.DataFrame([_row(group) for _, group in groups], index=groups.size().index)


def _row(group):
    share = _share(group)
    return {
        "parts": len(group),
        "lots": group.lot.nunique(),
        "errors": group.wrong.sum(),
        "share": share.value,
        "low": share.low,
        "high": share.high,
        "named": (group.verdict == group.true).sum(),
        "not_judged": (group.verdict == INVALID).sum(),
    }


def _errors(table, station):
    """Positions of parts by what went wrong."""
    good, passes = table.true == station.good, table.verdict == station.good
    invalid, named = table.verdict == INVALID, table.verdict == table.true
    stopped, known = ~passes & ~invalid, table.true.isin(station.classes)
    kinds = {
        "escape": ~good & passes,
        "false alarm": good & stopped,
        "wrong name": ~good & stopped & known & ~named,
        "not judged": invalid,
    }
    return {kind: np.flatnonzero(of_kind) for kind, of_kind in kinds.items()}


def _nearest_to(limit, scores):
    """Positions of the scores that lie nearest to a limit on either side, in their order."""
    order = np.argsort(scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    beyond = int(np.searchsorted(scores[order], limit, side="right"))
    return order[max(beyond - SIDE, 0) : beyond + SIDE]


def _proofs(defective):
    """How small the share of escapes is at least proved to be: of all defects, and of each kind."""
    rows = []
    for kind in ["", *sorted(set(defective.true))]:
        passed = defective.wrong[defective.true == kind] if kind else defective.wrong
        n, escapes = len(passed), int(passed.sum())
        bound = upper_bound(escapes, n) if n else 1.0
        rows.append({"kind": kind, "parts": n, "escapes": escapes, "bound": bound})
    return pd.DataFrame(rows)


def _doubts(
    station: Station | Judge,
    parts: Parts,
    table: pd.DataFrame,
    good: np.ndarray,
    content: np.ndarray,
    plan: Plan | None,
) -> Iterator[str]:
    """What about the parts deserves doubt, the most harmful first."""
    known = int(np.isin(content, station.made_from).sum())
    if known:
        yield (
            f"the station was made from {known} of the {len(parts)} parts judged: the figures look "
            "better than they are; judge parts that it has not seen"
        )
    copies = len(content) - len(np.unique(content))
    if copies:
        yield f"copies of other photographs judged: {copies}; each counts as a part of its own"
    # Whether parts are enough, a plan tells better.
    proved = [PROVED if share is None else None for share in _planned(plan)]
    yield from _doubts_of_kind("defective", "escape", parts.lots[~good], proved[0])
    kind = f"good ({station.good!r})"
    yield from _doubts_of_kind(kind, "false alarm", parts.lots[good], proved[1])
    nowhere = int((parts.lots == "").sum())
    if 0 < nowhere < len(parts):
        yield f"parts without a lot: {nowhere}; they are taken for one of their own"
    kinds = table.true[~good].value_counts().sort_index()
    strange = [name for name in kinds.index if name not in station.classes]
    if strange:
        yield (
            f"the station does not know {_some(strange)}: they count as defects, and any verdict "
            f"but {station.good!r} stops them"
        )
    few = [f"{name} ({count})" for name, count in kinds.items() if count < FEW]
    if few:
        yield f"fewer than {FEW} parts of a kind tell little of it: {_some(few)}"
    invalid = int((table.verdict == INVALID).sum())
    if invalid:
        yield (
            f"{invalid} of {len(parts)} parts were not judged ({INVALID}): they are stopped, which "
            "is a false alarm for a good part and no escape for a defective one"
        )


def _doubts_of_names(names):
    """Whether a sheet names the parts of some photographs, and leaves others out."""
    nameless = int((names == "").sum())
    if 0 < nameless < len(names):
        yield (
            f"the sheet names no part for {nameless} of {len(names)} photographs: each counts as a "
            "part of its own"
        )


def _planned(plan):
    """Most escapes and most false alarms of a plan, None where there is none."""
    return (None, None) if plan is None else (plan.most_escapes, plan.most_false_alarms)


def _doubts_of_kind(kind, error, lots, proved):
    """What there is too little of: parts, or lots."""
    if not len(lots):
        yield f"no part is {kind}: nothing is known of {error}s"
        return
    if len(set(lots)) == 1:
        which = f"one lot ({lots[0]})" if lots[0] else "lots without a name, and taken for one"
        yield (
            f"all {len(lots)} parts that are {kind} are of {which}: the interval of {error}s says "
            "nothing about other lots"
        )
    needed = 0 if proved is None else parts_to_test(proved)
    if len(lots) < needed:
        yield (
            f"{len(lots)} parts that are {kind} are few: it takes {needed} without one {error} to "
            f"prove less than {100 * proved:.0f} %"
        )


def _some(words):
    """The first few words, and how many more there are."""
    more = len(words) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more} more" if more > 0 else "")
