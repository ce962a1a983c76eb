"""Files that are written whole or not at all. This room knows nothing of the others."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["written_whole"]


@contextmanager
def written_whole(file: str | Path) -> Iterator[Path]:
    """Write beside a file, and put it in place in one step when all is written.

    Parameters
    ----------
    file : path
        Where to; its folder is made if need be.

    Yields
    ------
    Path
        Where to write: a name of its own for each writer, since two at once would write into each
        other's file. If an error comes up, it is removed and `file` is left as it was.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{secrets.token_hex(8)}.part")
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
