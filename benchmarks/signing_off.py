"""One station by one rule, and all that whoever signs asks of it; five seeds.

    python benchmarks/signing_off.py

The network is the mined tile CNN on whitened maps, its batches shifted by pins. Its station passes
a part if the good anchor is the nearest and no farther than a limit that comes from good
calibration parts: the tolerance limit, beyond which at most 1 % of good parts lie, at 95 %
confidence. Parts of the table, by the column `part`:

- ``limits``: three ways to set a limit, each for a promise of 1 %, from 300 and from 1 100 good
  parts. Each is set 40 times, from parts that are drawn anew and judged by nobody else. False
  alarms are counted on 20 000 other good parts, escapes on the defective test parts.
- ``judges``: the station, and beside it the ruler with limits of as many good parts. Errors on the
  test set, shares that pass of each kind of the set ``unseen``, the same part ten times, amounts
  that are detected with a chance of 90 %, and the agreement study.
- ``inspectors``: the simulated inspectors of that study.

Nothing is chosen by what comes out.
"""

import json
from functools import partial

import numpy as np
from measuring import seconds_of
from recording import begin, show
from signed_station import station_of

from snnlib.book.study import INSPECTORS, TRAINED_PINS, TRIALS, draw_study
from snnlib.evaluation import escapes, false_alarms
from snnlib.nsoartc.dataset import named_images, simulate, unit_space
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.graded import graded_parts
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.ruler import Ruler
from snnlib.nsoartc.simulator import photograph
from snnlib.nsoartc.soart import MAP_SHAPE
from snnlib.quality.agreement import agreement
from snnlib.quality.detection import detection_curve
from snnlib.station.limits import tolerance_limit
from snnlib.station.rule import LIMITS, set_rule

SEEDS = (0, 1, 2, 3, 4)
PROMISE = 0.01
SIZES = (300, 1100)
RECALIBRATIONS, OTHERS = 40, 20_000
FIRST_SEED = 1000  # of the recalibrations; the named sets have 1 to 7
GRADED = 300  # parts of a curve of detection
KINDS = {
    "other pins": ("11D05", "12X10", "73Y10", "103D05", "131X10", "131D05", "133Y10"),
    "drawback of 0.2 to 0.4 mm": ("31D02", "61D03", "92D04"),
    "drawback of 0.6 to 1.0 mm": ("31D06", "61D08", "92D10"),
    "tilt in X reversed": ("31X-10", "61X-10", "92X-10"),
    "tilt in Y reversed": ("31Y-10", "61Y-10", "92Y-10"),
    "two pins": ("31D05+92X10", "61Y10+92D05", "31X10+61X10"),
    "missing pin": ("31M", "73M"),
}
# Amounts of each curve, from nothing to beyond the nominal defect: mm and degrees.
AMOUNTS = {"D": (0.01, 0.6), "X": (0.01, 1.2), "Y": (0.01, 1.2)}
REVERSED = ("X", "Y")
STATION, RULER = "station", "ruler, limits of good parts"


# Three ways to set a limit


def good_maps(parts, seed):
    return simulate(parts, (OK,), part_seed=seed, shot_seed=seed).images


def recalibrated(method, to_good, told, defective):
    """Errors by the limits that parts set, a row of distances each: of good parts and of others."""
    found = []
    for distances in to_good:
        settings = {"method": method, "false_alarms": PROMISE, "calibration": "drawn anew"}
        rule = set_rule(distances, None, **settings)
        passed = (told.nearest == OK) & rule.passes(told.to_good)
        found.append((1 - passed[~defective].mean(), passed[defective].mean()))
    return np.array(found).T


def runs_of_limits(seed):
    return [
        {"part": "limits", "case": method, "seed": seed, "parts": size}
        for size in SIZES
        for method in LIMITS
    ]


def measure_limits(record, seed, station, test):
    runs = runs_of_limits(seed)
    if all(record.done(run) for run in runs):
        return
    drawn = good_maps(max(SIZES) * RECALIBRATIONS, FIRST_SEED)
    to_good = station.judge(drawn).to_good.to_numpy().reshape(RECALIBRATIONS, -1)
    del drawn
    judged = np.concatenate([good_maps(OTHERS, FIRST_SEED + 1), test.images[test.names != OK]])
    told, defective = station.judge(judged), np.arange(len(judged)) >= OTHERS
    for run in runs:
        of_limit = recalibrated(run["case"], to_good[:, : run["parts"]], told, defective)
        alarms, escaped = of_limit
        if not seed:
            record.note({f"{run['case']}, {run['parts']}": np.round(alarms, 6).tolist()})
        figures = {
            "false_alarms": float(alarms.mean()),
            "escapes": float(escaped.mean()),
            "kept": float((alarms <= PROMISE).mean()),
        }
        put(record, run, figures)


# What is asked of whoever judges. A judge takes images and maps and tells which parts it stops.


def station_stops(station):
    return lambda images, maps: station.judge(maps).verdict.to_numpy() != OK


def ruler_of_good_parts(train, good):
    """The ruler, whose limits are as many standard deviations of good parts in each direction."""
    gauge = Ruler().fit(train)
    measured = gauge.measure(good)
    spread = measured.std(axis=(0, 1, 2))
    most = np.abs(measured / spread).max(axis=(1, 2, 3))
    limits = spread * tolerance_limit(most, PROMISE)
    return lambda images, maps: gauge.inspect(images, limits).verdict.to_numpy() != OK


def seen_of(parts, seed):
    """Images and maps of simulated parts."""
    images = np.concatenate(list(photograph(parts, seed=seed)))
    return images, unit_space().transform(images).reshape(-1, 1, *MAP_SHAPE)


