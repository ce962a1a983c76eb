"""Contrastive pairs on MNIST: the source's recipe, a better one taken apart, and plain rivals.

    python benchmarks/mnist_pairs.py

Of the 60 000 training images 5 000 are set aside as validation images: thresholds and learning
rates are chosen on them. The cases "search" try rates. The cases that take the better recipe apart
take the rate that did best there for their optimizer, schedule and batch; the better recipe keeps
its own, which was the best of those tried. Anchors come from training images, scores from test
images. Every case but "twice the passes" lets as many images pass through the encoder. The cases
"unseen" train on nine digits, each left out in turn, and then give the tenth an anchor. An
interrupted run goes on where it stopped.
"""

import json
from functools import partial

import numpy as np
import torch
from recording import begin, show
from sklearn.metrics.pairwise import paired_euclidean_distances
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.nn.functional import cross_entropy

from snnlib.book.recipes import BETTER_A, POST_A
from snnlib.data import load
from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import mlp
from snnlib.evaluation import cluster_accuracy
from snnlib.losses import contrastive
from snnlib.sampling import BatchDataset, PairDataset, draw_pairs
from snnlib.training import fit, one_cycle
from snnlib.verification import choose_threshold, verification_scores

SEEDS = (0, 1, 2)
SEARCHED = (0,)  # seeds of the search
FEW, DRAWS = 5, 20  # images that an unseen digit gets an anchor from, and how often they are drawn
SOURCE = {
    "images": 55_000,
    "width": POST_A.widths[-1],
    "margin": POST_A.margin,
    "share": 0.5,
    "pairs": POST_A.examples,
    "fresh": POST_A.fresh,
    "epochs": POST_A.epochs,
    "batch": POST_A.batch,
    "optimizer": "SGD",
    "schedule": "constant",
    "rate": POST_A.rate,
}
ADAM_CYCLE = {"optimizer": "Adam", "schedule": "one cycle", "batch": BETTER_A.batch}
BETTER = {"fresh": True, **ADAM_CYCLE, "rate": BETTER_A.rate}
RATES = {
    ("SGD", "constant", 64): (0.05, 0.1, 0.2, 0.5, 1.0),
    ("SGD", "one cycle", 64): (0.1, 0.2, 0.5),
    ("Adam", "constant", 64): (1e-4, 3e-4, 1e-3, 3e-3),
    ("Adam", "one cycle", 64): (3e-4, 1e-3, 3e-3, 1e-2),
    ("Adam", "one cycle", 128): (1e-3, 3e-3, 1e-2),
    ("SGD", "one cycle", 128): (0.1, 0.2, 0.5, 1.0),
}
CASES = {
    "source recipe": {},
    "no image set aside": {"images": 60_000},
    # The better recipe, a change at a time
    "fresh pairs": {"fresh": True},
    "fresh pairs, best rate": {"fresh": True, "rate": None},
    "fresh pairs, SGD in one cycle": {"fresh": True, "schedule": "one cycle", "rate": None},
    "fresh pairs, Adam": {"fresh": True, "optimizer": "Adam", "rate": None},
    "fresh pairs, Adam in one cycle": BETTER | {"batch": 64, "rate": None},
    "better recipe": BETTER,
    "better recipe, SGD": BETTER | {"optimizer": "SGD", "rate": None},
    "better recipe, fixed pairs": BETTER | {"fresh": False},
    # What the source suggests trying
    **{f"width {width}": {"width": width} for width in (2, 4, 8, 16, 64, 128)},
    **{f"margin {margin}": {"margin": margin} for margin in (0.1, 0.3, 3, 10)},
    **{f"share {share}": {"share": share} for share in (0.1, 0.25, 0.75, 0.9)},
    **{
        f"{pairs} pairs": {"pairs": pairs, "epochs": 600_000 // pairs}
        for pairs in (15_000, 30_000, 120_000, 600_000)
    },
    "twice the passes": {"pairs": 120_000},
}
# The same encoder with a linear layer on top that names the digits, on as many images
SOFTMAX = {"softmax, source recipe": SOURCE, "softmax, better recipe": SOURCE | BETTER}
UNSEEN = ("contrastive", "softmax", "untrained", "pixels")


def train(encoder, data, loss, recipe, batch_size):
    optimizer = {"SGD": torch.optim.SGD, "Adam": torch.optim.Adam}[recipe["optimizer"]]
    return fit(
        encoder,
        data,
        loss,
        epochs=recipe["epochs"],
        batch_size=batch_size,
        optimizer=partial(optimizer, lr=recipe["rate"], fused=True),
        schedule=one_cycle(recipe["rate"]) if recipe["schedule"] == "one cycle" else None,
        progress=False,
    )


def train_on_pairs(images, recipe, seed):
    """An encoder, and what happened."""
    encoder = mlp(*POST_A.widths[:-1], recipe["width"], seed=seed)
    data = PairDataset(images, recipe["pairs"], recipe["share"], seed=seed, fresh=recipe["fresh"])
    loss = partial(contrastive, margin=recipe["margin"])
    return encoder, train(encoder, data, loss, recipe, recipe["batch"])


def train_on_labels(images, recipe, seed):
    """An encoder and the layer on top of it: two images a step for each pair."""
    encoder = mlp(*POST_A.widths[:-1], recipe["width"], seed=seed)
    classes = len(np.unique(images.labels))
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        top = nn.Linear(recipe["width"], len(images.class_names))
    a_class = 2 * recipe["batch"] // classes
    batches = 2 * recipe["pairs"] // (classes * a_class)
    data = BatchDataset(images, batches, classes, a_class, seed=seed)
    network = nn.Sequential(encoder, top)
    return encoder, network, train(network, data, cross_entropy, recipe, data.batch_size)


def distances_of_pairs(encoder, images, seed):
    """10 000 balanced pairs, their distances, and which of them are of one class."""
    pairs, same = draw_pairs(images.labels, 10_000, seed=seed)
    Z = embed(encoder, images.images)
    return pairs, paired_euclidean_distances(Z[pairs[:, 0]], Z[pairs[:, 1]]), same


def anchor_accuracy(encoder, train, images):
    anchors = AnchorClassifier().fit(embed(encoder, train.images), train.labels)
    return float(anchors.score(embed(encoder, images.images), images.labels))


def scores(encoder, train, validation, test, seed):
    Z = embed(encoder, test.images)
    clusters = cluster_accuracy(Z, test.labels, seed=seed)
    threshold = choose_threshold(*distances_of_pairs(encoder, validation, seed)[1:])
    verification = verification_scores(*distances_of_pairs(encoder, test, seed), threshold)
    return {
        "kmeans": clusters.majority.value,
        "kmeans_matched": clusters.matched.value,
        "anchor": anchor_accuracy(encoder, train, test),
        "auc": verification.auc.value,
        "pair_accuracy": verification.accuracy.value,
    }


# What is measured


def search(record, train, validation):
    """Rates by the nearest anchor of validation images, fresh pairs each epoch."""
    for (optimizer, schedule, batch), rates in RATES.items():
        way = {"optimizer": optimizer, "schedule": schedule, "batch": batch, "fresh": True}
        for rate in rates:
            for seed in SEARCHED:
                recipe = SOURCE | way | {"rate": rate}
                settings = {"case": f"search: {optimizer}, {schedule}, {batch}", "seed": seed}
                settings |= recipe
                if not record.done(settings):
                    encoder, _ = train_on_pairs(train, recipe, seed)
                    found = anchor_accuracy(encoder, train, validation)
                    record.add(settings, {"validation_anchor": found})


def best_rate(record, recipe):
    """Of the rates that the search tried for an optimizer, a schedule and a batch."""
    way = ("optimizer", "schedule", "batch")
    runs = record.table()
    runs = runs[runs["case"].str.startswith("search")]
    for name in way:
        runs = runs[runs[name] == recipe[name]]
    return float(runs.groupby("rate")["validation_anchor"].mean().idxmax())


def compare(record, whole, test):
    """All cases that train on pairs."""
    train, validation = whole.split(5_000, seed=0)
    for seed in SEEDS:
        for case, changes in CASES.items():
            recipe = SOURCE | changes
            recipe["rate"] = recipe["rate"] or best_rate(record, recipe)
            settings = {"case": case, "seed": seed, **recipe}
            if record.done(settings):
                continue
            learned = whole if recipe["images"] == len(whole) else train
            encoder, history = train_on_pairs(learned, recipe, seed)
            figures = {"loss": history.loss[-1], "train_s": sum(history.seconds)}
            record.add(settings, scores(encoder, learned, validation, test, seed) | figures)
            print(f"{case}, seed {seed}: done", flush=True)


def rivals(record, whole, test):
    """Plain ways to name a digit: on pixels, by an encoder that learned nothing, by labels."""
    train, validation = whole.split(5_000, seed=0)
    pixels, test_pixels = (images.images.reshape(len(images), -1) for images in (train, test))
    for case, classifier in {
        "pixels, nearest mean": AnchorClassifier(),
        "pixels, five nearest": KNeighborsClassifier(5),
    }.items():
        settings = {"case": case, "seed": 0}
        if not record.done(settings):
            named = classifier.fit(pixels, train.labels).score(test_pixels, test.labels)
            record.add(settings, {"anchor" if "mean" in case else "named": float(named)})
    for seed in SEEDS:
        settings = {"case": "untrained", "seed": seed}
        if not record.done(settings):
            encoder = mlp(*POST_A.widths, seed=seed)
            record.add(settings, scores(encoder, train, validation, test, seed))
        for case, recipe in SOFTMAX.items():
            settings = {"case": case, "seed": seed, **recipe}
            if not record.done(settings):
                encoder, network, history = train_on_labels(train, recipe, seed)
                named = (embed(network, test.images).argmax(axis=1) == test.labels).mean()
                figures = {"named": float(named), "train_s": sum(history.seconds)}
                record.add(settings, scores(encoder, train, validation, test, seed) | figures)
                print(f"{case}, seed {seed}: done", flush=True)


def encoder_of(method, images, seed):
    """What turns images into points, by one of `UNSEEN`."""
    if method == "pixels":
        return nn.Flatten()
    if method == "untrained":
        return mlp(*POST_A.widths, seed=seed)
    learn = {"contrastive": train_on_pairs, "softmax": train_on_labels}[method]
    return learn(images, SOURCE | BETTER, seed)[0]


def unseen(record, whole, test):
    """Nine digits are trained; the tenth gets an anchor from five images, or from all."""
    train, _ = whole.split(5_000, seed=0)
    for digit in np.unique(train.labels):
        known = train.take(np.flatnonzero(train.labels != digit))
        for method in UNSEEN:
            settings = {"case": f"unseen, {method}", "seed": 0, "digit": int(digit)}
            if not record.done(settings):
                encoder = encoder_of(method, known, seed=0)
                record.add(settings, placed(encoder, train, test, digit))
                print(f"unseen {digit}, {method}: done", flush=True)


def placed(encoder, train, test, digit):
    """Shares found of a digit that was not trained, and of the others, by ten anchors."""
    Z, Z_test = embed(encoder, train.images), embed(encoder, test.images)
    is_new, of_new = test.labels == digit, Z[train.labels == digit]
    others = AnchorClassifier().fit(Z[train.labels != digit], train.labels[train.labels != digit])
    rng = np.random.default_rng(int(digit))
    found = []
    for count in [FEW] * DRAWS + [len(of_new)]:
        some = of_new[rng.choice(len(of_new), count, replace=False)]
        said = others.with_anchor(digit, some).predict(Z_test)
        right = said == test.labels
        found.append((right[is_new].mean(), right[~is_new].mean()))
    few = np.mean(found[:-1], axis=0)
    return {
        "new_by_five": float(few[0]),
        "others_by_five": float(few[1]),
        "new_by_all": float(found[-1][0]),
        "others_by_all": float(found[-1][1]),
    }


def main():
    whole, test = load("mnist", "train"), load("mnist", "test")
    record = begin(__file__, whole.source)
    search(record, *whole.split(5_000, seed=0))
    unseen(record, whole, test)
    rivals(record, whole, test)
    compare(record, whole, test)
    show(record)
    print(json.dumps(record.means(("kmeans", "anchor", "named", "new_by_five"))))


if __name__ == "__main__":
    main()
