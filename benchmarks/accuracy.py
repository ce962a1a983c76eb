"""Accuracy against seconds: the source posts' procedures, two peers, and snnlib, in one run.

    python benchmarks/accuracy.py

Three seeds a case, all on the 60 000 training images. The learning rates of the mined MLPs, ours
and the peer's, come from one search each: the same three rates, one epoch on 50 000 images, judged
by the nearest anchor on the other 10 000. The peer trains as its documentation shows it, and once
more in our loop, so that its losses can be told from its loader. How else snnlib trains was chosen
on these images, too, but for the epochs and the mirror mean of the CNN on garments, which were set
after a first, shorter run had been scored on test images. Seconds count from images in memory to
the embeddings of the test images: drawing, training and embedding. Where a case stands with several
epochs, each is a training of its own, but for the source's procedure and the online mining, whose
learning rate is constant: there one training is scored on its way. Anchors come from training
images, scores from test images, the cut of the pair accuracy from pairs of training images. An
interrupted run goes on where it stopped.
"""

import itertools
import json
import time
from functools import partial

import numpy as np
import torch
from contrastive import source_procedure
from pytorch_metric_learning.losses import SupConLoss, TripletMarginLoss
from pytorch_metric_learning.miners import TripletMarginMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from recording import begin, show
from sklearn.metrics.pairwise import paired_euclidean_distances
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, TensorDataset

from snnlib.augmentation import RandomAffine
from snnlib.book.recipes import DIGITS_CNN, POST_A, POST_B
from snnlib.data import load
from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import MirrorMean, UnitLength, cnn, mlp
from snnlib.evaluation import cluster_accuracy
from snnlib.losses import prototype, semi_hard, supervised_contrastive
from snnlib.sampling import BatchDataset, draw_pairs
from snnlib.training import fit_one_cycle, one_cycle
from snnlib.verification import choose_threshold

SEEDS = (0, 1, 2)
CLASSES, PER_CLASS, RATE = 10, DIGITS_CNN.batch, DIGITS_CNN.rate
BATCH = CLASSES * PER_CLASS
RATES, SEARCH_SEED, MARGIN = (2e-3, 5e-3, 1e-2), 10, 0.2


class Stopwatch:
    """Seconds of training; stands still while something is scored."""

    def __init__(self):
        self.seconds, self.since = 0.0, None

    def go(self):
        self.since = time.perf_counter()

    def stop(self):
        if self.since is not None:
            self.seconds += time.perf_counter() - self.since
        self.since = None


def source_a(train, seed, epochs, checkpoint):
    """The post's own procedure: fixed pairs, one item at a time, a copy of the model every step."""
    begun = 0

    def wait(stage, encoder=None):
        nonlocal begun
        if stage == "epoch":
            # A self-pair in the last batch of an epoch leaves NaN, mended at the next batch.
            sound = all(p.isfinite().all() for p in encoder.parameters())
            if begun in (1, 2, 5) and sound:
                checkpoint(encoder, begun)
            begun += 1

    encoder, _ = source_procedure(train, epochs, wait, seed)
    checkpoint(encoder, epochs)


class ShuffledClasses:
    """Batches from shuffled lists of positions, a class at a time, shuffled anew when used up."""

    def __init__(self, labels, seed):
        self.rng = np.random.default_rng(seed)
        self.lists = [self.rng.permutation(np.flatnonzero(labels == k)) for k in range(CLASSES)]
        self.used = [0] * CLASSES
        self.batches = len(labels) // BATCH

    def __len__(self):
        return self.batches

    def __iter__(self):
        for _ in range(self.batches):
            batch = []
            for k in self.rng.permutation(CLASSES):
                if self.used[k] + PER_CLASS > len(self.lists[k]):
                    self.rng.shuffle(self.lists[k])
                    self.used[k] = 0
                batch.extend(self.lists[k][self.used[k] : self.used[k] + PER_CLASS].tolist())
                self.used[k] += PER_CLASS
            yield batch


