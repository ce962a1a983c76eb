import re
import time
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR, OneCycleLR, SequentialLR, StepLR
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset, TensorDataset

from snnlib import training
from snnlib.encoders import mlp
from snnlib.images import ImageSet
from snnlib.losses import batch_all, contrastive, cosine_triplet, semi_hard
from snnlib.sampling import (
    BatchDataset,
    PairDataset,
    TripletDataset,
    draw_batches,
    draw_triplets,
)
from snnlib.training import History, fit, fit_one_cycle

SGD = partial(torch.optim.SGD, lr=0.05)


def one_cycle(optimizer, steps):
    return OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)


def with_dropout(seed=0):
    encoder = mlp(16, 8, 8, 4, seed=seed)
    encoder.insert(3, nn.Dropout(0.3))
    return encoder


def train(encoder, blobs, loss=contrastive, n=100, fresh=True, data=None, **changes):
    settings = {"epochs": 4, "batch_size": 16, "optimizer": SGD, "progress": False, **changes}
    data = data or PairDataset(blobs, n, seed=0, fresh=fresh)
    return fit(encoder, data, loss, **settings)


def weights(encoder):
    return torch.cat([p.detach().flatten() for p in encoder.parameters()])


def test_equal_to_a_plain_loop(blobs):
    """The library's loop against one written out, with both images passed one after the other."""
    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    history = train(encoder, blobs, epochs=2)
    optimizer, data, means = SGD(plain.parameters()), PairDataset(blobs, 100, seed=0), []
    for epoch in range(2):
        data.set_epoch(epoch)
        total = 0.0
        for start in range(0, 100, 16):
            pairs = data.pairs[start : start + 16]
            first, second = (torch.tensor(blobs.images[pairs[:, k]]) for k in (0, 1))
            same = torch.tensor(data.same[start : start + 16])
            loss = contrastive(plain(first), plain(second), same)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(pairs)
        means.append(total / 100)
    assert torch.allclose(weights(encoder), weights(plain), atol=1e-6)
    assert history.loss == pytest.approx(means, rel=1e-5)


def test_history(blobs):
    history = train(mlp(16, 8, 4, seed=0), blobs, schedule=one_cycle)
    assert isinstance(history, History)
    assert len(history.loss) == len(history.seconds) == len(history.learning_rate) == 4
    assert history.loss[-1] < history.loss[0]
    assert all(seconds > 0 for seconds in history.seconds)
    expected = SGD(mlp(16, 8, 4, seed=0).parameters())
    schedule, rates = one_cycle(expected, 28), []
    for _ in range(28):
        rates.append(expected.param_groups[0]["lr"])
        expected.step()
        schedule.step()
    assert history.learning_rate == pytest.approx(rates[6::7])
    assert history.validation_loss == []
    assert history.best_epoch is None


def test_same_seed_same_weights_and_the_global_state_stays(blobs):
    state = torch.random.get_rng_state()
    first, second, other = with_dropout(), with_dropout(), with_dropout()
    train(first, blobs)
    train(second, blobs)
    train(other, blobs, seed=1)
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(torch.random.get_rng_state(), state)


class Interrupt(Exception):
    pass


def interrupted_after(batches, loss=contrastive):
    """A loss that is cut off, as by Ctrl-C, after so many batches."""
    calls = iter(range(10**9))

    @wraps(loss)
    def cut_off(*arguments):
        if next(calls) >= batches:
            raise Interrupt
        return loss(*arguments)

    return cut_off


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("optimizer", [SGD, partial(torch.optim.Adam, lr=1e-3)])
def test_resumed_training_ends_at_the_same_weights(blobs, tmp_path, fresh, optimizer):
    validation = PairDataset(blobs, 30, seed=9)
    settings = {
        "schedule": one_cycle,
        "validation": validation,
        "fresh": fresh,
        "optimizer": optimizer,
    }
    unbroken = with_dropout()
    expected = train(unbroken, blobs, **settings)

    file = tmp_path / "runs" / "encoder.pt"
    broken = with_dropout()
    # Seven steps of training and two of validation an epoch: this is in the third epoch.
    with pytest.raises(Interrupt):
        train(broken, blobs, interrupted_after(21), checkpoint=file, **settings)
    resumed = with_dropout(seed=5)
    history = train(resumed, blobs, checkpoint=file, **settings)
    assert torch.equal(weights(resumed), weights(unbroken))
    assert history.loss == expected.loss
    assert history.validation_loss == expected.validation_loss
    assert history.learning_rate == expected.learning_rate
    assert [entry.name for entry in file.parent.iterdir()] == ["encoder.pt"]


def test_a_finished_training_is_not_repeated(blobs, tmp_path):
    file = tmp_path / "encoder.pt"
    first, again = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=1)
    history = train(first, blobs, checkpoint=file)
    assert train(again, blobs, interrupted_after(0), checkpoint=file) == history
    assert torch.equal(weights(first), weights(again))


def test_the_best_weights_outlive_an_interruption(blobs, tmp_path):
    """The best epoch lies before the interruption, and no later one is better."""
    file = tmp_path / "encoder.pt"
    settings = {
        "epochs": 6,
        "optimizer": partial(torch.optim.SGD, lr=3.0),
        "validation": PairDataset(blobs, 60, seed=5, fresh=False),
        "checkpoint": file,
    }
    first, again = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=1)
    history = train(first, blobs, **settings)
    assert history.best_epoch < 5
    train(again, blobs, **settings)
    assert torch.equal(weights(first), weights(again))


def test_an_interrupted_write_leaves_the_old_checkpoint(blobs, tmp_path, monkeypatch):
    file = tmp_path / "encoder.pt"
    with pytest.raises(Interrupt):
        train(mlp(16, 8, 4, seed=0), blobs, interrupted_after(15), checkpoint=file)
    before = file.read_bytes()

    def half_a_write(path, content):
        with path.open("wb") as opened:
            opened.write(content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", half_a_write)
    with pytest.raises(KeyboardInterrupt):
        train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file)
    assert file.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["encoder.pt"]


