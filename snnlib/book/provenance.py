"""What a figure rests on: the modules that a script reaches, and whether they have changed since.

Files alone are read; nothing is imported.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

__all__ = ["changed_since", "fingerprint", "modules_of"]

LIBRARY = Path(__file__).resolve().parent.parent
#: They say where things lie, how they look, and what is told; not what comes out.
IDLE = ("array_cache", "extras", "plots", "recording.py", "weights", "whole_files")
LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def fingerprint(source: str) -> str:
    """Hash of what code does: not of its comments, docstrings or layout.

    Parameters
    ----------
    source : str
        Text of a module.

    Returns
    -------
    str
        Twelve hexadecimal digits, the same with every version of Python.
    """
    lines = [list(line) for line in source.splitlines(keepends=True)]
    begins = True  # a line of code, so that a string is a docstring
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT or (begins and token.type == tokenize.STRING):
            _blank(lines, token.start, token.end)
        elif token.type not in LAYOUT:
            begins = False
        begins = begins or token.type == tokenize.NEWLINE
    code = "".join(character for line in lines for character in line)
    return hashlib.sha256("".join(code.split()).encode()).hexdigest()[:12]


def _blank(lines, start, end):
    for number in range(start[0], end[0] + 1):
        line = lines[number - 1]
        first = start[1] if number == start[0] else 0
        last = end[1] if number == end[0] else len(line)
        line[first:last] = " " * (last - first)


def modules_of(script: Path) -> dict[str, str]:
    """Hash of each module that a script reaches: of the library, and scripts beside it.

    Parameters
    ----------
    script : Path
        File of Python code.

    Returns
    -------
    dict of str to str
        By name, such as ``nsoartc.soart`` of the library and ``cnn_triplet.py`` of a script.
    """
    reached, waiting = {}, [Path(script).resolve()]
    while waiting:
        file = waiting.pop()
        name = _name(file)
        if name in reached or name in IDLE:
            continue
        source = file.read_text(encoding="utf-8")
        reached[name] = fingerprint(source)
        waiting += _imports(source, file.parent)
    return dict(sorted(reached.items()))


def _name(file):
    if LIBRARY not in file.parents:
        return file.name
    return ".".join(file.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")


def _imports(source: str, folder: Path) -> Iterator[Path]:
    """Files of the library, and of the same folder, that code imports anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            room = node.module or ""
            names = [room, *(f"{room}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            package, *path = name.split(".")
            if package == "snnlib":
                for depth in range(1, len(path) + 1):  # a package is loaded before what is in it
                    yield from _files(path[:depth])
            elif (folder / f"{name}.py").is_file():
                yield folder / f"{name}.py"


def _files(path):
    """The file of a module of the library, if there is one."""
    place = LIBRARY.joinpath(*path)
    files = [place.with_suffix(".py"), place / "__init__.py"]
    return [file for file in files if file.is_file()]


def changed_since(modules: dict[str, str]) -> list[str]:
    """Which modules of the library are no longer what they were.

    Parameters
    ----------
    modules : dict of str to str
        From `modules_of`, at some earlier time; scripts are passed over.

    Returns
    -------
    list of str
        Their names, sorted; those that are gone among them.
    """
    return [
        name
        for name, digest in sorted(modules.items())
        if not name.endswith(".py") and _digest_of(name) != digest
    ]


def _digest_of(name):
    (file,) = _files(name.split(".")) or [None]
    return file and fingerprint(file.read_text(encoding="utf-8"))
