"""Time and memory of the contrastive baseline: the source post's own procedure against snnlib.

    python benchmarks/contrastive.py [--epochs 10]

Both train the same encoder on as many pairs in batches of the same size. Each runs in a process of
its own; the two take turns, one epoch each, so that both meet the same moods of the machine. Needs
Linux, whose kernel can reset the peak of a process's memory.
"""

import argparse
import copy
import json
import multiprocessing
import time
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from measuring import forget_peak, memory, seconds_of
from PIL import Image
from recording import begin, show
from torch import nn
from torch.utils.data import DataLoader, Dataset

from snnlib.data import load
from snnlib.embedding import embed
from snnlib.encoders import mlp
from snnlib.evaluation import cluster_accuracy
from snnlib.losses import contrastive
from snnlib.sampling import PairDataset, draw_pairs
from snnlib.training import fit

BATCH, RATE, SEED = 64, 0.05, 0
WIDTHS = 784, 128, 128, 32
#: Medians of other runs of this race: two on such a machine, one on another of two cores.
OTHER_RATIOS = [7.2, 9.2, 4.03 / 0.93]


class ItemPairs(Dataset):
    """The source's way: a pair at a time, each image going from picture to tensor when asked for.

    This is what torchvision's MNIST and ToTensor do for every item.
    """

    def __init__(self, pictures, labels, seed):
        rng = np.random.default_rng(seed)
        positives, negatives, n = [], [], len(pictures)
        first = rng.permutation(n)
        while len(positives) < n // 2 or len(negatives) < n - n // 2:
            for i, j in zip(first, rng.permutation(n)):
                wanted, count = (
                    (positives, n // 2) if labels[i] == labels[j] else (negatives, n - n // 2)
                )
                if len(wanted) < count:
                    wanted.append((i, j, float(labels[i] == labels[j])))
        self.pictures, self.pairs = pictures, positives + negatives

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        i, j, same = self.pairs[index]
        return self.image(i), self.image(j), torch.tensor(same)

    def image(self, index):
        picture = Image.fromarray(self.pictures[index])
        return torch.from_numpy(np.array(picture)).unsqueeze(0).to(torch.float32).div(255)


class ItemLoss(nn.Module):
    """Contrastive loss with a plain root, whose gradient at zero distance is NaN."""

    def forward(self, first, second, same):
        distance = (first - second).pow(2).sum(1).sqrt()
        away = torch.clamp(1.0 - distance, min=0)
        return torch.mean(0.5 * same * distance.pow(2) + 0.5 * (1 - same) * away.pow(2))


def source_procedure(train, epochs, wait, seed=SEED):
    """Train as the post does, copying model and optimizer at every step.

    ``wait`` is called with "start" before pairs are drawn, and before each epoch with "epoch" and
    the encoder as it is.
    """
    pictures = np.rint(255 * train.images[:, 0]).astype(np.uint8)
    wait("start")
    encoder, criterion = mlp(*WIDTHS, seed=seed), ItemLoss()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=RATE)
    torch.manual_seed(seed)
    loader = DataLoader(ItemPairs(pictures, train.labels, seed), BATCH, shuffle=True)
    lost, sound = 0, (encoder, optimizer)
    for _ in range(epochs):
        wait("epoch", encoder)
        for first, second, same in loader:
            kept = copy.deepcopy((encoder, optimizer))
            optimizer.zero_grad()
            loss = criterion(encoder(first), encoder(second), same)
            if torch.isnan(loss):  # the step before spoiled the weights: this batch is lost too
                lost += 1
                encoder, optimizer = sound
                continue
            sound = kept
            loss.backward()
            optimizer.step()
    if not all(weights.isfinite().all() for weights in encoder.parameters()):
        encoder, _ = sound  # the very last step spoiled them
    return encoder, lost


def snnlib_procedure(train, epochs, wait):
    """The same recipe through the library."""

    wait("start")
    encoder = mlp(*WIDTHS, seed=SEED)
    pairs = PairDataset(train, len(train), seed=SEED, fresh=False)
    wait("epoch")
    fit(
        encoder,
        pairs,
        contrastive,
        epochs=epochs,
        batch_size=BATCH,
        optimizer=partial(torch.optim.SGD, lr=RATE),
        after_epoch=lambda history: wait("epoch") if len(history.loss) < epochs else None,
        progress=False,
    )
    return encoder, 0


