"""Siamese network on inspection maps: source C's settings, its faults, and a plain classifier.

    python benchmarks/siamese_inspection.py
    python benchmarks/siamese_inspection.py "plain, 1 200 steps" …    # these cases only

All encoders are source C's, 1404 → 512 → 256 → 256 → 128, on the maps of the simulated cell, scaled
by good training parts. Every Siamese case sees 5 000 pairs an epoch for 30 epochs, 1 200 steps, but
for one with the 49 000 of the source. The first case is the source's procedure with parts split
instead of pairs and with as many positive as negative pairs; each of the others changes one thing.

The plain classifier sees each part once an epoch, 450 steps. So that steps and images are alike,
too, it also takes 1 200 steps of about as many images, by the source's schedule and in one cycle,
and so does the Siamese network; in one cycle both on maps that are whitened within classes, too.
Anchors are means of training embeddings; a plain classifier is also asked for its own names. Five
seeds; the test set scores, and nothing was chosen on it. Which of the balanced test parts got a
wrong name is noted for each run. Two cases change the width of the embedding and watch the loss of
validation pairs.
"""

import json
import sys
from functools import partial

import numpy as np
import torch
from measuring import seconds_of
from recording import begin, show
from sklearn.metrics import silhouette_score
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR, StepLR

from snnlib import losses
from snnlib.book.recipes import POST_C
from snnlib.embedding import AnchorClassifier, embed, through
from snnlib.encoders import mlp
from snnlib.evaluation import escapes, false_alarms
from snnlib.nsoartc.dataset import balance
from snnlib.nsoartc.loading import load_maps
from snnlib.nsoartc.networks import fit_front
from snnlib.sampling import BatchDataset, PairDataset, draw_pairs
from snnlib.training import fit, one_cycle
from snnlib.verification import choose_threshold

SEEDS = (0, 1, 2, 3, 4)
WIDTHS, PAIRS, BATCH = POST_C.widths, POST_C.examples, POST_C.batch
EPOCHS, RATE = POST_C.epochs, POST_C.rate
SOURCE_PAIRS = 49_000  # 70 % of 70 000
EMBEDDINGS = (32, 128)
FEW = 2  # parts a class; the source's pairs come from ten rows in all
CHANCE = 0.1  # positive pairs of ten classes if nothing balances them


