"""Race of mining strategies on MNIST: the same encoder, the same images, seconds or steps.

    python benchmarks/mining.py

Every strategy trains the encoder of source A on 50 000 images with a learning rate in one cycle.
Four things are measured, each in trainings of its own, over three seeds:

- "seconds": 1, 2 and 4 seconds of training. How many steps these are is measured first, strategy by
  strategy.
- "steps": as many steps for all.
- "unseen": the same steps on the digits 0 to 6 alone. Test images of 7 to 9 look for their likes
  among each other. Beside them stand pixels and an encoder that learned nothing.
- "wrong labels": the same steps, with a share of the training labels replaced by other digits, for
  the training as for the anchors.

All get the same search beforehand: embeddings as they are or scaled to length one, and four
learning rates, 1 s each, judged by the nearest anchor on 10 000 validation images. A step takes 250
images, but for batch-hard a second time with the four images a class of its paper. Two losses are
those of PyTorch Metric Learning; the proxies of one of them learn at the rate of the encoder. The
plain classifier is a layer on top, trained by cross-entropy and left out afterwards.

An interrupted run goes on where it stopped.
"""

import itertools
import json
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from measuring import seconds_of
from pytorch_metric_learning.losses import MultiSimilarityLoss, ProxyAnchorLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from recording import begin, show
from torch import nn
from torch.nn.functional import cross_entropy

from snnlib import losses
from snnlib.book.recipes import POST_A
from snnlib.data import load
from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import UnitLength, mlp
from snnlib.evaluation import cluster_accuracy, retrieval_scores
from snnlib.sampling import BatchDataset, PairDataset, TripletDataset
from snnlib.training import fit_one_cycle

SEEDS, SEARCH_SEED = (0, 1, 2), 10
BUDGETS, SEARCH_BUDGET = (1, 2, 4), 1
STEPS, TRIAL_STEPS = 800, 60
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
BATCH = 250  # images a step
SEEN, SHARES = 7, (0.1, 0.2)  # digits below 7 are trained; shares of wrong labels
WIDTH = POST_A.widths[-1]


