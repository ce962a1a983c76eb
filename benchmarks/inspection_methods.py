"""The methods that `inspection.py` compares: how each is fitted, tuned and asked.

Every method has six settings to choose from, and the same parts to learn from. Those that may take
their maps scaled or whitened have three settings for either. All networks take 400 steps (MLP), 66
(CNN), 260 (tile CNN) or 36 (image CNN) of 150 images, whatever they learn from: classes, pairs,
triplets or batches to be mined. The numbers of steps keep every fit under 30 s on two cores.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.covariance import shrunk_covariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from torch import nn
from torch.nn.functional import cross_entropy

from snnlib import losses
from snnlib.book.recipes import PIN_CNN
from snnlib.embedding import AnchorClassifier, embed, through
from snnlib.encoders import Standardise, UnitLength, cnn, mlp, tile_cnn
from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import fit_scaler
from snnlib.nsoartc.networks import PIN, PINS, fit_front, map_cnn
from snnlib.nsoartc.ruler import DIRECTIONS, Ruler
from snnlib.nsoartc.soart import IMAGE_SHAPE, MAP_SHAPE
from snnlib.sampling import BatchDataset, PairDataset, TripletDataset
from snnlib.training import fit_one_cycle

INPUTS = ("scaled", "whitened")
RATES = (5e-4, 1e-3, 2e-3)
MARGIN, BATCH, SMALLEST_BATCH = PIN_CNN.margin, 10 * PIN_CNN.batch, 2
NOMINAL = np.array([0.5, 1.0, 1.0])  # mm, degrees, degrees: what the drawing calls a defect
UNNAMED = -1  # a pin and direction that is none of the classes


@dataclass(frozen=True)
class Seen:
    """Parts as images and as maps."""

    images: ImageSet
    maps: ImageSet

    def take(self, indices):
        return Seen(self.images.take(indices), self.maps.take(indices))

    def relabel(self, labels):
        """The same parts with other labels."""
        return Seen(*(ImageSet(s.images, labels, s.class_names, s.source) for s in self.sets()))

    def sets(self):
        return self.images, self.maps

    def __len__(self):
        return len(self.maps)


@dataclass(frozen=True)
class Judge:
    """A fitted method.

    `name` takes images or maps, as `takes` says, and returns labels; `floats` counts the numbers
    that it keeps.
    """

    name: Callable
    floats: int
    takes: str = "maps"
    points: Callable | None = None

    def __call__(self, seen):
        return self.name(getattr(seen, self.takes).images)


def balanced(seen):
    """As many parts of each class as of the rarest, the first of them."""
    labels = seen.maps.labels
    present = np.unique(labels)
    least = np.bincount(labels)[present].min()
    return seen.take(np.concatenate([np.flatnonzero(labels == k)[:least] for k in present]))


def flat(maps):
    return maps.reshape(len(maps), -1)


def _grid(**choices):
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


# The ruler


def ruler(train, setting, seed):
    """A tip farther off than a share of a nominal defect is that defect."""
    images = train.images
    gauge = Ruler().fit(images.images[images.labels == 0])
    labels = {mode.rstrip("0123456789"): k for k, mode in enumerate(images.class_names)}
    limits = setting["limit"] * NOMINAL

    def name(parts):
        verdicts = gauge.inspect(parts, limits).verdict
        return np.array([labels.get(verdict, UNNAMED) for verdict in verdicts])

    return Judge(name, gauge.mean_.size + len(DIRECTIONS), "images")


# Plain machines on maps


def _scaler(train):
    scaler = fit_scaler(train.maps)
    return FunctionTransformer(lambda X: (X - scaler.mean_) / scaler.scale_), scaler


def _machine(train, model, floats_of, transform):
    X, y = flat(train.maps.images), train.maps.labels
    model = make_pipeline(transform, model).fit(X, y)
    return Judge(lambda maps: model.predict(flat(maps)), floats_of(model[-1]))


def nearest_mean(train, setting, seed):
    transform, scaler = _scaler(train)
    model = NearestCentroid(shrink_threshold=setting["shrink"])
    return _machine(train, model, lambda m: m.centroids_.size + 2 * len(scaler.mean_), transform)


def lda(train, setting, seed):
    transform, _ = _scaler(train)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=setting["shrinkage"])
    # Scaling is linear, too, and could be folded in.
    return _machine(train, model, lambda m: m.coef_.size + m.intercept_.size, transform)


def svm(kernel, train, setting, seed):
    whitened = setting["input"] == "whitened"
    front = fit_front(train.maps, whitened=whitened)

    def seen(X):
        return flat(embed(front, X.reshape(-1, 1, *MAP_SHAPE)))

    own = sum(buffer.numel() for buffer in front.buffers())
    choices = {key: value for key, value in setting.items() if key != "input"}

    def floats(machine):
        return machine.support_vectors_.size + machine.dual_coef_.size + own

    return _machine(train, SVC(kernel=kernel, **choices), floats, FunctionTransformer(seen))


def per_pin_points(train, shrinkage):
    """A function from maps to points: each pin in the metric of its own good parts."""
    X, y = _by_pin(train.images), train.labels
    good = X[y == 0]
    spread = good.std(axis=0)
    roots = []
    for pin in range(X.shape[1]):
        covariance = np.cov(((good[:, pin] - good[:, pin].mean(axis=0)) / spread[pin]).T)
        inverse = np.linalg.inv(shrunk_covariance(covariance, shrinkage))
        roots.append(np.linalg.cholesky(inverse) / spread[pin][:, None])
    roots = np.stack(roots)
    return lambda maps: flat(np.einsum("npi,pij->npj", _by_pin(maps), roots))


def per_pin_mahalanobis(train, setting, seed):
    """Distance to each class's mean, each pin in the metric of its own good parts, added up."""
    points = per_pin_points(train.maps, setting["shrinkage"])
    anchors = AnchorClassifier().fit(points(train.maps.images), train.maps.labels)
    pins, values = PINS[0] * PINS[1], PIN[0] * PIN[1]
    floats = pins * values**2 + anchors.anchors_.size
    return Judge(lambda maps: anchors.predict(points(maps)), floats, points=points)


