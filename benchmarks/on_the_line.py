"""The signed station on the line: whole numbers, new lots, drift, and master parts; five seeds.

    python benchmarks/on_the_line.py

The station is that of `signing_off.py`, and so is its rule. Parts of the table, by the column
`part`:

- ``numbers``: one ONNX file that gives verdicts, in float32 and in 8-bit whole numbers, where
  anchors and limit come from embeddings in whole numbers; with the whitening rounded to what these
  hold before the network was trained, and as it was fitted. Errors on the test set, verdicts that
  differ, milliseconds of a part on one core, in turns.
- ``lot``: the later lot: as it comes, with a new good anchor, with maps moved back, with a new
  reference image, each from the same 20 good parts.
- ``drift``: cameras moved apart by little, and another plating. Errors by the rule, and how many
  parts it takes a control chart to signal. The chart follows all parts that come, 0.5 % of them
  defective, whatever they are: their scores as they are; cut at the limit; the logarithm of that.
- ``masters``: five master parts, photographed anew at the start of a shift: how often they ring.

Nothing is chosen by what comes out.
"""

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measuring import seconds_of
from recording import begin, show
from signed_station import station_of

from snnlib.evaluation import escapes, false_alarms
from snnlib.nsoartc.dataset import MODES, named_images, unit_space
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.simulator import Lot, draw_parts, photograph
from snnlib.nsoartc.soart import MAP_SHAPE, Soart
from snnlib.station.exporting import arrays_in_int8, export_station
from snnlib.station.judging import load_judge

SEEDS = (0, 1, 2, 3, 4)
WHITENINGS = {"whitening rounded first": True, "whitening as fitted": False}
NEW_LOT = 20
WAYS = ("as it comes", "new good anchor", "maps moved back", "new reference image")
ROUNDS, TIMED = 7, 400
GOOD_PARTS, OF_A_MODE = 2000, 50
DRIFTS = {
    "nothing": Lot(),
    **{f"cameras moved by {mm:g} mm": Lot(cameras=(mm, -mm, mm)) for mm in (0.01, 0.02, 0.05, 0.1)},
    "other plating": Lot(brightness=0.92, glint=1.25),
}
DEFECT_RATE = 0.005
WEIGHT, WIDTH = 0.2, 3.5
STREAMS, LONGEST = 400, 20_000
MASTERS = (OK, OK, "31D05", "61X10", "92Y10")
CHECKS, TAUGHT_BY, SIGMAS = 200, 30, 4.0


def put(record, run, figures):
    record.add(run, figures)
    print(run, {name: round(value, 4) for name, value in figures.items()}, flush=True)


def errors(names, verdicts):
    return {
        "escapes": escapes(names, verdicts).value,
        "false_alarms": false_alarms(names, verdicts).value,
    }


def maps_of(modes, lot, seed):
    """Parts of a lot as maps, by the reference of the old one."""
    images = photograph(draw_parts(modes, seed=seed, lot=lot), seed=seed)
    maps = [unit_space().transform(batch) for batch in images]
    return np.concatenate(maps).reshape(-1, 1, *MAP_SHAPE)


# Whole numbers


def one_by_one(judge, maps):
    return np.array([judge.judge(part[None])[0]["verdict"] for part in maps])


def alone(session, maps):
    """What ONNX Runtime takes for parts one at a time, on one core, with nothing around it."""
    for part in maps:
        session.run(["verdict", "score"], {"parts": part[None]})


