"""The script that a page shows for the computer of a line, where nothing else is installed."""

import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
from drawn_parts import frames, write, write_lots
from PIL import Image
from test_station_exporting import fit, in_whole_numbers

from snnlib.station.exporting import export_station
from snnlib.station.parts import Parts

PAGE = Path(__file__).parent.parent / "chapters" / "your_own_parts.md"
NEEDED = ("numpy", "onnxruntime", "pillow")


def script():
    """The only block of Python on the page that is no cell."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return block


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A folder of packages that holds those three and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    for package in map(distribution, NEEDED):
        for name in {file.parts[0] for file in package.files} - {".."}:
            (folder / name).symlink_to(package.locate_file(name))
    return folder


@pytest.fixture(scope="module")
def line(bare, tmp_path_factory):
    """Run the script there."""
    file = tmp_path_factory.mktemp("line") / "judge.py"
    start = f"import sys; sys.path.append({str(bare)!r})\n"
    file.write_text(start + script(), encoding="utf-8")

    def run(*words):
        command = [sys.executable, "-I", "-S", file, *words]
        return subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    lots = {("a", "OK"): 30, ("a", "dent"): 8, ("b", "OK"): 22}
    return write_lots(tmp_path_factory.mktemp("parts"), lots, size=(80, 72))


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """What a camera may write, in 8 bits."""
    folder = tmp_path_factory.mktemp("new")
    shown = [*frames(6, 21, size=(80, 72)), *frames(6, 22, "dent", size=(80, 72))]
    found = write(folder, [*shown, *frames(2, 23, "stain", size=(80, 72))])
    for k, mode in enumerate(["L", "LA", "RGBA", "P", "CMYK"]):
        suffix = "jpg" if mode == "CMYK" else "png"
        found.append(folder / f"{mode}.{suffix}")
        Image.fromarray(shown[k]).convert(mode).save(found[-1])
    turned = Image.Exif()
    turned[0x0112] = 6
    found.append(folder / "turned.jpg")
    Image.fromarray(np.rot90(shown[7])).save(found[-1], quality=95, exif=turned)
    found.append(folder / "bright.png")
    Image.fromarray(np.minimum(shown[0], 155) + np.uint8(100)).save(found[-1])
    return found


def test_nothing_else_is_there(bare):
    assert {path.name.partition(".")[0].partition("-")[0] for path in bare.iterdir()} <= {
        "numpy", "onnxruntime", "PIL", "pillow",
    }  # fmt: skip
    code = f"import sys; sys.path.append({str(bare)!r}); import torch"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert "No module named 'torch'" in done.stderr


@pytest.mark.parametrize(
    "settings",
    [{}, {"grey": True, "evidence": False}, {"crop": (4, 2, 70, 78)}, {"size": None}],
    ids=["colour", "grey", "cut", "as it is"],
)
def test_the_same_verdicts(line, folder, new, settings, tmp_path):
    station = fit(folder, **settings)
    one = in_whole_numbers(station, Parts.read(folder)) if settings.get("grey") else station
    export_station(one, tmp_path / "cell.onnx")
    done = line(tmp_path / "cell.onnx", *new)
    assert done.returncode == 0, done.stderr
    table = one.judge(new)
    lines = done.stdout.splitlines()
    assert len(lines) == len(table)
    for words, row in zip(lines, table.itertuples()):
        file, rest = words.split(": ")
        verdict, score, limit = rest.split(", ")
        assert (file, verdict) == (row.file, row.verdict)
        assert limit == f"limit {one.limit:.5f}"
        if row.verdict != "INVALID":
            assert float(score) == pytest.approx(row.score, rel=1e-5, abs=1e-5)
    assert {"OK", "dent", "INVALID"} <= set(table.verdict)


def test_what_it_knows_nothing_of_is_refused(line, folder, new, tmp_path):
    deep, small = tmp_path / "deep.png", tmp_path / "small.png"
    with Image.open(new[0]) as image:
        grey = np.asarray(image.convert("L"))
        image.resize((60, 60)).save(small)
    Image.fromarray(grey.astype(np.uint16) * 257).save(deep)
    for settings, file, words in [
        ({}, deep, "has more than 8 bits"),
        ({"crop": (4, 2, 70, 78)}, small, "smaller than what is to be cut"),
        ({"size": None}, small, "has (60, 60) pixels, expected (72, 80)"),
    ]:
        export_station(fit(folder, **settings), tmp_path / "cell.onnx")
        done = line(tmp_path / "cell.onnx", file)
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_photographs_of_8_bits_where_a_station_knows_deeper_ones(line, folder, new, tmp_path):
    for file in (folder / "a" / "OK").iterdir():
        deep = tmp_path / "parts" / "a" / "OK" / file.name
        deep.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(file) as image:
            values = np.asarray(image.convert("L")).astype(np.uint16) * 16
        Image.fromarray(values).save(deep)
    station = fit(tmp_path / "parts", bits=12)
    export_station(station, tmp_path / "cell.onnx")
    done = line(tmp_path / "cell.onnx", *new[:3])
    scores = [float(words.split(", ")[1]) for words in done.stdout.splitlines()]
    assert scores == pytest.approx(station.judge(new[:3]).score.tolist(), rel=1e-5, abs=1e-5)
