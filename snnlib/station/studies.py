"""What an audit asks of the photographs that a station judged, beyond how many are judged wrong.

Is an acceptance test passed that was planned before? How large must a defect be to be found? Do
station and inspectors agree? The figures are those of ``snnlib.quality``; here it is decided what
they count. All parts are a table of *shots*, with a row for each photograph:

==========  =====================================================================================
``part``    A number: shots of one part, and copies, have the same.
``true``    The class of the part.
``good``    Whether that is the class of good parts.
``wrong``   Whether a defective part passes, or a good one does not.
``amount``  How large the defect is, NaN where it is not known.
==========  =====================================================================================
"""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import index

import numpy as np
import pandas as pd

from snnlib.evaluation import Estimate
from snnlib.quality.acceptance import parts_to_test, upper_bound
from snnlib.quality.agreement import AgreementStudy, agreement, cohen_kappa
from snnlib.quality.detection import DetectionCurve, detection_curve
from snnlib.station.sheets import STATION, Ratings

__all__ = [
    "FAILED",
    "PASSED",
    "TOO_FEW",
    "Plan",
    "acceptance_test",
    "agreement_with_station",
    "detection_by_class",
    "doubts_of_agreement",
    "doubts_of_detection",
]

#: Results of an acceptance test.
PASSED, FAILED, TOO_FEW = "passed", "failed", "too few parts"

# Of the study that AIAG (2010, chapter III, section C) takes for its example.
RATED, TRIALS = 50, 3
NAMES = np.array(["not good", "good"])


@dataclass(frozen=True)
class Plan:
    """What an acceptance test should prove at 95 % confidence; decided before the test.

    Attributes
    ----------
    most_escapes : float or None
        Share of all defective parts, of which a pass proves that fewer escape; None if escapes are
        not tested.
    most_false_alarms : float or None
        The same of good parts that are stopped.
    allowed : int, default 0
        Number of tested parts that may be wrong, of either kind.

    Raises
    ------
    TypeError
        If `allowed` is no whole number.
    ValueError
        If neither share is given, one does not lie between 0 and 1, or `allowed` is negative.
    """

    most_escapes: float | None = None
    most_false_alarms: float | None = None
    allowed: int = 0

    def __post_init__(self) -> None:
        shares = {"escapes": self.most_escapes, "false alarms": self.most_false_alarms}
        given = {name: share for name, share in shares.items() if share is not None}
        if not given:
            raise ValueError(
                "an acceptance test needs the most escapes, or the most false alarms, that it "
                "should prove, such as 0.05"
            )
        for name, share in given.items():
            if not 0 < share < 1:
                raise ValueError(
                    f"the most {name} must be a share between 0 and 1, such as 0.05, got {share}"
                )
        if index(self.allowed) < 0:
            raise ValueError(f"allowed must be a number of parts, got {self.allowed}")


def acceptance_test(plan: Plan, shots: pd.DataFrame) -> pd.DataFrame:
    """Tell whether parts pass a test that was planned before.

    A part is counted once, and is wrong if one of its shots is. The test is failed if more parts
    are wrong than the plan allows, however many were judged: who tests on until the bound is low
    enough proves nothing.

    Parameters
    ----------
    plan : Plan
        What it should prove.
    shots : DataFrame
        Columns ``part``, ``good`` and ``wrong``.

    Returns
    -------
    DataFrame
        A row each for ``escapes`` and ``false alarms``, where planned: ``most``, the share that is
        to be proved, how many wrong parts are ``allowed`` and how many parts are ``needed``; how
        many ``parts`` there are and ``failures`` among them; the ``bound`` of their share at 95 %
        confidence; and the ``result``: `PASSED`, `FAILED` or `TOO_FEW`.
    """
    rows = {}
    for error, most, good in (
        ("escapes", plan.most_escapes, False),
        ("false alarms", plan.most_false_alarms, True),
    ):
        if most is not None:
            failed = shots.wrong[shots.good == good].groupby(shots.part).any()
            rows[error] = _tested(most, plan.allowed, len(failed), int(failed.sum()))
    return pd.DataFrame(list(rows.values()), pd.Index(rows, name="error"))


def _tested(most, allowed, parts, failures):
    needed = parts_to_test(most, allowed=allowed)
    result = FAILED if failures > allowed else TOO_FEW if parts < needed else PASSED
    return {
        "most": most,
        "allowed": allowed,
        "needed": needed,
        "parts": parts,
        "failures": failures,
        "bound": upper_bound(failures, parts) if parts else 1.0,
        "result": result,
    }


def detection_by_class(shots: pd.DataFrame) -> dict[str, DetectionCurve | str]:
    """Fit the chance that a defect is found, by its amount, for each class of defects.

    A part is a hit if none of its shots passes. Parts whose amount is not known are left out.

    Parameters
    ----------
    shots : DataFrame
        Columns ``part``, ``true``, ``good``, ``wrong`` and ``amount``.

    Returns
    -------
    dict of str to `~snnlib.quality.detection.DetectionCurve` or str
        For each class of which an amount is known, in order of names: the curve, or why there is
        none.
    """
    found: dict[str, DetectionCurve | str] = {}
    for name, parts in _defects(shots).groupby("true"):
        known = parts[parts.amount.notna()]
        if not len(known):
            continue
        try:
            found[str(name)] = detection_curve(known.amount.to_numpy(), ~known.wrong.to_numpy())
        except ValueError as error:
            found[str(name)] = str(error)
    return found