def random_hard_triplets(squares, labels, margin, rng):
    """For each positive pair a random negative that costs something, in loops over the pairs."""
    triplets = []
    for k in np.unique(labels):
        members, others = np.flatnonzero(labels == k), np.flatnonzero(labels != k)
        for place, a in enumerate(members):
            for p in members[place + 1 :]:
                costs = squares[a, p] - squares[a, others] + margin
                hard = others[costs > 0]
                if len(hard):
                    triplets.append((a, p, rng.choice(hard)))
    return np.array(triplets or [(0, 1, len(labels) - 1)])


def online_mining(train, seed, epochs, checkpoint):
    """As siamese-triplet describes it: balanced batches, random hard negatives, squared distances.

    Ours from its description, with the encoder and the batch of all others; Adam at 1e-3, margin 1.
    """
    encoder = mlp(*POST_A.widths, seed=seed)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    data = TensorDataset(torch.from_numpy(train.images), torch.from_numpy(train.labels))
    loader = DataLoader(data, batch_sampler=ShuffledClasses(train.labels, seed))
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        for images, labels in loader:
            Z = encoder(images)
            with torch.no_grad():
                squares = torch.cdist(Z, Z).square().numpy()
            a, p, n = random_hard_triplets(squares, labels.numpy(), 1.0, rng).T
            nearer, farther = (Z[a] - Z[p]).square().sum(1), (Z[a] - Z[n]).square().sum(1)
            loss = (nearer - farther + 1.0).clamp(min=0).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        checkpoint(encoder, epoch + 1)


def peer(criterion, train, seed, epochs, checkpoint, rate):
    """PyTorch Metric Learning as its documentation shows it, with our schedule."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (its sampler draws from there)
    encoder = mlp(*POST_A.widths, seed=seed)
    data = TensorDataset(torch.from_numpy(train.images), torch.from_numpy(train.labels))
    sampler = MPerClassSampler(train.labels, PER_CLASS, BATCH, len(train))
    loader = DataLoader(data, batch_sampler=BatchSampler(sampler, BATCH, drop_last=True))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=rate)
    schedule = one_cycle(rate)(optimizer, epochs * len(loader))
    for _ in range(epochs):
        for images, labels in loader:
            optimizer.zero_grad()
            criterion(encoder(images), labels).backward()
            optimizer.step()
            schedule.step()
    checkpoint(encoder.append(UnitLength()), epochs)


def peer_semi_hard():
    loss, miner = TripletMarginLoss(MARGIN), TripletMarginMiner(MARGIN, type_of_triplets="semihard")
    return lambda Z, labels: loss(Z, labels, miner(Z, labels))


def ours(make_encoder, loss, train, seed, epochs, checkpoint, rate):
    """A mined loss on class-balanced batches, gathered at once, fused Adam in one cycle."""
    encoder = make_encoder(seed)
    fit_one_cycle(
        encoder,
        BatchDataset(train, len(train) // BATCH, CLASSES, PER_CLASS, seed=seed),
        loss,
        epochs=epochs,
        rate=rate,
        seed=seed,
        progress=False,
    )
    checkpoint(encoder, epochs)


def plain(*widths):
    return lambda seed: mlp(*widths, seed=seed).append(UnitLength())


def digits(seed):
    varied = RandomAffine(degrees=10, stretch=0.1, shift=2)
    network = cnn((1, 28, 28), (24, 48, 96), 64, coarse=True, seed=seed)
    return nn.Sequential(varied, network, UnitLength())


def garments(seed):
    network = cnn((1, 28, 28), (32, 64, 64), 64, seed=seed)
    return nn.Sequential(RandomAffine(mirror=True), MirrorMean(network), UnitLength())


def source_b(train, seed, epochs, checkpoint):
    """The post's training on arrays of 30 000 triplets; its loops are measured apart."""
    from triplets import N, source_model

    from snnlib.keras_triplets import keras
    from snnlib.sampling import draw_triplets

    model, encoder = source_model(seed)
    flat = train.images.reshape(len(train), -1)
    arrays = [flat[column] for column in draw_triplets(train.labels, N, seed=seed).T]
    model.fit(
        arrays,
        np.zeros(N, np.float32),
        batch_size=32,
        epochs=epochs,
        validation_split=0.05,
        callbacks=[keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)],
        verbose=0,
    )
    checkpoint(encoder, epochs)