class Intruder:
    """Leaves a file behind if it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_checkpoint_runs_no_code(blobs, tmp_path):
    file, trace = tmp_path / "encoder.pt", tmp_path / "trace"
    torch.save({"encoder": Intruder(trace)}, file)
    with pytest.raises(ValueError, match=r"encoder\.pt can't be read"):
        train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("encoder", "changes", "message"),
    [
        (mlp(16, 9, 4, seed=0), {}, r"another encoder: '1.bias' has shape \(8,\), expected \(9,\)"),
        (mlp(16, 8, 8, 4, seed=0), {}, "another encoder"),
        (mlp(16, 8, 4, seed=0), {"seed": 7}, "seed = 0, expected 7"),
        (mlp(16, 8, 4, seed=0), {"batch_size": 8}, "batch_size = 16, expected 8"),
        (mlp(16, 8, 4, seed=0), {"n": 90}, "examples = 100, expected 90"),
        (mlp(16, 8, 4, seed=0), {"schedule": one_cycle}, "schedule = None, expected OneCycleLR"),
        (
            mlp(16, 8, 4, seed=0),
            {"loss": partial(contrastive, margin=2.0)},
            r"loss = contrastive, expected contrastive\(margin=2\.0\)",
        ),
        (
            mlp(16, 8, 4, seed=0),
            {"optimizer": partial(torch.optim.SGD, lr=0.1)},
            r"optimizer = SGD\(lr=0\.05.*, expected SGD\(lr=0\.1",
        ),
        (
            mlp(16, 8, 4, seed=0),
            {"optimizer": torch.optim.Adam},
            r"optimizer = SGD\(.*, expected Adam\(",
        ),
    ],
)
def test_checkpoints_of_something_else(blobs, tmp_path, encoder, changes, message):
    file = tmp_path / "encoder.pt"
    train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file)
    before = weights(encoder).clone()
    with pytest.raises(ValueError, match=message):
        train(encoder, blobs, checkpoint=file, **changes)
    assert torch.equal(weights(encoder), before)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "truncated", {"x": 1}, [1, 2]])
def test_broken_checkpoints(blobs, tmp_path, content):
    file = tmp_path / "encoder.pt"
    if content == "truncated":
        train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file)
        file.write_bytes(file.read_bytes()[:-500])
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(
        ValueError, match=r"encoder.pt (can't be read|lacks|was not written by fit)"
    ):
        train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file)


def test_patience_ends_training_and_the_best_weights_are_kept(blobs):
    encoder = mlp(16, 8, 4, seed=0)
    validation = PairDataset(blobs, 60, seed=5, fresh=False)
    # A rate so high that the loss soon gets worse.
    history = train(
        encoder,
        blobs,
        epochs=40,
        optimizer=partial(torch.optim.SGD, lr=3.0),
        validation=validation,
        patience=2,
    )
    assert len(history.loss) < 40
    assert history.best_epoch == int(np.argmin(history.validation_loss))
    assert len(history.loss) == history.best_epoch + 3
    with torch.no_grad():
        images, same = validation.batch(range(60))
        loss = contrastive(encoder(images[0]), encoder(images[1]), same)
    assert loss.item() == pytest.approx(min(history.validation_loss), rel=1e-5)


def plain(first, second, same):
    D = (first - second).square().sum(dim=1).sqrt()
    return 0.5 * torch.where(same, D, (1 - D).clamp(min=0)).square().mean()


@pytest.mark.parametrize("position", [20, 99])
def test_a_loss_gone_wrong_is_told_and_undone(blobs, position):
    """A self-pair under a plain root: in the middle, and in the very last batch."""
    data = PairDataset(blobs, 100, seed=0, fresh=False)
    data.pairs[position], data.same[position] = (3, 3), True
    encoder = mlp(16, 8, 4, seed=0)
    before = weights(encoder).clone()
    told = "step 3 of 7" if position == 20 else "weights of '1.weight' were not finite"
    with pytest.warns(RuntimeWarning, match=f"ended in epoch 1: .*{told}") as warned:
        history = fit(encoder, data, plain, epochs=3, batch_size=16, optimizer=SGD, progress=False)
    assert sections_named(warned) == ["Not a number"]
    assert warned[0].filename == __file__
    assert torch.equal(weights(encoder), before)
    assert history == History()


CLINIC = Path(__file__).parent.parent / "chapters" / "training_clinic.md"


def sections_named(told):
    """Sections of the clinic that warnings name."""
    return [re.search("see “(.+)” in the training clinic", str(w.message))[1] for w in told]


@pytest.mark.parametrize(("room", "warnings"), [("training", 6), ("keras_triplets", 3)])
def test_every_warning_names_a_section_of_the_clinic(room, warnings):
    source = (Path(training.__file__).parent / f"{room}.py").read_text(encoding="utf-8")
    named = re.findall(r'(?:_tell|yield) ?\(\s*"([^"]+)"', source)
    assert len(named) == warnings
    headings = re.findall("^#+ (.+)$", CLINIC.read_text(encoding="utf-8"), re.M)
    assert set(named) <= set(headings)


def test_collapse_is_told(blobs):
    encoder = mlp(16, 8, 4, seed=0)
    with torch.no_grad():
        encoder[-1].weight.zero_()
    with pytest.warns(RuntimeWarning, match="collapsed in epoch 1") as told:
        train(encoder, blobs, lambda first, second, same: 1 + 0 * first.sum(), epochs=3)
    assert sections_named(told) == ["Collapse"]
    assert told[0].filename == __file__


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_collapse_is_a_matter_of_spread_beside_length(blobs, scale):
    """A spread of a twentieth of the length is none, one of a five-hundredth is one."""

    def look(length):
        encoder = mlp(16, 8, 4, seed=0)
        with torch.no_grad():
            spread = encoder(torch.from_numpy(blobs.images)).std(dim=0).norm()
            encoder[-1].bias += length * spread / 2  # in each of four directions
            encoder[-1].weight *= scale
            encoder[-1].bias *= scale
        still = partial(torch.optim.SGD, lr=0.0)
        train(encoder, blobs, lambda first, second, same: 1 + 0 * first.sum(), optimizer=still)

    look(20)  # warnings are errors here
    with pytest.warns(RuntimeWarning, match="collapsed in epoch 1"):
        look(500)


def test_an_epoch_that_teaches_nothing_is_told(blobs):
    with pytest.warns(RuntimeWarning, match="nothing was learned in epoch 1") as told:
        train(mlp(16, 8, 4, seed=0), blobs, lambda first, *_: 0 * first.sum(), epochs=3)
    assert sections_named(told) == ["Nothing is active"]
    assert told[0].filename == __file__


def test_triplets_equal_to_a_plain_loop(blobs):
    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    data = TripletDataset(blobs, 50, seed=0)
    settings = {"epochs": 2, "batch_size": 16, "optimizer": SGD, "progress": False}
    history = fit(encoder, data, cosine_triplet, **settings)
    optimizer = SGD(plain.parameters())
    for epoch in range(2):
        triplets = draw_triplets(blobs.labels, 50, seed=(0, epoch))
        losses = []
        for batch in np.split(triplets, [16, 32, 48]):
            three = (plain(torch.tensor(blobs.images[batch[:, k]])) for k in range(3))
            losses.append(cosine_triplet(*three))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
    assert torch.allclose(weights(encoder), weights(plain), atol=1e-6)
    mean = sum(n * loss.item() for n, loss in zip([16, 16, 16, 2], losses)) / 50
    assert history.loss[-1] == pytest.approx(mean, rel=1e-5)


def test_mined_batches_equal_to_a_plain_loop(blobs):
    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    history = fit(
        encoder,
        BatchDataset(blobs, 5, 2, 6, seed=0),
        semi_hard,
        epochs=2,
        optimizer=SGD,
        progress=False,
    )
    optimizer = SGD(plain.parameters())
    for epoch in range(2):
        losses = []
        for batch in draw_batches(blobs.labels, 5, 2, 6, seed=(0, epoch)):
            labels = torch.tensor(blobs.labels[batch])
            losses.append(semi_hard(plain(torch.tensor(blobs.images[batch])), labels))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
    assert torch.allclose(weights(encoder), weights(plain), atol=1e-6)
    assert history.loss[-1] == pytest.approx(sum(loss.item() for loss in losses) / 5, rel=1e-5)


def test_a_validation_loss_that_is_not_finite_is_told_and_never_the_best(blobs):
    validation = PairDataset(blobs, 10, seed=5)
    losses = iter([0.5, float("nan"), 0.4, float("inf")])

    def loss(first, second, same):
        return contrastive(first, second, same) if len(same) > 10 else torch.tensor(next(losses))

    with pytest.warns(RuntimeWarning, match="validation loss was nan in epoch 2") as told:
        history = train(mlp(16, 8, 4, seed=0), blobs, loss, n=96, epochs=4, validation=validation)
    assert history.best_epoch == 2
    assert sections_named(told) == ["Not a number"]
    assert told[0].filename == __file__


def test_a_healthy_training_warns_of_nothing(blobs):
    train(mlp(16, 8, 4, seed=0), blobs, epochs=20)  # warnings are errors here


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"patience": 2}, "patience needs validation"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"validation": []}, r"len\(validation\) must be at least 1, got 0"),
    ],
)
def test_bad_settings(blobs, changes, message):
    with pytest.raises(ValueError, match=message):
        train(mlp(16, 8, 4, seed=0), blobs, **changes)


def test_bad_batch_sizes(blobs):
    encoder, settings = mlp(16, 8, 4, seed=0), {"epochs": 1, "optimizer": SGD}
    with pytest.raises(ValueError, match="batch_size is needed"):
        fit(encoder, PairDataset(blobs, 10, seed=0), contrastive, **settings)
    with pytest.raises(ValueError, match="batch_size must be that of the data, 8, or left out"):
        fit(encoder, BatchDataset(blobs, 2, 2, 4, seed=0), semi_hard, batch_size=9, **settings)


def test_the_progress_bar_counts_steps(blobs, capsys):
    data, settings = PairDataset(blobs, 100, seed=0), {"epochs": 4, "batch_size": 16}
    fit(mlp(16, 8, 4, seed=0), data, contrastive, optimizer=SGD, **settings)
    assert "28/28" in capsys.readouterr().err
    fit(mlp(16, 8, 4, seed=0), data, contrastive, optimizer=SGD, progress=False, **settings)
    assert capsys.readouterr().err == ""


PROXIES = {
    "ProxyAnchor": lambda: pml.ProxyAnchorLoss(num_classes=3, embedding_size=4),
    "ArcFace": lambda: pml.ArcFaceLoss(num_classes=3, embedding_size=4),
}


def made(name):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return PROXIES[name]()


@pytest.mark.parametrize("name", PROXIES)
def test_a_loss_with_weights_is_trained_along(blobs, name):
    """Against a loop written out, in which the optimizer holds both."""
    adam = partial(torch.optim.Adam, lr=0.01)
    batches = BatchDataset(blobs, 10, 3, 5, seed=0)
    encoder, loss = mlp(16, 8, 4, seed=0), made(name)
    before = [p.detach().clone() for p in loss.parameters()]
    history = fit(encoder, batches, loss, epochs=2, optimizer=adam, progress=False)
    assert all((old != new).any() for old, new in zip(before, loss.parameters()))

    plain, theirs = mlp(16, 8, 4, seed=0), made(name)
    optimizer = adam([*plain.parameters(), *theirs.parameters()])
    for epoch in range(2):
        batches.set_epoch(epoch)
        for start in range(0, 150, 15):
            images, labels = batches.batch(range(start, start + 15))
            value = theirs(plain(images[0]), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
    assert torch.allclose(weights(encoder), weights(plain), atol=1e-6)
    assert torch.allclose(weights(loss), weights(theirs), atol=1e-6)
    assert len(history.loss) == 2


def test_the_weights_of_a_loss_are_part_of_a_checkpoint(blobs, tmp_path):
    file = tmp_path / "run.pt"
    settings = {"epochs": 4, "optimizer": SGD, "progress": False, "checkpoint": file}
    batches = BatchDataset(blobs, 10, 3, 5, seed=0)
    encoder, loss = mlp(16, 8, 4, seed=0), made("ProxyAnchor")
    fit(encoder, batches, loss, **settings)
    other, again = mlp(16, 8, 4, seed=1), made("ProxyAnchor")
    fit(other, batches, again, **settings)  # nothing is left to do but to take the weights over
    assert torch.equal(weights(other), weights(encoder))
    assert torch.equal(weights(again), weights(loss))
    with pytest.raises(
        ValueError, match=r"holds weights of encoder and loss, expected .* encoder$"
    ):
        fit(other, batches, semi_hard, **settings)


def test_numbers_of_numpy_do_not_spoil_a_checkpoint(blobs, tmp_path):
    file = tmp_path / "run.pt"
    numbers = {
        "epochs": np.int64(2),
        "batch_size": np.int64(16),
        "seed": np.int64(3),
        "optimizer": partial(torch.optim.SGD, lr=np.float64(0.05)),
    }
    train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file, **numbers)
    resumed = mlp(16, 8, 4, seed=0)
    train(resumed, blobs, checkpoint=file, **numbers | {"epochs": np.int64(2)})
    unbroken = mlp(16, 8, 4, seed=0)
    train(unbroken, blobs, epochs=2, batch_size=16, seed=3)
    assert torch.equal(weights(resumed), weights(unbroken))


class LastIsClose(PairDataset):
    """The last pair is twice the same image."""

    def batch(self, indices):
        images, same = super().batch(indices)
        if indices[-1] == len(self) - 1:
            images[1, -1], same[-1] = images[0, -1], True
        return images, same


def test_a_last_batch_of_one_close_pair_is_no_collapse(blobs, recwarn):
    train(mlp(16, 8, 4, seed=0), blobs, data=LastIsClose(blobs, 41, seed=0), batch_size=2)
    assert not [w for w in recwarn if "collapsed" in str(w.message)]


def test_one_cycle_rises_to_its_peak_and_falls():
    optimizer = torch.optim.SGD(mlp(4, 2, seed=0).parameters(), lr=0.5)
    schedule, rates = training.one_cycle(0.01)(optimizer, 100), []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.01 / 25)
    assert max(rates) == pytest.approx(0.01)
    assert np.argmax(rates) == pytest.approx(30, abs=1)
    assert rates[-1] < 1e-6


def test_callbacks_look_on_and_change_nothing(blobs):
    seen, steps = [], []

    def after_step(step, loss):
        steps.append((step, loss.item()))
        torch.rand(3)  # draws of their own

    def after_epoch(history):
        seen.append((len(history.loss), history.loss[-1], len(steps)))
        torch.manual_seed(77)

    watched, alone = with_dropout(), with_dropout()
    history = train(watched, blobs, after_step=after_step, after_epoch=after_epoch)
    train(alone, blobs)
    assert torch.equal(weights(watched), weights(alone))
    assert [step for step, _ in steps] == list(range(1, 4 * 7 + 1))
    assert seen == [(k + 1, history.loss[k], 7 * (k + 1)) for k in range(4)]
    first = [loss for _, loss in steps[:7]]
    sizes = [16] * 6 + [4]
    assert history.loss[0] == pytest.approx(np.average(first, weights=sizes), rel=1e-6)


def test_a_finished_checkpoint_does_not_swallow_new_photographs(blobs, tmp_path):
    file = tmp_path / "encoder.pt"
    train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file)
    others = ImageSet(blobs.images + 0.1, blobs.labels, blobs.class_names, "new photographs")
    swapped = ImageSet(blobs.images, 2 - blobs.labels, blobs.class_names, "others' classes")
    for new in (others, swapped):
        with pytest.raises(ValueError, match=r"with data = \w{16}, expected \w{16}"):
            train(mlp(16, 8, 4, seed=0), new, checkpoint=file)


class Varied(PairDataset):
    """Another brightness each time."""

    def batch(self, indices):
        images, same = super().batch(indices)
        return images + torch.rand(1), same


class VariedByNumPy(PairDataset):
    """The same by a generator that is not PyTorch's, which no seed of `fit` reaches."""

    def batch(self, indices):
        images, same = super().batch(indices)
        return images + np.random.default_rng().random(dtype=np.float32), same


