"""A defect that was never trained, given its anchor from a few parts.

    python benchmarks/new_defects.py

Each of the nine defect modes is left out of training in turn, scaling and whitening included. Then
it gets an anchor from 1, 2, 5 and 10 of its training parts, drawn 20 times, and test parts are
named by the nearest of ten anchors. Harder: all modes of one direction are left out together, so
that no defect of that kind has been seen on any pin, and get their anchors in the same way. Three
seeds of the network; the means of 20 draws are on record.
"""

import json
from functools import partial

import numpy as np
from cnn_triplet import NO_DROPOUT, NO_NETWORK, SEEDS, Case, train_network
from measuring import seconds_of
from recording import begin, show
from torch import nn

from snnlib.embedding import AnchorClassifier, embed, through
from snnlib.nsoartc.dataset import MODES, balance
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.networks import fit_front

DRAWS, PARTS = 20, (1, 2, 5, 10)
DEFECTS = MODES[1:]
DIRECTIONS = {f"all {d}": [m for m in DEFECTS if m.endswith(d)] for d in ("D05", "X10", "Y10")}
NETWORK = "network"
(WITHOUT,) = (name for name, whitened in NO_NETWORK.items() if whitened)


def trained(case, known, seed):
    """A function from maps to points: embeddings, or whitened maps if there is no network."""
    front = fit_front(known)
    if case is None:
        return lambda maps: through(front, maps).images.reshape(len(maps), -1)
    network = nn.Sequential(front, train_network(case, through(front, known), seed))
    return lambda maps: embed(network, maps.images)


def figures_of(points, train, test, new):
    """Shares of right names for each number of parts, as means over the draws."""
    is_new = np.isin(train.labels, new)
    Z, of_test = points(train), points(test)
    anchors = AnchorClassifier().fit(Z[~is_new], train.labels[~is_new])
    newcomers = np.isin(test.labels, new)
    before = anchors.score(of_test[~newcomers], test.labels[~newcomers])
    rng = np.random.default_rng(0)
    for parts in PARTS:
        right = [named(anchors, Z, train.labels, new, parts, rng)(of_test) for _ in range(DRAWS)]
        right = np.mean(right == test.labels, axis=0)
        yield {
            "parts": parts,
            "new": float(right[newcomers].mean()),
            "known_before": before,
            "known_after": float(right[~newcomers].mean()),
        }


def named(anchors, Z, labels, new, parts, rng):
    """The classifier with an anchor more for each new mode, from a few parts drawn."""
    for mode in new:
        drawn = rng.choice(np.flatnonzero(labels == mode), parts, replace=False)
        anchors = anchors.with_anchor(mode, Z[drawn])
    return anchors.predict


def main():
    train, test = load_maps("train"), load_maps("test")
    test, _ = balance(test)
    record = begin(__file__, train.source)
    singles = {mode: [mode] for mode in DEFECTS}
    seeds = SEEDS[:3]
    rounds = [(seed, NETWORK, Case(), singles | DIRECTIONS) for seed in seeds]
    rounds += [(0, WITHOUT, None, singles | DIRECTIONS)]
    rounds += [(seed, f"{NETWORK}, not shifted by pins", NO_DROPOUT, singles) for seed in seeds]
    for seed, name, case, left_out in rounds:
        for words, modes in left_out.items():
            settings = {"case": name, "seed": seed, "left_out": words}
            if record.done(settings | {"parts": PARTS[-1]}):
                continue
            new = [train.class_names.index(mode) for mode in modes]
            known = train.take(np.flatnonzero(~np.isin(train.labels, new)))
            seconds, points = seconds_of(partial(trained, case, known, seed))
            for figures in figures_of(points, train, test, new):
                parts = figures.pop("parts")
                record.add(settings | {"parts": parts}, figures | {"seconds": seconds})
                print(settings, parts, figures, flush=True)
    show(record, "parts")
    table = record.table()
    five = table[table.left_out.isin(DEFECTS) & (table.parts == 5)]
    print(
        json.dumps(five.groupby("case")[["new", "known_before", "known_after"]].mean().T.to_dict())
    )


if __name__ == "__main__":
    main()
