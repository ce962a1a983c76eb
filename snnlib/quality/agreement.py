"""Do inspectors, or a station, sort the same parts alike? Attribute agreement analysis.

It asks three things where several sort the same parts several times: does each say the same again,
do all say the same, and are they right? The method is that of the automotive industry: AIAG (2010),
Measurement Systems Analysis, 4th edition, chapter III, section C.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from snnlib.evaluation import Estimate, proportion
from snnlib.quality.lots import proportion_by_lot

__all__ = [
    "GOOD_KAPPA",
    "POOR_KAPPA",
    "AgreementStudy",
    "agreement",
    "cohen_kappa",
    "fleiss_kappa",
]

#: A kappa above it is good to excellent, by a rule of thumb of AIAG (2010, chapter III, section C).
GOOD_KAPPA = 0.75
#: A kappa below it is poor, by the same rule of thumb.
POOR_KAPPA = 0.40

NOTHING = Estimate(np.nan, np.nan, np.nan)


def cohen_kappa(first: ArrayLike, second: ArrayLike) -> Estimate:
    """Agreement of two raters beyond chance: Cohen's kappa.

    κ = (pₒ - pₑ) / (1 - pₑ), where pₒ is the share of parts on which they agree, and pₑ = Σ pᵢ qᵢ
    that on which two would who say each name i as often, of shares pᵢ and qᵢ of parts, but look at
    none: Cohen (1960). The interval is κ ± 1.96 σ, cut at -1 and 1, with the standard error of
    Fleiss, Cohen and Everitt (1969) that holds for any κ, not that for κ = 0. It is meant for many
    parts, and has no width where the two agree on all parts, or one says the same of each.

    Parameters
    ----------
    first, second : array_like, shape (n,), str or int
        What each of them says of each part, as names or labels. A name that only one of them says
        is one that the other never says.

    Returns
    -------
    Estimate
        1 if they agree on all parts, 0 if on as many as by chance, and less if on fewer.

    Raises
    ------
    ValueError
        If shapes do not match, there are fewer than two parts, a value is missing, names are mixed
        with numbers, or both say one and the same of all parts: chance alone would have them agree
        as well, and there is no kappa.
    """
    one, other = _names("first", first, "n"), _names("second", second, "n")
    if len(one) != len(other):
        raise ValueError(f"expected two names a part, got {len(one)} and {len(other)}")
    (one, other), names = _coded(one, other)
    n, k = len(one), len(names)
    if k == 1:
        raise ValueError(f"there is no kappa: both say {names[0]!r} of all parts")
    p, q = np.bincount(one, minlength=k) / n, np.bincount(other, minlength=k) / n
    same, chance = one == other, p @ q
    kappa = (same.mean() - chance) / (1 - chance)
    # What each part adds: its mean square about the mean is the three sums of the paper.
    added = same - (1 - kappa) * (q[one] + p[other])
    error = added.std() / (1 - chance) / np.sqrt(n)
    return _around(kappa, stats.norm.ppf(0.975) * error)


def fleiss_kappa(ratings: ArrayLike) -> Estimate:
    """Agreement of several raters beyond chance: Fleiss' kappa.

    κ = (pₒ - pₑ) / (1 - pₑ), where pₒ is the share of pairs of ratings of a part that agree, and
    pₑ = Σ pᵢ² that of pairs of any two ratings, with pᵢ for the share of name i: Fleiss (1971). Who
    said what does not matter, and each part may have had raters of its own. The interval is
    κ ± t σ, cut at -1 and 1, with the standard error of Gwet (2021), which holds for any κ, where
    that of Fleiss, Nee and Landis (1979) holds for κ = 0 alone; t is the 97.5 % quantile of
    Student's distribution with n - 1 degrees of freedom. It has no width where all agree on all
    parts.

    Parameters
    ----------
    ratings : array_like, shape (n, r), str or int
        What r raters say of each of n parts, as names or labels.

    Returns
    -------
    Estimate
        1 if they agree on all parts, 0 if as often as by chance, and at least -1 / (r - 1).

    Raises
    ------
    ValueError
        If there are fewer than two parts or raters, a value is missing, names are mixed with
        numbers, or all say one and the same of all parts: there is no kappa.
    """
    table = _names("ratings", ratings, "n", "r")
    if table.shape[1] < 2:
        raise ValueError("expected two raters or more, got 1 rating a part")
    (codes,), names = _coded(table)
    if len(names) == 1:
        raise ValueError(f"there is no kappa: all say {names[0]!r} of all parts")
    return _fleiss(codes, len(names))


@dataclass(frozen=True)
class AgreementStudy:
    """How well inspectors agree: each over the trials, with one another, and with a reference.

    The tables have a row an inspector. Each figure stands in a column of its name, and the ends of
    its 95 % interval in two more, such as ``kappa``, ``kappa_low`` and ``kappa_high``.

    Attributes
    ----------
    within : DataFrame
        Each inspector alone: ``share`` of parts that are called the same in all trials, and Fleiss'
        ``kappa`` of the trials.
    share : `~snnlib.evaluation.Estimate`
        Share of parts that all inspectors call the same in all trials.
    kappa : `~snnlib.evaluation.Estimate`
        Fleiss' kappa of all ratings.
    against : DataFrame or None
        Each inspector and the reference, if there is one: ``share`` of parts that are right in all
        trials, and Cohen's ``kappa`` of all ratings and the reference. If the good class is named,
        ``misses``, the share of ratings of defective parts that call them good, and
        ``false_alarms``, the share of ratings of good parts that do not.
    """

    within: pd.DataFrame = field(repr=False)
    share: Estimate
    kappa: Estimate
    against: pd.DataFrame | None = field(repr=False)


def agreement(
    ratings: ArrayLike,
    reference: ArrayLike | None = None,
    inspectors: Sequence[str] | None = None,
    *,
    good: str | int | None = None,
) -> AgreementStudy:
    """Attribute agreement analysis of inspectors who sort the same parts several times.

    AIAG (2010, chapter III, section C). Shares of parts have Wilson's interval. The trials of a
    part are no parts of their own, so intervals of what counts each rating are over parts: for
    Fleiss' kappa as in `fleiss_kappa`; for Cohen's kappa by leaving out one part at a time, the
    jackknife of Tukey (1958), with the 97.5 % quantile of Student's distribution with n - 1 degrees
    of freedom; for misses and false alarms as in `~snnlib.quality.lots.proportion_by_lot`, where
    each part is a lot.

    A figure is NaN where it is not defined: a kappa where all ratings that it is of are one and the
    same, misses where no part is defective, false alarms where none is good. The ends of an
    interval are NaN where leaving out one part leaves no kappa, or one part alone is defective, or
    good.

    Parameters
    ----------
    ratings : array_like, shape (n, m, t), str or int
        What each of m inspectors says of each of n parts in each of t trials, as names or labels. A
        station may be one of the inspectors.
    reference : array_like, shape (n,), str or int, optional
        What each part is, in the same names. A name that only ratings or only the reference knows
        is a class of its own.
    inspectors : sequence of str, optional
        Their names. If None, they are numbered from 1 on.
    good : str or int, optional
        The class of good parts, as it is written in `ratings` and `reference`. If None, misses and
        false alarms are not told apart.

    Returns
    -------
    AgreementStudy

    Raises
    ------
    TypeError
        If `good` comes without a reference.
    ValueError
        If shapes do not match; there are fewer than two parts, inspectors or trials; a value is
        missing; names are mixed with numbers; two inspectors bear the same name; or nothing bears
        that of the good class.
    """
    if reference is None and good is not None:
        raise TypeError("expected a reference with the good class, or neither")
    table = _names("ratings", ratings, "n", "m", "t")
    n, m, t = table.shape
    for what, count in {"inspectors": m, "trials": t}.items():
        if count < 2:
            raise ValueError(f"expected two {what} or more, got {count}")
    rows = list(range(1, m + 1) if inspectors is None else inspectors)
    if len(rows) != m or len(set(rows)) != m:
        raise ValueError(f"expected {m} different names of inspectors, got {rows}")
    index = pd.Index(rows, name="inspector")
    arrays = [table] if reference is None else [table, _names("reference", reference, "n")]
    if len(arrays[-1]) != n:
        raise ValueError(f"expected a reference for each of {n} parts, got {len(arrays[-1])}")
    (codes, *truth), names = _coded(*arrays)
    k, together = len(names), codes.reshape(n, m * t)
    well = None if good is None else _index_of(good, names)
    each = [codes[:, inspector] for inspector in range(m)]
    within = [_columns(share=_unanimous(own, own[:, 0]), kappa=_fleiss(own, k)) for own in each]
    against = [_against(own, is_, k, well) for is_ in truth for own in each]
    return AgreementStudy(
        within=pd.DataFrame(within, index),
        share=_unanimous(together, together[:, 0]),
        kappa=_fleiss(together, k),
        against=pd.DataFrame(against, index) if truth else None,
    )


def _names(what, values, *axes):
    """Names or labels as they are: an array of both would turn one kind into the other."""
    names = np.asarray(values, dtype=object)
    if names.ndim != len(axes):
        # A list of lists of different lengths has fewer axes, too.
        expected = f"({axes[0]},)" if len(axes) == 1 else f"({', '.join(axes)})"
        raise ValueError(f"expected {what} of shape {expected}, got {names.shape}")
    if len(names) < 2:
        raise ValueError(f"expected {what} of two parts or more, got {len(names)}")
    missing = np.argwhere(pd.isna(names))
    if len(missing):
        raise ValueError(f"{what} must not be missing, got none at {missing[0].tolist()}")
    return names


def _coded(*arrays):
    """Arrays of names as numbers from 0 on, and the names that these stand for."""
    codes, names = pd.factorize(np.concatenate([array.ravel() for array in arrays]))
    if len({isinstance(name, str) for name in names}) > 1:
        # "1" and 1 never agree, which would look like a bad inspector.
        raise ValueError(f"expected names or numbers, got both: {sorted(names, key=str)}")
    ends = np.cumsum([array.size for array in arrays])[:-1]
    parts = zip(np.split(codes, ends), arrays)
    return [part.reshape(array.shape) for part, array in parts], names


def _index_of(good, names):
    known = names.tolist()
    if good not in known:
        raise ValueError(
            f"the good class {good!r} is neither in the ratings nor in the reference, which know "
            f"{sorted(known, key=str)}"
        )
    return known.index(good)


def _counts(codes, k):
    """How often each part is given each of k names, of an array of parts by ratings."""
    n = len(codes)
    cells = np.arange(n)[:, None] * k + codes
    return np.bincount(cells.ravel(), minlength=n * k).reshape(n, k)


def _around(value, reach):
    low, high = np.clip([value - reach, value + reach], -1, 1)
    return Estimate(float(value), float(low), float(high))


def _fleiss(codes, k):
    (n, r), said = codes.shape, _counts(codes, k)
    totals = said.sum(axis=0)
    # Whole numbers up to the last step, so that where all is one name, chance is 1 and not nearly.
    chance = (totals**2).sum() / (n * r) ** 2
    if chance == 1:
        return NOTHING
    pairs = (said * (said - 1)).sum(axis=1)
    kappa = (pairs.sum() / (n * r * (r - 1)) - chance) / (1 - chance)
    # Gwet's linear form: what each part adds to the agreement, and to the agreement by chance.
    added = pairs / (r * (r - 1)) - 2 * (1 - kappa) * (said @ totals / (n * r**2))
    error = added.std(ddof=1) / (1 - chance) / np.sqrt(n)
    return _around(kappa, stats.t.ppf(0.975, n - 1) * error)


def _jackknifed(codes, truth, k):
    """Cohen's kappa of all ratings of parts and their reference; each part is left out in turn."""
    n, t = codes.shape
    kept = np.array([n] + [n - 1] * n)

    def sums(of_parts):
        """Over all parts, and over all but each."""
        total = of_parts.sum(axis=0)
        return np.concatenate([[total], total - of_parts])

    same = sums((codes == truth[:, None]).sum(axis=1)) / (kept * t)
    chance = (sums(_counts(codes, k)) * sums(_counts(truth[:, None], k))).sum(axis=1)
    chance = chance / (kept**2 * t)
    with np.errstate(invalid="ignore"):  # 0 / 0 where all is one name
        kappa, *others = (same - chance) / (1 - chance)
    error = np.sqrt(n - 1) * np.std(others)
    return _around(kappa, stats.t.ppf(0.975, n - 1) * error)


def _unanimous(codes, wanted):
    """Share of parts of which all ratings are what is wanted."""
    hits = (codes == wanted[:, None]).all(axis=1)
    return proportion(hits.sum(), len(hits))


def _against(codes, truth, k, well):
    """A row: the ratings of an inspector and the reference; `well` is the good class, if told."""
    figures = {"share": _unanimous(codes, truth), "kappa": _jackknifed(codes, truth, k)}
    if well is not None:
        passed, defective = codes == well, truth != well
        figures["misses"] = _of_ratings(passed[defective])
        figures["false_alarms"] = _of_ratings(~passed[~defective])
    return _columns(**figures)


def _of_ratings(hits):
    """Share of hits among ratings, of an array of parts by trials."""
    n, t = hits.shape
    if n == 0:
        return NOTHING
    if n == 1:
        return Estimate(float(hits.mean()), np.nan, np.nan)
    return proportion_by_lot(hits.ravel(), np.repeat(np.arange(n), t))


def _columns(**figures):
    """A row's columns: each figure, and the ends of its interval."""
    return {
        name + end: number
        for name, figure in figures.items()
        for end, number in {"": figure.value, "_low": figure.low, "_high": figure.high}.items()
    }