@pytest.mark.parametrize("varied", [Varied, VariedByNumPy])
def test_data_that_vary_may_go_on_all_the_same(blobs, tmp_path, varied):
    file = tmp_path / "encoder.pt"
    for _ in range(2):
        data = varied(blobs, 100, seed=0)
        history = train(mlp(16, 8, 4, seed=0), blobs, data=data, checkpoint=file)
    assert len(history.loss) == 4


class Hinge:
    """A loss with a setting, as an object of its own; its `squared` is no plain value."""

    def __init__(self, margin):
        self.margin, self.squared = margin, [True]

    def __call__(self, *batch):
        return contrastive(*batch, self.margin)


class HingeModule(Hinge, nn.Module):
    """The same as a module, which does not show its margin by itself."""

    def __init__(self, margin):
        nn.Module.__init__(self)
        Hinge.__init__(self, margin)


def steps_of(gamma):
    return lambda optimizer, steps: StepLR(optimizer, 5, gamma)


def milestones(*at):
    return lambda optimizer, steps: MultiStepLR(optimizer, at)


def in_turn(gamma):
    """One schedule after the other."""

    def both(optimizer, steps):
        return SequentialLR(optimizer, [StepLR(optimizer, 2, g) for g in (0.9, gamma)], [6])

    return both