def _by_pin(maps):
    rows, columns = MAP_SHAPE[0] // PIN[0], MAP_SHAPE[1] // PIN[1]
    tiles = maps.reshape(len(maps), rows, PIN[0], columns, PIN[1]).swapaxes(2, 3)
    return tiles.reshape(len(maps), rows * columns, -1).astype(np.float64)


# Networks

BODIES = {
    "MLP": (lambda seed: mlp(1404, 512, 256, 256, 128, seed=seed), 400, 20),
    "CNN": (lambda seed: map_cnn(seed=seed), 66, 6),
    "tile CNN": (lambda seed: tile_cnn((1, *MAP_SHAPE), PIN, seed=seed), 260, 20),
    # As much work on three images as source D's network on a map, and its like for maps.
    "image CNN": (
        lambda seed: cnn(IMAGE_SHAPE, (8, 16, 32, 64), 128, coarse=True, seed=seed),
        36,
        6,
    ),
    "small CNN": (lambda seed: cnn((1, *MAP_SHAPE), (32, 64, 64), 128, seed=seed), 66, 6),
}


def _batches(train, steps, seed):
    classes = len(np.unique(train.labels))
    fewest = np.bincount(train.labels)[np.unique(train.labels)].min()
    per_class = max(SMALLEST_BATCH, min(BATCH // classes, int(fewest)))
    return BatchDataset(train, steps, classes, per_class, seed=seed), None


def _pairs(train, steps, seed):
    return PairDataset(train, steps * BATCH // 2, seed=seed), BATCH // 2


def _triplets(train, steps, seed):
    return TripletDataset(train, steps * BATCH // 3, seed=seed), BATCH // 3


WAYS = {  # how images come, what they cost, whether embeddings have length one
    "plain": (_batches, cross_entropy, False),
    "Siamese": (_pairs, losses.contrastive, False),
    "triplet": (_triplets, partial(losses.cosine_triplet, margin=MARGIN), True),
    "mined": (_batches, partial(losses.semi_hard, margin=MARGIN), True),
}


def network_of(way, body, classes, seed):
    _, _, unit = WAYS[way]
    network = nn.Sequential(body(seed))
    if way == "plain":
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network.append(nn.Linear(128, classes))
    return network.append(UnitLength()) if unit else network


def train_network(way, network, train, steps, epochs, rate, seed):
    """Train in place, on what the network sees."""
    draw, loss, _ = WAYS[way]
    data, batch_size = draw(train, -(-steps // epochs), seed)
    fit_one_cycle(
        network,
        data,
        loss,
        epochs=epochs,
        batch_size=batch_size,
        rate=rate,
        seed=seed,
        progress=False,
    )
    return network


def judge_of(way, front, network, train, takes):
    """A network with its anchors, or, if it is a plain classifier, without."""
    whole = nn.Sequential(front, network)
    floats = sum(t.numel() for t in [*network.parameters(), *front.buffers()])
    if way == "plain":
        return Judge(lambda parts: embed(whole, parts).argmax(axis=1), floats, takes)
    anchors = AnchorClassifier().fit(embed(whole, train.images), train.labels)
    return Judge(
        lambda parts: anchors.predict(embed(whole, parts)),
        floats + anchors.anchors_.size,
        takes,
        lambda parts: embed(whole, parts),
    )


class Shuffled(nn.Module):
    """A front whose cells are put in another order, the same for every part."""

    def __init__(self, front, seed):
        super().__init__()
        self.front = front
        order = np.random.default_rng(seed).permutation(np.prod(MAP_SHAPE))
        self.register_buffer("order", torch.from_numpy(order))

    def forward(self, images):
        return self.front(images).flatten(1)[:, self.order].reshape(images.shape)


class OwnMean(nn.Module):
    """Divides each camera's image by its mean."""

    def forward(self, images):
        return images / images.mean(dim=(2, 3), keepdim=True)


def on_maps(way, body, train, setting, seed, *, shuffle=False, steps=None):
    """A network on maps; of as many steps as its body takes in the tree, if none are given."""
    build, usual, epochs = BODIES[body]
    steps = steps or usual
    front = fit_front(train.maps, whitened=setting["input"] == "whitened")
    if shuffle:
        front = Shuffled(front, seed=0)
    network = network_of(way, build, len(train.maps.class_names), seed)
    train_network(way, network, through(front, train.maps), steps, epochs, setting["rate"], seed)
    return judge_of(way, front, network, train.maps, "maps")


def on_images(train, setting, seed):
    """The mined CNN on the three images, each pixel against the mean good image.

    By a setting, each image is first divided by its own mean, which takes the camera's gain out.
    """
    build, steps, epochs = BODIES["image CNN"]
    evened = setting["input"] == "gain taken out"
    good = train.images.images[train.images.labels == 0]
    if evened:
        good = good / good.mean(axis=(2, 3), keepdims=True)
    front = Standardise(good.mean(axis=0), np.full(IMAGE_SHAPE, good.std(axis=0).mean()))
    if evened:
        front = nn.Sequential(OwnMean(), front)
    network = network_of("mined", build, len(train.images.class_names), seed)
    seen = through(front, train.images)
    train_network("mined", network, seen, steps, epochs, setting["rate"], seed)
    return judge_of("mined", front, network, train.images, "images")


NETWORK_GRID = _grid(input=INPUTS, rate=RATES)
IMAGE_GRID = _grid(input=("as taken", "gain taken out"), rate=RATES)
METHODS = {  # the settings, and a function of training parts, a setting and a seed
    "ruler": (_grid(limit=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8)), ruler),
    "per-pin Mahalanobis": (
        _grid(shrinkage=(0.001, 0.01, 0.03, 0.1, 0.3, 0.6)),
        per_pin_mahalanobis,
    ),
    "nearest mean": (_grid(shrink=(None, 0.5, 1.0, 2.0, 4.0, 8.0)), nearest_mean),
    "LDA": (_grid(shrinkage=("auto", 0.01, 0.03, 0.1, 0.3, 0.6)), lda),
    "polynomial SVM": (
        _grid(input=INPUTS, degree=(2,), coef0=(1,), C=(0.01, 0.1, 1.0)),
        partial(svm, "poly"),
    ),
    "RBF SVM": (_grid(input=INPUTS, C=(10,), gamma=(3e-5, 1e-4, 3e-4)), partial(svm, "rbf")),
}
for _way, _body in itertools.product(WAYS, ("MLP", "CNN")):
    METHODS[f"{_way}, {_body}"] = (NETWORK_GRID, partial(on_maps, _way, _body))
METHODS["mined, tile CNN"] = (NETWORK_GRID, partial(on_maps, "mined", "tile CNN"))
NETWORKS = tuple(name for name in METHODS if "," in name)
