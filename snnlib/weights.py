"""Weights on disk: written whole or not at all, read without running anything that is in them."""

import io
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from snnlib.whole_files import written_whole

__all__ = ["check_weights", "read_weights", "write_weights"]


def write_weights(state: dict[str, Any], file: str | Path) -> None:
    """Write tensors, numbers, words, and lists and dictionaries of them.

    PyTorch's own format, since the state of an optimizer is more than the named tensors that
    safetensors holds. Numbers of NumPy become plain ones: a file that holds others can't be read
    back.

    Parameters
    ----------
    state : dict
        What to keep.
    file : path
        Where to; its folder is made if need be. Written beside it, then put in place in one step.

    Raises
    ------
    OSError
        If the file can't be written, such as on a full disk; the old one is left as it was.
    """
    content = io.BytesIO()  # PyTorch itself does not tell a full disk from faults of its own
    torch.save(_plain(state), content)
    with written_whole(file) as unfinished:
        unfinished.write_bytes(content.getbuffer())


def _plain(value):
    """The same value without numbers and words of NumPy."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {_plain(key): _plain(of_key) for key, of_key in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value


def read_weights(
    file: str | Path, entries: Iterable[str], place: torch.device | str = "cpu"
) -> dict[str, Any]:
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
    except OSError as error:
        raise ValueError(f"{file} can't be read ({error.strerror or error})") from error
    except Exception as error:  # broken bytes may lead to any
        # PyTorch's own words advise to read it all the same, which would run what is in it.
        raise ValueError(f"{file} can't be read ({_fault(file)})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{file} can't be read (expected a dict, got {type(state).__name__})")
    missing = set(entries) - set(state)
    if missing:
        raise ValueError(f"{file} lacks {sorted(missing)}")
    return state


def _fault(file):
    """What is wrong with a file that is there; PyTorch writes zip archives."""
    if zipfile.is_zipfile(file):
        return "it holds something other than plain values and tensors"
    return "it is no file of weights, or only a part of one"


def check_weights(
    file: str | Path, weights: Mapping[str, torch.Tensor], encoder: nn.Module
) -> None:
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
