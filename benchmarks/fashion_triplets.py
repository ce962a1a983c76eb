"""Triplets on Fashion-MNIST: the source's recipe, its leak, its anchors, a better recipe.

    python benchmarks/fashion_triplets.py

Three seeds a case. Of the 60 000 training images 5 000 are set aside as validation images: they
stop the training of the source's recipe, set the thresholds, and the better recipe was chosen on
them. In the cases named "joined" the official test images stand among the training images, as in
the source post. Anchors come from training images, scores from the official test images. The
source's recipe itself is trained in Keras; its variations are trained in PyTorch, from the same
first weights, on the same triplets in the same order. An interrupted run goes on where it stopped.
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

from snnlib import embedding, encoders, keras_triplets
from snnlib.book.recipes import BETTER_B, POST_B
from snnlib.data import load
from snnlib.embedding import AnchorClassifier
from snnlib.evaluation import angular_distance, choose_threshold, roc_auc
from snnlib.keras_triplets import keras
from snnlib.losses import cosine_triplet
from snnlib.sampling import TripletDataset, draw_triplets, triplet_pairs
from snnlib.training import fit, one_cycle

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
CASES = {
    "source recipe": {"framework": "Keras"},
    "better recipe": BETTER,
    "source recipe, joined": {"joined": True},
    "source recipe, mean image": {"anchor": "mean image"},
}
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


def run(whole, test, seed, **recipe):
    """Train one encoder and score it on the official test images."""
    whole = whole.join(test) if recipe["joined"] else whole
    train, validation = whole.split(5_000, seed=0)
    anchors = train.class_means() if recipe["anchor"] == "mean image" else None
    data = TripletDataset(
        train, recipe["triplets"], seed=seed, fresh=recipe["fresh"], anchors=anchors
    )
    watched = TripletDataset(validation, recipe["validation_triplets"], seed=seed, fresh=False)
    training = {"Keras": train_in_keras, "PyTorch": train_in_pytorch}[recipe["framework"]]
    start = time.perf_counter()
    embed, losses, validation_losses = training(data, watched, seed, recipe)
    return {
        "train_s": time.perf_counter() - start,
        "epochs_run": len(losses),
        "loss_before": losses[-2],
        "loss": losses[-1],
        "validation_loss": validation_losses[-1] if validation_losses else None,
        **verification(embed, validation, test, seed),
        **accuracies(embed, train, test),
    }


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
    anchors = AnchorClassifier().fit(Z, train.labels)
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
    for case, changes in CASES.items():
        recipe = SOURCE | changes
        for seed in SEEDS:
            settings = {"case": case, "seed": seed, **recipe}
            if not record.done(settings):
                record.add(settings, run(whole, test, seed, **recipe))
                print(f"{case}, seed {seed}: done", flush=True)
    show(record)
    print(json.dumps(record.means(("auc", "mean_embedding", "mean_image", "neighbours"))))


if __name__ == "__main__":
    main()