def halved(optimizer, steps):
    return LambdaLR(optimizer, lambda step: 0.5 ** (step / steps))


def rate_as_a_tensor(parameters):
    """A schedule changes it in place."""
    return torch.optim.Adam(parameters, lr=torch.tensor(0.01))


def same_start(rate):
    return lambda optimizer, steps: OneCycleLR(
        optimizer, max_lr=rate, total_steps=steps, div_factor=rate / 1e-3
    )


@pytest.mark.parametrize(
    ("setting", "then", "now", "message"),
    [
        ("schedule", one_cycle, None, "schedule = OneCycleLR, expected None"),
        ("schedule", one_cycle, halved, "schedule = OneCycleLR, expected LambdaLR"),
        ("schedule", steps_of(0.5), steps_of(0.9), r"StepLR gamma = 0\.5, expected 0\.9"),
        ("schedule", milestones(3, 5), milestones(3, 6), r"LR milestones = .*5: 1.*6: 1"),
        ("schedule", in_turn(0.5), in_turn(0.7), r"'gamma': 0\.5.*, expected .*'gamma': 0\.7"),
        (
            "schedule",
            training.one_cycle(0.1),
            training.one_cycle(0.2),
            r"OneCycleLR lr = \[0\.004\d*\], expected \[0\.008\d*\]",
        ),
        (
            "schedule",
            same_start(0.1),
            same_start(0.2),
            r"OneCycleLR max_lr = \[0\.1\], expected \[0\.2\]",
        ),
        (
            "loss",
            Hinge(1.0),
            Hinge(2.0),
            r"loss = Hinge with margin=1\.0, expected Hinge with margin=2\.0",
        ),
        (
            "loss",
            HingeModule(1.0),
            HingeModule(2.0),
            r"HingeModule\(\) with margin=1\.0, expected HingeModule\(\) with margin=2\.0",
        ),
        (
            "loss",
            partial(Hinge(1.0)),
            partial(Hinge(2.0)),
            r"Hinge with margin=1\.0\(\), expected Hinge with margin=2\.0\(\)",
        ),
    ],
)
def test_checkpoints_of_other_numbers(blobs, tmp_path, setting, then, now, message):
    file = tmp_path / "run.pt"
    train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file, **{setting: then})
    with pytest.raises(ValueError, match=rf"run\.pt is of a training with .*{message}"):
        train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file, **{setting: now})


def with_a_new_image(image_set, k):
    images = image_set.images.copy()
    images[k] += 0.1
    return replace(image_set, images=images)


def with_a_new_label(image_set, k):
    labels = image_set.labels.copy()
    labels[k] = (labels[k] + 1) % 3
    return replace(image_set, labels=labels)


def tensors(image_set):
    return TensorDataset(torch.from_numpy(image_set.images), torch.from_numpy(image_set.labels))


def in_sixteens(data):
    return DataLoader(data, batch_size=16)


def all_kinds_alike(first, *others):
    """A loss of any batch, be it pairs, triplets or labelled images."""
    return first.square().mean()


