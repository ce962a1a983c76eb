"""One training loop for every kind of batch. This room knows no data set by name."""

import hashlib
import math
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from snnlib.encoders import device
from snnlib.weights import check_weights, read_weights, write_weights

__all__ = ["History", "fit", "one_cycle"]

SPREAD_OF = 256  # embeddings from which it is judged whether they have collapsed


@dataclass
class History:
    """What happened in each epoch of a training.

    Attributes
    ----------
    loss : list of float
        Mean training loss, measured while the weights were moving.
    validation_loss : list of float
        Mean loss on the validation batches after the epoch; empty without validation.
    seconds : list of float
        Wall time of the epoch's training steps, validation not counted.
    learning_rate : list of float
        Learning rate of the epoch's last step.
    best_epoch : int or None
        Epoch, counted from 0, whose weights were kept because its validation loss was lowest;
        None where the last weights were kept.
    """

    loss: list = field(default_factory=list)
    validation_loss: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    learning_rate: list = field(default_factory=list)
    best_epoch: int | None = None


def fit(
    encoder,
    data,
    loss,
    *,
    epochs,
    optimizer,
    batch_size=None,
    schedule=None,
    validation=None,
    patience=None,
    checkpoint=None,
    after_step=None,
    after_epoch=None,
    seed=0,
    progress=True,
):
    """Train an encoder in place.

    All images of a batch pass through the encoder together, be they pairs, triplets or a batch to
    be mined. Trouble is told once by a `RuntimeWarning` that names the section of the book's
    training clinic to read: embeddings that collapse to a point, an epoch in which nothing costs
    anything, or a loss or weight that is no longer finite. If that is the training loss or a
    weight, training ends and the encoder keeps the weights of the last epoch that was sound.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps (n, c, h, w) to (n, d). Moved to the device chosen by `snnlib.encoders.device`.
    data : torch.utils.data.Dataset
        ``data.batch(indices)`` returns images of shape (k, b, c, h, w), where ``k`` is 2 for pairs,
        3 for triplets and 1 for batches to be mined, followed by the targets (b,) of the loss, if
        it has any. Its order is kept; if it has a method ``set_epoch(epoch)``, that is called
        before each epoch.
    loss : callable
        Takes ``k`` tensors of embeddings (b, d) and the targets, and returns a scalar. If it is a
        module with weights of its own, such as the proxies of a class, they are trained along.
    epochs : int
        Number of passes over `data`.
    optimizer : callable
        Makes an optimizer from the parameters: ``partial(torch.optim.SGD, lr=0.05)``.
    batch_size : int, optional
        Pairs, triplets or images a step. To be left out if `data` comes in batches of its own and
        says so by its attribute ``batch_size``.
    schedule : callable, optional
        Makes a learning-rate scheduler, stepped after every batch, from the optimizer and the
        total number of steps.
    validation : torch.utils.data.Dataset, optional
        Batches like those of `data`, whose loss is measured after each epoch. If given, the
        weights of the best epoch are kept.
    patience : int, optional
        End training after so many epochs in a row without a lower validation loss.
    checkpoint : path, optional
        File that holds the state after each whole epoch. If it exists, training goes on from
        there and ends at the same weights as an unbroken run. It is refused if it comes from other
        settings, another loss or optimizer, or other images.
    after_step : callable, optional
        Called with the number of steps so far and the loss of the last one, a tensor on the device
        of the encoder.
    after_epoch : callable, optional
        Called with the `History` so far, after validation and before the checkpoint. Neither
        changes what is drawn at random in the training, whatever they draw themselves.
    seed : int, default 0
        Seed of what is random inside the encoder, such as dropout. The global random state is
        left as it was.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        If a number is out of range, `batch_size` is missing or not that of the data, `patience`
        comes without `validation`, or the checkpoint belongs to another encoder, to another
        training, or can't be read.
    """
    batch_size = _batch_size(data, batch_size)
    _check_settings(epochs, batch_size, data, validation, patience)
    trained = nn.ModuleDict({"encoder": encoder})
    if isinstance(loss, nn.Module):
        trained["loss"] = loss
    trained.to(device())
    run = _Run(encoder, trained, data, batch_size, epochs, optimizer, schedule, seed)
    if checkpoint is not None:
        run.describe(loss)
        if Path(checkpoint).exists():
            run.load(checkpoint)
    history = run.history
    with tqdm(total=epochs * run.steps, disable=not progress, unit="step") as bar:
        bar.update(len(history.loss) * run.steps)
        while len(history.loss) < epochs and not run.out_of_patience(patience):
            if not run.train_epoch(loss, bar, after_step):
                break
            if validation is not None:
                run.validate(validation, loss)
            bar.set_postfix(loss=f"{history.loss[-1]:.4f}")
            if after_epoch:
                after_epoch(history)
            if checkpoint is not None:
                run.save(checkpoint)
    if run.kept is not None:
        trained.load_state_dict(run.kept)
    encoder.eval()
    return history


