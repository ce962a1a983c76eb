"""Weights on disk: written whole or not at all, read without running anything that is in them."""

import os
import pickle
from pathlib import Path

import torch

__all__ = ["check_weights", "read_weights", "write_weights"]


def write_weights(state, file):
    """Write tensors, numbers, words, and lists and dictionaries of them.

    Parameters
    ----------
    state : dict
        What to keep.
    file : path
        Where to; its folder is made if need be. Written beside it, then put in place in one step.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    half_written = file.with_name(file.name + ".part")
    try:
        torch.save(state, half_written)
        os.replace(half_written, file)
    finally:
        half_written.unlink(missing_ok=True)


def read_weights(file, entries, place="cpu"):
    """Read what `write_weights` wrote.

    Parameters
    ----------
    file : path
        Where from.
    entries : iterable of str
        Names that must be in it.
    place : torch.device or str, default "cpu"
        Where tensors are put.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the file can't be read, holds anything but plain values and tensors, or lacks an entry.
    """
    try:
        state = torch.load(file, map_location=place, weights_only=True)
        missing = set(entries) - set(state)
    except (OSError, RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{file} can't be read ({error})") from error
    if missing:
        raise ValueError(f"{file} lacks {sorted(missing)}")
    return state


def check_weights(file, weights, encoder):
    """Refuse weights of another network.

    Parameters
    ----------
    file : path
        Where they came from, to be named.
    weights : dict of str to Tensor
        What was read.
    encoder : torch.nn.Module
        Where they are to go.

    Raises
    ------
    ValueError
        If a tensor is missing, too many, or of another shape; says which.
    """
    saved = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    for name in sorted(saved | expected):
        if saved.get(name) != expected.get(name):
            raise ValueError(
                f"{file} is of another encoder: {name!r} has shape {saved.get(name, 'none')}, "
                f"expected {expected.get(name, 'none')}"
            )
