"""The command line: from a folder of photographs to verdicts, without a line of Python.

Commands load what they need when they are called, so that help comes at once.
"""

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from snnlib.extras import extra

with extra("station"):
    import typer

if TYPE_CHECKING:
    from snnlib.station.parts import Parts
    from snnlib.station.station import Station

__all__ = ["app"]

STOPPED, FAULTY = 1, 2  # exit codes

#: What the program ``snnlib`` runs, with all its commands.
app = typer.Typer(
    help="Inspect parts by photographs: learn from a folder, judge new ones, add defects.\n\n"
    "A folder holds parts/LOT/CLASS/*.png, parts/CLASS/*.png, or good parts alone. "
    "Begin with: snnlib check parts",
    epilog="Exit codes: 0 all is well, 1 something was stopped or is to be mended, 2 an error.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Method(StrEnum):
    """How a limit is set."""

    quantile = "quantile"
    conformal = "conformal"
    tolerance = "tolerance"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]
Good = Annotated[str, typer.Option(help="Name of the class of good parts.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the station goes: one file.")]


@app.command()
def check(
    parts: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    good: Good = "OK",
    as_json: AsJson = False,
) -> None:
    """Look through a folder: what is in it, and what to mend first.

    Counts by lot and class, sizes and bits, files that can't be read, the same photograph twice,
    nearly the same in two lots or classes, blur, classes with too few photographs. Exit code 1 if
    there is something to mend.
    """
    with _errors_told(as_json):
        from snnlib.station.parts import Parts
        from snnlib.station.survey import survey

        found = survey(Parts.read(parts), good, None if as_json else "looking through")
    if as_json:
        _print_json(
            counts={lot: row.to_dict() for lot, row in found.counts.iterrows()},
            sizes=found.sizes,
            bits=found.bits,
            unreadable={str(file): why for file, why in found.unreadable.items()},
            duplicates=[[str(file) for file in group] for group in found.duplicates],
            alike=[[str(file) for file in pair] for pair in found.alike],
            blurred=[str(file) for file in found.blurred],
            advice=list(found.advice),
        )
    else:
        typer.echo(found.counts.to_string())
        typer.echo("sizes: " + ", ".join(f"{size} ({n})" for size, n in found.sizes.items()))
        for line in found.advice:
            typer.echo(f"- {line}")
        if not found.advice:
            typer.echo(f"Nothing to mend. Next: snnlib train {parts} -o cell.station")
    raise typer.Exit(STOPPED if found.advice else 0)


