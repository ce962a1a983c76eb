"""Figures in sentences: written as a reader would, and handed from a cell to the text."""

from snnlib.extras import extra

__all__ = ["glue_text", "percent"]


def percent(share: float, digits: int = 1) -> str:
    """Write a share as a reader would.

    Parameters
    ----------
    share : float
        Part of one.
    digits : int, default 1
        Digits after the point.

    Returns
    -------
    str
        Such as ``97.3 %``.
    """
    return f"{100 * share:.{digits}f} %"


def glue_text(key: str, value: object) -> None:
    """Hand a value to the text of the page, which quotes it by its key.

    Parameters
    ----------
    key : str
        Name on the page.
    value : object
        What is quoted, as `str` writes it.
    """
    with extra("chapters"):
        from myst_nb import glue

    glue(key, value, display=False)
