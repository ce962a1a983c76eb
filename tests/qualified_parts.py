"""A small station, and labelled photographs on which it is right and wrong in every way."""

import os
import warnings

import pandas as pd
from drawn_parts import frames, write, write_lots

from snnlib.station.parts import Parts
from snnlib.station.station import Station

LEARNED = {("a", "OK"): 30, ("a", "dent"): 8, ("b", "OK"): 22}
LABELLED = {("c", "OK"): 12, ("c", "dent"): 6, ("d", "OK"): 10}
# A stain and a file, whose names must not become markup; Windows allows less.
ODD, CHIPPED = (
    ("しみ & 'q'", "欠け & x.png") if os.name == "nt" else ('しみ <b> & "q"', "欠け <x>.png")
)


def small_station(folder, **settings):
    """Learn drawn parts: good ones, dents, and scratches under a Japanese name."""
    write_lots(folder, LEARNED)
    write(folder / "a" / "バリ", frames(8, 5, "scratch"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Station.fit(folder, size=64, false_alarms=0.05, progress=False, **settings)


def label(folder):
    """Write other lots, and put some photographs into a folder that is not that of their class."""
    write_lots(folder, LABELLED, seed=7)
    write(folder / "c" / "OK", frames(2, 71, "dent"), first=100)  # false alarms
    write(folder / "c" / "dent", frames(3, 72), first=100)  # escapes
    write(folder / "d" / "バリ", frames(6, 73, "scratch"))
    write(folder / "d" / "バリ", frames(1, 74, "dent"), first=100)  # a wrong name
    write(folder / "d" / "stain", frames(3, 75, "stain"))
    (folder / "d" / "stain").rename(folder / "d" / ODD)
    (folder / "d" / "OK" / CHIPPED).write_bytes(b"no picture")
    return folder


def label_amounts(folder):
    """Write dents, and good parts among them that are misses; tell amounts that overlap."""
    write_lots(folder, {("c", "OK"): 8, ("c", "dent"): 12, ("d", "OK"): 8}, seed=8)
    write(folder / "c" / "dent", frames(6, 92), first=100)
    amounts = [2 + k / 2 for k in range(12)] + [0.5 + 0.9 * k for k in range(6)]
    files = sorted((folder / "c" / "dent").iterdir())
    rows = [(f"c/dent/{file.name}", amount) for file, amount in zip(files, amounts, strict=True)]
    return pd.DataFrame(rows, columns=["file", "amount"])


def rate(folder, trials=3, count=12):
    """What two inspectors say of the last few photographs: Bob misses a part in its last trial."""
    parts = Parts.read(folder)
    files = list(zip(parts.files, parts.names))[-count:]
    missed = next(file for file, name in files if name != "OK")
    return pd.DataFrame(
        {
            "part": str(file),
            "inspector": inspector,
            "trial": trial,
            "verdict": "OK"
            if name == "OK" or (inspector == "Bob" and file == missed and trial == trials)
            else "reject",
        }
        for inspector in ("Ann", "Bob")
        for trial in range(1, trials + 1)
        for file, name in files
    )
