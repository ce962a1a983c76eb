"""One training loop for every kind of batch. This room knows no data set by name."""

import hashlib
import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import partial
from numbers import Number
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.utils.data import DataLoader, SequentialSampler
from tqdm import tqdm

from snnlib import encoders
from snnlib.weights import check_weights, read_weights, write_weights

__all__ = ["Batches", "History", "fit", "fit_one_cycle", "one_cycle"]

RECENT = 256  # embeddings from which it is judged what an epoch has made of them
LONG = 3  # epochs in a row that are no accident
CHANCE = 0.6  # AUC below which a training has hardly begun to tell classes apart
# Names by which sets hold what they are made of: ours, and those of PyTorch and torchvision.
HELD = ("images", "labels", "drawn", "tensors", "indices", "data", "targets")


class Batches(Protocol):
    """What `fit` trains on: examples in an order of their own, gathered a batch at a time."""

    def __len__(self) -> int:
        """Number of examples."""

    def batch(self, indices: Sequence[int]) -> Sequence[Tensor]:
        """Gather a whole batch.

        Parameters
        ----------
        indices : sequence of int
            Positions of its examples.

        Returns
        -------
        sequence of Tensor
            Images (k, b, c, h, w), where ``k`` is 2 for pairs, 3 for triplets and 1 for batches to
            be mined, followed by the targets (b,) of the loss, if it has any.
        """


