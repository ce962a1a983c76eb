"""A small station, and labelled photographs on which it is right and wrong in every way."""

import os
import warnings

from drawn_parts import frames, write, write_lots

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