def named(split):
    maps = load_maps(split)
    return named_images(split).images, maps.images, maps.names


def errors(stops, test):
    *seen, names = test
    said = np.where(stops(*seen), "stopped", OK)
    return {
        "escapes": escapes(names, said).value,
        "false_alarms": false_alarms(names, said).value,
    }


def passes_of_unseen(stops, unseen):
    *seen, names = unseen
    passed = ~stops(*seen)
    return {
        f"passes: {kind}": float(passed[np.isin(names, modes)].mean())
        for kind, modes in KINDS.items()
    }


def flips(stops, retest, shots=10):
    """Share of parts that are judged both ways in ten shots of them."""
    *seen, _ = retest
    stopped = stops(*seen).reshape(-1, shots)
    return {"judged both ways": float((stopped != stopped[:, :1]).any(axis=1).mean())}


def detection(stops, seed):
    """Amounts that are found by a chance, by direction; of reversed tilts the share that is."""
    figures = {}
    for k, (way, ends) in enumerate(AMOUNTS.items()):
        amounts = np.linspace(*ends, GRADED)
        pins = np.array(TRAINED_PINS)[np.arange(GRADED) % len(TRAINED_PINS)]
        parts = partial(graded_parts, [way] * GRADED, pins=pins, seed=2000 + 10 * seed + k)
        curve = detection_curve(amounts, stops(*seen_of(parts(amounts), seed)))
        figures |= {f"a50 {way}": curve.a50, f"a90 {way}": curve.a90, f"a90_95 {way}": curve.a90_95}
        if way in REVERSED:
            nominal = np.linspace(0.9, 1.1, GRADED)
            stopped = stops(*seen_of(parts(-nominal), seed))
            figures[f"stopped: {way} reversed"] = float(stopped.mean())
    return figures


def study_of(seed):
    """The parts of the agreement study, each as often as there are trials, and their truth."""
    table = draw_study(seed)
    pins = table[["pin", "row"]].to_numpy()
    parts = graded_parts(table.direction, table.amount, pins, seed=3000 + seed)
    return table, seen_of(parts.take(np.repeat(np.arange(len(table)), TRIALS)), seed)


def agreed(stopped, defective, names):
    """Kappas of some who sort the same parts, by name: (n, m, t)."""
    words = np.array([OK, "stopped"])
    reference = np.array([OK, "stopped"])[defective.astype(int)]
    return agreement(words[stopped.astype(int)], reference, names, good=OK)


def judged_study(stops, inspected, study):
    """How well one agrees with the truth of the study, and with the inspectors."""
    table, seen = study
    stopped = stops(*seen).reshape(-1, 1, TRIALS)
    together = agreed(np.concatenate([inspected, stopped], axis=1), table.defective, None)
    own = together.against.iloc[-1]
    return {
        "kappa": own.kappa,
        "kappa_of_all": together.kappa.value,
        "kappa_within": together.within.kappa.iloc[-1],
        "misses": own.misses,
        "false_alarms_study": own.false_alarms,
    }


def inspected_by_people(study, seed):
    table, _ = study
    said = [
        inspector.inspect(table.tolerances, TRIALS, seed=100 * seed + k)
        for k, inspector in enumerate(INSPECTORS.values())
    ]
    return np.stack(said, axis=1)


def put(record, run, figures):
    record.add(run, figures)
    print(run, {name: round(value, 4) for name, value in figures.items()}, flush=True)


def runs_of_judges(seed):
    return [{"part": "judges", "case": case, "seed": seed} for case in (STATION, RULER)]


def measure_judge(record, run, stops, sets, study, inspected):
    if record.done(run):
        return
    test, unseen, retest = sets
    figures = errors(stops, test) | passes_of_unseen(stops, unseen) | flips(stops, retest)
    figures |= detection(stops, run["seed"]) | judged_study(stops, inspected, study)
    put(record, run, figures)


def runs_of_inspectors(seed):
    return [{"part": "inspectors", "case": name, "seed": seed} for name in INSPECTORS]


def measure_inspectors(record, seed, study, inspected):
    table, _ = study
    together = agreed(inspected, table.defective, list(INSPECTORS))
    for run in runs_of_inspectors(seed):
        name = run["case"]
        own = together.against.loc[name]
        figures = {
            "kappa": own.kappa,
            "kappa_of_all": together.kappa.value,
            "kappa_within": together.within.kappa[name],
            "misses": own.misses,
            "false_alarms_study": own.false_alarms,
        }
        put(record, run, figures)


def main():
    train, calibration = load_maps("train"), load_maps("calibration")
    test = load_maps("test")
    record = begin(__file__, train.source)
    sets = [named(split) for split in ("test", "unseen", "retest")]
    gauge = ruler_of_good_parts(
        named_images("train", np.flatnonzero(train.names == OK)).images,
        named_images("calibration").images[calibration.names == OK],
    )
    for seed in SEEDS:
        runs = [*runs_of_limits(seed), *runs_of_judges(seed), *runs_of_inspectors(seed)]
        if all(record.done(run) for run in runs):
            continue
        seconds, station = seconds_of(station_of, train, calibration, seed)
        print(f"seed {seed}: made in {seconds:.1f} s, limit {station.limit:.3f}", flush=True)
        measure_limits(record, seed, station, test)
        study = study_of(seed)
        inspected = inspected_by_people(study, seed)
        for run, stops in zip(runs_of_judges(seed), (station_stops(station), gauge)):
            measure_judge(record, run, stops, sets, study, inspected)
        measure_inspectors(record, seed, study, inspected)
    show(record, "part")
    print(json.dumps(record.means(("escapes", "false_alarms", "a90_95 D", "kappa"))))


if __name__ == "__main__":
    main()
