"""What deserves doubt, said in words: about the parts, the limit, and the anchors."""

from collections.abc import Sequence

import numpy as np

from snnlib.station.anchors import Anchors
from snnlib.station.parts import Parts
from snnlib.station.preparation import looks_like_bits
from snnlib.station.rule import Rule

__all__ = [
    "check_bits",
    "doubts_of_anchor",
    "doubts_of_defects",
    "doubts_of_invalid",
    "doubts_of_limit",
    "doubts_of_parts",
    "doubts_of_proportions",
]

FEW = 5  # parts of a class, below which its anchor is doubtful
FAR = 10.0  # upper quartile distances from the median at which a calibration part is suspicious
ASPECT = 1.02  # ratio of proportions from which on photographs are distorted differently
SHOWN = 5  # parts that a doubt names


def _some(words):
    """The first few words, and how many more there are."""
    more = len(words) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _beyond_half_way(reach, gap, usual):
    """Whether a part half-way to another class may pass.

    Parts lie around the middle of what they are, which adds to each distance.
    """
    return reach**2 > (gap / 2) ** 2 + usual**2


def doubts_of_parts(parts: Parts, train: Parts, good: str) -> list[str]:
    """Question the parts that a station is made from.

    Parameters
    ----------
    parts : `~snnlib.station.parts.Parts`
        All that were given.
    train : `~snnlib.station.parts.Parts`
        Those that are learned from.
    good : str
        Name of the class of good parts.

    Returns
    -------
    list of str
    """
    doubts = [f"passed over: {what}" for what in parts.skipped]
    nameless = (parts.names == "").sum()
    if nameless:
        doubts.append(f"{nameless} of {len(parts)} photographs have no class and take no part")
    if len(np.unique(parts.lots[parts.names == good])) == 1:
        doubts.append(
            "there are good parts of one lot only: what the next lot will be like is not in the "
            "limit, which comes from the last fifth of them"
        )
    names, counts = np.unique(train.names, return_counts=True)
    few = [f"{name} ({count})" for name, count in zip(names, counts) if count < FEW]
    if few:
        doubts.append(f"fewer than {FEW} photographs for an anchor: {_some(few)}")
    return doubts


def doubts_of_proportions(sizes: Sequence[tuple[int, int]]) -> list[str]:
    """Question photographs that are brought to one size.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Width and height of each.

    Returns
    -------
    list of str
    """
    if not sizes:
        return []
    shapes = np.array(sorted(set(sizes)))
    proportions = shapes[:, 0] / shapes[:, 1]
    if proportions.max() <= ASPECT * proportions.min():
        return []
    narrow, wide = (shapes[k].tolist() for k in (proportions.argmin(), proportions.argmax()))
    return [
        f"photographs differ in their proportions, from {narrow[0]} × {narrow[1]} to {wide[0]} × "
        f"{wide[1]} pixels: at one size they are distorted differently; crop them alike"
    ]


def check_bits(largest: Sequence[int | None], bits: int | None) -> None:
    """Refuse files of 16 bits that hold fewer, which would be taken for dark photographs.

    Parameters
    ----------
    largest : sequence of int or None
        Largest value of each file whose depth nothing tells.
    bits : int or None
        What was said about them.

    Raises
    ------
    ValueError
        If fewer bits would hold them all.
    """
    values = [value for value in largest if value is not None]
    likely = looks_like_bits(values) if values and bits is None else None
    if likely is not None:
        raise ValueError(
            f"{len(values)} files of 16 bits hold values up to {max(values)}, which looks like "
            f"{likely} bits: say bits={likely}, or bits=16 if they are just dark"
        )