#: Sets of all kinds, with the positions of the images that the first batch shows.
SETS = {
    "pairs": lambda s: (data := PairDataset(s, 100, seed=0), data.pairs[:16]),
    "triplets": lambda s: (data := TripletDataset(s, 100, seed=0), data.triplets[:16]),
    "batches": lambda s: (data := BatchDataset(s, 10, 2, 8, seed=0), data.batches[0]),
    "varied": lambda s: (data := VariedByNumPy(s, 100, seed=0), data.pairs[:16]),
    "loader": lambda s: (in_sixteens(tensors(s)), range(16)),
    "part": lambda s: (in_sixteens(Subset(tensors(s), range(120))), range(16)),
}


@pytest.mark.parametrize("changed", [with_a_new_image, with_a_new_label])
@pytest.mark.parametrize("kind", SETS)
def test_what_the_first_batch_does_not_show_counts_too(blobs, tmp_path, kind, changed):
    file, (data, shown) = tmp_path / "run.pt", SETS[kind](blobs)
    train(mlp(16, 8, 4, seed=0), blobs, all_kinds_alike, data=data, checkpoint=file)
    hidden = np.setdiff1d(range(120), shown)[-1]
    other, _ = SETS[kind](changed(blobs, hidden))
    with pytest.raises(ValueError, match=r"with data = \w{16}, expected \w{16}"):
        train(mlp(16, 8, 4, seed=0), blobs, all_kinds_alike, data=other, checkpoint=file)


@pytest.mark.parametrize("as_positions", [list, np.array])
def test_another_part_of_a_set_is_other_data(blobs, tmp_path, as_positions):
    """Two folds that begin alike and are as large."""
    one, two = [*range(60), *range(80, 100)], [*range(60), *range(100, 120)]

    def train_on(fold):
        data = in_sixteens(Subset(tensors(blobs), as_positions(fold)))
        settings = {"data": data, "checkpoint": tmp_path / "run.pt"}
        train(mlp(16, 8, 4, seed=0), blobs, all_kinds_alike, **settings)

    train_on(one)
    train_on(one)
    with pytest.raises(ValueError, match=r"with data = \w{16}, expected \w{16}"):
        train_on(two)


def test_values_that_are_no_numbers(blobs, tmp_path):
    """Words count; an array of objects holds their places in memory, which differ each time."""

    def train_with(names):
        data = in_sixteens(tensors(blobs))
        data.dataset.labels = np.array(names)
        settings = {"data": data, "checkpoint": tmp_path / "run.pt"}
        train(mlp(16, 8, 4, seed=0), blobs, all_kinds_alike, **settings)

    train_with([object(), None])
    train_with([None, object()])
    with pytest.raises(ValueError, match="with data"):
        train_with(["low", "mid"])


def test_a_checkpoint_of_images_in_half_precision(blobs, tmp_path):
    """NumPy has no bfloat16."""

    def train_on(images):
        data = in_sixteens(TensorDataset(images.bfloat16(), torch.from_numpy(blobs.labels)))
        settings = {"data": data, "checkpoint": tmp_path / "run.pt"}
        train(mlp(16, 8, 4, seed=0).bfloat16(), blobs, all_kinds_alike, **settings)

    images = torch.from_numpy(blobs.images)
    train_on(images)
    train_on(images)
    with pytest.raises(ValueError, match="with data"):
        train_on(images + 1)


def test_checkpoints_of_other_validation(blobs, tmp_path):
    file = tmp_path / "run.pt"

    def train_beside(validation):
        train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file, validation=validation)

    validation = PairDataset(blobs, 40, seed=9)
    hidden = np.setdiff1d(range(120), validation.pairs[:16])[-1]
    train_beside(None)
    with pytest.raises(ValueError, match=r"with validation = None, expected \w{16}"):
        train_beside(validation)
    file.unlink()
    train_beside(validation)
    with pytest.raises(ValueError, match=r"with validation = \w{16}, expected None"):
        train_beside(None)
    for other in (
        PairDataset(blobs, 40, seed=8),
        PairDataset(blobs, 41, seed=9),
        PairDataset(with_a_new_image(blobs, hidden), 40, seed=9),
        DataLoader(validation, batch_size=8),
    ):
        with pytest.raises(ValueError, match=r"with validation = \w{16}, expected \w{16}"):
            train_beside(other)


def test_images_that_validation_reads_one_by_one_are_counted(blobs, tmp_path):
    def train_beside(n):
        part = replace(blobs, images=blobs.images[:n], labels=blobs.labels[:n])
        settings = {"validation": in_sixteens(Items(part)), "checkpoint": tmp_path / "run.pt"}
        train(mlp(16, 8, 4, seed=0), blobs, all_kinds_alike, **settings)

    train_beside(120)
    with pytest.raises(ValueError, match=r"with validation = \w{16}, expected \w{16}"):
        train_beside(119)


def test_a_checkpoint_leaves_the_epoch_of_the_validation(blobs, tmp_path):
    losses = []
    for file in (None, tmp_path / "run.pt"):
        validation = PairDataset(blobs, 40, seed=9)
        validation.set_epoch(3)
        history = train(mlp(16, 8, 4, seed=0), blobs, checkpoint=file, validation=validation)
        assert validation.epoch == 3
        losses.append(history.validation_loss)
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"schedule": training.one_cycle(0.1)},
        {"schedule": steps_of(0.5)},
        {"schedule": milestones(3, 15)},
        {"schedule": in_turn(0.5)},
        {"schedule": halved},
        {"schedule": steps_of(0.5), "optimizer": rate_as_a_tensor},
        {"loss": Hinge(2.0)},
        {"loss": HingeModule(2.0)},
        {"validation": lambda blobs: PairDataset(blobs, 40, seed=9)},
        {"validation": lambda blobs: DataLoader(PairDataset(blobs, 40, seed=9), batch_size=8)},
        {"data": lambda blobs: DataLoader(PairDataset(blobs, 100, seed=0), batch_size=16)},
        {"data": lambda blobs: Varied(blobs, 100, seed=0)},
    ],
    ids=lambda settings: " ".join(settings) or "plain",
)
def test_an_unchanged_training_goes_on_as_if_unbroken(blobs, tmp_path, settings):
    def set_up():
        sets = {k: settings[k](blobs) for k in ("data", "validation") if k in settings}
        return settings | sets | {"checkpoint": tmp_path / "run.pt"}

    def cut_off(history):
        if len(history.loss) == 3:
            raise Interrupt

    unbroken, resumed = with_dropout(), with_dropout(seed=5)
    expected = train(unbroken, blobs, **set_up() | {"checkpoint": None})
    with pytest.raises(Interrupt):
        train(with_dropout(), blobs, after_epoch=cut_off, **set_up())
    history = train(resumed, blobs, **set_up())
    assert torch.equal(weights(resumed), weights(unbroken))
    assert replace(history, seconds=[]) == replace(expected, seconds=[])


