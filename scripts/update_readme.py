"""Write the results at a glance into README.md, from the benchmark tables.

.venv/bin/python scripts/update_readme.py
"""

import re
from pathlib import Path

from snnlib.results import read_results

README = Path(__file__).resolve().parent.parent / "README.md"
PLACE = re.compile(r"(?<=<!-- results: begin -->\n).*(?=<!-- results: end -->)", re.DOTALL)

MINING = ("3", "chapters/mining.md")
STATION = ("6", "chapters/cnn_triplet_inspection.md")
CHOICE = ("7", "chapters/choosing_a_method.md")
SIGNATURE = ("8", "chapters/signing_off.md")


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
        yield f"{data}, official test images: nearest anchor right", percent(of), len(of), MINING
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
    whole = read_results("signing_off").where(case="whitening rounded first").runs
    times = f"{whole['speedup'].mean():.1f} times as fast"
    points = 100 * (whole["accuracy"] - whole["int8_accuracy"]).mean()
    result = f"{times}, {points:.1f} points lost"
    yield "the network in whole numbers, on one thread", result, len(whole), SIGNATURE


def table():
    """The results as a markdown table."""
    lines = ["| measured | result | seeds | chapter |", "|---|---|---|---|"]
    for words, result, seeds, (number, file) in rows():
        lines.append(f"| {words} | {result} | {seeds} | [{number}]({file}) |")
    return "\n".join(lines) + "\n"


def updated(text):
    """Text of the README with the table in its place.

    Raises
    ------
    ValueError
        If the marks around the table are missing.
    """
    if not PLACE.search(text):
        raise ValueError("README.md has no '<!-- results: begin -->' … '<!-- results: end -->'")
    return PLACE.sub(lambda _: table(), text)


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