def doubts_of_detection(
    shots: pd.DataFrame, found: dict[str, DetectionCurve | str]
) -> Iterator[str]:
    """Tell what about curves of detection deserves doubt.

    Parameters
    ----------
    shots : DataFrame
        Columns ``part``, ``true``, ``good``, ``wrong`` and ``amount``.
    found : dict
        What `detection_by_class` found in them.

    Yields
    ------
    str
        A doubt.
    """
    parts = _defects(shots)
    for name, curve in found.items():
        of_class = parts[parts.true == name]
        unknown = int(of_class.amount.isna().sum())
        if unknown:
            yield (
                f"the amount of {unknown} of {len(of_class)} parts of {name} is not known: they "
                "are left out of its probability of detection"
            )
        if isinstance(curve, str):
            yield f"there is no probability of detection of {name}: {curve}"
        elif not np.isfinite(curve.a90_95):
            yield (
                f"whether {name} is found the more often the larger it is, {len(curve.amounts)} "
                "parts leave open: its a90/95 is infinite"
            )


def _defects(shots):
    """Defective parts by class: their amount, and whether a shot of theirs passes."""
    by_part = shots[~shots.good].groupby(["true", "part"])
    return by_part.agg(amount=("amount", "first"), wrong=("wrong", "any")).reset_index()


def agreement_with_station(
    ratings: Ratings, shots: pd.DataFrame, content: np.ndarray
) -> tuple[AgreementStudy, Estimate | None]:
    """Compare inspectors and station, who call parts good or not, with what the parts are.

    A station says the same of a file each time, so that its trials must be different shots. If
    every part rated has as many as there are trials, the station is one of the inspectors, under
    the name `~snnlib.station.sheets.STATION`. If not, it is compared with what the parts are alone.

    Parameters
    ----------
    ratings : `~snnlib.station.sheets.Ratings`
        What the inspectors say.
    shots : DataFrame
        Columns ``good`` and ``wrong``.
    content : ndarray, shape (n,)
        What tells the photographs apart: copies have the same.

    Returns
    -------
    study : `~snnlib.quality.agreement.AgreementStudy`
        Classes are ``good`` and ``not good``.
    kappa : `~snnlib.evaluation.Estimate` or None
        Cohen's kappa of the station and the reference, on the first shot of each part; NaN where it
        is not defined. None if the station is one of the inspectors.
    """
    passes = (shots.good != shots.wrong).to_numpy()
    first = [of_part[0] for of_part in ratings.shots]
    reference, said = _named(shots.good.to_numpy()[first]), ratings.passes
    inspectors, own = [*ratings.inspectors], _own_trials(ratings, content)
    if own is not None:
        said = np.concatenate([said, passes[own][:, None]], axis=1)
        inspectors.append(STATION)
    study = agreement(_named(said), reference, inspectors, good="good")
    return study, None if own is not None else _kappa(_named(passes[first]), reference)


def _own_trials(ratings, content):
    """Positions of shots, for each part as many as trials; None if a part has fewer."""
    trials, own = ratings.passes.shape[2], []
    for of_part in ratings.shots:
        _, different = np.unique(content[of_part], return_index=True)
        own.append(of_part[np.sort(different)][:trials])
    return None if min(map(len, own)) < trials else np.array(own)


def _named(passes):
    return NAMES[np.asarray(passes, dtype=int)]


def _kappa(said, reference):
    try:
        return cohen_kappa(said, reference)
    except ValueError:  # both say one and the same of all parts
        return Estimate(np.nan, np.nan, np.nan)


def doubts_of_agreement(
    ratings: Ratings, shots: pd.DataFrame, kappa: Estimate | None
) -> Iterator[str]:
    """Tell what about a study of agreement deserves doubt.

    Parameters
    ----------
    ratings : `~snnlib.station.sheets.Ratings`
        What the inspectors say.
    shots : DataFrame
        Column ``good``.
    kappa : `~snnlib.evaluation.Estimate` or None
        That of the station, as `agreement_with_station` found it.

    Yields
    ------
    str
        A doubt.
    """
    parts, _, trials = ratings.passes.shape
    if parts < RATED or trials < TRIALS:
        yield (
            f"{parts} parts in {trials} trials are few to tell how well inspectors agree: the "
            f"example of AIAG (2010) has {RATED} in {TRIALS}"
        )
    good = shots.good.to_numpy()[[of_part[0] for of_part in ratings.shots]]
    if good.all() or not good.any():
        which, what = ("good", "misses") if good.all() else ("defective", "false alarms")
        yield f"all {parts} parts rated are {which}: nothing is known of {what} of inspectors"
    if kappa is not None:
        yield (
            f"whether the station says the same of a part again was not tested: that takes "
            f"{trials} shots of each part rated, and a sheet whose column part names it"
        )