class TwoViews(Dataset):
    """Two views of an image and no label, as of self-supervised learning."""

    def __init__(self, images):
        self.images = torch.from_numpy(images)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return torch.stack([self.images[index], self.images[index].flip(2)])


def test_a_loader_of_views_without_labels(blobs):
    def apart(first, second):
        assert first.shape == second.shape
        return (first - second).square().sum(dim=1).mean() - 0.1 * first.std(dim=0).sum()

    settings = {"epochs": 2, "optimizer": SGD, "progress": False}
    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    loader = DataLoader(TwoViews(blobs.images), batch_size=60)
    history = fit(encoder, loader, apart, **settings)
    assert history.auc == [None, None]
    optimizer = SGD(plain.parameters())
    for _ in range(2):
        for half in torch.from_numpy(blobs.images).split(60):
            optimizer.zero_grad()
            apart(plain(half), plain(half.flip(3))).backward()
            optimizer.step()
    assert torch.allclose(weights(encoder), weights(plain), atol=1e-6)


class Items(Dataset):
    """Labelled images one by one, as the field has them."""

    def __init__(self, image_set):
        self.image_set = image_set

    def __len__(self):
        return len(self.image_set)

    def __getitem__(self, index):
        return torch.from_numpy(self.image_set.images[index]), int(self.image_set.labels[index])


def test_a_loader_of_labelled_images(blobs):
    """A shuffling loader against a loop written out over the same one."""
    settings = {"epochs": 2, "optimizer": SGD, "progress": False}
    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    loader = DataLoader(Items(blobs), batch_size=50, shuffle=True)
    state = torch.random.get_rng_state()
    history = fit(encoder, loader, semi_hard, **settings)
    assert torch.equal(torch.random.get_rng_state(), state)
    optimizer = SGD(plain.parameters())
    for epoch in range(2):
        torch.manual_seed(training._epoch_seed(0, epoch))
        losses, sizes = [], []
        for images, labels in loader:
            losses.append(semi_hard(plain(images), labels))
            sizes.append(len(labels))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        assert sizes == [50, 50, 20]
        mean = np.average([loss.item() for loss in losses], weights=sizes)
        assert history.loss[epoch] == pytest.approx(mean, rel=1e-5)
    assert torch.allclose(weights(encoder), weights(plain), atol=1e-6)
    again = mlp(16, 8, 4, seed=0)
    fit(again, DataLoader(Items(blobs), batch_size=50, shuffle=True), semi_hard, **settings)
    assert torch.equal(weights(again), weights(encoder))


class Views(Dataset):
    """Triplets as many write them: three images, one after the other."""

    def __init__(self, image_set, triplets):
        self.images, self.triplets = torch.from_numpy(image_set.images), triplets

    def __len__(self):
        return len(self.triplets)

    def __getitem__(self, index):
        return tuple(self.images[self.triplets[index]])


@pytest.mark.parametrize("own", [True, False])
def test_a_loader_of_views(blobs, own):
    """Sets of ours and of others in a plain loader: trained like the set by itself."""
    data = TripletDataset(blobs, 50, seed=0, fresh=False)
    settings = {"epochs": 1, "optimizer": SGD, "progress": False}
    encoder, alone = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    loader = DataLoader(data if own else Views(blobs, data.triplets), batch_size=16)
    loaded = fit(encoder, loader, cosine_triplet, **settings)
    expected = fit(alone, data, cosine_triplet, batch_size=16, **settings)
    assert torch.equal(weights(encoder), weights(alone))
    assert loaded.loss == expected.loss
    assert loaded.auc == expected.auc


def test_a_set_in_a_loader_gets_its_epochs(blobs):
    """Also within a subset, and with workers of their own."""
    data, alone = (PairDataset(blobs, 60, seed=0) for _ in "12")
    settings = {"epochs": 3, "optimizer": SGD, "progress": False}
    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    loader = DataLoader(Subset(data, range(60)), batch_size=20)
    fit(encoder, loader, contrastive, validation=loader, **settings)
    assert data.epoch == 2
    fit(plain, alone, contrastive, batch_size=20, validation=alone, **settings)
    assert torch.equal(weights(encoder), weights(plain))


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ({"batch_size": 8, "shuffle": True}, "batches of 8, in an order of its own: .*shuffle=F"),
        ({"batch_size": 9}, "expected batch_size=8"),
        (
            {"batch_size": 8, "num_workers": 1, "persistent_workers": True},
            "would repeat the first epoch",
        ),
    ],
)
def test_loaders_that_would_spoil_their_set(blobs, loader, message):
    loader = DataLoader(BatchDataset(blobs, 2, 2, 4, seed=0), **loader)
    settings = {"epochs": 1, "optimizer": SGD}
    with pytest.raises(ValueError, match=f"the loader data .*{message}|{message}.* loader data"):
        fit(mlp(16, 8, 4, seed=0), loader, semi_hard, **settings)
    with pytest.raises(ValueError, match="loader validation"):
        fit(
            mlp(16, 8, 4, seed=0),
            BatchDataset(blobs, 2, 2, 4, seed=0),
            semi_hard,
            validation=loader,
            **settings,
        )


def test_a_set_without_batches_is_refused(blobs):
    with pytest.raises(
        TypeError, match=r"data must gather batches .* or be a DataLoader, got Item"
    ):
        train(mlp(16, 8, 4, seed=0), blobs, data=Items(blobs))


def test_validation_in_batches_of_its_own(blobs):
    """Mined batches of another size than the pairs that are trained on stay whole."""
    seen = []

    def loss(*arguments):
        seen.append(len(arguments[0]))
        return contrastive(*arguments) if len(arguments) == 3 else semi_hard(*arguments)

    validation = BatchDataset(blobs, 3, 3, 5, seed=0)
    train(mlp(16, 8, 4, seed=0), blobs, loss, n=32, epochs=1, validation=validation)
    assert seen == [16, 16, 15, 15, 15]
    mixed = np.random.default_rng(0).permutation(120).tolist()
    loader = DataLoader(Items(blobs), batch_sampler=BatchSampler(mixed, 40, drop_last=False))
    with pytest.raises(ValueError, match="batch_size is needed for the validation"):
        fit(
            mlp(16, 8, 4, seed=0),
            loader,
            semi_hard,
            epochs=1,
            optimizer=SGD,
            validation=PairDataset(blobs, 10, seed=0),
        )
    fit(mlp(16, 8, 4, seed=0), loader, semi_hard, epochs=1, optimizer=SGD, progress=False)


