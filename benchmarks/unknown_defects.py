"""Defects that nobody showed to a method: does it find them strange?

    python benchmarks/unknown_defects.py

Each of the nine defect modes is left out of training in turn, scaling and whitening included; then
nothing is left out and the set ``unseen`` is shown. The figure is the area under the ROC curve of a
score that should be higher for the unknown parts than for the balanced test parts of known modes.
Nothing is tuned. The networks are the tile CNN of the tree, three seeds, each on maps whitened
within classes, trained on triplets or as a plain classifier, with batches shifted by pins or not;
all for as many steps. From one plain classifier come three scores. Competitors without a network:

- distance to the nearest mean of whitened maps, and to the nearest training part;
- distance to the nearest class mean, each pin in the metric of its good training parts;
- the ruler: drawback and tilts of all pins, in standard deviations of good parts, and how far they
  are from the nearest class mean. A pin without a tip is strange without a limit.
"""

import itertools
import json
from functools import partial

import numpy as np
import torch
from inspection_methods import (
    BODIES,
    Seen,
    balanced,
    flat,
    network_of,
    per_pin_points,
    train_network,
)
from measuring import seconds_of
from recording import begin
from sklearn.neighbors import NearestNeighbors
from torch import nn

from snnlib.embedding import AnchorClassifier, embed, through
from snnlib.evaluation import roc_auc
from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import MODES, named_images
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.networks import fit_front, shift_pins
from snnlib.nsoartc.ruler import Ruler

SEEDS = (0, 1, 2)
RATE = 1e-3
SHRINKAGE = 0.1  # of the covariance of a pin's values
NOTHING = "none"
NETWORKS = {  # whether batches are shifted by pins, and the scores of one training
    ("mined", False): {"anchors": "anchors"},
    ("mined", True): {"anchors": "anchors, shifted by pins"},
    ("plain", False): {
        "energy": "energy of the plain classifier",
        "softmax": "largest softmax of the plain classifier",
        "anchors": "anchors in the plain classifier",
    },
    ("plain", True): {
        "energy": "energy of the plain classifier, shifted by pins",
        "softmax": "largest softmax of the plain classifier, shifted by pins",
        "anchors": "anchors in the plain classifier, shifted by pins",
    },
}


def to_nearest_anchor(points, labels):
    """A function from points to the distance of the nearest class mean."""
    anchors = AnchorClassifier().fit(points, labels)
    return lambda points: anchors.distances(points).min(axis=1)


def of_network(way, shifted, known, seed):
    """Scores of a network that was trained on known modes, by name: functions of parts."""
    front = fit_front(known.maps)
    names, labels = np.unique(known.maps.labels, return_inverse=True)
    seen = through(front, known.maps)
    seen = ImageSet(seen.images, labels, seen.class_names, seen.source)
    build, steps, epochs = BODIES["tile CNN"]
    network = network_of(way, build, len(names), seed)
    if shifted:
        modes = [known.maps.class_names[k] for k in names]
        network = nn.Sequential(shift_pins(modes), *network)
    train_network(way, network, seen, steps, epochs, RATE, seed)
    whole = nn.Sequential(front, *network)
    body = whole[:-1] if way == "plain" else whole

    def answers(parts):
        return torch.from_numpy(embed(whole, parts.maps.images))

    to_anchor = to_nearest_anchor(embed(body, known.maps.images), labels)
    return {
        "anchors": lambda parts: to_anchor(embed(body, parts.maps.images)),
        # Liu, Wang, Owens and Li (2020), equation 4, at temperature 1.
        "energy": lambda parts: -answers(parts).logsumexp(dim=1).numpy(),
        # Hendrycks and Gimpel (2017).
        "softmax": lambda parts: -answers(parts).softmax(dim=1).amax(dim=1).numpy(),
    }


