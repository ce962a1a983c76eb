"""Contrastive pairs on MNIST: the source's recipe, a better one, and what its settings matter.

    python benchmarks/mnist_pairs.py

Three seeds a case; every case but one has the same number of encoder passes. Of the 60 000 training
images 5 000 are set aside as validation images: thresholds and the better recipe were chosen on
them. Anchors come from training images, scores from test images. An interrupted run goes on where
it stopped.
"""

import json
from functools import partial

import torch
from recording import begin, show
from sklearn.metrics.pairwise import paired_euclidean_distances

from snnlib.book.recipes import BETTER_A, POST_A
from snnlib.data import load
from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import mlp
from snnlib.evaluation import choose_threshold, cluster_accuracy, verification_scores
from snnlib.losses import contrastive
from snnlib.sampling import PairDataset, draw_pairs
from snnlib.training import fit, fit_one_cycle

SEEDS = (0, 1, 2)
SOURCE = {
    "images": 55_000,
    "width": POST_A.widths[-1],
    "share": 0.5,
    "pairs": POST_A.examples,
    "fresh": POST_A.fresh,
    "epochs": POST_A.epochs,
    "batch": POST_A.batch,
    "optimizer": "SGD",
}
CASES = {
    "source recipe": {},
    "no image set aside": {"images": 60_000},
    "fresh pairs": {"fresh": True},
    "better recipe": {
        "fresh": BETTER_A.fresh,
        "batch": BETTER_A.batch,
        "optimizer": "Adam",
    },
    **{f"width {width}": {"width": width} for width in (2, 4, 8, 16, 64, 128)},
    **{f"share {share}": {"share": share} for share in (0.1, 0.25, 0.75, 0.9)},
    **{
        f"{pairs} pairs": {"pairs": pairs, "epochs": 600_000 // pairs}
        for pairs in (15_000, 30_000, 120_000, 600_000)
    },
    "twice the passes": {"pairs": 120_000},
}
OPTIMIZERS = {
    "SGD": partial(fit, optimizer=partial(torch.optim.SGD, lr=POST_A.rate)),
    "Adam": partial(fit_one_cycle, rate=BETTER_A.rate),
}


def run(whole, test, seed, *, images, width, share, pairs, fresh, epochs, batch, optimizer):
    """Train one encoder and score it on the test images."""
    train, validation = whole.split(5_000, seed=0)
    if images == len(whole):
        train = whole
    encoder = mlp(*POST_A.widths[:-1], width, seed=seed)
    data = PairDataset(train, pairs, share, seed=seed, fresh=fresh)
    train_by = OPTIMIZERS[optimizer]
    history = train_by(encoder, data, contrastive, epochs=epochs, batch_size=batch, progress=False)
    Z = embed(encoder, test.images)
    clusters = cluster_accuracy(Z, test.labels, seed=seed)
    anchors = AnchorClassifier().fit(embed(encoder, train.images), train.labels)
    threshold = choose_threshold(*distances_of_pairs(encoder, validation, seed))
    verification = verification_scores(
        *distances_of_pairs(encoder, test, seed), threshold, seed=seed
    )
    return {
        "kmeans": clusters.majority.value,
        "kmeans_matched": clusters.matched.value,
        "anchor": float(anchors.score(Z, test.labels)),
        "auc": verification.auc.value,
        "pair_accuracy": verification.accuracy.value,
        "loss": history.loss[-1],
        "train_s": sum(history.seconds),
    }


def distances_of_pairs(encoder, images, seed):
    """Distances of 10 000 balanced pairs, and which of them are of one class."""
    pairs, same = draw_pairs(images.labels, 10_000, seed=seed)
    Z = embed(encoder, images.images)
    return paired_euclidean_distances(Z[pairs[:, 0]], Z[pairs[:, 1]]), same


def main():
    whole, test = load("mnist", "train"), load("mnist", "test")
    record = begin(__file__, whole.source)
    for seed in SEEDS:
        for case, changes in CASES.items():
            recipe = SOURCE | changes
            settings = {"case": case, "seed": seed, **recipe}
            if not record.done(settings):
                record.add(settings, run(whole, test, seed, **recipe))
                print(f"{case}, seed {seed}: done", flush=True)
    show(record)
    print(json.dumps(record.means(("kmeans", "anchor"))))


if __name__ == "__main__":
    main()