def test_a_checkpoint_of_a_loader(blobs, tmp_path):
    file = tmp_path / "run.pt"
    settings = {"optimizer": SGD, "progress": False, "epochs": 3}

    def loader(image_set):
        return DataLoader(Items(image_set), batch_size=40, shuffle=True)

    def cut_off(history):
        if len(history.loss) == 2:
            raise Interrupt

    unbroken, resumed = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    fit(unbroken, loader(blobs), semi_hard, **settings)
    with pytest.raises(Interrupt):
        fit(resumed, loader(blobs), semi_hard, checkpoint=file, after_epoch=cut_off, **settings)
    resumed = mlp(16, 8, 4, seed=3)
    fit(resumed, loader(blobs), semi_hard, checkpoint=file, **settings)
    assert torch.equal(weights(resumed), weights(unbroken))
    others = ImageSet(blobs.images + 0.1, blobs.labels, blobs.class_names, "new photographs")
    with pytest.raises(ValueError, match=r"with data = \w{16}, expected \w{16}"):
        fit(resumed, loader(others), semi_hard, checkpoint=file, **settings)


def test_gradients_are_clipped(blobs):
    """Against a loop written out, on a loss whose gradients are far above the limit."""

    def steep(first, second, same):
        return 1000 * contrastive(first, second, same)

    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    train(encoder, blobs, steep, epochs=1, max_grad_norm=0.5)
    optimizer, data = SGD(plain.parameters()), PairDataset(blobs, 100, seed=0)
    for start in range(0, 100, 16):
        images, same = data.batch(range(start, min(start + 16, 100)))
        optimizer.zero_grad()
        steep(*map(plain, images), same).backward()
        gradients = [p.grad for p in plain.parameters()]
        norm = torch.sqrt(sum(g.square().sum() for g in gradients))
        assert norm > 0.5
        for gradient in gradients:
            gradient *= 0.5 / norm
        optimizer.step()
    assert torch.allclose(weights(encoder), weights(plain), atol=1e-6)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_narrows_the_encoder_and_not_the_loss(blobs, half, recwarn):
    kinds = set()

    class Spy(nn.Module):
        def forward(self, hidden):
            kinds.add(hidden.dtype)
            return hidden

    def loss(first, second, same):
        kinds.add(first.dtype)
        assert not torch.is_autocast_enabled("cpu")
        return contrastive(first, second, same)

    encoder, plain = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    encoder.append(Spy())
    history = train(encoder, blobs, loss, epochs=3, autocast=half, schedule=one_cycle)
    expected = train(plain, blobs, epochs=3, schedule=one_cycle)
    assert kinds == {half, torch.float32}
    assert weights(encoder).dtype == torch.float32
    assert history.loss != expected.loss
    assert history.loss == pytest.approx(expected.loss, rel=0.05)
    assert not recwarn


def test_a_step_that_overflows_half_precision_is_left_out(blobs, tmp_path):
    """Weights, rate and schedule stand still at it; the scale of the loss falls, and is kept."""
    before = mlp(16, 8, 4, seed=0)

    def steep(first, second, same):
        return 1e4 * contrastive(first, second, same)

    encoder = mlp(16, 8, 4, seed=0)
    settings = {"n": 16, "autocast": torch.float16, "schedule": one_cycle}
    file = tmp_path / "run.pt"
    history = train(encoder, blobs, steep, epochs=1, checkpoint=file, **settings)
    assert torch.equal(weights(encoder), weights(before))
    state = torch.load(file, weights_only=True)
    assert state["scaler"]["scale"] < 2**16
    assert state["schedule"]["last_epoch"] == 0
    assert len(history.loss) == 1


def test_the_scale_of_the_loss_outlives_an_interruption(blobs, tmp_path):
    def steep(first, second, same):
        return 1000 * contrastive(first, second, same)

    def cut_off(history):
        if len(history.loss) == 2:
            raise Interrupt

    settings = {
        "autocast": torch.float16,
        "optimizer": partial(torch.optim.SGD, lr=1e-5),  # the loss stays as steep as it is
        "checkpoint": tmp_path / "run.pt",
    }
    unbroken, resumed = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    train(unbroken, blobs, steep, **settings | {"checkpoint": None})
    with pytest.raises(Interrupt):
        train(resumed, blobs, steep, after_epoch=cut_off, **settings)
    assert torch.load(settings["checkpoint"], weights_only=True)["scaler"]["scale"] < 2**16
    resumed = mlp(16, 8, 4, seed=3)
    train(resumed, blobs, steep, **settings)
    assert torch.equal(weights(resumed), weights(unbroken))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_grad_norm": 0}, "max_grad_norm must be positive and finite, got 0"),
        ({"max_grad_norm": float("nan")}, "max_grad_norm must be positive and finite, got nan"),
        ({"max_grad_norm": float("inf")}, "max_grad_norm must be positive and finite, got inf"),
        ({"autocast": torch.float32}, "autocast must be torch.bfloat16 or .*, got torch.float32"),
    ],
)
def test_bad_precision(blobs, changes, message):
    with pytest.raises(ValueError, match=message):
        train(mlp(16, 8, 4, seed=0), blobs, **changes)


def test_frozen_layers_stay_frozen(blobs):
    """The running means of a normalisation set to evaluation, and weights without gradients."""

    def network():
        encoder = mlp(16, 8, 4, seed=0)
        encoder.insert(1, nn.BatchNorm1d(16))
        encoder.insert(3, nn.BatchNorm1d(8))
        return encoder.train()

    encoder, free = network(), network()
    encoder[1].eval()
    encoder[2].requires_grad_(False)
    kept = encoder[2].weight.clone()
    modes = []
    train(
        encoder,
        blobs,
        after_step=lambda *_: modes.append((encoder[1].training, encoder[3].training)),
    )
    assert set(modes) == {(False, True)}
    assert torch.equal(encoder[1].running_mean, torch.zeros(16))
    assert not torch.equal(encoder[3].running_mean, torch.zeros(8))
    assert torch.equal(encoder[2].weight, kept)
    train(free.eval(), blobs)  # as a training leaves it: no layer of it is meant
    assert not torch.equal(free[1].running_mean, torch.zeros(16))
    assert not free.training
    with pytest.raises(ValueError, match="no weight is to be trained"):
        train(encoder.requires_grad_(False), blobs)


def test_the_device_is_by_choice(blobs):
    """PyTorch's device without memory: nothing comes back from it, but all must go there."""
    encoder = mlp(16, 8, 4, seed=0)

    def loss(first, second, same):
        assert {first.device.type, second.device.type, same.device.type} == {"meta"}
        raise Interrupt

    with pytest.raises(Interrupt):
        train(encoder, blobs, loss, device="meta")
    assert weights(encoder).device.type == "meta"


