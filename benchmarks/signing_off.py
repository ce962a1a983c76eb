"""Before and after sign-off: promised limits, a new lot, small hardware, with five seeds.

    python benchmarks/signing_off.py

The network is the mined tile CNN on whitened maps, its batches shifted by pins, as the chapter on
signing off trains it. Two whitenings: as it was fitted, and rounded to what 8-bit whole numbers can
hold before the network is trained. For each seed:

- coverage: the share of known parts within the limit of 1 % and of 5 %, over 50 draws of the
  calibration parts out of 3 000, half of which serve;
- the later lot: as it comes, with a new OK anchor, with maps moved back, with a new reference
  image, each from the same 20 good parts;
- ONNX at batch 1 on one core: milliseconds and size in float32 and int8, in turns, and verdicts.
"""

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measuring import seconds_of
from recording import begin, show
from torch import nn

from snnlib import losses
from snnlib.book.recipes import PIN_CNN
from snnlib.embedding import AnchorClassifier, embed, through
from snnlib.evaluation import escapes, false_alarms, roc_auc
from snnlib.nsoartc.dataset import balance, named_images
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.networks import fit_front, pin_cnn
from snnlib.nsoartc.soart import MAP_SHAPE, Soart
from snnlib.sampling import BatchDataset
from snnlib.station.deployment import export_onnx, quantise, run_onnx, start_onnx
from snnlib.station.limits import conformal_limit, quantile_limit
from snnlib.training import fit_one_cycle

SEEDS = (0, 1, 2, 3, 4)
SHAPE = (1, *MAP_SHAPE)
RECALIBRATIONS, NEW_LOT = 50, 20
PROMISES = (0.01, 0.05)
CALIBRATING = 200  # training parts that set the ranges of whole numbers
ROUNDS = 7
CASES = {"whitening rounded first": True, "whitening as fitted": False}


def network_of(train, rounded, seed):
    front = fit_front(train, rounded=rounded)
    encoder = pin_cnn(train.class_names, seed=seed)
    fit_one_cycle(
        encoder,
        BatchDataset(through(front, train), PIN_CNN.examples, 10, PIN_CNN.batch, seed=seed),
        partial(losses.semi_hard, margin=PIN_CNN.margin),
        epochs=PIN_CNN.epochs,
        rate=PIN_CNN.rate,
        seed=seed,
        progress=False,
    )
    return nn.Sequential(front, encoder)


def to_nearest(network, anchors, maps):
    return anchors.distances(embed(network, maps.images)).min(axis=1)


def coverages(scores):
    """Mean share within each limit over the recalibrations."""
    figures = {}
    for promise in PROMISES:
        for name, limit_of in {"quantile": quantile_limit, "conformal": conformal_limit}.items():
            kept = []
            for draw in range(RECALIBRATIONS):
                order = np.random.default_rng(draw).permutation(len(scores))
                half = len(order) // 2
                limit = limit_of(scores[order[:half]], promise)
                kept.append((scores[order[half:]] <= limit).mean())
            figures[f"{name} {promise:g}"] = float(np.mean(kept))
    return figures


def new_lot(network, anchors, train, later, images):
    """Right names and errors on the later lot, by what its good parts are used for."""
    good = np.flatnonzero(later.names == "OK")[:NEW_LOT]
    rest = np.setdiff1d(np.arange(len(later)), good)
    truth = later.names[rest]
    moved = later.images[good].mean(axis=0) - train.images[train.names == "OK"].mean(axis=0)
    of_new_parts = embed(network, later.images[good])
    new_anchor = anchors.without_anchor("OK").with_anchor("OK", of_new_parts)
    soart = Soart().fit(images[good])
    ways = {
        "as it comes": (anchors, later.images[rest]),
        "new OK anchor": (new_anchor, later.images[rest]),
        "maps moved back": (anchors, later.images[rest] - moved),
        "new reference image": (anchors, soart.transform(images[rest]).reshape(-1, *SHAPE)),
    }
    figures = {}
    for name, (judge, maps) in ways.items():
        said = judge.predict(embed(network, maps))
        figures |= {
            f"{name}, right": float((said == truth).mean()),
            f"{name}, escapes": escapes(truth, said).value,
            f"{name}, false alarms": false_alarms(truth, said).value,
        }
    return figures


def on_small_hardware(network, anchors, train, test):
    balanced, _ = balance(test)
    with TemporaryDirectory() as folder:
        full, small = Path(folder) / "full.onnx", Path(folder) / "small.onnx"
        export_onnx(network, SHAPE, full)
        some = np.random.default_rng(0).choice(len(train), CALIBRATING, replace=False)
        quantise(full, small, train.images[some])
        sessions = {"float32": start_onnx(full), "int8": start_onnx(small)}
        sizes = {name: file.stat().st_size for name, file in [("float32", full), ("int8", small)]}
    parts = test.images[:: max(1, len(test) // 400)]
    times = {name: [] for name in sessions}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            times[name].append(1000 * seconds_of(run_onnx, session, parts)[0] / len(parts))
    said = {name: anchors.predict(run_onnx(s, test.images)) for name, s in sessions.items()}
    by_torch = anchors.predict(embed(network, test.images))
    right = {
        name: float((anchors.predict(run_onnx(s, balanced.images)) == balanced.names).mean())
        for name, s in sessions.items()
    }
    return {
        "verdicts_differ": int((said["float32"] != by_torch).sum()),
        "int8_verdicts_differ": int((said["int8"] != by_torch).sum()),
        "float32_ms": float(np.median(times["float32"])),
        "int8_ms": float(np.median(times["int8"])),
        "speedup": float(np.median(np.divide(times["float32"], times["int8"]))),
        "float32_bytes": sizes["float32"],
        "size_ratio": sizes["int8"] / sizes["float32"],
        "accuracy": right["float32"],
        "int8_accuracy": right["int8"],
    }


def main():
    splits = ("train", "calibration", "test", "unseen", "later")
    train, calibration, test, unseen, later = (load_maps(split) for split in splits)
    images = named_images("later").images
    balanced, _ = balance(test)
    record = begin(__file__, train.source, "onnx", "onnxruntime")
    for seed in SEEDS:
        for case, rounded in CASES.items():
            if record.done({"case": case, "seed": seed}):
                continue
            seconds, network = seconds_of(network_of, train, rounded, seed)
            anchors = AnchorClassifier().fit(embed(network, train.images), train.names)
            nearest = partial(to_nearest, network, anchors)
            known = np.concatenate([nearest(calibration), nearest(balanced)])
            said = anchors.predict(embed(network, test.images))
            figures = {
                "escapes": escapes(test.names, said).value,
                "false_alarms": false_alarms(test.names, said).value,
                "unseen_auc": roc_auc(nearest(balanced), nearest(unseen)).value,
                **coverages(known),
                **new_lot(network, anchors, train, later, images),
                **on_small_hardware(network, anchors, train, test),
                "seconds": seconds,
            }
            record.add({"case": case, "seed": seed}, figures)
            print(case, seed, figures, flush=True)
    show(record)
    figures = ("accuracy", "int8_accuracy", "float32_ms", "int8_ms", "speedup", "size_ratio")
    print(json.dumps(record.means((*figures, "conformal 0.01", "conformal 0.05"))))


if __name__ == "__main__":
    main()
