"""Heads: small networks that learn from values which a frozen backbone gives of photographs."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from snnlib.encoders import Standardise
from snnlib.training import fit_one_cycle

__all__ = ["fit_head", "log_odds"]

HIDDEN, DROPPED = 256, 0.5  # values between the two layers, and share that is left out of either
BATCH, RATE, EPOCHS = 64, 1e-3, 20


def fit_head(
    points: np.ndarray, probabilities: np.ndarray, *, seed: int, progress: bool = False
) -> nn.Sequential:
    """Learn how probable it is that a part is defective.

    Two linear layers with dropout before either (Srivastava et al., 2014), on standardised values,
    trained by the cross entropy -p log q - (1 - p) log(1 - q), where q is what the head says and p
    what is told of the part: 0 or 1, or between them where somebody is not sure.

    Parameters
    ----------
    points : ndarray, shape (n, d), float32
        Values of each photograph.
    probabilities : ndarray, shape (n,), floating point
        What is told of each, in [0, 1].
    seed : int
        Seed of weights, batches and dropout. The global random state is left as it was.
    progress : bool, default False
        Whether to show a progress bar.

    Returns
    -------
    torch.nn.Sequential
        Maps (n, d) to log-odds (n, 1), in evaluation mode.

    Raises
    ------
    ValueError
        If a probability is not in [0, 1], or there is not one for each photograph.
    """
    told = np.asarray(probabilities, dtype=np.float32)
    if told.shape != points.shape[:1]:
        raise ValueError(f"expected a probability for each of {len(points)}, got {told.shape}")
    if not ((told >= 0) & (told <= 1)).all():  # catches NaN, too
        raise ValueError(f"probabilities must lie in 0 … 1, got {told.min():g} … {told.max():g}")
    scale = points.std(axis=0)
    scale[scale == 0] = 1  # what is the same in all photographs stays zero
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        head = nn.Sequential(
            Standardise(points.mean(axis=0), scale),
            nn.Dropout(DROPPED),
            nn.Linear(points.shape[1], HIDDEN),
            nn.ReLU(),
            nn.Dropout(DROPPED),
            nn.Linear(HIDDEN, 1),
        )
    told_of = TensorDataset(torch.from_numpy(points), torch.from_numpy(told))
    batches = DataLoader(told_of, BATCH, shuffle=True)
    fit_one_cycle(
        head, batches, _cross_entropy, rate=RATE, epochs=EPOCHS, seed=seed, progress=progress
    )
    return head


def _cross_entropy(said, told):
    return functional.binary_cross_entropy_with_logits(said[:, 0], told)


def log_odds(head: nn.Module, points: np.ndarray) -> np.ndarray:
    """Ask a head how probable a defect is.

    Parameters
    ----------
    head : torch.nn.Module
        As `fit_head` gives it.
    points : ndarray, shape (n, d), float32
        Values of each photograph.

    Returns
    -------
    ndarray, shape (n,), float32
        log q / (1 - q) of the probability q, above zero for more than one half.
    """
    with torch.inference_mode():
        return head(torch.from_numpy(points))[:, 0].numpy()