@pytest.mark.parametrize("kind", ["pairs", "triplets", "mined"])
def test_auc_of_the_last_embeddings(blobs, kind):
    """Against scikit-learn and double loops, on an encoder that stands still."""
    still = partial(torch.optim.SGD, lr=0.0)
    encoder, settings = mlp(16, 8, 4, seed=0), {"epochs": 1, "optimizer": still, "progress": False}
    with torch.no_grad():
        Z = encoder(torch.from_numpy(blobs.images)).double().numpy()
    if kind == "pairs":
        data = PairDataset(blobs, 100, seed=0)
        history = fit(encoder, data, contrastive, batch_size=50, **settings)
        D = np.linalg.norm(Z[data.pairs[:, 0]] - Z[data.pairs[:, 1]], axis=1)
        near, far = D[data.same], D[~data.same]
        expected = np.mean([(a < b) + (a == b) / 2 for a in near for b in far])
    elif kind == "triplets":
        data = TripletDataset(blobs, 80, seed=0)
        history = fit(encoder, data, cosine_triplet, batch_size=40, **settings)
        a, p, n = (Z[data.triplets[:, k]] for k in range(3))
        nearer = np.linalg.norm(a - p, axis=1) < np.linalg.norm(a - n, axis=1)
        expected = nearer.mean()
    else:
        data = BatchDataset(blobs, 4, 2, 10, seed=0)
        history = fit(encoder, data, semi_hard, **settings)
        Z, y = Z[data.batches.ravel()], blobs.labels[data.batches.ravel()]
        i, j = np.triu_indices(len(Z), 1)
        expected = roc_auc_score(y[i] == y[j], -np.linalg.norm(Z[i] - Z[j], axis=1))
    assert 0.5 < expected < 1
    assert history.auc == [pytest.approx(expected, abs=1e-6)]


def test_pairs_as_near_as_each_other_count_half():
    """Distances of 0, 1 and 2 alone, so that many are the same."""
    labels = np.arange(60) % 2
    values = np.random.default_rng(0).integers(0, 3, 60) + labels
    whole = ImageSet(values.reshape(-1, 1, 1, 1).astype(np.float32), labels, ("a", "b"), "steps")
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(1, 1, bias=False))
    nn.init.ones_(encoder[1].weight)
    still = partial(torch.optim.SGD, lr=0.0)
    settings = {"epochs": 1, "optimizer": still, "batch_size": 50, "progress": False}
    data = PairDataset(whole, 100, seed=0)
    history = fit(encoder, data, contrastive, **settings)
    D = np.abs(np.diff(values[data.pairs], axis=1))[:, 0]
    assert len(np.unique(D)) < 5
    assert history.auc == [pytest.approx(roc_auc_score(data.same, -D), abs=1e-9)]
    nn.init.zeros_(encoder[1].weight)
    with pytest.warns(RuntimeWarning, match="collapsed"):
        history = fit(encoder, TripletDataset(whole, 20, seed=0), cosine_triplet, **settings)
    assert history.auc == [0]  # no positive is nearer than its negative


def test_no_auc_where_targets_name_no_class(blobs):
    class Weighted(PairDataset):
        def batch(self, indices):
            images, same = super().batch(indices)
            return images, same.float()

    def loss(first, second, weight):
        return (weight * (first - second).square().sum(dim=1)).mean()

    history = train(mlp(16, 8, 4, seed=0), blobs, loss, data=Weighted(blobs, 50, seed=0), epochs=2)
    assert history.auc == [None, None]
    alike = PairDataset(blobs, 50, positive_share=1.0, seed=0)
    assert train(mlp(16, 8, 4, seed=0), blobs, data=alike, epochs=1).auc == [None]
    graded = DataLoader([(image, np.float32(0.5)) for image in blobs.images], batch_size=40)
    settings = {"epochs": 1, "optimizer": SGD, "progress": False}
    history = fit(mlp(16, 8, 4, seed=0), graded, lambda z, grade: z[:, 0] @ grade, **settings)
    assert history.auc == [None]


def test_validation_is_without_dropout(blobs):
    encoder, modes = with_dropout(), []
    encoder.register_forward_hook(lambda *_: modes.append(encoder.training))
    validation = PairDataset(blobs, 20, seed=5, fresh=False)
    train(encoder, blobs, n=16, epochs=2, validation=validation, batch_size=20)
    assert modes == [True, False] * 2


def test_seconds_are_those_of_the_steps(blobs):
    start = time.perf_counter()
    history = train(mlp(16, 8, 4, seed=0), blobs)
    assert 0 < sum(history.seconds) < time.perf_counter() - start


def test_a_loss_that_rises_is_told(blobs):
    """Down, a little up, and up by more than half of where it began."""
    factors = [1.0, 0.3, 0.6, 0.9, 2.0]
    now = iter(factors)
    factor = [next(now)]

    def loss(first, second, same):
        return factor[0] * (1 + 0 * contrastive(first, second, same))

    told_after = []

    def after_epoch(history):
        told_after.append(len(told))
        factor[0] = next(now, 0)

    with pytest.warns(RuntimeWarning, match=r"rose to 0\.9 in epoch 4, after 0\.3 before") as told:
        history = train(mlp(16, 8, 4, seed=0), blobs, loss, epochs=5, after_epoch=after_epoch)
    assert history.loss == pytest.approx(factors)
    assert told_after == [0, 0, 0, 1, 1]
    assert sections_named(told) == ["A learning rate too high"]
    assert told[0].filename == __file__


def test_no_better_than_chance_for_long_is_told(blobs):
    """Labels that mean nothing: no distance can tell them apart."""
    noise = ImageSet(
        blobs.images, np.random.default_rng(1).permutation(blobs.labels), ("a", "b", "c"), "noise"
    )
    data = PairDataset(noise, 200, seed=0)
    settings = {"batch_size": 20, "optimizer": SGD, "progress": False}
    with pytest.warns(RuntimeWarning, match="better than chance up to epoch 3: for 3") as told:
        history = fit(mlp(16, 8, 4, seed=0), data, contrastive, epochs=5, **settings)
    assert max(history.auc[:3]) < 0.6
    assert sections_named(told) == ["No better than chance"]
    assert told[0].filename == __file__
    fit(mlp(16, 8, 4, seed=0), data, contrastive, epochs=2, **settings)  # that is not long


def test_one_cycle_of_adam_is_fit_with_both(blobs):
    data = BatchDataset(blobs, 5, 3, 4, seed=0)
    short, long = mlp(16, 8, 4, seed=0), mlp(16, 8, 4, seed=0)
    settings = {"epochs": 2, "seed": 3, "progress": False}
    one = fit_one_cycle(short, data, batch_all, rate=1e-2, **settings)
    data.set_epoch(0)
    two = fit(
        long,
        data,
        batch_all,
        optimizer=partial(torch.optim.Adam, lr=1e-2, fused=True),
        schedule=training.one_cycle(1e-2),
        **settings,
    )
    assert one.loss == two.loss
    for a, b in zip(short.parameters(), long.parameters(), strict=True):
        assert torch.equal(a, b)