VARIANTS = {"source procedure": source_procedure, "snnlib": snnlib_procedure}


def child(variant, epochs, pipe):
    """Train one variant, asking the parent for leave before each stage."""
    train, test = load("mnist", "train"), load("mnist", "test")

    def wait(stage, *_):
        pipe.send(stage)
        pipe.recv()
        if stage == "start":
            forget_peak()
            before.append(memory("VmRSS"))

    before = []
    embed(mlp(*WIDTHS, seed=SEED), test.images[:64])  # PyTorch's own start-up
    encoder, lost = VARIANTS[variant](train, epochs, wait)
    rise = memory("VmHWM") - before[0]
    wait("score")
    result = cluster_accuracy(embed(encoder, test.images), test.labels, seed=SEED)
    pipe.send({"kmeans": result.majority.value, "memory_rise_mib": rise, "lost_steps": lost})


def race(epochs):
    """Let the variants take turns; seconds of each stage and final figures by variant."""
    context = multiprocessing.get_context("spawn")
    pipes, figures = {}, {}
    for variant in VARIANTS:
        pipes[variant], end = context.Pipe()
        context.Process(target=child, args=(variant, epochs, end), daemon=True).start()
        end.close()  # so that a child that dies is noticed, and not waited for
    seconds = {variant: [] for variant in VARIANTS}
    for pipe in pipes.values():
        pipe.recv()  # images loaded, waiting for leave to draw pairs
    waiting = list(VARIANTS)
    while waiting:
        waiting.reverse()  # each goes first as often as the other
        for variant in list(waiting):
            start = time.perf_counter()
            pipes[variant].send("go")
            answer = pipes[variant].recv()
            if isinstance(answer, dict):  # the scores, after the last epoch
                figures[variant] = answer
                waiting.remove(variant)
            else:
                seconds[variant].append(time.perf_counter() - start)
    return seconds, figures


def products(pairs):
    """The matrix products of an epoch by themselves: what both procedures can't do without."""
    images = 2 * BATCH
    inputs = [torch.rand(images, width) for width in WIDTHS[:-1]]
    slopes = [torch.rand(images, width) for width in WIDTHS[1:]]
    weights = [torch.rand(out, width) for width, out in pairwise(WIDTHS)]
    for _ in range(-(-pairs // BATCH)):
        for layer, (x, slope, weight) in enumerate(zip(inputs, slopes, weights)):
            x @ weight.T
            slope.T @ x
            if layer:  # images have no slope
                slope @ weight


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    epochs = parser.parse_args().epochs
    load_s, (train, _) = seconds_of(lambda: (load("mnist", "train"), load("mnist", "test")))
    draw_s, _ = seconds_of(draw_pairs, train.labels, 1_000_000, seed=SEED)
    record = begin(__file__, train.source)
    seconds, figures = race(epochs)
    for variant, (pairs, *turns) in seconds.items():
        record.add(
            {"case": variant, "seed": SEED, "epochs": epochs, "batch": BATCH},
            {
                "start_s": pairs,
                "epoch_s": float(np.median(turns)),
                "epoch_s_min": min(turns),
                "epoch_s_max": max(turns),
                **figures[variant],
            },
        )
    ratios = np.array(seconds["source procedure"][1:]) / np.array(seconds["snnlib"][1:])
    ratio = {
        "epoch_ratio": float(np.median(ratios)),
        "epoch_ratio_min": float(ratios.min()),
        "epoch_ratio_max": float(ratios.max()),
        "epoch_ratio_others": OTHER_RATIOS,
    }
    products_s = np.median([seconds_of(products, len(train))[0] for _ in range(epochs)])
    alone = {
        "load_mnist_s": load_s,
        "draw_million_pairs_s": draw_s,
        "products_s": float(products_s),
    }
    record.note(ratio | alone)
    show(record)
    print(json.dumps({"epochs": epochs, **ratio, **alone, **figures}))


if __name__ == "__main__":
    main()
