"""A station on disk: kept whole or not at all, and judged again when it is read.

What the file itself is like, `snnlib.station.station_file` knows.
"""

import copy
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
from snnlib.station.provenance import library
from snnlib.station.rule import Rule
from snnlib.station.station import Station
from snnlib.station.station_file import read_station_file, write_station_file
from snnlib.weights import check_weights
from snnlib.whitening import WithinClassWhitening

__all__ = ["load_station", "save_station"]

AGREED = ["score", "distance", "second_distance", "to_good", "strangest"]
# Last digits depend on the processor, and on how many parts are looked at together.
TOLERANCE = 1e-3


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
        If its features are of a kind of their own, or in whole numbers.
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
    shown: dict[str, Any] | None = None
    if isinstance(evidence, PatchEvidence):
        shown = {"matrix": evidence.metric.matrix_, "patches": evidence.patches}
    elif evidence is not None:
        shown = {"centre": evidence.centre, "tiles": list(evidence.tiles)}
    state = {
        "good": station.good,
        "rule": asdict(station.rule),
        "doubts": list(station.doubts),
        "made": station.made,
        "made_from": station.made_from,
        "preparation": prepared,
        "shape": list(station.shape),
        "anchors": {
            "names": anchors.names.tolist(),
            "points": anchors.points,
            "errors": anchors.errors,
            "spread": anchors.spread,
        },
        "features": _networks(station.features),
        "metric": None if station.metric is None else station.metric.matrix_,
        "evidence": shown,
        "checks": None if checks is None else [checks.low, checks.high],
        "witnesses": station.witnesses,
        "probes": {"parts": station.probes, "told": _told(station)},
    }
    write_station_file(state, file, library())


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
        If the file can't be read, is damaged or from a newer version, holds the weights of another
        network, or an encoder, front or transform where none is given, or the other way round; or
        if its probes are judged otherwise than when it was written.
    """
    state = read_station_file(file)
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
    station = Station(
        preparation=_preparation(file, state, transform),
        shape=tuple(state["shape"]),
        features=_features(file, state["features"], encoder, front),
        metric=None if state["metric"] is None else _metric(state["metric"]),
        anchors=Anchors(
            anchors["points"], np.array(anchors["names"]), anchors["errors"], anchors["spread"]
        ),
        evidence=None if shown is None else _evidence(shown),
        good=state["good"],
        rule=Rule(**state["rule"]),
        checks=None if checks is None else Checks(*checks),
        witnesses=state["witnesses"],
        made_from=state["made_from"],
        probes=state["probes"]["parts"],
        made=state["made"],
        doubts=tuple(state["doubts"]),
    )
    _check_probes(file, station, state["probes"]["told"])
    return station


def _told(station):
    """What the station says of its probes, as lists."""
    told = station.judge_probes()
    columns = ["nearest", "second", *(name for name in AGREED if name in told)]
    return {name: [None if pd.isna(one) else one for one in told[name]] for name in columns}


def _check_probes(file, station, before):
    """Refuse a station that does not say again what it said of its probes."""
    now = _told(station)
    for name, told in before.items():
        for k, (old, new) in enumerate(zip(told, now[name], strict=True)):
            # Which class is the nearest says nothing where two are as near.
            tied = name not in AGREED and _near(before["distance"][k], before["second_distance"][k])
            if old != new and not tied and not (name in AGREED and _near(old, new)):
                raise ValueError(
                    f"{file} gives another verdict than when it was written: {name} of its probe "
                    f"{k} was {old}, is {new}"
                )


def _near(one, other):
    if one is None or other is None:
        return False
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _arrays(network):
    """Weights of a network, as arrays."""
    return {name: tensor.cpu().numpy() for name, tensor in network.state_dict().items()}


def _networks(features):
    """Weights of the networks, and what it takes to have the networks again."""
    if isinstance(features, EmbeddingFeatures):
        front = None if features.front is None else _arrays(features.front)
        return {"encoder": _arrays(features.encoder), "front": front}
    if getattr(features, "whole_numbers", False):
        raise TypeError("a station in whole numbers is kept as ONNX: see export_station")
    if not isinstance(features, MapFeatures):
        kind = type(features).__name__
        raise TypeError(f"features of the kind {kind} can't be kept, only those of snnlib")
    head = None if features.head is None else _arrays(features.head)
    network = features.backbone
    return {
        "backbone": [network.name, list(network.strides)],
        "maps": _arrays(network),
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
        is_array = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
        if not is_array and not isinstance(value, np.number | float | int | str):
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
        setattr(transform, name, value)
    return transform


def _features(file, held, encoder, front):
    if "maps" in held:
        head = None if held["head"] is None else blank_head(_tensors(held["head"]))
        network = _loaded(file, backbone(*held["backbone"]), held["maps"])
        return MapFeatures(network, head, held["pools"])
    encoder = _loaded(file, copy.deepcopy(encoder), held["encoder"])
    return EmbeddingFeatures(
        encoder, None if front is None else _loaded(file, copy.deepcopy(front), held["front"])
    )


def _loaded(file, network, weights):
    weights = _tensors(weights)
    check_weights(file, weights, network)
    network.load_state_dict(weights)
    return network


def _tensors(weights):
    return {name: torch.from_numpy(values.copy()) for name, values in weights.items()}


def _metric(matrix):
    metric = WithinClassWhitening()
    metric.matrix_, metric.n_features_in_ = matrix, len(matrix)
    return metric


def _evidence(shown):
    if "patches" in shown:
        return PatchEvidence(_metric(shown["matrix"]), shown["patches"])
    return TileEvidence(shown["centre"], tuple(shown["tiles"]))
