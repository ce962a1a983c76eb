"""Which parts are learned from, and which are kept aside to set the limit."""

import numpy as np

from snnlib.station.parts import Parts

__all__ = ["keep_aside"]

LAST = 5  # one in so many good parts, the last ones, where there is one lot only


def keep_aside(parts: Parts, good: str, lot: str | None = None) -> tuple[Parts, Parts, str]:
    """Keep a lot aside, or what comes nearest to one.

    Defective parts of that lot are kept aside with the good ones, but for kinds of defects that are
    in no other lot: nothing else could be learned about them. Parts without a class take no part.

    Parameters
    ----------
    parts : `~snnlib.station.parts.Parts`
        All there are.
    good : str
        Name of the class of good parts.
    lot : str, optional
        The lot to keep aside; the last one with good parts, in the order of names, if None.

    Returns
    -------
    train, aside : `~snnlib.station.parts.Parts`
        What is learned from, and what is not.
    words : str
        What was kept aside.

    Raises
    ------
    ValueError
        If there are too few good parts, or the lot has none or is the only one.
    """
    parts = parts.take(parts.names != "") if (parts.names != "").any() else parts
    is_good = parts.names == good
    if is_good.sum() < LAST:
        names = sorted(set(parts.names.tolist()) - {""})
        raise ValueError(
            f"at least {LAST} photographs of good parts are needed, got {is_good.sum()} of the "
            f"class {good!r}; classes are {names or 'not given: put photographs into folders'}"
        )
    lots = np.unique(parts.lots[is_good])
    if lot is not None and (lot not in lots or len(lots) < 2):
        raise ValueError(
            f"lot {lot!r} can't be kept aside: good parts are in the lots {lots.tolist()}"
        )
    if len(lots) < 2:
        last = np.flatnonzero(is_good)[-(is_good.sum() // LAST) :]
        aside = np.isin(np.arange(len(parts)), last)
        return parts.take(~aside), parts.take(aside), f"the last {len(last)} good parts"
    kept = lots[-1] if lot is None else lot
    there = parts.lots == kept
    elsewhere = np.isin(parts.names, parts.names[~there])
    aside = there & elsewhere
    count = (aside & is_good).sum()
    return parts.take(~aside), parts.take(aside), f"{count} good parts of lot {str(kept)!r}"
