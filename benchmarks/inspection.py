"""Which method for which inspection: the tree of source D, measured.

    python benchmarks/inspection.py
    python benchmarks/inspection.py tree steps images    # these parts only

Parts of the table, by the column `part`:

- ``tree``: every method on the named sets, five seeds of those that have any randomness. Settings
  come from six trials each on validation parts, the same number for all; the test set scores.
  Which of the balanced test parts got a wrong name is noted for each run, for paired tests.
- ``steps``: networks that take more steps than source D's CNN in the tree, held to as many as it.
- ``axis``: eight methods, three draws of training and test parts, one thing changed at a time:
  level of shots, level of the process, training parts a class, wrong labels.
- ``images``: networks on raw images and on maps, whole, shuffled and by pins, five seeds; then the
  same networks on parts photographed outside the range they were trained in. The CNN on images has
  six settings like the others, and source D's CNN is held to as few steps as it takes.

A method with anchors lets a part pass as a station does: the good anchor is the nearest, and no
farther than a limit that good calibration parts set, of which 5 in 1 000 may lie beyond. A part
beyond it has no name. The other methods have no distance to limit, and go by their own names.

No fit may take more than 30 s. An interrupted run goes on where it stopped.
"""

import itertools
import json
import sys
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
from inspection_methods import (
    BODIES,
    IMAGE_GRID,
    METHODS,
    NETWORK_GRID,
    NETWORKS,
    UNNAMED,
    WAYS,
    Seen,
    balanced,
    network_of,
    on_images,
    on_maps,
    train_network,
)
from measuring import peak_of, seconds_of
from recording import begin
from threadpoolctl import threadpool_limits

from snnlib.embedding import AnchorClassifier
from snnlib.evaluation import roc_auc
from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import MODES, named_images, unit_space
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.simulator import Process, Shot, draw_parts, photograph
from snnlib.station.limits import quantile_limit

PARTS = ("tree", "steps", "images", "axis")
SEEDS = (0, 1, 2, 3, 4)
FEW_SEEDS = SEEDS[:3]
TRIAL_SEED = 10
LONGEST = 30  # seconds a fit
BEYOND = 0.005  # share of good calibration parts beyond the limit
GOOD_PARTS = 1100  # for the limit of an axis, as many as the calibration set has
STEPS = BODIES["CNN"][1]
HELD_TO_STEPS = {
    f"{way}, {body}": partial(on_maps, way, body, steps=STEPS)
    for way, body in (*itertools.product(WAYS, ("MLP",)), ("mined", "tile CNN"))
}
AXIS_METHODS = (
    "ruler",
    "nearest mean",
    "LDA",
    "RBF SVM",
    "Siamese, MLP",
    "triplet, CNN",
    "mined, CNN",
    "mined, tile CNN",
)
AXES = {
    "shot": (0.5, 2.0, 3.0, 4.0),
    "process": (0.5, 2.0, 3.0, 4.0),
    "parts": (10, 25, 50, 100),
    "wrong": (0.05, 0.2),
}
AS_IT_IS = {"shot": 1.0, "process": 1.0, "parts": 200, "wrong": 0.0}
OUTSIDE = {"gain": "gain", "lighting": "gradient", "placement": "placement"}  # fields of Shot
FACTORS = (3, 10)
IMAGE_CASES = {
    "CNN on images": (on_images, IMAGE_GRID),
    "the same on maps": (partial(on_maps, "mined", "small CNN"), NETWORK_GRID),
    "source D's CNN on maps": (partial(on_maps, "mined", "CNN"), NETWORK_GRID),
    "source D's CNN, as few steps": (
        partial(on_maps, "mined", "CNN", steps=BODIES["image CNN"][1]),
        NETWORK_GRID,
    ),
    "its cells shuffled": (partial(on_maps, "mined", "CNN", shuffle=True), NETWORK_GRID),
    "tile CNN on maps": (partial(on_maps, "mined", "tile CNN"), NETWORK_GRID),
    "tile CNN, cells shuffled": (partial(on_maps, "mined", "tile CNN", shuffle=True), NETWORK_GRID),
}
UNTUNED = {  # shuffled cells are an ablation: everything else stays as it was
    "its cells shuffled": "source D's CNN on maps",
    "tile CNN, cells shuffled": "tile CNN on maps",
}
TUNED_ALREADY = {
    "source D's CNN on maps": "mined, CNN",
    "tile CNN on maps": "mined, tile CNN",
}


