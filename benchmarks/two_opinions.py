"""What passes: the ruler, what learns, and two opinions of different kinds together.

    python benchmarks/two_opinions.py

A part passes a method or it is stopped, whatever its name; it passes two opinions if it passes
both. Limits come from the good calibration parts, of which 5 in 1 000 may lie beyond, so that all
are alike: the ruler's are as many standard deviations of good parts in each direction. Beside them
stand the ruler with half of a nominal defect, which needs no parts, and the support vector machine,
which has no limit. Networks are trained as in `inspection.py`, with the settings that it chose, the
tile CNN also with batches shifted by pins, as the station's; five seeds.

Shares that pass are of test parts, good and defective; of the set ``unseen`` by kind; and of what
the cell can be made to show beside them: much dirt on a face, one pin with darker plating, and the
lot ``later``.
"""

import itertools
import json
from dataclasses import replace
from functools import partial

import numpy as np
from inspection_methods import (
    BODIES,
    METHODS,
    NOMINAL,
    Seen,
    judge_of,
    network_of,
    on_images,
    train_network,
)
from measuring import seconds_of
from recording import begin, show
from sklearn.covariance import EmpiricalCovariance
from torch import nn

from snnlib.book.results import read_results
from snnlib.embedding import AnchorClassifier, through
from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import named_images, unit_space
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.networks import PIN, PINS, fit_front, shift_pins
from snnlib.nsoartc.ruler import Ruler
from snnlib.nsoartc.simulator import Shot, draw_parts, photograph
from snnlib.station.limits import quantile_limit

SEEDS = (0, 1, 2, 3, 4)
BEYOND = 0.005  # share of good calibration parts beyond a limit
ODD_PARTS = 300  # of each kind that the cell is made to show
SPECKS = 20.0  # dirt on a face, mean number
DARKER = {"a pin 15 % darker": 0.85, "a pin 30 % darker": 0.7}  # brightness of its plating
KINDS = {
    "a missing pin": ("31M", "73M"),
    "a tilt reversed": tuple(f"{pin}{axis}-10" for pin in (31, 61, 92) for axis in "XY"),
    "two pins at once": ("31D05+92X10", "61Y10+92D05", "31X10+61X10"),
    "a drawback of 0.2 mm": ("31D02",),
    "another pin": ("11D05", "12X10", "73Y10", "103D05", "131X10", "131D05", "133Y10"),
}
RULERS = ("ruler, half a nominal defect", "ruler, limits of good parts")


# Methods: functions of training parts, good calibration parts and a seed, which return a function
# from parts to whether each passes.


def ruler_at_half(train, good, seed):
    gauge = Ruler().fit(train.images.images[train.maps.labels == 0])
    return lambda parts: gauge.inspect(parts.images.images, NOMINAL / 2).verdict == OK


def ruler_of_good_parts(train, good, seed):
    gauge = Ruler().fit(train.images.images[train.maps.labels == 0])
    measured = gauge.measure(good.images.images)
    spread = measured.std(axis=(0, 1, 2))
    limits = spread * quantile_limit(np.abs(measured / spread).max(axis=(1, 2, 3)), BEYOND)
    return lambda parts: gauge.inspect(parts.images.images, limits).verdict == OK


def good_parts_alone(train, good, seed):
    """Mahalanobis distance of the worst pin, in the covariance of good training parts."""
    detectors = [
        EmpiricalCovariance().fit(pin) for pin in pins(among(train, train.maps.labels == 0))
    ]

    def score(parts):
        each = [d.mahalanobis(values) for d, values in zip(detectors, pins(parts))]
        return np.max(each, axis=0)

    limit = quantile_limit(score(good), BEYOND)
    return lambda parts: score(parts) <= limit


def pins(parts):
    """Values of each pin: (39, n, 36), float64."""
    (rows, columns), (height, width) = PINS, PIN
    tiles = parts.maps.images.reshape(len(parts), rows, height, columns, width)
    tiles = tiles.transpose(1, 3, 0, 2, 4).astype(np.float64)
    return tiles.reshape(rows * columns, len(parts), height * width)


def by_name(case, fit, train, good, seed):
    judge = fit(train, chosen(case), seed)
    return lambda parts: judge(parts) == 0


def by_anchors(case, fit, train, good, seed):
    """The good anchor is the nearest, and no farther than the limit."""
    judge = fit(train, chosen(case), seed)

    def distances(parts):
        return anchors.distances(judge.points(getattr(parts, judge.takes).images))

    points = judge.points(getattr(train, judge.takes).images)
    anchors = AnchorClassifier().fit(points, train.maps.labels)
    limit = quantile_limit(distances(good)[:, 0], BEYOND)

    def passes(parts):
        found = distances(parts)
        return (found.argmin(axis=1) == 0) & (found[:, 0] <= limit)

    return passes


