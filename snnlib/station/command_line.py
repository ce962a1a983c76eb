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
from dataclasses import asdict
from enum import StrEnum
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from snnlib.extras import extra

with extra("station"):
    import typer

if TYPE_CHECKING:
    import pandas as pd

    from snnlib.evaluation import Estimate
    from snnlib.quality.agreement import AgreementStudy
    from snnlib.quality.detection import DetectionCurve
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
    """Judge photographs. Exit code 0 if all pass, 1 if one does not.

    The table and --json tell of each verdict the photograph and the station, both by a hash, the
    time, the rule, the version, and a hash of what the station was made from.
    """
    with _errors_told(as_json):
        from snnlib.station.tracing import trace_of, traced

        judging = _loaded(station)
        trace = _finite(trace_of(judging, station))  # at once: its file may be replaced meanwhile
        parts = _found(photographs)
        rows = _rows(judging, parts, progress=not as_json)
        stopped = [row for row in rows if row["verdict"] != judging.good]
        if output is not None or as_json:
            rows = traced(rows, parts.files, trace)
        if output is not None:
            _write_table(rows, output)
        if pictures is not None:
            _draw(judging, stopped, pictures)
    counts = dict(Counter(row["verdict"] for row in rows).most_common())
    if as_json:
        of_each = [{name: row[name] for name in row if name not in trace} for row in rows]
        _print_json(limit=judging.limit, counts=counts, trace=trace, parts=of_each)
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
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="What is known of photographs, CSV: their file; the part that each shows, or the "
            "amount, which is how large its defect is, or both."
        ),
    ] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(
            help="What inspectors said, CSV: part, inspector, trial, verdict. A part is that of "
            "the sheet, or a file."
        ),
    ] = None,
    most_escapes: Annotated[
        float | None,
        typer.Option(
            help="Acceptance test: share of defective parts, such as 0.05, of which a pass proves "
            "that fewer escape. Decide it before."
        ),
    ] = None,
    most_false_alarms: Annotated[
        float | None, typer.Option(help="The same of good parts that are stopped.")
    ] = None,
    allowed: Annotated[
        int, typer.Option(help="Parts that may be wrong in an acceptance test, of either kind.")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge labelled photographs, and report how often a station is right.

    The report has escapes and false alarms with their intervals, every error as a picture, and what
    about the parts deserves doubt. It has an acceptance test, how large a defect must be to be
    found, and how well inspectors and station agree, if what they take is given. Exit code 0 if no
    defective part passes and nothing deserves doubt, else 1. A test that is not passed makes it 1;
    one that is passed allows for the escapes that were planned. False alarms that no test is of
    leave it at 0.
    """
    with _errors_told(as_json):
        from snnlib.station.parts import Parts
        from snnlib.station.qualification import qualify
        from snnlib.station.report import write_report
        from snnlib.station.sheets import read_table
        from snnlib.station.studies import Plan

        _check_free(output, overwrite)
        planned = most_escapes is not None or most_false_alarms is not None or allowed
        found = qualify(
            _loaded(station),
            Parts.read(parts),
            progress=not as_json,
            plan=Plan(most_escapes, most_false_alarms, allowed) if planned else None,
            sheet=None if sheet is None else read_table(sheet),
            ratings=None if ratings is None else read_table(ratings),
        )
        write_report(found, output, progress=not as_json)
    if as_json:
        _print_json(report=str(output), **_qualified(found))
    else:
        _tell_qualified(found)
        typer.echo(f"The report is {output}")
    raise typer.Exit(0 if found.passes else STOPPED)


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
    return _finite(found if isinstance(found, list) else found.to_dict("records"))


def _finite(told: Any) -> Any:
    """The same with None for each number that JSON has none for: not known, or without an end."""
    if isinstance(told, dict):
        return {str(name): _finite(value) for name, value in told.items()}
    if isinstance(told, list):
        return [_finite(value) for value in told]
    return None if isinstance(told, float) and not math.isfinite(told) else told


def _qualified(found: "Qualification") -> dict[str, Any]:
    """What a program wants to know of a qualification; null where there is no part."""
    acceptance, study = found.acceptance, found.agreement
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
        "acceptance": None if acceptance is None else _tested(acceptance),
        "detection": {name: _detected(curve) for name, curve in found.detection.items()},
        "agreement": None if study is None else _agreed(study, found.kappa),
        "doubts": list(found.doubts),
    }


def _tested(acceptance: "pd.DataFrame") -> dict[str, Any]:
    rows = acceptance.to_dict(orient="index")
    return {str(error).replace(" ", "_"): row for error, row in rows.items()}


def _detected(curve: "DetectionCurve | str") -> dict[str, Any]:
    if isinstance(curve, str):
        return {"why": curve}
    amounts = {name: getattr(curve, name) for name in ("a50", "a90", "a90_95")}
    return {"parts": len(curve.hits), "hits": int(curve.hits.sum())} | _finite(amounts)


def _agreed(study: "AgreementStudy", kappa: "Estimate | None") -> dict[str, Any]:
    tables = {"within": study.within, "against": study.against}
    told = {name: table.to_dict(orient="index") for name, table in tables.items()}
    told |= {"share": asdict(study.share), "kappa": asdict(study.kappa)}
    return _finite(told | {"station": None if kappa is None else asdict(kappa)})


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
    if found.acceptance is not None:
        for row in found.acceptance.itertuples():
            typer.echo(
                f"acceptance test of {row.Index}: {row.result}; {row.failures} of {row.parts} "
                f"parts are wrong, {row.allowed} may be of {row.needed} or more; the bound is "
                f"{100 * row.bound:.2f} %, to be proved is {100 * row.most:g} %"
            )
    for name, curve in found.detection.items():
        if not isinstance(curve, str):
            typer.echo(
                f"probability of detection of {name}: a50 {curve.a50:.4g}, a90 {curve.a90:.4g}, "
                f"a90/95 {curve.a90_95:.4g}"
            )
    if found.agreement is not None:
        typer.echo(f"agreement of inspectors: Fleiss' kappa {found.agreement.kappa.value:.2f}")
    if found.kappa is not None:
        typer.echo(f"agreement of the station with what parts are: kappa {found.kappa.value:.2f}")
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
