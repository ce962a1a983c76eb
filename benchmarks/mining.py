"""Race of mining strategies on MNIST: the same encoder, the same images, the same seconds.

    python benchmarks/mining.py

Every strategy trains the encoder of source A on 50 000 images for 1, 2 and 4 seconds, each a
training of its own with a learning rate in one cycle. How many steps that are is measured first,
strategy by strategy. All get the same search beforehand: embeddings as they are or scaled to length
one, and three learning rates, 1 s each, judged by the nearest anchor on 10 000 validation images.
A step takes 250 images, but for batch-hard a second time with the four images a class of its paper.
Three seeds. An interrupted run goes on where it stopped.
"""

import itertools
import json
from functools import partial

from measuring import seconds_of
from recording import begin, show

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
RATES = (1e-3, 3e-3, 1e-2)
CLASSES, PER_CLASS = 10, 25
BATCH = CLASSES * PER_CLASS  # images a step
TRIAL_STEPS = 60


def pairs(train, steps, seed):
    return PairDataset(train, steps * (BATCH // 2), seed=seed), BATCH // 2


def triplets(train, steps, seed):
    return TripletDataset(train, steps * (BATCH // 3), seed=seed), BATCH // 3


def batches(train, steps, seed, per_class=PER_CLASS):
    return BatchDataset(train, steps, CLASSES, per_class, seed=seed), None


STRATEGIES = {
    "random pairs": (pairs, losses.contrastive),
    "random triplets": (triplets, losses.triplet),
    "all pairs": (batches, losses.all_pairs),
    "batch-all": (batches, losses.batch_all),
    "batch-hard": (batches, losses.batch_hard),
    "batch-hard, 4 a class": (partial(batches, per_class=4), losses.batch_hard),
    "semi-hard": (batches, losses.semi_hard),
    "nearest semi-hard": (batches, losses.nearest_semi_hard),
    "prototype": (batches, partial(losses.prototype, temperature=0.1)),
    "supervised contrastive": (batches, losses.supervised_contrastive),
}


def train_for(strategy, train, steps, seed, unit, rate):
    """Train one encoder for a number of steps."""
    sampling, loss = STRATEGIES[strategy]
    encoder = mlp(*POST_A.widths, seed=seed)
    if unit:
        encoder.append(UnitLength())
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


def run(strategy, train, test, seed, budget, setting):
    steps = steps_within(budget, strategy, train)
    seconds, encoder = seconds_of(train_for, strategy, train, steps, seed, **setting)
    Z = embed(encoder, test.images)
    figures = {
        "steps": steps,
        "seconds": seconds,
        "kmeans": cluster_accuracy(Z, test.labels, seed=seed).majority.value,
        "anchor": anchor_accuracy(encoder, train, test),
    }
    if budget < max(BUDGETS):  # retrieval takes longer than the training
        return figures
    retrieval = retrieval_scores(Z, test.labels, seed=seed)
    return figures | {
        "recall_at_1": retrieval.recall_at_1.value,
        "map_at_r": retrieval.map_at_r.value,
    }


def main():
    whole, test = load("mnist", "train"), load("mnist", "test")
    train, validation = whole.split(10_000, seed=0)
    record = begin(__file__, whole.source)
    best = {name: search(record, name, train, validation) for name in STRATEGIES}
    for seed, budget, strategy in itertools.product(SEEDS, reversed(BUDGETS), STRATEGIES):
        settings = {"case": strategy, "seed": seed, "budget_s": budget, **best[strategy]}
        if not record.done(settings):
            record.add(settings, run(strategy, train, test, seed, budget, best[strategy]))
            print(f"{strategy}, {budget} s, seed {seed}: done", flush=True)
    show(record, "budget_s")
    table = record.table()
    longest = table[table["budget_s"] == max(BUDGETS)].groupby("case", sort=False)
    print(json.dumps(longest[["kmeans", "anchor", "map_at_r"]].mean().round(4).to_dict("index")))


if __name__ == "__main__":
    main()
