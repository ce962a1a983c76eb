"""The command line: from a folder of photographs to verdicts, without a line of Python.

Commands load what they need when they are called, so that help comes at once.
"""

import csv
import json
import math
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from snnlib.extras import extra

with extra("station"):
    import typer

if TYPE_CHECKING:
    from snnlib.station.judging import Judge
    from snnlib.station.parts import Parts
    from snnlib.station.qualification import Qualification
    from snnlib.station.station import Station

__all__ = ["app"]

STOPPED, FAULTY = 1, 2  # exit codes
ONNX = ".onnx"

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
Size = Annotated[int, typer.Option(help="Pixels a side that photographs are brought to.", min=1)]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where the station goes: one file.")]


@app.command()
def check(
    parts: Annotated[Path, typer.Argument(help="Folder of photographs.")],
    good: Good = "OK",
    size: Size = 224,
    as_json: AsJson = False,
) -> None:
    """Look through a folder: what is in it, and what to mend first.

    Counts by lot and class, sizes and bits, how large a defect must be to be seen, files that can't
    be read, the same photograph twice, nearly the same in two lots or classes, blur, classes with
    too few photographs. Exit code 1 if there is something to mend.
    """
    with _errors_told(as_json):
        from snnlib.station.parts import Parts
        from snnlib.station.survey import survey

        words = None if as_json else "looking through"
        found = survey(Parts.read(parts), good, words, size=size)
    if as_json:
        _print_json(
            counts={lot: row.to_dict() for lot, row in found.counts.iterrows()},
            sizes=found.sizes,
            smallest=found.smallest,
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
        if found.smallest:
            width, height = found.smallest
            typer.echo(
                f"smallest defect: about {width} × {height} pixels of the largest, as photographs "
                f"are brought to {size} a side; for smaller ones say a larger --size, or --crop"
            )
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
    size: Size = 224,
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
    station: Annotated[Path, typer.Argument(help="File of a station, or its ONNX file.")],
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
        judging = _loaded(station)
        rows = _rows(judging, _found(photographs), progress=not as_json)
        stopped = [row for row in rows if row["verdict"] != judging.good]
        if output is not None:
            _write_table(rows, output)
        if pictures is not None:
            _draw(judging, stopped, pictures)
    counts = dict(Counter(row["verdict"] for row in rows).most_common())
    if as_json:
        _print_json(limit=judging.limit, counts=counts, parts=rows)
    else:
        for row in stopped:
            why = f": {row['why']}" if row["why"] else f", score {row['score']:.2f}"
            typer.echo(f"{row['file']}: {row['verdict']}{why}")
        words = ", ".join(f"{n} {name}" for name, n in counts.items())
        typer.echo(f"{len(rows)} judged: {words}; the limit is {judging.limit:.2f}")
    raise typer.Exit(STOPPED if stopped else 0)


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


@app.command()
def export(
    station: Annotated[Path, typer.Argument(help="File of a station.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the ONNX file goes, such as cell.onnx.")
    ],
    int8: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of the photographs that the station was made from: its network becomes "
            "whole numbers of 8 bits, and all else is learned again. Say it once more for each "
            "folder of a defect that was added."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a station as one ONNX file, for a line: limit, names and verdict are in it.

    ONNX Runtime alone judges by it, and so does snnlib judge, sooner than by the station's file.
    With --int8 it is smaller and faster, and judges some parts otherwise: qualify it on parts that
    it has not seen.
    """
    with _errors_told(as_json):
        from snnlib.station.exporting import export_station, in_int8
        from snnlib.station.parts import Parts
        from snnlib.station.saving import load_station

        _check_free(output, overwrite)
        if output.suffix != ONNX:
            raise ValueError(f"an ONNX file ends in {ONNX}, got {output}")
        exported = load_station(station)
        if int8:
            first, *others = map(Parts.read, int8)
            exported = in_int8(exported, reduce(Parts.join, others, first), progress=not as_json)
        export_station(exported, output)
    _tell_station(exported, output, as_json, f"Next: snnlib judge {output} FOLDER")


@app.command()
def qualify(
    station: Annotated[Path, typer.Argument(help="File of a station, or its ONNX file.")],
    parts: Annotated[
        Path, typer.Argument(help="Folder of photographs by class, of lots that it has not seen.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the report goes: one HTML file.")
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge labelled photographs, and report how often a station is right.

    The report has escapes and false alarms with their intervals, every error as a picture, and what
    about the parts deserves doubt. Exit code 0 if no defective part passes and nothing deserves
    doubt, 1 if one passes or there is a doubt. False alarms alone leave it at 0.
    """
    with _errors_told(as_json):
        from snnlib.station.parts import Parts
        from snnlib.station.qualification import qualify
        from snnlib.station.report import write_report

        _check_free(output, overwrite)
        found = qualify(_loaded(station), Parts.read(parts), progress=not as_json)
        write_report(found, output, progress=not as_json)
    if as_json:
        _print_json(report=str(output), **_qualified(found))
    else:
        _tell_qualified(found)
        typer.echo(f"The report is {output}")
    passed = len(found.errors["escape"])
    raise typer.Exit(STOPPED if passed or found.doubts else 0)


def _loaded(file: Path) -> "Station | Judge":
    """What judges: without PyTorch, if it is an ONNX file."""
    if file.suffix == ONNX:
        from snnlib.station.judging import load_judge

        return load_judge(file)
    from snnlib.station.saving import load_station

    return load_station(file)


def _rows(judging: "Station | Judge", parts: "Parts", progress: bool) -> list[dict[str, Any]]:
    """What is said of each part; None stands for what is not known."""
    found = judging.judge(parts, progress)
    rows = found if isinstance(found, list) else found.to_dict("records")
    return [
        {
            str(name): None if isinstance(value, float) and math.isnan(value) else value
            for name, value in row.items()
        }
        for row in rows
    ]


def _qualified(found: "Qualification") -> dict[str, Any]:
    """What a program wants to know of a qualification; null where there is no part."""
    figures = found.by_kind.to_dict(orient="index")
    return {
        "escapes": figures.get(False),
        "false_alarms": figures.get(True),
        "confusion": {name: row.to_dict() for name, row in found.confusion.iterrows()},
        "errors": {
            kind: found.table.file.iloc[where].tolist() for kind, where in found.errors.items()
        },
        "bounds": [
            row | {"kind": row["kind"] or None} for row in found.proofs.to_dict(orient="records")
        ],
        "doubts": list(found.doubts),
    }


def _tell_qualified(found: "Qualification") -> None:
    rows = {row.Index: row for row in found.by_kind.itertuples()}
    for good, name, estimate in (
        (False, "escapes", found.escapes),
        (True, "false alarms", found.false_alarms),
    ):
        figure = "not known"
        if estimate is not None:
            figure = f"{rows[good].errors} of {rows[good].parts}, {estimate.percent()}"
        typer.echo(f"{name}: {figure}")
    for doubt in found.doubts:
        typer.echo(f"- doubt: {doubt}")


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
    from snnlib.station.parts import as_parts

    return as_parts(photographs[0] if len(photographs) == 1 else photographs)


def _folder_of(parts: "Parts") -> str:
    """Name of the folder that all files lie in."""
    folders = {file.resolve().parent.name for file in parts.files}
    if len(folders) > 1:
        raise ValueError(f"the files lie in {len(folders)} folders: say what the defect is --name")
    return folders.pop()


def _write_table(rows: list[dict[str, Any]], output: Path) -> None:
    from snnlib.whole_files import written_whole

    with (
        written_whole(output) as unfinished,
        unfinished.open("w", encoding="utf-8-sig", newline="") as file,  # so that Excel reads it
    ):
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _draw(judging: "Station | Judge", rows: list[dict[str, Any]], folder: Path) -> None:
    """A picture of each part that was stopped, by its number and name, if it can be read."""
    with extra("plots"):
        from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for k, row in enumerate(rows):
        try:
            verdict = judging.explain(row["file"])
        except ValueError:  # which the table tells
            continue
        figure = Figure(figsize=(5, 5))
        verdict.draw(figure.subplots())
        figure.savefig(folder / f"{k:04}_{Path(row['file']).stem}.png")
