"""Solar cells: features that came for nothing, and what is learned on them or in their place.

    python benchmarks/solar_cells.py

Five splits of the 2 624 cells of elpv-dataset, as large as those of Deitsch et al. (2019): 1 968
cells to learn from and 656 to test, each of the expert's words and each make in proportion. What
was chosen was chosen on a fifth of the cells to learn from: sizes and pools as measured here in the
cases "choosing", stages and epochs likewise. A fit that takes longer than six minutes ends the
benchmark. Every method gives each cell a score that is above zero where it takes it for defective;
"good cells only" has a limit instead, and is asked for its order alone. Milliseconds a cell are
those of one thread, reading apart.
"""

import json
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from measuring import seconds_of
from recording import begin, show
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from snnlib.backbones import pretrained, small_cnn
from snnlib.data.cells import load_cells
from snnlib.embedding import embed
from snnlib.evaluation import mcnemar, rank_correlation, roc_auc
from snnlib.heads import fit_head, log_odds
from snnlib.station.anchors import place_anchors
from snnlib.station.features import MapFeatures, Pooled
from snnlib.station.looking import look_at
from snnlib.station.parts import Parts
from snnlib.station.preparation import Preparation
from snnlib.station.saving import load_station, save_station
from snnlib.station.station import Station
from snnlib.training import fit, one_cycle
from snnlib.whitening import WithinClassWhitening

SEEDS = (0, 1, 2, 3, 4)
STRIDES, POOLS, SIDE = (8, 16, 32), ("mean", "max"), 224
SIDES = (160, 224, 300)  # from which it was chosen
TIMED = 32  # cells
CAP = 360  # seconds a fit
SCRATCH, TUNED = 160, 192  # pixels of cells that a network learns from
FROZEN, BATCH = 3, 32  # first stages that fine-tuning leaves alone, and cells a step
REFERENCE = "head, soft labels"  # what the others are compared with, cell by cell
GOOD_ONLY = "good cells only"


@dataclass(frozen=True)
class Fitted:
    """A score of cells, and how many numbers it takes to have it.

    A score that is the mean of several looks has that of one look beside it.
    """

    score: Callable[[np.ndarray], np.ndarray]
    numbers: int
    one_look: Callable[[np.ndarray], np.ndarray] | None = None


# On values that a frozen network gives


def anchored(points, cells, seed, *, whitened=True, a_class=1, by_make=False):
    """Distance to the nearest functional anchor, less that to the nearest defective one."""
    names = np.char.add(cells.types, cells.names) if by_make else cells.names
    metric = WithinClassWhitening().fit(points, names) if whitened else None

    def moved(values):
        return metric.transform(values) if whitened else values

    anchors = place_anchors(moved(points), names, a_class, seed=seed)
    defective = np.char.endswith(anchors.classes, "defective")

    def score(values):
        distances = anchors.distances(moved(values))
        return distances[:, ~defective].min(axis=1) - distances[:, defective].min(axis=1)

    return Fitted(score, anchors.points.size + (metric.matrix_.size if whitened else 0))


def machine(points, cells, seed):
    svm = make_pipeline(StandardScaler(), SVC())
    svm.fit(points, cells.labels)
    return Fitted(svm.decision_function, svm[-1].support_vectors_.size)


def head(points, cells, seed, *, soft=True, chosen=None):
    """Log-odds by a head, learned from the expert's doubt or from labels, on some of the cells."""
    told = cells.probabilities if soft else cells.labels
    rows = np.arange(len(cells)) if chosen is None else np.flatnonzero(chosen(cells))
    network = fit_head(points[rows], told[rows], seed=seed)
    return Fitted(partial(log_odds, network), count(network))


def of_make(name):
    return lambda cells: cells.types == name


def is_sure(cells):
    return np.isin(cells.probabilities, (0, 1))


ON_POINTS = {
    REFERENCE: head,
    "head, hard labels": partial(head, soft=False),
    "nearest mean": partial(anchored, whitened=False),
    "nearest mean, whitened": anchored,
    "four anchors a class, whitened": partial(anchored, a_class=4),
    "anchors by make, whitened": partial(anchored, by_make=True),
    "RBF SVM": machine,
    "head, sure cells only": partial(head, chosen=is_sure),
    "head, mono only": partial(head, chosen=of_make("mono")),
    "head, poly only": partial(head, chosen=of_make("poly")),
}


def choose(record, seen, train, calibration, seed):
    """The head on cells that it has not seen, by size and by what is kept of a map."""
    for side in SIDES:
        for kept, what in ((1, "means"), (2, "means and maxima")):
            settings = {"case": f"choosing: {side} pixels, {what}", "seed": seed}
            if record.done(settings):
                continue
            points, new = (seen[side].of(cells) for cells in (train, calibration))
            width = points.shape[1] * kept // len(POOLS)
            score = head(np.ascontiguousarray(points[:, :width]), train, seed).score
            right = (score(np.ascontiguousarray(new[:, :width])) > 0) == (calibration.labels == 1)
            weighted = np.average(right, weights=calibration.weights)
            record.add(settings, {"calibration_weighted": float(weighted)})


