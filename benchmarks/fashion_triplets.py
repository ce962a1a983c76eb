"""Triplets on Fashion-MNIST: the source's recipe, its leak, its anchors, a better one taken apart.

    python benchmarks/fashion_triplets.py

Three seeds a case. Of the 60 000 training images 5 000 are set aside as validation images: they
stop the training of the source's recipe, set the thresholds, and on them rate and margin of the
better recipe were chosen (the cases "search"). In the cases named "joined" the official test images
stand among the training images, as in the source post. Anchors come from training images, scores
from the official test images. The source's recipe itself is trained in Keras; its variations are
trained in PyTorch, from the same first weights, on the same triplets in the same order. Plain
rivals stand beside them: pixels, an encoder that learned nothing, and the same encoder trained on
labels, on as many images. An interrupted run goes on where it stopped.
"""

import json
import time
from functools import partial

import numpy as np
import torch
from recording import begin, show
from sklearn.metrics import average_precision_score, confusion_matrix
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize
from torch import nn
from torch.nn.functional import cross_entropy

from snnlib import embedding, encoders, keras_triplets
from snnlib.book.recipes import BETTER_B, POST_B
from snnlib.data import load
from snnlib.embedding import AnchorClassifier
from snnlib.evaluation import roc_auc
from snnlib.keras_triplets import keras
from snnlib.losses import cosine_triplet
from snnlib.sampling import BatchDataset, TripletDataset, draw_triplets, triplet_pairs
from snnlib.training import fit, one_cycle
from snnlib.verification import angular_distance, choose_threshold

SEEDS = (0, 1, 2)
WIDTHS = POST_B.widths


def settings_of(recipe):
    return {
        "triplets": recipe.examples,
        "fresh": recipe.fresh,
        "margin": recipe.margin,
        "batch": recipe.batch,
        "rate": recipe.rate,
        "epochs": recipe.epochs,
    }


SOURCE = settings_of(POST_B) | {
    "framework": "PyTorch",
    "joined": False,
    "anchor": "random image",
    "validation_triplets": 10_000,
    "schedule": "constant",
}
BETTER = settings_of(BETTER_B) | {"schedule": "one cycle"}
CYCLE = {"schedule": "one cycle", "rate": BETTER_B.rate, "batch": BETTER_B.batch}
CASES = {
    "source recipe": {"framework": "Keras"},
    "source recipe, joined": {"joined": True},
    "source recipe, mean image": {"anchor": "mean image"},
    # The better recipe, a change at a time
    "source recipe, PyTorch": {},
    "fresh triplets": {"fresh": True},
    "fresh, one cycle": {"fresh": True} | CYCLE,
    "fresh, one cycle, more triplets": BETTER | {"margin": POST_B.margin},
    "better recipe": BETTER,
    "better recipe, fixed triplets": BETTER | {"fresh": False},
    "better recipe, as few triplets": BETTER | {"triplets": POST_B.examples},
    "better recipe, source's training": BETTER
    | {"schedule": "constant", "rate": POST_B.rate, "batch": POST_B.batch},
}
SEARCHED = {
    **{f"search: margin {margin}": {"margin": margin} for margin in (0.2, 0.4, 0.8, 1.2)},
    **{f"search: rate {rate:g}": {"rate": rate} for rate in (3e-4, 1e-3, 3e-3)},
}
SOFTMAX = {"softmax, source recipe": SOURCE, "softmax, better recipe": SOURCE | BETTER}
TOPS = [0, 2, 4, 6]  # T-shirt/top, pullover, coat, shirt


def train_in_keras(data, validation, seed, recipe):
    """Train as the chapter does; embeddings of images, and the losses of the epochs."""
    encoder = keras_triplets.mlp(*WIDTHS, seed=seed)
    model = keras_triplets.TripletModel(encoder)
    model.compile(
        keras.optimizers.Adam(recipe["rate"]),
        keras_triplets.CosineTripletLoss(recipe["margin"]),
        steps_per_execution=16,
    )
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    history = model.fit(
        keras_triplets.TripletBatches(data, recipe["batch"]),
        validation_data=keras_triplets.TripletBatches(validation, 500),
        epochs=recipe["epochs"],
        callbacks=[keras_triplets.Watch(data), stopping],
        verbose=0,
    ).history
    return partial(keras_triplets.embed, encoder), history["loss"], history["val_loss"]