def named(split):
    return Seen(named_images(split), load_maps(split))


def made(modes, seed, process=None, shot=None):
    """Parts of given failure modes, photographed and turned into maps."""
    parts = draw_parts(modes, seed=seed, process=process)
    images = np.concatenate(list(photograph(parts, seed=seed, shot=shot)))
    maps = unit_space().transform(images).reshape(-1, 1, 36, 39)
    labels = np.array([MODES.index(mode) for mode in modes])
    return Seen(*(ImageSet(x, labels, MODES, "nsoartc, simulated cell") for x in (images, maps)))


def good_of(seen):
    """The good ones among some parts."""
    return seen.take(np.flatnonzero(seen.maps.names == OK))


def by_rule(judge, train, good):
    """The same method by the rule of a station, if it holds anchors.

    Its limit comes from good parts that it was not fitted to.
    """
    if judge.points is None:
        return judge
    anchors = AnchorClassifier().fit(points_of(judge, train), train.maps.labels)
    limit = quantile_limit(anchors.distances(points_of(judge, good))[:, 0], BEYOND)

    def name(parts):
        distances = anchors.distances(judge.points(parts))
        nearest = distances.argmin(axis=1)
        return np.where((nearest == 0) & (distances[:, 0] > limit), UNNAMED, nearest)

    return replace(judge, name=name)


def points_of(judge, seen):
    return judge.points(getattr(seen, judge.takes).images)


def share_right(judge, seen):
    return float((judge(seen) == seen.maps.labels).mean())


def figures_of(judge, seen):
    """Shares of right names, of defects that pass and of good parts that do not."""
    said, right = judge(seen), seen.maps.labels
    _, counts = np.unique(right, return_counts=True)
    of_class = [(said[right == k] == k).mean() for k in range(len(counts))]
    return {
        "accuracy": float(np.mean(of_class)),
        "escapes": float((said[right > 0] == 0).mean()),
        "false_alarms": float((said[right == 0] != 0).mean()),
    }