# Networks that learn the cells


class FlippedCells:
    """Batches of cells in an order of their own, half of them mirrored either way."""

    def __init__(self, images, probabilities, batch_size, seed):
        self.images, self.batch_size, self.seed = torch.from_numpy(images), batch_size, seed
        self.told = torch.from_numpy(probabilities.astype(np.float32))
        self.set_epoch(0)

    def __len__(self):
        return len(self.order)

    def set_epoch(self, epoch):
        random = np.random.default_rng((self.seed, epoch))
        whole = len(self.images) // self.batch_size * self.batch_size
        self.order = random.permutation(len(self.images))[:whole]
        self.mirrored = torch.from_numpy(random.random((2, len(self.images))) < 1 / 2)

    def batch(self, indices):
        cells = self.order[indices]
        images = self.images[cells]
        for axis, mirrored in zip((2, 3), self.mirrored[:, cells]):
            images[mirrored] = images[mirrored].flip(axis)
        return images[None], self.told[cells]


def sized(images, side):
    """Images of another size, some at a time."""
    resize = partial(interpolate, size=(side, side), mode="bilinear", antialias=True)
    return np.concatenate([resize(some).numpy() for some in torch.from_numpy(images).split(64)])


def from_scratch(cells, seed):
    """Log-odds by a small network, and a linear layer on its means and maxima."""
    backbone = small_cnn(seed=seed)
    width = len(POOLS) * sum(backbone.channels)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        last = nn.Linear(width, 1)
    layers = nn.BatchNorm1d(width, affine=False), nn.Dropout(0.3), last
    network = nn.Sequential(Pooled(backbone, POOLS), *layers)
    return trained(network, sized(cells.images, SCRATCH), cells, seed, epochs=25, rate=3e-3)


def fine_tuned(cells, seed):
    """Log-odds by a head and the network below it: first the head alone, then both.

    So the head does not spoil at first what the network knows (Kumar et al., 2022). The first
    stages stay as they are: what they see is common to all pictures, and half of the time is
    theirs. So do means and spreads of all normalisations, which the head was fitted to.
    """
    backbone, images = pretrained(strides=STRIDES), sized(cells.images, TUNED)
    pooled = Pooled(backbone, POOLS)
    head = fit_head(embed(pooled, images, BATCH), cells.probabilities, seed=seed)
    network = nn.Sequential(pooled, head).train()
    backbone.stages[:FROZEN].requires_grad_(False)
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    return trained(network, images, cells, seed, epochs=5, rate=3e-4)


def trained(network, images, cells, seed, *, epochs, rate):
    """A network that has learned the expert's doubt from images of one size."""
    side = images.shape[-1]
    fit(
        network,
        FlippedCells(images, cells.probabilities, BATCH, seed),
        lambda said, told: binary_cross_entropy_with_logits(said[:, 0], told),
        epochs=epochs,
        optimizer=partial(torch.optim.AdamW, lr=rate),
        schedule=one_cycle(rate),
        seed=seed,
        progress=False,
    )

    def one_look(new):
        return embed(network, np.ascontiguousarray(new), BATCH)[:, 0]

    def score(new):
        """A cell has no top: the mean of it as it is and mirrored either way."""
        new = sized(new, side)
        return np.mean([one_look(np.flip(new, axes)) for axes in ((), 2, 3, (2, 3))], axis=0)

    return Fitted(score, count(network), lambda new: one_look(sized(new, side)))


ON_IMAGES = {"from scratch": from_scratch, "fine-tuned": fine_tuned}


# Good cells only


def good_only(train, test, seed):
    """How strange a station finds cells that has seen those only that surely are functional."""
    good = Parts.of(train.files[train.probabilities == 0], name="OK")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is one lot only, and it says so
        settings = {"size": SIDE, "grey": True, "seed": seed, "progress": False}
        seconds, station = seconds_of(Station.fit, good, **settings)
    table = station.judge(Parts.of(test.files))
    evidence = station.evidence
    held = (station.metric.matrix_, evidence.patches, evidence.metric.matrix_)
    figures = {
        "fit_s": seconds,
        "ms": alone_ms(station, test),
        "mib": mib(sum(one.size for one in held) + count(station.features.backbone)),
    }
    defective = test.labels == 1
    for name, column in (("", "score"), ("patches_", "strangest"), ("pooled_", "to_good")):
        scores = table[column].fillna(np.inf).to_numpy()  # what can't be judged is stopped
        scores = np.minimum(scores, 2 * scores[np.isfinite(scores)].max())
        figures[f"{name}auc"] = roc_auc(scores[~defective], scores[defective]).value
        figures[f"{name}rank"] = rank_correlation(scores, test.probabilities).value
    return figures


def alone_ms(station, cells):
    """Milliseconds that the same station takes on one thread, reading apart."""
    frames = (255 * cells.images[:TIMED, 0]).round().astype(np.uint8)
    with TemporaryDirectory() as folder, one_thread():
        save_station(station, Path(folder, "station.pt"))
        alone = load_station(Path(folder, "station.pt"))
        alone.judge(frames)
        return 1000 * seconds_of(alone.judge, frames)[0] / len(frames)


