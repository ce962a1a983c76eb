"""Encoders: networks that turn images (n, c, h, w) into embeddings (n, d)."""

from functools import cache
from itertools import pairwise

import torch
from torch import nn

__all__ = ["device", "mlp"]


@cache
def device():
    """Choose, once a process, where networks run: CUDA, then Apple's MPS, then the CPU.

    Returns
    -------
    torch.device
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def mlp(*widths, seed):
    """Multilayer perceptron with ReLU between its layers and none at its end.

    Without a ReLU at the end the embedding may use the whole space, not just its positive corner.

    Parameters
    ----------
    *widths : int
        Number of values of an image (c · h · w), of each hidden layer, and of the embedding.
    seed : int
        Seed of the initial weights. The global random state is left as it was.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, c, h, w) to (n, widths[-1]).

    Raises
    ------
    ValueError
        If fewer than two widths are given, or one is not positive.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths must be at least two positive integers, got {widths}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