def shifted(train, setting, seed):
    """The mined tile CNN with its batches shifted by whole pins."""
    build, steps, epochs = BODIES["tile CNN"]
    front = fit_front(train.maps, whitened=setting["input"] == "whitened")
    network = network_of("mined", build, len(train.maps.class_names), seed)
    network = nn.Sequential(shift_pins(train.maps.class_names), *network)
    seen = through(front, train.maps)
    train_network("mined", network, seen, steps, epochs, setting["rate"], seed)
    return judge_of("mined", front, network, train.maps, "maps")


def chosen(case):
    """The setting that was best on validation parts in `inspection.py`."""
    trials = read_results("inspection").notes[f"trials: {case}"]
    return max(trials, key=lambda trial: trial["validation"])["setting"]


WITHOUT_NETWORK = {
    RULERS[0]: ruler_at_half,
    RULERS[1]: ruler_of_good_parts,
    "good parts alone": good_parts_alone,
    "RBF SVM": partial(by_name, "RBF SVM", METHODS["RBF SVM"][1]),
}
TILE_CNN = "mined, tile CNN"
NETWORKS = {
    "tile CNN on maps": partial(by_anchors, TILE_CNN, METHODS[TILE_CNN][1]),
    "tile CNN, shifted by pins": partial(by_anchors, TILE_CNN, shifted),
    "CNN on images": partial(by_anchors, "CNN on images", on_images),
}
METHODS_SHOWN = WITHOUT_NETWORK | NETWORKS
PAIRS = {
    " and ".join(pair): pair
    for pair in itertools.product(RULERS, [name for name in METHODS_SHOWN if name not in RULERS])
}
CASES = {name: (name,) for name in METHODS_SHOWN} | PAIRS


# Parts


def named(split):
    return Seen(named_images(split), load_maps(split))


def among(parts, mask):
    return parts.take(np.flatnonzero(mask))


def odd(parts, seed, shot=None):
    """Good parts that were changed, or photographed with more dirt."""
    images = np.concatenate(list(photograph(parts, seed=seed, shot=shot)))
    maps = unit_space().transform(images).reshape(-1, 1, PINS[0] * PIN[0], PINS[1] * PIN[1])
    labels = np.zeros(len(parts), dtype=np.int64)
    return Seen(*(ImageSet(x, labels, (OK,), "simulated") for x in (images, maps)))


def with_dark_pin(parts, factor, seed):
    """One pin of each part, drawn anew, has another plating."""
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(count, size=len(parts)) for count in PINS)
    brightness = parts.brightness.copy()
    brightness[np.arange(len(parts)), rows, columns] *= factor
    return replace(parts, brightness=brightness)


def shown():
    """What is shown, by kind: those that should pass first."""
    test, later, unseen = named("test"), named("later"), named("unseen")
    good = draw_parts([OK] * ODD_PARTS, seed=60)
    dirty = Shot(specks=Shot().specks * SPECKS / Shot().sd("specks"))
    yield "good", among(test, test.maps.labels == 0)
    yield "good, later lot", among(later, later.maps.labels == 0)
    yield "defective", among(test, test.maps.labels > 0)
    yield "defective, later lot", among(later, later.maps.labels > 0)
    for kind, modes in KINDS.items():
        yield kind, among(unseen, np.isin(unseen.maps.names, modes))
    yield "dirt", odd(good, 61, dirty)
    for kind, factor in DARKER.items():
        yield kind, odd(with_dark_pin(good, factor, 62), 63)


def measure(record, seed, train, good, parts_of):
    """What passes each method, and each pair of the ruler and one that learns."""
    passed, seconds = {}, {}
    for name, fit in METHODS_SHOWN.items():
        seconds[name], passes = seconds_of(fit, train, good, seed)
        passed[name] = {kind: np.asarray(passes(parts)) for kind, parts in parts_of.items()}
    for case, names in CASES.items():
        run = {"case": case, "seed": seed}
        if not record.done(run):
            shares = {
                kind: float(np.all([passed[name][kind] for name in names], axis=0).mean())
                for kind in parts_of
            }
            record.add(run, shares | {"seconds": sum(seconds[name] for name in names)})
            print(run, {kind: round(share, 4) for kind, share in shares.items()}, flush=True)


def main():
    train, calibration = named("train"), named("calibration")
    good = among(calibration, calibration.maps.labels == 0)
    del calibration
    record = begin(__file__, train.maps.source)
    parts_of = dict(shown())
    for seed in SEEDS:
        if not all(record.done({"case": case, "seed": seed}) for case in CASES):
            measure(record, seed, train, good, parts_of)
    show(record)
    print(json.dumps(record.means(tuple(parts_of))))


if __name__ == "__main__":
    main()