A_MLP, B_MLP = plain(*POST_A.widths), plain(*POST_B.widths)
CENTRES = partial(prototype, temperature=0.1)
IN_OUR_LOOP = partial(ours, A_MLP)
# Ours beside what it is measured against, then company; each group is run seed by seed.
TARGETS = {
    "source A": ("mnist", source_a, (10,)),
    "snnlib, MLP": ("mnist", partial(IN_OUR_LOOP, supervised_contrastive), (1, 2, 6)),
    "snnlib, CNN": ("mnist", partial(ours, digits, supervised_contrastive, rate=RATE), (1, 5)),
    "Fashion: snnlib, CNN": ("fashion_mnist", partial(ours, garments, CENTRES, rate=1e-2), (8,)),
    "Fashion: snnlib, MLP": ("fashion_mnist", partial(ours, B_MLP, CENTRES, rate=2e-3), (2, 8)),
}
COMPANY = {
    "Fashion: source B": ("fashion_mnist", source_b, (10,)),
    "PML, supervised contrastive": ("mnist", partial(peer, SupConLoss(0.1)), (1, 6)),
    "PML's loss in our loop": ("mnist", partial(IN_OUR_LOOP, SupConLoss(0.1)), (1, 6)),
    "PML, semi-hard": ("mnist", partial(peer, peer_semi_hard()), (1, 2)),
    "PML's semi-hard in our loop": ("mnist", partial(IN_OUR_LOOP, peer_semi_hard()), (1, 2)),
    "snnlib, semi-hard": (
        "mnist",
        partial(IN_OUR_LOOP, partial(semi_hard, margin=MARGIN)),
        (1, 2),
    ),
    "online mining": ("mnist", online_mining, (2,)),
}
CASES = TARGETS | COMPANY
SEARCHED = ("snnlib, MLP", "snnlib, semi-hard", *(case for case in COMPANY if "PML" in case))


def best_rate(record, case, train):
    """The rate that does best on validation images; the same search for every case."""
    key = f"search: {case}"
    if record.noted(key) is None:
        some, validation = train.split(10_000, seed=0)
        found = {}

        def keep(rate, encoder, epoch):
            anchors = AnchorClassifier().fit(embed(encoder, some.images), some.labels)
            found[rate] = anchors.score(embed(encoder, validation.images), validation.labels)

        for rate in RATES:
            CASES[case][1](some, SEARCH_SEED, 1, partial(keep, rate), rate=rate)
        record.note({key: [{"rate": rate, "anchor": score} for rate, score in found.items()]})
        print(case, found, flush=True)
    return max(record.noted(key), key=lambda trial: trial["anchor"])["rate"]


def scores(encoder, train, test, seed):
    """Seconds to embed the test images, and how good the embeddings are."""
    if hasattr(encoder, "parameters"):
        by = partial(embed, encoder)
    else:
        from snnlib import keras_triplets

        by = partial(keras_triplets.embed, encoder)
    start = time.perf_counter()
    Z = by(test.images)
    embed_s = time.perf_counter() - start
    Z_train = by(train.images)
    if not hasattr(encoder, "parameters"):  # trained by directions, so scored by directions
        Z, Z_train = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (Z, Z_train))
    cut = choose_threshold(*pairs_of(Z_train, train.labels, seed))
    distances, same = pairs_of(Z, test.labels, seed)
    return embed_s, {
        "kmeans": cluster_accuracy(Z, test.labels, seed=seed).majority.value,
        "anchor": AnchorClassifier().fit(Z_train, train.labels).score(Z, test.labels),
        "pair_accuracy": float(((distances < cut) == same).mean()),
    }