@dataclass
class History:
    """What happened in each epoch of a training.

    Attributes
    ----------
    loss : list of float
        Mean training loss, measured while the weights were moving.
    auc : list of float or None
        How often, among the last embeddings of the epoch, a pair of one class was nearer than one
        of two, by Euclidean distance: 1 is always, 0.5 is chance. The area under the ROC curve; for
        triplets the share of those whose positive is nearer. None where the targets name no class.
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

    loss: list[float] = field(default_factory=list)
    auc: list[float | None] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    best_epoch: int | None = None


def fit(
    encoder: nn.Module,
    data: Batches | DataLoader,
    loss: Callable[..., Tensor],
    *,
    epochs: int,
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    batch_size: int | None = None,
    schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
    validation: Batches | DataLoader | None = None,
    patience: int | None = None,
    max_grad_norm: float | None = None,
    autocast: torch.dtype | None = None,
    device: torch.device | str | None = None,
    checkpoint: str | Path | None = None,
    after_step: Callable[[int, Tensor], object] | None = None,
    after_epoch: Callable[[History], object] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train an encoder in place.

    All images of a batch pass through the encoder together, be they pairs, triplets or a batch to
    be mined. Trouble is told once by a `RuntimeWarning` that names the section of the book's
    training clinic to read: embeddings that collapse to a point, an epoch in which nothing costs
    anything, a loss that has risen, distances that for three epochs tell classes apart hardly
    better than chance, or a loss or weight that is no longer finite. If that is the training loss
    or a weight, training ends and the encoder keeps the weights of the last epoch that was sound.

    Parameters
    ----------
    encoder : torch.nn.Module
        Maps (n, c, h, w) to (n, d). If it is in training mode, layers of it that are in evaluation
        mode stay there, as do weights that need no gradient. Afterwards all are in evaluation mode.
    data : `Batches` or torch.utils.data.DataLoader
        Such as the sets of `snnlib.sampling`, whose order is kept; if it has a method
        ``set_epoch(epoch)``, that is called before each epoch. A loader's batches hold images
        (b, c, h, w), one tensor for each of the k views, or views (b, k, c, h, w) in one, followed
        by the targets (b,).
    loss : callable
        Takes ``k`` tensors of embeddings (b, d) and the targets, and returns a scalar. If it is a
        module with weights of its own, such as the proxies of a class, they are trained along.
    epochs : int
        Number of passes over `data`.
    optimizer : callable
        Makes an optimizer from the parameters: ``partial(torch.optim.SGD, lr=0.05)``.
    batch_size : int, optional
        Pairs, triplets or images a step. To be left out if `data` comes in batches of its own and
        says so by its attribute ``batch_size``, as a loader does.
    schedule : callable, optional
        Makes a learning-rate scheduler, stepped after every batch, from the optimizer and the
        total number of steps.
    validation : `Batches` or torch.utils.data.DataLoader, optional
        Batches like those of `data`, whose loss is measured after each epoch. If given, the
        weights of the best epoch are kept.
    patience : int, optional
        End training after so many epochs in a row without a lower validation loss.
    max_grad_norm : float, optional
        Norm of all gradients together at which they are clipped.
    autocast : {torch.bfloat16, torch.float16}, optional
        Half precision for those operations of the encoder that bear it. The loss is computed in
        single precision, and in float16 scaled so that small gradients do not vanish; a step whose
        gradients overflow is left out.
    device : torch.device or str, optional
        Where to train; what `snnlib.encoders.device` chooses if None. Encoder and loss are moved.
    checkpoint : path, optional
        File that holds the state after each whole epoch. If it exists, training goes on from
        there and ends at the same weights as an unbroken run. It is refused if it comes from other
        settings, another loss, optimizer or schedule, other data or other validation. Of data that
        lie in memory, in attributes such as ``images``, ``labels``, ``data`` or ``tensors``, all
        counts, else the first batch. Functions are known by their names alone.
    after_step : callable, optional
        Called with the number of steps so far and the loss of the last one, a tensor on the device
        of the encoder.
    after_epoch : callable, optional
        Called with the `History` so far, after validation and before the checkpoint. Neither
        changes what is drawn at random in the training, whatever they draw themselves.
    seed : int, default 0
        Seed of what is random inside the encoder, such as dropout, and inside a loader. The global
        random state is left as it was.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    History

    Raises
    ------
    TypeError
        If `data` neither gathers batches nor is a loader.
    ValueError
        If a number is out of range, `batch_size` is missing or not that of the data, `patience`
        comes without `validation`, no weight is to be trained, a loader would break up the batches
        of its set or repeat their first epoch, or the checkpoint belongs to another encoder, to
        another training, or can't be read.
    """
    batch_size = _batch_size(data, batch_size)
    _check_settings(epochs, batch_size, data, validation, patience, max_grad_norm, autocast)
    _check_source("data", data)
    if validation is not None:
        _check_source("validation", validation)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "max_grad_norm": max_grad_norm,
        "autocast": None if autocast is None else str(autocast),
    }
    place = torch.device(device or encoders.device())
    run = _Run(encoder, loss, data, place, settings, optimizer, schedule, autocast)
    if checkpoint is not None:
        run.describe(validation)
        if Path(checkpoint).exists():
            run.load(checkpoint)
    history = run.history
    with tqdm(total=epochs * run.steps, disable=not progress, unit="step") as bar:
        bar.update(len(history.loss) * run.steps)
        while len(history.loss) < epochs and not run.out_of_patience(patience):
            if not run.train_epoch(bar, after_step):
                break
            if validation is not None:
                run.validate(validation)
            bar.set_postfix(loss=f"{history.loss[-1]:.4f}")
            if after_epoch:
                after_epoch(history)
            if checkpoint is not None:
                run.save(checkpoint)
    if run.kept is not None:
        run.trained.load_state_dict(run.kept)
    run.trained.eval()
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


def fit_one_cycle(
    encoder: nn.Module,
    data: Batches | DataLoader,
    loss: Callable[..., Tensor],
    *,
    rate: float,
    epochs: int,
    **settings: Any,
) -> History:
    """Train an encoder in place by Adam (Kingma and Ba, 2015), its rate in one cycle.

    Parameters
    ----------
    encoder, data, loss
        As of `fit`.
    rate : float
        Peak of the learning rate (`one_cycle`).
    epochs : int
        Number of passes over `data`.
    **settings
        Others of `fit`, but for `optimizer` and `schedule`.

    Returns
    -------
    History
    """
    return fit(
        encoder,
        data,
        loss,
        epochs=epochs,
        optimizer=partial(torch.optim.Adam, lr=rate, fused=True),
        schedule=one_cycle(rate),
        **settings,
    )