def milliseconds(judge, seen, repeats=3, parts=60):
    """Median time of one part on one core, and of making its map."""
    singles = [seen.take([k]) for k in range(0, len(seen), max(1, len(seen) // parts))]
    soart, threads = unit_space(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            times = {
                "ms": [seconds_of(judge, one)[0] for _ in range(repeats) for one in singles],
                "ms_map": [seconds_of(soart.transform, one.images.images)[0] for one in singles],
            }
    finally:
        torch.set_num_threads(threads)
    times = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    return times if judge.takes == "maps" else times | {"ms_map": 0.0}


def fitted(fit, train, setting, seed):
    """A fitted method and the seconds that it took, none more than allowed."""
    seconds, judge = seconds_of(fit, train, setting, seed)
    if seconds > LONGEST:
        print(f"  a fit took {seconds:.0f} s, more than {LONGEST}", flush=True)
    return seconds, judge


def best_setting(record, name, fit, settings, train, validation):
    """The setting that names the most validation parts rightly; its trials are kept as notes."""
    key = f"trials: {name}"
    if record.noted(key) is None:
        trials = []
        for setting in settings:
            seconds, judge = fitted(fit, train, setting, TRIAL_SEED)
            right = share_right(judge, validation)
            trials.append({"setting": setting, "validation": right, "seconds": seconds})
            print(name, trials[-1], flush=True)
        record.note({key: trials})
    return max(record.noted(key), key=lambda trial: trial["validation"])["setting"]


def put(record, settings, figures):
    record.add(settings, figures)
    print(settings, {k: round(v, 4) for k, v in figures.items()}, flush=True)


def measure_tree(record, train, validation, good, test):
    for name, (settings, fit) in METHODS.items():
        setting = best_setting(record, name, fit, settings, train, validation)
        for seed in SEEDS if name in NETWORKS else SEEDS[:1]:
            run = {"part": "tree", "case": name, "seed": seed}
            if not record.done(run):
                seconds, judge = fitted(fit, train, setting, seed)
                judge = by_rule(judge, train, good)
                figures = figures_of(judge, test) | milliseconds(judge, test)
                figures |= {"floats": judge.floats, "seconds": seconds}
                record.note({f"wrong: {name}, {seed}": named_wrongly(judge, test)})
                put(record, run, figures | {"validation": share_right(judge, validation)})


def named_wrongly(judge, test):
    """Which of the balanced test parts get a wrong name."""
    few = balanced(test)
    return np.flatnonzero(judge(few) != few.maps.labels).tolist()


def measure_steps(record, train, validation, good, test):
    for name, fit in HELD_TO_STEPS.items():
        words = f"{name}, {STEPS} steps"
        setting = best_setting(record, words, fit, NETWORK_GRID, train, validation)
        for seed in SEEDS:
            run = {"part": "steps", "case": name, "seed": seed}
            if not record.done(run):
                seconds, judge = fitted(fit, train, setting, seed)
                judge = by_rule(judge, train, good)
                put(record, run, figures_of(judge, test) | {"seconds": seconds})


def measure_images(record, train, validation, good, test):
    def outside():
        defaults, modes = Shot(), np.repeat(MODES, 50)
        for (axis, field), factor in itertools.product(OUTSIDE.items(), FACTORS):
            shot = replace(defaults, **{field: factor * getattr(defaults, field)})
            yield f"{axis} × {factor}", made(modes, 900 + factor, shot=shot)

    trials = {}
    for case, (fit, settings) in IMAGE_CASES.items():
        alike = UNTUNED.get(case, case)
        tuned = TUNED_ALREADY.get(alike, alike)
        trials[case] = best_setting(record, tuned, fit, settings, train, validation)
    todo = [
        {"part": "images", "case": case, "seed": seed}
        for seed, case in itertools.product(SEEDS, IMAGE_CASES)
    ]
    others = ({"part": "images", "case": case, "seed": 0} for case in ("ruler", "LDA"))
    todo = [run for run in (*todo, *others) if not record.done(run)]
    if not todo:
        return
    places = dict(outside())
    for run in todo:
        case = run["case"]
        if case in IMAGE_CASES:
            fit, setting = IMAGE_CASES[case][0], trials[case]
        else:
            fit = METHODS[case][1]
            setting = best_setting(record, case, fit, METHODS[case][0], train, validation)
        seconds, judge = fitted(fit, train, setting, run["seed"])
        judge = by_rule(judge, train, good)
        figures = figures_of(judge, test) | milliseconds(judge, test)
        figures |= {"floats": judge.floats, "seconds": seconds}
        figures |= {where: share_right(judge, seen) for where, seen in places.items()}
        put(record, run, figures)


def step_memory(record, train):
    """Most memory that a training step of 150 parts holds, on images and on maps, in MiB."""
    if record.noted("step_mib") is not None:
        return
    first = [np.flatnonzero(train.maps.labels == k)[:15] for k in range(len(MODES))]
    few, held = train.take(np.concatenate(first)), {}
    for body in ("image CNN", "small CNN", "CNN", "tile CNN"):
        parts = few.images if body == "image CNN" else few.maps
        network = network_of("mined", BODIES[body][0], len(MODES), 0)
        held[body] = peak_of(partial(train_network, "mined", network, parts, 1, 1, 1e-3, 0))
    record.note({"step_mib": held})
    print(held, flush=True)


def settings_of_axes():
    yield "as it is", AS_IT_IS
    for axis, values in AXES.items():
        for value in values:
            yield f"{axis} {value:g}", AS_IT_IS | {axis: value}


@lru_cache(maxsize=1)  # the axes of parts and labels look at one draw again and again
def draw_at(process, shot, seed):
    levels = Process(level=process), Shot(level=shot)
    train = made(np.repeat(MODES, 200), 2000 + seed, *levels)
    test = made(np.repeat(MODES, 100), 3000 + seed, *levels)
    return train, made([OK] * GOOD_PARTS, 4000 + seed, *levels), test


def parts_of_axis(place, seed):
    """Training, calibration and test parts of a draw, and which training labels are wrong."""
    train, good, test = draw_at(place["process"], place["shot"], seed)
    chosen = [np.flatnonzero(train.maps.labels == k)[: place["parts"]] for k in range(len(MODES))]
    train = train.take(np.concatenate(chosen))
    labels = train.maps.labels.copy()
    defects = np.flatnonzero(labels > 0)
    rng = np.random.default_rng((seed, 5))
    wrong = rng.choice(defects, round(place["wrong"] * len(defects)), replace=False)
    labels[wrong] = 0
    return train.relabel(labels), good, test, wrong


def measure_axes(record, train, validation):
    best = {
        name: best_setting(record, name, METHODS[name][1], METHODS[name][0], train, validation)
        for name in AXIS_METHODS
    }
    for seed, (words, place) in itertools.product(FEW_SEEDS, settings_of_axes()):
        runs = [
            {"part": "axis", "case": name, "seed": seed, "place": words} | place
            for name in AXIS_METHODS
        ]
        runs = [run for run in runs if not record.done(run)]
        if not runs:
            continue
        train, good, test, wrong = parts_of_axis(place, seed)
        for run in runs:
            name = run["case"]
            seconds, judge = fitted(METHODS[name][1], train, best[name], seed)
            figures = figures_of(by_rule(judge, train, good), test) | {"seconds": seconds}
            if len(wrong):
                figures |= wrong_labels_found(judge, train, wrong)
            put(record, run, figures)


def wrong_labels_found(judge, train, wrong):
    """Training parts labelled good that the method itself calls defective: are they the wrong ones?

    With anchors also the ROC AUC of the distance to the good anchor, less that to the nearest
    other.
    """
    good = np.flatnonzero(train.maps.labels == 0)
    is_wrong = np.isin(good, wrong)
    flagged = judge(train.take(good)) != 0
    figures = {
        "found": float(flagged[is_wrong].mean()),
        "flagged_right": float(is_wrong[flagged].mean()) if flagged.any() else 0.0,
    }
    if judge.points is not None:
        Z = points_of(judge, train)
        distances = AnchorClassifier().fit(Z, train.maps.labels).distances(Z[good])
        score = distances[:, 0] - distances[:, 1:].min(axis=1)
        figures["label_auc"] = roc_auc(score[~is_wrong], score[is_wrong]).value
    return figures


def main(wanted=PARTS):
    train, validation, test = (named(split) for split in ("train", "validation", "test"))
    good = good_of(named("calibration"))
    record = begin(__file__, train.maps.source)
    if "tree" in wanted:
        measure_tree(record, train, validation, good, test)
    if "steps" in wanted:
        measure_steps(record, train, validation, good, test)
    if "images" in wanted:
        measure_images(record, train, validation, good, test)
        step_memory(record, train)
    del good, test
    if "axis" in wanted:
        measure_axes(record, train, validation)
    table = record.table()
    figures = ["accuracy", "escapes", "false_alarms", "ms", "ms_map", "floats", "seconds"]
    tree = table[table.part == "tree"].groupby("case", sort=False)[figures].agg(["mean", "std"])
    print(tree.round(4).to_string())
    axes = table[table.part == "axis"]
    print(axes.pivot_table("accuracy", "case", "place", sort=False).round(4).to_string())
    minutes = (
        table.seconds.sum()
        + sum(
            trial["seconds"]
            for key, trials in record.notes().items()
            if key.startswith("trials")
            for trial in trials
        )
    ) / 60
    print(
        json.dumps(
            {
                "longest_fit_s": round(float(table.seconds.max()), 1),
                "minutes_of_fits": round(float(minutes), 1),
                "accuracy": table[table.part == "tree"]
                .groupby("case")
                .accuracy.mean()
                .round(4)
                .to_dict(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:] or PARTS)