def of_whitened_maps(known):
    front = fit_front(known.maps)

    def points(parts):
        return flat(embed(front, parts.maps.images))

    neighbours = NearestNeighbors(n_neighbors=1).fit(points(known))
    to_anchor = to_nearest_anchor(points(known), known.maps.labels)
    return {
        "whitened maps": lambda parts: to_anchor(points(parts)),
        "nearest part, whitened maps": lambda parts: neighbours.kneighbors(points(parts))[0][:, 0],
    }


def of_pins(known):
    points = per_pin_points(known.maps, SHRINKAGE)
    to_anchor = to_nearest_anchor(points(known.maps.images), known.maps.labels)
    return {"per-pin Mahalanobis": lambda parts: to_anchor(points(parts.maps.images))}


def of_ruler(known):
    good = known.maps.labels == 0
    gauge = Ruler().fit(known.images.images[good])
    spread = np.nanstd(gauge.measure(known.images.images[good]), axis=0)

    def points(parts):
        return flat(gauge.measure(parts.images.images) / spread)

    measured = points(known)
    whole = np.isfinite(measured).all(axis=1)
    to_anchor = to_nearest_anchor(measured[whole], known.maps.labels[whole])

    def score(parts):
        rows = points(parts)
        whole = np.isfinite(rows).all(axis=1)
        return np.where(whole, to_anchor(np.where(whole[:, None], rows, 0)), np.finfo(float).max)

    return {"ruler": score}


WITHOUT_NETWORK = {
    of_whitened_maps: ("whitened maps", "nearest part, whitened maps"),
    of_pins: ("per-pin Mahalanobis",),
    of_ruler: ("ruler",),
}


def fits():
    """Every fit, a function of known parts: its seed, and the case of each of its scores."""
    for fit, names in WITHOUT_NETWORK.items():
        yield fit, 0, {name: name for name in names}
    for seed, ((way, shifted), cases) in itertools.product(SEEDS, NETWORKS.items()):
        yield partial(of_network, way, shifted, seed=seed), seed, cases


def areas(score, usual, others, each_mode):
    """Area under the ROC curve of a score, over all unknown parts and of each of their modes."""
    near, far = score(usual), score(others)
    figures = {"auc": roc_auc(near, far).value}
    if each_mode:
        names = others.maps.names
        modes = np.unique(names)
        figures |= {f"auc {mode}": roc_auc(near, far[names == mode]).value for mode in modes}
    return figures


def measure(record, left_out, known, usual, others):
    for fit, seed, cases in fits():
        runs = {
            name: {"case": case, "seed": seed, "left_out": left_out} for name, case in cases.items()
        }
        if all(record.done(run) for run in runs.values()):
            continue
        seconds, scores = seconds_of(fit, known)
        for name, run in runs.items():
            if record.done(run):
                continue
            figures = areas(scores[name], usual, others, left_out == NOTHING)
            record.add(run, figures | {"seconds": seconds})
            print(run, round(figures["auc"], 4), f"{seconds:.1f} s", flush=True)


def main():
    train, test, unseen = (Seen(named_images(s), load_maps(s)) for s in ("train", "test", "unseen"))
    test = balanced(test)
    record = begin(__file__, train.maps.source)
    for left_out in (*MODES[1:], NOTHING):
        known = train.take(np.flatnonzero(train.maps.names != left_out))
        strange = test.maps.names == left_out
        others = unseen if left_out == NOTHING else test.take(np.flatnonzero(strange))
        measure(record, left_out, known, test.take(np.flatnonzero(~strange)), others)
    table = record.table()
    print(table.pivot_table("auc", "case", "left_out", sort=False).round(3).to_string())
    means = table.assign(of=np.where(table.left_out == NOTHING, "unseen", "left out"))
    means = means.groupby(["of", "case"], sort=False).auc.mean().round(4)
    print(json.dumps({of: means[of].to_dict() for of in ("left out", "unseen")}))


if __name__ == "__main__":
    main()