def _check_source(name: str, source: Batches | DataLoader) -> None:
    """Refuse what gathers no batches, and loaders that would spoil those of their set."""
    if not isinstance(source, DataLoader):
        if not hasattr(source, "batch"):
            raise TypeError(
                f"{name} must gather batches by a method `batch`, or be a DataLoader, got "
                f"{type(source).__name__}"
            )
        return
    dataset = source.dataset
    own = getattr(dataset, "batch_size", None)
    if own is not None and (
        own != source.batch_size or not isinstance(source.sampler, SequentialSampler)
    ):
        raise ValueError(
            f"the set of the loader {name} comes in batches of {own}, in an order of its own: "
            f"expected batch_size={own} and shuffle=False"
        )
    if hasattr(dataset, "set_epoch") and source.persistent_workers:
        raise ValueError(
            f"the workers of the loader {name} would repeat the first epoch of their set: expected "
            "persistent_workers=False"
        )


def _batch_size(data, wanted):
    own = getattr(data, "batch_size", None)
    if wanted is None and own is None and not isinstance(data, DataLoader):
        raise ValueError("batch_size is needed, since the data has none of its own")
    if wanted is not None and own is not None and wanted != own:
        raise ValueError(f"batch_size must be that of the data, {own}, or left out, got {wanted}")
    return own if wanted is None else wanted


def _check_settings(epochs, batch_size, data, validation, patience, max_grad_norm, autocast):
    at_least_one = {"epochs": epochs, "batch_size": batch_size, "len(data)": len(data)}
    if validation is not None:
        at_least_one["len(validation)"] = len(validation)
    at_least_one["patience"] = patience
    for name, value in at_least_one.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if batch_size is None and validation is not None and not isinstance(validation, DataLoader):
        raise ValueError("batch_size is needed for the validation, since the loader has none")
    if patience is not None and validation is None:
        raise ValueError("patience needs validation data to watch, got validation=None")
    if max_grad_norm is not None and not 0 < max_grad_norm < math.inf:
        raise ValueError(f"max_grad_norm must be positive and finite, got {max_grad_norm}")
    if autocast not in (None, torch.bfloat16, torch.float16):
        raise ValueError(f"autocast must be torch.bfloat16 or torch.float16, got {autocast}")