def train_in_pytorch(data, validation, seed, recipe):
    """The same through `snnlib.training`; a cycle ends with its last step, so nothing stops it."""
    encoder = encoders.mlp(*WIDTHS, seed=seed)
    constant = recipe["schedule"] == "constant"
    if constant:  # a variation of the source's recipe begins where the source's recipe does
        weights = iter(keras_triplets.mlp(*WIDTHS, seed=seed).get_weights())
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.copy_(torch.tensor(next(weights).T))
    history = fit(
        encoder,
        data,
        partial(cosine_triplet, margin=recipe["margin"]),
        epochs=recipe["epochs"],
        batch_size=recipe["batch"],
        optimizer=partial(torch.optim.Adam, lr=recipe["rate"], eps=1e-7, fused=True),
        schedule=None if constant else one_cycle(recipe["rate"]),
        validation=validation if constant else None,
        patience=2 if constant else None,
        progress=False,
    )
    return partial(embedding.embed, encoder), history.loss, history.validation_loss


def train_on_labels(images, seed, recipe):
    """The same encoder under a layer that names the classes: three images a step for a triplet."""
    encoder = encoders.mlp(*WIDTHS, seed=seed)
    classes = len(images.class_names)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = nn.Sequential(encoder, nn.Linear(WIDTHS[-1], classes))
    a_class = 3 * recipe["batch"] // classes
    data = BatchDataset(
        images, 3 * recipe["triplets"] // (classes * a_class), classes, a_class, seed=seed
    )
    fit(
        network,
        data,
        cross_entropy,
        epochs=recipe["epochs"],
        optimizer=partial(torch.optim.Adam, lr=recipe["rate"], eps=1e-7, fused=True),
        schedule=None if recipe["schedule"] == "constant" else one_cycle(recipe["rate"]),
        progress=False,
    )
    return partial(embedding.embed, encoder), partial(embedding.embed, network)


def triplets_of(train, seed, recipe):
    anchors = train.class_means() if recipe["anchor"] == "mean image" else None
    drawn = {"seed": seed, "fresh": recipe["fresh"], "anchors": anchors}
    return TripletDataset(train, recipe["triplets"], **drawn)


def run(whole, test, seed, **recipe):
    """Train one encoder and score it on the official test images."""
    whole = whole.join(test) if recipe["joined"] else whole
    train, validation = whole.split(5_000, seed=0)
    watched = TripletDataset(validation, recipe["validation_triplets"], seed=seed, fresh=False)
    training = {"Keras": train_in_keras, "PyTorch": train_in_pytorch}[recipe["framework"]]
    start = time.perf_counter()
    embed, losses, validation_losses = training(
        triplets_of(train, seed, recipe), watched, seed, recipe
    )
    return {
        "train_s": time.perf_counter() - start,
        "epochs_run": len(losses),
        "loss_before": losses[-2],
        "loss": losses[-1],
        "validation_loss": validation_losses[-1] if validation_losses else None,
        **verification(embed, validation, test, seed),
        **accuracies(embed, train, test),
    }


def search(record, train, validation):
    """Margin and rate of the better recipe, one at a time, by validation images alone."""
    for case, changes in SEARCHED.items():
        recipe = SOURCE | BETTER | changes
        settings = {"case": case, "seed": 0, **recipe}
        if not record.done(settings):
            embed, *_ = train_in_pytorch(triplets_of(train, 0, recipe), None, 0, recipe)
            Z, Z_new = (normalize(embed(images.images)) for images in (train, validation))
            anchors = AnchorClassifier(unit_length=True).fit(Z, train.labels)
            found = anchors.score(Z_new, validation.labels)
            record.add(settings, {"validation_mean_embedding": found})