def doubts_of_limit(
    rule: Rule,
    scores: np.ndarray,
    nearest: np.ndarray,
    anchors: Anchors,
    good: str,
    labels: list[str],
) -> list[str]:
    """Question the good calibration parts and the limit that they set.

    Parameters
    ----------
    rule : Rule
        What they set.
    scores : ndarray, shape (n,), floating point
        Their scores.
    nearest : ndarray, shape (n,), str
        Class of the nearest anchor of each.
    anchors : Anchors
        All anchors.
    good : str
        Name of the class of good parts.
    labels : list of str
        What each part is called.

    Returns
    -------
    list of str
    """
    doubts = []
    astray = np.flatnonzero(nearest != good)
    if len(astray):
        which = _some([f"{labels[k]} ({nearest[k]})" for k in astray])
        doubts.append(
            f"{len(astray)} of {len(scores)} calibration parts called {good!r} are nearest to "
            f"another class: {which}; are they good?"
        )
    median, upper = np.quantile(scores, [0.5, 0.75])
    far = np.flatnonzero(scores > median + FAR * (upper - median))
    if len(far):
        which = _some([f"{labels[k]} ({scores[k]:.3g})" for k in far])
        stretched = scores[far].min() <= rule.limit
        doubts.append(
            f"{len(far)} of {len(scores)} calibration parts called {good!r} lie far beyond the "
            f"others, half of which score up to {median:.3g}: {which}; "
            f"{'they stretch the limit to' if stretched else 'all are beyond the limit of'} "
            f"{rule.limit:.3g}"
        )
    others = anchors.points[anchors.names != good]
    if len(others):
        gap = anchors.distances(others)[:, anchors.classes.index(good)].min()
        if _beyond_half_way(rule.reach, gap, usual=median * rule.distance_scale):
            doubts.append(
                f"the limit reaches {rule.reach:.3g} from the good anchor, more than half of the "
                f"way to the nearest other class ({gap:.3g}): faint defects of it may pass"
            )
    allowed = round(rule.false_alarms * len(scores), 9)  # as `quantile_limit` counts
    if rule.method == "quantile" and allowed < 1:
        needed = f", which takes {np.ceil(1 / rule.false_alarms):.0f}" if rule.false_alarms else ""
        doubts.append(
            f"{len(scores)} good calibration parts are too few to tell a share of "
            f"{rule.false_alarms:.2%}{needed}; the limit is the largest of their scores"
        )
    return doubts


def doubts_of_invalid(names: np.ndarray, faults: Sequence[str]) -> list[str]:
    """Question checks that would turn down photographs of known defects.

    Parameters
    ----------
    names : ndarray, shape (n,), str
        Class of each photograph that was learned from.
    faults : sequence of str
        What the checks say about it; empty if nothing.

    Returns
    -------
    list of str
    """
    turned_down = np.array([bool(fault) for fault in faults])
    doubts = []
    for name in np.unique(names[turned_down]).tolist():
        of_class = names == name
        first = next(f for f, there in zip(faults, of_class) if there and f)
        doubts.append(
            f"{turned_down[of_class].sum()} of {of_class.sum()} photographs of {name!r} would be "
            f"INVALID ({first}): light and focus must not differ between classes"
        )
    return doubts


def doubts_of_defects(names: np.ndarray, passed: np.ndarray, files: list[str]) -> list[str]:
    """Question a station that passes defective parts of the lot that was kept aside.

    Parameters
    ----------
    names : ndarray, shape (n,), str
        Class of each defective part.
    passed : ndarray, shape (n,), bool
        Whether it passes.
    files : list of str
        What each is called.

    Returns
    -------
    list of str
    """
    if not passed.any():
        return []
    which = _some([f"{files[k]} ({names[k]})" for k in np.flatnonzero(passed)])
    return [f"{passed.sum()} of {len(names)} defective parts that were kept aside pass: {which}"]


def doubts_of_anchor(
    name: str, anchors: Anchors, good: str, reach: float, witnesses: np.ndarray
) -> list[str]:
    """Question the anchor of a new defect.

    Parameters
    ----------
    name : str
        The new class.
    anchors : Anchors
        All anchors, with the new one.
    good : str
        Name of the class of good parts.
    reach : float
        Largest distance to a good anchor that passes.
    witnesses : ndarray, shape (m, d)
        Where good calibration parts lie.

    Returns
    -------
    list of str
    """
    doubts, of_good = [], anchors.classes.index(good)
    gap = anchors.distances(anchors.points[anchors.names == name])[:, of_good].min()
    usual = np.median(anchors.distances(witnesses)[:, of_good]) if len(witnesses) else 0.0
    if _beyond_half_way(reach, gap, usual):
        doubts.append(
            f"the anchor of {name!r} lies {gap:.3g} from the good one, and the limit reaches "
            f"{reach:.3g}: parts on the near side of it may pass"
        )
    if len(witnesses):
        lost = (anchors.nearest(witnesses) == name).sum()
        if lost:
            doubts.append(
                f"{lost} of {len(witnesses)} good calibration parts are nearer to the anchor of "
                f"{name!r} than to their own: they would be stopped"
            )
    return doubts