class _Run:
    """The state of one training: all that must be saved for it to go on elsewhere."""

    def __init__(self, encoder, loss, data, place, settings, optimizer, schedule, autocast):
        self.encoder, self.loss, self.data, self.place = encoder, loss, data, place
        self.settings, self.autocast = settings, autocast
        self.trained = nn.ModuleDict({"encoder": encoder})
        if isinstance(loss, nn.Module):
            self.trained["loss"] = loss
        self.frozen = [
            layer
            for part in self.trained.values()
            for layer in part.modules()
            if part.training and not layer.training
        ]
        weights = list(self.trained.to(place).parameters())
        if weights and not any(weight.requires_grad for weight in weights):
            raise ValueError("no weight is to be trained: none of them requires a gradient")
        self.steps = _steps(data, settings["batch_size"])
        self.optimizer = optimizer(weights)
        self.optimizer_defaults = dict(self.optimizer.defaults)  # a schedule may change them
        steps = settings["epochs"] * self.steps
        self.schedule = schedule(self.optimizer, steps) if schedule else None
        self.scaler = torch.amp.GradScaler(place.type, enabled=autocast is torch.float16)
        self.history = History()
        self.kept = None  # weights of the best epoch, once there is validation
        self.told = set()  # sections of the clinic that this training was sent to

    def describe(self, validation):
        """Add to the settings what tells this training from one of other data or another loss."""
        defaults = ", ".join(
            f"{k}={v}" for k, v in self.optimizer_defaults.items() if v is not None
        )
        self.settings |= {
            "loss": _described(self.loss),
            "optimizer": f"{type(self.optimizer).__name__}({defaults})",
            "examples": _examples(self.data),
            "data": self._fingerprint(self.data),
            "validation": None if validation is None else self._fingerprint(validation),
            **self._numbers_of_schedule(),
        }

    def _numbers_of_schedule(self):
        """What kind of schedule it is, and the numbers that it begins with."""
        if self.schedule is None:
            return {"schedule": None}
        kind, groups = type(self.schedule).__name__, self.optimizer.param_groups
        # Some numbers, such as the peak of one cycle, stand in the groups of the optimizer alone.
        numbers = {name: [group[name] for group in groups] for name in groups[0]}
        numbers |= self.schedule.state_dict()
        del numbers["params"]
        # Copied, since a rate may be a tensor, which changes as training goes on.
        return {"schedule": kind, **{f"{kind} {k}": deepcopy(v) for k, v in numbers.items()}}

    def _fingerprint(self, data):
        """Hash of all that lies in memory, and of the first batch, images and targets.

        A batch that differs each time does not count: its images were varied at random by another
        generator than PyTorch's.
        """
        first, again = self._first_batch(data), self._first_batch(data)
        repeats = _digest(first) == _digest(again)
        return _digest([np.array(_examples(data)), *_held(data), *(first if repeats else ())])

    def _first_batch(self, data):
        _set_epoch(self.data, 0)  # no epoch is ever set for the validation
        with _own_randomness(self.place, seed=0):
            return next(self._batches_of(data))

    def _batches_of(self, data):
        """Batches of the size that the data have, or else of that of the training."""
        return _batches(data, getattr(data, "batch_size", None) or self.settings["batch_size"])

    def train_epoch(self, bar, after_step=None):
        """Train for one epoch; False, with the weights from before it, if it went wrong."""
        epoch = len(self.history.loss)
        _set_epoch(self.data, epoch)
        before = _copy(self.trained.state_dict())
        self.trained.train()
        for layer in self.frozen:
            layer.eval()
        values, sizes, start = [], [], time.perf_counter()
        recent: deque = deque()  # embeddings and targets of the last batches,
        held = 0  # about RECENT embeddings
        with _own_randomness(self.place, _epoch_seed(self.settings["seed"], epoch)):
            for batch in self._batches_of(self.data):
                value, embeddings = self._loss_of(batch)
                rate = float(self.optimizer.param_groups[0]["lr"])  # a tensor would change
                self._step(value)
                values.append(value.detach())
                sizes.append(embeddings.shape[1])
                recent.append((embeddings.detach(), batch[1:]))
                held += embeddings.shape[:2].numel()
                while held - recent[0][0].shape[:2].numel() >= RECENT:
                    held -= recent.popleft()[0].shape[:2].numel()
                bar.update()
                if after_step:
                    with _own_randomness(self.place):
                        after_step(epoch * self.steps + len(values), values[-1])
        losses = torch.stack(values)
        if wrong := _what_went_wrong(losses, self.trained):
            self.trained.load_state_dict(before)
            self._tell(
                "Not a number",
                f"training ended in epoch {epoch + 1}: {wrong} of {len(losses)}; the encoder keeps "
                "its weights from before this epoch",
            )
            return False
        self.history.seconds.append(time.perf_counter() - start)
        self.history.loss.append(_mean(losses, sizes))
        self.history.auc.append(_auc(recent))
        self.history.learning_rate.append(rate)
        for trouble in self._troubles(recent, idle=not losses.any()):
            self._tell(*trouble)
        return True

    def _loss_of(self, batch):
        images, *targets = (tensor.to(self.place) for tensor in batch)
        if self.autocast is None:
            embeddings = self.encoder(images.flatten(0, 1))
        else:
            with torch.autocast(self.place.type, self.autocast):
                embeddings = self.encoder(images.flatten(0, 1))
            embeddings = embeddings.float()
        embeddings = embeddings.unflatten(0, images.shape[:2])
        return self.loss(*embeddings, *targets), embeddings

    def _step(self, value):
        """Move the weights against the slope of a loss."""
        self.optimizer.zero_grad()
        self.scaler.scale(value).backward()
        if (largest := self.settings["max_grad_norm"]) is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.trained.parameters(), largest)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        left_out = self.scaler.get_scale() < scale  # gradients have overflown
        if self.schedule and not left_out:
            self.schedule.step()

    def _troubles(self, recent, idle):
        """What is wrong with the epoch that has just ended: sections of the clinic, and words."""
        losses, auc = self.history.loss, self.history.auc[-LONG:]
        epoch, lowest = len(losses), min(losses)
        if _collapsed(torch.cat([z.flatten(0, 1) for z, _ in recent])):
            yield (
                "Collapse",
                f"embeddings collapsed in epoch {epoch}: all images lie in nearly one point, "
                "so no distance tells classes apart",
            )
        elif len(auc) == LONG and all(area is not None and area < CHANCE for area in auc):
            yield (
                "No better than chance",
                f"hardly better than chance up to epoch {epoch}: for {LONG} epochs a pair of one "
                f"class was nearer than one of two in less than {100 * CHANCE:.0f} % of cases",
            )
        if idle:
            yield (
                "Nothing is active",
                f"nothing was learned in epoch {epoch}: every loss was 0, since no pair or "
                "triplet is active",
            )
        if losses[-1] - lowest > abs(losses[0]) / 2:
            yield (
                "A learning rate too high",
                f"the loss rose to {losses[-1]:.4g} in epoch {epoch}, after {lowest:.4g} before",
            )

    def _tell(self, section, words):
        """Warn, once a section, at the line that called `fit`."""
        if section not in self.told:
            self.told.add(section)
            words = f"{words} (see “{section}” in the training clinic of the book)"
            warnings.warn(words, RuntimeWarning, stacklevel=4)

    def validate(self, validation):
        """Measure the validation loss and keep the weights if none was lower."""
        self.trained.eval()
        losses, sizes = [], []
        with torch.no_grad(), _own_randomness(self.place, seed=0):
            for batch in self._batches_of(validation):
                losses.append(self._loss_of(batch)[0])
                sizes.append(batch[0].shape[1])
        values, best = self.history.validation_loss, self.history.best_epoch
        values.append(_mean(torch.stack(losses), sizes))
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
            "scaler": self.scaler.state_dict(),
            "history": asdict(self.history),
            "kept": self.kept,
        }
        write_weights(state, path)

    def load(self, path):
        """Take over the state in `path` after checking that it belongs to this training."""
        state = _read_checkpoint(path, self.place)
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
        for name, part in self.trained.items():
            part.load_state_dict(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.history = History(**state["history"])
        self.kept = state["kept"]


def _described(loss):
    """A loss in words: its name and what it was given."""
    if isinstance(loss, partial):
        given = [*map(repr, loss.args), *(f"{k}={v!r}" for k, v in loss.keywords.items())]
        return f"{_described(loss.func)}({', '.join(given)})"
    if hasattr(loss, "__qualname__"):
        return loss.__qualname__
    is_module = isinstance(loss, nn.Module)
    name = repr(loss) if is_module else type(loss).__name__
    # Other values than these may be shown by their place in memory, which is another each time.
    values = [
        f"{k}={v}"
        for part in (loss.modules() if is_module else [loss])
        for k, v in getattr(part, "__dict__", {}).items()
        if isinstance(v, Number | str) and k != "training"  # a mode, not a setting
    ]
    return f"{name} with {', '.join(values)}" if values else name


def _examples(data):
    return len(getattr(data, "dataset", data))


def _held(data):
    """What a set holds in memory: numbers and words, also of the set behind a loader or a part."""
    for name in HELD:
        value = getattr(data, name, ())
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, list | range) and all(isinstance(k, int) for k in part):
                part = np.array(part)
            # An array of objects holds their places in memory, which are others each time.
            plain = isinstance(part, np.ndarray) and part.dtype.kind in "biufcU"
            if plain or isinstance(part, Tensor):
                yield part
    if getattr(data, "dataset", None) is not None:
        yield from _held(data.dataset)


