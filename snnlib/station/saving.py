"""A station on disk: tensors, numbers and words, whole or not at all; reading it runs nothing."""

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from snnlib.backbones import backbone
from snnlib.station.anchors import Anchors
from snnlib.station.arrays import Arrays
from snnlib.station.checks import Checks
from snnlib.station.evidence import PatchEvidence, TileEvidence
from snnlib.station.features import EmbeddingFeatures, MapFeatures
from snnlib.station.learning import blank_head
from snnlib.station.preparation import Preparation
from snnlib.station.rule import Rule
from snnlib.station.station import Station
from snnlib.weights import check_weights, read_weights, write_weights
from snnlib.whitening import WithinClassWhitening

__all__ = ["load_station", "save_station"]

ENTRIES = (
    "preparation", "shape", "features", "metric", "anchors", "evidence", "good", "rule", "checks",
    "witnesses", "doubts",
)  # fmt: skip


def save_station(station: Station, file: str | Path) -> None:
    """Keep a station in a file.

    Parameters
    ----------
    station : Station
        What to keep.
    file : path
        Where to.

    Raises
    ------
    TypeError
        If its features are of a kind of their own.
    ValueError
        If the transform of its arrays holds something other than arrays of numbers, numbers and
        words.
    """
    preparation = station.preparation
    if isinstance(preparation, Arrays):
        prepared = {"largest": preparation.largest, "transform": _fitted(preparation.transform)}
    else:
        prepared = asdict(preparation)
    anchors, evidence, checks = station.anchors, station.evidence, station.checks
    if isinstance(evidence, PatchEvidence):
        shown = {"matrix": _tensor(evidence.metric.matrix_), "patches": _tensor(evidence.patches)}
    elif evidence is not None:
        shown = {"centre": _tensor(evidence.centre), "tiles": list(evidence.tiles)}
    else:
        shown = None
    state = {
        "preparation": prepared,
        "shape": list(station.shape),
        "features": _networks(station.features),
        "metric": None if station.metric is None else _tensor(station.metric.matrix_),
        "anchors": {
            "points": _tensor(anchors.points),
            "names": anchors.names.tolist(),
            "errors": _tensor(anchors.errors),
            "spread": anchors.spread,
        },
        "evidence": shown,
        "good": station.good,
        "rule": asdict(station.rule),
        "checks": None if checks is None else [_tensor(checks.low), _tensor(checks.high)],
        "witnesses": _tensor(station.witnesses),
        "doubts": list(station.doubts),
    }
    write_weights(state, file)


def load_station(
    file: str | Path,
    encoder: nn.Module | None = None,
    *,
    front: nn.Module | None = None,
    transform: Any = None,
) -> Station:
    """Take a station from a file.

    Parameters
    ----------
    file : path
        Written by `save_station`.
    encoder, front : torch.nn.Module, optional
        For a station of arrays, networks of the kinds that were saved; copies of them get the saved
        weights.
    transform : `snnlib.station.arrays.Transform`, optional
        An object of the kind that was saved, fitted or not; a copy of it gets the saved values.

    Returns
    -------
    Station

    Raises
    ------
    ValueError
        If the file can't be read, lacks something, or holds the weights of another network, or an
        encoder, front or transform where none is given, or the other way round.
    """
    state = read_weights(file, ENTRIES)
    given = {"encoder": encoder, "front": front}
    held = {name: state["features"].get(name) for name in given}
    given["transform"], held["transform"] = transform, state["preparation"].get("transform")
    for name in given:
        if (held[name] is None) != (given[name] is None):
            article = "an" if name == "encoder" else "a"
            words = ("no", "one") if held[name] is None else (article, "none")
            raise ValueError(f"{file} holds a station with {words[0]} {name}, got {words[1]}")
    checks, shown = state["checks"], state["evidence"]
    anchors = state["anchors"]
    return Station(
        preparation=_preparation(file, state, transform),
        shape=tuple(state["shape"]),
        features=_features(file, state["features"], encoder, front),
        metric=None if state["metric"] is None else _metric(state["metric"]),
        anchors=Anchors(
            anchors["points"].numpy(),
            np.array(anchors["names"]),
            anchors["errors"].numpy(),
            anchors["spread"],
        ),
        evidence=None if shown is None else _evidence(shown),
        good=state["good"],
        rule=Rule(**state["rule"]),
        checks=None if checks is None else Checks(*(ends.numpy() for ends in checks)),
        witnesses=state["witnesses"].numpy(),
        doubts=tuple(state["doubts"]),
    )


def _tensor(values):
    return torch.from_numpy(np.ascontiguousarray(values))


def _networks(features):
    """Weights of the networks, and what it takes to have the networks again."""
    if isinstance(features, EmbeddingFeatures):
        front = None if features.front is None else features.front.state_dict()
        return {"encoder": features.encoder.state_dict(), "front": front}
    if not isinstance(features, MapFeatures):
        kind = type(features).__name__
        raise TypeError(f"features of the kind {kind} can't be kept, only those of snnlib")
    head = None if features.head is None else features.head.state_dict()
    network = features.backbone
    return {
        "backbone": [network.name, list(network.strides)],
        "maps": network.state_dict(),
        "head": head,
        "pools": list(features.pools),
    }


def _fitted(transform):
    """Kind of a transform, and its fitted values, whose names scikit-learn ends with a line."""
    if transform is None:
        return None
    check_is_fitted(transform)
    kind, values = type(transform).__name__, {}
    for name, value in vars(transform).items():
        if not name.endswith("_"):
            continue
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = torch.from_numpy(value)
        elif not isinstance(value, np.number | float | int | str):
            raise ValueError(
                f"{kind} can't be kept: its {name} is a {type(value).__name__}, "
                "expected arrays of numbers, numbers and words"
            )
        values[name] = value
    return [kind, values]


def _preparation(file, state, transform):
    values = state["preparation"]
    if "largest" not in values:
        values["size"] = values["size"] and tuple(values["size"])
        return Preparation(**values)
    if transform is not None:
        transform = _filled(file, copy.copy(transform), *values["transform"])
    return Arrays(tuple(state["shape"]), values["largest"], transform)


def _filled(file, transform, kind, values):
    """The same object with the values that one of its kind was fitted to."""
    if type(transform).__name__ != kind:
        raise ValueError(f"{file} is of a {kind}, got a {type(transform).__name__}")
    for name, value in values.items():
        setattr(transform, name, value.numpy() if torch.is_tensor(value) else value)
    return transform


def _features(file, held, encoder, front):
    if "maps" in held:
        head = None if held["head"] is None else blank_head(held["head"])
        network = _loaded(file, backbone(*held["backbone"]), held["maps"])
        return MapFeatures(network, head, held["pools"])
    encoder = _loaded(file, copy.deepcopy(encoder), held["encoder"])
    return EmbeddingFeatures(
        encoder, None if front is None else _loaded(file, copy.deepcopy(front), held["front"])
    )


def _loaded(file, network, weights):
    check_weights(file, weights, network)
    network.load_state_dict(weights)
    return network


def _metric(matrix):
    metric = WithinClassWhitening()
    metric.matrix_, metric.n_features_in_ = matrix.numpy(), len(matrix)
    return metric


def _evidence(shown):
    if "patches" in shown:
        return PatchEvidence(_metric(shown["matrix"]), shown["patches"].numpy())
    return TileEvidence(shown["centre"].numpy(), tuple(shown["tiles"]))
