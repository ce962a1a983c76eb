"""Write the results at a glance into README.md, from the benchmark tables, and number its chapters.

.venv/bin/python scripts/update_readme.py
"""

import re
from pathlib import Path

import yaml

from snnlib.book.results import read_results

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PLACE = re.compile(r"(?<=<!-- results: begin -->\n).*(?=<!-- results: end -->)", re.DOTALL)

TWO_CORES = "chapters/two_cores.md"
STATION = "chapters/cnn_triplet_inspection.md"
CHOICE = "chapters/choosing_a_method.md"
SOLAR = "chapters/solar_cells.md"
BOARDS = "chapters/golden_sample.md"
OWN_PARTS = "chapters/your_own_parts.md"
SIGNATURE = "chapters/signing_off.md"
LINE = "chapters/on_the_line.md"


def numbers():
    """Number of each chapter by its file, as the build counts them."""
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    files = [c["file"] for part in parts if part.get("numbered") for c in part["chapters"]]
    return {f"{file}.md": number for number, file in enumerate(files, 1)}


def percent(values):
    """Mean and standard deviation of shares over seeds, in percent."""
    return f"{100 * values.mean():.2f} ± {100 * values.std(ddof=1):.2f} %"


def rows():
    """Each result: what was measured, the figure, over how many seeds, and in which chapter."""
    accuracy = read_results("accuracy")
    for data, case, epochs in [
        ("MNIST", "snnlib, CNN", 5),
        ("Fashion-MNIST", "Fashion: snnlib, CNN", 8),
    ]:
        of = accuracy.where(epochs=epochs).of(case, "anchor")
        yield f"{data}, official test images: nearest anchor right", percent(of), len(of), TWO_CORES
    station = read_results("cnn_triplet")
    for words, figure in [
        ("connector parts: the right one of ten names", "accuracy"),
        ("defective parts that pass", "escapes_with_limit"),
        ("good parts that are stopped", "false_alarms_with_limit"),
    ]:
        of = station.of("batches shifted by pins", figure)
        yield words, percent(of), len(of), STATION
    five = read_results("new_defects").where(parts=5).where(case="network").runs
    single = five[~five["left_out"].str.startswith("all")]  # not a whole direction of tilts
    of = single.groupby("seed")["new"].mean()
    yield "a new defect, named after five parts of it", percent(of), len(of), STATION
    ruler = read_results("inspection").where(part="tree").of("ruler", "accuracy")
    words = "a ruler, without learning, where the geometry is known"
    yield words, f"{100 * ruler.mean():.2f} %", "none needed", CHOICE
    solar = read_results("solar_cells")
    for words, case in [
        (
            "solar cells, weighted accuracy: a head on features that came for nothing",
            "head, soft labels",
        ),
        ("solar cells, weighted accuracy: fine-tuned on two cores", "fine-tuned"),
    ]:
        of = solar.of(case, "weighted")
        yield words, percent(of), len(of), SOLAR
    boards = read_results("golden_sample")
    of = boards.of("difference", "map")
    words = "circuit boards beside their templates: mAP over six kinds of defects"
    yield words, percent(of), len(of), BOARDS
    left_out = boards.runs[boards.runs["case"].str.startswith("left out")]
    both, alone = (
        left_out[left_out["case"].str.endswith(looks)]["recall"]
        for looks in ("difference", "tested")
    )
    spans = (f"{100 * of.min():.0f} to {100 * of.max():.0f} %" for of in (both, alone))
    words = "of a kind of defect that was never trained, found with the template and without"
    yield words, " against ".join(spans), left_out["seed"].nunique(), BOARDS
    raced = read_results("station").where(case="PatchCore, as many patches").runs
    words = "a station from 120 good photographs, against PatchCore with as many patches"
    result = f"fitted {raced['fit_ratio'].mean():.0f} times as fast"
    areas = f"ROC AUC {raced['auc'].mean():.3f} against {raced['peer_auc'].mean():.3f}"
    yield words, f"{result}, {areas}", len(raced), OWN_PARTS
    line = read_results("station").where(case="one file, with evidence").runs
    words = "a station as one file, on one core: from the command to a verdict, then a photograph"
    result = f"{line['float32_cold_s'].mean():.2f} s, then {line['float32_ms'].mean():.0f} ms"
    yield words, result, len(line), OWN_PARTS
    judges = read_results("signing_off").where(part="judges")
    for words, figure, unit in [
        ("a drawback that the signed station finds 9 of 10 times, at 95 % confidence", "D", "mm"),
        ("likewise a tilt in X", "X", "°"),
        ("likewise a tilt in Y", "Y", "°"),
    ]:
        of = judges.of("station", f"a90_95 {figure}")
        yield words, f"{of.mean():.2f} ± {of.std(ddof=1):.2f} {unit}", len(of), SIGNATURE
    of = judges.of("station", "passes: tilt in X reversed")
    yield "tilts in X to the other side that it lets pass", percent(of), len(of), SIGNATURE
    whole = read_results("on_the_line").where(case="whitening rounded first").runs
    times = f"{whole['speedup'].mean():.1f} times as fast"
    kinds = ("escapes", "false_alarms")
    before, after = (
        [f"{100 * whole[f'{name} {kind}'].mean():.2f}" for kind in kinds]
        for name in ("float32", "int8")
    )
    errors = (f"{one} to {other} %" for one, other in zip(before, after))
    result = "{}; escapes {}, false alarms {}".format(times, *errors)
    yield "the same station in whole numbers, on one core", result, len(whole), LINE


def table():
    """The results as a markdown table."""
    lines = ["| measured | result | seeds | chapter |", "|---|---|---|---|"]
    for words, result, seeds, file in rows():
        lines.append(f"| {words} | {result} | {seeds} | [{numbers()[file]}]({file}) |")
    return "\n".join(lines) + "\n"


def updated(text):
    """Text of the README with the table in its place and a number before each chapter's title.

    Raises
    ------
    ValueError
        If the marks around the table are missing.
    """
    if not PLACE.search(text):
        raise ValueError("README.md has no '<!-- results: begin -->' … '<!-- results: end -->'")
    text = PLACE.sub(lambda _: table(), text)
    for file, number in numbers().items():
        text = re.sub(rf"\[(?:\d+ · )?([^]\d][^]]*)\]\({file}\)", rf"[{number} · \1]({file})", text)
    return text


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