def pairs(train, steps, seed):
    return PairDataset(train, steps * (BATCH // 2), seed=seed), BATCH // 2


def triplets(train, steps, seed):
    return TripletDataset(train, steps * (BATCH // 3), seed=seed), BATCH // 3


def batches(train, steps, seed, per_class=None):
    classes = len(np.unique(train.labels))
    return BatchDataset(train, steps, classes, per_class or BATCH // classes, seed=seed), None


class PlainClassifier(nn.Module):
    """Cross-entropy of a layer on top of the embeddings."""

    def __init__(self, classes):
        super().__init__()
        self.top = nn.Linear(WIDTH, classes)

    def forward(self, Z, labels):
        return cross_entropy(self.top(Z), labels)


def multi_similarity(_):
    loss, miner = MultiSimilarityLoss(), MultiSimilarityMiner()
    return lambda Z, labels: loss(Z, labels, miner(Z, labels))


def always(loss):
    """The loss, for any number of classes."""
    return lambda _: loss


STRATEGIES = {
    "random pairs": (pairs, always(losses.contrastive)),
    "random triplets": (triplets, always(losses.triplet)),
    "all pairs": (batches, always(losses.all_pairs)),
    "batch-all": (batches, always(losses.batch_all)),
    "batch-hard": (batches, always(losses.batch_hard)),
    "batch-hard, 4 a class": (partial(batches, per_class=4), always(losses.batch_hard)),
    "semi-hard": (batches, always(losses.semi_hard)),
    "nearest semi-hard": (batches, always(losses.nearest_semi_hard)),
    "prototype": (batches, always(partial(losses.prototype, temperature=0.1))),
    "supervised contrastive": (batches, always(losses.supervised_contrastive)),
    "multi-similarity": (batches, multi_similarity),
    "proxy anchor": (batches, lambda classes: ProxyAnchorLoss(classes, WIDTH)),
    "plain classifier": (batches, PlainClassifier),
}


def train_for(strategy, train, steps, seed, unit, rate):
    """Train one encoder for a number of steps."""
    sampling, make_loss = STRATEGIES[strategy]
    encoder = mlp(*POST_A.widths, seed=seed)
    if unit:
        encoder.append(UnitLength())
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)  # for losses with weights of their own
        loss = make_loss(len(np.unique(train.labels)))
    data, batch_size = sampling(train, steps, seed)
    fit_one_cycle(
        encoder,
        data,
        loss,
        epochs=1,
        batch_size=batch_size,
        rate=rate,
        progress=False,
    )
    return encoder


def steps_within(budget, strategy, train):
    """Steps that fit into some seconds."""
    train_for(strategy, train, 5, 0, True, 1e-3)
    spent, _ = seconds_of(train_for, strategy, train, TRIAL_STEPS, 0, True, 1e-3)
    return max(round(budget * TRIAL_STEPS / spent), 10)


def anchor_accuracy(encoder, train, images):
    anchors = AnchorClassifier().fit(embed(encoder, train.images), train.labels)
    return anchors.score(embed(encoder, images.images), images.labels)


def retrieval(Z, labels, prefix=""):
    scores = retrieval_scores(Z, labels)
    return {
        f"{prefix}recall_at_1": scores.recall_at_1.value,
        f"{prefix}map_at_r": scores.map_at_r.value,
    }


def search(record, strategy, train, validation):
    """The setting that does best on validation images; the same search for every strategy."""
    key = f"search: {strategy}"
    if record.noted(key) is None:
        steps = steps_within(SEARCH_BUDGET, strategy, train)
        found = []
        for unit, rate in itertools.product((False, True), RATES):
            encoder = train_for(strategy, train, steps, SEARCH_SEED, unit, rate)
            accuracy = anchor_accuracy(encoder, train, validation)
            found.append({"unit": unit, "rate": rate, "validation_anchor": accuracy})
            print(strategy, found[-1], flush=True)
        record.note({key: found})
    best = max(record.noted(key), key=lambda trial: trial["validation_anchor"])
    return {"unit": best["unit"], "rate": best["rate"]}


def in_seconds(strategy, train, test, seed, setting, budget_s):
    steps = steps_within(budget_s, strategy, train)
    seconds, encoder = seconds_of(train_for, strategy, train, steps, seed, **setting)
    Z = embed(encoder, test.images)
    figures = {
        "steps": steps,
        "seconds": seconds,
        "kmeans": cluster_accuracy(Z, test.labels, seed=seed).majority.value,
        "anchor": anchor_accuracy(encoder, train, test),
    }
    # Retrieval takes longer than the training.
    return figures | (retrieval(Z, test.labels) if budget_s == max(BUDGETS) else {})


def in_steps(strategy, train, test, seed, setting):
    seconds, encoder = seconds_of(train_for, strategy, train, STEPS, seed, **setting)
    return {
        "ms_a_step": 1000 * seconds / STEPS,
        "anchor": anchor_accuracy(encoder, train, test),
        **retrieval(embed(encoder, test.images), test.labels),
    }


def on_unseen(strategy, train, test, seed, setting):
    """Likes found among digits that were never trained, and among those that were."""
    known = train.take(np.flatnonzero(train.labels < SEEN))
    encoder = train_for(strategy, known, STEPS, seed, **setting)
    return unseen_figures(embed(encoder, test.images), test.labels)


def unseen_figures(Z, labels):
    seen = labels < SEEN
    return retrieval(Z[~seen], labels[~seen]) | retrieval(Z[seen], labels[seen], "seen_")


def with_wrong_labels(strategy, train, test, seed, setting, share):
    rng = np.random.default_rng((seed, SEARCH_SEED))
    wrong = rng.random(len(train)) < share
    labels = np.where(wrong, (train.labels + rng.integers(1, 10, len(train))) % 10, train.labels)
    told = replace(train, labels=labels)
    encoder = train_for(strategy, told, STEPS, seed, **setting)
    return {
        "anchor": anchor_accuracy(encoder, told, test),
        **retrieval(embed(encoder, test.images), test.labels),
    }


def rivals(record, test):
    """What needs no training, among unseen digits."""
    settings = {"case": "pixels", "measured": "unseen", "seed": 0}
    if not record.done(settings):
        pixels = test.images.reshape(len(test), -1)
        record.add(settings, unseen_figures(pixels, test.labels))
    for seed in SEEDS:
        settings = {"case": "untrained", "measured": "unseen", "seed": seed}
        if not record.done(settings):
            Z = embed(mlp(*POST_A.widths, seed=seed), test.images)
            record.add(settings, unseen_figures(Z, test.labels))


def main():
    whole, test = load("mnist", "train"), load("mnist", "test")
    train, validation = whole.split(10_000, seed=0)
    record = begin(__file__, whole.source, "pytorch-metric-learning")
    best = {name: search(record, name, train, validation) for name in STRATEGIES}
    rivals(record, test)
    ways = [
        ("steps", in_steps, {}),
        ("unseen", on_unseen, {}),
        *(("wrong labels", with_wrong_labels, {"share": share}) for share in SHARES),
        *(("seconds", in_seconds, {"budget_s": budget}) for budget in reversed(BUDGETS)),
    ]
    for (measured, measure, more), seed, strategy in itertools.product(ways, SEEDS, STRATEGIES):
        setting = best[strategy]
        settings = {"case": strategy, "measured": measured, "seed": seed, **more, **setting}
        if not record.done(settings):
            record.add(settings, measure(strategy, train, test, seed, setting, **more))
            print(f"{strategy}, {measured}, {more}, seed {seed}: done", flush=True)
    show(record, "measured")
    table = record.table().groupby(["measured", "case"], sort=False)
    means = table[["anchor", "recall_at_1", "map_at_r"]].mean().round(4)
    print(json.dumps({": ".join(key): row.dropna().to_dict() for key, row in means.iterrows()}))


if __name__ == "__main__":
    main()