def _digest(arrays):
    """Hash of arrays and tensors: of their types, shapes and bytes."""
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(f"{array.dtype} {tuple(array.shape)}".encode())
        if isinstance(array, Tensor):  # as bytes, since NumPy has no bfloat16
            array = array.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()[:16]


def _steps(data, batch_size):
    return len(data) if isinstance(data, DataLoader) else -(-len(data) // batch_size)


def _set_epoch(data, epoch):
    """Tell data which epoch begins: a set, or what a loader or a subset draws from."""
    if hasattr(data, "set_epoch"):
        data.set_epoch(epoch)
    for part in ("dataset", "sampler", "batch_sampler"):
        if getattr(data, part, None) is not None:
            _set_epoch(getattr(data, part), epoch)


def _batches(data, size):
    """Views (k, b, c, h, w) and targets (b,), batch after batch."""
    if isinstance(data, DataLoader):
        yield from map(_views_first, data)
        return
    # Where all is in memory and in its order, and a set gathers whole batches by itself, a loader
    # would have nothing to add but its own time.
    for start in range(0, len(data), size):
        yield data.batch(range(start, min(start + size, len(data))))


def _views_first(batch):
    """The views and targets of what a loader has stacked."""
    first, *others = [batch] if isinstance(batch, Tensor) else batch
    if first.ndim == 5:  # each example came with all its views
        return first.transpose(0, 1), *others
    views = [first, *(tensor for tensor in others if tensor.shape == first.shape)]
    return torch.stack(views), *others[len(views) - 1 :]


@contextmanager
def _own_randomness(place, seed=None):
    """Leave the global random state as it was, on the device that is used."""
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        if seed is not None:
            torch.manual_seed(seed)
        yield


def _mean(losses, sizes):
    """Mean over examples, of which the last batch may have fewer."""
    sizes = torch.tensor(sizes, dtype=losses.dtype, device=losses.device)
    return ((losses * sizes).sum() / sizes.sum()).item()


def _auc(recent):
    """How often a positive pair is nearer than a negative one, or None without positives."""
    views = torch.cat([embeddings for embeddings, _ in recent], dim=1)[:, -RECENT:].cpu().double()
    if len(views) == 3:
        to_positive, to_negative = torch.linalg.vector_norm(views[1:] - views[0], dim=2)
        return (to_positive < to_negative).double().mean().item()
    columns = [targets[0] for _, targets in recent if targets and targets[0].ndim == 1]
    if not columns:
        return None
    targets = torch.cat(columns)[-RECENT:].cpu()
    if len(views) == 2 and targets.dtype == torch.bool:
        same, D = targets, torch.linalg.vector_norm(views[0] - views[1], dim=1)
    elif len(views) == 1 and not targets.is_floating_point():
        i, j = torch.triu_indices(len(targets), len(targets), offset=1)
        same, D = targets[i] == targets[j], functional.pdist(views[0])
    else:
        return None
    if same.all() or not same.any():
        return None
    far = D[~same].sort().values
    nearer_far = torch.searchsorted(far, D[same]) + torch.searchsorted(far, D[same], right=True)
    return 1 - nearer_far.double().mean().item() / (2 * len(far))


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


def _read_checkpoint(path, place):
    entries = ("settings", "weights", "optimizer", "schedule", "scaler", "history", "kept")
    try:
        return read_weights(path, entries, place)
    except ValueError as error:
        raise ValueError(f"checkpoint {error}; delete it to start anew") from error