# Figures


def count(network):
    return sum(values.numel() for values in network.state_dict().values())


def mib(numbers):
    return 4 * numbers / 2**20


@contextmanager
def one_thread():
    """One thread for all that counts; ONNX Runtime has as many as when a network was made."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def told_of(cells, scores, right):
    """Shares of cells that are named rightly, and how well scores order them."""
    defective = cells.labels == 1
    unsure = {k: scores[np.isclose(cells.probabilities, k / 3)] for k in (1, 2)}
    figures = {
        "weighted": float(np.average(right, weights=cells.weights)),
        "accuracy": float(right.mean()),
        "sure": float(right[is_sure(cells)].mean()),
        "auc": roc_auc(scores[~defective], scores[defective]).value,
        "rank": rank_correlation(scores, cells.probabilities).value,
        "auc_unsure": roc_auc(unsure[1], unsure[2]).value,
    }
    for make in ("mono", "poly"):
        of = cells.types == make
        figures[make] = float(np.average(right[of], weights=cells.weights[of]))
    return figures


def run_split(record, seen, train, test, seed):
    """All methods on one split; the first is what the others are compared with."""

    def wanted(case):
        return not record.done({"case": case, "seed": seed})

    if wanted(GOOD_ONLY):
        record.add({"case": GOOD_ONLY, "seed": seed}, good_only(train, test, seed))
    cases = [case for case in (*ON_POINTS, *ON_IMAGES) if wanted(case)]
    right_of_head = None
    for case in dict.fromkeys([REFERENCE, *cases] if cases else []):
        fitted, seconds, values = fitted_by(case, seen, train, test, seed)
        scores = fitted.score(values)
        right = (scores > 0) == (test.labels == 1)
        right_of_head = right if case == REFERENCE else right_of_head
        if wanted(case):
            pair = mcnemar(right, right_of_head)
            figures = told_of(test, scores, right) | cost_of(case, fitted, values, seen)
            if fitted.one_look:
                right = (fitted.one_look(values) > 0) == (test.labels == 1)
                figures["one_look"] = float(np.average(right, weights=test.weights))
            figures |= {"differ_it": pair.only_first, "differ_head": pair.only_second, "p": pair.p}
            record.add({"case": case, "seed": seed}, figures | {"fit_s": seconds})
            print(case, seed, f"{100 * figures['weighted']:.2f} %, {seconds:.0f} s", flush=True)


def cost_of(case, fitted, values, seen):
    """Milliseconds a cell on one thread, and what the method weighs, both with its network."""
    with one_thread():
        fitted.score(values[:TIMED])  # the first call sets memory aside
        seconds, _ = seconds_of(fitted.score, values[:TIMED])
    milliseconds = 1000 * seconds / len(values[:TIMED])
    if case not in ON_POINTS:
        return {"ms": milliseconds, "mib": mib(fitted.numbers)}
    return {"ms": milliseconds + seen.milliseconds, "mib": mib(fitted.numbers + seen.numbers)}


def fitted_by(case, seen, train, test, seed):
    """A method that has learned, the seconds that it took, and what it takes for the test cells."""
    if case in ON_POINTS:
        learn, values = partial(ON_POINTS[case], seen.of(train)), seen.of(test)
    else:
        learn, values = ON_IMAGES[case], test.images
    seconds, fitted = seconds_of(learn, train, seed)
    if seconds > CAP:
        raise SystemExit(f"{case} took {seconds:.0f} s, more than {CAP}: fewer epochs")
    return fitted, seconds, values


class Seen:
    """Values that a frozen network gives of cells, each computed once."""

    def __init__(self, side):
        self.known, self.side = {}, side
        self.features = MapFeatures(pretrained(strides=STRIDES), pools=POOLS)
        self.numbers = count(self.features.backbone)

    def of(self, cells):
        new = [file for file in cells.files if file not in self.known]
        if new:
            preparation = Preparation(self.side, grey=True)
            for look in look_at(Parts.of(new), preparation, self.features):
                self.known |= dict(zip(np.array(new)[look.positions], look.points))
        return np.stack([self.known[file] for file in cells.files])

    @cached_property
    def milliseconds(self):
        """What a cell takes on one thread."""
        some = np.random.default_rng(0).random((TIMED, 1, self.side, self.side), dtype=np.float32)
        with one_thread():
            alone = MapFeatures(self.features.backbone, pools=POOLS)
            alone.of_seen(some)
            return 1000 * seconds_of(alone.of_seen, some)[0] / TIMED


def main():
    seen, record = {side: Seen(side) for side in SIDES}, None
    for seed in SEEDS:
        rest = [load_cells(split, seed=seed) for split in ("train", "calibration")]
        train, test = rest[0].join(rest[1]), load_cells("test", seed=seed)
        record = record or begin(__file__, test.source, "elpv-dataset", "onnxruntime")
        choose(record, seen, *rest, seed)
        run_split(record, seen[SIDE], train, test, seed)
    show(record)
    figures = ("calibration_weighted", "weighted", "accuracy", "sure", "auc", "rank")
    print(json.dumps(record.means(figures)))


if __name__ == "__main__":
    main()
