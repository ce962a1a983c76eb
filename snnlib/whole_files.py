"""Files that are written whole or not at all. This room knows nothing of the others."""

import errno
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

    Raises
    ------
    OSError
        If the file can't be written, such as on a full disk; says which file, and why.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{secrets.token_hex(8)}.part")
    try:
        yield unfinished
        unfinished.replace(file)
    except OSError as error:
        if error.filename not in (None, str(unfinished)):  # the trouble is with another file
            raise
        # A full disk names no file, and others the one of that odd name.
        fault = f"can't be written, and is left as it was ({error.strerror or error})"
        raise OSError(error.errno or errno.EIO, fault, str(file)) from error
    finally:
        unfinished.unlink(missing_ok=True)