def rivals(record, train, validation, test):
    """Plain ways to name a garment, on the same images."""
    pixels, test_pixels = (images.images.reshape(len(images), -1) for images in (train, test))
    named = {
        "mean_image": AnchorClassifier(),
        "neighbours": KNeighborsClassifier(10),
    }
    settings = {"case": "pixels", "seed": 0}
    if not record.done(settings):
        figures = {
            figure: float(way.fit(pixels, train.labels).score(test_pixels, test.labels))
            for figure, way in named.items()
        }
        record.add(settings, figures)
    for seed in SEEDS:
        settings = {"case": "untrained", "seed": seed}
        if not record.done(settings):
            embed = partial(embedding.embed, encoders.mlp(*WIDTHS, seed=seed))
            figures = verification(embed, validation, test, seed) | accuracies(embed, train, test)
            record.add(settings, figures)
        for case, recipe in SOFTMAX.items():
            settings = {"case": case, "seed": seed, **recipe}
            if not record.done(settings):
                embed, name = train_on_labels(train, seed, recipe)
                right = name(test.images).argmax(axis=1) == test.labels
                figures = verification(embed, validation, test, seed)
                figures |= accuracies(embed, train, test) | {"named": float(right.mean())}
                record.add(settings, figures)
                print(f"{case}, seed {seed}: done", flush=True)


def pair_distances(embed, images, n, seed):
    """Angular distances of the pairs of `n` triplets, and which of them are of one class."""
    pairs, same = triplet_pairs(draw_triplets(images.labels, n, seed=seed))
    Z = embed(images.images)
    return angular_distance(Z[pairs[:, 0]], Z[pairs[:, 1]]), same


def verification(embed, validation, test, seed):
    """Same or different, on pairs of 20 000 test triplets."""
    distances, same = pair_distances(embed, test, 20_000, seed)
    threshold = choose_threshold(*pair_distances(embed, validation, 10_000, seed))
    return {
        "auc": roc_auc(distances[same], distances[~same]).value,
        "average_precision": float(average_precision_score(same, -distances)),
        "pair_accuracy": float(np.mean((distances < threshold) == same)),
        "pair_accuracy_at_half": float(np.mean((distances < 0.5) == same)),
        "threshold": threshold,
    }


def accuracies(embed, train, test):
    """Share of test images named rightly by each kind of anchor, all on unit vectors."""
    means = train.class_means()
    Z, Z_test, Z_means = (normalize(embed(part.images)) for part in (train, test, means))
    anchors = AnchorClassifier(unit_length=True).fit(Z, train.labels)
    neighbours = KNeighborsClassifier(10).fit(Z, train.labels)
    table = confusion_matrix(test.labels, anchors.predict(Z_test))
    errors = table.sum() - np.trace(table)
    tops = table[np.ix_(TOPS, TOPS)]
    return {
        "mean_embedding": anchors.score(Z_test, test.labels),
        "mean_image": AnchorClassifier().fit(Z_means, means.labels).score(Z_test, test.labels),
        "neighbours": float(neighbours.score(Z_test, test.labels)),
        "training_images": anchors.score(Z, train.labels),
        "shirts_found": float(table[6, 6] / table[6].sum()),
        "errors_among_tops": float((tops.sum() - np.trace(tops)) / errors),
    }


def main():
    whole, test = load("fashion_mnist", "train"), load("fashion_mnist", "test")
    record = begin(__file__, whole.source, "tensorflow", "keras")
    train, validation = whole.split(5_000, seed=0)
    search(record, train, validation)
    rivals(record, train, validation, test)
    for case, changes in CASES.items():
        recipe = SOURCE | changes
        for seed in SEEDS:
            settings = {"case": case, "seed": seed, **recipe}
            if not record.done(settings):
                record.add(settings, run(whole, test, seed, **recipe))
                print(f"{case}, seed {seed}: done", flush=True)
    show(record)
    print(json.dumps(record.means(("auc", "mean_embedding", "mean_image", "neighbours", "named"))))


if __name__ == "__main__":
    main()