def pairs_of(Z, labels, seed):
    """Distances of 20 000 balanced pairs, and which are of one class."""
    pairs, same = draw_pairs(labels, 20_000, seed=seed)
    return paired_euclidean_distances(*Z[pairs.T]), same


def run(record, case, seed, sets):
    """Train and score a case with one seed, where that is not on record."""
    name, method, epochs = CASES[case]
    train, test = sets[name]
    if case in SEARCHED:
        method = partial(method, rate=best_rate(record, case, train))
    for count in epochs:
        settings = {"case": case, "seed": seed, "data": name, "epochs": count}
        if record.done(settings):
            continue
        watch = Stopwatch()

        def checkpoint(encoder, epoch, settings=settings, watch=watch):
            watch.stop()
            embed_s, figures = scores(encoder, train, test, seed)
            seconds = {"seconds": watch.seconds + embed_s, "train_s": watch.seconds}
            if case == "Fashion: source B":
                seconds["seconds"] += record.noted("source_b_loops_s")
            record.add(settings | {"epochs": epoch}, seconds | figures)
            watch.go()

        watch.go()
        method(train, seed, count, checkpoint)
        print(f"{case}, {count} epochs, seed {seed}: done", flush=True)


def measure_loops(record, train):
    """Seconds that source B's two loops would take, extrapolated from small numbers of triplets."""
    from triplets import loops

    if record.noted("source_b_loops_s") is None:
        laws = loops(np.rint(255 * train.images[:, 0]).astype(np.uint8), train)
        seconds = sum(law["seconds_extrapolated"] for law in laws.values())
        record.note({"source_b_loops_s": seconds})


def compared(table):
    """How the targets of the recipes stand: seconds as shares of source A's, seed by seed."""
    last = table.loc[table.groupby(["case", "seed"])["epochs"].idxmax()].set_index("seed")
    source = last.loc[last["case"] == "source A", "seconds"]
    digits = last[last["case"] == "snnlib, CNN"]
    first, whole = (
        table[(table["case"] == "snnlib, MLP") & (table["epochs"] == n)].set_index("seed")
        for n in (1, 6)
    )
    garments = last[last["case"] == "Fashion: snnlib, CNN"]
    return {
        "source_a_s": source.mean(),
        "cnn_time_share": (digits["seconds"] / source).max(),
        "cnn_anchor": digits["anchor"].mean(),
        "cnn_kmeans": digits["kmeans"].mean(),
        "mlp_1_epoch_times_faster": (source / first["seconds"]).min(),
        "mlp_1_epoch_kmeans": first["kmeans"].mean(),
        "mlp_6_epochs_times_faster": (source / whole["seconds"]).min(),
        "mlp_6_epochs_kmeans": whole["kmeans"].mean(),
        "fashion_cnn_s": garments["seconds"].max(),
        "fashion_cnn_anchor": garments["anchor"].mean(),
    }


def main():
    sets = {name: (load(name, "train"), load(name, "test")) for name in ("mnist", "fashion_mnist")}
    place = sets["mnist"][0].source.split(",", 1)[1]
    packages = ("pytorch-metric-learning", "tensorflow", "keras")
    record = begin(__file__, f"mnist and fashion_mnist,{place}", *packages)
    measure_loops(record, sets["fashion_mnist"][0])
    for cases in (TARGETS, COMPANY):
        for seed, case in itertools.product(SEEDS, cases):
            run(record, case, seed, sets)
    figures = {name: float(value) for name, value in compared(record.table()).items()}
    record.note(figures)
    show(record, "epochs")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