@app.command()
def train(
    parts: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    output: Output,
    good: Good = "OK",
    size: Annotated[int, typer.Option(help="Pixels a side that photographs are brought to.")] = 224,
    crop: Annotated[
        str | None, typer.Option(help="left,top,right,bottom in pixels: what is kept of each.")
    ] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Leave colours out.")] = False,
    bits: Annotated[
        int | None, typer.Option(help="Bits that files of more than 8 use, such as 12.")
    ] = None,
    evidence: Annotated[
        bool, typer.Option(help="Whether the strangest place of a part counts, too.")
    ] = True,
    calibration: Annotated[
        str | None, typer.Option(help="Lot that is kept aside for the limit; the last if not said.")
    ] = None,
    method: Annotated[Method, typer.Option(help="How the limit is set.")] = Method.quantile,
    false_alarms: Annotated[
        float, typer.Option(help="Share of good parts that may be stopped.")
    ] = 0.005,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn at random.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a station from a folder, and keep it in a file.

    Says which good parts were kept aside for the limit, and what about the parts deserves doubt.
    """
    with _errors_told(as_json):
        from snnlib.station.saving import save_station
        from snnlib.station.station import Station

        _check_free(output, overwrite)
        station = Station.fit(
            parts,
            good,
            size=size,
            crop=_edges(crop),
            grey=grey,
            bits=bits,
            evidence=evidence,
            calibration=calibration,
            method=method.value,
            false_alarms=false_alarms,
            seed=seed,
            progress=not as_json,
        )
        save_station(station, output)
    _tell_station(station, output, as_json, f"Next: snnlib judge {output} FOLDER")


@app.command()
def judge(
    station: Annotated[Path, typer.Argument(help="File of a station.")],
    photographs: Annotated[list[Path], typer.Argument(help="A folder, or files.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Table of all verdicts, CSV.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for a picture of each part that does not pass.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge photographs. Exit code 0 if all pass, 1 if one does not."""
    with _errors_told(as_json):
        from snnlib.station.saving import load_station

        judging = load_station(station)
        source = _found(photographs)
        table = judging.judge(source, progress=not as_json)
        stopped = table[table.verdict != judging.good]
        if output is not None:
            _write_table(table, output)
        if pictures is not None:
            _draw(judging, stopped.file, pictures)
    counts = table.verdict.value_counts()
    if as_json:
        rows = json.loads(table.to_json(orient="records"))
        _print_json(limit=judging.limit, counts=counts.to_dict(), parts=rows)
    else:
        for row in stopped.itertuples():
            why = f": {row.why}" if row.why else f", score {row.score:.2f}"
            typer.echo(f"{row.file}: {row.verdict}{why}")
        words = ", ".join(f"{n} {name}" for name, n in counts.items())
        typer.echo(f"{len(table)} judged: {words}; the limit is {judging.limit:.2f}")
    raise typer.Exit(STOPPED if len(stopped) else 0)


@app.command()
def add(
    station: Annotated[Path, typer.Argument(help="File of a station.")],
    photographs: Annotated[
        list[Path], typer.Argument(help="A folder, or files, of one new defect; five will do.")
    ],
    output: Output,
    name: Annotated[
        str | None, typer.Option(help="What it is called; the name of the folder if not said.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Teach a station a new defect, without training. The old file stays as it is."""
    with _errors_told(as_json):
        from snnlib.station.saving import load_station, save_station

        _check_free(output, overwrite)
        source = _found(photographs)
        taught = load_station(station).with_defect(name or _folder_of(source), source)
        save_station(taught, output)
    _tell_station(taught, output, as_json, f"Next: snnlib judge {output} FOLDER")


def _tell_station(station: "Station", output: Path, as_json: bool, after: str) -> None:
    if as_json:
        _print_json(
            station=str(output),
            classes=station.anchors.classes,
            limit=station.limit,
            calibration=station.rule.calibration,
            doubts=list(station.doubts),
            made=station.made,
        )
        return
    typer.echo(
        f"{output}: {', '.join(station.anchors.classes)}; a part passes up to a score of "
        f"{station.limit:.2f}, set by {station.rule.calibration}"
    )
    for doubt in station.doubts:
        typer.echo(f"- doubt: {doubt}")
    typer.echo(after)


@contextmanager
def _errors_told(as_json: bool) -> Iterator[None]:
    """Say what went wrong instead of showing where; doubts are told by the command itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
            _fail(str(error), as_json)


def _fail(words: str, as_json: bool) -> NoReturn:
    if as_json:
        _print_json(error=words)
    else:
        typer.echo(f"error: {words}", err=True)
    raise typer.Exit(FAULTY)


def _print_json(**told: Any) -> None:
    json.dump(told, sys.stdout, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def _check_free(output: Path, overwrite: bool) -> None:
    if output.exists() and not overwrite:
        raise ValueError(f"{output} is there already: choose another name, or say --overwrite")


def _edges(crop: str | None) -> tuple[int, int, int, int] | None:
    if crop is None:
        return None
    try:
        left, top, right, bottom = (int(edge) for edge in crop.split(","))
    except ValueError:
        raise ValueError(f"crop must be left,top,right,bottom in pixels, got {crop!r}") from None
    return left, top, right, bottom


def _found(photographs: list[Path]) -> "Parts":
    """What was named: a folder, a file, or several files."""
    from snnlib.station.looking import as_parts

    return as_parts(photographs[0] if len(photographs) == 1 else photographs)


def _folder_of(parts: "Parts") -> str:
    """Name of the folder that all files lie in."""
    folders = {file.resolve().parent.name for file in parts.files}
    if len(folders) > 1:
        raise ValueError(f"the files lie in {len(folders)} folders: say what the defect is --name")
    return folders.pop()


def _write_table(table: Any, output: Path) -> None:
    from snnlib.whole_files import written_whole

    with written_whole(output) as unfinished:
        table.to_csv(unfinished, index=False, encoding="utf-8-sig")  # so that Excel reads it


def _draw(station: "Station", files: Any, folder: Path) -> None:
    """A picture of each part that was stopped, by its number and name."""
    with extra("plots"):
        from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for k, file in enumerate(files):
        figure = Figure(figsize=(5, 5))
        verdict = station.explain(file)
        verdict.draw(figure.subplots())
        figure.savefig(folder / f"{k:04}_{Path(file).stem}.png")