def one_cycle(rate: float) -> Callable[[Optimizer, int], OneCycleLR]:
    """Schedule whose rate rises to a peak and falls to next to nothing, over the whole training.

    Smith and Topin (2019), in PyTorch's form: from a 25th of the peak up to it in 30 % of the
    steps, then down along a cosine.

    Parameters
    ----------
    rate : float
        The peak, reached whatever rate the optimizer was made with.

    Returns
    -------
    callable
        For `schedule` of `fit`.
    """
    return lambda optimizer, steps: OneCycleLR(optimizer, max_lr=rate, total_steps=steps)


def _batch_size(data, wanted):
    own = getattr(data, "batch_size", None)
    if wanted is None and own is None:
        raise ValueError("batch_size is needed, since the data has none of its own")
    if wanted is not None and own is not None and wanted != own:
        raise ValueError(f"batch_size must be that of the data, {own}, or left out, got {wanted}")
    return own if wanted is None else wanted


def _check_settings(epochs, batch_size, data, validation, patience):
    at_least_one = {"epochs": epochs, "batch_size": batch_size, "len(data)": len(data)}
    if validation is not None:
        at_least_one["len(validation)"] = len(validation)
    if patience is not None:
        at_least_one["patience"] = patience
    for name, value in at_least_one.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if patience is not None and validation is None:
        raise ValueError("patience needs validation data to watch, got validation=None")


