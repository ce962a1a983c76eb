"""The command line, as a quality engineer would type it: each command a process of its own."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn_parts import draw, frames, write, write_lots
from PIL import Image
from typer.testing import CliRunner

from snnlib.station.command_line import Method, app
from snnlib.station.rule import LIMITS
from snnlib.station.saving import load_station

SNNLIB = shutil.which("snnlib", path=Path(sys.executable).parent)
SMALL = ["--size", "64", "--false-alarms", "0.05"]
LOTS = {("a", "OK"): 30, ("a", "dent"): 8, ("b", "OK"): 22}


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
    for command in ("check", "train", "judge", "add"):
        assert command in said
        of_command, _ = run(command, "--help")
        assert "--json" in of_command
    assert "Begin with: snnlib check parts" in " ".join(said.split())
    assert "Exit codes" in said
    run(code=2)  # no command: help, and the code of a wrong call


def test_from_a_folder_to_verdicts(parts, station, tmp_path):
    said, _ = run("check", parts)
    assert re.search(r"a +30 +8 +8", said)
    assert "Nothing to mend. Next: snnlib train" in said
    new = tmp_path / "new"  # photographs to be judged need no folders
    write(new, [*frames(4, 8), *frames(3, 9, "dent")])
    verdicts, pictures = tmp_path / "verdicts.csv", tmp_path / "pictures"
    said, _ = run("judge", station, new, "-o", verdicts, "--pictures", pictures, code=1)
    table = pd.read_csv(verdicts)
    assert table.file.tolist() == [str(new / f"{k:03}.png") for k in range(7)]
    assert table.verdict.tolist() == ["OK"] * 4 + ["dent"] * 3
    expected = load_station(station).judge(new)
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


def test_good_parts_of_one_lot_are_a_beginning(tmp_path):
    write(tmp_path / "OK", frames(30, 0))
    said, _ = run("check", tmp_path, code=1)
    assert "good parts are of one lot only" in said
    said, _ = run("train", tmp_path, "-o", tmp_path / "a.station", *SMALL[:2])
    assert "set by the last 6 good parts" in said
    assert "- doubt: there are good parts of one lot only" in said


@pytest.mark.parametrize("size", [(480, 640), (1080, 1920)])
def test_large_photographs_are_brought_to_a_size(tmp_path, size):
    rng = np.random.default_rng(0)
    write(tmp_path / "OK", [draw(rng, size=size) for _ in range(12)])
    made = told("train", tmp_path, "-o", tmp_path / "a.station", *SMALL[:2])
    assert made["made"]["classes"] == {"OK": 12}


def test_sizes_and_proportions_that_differ_are_told(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "OK", [draw(rng, size=(64, 64 + 32 * (k % 2))) for k in range(12)])
    said, _ = run("check", tmp_path, code=1)
    assert "proportions differ (64 × 64, 96 × 64): cut the photographs alike" in said
    cut = ["--crop", "0,0,64,64", *SMALL[:2]]
    assert told("train", tmp_path, "-o", tmp_path / "a.station", *cut)["made"]["parts"] == 12


def test_deep_files_are_told(tmp_path):
    grey = frames(12, 0)[..., 0].astype(np.uint16) * 16
    (tmp_path / "OK").mkdir()
    for k, image in enumerate(grey):
        Image.fromarray(image).save(tmp_path / "OK" / f"{k}.png")
    said, _ = run("check", tmp_path, code=1)
    assert "files of 16 bits seem to use 12 of them: say bits=12" in said
    _, complaint = run("train", tmp_path, "-o", tmp_path / "a.station", code=2)
    assert "12" in complaint
    run("train", tmp_path, "-o", tmp_path / "a.station", "--bits", "12", *SMALL[:2])


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
    assert "- 1 file can't be read" in said.split("sizes:")[1].splitlines()[1]


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
    codes = {"check": (0,), "train": (0,), "judge": (0, 1), "add": (0,)}
    typed = commands(page)
    assert [words[0] for words in typed] == list(codes)
    for words in typed:
        done = subprocess.run([SNNLIB, *words], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode in codes[words[0]], done.stderr
    assert "scratch" in load_station(tmp_path / "cell2.station").anchors.classes
    assert len(pd.read_csv(tmp_path / "verdicts.csv")) == 3
