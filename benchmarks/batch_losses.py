"""Forward and backward of one batch: the mined losses of snnlib against PyTorch Metric Learning.

    python benchmarks/batch_losses.py

Both get the same embeddings and labels; that their values agree is checked first. They take turns,
rounds of many calls each, and each goes first as often as the other; a ratio is the median over the
rounds, so that the moods of the machine meet both. Memory is PyTorch's own account of what it held
at once.
"""

import json
from functools import partial

import numpy as np
import torch
from measuring import peak_of, seconds_of
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import SupConLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from pytorch_metric_learning.reducers import MeanReducer
from recording import begin

from snnlib import losses

SIZES, WIDTH, CLASSES, MARGIN, TEMPERATURE = (128, 256, 512), 128, 10, 0.5, 0.1
ROUNDS, CALLS, SEED = 6, 20, 0
EUCLIDEAN = LpDistance(normalize_embeddings=False)


def mined(loss, miner):
    """A loss of PyTorch Metric Learning with its miner, as one function."""
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


CASES = {
    "supervised contrastive": (
        partial(losses.supervised_contrastive, temperature=TEMPERATURE),
        SupConLoss(TEMPERATURE, reducer=MeanReducer()),
    ),
    "batch-hard": (
        partial(losses.batch_hard, margin=MARGIN),
        mined(
            TripletMarginLoss(MARGIN, distance=EUCLIDEAN, reducer=MeanReducer()),
            BatchHardMiner(distance=EUCLIDEAN),
        ),
    ),
    "semi-hard": (
        partial(losses.semi_hard, margin=MARGIN),
        mined(
            TripletMarginLoss(MARGIN, distance=EUCLIDEAN),
            TripletMarginMiner(MARGIN, distance=EUCLIDEAN, type_of_triplets="semihard"),
        ),
    ),
    "batch-all": (
        partial(losses.batch_all, margin=MARGIN),
        TripletMarginLoss(MARGIN, distance=EUCLIDEAN),
    ),
}


def batch(size):
    """Classes that overlap as they do during a training: about half of all triplets are active."""
    generator = torch.Generator().manual_seed(SEED)
    labels = torch.arange(size) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=generator)
    spread = torch.randn(size, WIDTH, generator=generator)
    return (0.4 * centres[labels] + spread) / WIDTH**0.5, labels


def step(loss, embeddings, labels, times=1):
    """Forward and backward, once or several times; the loss."""
    for _ in range(times):
        embeddings.grad = None
        value = loss(embeddings, labels)
        value.backward()
    return value.item()


def main():
    record = begin(__file__, "random embeddings", "pytorch-metric-learning")
    for size in SIZES:
        embeddings, labels = batch(size)
        embeddings.requires_grad_()
        for case, pair in CASES.items():
            calls = [partial(step, loss, embeddings, labels) for loss in pair]
            ours, theirs = (call() for call in calls)
            np.testing.assert_allclose(ours, theirs, rtol=1e-4)
            peaks = [peak_of(call) for call in calls]
            seconds = np.empty((ROUNDS, 2))
            for turn in range(ROUNDS):
                for k in (0, 1) if turn % 2 else (1, 0):
                    seconds[turn, k] = seconds_of(calls[k], times=CALLS)[0]
            ratios = seconds[:, 1] / seconds[:, 0]
            ms = np.median(seconds, axis=0) / CALLS * 1000
            record.add(
                {"case": case, "seed": SEED, "images": size, "width": WIDTH},
                {
                    "ms": ms[0],
                    "peer_ms": ms[1],
                    "ratio": float(np.median(ratios)),
                    "ratio_min": float(ratios.min()),
                    "peak_mib": peaks[0],
                    "peer_peak_mib": peaks[1],
                },
            )
    table = record.table()
    print(table.round(3).to_string(index=False))
    at_256 = table[table["images"] == 256].set_index("case")
    print(json.dumps(at_256[["ratio", "peak_mib", "peer_peak_mib"]].round(3).to_dict("index")))


if __name__ == "__main__":
    main()