def steps(optimizer, n):
    """A tenth of the rate after every 8 of 30 epochs, as in the source."""
    return StepLR(optimizer, max(1, n * 8 // EPOCHS), 0.1)


def constant(optimizer, n):
    return LambdaLR(optimizer, lambda step: 1)


def siamese(
    train,
    seed,
    *,
    pairs=PAIRS,
    schedule=steps,
    fresh=False,
    positive_share=0.5,
    few=None,
    embedding=WIDTHS[-1],
    watched=None,
):
    encoder = mlp(*WIDTHS[:-1], embedding, seed=seed)
    if few:
        order = np.random.default_rng(seed).permutation(len(train))
        classes = range(len(train.class_names))
        chosen = [order[train.labels[order] == k][:few] for k in classes]
        train = train.take(np.concatenate(chosen))
    history = fit(
        encoder,
        PairDataset(train, pairs, positive_share, seed=seed, fresh=fresh),
        losses.contrastive,
        epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=partial(torch.optim.Adam, lr=RATE, fused=True),
        schedule=schedule,
        validation=None if watched is None else PairDataset(watched, PAIRS, seed=seed + 300),
        seed=seed,
        progress=False,
    )
    return encoder, None, history


def plain(train, seed, *, batches=None, per_class=13, schedule=steps):
    """The same encoder below a linear layer that names the classes: "Simple-128"."""
    classes = len(train.class_names)
    batches = batches or len(train) // (per_class * classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = nn.Linear(WIDTHS[-1], classes)
    network = nn.Sequential(mlp(*WIDTHS, seed=seed), head)
    history = fit(
        network,
        BatchDataset(train, batches, classes, per_class, seed=seed),
        cross_entropy,
        epochs=EPOCHS,
        optimizer=partial(torch.optim.Adam, lr=RATE, fused=True),
        schedule=schedule,
        seed=seed,
        progress=False,
    )
    return *network, history


ONE_CYCLE = one_cycle(2 * RATE)
AS_MANY = {"batches": -(-PAIRS // BATCH), "per_class": 2 * BATCH // 10}
CASES = {
    "source's settings, parts split": siamese,
    "constant rate": partial(siamese, schedule=constant),
    "fresh pairs, one cycle": partial(siamese, schedule=ONE_CYCLE, fresh=True),
    "pairs of two parts a class": partial(siamese, few=FEW),
    "positives left to chance": partial(siamese, positive_share=CHANCE),
    "plain classifier": plain,
    "as many pairs as the source": partial(siamese, pairs=SOURCE_PAIRS),
    "fresh pairs": partial(siamese, fresh=True),
    "plain, 1 200 steps": partial(plain, **AS_MANY),
    "plain, 1 200 steps, one cycle": partial(plain, **AS_MANY, schedule=ONE_CYCLE),
}
WHITENED = {
    f"{case}, whitened": CASES[case]
    for case in ("fresh pairs, one cycle", "plain, 1 200 steps, one cycle")
}


def roughness(losses_of_epochs):
    """Mean distance of an epoch's loss from the mean of its neighbours, as a share of the loss.

    Over the epochs before the rate first falls, since after that a curve is smooth by itself.
    """
    curve = np.array(losses_of_epochs[: EPOCHS * 8 // 30])
    middle = (curve[:-2] + curve[2:]) / 2
    return float(np.abs(curve[1:-1] - middle).mean() / curve.mean())


def pair_accuracy(encoder, maps, threshold=None, *, seed):
    """Share of balanced pairs judged rightly, and the cut, chosen on them if none is given."""
    pairs, same = draw_pairs(maps.labels, 5000, 0.5, seed=seed)
    Z = torch.from_numpy(embed(encoder, maps.images))
    distances = losses.euclidean(*(Z[side] for side in pairs.T)).numpy()
    if threshold is None:
        threshold = choose_threshold(distances, same)
    return float(((distances < threshold) == same).mean()), threshold


def figures_of(encoder, head, train, validation, balanced, good, seed):
    """Figures of a trained encoder, and which of the balanced test parts it names wrongly."""
    anchors = AnchorClassifier().fit(embed(encoder, train.images), train.names)

    def names(maps):
        return anchors.predict(embed(encoder, maps.images))

    said, right = names(balanced), balanced.names
    seen, threshold = pair_accuracy(encoder, train, seed=seed + 100)
    new, _ = pair_accuracy(encoder, validation, threshold, seed=seed + 200)
    figures = {
        "validation": float((names(validation) == validation.names).mean()),
        "accuracy": float((said == right).mean()),
        "escapes": escapes(right, said).value,
        "false_alarms": false_alarms(good.names, names(good)).value,
        "silhouette": float(silhouette_score(embed(encoder, balanced.images), balanced.labels)),
        "pairs_of_seen_parts": seen,
        "pairs_of_new_parts": new,
    }
    if head is not None:
        figures |= own_names(nn.Sequential(encoder, head), balanced, good)
    return figures, np.flatnonzero(said != right).tolist()


def own_names(network, balanced, good):
    """Figures of a plain classifier that is asked for its own names, not for the nearest anchor."""
    said, of_good = (embed(network, maps.images).argmax(axis=1) for maps in (balanced, good))
    return {
        "own_accuracy": float((said == balanced.labels).mean()),
        "own_escapes": escapes(balanced.labels, said, good=0).value,
        "own_false_alarms": false_alarms(good.labels, of_good, good=0).value,
    }


def sets_seen_through(front, raw):
    """Training and validation parts, balanced test parts, and all good test parts."""
    train, validation, test = (through(front, maps) for maps in raw.values())
    return train, validation, balance(test)[0], test.take(np.flatnonzero(test.labels == 0))


def main(wanted=()):
    raw = {split: load_maps(split) for split in ("train", "validation", "test")}
    record = begin(__file__, raw["train"].source)
    for whitened, cases in enumerate((CASES, WHITENED)):
        sets = sets_seen_through(fit_front(raw["train"], whitened=bool(whitened)), raw)
        if not whitened:
            cases = cases | {
                f"embedding of {width}": partial(siamese, embedding=width, watched=sets[1])
                for width in EMBEDDINGS
            }
        for seed in SEEDS:
            for case, train_one in cases.items():
                settings = {"case": case, "seed": seed}
                if (wanted and case not in wanted) or record.done(settings):
                    continue
                seconds, (encoder, head, history) = seconds_of(train_one, sets[0], seed)
                figures, wrong = figures_of(encoder, head, *sets, seed)
                if history.validation_loss:
                    figures["roughness"] = roughness(history.validation_loss)
                record.note({f"wrong: {case}, {seed}": wrong})
                record.add(settings, figures | {"seconds": seconds})
                print(case, seed, figures, f"{seconds:.0f} s", flush=True)
    show(record)
    print(json.dumps(record.means(("accuracy", "escapes", "false_alarms", "silhouette"))))


if __name__ == "__main__":
    main(sys.argv[1:])