class _Run:
    """The state of one training: all that must be saved for it to go on elsewhere."""

    def __init__(self, encoder, trained, data, batch_size, epochs, optimizer, schedule, seed):
        self.encoder, self.trained, self.data = encoder, trained, data
        self.steps = -(-len(data) // batch_size)
        self.optimizer = optimizer(trained.parameters())
        self.optimizer_defaults = dict(self.optimizer.defaults)  # a schedule may change them
        self.schedule = schedule(self.optimizer, epochs * self.steps) if schedule else None
        self.history = History()
        self.kept = None  # weights of the best epoch, once there is validation
        self.told = set()  # sections of the clinic that this training was sent to
        self.settings = {
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": seed,
            "examples": len(data),
        }

    def describe(self, loss):
        """Add to the settings what tells this training from one of other data or another loss."""
        defaults = ", ".join(
            f"{k}={v}" for k, v in self.optimizer_defaults.items() if v is not None
        )
        self.settings |= {
            "loss": _described(loss),
            "optimizer": f"{type(self.optimizer).__name__}({defaults})",
            "data": _fingerprint(self.data, self.settings["batch_size"]),
        }

    def train_epoch(self, loss, bar, after_step=None):
        """Train for one epoch; False, with the weights from before it, if it went wrong."""
        epoch = len(self.history.loss)
        if hasattr(self.data, "set_epoch"):
            self.data.set_epoch(epoch)
        before = _copy(self.trained.state_dict())
        self.trained.train()
        losses, start = [], time.perf_counter()
        recent = deque()  # the last embeddings, about SPREAD_OF of them
        with _own_randomness():
            torch.manual_seed(_epoch_seed(self.settings["seed"], epoch))
            for batch in _batches(self.data, self.settings["batch_size"]):
                value, embeddings = _loss_of(self.encoder, batch, loss)
                self.optimizer.zero_grad()
                value.backward()
                self.optimizer.step()
                rate = self.optimizer.param_groups[0]["lr"]
                if self.schedule:
                    self.schedule.step()
                losses.append(value.detach())
                recent.append(embeddings.detach().flatten(0, 1))
                while sum(map(len, recent)) - len(recent[0]) >= SPREAD_OF:
                    recent.popleft()
                bar.update()
                if after_step:
                    with _own_randomness():
                        after_step(epoch * self.steps + len(losses), losses[-1])
        losses = torch.stack(losses)
        if wrong := _what_went_wrong(losses, self.trained):
            self.trained.load_state_dict(before)
            self._tell(
                "Not a number",
                f"training ended in epoch {epoch + 1}: {wrong} of {len(losses)}; the encoder keeps "
                "its weights from before this epoch",
            )
            return False
        if _collapsed(torch.cat(list(recent))):
            self._tell(
                "Collapse",
                f"embeddings collapsed in epoch {epoch + 1}: all images lie in nearly one point, "
                "so no distance tells classes apart",
            )
        if not losses.any():
            self._tell(
                "Nothing is active",
                f"nothing was learned in epoch {epoch + 1}: every loss was 0, since no pair or "
                "triplet is active",
            )
        self.history.seconds.append(time.perf_counter() - start)
        self.history.loss.append(_mean(losses, self.data, self.settings["batch_size"]))
        self.history.learning_rate.append(rate)
        return True

    def _tell(self, section, words):
        """Warn, once a section, at the line that called `fit`."""
        if section not in self.told:
            self.told.add(section)
            words = f"{words} (see “{section}” in the training clinic of the book)"
            warnings.warn(words, RuntimeWarning, stacklevel=4)

    def validate(self, validation, loss):
        """Measure the validation loss and keep the weights if none was lower."""
        self.trained.eval()
        size = self.settings["batch_size"]
        with torch.no_grad():
            batches = _batches(validation, size)
            losses = torch.stack([_loss_of(self.encoder, batch, loss)[0] for batch in batches])
        values, best = self.history.validation_loss, self.history.best_epoch
        values.append(_mean(losses, validation, size))
        if not math.isfinite(values[-1]):
            self._tell(
                "Not a number", f"the validation loss was {values[-1]} in epoch {len(values)}"
            )
        elif best is None or values[-1] < values[best]:
            self.history.best_epoch = len(values) - 1
            self.kept = _copy(self.trained.state_dict())

    def out_of_patience(self, patience):
        """Whether the last `patience` epochs brought no lower validation loss."""
        history = self.history
        return (
            patience is not None
            and history.best_epoch is not None
            and len(history.loss) - 1 - history.best_epoch >= patience
        )

    def save(self, path):
        """Keep the state in `path`."""
        state = {
            "settings": self.settings,
            "weights": {name: part.state_dict() for name, part in self.trained.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "history": asdict(self.history),
            "kept": self.kept,
        }
        write_weights(state, path)

    def load(self, path):
        """Take over the state in `path` after checking that it belongs to this training."""
        state = _read_checkpoint(path)
        if set(state["weights"]) != set(self.trained):
            parts = [" and ".join(sorted(of)) for of in (state["weights"], self.trained)]
            raise ValueError(
                f"checkpoint {path} holds weights of {parts[0]}, expected those of {parts[1]}"
            )
        for name, part in self.trained.items():
            check_weights(f"checkpoint {path}", state["weights"][name], part)
        for name, value in self.settings.items():
            if state["settings"].get(name) != value:
                raise ValueError(
                    f"checkpoint {path} is of a training with {name} = "
                    f"{state['settings'].get(name)}, expected {value}"
                )
        if (state["schedule"] is None) != (self.schedule is None):
            raise ValueError(f"checkpoint {path} is of a training with another schedule")
        for name, part in self.trained.items():
            part.load_state_dict(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.history = History(**state["history"])
        self.kept = state["kept"]


def _described(loss):
    """A loss in words: its name and what it was given."""
    if isinstance(loss, partial):
        given = [*map(repr, loss.args), *(f"{k}={v!r}" for k, v in loss.keywords.items())]
        return f"{_described(loss.func)}({', '.join(given)})"
    if isinstance(loss, nn.Module):
        return repr(loss)
    return getattr(loss, "__qualname__", type(loss).__name__)


def _fingerprint(data, batch_size):
    """Hash of the first batch of the first epoch, images and targets.

    Data that vary their images at random have none: they give another batch each time.
    """

    def digest():
        if hasattr(data, "set_epoch"):
            data.set_epoch(0)
        hashed = hashlib.sha256()
        for tensor in next(_batches(data, batch_size)):
            hashed.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            hashed.update(tensor.cpu().contiguous().numpy().tobytes())
        return hashed.hexdigest()[:16]

    first = digest()
    return first if digest() == first else "never the same twice"


def _own_randomness():
    """Leave the global random state as it was, on the device that is used."""
    place = device()
    return torch.random.fork_rng([place] if place.type == "cuda" else [])


def _batches(data, size):
    # Everything is in memory and in its order, and a dataset gathers whole batches by itself: a
    # DataLoader would have nothing to add but its own time.
    for start in range(0, len(data), size):
        yield data.batch(range(start, min(start + size, len(data))))


def _loss_of(encoder, batch, loss):
    images, *targets = (tensor.to(device()) for tensor in batch)
    embeddings = encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    return loss(*embeddings, *targets), embeddings


def _mean(losses, data, batch_size):
    """Mean over examples, of which the last batch may have fewer."""
    sizes = torch.full_like(losses, batch_size)
    sizes[-1] = len(data) - batch_size * (len(losses) - 1)
    return ((losses * sizes).sum() / sizes.sum()).item()


def _copy(weights):
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _epoch_seed(seed, epoch):
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])


def _what_went_wrong(losses, trained):
    """What is not finite after an epoch: a loss, else a weight; nothing if all is well."""
    bad = torch.nonzero(~losses.isfinite())
    if len(bad):
        return f"the loss was {losses[bad[0, 0]].item()} in step {bad[0, 0].item() + 1}"
    for name, parameter in trained.named_parameters():
        if not parameter.isfinite().all():
            name = name.partition(".")[2]  # within the encoder, or the loss
            return f"the weights of {name!r} were not finite after step {len(losses)}"
    return ""


def _collapsed(points):
    """Whether the spread of all points is a hundredth of their norm or less.

    Two points tell nothing: they may be one pair of the same class.
    """
    return len(points) > 2 and points.std(dim=0).norm() <= 1e-2 * points.norm(dim=1).mean()


def _read_checkpoint(path):
    entries = ("settings", "weights", "optimizer", "schedule", "history", "kept")
    try:
        return read_weights(path, entries, place=device())
    except ValueError as error:
        raise ValueError(f"checkpoint {error}; delete it to start anew") from error