def measure_numbers(record, seed, station_by, train, calibration, test):
    for case, rounded in WHITENINGS.items():
        run = {"part": "numbers", "case": case, "seed": seed}
        if record.done(run):
            continue
        station = station_by(rounded)
        small = arrays_in_int8(station, train, calibration)
        told = {"float32": station.judge(test.images), "int8": small.judge(test.images)}
        with TemporaryDirectory() as folder:
            files = {name: Path(folder, f"{name}.onnx") for name in told}
            export_station(station, files["float32"])
            export_station(small, files["int8"])
            sizes = {name: file.stat().st_size for name, file in files.items()}
            judges = {name: load_judge(file) for name, file in files.items()}
        timed = test.images[:: max(1, len(test) // TIMED)]
        times = {name: [] for name in judges}
        for _ in range(ROUNDS):
            for name, judge in judges.items():
                seconds = seconds_of(alone, judge.session, timed)[0]
                times[name].append(1000 * seconds / len(timed))
        of_file = {name: one_by_one(judge, timed) for name, judge in judges.items()}
        both = {name: table.verdict.to_numpy() for name, table in told.items()}
        step = max(1, len(test) // TIMED)
        figures = {"differ": float((both["float32"] != both["int8"]).mean())}
        for name in told:
            figures |= {f"{name} {k}": v for k, v in errors(test.names, both[name]).items()}
            figures[f"{name}_ms"] = float(np.median(times[name]))
            figures[f"{name}_bytes"] = sizes[name]
            figures[f"{name}_file_differ"] = float((of_file[name] != both[name][::step]).mean())
        figures["speedup"] = float(np.median(np.divide(times["float32"], times["int8"])))
        figures["size_ratio"] = sizes["int8"] / sizes["float32"]
        figures["limit_ratio"] = small.limit / station.limit
        # The same network with the anchors and the limit of the float one.
        old = replace(small, anchors=station.anchors, rule=station.rule)
        kept = errors(test.names, old.judge(test.images).verdict)
        put(record, run, figures | {f"int8, old limit, {k}": v for k, v in kept.items()})


# The later lot


def with_good_anchor(station, maps):
    """The same station, its good anchor the mean of some parts."""
    points = station.anchors.points.copy()
    points[station.anchors.names == OK] = station.features.describe(maps)[0].mean(axis=0)
    return replace(station, anchors=replace(station.anchors, points=points))


def measure_lot(record, seed, station_by, train, later, images):
    runs = [{"part": "lot", "case": way, "seed": seed} for way in WAYS]
    if all(record.done(run) for run in runs):
        return
    station = station_by(True)
    good = np.flatnonzero(later.names == OK)[:NEW_LOT]
    rest = np.setdiff1d(np.arange(len(later)), good)
    moved = later.images[good].mean(axis=0) - train.images[train.names == OK].mean(axis=0)
    soart = Soart().fit(images[good])
    anew = soart.transform(images[rest]).reshape(-1, 1, *MAP_SHAPE)
    judged = (
        (station, later.images[rest]),
        (with_good_anchor(station, later.images[good]), later.images[rest]),
        (station, later.images[rest] - moved),
        (station, anew),
    )
    for run, (judge, maps) in zip(runs, judged):
        if record.done(run):
            continue
        told = judge.judge(maps)
        right = float((told.verdict == later.names[rest]).mean())
        put(record, run, errors(later.names[rest], told.verdict) | {"right": right})


# Drift


def statistics(station):
    limit = station.limit
    return {
        "run_raw": lambda scores: scores,
        "run_cut": lambda scores: np.minimum(scores, limit),
        "run_log": lambda scores: np.log(np.minimum(scores, limit)),
    }


def parts_until_signal(good, defective, centre, spread, seed):
    """Mean number of parts until the average of a stream leaves its band, over many streams."""
    random = np.random.default_rng(seed)
    average, lengths = np.full(STREAMS, centre), np.full(STREAMS, LONGEST)
    running = np.ones(STREAMS, dtype=bool)
    age = 0
    while running.any() and age < LONGEST:
        age += 1
        is_bad = random.random(STREAMS) < DEFECT_RATE
        values = np.where(is_bad, random.choice(defective, STREAMS), random.choice(good, STREAMS))
        average = WEIGHT * values + (1 - WEIGHT) * average
        share = WEIGHT / (2 - WEIGHT) * (1 - (1 - WEIGHT) ** (2 * age))
        out = running & (np.abs(average - centre) > WIDTH * spread * np.sqrt(share))
        lengths[out] = age
        running &= ~out
    return float(lengths.mean())


def measure_drift(record, seed, station_by, good):
    todo = {case: {"part": "drift", "case": case, "seed": seed} for case in DRIFTS}
    if all(record.done(run) for run in todo.values()):
        return
    station = station_by(True)
    in_control = station.judge(good).score.to_numpy()
    modes = [OK] * GOOD_PARTS + [mode for mode in MODES[1:] for _ in range(OF_A_MODE)]
    names = np.array(modes)
    for k, (case, lot) in enumerate(DRIFTS.items()):
        if record.done(todo[case]):
            continue
        told = station.judge(maps_of(modes, lot, 4000 + k))
        scores = told.score.to_numpy()
        figures = errors(names, told.verdict)
        for name, of_score in statistics(station).items():
            before, now = of_score(in_control), of_score(scores)
            figures[name] = parts_until_signal(
                now[names == OK], now[names != OK], before.mean(), before.std(ddof=1), seed
            )
        put(record, todo[case], figures)


# Master parts


def measure_masters(record, seed, station_by):
    """How often five masters ring at the start of a shift: another verdict, or another score."""
    runs = [{"part": "masters", "case": case, "seed": seed} for case in DRIFTS]
    if all(record.done(run) for run in runs):
        return
    station = station_by(True)
    made = draw_parts(MASTERS, seed=5000)
    known = shots_of(station, made, TAUGHT_BY, Lot(), 5000)
    verdicts = np.array([mode_of(known, k) for k in range(len(MASTERS))])
    centre, spread = known[1].mean(axis=1), known[1].std(axis=1, ddof=1)
    for k, (run, lot) in enumerate(zip(runs, DRIFTS.values())):
        if record.done(run):
            continue
        said, scores = shots_of(station, made, CHECKS, lot, 5100 + k)
        by_verdict = (said != verdicts[:, None]).any(axis=0)
        off = np.abs(scores - centre[:, None]) > SIGMAS * spread[:, None]
        rings = by_verdict | off.any(axis=0)
        figures = {"rings": float(rings.mean()), "rings_by_verdict": float(by_verdict.mean())}
        put(record, run, figures)


def mode_of(known, k):
    """What a master part was called in most of the shots that it is known by."""
    names, counts = np.unique(known[0][k], return_counts=True)
    return names[counts.argmax()]


def shots_of(station, made, shots, lot, seed):
    """Verdicts and scores (m, shots) of master parts under a lot's cameras and plating."""
    many = made.take(np.repeat(np.arange(len(made)), shots))
    many = replace(
        many,
        brightness=many.brightness * lot.brightness,
        glint=many.glint * lot.glint,
        lot=lot,
    )
    maps = [unit_space().transform(batch) for batch in photograph(many, seed=seed)]
    told = station.judge(np.concatenate(maps).reshape(-1, 1, *MAP_SHAPE))
    shape = (len(made), shots)
    return told.verdict.to_numpy().reshape(shape), told.score.to_numpy().reshape(shape)


def made_station(train, calibration, seed, rounded):
    return station_of(train, calibration, seed, rounded=rounded)


def main():
    splits = ("train", "calibration", "test", "later")
    train, calibration, test, later = (load_maps(split) for split in splits)
    images = named_images("later").images
    record = begin(__file__, train.source, "onnx", "onnxruntime")
    good = calibration.images[calibration.names == OK]
    for seed in SEEDS:
        station_by = cache(partial(made_station, train, calibration, seed))
        measure_numbers(record, seed, station_by, train, calibration, test)
        measure_lot(record, seed, station_by, train, later, images)
        measure_drift(record, seed, station_by, good)
        measure_masters(record, seed, station_by)
    show(record, "part")
    print(json.dumps(record.means(("int8 escapes", "speedup", "run_log", "rings"))))


if __name__ == "__main__":
    main()
