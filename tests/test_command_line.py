"""The command line, as a quality engineer would type it: each command a process of its own."""

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_parts import draw, frames, write, write_lots
from PIL import Image
from qualified_parts import label_amounts, rate
from typer.testing import CliRunner

from snnlib.quality.acceptance import parts_to_test
from snnlib.station.command_line import Method, app
from snnlib.station.judging import load_judge
from snnlib.station.rule import LIMITS
from snnlib.station.saving import load_station
from snnlib.station.tracing import picture_hash, trace_of

SNNLIB = shutil.which("snnlib", path=Path(sys.executable).parent)
SMALL = ["--size", "64", "--false-alarms", "0.05"]
LOTS = {("a", "OK"): 30, ("a", "dent"): 8, ("b", "OK"): 22}
COMMON = ["station", "made", "data", "library", "method", "false_alarms", "limit"]
TRACE = ["picture", "time", *COMMON]


def run(*words, code=0, cwd=None):
    """What a command says, and what it complains of."""
    done = subprocess.run(
        [SNNLIB, *map(str, words)], capture_output=True, encoding="utf-8", cwd=cwd, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def told(*words, code=0):
    """The one JSON object that a command prints."""
    said, _ = run(*words, "--json", code=code)
    assert said.count("\n") == 1
    return json.loads(said)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = write_lots(tmp_path_factory.mktemp("parts"), LOTS)
    write(folder / "a" / "バリ", frames(8, 5, "scratch"))  # a burr
    return folder


@pytest.fixture(scope="module")
def station(parts, tmp_path_factory):
    file = tmp_path_factory.mktemp("stations") / "cell.station"
    run("train", parts, "-o", file, *SMALL)
    return file


def test_help_comes_at_once_and_teaches():
    code = "import sys, snnlib.station.command_line; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
    said, _ = run("--help")
    for command in ("check", "train", "judge", "add", "qualify"):
        assert command in said
        of_command, _ = run(command, "--help")
        assert "--json" in of_command
    assert "Begin with: snnlib check parts" in " ".join(said.split())
    assert "Exit codes" in said
    run(code=2)  # no command: help, and the code of a wrong call


def test_from_a_folder_to_verdicts(parts, station, tmp_path):
    said, _ = run("check", parts)
    assert re.search(r"a +30 +8 +8", said)
    assert "smallest defect: about 4 × 4 pixels of the largest" in said
    assert "Nothing to mend. Next: snnlib train" in said
    new = tmp_path / "new"  # photographs to be judged need no folders
    write(new, [*frames(4, 8), *frames(3, 9, "dent")])
    verdicts, pictures = tmp_path / "verdicts.csv", tmp_path / "pictures"
    said, _ = run("judge", station, new, "-o", verdicts, "--pictures", pictures, code=1)
    table = pd.read_csv(verdicts)
    judged, trace = table.columns[: -len(TRACE)], table.columns[-len(TRACE) :]
    assert [*trace] == TRACE
    assert table.file.tolist() == [str(new / f"{k:03}.png") for k in range(7)]
    assert table.verdict.tolist() == ["OK"] * 4 + ["dent"] * 3
    expected = load_station(station).judge(new)
    assert [*judged] == [*expected]
    np.testing.assert_allclose(table.score, expected.score, rtol=1e-3)
    assert f"{new / '005.png'}: dent, score " in said
    assert "7 judged: 4 OK, 3 dent; the limit is" in said
    assert len(list(pictures.glob("*.png"))) == 3
    with Image.open(next(pictures.iterdir())) as picture:
        assert picture.size[0] > 300
    said, _ = run("judge", station, *sorted(new.iterdir())[:4])
    assert said.startswith("4 judged: 4 OK;")


def test_what_a_program_reads(parts, station, tmp_path):
    found = told("check", parts)
    assert found["counts"]["a"] == {"OK": 30, "dent": 8, "バリ": 8}
    assert found["sizes"] == {"64 × 64": 68}
    assert found["smallest"] == [4, 4]
    assert found["advice"] == []
    (part,) = write(tmp_path, frames(1, 9, "dent"))
    judged = told("judge", station, part, code=1)
    assert judged["counts"] == {"dent": 1}
    assert judged["parts"][0]["file"] == str(part)
    made = told("train", parts, "-o", tmp_path / "b.station", "--no-evidence", *SMALL)
    assert made["classes"] == ["OK", "dent", "バリ"]
    assert made["calibration"] == "22 good parts of lot 'b'"
    assert made["made"]["parts"] == 68
    assert load_station(tmp_path / "b.station").evidence is None


def traces(station, *photographs, table):
    """Traces of the verdicts that a command writes, and what it prints."""
    words = ["judge", str(station), *map(str, photographs), "-o", str(table), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.output
    written = pd.read_csv(table, dtype=str)  # a hash may look like a number
    return written[TRACE].to_dict("records"), json.loads(done.stdout)


def test_every_verdict_can_be_traced(station, onnx, tmp_path):
    good, dent = write(tmp_path / "new", [*frames(1, 8), *frames(1, 9, "dent")])
    table = tmp_path / "verdicts.csv"
    begun = datetime.now(UTC).replace(microsecond=0)
    rows, printed = traces(station, good, dent, table=table)
    assert [row["picture"] for row in rows] == [picture_hash(good), picture_hash(dent)]
    assert all(begun <= datetime.fromisoformat(row["time"]) <= datetime.now(UTC) for row in rows)
    loaded = load_station(station)
    assert printed["trace"] == trace_of(loaded, station)
    assert rows[0]["station"] == picture_hash(station)
    assert rows[0]["data"] == "sha256:" + loaded.made["data"][:16]
    assert [float(rows[0][name]) for name in ("false_alarms", "limit")] == [0.05, loaded.limit]
    for row, part in zip(rows, printed["parts"], strict=True):
        assert {name: part[name] for name in ("picture", "time")} == dict([*row.items()][:2])
        assert not set(COMMON) & set(part)  # told once, for all
        assert {name: row[name] for name in COMMON} == {n: rows[0][n] for n in COMMON}
    again, _ = traces(station, dent, table=table)
    assert again[0] | {"time": ""} == rows[1] | {"time": ""}
    of_onnx, printed = traces(onnx, dent, table=table)
    assert printed["trace"] == trace_of(load_judge(onnx), onnx)
    assert of_onnx[0]["station"] == picture_hash(onnx) != rows[1]["station"]
    others = [name for name in TRACE if name not in ("time", "station")]
    assert [of_onnx[0][name] for name in others] == [rows[1][name] for name in others]
    write(tmp_path / "stain", frames(5, 5, "stain"))
    taught = tmp_path / "taught.station"
    run("add", station, tmp_path / "stain", "-o", taught)
    assert traces(taught, dent, table=table)[0][0]["station"] == picture_hash(taught)
    assert picture_hash(taught) != picture_hash(station)


def test_a_damaged_photograph_is_traced_too(station, tmp_path):
    good, damaged = write(tmp_path / "new", frames(2, 8))
    damaged.write_bytes(b"no picture")
    rows, printed = traces(station, good, damaged, table=tmp_path / "verdicts.csv")
    assert [part["verdict"] for part in printed["parts"]] == ["OK", "INVALID"]
    assert [row["picture"] for row in rows] == [picture_hash(good), picture_hash(damaged)]


def test_a_new_defect_from_five_photographs(station, tmp_path):
    write(tmp_path / "stain", frames(5, 5, "stain"))
    before, after = station.read_bytes(), tmp_path / "taught.station"
    said, _ = run("add", station, tmp_path / "stain", "-o", after)
    assert "OK, dent, stain, バリ" in said
    assert station.read_bytes() == before
    (part,) = write(tmp_path / "new", frames(1, 21, "stain"))
    assert told("judge", after, part, code=1)["counts"] == {"stain": 1}
    files = sorted((tmp_path / "stain").iterdir())
    taught = told("add", station, *files, "--name", "blot", "-o", after, "--overwrite")
    assert taught["classes"] == ["OK", "blot", "dent", "バリ"]


def go_on(folder, station):
    """Qualify the station on what it learned from, which is told; judge that by its ONNX file."""
    found = told("qualify", station, folder, "-o", folder.parent / "report.html", code=1)
    count = len(list(folder.rglob("*.png")))
    assert found["doubts"][0].startswith(f"the station was made from {count} of the {count} parts")
    file = station.with_suffix(".onnx")
    told("export", station, "-o", file)
    judged = CliRunner().invoke(app, ["judge", str(file), str(folder), "--json"])
    parts = json.loads(judged.stdout)["parts"]
    assert [part["verdict"] for part in parts] == load_station(station).judge(
        folder
    ).verdict.tolist()
    return found


def test_good_parts_of_one_lot_are_a_beginning(tmp_path):
    folder, station = tmp_path / "parts", tmp_path / "a.station"
    write(folder / "OK", frames(30, 0))
    said, _ = run("check", folder, code=1)
    assert "good parts are of one lot only" in said
    said, _ = run("train", folder, "-o", station, *SMALL[:2])
    assert "set by the last 6 good parts" in said
    assert "- doubt: there are good parts of one lot only" in said
    found = go_on(folder, station)
    assert found["escapes"] is None
    assert found["false_alarms"]["lots"] == 1


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920)])
def test_large_photographs_are_brought_to_a_size(tmp_path, size):
    rng = np.random.default_rng(0)
    folder, station = tmp_path / "parts", tmp_path / "a.station"
    write(folder / "OK", [draw(rng, size=size) for _ in range(12)])
    made = told("train", folder, "-o", station, *SMALL[:2])
    assert made["made"]["classes"] == {"OK": 12}
    go_on(folder, station)


def test_sizes_and_proportions_that_differ_are_told(tmp_path):
    rng = np.random.default_rng(0)
    folder, station = tmp_path / "parts", tmp_path / "a.station"
    write(folder / "OK", [draw(rng, size=(64, 64 + 32 * (k % 2))) for k in range(12)])
    said, _ = run("check", folder, code=1)
    assert "proportions differ (64 × 64, 96 × 64): cut the photographs alike" in said
    cut = ["--crop", "0,0,64,64", *SMALL[:2]]
    assert told("train", folder, "-o", station, *cut)["made"]["parts"] == 12
    go_on(folder, station)


def test_deep_files_are_told(tmp_path):
    grey = frames(12, 0)[..., 0].astype(np.uint16) * 16
    folder, station = tmp_path / "parts", tmp_path / "a.station"
    (folder / "OK").mkdir(parents=True)
    for k, image in enumerate(grey):
        Image.fromarray(image).save(folder / "OK" / f"{k}.png")
    said, _ = run("check", folder, code=1)
    assert "files of 16 bits seem to use 12 of them: say bits=12" in said
    _, complaint = run("train", folder, "-o", station, code=2)
    assert "12" in complaint
    run("train", folder, "-o", station, "--bits", "12", *SMALL[:2])
    go_on(folder, station)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["check", "nowhere"], "expected a folder of photographs, got 'nowhere'"),
        (["train", "empty", "-o", "a.station"], "empty holds no photograph"),
        (["train", "few", "-o", "a.station"], "at least 5 photographs of good parts are needed"),
        (["train", "few", "-o", "there.station"], "there.station is there already: choose"),
        (["train", "few", "-o", "a.station", "--crop", "1,2"], "crop must be left,top,right"),
        (["judge", "few.station", "few"], "few.station can't be read (No such file"),
        (["judge", "there.station", "few"], "there.station can't be read: it is no file of a"),
        (["add", "there.station", "few", "-o", "there.station"], "is there already"),
        (["export", "few.station", "-o", "a.onnx"], "few.station can't be read (No such file"),
        (["qualify", "few.station", "few", "-o", "a.html"], "few.station can't be read (No such"),
        (
            ["train", "few", "-o", "a.station", "--false-alarms", "many"],
            "Invalid value for '--false-alarms'",
        ),
    ],
)
def test_what_can_not_be_done_is_told_in_a_line(tmp_path, words, complaint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.station").write_text("nothing", encoding="utf-8")
    write(tmp_path / "few" / "OK", frames(3, 0))
    said, complaints = run(*words, code=2, cwd=tmp_path)
    assert complaint in complaints
    assert said == ""
    assert not (tmp_path / "a.station").exists()


def test_every_way_to_set_a_limit_can_be_named():
    assert {method.value for method in Method} == set(LIMITS)


def test_errors_for_a_program(tmp_path):
    assert "expected a folder" in told("check", tmp_path / "nowhere", code=2)["error"]


def test_a_damaged_photograph_is_named(parts, station, tmp_path):
    files = write(tmp_path / "new", frames(2, 8))
    files[1].write_bytes(b"no picture")
    said, _ = run("judge", station, tmp_path / "new", code=1)
    assert f"{files[1]}: INVALID: {files[1]} can't be read as a photograph" in said
    write(tmp_path / "all" / "OK", frames(12, 8))
    (tmp_path / "all" / "OK" / "x.png").write_bytes(b"no picture")
    said, _ = run("check", tmp_path / "all", code=1)
    assert "- 1 file can't be read" in said.split("smallest defect:")[1].splitlines()[1]


def test_in_this_process_too(parts):
    """So that its lines are counted where the library is measured."""
    result = CliRunner().invoke(app, ["check", str(parts)])
    assert result.exit_code == 0
    assert "Nothing to mend" in result.stdout


def commands(page):
    """What a page has its reader type, but for the installation."""
    text = (Path(__file__).parent.parent / page).read_text(encoding="utf-8")
    block = next(
        b for b in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "snnlib check" in b
    )
    lines = [line.partition("#")[0].split() for line in block.splitlines()]
    return [words[1:] for words in lines if words[0] == "snnlib"]


@pytest.mark.parametrize("page", ["README.md", "chapters/your_own_parts.md"])
def test_what_the_pages_say_can_be_typed(parts, tmp_path, page):
    (tmp_path / "parts").symlink_to(parts)
    write(tmp_path / "new", frames(3, 8))
    write(tmp_path / "scratch", frames(5, 5, "stain"))
    write_lots(tmp_path / "test", {("c", "OK"): 3, ("c", "dent"): 2}, seed=3)
    codes = {"check": (0,), "train": (0,), "judge": (0, 1), "add": (0,), "qualify": (0, 1)}
    codes["export"] = (0,)
    typed = commands(page)
    assert [words[0] for words in typed] == list(codes)
    for words in typed:
        done = subprocess.run([SNNLIB, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode in codes[words[0]], done.stderr
    assert "scratch" in load_station(tmp_path / "cell2.station").anchors.classes
    assert len(pd.read_csv(tmp_path / "verdicts.csv")) == 3
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert load_judge(tmp_path / "cell.onnx").good == "OK"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Parts of other lots, one of which escapes and one of which can't be read."""
    counts = {("c", "OK"): 6, ("c", "dent"): 5, ("d", "OK"): 6, ("d", "dent"): 5}
    folder = write_lots(tmp_path_factory.mktemp("labelled"), counts, seed=7)
    write(folder / "c" / "dent", frames(1, 72), first=100)
    write(folder / "d" / "バリ", frames(6, 73, "scratch"))
    (folder / "d" / "バリ" / "x.png").write_bytes(b"no picture")
    return folder


def test_how_often_a_station_is_right(station, labelled, tmp_path):
    report = tmp_path / "new" / "report.html"
    said, complaints = run("qualify", station, labelled, "-o", report, code=1)
    assert re.search(r"^escapes: 1 of 18, 5\.56 % \(.* to .*\)$", said, re.M)
    assert re.search(r"^false alarms: \d of 12, \d", said, re.M)
    assert "- doubt: 18 parts that are defective are few" in said
    assert "- doubt: 1 of 30 parts were not judged (INVALID)" in said
    assert said.endswith(f"The report is {report}\n")
    assert "judging" in complaints
    assert "d/バリ/x.png" in report.read_text(encoding="utf-8")
    _, complaints = run("qualify", station, labelled, "-o", report, code=2)
    assert "report.html is there already: choose another name" in complaints


def test_a_qualification_for_a_program(station, labelled, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("old", encoding="utf-8")
    found = told("qualify", station, labelled, "-o", report, "--overwrite", code=1)
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert found["report"] == str(report)
    escaped = found["escapes"]
    assert [escaped[word] for word in ("errors", "parts", "lots", "not_judged")] == [1, 18, 2, 1]
    assert escaped["low"] < escaped["share"] == 1 / 18 < escaped["high"]
    assert found["false_alarms"]["parts"] == 12
    assert found["confusion"]["dent"]["OK"] == 1
    assert found["errors"]["escape"] == [str(labelled / "c" / "dent" / "100.png")]
    assert found["errors"]["not judged"] == [str(labelled / "d" / "バリ" / "x.png")]
    assert [row["kind"] for row in found["bounds"]] == [None, "dent", "バリ"]
    assert any("were not judged" in doubt for doubt in found["doubts"])


def test_nothing_to_look_at_and_nothing_known(station, tmp_path):
    counts = {(lot, kind): 30 for lot in "cd" for kind in ("OK", "dent")}
    write_lots(tmp_path / "many", counts, seed=8)
    found = told("qualify", station, tmp_path / "many", "-o", tmp_path / "a.html")
    assert found["doubts"] == found["errors"]["escape"] == []
    write_lots(tmp_path / "good", {("c", "OK"): 5}, seed=9)
    words = [station, tmp_path / "good", "-o", tmp_path / "b.html", "--overwrite"]
    result = CliRunner().invoke(app, ["qualify", *map(str, words)])
    assert result.exit_code == 1
    assert result.stdout.startswith("escapes: not known\n")
    result = CliRunner().invoke(app, ["qualify", *map(str, words), "--json"])
    assert json.loads(result.stdout)["escapes"] is None
    words[1] = tmp_path / "good" / "c" / "OK"
    result = CliRunner().invoke(app, ["qualify", *map(str, words)])
    assert result.exit_code == 2
    assert "5 of 5 photographs have no class" in result.stderr


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Photographs with what is known of them, and what inspectors said, as a person types it."""
    folder = tmp_path_factory.mktemp("audited")
    label_amounts(folder / "parts").to_csv(folder / "sheet.csv", index=False)
    rate(folder / "parts").to_csv(folder / "ratings.csv", index=False)
    return folder


def test_an_audit(station, tables, tmp_path):
    report = tmp_path / "report.html"
    words = ["qualify", station, tables / "parts", "-o", report, "--overwrite"]
    words += ["--sheet", tables / "sheet.csv", "--ratings", tables / "ratings.csv"]
    words += ["--most-escapes", 0.5, "--most-false-alarms", 0.9, "--allowed", 2]
    said, _ = run(*words, code=1)
    needed = [parts_to_test(share, allowed=2) for share in (0.5, 0.9)]
    assert re.search(
        rf"^acceptance test of escapes: failed; \d of 18 parts are wrong, 2 may be of {needed[0]} "
        r"or more; the bound is .* %, to be proved is 50 %$",
        said,
        re.M,
    )
    assert re.search(r"^acceptance test of false alarms: passed; \d of 16 parts", said, re.M)
    assert re.search(r"^probability of detection of dent: a50 \d.*, a90 \d.*, a90/95 ", said, re.M)
    assert re.search(r"^agreement of inspectors: Fleiss' kappa 0\.\d\d$", said, re.M)
    assert re.search(r"^agreement of the station with what parts are: kappa \d", said, re.M)
    found = told(*words, code=1)
    assert found["acceptance"]["escapes"]["result"] == "failed"
    alarms = found["acceptance"]["false_alarms"]
    assert [alarms[name] for name in ("result", "needed", "parts")] == ["passed", needed[1], 16]
    curve = found["detection"]["dent"]
    assert curve["parts"] == 18
    assert curve["a50"] < curve["a90"]
    assert found["agreement"]["within"]["Bob"]["share"] == 11 / 12
    assert found["agreement"]["against"]["Ann"]["kappa"] == 1
    assert found["agreement"]["station"]["value"] <= 1


def test_the_code_of_an_acceptance_test(station, tmp_path):
    """60 parts of either kind and no doubt: 59 prove 5 %, and not 4 %."""
    counts = {(lot, kind): 30 for lot in "cd" for kind in ("OK", "dent")}
    words = [station, write_lots(tmp_path / "many", counts, seed=8), "-o", tmp_path / "a.html"]
    for share, result, code in [(0.05, "passed", 0), (0.04, "too few parts", 1)]:
        more = ["--overwrite", "--json", "--most-escapes", share]
        done = CliRunner().invoke(app, ["qualify", *map(str, words + more)])
        assert done.exit_code == code
        found = json.loads(done.stdout)
        assert found["acceptance"]["escapes"]["result"] == result
        assert found["detection"] == {}
        assert found["agreement"] is None
        assert result in (tmp_path / "a.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--sheet", "gone.csv"], "gone.csv can't be read (No such file or directory)"),
        (["--sheet", "ratings.csv"], "there is no column file in the sheet: expected file, got"),
        (["--ratings", "sheet.csv"], "there is no column part in the ratings: expected part, insp"),
        (["--most-escapes", "5"], "the most escapes must be a share between 0 and 1, such as 0.05"),
        (["--allowed", "1"], "an acceptance test needs the most escapes, or the most false"),
    ],
)
def test_what_an_audit_can_not_take(station, tables, tmp_path, words, complaint):
    report = tmp_path / "report.html"
    begin = ["qualify", str(station), str(tables / "parts"), "-o", str(report)]
    words = [str(tables / word) if word.endswith(".csv") else word for word in words]
    done = CliRunner().invoke(app, [*begin, *words])
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert not report.exists()


@pytest.fixture(scope="module")
def onnx(station, tmp_path_factory):
    file = tmp_path_factory.mktemp("onnx") / "cell.onnx"
    said, _ = run("export", station, "-o", file)
    assert said.startswith(f"{file}: OK, dent, バリ; a part passes up to a score of ")
    assert said.endswith(f"Next: snnlib judge {file} FOLDER\n")
    return file


def test_one_file_for_a_line(station, onnx, labelled, tmp_path):
    judged = [told("judge", file, labelled, code=1) for file in (station, onnx)]
    assert judged[0]["counts"] == judged[1]["counts"]
    assert judged[0]["limit"] == judged[1]["limit"]
    for one, other in zip(*(found["parts"] for found in judged), strict=True):
        assert [*one] == [*other]
        assert [one[name] for name in ("file", "verdict", "nearest", "why")] == [
            other[name] for name in ("file", "verdict", "nearest", "why")
        ]
        assert other["score"] == (one["score"] and pytest.approx(one["score"], rel=1e-5))
    verdicts, pictures = tmp_path / "verdicts.csv", tmp_path / "pictures"
    said, _ = run("judge", onnx, labelled, "-o", verdicts, "--pictures", pictures, code=1)
    stopped = sum(part["verdict"] not in ("OK", "INVALID") for part in judged[1]["parts"])
    assert len(list(pictures.glob("*.png"))) == stopped  # what can't be read has no picture
    table = pd.read_csv(verdicts)
    assert table.verdict.tolist() == [part["verdict"] for part in judged[1]["parts"]]
    assert table.score.isna().sum() == 1
    assert "x.png: INVALID: " in said


def test_an_onnx_file_is_judged_without_pytorch(onnx, labelled, tmp_path):
    code = (
        "import sys; from snnlib.station.command_line import app; "
        "app(standalone_mode=False); print(*{name.split('.')[0] for name in sys.modules})"
    )
    words = ["judge", onnx, labelled / "c" / "OK" / "000.png", "-o", tmp_path / "verdicts.csv"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stdout.startswith("1 judged: 1 OK"), done.stderr
    assert not {"torch", "sklearn", "scipy", "pandas", "matplotlib"} & set(done.stdout.split())


def test_whole_numbers(parts, station, labelled, tmp_path):
    write(tmp_path / "stain", frames(5, 5, "stain"))
    taught, file = tmp_path / "taught.station", tmp_path / "small.onnx"
    run("add", station, tmp_path / "stain", "-o", taught)
    _, said = run("export", taught, "-o", file, "--int8", parts, code=2)
    assert "error: 5 of the 73 photographs that the station was made from are missing" in said
    assert not file.exists()
    both = ["--int8", parts, "--int8", tmp_path / "stain"]
    made = told("export", taught, "-o", file, *both)
    assert made["classes"] == ["OK", "dent", "stain", "バリ"]
    counts = told("judge", file, tmp_path / "stain", code=1)["counts"]
    assert counts.get("stain", 0) >= 4
    run("qualify", file, labelled, "-o", tmp_path / "report.html", code=1)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "in whole numbers of 8 bits" in report


def test_what_can_not_be_exported_or_judged(station, onnx, tmp_path):
    _, said = run("export", station, "-o", onnx, code=2)
    assert f"{onnx} is there already" in said
    _, said = run("export", station, "-o", tmp_path / "cell.bin", code=2)
    assert "an ONNX file ends in .onnx, got" in said
    (tmp_path / "cell.onnx").write_bytes(b"nothing")
    (part,) = write(tmp_path / "new", frames(1, 8))
    _, said = run("judge", tmp_path / "cell.onnx", part, code=2)
    assert "no ONNX file of a station, or a damaged one" in said
    _, said = run("judge", tmp_path / "gone.onnx", part, code=2)
    assert "gone.onnx" in said
    assert "gone.onnx" in told("judge", tmp_path / "gone.onnx", part, code=2)["error"]
